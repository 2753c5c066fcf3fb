/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "proto/codec.h"

#include "proto/message.h"
#include "proto/shape.h"
#include "proto/util.h"

#include <msgpack.h>
#include <string.h>

/* ---- encoding ---- */

/* Where the packer writes: no allocation. */
struct sink {
	char *bytes;
	size_t size;
	size_t n_bytes;
};

static int sink_write(void *data, const char *bytes, size_t n)
{
	struct sink *sink = data;

	if (n > sink->size - sink->n_bytes)
		return -1;
	if (!n)
		return 0;
	memcpy(sink->bytes + sink->n_bytes, bytes, n);
	sink->n_bytes += n;
	return 0;
}

static int pack_slot(msgpack_packer *packer, const struct slot_ref *ref)
{
	if (msgpack_pack_array(packer, 2) || msgpack_pack_uint32(packer, ref->slot))
		return -1;
	return msgpack_pack_uint32(packer, ref->generation);
}

static int pack_slots(msgpack_packer *packer, const struct slot_list *list)
{
	if (list->n > MESSAGE_MAX_SLOTS || msgpack_pack_array(packer, list->n))
		return -1;
	for (uint32_t i = 0; i < list->n; i++)
		if (pack_slot(packer, &list->refs[i]))
			return -1;
	return 0;
}

static int pack_field(msgpack_packer *packer, const struct field *field, const void *object)
{
	const void *value = (const char *)object + field->offset;
	const struct text *text = value;

	switch (field->kind) {
	case FIELD_U32:
		return msgpack_pack_uint32(packer, *(const uint32_t *)value);
	case FIELD_U64:
		return msgpack_pack_uint64(packer, *(const uint64_t *)value);
	case FIELD_TEXT:
		if (text->length > MESSAGE_MAX_TEXT || msgpack_pack_str(packer, text->length))
			return -1;
		return msgpack_pack_str_body(packer, text->data, text->length);
	case FIELD_BYTES:
		if (text->length > UINT32_MAX || msgpack_pack_bin(packer, text->length))
			return -1;
		return msgpack_pack_bin_body(packer, text->data, text->length);
	case FIELD_SLOT:
		return pack_slot(packer, value);
	case FIELD_SLOTS:
		return pack_slots(packer, value);
	}
	return -1;
}

int codec_encode(const struct layout *layout, const void *object, void *bytes, size_t size)
{
	struct sink sink = {.bytes = bytes, .size = size};
	msgpack_packer packer;

	msgpack_packer_init(&packer, &sink, sink_write);
	if (msgpack_pack_array(&packer, layout->n_fields))
		return -EMSGSIZE;
	for (size_t i = 0; i < layout->n_fields; i++)
		if (pack_field(&packer, &layout->fields[i], object))
			return -EMSGSIZE;
	return (int)sink.n_bytes;
}

/* ---- decoding ---- */

static bool unpack_u32(const msgpack_object *element, uint32_t *value)
{
	if (element->type != MSGPACK_OBJECT_POSITIVE_INTEGER || element->via.u64 > UINT32_MAX)
		return false;
	*value = (uint32_t)element->via.u64;
	return true;
}

static bool unpack_slot(const msgpack_object *element, struct slot_ref *ref)
{
	if (element->type != MSGPACK_OBJECT_ARRAY || element->via.array.size != 2)
		return false;
	return unpack_u32(&element->via.array.ptr[0], &ref->slot) && unpack_u32(&element->via.array.ptr[1], &ref->generation);
}

static bool unpack_slots(const msgpack_object *element, struct slot_list *list)
{
	if (element->type != MSGPACK_OBJECT_ARRAY || element->via.array.size > MESSAGE_MAX_SLOTS)
		return false;
	list->n = element->via.array.size;
	for (uint32_t i = 0; i < list->n; i++)
		if (!unpack_slot(&element->via.array.ptr[i], &list->refs[i]))
			return false;
	return true;
}

/* A text is never NULL, also if it is empty. */
static struct text text_at(const char *data, size_t length)
{
	return (struct text){.data = length ? data : "", .length = length};
}

static bool unpack_field(const msgpack_object *element, const struct field *field, void *object)
{
	void *value = (char *)object + field->offset;

	switch (field->kind) {
	case FIELD_U32:
		return unpack_u32(element, value);
	case FIELD_U64:
		if (element->type != MSGPACK_OBJECT_POSITIVE_INTEGER)
			return false;
		*(uint64_t *)value = element->via.u64;
		return true;
	case FIELD_TEXT:
		if (element->type != MSGPACK_OBJECT_STR || element->via.str.size > MESSAGE_MAX_TEXT)
			return false;
		*(struct text *)value = text_at(element->via.str.ptr, element->via.str.size);
		return true;
	case FIELD_BYTES:
		if (element->type != MSGPACK_OBJECT_BIN)
			return false;
		*(struct text *)value = text_at(element->via.bin.ptr, element->via.bin.size);
		return true;
	case FIELD_SLOT:
		return unpack_slot(element, value);
	case FIELD_SLOTS:
		return unpack_slots(element, value);
	}
	return false;
}

static bool unpack_fields(const msgpack_object *array, const struct layout *layout, void *object)
{
	if (array->type != MSGPACK_OBJECT_ARRAY || array->via.array.size != layout->n_fields)
		return false;
	for (size_t i = 0; i < layout->n_fields; i++)
		if (!unpack_field(&array->via.array.ptr[i], &layout->fields[i], object))
			return false;
	return true;
}

int codec_decode(const struct layout *layout, void *object, const void *bytes, size_t n_bytes)
{
	_cleanup_(msgpack_unpacked_destroy) msgpack_unpacked unpacked = {0};
	msgpack_unpack_return result;
	size_t at = 0;
	int length;

	length = shape_check(bytes, n_bytes);
	if (length < 0)
		return length;

	result = msgpack_unpack_next(&unpacked, bytes, (size_t)length, &at);
	if (result == MSGPACK_UNPACK_NOMEM_ERROR)
		return -ENOMEM;
	if (result != MSGPACK_UNPACK_SUCCESS || at != (size_t)length || !unpack_fields(&unpacked.data, layout, object))
		return -EBADMSG;
	return length;
}
