/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PROTO_CLOCK_H
#define PROTO_CLOCK_H

/* The time for deadlines. The server's is its loop's. */

#include <stdint.h>
#include <time.h>

/* Milliseconds of a clock that never goes back. */
static inline uint64_t clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

#endif
