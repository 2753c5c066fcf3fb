/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PROTO_HASH_H
#define PROTO_HASH_H

/*
 * uthash and utlist, set so that a lack of memory is an error to handle: an element that could not be added has hash_added() false,
 * and the hash is as it was.
 */

#define HASH_NONFATAL_OOM 1
#include <uthash.h>
#include <utlist.h>

#define hash_added(element, handle) ((element)->handle.tbl != NULL)

#endif
