/* SPDX-License-Identifier: BSD-3-Clause */
/* Files of the smallest and the largest sizes, and one that grows while it is read. */
#include "config.h"

#include "client/smmap-client.h"
#include "tests/harness.h"

#include "proto/util.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define WINDOW 65536

static struct harness_server server;
static struct smmap_client *client;

static void start(const char *max_memory)
{
	struct smmap_client_options options = {.name = "test"};

	harness_start(&server, "--window-size=64K", max_memory, NULL);
	options.socket = server.socket;
	ck_assert_int_eq(smmap_client_open(&client, &options), 0);
}

static void stop(void)
{
	smmap_client_close(client);
	harness_stop(&server);
}

/* ---- the smallest, and the largest ---- */

static void read_zero_and_one(uint32_t flags)
{
	struct smmap_cursor *cursor;
	struct smmap_buffer *buffer;
	char bytes[16];

	start("--max-memory=1M");
	harness_make_file("file", 0);
	ck_assert_int_eq(smmap_cursor_open(&cursor, client, "file", flags), 0);
	ck_assert_uint_eq(smmap_cursor_file_size(cursor), 0);
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, 0), 0);
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, 1), 0);
	ck_assert_int_eq(smmap_cursor_use(cursor, INT64_MAX, 0), 0);
	ck_assert(!smmap_cursor_is_valid(cursor));
	ck_assert_int_eq(smmap_cursor_read(cursor, bytes, sizeof(bytes), 0), 0);
	ck_assert_int_eq(smmap_buffer_open(&buffer, cursor, 0, SMMAP_TO_END), 0);
	ck_assert_int_eq(smmap_buffer_length(buffer), 0);
	ck_assert_int_eq(smmap_buffer_at(buffer, 0), -ERANGE);
	smmap_buffer_close(buffer);
	ck_assert_uint_eq(harness_figure(&server, "usage.memory_bytes"), 0);

	harness_make_file("file", 1);
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, 0), 1);
	ck_assert_int_eq(*(const unsigned char *)smmap_cursor_data(cursor), harness_byte(0));
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, SSIZE_MAX), 1);
	ck_assert_int_eq(smmap_cursor_read(cursor, bytes, sizeof(bytes), 0), 1);
	ck_assert_int_eq((unsigned char)bytes[0], harness_byte(0));
	ck_assert_int_eq(smmap_cursor_read(cursor, bytes, sizeof(bytes), 1), 0);
	ck_assert_int_eq(smmap_cursor_use(cursor, 1, 1), 0);
	smmap_cursor_close(cursor);
	stop();
}

START_TEST(test_zero_and_one)
{
	read_zero_and_one(0);
	read_zero_and_one(SMMAP_WHOLE_FILE);
}
END_TEST

/* Fails like any read, and the cursor goes on elsewhere. */
static void assert_error(struct smmap_cursor *cursor, uint64_t offset)
{
	char byte;

	ck_assert_int_lt(smmap_cursor_use(cursor, offset, 1), 0);
	ck_assert_int_lt(smmap_cursor_read(cursor, &byte, 1, offset), 0);
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, 1), 1);
}

static void assert_last_bytes(struct smmap_cursor *cursor, uint64_t size)
{
	char byte = 0;

	ck_assert_int_eq(smmap_cursor_use(cursor, size - 1, 1), 1);
	ck_assert_int_eq(*(const char *)smmap_cursor_data(cursor), 'z');
	ck_assert_uint_eq(smmap_cursor_end(cursor), size);
	ck_assert_int_eq(smmap_cursor_use(cursor, size - 10, 100), 10);
	ck_assert_int_eq(memcmp(smmap_cursor_data(cursor), "\0\0\0\0\0\0\0\0\0z", 10), 0);
	ck_assert_int_eq(smmap_cursor_read(cursor, &byte, 1, size - 1), 1);
	ck_assert_int_eq(byte, 'z');
}

