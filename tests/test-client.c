/* SPDX-License-Identifier: BSD-3-Clause */
/* Clients: how they are opened, what they tell, threads, forks, and servers that go and come. */
#include "config.h"

#include "client/smmap-client.h"
#include "tests/harness.h"

#include "proto/util.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define WINDOW 4096

static struct harness_server server;

static struct smmap_client *open_client(uint32_t flags, uint32_t deadline_ms)
{
	struct smmap_client_options options = {.socket = server.socket, .flags = flags, .deadline_ms = deadline_ms};
	struct smmap_client *client;

	ck_assert_int_eq(smmap_client_open(&client, &options), 0);
	return client;
}

static struct smmap_cursor *open_cursor(struct smmap_client *client, const char *path)
{
	struct smmap_cursor *cursor;

	ck_assert_int_eq(smmap_cursor_open(&cursor, client, path, 0), 0);
	return cursor;
}

static void start(void)
{
	harness_start(&server, "--window-size=4K", "--max-memory=64K", "--recall-timeout=1s", NULL);
}

/* Uses and compares a random piece of a file made by the harness. 0 or an error. */
static int check_somewhere(struct smmap_cursor *cursor, uint64_t random)
{
	uint64_t offset = random % smmap_cursor_file_size(cursor);
	ssize_t n = smmap_cursor_use(cursor, offset, (size_t)(1 + (random >> 32) % 6000));
	const unsigned char *data = smmap_cursor_data(cursor);

	if (n <= 0)
		return n < 0 ? (int)n : -ENODATA;
	for (ssize_t i = 0; i < n; i++)
		if (data[i] != harness_byte(offset + (uint64_t)i))
			return -EILSEQ;
	return 0;
}

/* ---- opening ---- */

START_TEST(test_no_server)
{
	struct smmap_client_options options = {.socket = "not-there"};
	struct smmap_client *client = NULL;

	ck_assert_int_eq(smmap_client_open(&client, &options), -ENOTCONN);
	/* A file that nobody listens on. */
	start();
	harness_kill(&server);
	options.socket = server.socket;
	ck_assert_int_eq(smmap_client_open(&client, &options), -ENOTCONN);
	ck_assert_ptr_null(client);
}
END_TEST

START_TEST(test_options)
{
	char long_name[65], long_path[PATH_MAX + 1];
	struct smmap_client_options options = {0};
	struct smmap_client *client;

	start();
	memset(long_name, 'n', 64);
	long_name[64] = '\0';
	memset(long_path, '/', PATH_MAX);
	long_path[PATH_MAX] = '\0';

	ck_assert_int_eq(smmap_client_open(NULL, NULL), -EINVAL);
	options.socket = server.socket;
	options.flags = 4;
	ck_assert_int_eq(smmap_client_open(&client, &options), -EINVAL);
	options.flags = 0;
	for (size_t i = 0; i < sizeof(options.reserved) / sizeof(options.reserved[0]); i++) {
		options.reserved[i] = 1;
		ck_assert_int_eq(smmap_client_open(&client, &options), -EINVAL);
		options.reserved[i] = 0;
	}
	options.name = long_name;
	ck_assert_int_eq(smmap_client_open(&client, &options), -EINVAL);
	long_name[63] = '\0';
	ck_assert_int_eq(smmap_client_open(&client, &options), 0);
	smmap_client_close(client);
	options.socket = long_path;
	ck_assert_int_eq(smmap_client_open(&client, &options), -ENAMETOOLONG);
	options.socket = "";
	ck_assert_int_eq(smmap_client_open(&client, &options), -EINVAL);

	/* The environment. */
	setenv("SMMAP_SOCKET", server.socket, 1);
	ck_assert_int_eq(smmap_client_open(&client, NULL), 0);
	smmap_client_close(client);
	unsetenv("SMMAP_SOCKET");
	setenv("XDG_RUNTIME_DIR", ".", 1);
	ck_assert_int_eq(rename(server.socket, "smmapd.sock"), 0);
	ck_assert_int_eq(smmap_client_open(&client, NULL), 0);
	smmap_client_close(client);
	ck_assert_int_eq(rename("smmapd.sock", server.socket), 0);
	smmap_client_close(NULL);
	harness_stop(&server);
}
END_TEST

