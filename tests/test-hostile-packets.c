/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Packets that are none: random ones, too large ones and empty ones, and every good request cut at every byte, or with one byte
 * changed. Each is sent by a client that has said HELLO and has a file open, or by one that has not, where that is what the request
 * is for. It is ended for it, or what it asked for by chance is answered.
 */
#include "config.h"

#include "tests/hostile.h"

#include <string.h>

#define RANDOM_PACKETS 2000

/* Whichever bit of it is changed, nobody lives to see it. */
#define LATE_MS 0x55555555

static uint64_t file; /* the villain's */

static const struct message requests[] = {
	{.type = MESSAGE_HELLO, .serial = 1, .hello = {.version = PROTOCOL_VERSION, .name = {"name", 4}}},
	{.type = MESSAGE_OPEN, .serial = 1, .open = {.label = {"label", 5}, .deadline_ms = LATE_MS}},
	{.type = MESSAGE_LEASE, .serial = 1, .lease = {.length = 1, .deadline_ms = LATE_MS}},
	{.type = MESSAGE_RELEASE, .serial = 1, .release = {.slots = {.n = 2, .refs = {{0, 1}, {0, 1}}}}},
	{.type = MESSAGE_CLOSE, .serial = 1},
	{.type = MESSAGE_COLLECT, .serial = 1},
	{.type = MESSAGE_DROP, .serial = 1, .drop = {.path = {"/nowhere", 8}}},
	{.type = MESSAGE_STATUS, .serial = 1, .status = {.section = FIGURES_PINS, .from = 1}},
};

#define N_REQUESTS (sizeof(requests) / sizeof(requests[0]))

/* One that is about to misbehave. It has a lease, too. */
static void start_villain(struct raw *villain, bool greeted)
{
	struct slot_ref lease;

	raw_connect(villain, &hostile_server);
	if (!greeted)
		return;
	raw_hello(villain, "villain");
	file = 0;
	lease = villain_lease(villain, &file, honest_path(0), 0, 1).lease;
	raw_unpin(villain, &lease);
}

/* The bytes of a request, and whether it is one for a client that has said HELLO. */
static size_t encode(size_t i, char *bytes, size_t size, bool *greeted)
{
	struct message request = requests[i];
	int length;

	if (request.type == MESSAGE_LEASE)
		request.lease.file = file;
	if (request.type == MESSAGE_CLOSE)
		request.close.file = file;
	*greeted = request.type != MESSAGE_HELLO;
	length = message_encode(&request, bytes, size);
	ck_assert_int_gt(length, 0);
	return (size_t)length;
}

static void send_to(struct raw *villain, const void *bytes, size_t n, size_t n_descriptors)
{
	int fd = open(honest_path(0), O_RDONLY | O_CLOEXEC), r;

	ck_assert_int_ge(fd, 0);
	r = villain_send(villain->socket, bytes, n, fd, n_descriptors);
	/* Before HELLO the kernel may let no descriptor through. */
	if (r == -EPERM && n_descriptors)
		r = villain_send(villain->socket, bytes, n, -1, 0);
	ck_assert_int_eq(r, 0);
	close(fd);
}

/* ---- cut ---- */

static void cut(struct tally *tally)
{
	char bytes[256];

	for (size_t i = 0; i < N_REQUESTS; i++) {
		bool greeted;
		size_t length = encode(i, bytes, sizeof(bytes), &greeted);

		for (size_t n = 1; n < length; n++) {
			uint64_t errors = tally->protocol_errors;
			struct raw villain;

			start_villain(&villain, greeted);
			encode(i, bytes, sizeof(bytes), &greeted);
			send_to(&villain, bytes, n, message_descriptors(&requests[i]));
			villain_see_off(&villain, tally);
			ck_assert_uint_eq(tally->protocol_errors, errors + 1);
		}
	}
}

START_TEST(test_cut)
{
	hostile_start(NULL);
	hostile_run("requests cut at every byte", cut);
	hostile_stop();
}
END_TEST

/* ---- changed ---- */

static void change_byte(size_t i, size_t at, uint8_t change, struct tally *tally)
{
	char bytes[256];
	struct raw villain;
	bool greeted;
	size_t length;

	encode(i, bytes, sizeof(bytes), &greeted);
	start_villain(&villain, greeted);
	length = encode(i, bytes, sizeof(bytes), &greeted);
	bytes[at] = (char)((uint8_t)bytes[at] ^ change);
	send_to(&villain, bytes, length, message_descriptors(&requests[i]));
	villain_see_off(&villain, tally);
}

static void change(struct tally *tally)
{
	for (size_t i = 0; i < N_REQUESTS; i++) {
		char bytes[256];
		bool greeted;
		size_t length = encode(i, bytes, sizeof(bytes), &greeted);

		for (size_t at = 0; at < length; at++) {
			change_byte(i, at, 0xff, tally);
			for (unsigned bit = 0; bit < 8; bit++)
				change_byte(i, at, (uint8_t)(1u << bit), tally);
		}
	}
	ck_assert_uint_gt(tally->protocol_errors, 0);
	ck_assert_uint_gt(tally->refusals, 0);
	ck_assert_uint_gt(tally->times, tally->protocol_errors + tally->refusals);
}

