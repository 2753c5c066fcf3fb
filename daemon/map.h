/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_MAP_H
#define DAEMON_MAP_H

/* The server's own maps of files: shared, read-only, never touched. Lengths are in bytes, offsets multiples of a page. */

#include <stdint.h>

/* Maps a piece of a file. 0 or -errno of mmap(2). */
int map_file(int fd, uint64_t offset, uint64_t length, void **address);

/* Makes a map longer; it may move. 0 or -errno of mremap(2). */
int map_extend(void **address, uint64_t length, uint64_t new_length);

/* Unmaps a piece that map_file() has mapped, or a part of one. */
void map_remove(void *address, uint64_t length);

#endif