START_TEST(test_strerror)
{
	static const int errors[] = {-ETIMEDOUT, -EDQUOT, -EFBIG, -ESTALE, -ENOTCONN, -ECHILD, -EMFILE, -EBADF, -EINVAL, -ENOENT};

	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		for (size_t j = 0; j < i; j++)
			ck_assert_str_ne(smmap_strerror(errors[i]), smmap_strerror(errors[j]));
	ck_assert_str_eq(smmap_strerror(0), "success");
	ck_assert_str_eq(smmap_strerror(5), "success");
	ck_assert_ptr_nonnull(smmap_strerror(-99999));
	ck_assert_ptr_nonnull(smmap_strerror(INT_MIN));
}
END_TEST

/* ---- what it tells ---- */

START_TEST(test_stats_and_collect)
{
	struct smmap_client *client;
	struct smmap_cursor *cursor;
	struct smmap_stats stats;

	start();
	harness_make_file("file", 8 * WINDOW);
	client = open_client(0, 0);
	cursor = open_cursor(client, "file");
	for (uint64_t i = 0; i < 8; i++)
		ck_assert_int_eq(smmap_cursor_use(cursor, i * WINDOW, 1), 1);
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, 1), 1);

	ck_assert_int_eq(smmap_client_stats(client, &stats), 0);
	ck_assert_uint_eq(stats.files, 1);
	ck_assert_uint_eq(stats.handles, 2);
	ck_assert_uint_eq(stats.leases, 8);
	ck_assert_uint_eq(stats.orphans, 0);
	ck_assert_uint_eq(stats.mapped_bytes, 8 * WINDOW);
	ck_assert_uint_eq(stats.hits, 1);
	ck_assert_uint_eq(stats.misses, 8);
	ck_assert_uint_eq(stats.window_bytes, WINDOW);
	ck_assert_uint_eq(stats.limit_memory_bytes, 64 * 1024);
	ck_assert_uint_eq(stats.server_memory_bytes, 8 * WINDOW);
	ck_assert_uint_eq(stats.server_handles, 1);
	ck_assert_uint_eq(stats.server_maps, 8);
	ck_assert_uint_eq(harness_figure(&server, "counters.hits"), 1);

	/* All but where the cursor stands. */
	ck_assert_int_eq(smmap_client_collect(client), 7 * WINDOW);
	ck_assert_int_eq(smmap_client_stats(client, &stats), 0);
	ck_assert_uint_eq(stats.leases, 1);
	ck_assert_uint_eq(stats.server_memory_bytes, WINDOW);
	ck_assert_int_eq(smmap_client_collect(NULL), -EINVAL);
	ck_assert_int_eq(smmap_client_stats(client, NULL), -EINVAL);
	smmap_cursor_close(cursor);
	ck_assert_int_eq(smmap_client_stats(client, &stats), 0);
	ck_assert_uint_eq(stats.files, 0);
	smmap_client_close(client);
	harness_stop(&server);
}
END_TEST

/* Hits are counted by each cursor for itself; what it has counted stays when it is closed, or made another one. */
START_TEST(test_hits_of_all_cursors)
{
	struct smmap_client *client, *other;
	struct smmap_cursor *cursor, *copy, *elsewhere;
	struct smmap_stats stats;

	start();
	harness_make_file("file", 2 * WINDOW);
	client = open_client(0, 0);
	other = open_client(0, 0);
	cursor = open_cursor(client, "file");
	for (uint64_t i = 0; i < 4; i++)
		ck_assert_int_eq(smmap_cursor_use(cursor, i % 2 * WINDOW, 1), 1);
	ck_assert_int_eq(smmap_cursor_copy(&copy, cursor), 0);
	for (uint64_t i = 0; i < 3; i++)
		ck_assert_int_eq(smmap_cursor_use(copy, i % 2 * WINDOW, 1), 1);
	ck_assert_int_eq(smmap_client_stats(client, &stats), 0);
	ck_assert_uint_eq(stats.hits, 5);
	ck_assert_uint_eq(stats.misses, 2);

	/* To another client. */
	elsewhere = open_cursor(other, "file");
	ck_assert_int_eq(smmap_cursor_use(elsewhere, 0, 1), 1);
	ck_assert_int_eq(smmap_cursor_use(elsewhere, WINDOW, 1), 1);
	ck_assert_int_eq(smmap_cursor_assign(copy, elsewhere), 0);
	ck_assert_int_eq(smmap_cursor_use(copy, 0, 1), 1);
	smmap_cursor_close(cursor);
	ck_assert_int_eq(smmap_client_stats(client, &stats), 0);
	ck_assert_uint_eq(stats.hits, 5);
	smmap_cursor_close(copy);
	smmap_cursor_close(elsewhere);
	ck_assert_int_eq(smmap_client_stats(other, &stats), 0);
	ck_assert_uint_eq(stats.hits, 1);
	smmap_client_close(client);
	smmap_client_close(other);
	harness_stop(&server);
}
END_TEST

