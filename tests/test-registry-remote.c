/* SPDX-License-Identifier: BSD-3-Clause */
/* The registry: files that errands close, which may hang. Whom that concerns, which of them go, and no more than have to. */
#include "config.h"

#include "daemon/remote.h"
#include "tests/registry-fixture.h"

#include <sys/resource.h>

/* On it each opening is a file of its own, so that one file will do for many. */
static struct volume remote = {.refs = 1, .weak = true};

/* Each user is another one, and no runner is asked for anything: whatever is closed hangs. */
static void start_remote(uint64_t handles)
{
	struct rlimit descriptors;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &descriptors), 0);
	descriptors.rlim_cur = descriptors.rlim_max;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &descriptors), 0);
	start(MANY * WINDOW, handles, MANY);
	registry.limits.quota.files = MANY * MANY;
	errands_stop(&errands);
	become(other, 1001);
	become(third, 1002);
	harness_make_file("remote", 4 * WINDOW);
}

/* What hangs is not closed by the server, which ends instead. */
static void stop_remote(void)
{
	const struct errand_lane *lane;
	const struct errand *errand;

	for (size_t i = 0; i < 3; i++)
		remove_user(&users[i]);
	registry_deinit(&registry);
	DL_FOREACH(errands.lanes, lane)
		DL_FOREACH(lane->waiting, errand)
			close_fd(errand->fd);
	errands_give_up(&errands, &registry);
	stop();
}

static uint64_t open_remote(struct user *user)
{
	uint64_t id = 0;

	ck_assert_int_eq(try_open(user, "remote", &remote, &id), 0);
	return id;
}

static uint64_t count_closing(void)
{
	const struct file *file;
	uint64_t n;

	DL_COUNT(registry.closing, file, n);
	return n;
}

START_TEST(test_stuck_are_not_looked_at)
{
	uint64_t n = 5000, id, looks;

	/* They are more than may be looked at in a turn, and were used before all others. */
	start_remote(n + 1);
	for (uint64_t i = 0; i < n; i++)
		open_remote(one);
	pulse_advance(pulse);
	id = new_file(other, "local", 1);
	for (int i = 0; i < ERRANDS_AT_ONCE; i++)
		errand_close_stray(&errands, one->client.account, open("remote", O_RDONLY | O_CLOEXEC));

	registry_begin_turn(&registry);
	looks = registry.looks;
	ck_assert_uint_lt(looks, n);
	new_file(other, "another", 1);
	ck_assert_uint_ge(registry.looks, looks - 2);
	ck_assert_ptr_null(file_find(&registry, id));
	ck_assert_uint_eq(count_closing(), 0);
	/* There is none that could be closed: that is found out at once, too. */
	lease(other, open_file(other, "another"), 0, 1);
	harness_make_file("third", 1);
	ck_assert_int_eq(try_open(third, "third", &local, &id), REGISTRY_NO_ROOM);
	ck_assert(!registry.cut_short);
	stop_remote();
}
END_TEST

START_TEST(test_closes_no_more_than_needed)
{
	uint64_t id;

	start_remote(4);
	for (int i = 0; i < 2; i++) {
		open_remote(one);
		open_remote(other);
	}
	harness_make_file("third", 1);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(try_open(third, "third", &local, &id), REGISTRY_NO_ROOM);
		ck_assert_uint_eq(count_closing(), 1);
	}
	/* When it takes too long, another one is closed. */
	registry.ticks += REGISTRY_LATE_TICKS;
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(try_open(third, "third", &local, &id), REGISTRY_NO_ROOM);
		ck_assert_uint_eq(count_closing(), 2);
	}
	stop_remote();
}
END_TEST

START_TEST(test_least_recently_used_goes)
{
	uint64_t ids[3], id;
	struct slot_ref refs[3];

	start_remote(MANY);
	registry.limits.quota.handles = 3;
	for (int i = 0; i < 3; i++) {
		ids[i] = open_remote(one);
		release(one, idle_lease(one, ids[i], 0, 1));
		release(one, idle_lease(one, ids[i], 1, 1));
		refs[i] = idle_lease(one, ids[i], 2, 1);
		pulse_advance(pulse);
	}
	/* The first has a pin, and the second is used again. */
	ck_assert(pin(one, refs[0]));
	ck_assert(pin(one, refs[1]));
	unpin(one, refs[1]);
	ck_assert_int_eq(try_open(one, "remote", &remote, &id), REGISTRY_OVER_QUOTA);
	for (int i = 0; i < 2; i++)
		ck_assert(has(ids[i], 0) && has(ids[i], 1) && has(ids[i], 2));
	ck_assert(!has(ids[2], 0) && !has(ids[2], 1) && is_draining(ids[2], 2));
	/* It is on its way, and so no other goes. */
	ck_assert_int_eq(try_open(one, "remote", &remote, &id), REGISTRY_OVER_QUOTA);
	ck_assert(has(ids[1], 0));
	ck_assert(release(one, refs[2]));
	ck_assert_int_eq(try_open(one, "remote", &remote, &id), REGISTRY_OVER_QUOTA);
	ck_assert_ptr_null(file_find(&registry, ids[2]));
	ck_assert_uint_eq(count_closing(), 1);
	ck_assert(has(ids[1], 0));
	stop_remote();
}
END_TEST

Suite *suite(void);

Suite *suite(void)
{
	Suite *s = suite_create("registry-remote");

	HARNESS_CASE(s, "remote", test_stuck_are_not_looked_at, test_closes_no_more_than_needed, test_least_recently_used_goes);
	return s;
}

int main(void)
{
	return harness_run(suite());
}
