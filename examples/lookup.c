/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lookup [-j PROCESSES] FILE PREFIX...
 *
 * Prints the lines of a sorted file that begin with PREFIX. The file may be of any size, and so may its lines: they are found
 * by bisection, which looks at a few dozen places of it. The order is that of bytes, as `LC_ALL=C sort` makes it.
 *
 * Many prefixes are shared out over many processes. Each of them opens a client and a cursor of its own, and yet what they map
 * is there once: the server sees to it, and to the limits. The exit status is 0 if anything was found, 1 if nothing was, and 2
 * on an error.
 *
 *     cc lookup.c $(pkg-config --cflags --libs smmap-client) -o lookup
 *     smmapd exec -- ./lookup FILE PREFIX...
 */
#define _DEFAULT_SOURCE

#include <smmap-client.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FOUND = 0, NOTHING_FOUND = 1, FAILED = 2 };

/* What a process has of its own. */
struct reader {
	struct smmap_client *client;
	struct smmap_cursor *cursor;
};

/* What there is to say about one prefix. The answers stand in memory that all processes share. */
struct answer {
	uint64_t begin;      /* the place in the file of the first line, */
	uint64_t end;        /* and that after the last one */
	int error;           /* 0 or -errno */
	char complaint[256]; /* what the server said about it, if anything */
};

/* ---- one process ---- */

/* Opens both; reader_close() is due also after an error. */
static int reader_open(struct reader *reader, const char *path)
{
	struct smmap_client_options options = {.name = "lookup"};
	int r;

	*reader = (struct reader){0};
	r = smmap_client_open(&reader->client, &options);
	return r < 0 ? r : smmap_cursor_open(&reader->cursor, reader->client, path, 0);
}

static void reader_close(struct reader *reader)
{
	smmap_cursor_close(reader->cursor);
	smmap_client_close(reader->client);
}

/* Notes what there is to say about an error, if it is one. */
static void note_error(struct answer *answer, const struct reader *reader, int error)
{
	if (error >= 0)
		return;
	answer->error = error;
	smmap_client_complaint(reader->client, answer->complaint, sizeof(answer->complaint));
}

/* Moves the cursor. As smmap_cursor_use(), but where it should stand inside of the file there must be something. */
static ssize_t move(struct smmap_cursor *cursor, uint64_t offset, size_t size, const char **data)
{
	ssize_t n = smmap_cursor_use(cursor, offset, size);

	*data = smmap_cursor_data(cursor);
	return n ? n : -ESTALE;
}

/* Finds where the first line begins at or after @from; that is @until if none does before. */
static int find_line(struct smmap_cursor *cursor, uint64_t from, uint64_t until, uint64_t *start)
{
	*start = from ? until : 0;
	if (!from)
		return 0;

	/* A line begins after a newline. Each round looks at the rest of one window. */
	for (uint64_t offset = from - 1; offset + 1 < until;) {
		const char *data, *newline;
		ssize_t n = move(cursor, offset, 0, &data);

		if (n < 0)
			return (int)n;
		newline = memchr(data, '\n', (size_t)n);
		if (newline) {
			offset += (uint64_t)(newline - data) + 1;
			*start = offset < until ? offset : until;
			return 0;
		}
		offset += (uint64_t)n;
	}
	return 0;
}

/* The order of the line at @start: negative if it comes before those with the prefix, 0 if it is one of them, positive after them. */
static int compare_line(struct smmap_cursor *cursor, uint64_t start, const char *prefix, int *order)
{
	size_t length = strlen(prefix), there;
	const char *line, *newline;
	ssize_t n;

	/* One piece, also where the line straddles windows. */
	n = move(cursor, start, length, &line);
	if (n < 0)
		return (int)n;
	newline = memchr(line, '\n', (size_t)n);
	there = newline ? (size_t)(newline - line) : (size_t)n;
	*order = memcmp(line, prefix, there < length ? there : length);
	if (!*order && there < length)
		*order = -1;
	return 0;
}

/* Finds where the first line begins whose order is at least @bound: 0 for those with the prefix, 1 for what comes after them. */
static int bisect(struct smmap_cursor *cursor, const char *prefix, int bound, uint64_t *place)
{
	uint64_t size = smmap_cursor_file_size(cursor), low = 0, high = size, start;
	int order = 0, r;

	/* A line that begins before `low` is below the bound, and one that begins at `high` or after it is not. */
	while (low < high) {
		uint64_t middle = low + (high - low) / 2;

		r = find_line(cursor, middle, high, &start);
		if (!r && start < high)
			r = compare_line(cursor, start, prefix, &order);
		if (r < 0)
			return r;
		if (start < high && order < bound)
			low = start + 1;
		else
			high = middle;
	}
	return find_line(cursor, low, size, place);
}

