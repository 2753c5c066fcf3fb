/* SPDX-License-Identifier: BSD-3-Clause */
/* The registry: files, and what fits within the limits. What goes, and files that change, have tests of their own. */
#include "config.h"

#include "tests/registry-fixture.h"

#include <sys/resource.h>

/* ---- files ---- */

START_TEST(test_identity)
{
	struct volume weak = {.refs = 1, .known = true, .local = true, .weak = true};
	uint64_t a, id = 0;

	start(MANY * WINDOW, MANY, MANY);
	a = new_file(one, "a", 100);
	ck_assert_int_eq(link("a", "b"), 0);
	ck_assert_uint_eq(open_file(one, "a"), a);
	ck_assert_uint_eq(open_file(other, "b"), a);
	assert_usage(0, 0, 1);
	ck_assert_uint_ne(new_file(one, "c", 100), a);
	assert_usage(0, 0, 2);

	/* Where the identity is weak each opening is a file of its own, and nobody else finds it. */
	ck_assert_int_eq(try_open(one, "a", &weak, &id), 0);
	ck_assert_uint_ne(id, a);
	ck_assert_uint_eq(open_file(third, "a"), a);
	assert_usage(0, 0, 3);

	/* Each opening is ended by one close, and a file stays open for the next who comes. */
	ck_assert_int_eq(registry_close(&registry, &one->client, a), 0);
	ck_assert(client_has_file(&one->client, a));
	ck_assert_int_eq(registry_close(&registry, &one->client, a), 0);
	ck_assert_int_eq(registry_close(&registry, &one->client, a), -EBADF);
	ck_assert_int_eq(registry_close(&registry, &one->client, 12345), -EBADF);
	assert_usage(0, 0, 3);
	stop();
}
END_TEST

START_TEST(test_not_open)
{
	uint64_t a;

	start(MANY * WINDOW, MANY, MANY);
	a = new_file(one, "a", WINDOW);
	ck_assert_int_eq(try_lease(other, a, 0, 1), -EBADF);
	ck_assert_int_eq(try_lease(one, a + 1, 0, 1), -EBADF);
	ck_assert_int_eq(registry_close(&registry, &one->client, a), 0);
	ck_assert_int_eq(try_lease(one, a, 0, 1), -EBADF);
	assert_usage(0, 0, 1);
	stop();
}
END_TEST

/* A file that was let go is opened again under another id. */
START_TEST(test_handles)
{
	uint64_t a, b, c, id = 0;
	struct slot_ref on_b, on_c;

	start(MANY * WINDOW, 2, MANY);
	a = new_file(one, "a", WINDOW);
	b = new_file(one, "b", WINDOW);
	assert_usage(0, 0, 2);
	/* One more: the one that has been without a region the longest goes. */
	c = new_file(one, "c", WINDOW);
	assert_usage(0, 0, 2);
	ck_assert_int_eq(try_lease(one, a, 0, 1), REGISTRY_REOPEN);
	ck_assert(!client_has_file(&one->client, a));
	ck_assert_int_eq(try_lease(one, a, 0, 1), REGISTRY_REOPEN);

	on_b = lease(one, b, 0, 1);
	on_c = lease(other, open_file(other, "c"), 0, 1);
	ck_assert_int_eq(try_open(one, "a", &local, &id), REGISTRY_NO_ROOM);
	ck_assert(has(b, 0) && has(c, 0));
	ck_assert_uint_eq(registry.usage.draining, 0);
	/* An open file needs no handle more. */
	ck_assert_uint_eq(open_file(third, "b"), b);

	/* The idle one has to go; room comes when it is unmapped. */
	unpin(other, on_c);
	ck_assert_int_eq(try_open(one, "a", &local, &id), REGISTRY_NO_ROOM);
	ck_assert(is_draining(c, 0) && has(b, 0));
	ck_assert(release(other, on_c));
	ck_assert_int_eq(try_open(one, "a", &local, &id), 0);
	ck_assert_uint_gt(id, c);
	ck_assert_int_eq(try_lease(other, c, 0, 1), REGISTRY_REOPEN);
	ck_assert_int_eq(registry_close(&registry, &one->client, c), 0);
	unpin(one, on_b);
	stop();
}
END_TEST

