/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_SHARE_H
#define DAEMON_SHARE_H

/*
 * A share: what one user's leases have of one region. The region is charged to the user's account once, however many leases of the user's
 * clients are on it, from the first to the last of them.
 *
 * A share of which all leases are recalled is draining: it still counts, and will be gone when they are unmapped. The others are in the
 * order of use of their account, so that a user who is over the quota loses what that user has used the longest ago.
 */

#include "daemon/order.h"

#include <stdbool.h>
#include <stdint.h>

struct account;
struct hold;
struct region;
struct registry;

struct share {
	struct account *account;
	struct region *region;
	struct hold *holds; /* the user's leases on the region */
	uint32_t n_holds;
	uint32_t n_recalled; /* of these */
	uint32_t n_late;     /* of these, those that their clients are late to unmap */
	uint32_t n_named;    /* scratch of room.c; otherwise 0 */
	bool draining;
	bool late; /* draining, and a client is late */
	struct share *prev, *next; /* region->shares */
	struct order_entry use;    /* account->order, unless draining */
};

/* The user's share of a region; NULL if there is none. */
struct share *share_find(const struct region *region, const struct account *account);

/* Adds a hold to the user's share of a region, which is made if there is none. 0 or -ENOMEM. */
int share_add(struct region *region, struct account *account, struct hold *hold, uint64_t use);

/* Takes a hold out. The share goes with the last one. @use: the last use of its lease. */
void share_drop(struct hold *hold, uint64_t use);

/* The lease of one of its holds was recalled. */
void share_recalled(struct share *share);

/* The client of one of these is late. */
void share_late(struct share *share);

/* Its region has become longer by @bytes. */
void share_grow(struct share *share, uint64_t bytes);

bool share_is_pinned(struct share *share);

/* Its last use, as far as the boards tell. */
uint64_t share_last_used(const struct registry *registry, const struct share *share);

/* Notes a use, and puts the share where it belongs now: behind all that were used no later. */
void share_touch(struct share *share, uint64_t use);

/* The account's share that was used the longest ago, as far as is known; see order_oldest(). */
struct share *share_oldest(struct account *account, uint64_t *moves);

/*
 * Recalls all leases of the share if it was not used since it got its place in the order. Else, or if it is pinned, it goes to where it
 * belongs now.
 */
void share_recall_if_idle(struct registry *registry, struct share *share);

#endif
