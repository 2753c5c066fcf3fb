/* SPDX-License-Identifier: BSD-3-Clause */
/* Buffers: their whole index arithmetic against a plain array, under the rules of Python. */
#include "config.h"

#include "client/smmap-client.h"
#include "tests/harness.h"

#include "proto/util.h"

#include <string.h>

#define WINDOW    4096
#define FILE_SIZE (5 * WINDOW + 77)

static struct harness_server server;
static struct smmap_client *client;
static struct smmap_cursor *cursor;
static unsigned char contents[FILE_SIZE];

static void start(uint32_t flags)
{
	struct smmap_client_options options = {0};

	harness_start(&server, "--window-size=4K", "--max-memory=64K", NULL);
	options.socket = server.socket;
	ck_assert_int_eq(smmap_client_open(&client, &options), 0);
	harness_make_file("file", FILE_SIZE);
	for (uint64_t i = 0; i < FILE_SIZE; i++)
		contents[i] = harness_byte(i);
	ck_assert_int_eq(smmap_cursor_open(&cursor, client, "file", flags), 0);
}

static void stop(void)
{
	smmap_cursor_close(cursor);
	smmap_client_close(client);
	harness_stop(&server);
}

/* What Python makes of an index of a slice over @length bytes. */
static int64_t python_index(int64_t index, int64_t length)
{
	if (index < 0) {
		index += length;
		if (index < 0)
			index = 0;
	}
	return index > length ? length : index;
}

static void assert_slice(struct smmap_buffer *buffer, const unsigned char *array, int64_t length, int64_t from, int64_t until)
{
	static unsigned char bytes[FILE_SIZE + 1];
	int64_t begin = python_index(from, length), end = python_index(until, length);
	int64_t expected = end > begin ? end - begin : 0;
	const void *data = bytes;

	ck_assert_int_eq(smmap_buffer_slice(buffer, from, until, &data), expected);
	if (expected)
		ck_assert_mem_eq(data, array + begin, (size_t)expected);
	else
		ck_assert_ptr_null(data);

	bytes[expected] = 0x5a;
	ck_assert_int_eq(smmap_buffer_read(buffer, bytes, from, until), expected);
	ck_assert_mem_eq(bytes, array + begin, (size_t)expected);
	ck_assert_uint_eq(bytes[expected], 0x5a);
}

static void assert_at(struct smmap_buffer *buffer, const unsigned char *array, int64_t length, int64_t index)
{
	int64_t place = index < 0 ? index + length : index;

	ck_assert_int_eq(smmap_buffer_at(buffer, index), place >= 0 && place < length ? array[place] : -ERANGE);
}

/* Every combination of the indexes that are special to a length, of windows, and some at random. */
static void check_buffer(struct smmap_buffer *buffer, const unsigned char *array, int64_t length)
{
	int64_t special[] = {
		0,	-1,	    1,	   -2,	       length,	  -length,   length - 1,     -length - 1,    length + 1,
		WINDOW, WINDOW - 1, -WINDOW, WINDOW + 1, INT64_MAX, INT64_MIN, INT64_MIN + 1, INT64_MAX - 1, 2 * WINDOW,
	};
	size_t n = sizeof(special) / sizeof(special[0]);

	ck_assert_int_eq(smmap_buffer_length(buffer), length);
	for (size_t i = 0; i < n; i++) {
		/* Of INT64_MIN the model itself would overflow. */
		if (special[i] > INT64_MIN / 2)
			assert_at(buffer, array, length, special[i]);
		else
			ck_assert_int_eq(smmap_buffer_at(buffer, special[i]), -ERANGE);
		for (size_t j = 0; j < n; j++)
			assert_slice(buffer, array, length, special[i], special[j]);
	}
	for (int i = 0; i < 1000; i++) {
		int64_t span = 2 * length + 10;
		int64_t from = (int64_t)(harness_random() % (uint64_t)span) - length - 5;
		int64_t until = (int64_t)(harness_random() % (uint64_t)span) - length - 5;

		assert_at(buffer, array, length, from);
		assert_slice(buffer, array, length, from, until);
	}
}

START_TEST(test_indexes)
{
	static const struct {
		uint64_t offset, size;
		int64_t length;
	} cases[] = {
		{0, SMMAP_TO_END, FILE_SIZE},
		{0, FILE_SIZE, FILE_SIZE},
		{0, FILE_SIZE + 1, FILE_SIZE},
		{100, SMMAP_TO_END, FILE_SIZE - 100},
		{WINDOW - 1, 2, 2},
		{WINDOW, WINDOW, WINDOW},
		{3, 1, 1},
		{3, 0, 0},
		{FILE_SIZE - 1, SMMAP_TO_END, 1},
		{FILE_SIZE, SMMAP_TO_END, 0},
		{FILE_SIZE + 1000, 5, 0},
	};

	for (uint32_t flags = 0; flags <= SMMAP_WHOLE_FILE; flags++) {
		start(flags);
		for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
			struct smmap_buffer *buffer;

			ck_assert_int_eq(smmap_buffer_open(&buffer, cursor, cases[i].offset, cases[i].size), 0);
			check_buffer(buffer, contents + min_u64(cases[i].offset, FILE_SIZE), cases[i].length);
			smmap_buffer_close(buffer);
		}
		stop();
	}
}
END_TEST

