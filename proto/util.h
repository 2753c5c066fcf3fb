/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PROTO_UTIL_H
#define PROTO_UTIL_H

/*
 * Ownership and arithmetic, in a few lines: what every other file uses.
 *
 * A local that owns something is declared with _cleanup_(), and handed over by taking it, which leaves nothing behind to clean up.
 */

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(function) __attribute__((cleanup(function)))

/* The pointer's value, leaving NULL: the caller owns it now. */
#define take_ptr(pointer)                             \
	({                                            \
		__typeof__(pointer) taken_ = pointer; \
		pointer = NULL;                       \
		taken_;                               \
	})

/* The descriptor, leaving -1: the caller owns it now. */
static inline int take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

/* The struct of which @pointer is a member. */
#define container_of(pointer, type, member) ((type *)((char *)(pointer) - offsetof(type, member)))

/* Closes a descriptor that may be -1, leaves errno alone, and returns -1. */
static inline int close_fd(int fd)
{
	int saved = errno;

	if (fd >= 0)
		close(fd);
	errno = saved;
	return -1;
}

static inline void close_fdp(int *fd)
{
	*fd = close_fd(*fd);
}

static inline void freep(void *pointer)
{
	free(*(void **)pointer);
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* @value rounded down and up to a multiple of @unit, a power of two. @value is at most 2^63. */
static inline uint64_t round_down(uint64_t value, uint64_t unit)
{
	return value & ~(unit - 1);
}

static inline uint64_t round_up(uint64_t value, uint64_t unit)
{
	return round_down(value + unit - 1, unit);
}

static inline uint64_t page_size(void)
{
	return (uint64_t)sysconf(_SC_PAGESIZE);
}

#endif
