/* SPDX-License-Identifier: BSD-3-Clause */
/* The protocol, as a client meets it that is not the library: HELLO, and what ends a connection. */
#include "config.h"

#include "tests/harness.h"
#include "tests/raw.h"

#include "proto/util.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

#define WINDOW 65536

static struct harness_server server;
static struct raw honest; /* goes on whatever others do */
static uint64_t honest_file;

static void start(void)
{
	harness_start(&server, "--window-size=64K", "--max-memory=4M", NULL);
	raw_start(&honest, &server, "honest");
	harness_make_file("honest", 3 * WINDOW);
	honest_file = raw_open(&honest, "honest");
}

/* Requires that the server serves as ever. */
static void assert_serving(void)
{
	struct message_leased leased = raw_lease(&honest, honest_file, WINDOW, 1);

	ck_assert_uint_eq(leased.offset, WINDOW);
	ck_assert_uint_eq(leased.length, WINDOW);
	raw_unpin(&honest, &leased.lease);
	raw_release(&honest, &leased.lease);
}

static void stop(void)
{
	assert_serving();
	raw_close(&honest);
	harness_stop(&server);
}

/* Sends a packet as a client that has said HELLO, or not. That has to end its connection, as an error of the protocol. */
static void assert_ends(bool greeted, const void *bytes, size_t n, const int *descriptors, size_t n_descriptors)
{
	uint64_t errors = raw_summary(&honest).protocol_errors;
	struct raw raw;
	int r;

	if (greeted)
		raw_start(&raw, &server, "rude");
	else
		raw_connect(&raw, &server);
	r = channel_send(raw.socket, bytes, n, descriptors, n_descriptors);
	/* Before HELLO the kernel may let none through. */
	if (r == 0)
		raw_await_end(&raw);
	else
		ck_assert(r == -EPERM && !greeted && n_descriptors);
	raw_close(&raw);
	ck_assert_uint_eq(raw_summary(&honest).protocol_errors, errors + (r == 0));
}

/* ---- HELLO ---- */

START_TEST(test_hello)
{
	struct message hello = {.type = MESSAGE_HELLO, .hello = {.version = PROTOCOL_VERSION, .name = text_of("raw")}};
	struct message answer;
	struct raw raw;

	start();
	raw_connect(&raw, &server);
	raw.serial = UINT32_MAX; /* the next one is 0 */
	raw_ask(&raw, &hello, -1, &answer);
	ck_assert_uint_eq(answer.type, MESSAGE_WELCOME);
	ck_assert_uint_eq(answer.welcome.version, PROTOCOL_VERSION);
	ck_assert_uint_ge(answer.welcome.n_slots, 1);
	ck_assert_uint_eq(answer.welcome.window_bytes, WINDOW);
	ck_assert_uint_eq(answer.welcome.limit_memory_bytes, 4 << 20);
	ck_assert_uint_eq(answer.welcome.limit_handles, raw_summary(&honest).limit_handles);
	ck_assert_uint_eq(answer.welcome.limit_maps, raw_summary(&honest).limit_maps);
	raw_close(&raw);
	stop();
}
END_TEST

static void assert_sealed(int fd, uint64_t size, int seals)
{
	struct stat st;

	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_uint_eq((uint64_t)st.st_size, size);
	ck_assert_int_eq(fcntl(fd, F_GET_SEALS) & seals, seals);
	ck_assert_int_eq(ftruncate(fd, 0), -1);
	ck_assert_int_eq(ftruncate(fd, (off_t)size * 2), -1);
	ck_assert_int_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
}