/* Answers every @step-th of @n prefixes, from the one at @first on. */
static void find_all(const char *path, char **prefixes, struct answer *answers, int first, int n, int step)
{
	struct reader reader;
	int opened = reader_open(&reader, path);

	for (int i = first; i < n; i += step) {
		struct answer *answer = &answers[i];
		int r = opened;

		if (!r)
			r = bisect(reader.cursor, prefixes[i], 0, &answer->begin);
		if (!r)
			r = bisect(reader.cursor, prefixes[i], 1, &answer->end);
		note_error(answer, &reader, r);
	}
	reader_close(&reader);
}

/* ---- all of them ---- */

static int fail(const char *what, const char *why, const char *complaint)
{
	fflush(stdout);
	fprintf(stderr, "lookup: %s: %s%s%s%s\n", what, why, *complaint ? " (" : "", complaint, *complaint ? ")" : "");
	return FAILED;
}

/* Has @n_processes answer all prefixes, and waits for them. 0, or FAILED after saying why. */
static int share_out(const char *path, char **prefixes, struct answer *answers, int n, int n_processes)
{
	int status, result = 0;

	for (int i = 0; i < n_processes && !result; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			find_all(path, prefixes, answers, i, n, n_processes);
			_exit(0);
		}
		if (pid < 0)
			result = fail("can't start a process", strerror(errno), "");
	}
	while (wait(&status) > 0)
		if (status)
			result = fail(path, "a process has ended before it was done", "");
	return result;
}

/* Prints a piece of the file, window by window. 0; -errno if it can't be read; a positive errno if it can't be written. */
static int print_piece(struct smmap_cursor *cursor, uint64_t begin, uint64_t end)
{
	char last = '\n';

	while (begin < end) {
		const char *data;
		ssize_t n = move(cursor, begin, 0, &data);

		if (n < 0)
			return (int)n;
		if ((uint64_t)n > end - begin)
			n = (ssize_t)(end - begin);
		if (fwrite(data, 1, (size_t)n, stdout) < (size_t)n)
			return errno;
		last = data[n - 1];
		begin += (uint64_t)n;
	}
	/* The last line of the file may be without one. */
	return last != '\n' && putchar('\n') == EOF ? errno : 0;
}

/* Prints what was found, in the order of the prefixes. The exit status. */
static int print_all(const char *path, struct answer *answers, int n)
{
	struct reader reader;
	int opened = reader_open(&reader, path), result = NOTHING_FOUND, r = 0;

	for (struct answer *answer = answers; answer < answers + n && result != FAILED; answer++) {
		if (!answer->error) {
			r = opened ? opened : print_piece(reader.cursor, answer->begin, answer->end);
			note_error(answer, &reader, r);
		}
		if (r > 0)
			result = fail("can't write to standard output", strerror(r), "");
		else if (answer->error == -EINVAL)
			result = fail(path, "not a regular file", "");
		else if (answer->error)
			result = fail(path, smmap_strerror(answer->error), answer->complaint);
		else if (answer->begin < answer->end)
			result = FOUND;
	}
	reader_close(&reader);
	if (result != FAILED && fflush(stdout))
		result = fail("can't write to standard output", strerror(errno), "");
	return result;
}

int main(int argc, char **argv)
{
	long n_processes = 4;
	struct answer *answers;
	char *end;
	int n, option, result;

	while ((option = getopt(argc, argv, "+j:")) == 'j') {
		n_processes = strtol(optarg, &end, 10);
		if (*end || end == optarg || n_processes < 1)
			return fail("-j takes a number of processes", optarg, "");
	}
	n = argc - optind - 1;
	if (option != -1 || n < 1) {
		fprintf(stderr, "usage: lookup [-j PROCESSES] FILE PREFIX...\n");
		return FAILED;
	}
	if (n_processes > n)
		n_processes = n;

	answers = mmap(NULL, (size_t)n * sizeof(*answers), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (answers == MAP_FAILED)
		return fail("no memory", strerror(errno), "");
	result = share_out(argv[optind], argv + optind + 1, answers, n, (int)n_processes);
	if (!result)
		result = print_all(argv[optind], answers, n);
	munmap(answers, (size_t)n * sizeof(*answers));
	return result;
}
