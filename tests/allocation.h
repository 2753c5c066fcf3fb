/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_ALLOCATION_H
#define TESTS_ALLOCATION_H

/*
 * Memory that runs out at a chosen moment. A program that is linked with this has malloc(3) and its family, and mmap(2), of its own, over
 * those of glibc: so all allocations of the libraries, and of libc, are counted and made to fail just as its own.
 *
 * The counts are in memory that is shared with the children of the process: a test can watch a server that it has forked.
 */

#include <check.h>
#include <stdbool.h>
#include <stdint.h>

/* Runs the tests of a program: its exit status. Where a sanitizer has an allocator of its own there is nothing to test: that of a skip. */
int allocation_run(Suite *(*suite)(void));

/* From now on the allocations of this process are watched, and may fail; others' are not. */
void allocation_watch(void);
void allocation_ignore(void);

/* Has the allocation of this number fail, from 1 on, counted from now. */
void allocation_fail(uint64_t number);

/* Has no more fail. Whether one did. */
bool allocation_end(void);

/* Blocks that were allocated and not freed, and bytes that were mapped and not unmapped, since the beginning: to be compared. */
struct allocated {
	int64_t blocks;
	int64_t mapped_bytes;
};
struct allocated allocation_count(void);

#endif
