/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Files that are larger than the address space of their reader: a process that may have 512 MiB of it walks through all of a file, and
 * nothing but its own cache of leases has to give way. Offsets past 4 GiB are exact.
 *
 * The file has some bytes at each GiB, at odd places and at its end, and is a hole elsewhere. How large it is can be said by
 * $SMMAPD_LARGE_BYTES: then each of its bytes is compared, holes too. Without that a smaller one is looked at where it matters.
 */
#include "config.h"

#include "client/smmap-client.h"
#include "tests/harness.h"

#include "proto/util.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

#define WINDOW (64 * MIB)
#define DEFAULT_BYTES (5 * GIB)
#define TAIL 4321 /* past that, so that the end is no border of anything */
#define ADDRESS_SPACE (512 * MIB)
/* A process that has more than that from the start is one under a sanitizer or valgrind: they need no less than all. */
#define ADDRESS_SPACE_BEFORE (128 * MIB)
#define AROUND 5003
#define MAX_PIECES 1024
#define MAX_PIECE 100000

static struct harness_server server;

/* ---- the file ---- */

/* What is written, in order. All else is a hole. */
static struct piece {
	uint64_t begin, end;
} pieces[MAX_PIECES];
static size_t n_pieces;
static uint64_t file_size;

/* Every bit of an offset matters; never 0, so that it is not a hole. */
static unsigned char byte_at(uint64_t offset)
{
	return (unsigned char)((offset * UINT64_C(0x9e3779b97f4a7c15)) >> 56 | 1);
}

static void write_piece(int fd, uint64_t begin, uint64_t end)
{
	static unsigned char bytes[MAX_PIECE];

	ck_assert_uint_lt(n_pieces, MAX_PIECES);
	ck_assert_uint_le(end - begin, sizeof(bytes));
	pieces[n_pieces++] = (struct piece){begin, end};
	for (uint64_t offset = begin; offset < end; offset++)
		bytes[offset - begin] = byte_at(offset);
	ck_assert_int_eq(pwrite(fd, bytes, (size_t)(end - begin), (off_t)begin), (ssize_t)(end - begin));
}

static void make_file(uint64_t bytes)
{
	int fd = open("file", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	n_pieces = 0;
	file_size = bytes + TAIL;
	ck_assert_int_eq(ftruncate(fd, (off_t)file_size), 0);
	for (uint64_t border = 0; border < bytes; border += GIB) {
		uint64_t begin = border + (MIB + harness_random() % (GIB - 2 * MIB)) / 2 * 2 + 1;

		write_piece(fd, border - min_u64(border, AROUND), border + AROUND);
		if (begin + MAX_PIECE < bytes - AROUND)
			write_piece(fd, begin, begin + 1 + harness_random() % MAX_PIECE);
	}
	write_piece(fd, bytes - AROUND, file_size);
	close(fd);
}

static void check_zero(const unsigned char *data, uint64_t offset, size_t n)
{
	/* All equal to the one before, and the first is 0. */
	if (!n || (!data[0] && !memcmp(data, data + 1, n - 1)))
		return;
	for (size_t i = 0; i < n; i++)
		ck_assert_msg(!data[i], "%#x in a hole, at %" PRIu64, data[i], offset + i);
}

static void check_written(const unsigned char *data, uint64_t offset, size_t n)
{
	for (size_t i = 0; i < n; i++)
		ck_assert_msg(data[i] == byte_at(offset + i), "%#x instead of %#x at %" PRIu64, data[i], byte_at(offset + i), offset + i);
}

/* Compares @n bytes at @offset of the file with what they have to be. */
static void check_bytes(const unsigned char *data, uint64_t offset, size_t n)
{
	const struct piece *piece = pieces;

	while (n) {
		size_t length = n;

		while (piece < pieces + n_pieces && piece->end <= offset)
			piece++;
		if (piece == pieces + n_pieces) {
			check_zero(data, offset, n);
		} else if (offset < piece->begin) {
			length = (size_t)min_u64(n, piece->begin - offset);
			check_zero(data, offset, length);
		} else {
			length = (size_t)min_u64(n, piece->end - offset);
			check_written(data, offset, length);
		}
		data += length;
		offset += length;
		n -= length;
	}
}

/* The same where it is of most use: at both ends, and in and around what is written. */
static void look_at_bytes(const unsigned char *data, uint64_t offset, size_t n)
{
	uint64_t around = min_u64(n, AROUND), end = offset + n;

	check_bytes(data, offset, (size_t)around);
	check_bytes(data + n - around, end - around, (size_t)around);
	for (size_t i = 0; i < n_pieces; i++) {
		uint64_t from = max_u64(pieces[i].begin - min_u64(pieces[i].begin, AROUND), offset);
		uint64_t until = min_u64(pieces[i].end + AROUND, end);

		if (from < until)
			check_bytes(data + (from - offset), from, (size_t)(until - from));
	}
}

static void punch(int fd, uint64_t begin, uint64_t end)
{
	if (begin < end)
		ck_assert_int_eq(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)begin, (off_t)(end - begin)), 0);
}

