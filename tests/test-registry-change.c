/* SPDX-License-Identifier: BSD-3-Clause */
/* The registry: how it follows files that grow, shrink, and are deleted. */
#include "config.h"

#include "tests/registry-fixture.h"

START_TEST(test_growth)
{
	struct slot_ref old;
	uint64_t a;

	start(2 * WINDOW, MANY, MANY);
	a = new_file(one, "a", WINDOW + 1);
	open_file(other, "a");
	old = lease(one, a, 1, 1);
	ck_assert_uint_eq(grant.lease->length, 1);
	assert_usage(1, 1, 1);
	/* Up to the end of the page: there is nothing to map. */
	ck_assert_int_eq(truncate("a", (off_t)(WINDOW + PAGE)), 0);
	lease(other, a, 1, 1);
	ck_assert_uint_eq(grant.lease->length, PAGE);
	assert_usage(1, 1, 1);
	/* A page more, in place, while it is pinned; and the next window is another region. */
	ck_assert_int_eq(truncate("a", (off_t)(2 * WINDOW + 1)), 0);
	lease(other, a, 1, 1);
	ck_assert_uint_eq(grant.lease->length, WINDOW);
	ck_assert_uint_eq(grant.file_size, 2 * WINDOW + 1);
	assert_usage(2, 1, 1);
	ck_assert_ptr_null(region_of(a, 2));
	lease(other, a, 1, 2);
	assert_usage(3, 2, 1);
	/* The old lease is what it was, and can be pinned. */
	ck_assert(pin(one, old));
	ck_assert_uint_eq(client_find_lease(&one->client, &old)->length, 1);
	stop();
}
END_TEST

START_TEST(test_growth_without_room)
{
	struct slot_ref ref, tail;
	uint64_t a;

	start(3 * PAGE, MANY, MANY);
	a = new_file(one, "a", WINDOW + PAGE);
	open_file(other, "a");
	ref = lease(one, a, 0, 1);
	tail = lease(other, a, 1, 1);
	ck_assert_int_eq(truncate("a", (off_t)(2 * WINDOW)), 0);
	ck_assert_int_eq(try_lease(other, a, 0, 2 * WINDOW), -EFBIG);
	ck_assert_int_eq(try_lease(other, a, WINDOW, 1), REGISTRY_NO_ROOM);
	assert_usage(3, 2, 1);
	/* The region that is to grow is not what goes. */
	unpin(other, tail);
	pulse_advance(pulse);
	unpin(one, ref);
	ck_assert_int_eq(try_lease(other, a, WINDOW, 1), REGISTRY_NO_ROOM);
	ck_assert(is_draining(a, 0) && has(a, 1));
	ck_assert(release(one, ref));
	lease(other, a, 1, 1);
	assert_usage(2, 1, 1);
	ck_assert(pin(other, tail));
	stop();
}
END_TEST

START_TEST(test_shrink)
{
	struct slot_ref all, begin;
	uint64_t a;

	start(5 * WINDOW, MANY, MANY);
	a = new_file(one, "a", 3 * WINDOW);
	open_file(other, "a");
	all = lease(one, a, 0, 3);
	begin = lease(other, a, 0, 1);
	ck_assert_int_eq(truncate("a", (off_t)(WINDOW + PAGE)), 0);
	/* Nobody has looked yet. */
	ck_assert(!board_is_stale(slot_of(one, all)));
	ck_assert_int_eq(try_lease(other, a, 2 * WINDOW, 1), 0);
	ck_assert_ptr_null(grant.lease);
	ck_assert_uint_eq(grant.file_size, WINDOW + PAGE);

	ck_assert(board_is_stale(slot_of(one, all)));
	ck_assert(!board_is_stale(slot_of(other, begin)));
	ck_assert(!pin(one, all) && pin(other, begin));
	ck_assert(has(a, 0));
	ck_assert_ptr_null(region_of(a, 1));
	ck_assert_ptr_null(region_of(a, 2));
	/* They count as long as the lease is there; the window that is cut short is a new region. */
	assert_usage(6, 3, 1);
	lease(other, a, 1, 1);
	ck_assert_uint_eq(grant.lease->length, PAGE);
	assert_usage(7, 4, 1);
	/* Its pin ends, and so does all that was waiting for that. */
	unpin(one, all);
	ck_assert(release(one, all));
	assert_usage(3, 2, 1);
	ck_assert(has(a, 0) && has(a, 1));
	ck_assert_int_eq(truncate("a", 0), 0);
	ck_assert_int_eq(try_lease(other, a, 0, 1), 0);
	ck_assert_ptr_null(grant.lease);
	assert_usage(3, 2, 1);
	remove_user(other);
	assert_usage(0, 0, 1);
	stop();
}
END_TEST

