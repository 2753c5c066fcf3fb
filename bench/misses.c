/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Misses: each move is to a window that the client does not have. Client and server share one core: to wake another one would cost more
 * than all the rest. The file is in the page cache, and both sides map the same windows in the same order, touch one word of each, and
 * unmap the oldest of as many as they have. No window is behind the one before: who runs forward would get several at once.
 */
#include "config.h"

#include "bench/bench.h"

#include <sys/mman.h>
#include <unistd.h>

#define WINDOW    (64 * KIB)
#define N_WINDOWS 1024
#define N_KEPT    64
#define STEP      389 /* from one window to the next; it is odd, and so leads to all of them */

struct misses {
	struct bench_file file;
	struct bench_server bare;
	int socket;
	struct bench_reader reader;
	const uint64_t *maps[N_KEPT];
	uint64_t window, bare_window; /* the next one of each side */
};

/* A word that differs from window to window. */
static uint64_t place(uint64_t window)
{
	return window * (WINDOW / 8) + window % (WINDOW / 8);
}

static uint64_t sum_of(uint64_t first, uint64_t n)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < n; i++)
		sum += bench_word(place((first + i * STEP) % N_WINDOWS));
	return sum;
}

static double by_cursor(void *data)
{
	struct misses *misses = data;
	uint64_t first = misses->window, sum = 0, start = bench_ns(), ns;
	struct smmap_stats before, after;

	smmap_client_stats(misses->reader.client, &before);
	for (uint64_t i = 0; i < scale->misses; i++) {
		if (smmap_cursor_use(misses->reader.cursor, place(misses->window) * 8, 8) != 8)
			bench_fail("a use has failed");
		sum += *(const uint64_t *)smmap_cursor_data(misses->reader.cursor);
		misses->window = (misses->window + STEP) % N_WINDOWS;
	}
	ns = bench_ns() - start;
	smmap_client_stats(misses->reader.client, &after);
	if (after.hits != before.hits)
		bench_fail("what should be a miss was a hit");
	bench_check_sum(sum, sum_of(first, scale->misses), "misses");
	return (double)ns / (double)scale->misses / 1000;
}

static double by_bare_exchange(void *data)
{
	struct misses *misses = data;
	uint64_t first = misses->bare_window, sum = 0, start = bench_ns(), ns;

	for (uint64_t i = 0; i < scale->misses; i++) {
		const uint64_t **map = &misses->maps[misses->bare_window % N_KEPT];
		int fd = bare_exchange(misses->socket);
		void *new = mmap(NULL, WINDOW, PROT_READ, MAP_SHARED, fd, (off_t)(misses->bare_window * WINDOW));

		if (new == MAP_FAILED)
			bench_fail("no map");
		close(fd);
		sum += ((const uint64_t *)new)[misses->bare_window % (WINDOW / 8)];
		if (*map)
			bench_unmap(*map, WINDOW);
		*map = new;
		misses->bare_window = (misses->bare_window + STEP) % N_WINDOWS;
	}
	ns = bench_ns() - start;
	bench_check_sum(sum, sum_of(first, scale->misses), "bare exchanges");
	return (double)ns / (double)scale->misses / 1000;
}

static const struct bench_row swap = {"miss-swap", "miss, in place of an own lease when the server's limit is reached",
				      "bare exchange, mmap, first touch, munmap", "us", BENCH_AT_MOST, 1.4};
static const struct bench_row trim = {"miss-trim", "miss, in place of an own lease when the client's bound is reached",
				      "bare exchange, mmap, first touch, munmap", "us", BENCH_AT_MOST, 1.4};

static void compare(const struct bench_row *row, struct misses *misses, const char *max_memory, uint64_t max_mapped)
{
	struct bench_server server;

	bench_server_start(&server, "--window-size=64K", max_memory, NULL);
	bench_reader_open(&misses->reader, &server, &misses->file, max_mapped);
	misses->window = misses->bare_window;
	bench_compare(row, by_cursor, by_bare_exchange, misses);
	bench_reader_close(&misses->reader);
	bench_server_stop(&server);
}

void bench_misses(void)
{
	struct misses misses = {0};

	bench_file_make(&misses.file, "missed", N_WINDOWS * WINDOW);
	bare_file = misses.file.path;
	bench_pin();
	bench_server_fork(&misses.bare, bare_serve);
	misses.socket = bare_connect(misses.bare.socket);
	compare(&swap, &misses, "--max-memory=4M", 0);
	compare(&trim, &misses, "--max-memory=1G", N_KEPT * WINDOW);
	bench_unpin();

	for (unsigned i = 0; i < N_KEPT; i++)
		bench_unmap(misses.maps[i], WINDOW);
	close(misses.socket);
	bench_server_stop(&misses.bare);
	bench_file_remove(&misses.file);
}