START_TEST(test_changed)
{
	hostile_start(NULL);
	hostile_run("requests with a byte changed", change);
	hostile_stop();
}
END_TEST

/* ---- random ---- */

/* Bytes of any kind, mostly few. */
static size_t make_noise(char *bytes)
{
	size_t n = 1 + (size_t)(harness_random() % (harness_random() % 16 ? 64 : PACKET_MAX_BYTES));

	for (size_t i = 0; i < n; i++)
		bytes[i] = (char)harness_random();
	return n;
}

/* What looks like a message: an array that begins with a type, of numbers, texts and arrays that are whole or not. */
static size_t make_message(char *bytes)
{
	static const uint8_t heads[] = {0x00, 0x7f, 0x90, 0x91, 0x92, 0x9f, 0xa0, 0xa1, 0xbf, 0xc4, 0xc5, 0xc6, 0xcc,
					0xcd, 0xce, 0xcf, 0xd9, 0xda, 0xdb, 0xdc, 0xdd, 0xc0, 0xc2, 0xca, 0xd0, 0xff};
	size_t n = 0, n_fields = (size_t)(harness_random() % 9);

	bytes[n++] = (char)(0x90 | (n_fields + 2));
	bytes[n++] = (char)(1 + harness_random() % 9);
	bytes[n++] = (char)(harness_random() % 0x80);
	for (size_t i = 0; i < n_fields; i++) {
		size_t n_size = (size_t)(harness_random() % 9);

		bytes[n++] = (char)heads[harness_random() % sizeof(heads)];
		for (size_t k = 0; k < n_size; k++)
			bytes[n++] = (char)(harness_random() % 2 ? 0 : harness_random());
	}
	return n;
}

/* A good request with a few bytes changed. */
static size_t make_nearly_good(char *bytes)
{
	bool greeted;
	size_t n = encode(1 + (size_t)(harness_random() % (N_REQUESTS - 1)), bytes, 256, &greeted);

	for (unsigned changes = 1 + (unsigned)(harness_random() % 3); changes; changes--)
		bytes[harness_random() % n] = (char)harness_random();
	return n;
}

static void send_random(struct tally *tally)
{
	static size_t (*const make[])(char *bytes) = {make_noise, make_message, make_nearly_good};
	static char bytes[PACKET_MAX_BYTES];

	for (unsigned i = 0; i < HOSTILE_TIMES(RANDOM_PACKETS); i++) {
		bool greeted = harness_random() % 8 != 0;
		struct raw villain;
		size_t n;

		start_villain(&villain, greeted);
		n = make[i % 3](bytes);
		send_to(&villain, bytes, n, harness_random() % 4 == 0);
		villain_see_off(&villain, tally);
	}
	ck_assert_uint_gt(tally->protocol_errors, 0);
}

START_TEST(test_random)
{
	hostile_start(NULL);
	hostile_run("random packets", send_random);
	hostile_stop();
}
END_TEST

/* ---- too large, or empty ---- */

static void send_large(struct tally *tally)
{
	static const size_t sizes[] = {PACKET_MAX_BYTES, PACKET_MAX_BYTES + 1, 2 * PACKET_MAX_BYTES - 4096, 2 * PACKET_MAX_BYTES};
	static char bytes[2 * PACKET_MAX_BYTES];

	for (unsigned i = 0; i < 16; i++) {
		struct message collect = {.type = MESSAGE_COLLECT};
		struct raw villain;

		/* A good request, and far too much behind it; or nothing of the kind. */
		memset(bytes, i % 2 ? 0x92 : 0, sizeof(bytes));
		if (i % 2 == 0)
			ck_assert_int_gt(message_encode(&collect, bytes, sizeof(bytes)), 0);
		start_villain(&villain, i / 2 % 2);
		send_to(&villain, bytes, sizes[i / 4], i / 2 % 2);
		villain_see_off(&villain, tally);
	}
	ck_assert_uint_eq(tally->protocol_errors, 16);
}

START_TEST(test_large)
{
	hostile_start(NULL);
	hostile_run("packets of 64 KiB to 128 KiB", send_large);
	hostile_stop();
}
END_TEST

/* It looks like the end of the stream, and is one. */
static void send_empty(struct tally *tally)
{
	for (unsigned i = 0; i < 100; i++, tally->times++) {
		struct raw villain;

		start_villain(&villain, i % 2);
		send_to(&villain, "", 0, i / 2 % 3);
		raw_await_end(&villain);
		raw_close(&villain);
	}
}

START_TEST(test_empty)
{
	hostile_start(NULL);
	hostile_run("empty packets", send_empty);
	hostile_stop();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("hostile-packets");

	HARNESS_CASE(suite, "packets", test_cut, test_changed, test_random, test_large, test_empty);
	return harness_run(suite);
}
