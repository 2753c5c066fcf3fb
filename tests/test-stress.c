/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The board under stress: threads and processes that pin, use, unpin and are recalled without pause, and compare every byte. There are
 * more files than the server may have open, and several times the windows that it may map. No call may fail: no range is longer than a
 * window, so that a cursor pins two of them at most, and the limits are twice what all cursors together can pin.
 *
 * What a file holds depends on its number: another window, of this file or of another, differs in nearly every byte.
 */
#include "config.h"

#include "client/smmap-client.h"
#include "tests/harness.h"

#include "proto/util.h"

#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#define WINDOW 65536
#define FILES  32
#define SIZE   (5 * WINDOW - 4321)
#define SHIFT  7 /* of a file's bytes against those of the file before it */

static struct harness_server server;
static unsigned char bytes[SIZE + FILES * SHIFT];

static void make_files(void)
{
	for (uint64_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = harness_byte(i);
	for (unsigned i = 0; i < FILES; i++) {
		char path[16];
		FILE *file;

		snprintf(path, sizeof(path), "%u", i);
		file = fopen(path, "we");
		ck_assert_ptr_nonnull(file);
		ck_assert_uint_eq(fwrite(bytes + i * SHIFT, 1, SIZE, file), SIZE);
		ck_assert_int_eq(fclose(file), 0);
	}
}

/* With room for twice what so many cursors can pin: two windows of one file each. */
static void start(unsigned n_cursors)
{
	char memory[32], maps[32], handles[32];

	make_files();
	snprintf(memory, sizeof(memory), "--max-memory=%u", n_cursors * 4 * WINDOW);
	snprintf(maps, sizeof(maps), "--max-maps=%u", n_cursors * 4);
	snprintf(handles, sizeof(handles), "--max-handles=%u", n_cursors * 2);
	harness_start(&server, "--window-size=64K", memory, maps, handles, NULL);
}

/* After all clients are gone. */
static void stop(void)
{
	ck_assert_uint_gt(harness_figure(&server, "counters.recalls"), 100);
	ck_assert_uint_eq(harness_figure(&server, "counters.protocol_errors"), 0);
	ck_assert_uint_eq(harness_figure(&server, "usage.leases"), 0);
	harness_stop(&server);
}

static struct smmap_client *open_client(uint32_t flags, uint64_t max_mapped)
{
	struct smmap_client_options options = {.socket = server.socket, .deadline_ms = 60000, .flags = flags, .max_mapped = max_mapped};
	struct smmap_client *client;

	ck_assert_int_eq(smmap_client_open(&client, &options), 0);
	return client;
}

/* ---- a worker: one thread and its cursor ---- */

struct worker {
	pthread_t thread;
	struct smmap_client *client;
	struct smmap_cursor *files[FILES]; /* a cursor on each; they stand nowhere */
	struct smmap_cursor *cursor;       /* on one of them */
	unsigned file;
	uint64_t random;
	unsigned n_steps;
	const atomic_bool *until; /* instead, if there is one */
	int result;               /* 0, the error of a call, or EILSEQ for wrong bytes: the exit status of a process */
};

static uint64_t next_random(struct worker *worker)
{
	worker->random = worker->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return worker->random >> 32;
}

/* Whether a value is what it should be; says so if it is not. */
static bool expect(struct worker *worker, const char *what, int64_t value, int64_t expected)
{
	char said[512];

	if (value == expected)
		return true;
	smmap_client_complaint(worker->client, said, sizeof(said));
	printf("process %d, file %u, %" PRIu64 " to %" PRIu64 ": %s: %" PRId64 ", not %" PRId64 " %s\n", getpid(), worker->file,
	       smmap_cursor_begin(worker->cursor), smmap_cursor_end(worker->cursor), what, value, expected, said);
	fflush(stdout);
	worker->result = value < 0 ? (int)-value : EILSEQ;
	return false;
}

static void compare(struct worker *worker, const unsigned char *data, uint64_t offset, size_t size)
{
	const unsigned char *expected = bytes + worker->file * SHIFT + offset;
	size_t i = 0;

	if (memcmp(data, expected, size) == 0)
		return;
	while (i < size - 1 && data[i] == expected[i])
		i++;
	expect(worker, "equal bytes", (int64_t)i, (int64_t)size);
}

static void compare_all(struct worker *worker, const struct smmap_cursor *cursor)
{
	if (smmap_cursor_is_valid(cursor))
		compare(worker, smmap_cursor_data(cursor), smmap_cursor_begin(cursor), smmap_cursor_size(cursor));
}

static void use(struct worker *worker, uint64_t offset, size_t size)
{
	ssize_t n = smmap_cursor_use(worker->cursor, offset, size);

	if (expect(worker, "use", n, (int64_t)min_u64(size, SIZE - offset)))
		compare_all(worker, worker->cursor);
}

/* ---- its steps ---- */

/* In a window or across two, and past the end at times. The cursor stays there until the next step. */
static void use_somewhere(struct worker *worker)
{
	use(worker, next_random(worker) % SIZE, 1 + next_random(worker) % WINDOW);
}

static void change_file(struct worker *worker)
{
	worker->file = (unsigned)(next_random(worker) % FILES);
	if (expect(worker, "assign", smmap_cursor_assign(worker->cursor, worker->files[worker->file]), 0))
		use_somewhere(worker);
}

/* Lets go, and may find that it was recalled. */
static void come_back(struct worker *worker)
{
	uint64_t begin = smmap_cursor_begin(worker->cursor);
	size_t size = smmap_cursor_size(worker->cursor);

	smmap_cursor_unuse(worker->cursor);
	if (size)
		use(worker, begin, size);
}

/* A copy holds the place while the cursor lets go of it, and hands it back. */
static void copy_and_assign(struct worker *worker)
{
	struct smmap_cursor *copy;

	if (!expect(worker, "copy", smmap_cursor_copy(&copy, worker->cursor), 0))
		return;
	smmap_cursor_unuse(worker->cursor);
	compare_all(worker, copy);
	expect(worker, "assign", smmap_cursor_assign(worker->cursor, copy), 0);
	smmap_cursor_close(copy);
	compare_all(worker, worker->cursor);
}

static void read_somewhere(struct worker *worker)
{
	uint64_t offset = next_random(worker) % SIZE;
	size_t size = 1 + next_random(worker) % (2 * WINDOW);
	unsigned char to[2 * WINDOW];
	ssize_t n = smmap_cursor_read(worker->cursor, to, size, offset);

	if (expect(worker, "read", n, (int64_t)min_u64(size, SIZE - offset)))
		compare(worker, to, offset, (size_t)n);
}

static void step(struct worker *worker)
{
	static void (*const steps[])(struct worker *) = {use_somewhere, use_somewhere, use_somewhere, change_file, change_file,
							 come_back, copy_and_assign, read_somewhere};
	uint64_t random = next_random(worker);
	struct smmap_stats stats;

	if (random % 100 == 0)
		expect(worker, "stats", smmap_client_stats(worker->client, &stats), 0);
	if (random % 500 == 0)
		expect(worker, "collect", smmap_client_collect(worker->client) < 0, 0);
	steps[random / 500 % (sizeof(steps) / sizeof(steps[0]))](worker);
}

static void *work(void *data)
{
	struct worker *worker = data;

	change_file(worker);
	for (unsigned i = 0; !worker->result && (worker->until ? !atomic_load(worker->until) : i < worker->n_steps); i++)
		step(worker);
	return NULL;
}

/* ---- workers of one client ---- */

/* Workers like @like, of which @n_threads are threads. Their cursors are copies of one another, so that they share the files. */
static void begin_workers(struct worker *workers, unsigned n, unsigned n_threads, const struct worker *like)
{
	for (unsigned i = 0; i < n; i++) {
		workers[i] = *like;
		workers[i].random += i;
		ck_assert_int_eq(smmap_cursor_open(&workers[i].cursor, like->client, NULL, 0), 0);
	}
	for (unsigned file = 0; file < FILES; file++) {
		char path[16];

		snprintf(path, sizeof(path), "%u", file);
		ck_assert_int_eq(smmap_cursor_open(&workers->files[file], like->client, path, 0), 0);
		for (unsigned i = 1; i < n; i++)
			ck_assert_int_eq(smmap_cursor_copy(&workers[i].files[file], workers->files[file]), 0);
	}
	for (unsigned i = 0; i < n_threads; i++)
		ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
}

/* Awaits the threads, and closes everything, the client too. 0, or the result of one that failed. */
static int end_workers(const struct worker *workers, unsigned n, unsigned n_threads)
{
	int result = 0;

	for (unsigned i = 0; i < n; i++) {
		if (i < n_threads)
			pthread_join(workers[i].thread, NULL);
		result = result ? result : workers[i].result;
		for (unsigned file = 0; file < FILES; file++)
			smmap_cursor_close(workers[i].files[file]);
		smmap_cursor_close(workers[i].cursor);
	}
	smmap_client_close(workers->client);
	return result;
}

/* ---- processes, threads and forks ---- */

#define PROCESSES 4
#define SOME      3
#define MANY      8
#define STEPS     8000

static int run_workers(unsigned n, uint64_t random, uint64_t max_mapped)
{
	struct worker workers[MANY];

	begin_workers(workers, n, n, &(struct worker){.client = open_client(0, max_mapped), .random = random, .n_steps = STEPS});
	return end_workers(workers, n, n);
}

/* Some workers in a process of their own. */
static pid_t start_process(void)
{
	uint64_t random = harness_random();
	pid_t child = fork();

	ck_assert_int_ge(child, 0);
	if (!child)
		_exit(run_workers(SOME, random, 0));
	return child;
}

static void await_process(pid_t child)
{
	int status;

	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_msg(!status, "process %d ended with status %#x", child, (unsigned)status);
}

START_TEST(test_processes)
{
	pid_t children[PROCESSES];

	start(PROCESSES * SOME);
	for (int i = 0; i < PROCESSES; i++)
		children[i] = start_process();
	for (int i = 0; i < PROCESSES; i++)
		await_process(children[i]);
	stop();
}
END_TEST

START_TEST(test_threads)
{
	start(MANY);
	ck_assert_int_eq(run_workers(MANY, harness_random(), 0), 0);
	/* As much as the server has: at times the client is the first to let go of a lease, at times the server. */
	ck_assert_int_eq(run_workers(MANY, harness_random(), MANY * 4 * WINDOW), 0);
	stop();
}
END_TEST

START_TEST(test_no_thread)
{
	struct worker workers[MANY], like = {.n_steps = STEPS};
	struct pollfd pollfds[2];
	int n = 0, r, ends[2];
	pid_t rival;

	/* The rival has an end of a pipe, which is closed when it ends. */
	start(MANY + SOME);
	ck_assert_int_eq(pipe(ends), 0);
	rival = start_process();
	close(ends[1]);
	like.client = open_client(SMMAP_NO_THREAD, 0);
	like.random = harness_random();
	begin_workers(workers, MANY, MANY, &like);

	/* Until then what it needs is given back by this thread, or by a worker that waits for an answer. */
	pollfds[0] = (struct pollfd){.fd = smmap_client_get_fd(like.client), .events = POLLIN};
	pollfds[1] = (struct pollfd){.fd = ends[0]};
	for (; poll(pollfds, 2, -1) > 0 && !pollfds[1].revents; n += r) {
		r = smmap_client_dispatch(like.client);
		ck_assert_int_ge(r, 0);
	}
	close(ends[0]);
	await_process(rival);
	ck_assert_int_eq(end_workers(workers, MANY, MANY), 0);
	ck_assert_int_gt(n, 0);
	stop();
}
END_TEST

/* The address sanitizer's allocator has locks too, which a fork leaves to nobody. Those of the C library are let go of. */
#ifndef __SANITIZE_ADDRESS__
#define FORKS 60

/* In a child: other threads were in the middle of calls, with locks that nobody will ever let go of here. */
static int run_child(struct worker *worker)
{
	struct smmap_cursor *new;
	struct smmap_stats stats;
	struct worker like;
	char byte;

	/* Check's handler would end the parent too. */
	signal(SIGALRM, SIG_DFL);
	alarm(100);
	expect(worker, "use", smmap_cursor_use(worker->cursor, 0, 1), -ECHILD);
	expect(worker, "read", smmap_cursor_read(worker->cursor, &byte, 1, 0), -ECHILD);
	expect(worker, "open", smmap_cursor_open(&new, worker->client, "0", 0), -ECHILD);
	expect(worker, "collect", smmap_client_collect(worker->client), -ECHILD);
	expect(worker, "stats", smmap_client_stats(worker->client, &stats), -ECHILD);
	smmap_cursor_unuse(worker->cursor);
	like = (struct worker){.random = worker->random, .n_steps = 20, .result = end_workers(worker, 1, 0)};

	/* A client of its own works. Without a thread: ThreadSanitizer can't start one here. */
	like.client = open_client(SMMAP_NO_THREAD, 0);
	begin_workers(worker, 1, 0, &like);
	work(worker);
	return end_workers(worker, 1, 0);
}

START_TEST(test_forks)
{
	atomic_bool until = false;
	struct worker workers[MANY + 1], *own = &workers[MANY], like = {.until = &until};

	start(MANY + 2);
	like.client = open_client(0, 0);
	like.random = harness_random();
	begin_workers(workers, MANY + 1, MANY, &like);
	for (int i = 0; i < FORKS && !own->result; i++) {
		pid_t child;

		change_file(own);
		child = fork();
		ck_assert_int_ge(child, 0);
		if (!child)
			_exit(run_child(own));
		await_process(child);
		compare_all(own, own->cursor);
	}
	atomic_store(&until, true);
	ck_assert_int_eq(end_workers(workers, MANY + 1, MANY), 0);
	stop();
}
END_TEST
#endif

int main(void)
{
	Suite *suite = suite_create("stress");

	HARNESS_CASE(suite, "stress", test_processes, test_threads, test_no_thread);
#ifndef __SANITIZE_ADDRESS__
	HARNESS_CASE(suite, "forks", test_forks);
#endif
	return harness_run(suite);
}
