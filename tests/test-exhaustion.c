/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What runs out: descriptors, maps, address space and threads, in the server and in a client. A request fails with a sentence, or waits; the
 * server lives; and when there is room again the same request works, without a restart.
 *
 * The server is given little from the start, or, so that it is exact, loses what it has to spare while it runs, by prlimit(2).
 */
#include "config.h"

#include "client/smmap-client.h"
#include "tests/fuse.h"
#include "tests/harness.h"
#include "tests/raw.h"

#include "proto/util.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define WINDOW     UINT64_C(65536)
#define SHORTLY_MS 1000
#define OTHER_UID  54321

static struct harness_server server;
static struct fuse_system hung = {.folder = "hung", .size = WINDOW, .readable = WINDOW};
static char program[PATH_MAX];

/* Has servers start below a shell that does something first. */
static void put_below(const char *first)
{
	FILE *file;

	snprintf(program, sizeof(program), "%s", harness_program());
	file = fopen("limited", "we");
	ck_assert_ptr_nonnull(file);
	fprintf(file, "#!/bin/sh\n%s %s \"$@\"\n", first, program);
	ck_assert_int_eq(fchmod(fileno(file), 0755), 0);
	ck_assert_int_eq(fclose(file), 0);
	ck_assert_int_eq(setenv("SMMAPD", "./limited", 1), 0);
}

static void start_below(const char *first, const char *option, const char *another)
{
	put_below(first);
	harness_start(&server, "--window-size=64K", option, another, NULL);
	ck_assert_int_eq(setenv("SMMAPD", program, 1), 0);
}

static int open_client(struct smmap_client **client, uint32_t deadline_ms)
{
	struct smmap_client_options options = {.socket = server.socket, .deadline_ms = deadline_ms};

	return smmap_client_open(client, &options);
}

/* Waits until the server has noticed that clients are gone. */
static void await_clients(struct raw *observer, uint64_t n)
{
	while (raw_summary(observer).clients > n)
		;
}

static void assert_lives(struct raw *observer)
{
	ck_assert_uint_eq(raw_summary(observer).protocol_errors, 0);
	ck_assert_int_eq(waitpid(server.pid, NULL, WNOHANG), 0);
}

/* ---- descriptors ---- */

START_TEST(test_few_descriptors)
{
	struct smmap_client *clients[3], *another;
	struct smmap_cursor *cursors[10];
	char path[16], said[512];

	/* 20 of its own, 2 for what is to be closed, 9 for files, and 9 for three clients. */
	start_below("ulimit -n 40; exec", NULL, NULL);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(open_client(&clients[i], i ? RAW_LONG_MS : SHORTLY_MS), 0);
	ck_assert_int_eq(open_client(&another, SHORTLY_MS), -ETIMEDOUT);
	for (int i = 0; i < 10; i++) {
		snprintf(path, sizeof(path), "%d", i);
		harness_make_file(path, 100);
		ck_assert_int_eq(smmap_cursor_open(&cursors[i], clients[i < 9 ? 1 + i % 2 : 0], path, 0), i < 9 ? 0 : -ETIMEDOUT);
		ck_assert(i == 9 || smmap_cursor_use(cursors[i], 0, 1) == 1);
	}
	smmap_client_complaint(clients[0], said, sizeof(said));
	ck_assert_msg(strstr(said, "max-handles: 9 of 9"), "it says: %s", said);
	smmap_cursor_unuse(cursors[4]);
	ck_assert_int_eq(smmap_cursor_open(&cursors[9], clients[1], path, 0), 0);
	ck_assert_int_eq(smmap_cursor_use(cursors[9], 0, 1), 1);

	/* The one that found no place has one when another has gone. */
	for (int i = 0; i < 10; i++)
		smmap_cursor_close(cursors[i]);
	smmap_client_close(clients[0]);
	ck_assert_int_eq(open_client(&another, RAW_LONG_MS), 0);
	smmap_client_close(another);
	smmap_client_close(clients[1]);
	smmap_client_close(clients[2]);
	harness_stop(&server);
}
END_TEST

