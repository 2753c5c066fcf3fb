/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_HANGING_H
#define TESTS_HANGING_H

/*
 * A server that is sent files of a file system which stops answering when a test wants it to, with an honest client, which has nothing to do
 * with them and is served all the same.
 */

#include "tests/fuse.h"
#include "tests/raw.h"

#include <stdint.h>
#include <sys/types.h>

#define HANGING_SIZE   100000 /* of a file */
#define HANGING_WINDOW 65536

extern struct harness_server server;
extern struct raw honest;
extern uint64_t honest_file; /* of three windows */
extern struct fuse_system hung;

/* Starts it, with one option more unless that is NULL, the client, and the file system. False where there can be none. */
bool hanging_start(const char *option);
void hanging_stop(void);

/* Requires that the server serves as ever, files that it does not know too. */
void hanging_assert_serving(void);

/* Opens a file of such a file system. */
int hanging_open(const struct fuse_system *system, const char *name);
void hanging_close_all(const int *fds, size_t n);

/* Makes a volume that no server knows yet, with the files 0 and 1. */
void hanging_make_volume(const char *folder);

/* Connects another user, who can come where the working directory lets everybody in. */
void hanging_connect_as(struct raw *raw, uid_t uid);

#endif
