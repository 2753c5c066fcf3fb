/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_HELLO_H
#define DAEMON_HELLO_H

/*
 * HELLO: a peer becomes a client, with a board, the pulse and a bell.
 */

struct message;
struct peer;
struct server;

/* A client that has not said HELLO for so long never will. */
#define HELLO_TIMEOUT_MS 10000

/* Handles the first message of a peer. Whatever it is but a HELLO of this version ends the peer. */
void hello_greet(struct peer *peer, const struct message *message);

/*
 * Makes an outfit for the next client if there is none, when others have what they wait for. Its descriptors and its map are those of a client that
 * may still come; should the last one come and not say HELLO, they are among the few that are set aside. Where it can't be made, HELLO tries it again.
 */
void hello_prepare(struct server *server);

#endif
