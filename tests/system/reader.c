/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The load of scripts/check-system, built against what the packages install. It needs files whose bytes follow from their places
 * and from their sizes, so that whatever is read anywhere can be compared without reading it another way.
 *
 *     reader make SIZE >FILE   writes such a file
 *     reader read FILE...      reads random ranges and compares every byte, until SIGTERM
 *
 * A call may wait, for a server that is away, but has to do what it is for in the end: at the first error, or byte that is not as
 * it has to be, the reader says so and exits with 1. At SIGTERM it says how much it has read, and how long a call took at most.
 */
#define _DEFAULT_SOURCE
#define _FILE_OFFSET_BITS 64

#include <smmap-client.h>

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WORD        sizeof(uint64_t)
#define READ_MAX    65536 /* bytes */
#define FILES_MAX   16
#define DEADLINE_MS 30000

static volatile sig_atomic_t ended;

static void end(int signal)
{
	(void)signal;
	ended = 1;
}

/* A number that looks like none of its neighbours (splitmix64). */
static uint64_t scramble(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

/* The word at @index of a file of @size bytes. */
static uint64_t word_at(uint64_t size, uint64_t index)
{
	return scramble(size << 32 ^ index);
}

/* Whether the @n bytes at @offset of a file of @size bytes are what they have to be. */
static bool is_right(const unsigned char *data, uint64_t size, uint64_t offset, size_t n)
{
	uint64_t word = word_at(size, offset / WORD);

	for (size_t i = 0; i < n; i++) {
		if ((offset + i) % WORD == 0)
			word = word_at(size, (offset + i) / WORD);
		if (data[i] != (unsigned char)(word >> (offset + i) % WORD * 8))
			return false;
	}
	return true;
}

static int make(uint64_t size)
{
	for (uint64_t i = 0; i < size; i++)
		putchar((int)(word_at(size, i / WORD) >> i % WORD * 8 & 0xff));
	return fflush(stdout) || ferror(stdout) ? 1 : 0;
}

static int fail(struct smmap_client *client, const char *what, int error)
{
	char complaint[512] = "";

	if (client)
		smmap_client_complaint(client, complaint, sizeof(complaint));
	fprintf(stderr, "reader: %s: %s %s\n", what, smmap_strerror(error), complaint);
	return 1;
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int read_until_ended(struct smmap_client *client, struct smmap_cursor **cursors, char **paths, int n_files)
{
	uint64_t random = (uint64_t)getpid() << 32, n_reads = 0, n_bytes = 0, slowest = 0;

	while (!ended) {
		int i = (int)((random = scramble(random)) % (uint64_t)n_files);
		uint64_t size = smmap_cursor_file_size(cursors[i]);
		uint64_t offset = (random = scramble(random)) % size;
		size_t wanted = (size_t)((random = scramble(random)) % READ_MAX + 1);
		uint64_t start = now_ms(), took;
		ssize_t n = smmap_cursor_use(cursors[i], offset, wanted);

		took = now_ms() - start;
		if (took > slowest)
			slowest = took;
		if (n < 0)
			return fail(client, paths[i], (int)n);
		if ((uint64_t)n != (wanted < size - offset ? wanted : size - offset) ||
		    !is_right(smmap_cursor_data(cursors[i]), size, offset, (size_t)n)) {
			fprintf(stderr, "reader: %s: wrong bytes, in %zd of %zu at %" PRIu64 "\n", paths[i], n, wanted, offset);
			return 1;
		}
		smmap_cursor_unuse(cursors[i]);
		n_reads++;
		n_bytes += (uint64_t)n;
	}
	printf("%" PRIu64 " reads of %" PRIu64 " MiB, all right; the longest call took %" PRIu64 " ms\n", n_reads, n_bytes >> 20,
	       slowest);
	return fflush(stdout) ? 1 : 0;
}

static int read_files(char **paths, int n_files)
{
	struct smmap_client_options options = {.name = "reader", .deadline_ms = DEADLINE_MS};
	struct smmap_cursor *cursors[FILES_MAX] = {0};
	struct smmap_client *client = NULL;
	int r, status = 0;

	r = smmap_client_open(&client, &options);
	if (r < 0)
		return fail(NULL, "no client", r);
	for (int i = 0; i < n_files && !status; i++) {
		r = smmap_cursor_open(&cursors[i], client, paths[i], 0);
		if (r < 0)
			status = fail(client, paths[i], r);
	}
	if (!status)
		status = read_until_ended(client, cursors, paths, n_files);
	for (int i = 0; i < n_files; i++)
		smmap_cursor_close(cursors[i]);
	smmap_client_close(client);
	return status;
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "make") == 0)
		return make(strtoull(argv[2], NULL, 10));
	if (argc < 3 || argc - 2 > FILES_MAX || strcmp(argv[1], "read") != 0) {
		fprintf(stderr, "usage: reader make SIZE, or: reader read FILE...\n");
		return 2;
	}
	signal(SIGTERM, end);
	return read_files(argv + 2, argc - 2);
}
