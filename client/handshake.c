/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The handshake. Whatever another process would have to close is stored with the lock of all connections, together with the call that makes
 * it, so that no child is left with it. That lock is not held where there is something to wait for.
 */
#include "config.h"

#include "client/handshake.h"

#include "client/connection.h"
#include "client/connections.h"
#include "client/guard.h"
#include "proto/address.h"
#include "proto/pulse.h"
#include "proto/util.h"

#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

static int reach_server(struct connection *connection, const char *path)
{
	int r;

	connections_lock();
	r = address_socket();
	if (r >= 0)
		connection->socket = r;
	connections_unlock();
	if (r < 0)
		return r;
	r = address_reach(connection->socket, path);
	return r == -EAGAIN ? -EBUSY : r;
}

static int say_hello(struct connection *connection, const char *name)
{
	struct message message = {.type = MESSAGE_HELLO, .hello = {.version = PROTOCOL_VERSION, .name = text_of(name)}};
	char bytes[MESSAGE_MAX_NAME + 64];
	int length;

	length = message_encode(&message, bytes, sizeof(bytes));
	if (length < 0)
		return -EINVAL;
	return channel_send(connection->socket, bytes, (size_t)length, NULL, 0);
}

/* What a server of another version would have said, had it known. */
static void complain_of_version(struct connection *connection, uint32_t version)
{
	snprintf(connection->complaint, sizeof(connection->complaint), "the server speaks version %" PRIu32 " of the protocol, the client version %d",
		 version, PROTOCOL_VERSION);
}

/* Takes the three descriptors of a welcome; board and pulse, which are memory, are closed once they are mapped. */
static int enter(struct connection *connection, const struct message_welcome *welcome, int *descriptors, bool guarded)
{
	int r;

	if (welcome->version != PROTOCOL_VERSION) {
		complain_of_version(connection, welcome->version);
		return -EPROTO;
	}
	if (welcome->window_bytes < page_size() || welcome->window_bytes & (welcome->window_bytes - 1))
		return -EPROTO;
	/* Closing another kind of descriptor than a bell may be to wait, for a child at a fork too. */
	if (!channel_is_one(descriptors[2]))
		return -EPROTO;
	connection->server = *welcome;
	r = board_attach(&connection->board, welcome->n_slots, descriptors[0]);
	if (r < 0)
		return r;
	close_fdp(&descriptors[0]);
	r = pulse_attach(&connection->pulse, descriptors[1]);
	if (r < 0)
		return r;
	close_fdp(&descriptors[1]);
	connection->bell = take_fd(&descriptors[2]);
	r = lease_table_init(&connection->leases, &connection->board, welcome->window_bytes);
	return !r && guarded ? guard_new(&connection->leases.guard, &connection->board) : r;
}

static int handle_welcome(struct connection *connection, struct packet *packet, bool guarded)
{
	struct message message;
	int r;

	r = message_decode(&message, packet->bytes, packet->n_bytes);
	if (r == -EBADMSG || (!r && message_descriptors(&message) != packet->n_descriptors)) {
		snprintf(connection->complaint, sizeof(connection->complaint), "the server's answer to HELLO is not one of version %d of the protocol",
			 PROTOCOL_VERSION);
		return -EPROTO;
	}
	if (r < 0)
		return r;
	if (message.type == MESSAGE_ERROR) {
		connection_keep_complaint(connection, &message.error);
		return message_errno(&message.error);
	}
	return message.type == MESSAGE_WELCOME ? enter(connection, &message.welcome, packet->descriptors, guarded) : -EPROTO;
}

/* With the lock of all connections. */
static int receive_welcome(struct connection *connection, bool guarded)
{
	int r;

	/* Where the server did not read what was sent, that comes before what it has said. */
	r = channel_receive(connection->socket, connection->packet);
	if (r == -ECONNRESET)
		r = channel_receive(connection->socket, connection->packet);
	if (r > 0)
		return handle_welcome(connection, connection->packet, guarded);
	if (r == -EMSGSIZE)
		return -EPROTO;
	return r == 0 || r == -ECONNRESET ? -ENOTCONN : r;
}

static int await_welcome(struct connection *connection, uint64_t deadline_ms, bool guarded)
{
	uint64_t now_ms = clock_ms();
	int r;

	r = channel_wait(connection->socket, POLLIN, (int)(deadline_ms > now_ms ? min_u64(deadline_ms - now_ms, INT_MAX) : 0));
	if (r <= 0)
		return r < 0 ? r : -EBUSY;
	connections_lock();
	r = receive_welcome(connection, guarded);
	connections_unlock();
	/* To close what is no memory may be to wait. */
	packet_deinit(connection->packet);
	return r;
}

int handshake(struct connection *connection, const struct connection_options *options, uint64_t deadline_ms)
{
	int r;

	r = reach_server(connection, options->socket);
	if (r < 0)
		return r;
	/* A server that turns this client away says so, and does not read what it sends. */
	r = say_hello(connection, options->name);
	if (r < 0 && r != -EPIPE && r != -ECONNRESET)
		return r;
	return await_welcome(connection, deadline_ms, options->guarded);
}
