/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Errands without runners: two processes for each input would take longer than all the rest. They are done in a later turn of the loop, as
 * with runners, and nothing here can hang.
 */
#include "config.h"

#include "daemon/errand.h"

#include "daemon/account.h"
#include "proto/hash.h"
#include "proto/util.h"
#include "tests/fuzz/fuzz.h"

#include <sys/eventfd.h>
#include <sys/vfs.h>

int errands_start(struct errands *errands)
{
	*errands = (struct errands){.runners.socket = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .runners.theirs = -1};
	return errands->runners.socket < 0 ? -errno : 0;
}

void errands_stop(struct errands *errands)
{
	close_fdp(&errands->runners.socket);
}

void errand_run(struct errands *errands, struct errand *errand, enum runner_call kind, struct account *account, int fd,
		errand_done_fn *done)
{
	*errand = (struct errand){.kind = kind, .fd = fd, .account = account, .done = done};
	if (account) {
		account_ref(account);
		account->lanes[kind].n++;
	}
	errands->n++;
	DL_APPEND(errands->running, errand);
	require(eventfd_write(errands->runners.socket, 1) == 0);
}

void errand_close_stray(struct errands *errands, struct account *account, int fd)
{
	struct errand *errand = malloc(sizeof(*errand));

	require(errand);
	account->n_strays++;
	errands->n_strays++;
	errand_run(errands, errand, RUNNER_CLOSE, account, fd, NULL);
}

static void end(struct errands *errands, struct registry *registry, struct errand *errand)
{
	struct account *account = errand->account;
	struct statfs fs;

	DL_DELETE(errands->running, errand);
	require(fstatfs(errand->fd, &fs) == 0);
	if (errand->kind == RUNNER_CLOSE)
		close_fd(errand->fd);
	if (account)
		account->lanes[errand->kind].n--;
	errands->n--;
	if (errand->done) {
		errand->done(registry, errand, (uint32_t)fs.f_type);
	} else {
		account->n_strays--;
		errands->n_strays--;
		free(errand);
	}
	if (account)
		account_unref(registry, account);
}

void errands_end_done(struct errands *errands, struct registry *registry)
{
	eventfd_t n;

	eventfd_read(errands->runners.socket, &n);
	errands_give_up(errands, registry);
}

void errands_give_up(struct errands *errands, struct registry *registry)
{
	while (errands->running)
		end(errands, registry, errands->running);
}

void errands_run(struct errands *errands)
{
	(void)errands;
}

/* The call with which the server stops. */
bool runners_call(struct runners *runners, enum runner_call kind, uint64_t id, int fd)
{
	(void)runners;
	require(kind == RUNNER_CLOSE && !id);
	close_fd(fd);
	return true;
}

bool runners_look_around(struct runners *runners)
{
	(void)runners;
	return true;
}
