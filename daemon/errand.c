/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/errand.h"

#include "daemon/account.h"
#include "proto/hash.h"
#include "proto/util.h"

int errands_start(struct errands *errands)
{
	*errands = (struct errands){0};
	return runners_start(&errands->runners);
}

void errands_stop(struct errands *errands)
{
	runners_stop(&errands->runners);
}

/* How many errands of one lane may be run now: where many users have some that hang, one of each, so that more users have one. */
static uint64_t count_allowed(const struct errands *errands)
{
	return errands->runners.n_busy < RUNNERS_MOST / 2 ? ERRANDS_AT_ONCE : 1;
}

/* One of which an errand could be run, whose turn it is; NULL if there is none. */
static struct errand_lane *next_lane(const struct errands *errands)
{
	struct errand_lane *lane;

	DL_FOREACH(errands->lanes, lane)
		if (lane->n_running < count_allowed(errands))
			break;
	return lane;
}

/* The first errand of a lane waits no more. */
static struct errand *take_first(struct errands *errands, struct errand_lane *lane)
{
	struct errand *errand = lane->waiting;

	DL_DELETE(lane->waiting, errand);
	DL_DELETE(errands->lanes, lane);
	if (lane->waiting)
		DL_APPEND(errands->lanes, lane);
	return errand;
}

static bool start_errand(struct errands *errands, struct errand_lane *lane)
{
	struct errand *errand = lane->waiting;

	if (!runners_call(&errands->runners, errand->kind, errand->id, errand->fd))
		return false;
	take_first(errands, lane);
	DL_APPEND(errands->running, errand);
	lane->n_running++;
	return true;
}

void errands_run(struct errands *errands)
{
	struct errand_lane *lane;

	while ((lane = next_lane(errands)) && start_errand(errands, lane))
		;
}

/* Whether its descriptor has no place in the server. */
static bool is_stray(const struct errand *errand)
{
	return !errand->done || errand->kind == RUNNER_IDENTIFY;
}

void errand_run(struct errands *errands, struct errand *errand, enum runner_call kind, struct account *account, int fd,
		errand_done_fn *done)
{
	struct errand_lane *lane = account ? &account->lanes[kind] : &errands->own;

	*errand = (struct errand){.kind = kind, .id = ++errands->last_id, .fd = fd, .account = account, .lane = lane, .done = done};
	if (account)
		account_ref(account);
	if (is_stray(errand)) {
		account->n_strays++;
		errands->n_strays++;
	}
	errands->n++;
	lane->n++;
	if (!lane->waiting)
		DL_APPEND(errands->lanes, lane);
	DL_APPEND(lane->waiting, errand);
	errands_run(errands);
}

void errand_close_stray(struct errands *errands, struct account *account, int fd)
{
	struct errand *errand = malloc(sizeof(*errand));

	if (!errand) {
		close_fd(fd);
		return;
	}
	errand_run(errands, errand, RUNNER_CLOSE, account, fd, NULL);
}

static void end_errand(struct errands *errands, struct registry *registry, struct errand *errand, int64_t result)
{
	struct account *account = errand->account;

	if (is_stray(errand)) {
		account->n_strays--;
		errands->n_strays--;
	}
	errand->lane->n--;
	errands->n--;
	if (errand->done)
		errand->done(registry, errand, result);
	else
		free(errand);
	if (account)
		account_unref(registry, account);
}

static struct errand *take_running(struct errands *errands, struct errand *errand)
{
	DL_DELETE(errands->running, errand);
	errand->lane->n_running--;
	return errand;
}

void errands_end_done(struct errands *errands, struct registry *registry)
{
	struct runner_reply reply;
	struct errand *errand;

	while (runners_hear(&errands->runners, &reply)) {
		DL_SEARCH_SCALAR(errands->running, errand, id, reply.id);
		/* None waits for the call with which the server stops. */
		if (errand)
			end_errand(errands, registry, take_running(errands, errand), reply.value);
	}
	errands_run(errands);
}

void errands_give_up(struct errands *errands, struct registry *registry)
{
	/* One that ends may leave another. */
	while (errands->n) {
		if (errands->running)
			end_errand(errands, registry, take_running(errands, errands->running), -ECANCELED);
		else
			end_errand(errands, registry, take_first(errands, errands->lanes), -ECANCELED);
	}
}
