/* SPDX-License-Identifier: BSD-3-Clause */
/* The figures of the server, and what they cost a turn of the loop. */
#include "config.h"

#include "daemon/report.h"
#include "proto/figures.h"
#include "tests/registry-fixture.h"

#define N_LEASES 100

static struct heap heap;
static struct errands errands;
static struct report_server server = {.socket = "/a/socket", .heap = &heap, .errands = &errands};
static char bytes[65536];

static struct report_page page_of(uid_t uid, enum figures_section section, uint64_t from)
{
	return (struct report_page){.uid = uid, .section = section, .from = from, .bytes = bytes, .size = sizeof(bytes)};
}

/* The summary, in turns of so many looks; *@turns counts them. */
static struct figures_summary summary_in_turns(uint64_t looks, uint64_t *turns)
{
	struct figures_summary summary;
	uint64_t ticket = 0;
	struct report_page page;
	struct text rows;
	int r;

	*turns = 0;
	do {
		page = page_of(0, FIGURES_SUMMARY, 0);
		registry_begin_turn(&registry);
		registry.looks = looks;
		r = report_page(&registry, &server, &page, &ticket);
		ck_assert(r == 0 || (r == REPORT_WAITS && registry.cut_short && !registry.looks));
		++*turns;
	} while (r);
	rows = (struct text){bytes, page.length};
	ck_assert_int_eq(figures_next(&rows, FIGURES_SUMMARY, &summary), 1);
	ck_assert_uint_eq(page.next, 0);
	return summary;
}

static struct figures_summary summary_now(void)
{
	uint64_t turns;
	struct figures_summary summary = summary_in_turns(UINT32_MAX, &turns);

	ck_assert_uint_eq(turns, 1);
	return summary;
}

/*
 * Leases of two clients on the windows of one file; those of the first are pinned on every second window, the other's on every
 * third.
 */
static void lease_many(uint64_t file)
{
	for (uint64_t i = 0; i < N_LEASES; i++) {
		if (i % 2)
			idle_lease(one, file, i, 1);
		else
			lease(one, file, i, 1);
		if (i % 3)
			idle_lease(other, file, i, 1);
		else
			lease(other, file, i, 1);
	}
}

START_TEST(test_pinned_once)
{
	uint64_t file, turns, expected = 0;

	start(MANY * WINDOW, 10, MANY);
	file = new_file(one, "file", N_LEASES * WINDOW);
	open_file(other, "file");
	ck_assert_uint_eq(summary_now().pinned_bytes, 0);
	lease_many(file);
	for (uint64_t i = 0; i < N_LEASES; i++)
		expected += i % 2 == 0 || i % 3 == 0 ? WINDOW : 0;
	ck_assert_uint_eq(summary_now().pinned_bytes, expected);

	/* In as many turns as it takes, and no more. */
	for (uint64_t looks = 1; looks <= 2 * N_LEASES; looks *= 7) {
		ck_assert_uint_eq(summary_in_turns(looks, &turns).pinned_bytes, expected);
		ck_assert_uint_eq(turns, (2 * N_LEASES - 1) / looks + 1);
	}
	/* Not even one look is needed where there is nothing to look at. */
	remove_user(one);
	remove_user(other);
	ck_assert_uint_eq(summary_in_turns(0, &turns).pinned_bytes, 0);
	ck_assert_uint_eq(turns, 1);
	stop();
}
END_TEST

/* Who asks while one is under way gets the next one, which sees what was pinned since. */
START_TEST(test_tickets)
{
	struct slot_ref first, last;
	uint64_t file, early = 0, late = 0;

	start(MANY * WINDOW, 10, MANY);
	file = new_file(one, "file", N_LEASES * WINDOW);
	first = idle_lease(one, file, 0, 1);
	last = idle_lease(one, file, 1, 1);
	registry.looks = 1;
	ck_assert(!census_take(&registry, &early));
	ck_assert(pin(one, first));
	ck_assert(pin(one, last));
	registry.looks = 0;
	ck_assert(!census_take(&registry, &late));
	registry.looks = 1;
	ck_assert(census_take(&registry, &early));
	ck_assert_uint_eq(registry.census.pinned_bytes, WINDOW);
	registry.looks = 1;
	ck_assert(!census_take(&registry, &late));
	registry.looks = 1;
	ck_assert(census_take(&registry, &late));
	ck_assert_uint_eq(registry.census.pinned_bytes, 2 * WINDOW);
	ck_assert(census_take(&registry, &early));
	stop();
}
END_TEST

