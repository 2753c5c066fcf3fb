/* SPDX-License-Identifier: BSD-3-Clause */
/* The registry: who goes when there is no room, in which order, and what happens until it is gone. */
#include "config.h"

#include "tests/registry-fixture.h"

#include <sys/stat.h>

/* ---- order of use ---- */

/* Asks for one window more in a full registry, of which the region that goes has no lease. */
static void assert_evicts(uint64_t file, uint64_t new_window, uint64_t gone)
{
	ck_assert(has(file, gone));
	release(third, idle_lease(third, file, new_window, 1));
	ck_assert(!has(file, gone));
	assert_usage(6, 3, 1);
}

START_TEST(test_order_is_of_last_pin)
{
	struct slot_ref refs[3];
	uint64_t a;

	start(3 * WINDOW, MANY, MANY);
	a = new_file(one, "a", 9 * WINDOW);
	open_file(other, "a");
	open_file(third, "a");
	refs[0] = lease(one, a, 0, 1);
	refs[1] = lease(other, a, 1, 1);
	refs[2] = lease(one, a, 2, 1);
	/* The end of the pins in another order than the grants. */
	unpin(other, refs[1]);
	pulse_advance(pulse);
	unpin(one, refs[2]);
	pulse_advance(pulse);
	unpin(one, refs[0]);
	/* A hit, without any message, makes the oldest the youngest. */
	pulse_advance(pulse);
	ck_assert(pin(other, refs[1]));
	unpin(other, refs[1]);
	ck_assert(release(one, refs[0]) && release(other, refs[1]) && release(one, refs[2]));
	assert_evicts(a, 3, 2);
	assert_evicts(a, 4, 0);
	assert_evicts(a, 5, 1);
	assert_evicts(a, 6, 3);
	stop();
}
END_TEST

START_TEST(test_order_with_leases)
{
	struct slot_ref refs[3], shared;
	uint64_t a;

	start(3 * WINDOW, MANY, MANY);
	a = new_file(one, "a", 9 * WINDOW);
	open_file(other, "a");
	open_file(third, "a");
	for (uint64_t i = 0; i < 3; i++)
		refs[i] = lease(one, a, i, 1);
	shared = lease(other, a, 0, 1);
	/* All in one epoch: the uses of one client are still in order. */
	unpin(one, refs[2]);
	unpin(one, refs[0]);
	unpin(one, refs[1]);
	pulse_advance(pulse);
	/* The region was used by another one since. */
	unpin(other, shared);

	ck_assert_int_eq(try_lease(third, a, 3 * WINDOW, 1), REGISTRY_NO_ROOM);
	ck_assert(is_draining(a, 2) && has(a, 0) && has(a, 1));
	/* What is on its way is enough: asking again evicts no more. */
	ck_assert_int_eq(try_lease(third, a, 3 * WINDOW, 1), REGISTRY_NO_ROOM);
	ck_assert_uint_eq(registry.counters.evictions, 1);
	ck_assert(release(one, refs[2]));
	unpin(third, lease(third, a, 3, 1));
	ck_assert_int_eq(try_lease(third, a, 4 * WINDOW, 1), REGISTRY_NO_ROOM);
	ck_assert(is_draining(a, 1) && has(a, 0) && has(a, 3));
	stop();
}
END_TEST

/* A client that ends while it stands on a region has used it until then. */
START_TEST(test_order_at_the_end_of_a_client)
{
	uint64_t a;

	start(3 * WINDOW, MANY, MANY);
	a = new_file(one, "a", 9 * WINDOW);
	open_file(other, "a");
	open_file(third, "a");
	lease(one, a, 0, 1);
	release(other, idle_lease(other, a, 1, 1));
	release(other, idle_lease(other, a, 2, 1));
	pulse_advance(pulse);
	remove_user(one);
	assert_usage(6, 3, 1);
	assert_evicts(a, 3, 1);
	stop();
}
END_TEST

