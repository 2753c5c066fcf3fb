/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_SERVER_H
#define DAEMON_SERVER_H

/*
 * The server: the loop, the socket that clients connect to, the clock, and the requests that wait.
 *
 * Whatever happened in a turn of the loop, it ends with server_settle(): waiting requests are tried again, bells are rung, failed peers
 * end, and the pulse shows what is used now.
 */

#include "daemon/errand.h"
#include "daemon/listener.h"
#include "daemon/outfit.h"
#include "daemon/registry.h"
#include "daemon/report.h"
#include "daemon/request.h"
#include "proto/channel.h"

#include <uv.h>

struct peer;
struct pulse;

struct server {
	uv_loop_t loop;
	uv_poll_t accepting;
	uv_poll_t hearing;    /* of writers of guarded files */
	uv_poll_t noticing;   /* that files may be deleted; not while `second` runs */
	uv_timer_t second;    /* see second.h */
	uv_timer_t impatient; /* runs while anyone waits, is held, or has to unmap, or it shrinks: then the boards are looked at */
	uv_idle_t busy;       /* runs while the last turn was too short to look at all that might be evicted */
	uv_poll_t done;       /* of errands */
	bool shrinks;         /* more is in use than a lowered limit allows */
	bool look_again;      /* at what waits, whether or not something was released */
	bool short_of_room;   /* a request waits so long that it was said */
	bool short_of_runners; /* another can't be started, which was said */
	bool stopping;

	struct listener listener;
	int ear;     /* see write_guard_open_ear() */
	int notices; /* see notice_open_ear(); negative: none are given */
	struct registry registry;
	struct errands errands;
	struct report_server report;
	struct heap heap; /* for the report */
	uint64_t releases_seen; /* of the registry, when what waits was last tried */
	struct pulse *pulse;
	int pulse_fd;
	struct outfit spare; /* for the next client, if it is made; see hello_prepare() */

	struct peer *peers;
	struct peer *left; /* whose sockets stay for what was not received */
	uint64_t n_peers;  /* with them, and those whose sockets are not closed yet */
	uint64_t n_held;
	uint64_t n_in_flight; /* descriptors that were sent, and may not be received yet */
	bool some_failed;
	bool has_failed_to_accept; /* for want of something: it is tried again in the next second */

	/* Scratch, since the loop is one thread: what came, what is answered, and that as it is sent. */
	struct packet packet;
	struct answer answer;
	char outgoing[PACKET_MAX_BYTES];
};

/*
 * Prepares a server on a socket that listens, with limits that were checked. Takes *@listener. 0, or -errno with a sentence in @complaint
 * (@size bytes). Nothing is to be undone then.
 */
int server_init(struct server *server, const struct limits *limits, struct listener *listener, char *complaint, size_t size);

/* Serves until server_stop(). 0 or -errno. Where somebody has killed one of its runners, the process ends. */
int server_run(struct server *server);

/* Has other limits hold from now on; see registry_set_limits(). */
void server_set_limits(struct server *server, const struct limits *limits);

/* Ends all connections, and server_run() soon. May be called again. */
void server_stop(struct server *server);

/* Frees all and removes the socket, after server_run(). */
void server_deinit(struct server *server);

/* How things are, in a line for people. */
void server_describe(const struct server *server, char *line, size_t size);

/* For peers: before and after something happens. */
void server_wake(struct server *server);
void server_settle(struct server *server);

#endif
