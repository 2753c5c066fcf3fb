/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The honest ones. On steady files no call may fail and every byte has to be right, whatever happens to the server; files that change may be
 * gone, shorter, or others, and a byte of them is right or zero, as after a truncation.
 */
#include "config.h"

#include "client/smmap-client.h"
#include "tests/soak.h"

#include "proto/util.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>

#define DEADLINE_MS 120000
#define STANDING    2 /* cursors of a thread */
#define ROUND       50 /* moves */

struct reader {
	pthread_t thread;
	unsigned number;
	struct smmap_client *client;
	struct smmap_cursor *cursors[SOAK_STEADY];
	struct smmap_cursor *standing[STANDING];
};

static void lose(const struct reader *reader, enum soak_promise promise, const char *what, unsigned file, uint64_t offset, int64_t n)
{
	char said[256];

	smmap_client_complaint(reader->client, said, sizeof(said));
	soak_lose(promise, "reader %u, %s at %" PRIu64 ": %s: %" PRId64 ", %s %s", reader->number, soak_path(file), offset, what, n,
		  smmap_strerror(n < 0 ? (int)n : 0), said);
}

static void compare(const struct reader *reader, const char *what, unsigned file, uint64_t offset, const void *data, size_t n)
{
	if (memcmp(data, soak_bytes(file, offset), n) != 0)
		lose(reader, SOAK_BYTES, what, file, offset, 0);
	soak_keep(SOAK_BYTES);
	atomic_fetch_add_explicit(&soak->n_bytes, n, memory_order_relaxed);
}

/* ---- steady files ---- */

static void use_somewhere(struct reader *reader, unsigned turn)
{
	unsigned file = (unsigned)soak_random(SOAK_STEADY);
	struct smmap_cursor *cursor = reader->cursors[file], **place = &reader->standing[turn % STANDING];
	uint64_t offset = soak_random(SOAK_SIZE);
	size_t size = (size_t)(1 + soak_random(SOAK_WINDOW));
	ssize_t n;

	/* What it stood on all the while is still what it was. */
	for (unsigned i = 0; i < SOAK_STEADY; i++)
		if (smmap_cursor_is_valid(*place) && *place == reader->cursors[i])
			compare(reader, "a wrong byte where it stood", i, smmap_cursor_begin(*place), smmap_cursor_data(*place),
				smmap_cursor_size(*place));
	smmap_cursor_unuse(*place);
	*place = cursor;
	n = smmap_cursor_use(cursor, offset, size);
	soak_keep(SOAK_CALLS);
	if (n != (ssize_t)min_u64(size, SOAK_SIZE - offset))
		lose(reader, SOAK_CALLS, "use", file, offset, n);
	else
		compare(reader, "a wrong byte", file, offset, smmap_cursor_data(cursor), (size_t)n);
}

static int open_steady(struct reader *reader, unsigned file)
{
	_cleanup_(close_fdp) int fd = -1;

	if (file % 2)
		return smmap_cursor_open(&reader->cursors[file], reader->client, soak_path(file), 0);
	fd = open(soak_path(file), O_RDONLY | O_CLOEXEC);
	return smmap_cursor_open_fd(&reader->cursors[file], reader->client, fd, 0);
}

/* ---- files that change ---- */

static void read_changing(struct reader *reader)
{
	unsigned file = SOAK_STEADY + (unsigned)soak_random(SOAK_CHANGING);
	uint64_t offset = soak_random(SOAK_SIZE);
	const unsigned char *expected = soak_bytes(file, offset);
	struct smmap_cursor *cursor;
	unsigned char to[8192] = {0};
	ssize_t n;

	n = smmap_cursor_open(&cursor, reader->client, soak_path(file), 0);
	if (!n) {
		n = smmap_cursor_read(cursor, to, min_u64(sizeof(to), SOAK_SIZE - offset), offset);
		smmap_cursor_close(cursor);
	}
	if (n < 0 && n != -ENOENT && n != -ESTALE)
		lose(reader, SOAK_CALLS, "a changing file", file, offset, n);
	soak_keep(SOAK_CALLS);
	for (ssize_t i = 0; i < n; i++)
		if (to[i] && to[i] != expected[i]) {
			lose(reader, SOAK_BYTES, "a wrong byte of a changing file", file, offset, i);
			break;
		}
	if (n > 0)
		soak_keep(SOAK_BYTES);
}

/* ---- */

static void stand_nowhere(struct reader *reader)
{
	for (unsigned i = 0; i < STANDING; i++)
		smmap_cursor_unuse(reader->standing[i]);
}

/* With a connection: it may come to see only now that the server is another one. */
static void rest(struct reader *reader)
{
	struct smmap_stats stats;

	stand_nowhere(reader);
	atomic_store(&soak->rests[reader->number], true);
	while (atomic_load(&soak->rest) && soak_goes_on()) {
		if (smmap_client_stats(reader->client, &stats) == -ENOTCONN) {
			use_somewhere(reader, 0);
			stand_nowhere(reader);
		}
		soak_sleep_ms(5);
	}
	atomic_store(&soak->rests[reader->number], false);
}

static void *work(void *data)
{
	struct reader *reader = data;
	struct smmap_stats stats;
	int r = 0;

	soak_begin_random(1000 + reader->number);
	for (unsigned i = 0; !r && i < SOAK_STEADY; i++)
		r = open_steady(reader, i);
	if (r < 0)
		lose(reader, SOAK_CALLS, "open", 0, 0, r);
	while (!r && soak_goes_on()) {
		uint64_t since = atomic_load(&soak->n_starts);

		for (unsigned i = 0; i < ROUND; i++) {
			if (soak_random(10))
				use_somewhere(reader, i);
			else
				read_changing(reader);
		}
		if (smmap_client_stats(reader->client, &stats) == 0 && !stats.orphans)
			atomic_store(&soak->since[reader->number], since);
		if (atomic_load(&soak->rest))
			rest(reader);
	}
	for (unsigned i = 0; i < SOAK_STEADY; i++)
		smmap_cursor_close(reader->cursors[i]);
	return NULL;
}

int soak_read(unsigned process)
{
	struct smmap_client_options options = {.socket = soak->socket, .name = "honest", .deadline_ms = DEADLINE_MS};
	struct reader readers[SOAK_THREADS];
	struct smmap_client *client;

	/* The server may just be away. */
	while (smmap_client_open(&client, &options) < 0)
		soak_sleep_ms(10);
	for (unsigned i = 0; i < SOAK_THREADS; i++) {
		readers[i] = (struct reader){.number = process * SOAK_THREADS + i, .client = client};
		pthread_create(&readers[i].thread, NULL, work, &readers[i]);
	}
	for (unsigned i = 0; i < SOAK_THREADS; i++)
		pthread_join(readers[i].thread, NULL);
	smmap_client_close(client);
	return 0;
}
