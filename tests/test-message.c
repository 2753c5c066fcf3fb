/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages, figures, and the shape of what they are made of: what is sent comes back, and nothing else is taken. */
#include "config.h"

#include "proto/codec.h"
#include "proto/figures.h"
#include "proto/message.h"
#include "proto/shape.h"
#include "tests/harness.h"

#include "proto/channel.h"
#include "proto/util.h"

#include <malloc.h>
#include <string.h>

static char bytes[2 * PACKET_MAX_BYTES];
static char long_text[MESSAGE_MAX_TEXT + 1];
static struct message in, out;

static const uint32_t types[] = {
	MESSAGE_HELLO,  MESSAGE_OPEN,   MESSAGE_LEASE,   MESSAGE_RELEASE, MESSAGE_CLOSE,  MESSAGE_COLLECT,
	MESSAGE_DROP,   MESSAGE_STATUS, MESSAGE_ERROR,   MESSAGE_WELCOME, MESSAGE_OPENED, MESSAGE_LEASED,
	MESSAGE_REOPEN, MESSAGE_CLOSED, MESSAGE_FREED,   MESSAGE_FIGURES, MESSAGE_RECALL,
};
#define N_TYPES (sizeof(types) / sizeof(types[0]))

/* Every number of 32 bits is @small, every one of 64 @large; @n bytes of text, at most @n slots. */
static void fill(uint32_t type, uint32_t small, uint64_t large, size_t n)
{
	struct text text = {.data = long_text, .length = n};
	struct slot_list slots = {.n = (uint32_t)min_u64(n, MESSAGE_MAX_SLOTS)};

	memset(long_text, 'x', sizeof(long_text));
	for (uint32_t i = 0; i < slots.n; i++)
		slots.refs[i] = (struct slot_ref){.slot = small, .generation = small - i};
	in = (struct message){.type = type, .serial = small};
	switch (type) {
	case MESSAGE_HELLO:
		in.hello = (struct message_hello){.version = small, .name = text};
		break;
	case MESSAGE_OPEN:
		in.open = (struct message_open){.label = text, .deadline_ms = small};
		break;
	case MESSAGE_LEASE:
		in.lease = (struct message_lease){
			.file = large,
			.offset = large - 1,
			.length = large - 2,
			.deadline_ms = small,
			.ahead = small - 1,
			.released = slots,
		};
		break;
	case MESSAGE_RELEASE:
	case MESSAGE_RECALL:
		in.release.slots = slots;
		break;
	case MESSAGE_CLOSE:
		in.close.file = large;
		break;
	case MESSAGE_DROP:
		in.drop.path = text;
		break;
	case MESSAGE_STATUS:
		in.status = (struct message_status){.section = small, .from = large};
		break;
	case MESSAGE_ERROR:
		in.error = (struct message_error){.error = small, .sentence = text};
		break;
	case MESSAGE_WELCOME:
		in.welcome = (struct message_welcome){small, small - 1, large, large - 1, large - 2, large - 3};
		break;
	case MESSAGE_OPENED:
		in.opened = (struct message_opened){.file = large, .size = large - 1};
		break;
	case MESSAGE_LEASED:
		in.leased = (struct message_leased){{small, small - 1}, large, large - 1, large - 2, slots};
		break;
	case MESSAGE_FREED:
		in.freed = (struct message_freed){.bytes = large, .maps = large - 1};
		break;
	case MESSAGE_FIGURES:
		in.figures = (struct message_figures){.next = large, .rows = text};
		break;
	}
}

/* Encodes `in` into a packet of its own size, so that a sanitizer sees who reads behind it. */
static char *encode(size_t *n)
{
	int length = message_encode(&in, bytes, sizeof(bytes));
	char *packet;

	ck_assert_int_gt(length, 0);
	packet = malloc((size_t)length);
	memcpy(packet, bytes, (size_t)length);
	*n = (size_t)length;
	return packet;
}

static void assert_text(struct text a, struct text b)
{
	ck_assert_uint_eq(a.length, b.length);
	if (a.length)
		ck_assert_mem_eq(a.data, b.data, a.length);
}

/* The same bytes again show that all fields came through. Texts of `out` point into the packet: it stays until next time. */
static void assert_round_trip(void)
{
	static char again[sizeof(bytes)];
	static char *packet;
	size_t n;

	free(packet);
	packet = encode(&n);
	memset(&out, 0x5a, sizeof(out));
	ck_assert_int_eq(message_decode(&out, packet, n), 0);
	ck_assert_uint_eq(out.type, in.type);
	ck_assert_uint_eq(out.serial, in.serial);
	ck_assert_int_eq(message_encode(&out, again, sizeof(again)), (int)n);
	ck_assert_mem_eq(again, packet, n);
}

