/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/server.h"

#include "daemon/account.h"
#include "daemon/flow.h"
#include "daemon/hello.h"
#include "daemon/lease.h"
#include "daemon/log.h"
#include "daemon/loop.h"
#include "daemon/peer.h"
#include "daemon/room.h"
#include "daemon/second.h"
#include "daemon/size.h"
#include "daemon/waiting.h"
#include "daemon/write-guard.h"
#include "daemon/writers.h"
#include "proto/channel.h"
#include "proto/pulse.h"
#include "proto/util.h"

#include <assert.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

/* How often boards are looked at while a request or a writer waits, or more is in use than a lowered limit allows. */
#define IMPATIENT_MS 10

/* ---- what has to be done after each event ---- */

void server_wake(struct server *server)
{
	server->registry.now_ms = uv_now(&server->loop);
	registry_begin_turn(&server->registry);
}

/*
 * Ends those that have not unmapped in time what was recalled, as far as they could have said so. That is counted in looks at the boards, so
 * that a server which was stopped itself blames nobody.
 */
static void fail_late(struct server *server)
{
	uint64_t timeout_ms = server->registry.limits.recall_timeout_ms, most = timeout_ms / IMPATIENT_MS, ticks = server->registry.ticks;
	const struct lease *lease;

	DL_FOREACH(server->registry.recalled, lease)
	{
		struct peer *peer = peer_of_client(lease->client);

		if (ticks - lease->recalled_tick < most)
			break;
		if (peer->held || ticks - peer->heard_tick < most || lease_is_unmapped(lease))
			continue;
		peer_dismiss(peer, "it has not unmapped what was recalled within %" PRIu64 " ms", timeout_ms);
	}
}

/* Whether there were any. */
static bool end_failed(struct server *server)
{
	struct peer *peer, *next;

	if (!server->some_failed)
		return false;
	server->some_failed = false;
	DL_FOREACH_SAFE(server->peers, peer, next)
		if (peer->failed)
			peer_end(peer);
	return true;
}

/* Goes on with peers whose users have come down. */
static void look_at_held(struct server *server)
{
	struct peer *peer;

	if (!server->n_held)
		return;
	DL_FOREACH(server->peers, peer)
		peer_look_again(peer);
}

static void ring_bells(struct server *server)
{
	struct peer *peer;

	if (!server->registry.n_untold)
		return;
	DL_FOREACH(server->peers, peer)
		peer_ring(peer);
}

static void on_impatient(uv_timer_t *timer);
static void on_busy(uv_idle_t *idle);
static void on_connection(uv_poll_t *poll, int status, int events);

static void set_impatient(struct server *server, bool wanted)
{
	if (!wanted)
		uv_timer_stop(&server->impatient);
	else if (!uv_is_active((uv_handle_t *)&server->impatient))
		uv_timer_start(&server->impatient, on_impatient, IMPATIENT_MS, IMPATIENT_MS);
}

/* A connection that is turned away may become a stray. */
static bool may_accept(const struct server *server)
{
	const struct limits *limits = &server->registry.limits;

	return !server->has_failed_to_accept && server->n_peers < limits->clients && server->errands.n_strays < limits->strays;
}

/* For what clients have to unmap. */
static bool does_somebody_wait(const struct server *server)
{
	return waiting_is_any(server) || server->shrinks;
}

void server_settle(struct server *server)
{
	bool some_ended = false, waits;

	registry_set_waits(&server->registry, does_somebody_wait(server));
	do {
		some_ended |= end_failed(server);
		writers_let_in(&server->registry);
		waiting_serve(server);
	} while (server->some_failed);
	/* Those who did may have now what they waited for. */
	waits = does_somebody_wait(server);
	if (!waits)
		registry_set_waits(&server->registry, false);

	look_at_held(server);
	ring_bells(server);
	registry_publish(&server->registry);

	if (server->stopping)
		return;
	if (some_ended)
		hello_prepare(server);
	second_settle(server);
	set_impatient(server, waits || server->registry.recalled || server->registry.breaking || server->n_held);
	if (server->registry.cut_short && waiting_is_any(server))
		uv_idle_start(&server->busy, on_busy);
	if (may_accept(server) && !uv_is_active((uv_handle_t *)&server->accepting))
		uv_poll_start(&server->accepting, UV_READABLE, on_connection);
}

