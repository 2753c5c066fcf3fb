/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_RESIDENT_H
#define DAEMON_RESIDENT_H

/* How much of a file is in memory, as the kernel tells the caller, with the caller's own rights. */

#include <stdint.h>

/*
 * Asks for the file at @path, if it still is the one with this @device and @inode. 0 and *@bytes; -ESTALE if it is another one;
 * -EPERM if the kernel tells this only to those who may write the file; -errno of open(2) and others.
 */
int resident_bytes(const char *path, uint64_t device, uint64_t inode, uint64_t *bytes);

#endif
