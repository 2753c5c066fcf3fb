/* SPDX-License-Identifier: BSD-3-Clause */
/* The channel, over a socketpair: packets, their descriptors, and every way in which they can go wrong. */
#include "config.h"

#include "proto/channel.h"
#include "tests/harness.h"

#include "proto/util.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>

static int ours, theirs;
static struct packet packet;
static char bytes[PACKET_MAX_BYTES + 4096];

static void start(void)
{
	int ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	ours = ends[0];
	theirs = ends[1];
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)harness_byte(i);
}

static void stop(void)
{
	close_fdp(&ours);
	close_fdp(&theirs);
}

/* Sends with more descriptors than channel_send() would. */
static void send_raw(int socket, size_t n_bytes, const int *fds, size_t n_fds)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(256 * sizeof(int))] = {0};
	struct iovec iov = {.iov_base = bytes, .iov_len = n_bytes};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control};
	struct cmsghdr *header;

	message.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
	header = CMSG_FIRSTHDR(&message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
	memcpy(CMSG_DATA(header), fds, n_fds * sizeof(int));
	ck_assert_int_eq(sendmsg(socket, &message, MSG_NOSIGNAL), (ssize_t)n_bytes);
}

static void assert_empty_packet(void)
{
	ck_assert_uint_eq(packet.n_descriptors, 0);
	for (int i = 0; i < PACKET_MAX_DESCRIPTORS; i++)
		ck_assert_int_eq(packet.descriptors[i], -1);
}

static void assert_same_file(int fd, int other)
{
	struct stat one, two;

	ck_assert_int_eq(fstat(fd, &one), 0);
	ck_assert_int_eq(fstat(other, &two), 0);
	ck_assert(one.st_dev == two.st_dev && one.st_ino == two.st_ino);
}

/* ---- tests ---- */

START_TEST(test_descriptors)
{
	int fds[PACKET_MAX_DESCRIPTORS + 1], before;

	start();
	for (int i = 0; i < PACKET_MAX_DESCRIPTORS + 1; i++) {
		char name[2] = {(char)('a' + i), '\0'};

		harness_make_file(name, 1);
		fds[i] = open(name, O_RDONLY | O_CLOEXEC);
	}
	before = harness_count_descriptors();
	for (size_t n = 0; n <= PACKET_MAX_DESCRIPTORS; n++) {
		ck_assert_int_eq(channel_send(ours, bytes, 10 + n, fds, n), 0);
		ck_assert_int_eq(harness_count_descriptors(), before);
		ck_assert_int_eq(channel_receive(theirs, &packet), 1);
		ck_assert_uint_eq(packet.n_bytes, 10 + n);
		ck_assert_mem_eq(packet.bytes, bytes, 10 + n);
		ck_assert_uint_eq(packet.n_descriptors, n);
		for (size_t i = 0; i < PACKET_MAX_DESCRIPTORS; i++) {
			if (i >= n) {
				ck_assert_int_eq(packet.descriptors[i], -1);
				continue;
			}
			assert_same_file(packet.descriptors[i], fds[i]);
			ck_assert_int_eq(fcntl(packet.descriptors[i], F_GETFD), FD_CLOEXEC);
		}
		ck_assert_int_eq(harness_count_descriptors(), before + (int)n);
		/* What was taken is not closed. */
		if (n == 2) {
			int taken = take_fd(&packet.descriptors[0]);

			packet_deinit(&packet);
			ck_assert_int_eq(harness_count_descriptors(), before + 1);
			close(taken);
		}
		packet_deinit(&packet);
		assert_empty_packet();
		ck_assert_int_eq(harness_count_descriptors(), before);
	}
	ck_assert_int_eq(channel_send(ours, bytes, 1, fds, PACKET_MAX_DESCRIPTORS + 1), -EINVAL);
	ck_assert_int_eq(channel_receive(theirs, &packet), -EAGAIN);
	for (int i = 0; i < PACKET_MAX_DESCRIPTORS + 1; i++)
		close(fds[i]);
	stop();
}
END_TEST

