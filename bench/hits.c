/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hits: random reads of what is mapped already. Both sides go through the same list of places and touch each of them once before anything
 * is measured, so that no page is missing in either. Where a cursor moves among leases, what it costs to move is what is measured.
 */
#include "config.h"

#include "bench/bench.h"

#include "proto/board.h"
#include "proto/util.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define LEASE     (64 * MIB) /* the default window */
#define N_LEASES  64
#define N_THREADS 8
#define RUN       8 /* words that are read where pread(2) is compared with */

struct hits {
	struct bench_file file;
	struct bench_server server;
	struct bench_reader reader;
	const uint64_t *map;
	int fd;
	struct bench_walk walk;
};

/* ---- 8 bytes ---- */

static uint64_t read_by_cursor(struct smmap_cursor *cursor, const struct bench_walk *walk)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < walk->n; i++) {
		if (smmap_cursor_use(cursor, (uint64_t)walk->places[i] * 8, 8) != 8)
			bench_fail("a use has failed");
		sum += *(const uint64_t *)smmap_cursor_data(cursor);
	}
	return sum;
}

static uint64_t read_by_map(const uint64_t *map, const struct bench_walk *walk)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < walk->n; i++)
		sum += map[walk->places[i]];
	return sum;
}

/* The same where each place is known only when the one before was read, as in a search: then a processor can't read many at once. */
static uint64_t follow_by_cursor(struct smmap_cursor *cursor, const struct bench_walk *walk)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < walk->n; i++) {
		if (smmap_cursor_use(cursor, (walk->places[i] + (sum & walk->link)) * 8, 8) != 8)
			bench_fail("a use has failed");
		sum += *(const uint64_t *)smmap_cursor_data(cursor);
	}
	return sum;
}

static uint64_t follow_by_map(const uint64_t *map, const struct bench_walk *walk)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < walk->n; i++)
		sum += map[walk->places[i] + (sum & walk->link)];
	return sum;
}

/* Nanoseconds for a read. */
static double finish(const struct hits *hits, uint64_t start, uint64_t sum)
{
	uint64_t ns = bench_thread_ns() - start;

	bench_check_sum(sum, hits->walk.sum, "hits");
	return (double)ns / (double)hits->walk.n;
}

static double by_cursor(void *data)
{
	const struct hits *hits = data;
	uint64_t start = bench_thread_ns();

	return finish(hits, start, read_by_cursor(hits->reader.cursor, &hits->walk));
}

static double by_map(void *data)
{
	const struct hits *hits = data;
	uint64_t start = bench_thread_ns();

	return finish(hits, start, read_by_map(hits->map, &hits->walk));
}

static double followed_by_cursor(void *data)
{
	const struct hits *hits = data;
	uint64_t start = bench_thread_ns();

	return finish(hits, start, follow_by_cursor(hits->reader.cursor, &hits->walk));
}

static double followed_by_map(void *data)
{
	const struct hits *hits = data;
	uint64_t start = bench_thread_ns();

	return finish(hits, start, follow_by_map(hits->map, &hits->walk));
}

/* The least that a move among leases can be: to pin one is an atomic addition, and to let go of the one before another. */
static double pinned_by_map(void *data)
{
	static struct board_slot slots[N_LEASES];
	const struct hits *hits = data;
	int lease_bits = __builtin_ctzll(hits->file.n_words / N_LEASES);
	uint64_t start = bench_thread_ns(), sum = 0;
	struct board_slot *slot = slots;

	for (uint64_t i = 0; i < hits->walk.n; i++) {
		uint64_t place = hits->walk.places[i];

		atomic_fetch_sub(&slot->state, 1);
		slot = &slots[place >> lease_bits];
		atomic_fetch_add(&slot->state, 1);
		sum += hits->map[place];
	}
	return finish(hits, start, sum);
}

/* ---- 64 bytes ---- */

static double run_by_cursor(void *data)
{
	const struct hits *hits = data;
	uint64_t start = bench_thread_ns(), sum = 0;

	for (uint64_t i = 0; i < hits->walk.n; i++) {
		const uint64_t *words;

		if (smmap_cursor_use(hits->reader.cursor, (uint64_t)hits->walk.places[i] * 8, RUN * 8) != RUN * 8)
			bench_fail("a use has failed");
		words = smmap_cursor_data(hits->reader.cursor);
		for (unsigned j = 0; j < RUN; j++)
			sum += words[j];
	}
	return finish(hits, start, sum);
}

