/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Counts and lengths that nobody means: claims of 2^31 and more elements or bytes, numbers at every border in every field, and
 * bombs, which the server's memory must not move for.
 */
#include "config.h"

#include "tests/hostile.h"

#include <inttypes.h>
#include <string.h>

#define BOMBS_OF_A_KIND 20
#define MEBIBYTE        (UINT64_C(1) << 20)

static uint64_t file; /* the villain's */

static void start_villain(struct raw *villain)
{
	raw_start(villain, &hostile_server, "villain");
	file = raw_open(villain, honest_path(0));
}

/* Sends a packet to each of a client that has said HELLO and one that has not, and to one as if it opened a file. All have to be ended. */
static void must_end(const void *bytes, size_t n, struct tally *tally)
{
	int fd = open(honest_path(0), O_RDONLY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	for (int greeted = 0; greeted < 3; greeted++) {
		uint64_t errors = tally->protocol_errors;
		struct raw villain;

		if (greeted)
			start_villain(&villain);
		else
			raw_connect(&villain, &hostile_server);
		ck_assert_int_eq(villain_send(villain.socket, bytes, n, fd, greeted == 2), 0);
		villain_see_off(&villain, tally);
		ck_assert_uint_eq(tally->protocol_errors, errors + 1);
	}
	close(fd);
}

/* ---- memory ---- */

/* In bytes. */
static uint64_t process_figure(const char *name)
{
	uint64_t kib = harness_process_figure(hostile_server.pid, name);

	ck_assert_uint_gt(kib, 0);
	return kib * 1024;
}

/* The most that is resident counts from now on. */
static void reset_peak(void)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/clear_refs", (int)hostile_server.pid);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, "5", 1), 1);
	close(fd);
}

/* Requires that the server's memory does not move for what is done. */
static void do_without_memory(void (*misdeed)(struct tally *tally), struct tally *tally)
{
	uint64_t resident, reserved;

	reset_peak();
	resident = process_figure("VmHWM");
	reserved = process_figure("VmPeak");
	misdeed(tally);
	printf("the most that was resident: %" PRIu64 " KiB, before %" PRIu64 " KiB; reserved: %" PRIu64 " KiB, before %" PRIu64 " KiB\n",
	       process_figure("VmHWM") / 1024, resident / 1024, process_figure("VmPeak") / 1024, reserved / 1024);
#ifndef __SANITIZE_ADDRESS__ /* which keeps what is freed for a while */
	ck_assert_uint_lt(process_figure("VmHWM"), resident + MEBIBYTE);
	/* Nor is it promised more: the load alone maps a few windows and boards. */
	ck_assert_uint_lt(process_figure("VmPeak"), reserved + 64 * MEBIBYTE);
#endif
}

/* ---- claims ---- */

/* A packet is built of pieces. */
static struct {
	char bytes[PACKET_MAX_BYTES * 2];
	size_t n;
} packet;

static void begin(const char *bytes, size_t n)
{
	memcpy(packet.bytes, bytes, n);
	packet.n = n;
}

static void add(uint64_t value, size_t n)
{
	while (n--)
		packet.bytes[packet.n++] = (char)(value >> 8 * n);
}

static const uint64_t claims[] = {
	UINT64_C(1) << 16, INT32_MAX, UINT64_C(1) << 31, (UINT64_C(1) << 31) + 1, 0x0fffffff, UINT32_MAX - 1, UINT32_MAX,
};

/* In the place of the whole message, of a field, of a slot in a list. */
static const struct {
	const char *bytes;
	size_t n;
} places[] = {
	{"", 0},
	{"\x93\x07\x01", 3},                 /* DROP: the path */
	{"\x94\x02\x01", 3},                 /* OPEN: the label */
	{"\x93\x04\x01", 3},                 /* RELEASE: the list, */
	{"\x93\x04\x01\x91", 4},             /* a slot */
	{"\x93\x04\x01\x91\x92", 5},         /* and its number */
	{"\x98\x03\x01", 3},                 /* LEASE: the file */
	{"\x94\x01\x01\x01", 4},             /* HELLO: the name */
};

/* The kinds whose lengths have 32 bits: binary, extension, text, array, map. */
static const uint8_t kinds[] = {0xc6, 0xc9, 0xdb, 0xdd, 0xdf};

