/* SPDX-License-Identifier: BSD-3-Clause */
/* Limits that change while there is something, and files that nobody asks for. */
#include "config.h"

#include "daemon/room.h"
#include "tests/registry-fixture.h"

static void set_limits(uint64_t memory, uint64_t handles, uint64_t maps)
{
	struct limits limits = registry.limits;

	limits.memory = memory;
	limits.handles = handles;
	limits.maps = maps;
	registry_set_limits(&registry, &limits);
}

static bool shrink(void)
{
	registry_begin_turn(&registry);
	return room_shrink(&registry);
}

/* As assert_limits() does after each request, where more is in use than may be: then nothing is granted. */
static int try_over_limits(struct user *user, uint64_t file, uint64_t window)
{
	struct lease_request request = {.file = file, .offset = window * WINDOW, .length = 1, .in_turn = true};
	struct usage before = registry.usage;
	int r;

	registry_begin_turn(&registry);
	victims.n = 0;
	r = registry_lease(&registry, &user->client, &request, &grant, &victims);
	ck_assert_uint_le(registry.usage.memory, before.memory);
	ck_assert_uint_le(registry.usage.maps, before.maps);
	return r;
}

/* The least recently used go, as many as are too many, and those without a lease at once. */
START_TEST(test_oldest_first)
{
	struct slot_ref refs[4];
	uint64_t file;

	start(MANY * WINDOW, MANY, MANY);
	file = new_file(one, "a", 4 * WINDOW);
	for (uint64_t window = 0; window < 4; window++)
		refs[window] = idle_lease(one, file, window, 1);
	ck_assert(release(one, refs[1]));
	ck_assert(pin(one, refs[0]));
	unpin(one, refs[0]);

	set_limits(3 * WINDOW, MANY, MANY);
	ck_assert(shrink());
	ck_assert(has(file, 0) && !region_of(file, 1) && has(file, 2) && has(file, 3));

	set_limits(MANY * WINDOW, MANY, 2);
	ck_assert(!shrink());
	ck_assert(has(file, 0) && is_draining(file, 2) && has(file, 3));
	/* While it drains no more has to go. */
	ck_assert(!shrink());
	ck_assert(has(file, 0) && has(file, 3));
	tell(one);
	ck_assert(release(one, refs[2]));
	ck_assert(shrink());
	assert_usage(4, 2, 1);
	stop();
}
END_TEST

/* What is pinned goes as soon as its pin ends, and until enough has gone nothing is granted. */
START_TEST(test_pinned)
{
	struct slot_ref first, second;
	uint64_t file;

	start(4 * WINDOW, MANY, MANY);
	file = new_file(one, "a", 4 * WINDOW);
	first = lease(one, file, 0, 2);
	second = lease(one, file, 2, 2);
	ck_assert_uint_eq(open_file(other, "a"), file);
	set_limits(2 * WINDOW, MANY, MANY);
	ck_assert(!shrink());
	assert_usage(8, 4, 1);
	ck_assert_int_eq(try_over_limits(other, file, 0), REGISTRY_NO_ROOM);

	unpin(one, first);
	ck_assert(!shrink());
	ck_assert(is_draining(file, 0) && is_draining(file, 1) && has(file, 2) && has(file, 3));
	/* What drains is not brought back before there is room for it. */
	ck_assert_int_eq(try_over_limits(other, file, 0), REGISTRY_NO_ROOM);
	ck_assert(is_draining(file, 0));
	tell(one);
	ck_assert(release(one, first));
	ck_assert(shrink());
	assert_usage(4, 2, 1);
	assert_limits();

	/* From then on all is as with any limit. */
	ck_assert_int_eq(try_lease(other, file, 0, 1), REGISTRY_NO_ROOM);
	unpin(one, second);
	ck_assert_int_eq(try_lease(other, file, 0, 1), REGISTRY_NO_ROOM);
	tell(one);
	ck_assert(release(one, second));
	ck_assert_int_eq(try_lease(other, file, 0, 1), 0);
	stop();
}
END_TEST

/* A turn is not longer than others are, and goes on in the next. */
START_TEST(test_many_turns)
{
	uint64_t file, turns = 1;

	start(MANY * WINDOW, MANY, MANY);
	file = new_file(one, "a", 256 * WINDOW);
	for (uint64_t window = 0; window < 256; window++)
		ck_assert(release(one, idle_lease(one, file, window, 1)));
	set_limits(WINDOW, MANY, MANY);
	for (;; turns++) {
		uint64_t maps = registry.usage.maps;
		bool done;

		registry_begin_turn(&registry);
		registry.looks = 10;
		done = room_shrink(&registry);
		ck_assert_uint_le(maps - registry.usage.maps, 10);
		if (done)
			break;
		ck_assert(registry.cut_short);
		ck_assert_uint_lt(turns, MANY);
	}
	ck_assert_uint_ge(turns, 255 / 10);
	assert_usage(2, 1, 1);
	ck_assert(has(file, 255));
	stop();
}
END_TEST

