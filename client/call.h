/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CLIENT_CALL_H
#define CLIENT_CALL_H

/* A call: a request to the server, and its answer. */

#include "proto/message.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct connection;

struct call {
	struct message answer;   /* its texts are gone, but for figures */
	uint64_t expected_bytes; /* that a lease will have, as far as is known, */
	uint64_t most_bytes;     /* and with what is asked for ahead */
	void *address;           /* of a lease that was granted: its map */
	bool got_ahead;          /* it had windows ahead; then -ENOMEM may be for these alone, and nothing was trimmed for it */
	int *descriptor;         /* where the caller wants the lease's, and then owns it; NULL if it doesn't */
	char *rows;              /* the caller's room for figures, if it asks for some */
	size_t rows_size;

	const struct message *request; /* while it runs */
	bool handling; /* the answer is here and being handled: the call must stay */
	bool done;
	int error;
	struct call *prev, *next; /* connection->calls */
};

/*
 * Sends @request, with a descriptor unless it is -1, and waits for the answer, which the server must have given by @deadline_ms of
 * clock_ms(). 0 and call->answer, which is of a type that answers this request; -ENOTCONN if the connection is dead, or the server does
 * not answer, which ends it; -EPROTO if the answer makes no sense, which ends it too; -EMFILE if this process has no descriptor left for the one
 * that came with it; or what the server refused with. A lease that was granted is mapped and pinned.
 */
int call_run(struct call *call, struct connection *connection, struct message *request, int descriptor, uint64_t deadline_ms);

#endif
