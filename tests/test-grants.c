/* SPDX-License-Identifier: BSD-3-Clause */
/* OPEN and LEASE over the socket: which descriptors are files, what a lease covers, and what is shared. */
#include "config.h"

#include "tests/harness.h"
#include "tests/raw.h"

#include "proto/util.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define WINDOW 65536

/* Three windows and a bit, which ends in the middle of a page. */
#define SIZE (3 * WINDOW + 100)

static struct harness_server server;
static struct raw honest;
static uint64_t honest_file;

static void start(void)
{
	harness_start(&server, "--window-size=64K", "--max-memory=256K", NULL);
	raw_start(&honest, &server, "honest");
	harness_make_file("honest", SIZE);
	honest_file = raw_open(&honest, "honest");
}

static void stop(void)
{
	raw_close(&honest);
	harness_stop(&server);
}

/* ---- files ---- */

static void assert_not_open(uint64_t file)
{
	struct message lease = raw_lease_request(file, 0, 1, RAW_LONG_MS), close = raw_close_request(file);

	raw_refused(&honest, &lease, -1, EBADF);
	raw_refused(&honest, &close, -1, EBADF);
}

START_TEST(test_file_not_open)
{
	struct raw other;
	uint64_t file;

	start();
	harness_make_file("file", 10);
	raw_start(&other, &server, "other");
	file = raw_open(&other, "file");
	assert_not_open(file);
	assert_not_open(0);
	assert_not_open(file + 1);
	assert_not_open(UINT64_MAX);

	ck_assert_uint_eq(raw_open(&honest, "file"), file);
	raw_close_file(&honest, file);
	assert_not_open(file);
	/* That was not the other client's opening. */
	ck_assert_uint_eq(raw_lease(&other, file, 0, 1).length, 10);
	raw_close(&other);
	stop();
}
END_TEST

START_TEST(test_openings_are_counted)
{
	uint64_t file;
	int fd;

	start();
	harness_make_file("file", 10);
	file = raw_open(&honest, "file");
	/* The label may be another one, and empty: it only serves people. */
	fd = open("file", O_RDONLY | O_CLOEXEC);
	ck_assert_uint_eq(raw_open_as(&honest, fd, ""), file);
	close(fd);
	raw_close_file(&honest, file);
	ck_assert_uint_eq(raw_lease(&honest, file, 0, 1).length, 10);
	raw_close_file(&honest, file);
	assert_not_open(file);
	ck_assert_uint_eq(raw_open(&honest, "file"), file);
	stop();
}
END_TEST

static void assert_unfit(int fd, int error)
{
	struct message request = {.type = MESSAGE_OPEN, .open = {.label = text_of("/unfit")}};

	ck_assert_int_ge(fd, 0);
	raw_refused(&honest, &request, fd, error);
	close(fd);
}

START_TEST(test_unfit_descriptors)
{
	struct message nul = {.type = MESSAGE_OPEN, .open = {.label = {.data = "/a\0b", .length = 4}}};
	uint64_t handles;
	int before, fd;

	start();
	ck_assert_int_eq(mkfifo("fifo", 0600), 0);
	before = raw_server_descriptors(&honest, &server);
	handles = raw_summary(&honest).handles;
	assert_unfit(open("honest", O_RDWR), EBADF);
	assert_unfit(open("honest", O_WRONLY), EBADF);
	assert_unfit(open("honest", O_PATH), EBADF);
	assert_unfit(memfd_create("memory", MFD_CLOEXEC), EBADF);
	assert_unfit(socket(AF_UNIX, SOCK_STREAM, 0), EBADF);
	assert_unfit(open(".", O_RDONLY), EINVAL);
	assert_unfit(open("fifo", O_RDONLY | O_NONBLOCK), EINVAL);
	assert_unfit(open("/dev/zero", O_RDONLY), EINVAL);
	assert_unfit(open("/proc/self/fd", O_RDONLY), EINVAL);
	fd = open("honest", O_RDONLY | O_CLOEXEC);
	raw_refused(&honest, &nul, fd, EINVAL);
	close(fd);
	ck_assert_int_eq(raw_server_descriptors(&honest, &server), before);
	ck_assert_uint_eq(raw_summary(&honest).handles, handles);
	ck_assert_uint_eq(raw_summary(&honest).refusals, 10);
	ck_assert_uint_eq(raw_summary(&honest).protocol_errors, 0);
	stop();
}
END_TEST

