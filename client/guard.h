/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CLIENT_GUARD_H
#define CLIENT_GUARD_H

/*
 * The guard against SIGBUS, which the kernel raises where a map can't be read: past the end of a file that was truncated, or on a page
 * that the disk does not give. A handler for the whole process blanks the lease from there on: it marks it as stale and as blanked, puts
 * zeros in place of the rest of the map, and lets the thread go on. Whoever stood on the lease is told at the next call.
 *
 * A guard is what the handler knows of one connection: where the leases are mapped, by slot. The handler takes no lock. The lease that a
 * thread stands on is pinned, and so is its entry; all other entries may change while the handler looks. It takes a pin of its own, so that
 * the lease stays where it is, and only beside another one: what nobody stands on is not guarded, since nobody would be told. In a child
 * after a fork, where the board is not there, that is all. Guards are never freed, and serve one connection after the other.
 */

#include "proto/board.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct guard;

/* Sees to it that the handler is there, and stores a guard for the leases of @board in *@guard. 0 or -ENOMEM. */
int guard_new(struct guard **guard, const struct board *board);

/* Gives it back; all leases were removed. NULL is fine. */
void guard_release(struct guard *guard);

/* Guards a lease, which is mapped. */
void guard_add(struct guard *guard, uint32_t slot, const void *address, size_t length);

/* Guards it no more: before it is unmapped. */
void guard_remove(struct guard *guard, uint32_t slot);

/* Whether what was read of a lease before may have been the guard's zeros. */
bool guard_has_blanked(const struct guard *guard, uint32_t slot);

#endif