START_TEST(test_hello_descriptors)
{
	struct message hello = {.type = MESSAGE_HELLO, .hello = {.version = PROTOCOL_VERSION, .name = text_of("raw")}};
	size_t page = (size_t)page_size();
	struct message answer;
	struct raw raw;
	socklen_t length = sizeof(int);
	int *fds, type;
	void *map;

	start();
	raw_connect(&raw, &server);
	raw_ask(&raw, &hello, -1, &answer);
	fds = raw.packet->descriptors;
	assert_sealed(fds[0], round_up(answer.welcome.n_slots * sizeof(struct board_slot), page), F_SEAL_SHRINK | F_SEAL_GROW);
	assert_sealed(fds[1], page, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL);

	/* The pulse is the server's alone to write, in whatever way. */
	ck_assert_ptr_eq(mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fds[1], 0), MAP_FAILED);
	ck_assert_int_eq(pwrite(fds[1], "x", 1, 0), -1);
	ck_assert_int_eq(fallocate(fds[1], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)page), -1);
	map = mmap(NULL, page, PROT_READ, MAP_SHARED, fds[1], 0);
	ck_assert_ptr_ne(map, MAP_FAILED);
	ck_assert_int_eq(mprotect(map, page, PROT_READ | PROT_WRITE), -1);
	ck_assert_uint_eq(((const struct pulse *)map)->window_bytes, WINDOW);
	munmap(map, page);

	ck_assert_int_eq(getsockopt(fds[2], SOL_SOCKET, SO_TYPE, &type, &length), 0);
	ck_assert_int_eq(type, SOCK_SEQPACKET);
	raw_close(&raw);
	stop();
}
END_TEST

/* A refusal that says why, and then the end. */
static void assert_refused_at_the_door(struct message *hello, int error, const char *part)
{
	char sentence[MESSAGE_MAX_TEXT + 1];
	uint64_t refusals = raw_summary(&honest).refusals;
	struct message answer;
	struct raw raw;

	raw_connect(&raw, &server);
	raw_ask(&raw, hello, -1, &answer);
	raw_assert_error(&answer, error, sentence);
	ck_assert_msg(strstr(sentence, part), "no '%s' in: %s", part, sentence);
	raw_await_end(&raw);
	raw_close(&raw);
	ck_assert_uint_eq(raw_summary(&honest).refusals, refusals + 1);
}

START_TEST(test_hello_refused)
{
	struct message hello = {.type = MESSAGE_HELLO, .hello = {.name = text_of("raw")}};
	char name[MESSAGE_MAX_NAME + 2] = "";
	struct raw raw;

	start();
	hello.hello.version = PROTOCOL_VERSION + 1;
	assert_refused_at_the_door(&hello, EPROTO, "version");
	hello.hello.version = 0;
	assert_refused_at_the_door(&hello, EPROTO, "version");

	hello.hello.version = PROTOCOL_VERSION;
	memset(name, 'n', MESSAGE_MAX_NAME + 1);
	hello.hello.name = text_of(name);
	assert_refused_at_the_door(&hello, EINVAL, "name");
	name[MESSAGE_MAX_NAME] = '\0';
	raw_start(&raw, &server, name);
	raw_close(&raw);
	raw_start(&raw, &server, "");
	raw_close(&raw);
	stop();
}
END_TEST

START_TEST(test_gone_before_welcome)
{
	struct message hello = {.type = MESSAGE_HELLO, .hello = {.version = PROTOCOL_VERSION, .name = text_of("raw")}};
	struct raw gone, next;
	uint64_t refusals;

	/* Nothing is refused to who has gone, nor is that anything to talk about. The next one comes after it. */
	start();
	refusals = raw_summary(&honest).refusals;
	ck_assert_int_eq(kill(server.pid, SIGSTOP), 0);
	raw_connect(&gone, &server);
	raw_send(&gone, &hello, -1);
	raw_close(&gone);
	ck_assert_int_eq(kill(server.pid, SIGCONT), 0);
	raw_start(&next, &server, "next");
	ck_assert_uint_eq(raw_summary(&next).refusals, refusals);
	ck_assert_uint_eq(raw_summary(&next).clients, 2);
	raw_close(&next);
	stop();
}
END_TEST

/* ---- what ends a connection ---- */

