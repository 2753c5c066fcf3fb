/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/heap.h"

#include <malloc.h>

/* Free pieces that take no longer to look at than a small part of a millisecond. */
#define FEW_PIECES 4096

#define SECOND_MS 1000

uint64_t heap_measure(struct heap *heap, uint64_t now_ms)
{
	struct mallinfo2 info;

	if (heap->pieces > FEW_PIECES && now_ms - heap->measured_ms < SECOND_MS)
		return heap->bytes;
	info = mallinfo2();
	*heap = (struct heap){
		.bytes = info.uordblks + info.hblkhd,
		.pieces = info.ordblks + info.smblks,
		.measured_ms = now_ms,
	};
	return heap->bytes;
}