START_TEST(test_max_mapped)
{
	struct smmap_client_options options = {.max_mapped = 3 * WINDOW};
	struct smmap_client *client;
	struct smmap_cursor *cursor;
	struct smmap_stats stats;

	start();
	options.socket = server.socket;
	harness_make_file("file", 8 * WINDOW);
	ck_assert_int_eq(smmap_client_open(&client, &options), 0);
	cursor = open_cursor(client, "file");
	for (uint64_t i = 0; i < 8; i++) {
		ck_assert_int_eq(smmap_cursor_use(cursor, i * WINDOW, 1), 1);
		ck_assert_int_eq(smmap_client_stats(client, &stats), 0);
		ck_assert_uint_le(stats.mapped_bytes, 3 * WINDOW);
	}
	/* The three used last are there. */
	for (uint64_t i = 5; i < 8; i++)
		ck_assert_int_eq(smmap_cursor_use(cursor, i * WINDOW, 1), 1);
	ck_assert_int_eq(smmap_client_stats(client, &stats), 0);
	ck_assert_uint_eq(stats.misses, 8);
	smmap_cursor_close(cursor);
	smmap_client_close(client);
	harness_stop(&server);
}
END_TEST

/* Where a file ends within a page, to look whether it has grown needs no room. */
START_TEST(test_max_mapped_at_an_end)
{
	struct smmap_client_options options = {.max_mapped = 3 * WINDOW};
	struct smmap_client *client;
	struct smmap_cursor *large, *small;
	struct smmap_stats stats;

	start();
	options.socket = server.socket;
	harness_make_file("large", WINDOW);
	harness_make_file("small", WINDOW + 5);
	ck_assert_int_eq(smmap_client_open(&client, &options), 0);
	large = open_cursor(client, "large");
	small = open_cursor(client, "small");
	for (int i = 0; i < 10; i++) {
		ck_assert_int_eq(smmap_cursor_use(large, 0, 1), 1);
		smmap_cursor_unuse(large);
		ck_assert_int_eq(smmap_cursor_use(small, 0, 2 * WINDOW), WINDOW + 5);
		smmap_cursor_unuse(small);
	}
	ck_assert_int_eq(smmap_client_stats(client, &stats), 0);
	ck_assert_uint_eq(stats.leases, 2);
	ck_assert_uint_eq(stats.hits, 18);
	smmap_cursor_close(large);
	smmap_cursor_close(small);
	smmap_client_close(client);
	harness_stop(&server);
}
END_TEST

/* Of many leases some are unmapped at once: a sixteenth of them. */
START_TEST(test_many_mapped)
{
	struct smmap_client_options options = {.max_mapped = 32 * WINDOW};
	struct smmap_client *client;
	struct smmap_cursor *cursor;
	struct smmap_stats stats;

	harness_start(&server, "--window-size=4K", NULL);
	options.socket = server.socket;
	harness_make_file("file", 100 * WINDOW);
	ck_assert_int_eq(smmap_client_open(&client, &options), 0);
	cursor = open_cursor(client, "file");
	ck_assert_int_eq(smmap_cursor_advise(cursor, SMMAP_ADVISE_RANDOM), 0);
	for (uint64_t i = 0; i < 100; i++) {
		ck_assert_int_eq(smmap_cursor_use(cursor, i * WINDOW, 1), 1);
		ck_assert_int_eq(smmap_client_stats(client, &stats), 0);
		ck_assert_uint_le(stats.mapped_bytes, 32 * WINDOW);
		ck_assert_uint_ge(stats.mapped_bytes, min_u64(i + 1, 31) * WINDOW);
	}
	/* Those used last are there. */
	for (uint64_t i = 69; i < 100; i++)
		ck_assert_int_eq(smmap_cursor_use(cursor, i * WINDOW, 1), 1);
	ck_assert_int_eq(smmap_client_stats(client, &stats), 0);
	ck_assert_uint_eq(stats.misses, 100);
	smmap_cursor_close(cursor);
	smmap_client_close(client);
	harness_stop(&server);
}
END_TEST