/* No file is larger, and the kernel maps no page that reaches further: so not the last one of this file, but of one that ends a page before. */
START_TEST(test_largest)
{
	const uint64_t mappable = (uint64_t)INT64_MAX + 1 - page_size();
	int memory = memfd_create("large", MFD_CLOEXEC), fd;
	struct smmap_cursor *cursor;
	char path[32], bytes[2];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", memory);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert(memory >= 0 && fd >= 0);
	ck_assert_int_eq(ftruncate(memory, INT64_MAX), 0);
	ck_assert_int_eq(pwrite(memory, "z", 1, (off_t)(mappable - 1)), 1);
	start("--max-memory=1M");
	ck_assert_int_eq(smmap_cursor_open_fd(&cursor, client, fd, 0), 0);
	ck_assert_uint_eq(smmap_cursor_file_size(cursor), INT64_MAX);
	assert_error(cursor, INT64_MAX - 1);
	ck_assert_int_eq(smmap_cursor_use(cursor, INT64_MAX, 0), 0);
	ck_assert_int_eq(smmap_cursor_use(cursor, INT64_MAX, 1), -EINVAL);
	ck_assert_int_eq(smmap_cursor_use(cursor, INT64_MAX - 1, 2), -EINVAL);
	ck_assert_int_eq(smmap_cursor_read(cursor, bytes, 2, INT64_MAX - 1), -EINVAL);

	ck_assert_int_eq(ftruncate(memory, (off_t)mappable), 0);
	ck_assert_int_eq(smmap_cursor_use(cursor, mappable, 1), 0);
	/* A process of 32 bits counts pages in 32 bits. */
	if (sizeof(void *) == 4)
		assert_error(cursor, mappable - 1);
	else
		assert_last_bytes(cursor, mappable);
	smmap_cursor_close(cursor);
	close_fd(fd);
	close_fd(memory);
	stop();
}
END_TEST

/* ---- growing ---- */

#define GROWN (64 * WINDOW + 4321)

/* Appends until it is full, in pieces of any size. */
static void write_all(int fd)
{
	static unsigned char bytes[GROWN];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (size_t i = 0; i < GROWN; i++)
		bytes[i] = harness_byte(i);
	for (size_t done = 0; done < GROWN;) {
		ssize_t n = write(fd, bytes + done, (size_t)min_u64(1 + harness_random() % 20000, GROWN - done));

		if (n < 0)
			_exit(1);
		done += (size_t)n;
	}
	_exit(0);
}

/* Follows it to its end by one way or the other: no byte is ever another than what was written there. */
static void follow(uint32_t flags)
{
	static unsigned char bytes[3 * WINDOW];
	struct smmap_cursor *cursor;
	uint64_t there = 0;
	int fd, status;
	pid_t writer;

	start("--max-memory=512K");
	fd = open("file", O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(smmap_cursor_open(&cursor, client, "file", flags), 0);
	writer = fork();
	ck_assert_int_ge(writer, 0);
	if (!writer)
		write_all(fd);
	close_fd(fd);
	while (there < GROWN) {
		size_t wanted = 1 + harness_random() % sizeof(bytes);
		bool copy = harness_random() % 2;
		ssize_t n = copy ? smmap_cursor_read(cursor, bytes, wanted, there) : smmap_cursor_use(cursor, there, wanted);
		const unsigned char *data = copy ? bytes : smmap_cursor_data(cursor);

		ck_assert_msg(n >= 0 && n <= (ssize_t)wanted, "%zd at %" PRIu64, n, there);
		for (ssize_t i = 0; i < n; i++)
			if (data[i] != harness_byte(there + (uint64_t)i))
				ck_abort_msg("a wrong byte at %" PRIu64, there + (uint64_t)i);
		there += (uint64_t)n;
	}
	ck_assert_int_eq(waitpid(writer, &status, 0), writer);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(smmap_cursor_use(cursor, GROWN, 1), 0);
	ck_assert_uint_eq(smmap_cursor_file_size(cursor), GROWN);
	smmap_cursor_close(cursor);
	stop();
}

START_TEST(test_growing)
{
	follow(0);
}
END_TEST

START_TEST(test_growing_whole)
{
	follow(SMMAP_WHOLE_FILE);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("file-sizes");

	HARNESS_CASE(suite, "sizes", test_zero_and_one, test_largest, test_growing, test_growing_whole);
	return harness_run(suite);
}
