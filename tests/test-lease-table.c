/* SPDX-License-Identifier: BSD-3-Clause */
/* The client's table of leases, on a real board and with real maps. */
#include "config.h"

#include "client/lease.h"
#include "tests/harness.h"

#include "proto/util.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#define WINDOW  UINT64_C(65536)
#define N_SLOTS 512

static struct board board;
static struct lease_table table;
static struct discards discards;
static unsigned n_unmaps;

/* In place of libc's. */
int munmap(void *address, size_t length)
{
	n_unmaps++;
	return (int)syscall(SYS_munmap, address, length);
}

static void start(void)
{
	int fd;

	ck_assert_int_eq(board_create(&board, N_SLOTS, &fd), 0);
	close(fd);
	ck_assert_int_eq(lease_table_init(&table, &board, WINDOW), 0);
	discards.slots.n = 0;
}

static void stop(void)
{
	lease_table_deinit(&table);
	lease_table_deinit(&table);
	board_deinit(&board);
}

static bool is_mapped(const void *address)
{
	unsigned char resident;

	return mincore((void *)(uintptr_t)address, 1, &resident) == 0;
}

/* A lease as the server would grant it, with its first pin. */
static struct lease *add(uint32_t slot, uint64_t file, uint64_t offset, uint64_t length)
{
	struct lease lease = {.ref = {.slot = slot}, .file = file, .offset = offset, .length = length};

