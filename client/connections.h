/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CLIENT_CONNECTIONS_H
#define CLIENT_CONNECTIONS_H

/*
 * All connections of this process: what a child gives up at a fork, and what a client's connections add up to.
 *
 * The lock of all connections is held by a fork too. So what changes with it is there as a whole or not at all, for a child that has to close
 * it, and for whoever counts: the descriptors, the board, and that there is a table of leases. It comes before a connection's own lock, and
 * nobody waits for a server or a file system with it.
 */

#include <stdbool.h>

struct connection;
struct smmap_client;
struct smmap_stats;

void connections_lock(void);
void connections_unlock(void);

/* Whether a child will give up what is added here: false if there was no memory for the handlers of forks. */
bool connections_are_watched(void);

/* Adds a connection that has nothing yet. */
void connections_add(struct connection *connection);

/* Closes what it has open, and removes it. */
void connections_remove(struct connection *connection);

/* Closes the socket and the bell. */
void connections_close_descriptors(struct connection *connection);

/* Adds up the leases, orphans, mapped bytes and descriptors of all connections of @owner. */
void connections_count(const struct smmap_client *owner, struct smmap_stats *stats);

/* A number that is another one in a child after a fork; only client/connections.c writes it. */
extern unsigned connections_process;

#endif
