/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/flow.h"

#include "daemon/account.h"
#include "daemon/peer.h"
#include "daemon/server.h"
#include "proto/util.h"

#include <limits.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/*
 * What the kernel may keep for a peer that does not read. Requests are read while less than a quarter is used, which leaves room for the
 * largest answer. The kernel doubles the number.
 */
#define SEND_BUFFER (96 * 1024)

int flow_start(int socket)
{
	int bytes = SEND_BUFFER;

	return setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)) < 0 ? -errno : 0;
}

void flow_charge(struct peer *peer, uint64_t n_descriptors)
{
	peer->unread = true;
	peer->n_in_flight += n_descriptors;
	peer->account->n_in_flight += n_descriptors;
	peer->server->n_in_flight += n_descriptors;
}

void flow_discharge(struct peer *peer)
{
	peer->server->n_in_flight -= peer->n_in_flight;
	peer->account->n_in_flight -= peer->n_in_flight;
	peer->n_in_flight = 0;
}

/* How many bytes, as the kernel counts, the peer has not read yet of what was sent to it. It is only asked when that may be some. */
static int count_unread(struct peer *peer)
{
	int unread;

	if (!peer->unread)
		return 0;
	if (ioctl(peer->socket, SIOCOUTQ, &unread) < 0)
		unread = INT_MAX;
	if (!unread) {
		flow_discharge(peer);
		peer->unread = false;
	}
	return unread;
}

bool flow_is_full(struct peer *peer)
{
	return count_unread(peer) > SEND_BUFFER / 2;
}

bool flow_is_pending(struct peer *peer)
{
	count_unread(peer);
	return peer->n_in_flight;
}

static bool has_too_much_in_flight(const struct peer *peer)
{
	const struct limits *limits = &peer->server->registry.limits;

	return limits_are_reached(peer->account->n_in_flight, limits->quota.in_flight, peer->server->n_in_flight, limits->in_flight);
}

bool flow_takes_answer(struct peer *peer)
{
	return !flow_is_full(peer) && !has_too_much_in_flight(peer);
}

bool flow_is_over(const struct peer *peer)
{
	const struct limits *limits = &peer->server->registry.limits;

	return has_too_much_in_flight(peer) ||
	       limits_are_reached(peer->account->n_strays, limits->quota.strays, peer->server->errands.n_strays, limits->strays);
}

void flow_count(struct server *server)
{
	struct peer *peer;

	DL_FOREACH(server->peers, peer)
		if (peer->n_in_flight)
			count_unread(peer);
}