static int decode(const void *data, size_t n)
{
	char *packet = malloc(n ? n : 1);
	int r;

	memcpy(packet, data, n);
	r = message_decode(&out, packet, n);
	free(packet);
	return r;
}

#define DECODE(...) decode((uint8_t[]){__VA_ARGS__}, sizeof((uint8_t[]){__VA_ARGS__}))

/* ---- messages ---- */

START_TEST(test_round_trip)
{
	static const uint64_t borders[] = {0, 1, 127, 128, 255, 256, 65535, 65536, UINT32_MAX, UINT64_C(1) << 32, INT64_MAX, UINT64_MAX};
	static const size_t lengths[] = {0, 1, 15, 16, 31, 32, 255, 256, MESSAGE_MAX_TEXT};

	for (size_t t = 0; t < N_TYPES; t++)
		for (size_t b = 0; b < sizeof(borders) / sizeof(borders[0]); b++)
			for (size_t l = 0; l < sizeof(lengths) / sizeof(lengths[0]); l++) {
				fill(types[t], (uint32_t)borders[b], borders[b], lengths[l]);
				assert_round_trip();
			}

	/* By name, for the ones whose fields are of one kind and could be swapped on both ways. */
	fill(MESSAGE_LEASE, 70000, UINT64_MAX, 2);
	assert_round_trip();
	ck_assert_uint_eq(out.lease.file, UINT64_MAX);
	ck_assert_uint_eq(out.lease.offset, UINT64_MAX - 1);
	ck_assert_uint_eq(out.lease.length, UINT64_MAX - 2);
	ck_assert_uint_eq(out.lease.deadline_ms, 70000);
	ck_assert_uint_eq(out.lease.ahead, 69999);
	ck_assert_uint_eq(out.lease.released.n, 2);
	ck_assert_uint_eq(out.lease.released.refs[1].generation, 69999);
	fill(MESSAGE_LEASED, 5, 1000, 3);
	assert_round_trip();
	ck_assert_uint_eq(out.leased.lease.slot, 5);
	ck_assert_uint_eq(out.leased.lease.generation, 4);
	ck_assert_uint_eq(out.leased.length, 999);
	ck_assert_uint_eq(out.leased.file_size, 998);
	ck_assert_uint_eq(out.leased.victims.n, 3);
	ck_assert_uint_eq(out.leased.victims.refs[2].generation, 3);
	fill(MESSAGE_OPEN, 1, 1, 5);
	assert_round_trip();
	ck_assert_int_eq(message_encode(&in, bytes, 100), 10);
	ck_assert_mem_eq(bytes, "\x94\x02\x01\xa5xxxxx\x01", 10);
	ck_assert_uint_eq(message_descriptors(&out), 1);
	fill(MESSAGE_WELCOME, 1, 1, 0);
	ck_assert_uint_eq(message_descriptors(&in), 3);
	fill(MESSAGE_LEASED, 1, 2, 0);
	ck_assert_uint_eq(message_descriptors(&in), 1);
	in.leased.length = 0;
	ck_assert_uint_eq(message_descriptors(&in), 0);
}
END_TEST

/* A struct that was just cleared has texts without a pointer. */
START_TEST(test_empty_text)
{
	in = (struct message){.type = MESSAGE_HELLO};
	assert_round_trip();
	in = (struct message){.type = MESSAGE_FIGURES};
	assert_round_trip();
	assert_text(out.figures.rows, text_of(""));
}
END_TEST

