/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What may hang, and whom: descriptors of a file system whose server has stopped answering, and a server that has such files and serves
 * others, and ends, all the same.
 */
#include "config.h"

#include "tests/hanging.h"
#include "tests/villain.h"

#include <netinet/in.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#define SIZE   HANGING_SIZE
#define WINDOW HANGING_WINDOW

#define OTHER_UID 65534

START_TEST(test_read)
{
	struct message_leased leased;
	uint64_t file;
	struct raw raw;
	int fd;

	if (!hanging_start(NULL))
		return;
	raw_start(&raw, &server, "reader");
	fd = hanging_open(&hung, "file");
	file = raw_open_as(&raw, fd, "file");
	leased = raw_lease(&raw, file, 0, 1);
	ck_assert_uint_eq(leased.length, WINDOW);
	ck_assert_uint_eq(leased.file_size, SIZE);
	/* It is the same file for all. */
	ck_assert_uint_eq(raw_open_as(&honest, fd, "file"), file);
	close_fd(fd);
	raw_close(&raw);
	hanging_stop();
}
END_TEST

/* All that is closed of what a client has sent hangs; the client is alone with it. */
START_TEST(test_hang)
{
	struct message_leased leased;
	uint64_t file;
	struct raw raw;
	int fds[22]; /* and what answers bring: closing it would hang here too */

	if (!hanging_start(NULL))
		return;
	raw_start(&raw, &server, "hung");
	for (int i = 0; i < 20; i++) {
		char name[16];

		snprintf(name, sizeof(name), "file%d", i);
		fds[i] = hanging_open(&hung, name);
	}
	file = raw_open_as(&raw, fds[0], "first");
	leased = raw_lease(&raw, file, 0, 1);
	ck_assert_uint_eq(leased.length, WINDOW);
	fds[20] = take_fd(&raw.packet->descriptors[0]);
	fuse_hang(&hung);

	/* Its volume is known, so files are opened, and closed again. */
	for (int i = 0; i < 20; i++)
		raw_open_as(&raw, fds[i], "file");
	for (int i = 0; i < 20; i++)
		raw_open_as(&raw, fds[i], "again");
	hanging_assert_serving();
	/* What was opened is mapped untouched. */
	leased = raw_lease(&raw, file, WINDOW, 1);
	ck_assert_uint_eq(leased.length, SIZE - WINDOW);
	fds[21] = take_fd(&raw.packet->descriptors[0]);
	raw_unpin(&raw, &leased.lease);
	hanging_assert_serving();
	/* What is closed hangs, but what is on another volume can be opened. */
	hanging_make_volume("new");
	raw_open(&raw, "new/0");
	raw_close(&raw);
	hanging_assert_serving();

	fuse_go_on(&hung);
	hanging_close_all(fds, 22);
	hanging_stop();
	umount2("new", MNT_DETACH);
}
END_TEST

/* ---- how long others wait ---- */

#define MISSES 4000

/* Times of misses of the honest client, in ns, in their order. */
static uint64_t took_ns[MISSES];

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int compare_times(const void *a, const void *b)
{
	const uint64_t *one = a, *other = b;

	return (*one > *other) - (*one < *other);
}

/* What a client waits for whom nothing hangs. Printed, for a person: what a loaded machine does to it is not the server's. */
static void measure_misses(const char *beside)
{
	for (int i = 0; i < MISSES; i++) {
		uint64_t began_ns = now_ns();
		struct message_leased leased = raw_lease(&honest, honest_file, WINDOW, 1);

		took_ns[i] = now_ns() - began_ns;
		raw_unpin(&honest, &leased.lease);
		raw_release(&honest, &leased.lease);
	}
	qsort(took_ns, MISSES, sizeof(took_ns[0]), compare_times);
	printf("%d misses beside %s: half within %.3f ms, 99%% within %.3f ms, all within %.3f ms\n", MISSES, beside,
	       (double)took_ns[MISSES / 2] / 1e6, (double)took_ns[MISSES * 99 / 100] / 1e6, (double)took_ns[MISSES - 1] / 1e6);
	fflush(stdout);
}

