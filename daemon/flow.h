/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_FLOW_H
#define DAEMON_FLOW_H

/*
 * The flow between the server and its peers: what was sent and is not read yet, and the descriptors among it, which the kernel counts as the
 * server's for as long as they are in flight. Who lets too much pile up gets no more, and is not read from, before that is gone: it alone
 * must wait.
 *
 * The kernel says how much one socket has unread, not of which packets. So all descriptors that were sent to a peer count until nothing is
 * unread any more.
 */

#include <stdbool.h>
#include <stdint.h>

struct peer;
struct server;

/* Has the kernel keep so much for a peer that does not read as flow_is_full() supposes. 0 or -errno. */
int flow_start(int socket);

/* Counts a packet that was sent to a peer, with so many descriptors. */
void flow_charge(struct peer *peer, uint64_t n_descriptors);

/* Nothing is in flight to it any more: it has all, or its socket is about to be closed. */
void flow_discharge(struct peer *peer);

/* Whether the peer has so much unread that it must read before it is read from. */
bool flow_is_full(struct peer *peer);

/* Whether something is still in flight to it, as counted now. */
bool flow_is_pending(struct peer *peer);

/* Whether an answer to the peer may be made: there is room for one, and its user has not too much in flight. */
bool flow_takes_answer(struct peer *peer);

/* Whether nothing more may come of the peer's user before some of what is in flight, or of what came and is to be closed, is gone. */
bool flow_is_over(const struct peer *peer);

/* Counts anew what is in flight to all peers: they may have received it since. */
void flow_count(struct server *server);

#endif
