/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CLIENT_HANDSHAKE_H
#define CLIENT_HANDSHAKE_H

/* How a connection begins: HELLO, and what the server answers to it. */

#include <stdint.h>

struct connection;
struct connection_options;

/*
 * Connects and is let in by @deadline_ms of clock_ms(). 0, and the connection has all that comes with it; -ENOTCONN if no server is there,
 * -EBUSY if it does not get round to it, -EPROTO if it speaks another version or makes no sense; what it refused with; or another -errno.
 * What it said with an error is in connection->complaint.
 */
int handshake(struct connection *connection, const struct connection_options *options, uint64_t deadline_ms);

#endif
