/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/peer.h"

#include "daemon/account.h"
#include "daemon/flow.h"
#include "daemon/hello.h"
#include "daemon/lease.h"
#include "daemon/log.h"
#include "daemon/loop.h"
#include "daemon/queue.h"
#include "daemon/registry.h"
#include "daemon/request.h"
#include "daemon/server.h"
#include "proto/channel.h"
#include "proto/pulse.h"
#include "proto/util.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* Packets that are taken from one peer in one turn of the loop, at most. */
#define PACKETS_IN_A_TURN 16

static void on_ready(uv_poll_t *poll, int status, int events);

void peer_fail(struct peer *peer)
{
	peer->failed = true;
	peer->server->some_failed = true;
}

struct log_client peer_log_client(const struct peer *peer)
{
	return (struct log_client){.pid = peer->pid, .uid = peer->account->uid, .name = peer->client.name};
}

void peer_dismiss(struct peer *peer, const char *format, ...)
{
	struct log_client client = peer_log_client(peer);
	char why[256];
	va_list arguments;

	/* Once is enough: it may be late with many leases. */
	if (peer->failed)
		return;
	va_start(arguments, format);
	vsnprintf(why, sizeof(why), format, arguments);
	va_end(arguments);
	log_event(LOG_WARNING, LOG_DISCONNECT, &client, "disconnected: %s", why);
	peer->server->registry.counters.disconnections++;
	peer_fail(peer);
}

/* Ends the connection after a call on its socket has failed. A client that has gone is nothing to talk about. */
static void lose(struct peer *peer, int error)
{
	if (error == -EPIPE || error == -ECONNRESET)
		peer_fail(peer);
	else if (error == -EAGAIN)
		peer_dismiss(peer, "it does not read what it asked for");
	else
		peer_dismiss(peer, "its connection is of no use any more: %s", strerror(-error));
}

struct peer *peer_of_client(struct client *client)
{
	return container_of(client, struct peer, client);
}

/* ---- sending ---- */

int peer_send(struct peer *peer, const struct message *message, const int *descriptors, size_t n_descriptors)
{
	char *bytes = peer->server->outgoing;
	int length, r;

	length = message_encode(message, bytes, PACKET_MAX_BYTES);
	if (length < 0)
		return length;
	r = channel_send(peer->socket, bytes, (size_t)length, descriptors, n_descriptors);
	if (r < 0)
		return r;
	flow_charge(peer, n_descriptors);
	return 0;
}

/* What a limit or a quota refuses is the administrator's business too; the rest is the client's own mistake. */
static void note_refusal(struct server *server, const struct log_client *client, const struct message_error *error)
{
	bool short_of = error->error == ETIMEDOUT || error->error == EDQUOT || error->error == ENOMEM;

	server->registry.counters.refusals++;
	log_event(short_of ? LOG_WARNING : LOG_INFO, LOG_REFUSAL, client, "refused: %.*s", (int)error->sentence.length,
		  error->sentence.data);
}

void peer_answer(struct peer *peer, const struct answer *answer)
{
	struct log_client client = peer_log_client(peer);
	int r;

	if (peer->failed || !answer->message.type)
		return;
	if (answer->message.type == MESSAGE_ERROR)
		note_refusal(peer->server, &client, &answer->message.error);
	/* Who has the answer sees what it has changed. */
	registry_publish(&peer->server->registry);
	r = peer_send(peer, &answer->message, &answer->fd, answer->fd >= 0);
	if (r < 0)
		lose(peer, r);
}

void peer_answer_request(struct peer *peer, const struct request *request, const struct answer *answer)
{
	peer_answer(peer, answer);
	if (answer->message.type == MESSAGE_LEASED && answer->message.leased.length)
		times_add(&peer->server->report.grants, uv_hrtime() - request->arrived_ns);
}

void peer_ring(struct peer *peer)
{
	while (peer->client.untold) {
		struct message message = {.type = MESSAGE_RECALL};
		struct slot_list *slots = &message.recall.slots;
		char *bytes = peer->server->outgoing;
		struct lease *lease;
		int length;

		DL_FOREACH2(peer->client.untold, lease, next_of_client)
		{
			if (slots->n == MESSAGE_MAX_SLOTS)
				break;
			slots->refs[slots->n++] = lease->ref;
		}
		length = message_encode(&message, bytes, PACKET_MAX_BYTES);
		if (length < 0 || channel_send(peer->bell, bytes, (size_t)length, NULL, 0) < 0)
			return;
		for (uint32_t i = 0; i < slots->n; i++)
			lease_tell(&peer->server->registry, peer->client.untold);
	}
}

/* ---- receiving ---- */