START_TEST(test_one_descriptor_each)
{
	int before;

	/* However often a file is opened, the server keeps one descriptor, and none of a client's that has gone. */
	start();
	before = raw_server_descriptors(&honest, &server);
	for (int i = 0; i < 50; i++) {
		struct raw raw;

		raw_start(&raw, &server, "again");
		ck_assert_uint_eq(raw_open(&raw, "honest"), honest_file);
		ck_assert_uint_eq(raw_lease(&raw, honest_file, 0, 1).length, WINDOW);
		raw_close(&raw);
	}
	while (raw_summary(&honest).clients > 1)
		;
	ck_assert_int_eq(raw_server_descriptors(&honest, &server), before);
	ck_assert_uint_eq(raw_summary(&honest).handles, 1);
	ck_assert_uint_eq(raw_summary(&honest).leases, 0);
	stop();
}
END_TEST

/* ---- leases ---- */

/* Leases a range, and requires what is granted for it. */
static void assert_lease(uint64_t offset, uint64_t length, uint64_t granted_offset, uint64_t granted_length)
{
	struct message_leased leased = raw_lease(&honest, honest_file, offset, length);

	ck_assert_uint_eq(leased.offset, granted_offset);
	ck_assert_uint_eq(leased.length, granted_length);
	ck_assert_uint_eq(leased.file_size, SIZE);
	ck_assert_uint_eq(leased.victims.n, 0);
	ck_assert(board_is_pinned(&honest.board.slots[leased.lease.slot]));
	raw_unpin(&honest, &leased.lease);
	raw_release(&honest, &leased.lease);
}

START_TEST(test_grid)
{
	start();
	assert_lease(0, 1, 0, WINDOW);
	assert_lease(WINDOW - 1, 1, 0, WINDOW);
	assert_lease(WINDOW - 1, 2, 0, 2 * WINDOW);
	assert_lease(WINDOW, 1, WINDOW, WINDOW);
	assert_lease(WINDOW, WINDOW, WINDOW, WINDOW);
	assert_lease(WINDOW, WINDOW + 1, WINDOW, 2 * WINDOW);
	assert_lease(3 * WINDOW - 1, 2, 2 * WINDOW, WINDOW + 100);
	assert_lease(3 * WINDOW, 1, 3 * WINDOW, 100);
	assert_lease(SIZE - 1, 1, 3 * WINDOW, 100);
	assert_lease(SIZE - 1, 1000, 3 * WINDOW, 100);
	assert_lease(0, SIZE, 0, SIZE);
	assert_lease(1, UINT64_MAX, 0, SIZE);
	assert_lease(SIZE - 1, UINT64_MAX - SIZE + 1, 3 * WINDOW, 100);
	assert_lease(SIZE - 1, UINT64_MAX - SIZE + 2, 3 * WINDOW, 100);
	assert_lease(WINDOW, INT64_MAX, WINDOW, SIZE - WINDOW);
	ck_assert_uint_eq(raw_summary(&honest).leases, 0);
	/* All regions are still there, in whole pages. */
	ck_assert_uint_eq(raw_summary(&honest).memory_bytes, 3 * WINDOW + page_size());
	ck_assert_uint_eq(raw_summary(&honest).maps, 4);
	stop();
}
END_TEST

START_TEST(test_ahead)
{
	struct message request, answer;

	start();
	for (uint32_t ahead = 0; ahead < 6; ahead++) {
		request = raw_lease_request(honest_file, WINDOW, 1, RAW_LONG_MS);
		request.lease.ahead = ahead == 5 ? UINT32_MAX : ahead;
		raw_ask(&honest, &request, -1, &answer);
		ck_assert_uint_eq(answer.type, MESSAGE_LEASED);
		ck_assert_uint_eq(answer.leased.offset, WINDOW);
		/* Of four windows two, for which there is room. */
		ck_assert_uint_eq(answer.leased.length, min_u64((ahead + 1) * WINDOW, SIZE - WINDOW));
		raw_unpin(&honest, &answer.leased.lease);
		raw_release(&honest, &answer.leased.lease);
	}
	stop();
}
END_TEST

START_TEST(test_past_the_end)
{
	static const uint64_t offsets[] = {SIZE, SIZE + 1, 4 * WINDOW, INT64_MAX};
	struct message request, answer;
	uint64_t empty;

	start();
	harness_make_file("empty", 0);
	empty = raw_open(&honest, "empty");
	for (size_t i = 0; i <= sizeof(offsets) / sizeof(offsets[0]); i++) {
		bool is_empty = i == sizeof(offsets) / sizeof(offsets[0]);

		request = raw_lease_request(is_empty ? empty : honest_file, is_empty ? 0 : offsets[i], i % 2 ? 1 : UINT64_MAX,
					    RAW_LONG_MS);
		/* An answer without a lease has no descriptor: raw_ask() checks that. */
		raw_ask(&honest, &request, -1, &answer);
		ck_assert_uint_eq(answer.type, MESSAGE_LEASED);
		ck_assert_uint_eq(answer.leased.length, 0);
		ck_assert_uint_eq(answer.leased.file_size, is_empty ? 0 : SIZE);
	}
	ck_assert_uint_eq(raw_summary(&honest).leases, 0);
	ck_assert_uint_eq(raw_summary(&honest).memory_bytes, 0);
	stop();
}
END_TEST

