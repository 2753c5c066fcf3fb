/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A file that is truncated to nothing, to half a page, and grown again, as fast as a process can, under eight readers: four threads of one
 * process, and four processes. Nobody dies in a copying read, whatever is returned is right, and in the end all see the final size.
 */
#include "config.h"

#include "client/smmap-client.h"
#include "tests/harness.h"

#include "proto/util.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#define PAGE          4096
#define WINDOW        (4 * PAGE)
#define MOST          (5 * WINDOW)
#define FINAL         (2 * WINDOW + PAGE + 123)
#define N_THREADS     4
#define N_READERS     (N_THREADS + 4)
#define N_TRUNCATIONS 20000
/* That each reader has to get while the file changes. */
#define N_READS 100

static struct harness_server server;

/* What writer and readers share, over all processes. */
static struct {
	atomic_bool done;
	_Atomic uint64_t n_reads[N_READERS];
	_Atomic uint64_t n_stale;
} *shared;

struct reader {
	unsigned number;
	struct smmap_client *client;
	struct smmap_cursor *cursor;
	uint64_t random;
	unsigned char bytes[MOST];
};

/* ---- a reader ---- */

static uint64_t next_random(struct reader *reader)
{
	reader->random = reader->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return reader->random >> 33;
}

static struct smmap_client *open_client(uint32_t flags)
{
	struct smmap_client_options options = {.socket = server.socket, .flags = flags};
	struct smmap_client *client;

	ck_assert_int_eq(smmap_client_open(&client, &options), 0);
	return client;
}

/* Every byte is the file's, or of a hole. */
static void check_bytes(const struct reader *reader, ssize_t n, uint64_t offset)
{
	if (n == -ESTALE) {
		atomic_fetch_add(&shared->n_stale, 1);
		return;
	}
	ck_assert_msg(n >= 0, "reader %u: %s", reader->number, smmap_strerror((int)n));
	for (ssize_t i = 0; i < n; i++)
		ck_assert_msg(!reader->bytes[i] || reader->bytes[i] == harness_byte(offset + (uint64_t)i), "reader %u: byte %" PRIu64,
			      reader->number, offset + (uint64_t)i);
}

static void read_by_cursor(struct reader *reader)
{
	uint64_t offset = next_random(reader) % MOST;
	size_t size = (size_t)(1 + next_random(reader) % (MOST - offset));

	check_bytes(reader, smmap_cursor_read(reader->cursor, reader->bytes, size, offset), offset);
}

static void read_by_buffer(struct reader *reader)
{
	struct smmap_buffer *buffer;
	int r = smmap_buffer_open(&buffer, reader->cursor, 0, SMMAP_TO_END);

	if (r < 0) {
		check_bytes(reader, r, 0);
		return;
	}
	for (int i = 0; i < 3; i++) {
		int64_t from = (int64_t)(next_random(reader) % MOST);

		check_bytes(reader, smmap_buffer_read(buffer, reader->bytes, from, INT64_MAX), (uint64_t)from);
	}
	smmap_buffer_close(buffer);
}

/* The file does not change any more: it is seen as it is. */
static void see_the_end(struct reader *reader)
{
	ssize_t n;

	do {
		n = smmap_cursor_use(reader->cursor, 0, MOST);
		ck_assert_msg(n >= 0 || n == -ESTALE, "reader %u: %s", reader->number, smmap_strerror((int)n));
	} while (n != FINAL);
	ck_assert_uint_eq(smmap_cursor_file_size(reader->cursor), FINAL);
	ck_assert_int_eq(smmap_cursor_read(reader->cursor, reader->bytes, MOST, 0), FINAL);
	for (uint64_t i = 0; i < FINAL; i++)
		ck_assert_uint_eq(reader->bytes[i], harness_byte(i));
}

