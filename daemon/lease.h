/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_LEASE_H
#define DAEMON_LEASE_H

/*
 * A lease: one client's right to a run of adjacent regions of one file, which the client has mapped in one piece. It has a slot on the
 * client's board, where its pins are counted.
 *
 * It is live until it is recalled, which needs that nothing pins it, and ends when the client says that it is unmapped, or is
 * gone. The server keeps in its own memory what it has recalled: the board can't change that.
 *
 * A client that asks for more can get the room of its own idle leases at once: it is told to unmap these first, and what nobody else
 * has of their regions is given up for the new lease. They keep their slots, and the rest, until the client says that they are unmapped.
 * Only then does the server map what is new itself, and let others lease it: at no moment is more mapped than what is counted.
 */

#include "proto/message.h"

#include <stdbool.h>
#include <stdint.h>

struct client;
struct file;
struct lease;
struct region;
struct registry;
struct share;

/* A lease's part in one region. */
struct hold {
	struct lease *lease;
	struct share *share;      /* NULL once it is given up */
	struct hold *prev, *next; /* share->holds */
};

struct lease {
	struct client *client;
	struct file *file; /* until it is recalled */
	struct slot_ref ref;
	uint64_t offset; /* in the file */
	uint64_t length; /* in bytes; the last page may be a part of one */
	uint64_t hits;   /* that were counted */

	struct lease *prev_of_file, *next_of_file; /* file->leases, unless it is recalled */

	bool recalled;
	bool told; /* the client has been told of the recall */
	bool named; /* to the client, in an answer */
	uint64_t recalled_tick;
	bool late; /* its client has had time to unmap it, and has not */
	struct lease *prev, *next;               /* registry->recalled, if it is */
	struct lease *prev_of_client, *next_of_client; /* client->untold, if it is recalled and not told; client->named, if it is named */

	uint64_t n_awaited;  /* leases that the client has to unmap before this one */
	uint64_t excess_bytes, excess_maps; /* of what was given up for it, what it does not need: counted until these are unmapped */
	struct lease *heir;  /* the lease that awaits this one; NULL if none does */

	uint64_t n_charged; /* the regions that it was made for: what it counts for in the quota of leases */
	uint64_t n_ahead;   /* of these, those that were not asked for */
	uint64_t n_holds;
	struct hold holds[];
};

/* Allocates a lease of @n regions of a file for @client, with a slot, and counts it. 0, -EDQUOT if no slot is free, -ENOMEM. */
int lease_new(struct lease **lease, struct registry *registry, struct client *client, struct file *file, uint64_t n);

/* Sets its next region. 0 or -ENOMEM. */
int lease_hold(const struct registry *registry, struct lease *lease, struct region *region);

/* Counts the last @n of its regions as windows ahead. */
void lease_count_ahead(struct registry *registry, struct lease *lease, uint64_t n);

/* Gives it its first pin, the requester's. @second is the pulse's. */
void lease_grant_pin(struct lease *lease, uint32_t second);

/* Counts the hits that came since they were counted last. */
void lease_count_hits(struct registry *registry, struct lease *lease);

/* Ends the lease: its slot is free, its regions lose it. */
void lease_end(struct registry *registry, struct lease *lease);

/* Takes the lease back, unless it is pinned (false). Also true if that was done before. */
bool lease_recall(struct registry *registry, struct lease *lease);

/* The client has been told of the recall, or need not be. */
void lease_tell(struct registry *registry, struct lease *lease);

/* Its client is late: it may never unmap it, and no more is counted on what that would free. It is registry->in_time. */
void lease_be_late(struct registry *registry, struct lease *lease);

/* Gives up one of its regions. */
void lease_give_up(struct registry *registry, struct hold *hold);

/* More was given up for a lease than it needs: that is draining, until all that it awaits has ended. */
void lease_await(struct registry *registry, struct lease *lease, uint64_t excess_bytes, uint64_t excess_maps);

/* Has @heir, another lease of the same client, wait for a recalled one of which the client is told with it. */
void lease_bequeath(struct registry *registry, struct lease *lease, struct lease *heir);

/* Marks it stale if it reaches past @file_size, and takes it back, now or when its pins have ended. */
void lease_cut(struct registry *registry, struct lease *lease, uint64_t file_size);

/* Whether its client, to which it was named in an answer, says on the board that it has unmapped it. */
bool lease_is_unmapped(const struct lease *lease);

bool lease_is_pinned(const struct lease *lease);

/* Its last use, as far as the board tells: never in the future, and in this epoch if it is pinned. */
uint64_t lease_last_used(const struct registry *registry, const struct lease *lease);

#endif
