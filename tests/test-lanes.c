/* SPDX-License-Identifier: BSD-3-Clause */
/* Lanes of errands: how many of one user's may hang at a time, so that others still have runners, be those users many. */
#include "config.h"

#include "tests/hanging.h"

#include "daemon/errand.h"

#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define FIRST_UID 54000
#define OTHER_UID 65534

static struct fuse_system also_hung = {.folder = "also-hung", .size = HANGING_SIZE, .readable = HANGING_SIZE};

static bool start(void)
{
	if (!hanging_start(NULL))
		return false;
	hanging_make_volume("new");
	ck_assert_int_eq(chmod(".", 0755), 0);
	return true;
}

static void stop(void)
{
	hanging_stop();
	umount2("new", MNT_DETACH);
}

static void start_as(struct raw *raw, uid_t uid)
{
	hanging_connect_as(raw, uid);
	raw_hello(raw, "other");
}

/* ---- one user ---- */

/* A user who asks of file systems that do not say what they are can't ask of one more, which others do all the same. */
START_TEST(test_volume_of_many)
{
	struct message request = {.type = MESSAGE_OPEN, .open = {.label = text_of("file"), .deadline_ms = 1}}, answer;
	char sentence[MESSAGE_MAX_TEXT + 1];
	struct raw raw, other;
	int fds[3];

	if (!start())
		return;
	ck_assert(fuse_start(&also_hung));
	fds[0] = hanging_open(&hung, "file");
	fds[1] = hanging_open(&also_hung, "file");
	fds[2] = open("new/0", O_RDONLY | O_CLOEXEC);
	fuse_hang(&hung);
	fuse_hang(&also_hung);
	raw_start(&raw, &server, "hung");
	for (int i = 0; i < 3; i++) {
		raw_ask(&raw, &request, fds[i], &answer);
		raw_assert_error(&answer, ETIMEDOUT, sentence);
		ck_assert_str_eq(sentence, "the file system does not answer");
	}
	request.open.deadline_ms = RAW_LONG_MS;
	raw_send(&raw, &request, fds[2]);
	hanging_assert_serving();
	ck_assert(!raw_is_answered(&raw));
	start_as(&other, OTHER_UID);
	raw_open(&other, "new/1");
	raw_close(&other);
	raw_receive(&raw, &answer);
	ck_assert_uint_eq(answer.type, MESSAGE_OPENED);
	raw_close(&raw);

	fuse_go_on(&hung);
	fuse_go_on(&also_hung);
	hanging_close_all(fds, 3);
	fuse_stop(&also_hung);
	stop();
}
END_TEST

/* ---- many users ---- */

/* So many with two errands each take half of the runners. */
#define FEW_USERS (RUNNERS_MOST / 2 / ERRANDS_AT_ONCE)

/* More than could have two each; with one each of those that are more than few, runners are left. */
#define MANY_USERS 150

/* With fewer the server takes no more connections before so many wait. */
#define LEAST_DESCRIPTORS 2048

static int count_runners(void)
{
	char path[64];
	FILE *children;
	int pid, n = 0;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)server.pid, (int)server.pid);
	children = fopen(path, "re");
	ck_assert_ptr_nonnull(children);
	while (fscanf(children, "%d", &pid) == 1)
		n++;
	fclose(children);
	return n;
}

/* Waits until so many hang: one more is idle. */
static void await_busy(int n)
{
	while (count_runners() < n + 1)
		ck_assert_int_ge(poll(NULL, 0, 1), 0);
}

static void await_closing(uint64_t n)
{
	while (raw_summary(&honest).closing != n)
		;
}

/*
 * Each has two files closed that hang. As long as the users are few both are closed at once, later one of them: all runners would hang else, and
 * nothing could be opened where a runner has to ask what it is on.
 */
START_TEST(test_many_users)
{
	struct rlimit limit;
	struct raw raw;
	int fd, n_busy = 0;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	if (limit.rlim_max < LEAST_DESCRIPTORS) {
		puts("skipped: the server may not have so many descriptors that wait to be closed");
		return;
	}
	if (!start())
		return;
	raw_start(&raw, &server, "first");
	fd = hanging_open(&hung, "file");
	raw_open_as(&raw, fd, "file");
	/* What the file system was asked with is to be closed before. */
	await_closing(0);
	fuse_hang(&hung);
	for (unsigned i = 0; i < MANY_USERS; i++) {
		struct raw user;

		start_as(&user, FIRST_UID + i);
		/* It is open already: what comes now is to be closed. */
		for (int j = 0; j < 2; j++)
			raw_open_as(&user, fd, "file");
		raw_close(&user);
		n_busy += i < FEW_USERS ? 2 : 1;
		await_busy(n_busy);
	}
	/* With the connection of each. */
	await_closing(3 * MANY_USERS);
	ck_assert_int_eq(count_runners(), n_busy + 1);
	hanging_assert_serving();
	raw_open(&honest, "new/0");

	fuse_go_on(&hung);
	await_closing(0);
	raw_close(&raw);
	close_fd(fd);
	stop();
}
END_TEST

Suite *suite(void);

Suite *suite(void)
{
	Suite *s = suite_create("lanes");

	HARNESS_CASE(s, "lanes", test_volume_of_many, test_many_users);
	return s;
}

int main(void)
{
	return harness_run(suite());
}
