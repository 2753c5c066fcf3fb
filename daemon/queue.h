/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_QUEUE_H
#define DAEMON_QUEUE_H

/*
 * The queue of a user: requests that wait, first come first served among those of one type. Who waits for something else than room
 * keeps no other from their turn.
 */

#include <stdint.h>

struct account;
struct client;
struct registry;
struct request;

/* Moves a request, from anywhere, to the end of its user's queue. 0, -EDQUOT if too many wait, -ENOMEM; it is the caller's then. */
int queue_add(struct request *request, const struct registry *registry);

/* The first request of this type that waits for its turn; NULL if there is none. */
const struct request *queue_first(const struct account *account, uint32_t type);

/* Takes a request out of its queue and frees it. */
void queue_remove(struct request *request, struct registry *registry);

/* Removes all of a client. */
void queue_forget_client(struct client *client, struct registry *registry);

#endif