START_TEST(test_most)
{
	fill(MESSAGE_ERROR, 1, 1, MESSAGE_MAX_TEXT);
	assert_round_trip();
	assert_text(out.error.sentence, in.error.sentence);
	in.error.sentence.length++;
	ck_assert_int_eq(message_encode(&in, bytes, sizeof(bytes)), -EMSGSIZE);
	fill(MESSAGE_RELEASE, UINT32_MAX, 1, MESSAGE_MAX_SLOTS);
	assert_round_trip();
	in.release.slots.n++;
	ck_assert_int_eq(message_encode(&in, bytes, sizeof(bytes)), -EMSGSIZE);

	/* The same from others: array of 256 slots, and of 257; text of 4096, and of 4097. */
	for (uint32_t n = 256; n <= 257; n++) {
		memcpy(bytes, (uint8_t[]){0x93, MESSAGE_RELEASE, 1, 0xdc, 1, (uint8_t)(n - 256)}, 6);
		for (uint32_t i = 0; i < n; i++)
			memcpy(bytes + 6 + 3 * i, (uint8_t[]){0x92, 1, 2}, 3);
		ck_assert_int_eq(decode(bytes, 6 + 3 * n), n > 256 ? -EBADMSG : 0);
	}
	for (uint32_t n = 4096; n <= 4097; n++) {
		memcpy(bytes, (uint8_t[]){0x93, MESSAGE_DROP, 1, 0xda, 0x10, (uint8_t)(n - 4096)}, 6);
		ck_assert_int_eq(decode(bytes, 6 + n), n > 4096 ? -EBADMSG : 0);
	}

	/* No room: a byte less than it takes. */
	for (size_t t = 0; t < N_TYPES; t++) {
		int n;

		fill(types[t], 70000, UINT64_MAX, 20);
		n = message_encode(&in, bytes, sizeof(bytes));
		ck_assert_int_eq(message_encode(&in, bytes, (size_t)n), n);
		for (int less = 0; less < n; less++)
			ck_assert_int_eq(message_encode(&in, bytes, (size_t)less), -EMSGSIZE);
	}
}
END_TEST

START_TEST(test_truncated)
{
	for (size_t t = 0; t < N_TYPES; t++)
		for (int large = 0; large < 2; large++) {
			size_t n;
			char *packet;

			fill(types[t], large ? UINT32_MAX : 0, large ? UINT64_MAX : 0, large ? 40 : 0);
			packet = encode(&n);
			for (size_t less = 0; less < n; less++)
				ck_assert_int_eq(decode(packet, less), -EBADMSG);
			ck_assert_int_eq(decode(packet, n), 0);
			/* A byte too many, even one that means something. */
			memcpy(bytes, packet, n);
			bytes[n] = 0;
			ck_assert_int_eq(decode(bytes, n + 1), -EBADMSG);
			memcpy(bytes + n, packet, n);
			ck_assert_int_eq(decode(bytes, 2 * n), -EBADMSG);
			free(packet);
		}
}
END_TEST

START_TEST(test_every_flip)
{
	for (size_t t = 0; t < N_TYPES; t++) {
		size_t n;
		char *packet;

		fill(types[t], 70000, UINT64_MAX, 20);
		packet = encode(&n);
		for (size_t i = 0; i < n; i++) {
			char saved = packet[i];

			for (int value = 0; value < 256; value++) {
				int r;

				packet[i] = (char)value;
				r = decode(packet, n);
				ck_assert(r == 0 || r == -EBADMSG);
			}
			packet[i] = saved;
		}
		ck_assert_int_eq(decode(packet, n), 0);
		free(packet);
	}
}
END_TEST

START_TEST(test_types)
{
	/* For each number that a byte can hold: does a message of one text, one number or nothing decode? */
	for (int type = 0; type < 128; type++) {
		bool is_known = (type >= MESSAGE_HELLO && type <= MESSAGE_STATUS) || (type >= MESSAGE_ERROR && type <= MESSAGE_FIGURES) ||
				type == MESSAGE_RECALL;
		bool is_bare = type == MESSAGE_COLLECT || type == MESSAGE_REOPEN || type == MESSAGE_CLOSED;

		ck_assert_int_eq(DECODE(0x92, (uint8_t)type, 9), is_bare ? 0 : -EBADMSG);
		if (!is_known)
			ck_assert_int_eq(DECODE(0x93, (uint8_t)type, 9, 0xa0), -EBADMSG);
		if (is_known) {
			fill((uint32_t)type, 1, 1, 1);
			assert_round_trip();
		}
	}
	/* A type is one byte, and so is the head of the array. */
	ck_assert_int_eq(DECODE(0x92, 0xcc, MESSAGE_COLLECT, 9), -EBADMSG);
	ck_assert_int_eq(DECODE(0xdc, 0, 2, MESSAGE_COLLECT, 9), -EBADMSG);
	ck_assert_int_eq(DECODE(0x91, MESSAGE_COLLECT), -EBADMSG);
	ck_assert_int_eq(DECODE(0x90), -EBADMSG);
	ck_assert_int_eq(DECODE(MESSAGE_COLLECT, MESSAGE_COLLECT), -EBADMSG);
	ck_assert_int_eq(decode("", 0), -EBADMSG);
}
END_TEST

