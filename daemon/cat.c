/* SPDX-License-Identifier: BSD-3-Clause */
/* `smmapd cat` and `smmapd warm`: files through cursors, window by window. */
#include "config.h"

#include "daemon/command.h"

#include "client/smmap-client.h"
#include "daemon/size.h"
#include "proto/util.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#endif

static void close_cursor(struct smmap_cursor **cursor)
{
	smmap_cursor_close(*cursor);
}

static void close_client(struct smmap_client **client)
{
	smmap_client_close(*client);
}

/* Opens a cursor on a file. EXIT_DONE, or an exit status after saying why. */
static int open_file(struct smmap_cursor **cursor, struct smmap_client *client, const char *path)
{
	int r = smmap_cursor_open(cursor, client, path, 0);

	if (r == -EINVAL) {
		complain("%s: not a regular file", path);
		return EXIT_FAILED;
	}
	return r < 0 ? command_failed(client, path, r) : EXIT_DONE;
}

/* What a command does with one file. EXIT_DONE, or an exit status after saying why. */
typedef int file_fn(struct smmap_client *client, const char *path, const void *data);

/* Does it with each of the arguments; the status is that of the last that failed. */
static int for_each_file(int argc, char **argv, const char *socket, file_fn *use, const void *data)
{
	_cleanup_(close_client) struct smmap_client *client = NULL;
	int status;

	if (optind == argc) {
		complain("%s needs a file", argv[0]);
		return complain_usage();
	}
	status = command_connect(&client, socket);
	if (status != EXIT_DONE)
		return status;

	for (int i = optind; i < argc; i++) {
		int r = use(client, argv[i], data);

		if (r != EXIT_DONE)
			status = r;
	}
	return status == EXIT_DONE ? command_flush() : status;
}

/* Writes all of it. Reads of a map that a truncation has cut show as EFAULT here, not as a signal. 0 or -errno. */
static int write_all(int fd, const char *bytes, size_t size)
{
	while (size) {
		ssize_t n = write(fd, bytes, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EFAULT ? -ESTALE : -errno;
		bytes += n;
		size -= (size_t)n;
	}
	return 0;
}

/* ---- cat ---- */

/* What of each file is copied. */
struct range {
	uint64_t offset;
	uint64_t length;
};

/* Where writing failed: that is not the file's fault. */
struct copy {
	struct smmap_cursor *cursor;
	int write_error;
};

static int copy_range(struct copy *copy, uint64_t offset, uint64_t length)
{
	while (length) {
		ssize_t n = smmap_cursor_use(copy->cursor, offset, 0);
		int r;

		if (n <= 0)
			return (int)n;
		n = (ssize_t)min_u64((uint64_t)n, length);
		r = write_all(STDOUT_FILENO, smmap_cursor_data(copy->cursor), (size_t)n);
		if (r < 0) {
			copy->write_error = r == -ESTALE ? 0 : r;
			return r;
		}
		offset += (uint64_t)n;
		length -= (uint64_t)n;
	}
	return 0;
}

static int cat_file(struct smmap_client *client, const char *path, const void *data)
{
	const struct range *range = data;
	_cleanup_(close_cursor) struct smmap_cursor *cursor = NULL;
	struct copy copy = {0};
	int r;

	r = open_file(&cursor, client, path);
	if (r != EXIT_DONE)
		return r;
	smmap_cursor_advise(cursor, SMMAP_ADVISE_SEQUENTIAL);
	copy.cursor = cursor;
	r = copy_range(&copy, range->offset, range->length);
	if (copy.write_error) {
		complain("can't write to standard output: %s", strerror(-copy.write_error));
		return EXIT_FAILED;
	}
	return r < 0 ? command_failed(client, path, r) : EXIT_DONE;
}

static int set_range(void *data, int option, const char *value)
{
	struct range *range = data;
	uint64_t *place = option == 'o' ? &range->offset : &range->length;

	/* Past 2^63 - 1 there is nothing. */
	if (size_parse(value, place) < 0 || *place > INT64_MAX) {
		complain("--%s=%s is not a number of bytes below 2^63", option == 'o' ? "offset" : "length", value);
		return EXIT_USAGE;
	}
	return EXIT_DONE;
}

int command_cat(int argc, char **argv)
{
	static const struct option own[] = {
		{"offset", required_argument, NULL, 'o'},
		{"length", required_argument, NULL, 'l'},
		{0},
	};
	struct range range = {.length = INT64_MAX};
	const char *socket;
	int finished, status;

	status = command_parse(argc, argv, own, set_range, &range, &socket, &finished);
	if (status != EXIT_DONE || finished)
		return status;
	return for_each_file(argc, argv, socket, cat_file, &range);
}

/* ---- warm ---- */

/* Has the kernel read all pages of where the cursor stands. */
static int read_ahead(struct smmap_cursor *cursor, size_t size)
{
	if (madvise((void *)(uintptr_t)smmap_cursor_data(cursor), size, MADV_POPULATE_READ) == 0)
		return 0;
	if (errno == EINVAL)
		return smmap_cursor_advise(cursor, SMMAP_ADVISE_WILLNEED);
	return errno == EFAULT ? -ESTALE : -errno;
}

static int warm_file(struct smmap_client *client, const char *path, const void *data)
{
	_cleanup_(close_cursor) struct smmap_cursor *cursor = NULL;
	char size[SIZE_TEXT_MAX];
	uint64_t offset = 0;
	ssize_t n;
	int r;

	(void)data;
	r = open_file(&cursor, client, path);
	if (r != EXIT_DONE)
		return r;
	while ((n = smmap_cursor_use(cursor, offset, 0)) > 0) {
		r = read_ahead(cursor, (size_t)n);
		if (r < 0)
			return command_failed(client, path, r);
		offset += (uint64_t)n;
	}
	if (n < 0)
		return command_failed(client, path, (int)n);
	printf("%s: %s warm\n", path, size_print(offset, size));
	return EXIT_DONE;
}

int command_warm(int argc, char **argv)
{
	const char *socket;
	int finished, status;

	status = command_parse(argc, argv, NULL, NULL, NULL, &socket, &finished);
	if (status != EXIT_DONE || finished)
		return status;
	return for_each_file(argc, argv, socket, warm_file, NULL);
}
