/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_FUZZ_WRITING_H
#define TESTS_FUZZ_WRITING_H

/*
 * Who writes the files that clients have mapped. The write guard has writers wait for pins; here that can't be, in one process. So they come
 * without waiting (O_NONBLOCK), which the kernel tells the server all the same, and come again after each step until they are let in.
 */

#include <stdbool.h>

struct registry;

/*
 * Has the writer of a file come, if there is one, and requires that it is let in, or else that the server has heard of it, that its time is not
 * over, and that a pin keeps it out, as far as that was looked for since anything was unpinned (@looked). @turn is a turn of the server's loop.
 */
void writing_come(const struct registry *registry, unsigned file, bool looked, void (*turn)(void));

/* There is no server any more: all who wait are let in. */
void writing_end(void);

#endif
