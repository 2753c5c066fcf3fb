/* SPDX-License-Identifier: BSD-3-Clause */
/* Cursors, against a real server. */
#include "config.h"

#include "client/smmap-client.h"
#include "tests/harness.h"

#include "proto/util.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define WINDOW 65536

static struct harness_server server;
static struct smmap_client *client;

static void open_client(void)
{
	struct smmap_client_options options = {.socket = server.socket, .name = "test"};

	ck_assert_int_eq(smmap_client_open(&client, &options), 0);
}

static void start(void)
{
	harness_start(&server, "--window-size=64K", "--max-memory=1M", NULL);
	open_client();
}

static void stop(void)
{
	smmap_client_close(client);
	harness_stop(&server);
}

static void assert_bytes(const struct smmap_cursor *cursor)
{
	const unsigned char *data = smmap_cursor_data(cursor);
	uint64_t begin = smmap_cursor_begin(cursor);

	for (size_t i = 0; i < smmap_cursor_size(cursor); i++)
		ck_assert_uint_eq(data[i], harness_byte(begin + i));
}

/* ---- tests ---- */

START_TEST(test_nowhere)
{
	struct smmap_cursor *cursor;
	struct smmap_region region;

	start();
	harness_make_file("file", 10);
	/* NULL, a cursor without a file, and one that stands nowhere. */
	for (int i = 0; i < 3; i++) {
		cursor = NULL;
		if (i > 0)
			ck_assert_int_eq(smmap_cursor_open(&cursor, client, i == 1 ? NULL : "file", 0), 0);
		ck_assert_ptr_null(smmap_cursor_data(cursor));
		ck_assert_uint_eq(smmap_cursor_size(cursor), 0);
		ck_assert_uint_eq(smmap_cursor_begin(cursor), 0);
		ck_assert_uint_eq(smmap_cursor_end(cursor), 0);
		ck_assert(!smmap_cursor_is_valid(cursor));
		ck_assert_int_eq(smmap_cursor_is_associated(cursor), i == 2);
		ck_assert(!smmap_cursor_includes(cursor, 0));
		ck_assert_uint_eq(smmap_cursor_file_size(cursor), i == 2 ? 10 : 0);
		ck_assert_int_eq(smmap_cursor_fd(cursor), -EBADF);
		ck_assert_int_eq(smmap_cursor_region(cursor, &region), -ENODATA);
		ck_assert_ptr_null(region.data);
		if (i == 2)
			ck_assert_str_eq(smmap_cursor_path(cursor), "file");
		else
			ck_assert_ptr_null(smmap_cursor_path(cursor));
		if (i < 2)
			ck_assert_int_eq(smmap_cursor_use(cursor, 0, 1), -EINVAL);
		smmap_cursor_unuse(cursor);
		smmap_cursor_close(cursor);
	}
	stop();
}
END_TEST

START_TEST(test_end_of_file)
{
	struct smmap_cursor *cursor;
	uint64_t size = 2 * WINDOW + 100;

	start();
	harness_make_file("file", size);
	ck_assert_int_eq(smmap_cursor_open(&cursor, client, "file", 0), 0);
	ck_assert_int_eq(smmap_cursor_use(cursor, size - 1, 1), 1);
	assert_bytes(cursor);
	ck_assert_int_eq(smmap_cursor_use(cursor, size - 10, 1000), 10);
	assert_bytes(cursor);
	ck_assert_int_eq(smmap_cursor_use(cursor, size - 10, 0), 10);
	ck_assert_int_eq(smmap_cursor_use(cursor, size, 1), 0);
	ck_assert(!smmap_cursor_is_valid(cursor));
	ck_assert_int_eq(smmap_cursor_use(cursor, size, 0), 0);
	ck_assert_int_eq(smmap_cursor_use(cursor, size + 1, 1), 0);
	ck_assert_int_eq(smmap_cursor_use(cursor, INT64_MAX, 0), 0);
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, 0), WINDOW);
	assert_bytes(cursor);
	smmap_cursor_close(cursor);
	stop();
}
END_TEST

