/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PROTO_MEMORY_H
#define PROTO_MEMORY_H

/*
 * Memory shared by descriptor: a memfd that can neither shrink nor grow, so that nobody who has it mapped can be made to touch
 * what is not there any more.
 */

#include <stddef.h>

/* Creates and maps @size bytes, read-write; the map and *@fd are the caller's. @name is for people who look at /proc. 0 or -errno. */
int memory_create(const char *name, size_t size, void **memory, int *fd);

/* Denies every later map of @fd the right to write; maps that are there keep it. 0 or -errno. */
int memory_seal_writes(int fd);

/*
 * Maps @size bytes of @fd, received from a peer, with @protection. -EPROTO if it is not sealed or has another size, or -errno.
 */
int memory_attach(int fd, size_t size, int protection, void **memory);

#endif
