/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "tests/honest.h"

#include "client/smmap-client.h"
#include "tests/harness.h"

#include "proto/util.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#define CURSORS 2 /* of each */
#define SHIFT   7 /* of a file's bytes against those of the file before it */

static unsigned char bytes[HONEST_SIZE + HONEST_FILES * SHIFT];

/* ---- files ---- */

const char *honest_path(unsigned file)
{
	static char path[16];

	snprintf(path, sizeof(path), "file-%u", file);
	return path;
}

void honest_make_files(void)
{
	for (uint64_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = harness_byte(i);
	for (unsigned i = 0; i < HONEST_FILES; i++) {
		FILE *file = fopen(honest_path(i), "we");

		ck_assert_ptr_nonnull(file);
		ck_assert_uint_eq(fwrite(bytes + i * SHIFT, 1, HONEST_SIZE, file), HONEST_SIZE);
		ck_assert_int_eq(fclose(file), 0);
	}
}

size_t honest_compare(const unsigned char *data, unsigned file, uint64_t offset, size_t size)
{
	const unsigned char *expected = bytes + file * SHIFT + offset;
	size_t i = 0;

	if (memcmp(data, expected, size) == 0)
		return size;
	while (data[i] == expected[i])
		i++;
	return i;
}

/* ---- an honest client ---- */

struct reader {
	struct honest *honest;
	struct smmap_client *client;
	struct smmap_cursor *cursors[CURSORS];
	unsigned files[CURSORS];
};

static int complain(struct reader *reader, const char *what, int64_t result)
{
	char said[256] = "";

	if (reader->client)
		smmap_client_complaint(reader->client, said, sizeof(said));
	snprintf(reader->honest->complaint, sizeof(reader->honest->complaint), "%s after %" PRIu64 " reads: %" PRId64 ", %s (%s)",
		 what, atomic_load(&reader->honest->n_reads), result, smmap_strerror((int)result), said);
	return 1;
}

/* Has a cursor on another file. */
static int change_file(struct reader *reader, unsigned i)
{
	int r;

	smmap_cursor_close(take_ptr(reader->cursors[i]));
	reader->files[i] = (unsigned)(harness_random() % HONEST_FILES);
	r = smmap_cursor_open(&reader->cursors[i], reader->client, honest_path(reader->files[i]), 0);
	return r ? complain(reader, "open", r) : 0;
}

/* Stands on a range, across windows at times and past the end at times, until its turn comes again; or copies it. */
static int read_somewhere(struct reader *reader, unsigned i)
{
	static unsigned char to[HONEST_WINDOW];
	uint64_t offset = harness_random() % HONEST_SIZE;
	size_t size = 1 + (size_t)(harness_random() % HONEST_WINDOW), expected = (size_t)min_u64(size, HONEST_SIZE - offset);
	bool copies = harness_random() % 4 == 0;
	ssize_t n;

	if (copies)
		n = smmap_cursor_read(reader->cursors[i], to, size, offset);
	else
		n = smmap_cursor_use(reader->cursors[i], offset, size);
	if (n != (ssize_t)expected)
		return complain(reader, copies ? "read" : "use", n);
	if (honest_compare(copies ? to : smmap_cursor_data(reader->cursors[i]), reader->files[i], offset, expected) < expected)
		return complain(reader, "other bytes", -EILSEQ);
	atomic_fetch_add(&reader->honest->n_reads, 1);
	return 0;
}

static int work(struct reader *reader)
{
	unsigned i = (unsigned)(harness_random() % CURSORS);
	int r = 0;

	if (!reader->cursors[i] || harness_random() % 8 == 0)
		r = change_file(reader, i);
	return r ? r : read_somewhere(reader, i);
}

/* Gives back all, and waits. */
static int rest(struct reader *reader)
{
	int64_t r;

	for (unsigned i = 0; i < CURSORS; i++)
		smmap_cursor_close(take_ptr(reader->cursors[i]));
	r = smmap_client_collect(reader->client);
	if (r < 0)
		return complain(reader, "collect", r);
	atomic_store(&reader->honest->rests, true);
	while (atomic_load(&reader->honest->order) == HONEST_RESTS)
		poll(NULL, 0, 1);
	atomic_store(&reader->honest->rests, false);
	return 0;
}

int honest_run(struct honest *honest, const char *socket)
{
	struct smmap_client_options options = {.socket = socket, .name = "honest"};
	struct reader reader = {.honest = honest};
	enum honest_order order;
	int r;

	r = smmap_client_open(&reader.client, &options);
	if (r)
		return complain(&reader, "connect", r);
	while (!r && (order = atomic_load(&honest->order)) != HONEST_ENDS)
		r = order == HONEST_RESTS ? rest(&reader) : work(&reader);
	for (unsigned i = 0; i < CURSORS; i++)
		smmap_cursor_close(reader.cursors[i]);
	smmap_client_close(reader.client);
	return r;
}
