/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How a cursor gets to a place where it can't just come back to: by a lease that the client has after all, or by asking the server for one.
 *
 * The size of the file that is known here may be of yesterday. Whatever is asked beyond it is asked of the server.
 */
#include "config.h"

#include "client/cursor.h"

#include "client/call.h"
#include "client/connection.h"
#include "client/file.h"
#include "proto/util.h"

#include <limits.h>

/* What a use within one window leases with windows ahead, at most: so much, and such a part of all that the client may have mapped. */
#define RUN_MAX_BYTES   (UINT64_C(16) << 20)
#define RUN_MAX_WINDOWS 64
#define RUN_SHARE       16

/* A move under way. */
struct move {
	struct smmap_cursor *cursor;
	struct connection *connection; /* a reference */
	uint64_t file;                 /* its id there */
	uint64_t deadline_ms;          /* 0 as long as nobody asked: a hit needs no clock */
	bool is_late;                  /* the deadline has passed: this is the last attempt */
	uint32_t wish;                 /* windows to ask for ahead, as far as that is not too much */
	int *fd;                       /* where the descriptor of a new lease goes; NULL if any lease will do */
	struct place place;            /* when it is there: pinned */
};

enum { MOVE_AGAIN = 1 }; /* what is known has changed: look again */

static uint64_t deadline(struct move *move)
{
	if (!move->deadline_ms)
		move->deadline_ms = client_deadline(move->cursor->client);
	return move->deadline_ms;
}

static uint32_t remaining_ms(struct move *move)
{
	uint64_t until_ms = deadline(move), now_ms = clock_ms();

	return (uint32_t)(until_ms > now_ms ? until_ms - now_ms : 0);
}

/* Looks again as long as there is time, and once more in any case: then the server says what is in the way. */
static int look_again(struct move *move)
{
	if (move->is_late)
		return -ETIMEDOUT;
	move->is_late = !remaining_ms(move);
	return MOVE_AGAIN;
}

/* How much a lease on the range, and so many windows more, will have mapped, by what the file is known to have: nothing past its end. */
static uint64_t expected_bytes(const struct move *move, uint64_t offset, uint64_t length, uint64_t ahead)
{
	uint64_t window_bytes = move->connection->server.window_bytes, known = atomic_load(&move->cursor->file->size);
	uint64_t end = min_u64(round_up(offset + length, window_bytes) + ahead * window_bytes, round_up(known, page_size()));

	return offset < known ? end - round_down(offset, window_bytes) : 0;
}

/* How many windows to ask for ahead. */
static uint32_t choose_ahead(const struct move *move)
{
	uint64_t bytes = min_u64(RUN_MAX_BYTES, connection_most_mapped(move->connection) / RUN_SHARE);
	uint64_t windows = min_u64(RUN_MAX_WINDOWS, bytes / move->connection->server.window_bytes);

	return windows ? (uint32_t)min_u64(move->wish, windows - 1) : 0;
}

/* Asks for a lease. 0 and a place, which has no data past the end of the file; MOVE_AGAIN; or an error. */
static int ask_lease(struct move *move, uint64_t offset, uint64_t length)
{
	struct file *file = move->cursor->file;
	uint64_t window_bytes = move->connection->server.window_bytes;
	uint32_t ahead = choose_ahead(move);
	struct message request = {
		.type = MESSAGE_LEASE,
		.lease =
			{
				.file = move->file,
				.offset = offset,
				.length = length,
				.deadline_ms = remaining_ms(move),
				.ahead = ahead,
			},
	};
	struct call call = {
		.descriptor = move->fd,
		.expected_bytes = expected_bytes(move, offset, length, 0),
		.most_bytes = expected_bytes(move, offset, length, ahead),
	};
	int r;

	r = call_run(&call, move->connection, &request, -1, deadline(move));
	/* Of address space there may be enough for less. */
	if (r == -ENOMEM && call.got_ahead) {
		move->wish = 0;
		return MOVE_AGAIN;
	}
	/* A server that is gone may be back, and knows nothing. */
	if (r == -ENOTCONN && remaining_ms(move))
		return MOVE_AGAIN;
	if (r < 0)
		return r;
	if (call.answer.type == MESSAGE_REOPEN) {
		file_detach(file, move->connection, move->file);
		return look_again(move);
	}

	atomic_store(&file->size, call.answer.leased.file_size);
	move->cursor->doubts = false;
	if (call.address)
		move->cursor->run = (uint32_t)(round_up(call.answer.leased.length, window_bytes) / window_bytes);
	move->place = (struct place){
		.slot = call.answer.leased.lease.slot,
		.generation = call.answer.leased.lease.generation,
		.data = call.address,
		.begin = call.answer.leased.offset,
		.end = call.answer.leased.offset + call.answer.leased.length,
	};
	return 0;
}

