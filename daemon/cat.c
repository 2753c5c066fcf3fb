/* SPDX-License-Identifier: BSD-3-Clause */
/* `smmapd cat` and `smmapd warm`: files through cursors, window by window. */
#include "config.h"

#include "daemon/command.h"

#include "client/smmap-client.h"
#include "daemon/size.h"
#include "proto/util.h"

#include <getopt.h>
#include <inttypes.h>
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

static int cat_file(struct smmap_client *client, const char *path, uint64_t offset, uint64_t length)
{
	_cleanup_(close_cursor) struct smmap_cursor *cursor = NULL;
	struct copy copy = {0};
	int r;

	r = open_file(&cursor, client, path);
	if (r != EXIT_DONE)
		return r;
	smmap_cursor_advise(cursor, SMMAP_ADVISE_SEQUENTIAL);
	copy.cursor = cursor;
	r = copy_range(&copy, offset, length);
	if (copy.write_error) {
		complain("can't write to standard output: %s", strerror(-copy.write_error));
		return EXIT_FAILED;
	}
	return r < 0 ? command_failed(client, path, r) : EXIT_DONE;
}

/* An offset or a length; past 2^63 - 1 there is nothing. */
static int parse_place(const char *option, const char *value, uint64_t *place)
{
	if (size_parse(value, place) < 0 || *place > INT64_MAX) {
		complain("--%s=%s is not a number of bytes below 2^63", option, value);
		return EXIT_USAGE;
	}
	return EXIT_DONE;
}

int command_cat(int argc, char **argv)
{
	static const struct option table[] = {
		{"socket", required_argument, NULL, 's'}, {"offset", required_argument, NULL, 'o'},
		{"length", required_argument, NULL, 'l'}, {"help", no_argument, NULL, 'h'},
		{0},
	};
	_cleanup_(close_client) struct smmap_client *client = NULL;
	uint64_t offset = 0, length = INT64_MAX;
	const char *socket = NULL;
	int option, status = EXIT_DONE;

	while (status == EXIT_DONE && (option = getopt_long(argc, argv, "h", table, NULL)) != -1) {
		switch (option) {
		case 's':
			socket = optarg;
			break;
		case 'o':
			status = parse_place("offset", optarg, &offset);
			break;
		case 'l':
			status = parse_place("length", optarg, &length);
			break;
		case 'h':
			print_help();
			return EXIT_DONE;
		default:
			return complain_usage();
		}
	}
	if (status != EXIT_DONE)
		return status;
	if (optind == argc) {
		complain("cat needs a file");
		return complain_usage();
	}

	status = command_connect(&client, socket);
	if (status != EXIT_DONE)
		return status;
	for (; optind < argc; optind++) {
		int r = cat_file(client, argv[optind], offset, length);

		if (r != EXIT_DONE)
			status = r;
	}
	return status == EXIT_DONE ? command_flush() : status;
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

static int warm_file(struct smmap_client *client, const char *path)
{
	_cleanup_(close_cursor) struct smmap_cursor *cursor = NULL;
	char size[SIZE_TEXT_MAX];
	uint64_t offset = 0;
	ssize_t n;
	int r;

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
	_cleanup_(close_client) struct smmap_client *client = NULL;
	const char *socket;
	int finished, status;

	status = command_parse_socket(argc, argv, &socket, &finished);
	if (status != EXIT_DONE || finished)
		return status;
	if (optind == argc) {
		complain("warm needs a file");
		return complain_usage();
	}
	status = command_connect(&client, socket);
	if (status != EXIT_DONE)
		return status;

	for (; optind < argc; optind++) {
		int r = warm_file(client, argv[optind]);

		if (r != EXIT_DONE)
			status = r;
	}
	return status == EXIT_DONE ? command_flush() : status;
}