/* ---- on the way out ---- */

START_TEST(test_draining_counts)
{
	struct slot_ref ref, again;
	uint64_t a;

	start(2 * WINDOW, MANY, MANY);
	a = new_file(one, "a", 9 * WINDOW);
	open_file(other, "a");
	ref = idle_lease(one, a, 0, 1);
	again = idle_lease(other, a, 0, 1);
	ck_assert_int_eq(try_lease(third, open_file(third, "a"), 4 * WINDOW, 2 * WINDOW), REGISTRY_NO_ROOM);
	assert_usage(2, 1, 1);
	ck_assert_uint_eq(registry.usage.draining, WINDOW);
	ck_assert_uint_eq(registry.usage.draining_maps, 1);
	ck_assert_uint_eq(registry.counters.evictions, 1);
	ck_assert_uint_eq(registry.counters.recalls, 2);
	ck_assert(release(other, again));
	ck_assert_int_eq(try_lease(third, a, 4 * WINDOW, 2 * WINDOW), REGISTRY_NO_ROOM);
	assert_usage(2, 1, 1);
	ck_assert(release(one, ref));
	assert_usage(0, 0, 1);
	ck_assert_uint_eq(registry.usage.draining, 0);
	lease(third, a, 4, 2);
	stop();
}
END_TEST

START_TEST(test_revive)
{
	struct slot_ref ref;
	uint64_t a;

	start(WINDOW, MANY, MANY);
	a = new_file(one, "a", 9 * WINDOW);
	open_file(other, "a");
	ref = idle_lease(one, a, 0, 1);
	ck_assert_int_eq(try_lease(other, a, WINDOW, 1), REGISTRY_NO_ROOM);
	ck_assert(is_draining(a, 0));
	lease(other, a, 0, 1);
	ck_assert(has(a, 0));
	assert_usage(2, 1, 1);
	ck_assert_uint_eq(registry.usage.draining, 0);
	ck_assert_uint_eq(registry.usage.draining_maps, 0);
	/* The recall stands, for that lease only. */
	ck_assert(!pin(one, ref));
	ck_assert(release(one, ref));
	ck_assert(has(a, 0));
	assert_usage(2, 1, 1);
	lease(one, a, 0, 1);
	stop();
}
END_TEST

START_TEST(test_victims)
{
	struct slot_ref ref, ref3, new, wide, shared;
	uint64_t a;

	start(3 * WINDOW, MANY, MANY);
	a = new_file(one, "a", 9 * WINDOW);
	open_file(other, "a");
	wide = idle_lease(one, a, 0, 2);
	ref = lease(one, a, 2, 1);
	/* One window would be enough, the lease is on two: the second stays warm. */
	new = lease(one, a, 3, 1);
	ck_assert_uint_eq(victims.n, 1);
	ck_assert_uint_eq(victims.refs[0].slot, wide.slot);
	ck_assert_uint_eq(victims.refs[0].generation, wide.generation);
	ck_assert_uint_ne(grant.lease->ref.slot, wide.slot);
	assert_usage(6, 3, 1);
	ck_assert(!has(a, 0) && has(a, 1) && has(a, 2) && has(a, 3));
	/* What is new is not for others before the old is unmapped. */
	ck_assert(!pin(one, wide));
	ck_assert_int_eq(try_lease(other, a, 3 * WINDOW, 1), REGISTRY_NO_ROOM);
	ck_assert_ptr_null(region_of(a, 3)->address);
	ck_assert(release(one, wide) && !release(one, wide));
	ck_assert_ptr_nonnull(region_of(a, 3)->address);
	ck_assert_ptr_null(registry.recalled);
	ref3 = lease(other, a, 3, 1);
	unpin(other, ref3);
	ck_assert(release(other, ref3));
	unpin(one, new);

	/* Where another client leases it too, room is only on its way. */
	shared = lease(other, a, 2, 1);
	unpin(one, ref);
	unpin(other, shared);
	ck_assert_int_eq(try_lease(one, a, 4 * WINDOW, 3 * WINDOW), REGISTRY_NO_ROOM);
	ck_assert_uint_eq(victims.n, 0);
	ck_assert(release(other, shared));
	ck_assert_int_eq(try_lease(one, a, 4 * WINDOW, 3 * WINDOW), 0);
	ck_assert_uint_eq(victims.n, 2);
	assert_usage(6, 3, 1);
	ref = grant.lease->ref;
	unpin(one, ref);
	unmap_victims(one);

	/* What the bell has told is not told again. */
	ck_assert_int_eq(try_lease(other, a, 0, 1), REGISTRY_NO_ROOM);
	tell(one);
	ck_assert_int_eq(try_lease(one, a, 0, 1), REGISTRY_NO_ROOM);
	ck_assert(release(one, ref));
	lease(one, a, 0, 1);
	ck_assert_uint_eq(victims.n, 0);
	stop();
}
END_TEST

