/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CLIENT_LEASE_H
#define CLIENT_LEASE_H

/*
 * The leases of a connection: a record for each slot of the board, in an array that is never moved, and a table from windows to the slot of
 * the newest lease on them. The caller holds the connection's lock.
 *
 * Without the lock one can glance at them. Beside the table there is an array of hints, a place in it for many windows, which tells slot and
 * generation of the lease that was last added or found for one of them. What the record of that slot says is true if the generation can be
 * pinned afterwards: it was written before the hint, and is written again only when the generation has ended.
 *
 * A lease leaves the table when the server has taken it back, or when this client has claimed it to trim its own cache. Whoever takes it
 * out unmaps it, and tells the server.
 */

#include "proto/board.h"
#include "proto/message.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct guard;
struct window;

/* Of one cache line. What is atomic can be looked at without the lock. */
struct lease {
	struct slot_ref ref;
	_Alignas(8) _Atomic uint64_t file;
	_Alignas(8) _Atomic uint64_t offset;
	_Alignas(8) _Atomic uint64_t length; /* in bytes; a lease up to the end of the file may end within a page */
	_Atomic(void *) address;
	uint32_t n_windows; /* entries that lead here: without one, nobody will ever come back to it */
	bool mapped;
	struct lease *prev, *next; /* table->superseded */
};

/* Where a cursor can stand. */
struct place {
	uint32_t slot;
	uint32_t generation;
	const char *data;
	uint64_t begin;
	uint64_t end;
};

struct lease_table {
	struct board *board; /* borrowed */
	struct guard *guard; /* NULL without one */
	unsigned window_bits; /* a window has 1 << window_bits bytes */
	struct lease *leases; /* a record for each slot */
	uint32_t n_slots;     /* that were ever used */
	_Atomic uint64_t *hints; /* a generation in the upper half, a slot in the lower one; behind the records */
	uint64_t hints_mask;     /* there are some for each slot, to a power of two */
	uint32_t n_mapped;
	uint64_t mapped_bytes;
	struct window *windows;
	struct lease *superseded; /* leases without a window */
};

/* Leases that were taken out of the table and are still to unmap. */
struct discards {
	struct slot_list slots;
	struct {
		void *address;
		size_t length;
	} maps[MESSAGE_MAX_SLOTS];
};

/* @window_bytes is a power of two. 0 or -ENOMEM. */
int lease_table_init(struct lease_table *table, struct board *board, uint64_t window_bytes);

/* Unmaps all that is left, and releases the guard. */
void lease_table_deinit(struct lease_table *table);

/* The newest lease on the range's first window, if it has the whole range; else NULL. */
struct lease *lease_table_find(struct lease_table *table, uint64_t file, uint64_t begin, uint64_t end);

/* Puts a lease that was just mapped in its record. 0, or -ENOMEM with nothing done. */
int lease_table_add(struct lease_table *table, const struct lease *lease);

/*
 * Takes a lease that the server has taken back out, for unmapping. False if it is not there (any more), if nobody has claimed it, or if
 * @discards is full.
 */
bool lease_table_take(struct lease_table *table, const struct slot_ref *ref, struct discards *discards);

/* Claims and takes out one lease, unless it is pinned. One that the server has claimed need not wait for the bell. */
bool lease_table_discard(struct lease_table *table, struct lease *lease, struct discards *discards);

/* Claims and takes out idle leases: all superseded ones. */
void lease_table_discard_superseded(struct lease_table *table, struct discards *discards);

/*
 * Claims and takes out idle leases, the least recently used first, until at most @bytes are mapped in at most @n leases, or @discards is
 * full.
 */
void lease_table_trim(struct lease_table *table, uint64_t bytes, uint32_t n, struct discards *discards);

/* Unmaps them. They stay listed. */
void discards_unmap(const struct discards *discards);

/* ---- what every hit does: inlined ---- */

/* Where a window's hint is. Neighbours have different ones. */
static inline _Atomic uint64_t *lease_table_hint(const struct lease_table *table, uint64_t file, uint64_t number)
{
	const uint64_t spread = UINT64_C(0x9e3779b97f4a7c15); /* of the places that files have */

	return &table->hints[(file * spread + number) & table->hints_mask];
}

/*
 * Finds what lease_table_find() does without the lock. If there is a lease it is described in *@place, which holds once it is pinned. False if
 * it takes the lock to know.
 */
static inline bool lease_table_glance(const struct lease_table *table, uint64_t file, uint64_t begin, uint64_t end, struct place *place)
{
	uint64_t hint = atomic_load_explicit(lease_table_hint(table, file, begin >> table->window_bits), memory_order_acquire);
	const struct lease *lease = &table->leases[(uint32_t)hint];
	uint64_t offset, length;

	/* Each is read before the pin, so that one of a later lease comes with the end of this one. */
	if (atomic_load_explicit(&lease->file, memory_order_acquire) != file)
		return false;
	offset = atomic_load_explicit(&lease->offset, memory_order_acquire);
	length = atomic_load_explicit(&lease->length, memory_order_acquire);
	*place = (struct place){
		.slot = (uint32_t)hint,
		.generation = (uint32_t)(hint >> 32),
		.data = atomic_load_explicit(&lease->address, memory_order_acquire),
		.begin = offset,
		.end = offset + length,
	};
	return begin >= offset && end <= place->end;
}

#endif
