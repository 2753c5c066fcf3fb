/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_WRITERS_H
#define DAEMON_WRITERS_H

/*
 * Those who want to write files that the server has mapped: which files are guarded against them, and how the registry gives way.
 * The states are explained in write-guard.h.
 *
 * A lease keeps a writer out as long as it may be pinned. One that is recalled can't be, so nobody has to wait until its client
 * has unmapped it, or to evict its regions: they show what is written then to whoever leases them next.
 */

#include <stdbool.h>
#include <stdint.h>

struct file;
struct registry;

/* Has a file guarded of which a region is mapped, or about to be, if it is to be and can be now; then looks at its size. */
void writers_keep_out(struct registry *registry, struct file *file);

/* Ends that: the file has no region any more, or is not to be guarded. */
void writers_forget(struct registry *registry, struct file *file);

/* Tries again to guard such files that could not be guarded when they were tried last. Once a second. */
void writers_try_again(struct registry *registry);

/* The write guard was turned on or off. */
void writers_switch(struct registry *registry);

/* A writer may wait for the file whose guard has this descriptor. */
void writers_hear(struct registry *registry, int guard_fd);

/* The same, of any file. */
void writers_hear_any(struct registry *registry);

/* Whether a writer waits for the file, be it that the kernel has told of it, or is about to. */
bool writers_wait_for(struct registry *registry, struct file *file);

/* Recalls what is idle of the files for which writers wait, within what may be looked at in this turn. To be called again and again. */
void writers_recall(struct registry *registry);

/* Lets those in who need not wait any longer. */
void writers_let_in(struct registry *registry);

#endif
