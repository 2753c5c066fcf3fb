/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_ORDER_H
#define DAEMON_ORDER_H

/*
 * The order of use: which of many things was used the longest ago, as far as is known, at a cost that does not depend on how many there
 * are.
 *
 * A radix heap (Ahuja, Mehlhorn, Orlin and Tarjan: Faster Algorithms for the Shortest Path Problem, 1990), with digits of six bits. It
 * rests on that time goes forward: nothing is ever put in that was used before the oldest that is in. With this floor an entry goes into
 * the bucket of the highest digit in which its use differs from the floor. When the lowest bucket is spread over those below it, the floor
 * rises, and each entry goes down for good: that happens to it at most once a digit, and for neighbours in time once or twice.
 */

#include <stdbool.h>
#include <stdint.h>

#define ORDER_DIGIT_BITS 6
#define ORDER_DIGITS     (1 << ORDER_DIGIT_BITS)
#define ORDER_LEVELS     ((64 + ORDER_DIGIT_BITS - 1) / ORDER_DIGIT_BITS)

/* What is embedded in a thing that has a place in the order. */
struct order_entry {
	uint64_t last_used; /* the last known use */
	struct order_entry *prev, *next;
	uint32_t bucket;
};

struct order {
	uint64_t n;
	uint64_t floor;
	uint64_t filled[ORDER_LEVELS]; /* a bit for each bucket that has an entry */
	uint32_t spreading;            /* the bucket that is being spread */
	struct order_entry *buckets[ORDER_LEVELS * ORDER_DIGITS];
};

/* Puts in an entry by its last use; of equal ones the first to come is the older. One before the floor counts as at it. */
void order_insert(struct order *order, struct order_entry *entry);

void order_remove(struct order *order, struct order_entry *entry);

/*
 * The entry that was used the longest ago; it stays where it is. NULL if there is none, or if more than *@moves entries would have to be
 * moved for it: then the next call goes on. What was done is taken off *@moves.
 */
struct order_entry *order_oldest(struct order *order, uint64_t *moves);

#endif
