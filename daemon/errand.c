/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/errand.h"

#include "daemon/account.h"
#include "proto/hash.h"
#include "proto/util.h"

#include <assert.h>

int errands_start(struct errands *errands)
{
	*errands = (struct errands){0};
	return runners_start(&errands->runners);
}

void errands_stop(struct errands *errands)
{
	runners_stop(&errands->runners);
}

/* A user for whom one could be run, whose turn it is; NULL if there is none. */
static struct account *next_account(const struct errands *errands)
{
	struct account *account;

	DL_FOREACH2(errands->accounts, account, next_errands)
		if (account->n_errands_running < ERRANDS_AT_ONCE)
			break;
	return account;
}

/* The first errand of a user waits no more. */
static struct errand *take_first(struct errands *errands, struct account *account)
{
	struct errand *errand = account->errands;

	DL_DELETE(account->errands, errand);
	DL_DELETE2(errands->accounts, account, prev_errands, next_errands);
	if (account->errands)
		DL_APPEND2(errands->accounts, account, prev_errands, next_errands);
	return errand;
}

static bool start_errand(struct errands *errands, struct account *account)
{
	struct errand *errand = account->errands;

	if (!runners_call(&errands->runners, errand->kind, errand->id, errand->fd))
		return false;
	take_first(errands, account);
	DL_APPEND(errands->running, errand);
	account->n_errands_running++;
	return true;
}

void errands_run(struct errands *errands)
{
	struct account *account;

	while ((account = next_account(errands)) && start_errand(errands, account))
		;
}

void errand_run(struct errands *errands, struct errand *errand, enum runner_call kind, struct account *account, int fd,
		errand_done_fn *done)
{
	*errand = (struct errand){.kind = kind, .id = ++errands->last_id, .fd = fd, .account = account, .done = done};
	account_ref(account);
	account->n_errands++;
	errands->n++;
	if (!account->errands)
		DL_APPEND2(errands->accounts, account, prev_errands, next_errands);
	DL_APPEND(account->errands, errand);
	errands_run(errands);
}

void errand_close_stray(struct errands *errands, struct account *account, int fd)
{
	struct errand *errand = malloc(sizeof(*errand));

	if (!errand) {
		close_fd(fd);
		return;
	}
	account->n_strays++;
	errands->n_strays++;
	errand_run(errands, errand, RUNNER_CLOSE, account, fd, NULL);
}

static void end_errand(struct errands *errands, struct registry *registry, struct errand *errand, int64_t result)
{
	struct account *account = errand->account;

	account->n_errands--;
	errands->n--;
	if (errand->done) {
		errand->done(registry, errand, result);
	} else {
		account->n_strays--;
		errands->n_strays--;
		free(errand);
	}
	account_unref(registry, account);
}

static struct errand *take_running(struct errands *errands, struct errand *errand)
{
	DL_DELETE(errands->running, errand);
	errand->account->n_errands_running--;
	return errand;
}

void errands_end_done(struct errands *errands, struct registry *registry)
{
	struct runner_reply reply;
	struct errand *errand;

	while (runners_hear(&errands->runners, &reply)) {
		DL_SEARCH_SCALAR(errands->running, errand, id, reply.id);
		assert(errand);
		end_errand(errands, registry, take_running(errands, errand), reply.value);
	}
	errands_run(errands);
}

void errands_give_up(struct errands *errands, struct registry *registry)
{
	while (errands->running)
		end_errand(errands, registry, take_running(errands, errands->running), -ECANCELED);
	while (errands->accounts)
		end_errand(errands, registry, take_first(errands, errands->accounts), -ECANCELED);
}