/* Not one more than it has. */
START_TEST(test_no_descriptor)
{
	struct rlimit saved, none;
	struct smmap_client *client, *hasty, *another;
	struct smmap_cursor *standing, *cursor;
	struct raw observer;

	harness_make_file("file", 8 * WINDOW);
	harness_make_file("other", 8 * WINDOW);
	harness_start(&server, "--window-size=64K", NULL);
	raw_start(&observer, &server, "observer");
	ck_assert_int_eq(open_client(&client, RAW_LONG_MS), 0);
	ck_assert_int_eq(open_client(&hasty, SHORTLY_MS), 0);
	ck_assert_int_eq(smmap_cursor_open(&standing, client, "file", 0), 0);
	ck_assert_int_eq(smmap_cursor_use(standing, 0, 1), 1);
	ck_assert_int_eq(prlimit(server.pid, RLIMIT_NOFILE, NULL, &saved), 0);
	none = (struct rlimit){.rlim_max = saved.rlim_max};
	ck_assert_int_eq(prlimit(server.pid, RLIMIT_NOFILE, &none, NULL), 0);

	/* A connection waits at the door, and is not taken; who has one goes on, as long as no descriptor comes along. */
	ck_assert_int_eq(open_client(&another, SHORTLY_MS), -ETIMEDOUT);
	ck_assert_int_eq(smmap_cursor_use(standing, WINDOW, 1), 1);
	ck_assert_int_lt(smmap_cursor_open(&cursor, hasty, "other", 0), 0);
	ck_assert_int_eq(*(const unsigned char *)smmap_cursor_data(standing), harness_byte(WINDOW));
	assert_lives(&observer);

	ck_assert_int_eq(prlimit(server.pid, RLIMIT_NOFILE, &saved, NULL), 0);
	ck_assert_int_eq(open_client(&another, RAW_LONG_MS), 0);
	ck_assert_int_eq(smmap_cursor_open(&cursor, client, "other", 0), 0);
	ck_assert_int_eq(smmap_cursor_use(cursor, 7 * WINDOW, 1), 1);
	ck_assert_int_eq(smmap_cursor_use(standing, 2 * WINDOW, 1), 1);
	smmap_cursor_close(cursor);
	smmap_cursor_close(standing);
	smmap_client_close(client);
	smmap_client_close(hasty);
	smmap_client_close(another);
	await_clients(&observer, 1);
	assert_lives(&observer);
	raw_close(&observer);
	harness_stop(&server);
}
END_TEST

/* ---- maps and memory ---- */

START_TEST(test_few_maps)
{
	struct smmap_client *client, *hasty;
	struct smmap_cursor *cursors[9], *cursor;
	char said[512];

	harness_make_file("file", 32 * WINDOW);
	harness_start(&server, "--window-size=64K", "--max-maps=8", NULL);
	ck_assert_int_eq(open_client(&client, RAW_LONG_MS), 0);
	for (int i = 0; i < 9; i++)
		ck_assert_int_eq(smmap_cursor_open(&cursors[i], client, "file", 0), 0);
	for (uint64_t i = 0; i < 8; i++)
		ck_assert_int_eq(smmap_cursor_use(cursors[i], i * 2 * WINDOW, 1), 1);
	ck_assert_int_eq(open_client(&hasty, SHORTLY_MS), 0);
	ck_assert_int_eq(smmap_cursor_open(&cursor, hasty, "file", 0), 0);
	ck_assert_int_eq(smmap_cursor_use(cursor, 16 * WINDOW, 1), -ETIMEDOUT);
	smmap_client_complaint(hasty, said, sizeof(said));
	ck_assert_msg(strstr(said, "max-maps: 8 of 8"), "it says: %s", said);
	smmap_cursor_unuse(cursors[3]);
	ck_assert_int_eq(smmap_cursor_use(cursors[8], 16 * WINDOW, 1), 1);
	for (int i = 0; i < 9; i++)
		smmap_cursor_close(cursors[i]);
	smmap_cursor_close(cursor);
	smmap_client_close(hasty);
	smmap_client_close(client);
	harness_stop(&server);
}
END_TEST

