/* SPDX-License-Identifier: BSD-3-Clause */
/* Runners: that there are enough, and no more; that none grows; and what they do where no other can be started. */
#include "config.h"

#include "daemon/runner.h"
#include "tests/fuse.h"
#include "tests/harness.h"

#include "proto/channel.h"
#include "proto/util.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define MANY      30
#define OTHER_UID 54321 /* that has no other process */

static struct runners runners;
static struct runner_reply reply;

static void start(void)
{
	ck_assert_int_eq(runners_start(&runners), 0);
}

/* They are the children of this process, and end when it does. */
static void stop(void)
{
	runners_stop(&runners);
}

static void await_word(void)
{
	ck_assert_int_eq(channel_wait(runners.socket, POLLIN, -1), 1);
}

/* Has one be there for the call, whatever that takes. */
static void call(enum runner_call kind, uint64_t id, int fd)
{
	while (!runners_call(&runners, kind, id, fd)) {
		await_word();
		ck_assert(!runners_hear(&runners, &reply));
	}
}

static void await_reply(uint64_t id)
{
	while (!runners_hear(&runners, &reply))
		await_word();
	ck_assert_uint_eq(reply.id, id);
	ck_assert_uint_le(runners.n_busy, MANY);
}

/* Waits until those that were told to end have. */
static void retire(void)
{
	do
		ck_assert(runners_look_around(&runners));
	while (runners.n_retiring);
}

/* What is mapped by a process, in pages. */
static unsigned long memory_of(pid_t pid)
{
	char path[64];
	unsigned long pages;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	file = fopen(path, "re");
	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fscanf(file, "%lu", &pages), 1);
	fclose(file);
	return pages;
}

START_TEST(test_calls)
{
	int fd = open("file", O_RDONLY | O_CREAT | O_CLOEXEC, 0600);

	start();
	call(RUNNER_IDENTIFY, 1, fd);
	await_reply(1);
	ck_assert_int_gt(reply.value, 0);
	call(RUNNER_CLOSE, 2, fd);
	await_reply(2);
	ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
	call(RUNNER_IDENTIFY, 3, fd);
	await_reply(3);
	ck_assert_int_eq(reply.value, -EBADF);
	retire();
	stop();
}
END_TEST

/* Where many hang, one after the other starts another: the last is no larger than the first. When they do no more, few stay. */
START_TEST(test_many)
{
	struct fuse_system hung = {.folder = "hung", .size = 1, .readable = 1};
	int fds[MANY];

	if (!fuse_start(&hung))
		return;
	for (int i = 0; i < MANY; i++) {
		char path[64];

		snprintf(path, sizeof(path), "%s/%d", hung.folder, i);
		fds[i] = open(path, O_RDONLY | O_CLOEXEC);
		ck_assert_int_ge(fds[i], 0);
	}
	start();
	fuse_hang(&hung);
	for (int i = 0; i < MANY; i++)
		call(RUNNER_CLOSE, 1, fds[i]);
	ck_assert_uint_eq(runners.n, MANY + 1);
	for (uint64_t i = 1; i < runners.n; i++)
		ck_assert_uint_eq(memory_of(runners.pids[i]), memory_of(runners.pids[0]));
	retire();
	ck_assert_uint_eq(runners.n, MANY + 1);

	fuse_go_on(&hung);
	for (int i = 0; i < MANY; i++)
		await_reply(1);
	ck_assert_uint_eq(runners.n_busy, 0);
	retire();
	ck_assert_uint_eq(runners.n, RUNNERS_KEPT);
	/* These can do all that others could. */
	for (int i = 0; i < MANY; i++) {
		call(RUNNER_IDENTIFY, 1, runners.socket);
		await_reply(1);
	}
	stop();
	fuse_stop(&hung);
}
END_TEST

/* One that is slow to end is not waited for, and is taken for none that was killed. */
START_TEST(test_slow_end)
{
	start();
	ck_assert(runners_look_around(&runners));
	/* As if there were too many. */
	while (runners.n <= RUNNERS_KEPT) {
		runners.n_busy = runners.n;
		ck_assert(!runners_call(&runners, RUNNER_CLOSE, 1, -1));
		await_word();
		ck_assert(!runners_hear(&runners, &reply));
	}
	runners.n_busy = 0;
	for (uint64_t i = 0; i < runners.n; i++)
		ck_assert_int_eq(kill(runners.pids[i], SIGSTOP), 0);
	ck_assert(runners_look_around(&runners));
	ck_assert_uint_eq(runners.n_retiring, 1);
	ck_assert(runners_look_around(&runners));
	ck_assert_uint_eq(runners.n_retiring, 1);
	for (uint64_t i = 0; i < runners.n; i++)
		ck_assert_int_eq(kill(runners.pids[i], SIGCONT), 0);
	retire();
	ck_assert_uint_eq(runners.n, RUNNERS_KEPT);

	ck_assert_int_eq(kill(runners.pids[0], SIGKILL), 0);
	while (runners_look_around(&runners))
		;
	stop();
}
END_TEST

/* Where no other can be started, that is not tried for ever, but again after each look. */
START_TEST(test_shortage)
{
	struct rlimit limit = {.rlim_cur = 3, .rlim_max = 1000};

	if (!harness_is_root())
		return;
#ifdef __SANITIZE_ADDRESS__
	/* Its look for leaks takes a process, of a user who may look into this one. */
	puts("skipped: the sanitizer could not look for leaks");
	return;
#endif
	ck_assert_int_eq(setrlimit(RLIMIT_NPROC, &limit), 0);
	ck_assert_int_eq(setresuid(OTHER_UID, OTHER_UID, OTHER_UID), 0);
	start();
	for (int i = 0; i < 2; i++) {
		runners.n_busy = 1;
		ck_assert(!runners_call(&runners, RUNNER_CLOSE, 1, -1));
		ck_assert(runners.starting);
		await_word();
		ck_assert(!runners_hear(&runners, &reply));
		ck_assert_int_eq(runners.error, -EAGAIN);
		ck_assert(!runners_call(&runners, RUNNER_CLOSE, 1, -1));
		ck_assert(!runners.starting);
		runners.n_busy = 0;
		ck_assert(runners_look_around(&runners));
	}

	limit.rlim_cur = limit.rlim_max;
	for (uint64_t i = 0; i < runners.n; i++)
		ck_assert_int_eq(prlimit(runners.pids[i], RLIMIT_NPROC, &limit, NULL), 0);
	runners.n_busy = 1;
	ck_assert(!runners_call(&runners, RUNNER_CLOSE, 1, -1));
	await_word();
	ck_assert(!runners_hear(&runners, &reply));
	ck_assert_uint_eq(runners.n, 3);
	ck_assert(runners_call(&runners, RUNNER_CLOSE, 1, -1));
	stop();
}
END_TEST

Suite *suite(void);

Suite *suite(void)
{
	Suite *s = suite_create("runner");

	HARNESS_CASE(s, "runners", test_calls, test_many, test_slow_end, test_shortage);
	return s;
}

int main(void)
{
	return harness_run(suite());
}