START_TEST(test_too_many_descriptors)
{
	static const size_t numbers[] = {4, 5, 253};
	int fds[253];
	int before;

	start();
	for (size_t i = 0; i < 253; i++)
		fds[i] = ours;
	before = harness_count_descriptors();
	for (size_t i = 0; i < 3; i++) {
		send_raw(ours, 10, fds, numbers[i]);
		ck_assert_int_eq(channel_receive(theirs, &packet), -EPROTO);
		ck_assert_uint_eq(packet.n_descriptors, numbers[i]);
		packet_deinit(&packet);
		ck_assert_int_eq(harness_count_descriptors(), before);
	}
	/* The next packet is not touched by that. */
	send_raw(ours, 10, fds, 3);
	ck_assert_int_eq(channel_receive(theirs, &packet), 1);
	ck_assert_uint_eq(packet.n_descriptors, 3);
	packet_deinit(&packet);
	stop();
}
END_TEST

START_TEST(test_sizes)
{
	int before, large = 1 << 20;

	start();
	ck_assert_int_eq(setsockopt(ours, SOL_SOCKET, SO_SNDBUF, &large, sizeof(large)), 0);
	before = harness_count_descriptors();
	ck_assert_int_eq(channel_send(ours, bytes, 1, NULL, 0), 0);
	ck_assert_int_eq(channel_receive(theirs, &packet), 1);
	ck_assert_uint_eq(packet.n_bytes, 1);
	ck_assert_int_eq(channel_send(ours, bytes, PACKET_MAX_BYTES, &ours, 1), 0);
	ck_assert_int_eq(channel_receive(theirs, &packet), 1);
	ck_assert_uint_eq(packet.n_bytes, PACKET_MAX_BYTES);
	ck_assert_mem_eq(packet.bytes, bytes, PACKET_MAX_BYTES);
	ck_assert_uint_eq(packet.n_descriptors, 1);
	packet_deinit(&packet);
	for (size_t n = PACKET_MAX_BYTES + 1; n <= PACKET_MAX_BYTES + 2; n++) {
		send_raw(ours, n, (int[]){ours, theirs}, 2);
		ck_assert_int_eq(channel_receive(theirs, &packet), -EMSGSIZE);
		ck_assert_uint_eq(packet.n_descriptors, 2);
		packet_deinit(&packet);
		ck_assert_int_eq(harness_count_descriptors(), before);
	}
	/* The rest of it is not taken for a packet. */
	ck_assert_int_eq(channel_receive(theirs, &packet), -EAGAIN);
	stop();
}
END_TEST

/* Where none may come, none is ever there to be closed. */
START_TEST(test_bytes_alone)
{
	char room[100];
	int before;

	start();
	before = harness_count_descriptors();
	ck_assert_int_eq(channel_receive_bytes(theirs, room, sizeof(room)), -EAGAIN);
	ck_assert_int_eq(channel_send(ours, bytes, sizeof(room), NULL, 0), 0);
	ck_assert_int_eq(channel_send(ours, bytes, sizeof(room) + 1, NULL, 0), 0);
	ck_assert_int_eq(channel_send(ours, bytes, 5, &ours, 1), 0);
	ck_assert_int_eq(channel_send(ours, bytes, 5, NULL, 0), 0);
	ck_assert_int_eq(channel_receive_bytes(theirs, room, sizeof(room)), sizeof(room));
	ck_assert_mem_eq(room, bytes, sizeof(room));
	ck_assert_int_eq(channel_receive_bytes(theirs, room, sizeof(room)), -EMSGSIZE);
	ck_assert_int_eq(channel_receive_bytes(theirs, room, sizeof(room)), -EPROTO);
	ck_assert_int_eq(harness_count_descriptors(), before);
	ck_assert_int_eq(channel_receive_bytes(theirs, room, sizeof(room)), 5);
	close_fdp(&ours);
	ck_assert_int_eq(channel_receive_bytes(theirs, room, sizeof(room)), 0);
	stop();
	ck_assert_int_eq(channel_receive_bytes(-1, room, sizeof(room)), -EBADF);
}
END_TEST