	lease.ref.generation = (uint32_t)(atomic_load(&board.slots[slot].state) >> 32);
	lease.address = mmap(NULL, (size_t)length, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(lease.address, MAP_FAILED);
	board_grant(&board.slots[slot], 1);
	ck_assert_int_eq(lease_table_add(&table, &lease), 0);
	return &table.leases[slot];
}

static void unpin(const struct lease *lease, uint64_t use)
{
	board_unpin(&board.slots[lease->ref.slot], use);
}

static void unmap_discards(uint32_t expected)
{
	ck_assert_uint_eq(discards.slots.n, expected);
	discards_unmap(&discards);
	ck_assert_uint_eq(discards.slots.n, expected);
	for (uint32_t i = 0; i < expected; i++)
		ck_assert(!is_mapped(discards.maps[i].address));
	discards.slots.n = 0;
}

START_TEST(test_find)
{
	struct lease *lease, *tail;

	start();
	ck_assert_ptr_null(lease_table_find(&table, 1, 0, 1));
	lease = add(3, 1, WINDOW, 2 * WINDOW);
	tail = add(4, 1, 3 * WINDOW, 10);
	ck_assert_ptr_eq(lease, &table.leases[3]);
	ck_assert_ptr_eq(lease_table_find(&table, 1, WINDOW, WINDOW + 1), lease);
	ck_assert_ptr_eq(lease_table_find(&table, 1, WINDOW, 3 * WINDOW), lease);
	ck_assert_ptr_eq(lease_table_find(&table, 1, 2 * WINDOW - 1, 2 * WINDOW + 1), lease);
	ck_assert_ptr_eq(lease_table_find(&table, 1, 3 * WINDOW - 1, 3 * WINDOW), lease);
	/* A byte beyond it, on either side; and what two leases have only together. */
	ck_assert_ptr_null(lease_table_find(&table, 1, WINDOW - 1, WINDOW + 1));
	ck_assert_ptr_null(lease_table_find(&table, 1, 2 * WINDOW, 3 * WINDOW + 1));
	/* The end of the file, within a page. */
	ck_assert_ptr_eq(lease_table_find(&table, 1, 3 * WINDOW, 3 * WINDOW + 10), tail);
	ck_assert_ptr_null(lease_table_find(&table, 1, 3 * WINDOW, 3 * WINDOW + 11));
	ck_assert_ptr_null(lease_table_find(&table, 1, 3 * WINDOW + 10, 3 * WINDOW + 11));
	/* Another file. */
	ck_assert_ptr_null(lease_table_find(&table, 2, WINDOW, WINDOW + 1));
	ck_assert_uint_eq(table.n_mapped, 2);
	ck_assert_uint_eq(table.mapped_bytes, 2 * WINDOW + page_size());
	stop();
}
END_TEST

/* The newest lease on a window is found; one without a window is never found again. */
START_TEST(test_superseded)
{
	struct lease *first, *second, *wide;

	start();
	first = add(0, 1, 0, WINDOW);
	second = add(1, 1, WINDOW, WINDOW);
	unpin(first, 1);
	unpin(second, 2);
	ck_assert_ptr_null(table.superseded);
	lease_table_discard_superseded(&table, &discards);
	ck_assert_uint_eq(discards.slots.n, 0);

	wide = add(2, 1, WINDOW, 2 * WINDOW);
	ck_assert_ptr_eq(lease_table_find(&table, 1, WINDOW, WINDOW + 1), wide);
	ck_assert_ptr_eq(lease_table_find(&table, 1, 0, 1), first);
	ck_assert_ptr_eq(table.superseded, second);
	/* Not while somebody stands on it. */
	board_pin_again(&board.slots[1]);
	lease_table_discard_superseded(&table, &discards);
	ck_assert_uint_eq(discards.slots.n, 0);
	unpin(second, 3);
	lease_table_discard_superseded(&table, &discards);
	ck_assert_uint_eq(discards.slots.refs[0].slot, 1);
	unmap_discards(1);
	ck_assert_ptr_null(table.superseded);
	ck_assert(!second->mapped);
	/* The entries of the newer one are still there. */
	ck_assert_ptr_eq(lease_table_find(&table, 1, WINDOW, 3 * WINDOW), wide);
	ck_assert_uint_eq(table.n_mapped, 2);

	/* In parts: a window of the wide one, then the other. */
	unpin(wide, 4);
	add(3, 1, 2 * WINDOW, WINDOW);
	ck_assert_ptr_null(table.superseded);
	ck_assert_ptr_eq(lease_table_find(&table, 1, 2 * WINDOW - 1, 2 * WINDOW + 1), wide);
	add(4, 1, WINDOW, WINDOW);
	ck_assert_ptr_eq(table.superseded, wide);
	ck_assert_int_eq(board_claim(&board.slots[wide->ref.slot], BOARD_SERVER), BOARD_CLAIM_WON);
	ck_assert(lease_table_take(&table, &wide->ref, &discards));
	unmap_discards(1);
	ck_assert_ptr_null(table.superseded);
	stop();
}
END_TEST

/* What can be told without the lock: as much as with it, but for leases that share a hint; and nothing that is over can be pinned. */
START_TEST(test_glance)
{
	struct lease *lease, *wide;
	struct place place;

	start();
	ck_assert(!lease_table_glance(&table, 1, 0, 1, &place));
	lease = add(3, 1, WINDOW, WINDOW);
	ck_assert(lease_table_glance(&table, 1, WINDOW + 1, 2 * WINDOW, &place));
	ck_assert_uint_eq(place.slot, 3);
	ck_assert_uint_eq(place.generation, lease->ref.generation);
	ck_assert_ptr_eq(place.data, lease->address);
	ck_assert_uint_eq(place.begin, WINDOW);
	ck_assert_uint_eq(place.end, 2 * WINDOW);
	/* A byte beyond it, on either side; another file. */
	ck_assert(!lease_table_glance(&table, 1, WINDOW - 1, WINDOW + 1, &place));
	ck_assert(!lease_table_glance(&table, 1, WINDOW, 2 * WINDOW + 1, &place));
	ck_assert(!lease_table_glance(&table, 2, WINDOW, WINDOW + 1, &place));

	/* A newer one takes its place. */
	wide = add(4, 1, WINDOW, 2 * WINDOW);
	ck_assert(lease_table_glance(&table, 1, WINDOW, 3 * WINDOW, &place));
	ck_assert_ptr_eq(place.data, wide->address);
	/* So does one of another window that has the same hint; what is found with the lock takes it back. */
	add(5, 1, (table.hints_mask + 2) * WINDOW, WINDOW);
	ck_assert(!lease_table_glance(&table, 1, WINDOW, 2 * WINDOW, &place));
	ck_assert(lease_table_glance(&table, 1, 2 * WINDOW, 3 * WINDOW, &place));
	ck_assert_ptr_eq(lease_table_find(&table, 1, WINDOW, 2 * WINDOW), wide);
	ck_assert(lease_table_glance(&table, 1, WINDOW, 2 * WINDOW, &place));
	ck_assert_uint_eq(place.slot, 4);

	/* It is over: whoever has glanced at it before can't pin it. */
	unpin(wide, 1);
	ck_assert(lease_table_discard(&table, wide, &discards));
	ck_assert(!board_pin(&board.slots[place.slot], place.generation, 1));
	unmap_discards(1);
	for (uint64_t i = 0; i <= table.hints_mask; i++)
		ck_assert_uint_ne(table.hints[i], (uint64_t)place.generation << 32 | place.slot);
	stop();
}
END_TEST

START_TEST(test_take)
{
	struct slot_ref ref = {.slot = 5};
	struct lease *lease;
	void *address;

	start();
	ck_assert(!lease_table_take(&table, &ref, &discards));
	lease = add(5, 1, 0, 2 * WINDOW);
	address = lease->address;
	ck_assert(!lease_table_take(&table, &(struct slot_ref){.slot = 5, .generation = 1}, &discards));
	ck_assert(!lease_table_take(&table, &(struct slot_ref){.slot = 5, .generation = UINT32_MAX}, &discards));
	ck_assert(!lease_table_take(&table, &(struct slot_ref){.slot = 4}, &discards));
	ck_assert(!lease_table_take(&table, &(struct slot_ref){.slot = 6}, &discards));
	ck_assert(!lease_table_take(&table, &(struct slot_ref){.slot = UINT32_MAX}, &discards));
	/* Pinned, and then idle, but not claimed. */
	ck_assert(!lease_table_take(&table, &ref, &discards));
	unpin(lease, 1);
	ck_assert(!lease_table_take(&table, &ref, &discards));
	ck_assert_int_eq(board_claim(&board.slots[5], BOARD_SERVER), BOARD_CLAIM_WON);
	ck_assert_uint_eq(discards.slots.n, 0);
	ck_assert(lease_table_take(&table, &ref, &discards));
	ck_assert(!lease_table_take(&table, &ref, &discards));
	ck_assert_ptr_eq(discards.maps[0].address, address);
	ck_assert_uint_eq(discards.maps[0].length, 2 * WINDOW);
	ck_assert_ptr_null(lease_table_find(&table, 1, 0, 1));
	ck_assert_ptr_null(lease_table_find(&table, 1, WINDOW, WINDOW + 1));
	ck_assert_uint_eq(table.n_mapped, 0);
	ck_assert_uint_eq(table.mapped_bytes, 0);
	/* Out of the table is not unmapped yet. */
	ck_assert(is_mapped(address));
	unmap_discards(1);

	/* The slot's next lease. */
	board_free(&board.slots[5]);
	unpin(add(5, 2, 0, WINDOW), 2);
	ck_assert_int_eq(board_claim(&board.slots[5], BOARD_CLIENT), BOARD_CLAIM_WON);
	ck_assert(!lease_table_take(&table, &ref, &discards));
	ref.generation = 1;
	ck_assert(lease_table_take(&table, &ref, &discards));
	unmap_discards(1);
	stop();
}
END_TEST

START_TEST(test_discard)
{
	struct lease *lease, *claimed;

	start();
	lease = add(0, 1, 0, WINDOW);
	claimed = add(1, 1, WINDOW, WINDOW);
	ck_assert(!lease_table_discard(&table, lease, &discards));
	unpin(lease, 1);
	unpin(claimed, 1);
	ck_assert_int_eq(board_claim(&board.slots[1], BOARD_SERVER), BOARD_CLAIM_WON);
	/* No room on the list. */
	discards.slots.n = MESSAGE_MAX_SLOTS;
	ck_assert(!lease_table_discard(&table, lease, &discards));
	ck_assert(!lease_table_take(&table, &claimed->ref, &discards));
	discards.slots.n = 0;
	ck_assert_uint_eq(table.n_mapped, 2);
	ck_assert(lease_table_discard(&table, lease, &discards));
	ck_assert(!board_pin(&board.slots[0], 0, 1));
	ck_assert_int_eq(board_claim(&board.slots[0], BOARD_SERVER), BOARD_CLAIM_CLAIMED);
	unmap_discards(1);
	/* It is the server's already, and need not wait for the bell; that finds nothing any more. */
	ck_assert(lease_table_discard(&table, claimed, &discards));
	ck_assert(!lease_table_take(&table, &claimed->ref, &discards));
	unmap_discards(1);
	stop();
}
END_TEST

/* The server has ended a lease, and even granted its slot anew, and the answer that says so is still to come. */
START_TEST(test_discard_what_is_gone)
{
	struct lease *lease;

	start();
	lease = add(0, 1, 0, WINDOW);
	unpin(lease, 1);
	ck_assert_int_eq(board_claim(&board.slots[0], BOARD_SERVER), BOARD_CLAIM_WON);
	board_free(&board.slots[0]);
	ck_assert_int_eq(board_claim_own(&board.slots[0], 0), BOARD_CLAIM_GONE);
	/* With a pin that was never ended it is an orphan. */
	board_pin_again(&board.slots[0]);
	ck_assert(!lease_table_discard(&table, lease, &discards));
	board_unpin(&board.slots[0], 1);
	ck_assert(lease_table_discard(&table, lease, &discards));
	unmap_discards(1);
	/* The slot is as it was: the next lease can be pinned, and is not taken while it is. */
	board_grant(&board.slots[0], 1);
	ck_assert_int_eq(board_claim_own(&board.slots[0], 1), BOARD_CLAIM_PINNED);
	ck_assert(board_pin(&board.slots[0], 1, 1));
	board_unpin(&board.slots[0], 1);
	board_unpin(&board.slots[0], 1);
	ck_assert_int_eq(board_claim_own(&board.slots[0], 1), BOARD_CLAIM_WON);
	stop();
}
END_TEST

START_TEST(test_trim)
{
	static const uint64_t uses[] = {50, 20, 40, 10, 30};

	start();
	for (uint32_t i = 0; i < 5; i++)
		unpin(add(i, 1, i * WINDOW, WINDOW), uses[i]);
	/* What is just enough stays. */
	lease_table_trim(&table, 5 * WINDOW, 5, &discards);
	ck_assert_uint_eq(discards.slots.n, 0);
	/* One byte too much, one lease too many: the oldest each time. */
	lease_table_trim(&table, 5 * WINDOW - 1, 5, &discards);
	ck_assert_uint_eq(discards.slots.refs[0].slot, 3);
	lease_table_trim(&table, UINT64_MAX, 3, &discards);
	ck_assert_uint_eq(discards.slots.refs[1].slot, 1);
	unmap_discards(2);
	/* A pinned one is passed over. */
	ck_assert(board_pin(&board.slots[4], 0, 1));
	lease_table_trim(&table, WINDOW, UINT32_MAX, &discards);
	ck_assert_uint_eq(discards.slots.refs[0].slot, 2);
	ck_assert_uint_eq(discards.slots.refs[1].slot, 0);
	unmap_discards(2);
	lease_table_trim(&table, 0, 0, &discards);
	ck_assert_uint_eq(discards.slots.n, 0);
	ck_assert_uint_eq(table.n_mapped, 1);
	ck_assert_uint_eq(table.mapped_bytes, WINDOW);
	unpin(&table.leases[4], 60);
	lease_table_trim(&table, 0, 0, &discards);
	unmap_discards(1);
	stop();
}
END_TEST

START_TEST(test_trim_many)
{
	start();
	for (uint32_t i = 0; i < MESSAGE_MAX_SLOTS + 44; i++)
		unpin(add(i, 1, i * WINDOW, WINDOW), i + 1);
	ck_assert_uint_eq(table.n_mapped, MESSAGE_MAX_SLOTS + 44);
	lease_table_trim(&table, 0, 0, &discards);
	unmap_discards(MESSAGE_MAX_SLOTS);
	ck_assert_uint_eq(table.n_mapped, 44);
	ck_assert_ptr_nonnull(lease_table_find(&table, 1, MESSAGE_MAX_SLOTS * WINDOW, MESSAGE_MAX_SLOTS * WINDOW + 1));
	ck_assert_ptr_null(lease_table_find(&table, 1, 0, 1));
	lease_table_trim(&table, 0, 0, &discards);
	unmap_discards(44);
	ck_assert_uint_eq(table.mapped_bytes, 0);
	stop();
}
END_TEST

/* Neighbours in the order in which they are listed go in one call, upwards and downwards; what is between others stays. */
START_TEST(test_unmap_neighbours)
{
	static const unsigned listed[] = {3, 4, 2, 1, 6, 9, 8};
	size_t page = (size_t)page_size();
	char *pages = mmap(NULL, 11 * page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(pages, MAP_FAILED);
	discards.slots.n = 0;
	for (size_t i = 0; i < sizeof(listed) / sizeof(listed[0]); i++) {
		uint32_t n = discards.slots.n++;

		discards.maps[n].address = pages + listed[i] * page;
		discards.maps[n].length = page;
	}
	n_unmaps = 0;
	unmap_discards(7);
	ck_assert_uint_eq(n_unmaps, 3);
	ck_assert(is_mapped(pages) && is_mapped(pages + 5 * page) && is_mapped(pages + 7 * page) && is_mapped(pages + 10 * page));
	munmap(pages, 11 * page);
}
END_TEST

START_TEST(test_deinit)
{
	const void *pinned, *idle, *superseded;

	start();
	pinned = add(0, 1, 0, WINDOW)->address;
	superseded = add(1, 1, WINDOW, WINDOW)->address;
	idle = add(2, 1, WINDOW, 2 * WINDOW + 1)->address;
	unpin(&table.leases[2], 1);
	ck_assert(is_mapped(pinned) && is_mapped(idle) && is_mapped(superseded));
	stop();
	ck_assert(!is_mapped(pinned) && !is_mapped(idle) && !is_mapped(superseded));
	ck_assert_ptr_null(table.leases);
}
END_TEST

Suite *suite(void);

Suite *suite(void)
{
	Suite *s = suite_create("lease-table");

	HARNESS_CASE(s, "lease-table", test_find, test_superseded, test_glance, test_take, test_discard, test_discard_what_is_gone, test_trim,
		     test_trim_many, test_unmap_neighbours, test_deinit);
	return s;
}

int main(void)
{
	return harness_run(suite());
}
