/* SPDX-License-Identifier: BSD-3-Clause */
/* Buffers: a cursor dressed as a byte string, with the indexes of Python. */
#include "config.h"

#include "client/cursor.h"
#include "proto/util.h"

#include <limits.h>

struct smmap_buffer {
	struct smmap_cursor *cursor; /* borrowed */
	uint64_t offset;             /* of index 0 in the file */
	int64_t length;
};

int smmap_buffer_open(struct smmap_buffer **buffer, struct smmap_cursor *cursor, uint64_t offset, uint64_t size)
{
	_cleanup_(freep) struct smmap_buffer *new = NULL;
	int r;

	if (!buffer || !cursor)
		return -EINVAL;
	new = calloc(1, sizeof(*new));
	if (!new)
		return -ENOMEM;
	new->cursor = cursor;
	r = smmap_buffer_begin(new, offset, size);
	if (r < 0)
		return r;
	*buffer = take_ptr(new);
	return 0;
}

int smmap_buffer_begin(struct smmap_buffer *buffer, uint64_t offset, uint64_t size)
{
	uint64_t file_size;
	ssize_t n;

	if (!buffer)
		return -EINVAL;
	smmap_buffer_end(buffer);

	/* Past the end that is known here the server is asked, which tells the size now. */
	file_size = smmap_cursor_file_size(buffer->cursor);
	if (offset > file_size || size > file_size - offset) {
		n = smmap_cursor_use(buffer->cursor, max_u64(offset, file_size), 1);
		if (n < 0)
			return (int)n;
	}
	/* Whether the file can be read there. */
	n = smmap_cursor_use(buffer->cursor, offset, size ? 1 : 0);
	if (n < 0)
		return (int)n;
	file_size = smmap_cursor_file_size(buffer->cursor);
	buffer->offset = offset;
	buffer->length = (int64_t)min_u64(size, offset < file_size ? file_size - offset : 0);
	return 0;
}

void smmap_buffer_end(struct smmap_buffer *buffer)
{
	if (!buffer)
		return;
	smmap_cursor_unuse(buffer->cursor);
	buffer->offset = 0;
	buffer->length = 0;
}

void smmap_buffer_close(struct smmap_buffer *buffer)
{
	smmap_buffer_end(buffer);
	free(buffer);
}

int64_t smmap_buffer_length(const struct smmap_buffer *buffer)
{
	return buffer ? buffer->length : 0;
}

/* An index from the start, from one that may count from the end; clipped to the length. */
static int64_t clip(const struct smmap_buffer *buffer, int64_t index)
{
	if (index < 0)
		index = index < -buffer->length ? 0 : index + buffer->length;
	return index < buffer->length ? index : buffer->length;
}

/* The range of a slice: its place in the file, and its length, or -EFBIG if no pointer or result can have that. */
static ssize_t slice_of(const struct smmap_buffer *buffer, int64_t from, int64_t until, uint64_t *offset)
{
	int64_t begin = clip(buffer, from), end = clip(buffer, until);

	*offset = buffer->offset + (uint64_t)begin;
	if (end <= begin)
		return 0;
	return end - begin > SSIZE_MAX ? -EFBIG : (ssize_t)(end - begin);
}

int smmap_buffer_at(struct smmap_buffer *buffer, int64_t index)
{
	const volatile unsigned char *data;
	uint64_t offset;
	int byte;
	ssize_t n;

	if (!buffer)
		return -EINVAL;
	if (index < -buffer->length || index >= buffer->length)
		return -ERANGE;
	offset = buffer->offset + (uint64_t)clip(buffer, index);
	n = smmap_cursor_use(buffer->cursor, offset, 1);
	if (n <= 0)
		return n < 0 ? (int)n : -ESTALE;
	data = smmap_cursor_data(buffer->cursor);
	byte = *data;
	return cursor_is_blanked(buffer->cursor) ? cursor_let_go(buffer->cursor) : byte;
}

ssize_t smmap_buffer_read(struct smmap_buffer *buffer, void *to, int64_t from, int64_t until)
{
	uint64_t offset;
	ssize_t length, n;

	if (!buffer)
		return -EINVAL;
	length = slice_of(buffer, from, until, &offset);
	if (length <= 0)
		return length;
	n = smmap_cursor_read(buffer->cursor, to, (size_t)length, offset);
	return n >= 0 && n < length ? -ESTALE : n;
}

ssize_t smmap_buffer_slice(struct smmap_buffer *buffer, int64_t from, int64_t until, const void **data)
{
	uint64_t offset;
	ssize_t length, n;

	if (!buffer || !data)
		return -EINVAL;
	*data = NULL;
	length = slice_of(buffer, from, until, &offset);
	if (length <= 0)
		return length;
	n = smmap_cursor_use(buffer->cursor, offset, (size_t)length);
	if (n < 0 || n < length)
		return n < 0 ? n : -ESTALE;
	*data = smmap_cursor_data(buffer->cursor);
	return length;
}
