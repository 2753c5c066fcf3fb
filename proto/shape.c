/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "proto/shape.h"

#include "proto/util.h"

#include <limits.h>

/* What an object's first byte says of it. */
struct shape {
	size_t n_size; /* bytes of a size or number that follow */
	size_t n_body; /* bytes after that, if the first byte says it */
	size_t n_elements;
	bool size_is_body;     /* those bytes tell the length of a body */
	bool size_is_elements; /* they tell the number of elements */
};

/* False for the kinds that no message has. The first bytes are those of the msgpack specification. */
static bool shape_of(uint8_t first, struct shape *shape)
{
	*shape = (struct shape){0};

	if (first <= 0x7f)
		return true;
	if (first >= 0x90 && first <= 0x9f) {
		shape->n_elements = first & 0x0f;
		return true;
	}
	if (first >= 0xa0 && first <= 0xbf) {
		shape->n_body = first & 0x1f;
		return true;
	}

	switch (first) {
	case 0xc4: /* bin 8, 16, 32 */
	case 0xc5:
	case 0xc6:
		shape->n_size = (size_t)1 << (first - 0xc4);
		shape->size_is_body = true;
		return true;
	case 0xcc: /* uint 8, 16, 32, 64 */
	case 0xcd:
	case 0xce:
	case 0xcf:
		shape->n_size = (size_t)1 << (first - 0xcc);
		return true;
	case 0xd9: /* str 8, 16, 32 */
	case 0xda:
	case 0xdb:
		shape->n_size = (size_t)1 << (first - 0xd9);
		shape->size_is_body = true;
		return true;
	case 0xdc: /* array 16, 32 */
	case 0xdd:
		shape->n_size = (size_t)2 << (first - 0xdc);
		shape->size_is_elements = true;
		return true;
	}
	return false;
}

static uint64_t big_endian(const uint8_t *bytes, size_t n)
{
	uint64_t value = 0;

	for (size_t i = 0; i < n; i++)
		value = value << 8 | bytes[i];
	return value;
}

int shape_check(const void *bytes, size_t n_bytes)
{
	const uint8_t *input = bytes;
	uint64_t wanted[SHAPE_MAX_DEPTH + 1] = {1}; /* objects that have to follow, in each array that is open */
	uint64_t sum = 1;                           /* of these: never more than the bytes left */
	size_t at = 0, depth = 0, n_objects = 0;

	if (n_bytes > INT_MAX)
		return -EBADMSG;

	while (sum) {
		struct shape shape;
		uint64_t number, body, elements;

		if (at == n_bytes || !shape_of(input[at++], &shape) || shape.n_size > n_bytes - at)
			return -EBADMSG;
		if (++n_objects > SHAPE_MAX_OBJECTS)
			return -EBADMSG;
		number = big_endian(input + at, shape.n_size);
		at += shape.n_size;

		body = shape.size_is_body ? number : shape.n_body;
		if (body > n_bytes - at)
			return -EBADMSG;
		at += (size_t)body;

		elements = shape.size_is_elements ? number : shape.n_elements;
		sum += elements - 1;
		if (sum > n_bytes - at)
			return -EBADMSG;

		wanted[depth]--;
		if (elements) {
			if (depth == SHAPE_MAX_DEPTH)
				return -EBADMSG;
			wanted[++depth] = elements;
		}
		while (depth && !wanted[depth])
			depth--;
	}
	return (int)at;
}
