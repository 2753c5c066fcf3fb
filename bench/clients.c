/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Misses a second, of many clients at once, each a process of its own. A client keeps a few windows; every move is to one that it does not
 * have, and gives the oldest back. The reference is the least that a server by libuv can do: it answers with a descriptor, whoever asks.
 */
#include "config.h"

#include "bench/bench.h"

#include <sys/mman.h>
#include <unistd.h>

#define WINDOW    (64 * KIB)
#define N_WINDOWS 1024
#define N_KEPT    4
#define STEP      389 /* from one window to the next; it is odd, and so leads to all of them */

struct crowd {
	struct bench_file file;
	struct bench_server server, bare;
	unsigned n;
};

/* Members go round in the same order, each from a place of its own; never from a window to the next, or they would get several at once. */
static uint64_t window_of(unsigned member, uint64_t i)
{
	return ((uint64_t)member * 37 + i * STEP) % N_WINDOWS;
}

static void check_word(const uint64_t *word, uint64_t window)
{
	if (*word != bench_word(window * (WINDOW / 8)))
		bench_fail("a miss: what was read is not what the file holds");
}

static void miss_by_cursor(struct bench_team *team, unsigned member, void *data)
{
	const struct crowd *crowd = data;
	struct bench_reader reader;

	bench_reader_open(&reader, &crowd->server, &crowd->file, N_KEPT * WINDOW);
	bench_team_ready(team);
	for (uint64_t i = 0; bench_team_works(team); i++) {
		uint64_t window = window_of(member, i);

		bench_check(smmap_cursor_use(reader.cursor, window * WINDOW, 8), "a miss");
		check_word(smmap_cursor_data(reader.cursor), window);
		bench_team_count(team, member, i + 1);
	}
	bench_reader_close(&reader);
}

static void miss_by_bare_exchange(struct bench_team *team, unsigned member, void *data)
{
	const struct crowd *crowd = data;
	const uint64_t *maps[N_KEPT] = {NULL};
	int socket = bare_connect(crowd->bare.socket);

	bench_team_ready(team);
	for (uint64_t i = 0; bench_team_works(team); i++) {
		uint64_t window = window_of(member, i);
		int fd = bare_exchange(socket);
		const uint64_t *map = mmap(NULL, WINDOW, PROT_READ, MAP_SHARED, fd, (off_t)(window * WINDOW));

		if (map == MAP_FAILED)
			bench_fail("no map");
		close(fd);
		check_word(map, window);
		if (maps[i % N_KEPT])
			bench_unmap(maps[i % N_KEPT], WINDOW);
		maps[i % N_KEPT] = map;
		bench_team_count(team, member, i + 1);
	}
	close(socket);
}

/* Misses a second. */
static double rate(struct crowd *crowd, unsigned n, void (*work)(struct bench_team *team, unsigned member, void *data))
{
	struct bench_team team;
	double misses;

	bench_team_start(&team, n, work, crowd);
	misses = bench_team_rate(&team);
	bench_team_end(&team);
	return misses;
}

static double ours(void *data)
{
	struct crowd *crowd = data;

	return rate(crowd, crowd->n, miss_by_cursor);
}

static double bare(void *data)
{
	struct crowd *crowd = data;

	return rate(crowd, crowd->n, miss_by_bare_exchange);
}

static double ours_of_4(void *data)
{
	return rate(data, 4, miss_by_cursor);
}

static double bare_of_4(void *data)
{
	return rate(data, 4, miss_by_bare_exchange);
}

void bench_clients(void)
{
#define ROW(n, aim, target) \
	{"clients-" #n, "misses a second, clients: " #n, "a bare libuv server that answers with a descriptor", "1/s", aim, target}
	static const struct bench_row rows[] = {
		ROW(1, BENCH_REPORTED, 0),  ROW(2, BENCH_REPORTED, 0),	 ROW(4, BENCH_AT_LEAST, 0.8),
		ROW(16, BENCH_REPORTED, 0), ROW(100, BENCH_REPORTED, 0), ROW(1000, BENCH_REPORTED, 0),
	};
#undef ROW
	static const unsigned sizes[] = {1, 2, 4, 16, 100, 1000};
	static const struct bench_row fall = {"clients-fall", "misses a second of the most clients above", "the same server with 4", "1/s",
					      BENCH_AT_LEAST, 0.8};
	static const struct bench_row bare_fall = {"clients-fall-bare", "the same of the bare server", "the same server with 4", "1/s",
						   .aim = BENCH_REPORTED};
	struct crowd crowd = {0};

	bench_file_make(&crowd.file, "missed", N_WINDOWS * WINDOW);
	bare_file = crowd.file.path;
	/* What is not for files is for clients. */
	bench_server_start(&crowd.server, "--window-size=64K", "--max-memory=1G", "--max-handles=64", NULL);
	bench_server_fork(&crowd.bare, bare_serve_uv);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]) && sizes[i] <= scale->clients; i++) {
		crowd.n = sizes[i];
		bench_compare(&rows[i], ours, bare, &crowd);
	}
	bench_compare(&fall, ours, ours_of_4, &crowd);
	bench_compare(&bare_fall, bare, bare_of_4, &crowd);
	bench_server_stop(&crowd.bare);
	bench_server_stop(&crowd.server);
	bench_file_remove(&crowd.file);
}