START_TEST(test_straddle)
{
	struct smmap_cursor *cursor;
	struct smmap_region region;

	start();
	harness_make_file("file", 5 * WINDOW);
	ck_assert_int_eq(smmap_cursor_open(&cursor, client, "file", 0), 0);
	ck_assert_int_eq(smmap_cursor_use(cursor, WINDOW - 10, 20), 20);
	assert_bytes(cursor);
	ck_assert_int_eq(smmap_cursor_region(cursor, &region), 0);
	ck_assert_uint_eq(region.offset, 0);
	ck_assert_uint_eq(region.size, 2 * WINDOW);
	ck_assert_int_eq(smmap_cursor_use(cursor, WINDOW - 10, WINDOW + 20), WINDOW + 20);
	assert_bytes(cursor);
	ck_assert_int_eq(smmap_cursor_region(cursor, &region), 0);
	ck_assert_uint_eq(region.size, 3 * WINDOW);
	ck_assert_uint_eq(smmap_cursor_begin(cursor), WINDOW - 10);
	ck_assert_uint_eq(smmap_cursor_end(cursor), 2 * WINDOW + 10);
	ck_assert(smmap_cursor_includes(cursor, WINDOW - 10));
	ck_assert(smmap_cursor_includes(cursor, 2 * WINDOW + 9));
	ck_assert(!smmap_cursor_includes(cursor, WINDOW - 11));
	ck_assert(!smmap_cursor_includes(cursor, 2 * WINDOW + 10));
	/* The regions of the windows are shared, however many leases are on them. */
	ck_assert_uint_eq(harness_figure(&server, "usage.memory_bytes"), 3 * WINDOW);
	smmap_cursor_close(cursor);
	stop();
}
END_TEST

START_TEST(test_small_files)
{
	struct smmap_cursor *cursor;
	char byte;

	start();
	for (uint32_t flags = 0; flags <= SMMAP_WHOLE_FILE; flags++) {
		harness_make_file("empty", 0);
		ck_assert_int_eq(smmap_cursor_open(&cursor, client, "empty", flags), 0);
		ck_assert_int_eq(smmap_cursor_use(cursor, 0, 0), 0);
		ck_assert_int_eq(smmap_cursor_use(cursor, 0, 1), 0);
		ck_assert(!smmap_cursor_is_valid(cursor));
		ck_assert(smmap_cursor_is_associated(cursor));
		ck_assert_int_eq(smmap_cursor_read(cursor, &byte, 1, 0), 0);
		smmap_cursor_close(cursor);

		harness_make_file("byte", 1);
		ck_assert_int_eq(smmap_cursor_open(&cursor, client, "byte", flags), 0);
		ck_assert_uint_eq(smmap_cursor_file_size(cursor), 1);
		ck_assert_int_eq(smmap_cursor_use(cursor, 0, 0), 1);
		assert_bytes(cursor);
		ck_assert_int_eq(smmap_cursor_use(cursor, 0, 2), 1);
		ck_assert_int_eq(smmap_cursor_use(cursor, 1, 1), 0);
		ck_assert_int_eq(smmap_cursor_read(cursor, &byte, 1, 0), 1);
		ck_assert_uint_eq((unsigned char)byte, harness_byte(0));
		smmap_cursor_close(cursor);
	}
	stop();
}
END_TEST

