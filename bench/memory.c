/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory: what processes take that all read the same file. Pss counts each page once, divided among those who have it mapped; page
 * tables are each process's own. The server's are added to ours.
 */
#include "config.h"

#include "bench/bench.h"

#include "proto/util.h"

#include <fcntl.h>

enum figure { PSS, TABLES };

struct memory {
	struct bench_file file;
	struct bench_server server;
	enum figure figure;
};

/* One word of each page. */
static uint64_t sum_pages(const uint64_t *words, uint64_t n_words)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < n_words; i += 512)
		sum += words[i];
	return sum;
}

static uint64_t expected(const struct memory *memory)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < memory->file.n_words; i += 512)
		sum += bench_word(i);
	return sum;
}

static void read_by_cursor(struct bench_team *team, unsigned member, void *data)
{
	const struct memory *memory = data;
	uint64_t sum = 0, offset = 0;
	struct bench_reader reader;

	(void)member;
	bench_reader_open(&reader, &memory->server, &memory->file, 0);
	while (offset < memory->file.n_words * 8) {
		size_t n = bench_check(smmap_cursor_use(reader.cursor, offset, 0), "a window");

		sum += sum_pages(smmap_cursor_data(reader.cursor), n / 8);
		offset += n;
	}
	bench_check_sum(sum, expected(memory), "windows");
	bench_team_ready(team);
	bench_team_await_end(team);
	bench_reader_close(&reader);
}

static void read_by_map(struct bench_team *team, unsigned member, void *data)
{
	const struct memory *memory = data;
	const uint64_t *map = bench_map(&memory->file, 0, memory->file.n_words * 8);

	(void)member;
	bench_check_sum(sum_pages(map, memory->file.n_words), expected(memory), "a map");
	bench_team_ready(team);
	bench_team_await_end(team);
}

static void read_copy(struct bench_team *team, unsigned member, void *data)
{
	const struct memory *memory = data;
	_cleanup_(close_fdp) int fd = open(memory->file.path, O_RDONLY | O_CLOEXEC);
	uint64_t bytes = memory->file.n_words * 8;
	char *copy = malloc(bytes);

	(void)member;
	for (uint64_t offset = 0; copy && offset < bytes; offset += MIB)
		if (read(fd, copy + offset, MIB) != (ssize_t)MIB)
			bench_fail("a read has failed");
	if (!copy)
		bench_fail("no memory");
	bench_check_sum(sum_pages((const uint64_t *)(void *)copy, memory->file.n_words), expected(memory), "a copy");
	bench_team_ready(team);
	bench_team_await_end(team);
	free(copy);
}

static double tell(const struct memory *memory, pid_t pid)
{
	uint64_t kib = memory->figure == PSS ? bench_proc(pid, "smaps_rollup", "Pss") : bench_proc(pid, "status", "VmPTE");

	return (double)kib / 1024;
}

/* Mebibytes. */
static double measure(struct memory *memory, unsigned n, void (*work)(struct bench_team *team, unsigned member, void *data))
{
	struct bench_team team;
	double sum = 0;

	bench_team_start(&team, n, work, memory);
	for (unsigned i = 0; i < n; i++)
		sum += tell(memory, team.pids[i]);
	if (work == read_by_cursor)
		sum += tell(memory, memory->server.pid);
	bench_team_end(&team);
	return sum;
}

static double ours(void *data)
{
	return measure(data, scale->processes, read_by_cursor);
}

static double maps(void *data)
{
	return measure(data, scale->processes, read_by_map);
}

/* There is no memory for as many copies: one is taken, and all are alike. */
static double copies(void *data)
{
	return measure(data, 1, read_copy) * scale->processes;
}

void bench_memory(void)
{
	static const struct bench_row by_maps = {"memory-maps", "sum of Pss of all processes that read the same file, and the server",
						 "plain maps", "MiB", .aim = BENCH_REPORTED};
	static const struct bench_row by_copies = {"memory-copies", "the same", "private copies", "MiB", .aim = BENCH_REPORTED};
	static const struct bench_row tables = {"memory-tables", "the same for page tables", "plain maps", "MiB", .aim = BENCH_REPORTED};
	struct memory memory = {.figure = PSS};

	bench_file_make(&memory.file, "shared", scale->file_bytes);
	bench_server_start(&memory.server, NULL);
	bench_compare(&by_maps, ours, maps, &memory);
	bench_compare(&by_copies, ours, copies, &memory);
	memory.figure = TABLES;
	bench_compare(&tables, ours, maps, &memory);
	bench_note("memory: %u processes read %llu MiB. One private copy was measured, and counts for each.", scale->processes,
		   (unsigned long long)(scale->file_bytes / MIB));
	bench_server_stop(&memory.server);
	bench_file_remove(&memory.file);
}