/* A good packet of each type that a client may send. */
static const struct message requests[] = {
	{.type = MESSAGE_HELLO, .serial = 1, .hello = {.version = PROTOCOL_VERSION, .name = {"name", 4}}},
	{.type = MESSAGE_OPEN, .serial = 1, .open = {.label = {"label", 5}}},
	{.type = MESSAGE_LEASE, .serial = 1, .lease = {.file = 1, .offset = 1, .length = 1}},
	{.type = MESSAGE_RELEASE, .serial = 1, .release = {.slots = {.n = 1}}},
	{.type = MESSAGE_CLOSE, .serial = 1, .close = {.file = 1}},
	{.type = MESSAGE_COLLECT, .serial = 1},
	{.type = MESSAGE_DROP, .serial = 1, .drop = {.path = {"/nowhere", 8}}},
	{.type = MESSAGE_STATUS, .serial = 1},
};

#define N_REQUESTS (sizeof(requests) / sizeof(requests[0]))

START_TEST(test_cut_or_longer)
{
	char bytes[256];

	start();
	for (size_t i = 0; i < N_REQUESTS; i++) {
		size_t n_descriptors = message_descriptors(&requests[i]);
		int length = message_encode(&requests[i], bytes, sizeof(bytes) - 1);

		ck_assert_int_gt(length, 2);
		bytes[length] = 0;
		for (size_t n = 1; n <= (size_t)length + 1; n++) {
			if (n == (size_t)length)
				continue;
			assert_ends(requests[i].type != MESSAGE_HELLO, bytes, n, NULL, 0);
			/* The descriptor is no more welcome with it. */
			if (n_descriptors)
				assert_ends(true, bytes, n, &honest.socket, 1);
		}
	}
	stop();
}
END_TEST

START_TEST(test_out_of_order)
{
	char bytes[256];

	start();
	for (size_t i = 0; i < N_REQUESTS; i++) {
		int length = message_encode(&requests[i], bytes, sizeof(bytes));

		/* HELLO comes once, and first. */
		assert_ends(requests[i].type == MESSAGE_HELLO, bytes, (size_t)length, &honest.socket,
			    message_descriptors(&requests[i]));
	}
	stop();
}
END_TEST

START_TEST(test_not_a_request)
{
	static const uint32_t answers[] = {
		MESSAGE_ERROR,  MESSAGE_WELCOME, MESSAGE_OPENED,  MESSAGE_LEASED, MESSAGE_REOPEN,
		MESSAGE_CLOSED, MESSAGE_FREED,   MESSAGE_FIGURES, MESSAGE_RECALL,
	};
	int descriptors[3];
	char bytes[256];

	start();
	for (int i = 0; i < 3; i++)
		descriptors[i] = honest.socket;
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		struct message message = {.type = answers[i], .serial = 1};
		int length;

		if (answers[i] == MESSAGE_ERROR)
			message.error.sentence = text_of("");
		if (answers[i] == MESSAGE_FIGURES)
			message.figures.rows = text_of("");
		length = message_encode(&message, bytes, sizeof(bytes));

		ck_assert_int_gt(length, 0);
		assert_ends(true, bytes, (size_t)length, descriptors, message_descriptors(&message));
		assert_ends(false, bytes, (size_t)length, descriptors, message_descriptors(&message));
	}
	/* An array of two: an unknown type, and a serial. */
	for (unsigned type = 0; type < 128; type++) {
		uint8_t unknown[] = {0x92, (uint8_t)type, 1};

		if (type != MESSAGE_COLLECT)
			assert_ends(true, unknown, sizeof(unknown), descriptors, 0);
	}
	stop();
}
END_TEST

START_TEST(test_strange_numbers)
{
	static const struct {
		const char *bytes;
		size_t n;
	} packets[] = {
		{"\x92\xcc\x80\x01", 4},                     /* a type of two bytes */
		{"\x92\xff\x01", 3},                         /* negative ones */
		{"\x92\x06\xff", 3},
		{"\x92\x06\xcf\0\0\0\1\0\0\0\0", 11},        /* a serial past 2^32 */
		{"\x92\x06\xc0", 3},                         /* nil */
		{"\x92\x06\xca\0\0\0\0", 7},                 /* a float */
		{"\x81\x06\x01", 3},                         /* a map */
		{"\x06", 1},                                 /* no array */
		{"\xdd\x0f\xff\xff\xff\x29", 6},             /* claims that allocate */
		{"\xdf\x0f\xff\xff\xff\x29", 6},
		{"\x93\x07\x01\xdb\xff\xff\xff\xff", 8},
		{"\x93\x04\x01\xdd\x0f\xff\xff\xff", 8},
		{"\x93\x06\x01\x01", 4},                     /* a field too many */
		{"\x93\x07\x01\xc4\x01/", 6},                /* binary where text is due */
		{"\x93\x04\x01\x91\x91\x01", 6},             /* a slot of one number */
	};

	start();
	for (size_t i = 0; i < sizeof(packets) / sizeof(packets[0]); i++)
		assert_ends(true, packets[i].bytes, packets[i].n, NULL, 0);
	stop();
}
END_TEST