START_TEST(test_sparse_tebibyte)
{
	uint64_t size = UINT64_C(1) << 40;
	struct smmap_cursor *cursor;
	const char *data;
	int fd;

	harness_start(&server, "--max-memory=1G", NULL);
	open_client();
	fd = open("sparse", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
	ck_assert_int_eq(pwrite(fd, "begin", 5, 0), 5);
	ck_assert_int_eq(pwrite(fd, "end", 3, (off_t)size - 3), 3);
	close(fd);

	/* As a whole it can't fit: it works in windows then. */
	for (uint32_t flags = 0; flags <= SMMAP_WHOLE_FILE; flags++) {
		ck_assert_int_eq(smmap_cursor_open(&cursor, client, "sparse", flags), 0);
		for (int i = 0; i < 3; i++) {
			ck_assert_int_eq(smmap_cursor_use(cursor, size - 3, 10), 3);
			ck_assert_mem_eq(smmap_cursor_data(cursor), "end", 3);
			ck_assert_int_eq(smmap_cursor_use(cursor, 0, 5), 5);
			ck_assert_mem_eq(smmap_cursor_data(cursor), "begin", 5);
		}
		ck_assert_int_gt(smmap_cursor_use(cursor, size / 2, 0), 0);
		data = smmap_cursor_data(cursor);
		ck_assert_int_eq(*data, 0);
		ck_assert_int_eq(smmap_cursor_use(cursor, size, 1), 0);
		smmap_cursor_close(cursor);
	}
	ck_assert_uint_le(harness_figure(&server, "usage.memory_bytes"), UINT64_C(1) << 30);
	stop();
}
END_TEST

/* Random uses under a limit of a third of the file, each compared with pread(2). */
static void use_at_random(uint32_t flags, bool by_descriptor)
{
	uint64_t size = 48 * WINDOW - 1234;
	struct smmap_cursor *cursor;
	char *expected = malloc(3 * WINDOW);
	int fd;

	harness_start(&server, "--window-size=64K", "--max-memory=1M", NULL);
	open_client();
	harness_make_file("file", size);
	fd = open("file", O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(by_descriptor ? smmap_cursor_open_fd(&cursor, client, fd, flags) : smmap_cursor_open(&cursor, client, "file", flags), 0);
	ck_assert_int_eq(smmap_cursor_fd(cursor), by_descriptor ? fd : -EBADF);

	for (int i = 0; i < 5000; i++) {
		uint64_t offset = harness_random() % size;
		size_t length = (size_t)(harness_random() % (harness_random() % 8 ? 4096 : 3 * WINDOW) + 1);
		ssize_t n = smmap_cursor_use(cursor, offset, length);

		ck_assert_int_eq(n, (ssize_t)min_u64(length, size - offset));
		ck_assert_int_eq(pread(fd, expected, length, (off_t)offset), n);
		ck_assert_mem_eq(smmap_cursor_data(cursor), expected, (size_t)n);
		ck_assert_uint_eq(smmap_cursor_begin(cursor), offset);
		if (i % 1000 == 0)
			ck_assert_uint_le(harness_figure(&server, "usage.memory_bytes"), 1 << 20);
	}
	ck_assert_uint_gt(harness_figure(&server, "counters.evictions"), 0);
	smmap_cursor_close(cursor);
	close(fd);
	free(expected);
	stop();
}

START_TEST(test_random_windowed_by_path)
{
	use_at_random(0, false);
}
END_TEST

START_TEST(test_random_windowed_by_descriptor)
{
	use_at_random(0, true);
}
END_TEST

START_TEST(test_random_whole_by_path)
{
	use_at_random(SMMAP_WHOLE_FILE, false);
}
END_TEST

START_TEST(test_random_whole_by_descriptor)
{
	use_at_random(SMMAP_WHOLE_FILE, true);
}
END_TEST

START_TEST(test_whole_file)
{
	struct smmap_cursor *cursor, *windowed;
	struct smmap_region region;
	struct smmap_stats stats;

	start();
	harness_make_file("file", 5 * WINDOW + 1);
	ck_assert_int_eq(smmap_cursor_open(&cursor, client, "file", SMMAP_WHOLE_FILE), 0);
	ck_assert_int_eq(smmap_cursor_use(cursor, 3 * WINDOW, 0), 2 * WINDOW + 1);
	ck_assert_int_eq(smmap_cursor_region(cursor, &region), 0);
	ck_assert_uint_eq(region.offset, 0);
	ck_assert_uint_eq(region.size, 5 * WINDOW + 1);
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, 5 * WINDOW + 1), 5 * WINDOW + 1);
	assert_bytes(cursor);
	ck_assert_int_eq(smmap_client_stats(client, &stats), 0);
	ck_assert_uint_eq(stats.leases, 1);
	ck_assert_uint_eq(stats.misses, 1);
	smmap_cursor_close(cursor);

	/* Also where a lease on a part of it is there. */
	harness_make_file("other", 5 * WINDOW);
	ck_assert_int_eq(smmap_cursor_open(&windowed, client, "other", 0), 0);
	ck_assert_int_eq(smmap_cursor_open(&cursor, client, "other", SMMAP_WHOLE_FILE), 0);
	ck_assert_int_eq(smmap_cursor_use(windowed, WINDOW, 0), WINDOW);
	ck_assert_int_eq(smmap_cursor_use(cursor, WINDOW, 0), 4 * WINDOW);
	smmap_cursor_close(windowed);
	smmap_cursor_close(cursor);
	stop();
}
END_TEST