static double run_by_pread(void *data)
{
	const struct hits *hits = data;
	uint64_t start = bench_thread_ns(), sum = 0, words[RUN];

	for (uint64_t i = 0; i < hits->walk.n; i++) {
		if (pread(hits->fd, words, sizeof(words), (off_t)hits->walk.places[i] * 8) != sizeof(words))
			bench_fail("a read has failed");
		for (unsigned j = 0; j < RUN; j++)
			sum += words[j];
	}
	return finish(hits, start, sum);
}

/* ---- threads ---- */

struct thread {
	pthread_t id;
	pthread_barrier_t *barrier;
	struct hits *hits;
	bool mapped; /* the reference */
	uint64_t start, end;
};

static void *run_thread(void *data)
{
	struct thread *thread = data;
	struct hits *hits = thread->hits;
	struct smmap_cursor *cursor = NULL;
	uint64_t sum;

	if (!thread->mapped)
		bench_check(smmap_cursor_open(&cursor, hits->reader.client, hits->file.path, 0), hits->file.path);
	pthread_barrier_wait(thread->barrier);
	thread->start = bench_ns();
	sum = thread->mapped ? read_by_map(hits->map, &hits->walk) : read_by_cursor(cursor, &hits->walk);
	thread->end = bench_ns();
	bench_check_sum(sum, hits->walk.sum, "a thread");
	smmap_cursor_close(cursor);
	return NULL;
}

/* Nanoseconds for a read, as all threads together do them. */
static double by_threads(struct hits *hits, bool mapped)
{
	struct thread threads[N_THREADS];
	pthread_barrier_t barrier;
	uint64_t start = UINT64_MAX, end = 0;

	pthread_barrier_init(&barrier, NULL, N_THREADS);
	for (unsigned i = 0; i < N_THREADS; i++) {
		threads[i] = (struct thread){.barrier = &barrier, .hits = hits, .mapped = mapped};
		if (pthread_create(&threads[i].id, NULL, run_thread, &threads[i]))
			bench_fail("no thread");
	}
	for (unsigned i = 0; i < N_THREADS; i++) {
		pthread_join(threads[i].id, NULL);
		start = min_u64(start, threads[i].start);
		end = max_u64(end, threads[i].end);
	}
	pthread_barrier_destroy(&barrier);
	return (double)(end - start) / (double)(N_THREADS * hits->walk.n);
}

static double threads_by_cursor(void *data)
{
	return by_threads(data, false);
}

static double threads_by_map(void *data)
{
	return by_threads(data, true);
}

/* ---- Python's smmap ---- */

static char python[256];

/* What the program prints; negative if there is none. */
static double run_python(const char *arguments)
{
	char command[512];
	double figure = -1;
	FILE *stream;
	int n;

	snprintf(command, sizeof(command), "%s %s", python, arguments);
	stream = popen(command, "re");
	n = stream ? fscanf(stream, "%lf", &figure) : 0;
	return stream && pclose(stream) == 0 && n == 1 ? figure : -1;
}

static double by_python(void *data)
{
	struct hits *hits = data;
	char arguments[PATH_MAX + 64];
	double figure;

	snprintf(arguments, sizeof(arguments), "%s %" PRIu64 " places %" PRIu64, hits->file.path, hits->file.n_words * 8 / N_LEASES,
		 hits->walk.sum);
	figure = run_python(arguments);
	if (figure < 0)
		bench_fail("the program in Python has failed");
	return figure;
}

static void write_places(const struct bench_walk *walk)
{
	FILE *stream = fopen("places", "we");

	if (!stream || fwrite(walk->places, sizeof(*walk->places), walk->n, stream) != walk->n || fclose(stream))
		bench_fail("places: %s", strerror(errno));
}

static void compare_python(struct hits *hits)
{
	static const struct bench_row row = {"hit-python", "use and read 8 bytes at random over 64 leases, in C",
					     "smmap in Python, 64 windows", "ns", .aim = BENCH_REPORTED};
	const char *source = getenv("BENCH_PYTHON");

	snprintf(python, sizeof(python), "%s", source ? source : "");
	if (!source || run_python("--version 2>&1") < 0) {
		bench_note("Python's smmap (package python3-smmap) is not installed: that row is left out.");
		return;
	}
	bench_walk_make(&hits->walk, scale->reads / 20, hits->file.n_words, 1);
	write_places(&hits->walk);
	bench_compare(&row, by_cursor, by_python, hits);
	unlink("places");
	bench_walk_free(&hits->walk);
}

