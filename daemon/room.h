/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_ROOM_H
#define DAEMON_ROOM_H

/*
 * Making room within the limits: the least recently used regions that nothing pins are evicted, just as many as are needed.
 *
 * An evicted region counts until its clients have unmapped it, so room is often only on its way. Where the clients that have to
 * unmap are the very one that asks, it is told in the answer, and the room is there. Clients that are late to unmap may be stopped: what only
 * they keep still counts, and meanwhile as much again is evicted of others.
 */

#include "daemon/account.h"

#include <stdbool.h>
#include <stdint.h>

struct client;
struct file;
struct lease;
struct registry;
struct slot_list;

/* What a lease on a run of windows needs: room for regions that are not there, while those that are must stay. */
struct need {
	uint64_t bytes;
	uint64_t maps;
	uint64_t revived_bytes; /* of regions of the run that are draining, none of them late, and will be live again */
	uint64_t revived_maps;
	bool awaits; /* one of the run is coming: another client has to unmap something for it first */
	const struct file *file;
	uint64_t first, last;

	struct account *account; /* the user's, and what the lease adds to it */
	struct holding own;
	struct holding own_revived; /* of what is draining there and not late, what the run holds */
};

/* Whether there is room now. */
bool room_fits(const struct registry *registry, const struct need *need);

/*
 * Recalls and evicts what has to go, within what may be looked at in this turn. Whether it is room now is another question. False if the
 * user's quota is in the way, and too much of what the user has is pinned.
 */
bool room_make(struct registry *registry, const struct need *need);

/* Whether there is room once @client has unmapped what was just recalled from it, and it was not told yet. */
bool room_fits_without(const struct registry *registry, struct client *client, const struct need *need);

/* Gives up what goes with such leases, has @heir wait for them, and lists them. */
void room_take_victims(struct registry *registry, struct client *client, const struct need *need, struct lease *heir,
		       struct slot_list *victims);

/*
 * The kernel has no memory left for what is needed, within the limits: evicts as many bytes. False if nothing can go, and nothing is on its
 * way either.
 */
bool room_relieve(struct registry *registry, const struct need *need);

/*
 * Makes room for one more open file. False if it is only on its way, everything is in use, or others wait before this one (not
 * @in_turn).
 */
bool room_make_handle(struct registry *registry, bool in_turn);

/*
 * After a limit was lowered: evicts what is beyond it and nothing pins, within what may be looked at in this turn. True if no more is in use
 * than may be; until then it is to be called again and again.
 */
bool room_shrink(struct registry *registry);

#endif
