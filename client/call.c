/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Calls. Answers are handled in the order in which they come, by whoever reads: one answer can name a slot as taken back that the
 * next one grants anew.
 */
#include "config.h"

#include "client/call.h"

#include "client/answer.h"
#include "client/connection.h"
#include "proto/hash.h"
#include "proto/util.h"

#include <limits.h>
#include <poll.h>

/* The server answers by the deadline; this much later it is taken for stopped. */
#define GRACE_MS 1000

/* The shares of the slots, and of the leases that are mapped, which are freed at once when there are too many, so that this is rare. */
#define SLOTS_SHARE 8
#define MAPPED_SHARE 16

/* ---- reading for all ---- */

/* Waits for the socket for @wait_ms; answers the bell too if no thread does. 1 if there may be a packet, 0 if not; or -errno. */
static int wait_for_packet(struct connection *connection, uint64_t wait_ms)
{
	struct pollfd pollfds[] = {
		{.fd = connection->socket, .events = POLLIN},
		{.fd = connection->threaded ? -1 : connection->bell, .events = POLLIN},
	};
	int r;

	r = poll(pollfds, 2, (int)min_u64(wait_ms, INT_MAX));
	if (r < 0)
		return errno == EINTR ? 0 : -errno;
	if (pollfds[1].revents) {
		r = connection_answer_bell(connection);
		if (r < 0)
			return r;
	}
	return pollfds[0].revents != 0;
}

/* Waits until @deadline_ms, or less, for a packet and handles it. 0, or -errno if the connection is at its end. */
static int read_packet(struct connection *connection, uint64_t deadline_ms)
{
	uint64_t now_ms = clock_ms(), wait_ms = deadline_ms > now_ms ? deadline_ms - now_ms : 0;
	bool patient = connection->threaded && wait_ms >= CHANNEL_PATIENCE_MS;
	int r;

	if (!patient) {
		r = wait_for_packet(connection, wait_ms);
		if (r <= 0)
			return r;
	}
	r = patient ? channel_await(connection->socket, connection->packet) : channel_receive(connection->socket, connection->packet);
	if (r == -EAGAIN)
		return 0;
	if (r > 0 || r == -EMFILE)
		r = answer_handle(connection, connection->packet, r == -EMFILE);
	else if (r == 0)
		r = -ENOTCONN;
	packet_deinit(connection->packet);
	return r;
}

/* Waits until the call is done, reading if nobody else does. With the lock, which is left meanwhile. */
static void await_answer(struct connection *connection, struct call *call, uint64_t deadline_ms)
{
	while (!call->done && (call->handling || (!connection_is_dead(connection) && clock_ms() < deadline_ms))) {
		int r;

		if (call->handling) {
			pthread_cond_wait(&connection->changed, &connection->lock);
			continue;
		}
		if (connection->reading) {
			condition_wait(&connection->changed, &connection->lock, deadline_ms);
			continue;
		}
		connection->reading = true;
		pthread_mutex_unlock(&connection->lock);
		r = read_packet(connection, deadline_ms);
		if (r < 0)
			connection_fail(connection);
		pthread_mutex_lock(&connection->lock);
		connection->reading = false;
		pthread_cond_broadcast(&connection->changed);
	}
}

/* ---- asking ---- */

/* Sends a request; where the socket is full, waits until @deadline_ms. 0; -ENOTCONN if nobody reads it; or -errno. */
static int send_request(struct connection *connection, const struct message *request, int descriptor, uint64_t deadline_ms)
{
	char bytes[MESSAGE_MAX_TEXT + 64];
	int length;

	_Static_assert(sizeof(bytes) >= MESSAGE_MAX_SLOTS * 12 + 64, "the longest text, or as many slots as there may be");

	length = message_encode(request, bytes, sizeof(bytes));
	if (length < 0)
		return length;
	for (;;) {
		uint64_t now_ms = clock_ms();
		int r;

		r = channel_send(connection->socket, bytes, (size_t)length, &descriptor, descriptor >= 0);
		if (r != -EAGAIN)
			return r;
		if (now_ms >= deadline_ms)
			return -ENOTCONN;
		r = channel_wait(connection->socket, POLLOUT, (int)min_u64(deadline_ms - now_ms, INT_MAX));
		if (r < 0)
			return r;
	}
}

