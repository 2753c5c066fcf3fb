/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/peer.h"

#include "daemon/account.h"
#include "daemon/lease.h"
#include "daemon/log.h"
#include "daemon/registry.h"
#include "daemon/request.h"
#include "daemon/server.h"
#include "proto/channel.h"
#include "proto/pulse.h"
#include "proto/util.h"

#include <inttypes.h>
#include <linux/sockios.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* Slots of a board, and so the most leases of a client. The memory is used as far as the slots are. */
#define BOARD_SLOTS 16384

/* Packets that are taken from one peer in one turn of the loop. */
#define PACKETS_IN_A_TURN 16

/*
 * What the kernel may keep for a peer that does not read. Requests are read while less than a quarter is used, which leaves room for the
 * answers of all that may wait. The kernel doubles the number.
 */
#define SEND_BUFFER (96 * 1024)

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

	va_start(arguments, format);
	vsnprintf(why, sizeof(why), format, arguments);
	va_end(arguments);
	log_event(LOG_WARNING, LOG_DISCONNECT, &client, "disconnected: %s", why);
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
	return (struct peer *)((char *)client - offsetof(struct peer, client));
}

/* ---- sending ---- */

static int send_message(struct peer *peer, const struct message *message, const int *descriptors, size_t n_descriptors)
{
	char *bytes = peer->server->outgoing;
	int length;

	length = message_encode(message, bytes, PACKET_MAX_BYTES);
	return length < 0 ? length : channel_send(peer->socket, bytes, (size_t)length, descriptors, n_descriptors);
}

/* What a limit or a quota refuses is the administrator's business too; the rest is the client's own mistake. */
static void log_refusal(const struct peer *peer, const struct message_error *error)
{
	bool short_of = error->error == ETIMEDOUT || error->error == EDQUOT || error->error == ENOMEM;
	struct log_client client = peer_log_client(peer);

	log_event(short_of ? LOG_WARNING : LOG_INFO, LOG_REFUSAL, &client, "refused: %.*s", (int)error->sentence.length,
		  error->sentence.data);
}

