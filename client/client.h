/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CLIENT_CLIENT_H
#define CLIENT_CLIENT_H

/*
 * A client: how to reach the server, and the connection that there is now. When it is dead the next one who needs it makes a
 * new one. Cursors and files hold on to the client, so that it may be closed before them.
 */

#include "client/connections.h"
#include "client/smmap-client.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

struct connection;
struct message;

/* What one cursor counts, without a lock: only the thread that has the cursor writes it, and adding up is for who asks. */
struct tally {
	_Alignas(8) _Atomic uint64_t hits;
	struct tally *prev, *next; /* client->tallies */
};

struct smmap_client {
	atomic_uint refs;
	unsigned process; /* see connections_process */
	char socket[PATH_MAX];
	char name[64];
	uint64_t max_mapped;
	uint32_t deadline_ms;
	bool threaded;
	bool guarded;

	pthread_mutex_t lock; /* of all below; nobody waits for a server with it */
	pthread_cond_t changed;
	struct connection *connection; /* NULL once the client is closed */
	bool connecting;               /* a thread replaces the connection, which is dead */
	uint64_t connected_ms;         /* when the connection was made, by clock_ms() */
	struct tally *tallies;         /* of the cursors that are open */
	uint64_t hits;                 /* of those that were closed */
	_Alignas(8) _Atomic uint64_t n_files;
	_Alignas(8) _Atomic uint64_t n_handles;
	_Alignas(8) _Atomic uint64_t misses;
};

struct smmap_client *client_ref(struct smmap_client *client);
void client_unref(struct smmap_client *client);

/* Begins a tally at 0, and ends one. */
void client_add_tally(struct smmap_client *client, struct tally *tally);
void client_remove_tally(struct smmap_client *client, struct tally *tally);

/* -ECHILD if the client is the parent's. */
static inline int client_check(const struct smmap_client *client)
{
	return client->process == connections_process ? 0 : -ECHILD;
}

/* Forgets what the server has complained of: something else begins. */
void client_forget_complaint(struct smmap_client *client);

/* When a call that starts now has to be over, in ms of clock_ms(). */
uint64_t client_deadline(const struct smmap_client *client);

/* The connection if it is alive, the caller's to unref; else NULL. */
struct connection *client_connection(struct smmap_client *client);

/*
 * The connection, made anew if need be; the caller's to unref. One thread does that, others that need it wait, each until its own deadline.
 * 0; -ENOTCONN if there is no server until the deadline; -errno.
 */
int client_connect(struct smmap_client *client, uint64_t deadline_ms, struct connection **connection);

/* Asks the server, for the commands of smmapd. Figures are copied to @rows. 0 and *@answer, or an error. */
int client_ask(struct smmap_client *client, struct message *request, struct message *answer, char *rows, size_t rows_size);

#endif
