/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PROTO_SHAPE_H
#define PROTO_SHAPE_H

/*
 * The shape of a msgpack object, checked before anything is allocated for it: only numbers without sign, strings, binary and
 * arrays, each whole, no array that claims more elements than there are bytes left, and no array deeper in others than a message has.
 */

#include <stddef.h>

/* A message is an array, with an array of slots, each an array of two numbers. */
#define SHAPE_MAX_DEPTH 3

/* The length of the object at the start of @bytes, or -EBADMSG. */
int shape_check(const void *bytes, size_t n_bytes);

#endif