static void take_request(struct peer *peer, const struct message *message, int *fd)
{
	struct server *server = peer->server;
	struct answer *answer = &server->answer;
	bool in_turn = !queue_first(peer->account, message->type);
	struct request request;
	int r;

	registry_look_for_marks(&server->registry, &peer->client);
	request_init(&request, &peer->client, message, fd, server->registry.now_ms);
	request.arrived_ns = uv_hrtime();
	r = request_run(&request, &server->registry, &server->report, in_turn, answer);
	/* It need not, if others have unmapped what it waits for and not said so. */
	if (r == REQUEST_WAITS && registry_set_waits(&server->registry, true))
		r = request_run(&request, &server->registry, &server->report, in_turn, answer);
	if (r == REQUEST_WAITS && request_needs_room(&request))
		server->registry.counters.waits++;
	if (r == REQUEST_WAITS && server->registry.now_ms >= request.deadline_ms && !server->registry.cut_short) {
		request_expire(&request, &server->registry, answer);
	} else if (r == REQUEST_WAITS) {
		r = queue_add(&request, &server->registry);
		if (!r)
			return;
		if (r == -EDQUOT)
			request_refuse(answer, message->serial, EDQUOT, "too many requests wait already: %" PRIu64 " of this user",
				       peer->account->n_waiting);
		else
			request_refuse(answer, message->serial, -r, "the server could not do it: %s", strerror(-r));
	}
	peer_answer_request(peer, &request, answer);
	request_deinit(&request, &server->registry);
}

/* Handles one packet. Whatever is wrong with it ends the connection, before it has any effect. Whether it is one without an answer. */
static bool take_packet(struct peer *peer, struct packet *packet)
{
	struct message message;
	int r;

	r = message_decode(&message, packet->bytes, packet->n_bytes);
	if (r < 0 || message.type >= MESSAGE_ERROR || message_descriptors(&message) != packet->n_descriptors ||
	    (peer->greeted && message.type == MESSAGE_HELLO)) {
		peer->server->registry.counters.protocol_errors += r != -ENOMEM;
		peer_dismiss(peer, r == -ENOMEM ? "no memory for its packet" : "it sent a packet that the protocol does not know");
		return false;
	}

	if (peer->greeted)
		take_request(peer, &message, &packet->descriptors[0]);
	else
		hello_greet(peer, &message);
	return message.type == MESSAGE_RELEASE;
}

static void listen_for(struct peer *peer, int events)
{
	if (uv_poll_start(&peer->poll, events, on_ready) < 0)
		peer_fail(peer);
}

/* Reads what it says from now on. */
static void hear(struct peer *peer)
{
	peer->heard_ms = peer->server->registry.now_ms;
	peer->heard_tick = peer->server->registry.ticks;
	listen_for(peer, UV_READABLE);
}

/* Reads nothing of the peer until its user has come down. */
static void hold(struct peer *peer)
{
	peer->held = true;
	peer->server->n_held++;
	listen_for(peer, UV_DISCONNECT);
}

static void unhold(struct peer *peer)
{
	peer->server->n_held -= peer->held;
	peer->held = false;
}

void peers_see_off(struct server *server)
{
	struct peer *peer, *next;

	DL_FOREACH_SAFE(server->left, peer, next)
	{
		if (!flow_is_pending(peer))
			peer_free(peer);
	}
}

void peer_look_again(struct peer *peer)
{
	if (!peer->held || flow_is_over(peer))
		return;
	unhold(peer);
	hear(peer);
}

/* No packet came: @error is 0 where the client has closed its end. */
static void receive_failed(struct peer *peer, int error)
{
	if (error == 0) {
		peer_fail(peer);
	} else if (error == -EMSGSIZE || error == -EPROTO) {
		peer->server->registry.counters.protocol_errors++;
		peer_dismiss(peer, error == -EMSGSIZE ? "it sent a packet that is too large" : "it sent too many descriptors at once");
	} else {
		lose(peer, error);
	}
}

/* Has what nobody took closed. */
static void discard_descriptors(struct peer *peer, struct packet *packet)
{
	for (size_t i = 0; i < packet->n_descriptors; i++)
		if (packet->descriptors[i] >= 0)
			errand_close_stray(&peer->server->errands, peer->account, take_fd(&packet->descriptors[i]));
}

/* Takes a packet. Whether another one is likely to be there: a client that has asked waits for the answer. */
static bool receive_one(struct peer *peer)
{
	struct packet *packet = &peer->server->packet;
	bool more = false;
	int r;

	/* Who has so much unread must read first. */
	if (flow_is_full(peer)) {
		listen_for(peer, UV_WRITABLE);
		return false;
	}
	if (flow_is_over(peer)) {
		hold(peer);
		return false;
	}
	r = channel_receive(peer->socket, packet);
	if (r == -EAGAIN)
		return false;
	if (r > 0)
		more = take_packet(peer, packet);
	else
		receive_failed(peer, r);
	discard_descriptors(peer, packet);
	return more && !peer->failed;
}