START_TEST(test_end)
{
	start();
	ck_assert_int_eq(channel_receive(theirs, &packet), -EAGAIN);
	assert_empty_packet();
	ck_assert_int_eq(channel_send(ours, bytes, 5, NULL, 0), 0);
	close_fdp(&ours);
	ck_assert_int_eq(channel_receive(theirs, &packet), 1);
	ck_assert_int_eq(channel_receive(theirs, &packet), 0);
	assert_empty_packet();
	ck_assert_int_eq(channel_receive(theirs, &packet), 0);
	/* If SIGPIPE came, this test would end here. */
	ck_assert_ptr_eq(signal(SIGPIPE, SIG_DFL), SIG_DFL);
	ck_assert_int_eq(channel_send(theirs, bytes, 5, NULL, 0), -EPIPE);
	ck_assert_int_eq(channel_send(theirs, bytes, 5, &theirs, 1), -EPIPE);
	stop();
	ck_assert_int_eq(channel_receive(-1, &packet), -EBADF);
	ck_assert_int_eq(channel_send(-1, bytes, 1, NULL, 0), -EBADF);
}
END_TEST

/* The peer went without reading all: that shows once, and then the stream has ended. */
START_TEST(test_reset)
{
	int r;

	start();
	ck_assert_int_eq(channel_send(theirs, bytes, 5, NULL, 0), 0);
	close_fdp(&ours);
	r = channel_send(theirs, bytes, 5, NULL, 0);
	ck_assert(r == -EPIPE || r == -ECONNRESET);
	r = channel_receive(theirs, &packet);
	ck_assert(r == 0 || r == -ECONNRESET);
	ck_assert_int_eq(channel_receive(theirs, &packet), 0);
	stop();
}
END_TEST

START_TEST(test_full)
{
	int n = 0, before, r;

	start();
	before = harness_count_descriptors();
	/* The sockets are not set to O_NONBLOCK. */
	while ((r = channel_send(ours, bytes, 1000, &ours, 1)) == 0)
		n++;
	ck_assert(r == -EAGAIN || r == -ETOOMANYREFS);
	ck_assert_int_gt(n, 0);
	ck_assert_int_eq(harness_count_descriptors(), before);
	while (channel_receive(theirs, &packet) == 1) {
		packet_deinit(&packet);
		n--;
	}
	ck_assert_int_eq(n, 0);
	ck_assert_int_eq(channel_send(ours, bytes, 1000, NULL, 0), 0);
	while (channel_send(ours, bytes, 1000, NULL, 0) == 0)
		n++;
	ck_assert_int_gt(n, 0);
	ck_assert_int_eq(channel_send(ours, bytes, 1000, NULL, 0), -EAGAIN);
	stop();
}
END_TEST

START_TEST(test_no_descriptor_left)
{
	struct rlimit saved, limit;
	int before;

	start();
	before = harness_count_descriptors();
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &saved), 0);
	for (int room = 0; room <= 3; room++) {
		int free_fd = dup(ours);

		/* Descriptors are given out from the lowest on: this is how many more there can be. */
		close(free_fd);
		ck_assert_int_eq(channel_send(ours, bytes, 10, (int[]){ours, ours, ours}, 3), 0);
		limit = (struct rlimit){.rlim_cur = (rlim_t)free_fd + (rlim_t)room, .rlim_max = saved.rlim_max};
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
		ck_assert_int_eq(channel_receive(theirs, &packet), room < 3 ? -EMFILE : 1);
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &saved), 0);
		ck_assert_uint_eq(packet.n_descriptors, (size_t)room);
		packet_deinit(&packet);
		ck_assert_int_eq(harness_count_descriptors(), before);
	}
	/* Packets without one still come. */
	limit = (struct rlimit){.rlim_cur = 0, .rlim_max = saved.rlim_max};
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_int_eq(channel_send(ours, bytes, 10, NULL, 0), 0);
	ck_assert_int_eq(channel_receive(theirs, &packet), 1);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &saved), 0);
	stop();
}
END_TEST

START_TEST(test_wait)
{
	start();
	ck_assert_int_eq(channel_wait(ours, POLLIN, 0), 0);
	ck_assert_int_eq(channel_wait(ours, POLLOUT, -1), 1);
	ck_assert_int_eq(channel_send(theirs, bytes, 1, NULL, 0), 0);
	ck_assert_int_eq(channel_wait(ours, POLLIN, -1), 1);
	ck_assert_int_eq(channel_receive(ours, &packet), 1);
	ck_assert_int_eq(channel_wait(ours, POLLIN, 0), 0);
	close_fdp(&theirs);
	ck_assert_int_eq(channel_wait(ours, POLLIN, -1), 1);
	stop();
}
END_TEST

