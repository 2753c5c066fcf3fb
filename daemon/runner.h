/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_RUNNER_H
#define DAEMON_RUNNER_H

/*
 * Runners: processes that make the system calls which may never return. They share the server's table of descriptors, and nothing else.
 *
 * They are no threads, since a process does not end before each of its threads has, and closes what it has open when it ends: a server
 * with such a thread, or just such a descriptor, could not be stopped. With a table that is shared it ends at once. What it had open is then
 * closed by the last runner.
 *
 * They are started before the server maps anything, since they would keep those maps alive, and from then on start one another. One is
 * always idle, for that, and to close the server's sockets where the server dies while other runners hang.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define RUNNERS_MOST 256

/* So many idle ones are kept for the next time. */
#define RUNNERS_KEPT 4

enum runner_call {
	RUNNER_CLOSE,    /* closes the descriptor */
	RUNNER_IDENTIFY, /* asks for the kind of its file system. The result: statfs.f_type, or -errno */
	N_RUNNER_CALLS,
};

struct runner_reply {
	uint64_t id; /* of the call */
	uint32_t kind;
	int64_t value;
};

struct runners {
	int socket; /* our end: to poll for replies */
	int theirs; /* the end of all runners */
	pid_t server;
	pid_t pids[RUNNERS_MOST];
	uint64_t n;
	uint64_t n_busy;     /* with a call that has no reply yet */
	uint64_t n_retiring; /* that were told to end */
	bool starting;       /* one of them is starting another */
	int error;           /* -errno where that has failed; it is tried again after the next look */
};

/* Starts the first ones. 0 or -errno. */
int runners_start(struct runners *runners);

/* Has an idle one make a call. False if there is none: then another one is started if there may be, and the call is to be made again. */
bool runners_call(struct runners *runners, enum runner_call kind, uint64_t id, int fd);

/* The next reply that is here. False if there is none. */
bool runners_hear(struct runners *runners, struct runner_reply *reply);

/*
 * Once a second, while more than RUNNERS_KEPT are there or calls are to be made: has those retire that have nothing to do. False if somebody
 * has killed one: its call will never return.
 */
bool runners_look_around(struct runners *runners);

/* Forgets them, who end with the server. */
void runners_stop(struct runners *runners);

#endif