static void receive(struct peer *peer)
{
	for (int i = 0; i < PACKETS_IN_A_TURN && receive_one(peer); i++)
		;
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
	struct peer *peer = poll->data;

	server_wake(peer->server);
	if (status < 0 || events & UV_DISCONNECT)
		peer_fail(peer);
	else if (events & UV_READABLE)
		receive(peer);
	else
		listen_for(peer, UV_READABLE);
	server_settle(peer->server);
}

/* ---- coming and going ---- */

/* The loop has let go of it, or its socket is closed: when both has happened it is no more. */
static void end_part(struct peer *peer)
{
	if (!--peer->n_parts)
		free(peer);
}

static void on_closed(uv_handle_t *handle)
{
	end_part(handle->data);
}

static void on_socket_closed(struct registry *registry, struct errand *errand, int64_t result)
{
	struct peer *peer = container_of(errand, struct peer, closing);

	(void)result;
	peer->server->n_peers--;
	account_put(registry, peer->account);
	end_part(peer);
}

/* Says why there can't be another client of this user. Where even that fails, the client sees the connection end. */
static void turn_away(struct server *server, int socket, const struct ucred *credentials)
{
	const struct log_client client = {.pid = credentials->pid, .uid = credentials->uid, .name = ""};
	struct answer *answer = &server->answer;
	int length;

	request_refuse(answer, 0, EDQUOT, "uid %u has as many clients as one user may have: %" PRIu64, (unsigned)credentials->uid,
		       server->registry.limits.quota.clients);
	note_refusal(server, &client, &answer->message.error);
	length = message_encode(&answer->message, server->outgoing, PACKET_MAX_BYTES);
	if (length > 0)
		channel_send(socket, server->outgoing, (size_t)length, NULL, 0);
}

/* Has the loop watch the socket. 0 or -errno. */
static int watch(struct peer *peer, int *socket)
{
	int r;

	r = loop_reserve(*socket);
	if (!r)
		r = uv_poll_init(&peer->server->loop, &peer->poll, *socket);
	if (r < 0)
		return r;
	peer->poll.data = peer;
	peer->socket = take_fd(socket);
	DL_APPEND(peer->server->peers, peer);
	peer->server->n_peers++;
	hear(peer);
	return 0;
}

int peer_new(struct server *server, int *socket)
{
	struct ucred credentials;
	socklen_t length = sizeof(credentials);
	struct account *account;
	struct peer *peer;
	int r;

	if (getsockopt(*socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0)
		return -errno;
	r = flow_start(*socket);
	if (r < 0)
		return r;
	r = account_get(&account, &server->registry, credentials.uid);
	if (r == -EDQUOT) {
		turn_away(server, *socket, &credentials);
		if (channel_takes_descriptors(*socket))
			errand_close_stray(&server->errands, account, take_fd(socket));
	}
	if (r < 0)
		return r;

	peer = calloc(1, sizeof(*peer));
	r = -ENOMEM;
	if (peer) {
		*peer = (struct peer){
			.server = server,
			.socket = -1,
			.bell = -1,
			.pid = credentials.pid,
			.account = account,
			.n_parts = 2,
		};
		r = watch(peer, socket);
	}
	if (r < 0) {
		account_put(&server->registry, account);
		free(peer);
	}
	return r;
}

void peer_end(struct peer *peer)
{
	struct server *server = peer->server;

	DL_DELETE(server->peers, peer);
	unhold(peer);
	if (peer->greeted) {
		queue_forget_client(&peer->client, &server->registry);
		registry_remove_client(&server->registry, &peer->client);
		client_deinit(&peer->client);
	}
	close_fdp(&peer->bell);

	DL_APPEND(server->left, peer);
	uv_poll_stop(&peer->poll);
	shutdown(peer->socket, SHUT_RDWR);
	if (!flow_is_pending(peer))
		peer_free(peer);
}

void peer_free(struct peer *peer)
{
	struct server *server = peer->server;

	DL_DELETE(server->left, peer);
	flow_discharge(peer);
	/* The loop must let go of the descriptor before it is closed. */
	uv_close((uv_handle_t *)&peer->poll, on_closed);
	/* With it goes what was not read of it, which can be any descriptor. */
	errand_run(&server->errands, &peer->closing, RUNNER_CLOSE, peer->account, take_fd(&peer->socket), on_socket_closed);
}