START_TEST(test_empty_packet)
{
	struct raw raw;

	/* It looks like the end of the stream, and ends it. */
	start();
	raw_start(&raw, &server, "empty");
	raw_send_bytes(&raw, "", 0, NULL, 0);
	raw_await_end(&raw);
	raw_close(&raw);
	stop();
}
END_TEST

START_TEST(test_large_packets)
{
	static const size_t sizes[] = {PACKET_MAX_BYTES - 1, PACKET_MAX_BYTES, PACKET_MAX_BYTES + 1, PACKET_MAX_BYTES + 2,
				       2 * PACKET_MAX_BYTES - 4096};
	char *bytes = calloc(2, PACKET_MAX_BYTES);
	struct message collect = {.type = MESSAGE_COLLECT};

	/* A good request, and far too much behind it. */
	start();
	ck_assert_int_gt(message_encode(&collect, bytes, PACKET_MAX_BYTES), 0);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		assert_ends(true, bytes, sizes[i], NULL, 0);
		assert_ends(true, bytes, sizes[i], &honest.socket, 1);
		assert_ends(false, bytes, sizes[i], NULL, 0);
	}
	free(bytes);
	stop();
}
END_TEST

/* Sends more descriptors than the channel would. 0 or -errno. */
static int send_many(int socket, const void *bytes, size_t n_bytes, int fd, size_t n)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(250 * sizeof(int))] = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = n_bytes};
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = CMSG_SPACE(n * sizeof(int)),
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	*header = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(n * sizeof(int))};
	for (size_t i = 0; i < n; i++)
		memcpy(CMSG_DATA(header) + i * sizeof(int), &fd, sizeof(fd));
	return sendmsg(socket, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

START_TEST(test_number_of_descriptors)
{
	static const size_t numbers[] = {0, 1, 2, 3, 4, 5, 250};
	uint64_t errors = 0;
	int before, fd;

	start();
	before = raw_server_descriptors(&honest, &server);
	fd = open("honest", O_RDONLY | O_CLOEXEC);
	for (size_t i = 0; i < N_REQUESTS; i++) {
		for (size_t k = 0; k < sizeof(numbers) / sizeof(numbers[0]); k++) {
			char bytes[256];
			int length = message_encode(&requests[i], bytes, sizeof(bytes)), r;
			struct raw raw;

			if (numbers[k] == message_descriptors(&requests[i]))
				continue;
			raw_connect(&raw, &server);
			if (requests[i].type != MESSAGE_HELLO)
				raw_hello(&raw, "wrong");
			r = send_many(raw.socket, bytes, (size_t)length, fd, numbers[k]);
			if (r == 0)
				raw_await_end(&raw);
			else
				ck_assert(r == -EPERM && requests[i].type == MESSAGE_HELLO);
			raw_close(&raw);
			errors += r == 0;
			ck_assert_uint_eq(raw_summary(&honest).protocol_errors, errors);
		}
	}
	close(fd);
	ck_assert_int_eq(raw_server_descriptors(&honest, &server), before);
	stop();
}
END_TEST

Suite *suite(void);

Suite *suite(void)
{
	Suite *s = suite_create("protocol");

	HARNESS_CASE(s, "hello", test_hello, test_hello_descriptors, test_hello_refused, test_gone_before_welcome);
	HARNESS_CASE(s, "malformed", test_cut_or_longer, test_out_of_order, test_not_a_request, test_strange_numbers,
		     test_empty_packet, test_large_packets, test_number_of_descriptors);
	return s;
}

int main(void)
{
	return harness_run(suite());
}
