/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_FUSE_H
#define TESTS_FUSE_H

/*
 * A file system of a test's own, by FUSE, that fails as it is told: its files can't be read from some byte on, and its process can be
 * stopped, so that whoever asks it something hangs. It is mounted in a namespace of this test and what it starts from then on, and is
 * gone with them.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct fuse_system {
	const char *folder; /* where it is mounted */
	uint64_t size;      /* of each file; the byte at offset i is harness_byte(i) */
	uint64_t readable;  /* bytes of each file; behind them reads fail with EIO */
	bool ends_at_close; /* it does not answer any more from the first close(2) on */
	pid_t pid;
};

/*
 * Mounts it, with folder, size and readable set. A file of any name is there, and each is another one. False, with a word on standard
 * output, where it can't be done: without root, or libfuse.
 */
bool fuse_start(struct fuse_system *system);

/* It does not answer any more, until it goes on. */
void fuse_hang(const struct fuse_system *system);
void fuse_go_on(const struct fuse_system *system);

/* Ends it; what hangs fails. */
void fuse_stop(struct fuse_system *system);

#endif