/* Who comes to the end of his own share swaps as well, although there is room for others. */
START_TEST(test_victims_of_quota)
{
	struct slot_ref ref, shared;
	uint64_t a;

	start(9 * WINDOW, MANY, MANY);
	registry.limits.quota.memory = 2 * WINDOW;
	a = new_file(one, "a", 9 * WINDOW);
	ref = idle_lease(one, a, 0, 1);
	shared = idle_lease(one, a, 1, 1);
	lease(one, a, 2, 1);
	ck_assert_uint_eq(victims.n, 1);
	ck_assert_uint_eq(victims.refs[0].slot, ref.slot);
	ck_assert(!has(a, 0) && has(a, 1) && has(a, 2));
	assert_usage(4, 2, 1);
	unmap_victims(one);

	/* What another user has, too, stays. */
	become(other, 1001);
	open_file(other, "a");
	lease(other, a, 1, 1);
	ck_assert_int_eq(try_lease(one, a, 3 * WINDOW, 1), REGISTRY_NO_ROOM);
	ck_assert(has(a, 1));
	tell(one);
	ck_assert(release(one, shared));
	ref = lease(one, a, 3, 1);
	assert_usage(6, 3, 1);

	/* And what has to be given back by another client of the user, who can't be told in an answer. */
	unpin(one, ref);
	become(third, 1000);
	open_file(third, "a");
	ck_assert_int_eq(try_lease(third, a, 4 * WINDOW, 1), REGISTRY_NO_ROOM);
	ck_assert(has(a, 3));
	tell(one);
	ck_assert(release(one, ref));
	ck_assert(has(a, 3));
	stop();
}
END_TEST

/* A lease on several windows is handed over as a whole. */
START_TEST(test_wide_victim_of_quota)
{
	uint64_t a;

	start(9 * WINDOW, MANY, MANY);
	registry.limits.quota.memory = 3 * WINDOW;
	a = new_file(one, "a", 9 * WINDOW);
	idle_lease(one, a, 0, 2);
	lease(one, a, 2, 2);
	ck_assert_uint_eq(victims.n, 1);
	ck_assert(!has(a, 0) && has(a, 2) && has(a, 3));
	/* As much as had to: the other window stays warm. */
	ck_assert(has(a, 1));
	assert_usage(6, 3, 1);
	unmap_victims(one);
	ck_assert(has(a, 1));
	stop();
}
END_TEST

static void mark(struct user *user, struct slot_ref ref)
{
	board_mark_unmapped(slot_of(user, ref));
}