static void on_alarm(int number)
{
	(void)number;
}

/* A wait is no longer for a signal that comes again and again, and no shorter. */
START_TEST(test_wait_interrupted)
{
	struct itimerval every_ms = {.it_interval.tv_usec = 1000, .it_value.tv_usec = 1000}, none = {0};
	struct sigaction action = {.sa_handler = on_alarm};
	struct timespec began, ended;

	start();
	ck_assert_int_eq(sigaction(SIGALRM, &action, NULL), 0);
	ck_assert_int_eq(setitimer(ITIMER_REAL, &every_ms, NULL), 0);
	clock_gettime(CLOCK_MONOTONIC, &began);
	ck_assert_int_eq(channel_wait(ours, POLLIN, 100), 0);
	clock_gettime(CLOCK_MONOTONIC, &ended);
	ck_assert_int_eq(setitimer(ITIMER_REAL, &none, NULL), 0);
	ck_assert_int_ge((ended.tv_sec - began.tv_sec) * 1000 + (ended.tv_nsec - began.tv_nsec) / 1000000, 99);
	stop();
}
END_TEST

static void *send_one(void *data)
{
	(void)data;
	/* Most probably somebody waits for it by now; where not, it is there already. */
	poll(NULL, 0, 20);
	ck_assert_int_eq(channel_send(theirs, bytes, 7, (int[]){theirs}, 1), 0);
	return NULL;
}

START_TEST(test_await)
{
	pthread_t thread;

	start();
	ck_assert_int_eq(channel_may_await(ours), 0);
	ck_assert_int_eq(channel_await(ours, &packet), -EAGAIN);
	ck_assert_int_eq(pthread_create(&thread, NULL, send_one, NULL), 0);
	ck_assert_int_eq(channel_await(ours, &packet), 1);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_uint_eq(packet.n_bytes, 7);
	ck_assert_uint_eq(packet.n_descriptors, 1);
	packet_deinit(&packet);
	/* Nothing else waits on such a socket. */
	ck_assert_int_eq(channel_receive(ours, &packet), -EAGAIN);
	close_fdp(&theirs);
	ck_assert_int_eq(channel_await(ours, &packet), 0);
	stop();
}
END_TEST

/* Who waits looks at his deadline after each signal: where it went on waiting, this would never end. */
START_TEST(test_await_interrupted)
{
	struct itimerval every_ms = {.it_interval.tv_usec = 1000, .it_value.tv_usec = 1000}, none = {0};
	struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};

	start();
	ck_assert_int_eq(channel_may_await(ours), 0);
	ck_assert_int_eq(sigaction(SIGALRM, &action, NULL), 0);
	ck_assert_int_eq(setitimer(ITIMER_REAL, &every_ms, NULL), 0);
	ck_assert_int_eq(channel_await(ours, &packet), -EAGAIN);
	ck_assert_int_eq(setitimer(ITIMER_REAL, &none, NULL), 0);
	stop();
}
END_TEST

START_TEST(test_address)
{
	struct sockaddr_un address;
	char path[109];

	memset(path, 'x', sizeof(path));
	path[108] = '\0';
	ck_assert_int_eq(channel_address(&address, path), -ENAMETOOLONG);
	path[107] = '\0';
	ck_assert_int_eq(channel_address(&address, path), (int)offsetof(struct sockaddr_un, sun_path) + 108);
	ck_assert_int_eq(address.sun_family, AF_UNIX);
	ck_assert_str_eq(address.sun_path, path);
	ck_assert_int_eq(channel_address(&address, "a"), (int)offsetof(struct sockaddr_un, sun_path) + 2);
	ck_assert_str_eq(address.sun_path, "a");
	ck_assert_int_eq(channel_address(&address, ""), -EINVAL);
}
END_TEST

Suite *suite(void);

Suite *suite(void)
{
	Suite *s = suite_create("channel");

	HARNESS_CASE(s, "packets", test_descriptors, test_too_many_descriptors, test_sizes, test_bytes_alone);
	HARNESS_CASE(s, "ends", test_end, test_reset, test_full, test_no_descriptor_left, test_wait, test_wait_interrupted,
		     test_await, test_await_interrupted);
	HARNESS_CASE(s, "address", test_address);
	return s;
}

int main(void)
{
	return harness_run(suite());
}