/* ---- rows ---- */

static const struct bench_row one = {
	"hit-one-lease", "use and read 8 bytes at random inside one lease", "the same loop on a plain map", "ns", BENCH_AT_MOST, 1.2};
static const struct bench_row one_followed = {"hit-one-lease-search", "the same, each place known only from the read before",
					      "the same loop on a plain map", "ns", BENCH_AT_MOST, 1.2};
static const struct bench_row leases = {
	"hit-64-leases", "the same as the first over 64 leases of one file, one cursor", "plain map of the file", "ns", BENCH_AT_MOST, 2};
static const struct bench_row leases_followed = {"hit-64-leases-search", "the same, each place known only from the read before",
						 "plain map of the file", "ns", BENCH_AT_MOST, 2};
static const struct bench_row leases_least = {"hit-64-leases-least", "the least that this can be: a plain map, and two atomic additions for each read",
					      "plain map of the file", "ns", .aim = BENCH_REPORTED};
static const struct bench_row threads = {
	"hit-threads", "8 bytes over 64 leases, 8 threads with a cursor each, all cores", "the same on a plain map", "ns", BENCH_AT_MOST, 3};
static const struct bench_row pread_one = {
	"hit-pread-one-lease", "use and read 64 bytes at random inside one lease", "pread of 64 bytes", "ns", BENCH_AT_MOST, 0.1};
static const struct bench_row pread_leases = {
	"hit-pread-64-leases", "use and read 64 bytes at random over 64 leases", "pread of 64 bytes", "ns", BENCH_AT_MOST, 0.1};

/* Reads in the first @words words, @run at a place, as often as @n says. */
static void compare(const struct bench_row *row, bench_side *ours, bench_side *reference, struct hits *hits, uint64_t n, uint64_t words,
		    unsigned run)
{
	bench_walk_make(&hits->walk, n, words, run);
	bench_compare(row, ours, reference, hits);
	bench_walk_free(&hits->walk);
}

static void compare_one(struct hits *hits)
{
	bench_server_start(&hits->server, "--window-size=64M", NULL);
	bench_reader_open(&hits->reader, &hits->server, &hits->file, 0);
	compare(&one, by_cursor, by_map, hits, scale->reads, LEASE / 8, 1);
	compare(&one_followed, followed_by_cursor, followed_by_map, hits, scale->reads, LEASE / 8, 1);
	compare(&pread_one, run_by_cursor, run_by_pread, hits, scale->reads, LEASE / 8, RUN);
	bench_reader_close(&hits->reader);
	bench_server_stop(&hits->server);
}

static void compare_many(struct hits *hits)
{
	uint64_t words = hits->file.n_words;
	char option[64];

	snprintf(option, sizeof(option), "--window-size=%" PRIu64, words * 8 / N_LEASES);
	bench_server_start(&hits->server, option, NULL);
	bench_reader_open(&hits->reader, &hits->server, &hits->file, 0);
	compare(&leases, by_cursor, by_map, hits, scale->reads, words, 1);
	compare(&leases_followed, followed_by_cursor, followed_by_map, hits, scale->reads, words, 1);
	compare(&leases_least, pinned_by_map, by_map, hits, scale->reads, words, 1);
	compare(&pread_leases, run_by_cursor, run_by_pread, hits, scale->reads, words, RUN);
	compare_python(hits);
	bench_unpin();
	compare(&threads, threads_by_cursor, threads_by_map, hits, scale->reads / N_THREADS, words, 1);
	bench_reader_close(&hits->reader);
	bench_server_stop(&hits->server);
}

void bench_hits(void)
{
	struct hits hits = {0};

	bench_file_make(&hits.file, "random", scale->file_bytes);
	hits.map = bench_map(&hits.file, 0, scale->file_bytes);
	hits.fd = open(hits.file.path, O_RDONLY | O_CLOEXEC);
	bench_pin();
	compare_one(&hits);
	compare_many(&hits);
	bench_unmap(hits.map, scale->file_bytes);
	close(hits.fd);
	bench_file_remove(&hits.file);
}