#define LARGE (UINT64_C(8) << 20) /* a window of these tests */

/* The address space that the server uses. */
static uint64_t address_space(void)
{
	unsigned long pages = 0;
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/statm", (int)server.pid);
	file = fopen(path, "re");
	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fscanf(file, "%lu", &pages), 1);
	fclose(file);
	return pages * page_size();
}

/* Lets the server have @bytes more than it uses now; a negative number takes the limit away. */
static void leave_address_space(int64_t bytes)
{
	struct rlimit limit = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};

	if (bytes >= 0)
		limit.rlim_cur = address_space() + (uint64_t)bytes;
	ck_assert_int_eq(prlimit(server.pid, RLIMIT_AS, &limit, NULL), 0);
}

static void make_large(void)
{
	int fd = open("large", O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, (off_t)(64 * LARGE)), 0);
	close(fd);
}

static void start_large(void)
{
	make_large();
	harness_start(&server, "--window-size=8M", "--max-memory=4G", NULL);
}

/*
 * The kernel gives less than the limits allow: what is idle makes way there too, and when all is pinned a request fails, until something is
 * not.
 */
START_TEST(test_address_space)
{
	struct smmap_cursor *cursors[8], *cursor;
	struct smmap_client *client, *another;
	struct raw observer;
	char said[512];
	int n = 0, r;

	start_large();
	raw_start(&observer, &server, "observer");
	ck_assert_int_eq(open_client(&client, SHORTLY_MS), 0);
	ck_assert_int_eq(smmap_cursor_open(&cursor, client, "large", 0), 0);
	leave_address_space(5 * LARGE);
	for (uint64_t i = 0; i < 64; i++)
		ck_assert_int_eq(smmap_cursor_use(cursor, i * LARGE, 1), 1);
	smmap_cursor_unuse(cursor);

	for (; n < 8; n++) {
		ck_assert_int_eq(smmap_cursor_copy(&cursors[n], cursor), 0);
		r = (int)smmap_cursor_use(cursors[n], (uint64_t)n * LARGE, 1);
		if (r < 0)
			break;
	}
	ck_assert_int_ge(n, 4);
	ck_assert_int_lt(n, 8);
	ck_assert_int_eq(r, -ENOMEM);
	ck_assert_uint_gt(smmap_client_complaint(client, said, sizeof(said)), 0);
	assert_lives(&observer);
	smmap_cursor_unuse(cursors[0]);
	ck_assert_int_eq(smmap_cursor_use(cursors[n], (uint64_t)n * LARGE, 1), 1);

	/* Clients have let go, but their regions stay: no board has room beside them, before some go. */
	for (int i = 0; i <= n; i++)
		smmap_cursor_close(cursors[i]);
	smmap_cursor_close(cursor);
	smmap_client_close(client);
	await_clients(&observer, 1);
	leave_address_space(0);
	ck_assert_int_eq(open_client(&another, RAW_LONG_MS), 0);
	ck_assert_int_eq(smmap_cursor_open(&cursor, another, "large", 0), 0);
	for (uint64_t i = 0; i < 64; i++)
		ck_assert_int_eq(smmap_cursor_use(cursor, i * LARGE, 1), 1);
	smmap_cursor_close(cursor);
	smmap_client_close(another);
	assert_lives(&observer);
	raw_close(&observer);
	harness_stop(&server);
}
END_TEST

/* The same from the start, with ulimit: the server comes up, has less than its limits say, and lives. */
START_TEST(test_little_address_space)
{
	struct smmap_cursor *cursor;
	struct smmap_client *client;
	struct raw observer;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	puts("skipped: the sanitizer needs more address space than that");
	return;
#endif
	make_large();
	start_below("ulimit -v 131072; exec", "--window-size=8M", "--max-memory=4G");
	raw_start(&observer, &server, "observer");
	ck_assert_int_eq(open_client(&client, RAW_LONG_MS), 0);
	ck_assert_int_eq(smmap_cursor_open(&cursor, client, "large", 0), 0);
	for (uint64_t i = 0; i < 64; i++)
		ck_assert_int_eq(smmap_cursor_use(cursor, i * LARGE, 1), 1);
	ck_assert_uint_lt(raw_summary(&observer).memory_bytes, UINT64_C(128) << 20);
	smmap_cursor_close(cursor);
	smmap_client_close(client);
	assert_lives(&observer);
	raw_close(&observer);
	harness_stop(&server);
}
END_TEST

