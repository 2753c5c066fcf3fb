/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CLIENT_ANSWER_H
#define CLIENT_ANSWER_H

/* What is done with an answer of the server. */

#include <stdbool.h>

struct connection;
struct packet;

/*
 * Handles one packet, of which descriptors @are_missing if this process had none left. 0, or -errno if the connection makes no sense any
 * more.
 */
int answer_handle(struct connection *connection, struct packet *packet, bool are_missing);

#endif