START_TEST(test_read)
{
	size_t size = 20 * WINDOW + 5;
	unsigned char *bytes = malloc(size);
	struct smmap_cursor *cursor;

	/* More than the limit allows in one piece. */
	start();
	harness_make_file("file", size);
	ck_assert_int_eq(smmap_cursor_open(&cursor, client, "file", 0), 0);
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, size), -EFBIG);
	ck_assert(!smmap_cursor_is_valid(cursor));
	ck_assert_int_eq(smmap_cursor_read(cursor, bytes, size, 3), (ssize_t)size - 3);
	for (uint64_t i = 0; i < size - 3; i++)
		ck_assert_uint_eq(bytes[i], harness_byte(i + 3));
	ck_assert_int_eq(smmap_cursor_read(cursor, bytes, 10, size), 0);
	ck_assert_int_eq(smmap_cursor_read(cursor, bytes, 0, 0), 0);
	ck_assert_int_eq(smmap_cursor_read(cursor, NULL, 1, 0), -EINVAL);
	smmap_cursor_close(cursor);
	free(bytes);
	stop();
}
END_TEST

START_TEST(test_copy_and_assign)
{
	struct smmap_cursor *cursor, *copy, *other, *blank;

	start();
	harness_make_file("file", 5 * WINDOW);
	harness_make_file("other", 100);
	ck_assert_int_eq(smmap_cursor_open(&cursor, client, "file", 0), 0);
	ck_assert_int_eq(smmap_cursor_open(&other, client, "other", 0), 0);
	ck_assert_int_eq(smmap_cursor_open(&blank, client, NULL, 0), 0);
	ck_assert_int_eq(smmap_cursor_use(cursor, WINDOW + 5, 10), 10);

	ck_assert_int_eq(smmap_cursor_copy(&copy, cursor), 0);
	ck_assert_uint_eq(smmap_cursor_begin(copy), WINDOW + 5);
	ck_assert_ptr_eq(smmap_cursor_data(copy), smmap_cursor_data(cursor));
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, 1), 1);
	assert_bytes(copy);

	/* The copy lives without the one it was made from. */
	smmap_cursor_close(cursor);
	ck_assert_int_eq(smmap_cursor_use(copy, 4 * WINDOW, 1), 1);
	assert_bytes(copy);

	ck_assert_int_eq(smmap_cursor_assign(blank, copy), 0);
	ck_assert(smmap_cursor_is_associated(blank));
	ck_assert_uint_eq(smmap_cursor_begin(blank), 4 * WINDOW);
	ck_assert_int_eq(smmap_cursor_assign(copy, other), 0);
	ck_assert(!smmap_cursor_is_valid(copy));
	ck_assert_str_eq(smmap_cursor_path(copy), "other");
	ck_assert_int_eq(smmap_cursor_assign(copy, copy), 0);
	ck_assert_int_eq(smmap_cursor_use(copy, 0, 0), 100);
	assert_bytes(copy);
	assert_bytes(blank);
	ck_assert_int_eq(smmap_cursor_copy(&cursor, NULL), -EINVAL);
	ck_assert_int_eq(smmap_cursor_assign(copy, NULL), -EINVAL);

	smmap_cursor_close(copy);
	smmap_cursor_close(other);
	smmap_cursor_close(blank);
	ck_assert_uint_eq(harness_figure(&server, "usage.pinned_bytes"), 0);
	stop();
}
END_TEST

START_TEST(test_growth)
{
	struct smmap_cursor *cursor;

	start();
	for (uint32_t flags = 0; flags <= SMMAP_WHOLE_FILE; flags++) {
		harness_make_file("file", 100);
		ck_assert_int_eq(smmap_cursor_open(&cursor, client, "file", flags), 0);
		ck_assert_int_eq(smmap_cursor_use(cursor, 0, 1000), 100);
		/* In the same page, in the same window, and by windows. */
		for (uint64_t size = 200; size < 10 * WINDOW; size *= 7) {
			int fd = open("file", O_WRONLY | O_APPEND | O_CLOEXEC);

			for (uint64_t i = smmap_cursor_file_size(cursor); i < size; i++) {
				unsigned char byte = harness_byte(i);

				ck_assert_int_eq(write(fd, &byte, 1), 1);
			}
			close(fd);
			ck_assert_int_eq(smmap_cursor_use(cursor, 50, (size_t)size), (ssize_t)size - 50);
			assert_bytes(cursor);
			ck_assert_uint_eq(smmap_cursor_file_size(cursor), size);
			ck_assert_int_eq(smmap_cursor_use(cursor, size, 1), 0);
		}
		smmap_cursor_close(cursor);
		ck_assert_int_eq(unlink("file"), 0);
	}
	stop();
}
END_TEST

