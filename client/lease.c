/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/lease.h"

#include "client/guard.h"
#include "proto/hash.h"
#include "proto/util.h"

#include <sys/mman.h>

struct window_key {
	uint64_t file;
	uint64_t number;
};

struct window {
	struct window_key key;
	uint32_t slot;
	UT_hash_handle hh;
};

/* A lease may have many windows. */
#define HINTS_OF_A_SLOT UINT64_C(8)

static size_t records_bytes(const struct lease_table *table)
{
	return (size_t)table->board->n_slots * sizeof(struct lease);
}

static size_t memory_bytes(const struct lease_table *table)
{
	return records_bytes(table) + ((size_t)table->hints_mask + 1) * sizeof(*table->hints);
}

static size_t map_length(const struct lease *lease)
{
	return (size_t)round_up(lease->length, page_size());
}

int lease_table_init(struct lease_table *table, struct board *board, uint64_t window_bytes)
{
	char *memory;

	*table = (struct lease_table){.board = board, .window_bits = (unsigned)__builtin_ctzll(window_bytes)};
	while (table->hints_mask + 1 < board->n_slots * HINTS_OF_A_SLOT)
		table->hints_mask = table->hints_mask << 1 | 1;
	/* Pages that were never touched cost nothing, so all is mapped at once. */
	memory = mmap(NULL, memory_bytes(table), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return -ENOMEM;
	table->leases = (struct lease *)memory;
	table->hints = (_Atomic uint64_t *)(memory + records_bytes(table));
	return 0;
}

/* ---- windows ---- */

static struct window *find_window(const struct lease_table *table, uint64_t file, uint64_t number)
{
	struct window_key key = {.file = file, .number = number};
	struct window *window;

	HASH_FIND(hh, table->windows, &key, sizeof(key), window);
	return window;
}

static uint64_t first_window(const struct lease_table *table, const struct lease *lease)
{
	return lease->offset >> table->window_bits;
}

static uint64_t last_window(const struct lease_table *table, const struct lease *lease)
{
	return (lease->offset + lease->length - 1) >> table->window_bits;
}

/* ---- hints ---- */

static uint64_t hint_at(const struct lease *lease)
{
	return (uint64_t)lease->ref.generation << 32 | lease->ref.slot;
}

static void set_hint(struct lease_table *table, const struct lease *lease, uint64_t number)
{
	atomic_store_explicit(lease_table_hint(table, lease->file, number), hint_at(lease), memory_order_release);
}

/* None outlives its lease: generations begin anew some time. */
static void remove_hint(struct lease_table *table, const struct lease *lease, uint64_t number)
{
	_Atomic uint64_t *hint = lease_table_hint(table, lease->file, number);

	if (atomic_load_explicit(hint, memory_order_relaxed) == hint_at(lease))
		atomic_store_explicit(hint, 0, memory_order_relaxed);
}

/* ---- windows to leases ---- */

static void remove_windows(struct lease_table *table, const struct lease *lease)
{
	for (uint64_t number = first_window(table, lease); number <= last_window(table, lease); number++) {
		struct window *window = find_window(table, lease->file, number);

		remove_hint(table, lease, number);
		if (!window || window->slot != lease->ref.slot)
			continue;
		HASH_DEL(table->windows, window);
		free(window);
	}
}

/* Leads one window to a lease; the one it led to before may be of no use now. 0 or -ENOMEM. */
static int set_window(struct lease_table *table, struct lease *lease, uint64_t number)
{
	struct window *window = find_window(table, lease->file, number);

	if (window) {
		struct lease *other = &table->leases[window->slot];

		if (!--other->n_windows)
			DL_APPEND(table->superseded, other);
	} else {
		window = calloc(1, sizeof(*window));
		if (!window)
			return -ENOMEM;
		window->key = (struct window_key){.file = lease->file, .number = number};
		HASH_ADD(hh, table->windows, key, sizeof(window->key), window);
		if (!hash_added(window, hh)) {
			free(window);
			return -ENOMEM;
		}
	}
	window->slot = lease->ref.slot;
	lease->n_windows++;
	return 0;
}

/* ---- leases ---- */

struct lease *lease_table_find(struct lease_table *table, uint64_t file, uint64_t begin, uint64_t end)
{
	const struct window *window = find_window(table, file, begin >> table->window_bits);
	struct lease *lease;

	if (!window)
		return NULL;
	lease = &table->leases[window->slot];
	if (begin < lease->offset || end > lease->offset + lease->length)
		return NULL;
	set_hint(table, lease, window->key.number);
	return lease;
}

static void forget(struct lease_table *table, struct lease *lease)
{
	if (!lease->n_windows)
		DL_DELETE(table->superseded, lease);
	remove_windows(table, lease);
	if (table->guard)
		guard_remove(table->guard, lease->ref.slot);
	lease->mapped = false;
	lease->n_windows = 0;
	table->n_mapped--;
	table->mapped_bytes -= map_length(lease);
}

int lease_table_add(struct lease_table *table, const struct lease *new)
{
	struct lease *lease = &table->leases[new->ref.slot];

	lease->ref = new->ref;
	lease->file = new->file;
	lease->offset = new->offset;
	lease->length = new->length;
	lease->address = new->address;
	lease->mapped = true;
	lease->n_windows = 0;
	table->n_slots = (uint32_t)max_u64(table->n_slots, (uint64_t)new->ref.slot + 1);
	table->n_mapped++;
	table->mapped_bytes += map_length(lease);
	if (table->guard)
		guard_add(table->guard, lease->ref.slot, lease->address, map_length(lease));

	for (uint64_t number = first_window(table, lease); number <= last_window(table, lease); number++) {
		if (set_window(table, lease, number) == 0)
			continue;
		if (!lease->n_windows)
			DL_APPEND(table->superseded, lease);
		forget(table, lease);
		return -ENOMEM;
	}
	/* From here on it can be pinned. */
	for (uint64_t number = first_window(table, lease); number <= last_window(table, lease); number++)
		set_hint(table, lease, number);
	return 0;
}

static void take(struct lease_table *table, struct lease *lease, struct discards *discards)
{
	uint32_t i = discards->slots.n++;

	discards->slots.refs[i] = lease->ref;
	discards->maps[i].address = lease->address;
	discards->maps[i].length = map_length(lease);
	forget(table, lease);
}

static bool is_full(const struct discards *discards)
{
	return discards->slots.n == MESSAGE_MAX_SLOTS;
}

bool lease_table_take(struct lease_table *table, const struct slot_ref *ref, struct discards *discards)
{
	struct lease *lease;

	if (ref->slot >= table->n_slots || is_full(discards))
		return false;
	lease = &table->leases[ref->slot];
	if (!lease->mapped || lease->ref.generation != ref->generation)
		return false;
	/* Only what is claimed can be taken back: that has no pin. */
	if (!board_is_claimed(&table->board->slots[ref->slot], ref->generation))
		return false;
	take(table, lease, discards);
	return true;
}

bool lease_table_discard(struct lease_table *table, struct lease *lease, struct discards *discards)
{
	struct board_slot *slot = &table->board->slots[lease->ref.slot];
	enum board_claim claim;

	if (is_full(discards))
		return false;
	/*
	 * What the server has claimed need not wait for its word. What it has ended may be an orphan, with pins of ours; where it is not, and
	 * there are pins, they are the next lease's, of which an answer will tell.
	 */
	claim = board_claim_own(slot, lease->ref.generation);
	if (claim == BOARD_CLAIM_PINNED || (claim == BOARD_CLAIM_GONE && board_is_pinned(slot)))
		return false;
	take(table, lease, discards);
	return true;
}

void lease_table_discard_superseded(struct lease_table *table, struct discards *discards)
{
	struct lease *lease, *next;

	DL_FOREACH_SAFE(table->superseded, lease, next)
		lease_table_discard(table, lease, discards);
}

void lease_table_deinit(struct lease_table *table)
{
	if (!table->leases)
		return;
	for (uint32_t i = 0; i < table->n_slots; i++) {
		struct lease *lease = &table->leases[i];

		if (!lease->mapped)
			continue;
		forget(table, lease);
		munmap(lease->address, map_length(lease));
	}
	guard_release(table->guard);
	munmap(table->leases, memory_bytes(table));
	*table = (struct lease_table){0};
}

/* ---- trimming ---- */

struct candidate {
	uint64_t last_used;
	uint32_t slot;
};

static int compare_use(const void *a, const void *b)
{
	const struct candidate *one = a, *other = b;

	return (one->last_used > other->last_used) - (one->last_used < other->last_used);
}

/* In any order: all have to go, perhaps because there is no memory, and so none for a list of them either. */
static void discard_all(struct lease_table *table, struct discards *discards)
{
	for (uint32_t i = 0; i < table->n_slots && !is_full(discards); i++)
		if (table->leases[i].mapped)
			lease_table_discard(table, &table->leases[i], discards);
}

void lease_table_trim(struct lease_table *table, uint64_t bytes, uint32_t n, struct discards *discards)
{
	_cleanup_(freep) struct candidate *candidates = NULL;
	size_t n_candidates = 0;

	if (table->mapped_bytes <= bytes && table->n_mapped <= n)
		return;
	if (!bytes && !n) {
		discard_all(table, discards);
		return;
	}
	candidates = calloc(table->n_mapped, sizeof(*candidates));
	if (!candidates)
		return;

	for (uint32_t i = 0; i < table->n_slots; i++) {
		const struct board_slot *slot = &table->board->slots[i];

		if (table->leases[i].mapped)
			candidates[n_candidates++] = (struct candidate){.last_used = board_last_used(slot), .slot = i};
	}
	qsort(candidates, n_candidates, sizeof(*candidates), compare_use);
	for (size_t i = 0; i < n_candidates && (table->mapped_bytes > bytes || table->n_mapped > n); i++)
		lease_table_discard(table, &table->leases[candidates[i].slot], discards);
}

void discards_unmap(const struct discards *discards)
{
	uint32_t i = 0;

	while (i < discards->slots.n) {
		char *begin = discards->maps[i].address, *end = begin + discards->maps[i].length;

		/* Those that were mapped one after the other often are neighbours, and go in one call. */
		for (i++; i < discards->slots.n; i++) {
			char *address = discards->maps[i].address;

			if (address == end)
				end += discards->maps[i].length;
			else if (address + discards->maps[i].length == begin)
				begin = address;
			else
				break;
		}
		munmap(begin, (size_t)(end - begin));
	}
}
