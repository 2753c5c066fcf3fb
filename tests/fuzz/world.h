/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_FUZZ_WORLD_H
#define TESTS_FUZZ_WORLD_H

/*
 * What is around the server of a fuzzer, and in its hand: the time, who connects, files, and what there is for a map to fail. It is the same
 * at the beginning of each input.
 */

#include "tests/fuzz/steps.h"

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define WORLD_N_FILES 4

/* Has all be as it is at the beginning. */
void world_reset(void);

/* Time passes; without this none does. */
void world_wait_ms(uint64_t ms);

/* Who connects from now on. */
void world_become(uid_t uid);

/* Has the next mmap(2) fail, or no longer; returns what was so before. */
bool world_fail_map(bool fails);

/* Deletes the file of this number (STEP_DELETE), or has a writer come who gives it another size: see world_write(). */
void world_change_file(unsigned file, unsigned change);

/* Whether a writer of the file waits: it has come, and was not let in yet. */
bool world_has_writer(unsigned file);

/* The writer comes, or comes again; it does not wait for that. Whether it is let in: then it writes, and goes. */
bool world_write(unsigned file);

/* Has writers that are let in stay, or all of them go. */
void world_have_writers_stay(bool stay);

/* The descriptor of the file, borrowed. */
int world_file(unsigned file);

/* What is sent along, borrowed: how many descriptors. */
size_t world_descriptors(enum step_descriptor what, int descriptors[static 3]);

/* poll(2) that waits for nothing. */
void world_poll(struct pollfd *pollfds, nfds_t n);

/* How many descriptors are open, and how many bytes are mapped that were not at the beginning. */
unsigned world_count_descriptors(void);
int64_t world_mapped_bytes(void);

#endif