START_TEST(test_replaced)
{
	struct smmap_cursor *cursor, *after;

	start();
	harness_make_file("file", 3 * WINDOW);
	ck_assert_int_eq(smmap_cursor_open(&cursor, client, "file", 0), 0);
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, 1), 1);
	harness_make_file("new", 10);
	ck_assert_int_eq(rename("new", "file"), 0);
	ck_assert_int_eq(smmap_cursor_use(cursor, 2 * WINDOW, 0), WINDOW);
	assert_bytes(cursor);
	ck_assert_int_eq(smmap_cursor_open(&after, client, "file", 0), 0);
	ck_assert_int_eq(smmap_cursor_use(after, 0, 0), 10);
	smmap_cursor_close(cursor);
	smmap_cursor_close(after);
	stop();
}
END_TEST

/* The server noticed, or not yet: a copying read says so, and the next use sees the new size. */
START_TEST(test_truncated)
{
	struct smmap_cursor *cursor;
	char *bytes = malloc(4 * WINDOW);

	start();
	harness_make_file("file", 4 * WINDOW);
	ck_assert_int_eq(smmap_cursor_open(&cursor, client, "file", 0), 0);
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, 4 * WINDOW), 4 * WINDOW);
	ck_assert_int_eq(truncate("file", 5000), 0);
	ck_assert_int_eq(smmap_cursor_read(cursor, bytes, 4 * WINDOW, 0), -ESTALE);
	ck_assert_int_eq(smmap_cursor_read(cursor, bytes, 4 * WINDOW, 0), 5000);
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, 4 * WINDOW), 5000);
	assert_bytes(cursor);
	ck_assert_int_eq(truncate("file", 0), 0);
	ck_assert_int_eq(smmap_cursor_read(cursor, bytes, 100, 0), -ESTALE);
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, 0), 0);
	smmap_cursor_close(cursor);
	free(bytes);
	stop();
}
END_TEST

/* ---- windows ahead ---- */

/* Uses the window, and returns how many the lease has from there on. */
static uint64_t use_window(struct smmap_cursor *cursor, uint64_t window)
{
	struct smmap_region region;

	ck_assert_int_eq(smmap_cursor_use(cursor, window * WINDOW, WINDOW), WINDOW);
	assert_bytes(cursor);
	ck_assert_int_eq(smmap_cursor_region(cursor, &region), 0);
	return (region.offset + region.size) / WINDOW - window;
}

/* Of 8 MiB a cursor may have a sixteenth at once, which is 8 windows. */
static struct smmap_cursor *start_run(void)
{
	struct smmap_cursor *cursor;

	harness_start(&server, "--window-size=64K", "--max-memory=8M", NULL);
	open_client();
	harness_make_file("file", 200 * WINDOW);
	ck_assert_int_eq(smmap_cursor_open(&cursor, client, "file", 0), 0);
	return cursor;
}

static void stop_run(struct smmap_cursor *cursor)
{
	smmap_cursor_close(cursor);
	stop();
}

static uint64_t misses(void)
{
	struct smmap_stats stats;

	ck_assert_int_eq(smmap_client_stats(client, &stats), 0);
	return stats.misses;
}

/* Twice as many with each miss; from the beginning where the run ends. */
START_TEST(test_run)
{
	static const uint64_t ends[] = {1, 3, 7, 15, 23, 31};
	struct smmap_cursor *cursor = start_run();

	for (uint64_t window = 0, i = 0; window < 31; window++) {
		i += window == ends[i];
		ck_assert_uint_eq(use_window(cursor, window), ends[i] - window);
	}
	ck_assert_uint_eq(misses(), 6);

	/* Elsewhere, and from there. */
	ck_assert_uint_eq(use_window(cursor, 100), 1);
	ck_assert_uint_eq(use_window(cursor, 101), 2);
	/* What is there is used, and changes nothing. */
	ck_assert_uint_eq(use_window(cursor, 5), 2);
	ck_assert_uint_eq(use_window(cursor, 102), 1);
	ck_assert_uint_eq(use_window(cursor, 103), 4);
	/* One window further is no run; neither is backwards. */
	ck_assert_uint_eq(use_window(cursor, 108), 1);
	ck_assert_uint_eq(use_window(cursor, 99), 1);
	ck_assert_uint_eq(use_window(cursor, 98), 1);
	stop_run(cursor);
}
END_TEST