/* A client that goes in the middle of a census takes nothing from those behind it. */
START_TEST(test_client_gone)
{
	uint64_t file, ticket = 0;

	start(MANY * WINDOW, 10, MANY);
	file = new_file(one, "file", N_LEASES * WINDOW);
	open_file(other, "file");
	for (uint64_t i = 0; i < 4; i++) {
		lease(one, file, i, 1);
		lease(other, file, i + 4, 1);
	}
	registry.looks = 3;
	ck_assert(!census_take(&registry, &ticket));
	remove_user(one);
	registry.looks = 4;
	ck_assert(census_take(&registry, &ticket));
	ck_assert_uint_eq(registry.census.pinned_bytes, 7 * WINDOW);
	stop();
}
END_TEST

/* Hits never get less, and count once, before and after the lease has ended. */
START_TEST(test_hits)
{
	struct slot_ref ref;
	uint64_t file;

	start(MANY * WINDOW, 10, MANY);
	file = new_file(one, "file", WINDOW);
	ref = idle_lease(one, file, 0, 1);
	for (int i = 0; i < 5; i++) {
		ck_assert(pin(one, ref));
		unpin(one, ref);
	}
	ck_assert_uint_eq(summary_now().hits, 5);
	ck_assert_uint_eq(summary_now().hits, 5);
	ck_assert(pin(one, ref));
	unpin(one, ref);
	/* What a liar takes back was counted; what a liar adds is bounded. */
	atomic_store(&slot_of(one, ref)->hits, 2);
	ck_assert_uint_eq(summary_now().hits, 5);
	atomic_store(&slot_of(one, ref)->hits, UINT64_MAX);
	ck_assert_uint_eq(summary_now().hits, UINT32_MAX);
	release(one, ref);
	ck_assert_uint_eq(summary_now().hits, UINT32_MAX);
	stop();
}
END_TEST

/*
 * All rows of a section, in turns of so many looks, with room for few rows in a page. The number of rows; each is handed to
 * @use.
 */
static uint64_t walk(uid_t uid, enum figures_section section, uint64_t looks, size_t size, void (*use)(const void *row))
{
	union {
		struct figures_client client;
		struct figures_file file;
		struct figures_pin pin;
	} row;
	uint64_t from = 0, n = 0, ticket = 0;

	do {
		struct report_page page = page_of(uid, section, from);
		struct text rows;

		page.size = size;
		registry_begin_turn(&registry);
		registry.looks = looks;
		ck_assert_int_eq(report_page(&registry, &server, &page, &ticket), 0);
		ck_assert(!page.next || page.next > from);
		rows = (struct text){bytes, page.length};
		while (figures_next(&rows, section, &row) > 0) {
			n++;
			if (use)
				use(&row);
		}
		from = page.next;
	} while (from);
	return n;
}

static uint64_t pinned;
static uint64_t pinned_with_path;
static uint64_t pinned_with_offset;

static void add_pin(const void *row)
{
	const struct figures_pin *pin = row;

	pinned += pin->bytes;
	pinned_with_path += pin->path.length ? pin->bytes : 0;
	pinned_with_offset += pin->offset ? pin->bytes : 0;
}