START_TEST(test_senseless_ranges)
{
	static const uint64_t ranges[][2] = {
		{0, 0},
		{SIZE, 0},
		{(uint64_t)INT64_MAX + 1, 1},
		{(uint64_t)INT64_MAX + 1, 0},
		{UINT64_MAX, 1},
		{UINT64_MAX, UINT64_MAX},
	};

	start();
	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		struct message request = raw_lease_request(honest_file, ranges[i][0], ranges[i][1], RAW_LONG_MS);

		raw_refused(&honest, &request, -1, EINVAL);
	}
	ck_assert_uint_eq(raw_summary(&honest).leases, 0);
	stop();
}
END_TEST

START_TEST(test_never_fits)
{
	char sentence[MESSAGE_MAX_TEXT + 1];
	struct message request, answer;
	uint64_t file;

	/* max-memory is four windows. */
	start();
	harness_make_file("large", 4 * WINDOW + 1);
	file = raw_open(&honest, "large");
	ck_assert_uint_eq(raw_lease(&honest, file, 1, 4 * WINDOW - 1).length, 4 * WINDOW);
	request = raw_lease_request(file, 1, 4 * WINDOW, RAW_LONG_MS);
	raw_ask(&honest, &request, -1, &answer);
	raw_assert_error(&answer, EFBIG, sentence);
	ck_assert_ptr_nonnull(strstr(sentence, "max-memory"));
	raw_close(&honest);
	harness_stop(&server);

	harness_start(&server, "--window-size=64K", "--max-maps=2", NULL);
	raw_start(&honest, &server, "honest");
	file = raw_open(&honest, "large");
	ck_assert_uint_eq(raw_lease(&honest, file, WINDOW - 1, WINDOW + 1).length, 2 * WINDOW);
	request = raw_lease_request(file, WINDOW - 1, WINDOW + 2, RAW_LONG_MS);
	raw_ask(&honest, &request, -1, &answer);
	raw_assert_error(&answer, EFBIG, sentence);
	ck_assert_ptr_nonnull(strstr(sentence, "max-maps"));
	stop();
}
END_TEST

START_TEST(test_huge_file)
{
	uint64_t size = UINT64_C(1) << 40, file;
	struct message_leased leased;
	struct message request;

	start();
	harness_make_file("huge", 0);
	ck_assert_int_eq(truncate("huge", (off_t)size), 0);
	file = raw_open(&honest, "huge");
	leased = raw_lease(&honest, file, size - 1, UINT64_MAX);
	ck_assert_uint_eq(leased.offset, size - WINDOW);
	ck_assert_uint_eq(leased.length, WINDOW);
	ck_assert_uint_eq(raw_lease(&honest, file, 0, 1).length, WINDOW);
	request = raw_lease_request(file, 0, size, RAW_LONG_MS);
	raw_refused(&honest, &request, -1, EFBIG);
	stop();
}
END_TEST

START_TEST(test_descriptor_of_a_lease)
{
	struct message_leased leased;
	const unsigned char *data;
	struct stat st, granted;
	int fd;

	start();
	leased = raw_lease(&honest, honest_file, SIZE - 1, 1);
	fd = honest.packet->descriptors[0];
	ck_assert_int_eq(fcntl(fd, F_GETFL) & (O_ACCMODE | O_PATH), O_RDONLY);
	ck_assert_int_eq(stat("honest", &st), 0);
	ck_assert_int_eq(fstat(fd, &granted), 0);
	ck_assert_uint_eq(granted.st_ino, st.st_ino);
	ck_assert_uint_eq(granted.st_dev, st.st_dev);
	ck_assert_ptr_eq(mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);

	data = mmap(NULL, (size_t)leased.length, PROT_READ, MAP_SHARED, fd, (off_t)leased.offset);
	ck_assert_ptr_ne(data, MAP_FAILED);
	for (uint64_t i = 0; i < leased.length; i++)
		ck_assert_uint_eq(data[i], harness_byte(leased.offset + i));
	munmap((void *)(uintptr_t)data, (size_t)leased.length);
	stop();
}
END_TEST