/* Some can't be saved by any handler. */
static void block_signal(const struct reader *reader)
{
	sigset_t set;

	sigemptyset(&set);
	if (reader->number / 2 % 2)
		sigaddset(&set, SIGBUS);
	ck_assert_int_eq(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
}

static void *read_all_the_time(void *data)
{
	struct reader *reader = data;

	block_signal(reader);
	ck_assert_int_eq(smmap_cursor_open(&reader->cursor, reader->client, "file", reader->number % 2 ? SMMAP_WHOLE_FILE : 0), 0);
	while (!atomic_load(&shared->done)) {
		if (next_random(reader) % 2)
			read_by_cursor(reader);
		else
			read_by_buffer(reader);
		atomic_fetch_add(&shared->n_reads[reader->number], 1);
	}
	see_the_end(reader);
	smmap_cursor_close(reader->cursor);
	free(reader);
	return NULL;
}

static struct reader *make_reader(unsigned number, struct smmap_client *client, uint64_t random)
{
	struct reader *reader = malloc(sizeof(*reader));

	ck_assert_ptr_nonnull(reader);
	reader->number = number;
	reader->client = client;
	reader->random = random;
	return reader;
}

/* ---- processes ---- */

static void run_threads(uint32_t flags, uint64_t random)
{
	struct smmap_client *client = open_client(flags);
	pthread_t threads[N_THREADS];

	for (unsigned i = 0; i < N_THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, read_all_the_time, make_reader(i, client, random + i)), 0);
	for (unsigned i = 0; i < N_THREADS; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	smmap_client_close(client);
}

static void run_alone(unsigned number, uint32_t flags, uint64_t random)
{
	struct smmap_client *client = open_client(flags);

	read_all_the_time(make_reader(number, client, random));
	smmap_client_close(client);
}

/* Process 0 has the threads; each of the others is one reader. */
static pid_t start_process(unsigned process, uint32_t flags)
{
	uint64_t random = harness_random();
	pid_t pid;

	fflush(stdout);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (process)
		run_alone(N_THREADS - 1 + process, flags, random);
	else
		run_threads(flags, random);
	_exit(0);
}

/* ---- the writer ---- */

static void write_file(int fd, size_t size)
{
	static unsigned char bytes[MOST];

	for (size_t i = 0; !bytes[MOST - 1] && i < MOST; i++)
		bytes[i] = harness_byte(i);
	ck_assert_int_eq(pwrite(fd, bytes, size, 0), (ssize_t)size);
}

/* To nothing, and to half a page, with and without a hole behind it. */
static void truncate_and_grow(int fd, uint64_t random)
{
	ck_assert_int_eq(ftruncate(fd, random % 4 < 2 ? 0 : PAGE / 2), 0);
	if (random % 2)
		ck_assert_int_eq(ftruncate(fd, (off_t)(random >> 8) % MOST), 0);
	write_file(fd, (size_t)(random >> 32) % MOST);
}

static bool all_have_read(const uint64_t *more_than)
{
	for (int i = 0; i < N_READERS; i++)
		if (atomic_load(&shared->n_reads[i]) <= more_than[i])
			return false;
	return true;
}

static void assert_alive(const pid_t *pids, size_t n)
{
	for (size_t i = 0; i < n; i++)
		ck_assert_msg(waitpid(pids[i], NULL, WNOHANG) == 0, "process %zu has ended", i);
}

static void change_file(int fd, const pid_t *pids, size_t n_pids)
{
	uint64_t enough[N_READERS] = {0};
	struct timespec begin, end;
	uint64_t n = 0, us;

	while (!all_have_read(enough)) {
		assert_alive(pids, n_pids);
		poll(NULL, 0, 1);
	}
	for (int i = 0; i < N_READERS; i++)
		enough[i] = atomic_load(&shared->n_reads[i]) + N_READS;
	clock_gettime(CLOCK_MONOTONIC, &begin);
	while (n < N_TRUNCATIONS || !all_have_read(enough)) {
		truncate_and_grow(fd, harness_random());
		if (++n % 1000 == 0)
			assert_alive(pids, n_pids);
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	us = (uint64_t)(end.tv_sec - begin.tv_sec) * 1000000 + (uint64_t)(end.tv_nsec / 1000) - (uint64_t)(begin.tv_nsec / 1000);
	printf("the file was truncated %" PRIu64 " times, %" PRIu64 " a second; %" PRIu64 " reads were told so\n", n, n * 1000000 / max_u64(us, 1),
	       atomic_load(&shared->n_stale));
	ck_assert_uint_gt(atomic_load(&shared->n_stale), 0);
}

static void truncate_under_readers(uint32_t flags)
{
	pid_t pids[1 + N_READERS - N_THREADS];
	const unsigned n = sizeof(pids) / sizeof(pids[0]);
	int fd, status;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(shared, MAP_FAILED);
	harness_start(&server, "--window-size=16K", "--max-memory=16M", NULL);
	fd = open("file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	write_file(fd, MOST);
	for (unsigned i = 0; i < n; i++)
		pids[i] = start_process(i, flags);

	change_file(fd, pids, n);
	ck_assert_int_eq(ftruncate(fd, FINAL), 0);
	write_file(fd, FINAL);
	atomic_store(&shared->done, true);
	for (unsigned i = 0; i < n; i++) {
		ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
		ck_assert_msg(status == 0, "process %u ended with %#x", i, (unsigned)status);
	}
	close(fd);
	ck_assert_uint_eq(harness_figure(&server, "counters.protocol_errors"), 0);
	harness_stop(&server);
	ck_assert_int_eq(munmap(shared, sizeof(*shared)), 0);
}

START_TEST(test_copies)
{
	truncate_under_readers(0);
}
END_TEST

START_TEST(test_guarded_copies)
{
	truncate_under_readers(SMMAP_GUARD_SIGBUS);
}
END_TEST

/* ---- what a use sees ---- */

/* Shorter and longer, step by step: as soon as somebody has asked the server, all see it. */
static void follow_the_size(uint32_t flags)
{
	static const off_t sizes[] = {MOST, PAGE / 2, FINAL, 0, 1, MOST, WINDOW, WINDOW - 1, WINDOW + 1, 0, FINAL};
	struct smmap_client *client, *asking;
	struct smmap_cursor *cursor, *asker;
	int fd = open("file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	client = open_client(0);
	asking = open_client(0);
	write_file(fd, MOST);
	ck_assert_int_eq(smmap_cursor_open(&cursor, client, "file", flags), 0);
	ck_assert_int_eq(smmap_cursor_open(&asker, asking, "file", 0), 0);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		ssize_t size = (ssize_t)sizes[i];

		ck_assert_int_eq(ftruncate(fd, sizes[i]), 0);
		write_file(fd, (size_t)size);
		ck_assert_int_eq(smmap_cursor_use(asker, INT64_MAX - 1, 1), 0);
		/* By the inlined function and by the other, from where the cursor stands. */
		ck_assert_int_eq(smmap_cursor_use(cursor, 0, MOST + 1), size);
		ck_assert_int_eq((smmap_cursor_use)(cursor, 0, MOST), size);
		ck_assert_uint_eq(smmap_cursor_file_size(cursor), (uint64_t)size);
		for (ssize_t byte = 0; byte < size; byte++)
			ck_assert_uint_eq(((const unsigned char *)smmap_cursor_data(cursor))[byte], harness_byte((uint64_t)byte));
		ck_assert_int_eq(smmap_cursor_use(cursor, (uint64_t)size, 1), 0);
		/* It stands there when the next change comes. */
		ck_assert_int_eq(smmap_cursor_use(cursor, 0, MOST), size);
	}
	smmap_cursor_close(cursor);
	smmap_cursor_close(asker);
	smmap_client_close(client);
	smmap_client_close(asking);
	close(fd);
}

START_TEST(test_size)
{
	harness_start(&server, "--window-size=16K", "--max-memory=16M", NULL);
	follow_the_size(0);
	follow_the_size(SMMAP_WHOLE_FILE);
	harness_stop(&server);
}
END_TEST

/* Nobody asks: the server looks by itself, and what is stale is not stood on any more. */
START_TEST(test_noticed)
{
	struct smmap_client *client;
	struct smmap_cursor *cursor;
	ssize_t n;

	harness_start(&server, "--window-size=16K", "--max-memory=16M", NULL);
	client = open_client(0);
	harness_make_file("file", MOST);
	for (uint32_t flags = 0; flags <= SMMAP_WHOLE_FILE; flags++) {
		ck_assert_int_eq(truncate("file", MOST), 0);
		ck_assert_int_eq(smmap_cursor_open(&cursor, client, "file", flags), 0);
		ck_assert_int_eq(smmap_cursor_use(cursor, 0, MOST), MOST);
		ck_assert_int_eq(truncate("file", PAGE / 2), 0);
		do
			n = smmap_cursor_use(cursor, 0, MOST);
		while (n == MOST);
		ck_assert_int_eq(n, PAGE / 2);
		smmap_cursor_close(cursor);
	}
	smmap_client_close(client);
	harness_stop(&server);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("truncation");

	HARNESS_CASE(suite, "under readers", test_copies, test_guarded_copies);
	HARNESS_CASE(suite, "sizes", test_size, test_noticed);
	return harness_run(suite);
}