static void claim_each(struct tally *tally)
{
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		for (unsigned kind = 0; kind < sizeof(kinds); kind++) {
			for (size_t k = 0; k < sizeof(claims) / sizeof(claims[0]); k++) {
				begin(places[i].bytes, places[i].n);
				add(kinds[kind], 1);
				add(claims[k], 4);
				must_end(packet.bytes, packet.n, tally);
				/* There is something behind it, but never as much. */
				add(0x2929292929, 5);
				must_end(packet.bytes, packet.n, tally);
			}
		}
	}
}

static void claim(struct tally *tally)
{
	do_without_memory(claim_each, tally);
}

START_TEST(test_claims)
{
	hostile_start(NULL);
	hostile_run("claims of up to 2^32 - 1 elements or bytes", claim);
	hostile_stop();
}
END_TEST

/* ---- numbers ---- */

/* None of them is a deadline that passes while one looks. */
static const uint64_t numbers[] = {
	0,
	HONEST_SIZE - 1,
	HONEST_SIZE,
	UINT64_C(1) << 16,
	INT32_MAX,
	UINT64_C(1) << 31,
	UINT32_MAX,
	UINT64_C(1) << 32,
	(UINT64_C(1) << 32) + 1,
	INT64_MAX,
	UINT64_C(1) << 63,
	(UINT64_C(1) << 63) + 1,
	UINT64_MAX - 4095,
	UINT64_MAX,
};

#define N_NUMBERS (sizeof(numbers) / sizeof(numbers[0]))

/* Each request as numbers, of so many bits, where @ stands for the one that is tried, f for the villain's file. */
static const struct {
	const char *bytes;
	size_t n;
	unsigned bits;
} fields[] = {
	{"\x92@\x01", 3, 32},                                   /* the type */
	{"\x92\x06@", 3, 32},                                   /* the serial */
	{"\x98\x03\x01@\x00\x01\x00\x00\x90", 9, 64},           /* LEASE: file */
	{"\x98\x03\x01""f@\x01\x00\x00\x90", 9, 64},            /* offset */
	{"\x98\x03\x01""f\x00@\x00\x00\x90", 9, 64},            /* length */
	{"\x98\x03\x01""f\x00\x01@\x00\x90", 9, 32},            /* deadline */
	{"\x98\x03\x01""f\x00\x01\x00@\x90", 9, 32},            /* how many ahead */
	{"\x98\x03\x01""f\x00\x01\x00\x00\x91\x92@@", 12, 32},  /* released */
	{"\x98\x03\x01""f@@@@\x91\x92@@", 12, 32},              /* all of these */
	{"\x93\x04\x01\x91\x92@\x01", 7, 32},                   /* RELEASE: slot */
	{"\x93\x04\x01\x91\x92\x00@", 7, 32},                   /* generation */
	{"\x93\x04\x01\x93\x92@@\x92@@\x92@@", 13, 32},
	{"\x93\x05\x01@", 4, 64},                               /* CLOSE: file */
	{"\x94\x08\x01@\x00", 5, 32},                           /* STATUS: section */
	{"\x94\x08\x01\x00@", 5, 64},                           /* from, in each section */
	{"\x94\x08\x01\x01@", 5, 64},
	{"\x94\x08\x01\x02@", 5, 64},
	{"\x94\x08\x01\x03@", 5, 64},
	{"\x94\x08\x01\x04@", 5, 64},
	{"\x94\x08\x01\x05@", 5, 64},
};

/* Writes it with that number, in the fewest bytes that hold it, or in all that there are. */
static void write_request(size_t field, uint64_t number, bool wide)
{
	packet.n = 0;
	for (size_t i = 0; i < fields[field].n; i++) {
		uint8_t byte = (uint8_t)fields[field].bytes[i];

		if (byte != '@' && byte != 'f') {
			add(byte, 1);
			continue;
		}
		if (byte == '@' && !wide && number <= UINT32_MAX) {
			add(0xce, 1);
			add(number, 4);
		} else {
			add(0xcf, 1);
			add(byte == '@' ? number : file, 8);
		}
	}
}

static void try_number(size_t field, uint64_t number, bool wide, struct tally *tally)
{
	uint64_t errors = tally->protocol_errors;
	struct raw villain;

	start_villain(&villain);
	write_request(field, number, wide);
	ck_assert_int_eq(villain_send(villain.socket, packet.bytes, packet.n, -1, 0), 0);
	villain_see_off(&villain, tally);
	/* What does not fit into a field is not a message. A type is one byte of its own. */
	if (field == 0 || (number >> 1) >> (fields[field].bits - 1))
		ck_assert_uint_eq(tally->protocol_errors, errors + 1);
	else
		ck_assert_uint_eq(tally->protocol_errors, errors);
}