START_TEST(test_begin_and_end)
{
	struct smmap_buffer *buffer;
	const void *data;

	start(0);
	ck_assert_int_eq(smmap_buffer_open(&buffer, cursor, 10, 10), 0);
	ck_assert_int_eq(smmap_buffer_begin(buffer, WINDOW, 20), 0);
	check_buffer(buffer, contents + WINDOW, 20);
	smmap_buffer_end(buffer);
	ck_assert_int_eq(smmap_buffer_length(buffer), 0);
	ck_assert_int_eq(smmap_buffer_at(buffer, 0), -ERANGE);
	ck_assert_int_eq(smmap_buffer_slice(buffer, 0, 10, &data), 0);
	ck_assert(!smmap_cursor_is_valid(cursor));
	ck_assert_int_eq(smmap_buffer_begin(buffer, (uint64_t)INT64_MAX + 1, 20), -EINVAL);
	ck_assert_int_eq(smmap_buffer_length(buffer), 0);
	ck_assert_int_eq(smmap_buffer_begin(buffer, 0, SMMAP_TO_END), 0);
	check_buffer(buffer, contents, FILE_SIZE);
	smmap_buffer_close(buffer);
	stop();
}
END_TEST

START_TEST(test_bad_arguments)
{
	struct smmap_buffer *buffer;
	const void *data;
	char byte;

	start(0);
	ck_assert_int_eq(smmap_buffer_open(&buffer, NULL, 0, 1), -EINVAL);
	ck_assert_int_eq(smmap_buffer_open(NULL, cursor, 0, 1), -EINVAL);
	ck_assert_int_eq(smmap_buffer_open(&buffer, cursor, UINT64_MAX, 1), -EINVAL);
	ck_assert_int_eq(smmap_buffer_begin(NULL, 0, 1), -EINVAL);
	ck_assert_int_eq(smmap_buffer_length(NULL), 0);
	ck_assert_int_eq(smmap_buffer_at(NULL, 0), -EINVAL);
	ck_assert_int_eq(smmap_buffer_read(NULL, &byte, 0, 1), -EINVAL);
	ck_assert_int_eq(smmap_buffer_slice(NULL, 0, 1, &data), -EINVAL);
	ck_assert_int_eq(smmap_buffer_open(&buffer, cursor, 0, SMMAP_TO_END), 0);
	ck_assert_int_eq(smmap_buffer_slice(buffer, 0, 1, NULL), -EINVAL);
	ck_assert_int_eq(smmap_buffer_read(buffer, NULL, 0, 1), -EINVAL);
	smmap_buffer_end(NULL);
	smmap_buffer_close(NULL);
	smmap_buffer_close(buffer);
	stop();
}
END_TEST

/* A slice is a pointer where the limits allow that many bytes in one piece; a copy has no such bound. */
START_TEST(test_larger_than_the_limit)
{
	struct smmap_buffer *buffer;
	struct smmap_cursor *large;
	const uint64_t size = 20 * WINDOW;
	unsigned char *bytes = malloc(size);
	const void *data;

	start(0);
	harness_make_file("large", size);
	ck_assert_int_eq(smmap_cursor_open(&large, client, "large", 0), 0);
	ck_assert_int_eq(smmap_buffer_open(&buffer, large, 0, SMMAP_TO_END), 0);
	ck_assert_int_eq(smmap_buffer_slice(buffer, 0, 16 * WINDOW, &data), 16 * WINDOW);
	ck_assert_int_eq(smmap_buffer_slice(buffer, 0, 16 * WINDOW + 1, &data), -EFBIG);
	ck_assert_int_eq(smmap_buffer_read(buffer, bytes, 0, INT64_MAX), (ssize_t)size);
	for (uint64_t i = 0; i < size; i++)
		ck_assert_uint_eq(bytes[i], harness_byte(i));
	smmap_buffer_close(buffer);
	smmap_cursor_close(large);
	free(bytes);
	stop();
}
END_TEST

START_TEST(test_growth)
{
	struct smmap_buffer *buffer;
	struct smmap_cursor *growing;

	start(0);
	harness_make_file("growing", 10);
	ck_assert_int_eq(smmap_cursor_open(&growing, client, "growing", 0), 0);
	ck_assert_int_eq(smmap_buffer_open(&buffer, growing, 0, SMMAP_TO_END), 0);
	ck_assert_int_eq(smmap_buffer_length(buffer), 10);
	harness_make_file("growing", 3 * WINDOW);
	ck_assert_int_eq(smmap_buffer_begin(buffer, 5, SMMAP_TO_END), 0);
	ck_assert_int_eq(smmap_buffer_length(buffer), 3 * WINDOW - 5);
	ck_assert_int_eq(smmap_buffer_at(buffer, -1), harness_byte(3 * WINDOW - 1));
	smmap_buffer_close(buffer);
	smmap_cursor_close(growing);
	stop();
}
END_TEST

START_TEST(test_truncated)
{
	struct smmap_buffer *buffer;
	unsigned char bytes[WINDOW];
	ssize_t n;

	start(0);
	ck_assert_int_eq(smmap_buffer_open(&buffer, cursor, 0, SMMAP_TO_END), 0);
	ck_assert_int_eq(smmap_buffer_at(buffer, -1), contents[FILE_SIZE - 1]);
	ck_assert_int_eq(truncate("file", 10), 0);
	ck_assert_int_eq(smmap_buffer_read(buffer, bytes, -WINDOW, INT64_MAX), -ESTALE);
	ck_assert_int_eq(smmap_buffer_read(buffer, bytes, 0, 10), 10);
	ck_assert_mem_eq(bytes, contents, 10);
	/* Within the page the kernel shows zeros, until the server has seen that the file is shorter. */
	do
		n = smmap_buffer_read(buffer, bytes, 0, 11);
	while (n == 11);
	ck_assert_int_eq(n, -ESTALE);
	smmap_buffer_close(buffer);
	stop();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("buffer");

	HARNESS_CASE(suite, "buffer", test_indexes, test_begin_and_end, test_bad_arguments, test_larger_than_the_limit, test_growth,
		     test_truncated);
	return harness_run(suite);
}
