/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PROTO_DESCRIPTOR_H
#define PROTO_DESCRIPTOR_H

/*
 * What a descriptor must be to be read through the server: a regular file that is open for reading only. Both ends check it, the client
 * for its caller's sake, the server because it believes nobody. No file system is waited for.
 */

#include <stdbool.h>
#include <stdint.h>

struct descriptor_facts {
	uint64_t device;
	uint64_t inode;
	uint64_t size;
	uint64_t birth_ns; /* when the file was made; 0 where the file system does not tell */
	bool deleted; /* no name leads to the file any more */
};

/*
 * Checks @fd and fills *@facts. 0; -EBADF if it is open for writing, with O_PATH, or not at all; -EINVAL if it is not a regular
 * file; or -errno of statx(2).
 */
int descriptor_check(int fd, struct descriptor_facts *facts);

/* Fills *@facts of a descriptor that was checked before. 0 or -errno of statx(2). */
int descriptor_look(int fd, struct descriptor_facts *facts);

/*
 * Whether a and b are of the same file. The number of an inode is given again when its file is gone, so the birth counts too, where both
 * are known.
 */
bool descriptor_same_file(const struct descriptor_facts *a, const struct descriptor_facts *b);

#endif