static void try_numbers(struct tally *tally)
{
	for (size_t field = 0; field < sizeof(fields) / sizeof(fields[0]); field++) {
		for (size_t i = 0; i < N_NUMBERS; i++) {
			try_number(field, numbers[i], true, tally);
			try_number(field, numbers[i], false, tally);
		}
	}
}

START_TEST(test_numbers)
{
	hostile_start(NULL);
	hostile_run("numbers up to 2^64 - 1 in each field", try_numbers);
	hostile_stop();
}
END_TEST

static void open_late(struct tally *tally)
{
	for (size_t i = 0; i < N_NUMBERS; i++) {
		uint32_t number = (uint32_t)numbers[i];
		struct message open_request = {.type = MESSAGE_OPEN, .open = {.label = text_of("l"), .deadline_ms = number & ~1u}};
		struct message hello = {.type = MESSAGE_HELLO, .hello = {.version = number, .name = text_of("n")}};
		int fd = open(honest_path((unsigned)i % HONEST_FILES), O_RDONLY | O_CLOEXEC);
		struct raw villain;

		start_villain(&villain);
		raw_send(&villain, &open_request, fd);
		close(fd);
		villain_see_off(&villain, tally);
		raw_connect(&villain, &hostile_server);
		raw_send(&villain, &hello, -1);
		villain_see_off(&villain, tally);
	}
	ck_assert_uint_ge(tally->refusals, N_NUMBERS - 3);
}

START_TEST(test_versions_and_deadlines)
{
	hostile_start(NULL);
	hostile_run("versions and deadlines up to 2^32 - 1", open_late);
	hostile_stop();
}
END_TEST

/* ---- bombs ---- */

static void fill(uint8_t byte, size_t n)
{
	memset(packet.bytes + packet.n, byte, n);
	packet.n += n;
}

/* The @i-th kind of bomb; false if there are no more. */
static bool make_bomb(unsigned i)
{
	static const char *const heads[] = {"\xdd\x0f\xff\xff\xff\x29", "\xdf\x0f\xff\xff\xff\x29", "\xdb\xff\xff\xff\xff\x29",
					    "\xc6\xff\xff\xff\xff\x29", "\xc9\xff\xff\xff\xff\x29", "\xdd\x7f\xff\xff\xff\x29"};

	if (i < 6) {
		begin(heads[i], 6);
		return true;
	}
	packet.n = 0;
	switch (i) {
	case 6: /* arrays in arrays */
		fill(0x91, PACKET_MAX_BYTES);
		return true;
	case 7: /* each with as many more as there are bytes */
		while (packet.n + 3 <= PACKET_MAX_BYTES)
			add(0xdc0000 | (PACKET_MAX_BYTES - 3 - packet.n), 3);
		return true;
	case 8: /* maps in maps, */
		fill(0x81, PACKET_MAX_BYTES);
		return true;
	case 9: /* as many elements as a packet holds, and each of these as many */
		add(0xdd0000fff0, 5);
		fill(0xdd, PACKET_MAX_BYTES - 5);
		return true;
	case 10:
		add(0xdd0000fff0, 5);
		fill(0x01, 0xfff0);
		return true;
	case 11: /* a list of more slots than a message may have: as many as the packet holds */
		add(0x930401, 3);
		add(0xdd00005540, 5);
		for (unsigned k = 0; k < 0x5540; k++)
			add(0x920101, 3);
		return true;
	case 12: /* of empty arrays */
		add(0x930401, 3);
		add(0xdd0000ff00, 5);
		fill(0x90, 0xff00);
		return true;
	case 13: /* a text of the whole packet */
		add(0x930701, 3);
		add(0xdb0000fff0, 5);
		fill('/', 0xfff0);
		return true;
	default:
		return false;
	}
}

static void throw_each_bomb(struct tally *tally)
{
	for (unsigned kind = 0; make_bomb(kind); kind++)
		for (unsigned i = 0; i < HOSTILE_TIMES(BOMBS_OF_A_KIND); i++)
			must_end(packet.bytes, packet.n, tally);
}

static void throw_bombs(struct tally *tally)
{
	do_without_memory(throw_each_bomb, tally);
}

START_TEST(test_bombs)
{
	hostile_start(NULL);
	hostile_run("bombs", throw_bombs);
	hostile_stop();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("hostile-sizes");

	HARNESS_CASE(suite, "sizes", test_claims, test_numbers, test_versions_and_deadlines, test_bombs);
	return harness_run(suite);
}