static void on_impatient(uv_timer_t *timer)
{
	struct server *server = timer->data;

	server->look_again = true;
	server_wake(server);
	registry_tick(&server->registry);
	fail_late(server);
	if (server->n_held || waiting_is_any(server))
		flow_count(server);
	if (server->n_held)
		peers_see_off(server);
	if (server->shrinks)
		server->shrinks = !room_shrink(&server->registry);
	writers_recall(&server->registry);
	server_settle(server);
}

static void on_busy(uv_idle_t *idle)
{
	struct server *server = idle->data;

	uv_idle_stop(idle);
	server->look_again = true;
	server_wake(server);
	server_settle(server);
}

/* ---- writers ---- */

/* When more is to be heard, the loop is told at once. */
static void on_writers(uv_poll_t *poll, int status, int events)
{
	struct server *server = poll->data;
	int guards[WRITE_GUARD_MOST_HEARD];
	bool any;
	size_t n;

	(void)status;
	(void)events;
	server_wake(server);
	n = write_guard_hear(server->ear, guards, &any);
	for (size_t i = 0; i < n; i++)
		writers_hear(&server->registry, guards[i]);
	if (any)
		writers_hear_any(&server->registry);
	writers_recall(&server->registry);
	server_settle(server);
}

/* ---- errands ---- */

static void on_errands_done(uv_poll_t *poll, int status, int events)
{
	struct server *server = poll->data;
	uint64_t handles = server->registry.usage.handles;

	(void)status;
	(void)events;
	server_wake(server);
	errands_end_done(&server->errands, &server->registry);
	/* Where a file was closed there may be room for the errand of another. */
	if (server->registry.usage.handles < handles)
		registry_close_idle_remote(&server->registry);
	server->look_again = true;
	server_settle(server);
}

/* ---- connections ---- */