/*
 * Before a lease: sees to it that there is a slot, and room for it in the bounds of the client's own cache, unless it is too large for these or for
 * the server. What goes for that is said with the request.
 */
static void make_room(struct connection *connection, const struct call *call, struct slot_list *released)
{
	struct lease_table *leases = &connection->leases;
	uint32_t n_slots = connection->board.n_slots, n = UINT32_MAX;
	uint64_t max_mapped = connection->max_mapped;
	bool fits = call->expected_bytes <= connection_most_mapped(connection);
	uint64_t most = fits ? max_mapped - min_u64(max_mapped, call->most_bytes) : max_mapped;
	struct discards discards;

	discards.slots.n = 0;
	pthread_mutex_lock(&connection->lock);
	if (leases->mapped_bytes > most)
		n = leases->n_mapped - leases->n_mapped / MAPPED_SHARE;
	if (leases->n_mapped == n_slots)
		n = n_slots - n_slots / SLOTS_SHARE;
	if (n < UINT32_MAX)
		lease_table_trim(leases, most, n, &discards);
	pthread_mutex_unlock(&connection->lock);

	discards_unmap(&discards);
	*released = discards.slots;
}

/* After a lease: lets go of those that it has superseded, and of what is above the bound after all. */
static void trim(struct connection *connection)
{
	bool needed;

	pthread_mutex_lock(&connection->lock);
	needed = connection->leases.superseded || connection->leases.mapped_bytes > connection->max_mapped;
	pthread_mutex_unlock(&connection->lock);
	if (needed)
		connection_trim(connection, connection->max_mapped, UINT32_MAX);
}

static int run(struct call *call, struct connection *connection, struct message *request, int descriptor, uint64_t deadline_ms)
{
	bool lease = request->type == MESSAGE_LEASE;
	int r;

	if (lease)
		make_room(connection, call, &request->lease.released);

	pthread_mutex_lock(&connection->lock);
	connection->complaint[0] = '\0';
	request->serial = ++connection->last_serial;
	call->request = request;
	call->done = call->handling = false;
	DL_APPEND(connection->calls, call);
	pthread_mutex_unlock(&connection->lock);

	r = send_request(connection, request, descriptor, deadline_ms + GRACE_MS);
	if (r == -EPIPE || r == -ECONNRESET || r == -ENOTCONN) {
		connection_fail(connection);
		r = -ENOTCONN;
	}
	if (r < 0 && lease && request->lease.released.n)
		connection_release(connection, &request->lease.released);

	/* A server that lies may have answered before it was asked: then the call stays until that is handled. */
	pthread_mutex_lock(&connection->lock);
	await_answer(connection, call, r < 0 ? 0 : deadline_ms + GRACE_MS);
	DL_DELETE(connection->calls, call);
	pthread_mutex_unlock(&connection->lock);

	if (!call->done && r < 0)
		return r;
	/* Nothing comes of a file that is closed late. */
	if (!call->done && request->type == MESSAGE_CLOSE)
		return -ETIMEDOUT;
	if (!call->done) {
		/* It is stopped, or gone. Whatever it still answers nobody would read: it has to take all back. */
		connection_fail(connection);
		return -ENOTCONN;
	}
	if (lease && !call->error)
		trim(connection);
	return call->error;
}

int call_run(struct call *call, struct connection *connection, struct message *request, int descriptor, uint64_t deadline_ms)
{
	int r;

	if (!connection_enter(connection))
		return -ENOTCONN;
	r = run(call, connection, request, descriptor, deadline_ms);
	connection_leave(connection);
	return r;
}