START_TEST(test_marked_victims)
{
	struct slot_ref ref, new;
	uint64_t a;

	start(2 * WINDOW, MANY, MANY);
	a = new_file(one, "a", 9 * WINDOW);
	ref = idle_lease(one, a, 0, 1);
	/* Of a lease that it has, the board tells nothing. */
	mark(one, ref);
	registry_look_for_marks(&registry, &one->client);
	ck_assert_uint_eq(registry.usage.leases, 1);
	ck_assert(release(one, ref));

	ref = idle_lease(one, a, 0, 1);
	lease(one, a, 1, 1);
	new = lease(one, a, 2, 1);
	ck_assert_uint_eq(victims.n, 1);
	registry_look_for_marks(&registry, &one->client);
	ck_assert_uint_eq(registry.usage.leases, 3);
	mark(one, ref);
	registry_look_for_marks(&registry, &other->client);
	ck_assert_uint_eq(registry.usage.leases, 3);
	registry_look_for_marks(&registry, &one->client);
	ck_assert_uint_eq(registry.usage.leases, 2);
	ck_assert_ptr_nonnull(region_of(a, 2)->address);
	/* It may have been said as well. */
	ck_assert(!release(one, ref));
	registry_look_for_marks(&registry, &one->client);
	ck_assert_uint_eq(registry.usage.leases, 2);

	/* Without a word of the client: when somebody begins to wait, and with each tick. */
	unpin(one, new);
	ref = new;
	new = lease(one, a, 3, 1);
	mark(one, ref);
	registry_set_waits(&registry, true);
	ck_assert(pulse_waits(pulse));
	ck_assert_uint_eq(registry.usage.leases, 2);
	unpin(one, new);
	lease(one, a, 4, 1);
	mark(one, new);
	/* Whoever waits already is told by a message. */
	registry_set_waits(&registry, true);
	ck_assert_uint_eq(registry.usage.leases, 3);
	registry_set_waits(&registry, false);
	ck_assert(!pulse_waits(pulse));
	ck_assert_uint_eq(registry.usage.leases, 3);
	registry_tick(&registry);
	ck_assert_uint_eq(registry.usage.leases, 2);
	ck_assert_ptr_null(registry.recalled);
	stop();
}
END_TEST

#define N_LIARS 17

/* Those who mark nothing of what was named to them make a look at the boards no longer, and take no looks from eviction. */
START_TEST(test_unmarked_victims)
{
	static struct user liars[N_LIARS];
	struct slot_ref refs[MESSAGE_MAX_SLOTS];
	uint64_t a, looks, leases;

	start(MANY * WINDOW, MANY, N_LIARS);
	a = new_file(one, "a", 2 * N_LIARS * WINDOW);
	for (unsigned i = 0; i < N_LIARS; i++) {
		add_user(&liars[i], 1000);
		open_file(&liars[i], "a");
		for (unsigned j = 0; j < MESSAGE_MAX_SLOTS; j++)
			refs[j] = idle_lease(&liars[i], a, i, 1);
	}
	for (unsigned i = 0; i < N_LIARS; i++) {
		lease(&liars[i], a, N_LIARS + i, 1);
		ck_assert_uint_eq(victims.n, MESSAGE_MAX_SLOTS);
	}
	for (unsigned j = 0; j < MESSAGE_MAX_SLOTS; j++)
		mark(&liars[N_LIARS - 1], refs[j]);
	registry_begin_turn(&registry);
	looks = registry.looks;
	leases = registry.usage.leases;
	registry_tick(&registry);
	ck_assert_uint_eq(registry.usage.leases, leases);
	ck_assert_uint_eq(registry.looks, looks);
	/* The next one begins with who was not reached. */
	registry_tick(&registry);
	ck_assert_uint_eq(registry.usage.leases, leases - MESSAGE_MAX_SLOTS);
	for (unsigned i = 0; i < N_LIARS; i++)
		remove_user(&liars[i]);
	stop();
}
END_TEST

