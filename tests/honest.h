/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_HONEST_H
#define TESTS_HONEST_H

/*
 * An honest client: with the library and its defaults it reads random ranges of files whose every byte is known, on two cursors,
 * and compares every byte. No call may fail.
 */

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define HONEST_WINDOW UINT64_C(65536)
#define HONEST_FILES  16
#define HONEST_SIZE   (5 * HONEST_WINDOW - 4321) /* of a file: the last window is not whole */

enum honest_order { HONEST_WORKS, HONEST_RESTS, HONEST_ENDS };

/* In memory that it shares with the test. */
struct honest {
	_Atomic enum honest_order order; /* the test's */
	atomic_bool rests;               /* it has given back all that it had, and waits */
	_Atomic uint64_t n_reads;        /* that were right */
	char complaint[512];             /* why it has ended */
};

/* Makes the files in the working directory. */
void honest_make_files(void);

/* The name of a file. */
const char *honest_path(unsigned file);

/* The first byte that differs from what is at @offset of the file: @size if none does. */
size_t honest_compare(const unsigned char *data, unsigned file, uint64_t offset, size_t size);

/* Does what it is ordered to. In a process of its own; its exit status. */
int honest_run(struct honest *honest, const char *socket);

#endif