/*
 * What was compared, up to @end, need not stay in the page cache. A tmpfs has nothing else, and there a hole that was read takes memory:
 * it is made a hole again.
 */
static void let_go(int fd, uint64_t end)
{
	uint64_t begin = 0;
	struct statfs fs;

	ck_assert_int_eq(fstatfs(fd, &fs), 0);
	if (fs.f_type != TMPFS_MAGIC) {
		posix_fadvise(fd, 0, (off_t)end, POSIX_FADV_DONTNEED);
		return;
	}
	for (size_t i = 0; i < n_pieces && begin < end; i++) {
		punch(fd, begin, min_u64(pieces[i].begin, end));
		begin = max_u64(begin, pieces[i].end);
	}
	punch(fd, begin, end);
}

/* ---- a process with little address space ---- */

static uint64_t address_space(void)
{
	FILE *file = fopen("/proc/self/statm", "re");
	uint64_t pages;

	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fscanf(file, "%" SCNu64, &pages), 1);
	fclose(file);
	return pages * page_size();
}

static void set_limit(rlim_t bytes)
{
	struct rlimit limit;

	ck_assert_int_eq(getrlimit(RLIMIT_AS, &limit), 0);
	limit.rlim_cur = bytes;
	ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
}

/* Limits it to @bytes. False where that can't be. */
static bool limit_address_space(uint64_t bytes)
{
	if (address_space() > ADDRESS_SPACE_BEFORE)
		return false;
	set_limit((rlim_t)bytes);
	return true;
}

static struct smmap_client *open_client(void)
{
	struct smmap_client_options options = {.socket = server.socket, .deadline_ms = 60000};
	struct smmap_client *client;

	ck_assert_int_eq(smmap_client_open(&client, &options), 0);
	return client;
}

