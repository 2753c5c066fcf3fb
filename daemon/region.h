/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_REGION_H
#define DAEMON_REGION_H

/*
 * A region: one window of one file, that the server has mapped. It outlives its leases, until it is evicted.
 *
 * Its states:
 *   coming    counted, and not mapped yet: the client that it was granted to has to unmap something else first
 *   live      in the order of use, and found by its window
 *   draining  evicted, all its leases claimed, and still counted: clients have it mapped. Asked for again, it is live again
 *   detached  the file no longer reaches it; nobody finds it any more, and it goes with its last lease
 *
 * The server's own map is never touched: it is what is counted, and what /proc shows.
 */

#include "daemon/order.h"
#include "proto/hash.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct file;
struct hold;
struct registry;
struct share;

struct region {
	struct file *file;
	uint64_t window;      /* its number in the grid */
	uint64_t length;      /* in bytes, whole pages: what it counts for */
	void *address;        /* of the server's map */
	uint64_t mapped;      /* the length of that, at most the region's */
	struct share *shares; /* who leases it */
	uint64_t census;      /* the last one that found it pinned */
	bool coming;
	bool draining;
	bool late; /* draining, and a client is late to unmap it */
	bool detached;

	struct order_entry use;     /* registry->order, unless draining */
	struct region *prev, *next; /* file->detached, if it is */
	UT_hash_handle by_window;   /* file->regions, unless detached */
};

struct region *region_find(const struct file *file, uint64_t window);

/* Adds a window that is not there, used just now and not mapped yet, and counts it. 0 or -ENOMEM. */
int region_add(struct region **region, struct registry *registry, struct file *file, uint64_t window);

/* Counts that it is @length bytes now, since its file has grown. */
void region_grow(struct registry *registry, struct region *region, uint64_t length);

/*
 * Maps what is missing of the regions of @n holds, which are neighbours: a run of them in one piece. 0, or -errno of mmap(2) or mremap(2);
 * what was mapped until then stays.
 */
int region_map_missing(const struct registry *registry, const struct hold *holds, uint64_t n);

/* The region whose last known use is the oldest; see order_oldest(). */
struct region *region_oldest(struct registry *registry, uint64_t *moves);

/* Whether a cursor stands on it, as far as the boards tell. */
bool region_is_pinned(const struct region *region);

/* How many leases are on it: so much work it is to look at it. */
uint64_t region_count_leases(const struct region *region);

/* Its last use, as far as the boards tell. */
uint64_t region_last_used(const struct registry *registry, const struct region *region);

/* Notes a use, and moves the region to where it belongs now: behind all that were used no later. */
void region_touch(struct registry *registry, struct region *region, uint64_t use);

/* Claims all leases on it and lets go of it, at once or when they are unmapped. False if it is pinned. */
bool region_evict(struct registry *registry, struct region *region);

/* A client is late to unmap a lease on it. */
void region_be_late(struct registry *registry, struct region *region);

/* Makes a draining region live again, used just now. */
void region_revive(struct registry *registry, struct region *region);

/*
 * The file has become shorter: marks the leases stale that reach past its end, and detaches a region of which that is true, to let go
 * of it as soon as they end. Of a region that is detached, recalls what was pinned then and is idle now.
 */
void region_cut(struct registry *registry, struct region *region);

/* A lease on it has ended: lets go of it if that is what it was waiting for. */
void region_settle(struct registry *registry, struct region *region);

#endif