START_TEST(test_complaint)
{
	struct smmap_client *client, *other;
	struct smmap_cursor *cursor, *waiting;
	char said[512], pid[32];

	start();
	harness_make_file("file", 20 * WINDOW);
	client = open_client(0, 0);
	other = open_client(0, 100);
	ck_assert_uint_eq(smmap_client_complaint(client, said, sizeof(said)), 0);
	cursor = open_cursor(client, "file");
	waiting = open_cursor(other, "file");
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, 16 * WINDOW), 16 * WINDOW);
	ck_assert_int_eq(smmap_cursor_use(waiting, 17 * WINDOW, 1), -ETIMEDOUT);
	ck_assert_uint_gt(smmap_client_complaint(other, said, sizeof(said)), 0);
	snprintf(pid, sizeof(pid), "pid %d", getpid());
	ck_assert_ptr_nonnull(strstr(said, pid));
	ck_assert_ptr_nonnull(strstr(said, "64 KiB"));
	ck_assert_uint_eq(smmap_client_complaint(other, said, 5), 4);
	ck_assert_uint_eq(smmap_client_complaint(other, said, 0), 0);
	smmap_cursor_close(cursor);
	ck_assert_int_eq(smmap_cursor_use(waiting, 17 * WINDOW, 1), 1);
	smmap_cursor_close(waiting);
	smmap_client_close(client);
	smmap_client_close(other);
	harness_stop(&server);
}
END_TEST

/* ---- without the thread ---- */

START_TEST(test_no_thread)
{
	struct smmap_client *client, *other;
	struct smmap_cursor *cursor, *others;
	struct pollfd pollfd = {.events = POLLIN};
	pid_t child;
	int status;

	start();
	harness_make_file("file", 16 * WINDOW);
	harness_make_file("other", 16 * WINDOW);
	client = open_client(SMMAP_NO_THREAD, 0);
	cursor = open_cursor(client, "file");
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, 16 * WINDOW), 16 * WINDOW);
	smmap_cursor_unuse(cursor);

	/* Another process needs the room: it waits until this one has unmapped. */
	child = fork();
	if (!child) {
		other = open_client(0, 0);
		others = open_cursor(other, "other");
		_exit(smmap_cursor_use(others, 0, 16 * WINDOW) == 16 * WINDOW ? 0 : 1);
	}
	pollfd.fd = smmap_client_get_fd(client);
	ck_assert_int_ge(pollfd.fd, 0);
	ck_assert_int_eq(poll(&pollfd, 1, -1), 1);
	ck_assert_int_eq(smmap_client_dispatch(client), 1);
	ck_assert_int_eq(smmap_client_dispatch(client), 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);

	/* Its own idle leases go within the call that needs the room. */
	for (uint64_t i = 0; i < 100; i++)
		ck_assert_int_eq(check_somewhere(cursor, harness_random()), 0);
	smmap_cursor_close(cursor);
	smmap_client_close(client);

	client = open_client(0, 0);
	ck_assert_int_eq(smmap_client_get_fd(client), -EINVAL);
	ck_assert_int_eq(smmap_client_dispatch(client), -EINVAL);
	smmap_client_close(client);
	harness_stop(&server);
}
END_TEST

/* ---- threads and forks ---- */

#define THREADS 8

struct reader {
	pthread_t thread;
	struct smmap_client *client;
	uint64_t seed;
	int result;
};

