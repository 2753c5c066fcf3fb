/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_PEER_H
#define DAEMON_PEER_H

/*
 * A peer: the connection to one client. It turns packets into requests, and answers into packets, and rings the client's bell.
 *
 * A peer that breaks the protocol, is gone, or does not read what it asked for is failed: it is marked, and the server ends it when
 * nothing is in the middle of using it. Then it has left; its socket stays until the client has received the descriptors that were sent to
 * it, or has closed its own end, since the kernel counts those as the server's. Both shows in what is unread, and in nothing else: a client
 * that only shuts its end down keeps what it has not received.
 *
 * A peer is held, and nothing more read from it, while too many descriptors are on their way to its user's clients, or have come from
 * them and are still to be closed.
 */

#include "daemon/client.h"
#include "daemon/errand.h"
#include "daemon/log.h"

#include <stdbool.h>
#include <uv.h>

struct account;
struct answer;
struct message;
struct request;
struct server;

struct peer {
	struct server *server;
	uv_poll_t poll;
	int socket;
	int bell; /* our end */
	pid_t pid;
	struct account *account; /* the user's, of which this peer is a client */
	uint64_t heard_ms;   /* since when it is read from: what it did not say before is not its fault, */
	uint64_t heard_tick; /* and the same by registry->ticks */
	bool unread;          /* something was sent, and may not be read yet */
	uint64_t n_in_flight; /* descriptors among that */
	bool greeted; /* said HELLO: there is a client */
	bool failed;
	bool held;
	int n_parts; /* that keep the memory: the loop's, and the socket */
	struct errand closing;
	struct client client;
	struct peer *prev, *next; /* server->peers, or server->left */
};

/*
 * Makes a peer of an accepted connection, and takes *@socket; also that of one that is turned away, if it may hold descriptors that others
 * have to close. 0 or -errno.
 */
int peer_new(struct server *server, int *socket);

/* Ends the connection and all that the client had. It has left then, or is free. */
void peer_end(struct peer *peer);

/* Frees a peer that has left. The memory goes when the loop has let go of it. */
void peer_free(struct peer *peer);

/* Frees those that have left and to whom nothing is in flight any more. */
void peers_see_off(struct server *server);

/* Goes on with a peer that is held, if its user has come down. */
void peer_look_again(struct peer *peer);

/* Sends a message, with copies of the descriptors. 0 or -errno. */
int peer_send(struct peer *peer, const struct message *message, const int *descriptors, size_t n_descriptors);

/* Has the server end it soon. */
void peer_fail(struct peer *peer);

/* The same, after saying why in the log, in the manner of printf(3). */
void peer_dismiss(struct peer *peer, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Sends an answer, unless the peer has failed; it fails if that is not possible. */
void peer_answer(struct peer *peer, const struct answer *answer);

/* The same, for a request: notes how long a grant took. */
void peer_answer_request(struct peer *peer, const struct request *request, const struct answer *answer);

/* Tells the client what was recalled, as far as the bell takes it. */
void peer_ring(struct peer *peer);

/* Borrows the name. */
struct log_client peer_log_client(const struct peer *peer);

struct peer *peer_of_client(struct client *client);

#endif