/* Who marks and goes leaves what was granted last as warm as who says it. */
START_TEST(test_mark_and_end)
{
	struct slot_ref first, second;
	uint64_t a;

	start(2 * WINDOW, MANY, MANY);
	a = new_file(other, "a", 9 * WINDOW);
	open_file(one, "a");
	first = idle_lease(one, a, 0, 1);
	second = idle_lease(one, a, 1, 1);
	ck_assert(release(one, first));
	lease(other, a, 0, 1);
	/* In the slot that has come free, before that of the victim. */
	first = lease(one, a, 2, 1);
	ck_assert_uint_eq(victims.n, 1);
	ck_assert_uint_lt(first.slot, second.slot);
	mark(one, second);
	registry_remove_client(&registry, &one->client);
	ck_assert(has(a, 2) && region_of(a, 2)->address);
	registry_add_client(&registry, &one->client);
	stop();
}
END_TEST

START_TEST(test_most_victims)
{
	for (uint64_t n = MESSAGE_MAX_SLOTS; n <= MESSAGE_MAX_SLOTS + 1; n++) {
		uint64_t a, b;

		start(MANY * WINDOW, MANY, n);
		a = new_file(one, "a", n * WINDOW);
		b = new_file(one, "b", n * WINDOW);
		for (uint64_t i = 0; i < n; i++)
			idle_lease(one, a, i, 1);
		ck_assert_int_eq(try_lease(one, b, 0, n * WINDOW), n > MESSAGE_MAX_SLOTS ? REGISTRY_NO_ROOM : 0);
		ck_assert_uint_eq(victims.n, n > MESSAGE_MAX_SLOTS ? 0 : MESSAGE_MAX_SLOTS);
		ck_assert_uint_eq(registry.usage.maps, n);
		stop();
	}
}
END_TEST

/* The client was faster: it has claimed the lease to unmap it on its own account. */
START_TEST(test_claimed_by_client)
{
	struct slot_ref ref;
	uint64_t a;

	start(WINDOW, MANY, MANY);
	a = new_file(one, "a", 9 * WINDOW);
	open_file(other, "a");
	ref = idle_lease(one, a, 0, 1);
	ck_assert_int_eq(board_claim(slot_of(one, ref), BOARD_CLIENT), BOARD_CLAIM_WON);
	ck_assert_int_eq(try_lease(other, a, WINDOW, 1), REGISTRY_NO_ROOM);
	ck_assert(is_draining(a, 0));
	ck_assert(release(one, ref));
	lease(other, a, 1, 1);
	stop();
}
END_TEST

static void be_late(void)
{
	for (int i = 0; i < REGISTRY_LATE_TICKS; i++)
		registry_tick(&registry);
}

/* Each limit and quota, by its number, allows three windows in a file each. */
static void start_scarce(int which)
{
	struct limits *limits = &registry.limits;
	uint64_t *const counted[] = {&limits->maps, &limits->quota.maps, &limits->quota.handles, &limits->quota.leases};

	start(MANY * WINDOW, MANY, MANY);
	if (which < 4)
		*counted[which] = 3;
	else
		*(which == 4 ? &limits->memory : &limits->quota.memory) = 3 * WINDOW;
}

/* A client that does not unmap has the next in the order recalled, too, and just one; and so on until there is one that does. */
START_TEST(test_late)
{
	for (int which = 0; which < 6; which++) {
		static const char *const names[] = {"a", "b", "c", "d"};
		struct slot_ref refs[3];
		uint64_t files[4];

		start_scarce(which);
		for (int i = 0; i < 4; i++)
			files[i] = new_file(one, names[i], WINDOW);
		open_file(other, "c");
		open_file(third, "d");
		for (int i = 0; i < 3; i++) {
			refs[i] = idle_lease(i < 2 ? one : other, files[i], 0, 1);
			pulse_advance(pulse);
		}
		for (int n = 1; n <= 3; n++) {
			for (int again = 0; again < 3; again++)
				ck_assert_int_eq(try_lease(third, files[3], 0, 1), REGISTRY_NO_ROOM);
			ck_assert_uint_eq(registry.counters.recalls, (uint64_t)n);
			ck_assert_uint_eq(registry.usage.leases, 3);
			if (n < 3)
				be_late();
		}
		ck_assert(release(other, refs[2]));
		lease(third, files[3], 0, 1);
		remove_user(one);
		ck_assert_uint_eq(registry.usage.late, 0);
		ck_assert_uint_eq(registry.usage.late_maps, 0);
		ck_assert_uint_eq(registry.n_emptying, 0);
		ck_assert_ptr_null(registry.in_time);
		ck_assert_mem_eq(&third->client.account->late, &(struct holding){0}, sizeof(struct holding));
		ck_assert_mem_eq(&third->client.account->draining, &(struct holding){0}, sizeof(struct holding));
		stop();
	}
}
END_TEST