START_TEST(test_shrink_of_idle)
{
	struct slot_ref ref;
	uint64_t a;

	start(2 * WINDOW, MANY, MANY);
	a = new_file(one, "a", 2 * WINDOW);
	release(one, idle_lease(one, a, 0, 1));
	ref = idle_lease(one, a, 1, 1);
	ck_assert_int_eq(truncate("a", 1), 0);
	ck_assert_int_eq(try_lease(one, a, PAGE, 1), 0);
	ck_assert_ptr_null(grant.lease);
	/* What nobody leased went at once, what is idle is recalled. */
	assert_usage(2, 1, 1);
	ck_assert_ptr_nonnull(one->client.untold);
	ck_assert(!pin(one, ref));
	ck_assert(release(one, ref));
	assert_usage(0, 0, 1);
	lease(one, a, 0, 1);
	assert_usage(1, 1, 1);
	stop();
}
END_TEST

/* The page stays, and behind the end it reads as zeros: that is not the file's content. */
START_TEST(test_shrink_within_a_page)
{
	struct slot_ref ref;
	uint64_t a;

	start(2 * WINDOW, MANY, MANY);
	a = new_file(one, "a", WINDOW + 100);
	open_file(other, "a");
	ref = lease(one, a, 1, 1);
	ck_assert_int_eq(truncate("a", (off_t)(WINDOW + 50)), 0);
	ck_assert_int_eq(try_lease(other, a, WINDOW, 1), 0);
	ck_assert_uint_eq(grant.lease->length, 50);
	ck_assert(board_is_stale(slot_of(one, ref)));
	ck_assert(!board_is_stale(slot_of(other, grant.lease->ref)));
	stop();
}
END_TEST

START_TEST(test_deleted)
{
	struct slot_ref ref;
	uint64_t a;

	start(MANY * WINDOW, MANY, MANY);
	a = new_file(one, "a", WINDOW);
	open_file(other, "a");
	release(one, idle_lease(one, a, 0, 1));
	ck_assert_int_eq(unlink("a"), 0);
	ck_assert_int_eq(registry_close(&registry, &one->client, a), 0);
	assert_usage(2, 1, 1);
	remove_user(other);
	/* Its blocks are freed with it, which nobody waits for. */
	ck_assert_ptr_nonnull(registry.closing);
	await_closed();
	assert_usage(0, 0, 0);

	/* As soon as no lease on it is left. */
	a = new_file(one, "a", WINDOW);
	ref = idle_lease(one, a, 0, 1);
	ck_assert_int_eq(unlink("a"), 0);
	ck_assert_int_eq(registry_close(&registry, &one->client, a), 0);
	ck_assert(is_draining(a, 0));
	ck_assert(release(one, ref));
	await_closed();
	assert_usage(0, 0, 0);
	stop();
}
END_TEST

START_TEST(test_deleted_while_pinned)
{
	struct slot_ref ref;
	uint64_t a;

	start(MANY * WINDOW, MANY, MANY);
	a = new_file(one, "a", WINDOW);
	ref = lease(one, a, 0, 1);
	ck_assert_int_eq(unlink("a"), 0);
	ck_assert_int_eq(registry_close(&registry, &one->client, a), 0);
	registry_look_around(&registry);
	ck_assert(has(a, 0));
	assert_usage(2, 1, 1);
	/* Nobody tells that the pin has ended; it is seen at the next look. */
	unpin(one, ref);
	registry_look_around(&registry);
	ck_assert(is_draining(a, 0));
	ck_assert(release(one, ref));
	await_closed();
	assert_usage(0, 0, 0);
	stop();
}
END_TEST

Suite *suite(void);

Suite *suite(void)
{
	Suite *s = suite_create("registry-change");

	HARNESS_CASE(s, "size", test_growth, test_growth_without_room, test_shrink, test_shrink_of_idle, test_shrink_within_a_page);
	HARNESS_CASE(s, "deleted", test_deleted, test_deleted_while_pinned);
	return s;
}

int main(void)
{
	return harness_run(suite());
}