/* Files that hang as they are opened, and as they are closed. */
START_TEST(test_time)
{
	struct message request = {.type = MESSAGE_OPEN, .open = {.label = text_of("file"), .deadline_ms = RAW_LONG_MS}};
	struct message answer;
	struct raw raw[2];
	int fds[100];

	if (!hanging_start(NULL))
		return;
	raw_start(&raw[0], &server, "closes");
	raw_start(&raw[1], &server, "opens");
	for (int i = 0; i < 100; i++) {
		char name[16];

		snprintf(name, sizeof(name), "file%d", i);
		fds[i] = hanging_open(&hung, name);
	}
	raw_open_as(&raw[0], fds[0], "first");
	measure_misses("nothing that hangs");
	fuse_hang(&hung);
	/* Each of these brings a descriptor that the server has to close. */
	for (int i = 0; i < 100; i++)
		for (int j = 0; j < 3; j++)
			raw_open_as(&raw[0], fds[i], "file");
	ck_assert_uint_ge(raw_summary(&honest).closing, 100);
	measure_misses("300 files that hang as they are opened, and as they are closed");
	raw_close(&raw[0]);
	for (int i = 0; i < 20; i++)
		raw_send(&raw[1], &request, fds[i]);
	ck_assert_uint_ge(raw_summary(&honest).closing, 100);
	measure_misses("the same, of a client that has gone, and 20 requests to open more");
	fuse_go_on(&hung);
	for (int i = 0; i < 20; i++) {
		raw_receive(&raw[1], &answer);
		ck_assert_uint_eq(answer.type, MESSAGE_OPENED);
	}
	raw_close(&raw[1]);
	hanging_close_all(fds, 100);
	hanging_stop();
}
END_TEST

/* A server that has such a file open, or is just closing one, ends as any other does. */
START_TEST(test_end)
{
	struct raw raw;
	int fds[2];

	if (!hanging_start(NULL))
		return;
	raw_start(&raw, &server, "hung");
	fds[0] = hanging_open(&hung, "one");
	fds[1] = hanging_open(&hung, "two");
	raw_open_as(&raw, fds[0], "one");
	fuse_hang(&hung);
	raw_open_as(&raw, fds[1], "two");
	raw_open_as(&raw, fds[1], "again");
	hanging_assert_serving();
	raw_close(&raw);
	raw_close(&honest);
	/* That it is awaited shows it. */
	harness_stop(&server);

	fuse_go_on(&hung);
	hanging_close_all(fds, 2);
	fuse_stop(&hung);
}
END_TEST

/* Many of two users, in no other's way: as the service manager sees it, who waits only so long (TimeoutStopSec= of the unit). */
START_TEST(test_end_of_many)
{
	struct raw raw[2];
	uint64_t began_ns;
	int fds[100];

	if (!hanging_start(NULL))
		return;
	ck_assert_int_eq(chmod(".", 0755), 0);
	raw_start(&raw[0], &server, "hung");
	ck_assert_int_eq(seteuid(OTHER_UID), 0);
	raw_start(&raw[1], &server, "hung, too");
	ck_assert_int_eq(seteuid(0), 0);
	for (int i = 0; i < 100; i++) {
		char name[16];

		snprintf(name, sizeof(name), "file%d", i);
		fds[i] = hanging_open(&hung, name);
	}
	for (int i = 0; i < 2; i++)
		raw_open_as(&raw[i], fds[i], "first");
	fuse_hang(&hung);
	/* What comes a second time is to be closed, which hangs. */
	for (int i = 0; i < 200; i++)
		raw_open_as(&raw[i % 2], fds[i % 100], "file");
	ck_assert_uint_ge(raw_summary(&honest).closing, 50);
	began_ns = now_ns();
	harness_stop(&server);
	ck_assert_uint_lt(now_ns() - began_ns, UINT64_C(10) * 1000000000);
	for (int i = 0; i < 2; i++)
		raw_close(&raw[i]);
	raw_close(&honest);

	fuse_go_on(&hung);
	hanging_close_all(fds, 100);
	fuse_stop(&hung);
}
END_TEST

static void send_byte(int fd)
{
	ck_assert_int_eq(write(fd, "", 1), 1);
}

static void await_byte(int fd)
{
	char byte;

	ck_assert_int_eq(read(fd, &byte, 1), 1);
}

/* A process of its own, since what has such a file open can start no other program: has the server close one that hangs, and sees it go. */
static void send_and_await_end(int parent)
{
	struct raw raw;
	int fd;

	raw_start(&raw, &server, "hung");
	fd = hanging_open(&hung, "one");
	raw_open_as(&raw, fd, "one");
	send_byte(parent);
	await_byte(parent);
	raw_open_as(&raw, fd, "again");
	send_byte(parent);
	raw_await_end(&raw);
	send_byte(parent);
	_exit(0);
}

