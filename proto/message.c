/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "proto/message.h"

#include "proto/codec.h"
#include "proto/util.h"

#include <string.h>

#define FIELD(kind_, member)                                                        \
	{                                                                           \
		.name = #member, .kind = (kind_), .offset = offsetof(struct message, member) \
	}

#define HEAD FIELD(FIELD_U32, type), FIELD(FIELD_U32, serial)

static const struct field hello[] = {HEAD, FIELD(FIELD_U32, hello.version), FIELD(FIELD_TEXT, hello.name)};
static const struct field open[] = {HEAD, FIELD(FIELD_TEXT, open.label), FIELD(FIELD_U32, open.deadline_ms)};
static const struct field lease[] = {
	HEAD,
	FIELD(FIELD_U64, lease.file),
	FIELD(FIELD_U64, lease.offset),
	FIELD(FIELD_U64, lease.length),
	FIELD(FIELD_U32, lease.deadline_ms),
	FIELD(FIELD_U32, lease.ahead),
	FIELD(FIELD_SLOTS, lease.released),
};
static const struct field release[] = {HEAD, FIELD(FIELD_SLOTS, release.slots)};
static const struct field close_[] = {HEAD, FIELD(FIELD_U64, close.file)};
static const struct field drop[] = {HEAD, FIELD(FIELD_TEXT, drop.path)};
static const struct field status[] = {HEAD, FIELD(FIELD_U32, status.section), FIELD(FIELD_U64, status.from)};

static const struct field error[] = {HEAD, FIELD(FIELD_U32, error.error), FIELD(FIELD_TEXT, error.sentence)};
static const struct field welcome[] = {
	HEAD,
	FIELD(FIELD_U32, welcome.version),
	FIELD(FIELD_U32, welcome.n_slots),
	FIELD(FIELD_U64, welcome.window_bytes),
	FIELD(FIELD_U64, welcome.limit_memory_bytes),
	FIELD(FIELD_U64, welcome.limit_handles),
	FIELD(FIELD_U64, welcome.limit_maps),
};
static const struct field opened[] = {HEAD, FIELD(FIELD_U64, opened.file), FIELD(FIELD_U64, opened.size)};
static const struct field leased[] = {
	HEAD,
	FIELD(FIELD_SLOT, leased.lease),
	FIELD(FIELD_U64, leased.offset),
	FIELD(FIELD_U64, leased.length),
	FIELD(FIELD_U64, leased.file_size),
	FIELD(FIELD_SLOTS, leased.victims),
};
static const struct field freed[] = {HEAD, FIELD(FIELD_U64, freed.bytes), FIELD(FIELD_U64, freed.maps)};
static const struct field figures[] = {HEAD, FIELD(FIELD_U64, figures.next), FIELD(FIELD_BYTES, figures.rows)};
static const struct field recall[] = {HEAD, FIELD(FIELD_SLOTS, recall.slots)};
static const struct field head_only[] = {HEAD};

static const struct layout layouts[] = {
	[MESSAGE_HELLO] = LAYOUT(hello),     [MESSAGE_OPEN] = LAYOUT(open),         [MESSAGE_LEASE] = LAYOUT(lease),
	[MESSAGE_RELEASE] = LAYOUT(release), [MESSAGE_CLOSE] = LAYOUT(close_),      [MESSAGE_COLLECT] = LAYOUT(head_only),
	[MESSAGE_DROP] = LAYOUT(drop),       [MESSAGE_STATUS] = LAYOUT(status),     [MESSAGE_ERROR] = LAYOUT(error),
	[MESSAGE_WELCOME] = LAYOUT(welcome), [MESSAGE_OPENED] = LAYOUT(opened),     [MESSAGE_LEASED] = LAYOUT(leased),
	[MESSAGE_REOPEN] = LAYOUT(head_only), [MESSAGE_CLOSED] = LAYOUT(head_only), [MESSAGE_FREED] = LAYOUT(freed),
	[MESSAGE_FIGURES] = LAYOUT(figures), [MESSAGE_RECALL] = LAYOUT(recall),
};

static const struct layout *layout_of(uint32_t type)
{
	if (type >= sizeof(layouts) / sizeof(layouts[0]) || !layouts[type].fields)
		return NULL;
	return &layouts[type];
}

int message_encode(const struct message *message, void *bytes, size_t size)
{
	return codec_encode(layout_of(message->type), message, bytes, size);
}

int message_decode(struct message *message, const void *bytes, size_t n_bytes)
{
	const struct layout *layout;
	int length;

	/* An array of up to 15 elements has a header of one byte, and a type is a number of one byte. */
	if (n_bytes < 2)
		return -EBADMSG;
	layout = layout_of(((const uint8_t *)bytes)[1]);
	if (!layout)
		return -EBADMSG;

	length = codec_decode(layout, message, bytes, n_bytes);
	if (length < 0)
		return length;
	if ((size_t)length != n_bytes || layout_of(message->type) != layout)
		return -EBADMSG;
	return 0;
}

int message_errno(const struct message_error *refusal)
{
	return refusal->error && refusal->error < 4096 ? -(int)refusal->error : -EPROTO;
}

size_t message_descriptors(const struct message *message)
{
	switch (message->type) {
	case MESSAGE_OPEN:
		return 1;
	case MESSAGE_WELCOME:
		return 3;
	case MESSAGE_LEASED:
		return message->leased.length ? 1 : 0;
	default:
		return 0;
	}
}

struct text text_of(const char *string)
{
	return (struct text){.data = string, .length = strlen(string)};
}