/* Runs it in a process of its own. */
static void run_child(void (*body)(void))
{
	pid_t child = fork();
	int status;

	ck_assert_int_ge(child, 0);
	if (!child) {
		body();
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
}

/* ---- the tests ---- */

static bool every_byte;

static void walk(struct smmap_cursor *cursor)
{
	_cleanup_(close_fdp) int fd = open("file", O_RDWR | O_CLOEXEC);
	ssize_t n;

	ck_assert_int_ge(fd, 0);
	ck_assert_uint_eq(smmap_cursor_file_size(cursor), file_size);
	for (uint64_t offset = 0; offset < file_size; offset += (uint64_t)n) {
		n = smmap_cursor_use(cursor, offset, 0);
		ck_assert_msg(n > 0, "%s at %" PRIu64, smmap_strerror((int)n), offset);
		(every_byte ? check_bytes : look_at_bytes)(smmap_cursor_data(cursor), offset, (size_t)n);
		/* What is mapped by now stays. */
		if (every_byte && offset > ADDRESS_SPACE)
			let_go(fd, offset - ADDRESS_SPACE);
	}
	ck_assert_int_eq(smmap_cursor_use(cursor, file_size, 0), 0);
}

static void jump(struct smmap_cursor *cursor)
{
	for (int i = 0; i < 500; i++) {
		uint64_t offset = harness_random() % file_size;
		size_t size = 1 + (size_t)(harness_random() % (2 * AROUND));
		ssize_t n;

		if (i % 2) {
			offset = pieces[harness_random() % n_pieces].begin + harness_random() % AROUND;
			offset -= min_u64(offset, AROUND);
		}
		n = smmap_cursor_use(cursor, offset, size);
		ck_assert_int_eq(n, (ssize_t)min_u64(size, file_size - offset));
		check_bytes(smmap_cursor_data(cursor), offset, (size_t)n);
	}
}

static void read_in_windows(void)
{
	bool limited = limit_address_space(ADDRESS_SPACE);
	struct smmap_client *client = open_client();
	struct smmap_cursor *cursor;
	struct smmap_stats stats;

	ck_assert_int_eq(smmap_cursor_open(&cursor, client, "file", 0), 0);
	walk(cursor);
	ck_assert_int_eq(smmap_client_stats(client, &stats), 0);
	ck_assert_uint_eq(stats.misses, (file_size + stats.window_bytes - 1) / stats.window_bytes + 1);
	ck_assert_uint_ge(stats.mapped_bytes, stats.window_bytes);
	if (limited)
		ck_assert_uint_lt(stats.mapped_bytes, ADDRESS_SPACE);
	jump(cursor);
	smmap_cursor_close(cursor);
	smmap_client_close(client);
}

START_TEST(test_larger_than_the_address_space)
{
	const char *bytes = getenv("SMMAPD_LARGE_BYTES");

	every_byte = bytes != NULL;
	/* More than the reader can map: it is not the server that takes anything back from it. */
	harness_start(&server, "--window-size=64M", "--max-memory=2G", NULL);
	make_file(bytes ? strtoull(bytes, NULL, 10) : DEFAULT_BYTES);
	run_child(read_in_windows);
	harness_stop(&server);
}
END_TEST

static void ask_for_too_much(void)
{
	bool limited = limit_address_space(ADDRESS_SPACE);
	struct smmap_client *client = open_client();
	struct smmap_cursor *cursor, *other;
	struct smmap_stats stats;

	ck_assert_int_eq(smmap_cursor_open(&cursor, client, "file", 0), 0);
	ck_assert_int_eq(smmap_cursor_open(&other, client, "file", 0), 0);
	ck_assert_int_eq(smmap_cursor_use(other, 4 * GIB - 10, 20), 20);

	/* What can't be mapped is given back, and the rest is as good as before. */
	for (int i = 0; i < 3 && limited; i++) {
		ck_assert_int_eq(smmap_cursor_use(cursor, 0, ADDRESS_SPACE), -ENOMEM);
		ck_assert(!smmap_cursor_is_valid(cursor));
		ck_assert_int_eq(smmap_client_stats(client, &stats), 0);
		ck_assert_uint_eq(stats.leases, 1);
		ck_assert_uint_eq(stats.mapped_bytes, 2 * WINDOW);
	}
	check_bytes(smmap_cursor_data(other), 4 * GIB - 10, 20);
	/* Two pieces of five windows each fit after one another, not beside each other. */
	for (uint64_t offset = 0; offset < 4 * GIB; offset += 256 * MIB) {
		ck_assert_int_eq(smmap_cursor_use(cursor, offset + 1, 256 * MIB), 256 * MIB);
		look_at_bytes(smmap_cursor_data(cursor), offset + 1, 256 * MIB);
	}
	smmap_cursor_close(other);
	smmap_cursor_close(cursor);
	smmap_client_close(client);
}

START_TEST(test_more_than_fits)
{
	harness_start(&server, "--window-size=64M", "--max-memory=2G", NULL);
	make_file(DEFAULT_BYTES);
	run_child(ask_for_too_much);
	harness_stop(&server);
}
END_TEST

static void use_whole_file(void)
{
	struct smmap_client *client;
	struct smmap_cursor *cursor;
	unsigned char byte;

	limit_address_space(ADDRESS_SPACE);
	client = open_client();
	ck_assert_int_eq(smmap_cursor_open(&cursor, client, "file", SMMAP_WHOLE_FILE), 0);
	ck_assert_int_eq(smmap_cursor_use(cursor, 4 * GIB - 10, 20), 20);
	check_bytes(smmap_cursor_data(cursor), 4 * GIB - 10, 20);
	ck_assert_int_eq(smmap_cursor_read(cursor, &byte, 1, file_size - 1), 1);
	check_bytes(&byte, file_size - 1, 1);
	smmap_cursor_close(cursor);
	smmap_client_close(client);
}

/* The server may map all of it at once, and this process may not. */
START_TEST(test_whole_file)
{
	harness_start(&server, "--window-size=64M", "--max-memory=64G", NULL);
	make_file(DEFAULT_BYTES);
	run_child(use_whole_file);
	harness_stop(&server);
}
END_TEST

static void use_64_bits(void)
{
	struct smmap_client *client;
	struct smmap_cursor *cursor;
	struct smmap_buffer *buffer;
	unsigned char bytes[2 * AROUND];
	const void *data;

	limit_address_space(ADDRESS_SPACE);
	client = open_client();
	ck_assert_int_eq(smmap_cursor_open(&cursor, client, "file", 0), 0);
	for (uint64_t border = GIB; border < file_size; border += GIB) {
		ck_assert_int_eq(smmap_cursor_read(cursor, bytes, sizeof(bytes), border - AROUND),
				 (ssize_t)min_u64(sizeof(bytes), file_size - border + AROUND));
		check_bytes(bytes, border - AROUND, (size_t)min_u64(sizeof(bytes), file_size - border + AROUND));
	}

	ck_assert_int_eq(smmap_buffer_open(&buffer, cursor, 1, SMMAP_TO_END), 0);
	ck_assert_int_eq(smmap_buffer_length(buffer), (int64_t)file_size - 1);
	ck_assert_int_eq(smmap_buffer_at(buffer, -1), byte_at(file_size - 1));
	ck_assert_int_eq(smmap_buffer_at(buffer, 4 * (int64_t)GIB), byte_at(4 * GIB + 1));
	ck_assert_int_eq(smmap_buffer_at(buffer, (int64_t)file_size - 2), byte_at(file_size - 1));
	ck_assert_int_eq(smmap_buffer_at(buffer, (int64_t)file_size - 1), -ERANGE);
	ck_assert_int_eq(smmap_buffer_slice(buffer, 4 * (int64_t)GIB - AROUND, 4 * (int64_t)GIB + AROUND, &data), 2 * AROUND);
	check_bytes(data, 4 * GIB - AROUND + 1, 2 * AROUND);
	ck_assert_int_eq(smmap_buffer_read(buffer, bytes, -AROUND, INT64_MAX), AROUND);
	check_bytes(bytes, file_size - AROUND, AROUND);
	smmap_buffer_close(buffer);
	smmap_cursor_close(cursor);
	smmap_client_close(client);
}

START_TEST(test_offsets_past_4_gib)
{
	harness_start(&server, "--window-size=64M", "--max-memory=2G", NULL);
	make_file(DEFAULT_BYTES);
	run_child(use_64_bits);
	harness_stop(&server);
}
END_TEST

/* ---- no memory ---- */

#define SMALL_WINDOW (64 * KIB)
#define SMALL_WINDOWS 700
#define LITTLE (64 * MIB)

/* Takes all that there is, and keeps it. */
static void exhaust_memory(void)
{
	static void *volatile kept;
	void **block;

	while ((block = malloc(64))) {
		*block = kept;
		kept = block;
	}
}

/* Fills some of the address space with idle leases. */
static void use_windows(struct smmap_cursor *cursor, uint64_t first)
{
	for (uint64_t i = first; i < first + SMALL_WINDOWS; i++) {
		ssize_t n = smmap_cursor_use(cursor, i * SMALL_WINDOW, 0);

		/* To say so takes memory. */
		if (n != SMALL_WINDOW)
			set_limit(RLIM_INFINITY);
		ck_assert_msg(n == SMALL_WINDOW, "%s in window %" PRIu64, smmap_strerror((int)n), i);
		look_at_bytes(smmap_cursor_data(cursor), i * SMALL_WINDOW, SMALL_WINDOW);
	}
	smmap_cursor_unuse(cursor);
}

static void go_on_without_memory(void)
{
	struct smmap_client *client = open_client();
	struct smmap_cursor *cursor;
	void *reserve;

	ck_assert_int_eq(smmap_cursor_open(&cursor, client, "file", 0), 0);
	ck_assert_int_eq(smmap_cursor_advise(cursor, SMMAP_ADVISE_RANDOM), 0);
	reserve = mmap(NULL, SMALL_WINDOW, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(reserve, MAP_FAILED);
	if (limit_address_space(address_space() + LITTLE)) {
		/* There is no room for one more window, nor for a list of those that have to go. */
		use_windows(cursor, 0);
		exhaust_memory();
		use_windows(cursor, SMALL_WINDOWS);
		/* There is room for one more window, not for a note of it. */
		exhaust_memory();
		munmap(reserve, SMALL_WINDOW);
		use_windows(cursor, 0);
	}
	smmap_cursor_close(cursor);
	smmap_client_close(client);
}

START_TEST(test_no_memory)
{
	harness_start(&server, "--window-size=64K", "--max-memory=2G", NULL);
	make_file(GIB);
	run_child(go_on_without_memory);
	harness_stop(&server);
}
END_TEST

static void use_window(struct smmap_cursor *cursor, uint64_t window)
{
	ck_assert_int_eq(smmap_cursor_use(cursor, window * SMALL_WINDOW, SMALL_WINDOW), SMALL_WINDOW);
	look_at_bytes(smmap_cursor_data(cursor), window * SMALL_WINDOW, SMALL_WINDOW);
}

static void run_forward(void)
{
	struct smmap_client *client = open_client();
	struct smmap_cursor *cursor;
	struct smmap_stats before, after;

	ck_assert_int_eq(smmap_cursor_open(&cursor, client, "file", 0), 0);
	if (limit_address_space(address_space() + 24 * SMALL_WINDOW)) {
		/* 1, 2, 4, 8; there is no room for 16 more, and so there is one. */
		for (uint64_t window = 0; window < 16; window++)
			use_window(cursor, window);
		ck_assert_int_eq(smmap_client_stats(client, &before), 0);
		ck_assert_uint_eq(before.mapped_bytes, 16 * SMALL_WINDOW);
		for (uint64_t window = 0; window < 16; window++)
			use_window(cursor, window);
		ck_assert_int_eq(smmap_client_stats(client, &after), 0);
		ck_assert_uint_eq(after.misses, before.misses);
		for (uint64_t window = 16; window < 100; window++)
			use_window(cursor, window);
	}
	smmap_cursor_close(cursor);
	smmap_client_close(client);
}

/* Windows ahead for which this process has no room cost neither the use nor what is mapped. */
START_TEST(test_run)
{
	harness_start(&server, "--window-size=64K", "--max-memory=2G", NULL);
	make_file(GIB);
	run_child(run_forward);
	harness_stop(&server);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("large");

	HARNESS_CASE(suite, "little address space", test_larger_than_the_address_space, test_more_than_fits,
		     test_whole_file, test_no_memory, test_run);
	HARNESS_CASE(suite, "64 bits", test_offsets_past_4_gib);
	return harness_run(suite);
}
