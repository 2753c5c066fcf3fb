/* SPDX-License-Identifier: BSD-3-Clause */
/* Cursors: their life, where they stand, and what is asked of them. How one gets to a place is in move.c, copying in read.c. */
#include "config.h"

#include "client/cursor.h"

#include "client/file.h"
#include "proto/util.h"

#include <limits.h>
#include <sys/mman.h>

/* ---- life ---- */

int cursor_check(const struct smmap_cursor *cursor)
{
	return cursor ? client_check(cursor->client) : -EINVAL;
}

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
		.ahead = from->ahead,
		.connection = from->connection,
		.id = from->id,
		.place = from->place,
		.blanked = from->blanked,
		.doubts = from->doubts,
	};
	client_add_tally(cursor->client, &cursor->tally);
	if (cursor->file)
		file_ref(cursor->file);
	if (cursor->connection) {
		connection_ref(cursor->connection);
		connection_pin_again(cursor->connection, &cursor->place);
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
	return cursor->connection && connection_is_blanked(cursor->connection, &cursor->place);
}

/* Ends the pin. Where the cursor stood: its reference, the caller's now; NULL nowhere. */
static struct connection *leave(struct smmap_cursor *cursor)
{
	if (!cursor->connection)
		return NULL;
	cursor->blanked = cursor->blanked || cursor_is_blanked(cursor);
	connection_unpin(cursor->connection, &cursor->place);
	cursor->head = (struct smmap_cursor_head){0};
	return take_ptr(cursor->connection);
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

/* Whether a range is inside of the lease where the cursor stands. A size of 0 asks for what the lease has. */
static bool stays(const struct smmap_cursor *cursor, uint64_t offset, size_t size)
{
	const struct place *place = &cursor->place;

	return cursor->connection && offset >= place->begin && offset < place->end && size <= place->end - offset &&
	       !connection_is_stale(cursor->connection, place);
}

static ssize_t stand(struct smmap_cursor *cursor, uint64_t offset, size_t size)
{
	const struct place *place = &cursor->place;

	cursor->head = (struct smmap_cursor_head){
		.data = place->data + (offset - place->begin),
		.size = size,
		.begin = offset,
		.lease_data = place->data,
		.lease_begin = place->begin,
		.lease_size = place->end - place->begin,
		.watch = connection_watch(cursor->connection, place),
		.generation = place->generation,
	};
	return (ssize_t)size;
}

ssize_t(smmap_cursor_use)(struct smmap_cursor *cursor, uint64_t offset, size_t size)
{
	struct connection *from;
	ssize_t n;
	int r;

	r = cursor_check(cursor);
	if (r < 0)
		return r;
	if (!cursor->file || offset > INT64_MAX || size > SSIZE_MAX || size > INT64_MAX - offset) {
		smmap_cursor_unuse(cursor);
		return -EINVAL;
	}
	if (stays(cursor, offset, size))
		return stand(cursor, offset, size ? size : (size_t)min_u64(cursor->place.end - offset, SSIZE_MAX));

	from = leave(cursor);
	r = tell_blanked(cursor);
	if (r < 0) {
		connection_unref(from);
		return r;
	}
	n = cursor_move(cursor, from, offset, size);
	return n > 0 ? stand(cursor, offset, (size_t)n) : n;
}

void smmap_cursor_unuse(struct smmap_cursor *cursor)
{
	if (cursor_check(cursor) == 0)
		connection_unref(leave(cursor));
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
	if (advice != SMMAP_ADVISE_WILLNEED)
		cursor->pattern = advice;
	if (!cursor->connection)
		return 0;

	begin = round_down(cursor->head.begin, page_size());
	if (madvise((void *)(uintptr_t)(cursor->place.data + (begin - cursor->place.begin)),
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
		.data = cursor->place.data,
		.offset = cursor->place.begin,
		.size = cursor->place.end - cursor->place.begin,
	};
	return 0;
}
