/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/order.h"

#include "proto/hash.h"
#include "proto/util.h"

#include <stddef.h>

static uint32_t level_shift(uint32_t bucket)
{
	return bucket / ORDER_DIGITS * ORDER_DIGIT_BITS;
}

/* The bucket of a use: the highest digit that is not the floor's, and its value. */
static uint32_t bucket_of(const struct order *order, uint64_t use)
{
	uint64_t differs = use ^ order->floor;
	uint32_t level = differs ? (63 - (uint32_t)__builtin_clzll(differs)) / ORDER_DIGIT_BITS : 0;
	uint32_t digit = use >> (level * ORDER_DIGIT_BITS) & (ORDER_DIGITS - 1);

	return level * ORDER_DIGITS + digit;
}

static void put(struct order *order, struct order_entry *entry)
{
	uint32_t bucket = bucket_of(order, max_u64(entry->last_used, order->floor));

	entry->bucket = bucket;
	DL_APPEND(order->buckets[bucket], entry);
	order->filled[bucket / ORDER_DIGITS] |= UINT64_C(1) << bucket % ORDER_DIGITS;
}

static void take(struct order *order, struct order_entry *entry)
{
	uint32_t bucket = entry->bucket;

	DL_DELETE(order->buckets[bucket], entry);
	if (!order->buckets[bucket])
		order->filled[bucket / ORDER_DIGITS] &= ~(UINT64_C(1) << bucket % ORDER_DIGITS);
}

void order_insert(struct order *order, struct order_entry *entry)
{
	put(order, entry);
	order->n++;
}

void order_remove(struct order *order, struct order_entry *entry)
{
	take(order, entry);
	order->n--;
}

static uint32_t lowest_bucket(const struct order *order)
{
	uint32_t level = 0;

	while (!order->filled[level])
		level++;
	return level * ORDER_DIGITS + (uint32_t)__builtin_ctzll(order->filled[level]);
}

/* Nothing is older than what is in the lowest bucket: the floor rises to where that begins. */
static void raise_floor(struct order *order, uint32_t bucket)
{
	uint32_t shift = level_shift(bucket);
	uint64_t digit = (uint64_t)(bucket % ORDER_DIGITS) << shift;
	uint64_t above = shift + ORDER_DIGIT_BITS < 64 ? UINT64_MAX << (shift + ORDER_DIGIT_BITS) : 0;

	order->floor = (order->floor & above) | digit;
	order->spreading = bucket;
}

struct order_entry *order_oldest(struct order *order, uint64_t *moves)
{
	if (!order->n)
		return NULL;
	for (;;) {
		struct order_entry *entry = order->buckets[order->spreading];

		if (entry && order->spreading >= ORDER_DIGITS) {
			if (!*moves)
				return NULL;
			--*moves;
			take(order, entry);
			put(order, entry);
			continue;
		}
		if (order->filled[0])
			return order->buckets[lowest_bucket(order)];
		raise_floor(order, lowest_bucket(order));
	}
}
