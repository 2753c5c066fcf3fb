/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_ACCOUNT_H
#define DAEMON_ACCOUNT_H

/*
 * An account: what all clients of one user together hold, and may hold. It is there as long as one of them is connected, or something is
 * left to be closed of what they have sent.
 *
 * What is leased is counted in shares (see share.h): a region counts once, however many of the user's leases are on it. What is recalled
 * counts until it is unmapped.
 *
 * Like the registry it knows no wire format: its requests are only listed here.
 */

#include "daemon/errand.h"
#include "daemon/limits.h"
#include "daemon/order.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct file;
struct registry;
struct request;

/* What is held through leases. */
struct holding {
	uint64_t memory; /* bytes of regions */
	uint64_t maps;   /* regions */
	uint64_t handles; /* files of these regions */
	uint64_t leases; /* a lease counts once for each of its regions: that is the memory which it takes */
};

struct account {
	uid_t uid;
	uint64_t refs; /* clients, errands, files that they are charged for */
	uint64_t n_clients;
	uint64_t n_openings; /* of files, by each client */
	uint64_t n_waiting;
	uint64_t n_waiting_opens; /* of these */
	struct holding held;
	struct holding draining; /* of that, what is recalled */
	struct holding late;     /* of that, what a client is late to unmap */
	struct order order;      /* of use: the shares that are not recalled */
	uint64_t n_ahead;        /* windows ahead, of its leases */
	uint64_t pass;           /* of room.c over that order: looks that are left in it; 0: none has begun */
	struct request *waiting; /* its requests that wait, first come first */
	struct request *tried;   /* of these, the last that was tried out of turn; NULL: the next is the first */
	uint64_t n_remote;       /* files on volumes that are not local, which one of them has sent; until they are closed */
	struct file *bare;       /* of these, those without a region, in order of use */
	struct order remote;     /* of use: the others */
	uint64_t remote_pass;    /* of remote.c over that order */
	uint64_t n_in_flight;    /* descriptors that were sent to them, and may not be received yet */
	uint64_t n_strays;       /* descriptors that have no place in the server, and are to be closed */
	struct errand_lane lanes[N_RUNNER_CALLS];
	struct account *prev, *next; /* registry->accounts, in turn */
};

/* Counts a client of @uid. 0 and its account, the caller's to put; -EDQUOT if there are too many already, with the account too; -ENOMEM. */
int account_get(struct account **account, struct registry *registry, uid_t uid);

/* A client that is gone, and with it all that it had. */
void account_put(struct registry *registry, struct account *account);

/* The account stays as long as whoever has a reference. */
void account_ref(struct account *account);
void account_unref(struct registry *registry, struct account *account);

/* Whether @more would be within the quota, without what @gone says will go. */
bool account_may_hold(const struct registry *registry, const struct account *account, const struct holding *more,
		      const struct holding *gone);

#endif