START_TEST(test_wrong_fields)
{
	/* A text where a number is due, and the other kinds in its place. */
	ck_assert_int_eq(DECODE(0x93, MESSAGE_CLOSE, 1, 5), 0);
	ck_assert_int_eq(DECODE(0x93, MESSAGE_CLOSE, 1, 0xa1, 'x'), -EBADMSG);
	ck_assert_int_eq(DECODE(0x93, MESSAGE_CLOSE, 1, 0x90), -EBADMSG);
	ck_assert_int_eq(DECODE(0x93, MESSAGE_CLOSE, 1, 0xc0), -EBADMSG);
	ck_assert_int_eq(DECODE(0x93, MESSAGE_CLOSE, 1, 0xc3), -EBADMSG);
	ck_assert_int_eq(DECODE(0x93, MESSAGE_CLOSE, 1, 0xff), -EBADMSG);
	ck_assert_int_eq(DECODE(0x93, MESSAGE_CLOSE, 1, 0xd0, 5), -EBADMSG);
	ck_assert_int_eq(DECODE(0x93, MESSAGE_CLOSE, 1, 0xca, 0, 0, 0, 0), -EBADMSG);
	ck_assert_int_eq(DECODE(0x93, MESSAGE_CLOSE, 1, 0x80), -EBADMSG);
	/* Text is not binary, nor the other way. */
	ck_assert_int_eq(DECODE(0x93, MESSAGE_DROP, 1, 0xa1, 'x'), 0);
	ck_assert_int_eq(DECODE(0x93, MESSAGE_DROP, 1, 0xc4, 1, 'x'), -EBADMSG);
	ck_assert_int_eq(DECODE(0x93, MESSAGE_DROP, 1, 7), -EBADMSG);
	ck_assert_int_eq(DECODE(0x94, MESSAGE_FIGURES, 1, 0, 0xc4, 1, 'x'), 0);
	ck_assert_int_eq(DECODE(0x94, MESSAGE_FIGURES, 1, 0, 0xa1, 'x'), -EBADMSG);
	/* Slots are arrays of two numbers. */
	ck_assert_int_eq(DECODE(0x93, MESSAGE_RELEASE, 1, 0x91, 0x92, 1, 2), 0);
	ck_assert_int_eq(DECODE(0x93, MESSAGE_RELEASE, 1, 0x91, 0x91, 1), -EBADMSG);
	ck_assert_int_eq(DECODE(0x93, MESSAGE_RELEASE, 1, 0x91, 0x93, 1, 2, 3), -EBADMSG);
	ck_assert_int_eq(DECODE(0x93, MESSAGE_RELEASE, 1, 0x91, 0x92, 1, 0xa0), -EBADMSG);
	ck_assert_int_eq(DECODE(0x93, MESSAGE_RELEASE, 1, 0x92, 1, 2), -EBADMSG);
	ck_assert_int_eq(DECODE(0x93, MESSAGE_RELEASE, 1, 5), -EBADMSG);
	/* A field too few, or too many. */
	ck_assert_int_eq(DECODE(0x92, MESSAGE_CLOSE, 1), -EBADMSG);
	ck_assert_int_eq(DECODE(0x94, MESSAGE_CLOSE, 1, 5, 5), -EBADMSG);
	/* 32 bits: the last number that fits, and the next, in each place. */
	ck_assert_int_eq(DECODE(0x92, MESSAGE_COLLECT, 0xcf, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff), 0);
	ck_assert_uint_eq(out.serial, UINT32_MAX);
	ck_assert_int_eq(DECODE(0x92, MESSAGE_COLLECT, 0xcf, 0, 0, 0, 1, 0, 0, 0, 0), -EBADMSG);
	ck_assert_int_eq(DECODE(0x93, MESSAGE_RELEASE, 1, 0x91, 0x92, 1, 0xcf, 0, 0, 0, 1, 0, 0, 0, 0), -EBADMSG);
	ck_assert_int_eq(DECODE(0x93, MESSAGE_CLOSE, 1, 0xcf, 0, 0, 0, 1, 0, 0, 0, 0), 0);
}
END_TEST

/* ---- shapes ---- */

