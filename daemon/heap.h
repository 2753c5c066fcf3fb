/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_HEAP_H
#define DAEMON_HEAP_H

/*
 * How much of the server's own heap is allocated: what grows for ever is a leak.
 *
 * malloc(3) adds that up by looking at each free piece, of which clients can leave many. So the figure is of this moment where
 * there are few, and else of this second.
 */

#include <stdint.h>

struct heap {
	uint64_t bytes;
	uint64_t pieces; /* that were free then */
	uint64_t measured_ms;
};

/*
 * The bytes that are allocated, with what malloc(3) needs for them. 0 where another allocator is in its place. All is zero at
 * first.
 */
uint64_t heap_measure(struct heap *heap, uint64_t now_ms);

#endif