START_TEST(test_pages)
{
	static const uint64_t looks[] = {1, 3, 64, 1000000};
	static const size_t sizes[] = {200, 1000, sizeof(bytes)};
	uint64_t file, mine = N_LEASES / 2, theirs = (N_LEASES + 2) / 3;

	start(MANY * WINDOW, 10, MANY);
	become(other, 2000);
	file = new_file(one, "file", N_LEASES * WINDOW);
	open_file(other, "file");
	new_file(other, "other", 1);
	lease_many(file);
	for (size_t i = 0; i < 4; i++) {
		for (size_t k = 0; k < 3; k++) {
			ck_assert_uint_eq(walk(0, FIGURES_CLIENTS, looks[i], sizes[k], NULL), 3);
			ck_assert_uint_eq(walk(0, FIGURES_FILES, looks[i], sizes[k], NULL), 2);
			ck_assert_uint_eq(walk(2000, FIGURES_FILES, looks[i], sizes[k], NULL), 1);
			ck_assert_uint_eq(walk(3000, FIGURES_FILES, looks[i], sizes[k], NULL), 0);

			/* Of all pins one is on the first window, for each client. */
			pinned = pinned_with_path = pinned_with_offset = 0;
			ck_assert_uint_eq(walk(0, FIGURES_PINS, looks[i], sizes[k], add_pin), mine + theirs);
			ck_assert_uint_eq(pinned, (mine + theirs) * WINDOW);
			ck_assert_uint_eq(pinned_with_path, pinned);
			ck_assert_uint_eq(pinned_with_offset, pinned - 2 * WINDOW);

			/* Who sent the file sees its name, and nobody where others stand. */
			pinned_with_path = pinned_with_offset = 0;
			walk(1000, FIGURES_PINS, looks[i], sizes[k], add_pin);
			ck_assert_uint_eq(pinned_with_path, (mine + theirs) * WINDOW);
			ck_assert_uint_eq(pinned_with_offset, (mine - 1) * WINDOW);
			pinned_with_path = pinned_with_offset = 0;
			walk(2000, FIGURES_PINS, looks[i], sizes[k], add_pin);
			ck_assert_uint_eq(pinned_with_path, 0);
			ck_assert_uint_eq(pinned_with_offset, (theirs - 1) * WINDOW);
		}
	}
	stop();
}
END_TEST

/* Where a turn has no look left, the next one goes on. */
START_TEST(test_no_looks_left)
{
	static const enum figures_section sections[] = {FIGURES_CLIENTS, FIGURES_PINS};
	uint64_t ticket = 0;

	start(MANY * WINDOW, 10, MANY);
	for (size_t i = 0; i < 2; i++) {
		struct report_page page = page_of(0, sections[i], 0);

		registry_begin_turn(&registry);
		registry.looks = 0;
		ck_assert_int_eq(report_page(&registry, &server, &page, &ticket), REPORT_WAITS);
		ck_assert(registry.cut_short);
	}
	stop();
}
END_TEST

/* A file that is gone when the next page begins is not missed. */
START_TEST(test_file_gone)
{
	uint64_t ids[4], turn = 0;
	struct report_page page;

	start(MANY * WINDOW, 10, MANY);
	for (int i = 0; i < 4; i++)
		ids[i] = new_file(one, (const char *[]){"a", "b", "c", "d"}[i], 1);
	registry_close(&registry, &one->client, ids[1]);
	unlink("b");
	registry_look_around(&registry);
	page = page_of(0, FIGURES_FILES, ids[1]);
	ck_assert_int_eq(report_page(&registry, &server, &page, &turn), 0);
	ck_assert_uint_eq(walk(0, FIGURES_FILES, 1, 200, NULL), 3);
	ck_assert_uint_gt(page.length, 0);
	page = page_of(0, FIGURES_FILES, ids[3] + 1);
	ck_assert_int_eq(report_page(&registry, &server, &page, &turn), 0);
	ck_assert_uint_eq(page.length, 0);
	stop();
}
END_TEST

Suite *suite(void);

Suite *suite(void)
{
	Suite *s = suite_create("report");

	HARNESS_CASE(s, "census", test_pinned_once, test_tickets, test_client_gone, test_hits);
	HARNESS_CASE(s, "pages", test_pages, test_no_looks_left, test_file_gone);
	return s;
}

int main(void)
{
	return harness_run(suite());
}