/* Whether the file still ends where it is known to: MOVE_AGAIN if not, 0 if so; or an error. */
static int probe_end(struct move *move, uint64_t known)
{
	struct move probe;
	int r;

	deadline(move);
	probe = *move;
	probe.place = (struct place){0};
	probe.wish = 0;
	r = ask_lease(&probe, known, 1);
	move->is_late = probe.is_late;
	if (r)
		return r;
	if (probe.place.data)
		connection_unpin(move->connection, probe.place.slot);
	return atomic_load(&move->cursor->file->size) == known ? 0 : look_again(move);
}

/* Pins the lease that has the range, up to the @known end of the file; false if there is none. */
static bool find(struct move *move, uint64_t offset, uint64_t end, uint64_t known)
{
	bool whole = move->cursor->whole;

	return connection_find(move->connection, move->file, whole ? 0 : offset, whole ? known : min_u64(end, known), &move->place);
}

/* By a lease that is there: then *@hit is set. 0, MOVE_AGAIN, or an error. */
static int move_by_hit(struct move *move, uint64_t offset, size_t size, bool *hit)
{
	uint64_t known = atomic_load(&move->cursor->file->size);
	uint64_t end = size ? offset + size : offset + 1;
	int r;

	*hit = offset < known && find(move, offset, end, known);
	if (*hit && end > known) {
		/* To ask may be to wait for room, and nothing is held meanwhile. */
		connection_unpin(move->connection, move->place.slot);
		r = probe_end(move, known);
		if (r)
			return r;
		*hit = find(move, offset, end, known);
	}
	if (*hit)
		cursor_count_hit(move->cursor);
	return 0;
}

static int move_by_miss(struct move *move, uint64_t offset, size_t size)
{
	struct smmap_cursor *cursor = move->cursor;
	uint64_t known = atomic_load(&cursor->file->size);
	int r;

	move->place = (struct place){0};
	atomic_fetch_add_explicit(&cursor->client->misses, 1, memory_order_relaxed);
	if (!cursor->whole || move->fd)
		return ask_lease(move, offset, size ? size : 1);

	move->wish = 0;
	r = offset < known ? ask_lease(move, 0, INT64_MAX) : probe_end(move, known);
	/* Too much for the server's limits, or for the address space of this process. */
	if (r == -EFBIG || r == -EDQUOT || r == -ENOMEM) {
		cursor->whole = false;
		return MOVE_AGAIN;
	}
	return r;
}

/* One attempt, on the connection that there is now. */
static int try_move(struct move *move, uint64_t offset, size_t size)
{
	struct file *file = move->cursor->file;
	bool hit = false;
	int r = 0;

	if (!file_is_attached(file, &move->connection, &move->file))
		r = file_attach(file, deadline(move), &move->connection, &move->file);
	if (r < 0)
		return r;
	if (!move->fd && !move->cursor->doubts)
		r = move_by_hit(move, offset, size, &hit);
	if (!r && !hit)
		r = move_by_miss(move, offset, size);
	/* It may have been granted for a file that was shorter, or is by now. */
	if (!r && move->place.data && (offset < move->place.begin || offset >= move->place.end)) {
		connection_unpin(move->connection, move->place.slot);
		r = look_again(move);
	}
	if (r || !move->place.data)
		connection_unref(move->connection);
	return r;
}

/* Whether a range reaches past the end of the lease where the cursor stood last, and leaves nothing out. */
static bool goes_on(const struct smmap_cursor *cursor, uint64_t offset, size_t size)
{
	return cursor->last_end && offset <= cursor->last_end && offset + size + !size > cursor->last_end;
}

/* Who runs forward wishes for twice as much with each miss, as the kernel reads ahead; who said how he reads, for all or nothing. */
static uint32_t wish_ahead(const struct smmap_cursor *cursor, uint64_t offset, size_t size)
{
	switch (cursor->pattern) {
	case SMMAP_ADVISE_SEQUENTIAL:
		return UINT32_MAX;
	case SMMAP_ADVISE_RANDOM:
		return 0;
	default:
		return cursor->run && goes_on(cursor, offset, size) ? 2 * cursor->run - 1 : 0;
	}
}

ssize_t cursor_move(struct smmap_cursor *cursor, uint64_t offset, size_t size, int *fd)
{
	struct move move = {.cursor = cursor, .wish = fd ? 0 : wish_ahead(cursor, offset, size), .fd = fd};
	int r;

	do
		r = try_move(&move, offset, size);
	while (r == MOVE_AGAIN);
	if (r < 0 || !move.place.data)
		return r;

	cursor->id = move.file;
	return cursor_stand(cursor, move.connection, &move.place, offset, size);
}
