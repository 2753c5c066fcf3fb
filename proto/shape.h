/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PROTO_SHAPE_H
#define PROTO_SHAPE_H

/*
 * The shape of a msgpack object, checked before anything is allocated for it: only numbers without sign, strings, binary and
 * arrays, each whole, no array that claims more elements than there are bytes left, no array deeper in others than a message has,
 * and no more objects in all: of the single bytes of a packet msgpack-c makes as many objects of 24 bytes.
 */

#include "proto/message.h"

#include <stddef.h>

/* A message is an array, with an array of slots, each an array of two numbers. */
#define SHAPE_MAX_DEPTH 3

/* The longest list, where each slot is three objects, and all other fields. */
#define SHAPE_MAX_OBJECTS (MESSAGE_MAX_SLOTS * 3 + 256)

/* The length of the object at the start of @bytes, or -EBADMSG. */
int shape_check(const void *bytes, size_t n_bytes);

#endif
