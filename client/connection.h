/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CLIENT_CONNECTION_H
#define CLIENT_CONNECTION_H

/*
 * A connection to one server: the socket, the bell, the board, the pulse and the leases.
 *
 * Any thread may ask; whoever waits for an answer while nobody reads the socket reads it for all. A small thread sleeps on the
 * bell and unmaps what the server takes back.
 *
 * When the server is gone the connection is dead, for good: idle leases are unmapped, and those on which a cursor stands live on as
 * orphans, with the connection's memory, until the last of them is left. A client then makes a new connection.
 */

#include "client/guard.h"
#include "client/lease.h"
#include "proto/board.h"
#include "proto/channel.h"
#include "proto/clock.h"
#include "proto/message.h"
#include "proto/pulse.h"

#include <pthread.h>
#include <stdatomic.h>

struct call;
struct smmap_client;

/* Room for what a server says with an error. */
#define COMPLAINT_SIZE 512

struct connection {
	atomic_uint refs;
	const struct smmap_client *owner; /* only to compare */
	int socket; /* it and the bell are used by whoever has entered, see connection_enter(), and change with connections_lock() */
	int bell;
	const struct pulse *pulse;
	struct board board;
	struct message_welcome server; /* what it said of itself */
	uint64_t max_mapped;
	bool threaded;
	pthread_t thread;
	atomic_bool dead; /* set with the lock */

	pthread_mutex_t lock; /* of all below */
	pthread_cond_t changed;
	uint32_t n_entered; /* who uses the descriptors: calls under way, and who listens to the bell */
	bool closed;        /* nobody listens any more */
	struct lease_table leases;
	struct call *calls; /* that wait for an answer */
	uint32_t last_serial;
	bool reading; /* a thread is reading the socket */
	char complaint[COMPLAINT_SIZE];
	struct packet *packet; /* of whoever is reading; NULL when the last has left */

	pthread_mutex_t bell_lock; /* of whoever answers the bell: it is answered in the order in which it was rung */

	/* Written by every move: here, where it shares no cache line with what moves only read. */
	_Alignas(8) _Atomic uint64_t last_use;

	struct connection *prev, *next; /* all of this process: client/connections.c */
};

/* How to connect. */
struct connection_options {
	const struct smmap_client *owner;
	const char *socket;
	const char *name;
	uint64_t max_mapped;
	bool threaded;
	char *complaint; /* where a server that does not let this client in has said why: room for COMPLAINT_SIZE bytes */
	bool guarded;
};

/*
 * Connects by @deadline_ms of clock_ms(). 0; -ENOTCONN if no server is there, -EBUSY if it does not get round to it, -EPROTO if it speaks
 * another version, -EAGAIN if no thread could be started; or another -errno. What was said with an error is in options->complaint, which is empty otherwise.
 */
int connection_open(struct connection **connection, const struct connection_options *options, uint64_t deadline_ms);

struct connection *connection_ref(struct connection *connection);
void connection_unref(struct connection *connection);

/* Ends the conversation and its thread; what is pinned stays. Not from that thread. May be called again. */
void connection_close(struct connection *connection);

/* Keeps what the server says with an error. With the lock, or before anybody else has the connection. */
void connection_keep_complaint(struct connection *connection, const struct message_error *error);

/* The server is gone, or talks nonsense. May be called again. */
void connection_fail(struct connection *connection);

static inline bool connection_is_dead(struct connection *connection)
{
	return atomic_load(&connection->dead);
}

/*
 * Who uses the socket or the bell enters before and leaves after that, as often as need be. False if the connection is dead: its descriptors
 * are closed when the last one has left, however long its leases live on.
 */
bool connection_enter(struct connection *connection);
void connection_leave(struct connection *connection);

/* Pins the lease that has the range mapped, and fills *@place; false if there is none. */
bool connection_find(struct connection *connection, uint64_t file, uint64_t begin, uint64_t end, struct place *place);

/* Adds a pin to a lease that has one. */
void connection_pin_again(struct connection *connection, uint32_t slot);

/* The most bytes that the client may have mapped at once, by its own bound and by the server's limit. */
uint64_t connection_most_mapped(const struct connection *connection);

/* Tells the server that leases are unmapped. If it can't be told, it is gone, and takes all back. */
void connection_release(struct connection *connection, const struct slot_list *slots);

/* Unmaps what was taken out of the table, tells the server, and empties the list. */
void connection_discard(struct connection *connection, struct discards *discards);

/* Unmaps those leases that the server has taken back and that are still here, and tells it. The number of them. */
uint32_t connection_unmap(struct connection *connection, const struct slot_list *slots);

/* The same for those that an answer has named: where nobody waits for them, that is only marked on the board. */
void connection_unmap_victims(struct connection *connection, const struct slot_list *victims);

/* Lets go of idle leases until at most @bytes in @n leases are mapped. */
void connection_trim(struct connection *connection, uint64_t bytes, uint32_t n);

/* ---- the bell ---- */

/* Unmaps what the bell says was recalled, without waiting. The number of leases, or -ENOTCONN. */
int connection_answer_bell(struct connection *connection);

/* The bell's thread, which has entered; @data is the connection. */
void *connection_listen(void *data);

/* ---- what every hit does: inlined ---- */

/* Claims and unmaps all that nothing pins, when the connection is dead: the server is not there to be told. */
void connection_unmap_idle(struct connection *connection);

static inline struct board_slot *connection_slot(const struct connection *connection, uint32_t slot)
{
	return &connection->board.slots[slot];
}

/* What connection_find() does, where it takes no lock to know that there is one. */
static inline bool connection_glance(struct connection *connection, uint64_t file, uint64_t begin, uint64_t end, struct place *place)
{
	if (!lease_table_glance(&connection->leases, file, begin, end, place))
		return false;
	if (board_pin(connection_slot(connection, place->slot), place->generation, pulse_second(connection->pulse)))
		return true;
	/* For a moment it was pinned. */
	if (connection_is_dead(connection))
		connection_unmap_idle(connection);
	return false;
}

/* Ends a pin. */
static inline void connection_unpin(struct connection *connection, uint32_t slot)
{
	board_unpin(connection_slot(connection, slot), pulse_use(connection->pulse, &connection->last_use));
	if (connection_is_dead(connection))
		connection_unmap_idle(connection);
}

/* Whether what was read of a lease before may have been zeros that the guard put there; see client/guard.h. */
static inline bool connection_is_blanked(const struct connection *connection, uint32_t slot)
{
	return connection->leases.guard && guard_has_blanked(connection->leases.guard, slot);
}

/* ---- time ---- */

/* A condition whose waits end by that clock: then, at @until_ms, it returns false. */
void condition_init(pthread_cond_t *condition);
bool condition_wait(pthread_cond_t *condition, pthread_mutex_t *lock, uint64_t until_ms);

#endif