/* Pieces may reach over a border, nothing has to stand anywhere between two of them, a copy goes on, and at the end of the file is the end. */
START_TEST(test_run_of_pieces)
{
	struct smmap_cursor *cursor = start_run(), *copy;
	char bytes[3 * WINDOW];

	ck_assert_int_eq(smmap_cursor_use(cursor, WINDOW - 10, 10), 10);
	ck_assert_int_eq(smmap_cursor_use(cursor, WINDOW - 5, 10), 10);
	assert_bytes(cursor);
	/* Windows 0 and 1, and one ahead. */
	ck_assert_uint_eq(use_window(cursor, 1), 2);
	smmap_cursor_unuse(cursor);
	ck_assert_uint_eq(use_window(cursor, 3), 6);
	ck_assert_int_eq(smmap_cursor_copy(&copy, cursor), 0);
	ck_assert_uint_eq(use_window(copy, 9), 8);
	smmap_cursor_close(copy);
	ck_assert_uint_eq(use_window(cursor, 9), 8);
	ck_assert_uint_eq(use_window(cursor, 17), 8);

	for (uint64_t offset = 26 * WINDOW; offset < 200 * WINDOW; offset += sizeof(bytes)) {
		ck_assert_int_eq(smmap_cursor_read(cursor, bytes, sizeof(bytes), offset), sizeof(bytes));
		for (size_t i = 0; i < sizeof(bytes); i++)
			ck_assert_uint_eq((unsigned char)bytes[i], harness_byte(offset + i));
	}
	ck_assert_int_eq(smmap_cursor_use(cursor, 200 * WINDOW, 1), 0);
	stop_run(cursor);
}
END_TEST

/* What is asked ahead ends nobody's lease, and has half of the 128 windows at most: the rest is for what others ask for. */
START_TEST(test_run_where_it_is_full)
{
	struct smmap_cursor *cursor = start_run(), *others[16];
	uint64_t window = 0, n;

	for (int i = 0; i < 16; i++) {
		ck_assert_int_eq(smmap_cursor_open(&others[i], client, "file", 0), 0);
		ck_assert_int_eq(smmap_cursor_advise(others[i], SMMAP_ADVISE_SEQUENTIAL), 0);
	}
	for (int i = 0; i < 16; i++) {
		n = use_window(others[i], window);
		ck_assert_uint_eq(n, i < 9 ? 8 : i == 9 ? 2 : 1);
		window += n;
	}
	ck_assert_uint_eq(window, 16 + 64);
	/* They stand there, all the others are free, and no use waits. */
	for (; window < 200; window++)
		ck_assert_uint_eq(use_window(cursor, window), 1);
	for (int i = 0; i < 16; i++)
		smmap_cursor_close(others[i]);
	stop_run(cursor);
}
END_TEST

/* Who looks again and again whether there is more at the end of a file does not run. */
START_TEST(test_run_to_the_end)
{
	struct smmap_cursor *cursor = start_run();

	ck_assert_int_eq(truncate("file", WINDOW), 0);
	ck_assert_uint_eq(use_window(cursor, 0), 1);
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(smmap_cursor_use(cursor, WINDOW, WINDOW), 0);
	harness_make_file("file", 200 * WINDOW);
	ck_assert_uint_eq(use_window(cursor, 1), 2);
	stop_run(cursor);
}
END_TEST

/* A file that is leased as a whole has nothing ahead, and what is leased again where it was neither. */
START_TEST(test_no_run)
{
	struct smmap_cursor *cursor = start_run(), *whole;

	ck_assert_int_eq(smmap_cursor_open(&whole, client, "small", SMMAP_WHOLE_FILE), -ENOENT);
	harness_make_file("small", 3 * WINDOW);
	ck_assert_int_eq(smmap_cursor_open(&whole, client, "small", SMMAP_WHOLE_FILE), 0);
	ck_assert_int_eq(smmap_cursor_advise(whole, SMMAP_ADVISE_SEQUENTIAL), 0);
	ck_assert_uint_eq(use_window(whole, 0), 3);
	smmap_cursor_close(whole);

	ck_assert_uint_eq(use_window(cursor, 0), 1);
	ck_assert_uint_eq(use_window(cursor, 1), 2);
	smmap_cursor_unuse(cursor);
	ck_assert_int_ge(smmap_client_collect(client), 0);
	ck_assert_uint_eq(use_window(cursor, 2), 1);
	stop_run(cursor);
}
END_TEST

