/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/hello.h"

#include "daemon/account.h"
#include "daemon/peer.h"
#include "daemon/registry.h"
#include "daemon/request.h"
#include "daemon/room.h"
#include "daemon/server.h"
#include "proto/channel.h"
#include "proto/util.h"

#include <string.h>
#include <sys/socket.h>

/* Slots of a board, and so the most leases of a client. The memory is used as far as the slots are. */
#define BOARD_SLOTS 16384

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
	/* Nothing is ever read of it, and so no descriptor may wait there to be closed. */
	if (shutdown(ours, SHUT_RD) < 0)
		return -errno;

	/* From now on it may send some. */
	channel_take_descriptors(peer->socket, true);
	r = peer_send(peer, &message, (int[]){board_fd, peer->server->pulse_fd, theirs}, 3);
	if (r < 0)
		return r;

	client_init(&peer->client, peer->pid, peer->account, hello->hello.name, &board);
	registry_add_client(registry, &peer->client);
	peer->bell = take_fd(&ours);
	peer->greeted = true;
	return 0;
}

/* Sends the refusal that is in the answer of the server, and ends the peer. */
static void turn_down(struct peer *peer)
{
	peer_answer(peer, &peer->server->answer);
	peer_fail(peer);
}

void hello_greet(struct peer *peer, const struct message *message)
{
	struct answer *answer = &peer->server->answer;
	int r;

	if (message->type != MESSAGE_HELLO) {
		peer->server->registry.counters.protocol_errors++;
		peer_dismiss(peer, "its first packet is not a HELLO");
		return;
	}
	if (message->hello.version != PROTOCOL_VERSION) {
		request_refuse(answer, message->serial, EPROTO, "the server speaks version %d of the protocol, the client version %u",
			       PROTOCOL_VERSION, message->hello.version);
		turn_down(peer);
		return;
	}

	if (message->hello.name.length > MESSAGE_MAX_NAME) {
		request_refuse(answer, message->serial, EINVAL, "the client's name is longer than %d bytes", MESSAGE_MAX_NAME);
		turn_down(peer);
		return;
	}
	r = welcome(peer, message);
	if (r == -ENOMEM && room_relieve(&peer->server->registry, &(struct need){.bytes = BOARD_SLOTS * sizeof(struct board_slot)}))
		r = welcome(peer, message);
	if (r == -EPIPE || r == -ECONNRESET) {
		/* It has gone. */
		peer_fail(peer);
	} else if (r < 0) {
		request_refuse(answer, message->serial, -r, "the server can't take another client: %s", strerror(-r));
		turn_down(peer);
	}
}
