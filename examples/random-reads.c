/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * random-reads [-n READS] [-s SEED] [--hold] FILE...
 *
 * Looks up random places of files through smmapd, and compares each with what pread(2) says. What it reads is a pointer into
 * the map: nothing is copied. With --hold it then stays, with all that it has mapped, until the end of its standard input, so
 * that `smmapd status` can show it.
 */
#define _DEFAULT_SOURCE
#define _FILE_OFFSET_BITS 64

#include <smmap-client.h>

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_MAX      16384 /* bytes */
#define DEFAULT_READS 10000

struct file {
	const char *path;
	struct smmap_cursor *cursor;
	int fd; /* to compare with */
};

struct reader {
	struct smmap_client *client;
	struct file *files;
	int n_files;
	uint64_t random;
	uint64_t n_bytes; /* that were compared */
};

/* A number from 0 to @below - 1, the same ones for the same seed (splitmix64). */
static uint64_t pick(struct reader *reader, uint64_t below)
{
	uint64_t x = reader->random += 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return (x ^ x >> 31) % below;
}

/* Says what went wrong with a file, for an error of the library. */
static int fail(const struct reader *reader, const char *path, int error)
{
	char complaint[512];

	if (error == -EINVAL)
		fprintf(stderr, "random-reads: %s: not a regular file\n", path);
	else if (smmap_client_complaint(reader->client, complaint, sizeof(complaint)))
		fprintf(stderr, "random-reads: %s: %s (%s)\n", path, smmap_strerror(error), complaint);
	else
		fprintf(stderr, "random-reads: %s: %s\n", path, smmap_strerror(error));
	return -1;
}

static int open_file(struct reader *reader, struct file *file, const char *path)
{
	int r;

	file->path = path;
	r = smmap_cursor_open(&file->cursor, reader->client, path, 0);
	if (r < 0)
		return fail(reader, path, r);
	file->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (file->fd < 0) {
		fprintf(stderr, "random-reads: %s: %s\n", path, strerror(errno));
		return -1;
	}
	return 0;
}

/*
 * Reads one place both ways. 0 if both are equal, -1 after saying what is not. Unless it is to stay, the cursor lets go of the place
 * at once: that is mapped as long as nobody needs the room, so that coming back is free.
 */
static int compare(struct reader *reader, int stay)
{
	struct file *file = &reader->files[pick(reader, (uint64_t)reader->n_files)];
	uint64_t offset = pick(reader, smmap_cursor_file_size(file->cursor) + 1);
	size_t size = (size_t)pick(reader, READ_MAX) + 1;
	char expected[READ_MAX];
	ssize_t n, n_expected;

	n = smmap_cursor_use(file->cursor, offset, size);
	if (n < 0)
		return fail(reader, file->path, (int)n);
	n_expected = pread(file->fd, expected, size, (off_t)offset);
	if (n_expected < 0) {
		fprintf(stderr, "random-reads: %s: %s\n", file->path, strerror(errno));
		return -1;
	}
	if (n != n_expected || (n && memcmp(smmap_cursor_data(file->cursor), expected, (size_t)n) != 0)) {
		fprintf(stderr, "random-reads: %s: %zu bytes at %" PRIu64 " differ from what pread(2) says\n", file->path, size, offset);
		return -1;
	}
	reader->n_bytes += (uint64_t)n;
	if (!stay)
		smmap_cursor_unuse(file->cursor);
	return 0;
}

/* Does all reads, and stays at the last place. */
static int compare_all(struct reader *reader, uint64_t n_reads)
{
	for (uint64_t i = 0; i < n_reads; i++)
		if (compare(reader, i + 1 == n_reads) < 0)
			return -1;
	printf("%" PRIu64 " reads of %" PRIu64 " bytes in %d file%s: all equal\n", n_reads, reader->n_bytes, reader->n_files,
	       reader->n_files == 1 ? "" : "s");
	if (fflush(stdout)) {
		fprintf(stderr, "random-reads: can't write to standard output: %s\n", strerror(errno));
		return -1;
	}
	return 0;
}

/* Waits for the end of standard input. */
static void hold(void)
{
	char byte;

	while (read(STDIN_FILENO, &byte, 1) > 0)
		continue;
}

static int run(struct reader *reader, char **paths, uint64_t n_reads)
{
	struct smmap_client_options options = {.name = "random-reads"};
	int r;

	r = smmap_client_open(&reader->client, &options);
	if (r < 0) {
		fprintf(stderr, "random-reads: %s\n", smmap_strerror(r));
		return -1;
	}
	for (int i = 0; i < reader->n_files; i++)
		if (open_file(reader, &reader->files[i], paths[i]) < 0)
			return -1;
	return compare_all(reader, n_reads);
}

static void finish(struct reader *reader)
{
	for (int i = 0; i < reader->n_files; i++) {
		smmap_cursor_close(reader->files[i].cursor);
		if (reader->files[i].fd >= 0)
			close(reader->files[i].fd);
	}
	smmap_client_close(reader->client);
	free(reader->files);
}

static int usage(void)
{
	fprintf(stderr, "usage: random-reads [-n READS] [-s SEED] [--hold] FILE...\n");
	return 2;
}

/* A number that an option gives, of digits alone. */
static int parse(const char *text, uint64_t *number)
{
	char *end;

	errno = 0;
	*number = strtoull(text, &end, 10);
	if (*text >= '0' && *text <= '9' && !*end && !errno)
		return 0;
	fprintf(stderr, "random-reads: '%s' is not a number\n", text);
	return -1;
}

int main(int argc, char **argv)
{
	static const struct option table[] = {{"hold", no_argument, NULL, 'h'}, {0}};
	struct reader reader = {0};
	uint64_t n_reads = DEFAULT_READS;
	int option, holds = 0, r = 0;

	while (!r && (option = getopt_long(argc, argv, "+n:s:", table, NULL)) != -1) {
		if (option == 'n')
			r = parse(optarg, &n_reads);
		else if (option == 's')
			r = parse(optarg, &reader.random);
		else if (option == 'h')
			holds = 1;
		else
			return usage();
	}
	if (r < 0 || optind == argc)
		return usage();

	reader.n_files = argc - optind;
	reader.files = calloc((size_t)reader.n_files, sizeof(*reader.files));
	if (!reader.files) {
		fprintf(stderr, "random-reads: no memory\n");
		return 1;
	}
	for (int i = 0; i < reader.n_files; i++)
		reader.files[i].fd = -1;

	r = run(&reader, argv + optind, n_reads);
	if (!r && holds)
		hold();
	finish(&reader);
	return r < 0 ? 1 : 0;
}