static void accept_one(struct server *server)
{
	_cleanup_(close_fdp) int socket = accept4(server->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (socket >= 0) {
		peer_new(server, &socket);
		return;
	}
	server->has_failed_to_accept = errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS;
	log_event(LOG_ERR, LOG_TROUBLE, NULL, "can't take a connection: %s", strerror(errno));
}

/*
 * Takes one connection: when more wait, the loop is told at once. Where there is no room for one, it waits in the backlog until a peer
 * has gone; where the kernel has none, until a second has passed.
 */
static void on_connection(uv_poll_t *poll, int status, int events)
{
	struct server *server = poll->data;

	(void)status;
	(void)events;
	server_wake(server);
	if (may_accept(server))
		accept_one(server);
	if (!may_accept(server))
		uv_poll_stop(&server->accepting);
	server_settle(server);
}

/* ---- beginning and end ---- */

static int start_pulse(struct server *server)
{
	int r;

	r = pulse_create(&server->pulse, &server->pulse_fd);
	if (r < 0)
		return r;
	if (getrandom(&server->pulse->instance, sizeof(server->pulse->instance), 0) < 0)
		return -errno;
	return 0;
}

/* Undoes what of server_init() was done. */
static void discard(struct server *server)
{
	errands_stop(&server->errands);
	listener_close(&server->listener);
	pulse_free(server->pulse);
	close_fdp(&server->pulse_fd);
	close_fdp(&server->ear);
	uv_loop_close(&server->loop);
}

/* Has the loop watch the socket, what is heard of writers, and what errands are done. 0 or -errno; then it has no handle. */
static int start_watching(struct server *server)
{
	uv_poll_t *polls[] = {&server->accepting, &server->hearing, &server->done};
	const int fds[] = {server->listener.fd, server->ear, server->errands.runners.socket};
	size_t n = 0;
	int r = 0;

	for (; n < sizeof(polls) / sizeof(polls[0]) && !r; n += !r)
		r = uv_poll_init(&server->loop, polls[n], fds[n]);
	if (!r)
		return 0;
	while (n)
		uv_close((uv_handle_t *)polls[--n], NULL);
	uv_run(&server->loop, UV_RUN_NOWAIT);
	return r;
}

static int start(struct server *server, const struct limits *limits, char *complaint, size_t size)
{
	int r;

	r = start_pulse(server);
	if (r < 0) {
		snprintf(complaint, size, "no shared memory for the pulse: %s", uv_strerror(r));
		return r;
	}
	server->ear = write_guard_open_ear();
	if (server->ear < 0) {
		snprintf(complaint, size, "can't hear of writers: %s", strerror(-server->ear));
		return server->ear;
	}
	/* What nobody has said HELLO to can be closed at once then. */
	channel_take_descriptors(server->listener.fd, false);
	r = start_watching(server);
	if (r < 0) {
		snprintf(complaint, size, "can't wait for connections: %s", uv_strerror(r));
		return r;
	}
	second_init(server);
	uv_timer_init(&server->loop, &server->impatient);
	uv_idle_init(&server->loop, &server->busy);
	server->done.data = server->hearing.data = server;
	server->accepting.data = server->impatient.data = server->busy.data = server;
	registry_init(&server->registry, limits, server->pulse, &server->errands, server->notices);
	uv_poll_start(&server->done, UV_READABLE, on_errands_done);
	uv_poll_start(&server->hearing, UV_READABLE, on_writers);
	return 0;
}

int server_init(struct server *server, const struct limits *limits, struct listener *listener, char *complaint, size_t size)
{
	int r;

	/* Where standard error is a pipe, its reader may go. */
	signal(SIGPIPE, SIG_IGN);
	/* Whoever has started the server may have ignored it, and then nothing could be learned of runners that end. */
	signal(SIGCHLD, SIG_DFL);
	memset(server, 0, sizeof(*server));
	server->pulse_fd = server->ear = server->notices = -1;
	server->spare = OUTFIT_NONE;
	server->listener = *listener;
	*listener = LISTENER_NONE;
	/* Before there is anything that runners should not keep. */
	r = errands_start(&server->errands);
	if (r < 0) {
		snprintf(complaint, size, "can't start the processes that close files: %s", uv_strerror(r));
		listener_close(&server->listener);
		return r;
	}
	loop_prepare();
	r = uv_loop_init(&server->loop);
	if (r < 0) {
		snprintf(complaint, size, "no event loop: %s", uv_strerror(r));
		errands_stop(&server->errands);
		listener_close(&server->listener);
		return r;
	}
	r = start(server, limits, complaint, size);
	if (r < 0) {
		discard(server);
		return r;
	}

	server->report = (struct report_server){
		.socket = server->listener.path,
		.started_ms = uv_now(&server->loop),
		.heap = &server->heap,
		.errands = &server->errands,
	};
	server_wake(server);
	server_settle(server);
	hello_prepare(server);
	return 0;
}

int server_run(struct server *server)
{
	int r = uv_run(&server->loop, UV_RUN_DEFAULT);

	return r < 0 ? r : 0;
}

void server_set_limits(struct server *server, const struct limits *limits)
{
	server_wake(server);
	registry_set_limits(&server->registry, limits);
	server->shrinks = !room_shrink(&server->registry);
	server->look_again = true;
	server_settle(server);
}

void server_stop(struct server *server)
{
	struct peer *peer, *next;

	if (server->stopping)
		return;
	server->stopping = true;
	uv_close((uv_handle_t *)&server->accepting, NULL);
	uv_close((uv_handle_t *)&server->hearing, NULL);
	/* Those who were not taken wait in it, with whatever they have sent. Where no runner is idle, it is closed with the process. */
	runners_call(&server->errands.runners, RUNNER_CLOSE, 0, listener_end(&server->listener));
	DL_FOREACH(server->peers, peer)
		peer_fail(peer);
	server_settle(server);
	DL_FOREACH_SAFE(server->left, peer, next)
		peer_free(peer);
	uv_close((uv_handle_t *)&server->done, NULL);
	second_close(server);
	uv_close((uv_handle_t *)&server->impatient, NULL);
	uv_close((uv_handle_t *)&server->busy, NULL);
}

void server_describe(const struct server *server, char *line, size_t size)
{
	const struct registry *registry = &server->registry;
	char used[SIZE_TEXT_MAX], limit[SIZE_TEXT_MAX];
	const struct client *client;
	uint64_t n_clients;

	DL_COUNT(registry->clients, client, n_clients);
	snprintf(line, size, "%" PRIu64 " clients; %s of %s in %" PRIu64 " maps of %" PRIu64 " files%s", n_clients,
		 size_print(registry->usage.memory, used), size_print(registry->limits.memory, limit), registry->usage.maps,
		 registry->usage.handles, server->short_of_room ? "; requests wait for room" : "");
}

void server_deinit(struct server *server)
{
	int r;

	registry_deinit(&server->registry);
	errands_give_up(&server->errands, &server->registry);
	errands_stop(&server->errands);
	r = uv_loop_close(&server->loop);
	assert(r == 0);
	(void)r;
	loop_release();
	outfit_deinit(&server->spare);
	pulse_free(server->pulse);
	close_fdp(&server->pulse_fd);
	close_fdp(&server->ear);
	close_fdp(&server->notices);
}