START_TEST(test_shape)
{
	ck_assert_int_eq(shape_check("", 0), -EBADMSG);
	ck_assert_int_eq(shape_check("\x00", 1), 1);
	ck_assert_int_eq(shape_check("\x7f\x7f", 2), 1);
	ck_assert_int_eq(shape_check("\x90\x01", 2), 1);
	ck_assert_int_eq(shape_check("\x92\x01\x02", 3), 3);
	ck_assert_int_eq(shape_check("\x92\x01", 2), -EBADMSG);
	ck_assert_int_eq(shape_check("\xa2xy", 3), 3);
	ck_assert_int_eq(shape_check("\xa2x", 2), -EBADMSG);
	ck_assert_int_eq(shape_check("\xd9\x01x", 3), 3);
	ck_assert_int_eq(shape_check("\xda\x00", 2), -EBADMSG);
	ck_assert_int_eq(shape_check("\xdb\xff\xff\xff\xff", 5), -EBADMSG);
	ck_assert_int_eq(shape_check("\xc6\x00\x00\x00\x00", 5), 5);
	ck_assert_int_eq(shape_check("\xcf\x01\x02\x03\x04\x05\x06\x07", 8), -EBADMSG);
	ck_assert_int_eq(shape_check("\xdc\x00\x01\x05", 4), 4);
	ck_assert_int_eq(shape_check("\xdd\x00\x00\x00\x00", 5), 5);
	/* The kinds that no message has, however many bytes follow. */
	memset(bytes, 0, sizeof(bytes));
	for (int first = 0; first < 256; first++) {
		bool is_taken = first < 0x80 || (first >= 0x90 && first <= 0xbf) || (first >= 0xc4 && first <= 0xc6) ||
				(first >= 0xcc && first <= 0xcf) || (first >= 0xd9 && first <= 0xdd);

		bytes[0] = (char)first;
		ck_assert_int_eq(shape_check(bytes, 100) > 0, is_taken);
	}
}
END_TEST

/* What msgpack-c would take for a reason to allocate gigabytes. */
START_TEST(test_bombs)
{
	size_t before = mallinfo2().arena + mallinfo2().hblkhd, depth = PACKET_MAX_BYTES;
	struct text rows;
	struct figures_file row;

	ck_assert_int_eq(message_decode(&out, "\xdd\xff\xff\xff\xff", 5), -EBADMSG);
	ck_assert_int_eq(message_decode(&out, "\xdd\x0f\xff\xff\xff\x29", 6), -EBADMSG);
	ck_assert_int_eq(message_decode(&out, "\x93\x04\x01\xdd\xff\xff\xff\xff", 8), -EBADMSG);
	ck_assert_int_eq(message_decode(&out, "\x93\x04\x01\xdd\x0f\xff\xff\xff\x29", 9), -EBADMSG);
	ck_assert_int_eq(message_decode(&out, "\x93\x02\x01\xdb\xff\xff\xff\xff", 8), -EBADMSG);
	ck_assert_int_eq(message_decode(&out, "\x93\x04\x01\xdf\x0f\xff\xff\xff\x29", 9), -EBADMSG);
	rows = (struct text){.data = "\xdd\x0f\xff\xff\xff\x29", .length = 6};
	ck_assert_int_eq(figures_next(&rows, FIGURES_FILES, &row), -EBADMSG);
	/* Arrays in arrays, each of which claims what the bytes could just be. */
	for (size_t i = 0; i + 3 <= depth; i += 3)
		memcpy(bytes + i, (uint8_t[]){0xdc, 0xff, 0xff}, 3);
	ck_assert_int_eq(shape_check(bytes, depth), -EBADMSG);
	memcpy(bytes, "\x93\x04\x01", 3);
	ck_assert_int_eq(message_decode(&out, bytes, depth), -EBADMSG);
	ck_assert_uint_eq(mallinfo2().arena + mallinfo2().hblkhd, before);
}
END_TEST

/* Many objects of a byte each: as many as the longest list has, with all other fields, and one more. */
START_TEST(test_many_objects)
{
	for (size_t n = SHAPE_MAX_OBJECTS - 1; n <= SHAPE_MAX_OBJECTS; n++) {
		memcpy(bytes, (uint8_t[]){0xdc, (uint8_t)(n >> 8), (uint8_t)n}, 3);
		memset(bytes + 3, 1, n);
		ck_assert_int_eq(shape_check(bytes, 3 + n), n < SHAPE_MAX_OBJECTS ? (int)n + 3 : -EBADMSG);
	}
	fill(MESSAGE_LEASED, UINT32_MAX, UINT64_MAX, MESSAGE_MAX_SLOTS);
	assert_round_trip();
}
END_TEST