/* Regions that nobody leases go at once, oldest first, until a file is without any. */
START_TEST(test_handles_of_unused_files)
{
	uint64_t a, b, id = 0;

	start(MANY * WINDOW, 2, MANY);
	a = new_file(one, "a", 2 * WINDOW);
	b = new_file(one, "b", 2 * WINDOW);
	release(one, idle_lease(one, b, 0, 2));
	release(one, idle_lease(one, a, 0, 1));
	harness_make_file("c", 1);
	ck_assert_int_eq(try_open(other, "c", &local, &id), 0);
	ck_assert(has(a, 0));
	ck_assert_ptr_null(file_find(&registry, b));
	assert_usage(2, 1, 2);
	stop();
}
END_TEST

START_TEST(test_too_many_files)
{
	struct descriptor_facts facts;
	struct open_request request = {.facts = &facts, .volume = &local, .label = "a", .in_turn = true};
	struct file *file;

	start(MANY * WINDOW, 2, MANY);
	registry.limits.quota.files = 100;
	become(one, 0);
	harness_make_file("a", 1);
	/* What the server has let go of still counts for the user. */
	for (int i = 0; i < 100; i++) {
		open_file(one, "a");
		ck_assert(!registry_close_files(&registry, &one->client, NULL));
	}
	request.fd = open("a", O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(descriptor_check(request.fd, &facts), 0);
	ck_assert_int_eq(registry_open(&registry, &one->client, &request, &file), -EDQUOT);
	ck_assert_uint_eq(registry.usage.handles, 0);
	ck_assert_int_ge(request.fd, 0);
	close(request.fd);
	stop();
}
END_TEST

/* ---- limits ---- */

START_TEST(test_counted_once)
{
	uint64_t a;

	start(2 * WINDOW, MANY, MANY);
	a = new_file(one, "a", 2 * WINDOW - PAGE + 1);
	open_file(other, "a");
	lease(one, a, 0, 2);
	ck_assert_uint_eq(grant.lease->length, 2 * WINDOW - PAGE + 1);
	ck_assert_uint_eq(grant.file_size, 2 * WINDOW - PAGE + 1);
	assert_usage(4, 2, 1);
	lease(other, a, 1, 1);
	ck_assert_uint_eq(grant.lease->offset, WINDOW);
	ck_assert_uint_eq(grant.lease->length, WINDOW - PAGE + 1);
	lease(other, a, 0, 2);
	lease(one, a, 0, 1);
	assert_usage(4, 2, 1);
	ck_assert_uint_eq(registry.usage.leases, 4);
	ck_assert_uint_eq(registry.counters.grants, 4);
	registry_publish(&registry);
	ck_assert_uint_eq(atomic_load(&pulse->memory_bytes), 2 * WINDOW);
	ck_assert_uint_eq(atomic_load(&pulse->maps), 2);
	ck_assert_uint_eq(atomic_load(&pulse->handles), 1);
	stop();
}
END_TEST

START_TEST(test_past_the_end)
{
	uint64_t a, empty;

	start(WINDOW, MANY, MANY);
	a = new_file(one, "a", WINDOW);
	empty = new_file(one, "empty", 0);
	ck_assert_int_eq(try_lease(one, a, WINDOW, 1), 0);
	ck_assert_ptr_null(grant.lease);
	ck_assert_uint_eq(grant.file_size, WINDOW);
	ck_assert_int_eq(try_lease(one, a, INT64_MAX, UINT64_MAX), 0);
	ck_assert_ptr_null(grant.lease);
	ck_assert_int_eq(try_lease(one, empty, 0, 1), 0);
	ck_assert_ptr_null(grant.lease);
	assert_usage(0, 0, 2);
	ck_assert_int_eq(try_lease(one, a, WINDOW - 1, UINT64_MAX), 0);
	ck_assert_uint_eq(grant.lease->offset, 0);
	ck_assert_uint_eq(grant.lease->length, WINDOW);
	stop();
}
END_TEST

START_TEST(test_never_fits)
{
	uint64_t a, b;

	/* Bytes: three pages fit, four don't; the end of the file counts as whole pages. */
	start(3 * PAGE, MANY, MANY);
	a = new_file(one, "a", 3 * PAGE + 1);
	ck_assert_int_eq(try_lease(one, a, 0, 3 * PAGE), -EFBIG);
	ck_assert_int_eq(try_lease(one, a, WINDOW - 1, 2), -EFBIG);
	ck_assert_int_eq(try_lease(one, a, 0, UINT64_MAX), -EFBIG);
	assert_usage(0, 0, 1);
	b = new_file(one, "b", 3 * PAGE);
	lease(one, b, 0, 2);
	assert_usage(3, 2, 2);
	/* It does not fit whatever happens, pinned or not. */
	ck_assert_int_eq(try_lease(one, a, 0, 3 * PAGE), -EFBIG);
	stop();

	/* Maps. */
	start(MANY * WINDOW, MANY, 2);
	a = open_file(one, "a");
	b = new_file(one, "c", 2 * WINDOW + 1);
	ck_assert_int_eq(try_lease(one, b, 0, 2 * WINDOW + 1), -EFBIG);
	ck_assert_int_eq(try_lease(one, b, WINDOW - 1, WINDOW + 2), -EFBIG);
	ck_assert_int_eq(try_lease(one, b, WINDOW - 1, WINDOW + 1), 0);
	assert_usage(4, 2, 2);
	stop();
}
END_TEST

START_TEST(test_exact_memory)
{
	struct slot_ref ref;
	uint64_t a, b;

	start(2 * WINDOW + PAGE, MANY, MANY);
	a = new_file(one, "a", 2 * WINDOW);
	b = new_file(other, "b", PAGE + 1);
	ref = lease(one, a, 0, 2);
	/* Two pages have no room beside four. */
	ck_assert_int_eq(try_lease(other, b, 0, 1), REGISTRY_NO_ROOM);
	assert_usage(4, 2, 2);
	ck_assert_int_eq(truncate("b", (off_t)PAGE), 0);
	lease(other, b, 0, 1);
	assert_usage(5, 3, 2);
	ck_assert(pin(one, ref));
	stop();
}
END_TEST

START_TEST(test_exact_maps)
{
	struct slot_ref ref;
	uint64_t a;

	start(MANY * WINDOW, MANY, 3);
	a = new_file(one, "a", 9 * WINDOW);
	open_file(other, "a");
	lease(one, a, 0, 2);
	ref = lease(other, a, 2, 1);
	ck_assert_int_eq(try_lease(one, a, 3 * WINDOW, 1), REGISTRY_NO_ROOM);
	unpin(other, ref);
	ck_assert_int_eq(try_lease(one, a, 3 * WINDOW, 1), REGISTRY_NO_ROOM);
	ck_assert_uint_eq(registry.usage.draining_maps, 1);
	ck_assert(release(other, ref));
	lease(one, a, 3, 1);
	assert_usage(6, 3, 1);
	stop();
}
END_TEST

START_TEST(test_pinned_stay)
{
	struct slot_ref first, second;
	uint64_t a;

	start(2 * WINDOW, MANY, MANY);
	a = new_file(one, "a", 9 * WINDOW);
	open_file(other, "a");
	first = lease(one, a, 0, 1);
	second = lease(other, a, 1, 1);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(try_lease(other, a, 5 * WINDOW, 1), REGISTRY_NO_ROOM);
	ck_assert(has(a, 0) && has(a, 1) && !has(a, 5));
	ck_assert_uint_eq(registry.counters.evictions, 0);
	ck_assert_uint_eq(registry.counters.recalls, 0);

	/* Two pins: the first to end is not enough. */
	ck_assert(pin(one, first));
	unpin(one, first);
	ck_assert_int_eq(try_lease(other, a, 5 * WINDOW, 1), REGISTRY_NO_ROOM);
	unpin(one, first);
	/* Not its turn: then it evicts nothing. */
	ck_assert_int_eq(ask(other, &(struct lease_request){.file = a, .offset = 5 * WINDOW, .length = 1}), REGISTRY_NO_ROOM);
	ck_assert_uint_eq(registry.counters.evictions, 0);

	ck_assert_int_eq(try_lease(other, a, 5 * WINDOW, 1), REGISTRY_NO_ROOM);
	ck_assert(is_draining(a, 0) && has(a, 1));
	ck_assert(!pin(one, first));
	ck_assert(release(one, first));
	ck_assert(!release(one, first));
	lease(other, a, 5, 1);
	ck_assert(pin(other, second));
	stop();
}
END_TEST

START_TEST(test_slots)
{
	uint64_t a;

	start(MANY * WINDOW, MANY, MANY);
	a = new_file(one, "a", 2 * WINDOW);
	open_file(other, "a");
	for (uint32_t i = 0; i < N_SLOTS; i++)
		ck_assert_uint_eq(lease(one, a, 0, 1).slot, i);
	ck_assert_int_eq(try_lease(one, a, 0, 1), -EDQUOT);
	ck_assert_int_eq(try_lease(one, a, WINDOW, 1), -EDQUOT);
	assert_usage(2, 1, 1);
	ck_assert_uint_eq(registry.usage.leases, N_SLOTS);
	lease(other, a, 0, 1);
	ck_assert(release(one, (struct slot_ref){.slot = 7, .generation = 1}));
	ck_assert(!release(one, (struct slot_ref){.slot = 7, .generation = 2}));
	ck_assert(!release(one, (struct slot_ref){.slot = N_SLOTS}));
	ck_assert(!release(one, (struct slot_ref){.slot = UINT32_MAX, .generation = UINT32_MAX}));
	ck_assert_uint_eq(lease(one, a, 0, 1).generation, 2);
	stop();
}
END_TEST

/* When a slot has had 2^31 leases it begins again, with that of the first: 0 is nobody's. */
START_TEST(test_last_generation)
{
	struct slot_ref last = {.slot = 0, .generation = INT32_MAX};
	struct board_slot *slot;
	uint64_t a;

	start(MANY * WINDOW, MANY, MANY);
	a = new_file(one, "a", WINDOW);
	ck_assert(release(one, lease(one, a, 0, 1)));
	slot = &one->client.board.slots[0];
	one->client.slots[0].generation = INT32_MAX;
	atomic_store(&slot->state, (uint64_t)INT32_MAX << 32);
	ck_assert_uint_eq(lease(one, a, 0, 1).generation, INT32_MAX);
	ck_assert(release(one, last));
	ck_assert_uint_eq(lease(one, a, 0, 1).generation, 1);
	ck_assert_uint_eq(*board_watch(slot), 1);
	ck_assert(!release(one, last));
	stop();
}
END_TEST

/* The second of two runs can't be mapped, and the first took room that is only on its way. */
START_TEST(test_failed_map)
{
	uint64_t window = UINT64_C(64) << 20, a, b;
	struct rlimit saved, limit;
	unsigned long pages;
	FILE *statm;

	start_with_window(window, 7 * window, MANY, MANY);
	a = new_file(one, "a", 0);
	b = new_file(one, "b", 0);
	ck_assert_int_eq(truncate("a", (off_t)(3 * window)), 0);
	ck_assert_int_eq(truncate("b", (off_t)(3 * window)), 0);
	/* Nothing is idle that could make way. */
	ck_assert_int_eq(try_lease(one, a, window, 1), 0);
	ck_assert_int_eq(try_lease(one, b, 0, 3 * window), 0);
	ck_assert_uint_eq(registry.usage.memory, 4 * window);

	statm = fopen("/proc/self/statm", "re");
	ck_assert_ptr_nonnull(statm);
	ck_assert_int_eq(fscanf(statm, "%lu", &pages), 1);
	fclose(statm);
	ck_assert_int_eq(getrlimit(RLIMIT_AS, &saved), 0);
	limit = (struct rlimit){.rlim_cur = pages * PAGE + window + window / 2, .rlim_max = saved.rlim_max};
	ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
	ck_assert_int_eq(try_lease(one, a, 0, 3 * window), -ENOMEM);
	ck_assert_int_eq(setrlimit(RLIMIT_AS, &saved), 0);
	ck_assert_ptr_null(grant.lease);
	ck_assert_uint_eq(victims.n, 0);
	/* What was mapped until then stays warm. */
	ck_assert_uint_eq(registry.usage.memory, 5 * window);
	ck_assert(has(a, 0) && !has(a, 2));
	stop();
}
END_TEST

START_TEST(test_look_ahead)
{
	struct lease_request request = {.length = 1, .in_turn = true};
	struct slot_ref ref, gone;
	uint64_t a;

	start(5 * WINDOW, MANY, MANY);
	request.file = a = new_file(one, "a", 9 * WINDOW + 1);
	open_file(other, "a");
	request.ahead = 2;
	ck_assert_int_eq(ask(one, &request), 0);
	ck_assert_uint_eq(grant.lease->length, 3 * WINDOW);
	assert_usage(6, 3, 1);
	ref = grant.lease->ref;

	/* Of five windows no more than two are leased ahead, */
	request.offset = 4 * WINDOW;
	request.ahead = UINT64_MAX;
	ck_assert_int_eq(ask(one, &request), 0);
	ck_assert_uint_eq(grant.lease->length, WINDOW);
	assert_usage(8, 4, 1);
	unpin(one, grant.lease->ref);
	/* until that lease ends; and no farther than there is room, though something idle is there. */
	unpin(one, ref);
	ck_assert(release(one, ref));
	request.offset = 5 * WINDOW;
	ck_assert_int_eq(ask(one, &request), 0);
	ck_assert_uint_eq(grant.lease->length, WINDOW);
	assert_usage(10, 5, 1);
	/* Regions that are there cost nothing. */
	request.offset = 0;
	ck_assert_int_eq(ask(other, &request), 0);
	ck_assert_uint_eq(grant.lease->length, 3 * WINDOW);
	unpin(other, grant.lease->ref);
	ck_assert(release(other, grant.lease->ref));
	/* Nothing ahead where room has to be made first. */
	request.offset = 7 * WINDOW;
	ck_assert_int_eq(ask(one, &request), 0);
	ck_assert_uint_eq(victims.n, 1);
	ck_assert_uint_eq(grant.lease->length, WINDOW);
	stop();

	/* Nor for a user more than half of the quota; and none as long as somebody waits. */
	start(20 * WINDOW, MANY, MANY);
	registry.limits.quota.memory = 6 * WINDOW;
	request.file = a = open_file(one, "a");
	request.offset = 0;
	ck_assert_int_eq(ask(one, &request), 0);
	ck_assert_uint_eq(grant.lease->length, 4 * WINDOW);
	unpin(one, grant.lease->ref);
	ck_assert(release(one, grant.lease->ref));
	pulse_set_waits(pulse, true);
	ck_assert_int_eq(ask(one, &request), 0);
	ck_assert_uint_eq(grant.lease->length, WINDOW);
	stop();

	/* Not past the end of the file; not over the maps; nor over what is on its way out. */
	start(MANY * WINDOW, MANY, 4);
	request.file = a = open_file(one, "a");
	request.offset = 8 * WINDOW;
	ck_assert_int_eq(ask(one, &request), 0);
	ck_assert_uint_eq(grant.lease->length, WINDOW + 1);
	assert_usage(3, 2, 1);
	request.offset = 0;
	ck_assert_int_eq(ask(one, &request), 0);
	ck_assert_uint_eq(grant.lease->length, 2 * WINDOW);
	gone = grant.lease->ref;
	unpin(one, gone);
	open_file(other, "a");
	ck_assert_int_eq(try_lease(other, a, 4 * WINDOW, 1), REGISTRY_NO_ROOM);
	ck_assert(is_draining(a, 0) && has(a, 1));
	ck_assert(release(one, gone));
	ck_assert_int_eq(try_lease(other, a, 4 * WINDOW, 1), 0);
	stop();
}
END_TEST

Suite *suite(void);

Suite *suite(void)
{
	Suite *s = suite_create("registry");

	HARNESS_CASE(s, "files", test_identity, test_not_open, test_handles, test_handles_of_unused_files, test_too_many_files);
	HARNESS_CASE(s, "limits", test_counted_once, test_past_the_end, test_never_fits, test_exact_memory, test_exact_maps,
		     test_pinned_stay, test_slots, test_last_generation, test_failed_map);
	HARNESS_CASE(s, "ahead", test_look_ahead);
	return s;
}

int main(void)
{
	return harness_run(suite());
}