/* One client may keep less than the server: then that counts. */
START_TEST(test_run_of_a_small_client)
{
	struct smmap_client_options options = {.max_mapped = 48 * WINDOW};
	struct smmap_cursor *cursor = start_run();
	struct smmap_stats stats;

	stop_run(cursor);
	harness_start(&server, "--window-size=64K", NULL);
	options.socket = server.socket;
	ck_assert_int_eq(smmap_client_open(&client, &options), 0);
	ck_assert_int_eq(smmap_cursor_open(&cursor, client, "file", 0), 0);
	for (uint64_t window = 0; window < 200; window++) {
		ck_assert_uint_le(use_window(cursor, window), 3);
		ck_assert_int_eq(smmap_client_stats(client, &stats), 0);
		ck_assert_uint_le(stats.mapped_bytes, 48 * WINDOW);
	}
	/* 1, 2, and then 3 at a time. */
	ck_assert_uint_eq(misses(), 2 + 66);
	stop_run(cursor);
}
END_TEST

START_TEST(test_advise)
{
	struct smmap_cursor *cursor = start_run(), *copy;

	ck_assert_int_eq(smmap_cursor_advise(cursor, SMMAP_ADVISE_SEQUENTIAL), 0);
	ck_assert_uint_eq(use_window(cursor, 0), 8);
	ck_assert_uint_eq(use_window(cursor, 20), 8);
	ck_assert_uint_eq(use_window(cursor, 195), 5);
	ck_assert_int_eq(smmap_cursor_advise(cursor, SMMAP_ADVISE_RANDOM), 0);
	ck_assert_uint_eq(use_window(cursor, 8), 1);
	ck_assert_uint_eq(use_window(cursor, 9), 1);
	ck_assert_int_eq(smmap_cursor_advise(cursor, SMMAP_ADVISE_WILLNEED), 0);
	ck_assert_uint_eq(use_window(cursor, 10), 1);
	ck_assert_int_eq(smmap_cursor_advise(cursor, SMMAP_ADVISE_NORMAL), 0);
	ck_assert_uint_eq(use_window(cursor, 11), 1);
	ck_assert_uint_eq(use_window(cursor, 12), 2);
	/* A copy goes on like this; and NORMAL begins anew. */
	ck_assert_int_eq(smmap_cursor_advise(cursor, SMMAP_ADVISE_SEQUENTIAL), 0);
	ck_assert_int_eq(smmap_cursor_copy(&copy, cursor), 0);
	ck_assert_uint_eq(use_window(copy, 40), 8);
	ck_assert_int_eq(smmap_cursor_advise(copy, SMMAP_ADVISE_NORMAL), 0);
	ck_assert_uint_eq(use_window(copy, 48), 1);
	smmap_cursor_close(copy);
	ck_assert_int_eq(smmap_cursor_advise(cursor, (enum smmap_advice)99), -EINVAL);
	ck_assert_int_eq(smmap_cursor_advise(NULL, SMMAP_ADVISE_NORMAL), -EINVAL);
	stop_run(cursor);
}
END_TEST

/* ---- what is refused ---- */

static void assert_refused(const char *path, int error)
{
	struct smmap_cursor *cursor = NULL;

	ck_assert_int_eq(smmap_cursor_open(&cursor, client, path, 0), error);
	ck_assert_ptr_null(cursor);
}

START_TEST(test_bad_paths)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "socket-file"};
	int fd;

	start();
	ck_assert_int_eq(mkfifo("fifo", 0600), 0);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);

	assert_refused("not-there", -ENOENT);
	assert_refused(".", -EINVAL);
	assert_refused("fifo", -EINVAL);
	assert_refused("/dev/null", -EINVAL);
	assert_refused("socket-file", -EINVAL);
	assert_refused("", -ENOENT);
	ck_assert_uint_eq(harness_figure(&server, "usage.handles"), 0);
	stop();
}
END_TEST

static void assert_fd_refused(int fd, int error)
{
	struct smmap_cursor *cursor = NULL;

	ck_assert_int_eq(smmap_cursor_open_fd(&cursor, client, fd, 0), error);
	ck_assert_ptr_null(cursor);
	if (fd >= 0)
		close(fd);
}

