/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Cursors: their life, where they stand, how they come back to a lease that the client has, and what is asked of them. All other moves are
 * in move.c, copying in read.c.
 */
#include "config.h"

#include "client/cursor.h"

#include "client/file.h"
#include "proto/util.h"

#include <limits.h>
#include <sys/mman.h>

/* ---- life ---- */

static int cursor_open(struct smmap_cursor **cursor, struct smmap_client *client, const char *path, int fd, uint32_t flags)
{
	_cleanup_(file_unrefp) struct file *file = NULL;
	int r;

	if (!cursor || !client || flags & ~SMMAP_WHOLE_FILE)
		return -EINVAL;
	r = client_check(client);
	if (r < 0)
		return r;
	if (path || fd >= 0) {
		r = file_open(&file, client, path, fd);
		if (r < 0)
			return r;
	}

	*cursor = calloc(1, sizeof(**cursor));
	if (!*cursor)
		return -ENOMEM;
	(*cursor)->client = client_ref(client);
	client_add_tally(client, &(*cursor)->tally);
	(*cursor)->file = take_ptr(file);
	(*cursor)->whole = flags & SMMAP_WHOLE_FILE;
	return 0;
}

int smmap_cursor_open(struct smmap_cursor **cursor, struct smmap_client *client, const char *path, uint32_t flags)
{
	return cursor_open(cursor, client, path, -1, flags);
}

int smmap_cursor_open_fd(struct smmap_cursor **cursor, struct smmap_client *client, int fd, uint32_t flags)
{
	return fd < 0 ? -EBADF : cursor_open(cursor, client, NULL, fd, flags);
}

void smmap_cursor_close(struct smmap_cursor *cursor)
{
	/* In a child the board is not there, and the rest is the parent's: only the memory of the cursor itself can go. */
	if (!cursor)
		return;
	if (cursor_check(cursor) == 0) {
		smmap_cursor_unuse(cursor);
		client_remove_tally(cursor->client, &cursor->tally);
		file_unref(cursor->file);
		client_unref(cursor->client);
	}
	free(cursor);
}

/* Takes over all that @from is, with references and a pin of its own, but not what it has counted. */
static void become(struct smmap_cursor *cursor, const struct smmap_cursor *from)
{
	*cursor = (struct smmap_cursor){
		.head = from->head,
		.client = client_ref(from->client),
		.file = from->file,
		.whole = from->whole,
		.pattern = from->pattern,
		.run = from->run,
		.connection = from->connection,
		.id = from->id,
		.slot = from->slot,
		.last_end = from->last_end,
		.blanked = from->blanked,
		.doubts = from->doubts,
	};
	client_add_tally(cursor->client, &cursor->tally);
	if (cursor->file)
		file_ref(cursor->file);
	if (cursor->connection) {
		connection_ref(cursor->connection);
		connection_pin_again(cursor->connection, cursor->slot);
	}
}

int smmap_cursor_copy(struct smmap_cursor **copy, const struct smmap_cursor *from)
{
	int r;

	if (!copy)
		return -EINVAL;
	r = cursor_check(from);
	if (r < 0)
		return r;
	*copy = calloc(1, sizeof(**copy));
	if (!*copy)
		return -ENOMEM;
	become(*copy, from);
	return 0;
}

int smmap_cursor_assign(struct smmap_cursor *cursor, const struct smmap_cursor *from)
{
	struct smmap_cursor before;
	int r;

	r = cursor_check(cursor);
	if (!r)
		r = cursor_check(from);
	if (r < 0 || cursor == from)
		return r;
	r = cursor_let_go(cursor);
	if (r < 0)
		return r;
	client_remove_tally(cursor->client, &cursor->tally);
	before = *cursor;
	become(cursor, from);
	file_unref(before.file);
	client_unref(before.client);
	return 0;
}

/* ---- where it stands ---- */

bool cursor_is_blanked(const struct smmap_cursor *cursor)
{
	return cursor->connection && connection_is_blanked(cursor->connection, cursor->slot);
}

/*
 * Ends the pin. Where the cursor stood: its reference, the caller's now; NULL nowhere. The head still says where that was: it has to stand
 * elsewhere next, or nowhere.
 */
static inline struct connection *leave(struct smmap_cursor *cursor)
{
	if (!cursor->connection)
		return NULL;
	if (connection_is_blanked(cursor->connection, cursor->slot))
		cursor->blanked = true;
	connection_unpin(cursor->connection, cursor->slot);
	return take_ptr(cursor->connection);
}

/* After it has left: stands nowhere, and gives the reference back. */
static void stand_nowhere(struct smmap_cursor *cursor, struct connection *from)
{
	cursor->last_end = cursor->head.lease_begin + cursor->head.lease_size;
	cursor->head = (struct smmap_cursor_head){0};
	connection_unref(from);
}

/* Whether what it stood on was blanked: -ESTALE, once. */
static int tell_blanked(struct smmap_cursor *cursor)
{
	if (!cursor->blanked)
		return 0;
	cursor->blanked = false;
	cursor->doubts = true;
	return -ESTALE;
}

int cursor_let_go(struct smmap_cursor *cursor)
{
	smmap_cursor_unuse(cursor);
	return tell_blanked(cursor);
}

/* Stays on the lease where it stands, if that has the whole range and is not stale. A size of 0 asks for what the lease has. */
static bool stay(struct smmap_cursor *cursor, uint64_t offset, size_t size)
{
	struct smmap_cursor_head *head = &cursor->head;
	uint64_t ahead = offset - head->lease_begin;

	if (ahead >= head->lease_size || size > head->lease_size - ahead ||
	    board_is_stale(connection_slot(cursor->connection, cursor->slot)))
		return false;
	head->data = head->lease_data + ahead;
	head->size = size ? size : (size_t)min_u64(head->lease_size - ahead, SSIZE_MAX);
	head->begin = offset;
	return true;
}

