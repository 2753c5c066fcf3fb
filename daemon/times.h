/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_TIMES_H
#define DAEMON_TIMES_H

/*
 * How long something takes: a histogram of times, of which quantiles can be asked at any moment.
 *
 * Buckets are log-linear: each power of two is cut into equal parts. So any time from a nanosecond to centuries has its place,
 * in a few kilobytes, and a quantile is never too low, and too high by at most one part: 1/32 of it, about 3 %.
 */

#include <stdint.h>

#define TIMES_PART_BITS 5
#define TIMES_PARTS     (1 << TIMES_PART_BITS)
#define TIMES_BUCKETS   ((64 - TIMES_PART_BITS + 1) * TIMES_PARTS)

struct times {
	uint64_t count;
	uint64_t sum_ns;
	uint64_t worst_ns;
	uint64_t buckets[TIMES_BUCKETS];
};

void times_add(struct times *times, uint64_t ns);

/* The time within which @percent of a hundred were done, from 1 to 100; 0 if there was none. */
uint64_t times_quantile(const struct times *times, unsigned percent);

#endif
