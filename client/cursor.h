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
	uint32_t ahead;                /* windows that it asked for ahead in its run: none unless it runs forward */

	struct connection *connection; /* where it stands: a reference; NULL nowhere */
	uint64_t id;                   /* the file's there */
	struct place place;            /* the lease; nowhere the last one */
	bool blanked;                  /* what it stood on was, and the next call has to say so */
	bool doubts;                   /* what is known of the file: the next move asks the server */
};

/* Whether what was read where it stands may have been zeros that the guard put there. */
bool cursor_is_blanked(const struct smmap_cursor *cursor);

/* Lets go of where it stands. 0; -ESTALE, once, if what was read there may have been such zeros: then the next move asks the server. */
int cursor_let_go(struct smmap_cursor *cursor);

/* -EINVAL, or -ECHILD after a fork. */
int cursor_check(const struct smmap_cursor *cursor);

/*
 * Moves the cursor to a lease that has the range from @offset on, as much of @size bytes as the file has, with a size of 0 as much as the
 * lease has. The number of bytes from @offset, at most SSIZE_MAX; 0 past the end; or an error. It stands nowhere before. @from is the
 * connection on which it stood until now, with a reference that is taken over, or NULL.
 */
ssize_t cursor_move(struct smmap_cursor *cursor, struct connection *from, uint64_t offset, size_t size);

/*
 * The same, by a lease that the server is asked for in any case. The descriptor that comes with it is stored in *@fd, the caller's to
 * close.
 */
ssize_t cursor_move_anew(struct smmap_cursor *cursor, uint64_t offset, size_t size, int *fd);

#endif
