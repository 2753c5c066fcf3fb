/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_LIMITS_H
#define DAEMON_LIMITS_H

/*
 * The three limits, the window grid, and what one user may have of them. They hold for the whole host, so the server first makes sure
 * that the kernel lets it use them up.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What all clients of one user together may have, so that no user can keep the others out. */
struct quota {
	uint64_t memory;  /* bytes of regions that they lease, each counted once */
	uint64_t maps;    /* these regions */
	uint64_t handles; /* files of these regions */
	uint64_t leases;  /* each counted once for each of its regions */
	uint64_t files;    /* that they have open, counted for each client; the server may have let go of some */
	uint64_t clients;  /* connections */
	uint64_t requests; /* that wait */
	uint64_t opens;    /* of these, to open a file: each keeps a descriptor that may become a stray */
	uint64_t strays;   /* descriptors that are to be closed; then nothing more is read from the user's clients */
	uint64_t in_flight; /* descriptors that they were sent, and have not received; the same */
};

struct limits {
	uint64_t memory; /* bytes of all regions */
	uint64_t handles; /* open files */
	uint64_t maps;    /* regions */
	uint64_t window;  /* bytes of a window, a power of two */
	uint64_t clients; /* connections; follows from the descriptors that the handles leave */
	uint64_t strays;  /* descriptors that are to be closed, for which some are kept free */
	uint64_t in_flight; /* descriptors that clients have not received: past that the kernel lets no more be sent */
	uint64_t user_percent; /* of each of these, what one user may have at most; of strays and what is in flight, of a part */
	struct quota quota;    /* follows from all that */
	uint64_t recall_timeout_ms; /* after which a client is disconnected that has not unmapped what was recalled */
	uint64_t idle_timeout_ms;   /* after which a file is let go that has no region and was not asked for */
	bool write_guard;
	uint64_t write_guard_timeout_ms; /* that a writer of a guarded file waits for pins at most */
};

#define LIMITS_DEFAULT_MEMORY_PERCENT 50
#define LIMITS_DEFAULT_HANDLES        8192
#define LIMITS_DEFAULT_MAPS           32768
#define LIMITS_DEFAULT_WINDOW         (UINT64_C(64) << 20)
#define LIMITS_DEFAULT_USER_PERCENT   75
#define LIMITS_DEFAULT_RECALL_MS      1000
#define LIMITS_DEFAULT_IDLE_MS        (5 * 60 * 1000)
#define LIMITS_DEFAULT_WRITE_GUARD_MS 5000

/* Of what takes only a little of the server's memory, a user may have as much in any case. */
#define LIMITS_USER_LEASES   131072
#define LIMITS_USER_FILES    131072
#define LIMITS_USER_REQUESTS 1024

/* The defaults, on this machine. */
void limits_default(struct limits *limits);

/*
 * Raises the soft RLIMIT_NOFILE as far as it goes, lowers the limits to what the kernel allows this process, and the timeout of
 * the write guard below its own, and sets the number of clients, and the quota. The number of limits that were lowered, with a
 * sentence for each in @complaint; -EMFILE or -ENOMEM if the kernel allows too few descriptors or maps to be of use.
 */
int limits_fit(struct limits *limits, char *complaint, size_t size);

/*
 * Whether a user with @own of something may get no more of it, where all together have @all of @limit. Half of it is for all up to their
 * quotas, and the other half for those who have very little. So what several user ids take by their quotas leaves something to the others.
 */
bool limits_are_reached(uint64_t own, uint64_t quota, uint64_t all, uint64_t limit);

/* Sets the quota of a user from the limits: the same part of each, but never less than one window, region, file or client. */
void limits_set_quota(struct limits *limits);

#endif