/* ---- threads ---- */

/* In a process of its own, of a user who has nothing else. */
static int open_without_threads(void)
{
	struct rlimit limit = {.rlim_cur = 1, .rlim_max = 1};
	struct smmap_client_options options = {.socket = server.socket, .deadline_ms = RAW_LONG_MS};
	int descriptors = harness_count_descriptors();
	struct smmap_client *client;

	if (setrlimit(RLIMIT_NPROC, &limit) < 0 || setresuid(OTHER_UID, OTHER_UID, OTHER_UID) < 0)
		return 2;
	if (smmap_client_open(&client, &options) != -EAGAIN || harness_count_descriptors() != descriptors)
		return 3;
	options.flags = SMMAP_NO_THREAD;
	if (smmap_client_open(&client, &options) != 0)
		return 4;
	smmap_client_close(client);
	return harness_count_descriptors() == descriptors ? 0 : 5;
}

START_TEST(test_no_thread_in_client)
{
	pid_t child;
	int status;

	if (!harness_is_root())
		return;
	harness_start(&server, NULL);
	ck_assert_int_eq(chmod(".", 0755), 0);
	child = fork();
	ck_assert_int_ge(child, 0);
	if (!child)
		_exit(open_without_threads());
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_msg(status == 0, "the client has status %#x", (unsigned)status);
	harness_stop(&server);
}
END_TEST

static void limit_process(pid_t pid, bool limited)
{
	struct rlimit limit;

	ck_assert_int_eq(prlimit(pid, RLIMIT_NPROC, NULL, &limit), 0);
	limit.rlim_cur = limited ? 1 : limit.rlim_max;
	ck_assert_int_eq(prlimit(pid, RLIMIT_NPROC, &limit, NULL), 0);
}

/* The server's user may have no more processes, as far as the server and its runners start them; or may again. */
static void limit_processes(bool limited)
{
	char path[64];
	FILE *children;
	int runner, n = 0;

	limit_process(server.pid, limited);
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)server.pid, (int)server.pid);
	children = fopen(path, "re");
	ck_assert_ptr_nonnull(children);
	for (; fscanf(children, "%d", &runner) == 1; n++)
		limit_process(runner, limited);
	fclose(children);
	ck_assert_int_gt(n, 0);
}

static void send_byte(int fd)
{
	ck_assert_int_eq(write(fd, "", 1), 1);
}

static void await_byte(int fd)
{
	char byte;

	ck_assert_int_eq(read(fd, &byte, 1), 1);
}

/*
 * A process of the server's user, since another's limits are not even root's to change. When all runners hang but the last, it opens a file
 * on a volume that the server has to ask for what it is: that takes one runner more.
 */