static void *read_at_random(void *data)
{
	struct reader *reader = data;
	uint64_t random = reader->seed | 1;
	struct smmap_cursor *cursor;

	reader->result = smmap_cursor_open(&cursor, reader->client, "file", 0);
	for (int i = 0; i < 8000 && !reader->result; i++) {
		random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		reader->result = check_somewhere(cursor, random >> 3);
	}
	if (!reader->result)
		smmap_cursor_close(cursor);
	return NULL;
}

START_TEST(test_threads)
{
	struct reader readers[THREADS];
	struct smmap_client *client;

	/* Room for one piece of each thread, and a little more. */
	harness_start(&server, "--window-size=4K", "--max-memory=96K", NULL);
	harness_make_file("file", 100 * WINDOW + 1);
	client = open_client(0, 60000);
	for (int i = 0; i < THREADS; i++) {
		readers[i] = (struct reader){.client = client, .seed = harness_random()};
		ck_assert_int_eq(pthread_create(&readers[i].thread, NULL, read_at_random, &readers[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(readers[i].thread, NULL);
		ck_assert_int_eq(readers[i].result, 0);
	}
	smmap_client_close(client);
	ck_assert_uint_eq(harness_figure(&server, "usage.leases"), 0);
	harness_stop(&server);
}
END_TEST

/* In a child that was forked beside threads, the thread sanitizer takes a new one for one of the parent's. */
#ifdef __SANITIZE_THREAD__
#define CHILD_FLAGS SMMAP_NO_THREAD
#else
#define CHILD_FLAGS 0
#endif

START_TEST(test_fork)
{
	struct smmap_client *client;
	struct smmap_cursor *cursor, *copy;
	struct smmap_stats stats;
	char byte;
	pid_t child;
	int status;

	start();
	harness_make_file("file", 10 * WINDOW);
	client = open_client(0, 0);
	cursor = open_cursor(client, "file");
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, 10), 10);

	child = fork();
	if (!child) {
		bool well = smmap_cursor_use(cursor, 0, 1) == -ECHILD && smmap_cursor_read(cursor, &byte, 1, 0) == -ECHILD &&
			    smmap_cursor_copy(&copy, cursor) == -ECHILD && smmap_client_stats(client, &stats) == -ECHILD &&
			    smmap_client_collect(client) == -ECHILD && smmap_cursor_open(&copy, client, "file", 0) == -ECHILD;

		/* Closing is harmless, and a client of its own works. */
		smmap_cursor_unuse(cursor);
		smmap_cursor_close(cursor);
		smmap_client_close(client);
		client = open_client(CHILD_FLAGS, 0);
		cursor = open_cursor(client, "file");
		well = well && smmap_cursor_use(cursor, 9 * WINDOW, 0) == WINDOW;
		smmap_cursor_close(cursor);
		smmap_client_close(client);
		_exit(well ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(check_somewhere(cursor, harness_random()), 0);
	smmap_cursor_close(cursor);
	smmap_client_close(client);
	harness_stop(&server);
}
END_TEST

/* ---- servers that go and come ---- */

START_TEST(test_restart)
{
	static const char *const options[] = {"--window-size=4K", "--max-memory=64K", NULL};
	struct smmap_cursor *cursor, *pinned, *replaced, *by_descriptor;
	struct smmap_client *client;
	struct smmap_stats stats;
	char socket[PATH_MAX];
	FILE *file;

	start();
	strcpy(socket, server.socket);
	harness_make_file("file", 8 * WINDOW);
	harness_make_file("replaced", 8 * WINDOW);
	client = open_client(0, 2000);
	cursor = open_cursor(client, "file");
	pinned = open_cursor(client, "file");
	replaced = open_cursor(client, "replaced");
	file = fopen("file", "re");
	ck_assert_int_eq(smmap_cursor_open_fd(&by_descriptor, client, fileno(file), 0), 0);
	fclose(file);
	ck_assert_int_eq(smmap_cursor_use(pinned, 0, 10), 10);
	ck_assert_int_eq(smmap_cursor_use(cursor, WINDOW, 10), 10);
	smmap_cursor_unuse(cursor);

	/* Away: what is pinned can be read, all else fails, at the deadline. */
	harness_kill(&server);
	ck_assert_int_eq(smmap_cursor_use(cursor, 2 * WINDOW, 10), -ENOTCONN);
	ck_assert_int_eq(smmap_cursor_use(pinned, 5, 10), 10);
	ck_assert_int_eq(*(const unsigned char *)smmap_cursor_data(pinned), harness_byte(5));
	ck_assert_int_eq(smmap_client_stats(client, &stats), -ENOTCONN);
	ck_assert_uint_eq(stats.orphans, 1);
	ck_assert_uint_eq(stats.mapped_bytes, WINDOW);

	/* Back: all goes on, but for a path that leads elsewhere. */
	harness_make_file("new", 8 * WINDOW);
	ck_assert_int_eq(rename("new", "replaced"), 0);
	harness_start_at(&server, socket, options);
	ck_assert_int_eq(check_somewhere(cursor, harness_random()), 0);
	ck_assert_int_eq(smmap_cursor_use(replaced, 0, 1), -ESTALE);
	ck_assert_int_eq(check_somewhere(by_descriptor, harness_random()), 0);
	ck_assert_int_eq(smmap_client_stats(client, &stats), 0);
	ck_assert_uint_eq(stats.orphans, 1);
	ck_assert_int_eq(smmap_cursor_use(pinned, 7 * WINDOW, 10), 10);
	ck_assert_int_eq(smmap_client_stats(client, &stats), 0);
	ck_assert_uint_eq(stats.orphans, 0);

	smmap_cursor_close(cursor);
	smmap_cursor_close(pinned);
	smmap_cursor_close(replaced);
	smmap_cursor_close(by_descriptor);
	smmap_client_close(client);
	harness_stop(&server);
}
END_TEST

/* Makes the file anew until it has the inode that it had, with another birth. False where the file system gives no inode again. */
static bool make_again(const char *path)
{
	struct statx before, now;
	int tries = 1000;

	ck_assert_int_eq(statx(AT_FDCWD, path, 0, STATX_INO | STATX_BTIME, &before), 0);
	do {
		ck_assert_int_eq(unlink(path), 0);
		harness_make_file(path, WINDOW);
		ck_assert_int_eq(statx(AT_FDCWD, path, 0, STATX_INO | STATX_BTIME, &now), 0);
		if (!(now.stx_mask & STATX_BTIME))
			return false;
	} while (--tries && (now.stx_ino != before.stx_ino || (now.stx_btime.tv_sec == before.stx_btime.tv_sec &&
								now.stx_btime.tv_nsec == before.stx_btime.tv_nsec)));
	return tries;
}

/* Nobody holds a file open while there is no server, and its inode can be another file's when there is one again. */
START_TEST(test_inode_given_again)
{
	struct smmap_client *client;
	struct smmap_cursor *cursor;
	char socket[PATH_MAX];

	start();
	strcpy(socket, server.socket);
	harness_make_file("file", WINDOW);
	client = open_client(0, 0);
	cursor = open_cursor(client, "file");
	harness_kill(&server);
	if (make_again("file")) {
		harness_start_at(&server, socket, (const char *const[]){NULL});
		ck_assert_int_eq(smmap_cursor_use(cursor, 0, 1), -ESTALE);
		harness_stop(&server);
	} else {
		printf("skipped: no inode is given again here, or no birth is known\n");
	}
	smmap_cursor_close(cursor);
	smmap_client_close(client);
}
END_TEST

START_TEST(test_closed_before_its_cursors)
{
	struct smmap_client *client;
	struct smmap_cursor *cursor;

	start();
	harness_make_file("file", 2 * WINDOW);
	client = open_client(0, 0);
	cursor = open_cursor(client, "file");
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, 10), 10);
	smmap_client_close(client);
	ck_assert_int_eq(*(const unsigned char *)smmap_cursor_data(cursor), harness_byte(0));
	ck_assert_int_eq(smmap_cursor_use(cursor, WINDOW, 10), -ENOTCONN);
	smmap_cursor_close(cursor);
	harness_stop(&server);
}
END_TEST

/* A stopped client must not hold what it does not use; it goes on when it is continued, with what it had pinned. */
START_TEST(test_stopped_client)
{
	struct smmap_client *client;
	struct smmap_cursor *cursor;
	int pipes[2], status;
	char byte = 0;
	pid_t child;

	start();
	harness_make_file("file", 16 * WINDOW);
	harness_make_file("other", 16 * WINDOW);
	ck_assert_int_eq(pipe(pipes), 0);
	child = fork();
	if (!child) {
		struct smmap_cursor *pinned;
		bool well;

		client = open_client(0, 0);
		cursor = open_cursor(client, "file");
		pinned = open_cursor(client, "file");
		well = smmap_cursor_use(pinned, 0, 10) == 10 && smmap_cursor_use(cursor, WINDOW, 15 * WINDOW) == 15 * WINDOW;
		smmap_cursor_unuse(cursor);
		if (write(pipes[1], &byte, 1) != 1)
			_exit(2);
		raise(SIGSTOP);
		well = well && *(const unsigned char *)smmap_cursor_data(pinned) == harness_byte(0);
		for (uint64_t i = 0; i < 100 && well; i++)
			well = check_somewhere(cursor, harness_random()) == 0;
		_exit(well ? 0 : 1);
	}
	ck_assert_int_eq(read(pipes[0], &byte, 1), 1);
	ck_assert_int_eq(waitpid(child, &status, WUNTRACED), child);
	ck_assert(WIFSTOPPED(status));

	client = open_client(0, 60000);
	cursor = open_cursor(client, "other");
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, 16 * WINDOW), 16 * WINDOW);
	smmap_cursor_close(cursor);
	smmap_client_close(client);

	ck_assert_int_eq(kill(child, SIGCONT), 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	close(pipes[0]);
	close(pipes[1]);
	harness_stop(&server);
}
END_TEST