/* A region that a client is late to unmap is live again when it is asked for, and the next search has nothing to count on. */
START_TEST(test_late_and_revived)
{
	uint64_t a;

	start(3 * WINDOW, MANY, MANY);
	a = new_file(one, "a", 9 * WINDOW);
	open_file(other, "a");
	/* Of the lease on two windows the second goes only when the client is late with it. */
	idle_lease(one, a, 0, 2);
	pulse_advance(pulse);
	release(other, idle_lease(other, a, 1, 1));
	lease(other, a, 2, 1);
	ck_assert_int_eq(try_lease(other, a, 3 * WINDOW, 1), REGISTRY_NO_ROOM);
	ck_assert(is_draining(a, 0) && has(a, 1));
	be_late();
	ck_assert_uint_eq(registry.usage.late, WINDOW);
	ck_assert_int_eq(try_lease(other, a, 3 * WINDOW, 1), REGISTRY_NO_ROOM);
	ck_assert(is_draining(a, 1));
	ck_assert_uint_eq(registry.usage.late, 2 * WINDOW);
	lease(other, a, 0, 2);
	ck_assert_uint_eq(registry.usage.late, 0);
	ck_assert_uint_eq(registry.usage.draining, 0);
	stop();
}
END_TEST

/* A client that calls its lease always used just now does so up to the present only. */
START_TEST(test_lying_use)
{
	struct slot_ref liar, honest;
	uint64_t a;

	start(3 * WINDOW, MANY, MANY);
	a = new_file(one, "a", 9 * WINDOW);
	open_file(other, "a");
	open_file(third, "a");
	liar = lease(one, a, 0, 1);
	honest = idle_lease(other, a, 1, 1);
	release(other, idle_lease(other, a, 2, 1));
	pulse_advance(pulse);
	ck_assert(pin(other, honest));
	unpin(other, honest);
	board_unpin(slot_of(one, liar), UINT64_MAX);
	/* Looks at all of them: nothing is old enough but the third. */
	assert_evicts(a, 3, 2);
	ck_assert(release(one, liar));
	pulse_advance(pulse);
	ck_assert(pin(other, honest));
	unpin(other, honest);
	pulse_advance(pulse);
	release(third, idle_lease(third, a, 3, 1));
	assert_evicts(a, 4, 0);
	ck_assert(has(a, 1) && has(a, 3));
	stop();
}
END_TEST

START_TEST(test_end_of_client)
{
	uint64_t a;

	start(3 * WINDOW, MANY, MANY);
	a = new_file(one, "a", 9 * WINDOW);
	open_file(other, "a");
	lease(one, a, 0, 1);
	idle_lease(one, a, 0, 2);
	idle_lease(one, a, 2, 1);
	ck_assert_int_eq(try_lease(other, a, 3 * WINDOW, 1), REGISTRY_NO_ROOM);
	ck_assert(is_draining(a, 1) && has(a, 0) && has(a, 2));
	tell(one);
	remove_user(one);
	/* Pins and recalls are gone with it, what was live stays warm. */
	ck_assert_uint_eq(registry.usage.leases, 0);
	ck_assert_ptr_null(registry.recalled);
	assert_usage(4, 2, 1);
	ck_assert(has(a, 0) && !has(a, 1) && has(a, 2));
	lease(other, a, 3, 3);
	assert_usage(6, 3, 1);
	ck_assert(!has(a, 0) && !has(a, 2));
	stop();
}
END_TEST

