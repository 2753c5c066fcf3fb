/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_HELLO_H
#define DAEMON_HELLO_H

/*
 * HELLO: a peer becomes a client, with a board, the pulse and a bell.
 */

struct message;
struct peer;

/* A client that has not said HELLO for so long never will. */
#define HELLO_TIMEOUT_MS 10000

/* Handles the first message of a peer. Whatever it is but a HELLO of this version ends the peer. */
void hello_greet(struct peer *peer, const struct message *message);

#endif
