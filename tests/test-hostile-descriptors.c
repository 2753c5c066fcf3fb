/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Descriptors of every kind but the right one, too many of them, none where one belongs, and one where none does. Whatever comes is
 * owned or closed, and nobody waits for it.
 */
#include "config.h"

#include "tests/hostile.h"

#include <mqueue.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

#define ROUNDS 5

/* ---- kinds ---- */

/* Ones that a path leads to. 0: the server may take it for a file; but there is nothing in it that can be leased. */
static const struct {
	const char *path;
	int flags;
	int error;
} opened[] = {
	{"file-0", O_RDWR, EBADF},
	{"file-0", O_WRONLY, EBADF},
	{"file-0", O_PATH, EBADF},
	{"link", O_PATH | O_NOFOLLOW, EBADF},
	{".", O_RDONLY | O_DIRECTORY, EINVAL},
	{"fifo", O_RDONLY | O_NONBLOCK, EINVAL},
	{"fifo", O_RDWR | O_NONBLOCK, EBADF},
	{"/dev/null", O_RDONLY, EINVAL},
	{"/dev/zero", O_RDONLY, EINVAL},
	{"/dev/zero", O_RDWR, EBADF},
	{"/dev/ptmx", O_RDONLY | O_NOCTTY, EINVAL},
	{"/proc/self", O_RDONLY | O_DIRECTORY, EINVAL},
	{"/proc/self/status", O_RDONLY, 0},
	{"/proc/self/mem", O_RDONLY, 0},
	{"/proc/self/mem", O_RDWR, EBADF},
	{"/proc/self/ns/mnt", O_RDONLY, 0},
	{"/proc/kcore", O_RDONLY, 0},
	{"/proc/sys/kernel/hostname", O_RDONLY, 0},
	{"/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY, 0},
};

static int make_pipe(bool writing)
{
	int ends[2];

	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	close(ends[!writing]);
	return ends[writing];
}

static int make_read_end(void)
{
	return make_pipe(false);
}

static int make_write_end(void)
{
	return make_pipe(true);
}

static int make_socket(void)
{
	int ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	close(ends[1]);
	return ends[0];
}

/* In whose queue it lies itself. */
static int make_circle(void)
{
	int ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	ck_assert_int_eq(villain_send(ends[1], "x", 1, ends[0], 1), 0);
	close(ends[1]);
	return ends[0];
}

static int make_tcp(void)
{
	return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int make_epoll(void)
{
	return epoll_create1(EPOLL_CLOEXEC);
}

static int make_timer(void)
{
	return timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
}

static int make_event(void)
{
	return eventfd(0, EFD_CLOEXEC);
}

static int make_signal(void)
{
	sigset_t set;

	sigemptyset(&set);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

/* Open for reading only, as a file is. */
static int make_inotify(void)
{
	return inotify_init1(IN_CLOEXEC);
}

static int make_pidfd(void)
{
	return (int)syscall(SYS_pidfd_open, getpid(), 0);
}

static int make_memory(void)
{
	int fd = memfd_create("villain", MFD_CLOEXEC);

	ck_assert_int_eq(ftruncate(fd, (off_t)HONEST_WINDOW), 0);
	return fd;
}

/* A regular file that is open for reading only, as far as one can see. */
static int make_queue(void)
{
	struct mq_attr attributes = {.mq_maxmsg = 1, .mq_msgsize = 1};
	char name[32];
	mqd_t queue;

	snprintf(name, sizeof(name), "/smmap-test-%d", (int)getpid());
	queue = mq_open(name, O_RDONLY | O_CREAT | O_CLOEXEC, 0600, &attributes);
	mq_unlink(name);
	return queue;
}

static const struct {
	int (*make)(void);
	int error;
} made[] = {
	{make_read_end, EINVAL}, {make_write_end, EBADF}, {make_socket, EBADF}, {make_circle, EBADF},  {make_tcp, EBADF},
	{make_epoll, EBADF},     {make_timer, EBADF},     {make_event, EBADF},  {make_signal, EBADF}, {make_inotify, EINVAL},
	{make_pidfd, EBADF},     {make_memory, EBADF},    {make_queue, 0},
};

/* Sends it, as the last that has it. @fd is -1 where this system has no such thing. */
static void offer(struct raw *villain, int fd, int error, struct tally *tally)
{
	struct message request = {.type = MESSAGE_OPEN, .open = {.label = text_of("villain"), .deadline_ms = RAW_LONG_MS}}, answer;
	char sentence[MESSAGE_MAX_TEXT + 1];

	if (fd < 0)
		return;
	tally->times++;
	raw_send(villain, &request, fd);
	close(fd);
	raw_receive(villain, &answer);
	if (answer.type == MESSAGE_OPENED && !error) {
		request = raw_lease_request(answer.opened.file, 0, 1, RAW_LONG_MS);
		raw_ask(villain, &request, -1, &answer);
		if (answer.type == MESSAGE_LEASED) {
			ck_assert_uint_eq(answer.leased.length, 0);
			return;
		}
		if (answer.type == MESSAGE_REOPEN)
			return;
	}
	ck_assert_uint_eq(answer.type, MESSAGE_ERROR);
	tally->refusals++;
	if (error)
		raw_assert_error(&answer, error, sentence);
}

static void offer_all(struct tally *tally)
{
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct raw villain;

		raw_start(&villain, &hostile_server, "villain");
		for (size_t i = 0; i < sizeof(opened) / sizeof(opened[0]); i++)
			offer(&villain, open(opened[i].path, opened[i].flags | O_CLOEXEC), opened[i].error, tally);
		for (size_t i = 0; i < sizeof(made) / sizeof(made[0]); i++)
			offer(&villain, made[i].make(), made[i].error, tally);
		/* What it has of the server's itself. */
		offer(&villain, dup(villain.socket), EBADF, tally);
		offer(&villain, dup(villain.bell), EBADF, tally);
		raw_close(&villain);
	}
	ck_assert_uint_ge(tally->times, ROUNDS * 25);
}

START_TEST(test_kinds)
{
	ck_assert_int_eq(mkfifo("fifo", 0600), 0);
	ck_assert_int_eq(symlink("file-0", "link"), 0);
	hostile_start(NULL);
	hostile_run("descriptors of every wrong kind", offer_all);
	hostile_stop();
}
END_TEST

/* ---- numbers ---- */

static void send_number(const struct message *request, size_t n, struct tally *tally)
{
	uint64_t errors = tally->protocol_errors;
	int fd = make_read_end(), length, r;
	char bytes[256];
	struct raw villain;

	raw_connect(&villain, &hostile_server);
	if (request->type != MESSAGE_HELLO)
		raw_hello(&villain, "villain");
	length = message_encode(request, bytes, sizeof(bytes));
	ck_assert_int_gt(length, 0);
	r = villain_send(villain.socket, bytes, (size_t)length, fd, n);
	close(fd);
	/* Before HELLO the kernel may let none through. */
	if (request->type == MESSAGE_HELLO && n && r == -EPERM) {
		raw_close(&villain);
		return;
	}
	ck_assert_int_eq(r, 0);
	villain_see_off(&villain, tally);
	ck_assert_uint_eq(tally->protocol_errors, errors + (n != message_descriptors(request)));
}

/* What the loop has for each descriptor up to the highest, of which there are more as long as many are still to be closed. */
#define LOOP_TABLE (64 << 10)

static void send_numbers(struct tally *tally)
{
	static const size_t numbers[] = {0, 1, 2, 3, 4, 5, 64, 252, VILLAIN_MOST_DESCRIPTORS};

	for (uint32_t type = MESSAGE_HELLO; type <= MESSAGE_STATUS; type++) {
		struct message request = {.type = type, .serial = 1};

		if (type == MESSAGE_HELLO)
			request.hello = (struct message_hello){.version = PROTOCOL_VERSION, .name = text_of("")};
		if (type == MESSAGE_OPEN)
			request.open.label = text_of("");
		if (type == MESSAGE_DROP)
			request.drop.path = text_of("/nowhere");
		for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
			send_number(&request, numbers[i], tally);
	}
	tally->heap_slack = LOOP_TABLE;
}

START_TEST(test_numbers)
{
	hostile_start(NULL);
	hostile_run("packets with 0 to 253 descriptors", send_numbers);
	hostile_stop();
}
END_TEST

/* ---- ones whose last close takes long ---- */

#define LINGERING      6
#define LINGER_SECONDS 30 /* honest clients give up far earlier */

/* A connection that has sent what its peer does not read. Its last close waits for that. */
static int make_lingering(int *peer)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct linger linger = {.l_onoff = 1, .l_linger = LINGER_SECONDS};
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t length = sizeof(address);
	static char bytes[65536];

	ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, length), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&address, &length), 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, length), 0);
	*peer = accept(listener, NULL, NULL);
	ck_assert_int_ge(*peer, 0);
	close(listener);
	while (send(fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
		;
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	return fd;
}

/* Where one belongs, where none does, too many, with a packet that is none, with an empty one, and before HELLO. */
static void send_lingering(struct tally *tally)
{
	struct message open_request = {.type = MESSAGE_OPEN, .serial = 1, .open = {.label = text_of("villain")}};
	struct message collect = {.type = MESSAGE_COLLECT, .serial = 1};
	int peers[LINGERING];
	char bytes[256];

	for (unsigned i = 0; i < LINGERING; i++, tally->times++) {
		int length = message_encode(i == 1 ? &collect : &open_request, bytes, sizeof(bytes));
		int fd = make_lingering(&peers[i]), r;
		struct raw villain;

		raw_connect(&villain, &hostile_server);
		if (i < 5)
			raw_hello(&villain, "villain");
		/* The server has to be the last to close it: it gets it when the villain has none any more. */
		ck_assert_int_eq(kill(hostile_server.pid, SIGSTOP), 0);
		r = villain_send(villain.socket, bytes, i == 4 ? 0 : (size_t)length - (i == 3), fd, i == 2 ? 4 : 1);
		/* Before HELLO the kernel may let none through. */
		ck_assert(r == 0 || (i == 5 && r == -EPERM));
		/* Else it is the last one here. */
		if (r < 0)
			close_fdp(&peers[i]);
		close(fd);
		ck_assert_int_eq(kill(hostile_server.pid, SIGCONT), 0);
		if (i == 0) {
			ck_assert(villain_probe(&villain, tally));
			ck_assert_uint_eq(tally->refusals, 1);
		} else {
			if (r == 0)
				raw_await_end(&villain);
			tally->protocol_errors += i != 4 && r == 0;
			tally->disconnections += i != 4 && r == 0;
		}
		raw_close(&villain);
		/* It is being closed, and nobody waits for that. */
		hostile_await_progress();
	}
	for (unsigned i = 0; i < LINGERING; i++)
		close_fdp(&peers[i]);
}

START_TEST(test_lingering)
{
	hostile_start(NULL);
	hostile_run("descriptors that take long to close", send_lingering);
	hostile_stop();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("hostile-descriptors");

	HARNESS_CASE(suite, "descriptors", test_kinds, test_numbers);
	HARNESS_CASE(suite, "lingering", test_lingering);
	return harness_run(suite);
}
