/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_ERRAND_H
#define DAEMON_ERRAND_H

/*
 * Errands: system calls that may never return. What a client sends may be on a file system whose server has stopped answering: then every
 * close(2) of it waits, beyond SIGKILL, and so does statfs(2). Or it is a socket that lingers. The loop must not wait for that, so runners do
 * it.
 *
 * The errands of one user are in lanes, one for each kind. Of each two are run at a time, in their order, so that those which hang are in
 * nobody else's way as long as there are runners, and closing that hangs keeps nobody from opening something else. The server has a lane of its own, for what does not
 * hang, but may take long.
 */

#include "daemon/runner.h"

#include <stdbool.h>
#include <stdint.h>

struct account;
struct registry;

/* Of one lane. */
#define ERRANDS_AT_ONCE 2

struct errand;

/* What is to be done when an errand is. */
typedef void errand_done_fn(struct registry *registry, struct errand *errand, int64_t result);

/* It is in what it is for, which has to stay until it is done: so closing that needs no memory. */
struct errand {
	enum runner_call kind;
	uint64_t id;
	int fd;
	struct account *account;    /* a reference: whose errand it is. NULL for the server's own */
	struct errand_lane *lane;
	errand_done_fn *done;       /* NULL for a stray: a descriptor that has no place in the server, and an errand of its own */
	struct errand *prev, *next; /* of its lane, if it waits; or errands->running */
};

/* The errands of one user that are of one kind, or those of the server. */
struct errand_lane {
	struct errand *waiting; /* in their order */
	uint64_t n;             /* that wait or run */
	uint64_t n_running;
	struct errand_lane *prev, *next; /* errands->lanes, if any waits */
};

struct errands {
	struct runners runners;
	uint64_t last_id;
	uint64_t n; /* errands that wait or run */
	uint64_t n_strays;
	struct errand *running;
	struct errand_lane own;
	struct errand_lane *lanes; /* with errands that wait, in turn */
};

/* Starts the runners. 0 or -errno. */
int errands_start(struct errands *errands);

/* Has a runner make a call with @fd, in the name of @account, or the server's (NULL); then @done is called. */
void errand_run(struct errands *errands, struct errand *errand, enum runner_call kind, struct account *account, int fd,
		errand_done_fn *done);

/* Has a stray closed, also taken. Where there is no memory for that it is closed at once. */
void errand_close_stray(struct errands *errands, struct account *account, int fd);

/* Ends all errands that are done by now. */
void errands_end_done(struct errands *errands, struct registry *registry);

/* Ends all the others as if they were done, with -ECANCELED: the server stops. */
void errands_give_up(struct errands *errands, struct registry *registry);

/* Has those run that wait, as far as there are runners: there may not have been another one to be had before. */
void errands_run(struct errands *errands);

/* Forgets the runners, who end with the server. */
void errands_stop(struct errands *errands);

#endif
