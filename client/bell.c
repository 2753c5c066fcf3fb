/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bell: on a socket of its own the server says which leases it has taken back. They can't be pinned any more; they are unmapped, and the
 * server is told, so that it can give the room to others.
 */
#include "config.h"

#include "client/connection.h"

#include "proto/util.h"

#include <poll.h>

/* The most messages that are taken off the bell at once: the caller, who is woken again for more, is not kept for ever. */
#define MESSAGES_AT_ONCE 64

/* Room for a recall, however its numbers are written; of a larger packet there is nothing to understand. */
#define RECALL_MAX_BYTES (MESSAGE_MAX_SLOTS * 18 + 64)

/* There is no memory for what the bell says. What it has recalled is idle, and goes with all that is: that needs none. */
static uint32_t unmap_all(struct connection *connection)
{
	uint32_t before, after;

	pthread_mutex_lock(&connection->lock);
	before = connection->leases.n_mapped;
	pthread_mutex_unlock(&connection->lock);
	connection_trim(connection, 0, 0);
	pthread_mutex_lock(&connection->lock);
	after = connection->leases.n_mapped;
	pthread_mutex_unlock(&connection->lock);
	return before > after ? before - after : 0;
}

/* Takes one message off the bell. 1 if there was one, and *@n more leases are gone; 0 if none waits; -ENOTCONN. */
static int take_message(struct connection *connection, uint32_t *n)
{
	char bytes[RECALL_MAX_BYTES];
	struct message message;
	int r;

	r = channel_receive_bytes(connection->bell, bytes, sizeof(bytes));
	if (r == -EAGAIN)
		return 0;
	if (r <= 0)
		return -ENOTCONN;
	r = message_decode(&message, bytes, (size_t)r);
	if (r == -ENOMEM) {
		*n += unmap_all(connection);
		return 1;
	}
	if (r < 0 || message.type != MESSAGE_RECALL)
		return -ENOTCONN;
	*n += connection_unmap(connection, &message.recall.slots);
	return 1;
}

int connection_answer_bell(struct connection *connection)
{
	uint32_t n = 0;
	int r = 1;

	pthread_mutex_lock(&connection->bell_lock);
	for (int i = 0; i < MESSAGES_AT_ONCE && r > 0; i++)
		r = take_message(connection, &n);
	pthread_mutex_unlock(&connection->bell_lock);
	return r < 0 ? r : (int)n;
}

void *connection_listen(void *data)
{
	struct connection *connection = data;
	int r;

	do {
		r = channel_wait(connection->bell, POLLIN, -1);
		if (r >= 0)
			r = connection_answer_bell(connection);
	} while (r >= 0);

	connection_fail(connection);
	connection_leave(connection);
	return NULL;
}
