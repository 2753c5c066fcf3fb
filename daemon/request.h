/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_REQUEST_H
#define DAEMON_REQUEST_H

/*
 * Requests: what a client asks, after its HELLO, and what it is answered. Values in, values out; no socket.
 *
 * A request that can't be answered at once waits in the queue of its user, first come first served, and is tried again when something
 * was released, until its deadline.
 */

#include "daemon/shortage.h"
#include "proto/channel.h"
#include "proto/message.h"

#include <stdbool.h>
#include <stdint.h>

struct account;
struct client;
struct registry;
struct report_server;
struct volume;

/* A request waits at most this long, whatever it says. */
#define REQUEST_MAX_DEADLINE_MS     3600000
#define REQUEST_DEFAULT_DEADLINE_MS 5000

struct request {
	struct client *client;
	struct message message;
	int fd; /* of an OPEN; else -1 */
	uint64_t deadline_ms;
	uint64_t arrived_ns; /* when it was read */
	bool over_quota; /* why it waits: not for the limits, but for the user's quota */
	bool yields;     /* or for a writer of the file; then others need not wait until it has had its turn */
	struct volume *volume; /* of an OPEN: what the file is on, a reference; NULL before it was looked up */
	bool started;
	uint64_t census; /* the one that a STATUS waits for */
	uint64_t bytes_freed;
	uint64_t maps_freed;

	char *text; /* in the queue: its own copy of the message's text */
	struct request *prev, *next; /* account->waiting */
};

struct answer {
	struct message message; /* type 0: none is due */
	int fd;                 /* borrowed; -1 if the answer carries none */
	char text[PACKET_MAX_BYTES - 64];
};

enum request_condition { REQUEST_WAITS = 1 };

/* Prepares a request from a message that was checked; takes *@fd. */
void request_init(struct request *request, struct client *client, const struct message *message, int *fd, uint64_t now_ms);

/* Has its descriptor closed if nobody took it, and frees its text. */
void request_deinit(struct request *request, struct registry *registry);

/*
 * Does what is asked. 0 if @answer is filled, which may be that of an error; REQUEST_WAITS if it can't be done yet. @in_turn: no
 * other request of its type and user waits for room before this one.
 */
int request_run(struct request *request, struct registry *registry, const struct report_server *server, bool in_turn,
		struct answer *answer);

/* Whether it waits for room, if it waits. */
bool request_needs_room(const struct request *request);

/* Whether it waits for something else than its turn: a file system, or a writer. */
bool request_waits_aside(const struct request *request);

/* Says, of one that does, which limit or quota it waits for, and who pins how much. */
void request_describe_wait(const struct request *request, const struct registry *registry, char sentence[static SHORTAGE_MAX]);

/* What a request that waits does, and what it waits for, each in a few words. */
const char *request_name(const struct request *request);
const char *request_shortage(const struct request *request, const struct registry *registry);

/* Fills @answer for a request whose deadline has passed. */
void request_expire(struct request *request, struct registry *registry, struct answer *answer);

/* Fills @answer with an error: a positive errno value, and a sentence in the manner of printf(3). */
void request_refuse(struct answer *answer, uint32_t serial, int error, const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
