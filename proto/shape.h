/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PROTO_SHAPE_H
#define PROTO_SHAPE_H

/*
 * The shape of a msgpack object, checked before anything is allocated for it: only numbers without sign, strings, binary and
 * arrays, each whole, and no array that claims more elements than there are bytes left.
 */

#include <stddef.h>

/* The length of the object at the start of @bytes, or -EBADMSG. */
int shape_check(const void *bytes, size_t n_bytes);

#endif
