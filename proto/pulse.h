/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PROTO_PULSE_H
#define PROTO_PULSE_H

/*
 * The pulse: one page that the server writes and all clients read. It tells which server this is, what time it is by the server's
 * own counting, its limits, and how much of them is used, without a message.
 *
 * The epoch orders uses across clients: the server advances it with every grant and once a second. It is not a clock, since reading one
 * would cost more than all the rest of a hit.
 */

#include "proto/util.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct pulse {
	uint64_t instance; /* a random number for each start of a server */
	uint64_t window_bytes;
	_Alignas(8) _Atomic uint64_t limit_memory_bytes;
	_Alignas(8) _Atomic uint64_t limit_handles;
	_Alignas(8) _Atomic uint64_t limit_maps;
	_Alignas(8) _Atomic uint64_t epoch;
	_Alignas(8) _Atomic uint64_t memory_bytes; /* in use */
	_Alignas(8) _Atomic uint64_t handles;
	_Alignas(8) _Atomic uint64_t maps;
	_Atomic uint32_t second; /* since the server's start, while a client is connected */
	_Atomic uint32_t waits;  /* somebody waits for room, or for leases to end */
};

/* Creates the page, writable for the caller alone; *@fd is the caller's to send around. 0 or -errno. */
int pulse_create(struct pulse **pulse, int *fd);

/* Maps the page behind @fd, which stays the caller's, for reading; it is not there in a child after a
 * fork. 0, -EPROTO, or -errno. */
int pulse_attach(const struct pulse **pulse, int fd);

/* Unmaps it, either side's; NULL is fine. */
void pulse_free(const struct pulse *pulse);

/*
 * Whether somebody waits. Who marks a slot as unmapped and finds then that nobody does need not say more: the server looks for marks after it
 * has set this.
 */
void pulse_set_waits(struct pulse *pulse, bool waits);
bool pulse_waits(const struct pulse *pulse);

/* Advances the epoch and returns it. The server's. */
uint64_t pulse_advance(struct pulse *pulse);

/* ---- what every hit does: inlined ---- */

/* How many uses of one client an epoch can order; further ones run ahead of it, and only into its own future. */
#define PULSE_USES_BITS 24

static inline uint64_t pulse_epoch(const struct pulse *pulse)
{
	return atomic_load_explicit(&pulse->epoch, memory_order_relaxed);
}

static inline uint32_t pulse_second(const struct pulse *pulse)
{
	return atomic_load_explicit(&pulse->second, memory_order_relaxed);
}

/* The first instant of an epoch, in the order of uses. */
static inline uint64_t pulse_instant(uint64_t epoch)
{
	return epoch << PULSE_USES_BITS;
}

/*
 * The instant of a use that ends now: later than all that @last counts, which is the caller's own last one and is updated, and than
 * all of the epochs before.
 */
static inline uint64_t pulse_use(const struct pulse *pulse, _Atomic uint64_t *last)
{
	uint64_t after_last = atomic_load_explicit(last, memory_order_relaxed) + 1;
	uint64_t use = max_u64(pulse_instant(pulse_epoch(pulse)), after_last);

	atomic_store_explicit(last, use, memory_order_relaxed);
	return use;
}

#endif
