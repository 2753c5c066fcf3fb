/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/waiting.h"

#include "daemon/account.h"
#include "daemon/flow.h"
#include "daemon/log.h"
#include "daemon/peer.h"
#include "daemon/queue.h"
#include "daemon/server.h"
#include "daemon/shortage.h"

/* Whoever waits less than that is nothing to talk about. */
#define SHORTAGE_NS UINT64_C(1000000000)

/* Requests of a user that are tried after an event although it is not their turn: what an event costs does not grow with all that wait. */
#define TRIES_OUT_OF_TURN 16

/* Tries a request again, unless it is only looked whether its deadline has passed. True if it was answered, and is gone. */
static bool retry(struct server *server, struct request *request, bool in_turn, bool look_only)
{
	struct answer *answer = &server->answer;
	int r = REQUEST_WAITS;

	if (!look_only)
		r = request_run(request, &server->registry, &server->report, in_turn, answer);
	if (r == REQUEST_WAITS) {
		/* Where this turn was too short to find out, the next one tells. */
		if (server->registry.now_ms < request->deadline_ms || server->registry.cut_short)
			return false;
		request_expire(request, &server->registry, answer);
	}
	peer_answer_request(peer_of_client(request->client), request, answer);
	queue_remove(request, &server->registry);
	return true;
}

/*
 * Answers one request of a user: of each type the first that waits is tried, not counting those that wait for something else than room, and
 * those whose clients have so much to read that there is no room for the answer: many may come free at once, before they can read. Of
 * the others, which may need no room any more, or not wait any more, some are tried, and the next time those behind them. False if none
 * could be answered.
 */
static bool serve_one(struct server *server, struct account *account)
{
	bool waits[MESSAGE_ERROR] = {0}; /* by type: whether one of it goes on waiting for its turn */
	struct request *request, *next, *last = account->tried;
	unsigned tries = TRIES_OUT_OF_TURN;

	DL_FOREACH_SAFE(account->waiting, request, next)
	{
		bool *waits_already = &waits[request->message.type], is_first = !*waits_already && !request_waits_aside(request);
		bool is_next = !is_first && !last && tries, is_due = server->registry.now_ms >= request->deadline_ms;

		if (request == last)
			last = NULL;
		if (is_next) {
			account->tried = request;
			tries--;
		}
		if (!(is_first || is_next || is_due) || !flow_takes_answer(peer_of_client(request->client)))
			continue;
		if (retry(server, request, !*waits_already, !is_first && !is_next))
			return true;
		*waits_already = *waits_already || is_first;
	}
	if (tries)
		account->tried = NULL;
	return false;
}

void waiting_serve(struct server *server)
{
	struct registry *registry = &server->registry;
	bool released = server->releases_seen != registry->releases;
	struct account *account, *next;

	if (!server->look_again && !released)
		return;
	server->look_again = false;
	server->releases_seen = registry->releases;
	DL_FOREACH_SAFE(registry->accounts, account, next)
	{
		if (!serve_one(server, account))
			continue;
		DL_DELETE(registry->accounts, account);
		DL_APPEND(registry->accounts, account);
		/* It may have been the last, and there may be more for it. */
		next = next ? next : account;
	}
	/* Who has used up the looks of this turn is not the first of the next. */
	account = registry->accounts;
	if (registry->cut_short && account) {
		DL_DELETE(registry->accounts, account);
		DL_APPEND(registry->accounts, account);
	}
}

bool waiting_is_any(const struct server *server)
{
	const struct account *account;

	DL_FOREACH(server->registry.accounts, account)
		if (account->waiting)
			return true;
	return false;
}

/* ---- what is told of them ---- */

/* That of those that wait for room which has waited the longest; NULL if there is none. */
static const struct request *longest_waiting(const struct server *server)
{
	const struct request *longest = NULL, *request;
	const struct account *account;

	DL_FOREACH(server->registry.accounts, account)
		DL_FOREACH(account->waiting, request)
			if (request_needs_room(request) && (!longest || request->arrived_ns < longest->arrived_ns))
				longest = request;
	return longest;
}

void waiting_tell_shortage(struct server *server)
{
	const struct request *request = longest_waiting(server);
	bool is_short = request && uv_hrtime() - request->arrived_ns >= SHORTAGE_NS;
	char sentence[SHORTAGE_MAX];
	struct log_client client;

	if (is_short == server->short_of_room)
		return;
	server->short_of_room = is_short;
	if (!is_short) {
		log_event(LOG_NOTICE, LOG_SHORTAGE, NULL, "no request waits for room any more");
		return;
	}
	request_describe_wait(request, &server->registry, sentence);
	client = peer_log_client(peer_of_client(request->client));
	log_event(LOG_WARNING, LOG_SHORTAGE, &client, "waits for room: %s", sentence);
}