START_TEST(test_bad_descriptors)
{
	start();
	harness_make_file("file", 10);
	assert_fd_refused(open("file", O_WRONLY | O_CLOEXEC), -EBADF);
	assert_fd_refused(open("file", O_RDWR | O_CLOEXEC), -EBADF);
	assert_fd_refused(open("file", O_PATH | O_CLOEXEC), -EBADF);
	assert_fd_refused(open(".", O_RDONLY | O_CLOEXEC), -EINVAL);
	assert_fd_refused(open("/dev/zero", O_RDONLY | O_CLOEXEC), -EINVAL);
	assert_fd_refused(-1, -EBADF);
	assert_fd_refused(-100, -EBADF);
	stop();
}
END_TEST

START_TEST(test_bad_ranges)
{
	struct smmap_cursor *cursor;
	char byte;

	start();
	harness_make_file("file", 10);
	ck_assert_int_eq(smmap_cursor_open(&cursor, client, "file", 2), -EINVAL);
	ck_assert_int_eq(smmap_cursor_open(NULL, client, "file", 0), -EINVAL);
	ck_assert_int_eq(smmap_cursor_open(&cursor, NULL, "file", 0), -EINVAL);
	ck_assert_int_eq(smmap_cursor_open(&cursor, client, "file", 0), 0);
	ck_assert_int_eq(smmap_cursor_use(cursor, (uint64_t)INT64_MAX + 1, 1), -EINVAL);
	ck_assert_int_eq(smmap_cursor_use(cursor, UINT64_MAX, 1), -EINVAL);
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, SIZE_MAX), -EINVAL);
	ck_assert_int_eq(smmap_cursor_use(cursor, 1, SSIZE_MAX), sizeof(size_t) == 8 ? -EINVAL : 9);
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, SSIZE_MAX), 10);
	/* On an error it stands nowhere. */
	ck_assert(smmap_cursor_is_valid(cursor));
	ck_assert_int_eq(smmap_cursor_use(cursor, UINT64_MAX, 1), -EINVAL);
	ck_assert(!smmap_cursor_is_valid(cursor));
	ck_assert_int_eq(smmap_cursor_read(cursor, &byte, 1, UINT64_MAX), -EINVAL);
	ck_assert_int_eq(smmap_cursor_read(cursor, &byte, SIZE_MAX, 0), -EINVAL);
	smmap_cursor_close(cursor);
	stop();
}
END_TEST

/* A caller's descriptor is its own: its offset stays, and it can be closed. */
START_TEST(test_descriptor_is_the_callers)
{
	struct smmap_cursor *cursor;
	int fd;

	start();
	harness_make_file("file", 3 * WINDOW);
	fd = open("file", O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(lseek(fd, 77, SEEK_SET), 77);
	ck_assert_int_eq(smmap_cursor_open_fd(&cursor, client, fd, 0), 0);
	ck_assert_int_eq(unlink("file"), 0);
	ck_assert_int_eq(smmap_cursor_use(cursor, WINDOW, 10), 10);
	ck_assert_int_eq(lseek(fd, 0, SEEK_CUR), 77);
	close(fd);
	ck_assert_int_eq(smmap_cursor_use(cursor, 2 * WINDOW, 10), 10);
	assert_bytes(cursor);
	ck_assert_ptr_null(smmap_cursor_path(cursor));
	smmap_cursor_close(cursor);
	stop();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cursor");

	HARNESS_CASE(suite, "places", test_nowhere, test_end_of_file, test_straddle, test_small_files, test_sparse_tebibyte,
		     test_whole_file, test_read, test_copy_and_assign);
	HARNESS_CASE(suite, "ahead", test_run, test_run_of_pieces, test_run_where_it_is_full, test_run_to_the_end, test_no_run,
		     test_run_of_a_small_client, test_advise);
	HARNESS_CASE(suite, "random", test_random_windowed_by_path, test_random_windowed_by_descriptor, test_random_whole_by_path,
		     test_random_whole_by_descriptor);
	HARNESS_CASE(suite, "files that change", test_growth, test_replaced, test_truncated);
	HARNESS_CASE(suite, "bad input", test_bad_paths, test_bad_descriptors, test_bad_ranges, test_descriptor_is_the_callers);
	return harness_run(suite);
}
