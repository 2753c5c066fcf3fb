/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_REGION_H
#define DAEMON_REGION_H

/*
 * A region: one window of one file, that the server has mapped. It outlives its leases, until it is evicted.
 *
 * Its states:
 *   live      in the order of use, and found by its window
 *   draining  evicted, all its leases claimed, and still counted: clients have it mapped. Asked for again, it is live again
 *   detached  the file no longer reaches it; nobody finds it any more, and it goes with its last lease
 *
 * The server's own map is never touched: it is what is counted, and what /proc shows.
 */

#include "proto/hash.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct client;
struct file;
struct hold;
struct registry;

struct region {
	struct file *file;
	uint64_t window;    /* its number in the grid */
	void *address;      /* of the server's map */
	uint64_t length;    /* in bytes, whole pages */
	uint64_t last_used; /* the last known use */
	struct hold *holds; /* the leases on it */
	uint32_t n_holds;
	uint32_t n_named; /* scratch of room.c; otherwise 0 */
	bool draining;
	bool detached;

	struct region *prev, *next; /* registry->oldest, unless draining */
	UT_hash_handle by_window;   /* file->regions, unless detached */
};

struct region *region_find(const struct file *file, uint64_t window);

/*
 * Maps @n windows from @first on, none of which is there, in one piece, as regions used just now. 0, or -errno of mmap(2), with
 * nothing done.
 */
int region_map_run(struct registry *registry, struct file *file, uint64_t first, uint64_t n);

/* Extends a region to @length bytes, since its file has grown. 0 or -errno of mremap(2). */
int region_extend(struct registry *registry, struct region *region, uint64_t length);

/* Whether a cursor stands on it, as far as the boards tell. */
bool region_is_pinned(const struct region *region);

/* Its last use, as far as the boards tell. */
uint64_t region_last_used(const struct registry *registry, const struct region *region);

/* Notes a use, and moves the region to where that belongs in the order. */
void region_touch(struct registry *registry, struct region *region, uint64_t use);

/* Claims all leases on it and lets go of it, at once or when they are unmapped. False if it is pinned. */
bool region_evict(struct registry *registry, struct region *region);

/* Makes a draining region live again. */
void region_revive(struct registry *registry, struct region *region);

/*
 * The file has become shorter: marks the leases stale that reach past its end, and detaches a region of which that is true, to let go
 * of it as soon as they end.
 */
void region_cut(struct registry *registry, struct region *region);

/* A lease on it has ended: lets go of it if that is what it was waiting for. */
void region_settle(struct registry *registry, struct region *region);

#endif