/* A server that is killed meanwhile leaves nobody waiting, and its place to the next. */
START_TEST(test_kill)
{
	int ends[2], status;
	pid_t child;

	if (!hanging_start(NULL))
		return;
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
	child = fork();
	ck_assert_int_ge(child, 0);
	if (!child)
		send_and_await_end(ends[1]);
	await_byte(ends[0]);
	fuse_hang(&hung);
	send_byte(ends[0]);
	await_byte(ends[0]);
	hanging_assert_serving();
	harness_kill(&server);
	await_byte(ends[0]);
	raw_await_end(&honest);
	raw_close(&honest);
	harness_start(&server, NULL);
	harness_stop(&server);

	fuse_go_on(&hung);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	close(ends[0]);
	close(ends[1]);
	fuse_stop(&hung);
}
END_TEST

/* A file system that does not say what it is keeps nobody else from opening files. */
START_TEST(test_unknown)
{
	struct message request = {.type = MESSAGE_OPEN, .open = {.label = text_of("file"), .deadline_ms = 1}}, answer;
	char sentence[MESSAGE_MAX_TEXT + 1];
	struct raw raw;
	int fd;

	if (!hanging_start(NULL))
		return;
	raw_start(&raw, &server, "hung");
	fd = hanging_open(&hung, "file");
	fuse_hang(&hung);
	raw_ask(&raw, &request, fd, &answer);
	raw_assert_error(&answer, ETIMEDOUT, sentence);
	ck_assert_str_eq(sentence, "the file system does not answer");
	/* These are of the same user. */
	hanging_assert_serving();
	request.open.deadline_ms = RAW_LONG_MS;
	raw_send(&raw, &request, fd);
	hanging_assert_serving();
	ck_assert(!raw_is_answered(&raw));
	fuse_go_on(&hung);
	raw_receive(&raw, &answer);
	ck_assert_uint_eq(answer.type, MESSAGE_OPENED);
	close_fd(fd);
	raw_close(&raw);
	hanging_stop();
}
END_TEST

/* Nobody waits until what the file system was asked with is closed. */
START_TEST(test_end_at_close)
{
	struct raw raw;
	int fd, status;

	hung.ends_at_close = true;
	if (!hanging_start(NULL))
		return;
	raw_start(&raw, &server, "hung");
	fd = hanging_open(&hung, "file");
	raw_open_as(&raw, fd, "file");
	ck_assert_int_eq(waitpid(hung.pid, &status, WUNTRACED), hung.pid);
	ck_assert(WIFSTOPPED(status));
	hanging_assert_serving();
	raw_close(&raw);
	raw_close(&honest);
	harness_stop(&server);
	fuse_stop(&hung);
	close_fd(fd);
}
END_TEST

/* More files that hang than a user may have: the others' handles stay theirs. */
START_TEST(test_many)
{
	struct message request = {.type = MESSAGE_OPEN, .open = {.label = text_of("file"), .deadline_ms = 1}}, answer;
	int fds[100], n = 0;
	struct raw raw;

	if (!hanging_start("--max-handles=20"))
		return;
	harness_stop(&server);
	raw_close(&honest);
	harness_start(&server, "--window-size=64K", "--max-handles=20", "--user-share=50%", NULL);
	raw_start(&honest, &server, "honest");
	honest_file = raw_open(&honest, "honest");
	raw_start(&raw, &server, "hung");
	for (int i = 0; i < 100; i++) {
		char name[16];

		snprintf(name, sizeof(name), "file%d", i);
		fds[i] = hanging_open(&hung, name);
	}
	raw_open_as(&raw, fds[0], "first");
	fuse_hang(&hung);
	for (int i = 1; i < 100; i++) {
		raw_ask(&raw, &request, fds[i], &answer);
		n += answer.type == MESSAGE_OPENED;
	}
	ck_assert_int_ge(n, 9);
	ck_assert_uint_le(raw_summary(&honest).handles, 20);
	for (int i = 0; i < 30; i++)
		hanging_assert_serving();
	raw_close(&raw);
	for (int i = 0; i < 30; i++)
		hanging_assert_serving();
	fuse_go_on(&hung);
	/* When it answers, all of it comes back. */
	raw_start(&raw, &server, "hung");
	for (int i = 0; i < 100; i++) {
		request.open.deadline_ms = RAW_LONG_MS;
		raw_ask(&raw, &request, fds[i], &answer);
		ck_assert_uint_eq(answer.type, MESSAGE_OPENED);
	}
	raw_close(&raw);
	hanging_close_all(fds, 100);
	hanging_stop();
}
END_TEST

