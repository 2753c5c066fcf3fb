/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/second.h"

#include "daemon/hello.h"
#include "daemon/log.h"
#include "daemon/notice.h"
#include "daemon/peer.h"
#include "daemon/server.h"
#include "daemon/waiting.h"
#include "proto/pulse.h"
#include "proto/util.h"

#include <string.h>

#define SECOND_MS 1000

/* ---- what is done ---- */

static void fail_silent(struct server *server)
{
	struct peer *peer;

	DL_FOREACH(server->peers, peer)
		if (!peer->greeted && !peer->held && server->registry.now_ms - peer->heard_ms >= HELLO_TIMEOUT_MS)
			peer_dismiss(peer, "it has not said HELLO within %d ms", HELLO_TIMEOUT_MS);
}

/* Where one was killed, the server ends as if it had been killed itself: what is left of it they bury, and another is started. */
static void look_at_runners(struct server *server)
{
	struct runners *runners = &server->errands.runners;
	int error = runners->error;

	if (!runners_look_around(runners)) {
		log_event(LOG_ERR, LOG_TROUBLE, NULL, "one of the processes that close files was killed: the server ends");
		_exit(EXIT_FAILURE);
	}
	if (error && !server->short_of_runners)
		log_event(LOG_ERR, LOG_TROUBLE, NULL, "can't start another process that closes files: %s", strerror(-error));
	server->short_of_runners = error;
	errands_run(&server->errands);
}

static void on_second(uv_timer_t *timer)
{
	struct server *server = timer->data;

	server_wake(server);
	pulse_advance(server->pulse);
	notice_hear(server->notices);
	registry_look_around(&server->registry);
	server->has_failed_to_accept = false;
	fail_silent(server);
	peers_see_off(server);
	waiting_tell_shortage(server);
	log_settle();
	server_settle(server);
	look_at_runners(server);
}

/* ---- when ---- */

static bool has_to_look_at_runners(const struct server *server)
{
	return server->errands.n || server->errands.runners.n > RUNNERS_KEPT;
}

static bool is_needed(const struct server *server)
{
	const struct registry *registry = &server->registry;

	return server->peers || server->left || registry->bare || registry->n_unnoticed || server->has_failed_to_accept ||
	       has_to_look_at_runners(server);
}

/* The pulse may have stood still. */
static void begin(struct server *server)
{
	if (uv_is_active((uv_handle_t *)&server->second))
		return;
	atomic_store_explicit(&server->pulse->second, (uint32_t)((server->registry.now_ms - server->report.started_ms) / SECOND_MS),
			      memory_order_relaxed);
	uv_timer_start(&server->second, on_second, SECOND_MS, 0);
}

static void on_notice(uv_poll_t *poll, int status, int events)
{
	struct server *server = poll->data;

	(void)status;
	(void)events;
	server_wake(server);
	begin(server);
	server_settle(server);
}

void second_settle(struct server *server)
{
	bool listens = uv_is_active((uv_handle_t *)&server->noticing), runs;

	if (is_needed(server))
		begin(server);
	runs = uv_is_active((uv_handle_t *)&server->second);
	if (runs && listens)
		uv_poll_stop(&server->noticing);
	else if (!runs && !listens && server->notices >= 0)
		uv_poll_start(&server->noticing, UV_READABLE, on_notice);
}

/* ---- beginning and end ---- */

void second_init(struct server *server)
{
	uv_timer_init(&server->loop, &server->second);
	server->second.data = server->noticing.data = server;
	server->notices = notice_open_ear();
	if (server->notices >= 0 && uv_poll_init(&server->loop, &server->noticing, server->notices) < 0)
		close_fdp(&server->notices);
}

void second_close(struct server *server)
{
	uv_close((uv_handle_t *)&server->second, NULL);
	if (server->notices >= 0)
		uv_close((uv_handle_t *)&server->noticing, NULL);
}
