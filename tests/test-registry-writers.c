/* SPDX-License-Identifier: BSD-3-Clause */
/* The registry: files that are guarded against writers, which are this process's own, and do not wait. */
#include "config.h"

#include "daemon/writers.h"
#include "tests/registry-fixture.h"

#define TIMEOUT 5000
#define PAUSE   500

#define NOBODY 65534

static int ear;

static void start_guarded(uint64_t memory, uint64_t handles, uint64_t maps)
{
	struct limits limits;

	ear = write_guard_open_ear();
	ck_assert_int_ge(ear, 0);
	start(memory, handles, maps);
	limits = registry.limits;
	limits.write_guard = true;
	limits.write_guard_timeout_ms = TIMEOUT;
	registry_set_limits(&registry, &limits);
}

static void turn_off(void)
{
	struct limits limits = registry.limits;

	limits.write_guard = false;
	registry_set_limits(&registry, &limits);
}

static void stop_guarded(void)
{
	stop();
	ck_assert_ptr_null(registry.by_guard);
	ck_assert_ptr_null(registry.unguarded);
	ck_assert_ptr_null(registry.breaking);
	close(ear);
}

static enum write_guard_state state_of(uint64_t file)
{
	return file_find(&registry, file)->guard.state;
}

/* Whether a writer of the file is let in. The kernel tells of one that is not. */
static bool can_write(const char *name)
{
	int fd = open(name, O_WRONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		ck_assert_int_eq(errno, EWOULDBLOCK);
	close_fd(fd);
	return fd >= 0;
}

/* What the server does when it hears something. The number of guards that were named. */
static size_t hear(void)
{
	int guards[WRITE_GUARD_MOST_HEARD];
	bool any;
	size_t n = write_guard_hear(ear, guards, &any);

	registry_begin_turn(&registry);
	for (size_t i = 0; i < n; i++)
		writers_hear(&registry, guards[i]);
	ck_assert(!any);
	writers_recall(&registry);
	writers_let_in(&registry);
	return n;
}

/* What it does again and again. */
static void look(void)
{
	registry_begin_turn(&registry);
	writers_recall(&registry);
	writers_let_in(&registry);
}

START_TEST(test_pinned)
{
	uint64_t a, b, releases;
	struct slot_ref ref;

	start_guarded(MANY * WINDOW, MANY, MANY);
	a = new_file(one, "a", 2 * WINDOW);
	b = new_file(one, "b", WINDOW);
	open_file(other, "a");
	/* Nothing of it is mapped. */
	ck_assert_int_eq(state_of(a), WRITE_GUARD_NONE);
	ck_assert(can_write("a"));

	ref = lease(one, a, 0, 1);
	ck_assert_int_eq(state_of(a), WRITE_GUARD_HELD);
	ck_assert_int_eq(state_of(b), WRITE_GUARD_NONE);
	ck_assert(!can_write("a"));
	ck_assert_uint_eq(hear(), 1);
	ck_assert_int_eq(state_of(a), WRITE_GUARD_BREAKING);
	/* Others come after the writer, though it is there; other files are not concerned. */
	ck_assert_int_eq(try_lease(other, a, 0, 1), REGISTRY_WRITER);
	ck_assert_int_eq(try_lease(other, a, WINDOW, 1), REGISTRY_WRITER);
	lease(one, b, 0, 1);
	ck_assert(!can_write("a"));
	ck_assert_uint_eq(hear(), 0);
	ck_assert(!can_write("a"));
	/* Its user may come and go as long as nobody looks. */
	unpin(one, ref);
	ck_assert(pin(one, ref));
	releases = registry.releases;
	look();
	ck_assert_int_eq(state_of(a), WRITE_GUARD_BREAKING);
	ck_assert_uint_eq(registry.releases, releases);

	unpin(one, ref);
	look();
	ck_assert(!pin(one, ref));
	ck_assert_int_eq(state_of(a), WRITE_GUARD_AWAITED);
	ck_assert_uint_gt(registry.releases, releases);
	ck_assert(can_write("a"));
	/* What is there stays warm. */
	ck_assert(has(a, 0));
	ck_assert_int_eq(state_of(b), WRITE_GUARD_HELD);
	stop_guarded();
}
END_TEST

/* The writer waits for nobody to unmap. A file that was let go of for it is guarded again after a pause, by a grant or a look. */
START_TEST(test_idle)
{
	struct slot_ref ref;
	uint64_t a;

	start_guarded(MANY * WINDOW, MANY, MANY);
	a = new_file(one, "a", 2 * WINDOW);
	ref = idle_lease(one, a, 0, 1);
	idle_lease(one, a, 0, 2);
	ck_assert(!can_write("a"));
	hear();
	ck_assert_int_eq(state_of(a), WRITE_GUARD_AWAITED);
	ck_assert(!pin(one, ref));
	ck_assert_uint_eq(registry.counters.recalls, 2);
	ck_assert(can_write("a"));
	assert_usage(4, 2, 1);

	lease(one, a, 0, 1);
	registry_look_around(&registry);
	ck_assert_int_eq(state_of(a), WRITE_GUARD_AWAITED);
	ck_assert(can_write("a"));
	registry.now_ms += PAUSE - 1;
	lease(one, a, 0, 1);
	registry_look_around(&registry);
	ck_assert_int_eq(state_of(a), WRITE_GUARD_AWAITED);
	registry.now_ms++;
	lease(one, a, 0, 1);
	ck_assert_int_eq(state_of(a), WRITE_GUARD_HELD);
	ck_assert(!can_write("a"));
	hear();

	registry.now_ms += TIMEOUT;
	look();
	ck_assert_int_eq(state_of(a), WRITE_GUARD_AWAITED);
	registry.now_ms += PAUSE;
	registry_look_around(&registry);
	ck_assert_int_eq(state_of(a), WRITE_GUARD_HELD);
	stop_guarded();
}
END_TEST

/* Of a region with two leases, the one that is idle goes at once, and the other is waited for until the deadline. */
START_TEST(test_deadline)
{
	struct slot_ref idle, pinned;
	uint64_t a;

	start_guarded(MANY * WINDOW, MANY, MANY);
	a = new_file(one, "a", WINDOW);
	open_file(other, "a");
	pinned = lease(one, a, 0, 1);
	idle = idle_lease(other, a, 0, 1);
	ck_assert(!can_write("a"));
	registry.now_ms = 1000;
	hear();
	ck_assert(!pin(other, idle));
	ck_assert_int_eq(state_of(a), WRITE_GUARD_BREAKING);
	registry.now_ms += TIMEOUT - 1;
	look();
	ck_assert(!can_write("a"));
	registry.now_ms++;
	look();
	ck_assert_int_eq(state_of(a), WRITE_GUARD_AWAITED);
	ck_assert_int_eq(truncate("a", 1), 0);
	/* The pin is what it was, and is told. */
	ck_assert(!board_is_stale(slot_of(one, pinned)));
	registry_look_around(&registry);
	ck_assert(board_is_stale(slot_of(one, pinned)));
	stop_guarded();
}
END_TEST

/* The file is not let go of while one is pinned, however many there are and however short a turn is. */
START_TEST(test_short_turns)
{
	struct slot_ref refs[100];
	uint64_t a, b;

	start_guarded(MANY * WINDOW, MANY, MANY);
	a = new_file(one, "a", WINDOW);
	b = new_file(one, "b", WINDOW);
	for (size_t i = 0; i < 100; i++)
		refs[i] = lease(one, i % 2 ? a : b, 0, 1);
	ck_assert(!can_write("a") && !can_write("b"));
	ck_assert_uint_eq(hear(), 2);
	for (size_t i = 99; i; i--)
		unpin(one, refs[i]);
	for (size_t turn = 0; turn < 100; turn++) {
		registry_begin_turn(&registry);
		registry.looks = 1;
		writers_recall(&registry);
		ck_assert_uint_le(registry.counters.recalls, turn + 1);
		writers_let_in(&registry);
	}
	ck_assert_uint_eq(registry.counters.recalls, 99);
	ck_assert_int_eq(state_of(a), WRITE_GUARD_AWAITED);
	ck_assert_int_eq(state_of(b), WRITE_GUARD_BREAKING);
	unpin(one, refs[0]);
	look();
	ck_assert_int_eq(state_of(b), WRITE_GUARD_AWAITED);
	stop_guarded();
}
END_TEST

/* What a break waits for can end otherwise. */
START_TEST(test_gone_meanwhile)
{
	struct slot_ref ref;
	uint64_t a;

	start_guarded(MANY * WINDOW, MANY, MANY);
	a = new_file(one, "a", WINDOW);
	lease(one, a, 0, 1);
	/* A client that dies. */
	ck_assert(!can_write("a"));
	hear();
	remove_user(one);
	look();
	ck_assert_int_eq(state_of(a), WRITE_GUARD_AWAITED);
	ck_assert(can_write("a"));

	/* A region that is evicted, the last, of a file that is let go. */
	registry.now_ms += PAUSE;
	open_file(other, "a");
	ref = lease(other, a, 0, 1);
	ck_assert(!can_write("a"));
	hear();
	ck_assert_int_eq(state_of(a), WRITE_GUARD_BREAKING);
	unpin(other, ref);
	ck_assert(region_evict(&registry, region_find(file_find(&registry, a), 0)));
	ck_assert(release(other, ref));
	ck_assert_int_eq(state_of(a), WRITE_GUARD_NONE);
	ck_assert(can_write("a"));
	ck_assert_ptr_null(registry.breaking);
	file_free(&registry, file_find(&registry, a));
	add_user(one, 1000);
	stop_guarded();
}
END_TEST

/* A grant finds the writer that the kernel has not told of yet. */
START_TEST(test_untold)
{
	struct slot_ref ref;
	uint64_t a;

	start_guarded(MANY * WINDOW, MANY, MANY);
	a = new_file(one, "a", WINDOW);
	ref = lease(one, a, 0, 1);
	ck_assert(!can_write("a"));
	ck_assert_int_eq(try_lease(one, a, 0, 1), REGISTRY_WRITER);
	ck_assert_int_eq(state_of(a), WRITE_GUARD_BREAKING);
	unpin(one, ref);
	ck_assert_uint_eq(hear(), 1);
	ck_assert_int_eq(state_of(a), WRITE_GUARD_AWAITED);
	stop_guarded();
}
END_TEST

START_TEST(test_switched)
{
	uint64_t a, b, c;

	start_guarded(MANY * WINDOW, MANY, MANY);
	a = new_file(one, "a", WINDOW);
	b = new_file(one, "b", WINDOW);
	c = new_file(one, "c", WINDOW);
	lease(one, a, 0, 1);
	lease(one, b, 0, 1);
	ck_assert(!can_write("a"));
	hear();
	ck_assert_int_eq(state_of(a), WRITE_GUARD_BREAKING);
	turn_off();
	ck_assert_int_eq(state_of(a), WRITE_GUARD_NONE);
	ck_assert_int_eq(state_of(b), WRITE_GUARD_NONE);
	ck_assert(can_write("a") && can_write("b"));
	lease(one, a, 0, 1);
	registry_look_around(&registry);
	ck_assert_int_eq(state_of(a), WRITE_GUARD_NONE);

	/* On again, what is mapped is guarded at the next look. */
	registry.limits.write_guard = true;
	registry_set_limits(&registry, &registry.limits);
	registry_look_around(&registry);
	ck_assert_int_eq(state_of(a), WRITE_GUARD_HELD);
	ck_assert_int_eq(state_of(b), WRITE_GUARD_HELD);
	ck_assert_int_eq(state_of(c), WRITE_GUARD_NONE);
	stop_guarded();
}
END_TEST

/* A file that is open for writing is leased, and guarded when it is closed. */
START_TEST(test_written)
{
	uint64_t a;
	int fd;

	start_guarded(MANY * WINDOW, MANY, MANY);
	a = new_file(one, "a", 2 * WINDOW);
	fd = open("a", O_WRONLY | O_CLOEXEC);
	lease(one, a, 0, 1);
	ck_assert_int_eq(state_of(a), WRITE_GUARD_AWAITED);
	registry.now_ms += PAUSE;
	registry_look_around(&registry);
	lease(one, a, 1, 1);
	ck_assert_int_eq(state_of(a), WRITE_GUARD_AWAITED);
	/* What it did is seen when it is guarded. */
	ck_assert_int_eq(ftruncate(fd, (off_t)WINDOW), 0);
	close(fd);
	registry.now_ms += PAUSE;
	writers_try_again(&registry);
	ck_assert_int_eq(state_of(a), WRITE_GUARD_HELD);
	ck_assert_ptr_null(region_of(a, 1));
	ck_assert_int_eq(try_lease(one, a, WINDOW, 1), 0);
	ck_assert_ptr_null(grant.lease);
	stop_guarded();
}
END_TEST

/* A file that is to be mapped and is not, for want of room, is not guarded; one whose last region goes for its next is. */
START_TEST(test_mapped)
{
	struct slot_ref ref;
	uint64_t a, b;

	start_guarded(WINDOW, MANY, MANY);
	a = new_file(one, "a", 2 * WINDOW);
	b = new_file(one, "b", WINDOW);
	ref = lease(one, a, 0, 1);
	ck_assert_int_eq(try_lease(one, b, 0, 1), REGISTRY_NO_ROOM);
	ck_assert_int_eq(state_of(b), WRITE_GUARD_NONE);
	ck_assert_ptr_null(registry.unguarded);

	unpin(one, ref);
	ck_assert(release(one, ref));
	assert_usage(2, 1, 2);
	lease(one, a, 1, 1);
	ck_assert_ptr_null(region_of(a, 0));
	ck_assert_int_eq(state_of(a), WRITE_GUARD_HELD);
	ck_assert(!can_write("a"));
	stop_guarded();
}
END_TEST

/* A signal of a guard that is not there any more, or has got another file's descriptor, does nothing. */
START_TEST(test_old_signal)
{
	struct slot_ref ref;
	uint64_t a, b;

	start_guarded(MANY * WINDOW, MANY, MANY);
	a = new_file(one, "a", WINDOW);
	b = new_file(one, "b", WINDOW);
	ref = idle_lease(one, a, 0, 1);
	ck_assert(!can_write("a"));
	ck_assert(region_evict(&registry, region_find(file_find(&registry, a), 0)));
	ck_assert(release(one, ref));
	ck_assert_int_eq(state_of(a), WRITE_GUARD_NONE);
	ref = lease(one, b, 0, 1);
	ck_assert_uint_eq(hear(), 1);
	ck_assert_int_eq(state_of(b), WRITE_GUARD_HELD);
	unpin(one, ref);
	ck_assert(pin(one, ref));
	writers_hear(&registry, -1);
	writers_hear(&registry, 12345);
	writers_hear_any(&registry);
	ck_assert_int_eq(state_of(b), WRITE_GUARD_HELD);

	ck_assert(!can_write("b"));
	writers_hear_any(&registry);
	ck_assert_int_eq(state_of(b), WRITE_GUARD_BREAKING);
	stop_guarded();
}
END_TEST

/* What the server may not guard is leased as without. */
START_TEST(test_impossible)
{
	uint64_t a;

	start_guarded(MANY * WINDOW, MANY, MANY);
	ck_assert_int_eq(symlink("/etc/passwd", "a"), 0);
	a = open_file(one, "a");
	if (geteuid() == 0)
		ck_assert_int_eq(seteuid(NOBODY), 0);
	lease(one, a, 0, 1);
	ck_assert_int_eq(state_of(a), WRITE_GUARD_IMPOSSIBLE);
	registry.now_ms += PAUSE;
	registry_look_around(&registry);
	lease(one, a, 0, 1);
	ck_assert_int_eq(state_of(a), WRITE_GUARD_IMPOSSIBLE);
	ck_assert_int_eq(file_find(&registry, a)->guard.fd, -1);
	if (getuid() == 0)
		ck_assert_int_eq(seteuid(0), 0);
	stop_guarded();
}
END_TEST

Suite *suite(void);

Suite *suite(void)
{
	Suite *s = suite_create("registry-writers");

	HARNESS_CASE(s, "breaks", test_pinned, test_idle, test_deadline, test_short_turns, test_gone_meanwhile, test_old_signal,
		     test_untold);
	HARNESS_CASE(s, "guards", test_switched, test_written, test_mapped, test_impossible);
	return s;
}

int main(void)
{
	return harness_run(suite());
}
