/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See board.h for the idea. Memory order: a pin acquires and an unpin releases, so that what a cursor read happens before a claim that
 * sees the pin gone. A claim is one attempt and the freeing of a slot two unconditional operations, so that a client which
 * writes to its board without pause can't keep the server busy.
 */
#include "config.h"

#include "proto/board.h"

#include "proto/memory.h"
#include "proto/util.h"

#include <sys/mman.h>

#define ONE_GENERATION (UINT64_C(1) << 32)

_Static_assert(sizeof(struct board_slot) == 64, "a slot is a cache line");
_Static_assert(sizeof(_Atomic uint64_t) == 8, "the layout is shared between processes");

static size_t board_bytes(uint32_t n_slots)
{
	return (size_t)round_up(n_slots * sizeof(struct board_slot), page_size());
}

int board_create(struct board *board, uint32_t n_slots, int *fd)
{
	void *memory;
	int r;

	r = memory_create("smmap-board", board_bytes(n_slots), &memory, fd);
	if (r < 0)
		return r;

	*board = (struct board){.slots = memory, .n_slots = n_slots};
	return 0;
}

void board_warm(const struct board *board)
{
	atomic_store_explicit(&board->slots[0].hits, 0, memory_order_relaxed);
}

int board_attach(struct board *board, uint32_t n_slots, int fd)
{
	void *memory;
	int r;

	if (!n_slots || n_slots > BOARD_MAX_SLOTS)
		return -EPROTO;
	r = memory_attach(fd, board_bytes(n_slots), PROT_READ | PROT_WRITE, &memory);
	if (r < 0)
		return r;

	*board = (struct board){.slots = memory, .n_slots = n_slots};
	return 0;
}

void board_deinit(struct board *board)
{
	if (board->slots)
		munmap(board->slots, board_bytes(board->n_slots));
	*board = (struct board){0};
}

void board_forget(const struct board *board)
{
	void *memory;

	if (!board->slots)
		return;
	memory = mmap(board->slots, board_bytes(board->n_slots), PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		munmap(board->slots, board_bytes(board->n_slots));
}

void board_grant(struct board_slot *slot, uint32_t second)
{
	atomic_store_explicit(&slot->pinned_since, second, memory_order_relaxed);
	atomic_fetch_add_explicit(&slot->state, 1, memory_order_release);
}

void board_pin_again(struct board_slot *slot)
{
	atomic_fetch_add_explicit(&slot->state, 1, memory_order_relaxed);
}

bool board_pin_pinned(struct board_slot *slot)
{
	uint64_t state = atomic_load_explicit(&slot->state, memory_order_relaxed);

	do
		if (!(state & BOARD_PINS) || state & BOARD_CLAIMED)
			return false;
	while (!atomic_compare_exchange_weak_explicit(&slot->state, &state, state + 1, memory_order_acquire, memory_order_relaxed));
	return true;
}

/* One attempt, from a state that was seen; *@state is then what it was. */
static enum board_claim try_claim(struct board_slot *slot, uint64_t *state, uint64_t claim)
{
	if (*state & BOARD_CLAIMED)
		return BOARD_CLAIM_CLAIMED;
	if (*state & BOARD_PINS)
		return BOARD_CLAIM_PINNED;
	if (atomic_compare_exchange_strong_explicit(&slot->state, state, *state | claim, memory_order_acq_rel, memory_order_relaxed))
		return BOARD_CLAIM_WON;
	return *state & BOARD_CLAIMED ? BOARD_CLAIM_CLAIMED : BOARD_CLAIM_PINNED;
}

enum board_claim board_claim(struct board_slot *slot, enum board_side side)
{
	uint64_t state = atomic_load_explicit(&slot->state, memory_order_seq_cst);

	return try_claim(slot, &state, side == BOARD_SERVER ? BOARD_CLAIMED_BY_SERVER : BOARD_CLAIMED_BY_CLIENT);
}

enum board_claim board_claim_own(struct board_slot *slot, uint32_t generation)
{
	uint64_t state = atomic_load_explicit(&slot->state, memory_order_seq_cst);
	enum board_claim claim;

	/* A mark of the server's may come between the look and the attempt: once, since it stays. */
	do {
		if (board_generation_of(state) != generation)
			return BOARD_CLAIM_GONE;
		claim = try_claim(slot, &state, BOARD_CLAIMED_BY_CLIENT);
	} while (claim == BOARD_CLAIM_PINNED && !(state & BOARD_PINS));
	return board_generation_of(state) == generation ? claim : BOARD_CLAIM_GONE;
}

void board_free(struct board_slot *slot)
{
	atomic_store_explicit(&slot->hits, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->last_used, 0, memory_order_relaxed);
	atomic_fetch_add_explicit(&slot->state, ONE_GENERATION, memory_order_relaxed);
	atomic_fetch_and_explicit(&slot->state, ~(BOARD_UNMAPPED | BOARD_CLAIMED | BOARD_STALE), memory_order_release);
}

void board_mark_stale(struct board_slot *slot)
{
	atomic_fetch_or_explicit(&slot->state, BOARD_STALE, memory_order_release);
}

void board_mark_unmapped(struct board_slot *slot)
{
	atomic_fetch_or_explicit(&slot->state, BOARD_UNMAPPED, memory_order_seq_cst);
}

uint32_t board_next_generation(uint32_t generation)
{
	return board_generation_of(((uint64_t)generation << 32) + ONE_GENERATION);
}

bool board_is_claimed(const struct board_slot *slot, uint32_t generation)
{
	uint64_t state = atomic_load_explicit(&slot->state, memory_order_acquire);

	return board_generation_of(state) == generation && state & BOARD_CLAIMED;
}

bool board_is_pinned(const struct board_slot *slot)
{
	return atomic_load_explicit(&slot->state, memory_order_acquire) & BOARD_PINS;
}

bool board_is_unmapped(const struct board_slot *slot)
{
	return atomic_load_explicit(&slot->state, memory_order_seq_cst) & BOARD_UNMAPPED;
}

uint64_t board_last_used(const struct board_slot *slot)
{
	return atomic_load_explicit(&slot->last_used, memory_order_relaxed);
}

uint64_t board_hits(const struct board_slot *slot)
{
	/* What a liar says must not spoil the sum. */
	return min_u64(atomic_load_explicit(&slot->hits, memory_order_relaxed), UINT32_MAX);
}

uint32_t board_pinned_since(const struct board_slot *slot)
{
	return atomic_load_explicit(&slot->pinned_since, memory_order_relaxed);
}
