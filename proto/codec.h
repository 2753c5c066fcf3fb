/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PROTO_CODEC_H
#define PROTO_CODEC_H

/*
 * From a struct to a msgpack array and back, by a table of its fields. The same table names the fields, so that what prints a
 * struct needs no other.
 *
 * msgpack-c allocates what an array claims to hold before it looks whether that many bytes follow, so the shape of every input is
 * checked first: one whole array, and no claim that the bytes behind it can't meet.
 */

#include <stddef.h>
#include <stdint.h>

enum field_kind {
	FIELD_U32,
	FIELD_U64,
	FIELD_TEXT,  /* struct text, at most MESSAGE_MAX_TEXT bytes; a msgpack string */
	FIELD_BYTES, /* struct text of any length; msgpack binary */
	FIELD_SLOT,  /* struct slot_ref; an array of two numbers */
	FIELD_SLOTS, /* struct slot_list; an array of such arrays */
};

struct field {
	const char *name;
	enum field_kind kind;
	size_t offset;
};

struct layout {
	const struct field *fields;
	size_t n_fields;
};

/* The layout of a table of fields. */
#define LAYOUT(table)                                                             \
	{                                                                         \
		.fields = (table), .n_fields = sizeof(table) / sizeof((table)[0]) \
	}

/* Encodes @object into @bytes, which has room for @size. The length; -EMSGSIZE if there is no room, or a text is too long. */
int codec_encode(const struct layout *layout, const void *object, void *bytes, size_t size);

/*
 * Decodes the array at the start of @bytes into @object; texts point into @bytes. Returns the length of the array; -EBADMSG if it is
 * malformed or not of this layout; -ENOMEM.
 */
int codec_decode(const struct layout *layout, void *object, const void *bytes, size_t n_bytes);

#endif
