/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/hello.h"

#include "daemon/account.h"
#include "daemon/outfit.h"
#include "daemon/peer.h"
#include "daemon/registry.h"
#include "daemon/request.h"
#include "daemon/room.h"
#include "daemon/server.h"
#include "proto/channel.h"
#include "proto/util.h"

#include <string.h>

/* Takes the spare one, or makes one. 0 or -errno. */
static int take_outfit(struct server *server, struct outfit *outfit)
{
	if (!outfit_is_made(&server->spare))
		return outfit_make(outfit);
	*outfit = server->spare;
	server->spare = OUTFIT_NONE;
	return 0;
}

/* Gives the client its board, the pulse, and its end of the bell. 0 or -errno. */
static int welcome(struct peer *peer, const struct message *hello)
{
	struct registry *registry = &peer->server->registry;
	_cleanup_(outfit_deinit) struct outfit outfit = OUTFIT_NONE;
	struct message message = {
		.type = MESSAGE_WELCOME,
		.serial = hello->serial,
		.welcome =
			{
				.version = PROTOCOL_VERSION,
				.n_slots = OUTFIT_SLOTS,
				.window_bytes = registry->limits.window,
				.limit_memory_bytes = registry->limits.memory,
				.limit_handles = registry->limits.handles,
				.limit_maps = registry->limits.maps,
			},
	};
	int r;

	r = take_outfit(peer->server, &outfit);
	if (r < 0)
		return r;

	/* From now on it may send some. */
	channel_take_descriptors(peer->socket, true);
	r = peer_send(peer, &message, (int[]){outfit.board_fd, peer->server->pulse_fd, outfit.client_bell}, 3);
	if (r < 0)
		return r;

	client_init(&peer->client, peer->pid, peer->account, hello->hello.name, &outfit.board);
	registry_add_client(registry, &peer->client);
	peer->bell = take_fd(&outfit.bell);
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
	if (r == -ENOMEM && room_relieve(&peer->server->registry, &(struct need){.bytes = OUTFIT_SLOTS * sizeof(struct board_slot)}))
		r = welcome(peer, message);
	if (r == -EPIPE || r == -ECONNRESET) {
		/* It has gone. */
		peer_fail(peer);
	} else if (r < 0) {
		request_refuse(answer, message->serial, -r, "the server can't take another client: %s", strerror(-r));
		turn_down(peer);
	}
}

void hello_prepare(struct server *server)
{
	if (!outfit_is_made(&server->spare) && server->n_peers < server->registry.limits.clients)
		outfit_make(&server->spare);
}