/* A connection that has more to send than its other end takes, and would be an hour in closing. */
static void make_lingering(int *lingering, int *deaf)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	const struct linger hour = {.l_onoff = 1, .l_linger = 3600};
	_cleanup_(close_fdp) int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t length = sizeof(address);
	char bytes[4096] = {0};

	ck_assert_int_eq(bind(listening, (struct sockaddr *)&address, length), 0);
	ck_assert_int_eq(listen(listening, 1), 0);
	ck_assert_int_eq(getsockname(listening, (struct sockaddr *)&address, &length), 0);
	*lingering = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(connect(*lingering, (struct sockaddr *)&address, length), 0);
	*deaf = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(*deaf, 0);
	ck_assert_int_eq(setsockopt(*lingering, SOL_SOCKET, SO_LINGER, &hour, sizeof(hour)), 0);
	while (send(*lingering, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
}

/* A client who has sent it, and was not taken yet when the server ends, does not keep it. */
START_TEST(test_backlog)
{
	struct raw raws[20];
	int lingering, deaf, status, r;

	harness_start(&server, NULL);
	make_lingering(&lingering, &deaf);
	ck_assert_int_eq(kill(server.pid, SIGSTOP), 0);
	ck_assert_int_eq(waitpid(server.pid, &status, WUNTRACED), server.pid);
	for (size_t i = 0; i < 20; i++)
		raw_connect(&raws[i], &server);
	r = channel_send(raws[19].socket, "", 1, &lingering, 1);
	/* The kernel may let none through before HELLO, and then this is the last one. */
	ck_assert(r == 0 || r == -EPERM);
	if (r < 0)
		close_fdp(&deaf);
	close_fd(lingering);
	ck_assert_int_eq(kill(server.pid, SIGTERM), 0);
	ck_assert_int_eq(kill(server.pid, SIGCONT), 0);
	ck_assert_int_eq(waitpid(server.pid, &status, 0), server.pid);
	ck_assert(WIFEXITED(status) && !WEXITSTATUS(status));
	for (size_t i = 0; i < 20; i++) {
		raw_await_end(&raws[i]);
		raw_close(&raws[i]);
	}
	close_fdp(&deaf);
}
END_TEST

/* ---- another user, whose descriptors all hang ---- */

#define STUCK 8 /* descriptors that this one has sent to be closed */

#define QUIET_ROUNDS 20 /* in which nothing more is read: then it has stopped */

static void connect_other(struct raw *raw)
{
	hanging_connect_as(raw, OTHER_UID);
}

static void start_other(struct raw *raw, const char *name)
{
	connect_other(raw);
	raw_hello(raw, name);
}

/* Another server, to which this user can come too. */
static void start_again(const char *share, const char *memory, const char *option)
{
	ck_assert_int_eq(chmod(".", 0755), 0);
	raw_close(&honest);
	harness_stop(&server);
	harness_start(&server, "--window-size=64K", memory, share, option, NULL);
	raw_start(&honest, &server, "honest");
	honest_file = raw_open(&honest, "honest");
}

/* Requires that the server serves those who come, too. */
static void assert_accepting(void)
{
	struct raw raw;

	raw_start(&raw, &server, "new");
	raw_close(&raw);
	hanging_assert_serving();
}

/* Sends so many descriptors to be closed, all at once and uncalled for, which ends the connection. */
static void send_strays(int fd, size_t n)
{
	struct raw raw;

	start_other(&raw, "stuck");
	ck_assert_int_eq(villain_send(raw.socket, "x", 1, fd, n), 0);
	raw_await_end(&raw);
	raw_close(&raw);
}

/* One who is turned away is nothing to be closed by others. */
START_TEST(test_turned_away)
{
	struct raw raw[100];
	size_t n = 0;
	int fd;

	if (!hanging_start(NULL))
		return;
	start_again("--user-share=1%", "--max-memory=4M", NULL);
	fd = hanging_open(&hung, "file");
	fuse_hang(&hung);
	send_strays(fd, STUCK);
	for (uint64_t most = raw_summary(&honest).quota_clients; n + 1 < most; n++) {
		ck_assert_uint_lt(n, 100);
		connect_other(&raw[n]);
	}
	for (int i = 0; i < 2500; i++) {
		struct raw another;

		connect_other(&another);
		raw_await_end(&another);
		raw_close(&another);
	}
	assert_accepting();
	while (n)
		raw_close(&raw[--n]);
	fuse_go_on(&hung);
	close_fd(fd);
	hanging_stop();
}
END_TEST

/* Requests to open files that wait for one that hangs, and end at once. */
START_TEST(test_many_waiting)
{
	struct message request = {.type = MESSAGE_OPEN, .open = {.label = text_of("file"), .deadline_ms = RAW_LONG_MS}}, answer;
	struct raw raw;
	int fd;

	if (!hanging_start(NULL))
		return;
	start_again("--user-share=75%", "--max-memory=4M", NULL);
	start_other(&raw, "impatient");
	fd = hanging_open(&hung, "file");
	fuse_hang(&hung);
	/* Those that are too many are refused, until nothing more is read. */
	for (int quiet = 0; request.serial < 1024 && quiet < QUIET_ROUNDS; quiet++) {
		char bytes[256];
		int length;

		request.serial++;
		length = message_encode(&request, bytes, sizeof(bytes));
		if (channel_send(raw.socket, bytes, (size_t)length, &fd, 1) == 0)
			quiet = -1;
		else
			request.serial--;
		if (quiet >= 0)
			raw_summary(&honest);
		while (raw_is_answered(&raw)) {
			raw_receive(&raw, &answer);
			ck_assert_uint_eq(answer.type, MESSAGE_ERROR);
		}
	}
	/* They were all taken: then they have to be read, too. */
	if (request.serial == 1024)
		raw_summary(&raw);
	raw_close(&raw);
	while (raw_summary(&honest).clients > 1)
		;
	assert_accepting();
	fuse_go_on(&hung);
	close_fd(fd);
	hanging_stop();
}
END_TEST

/* As many as one packet can bring, where there are not many at all. */
START_TEST(test_full_packet)
{
	const struct rlimit few = {.rlim_cur = 1024, .rlim_max = 1024};
	int fd;

	if (!hanging_start(NULL))
		return;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	start_again("--user-share=75%", "--max-memory=4M", NULL);
	fd = hanging_open(&hung, "file");
	fuse_hang(&hung);
	send_strays(fd, VILLAIN_MOST_DESCRIPTORS);
	assert_accepting();
	fuse_go_on(&hung);
	close_fd(fd);
	hanging_stop();
}
END_TEST

/* A client that is not read, since its user has too much to be closed, can't say that it has unmapped. */
START_TEST(test_held)
{
	struct message_leased leased;
	struct raw raw;
	uint32_t second;
	uint64_t file;
	int fd;

	if (!hanging_start(NULL))
		return;
	start_again("--user-share=1%", "--max-memory=64K", "--recall-timeout=1s");
	start_other(&raw, "held");
	file = raw_open(&raw, "honest");
	leased = raw_lease(&raw, file, 0, 1);
	raw_unpin(&raw, &leased.lease);
	fd = hanging_open(&hung, "file");
	fuse_hang(&hung);
	send_strays(fd, STUCK);
	raw_send_lease(&honest, honest_file, WINDOW, 1, RAW_LONG_MS);
	raw_await_recall(&raw, &leased.lease);
	raw_release(&raw, &leased.lease);
	/* It waits longer than a recall may take. */
	second = pulse_second(honest.pulse);
	while (pulse_second(honest.pulse) < second + 3)
		ck_assert_int_ge(poll(NULL, 0, 1), 0);
	ck_assert(!raw_is_answered(&honest));
	ck_assert(!raw_is_answered(&raw));
	fuse_go_on(&hung);
	leased = raw_receive_leased(&honest);
	raw_unpin(&honest, &leased.lease);
	raw_release(&honest, &leased.lease);
	ck_assert_uint_eq(raw_summary(&raw).disconnections, 1);
	raw_close(&raw);
	close_fd(fd);
	hanging_stop();
}
END_TEST

/* Who kills a runner ends the server, and at once: what that runner had to do would never be done. */
START_TEST(test_killed_runner)
{
	char path[64];
	pid_t runner;
	FILE *children;
	int status;

	harness_start(&server, NULL);
	raw_start(&honest, &server, "honest");
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)server.pid, (int)server.pid);
	children = fopen(path, "re");
	ck_assert_ptr_nonnull(children);
	ck_assert_int_eq(fscanf(children, "%d", &runner), 1);
	fclose(children);
	ck_assert_int_eq(kill(runner, SIGKILL), 0);
	raw_await_end(&honest);
	ck_assert_int_eq(waitpid(server.pid, &status, 0), server.pid);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	raw_close(&honest);
}
END_TEST

Suite *suite(void);

Suite *suite(void)
{
	Suite *s = suite_create("errands");

	HARNESS_CASE(s, "errands", test_read, test_hang, test_end, test_end_of_many, test_kill, test_unknown,
		     test_end_at_close, test_backlog, test_many, test_time, test_killed_runner);
	if (geteuid() == 0)
		HARNESS_CASE(s, "another user", test_turned_away, test_many_waiting, test_full_packet, test_held);
	return s;
}

int main(void)
{
	return harness_run(suite());
}