/* The descriptor of a lease is lost, and nothing but that: the connection lives, and the lease is given back. */
START_TEST(test_no_descriptor_left)
{
	struct smmap_cursor *cursor, *standing, *other;
	struct smmap_client *client;
	struct rlimit saved, limit;
	struct smmap_stats stats;

	start();
	harness_make_file("file", 8 * WINDOW);
	client = open_client(0, 0);
	cursor = open_cursor(client, "file");
	standing = open_cursor(client, "file");
	ck_assert_int_eq(smmap_cursor_use(standing, 0, 10), 10);

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &saved), 0);
	/* All below this one are taken. */
	limit = (struct rlimit){.rlim_cur = (rlim_t)open("file", O_RDONLY | O_CLOEXEC), .rlim_max = saved.rlim_max};
	close((int)limit.rlim_cur);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	/* More often than there is room for leases. */
	for (int i = 0; i < 100; i++) {
		ck_assert_int_eq(smmap_cursor_use(cursor, 2 * WINDOW, 10), -EMFILE);
		ck_assert(!smmap_cursor_is_valid(cursor));
		ck_assert_int_eq(smmap_cursor_use(standing, 5, 10), 10);
	}
	ck_assert_int_eq(smmap_cursor_open(&other, client, "file", 0), -EMFILE);
	ck_assert_int_eq(smmap_cursor_use(cursor, 3, 10), 10);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &saved), 0);

	ck_assert_int_eq(smmap_client_stats(client, &stats), 0);
	ck_assert_uint_eq(stats.leases, 1);
	ck_assert_uint_eq(harness_figure(&server, "usage.leases"), 1);
	ck_assert_uint_eq(harness_figure(&server, "usage.pinned_bytes"), WINDOW);
	ck_assert_uint_eq(harness_figure(&server, "counters.protocol_errors"), 0);
	ck_assert_int_eq(smmap_cursor_use(cursor, 2 * WINDOW, 10), 10);
	smmap_cursor_close(standing);
	smmap_cursor_close(cursor);
	smmap_client_close(client);
	harness_stop(&server);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("client");

	HARNESS_CASE(suite, "opening", test_no_server, test_options, test_strerror);
	HARNESS_CASE(suite, "telling", test_stats_and_collect, test_hits_of_all_cursors, test_max_mapped, test_max_mapped_at_an_end,
		     test_many_mapped, test_complaint);
	HARNESS_CASE(suite, "threads and forks", test_no_thread, test_threads, test_fork);
	HARNESS_CASE(suite, "ends", test_restart, test_inode_given_again, test_closed_before_its_cursors, test_stopped_client,
		     test_no_descriptor_left);
	return harness_run(suite);
}
