/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CLIENT_CURSOR_H
#define CLIENT_CURSOR_H

/* A cursor, for the files that make it up. */

#include "client/client.h"
#include "client/connection.h"
#include "client/smmap-client.h"

struct file;

struct smmap_cursor {
	struct smmap_cursor_head head; /* where it stands, as the header has it */
	struct smmap_client *client;   /* a reference */
	struct file *file;             /* a reference; NULL if it is associated with none */
	struct tally tally;
	bool whole;                    /* lease the whole file, as long as that can fit */
	enum smmap_advice pattern;     /* how it said that it reads: NORMAL, RANDOM or SEQUENTIAL */
	uint32_t run;                  /* windows of the lease that it was granted last */

	struct connection *connection; /* where it stands: a reference; NULL nowhere */
	uint64_t id;                   /* the file's there */
	uint32_t slot;                 /* the lease's */
	uint64_t last_end;             /* nowhere: where the lease ended on which it stood before; 0 if there was none */
	bool blanked;                  /* what it stood on was, and the next call has to say so */
	bool doubts;                   /* what is known of the file: the next move asks the server */
};

/* Whether what was read where it stands may have been zeros that the guard put there. */
bool cursor_is_blanked(const struct smmap_cursor *cursor);

/* Lets go of where it stands. 0; -ESTALE, once, if what was read there may have been such zeros: then the next move asks the server. */
int cursor_let_go(struct smmap_cursor *cursor);

/* -EINVAL, or -ECHILD after a fork. */
static inline int cursor_check(const struct smmap_cursor *cursor)
{
	return cursor ? client_check(cursor->client) : -EINVAL;
}

/* A move that needed no server. */
static inline void cursor_count_hit(struct smmap_cursor *cursor)
{
	uint64_t hits = atomic_load_explicit(&cursor->tally.hits, memory_order_relaxed);

	atomic_store_explicit(&cursor->tally.hits, hits + 1, memory_order_relaxed);
}

/*
 * Moves the cursor to a lease that has the range from @offset on, as much of @size bytes as the file has, with a size of 0 as much as the
 * lease has. The number of bytes from @offset, at most SSIZE_MAX; 0 past the end; or an error. It stands nowhere before. With @fd the
 * server is asked for a lease in any case, and the descriptor that comes with it is stored in *@fd, the caller's to close.
 */
ssize_t cursor_move(struct smmap_cursor *cursor, uint64_t offset, size_t size, int *fd);

/*
 * Has it stand on a lease that is pinned for it, with the caller's reference. The number of bytes from @offset: at most SSIZE_MAX, and at most
 * @size, unless that is 0.
 */
static inline ssize_t cursor_stand(struct smmap_cursor *cursor, struct connection *connection, const struct place *place, uint64_t offset,
				   size_t size)
{
	uint64_t there = min_u64(place->end - offset, SSIZE_MAX);

	if (!size || size > there)
		size = (size_t)there;
	cursor->connection = connection;
	cursor->slot = place->slot;
	cursor->head = (struct smmap_cursor_head){
		.data = place->data + (offset - place->begin),
		.size = size,
		.begin = offset,
		.lease_data = place->data,
		.lease_begin = place->begin,
		.lease_size = place->end - place->begin,
		.watch = board_watch(connection_slot(connection, place->slot)),
	};
	return (ssize_t)size;
}

#endif