static void limit_and_open(int parent)
{
	struct message request = {.type = MESSAGE_OPEN, .open = {.label = text_of("file"), .deadline_ms = SHORTLY_MS}};
	struct raw raw;
	int fd;

	ck_assert_int_eq(setresgid(OTHER_UID, OTHER_UID, OTHER_UID), 0);
	ck_assert_int_eq(setresuid(OTHER_UID, OTHER_UID, OTHER_UID), 0);
	limit_processes(true);
	send_byte(parent);
	await_byte(parent);
	fd = open("new/file", O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	raw_start(&raw, &server, "other");
	raw_refused(&raw, &request, fd, ETIMEDOUT);
	limit_processes(false);
	raw_open_as(&raw, fd, "file");
	raw_close(&raw);
	close(fd);
	_exit(0);
}

/* Has the server close files that hang: as many at once as it does for one user. */
static void open_hung_again(struct raw *raw, const int fds[static 2])
{
	for (int i = 0; i < 2; i++)
		raw_open_as(raw, fds[i], "hung");
	fuse_hang(&hung);
	for (int i = 0; i < 2; i++)
		raw_open_as(raw, fds[i], "again");
	ck_assert_uint_eq(raw_summary(raw).closing, 2);
}

static void use_shortly(uint64_t window)
{
	struct smmap_cursor *cursor;
	struct smmap_client *client;

	ck_assert_int_eq(open_client(&client, RAW_LONG_MS), 0);
	ck_assert_int_eq(smmap_cursor_open(&cursor, client, "file", 0), 0);
	ck_assert_int_eq(smmap_cursor_use(cursor, window * WINDOW, 1), 1);
	smmap_cursor_close(cursor);
	smmap_client_close(client);
}

/* A server of the other user's. What it says is to be read from what is returned. */
static int start_of_other(void)
{
	static const char *const options[] = {"--window-size=64K", NULL};
	int said;

	put_below("exec setpriv --reuid=54321 --regid=54321 --clear-groups");
	harness_start_heard(&server, "socket", options, &said);
	ck_assert_int_eq(setenv("SMMAPD", program, 1), 0);
	return said;
}

static void await_said(int said, const char *what)
{
	char text[4096] = "";
	size_t n = 0;

	while (!strstr(text, what)) {
		ssize_t r;

		ck_assert_msg(channel_wait(said, POLLIN, RAW_PATIENCE_MS) == 1, "no '%s' in: %s", what, text);
		r = read(said, text + n, sizeof(text) - 1 - n);
		ck_assert_msg(r > 0, "no '%s' in: %s", what, text);
		n += (size_t)r;
		text[n] = '\0';
	}
}

/*
 * A server that runs needs no other process or thread; where it can't have a runner more, it says so, and what takes one waits, until it can
 * be had.
 */
START_TEST(test_no_process_in_server)
{
	int ends[2], fds[2], status, said;
	struct raw raw;
	pid_t other;

	if (!harness_is_root() || !fuse_start(&hung))
		return;
	harness_make_file("file", 8 * WINDOW);
	ck_assert_int_eq(chmod(".", 0777), 0);
	ck_assert_int_eq(mkdir("new", 0755), 0);
	ck_assert_int_eq(mount("none", "new", "tmpfs", 0, "mode=755"), 0);
	harness_make_file("new/file", 1);
	/* Of a sanitizer: it would need one at the end. */
	ck_assert_int_eq(setenv("ASAN_OPTIONS", "detect_leaks=0", 1), 0);
	said = start_of_other();
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	other = fork();
	ck_assert_int_ge(other, 0);
	if (!other)
		limit_and_open(ends[1]);
	await_byte(ends[0]);
	for (uint64_t i = 0; i < 8; i++)
		use_shortly(i);

	for (int i = 0; i < 2; i++) {
		fds[i] = open(i ? "hung/two" : "hung/one", O_RDONLY | O_CLOEXEC);
		ck_assert_int_ge(fds[i], 0);
	}
	raw_start(&raw, &server, "hung");
	open_hung_again(&raw, fds);
	send_byte(ends[0]);
	for (uint64_t i = 0; i < 8; i++)
		use_shortly(i);
	ck_assert_int_eq(waitpid(other, &status, 0), other);
	ck_assert_int_eq(status, 0);
	assert_lives(&raw);
	/* It tries again only after that. */
	await_said(said, "can't start another process that closes files: Resource temporarily unavailable\n");

	fuse_go_on(&hung);
	close(fds[0]);
	close(fds[1]);
	close(ends[0]);
	close(ends[1]);
	close(said);
	raw_close(&raw);
	harness_stop(&server);
	fuse_stop(&hung);
	umount2("new", MNT_DETACH);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("exhaustion");

	HARNESS_CASE(suite, "descriptors", test_few_descriptors, test_no_descriptor);
	HARNESS_CASE(suite, "maps", test_few_maps, test_address_space, test_little_address_space);
	HARNESS_CASE(suite, "threads", test_no_thread_in_client, test_no_process_in_server);
	return harness_run(suite);
}