/* Whatever is on a client's board, the others get all that it holds at the latest when it is gone. */
START_TEST(test_hostile_board)
{
	for (int round = 0; round < 200; round++) {
		uint64_t a, bytes = 0, maps = 0;
		int r;

		start(3 * WINDOW, 2, MANY);
		a = new_file(one, "a", 9 * WINDOW);
		open_file(other, "a");
		lease(one, a, 0, 1);
		idle_lease(one, a, 0, 2);
		idle_lease(other, a, 2, 1);
		for (uint32_t i = 0; i < N_SLOTS; i++) {
			struct board_slot *slot = &one->client.board.slots[i];
			uint64_t value = round < 64 ? UINT64_C(1) << round : round < 128 ? ~(UINT64_C(1) << (round - 64)) : harness_random();

			atomic_store(&slot->state, round & 1 || round < 128 ? value : value & ~UINT64_C(0xffffff));
			atomic_store(&slot->last_used, round < 128 ? value : harness_random());
			atomic_store(&slot->hits, value);
			atomic_store(&slot->pinned_since, (uint32_t)value);
		}

		r = try_lease(other, a, 3 * WINDOW, 1);
		ck_assert(r == 0 || r == REGISTRY_NO_ROOM);
		r = try_lease(one, a, 4 * WINDOW, 1);
		ck_assert(r == 0 || r == REGISTRY_NO_ROOM);
		ck_assert_int_eq(truncate("a", (off_t)(8 * WINDOW)), 0);
		registry_evict_files(&registry, &one->client, NULL, &bytes, &maps);
		for (uint32_t i = 0; i < 4; i++)
			release(one, (struct slot_ref){.slot = i, .generation = (uint32_t)(i & 1)});
		assert_limits();
		remove_user(one);
		r = try_lease(other, a, 5 * WINDOW, 3 * WINDOW);
		/* The only other thing in the way is the other one's own first lease. */
		if (r == REGISTRY_NO_ROOM)
			remove_user(other);
		if (r == REGISTRY_NO_ROOM)
			r = try_lease(third, open_file(third, "a"), 5 * WINDOW, 3 * WINDOW);
		ck_assert_int_eq(r, 0);
		assert_usage(6, 3, 1);
		stop();
	}
}
END_TEST

/* ---- on demand ---- */

START_TEST(test_collect)
{
	uint64_t mine, theirs, shared, bytes = 0, maps = 0;
	struct slot_ref ref;

	start(MANY * WINDOW, MANY, MANY);
	become(other, 2000);
	become(third, 0);
	mine = new_file(one, "mine", 3 * WINDOW - PAGE);
	theirs = new_file(other, "theirs", WINDOW);
	shared = new_file(one, "shared", WINDOW);
	open_file(other, "shared");
	release(other, idle_lease(other, theirs, 0, 1));
	release(one, idle_lease(one, shared, 0, 1));
	lease(one, mine, 0, 1);
	ref = idle_lease(one, mine, 1, 1);
	release(one, idle_lease(one, mine, 2, 1));
	assert_usage(9, 5, 3);

	/* Its own, and of these what nothing pins; some of it as soon as that is unmapped. */
	registry_evict_files(&registry, &one->client, NULL, &bytes, &maps);
	ck_assert_uint_eq(bytes, 3 * PAGE);
	ck_assert_uint_eq(maps, 2);
	ck_assert(has(mine, 0) && is_draining(mine, 1) && !has(mine, 2) && has(theirs, 0) && has(shared, 0));
	assert_usage(8, 4, 3);
	registry_evict_files(&registry, &one->client, NULL, &bytes, &maps);
	ck_assert_uint_eq(maps, 2);
	ck_assert(release(one, ref));
	assert_usage(6, 3, 3);

	/* Files stay; one that several users have opened is for root. */
	bytes = maps = 0;
	registry_evict_files(&registry, &other->client, NULL, &bytes, &maps);
	ck_assert_uint_eq(maps, 1);
	ck_assert(has(shared, 0));
	registry_evict_files(&registry, &third->client, NULL, &bytes, &maps);
	ck_assert_uint_eq(bytes, 2 * WINDOW);
	assert_usage(2, 1, 3);
	stop();
}
END_TEST

