/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/second.h"

#include "daemon/hello.h"
#include "daemon/log.h"
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
	registry_look_around(&server->registry);
	server->has_failed_to_accept = false;
	fail_silent(server);
	peers_see_off(server);
	atomic_store_explicit(&server->pulse->second, (uint32_t)((server->registry.now_ms - server->report.started_ms) / SECOND_MS),
			      memory_order_relaxed);
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

/* Files change, also those that were left behind. */
static bool is_needed(const struct server *server)
{
	return server->peers || server->left || server->registry.by_id || server->has_failed_to_accept || has_to_look_at_runners(server);
}

void second_settle(struct server *server)
{
	if (!is_needed(server))
		uv_timer_stop(&server->second);
	else if (!uv_is_active((uv_handle_t *)&server->second))
		uv_timer_start(&server->second, on_second, SECOND_MS, SECOND_MS);
}

/* ---- beginning and end ---- */

void second_init(struct server *server)
{
	uv_timer_init(&server->loop, &server->second);
	server->second.data = server;
}

void second_close(struct server *server)
{
	uv_close((uv_handle_t *)&server->second, NULL);
}
