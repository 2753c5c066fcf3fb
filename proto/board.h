/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PROTO_BOARD_H
#define PROTO_BOARD_H

/*
 * The board: memory shared by the server and one client, with one slot for each lease.
 *
 * It makes a hit free. A cursor that comes back to a lease pins its slot, a single atomic addition; the server takes an idle
 * lease back by a compare-and-swap on the same word, which can only succeed while there is no pin. So no message and no lock is needed for
 * a pin, and a pin can't race with an eviction.
 *
 * All in one word, `state`:
 *
 *   bit  63      stale: the file changed underneath; the lease is valid, but must not be pinned anew
 *   bits 62..32  generation: which of the leases that this slot has had, from 1 on. A look-up that comes late finds another one
 *   bit  26      unmapped: the client is through with a lease that the server has claimed, and need not say so in a message
 *   bit  25      claimed by the client: it is about to unmap the lease on its own account
 *   bit  24      claimed by the server: the lease is recalled
 *   bits 23..0   pins
 *
 * Its upper half is all that a cursor has to look at while it stays where it is: see board_watch().
 *
 * The server never believes a board: every operation that it does is wait-free and bounded, and whatever the client wrote there,
 * only the client's own leases are concerned.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* One cache line. 64-bit words are aligned to 8 on i386 too. */
struct board_slot {
	_Alignas(64) _Atomic uint64_t state;
	_Alignas(8) _Atomic uint64_t last_used; /* see pulse_use() */
	_Alignas(8) _Atomic uint64_t hits;      /* pins that needed no grant; may miss some that happen at once */
	_Atomic uint32_t pinned_since;          /* the pulse's second in which the oldest pin began */
};

#define BOARD_PINS              UINT64_C(0x0000000000ffffff)
#define BOARD_CLAIMED_BY_SERVER UINT64_C(0x0000000001000000)
#define BOARD_CLAIMED_BY_CLIENT UINT64_C(0x0000000002000000)
#define BOARD_UNMAPPED          UINT64_C(0x0000000004000000)
#define BOARD_STALE             UINT64_C(0x8000000000000000)
#define BOARD_CLAIMED           (BOARD_CLAIMED_BY_SERVER | BOARD_CLAIMED_BY_CLIENT)

/* More make no sense, and no size that is computed from a number up to this overflows. */
#define BOARD_MAX_SLOTS (1u << 20)

struct board {
	struct board_slot *slots;
	uint32_t n_slots;
};

enum board_side { BOARD_SERVER, BOARD_CLIENT };

enum board_claim {
	BOARD_CLAIM_WON,     /* the lease is the caller's to take away */
	BOARD_CLAIM_PINNED,  /* in use, or just changing */
	BOARD_CLAIM_CLAIMED, /* a side has claimed it before */
	BOARD_CLAIM_GONE,    /* the slot has another lease by now, or none */
};

/* Creates the memory for @n_slots slots, sealed against shrinking and growing, and maps it; *@fd is the caller's. 0 or -errno. */
int board_create(struct board *board, uint32_t n_slots, int *fd);

/* Has the kernel give memory for the first slots now, and not when they are first used. */
void board_warm(const struct board *board);

/*
 * Maps the memory behind @fd, which stays the caller's. 0; -EPROTO if its seals or size are not those of a board, or there are no slots, or
 * more than BOARD_MAX_SLOTS; or -errno of mmap(2).
 */
int board_attach(struct board *board, uint32_t n_slots, int fd);

/* Unmaps it; fine for one that is all zero. */
void board_deinit(struct board *board);

/* The server grants a lease: the slot gets the requester's pin. */
void board_grant(struct board_slot *slot, uint32_t second);

/* Adds a pin to a lease on which the caller has one already. */
void board_pin_again(struct board_slot *slot);

/*
 * The same for who can't know whether there is a pin, or which lease it is: false if there is none, or a claim, which leaves at most pins
 * that are being undone.
 */
bool board_pin_pinned(struct board_slot *slot);

/* Claims a lease that has no pin, in the name of @side. */
enum board_claim board_claim(struct board_slot *slot, enum board_side side);

/*
 * The same for a client, which may not have heard yet that the server has ended the lease and what the slot is for now: only a lease of
 * @generation is claimed.
 */
enum board_claim board_claim_own(struct board_slot *slot, uint32_t generation);

/* Ends the slot's lease: the next one has the next generation. Pins that are just being undone survive it. */
void board_free(struct board_slot *slot);

/* Marks the lease stale: pins stay, new ones fail. */
void board_mark_stale(struct board_slot *slot);

/* The client has unmapped a lease that the server has claimed. What follows comes after it, for all. */
void board_mark_unmapped(struct board_slot *slot);

/* The generation that comes after another one. */
uint32_t board_next_generation(uint32_t generation);

/* Puts memory that was never written where the board is: in a child after a fork, which must not touch its parent's. */
void board_forget(const struct board *board);

/* Whether the lease of @generation is one that a side has claimed. */
bool board_is_claimed(const struct board_slot *slot, uint32_t generation);

/* Whether the client says that it has. */
bool board_is_unmapped(const struct board_slot *slot);

bool board_is_pinned(const struct board_slot *slot);
uint64_t board_last_used(const struct board_slot *slot);
uint64_t board_hits(const struct board_slot *slot);
uint32_t board_pinned_since(const struct board_slot *slot);

/* ---- what every hit does: inlined ---- */

static inline uint32_t board_generation_of(uint64_t state)
{
	return (uint32_t)((state & ~BOARD_STALE) >> 32);
}

/* Pins the lease of @generation. False if it is another one by now, stale or claimed: a miss. @second is the pulse's. */
static inline bool board_pin(struct board_slot *slot, uint32_t generation, uint32_t second)
{
	uint64_t before = atomic_fetch_add_explicit(&slot->state, 1, memory_order_acquire);

	if (board_generation_of(before) != generation || before & (BOARD_CLAIMED | BOARD_STALE)) {
		atomic_fetch_sub_explicit(&slot->state, 1, memory_order_seq_cst);
		return false;
	}

	if (!(before & BOARD_PINS))
		atomic_store_explicit(&slot->pinned_since, second, memory_order_relaxed);
	atomic_store_explicit(&slot->hits, atomic_load_explicit(&slot->hits, memory_order_relaxed) + 1, memory_order_relaxed);
	return true;
}

/* Ends a pin. @last_used is from pulse_use(). */
static inline void board_unpin(struct board_slot *slot, uint64_t last_used)
{
	atomic_store_explicit(&slot->last_used, last_used, memory_order_relaxed);
	atomic_fetch_sub_explicit(&slot->state, 1, memory_order_seq_cst);
}

/*
 * Where the upper half of a slot's state is: as long as it is a generation, a lease that is pinned is not stale. In memory that was never
 * written it is 0, which is none.
 */
static inline const uint32_t *board_watch(const struct board_slot *slot)
{
	const uint32_t *halves = (const uint32_t *)&slot->state;

	return &halves[__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__];
}

static inline bool board_is_stale(const struct board_slot *slot)
{
	return atomic_load_explicit(&slot->state, memory_order_relaxed) & BOARD_STALE;
}

#endif