/*
 * Pins a lease that the client has, in the most frequent case: on the connection where the cursor stood, of what the file is known to have.
 * While that connection lives it is the one that there is, and leases there are found by what the file was called when the cursor came; so
 * nothing is asked of client and file, which have locks. Who doubts stands nowhere, and does not come here.
 */
static bool come_back(const struct smmap_cursor *cursor, struct connection *connection, uint64_t offset, size_t size, struct place *place)
{
	uint64_t end = offset + size + !size;

	return connection && !cursor->whole && !connection_is_dead(connection) &&
	       end <= atomic_load_explicit(&cursor->file->size, memory_order_relaxed) &&
	       connection_glance(connection, cursor->id, offset, end, place);
}

/*
 * All that a move to a lease that the client has needs is inlined: a processor sees ahead of a read that it waits for as far as some hundreds
 * of instructions, so each that a move has less brings the next read forward.
 */
ssize_t(smmap_cursor_use)(struct smmap_cursor *cursor, uint64_t offset, size_t size)
{
	struct connection *from;
	struct place place;
	int r;

	r = cursor_check(cursor);
	if (r < 0)
		return r;
	/* None of them is past 2^63 - 1. */
	if (!cursor->file || (offset | size | (offset + size)) > INT64_MAX || size > SSIZE_MAX) {
		smmap_cursor_unuse(cursor);
		return -EINVAL;
	}
	if (stay(cursor, offset, size))
		return (ssize_t)cursor->head.size;

	from = leave(cursor);
	r = tell_blanked(cursor);
	if (!r && come_back(cursor, from, offset, size, &place)) {
		cursor_count_hit(cursor);
		return cursor_stand(cursor, from, &place, offset, size);
	}
	if (from)
		stand_nowhere(cursor, from);
	return r < 0 ? r : cursor_move(cursor, offset, size, NULL);
}

void smmap_cursor_unuse(struct smmap_cursor *cursor)
{
	if (cursor_check(cursor) == 0 && cursor->connection)
		stand_nowhere(cursor, leave(cursor));
}

int smmap_cursor_advise(struct smmap_cursor *cursor, enum smmap_advice advice)
{
	static const int advices[] = {
		[SMMAP_ADVISE_NORMAL] = MADV_NORMAL,
		[SMMAP_ADVISE_RANDOM] = MADV_RANDOM,
		[SMMAP_ADVISE_SEQUENTIAL] = MADV_SEQUENTIAL,
		[SMMAP_ADVISE_WILLNEED] = MADV_WILLNEED,
	};
	uint64_t begin;
	int r;

	r = cursor_check(cursor);
	if (r < 0)
		return r;
	if ((unsigned)advice >= sizeof(advices) / sizeof(advices[0]))
		return -EINVAL;
	if (advice != SMMAP_ADVISE_WILLNEED) {
		cursor->pattern = advice;
		cursor->run = 0;
	}
	if (!cursor->connection)
		return 0;

	begin = round_down(cursor->head.begin, page_size());
	if (madvise((void *)(uintptr_t)(cursor->head.lease_data + (begin - cursor->head.lease_begin)),
		    (size_t)(cursor->head.begin + cursor->head.size - begin), advices[advice]) < 0)
		return -errno;
	return 0;
}

/* ---- queries ---- */

bool smmap_cursor_is_associated(const struct smmap_cursor *cursor)
{
	return cursor && cursor->file;
}

bool smmap_cursor_is_valid(const struct smmap_cursor *cursor)
{
	return cursor && cursor->connection;
}

const void *(smmap_cursor_data)(const struct smmap_cursor *cursor)
{
	return cursor ? cursor->head.data : NULL;
}

size_t smmap_cursor_size(const struct smmap_cursor *cursor)
{
	return cursor ? cursor->head.size : 0;
}

uint64_t smmap_cursor_begin(const struct smmap_cursor *cursor)
{
	return cursor ? cursor->head.begin : 0;
}

uint64_t smmap_cursor_end(const struct smmap_cursor *cursor)
{
	return cursor ? cursor->head.begin + cursor->head.size : 0;
}

bool smmap_cursor_includes(const struct smmap_cursor *cursor, uint64_t offset)
{
	return offset >= smmap_cursor_begin(cursor) && offset < smmap_cursor_end(cursor);
}

uint64_t smmap_cursor_file_size(const struct smmap_cursor *cursor)
{
	return smmap_cursor_is_associated(cursor) ? atomic_load_explicit(&cursor->file->size, memory_order_relaxed) : 0;
}

const char *smmap_cursor_path(const struct smmap_cursor *cursor)
{
	return smmap_cursor_is_associated(cursor) ? cursor->file->path : NULL;
}

int smmap_cursor_fd(const struct smmap_cursor *cursor)
{
	return smmap_cursor_is_associated(cursor) && cursor->file->caller_fd >= 0 ? cursor->file->caller_fd : -EBADF;
}

int smmap_cursor_region(const struct smmap_cursor *cursor, struct smmap_region *region)
{
	if (!region)
		return -EINVAL;
	*region = (struct smmap_region){0};
	if (!smmap_cursor_is_valid(cursor))
		return -ENODATA;
	*region = (struct smmap_region){
		.data = cursor->head.lease_data,
		.offset = cursor->head.lease_begin,
		.size = cursor->head.lease_size,
	};
	return 0;
}