START_TEST(test_deep)
{
	size_t n = PACKET_MAX_BYTES;

	/* As deep as a message is, and one deeper; then 65535 arrays, one in the other. */
	ck_assert_int_eq(shape_check("\x91\x91\x91\x01", 4), 4);
	ck_assert_int_eq(shape_check("\x91\x91\x91\x91\x01", 5), -EBADMSG);
	ck_assert_int_eq(shape_check("\x92\x92\x91\x01\x02\x91\x91\x03", 8), 8);
	memset(bytes, 0x91, sizeof(bytes));
	bytes[n - 1] = 1;
	ck_assert_int_eq(shape_check(bytes, n), -EBADMSG);
	memcpy(bytes, "\x93\x04\x01", 3);
	ck_assert_int_eq(message_decode(&out, bytes, n), -EBADMSG);
	bytes[n - 1] = (char)0x91;
	ck_assert_int_eq(message_decode(&out, bytes, n), -EBADMSG);
}
END_TEST

START_TEST(test_rubbish)
{
	for (int i = 0; i < 100000; i++) {
		size_t n = harness_random() % 64;
		int r;

		for (size_t j = 0; j < n; j++)
			bytes[j] = (char)harness_random();
		if (n > 2 && i & 1) {
			bytes[0] = (char)(0x90 + harness_random() % 8);
			bytes[1] = (char)types[harness_random() % N_TYPES];
		}
		r = decode(bytes, n);
		ck_assert(r == 0 || r == -EBADMSG);
	}
}
END_TEST

/* ---- figures ---- */

START_TEST(test_figures)
{
	struct figures_client row = {.pid = 1, .name = text_of("a")}, back;
	const struct layout *layout = figures_layout(FIGURES_CLIENTS);
	struct text rows = {.data = bytes};

	ck_assert_ptr_null(figures_layout(FIGURES_N_SECTIONS));
	ck_assert_ptr_null(figures_layout(UINT32_MAX));
	for (uint32_t i = 0; i < 3; i++) {
		int n;

		row.pid = UINT32_MAX - i;
		row.oldest_pin_seconds = UINT64_MAX - i;
		n = codec_encode(layout, &row, bytes + rows.length, sizeof(bytes) - rows.length);
		ck_assert_int_gt(n, 0);
		rows.length += (size_t)n;
	}
	for (uint32_t i = 0; i < 3; i++) {
		ck_assert_int_eq(figures_next(&rows, FIGURES_CLIENTS, &back), 1);
		ck_assert_uint_eq(back.pid, UINT32_MAX - i);
		ck_assert_uint_eq(back.oldest_pin_seconds, UINT64_MAX - i);
		assert_text(back.name, text_of("a"));
	}
	ck_assert_int_eq(figures_next(&rows, FIGURES_CLIENTS, &back), 0);

	/* Rows of another section, and a row that is cut. */
	rows = (struct text){.data = bytes, .length = 5};
	ck_assert_int_eq(figures_next(&rows, FIGURES_CLIENTS, &back), -EBADMSG);
	rows.length = (size_t)codec_encode(layout, &row, bytes, sizeof(bytes));
	ck_assert_int_eq(figures_next(&rows, FIGURES_FILES, &back), -EBADMSG);
}
END_TEST

START_TEST(test_summary)
{
	struct figures_summary summary = {.version = text_of("1"), .socket = text_of("/s"), .pid = 7}, back;
	struct text rows = {.data = bytes};

	summary.limit_maps = 3;
	summary.protocol_errors = UINT64_MAX;
	rows.length = (size_t)codec_encode(figures_layout(FIGURES_SUMMARY), &summary, bytes, sizeof(bytes));
	ck_assert_int_eq(figures_next(&rows, FIGURES_SUMMARY, &back), 1);
	ck_assert_uint_eq(back.pid, 7);
	ck_assert_uint_eq(back.limit_maps, 3);
	ck_assert_uint_eq(back.protocol_errors, UINT64_MAX);
	assert_text(back.socket, summary.socket);
	ck_assert_uint_eq(rows.length, 0);
}
END_TEST

Suite *suite(void);

Suite *suite(void)
{
	Suite *s = suite_create("message");

	HARNESS_CASE(s, "messages", test_round_trip, test_empty_text, test_most, test_truncated, test_every_flip, test_types,
		     test_wrong_fields);
	HARNESS_CASE(s, "shapes", test_shape, test_bombs, test_many_objects, test_deep, test_rubbish);
	HARNESS_CASE(s, "figures", test_figures, test_summary);
	return s;
}

int main(void)
{
	return harness_run(suite());
}
