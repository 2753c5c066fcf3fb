/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the server takes: resident bytes for a region that nobody leases, and for a client that does nothing; and how often it wakes up
 * while there is nothing to do. These have no reference.
 */
#include "config.h"

#include "bench/bench.h"

#include <dirent.h>
#include <stdio.h>

#define N_REGIONS 16000
#define N_CLIENTS 400
#define PAGE      4096

struct idle {
	struct bench_file file;
	struct bench_server server;
	bool with_client;
};

static uint64_t resident(const struct bench_server *server)
{
	return bench_proc(server->pid, "smaps_rollup", "Rss") * 1024;
}

static void start(struct idle *idle)
{
	bench_server_start(&idle->server, "--window-size=4K", NULL);
}

/* What the server maps of the file is never touched by it, and so not resident. From behind, so that each region has a lease of its own. */
static double region(void *data)
{
	struct idle *idle = data;
	struct bench_reader reader;
	uint64_t before;
	double bytes;

	start(idle);
	bench_reader_open(&reader, &idle->server, &idle->file, PAGE);
	bench_check(smmap_cursor_use(reader.cursor, 0, 8), "a region");
	before = resident(&idle->server);
	for (uint64_t i = N_REGIONS; i > 0; i--)
		bench_check(smmap_cursor_use(reader.cursor, i * PAGE, 8), "a region");
	bytes = (double)(resident(&idle->server) - before) / N_REGIONS;
	bench_reader_close(&reader);
	bench_server_stop(&idle->server);
	return bytes;
}

/* Each has one lease, that it does not use. */
static double client(void *data)
{
	struct bench_reader readers[N_CLIENTS + 1];
	struct idle *idle = data;
	uint64_t before = 0;
	double bytes;

	start(idle);
	for (unsigned i = 0; i <= N_CLIENTS; i++) {
		bench_reader_open(&readers[i], &idle->server, &idle->file, 0);
		bench_check(smmap_cursor_use(readers[i].cursor, 0, 8), "a lease");
		smmap_cursor_unuse(readers[i].cursor);
		if (!i)
			before = resident(&idle->server);
	}
	bytes = (double)(resident(&idle->server) - before) / N_CLIENTS;
	for (unsigned i = 0; i <= N_CLIENTS; i++)
		bench_reader_close(&readers[i]);
	bench_server_stop(&idle->server);
	return bytes;
}

/* How often all threads of the server together went to sleep. */
static uint64_t sleeps(const struct bench_server *server)
{
	char path[64], file[300];
	struct dirent *entry;
	uint64_t n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)server->pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(file, sizeof(file), "task/%s/status", entry->d_name);
		n += bench_proc(server->pid, file, "voluntary_ctxt_switches");
	}
	if (dir)
		closedir(dir);
	return n;
}

static double wakeups(void *data)
{
	struct idle *idle = data;
	unsigned ms = 5 * scale->ms;
	struct bench_reader reader;
	uint64_t before, n;

	start(idle);
	bench_reader_open(&reader, &idle->server, &idle->file, 0);
	bench_check(smmap_cursor_use(reader.cursor, 0, 8), "a lease");
	if (!idle->with_client)
		bench_reader_close(&reader);
	/* What there was to do after that is done. */
	bench_sleep_ms(2000);
	before = sleeps(&idle->server);
	bench_sleep_ms(ms);
	n = sleeps(&idle->server) - before;
	if (idle->with_client)
		bench_reader_close(&reader);
	bench_server_stop(&idle->server);
	return (double)n * 1000 / ms;
}

void bench_idle(void)
{
	static const struct bench_row per_region = {"server-region", "resident bytes of the server for a region", NULL, "B", BENCH_AT_MOST, 256};
	static const struct bench_row per_client = {"server-client", "resident bytes of the server for a client", NULL, "B", BENCH_AT_MOST,
						    64 * 1024};
	static const struct bench_row with = {"server-idle-client", "wake-ups a second with an idle client", NULL, "1/s", BENCH_AT_MOST, 1};
	static const struct bench_row without = {"server-idle", "wake-ups a second without clients, while a file of theirs is still warm",
						 NULL, "1/s", BENCH_AT_MOST, 0};
	struct idle idle = {0};

	bench_file_make(&idle.file, "regions", 2 * N_REGIONS * PAGE / MIB * MIB);
	bench_compare(&per_region, region, NULL, &idle);
	bench_compare(&per_client, client, NULL, &idle);
	bench_compare(&without, wakeups, NULL, &idle);
	idle.with_client = true;
	bench_compare(&with, wakeups, NULL, &idle);
	bench_file_remove(&idle.file);
}
