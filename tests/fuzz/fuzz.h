/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

/*
 * A fuzzer is one function that takes any bytes at all, and stops the process where they do what nothing may do. libFuzzer calls it with inputs
 * that it makes up (scripts/fuzz), replay.c with those of the corpus.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Called once by libFuzzer, before it has threads. */
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* What holds for every input. Where it does not, libFuzzer keeps the input. */
#define require(condition)                                                                      \
	do {                                                                                    \
		if (!(condition)) {                                                             \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                                \
		}                                                                               \
	} while (0)

#endif