void peer_answer(struct peer *peer, const struct answer *answer)
{
	int r;

	if (peer->failed || !answer->message.type)
		return;
	if (answer->message.type == MESSAGE_ERROR)
		log_refusal(peer, &answer->message.error);
	/* Who has the answer sees what it has changed. */
	registry_publish(&peer->server->registry);
	r = send_message(peer, &answer->message, &answer->fd, answer->fd >= 0);
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

		DL_FOREACH2(peer->client.untold, lease, next_untold)
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

/* ---- HELLO ---- */

/* Gives the client its board, the pulse, and its end of the bell. 0 or -errno. */
static int welcome(struct peer *peer, const struct message *hello)
{
	struct registry *registry = &peer->server->registry;
	_cleanup_(board_deinit) struct board board = {0};
	_cleanup_(close_fdp) int board_fd = -1, ours = -1, theirs = -1;
	struct message message = {
		.type = MESSAGE_WELCOME,
		.serial = hello->serial,
		.welcome =
			{
				.version = PROTOCOL_VERSION,
				.n_slots = BOARD_SLOTS,
				.window_bytes = registry->limits.window,
				.limit_memory_bytes = registry->limits.memory,
				.limit_handles = registry->limits.handles,
				.limit_maps = registry->limits.maps,
			},
	};
	int ends[2], r;

	r = board_create(&board, BOARD_SLOTS, &board_fd);
	if (r < 0)
		return r;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	ours = ends[0];
	theirs = ends[1];

	r = send_message(peer, &message, (int[]){board_fd, peer->server->pulse_fd, theirs}, 3);
	if (r < 0)
		return r;

	client_init(&peer->client, peer->pid, peer->account, hello->hello.name, &board);
	registry_add_client(registry, &peer->client);
	peer->bell = take_fd(&ours);
	peer->greeted = true;
	return 0;
}

static void greet(struct peer *peer, const struct message *message)
{
	struct answer *answer = &peer->server->answer;
	int r;

	if (message->type != MESSAGE_HELLO) {
		peer->server->registry.counters.protocol_errors++;
		peer_dismiss(peer, "its first packet is not a HELLO");
		return;
	}
	if (message->hello.version != PROTOCOL_VERSION) {
		peer->server->registry.counters.refusals++;
		request_refuse(answer, message->serial, EPROTO, "the server speaks version %d of the protocol, the client version %u",
			       PROTOCOL_VERSION, message->hello.version);
		peer_answer(peer, answer);
		peer_fail(peer);
		return;
	}

	if (message->hello.name.length > MESSAGE_MAX_NAME) {
		request_refuse(answer, message->serial, EINVAL, "the client's name is longer than %d bytes", MESSAGE_MAX_NAME);
		peer_answer(peer, answer);
		peer_fail(peer);
		return;
	}
	r = welcome(peer, message);
	if (r < 0) {
		request_refuse(answer, message->serial, -r, "the server can't take another client: %s", strerror(-r));
		peer_answer(peer, answer);
		peer_fail(peer);
	}
}

/* ---- receiving ---- */

static void take_request(struct peer *peer, const struct message *message, int *fd)
{
	struct server *server = peer->server;
	struct answer *answer = &server->answer;
	_cleanup_(request_deinit) struct request request;
	int r;

	request_init(&request, &peer->client, message, fd, server->registry.now_ms);
	request.arrived_ns = uv_hrtime();
	r = request_run(&request, &server->registry, &server->report, request_is_first(peer->account, message->type), answer);
	if (r == REQUEST_WAITS && request_needs_room(&request))
		server->registry.counters.waits++;
	if (r == REQUEST_WAITS && server->registry.now_ms >= request.deadline_ms && !server->registry.cut_short) {
		request_expire(&request, &server->registry, answer);
	} else if (r == REQUEST_WAITS) {
		r = request_enqueue(&request, &server->registry);
		if (!r)
			return;
		request_refuse(answer, message->serial, -r, "too many requests wait already: %" PRIu64 " of this user",
			       peer->account->n_waiting);
		server->registry.counters.refusals++;
	}
	peer_answer_request(peer, &request, answer);
}

/* Handles one packet. Whatever is wrong with it ends the connection, before it has any effect. */
static void take_packet(struct peer *peer, struct packet *packet)
{
	struct message message;
	int r;

	r = message_decode(&message, packet->bytes, packet->n_bytes);
	if (r < 0 || message.type >= MESSAGE_ERROR || message_descriptors(&message) != packet->n_descriptors ||
	    (peer->greeted && message.type == MESSAGE_HELLO)) {
		peer->server->registry.counters.protocol_errors += r != -ENOMEM;
		peer_dismiss(peer, r == -ENOMEM ? "no memory for its packet" : "it sent a packet that the protocol does not know");
		return;
	}

	if (peer->greeted)
		take_request(peer, &message, &packet->descriptors[0]);
	else
		greet(peer, &message);
}

/* Whether the peer has so much unread that it must read first. */
static bool is_congested(const struct peer *peer)
{
	int unread;

	return ioctl(peer->socket, SIOCOUTQ, &unread) < 0 || unread > SEND_BUFFER / 2;
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

static void receive(struct peer *peer)
{
	struct packet *packet = &peer->server->packet;

	for (int i = 0; i < PACKETS_IN_A_TURN && !peer->failed; i++) {
		int r;

		if (is_congested(peer)) {
			uv_poll_start(&peer->poll, UV_WRITABLE, on_ready);
			return;
		}
		r = channel_receive(peer->socket, packet);
		if (r == -EAGAIN)
			return;
		if (r > 0)
			take_packet(peer, packet);
		else
			receive_failed(peer, r);
		packet_deinit(packet);
	}
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
	struct peer *peer = poll->data;

	server_wake(peer->server);
	if (status < 0)
		peer_fail(peer);
	else if (events & UV_READABLE)
		receive(peer);
	else if (uv_poll_start(&peer->poll, UV_READABLE, on_ready) < 0)
		peer_fail(peer);
	server_settle(peer->server);
}

/* ---- coming and going ---- */

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

/* Says why there can't be another client of this user. Where even that fails, the client sees the connection end. */
static void turn_away(struct server *server, int socket, const struct ucred *credentials)
{
	const struct log_client client = {.pid = credentials->pid, .uid = credentials->uid, .name = ""};
	struct answer *answer = &server->answer;
	int length;

	server->registry.counters.refusals++;
	request_refuse(answer, 0, EDQUOT, "uid %u has as many clients as one user may have: %" PRIu64, (unsigned)credentials->uid,
		       server->registry.limits.quota.clients);
	log_event(LOG_WARNING, LOG_REFUSAL, &client, "refused: %s", answer->text);
	length = message_encode(&answer->message, server->outgoing, PACKET_MAX_BYTES);
	if (length > 0)
		channel_send(socket, server->outgoing, (size_t)length, NULL, 0);
}

/* Has the loop watch the socket. 0 or -errno. */
static int watch(struct peer *peer, int *socket)
{
	int r;

	r = uv_poll_init(&peer->server->loop, &peer->poll, *socket);
	if (r < 0)
		return r;
	peer->poll.data = peer;
	peer->socket = take_fd(socket);
	DL_APPEND(peer->server->peers, peer);
	peer->server->n_peers++;
	if (uv_poll_start(&peer->poll, UV_READABLE, on_ready) < 0)
		peer_fail(peer);
	return 0;
}

int peer_new(struct server *server, int *socket)
{
	struct ucred credentials;
	socklen_t length = sizeof(credentials);
	int send_buffer = SEND_BUFFER;
	struct account *account;
	struct peer *peer;
	int r;

	if (getsockopt(*socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0)
		return -errno;
	if (setsockopt(*socket, SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof(send_buffer)) < 0)
		return -errno;
	r = account_get(&account, &server->registry, credentials.uid);
	if (r == -EDQUOT)
		turn_away(server, *socket, &credentials);
	if (r < 0)
		return r;

	peer = calloc(1, sizeof(*peer));
	r = -ENOMEM;
	if (peer) {
		*peer = (struct peer){.server = server, .socket = -1, .bell = -1, .pid = credentials.pid, .account = account};
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
	server->n_peers--;
	if (peer->greeted) {
		request_forget_client(&peer->client);
		registry_remove_client(&server->registry, &peer->client);
		client_deinit(&peer->client);
	}
	account_put(&server->registry, peer->account);

	/* The loop must let go of the descriptor before it is closed. */
	uv_close((uv_handle_t *)&peer->poll, on_closed);
	close_fdp(&peer->socket);
	close_fdp(&peer->bell);
}
