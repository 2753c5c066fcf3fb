/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/times.h"

#include "proto/util.h"

#include <stddef.h>

/* The power of two that is cut into parts, less the bits of a part; times below the first such one have a bucket each. */
static unsigned shift_of(uint64_t ns)
{
	return ns < TIMES_PARTS ? 0 : 63 - (unsigned)__builtin_clzll(ns) - TIMES_PART_BITS;
}

static size_t bucket_of(uint64_t ns)
{
	unsigned shift = shift_of(ns);

	return (size_t)shift * TIMES_PARTS + (size_t)(ns >> shift);
}

/* The longest time that a bucket has. */
static uint64_t end_of(size_t bucket)
{
	unsigned shift = bucket < TIMES_PARTS ? 0 : (unsigned)(bucket / TIMES_PARTS) - 1;
	uint64_t part = bucket - (size_t)shift * TIMES_PARTS;

	return (part << shift) + ((UINT64_C(1) << shift) - 1);
}

void times_add(struct times *times, uint64_t ns)
{
	times->count++;
	if (__builtin_add_overflow(times->sum_ns, ns, &times->sum_ns))
		times->sum_ns = UINT64_MAX;
	times->worst_ns = max_u64(times->worst_ns, ns);
	times->buckets[bucket_of(ns)]++;
}

uint64_t times_quantile(const struct times *times, unsigned percent)
{
	/* How many have to be within it: in two steps, since the product may not fit. */
	uint64_t wanted = times->count / 100 * percent + (times->count % 100 * percent + 99) / 100;
	uint64_t seen = 0;

	for (size_t bucket = 0; bucket < TIMES_BUCKETS; bucket++) {
		seen += times->buckets[bucket];
		if (seen && seen >= wanted)
			return min_u64(end_of(bucket), times->worst_ns);
	}
	return 0;
}