START_TEST(test_drop)
{
	uint64_t below, beside, itself, theirs, bytes = 0, maps = 0;
	struct slot_ref ref;

	start(MANY * WINDOW, MANY, MANY);
	become(other, 2000);
	become(third, 0);
	ck_assert_int_eq(mkdir("d", 0700), 0);
	harness_make_file("d/x", WINDOW);
	harness_make_file("d/theirs", 1);
	harness_make_file("dx", WINDOW);
	harness_make_file("e", WINDOW);
	below = open_file(one, "/d/x");
	beside = open_file(one, "/dx");
	itself = open_file(one, "/e");
	theirs = open_file(other, "/d/theirs");
	ref = idle_lease(one, below, 0, 1);
	release(one, idle_lease(one, beside, 0, 1));

	registry_evict_files(&registry, &one->client, "/d/", &bytes, &maps);
	ck_assert_uint_eq(maps, 1);
	ck_assert(registry_close_files(&registry, &one->client, "/d/"));
	ck_assert_ptr_nonnull(file_find(&registry, below));
	ck_assert(release(one, ref));
	ck_assert(!registry_close_files(&registry, &one->client, "/d/"));
	ck_assert_ptr_null(file_find(&registry, below));
	ck_assert_ptr_nonnull(file_find(&registry, theirs));
	ck_assert(has(beside, 0));
	assert_usage(2, 1, 3);
	ck_assert_int_eq(try_lease(one, below, 0, 1), REGISTRY_REOPEN);

	/* The file itself, and not one whose path only begins so. */
	ck_assert(!registry_close_files(&registry, &one->client, "/"));
	ck_assert_ptr_null(file_find(&registry, itself));
	ck_assert_ptr_nonnull(file_find(&registry, beside));
	registry_evict_files(&registry, &one->client, "/dx/y", &bytes, &maps);
	registry_evict_files(&registry, &one->client, "/DX", &bytes, &maps);
	ck_assert(has(beside, 0));
	registry_evict_files(&registry, &third->client, "/dx", &bytes, &maps);
	ck_assert(!registry_close_files(&registry, &third->client, "/dx"));
	ck_assert_ptr_null(file_find(&registry, beside));
	assert_usage(0, 0, 1);

	/* With pins on it neither the region nor the file goes. */
	lease(other, theirs, 0, 1);
	registry_evict_files(&registry, &third->client, NULL, &bytes, &maps);
	ck_assert(!registry_close_files(&registry, &third->client, NULL));
	ck_assert(has(theirs, 0));
	stop();
}
END_TEST

Suite *suite(void);

Suite *suite(void)
{
	Suite *s = suite_create("registry-eviction");

	HARNESS_CASE(s, "order", test_order_is_of_last_pin, test_order_with_leases, test_order_at_the_end_of_a_client, test_lying_use);
	HARNESS_CASE(s, "eviction", test_draining_counts, test_revive, test_victims, test_victims_of_quota, test_wide_victim_of_quota,
		     test_marked_victims, test_unmarked_victims,
		     test_mark_and_end, test_most_victims, test_claimed_by_client,
		     test_late, test_late_and_revived,
		     test_end_of_client, test_hostile_board);
	HARNESS_CASE(s, "demand", test_collect, test_drop);
	return s;
}

int main(void)
{
	return harness_run(suite());
}
