/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_LIMITS_H
#define DAEMON_LIMITS_H

/*
 * The three limits, and the window grid. They hold for the whole host, so the server first makes sure that the kernel lets it
 * use them up.
 */

#include <stddef.h>
#include <stdint.h>

struct limits {
	uint64_t memory; /* bytes of all regions */
	uint64_t handles; /* open files */
	uint64_t maps;    /* regions */
	uint64_t window;  /* bytes of a window, a power of two */
	uint64_t clients; /* connections; follows from the descriptors that the handles leave */
};

#define LIMITS_DEFAULT_MEMORY_PERCENT 50
#define LIMITS_DEFAULT_HANDLES        8192
#define LIMITS_DEFAULT_MAPS           32768
#define LIMITS_DEFAULT_WINDOW         (UINT64_C(64) << 20)

/* The defaults, on this machine. */
void limits_default(struct limits *limits);

/*
 * Checks what was asked for. 0, or -EINVAL with a sentence in @complaint (@size bytes) that says what is wrong and what would be right.
 */
int limits_check(const struct limits *limits, char *complaint, size_t size);

/*
 * Raises the soft RLIMIT_NOFILE as far as it goes, lowers the limits to what the kernel allows this process, and sets the number of
 * clients. The number of limits that were lowered, with a sentence for each in @complaint; -EMFILE or -ENOMEM if the kernel allows too few
 * descriptors or maps to be of use.
 */
int limits_fit(struct limits *limits, char *complaint, size_t size);

#endif