/* Files: those without a region first, then those whose regions can go; all that are too many, not one for each look. */
START_TEST(test_handles)
{
	struct slot_ref refs[4];
	uint64_t ids[6];

	start(MANY * WINDOW, 6, MANY);
	for (int i = 0; i < 6; i++)
		ids[i] = new_file(one, (char[]){(char)('a' + i), '\0'}, WINDOW);
	for (int i = 0; i < 4; i++)
		refs[i] = idle_lease(one, ids[i], 0, 1);
	set_limits(MANY * WINDOW, 5, MANY);
	ck_assert(shrink());
	ck_assert(file_find(&registry, ids[0]) && !file_find(&registry, ids[4]) && file_find(&registry, ids[5]));

	set_limits(MANY * WINDOW, 2, MANY);
	ck_assert(!shrink());
	ck_assert_ptr_null(file_find(&registry, ids[5]));
	ck_assert(is_draining(ids[0], 0) && is_draining(ids[1], 0) && has(ids[2], 0) && has(ids[3], 0));
	tell(one);
	ck_assert(release(one, refs[0]));
	ck_assert(release(one, refs[1]));
	ck_assert(shrink());
	assert_usage(4, 2, 2);
	/* Who had it open is told to open it again. */
	ck_assert_int_eq(try_lease(one, ids[0], 0, 1), REGISTRY_REOPEN);
	stop();
}
END_TEST

/* A file that comes free is not given to the next as long as there are too many. */
START_TEST(test_handles_in_use)
{
	struct descriptor_facts facts;
	struct open_request request = {.facts = &facts, .volume = &local, .label = "new", .in_turn = true};
	struct slot_ref refs[4];
	struct file *file;
	uint64_t ids[4];

	start(MANY * WINDOW, 4, MANY);
	for (int i = 0; i < 4; i++) {
		ids[i] = new_file(one, (char[]){(char)('a' + i), '\0'}, WINDOW);
		refs[i] = lease(one, ids[i], 0, 1);
	}
	set_limits(MANY * WINDOW, 2, MANY);
	ck_assert(!shrink());
	ck_assert_uint_eq(registry.usage.handles, 4);

	harness_make_file("new", WINDOW);
	request.fd = open("new", O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(descriptor_check(request.fd, &facts), 0);
	for (int i = 0; i < 3; i++) {
		registry_begin_turn(&registry);
		ck_assert_int_eq(registry_open(&registry, &other->client, &request, &file), REGISTRY_NO_ROOM);
		unpin(one, refs[i]);
		ck_assert(release(one, refs[i]));
		ck_assert_uint_le(registry.usage.handles, 4);
	}
	registry_begin_turn(&registry);
	ck_assert_int_eq(registry_open(&registry, &other->client, &request, &file), 0);
	ck_assert_uint_eq(registry.usage.handles, 2);
	ck_assert(file_find(&registry, ids[3]));
	stop();
}
END_TEST

/* A larger limit holds at once, for the users too, and the pulse shows it. The window stays. */
START_TEST(test_grow)
{
	struct limits limits;
	uint64_t file;

	start(WINDOW, 1, 1);
	file = new_file(one, "a", 4 * WINDOW);
	lease(one, file, 0, 1);
	ck_assert_int_eq(try_lease(one, file, WINDOW, 1), REGISTRY_NO_ROOM);
	ck_assert_int_eq(try_lease(one, file, 0, 2 * WINDOW), -EFBIG);

	limits = registry.limits;
	limits.memory = 4 * WINDOW;
	limits.handles = 3;
	limits.maps = 4;
	limits.window = 2 * WINDOW;
	limits.quota.memory = 2 * WINDOW;
	registry_set_limits(&registry, &limits);
	ck_assert(shrink());
	ck_assert_uint_eq(registry.limits.window, WINDOW);
	ck_assert_uint_eq(atomic_load(&pulse->limit_memory_bytes), 4 * WINDOW);
	ck_assert_uint_eq(atomic_load(&pulse->limit_handles), 3);
	ck_assert_uint_eq(atomic_load(&pulse->limit_maps), 4);
	ck_assert_uint_eq(pulse->window_bytes, WINDOW);
	lease(one, file, 1, 1);
	ck_assert_int_eq(try_lease(one, file, 2 * WINDOW, 1), REGISTRY_OVER_QUOTA);
	stop();
}
END_TEST

/* ---- idle files ---- */

static void look_around(uint64_t now_ms)
{
	registry.now_ms = now_ms;
	registry_look_around(&registry);
}

/* A file goes when it has had no region for so long, nobody has asked for it, and nobody has it open. */
START_TEST(test_idle)
{
	struct slot_ref ref;
	uint64_t file;

	start(MANY * WINDOW, MANY, MANY);
	registry.limits.idle_timeout_ms = 1000;
	registry.now_ms = 5000;
	file = new_file(one, "a", WINDOW);
	look_around(6000);
	ck_assert_ptr_nonnull(file_find(&registry, file));
	ref = idle_lease(one, file, 0, 1);
	ck_assert(release(one, ref));
	ck_assert_int_eq(registry_close(&registry, &one->client, file), 0);
	look_around(7000);
	ck_assert_ptr_nonnull(file_find(&registry, file));

	/* Without its region: not at once. */
	registry.limits.memory = 0;
	registry.now_ms = 8000;
	ck_assert(shrink());
	assert_usage(0, 0, 1);
	look_around(8999);
	ck_assert_ptr_nonnull(file_find(&registry, file));
	/* It is asked for again. */
	ck_assert_uint_eq(open_file(other, "a"), file);
	ck_assert_int_eq(registry_close(&registry, &other->client, file), 0);
	look_around(9998);
	ck_assert_ptr_nonnull(file_find(&registry, file));
	look_around(9999);
	ck_assert_ptr_null(file_find(&registry, file));
	assert_usage(0, 0, 0);
	stop();
}
END_TEST

Suite *suite(void);

Suite *suite(void)
{
	Suite *s = suite_create("registry-shrink");

	HARNESS_CASE(s, "limits", test_oldest_first, test_pinned, test_many_turns, test_handles, test_handles_in_use, test_grow);
	HARNESS_CASE(s, "idle", test_idle);
	return s;
}

int main(void)
{
	return harness_run(suite());
}