START_TEST(test_shared)
{
	struct message_leased mine, theirs;
	struct raw other;

	start();
	raw_start(&other, &server, "other");
	ck_assert_uint_eq(raw_open(&other, "honest"), honest_file);
	mine = raw_lease(&honest, honest_file, 0, 2 * WINDOW);
	theirs = raw_lease(&other, honest_file, WINDOW, 2 * WINDOW);
	ck_assert_uint_eq(mine.length, 2 * WINDOW);
	ck_assert_uint_eq(theirs.length, 2 * WINDOW);

	/* Both have the same open file: each sees where the other has set its offset. */
	ck_assert_int_eq(lseek(honest.packet->descriptors[0], 77, SEEK_SET), 77);
	ck_assert_int_eq(lseek(other.packet->descriptors[0], 0, SEEK_CUR), 77);
	ck_assert_uint_eq(raw_summary(&honest).memory_bytes, 3 * WINDOW);
	ck_assert_uint_eq(raw_summary(&honest).pinned_bytes, 3 * WINDOW);
	ck_assert_uint_eq(raw_summary(&honest).maps, 3);
	ck_assert_uint_eq(raw_summary(&honest).handles, 1);
	ck_assert_uint_eq(raw_summary(&honest).leases, 2);
	ck_assert_uint_eq(atomic_load(&other.pulse->memory_bytes), 3 * WINDOW);
	raw_close(&other);
	stop();
}
END_TEST

START_TEST(test_release_of_nothing)
{
	struct message_leased leased;
	struct message request = {.type = MESSAGE_RELEASE};
	struct slot_list *slots = &request.release.slots;

	/* None at all, slots that were never used, past the board, of another generation; and one that is right among them. */
	start();
	raw_send(&honest, &request, -1);
	leased = raw_lease(&honest, honest_file, 0, 1);
	raw_unpin(&honest, &leased.lease);
	slots->n = 6;
	slots->refs[0] = (struct slot_ref){.slot = leased.lease.slot + 1, .generation = leased.lease.generation};
	slots->refs[1] = (struct slot_ref){.slot = honest.welcome.n_slots};
	slots->refs[2] = (struct slot_ref){.slot = UINT32_MAX, .generation = UINT32_MAX};
	slots->refs[3] = (struct slot_ref){.slot = leased.lease.slot, .generation = leased.lease.generation + 1};
	slots->refs[4] = (struct slot_ref){.slot = leased.lease.slot, .generation = leased.lease.generation - 1};
	slots->refs[5] = slots->refs[0];
	raw_send(&honest, &request, -1);
	ck_assert_uint_eq(raw_summary(&honest).leases, 1);
	slots->refs[5] = leased.lease;
	raw_send(&honest, &request, -1);
	ck_assert_uint_eq(raw_summary(&honest).leases, 0);
	/* Again, now that it is free. */
	raw_send(&honest, &request, -1);
	ck_assert_uint_eq(raw_summary(&honest).leases, 0);

	/* The slot's next lease is another one. */
	ck_assert_uint_eq(raw_lease(&honest, honest_file, 0, 1).lease.generation, leased.lease.generation + 1);
	ck_assert(!raw_pin(&honest, &leased.lease));
	ck_assert_uint_eq(raw_summary(&honest).leases, 1);
	ck_assert_uint_eq(raw_summary(&honest).protocol_errors, 0);
	stop();
}
END_TEST

START_TEST(test_leases_outlive_close)
{
	struct message_leased leased;

	start();
	leased = raw_lease(&honest, honest_file, 0, 1);
	raw_close_file(&honest, honest_file);
	ck_assert_uint_eq(raw_summary(&honest).leases, 1);
	raw_unpin(&honest, &leased.lease);
	ck_assert(raw_pin(&honest, &leased.lease));
	ck_assert_uint_eq(raw_summary(&honest).memory_bytes, WINDOW);
	stop();
}
END_TEST

Suite *suite(void);

Suite *suite(void)
{
	Suite *s = suite_create("grants");

	HARNESS_CASE(s, "files", test_file_not_open, test_openings_are_counted, test_unfit_descriptors, test_one_descriptor_each);
	HARNESS_CASE(s, "ranges", test_grid, test_ahead, test_past_the_end, test_senseless_ranges, test_never_fits,
		     test_huge_file);
	HARNESS_CASE(s, "leases", test_descriptor_of_a_lease, test_shared, test_release_of_nothing, test_leases_outlive_close);
	return s;
}

int main(void)
{
	return harness_run(suite());
}
