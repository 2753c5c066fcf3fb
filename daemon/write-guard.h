/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_WRITE_GUARD_H
#define DAEMON_WRITE_GUARD_H

/*
 * A guard: a read lease of the kernel's on a file (F_SETLEASE in fcntl(2)), so that who opens the file for writing or truncates it
 * waits until the server has let go. Until then no reader sees a change underneath.
 *
 * It is on an open file description of its own, reopened and never sent to anyone: on one that is shared any client could silence
 * the signal by which the kernel tells of a writer. So a file can be guarded only if the server may open it, and without waiting,
 * that is on a local file system; and if it is the server's own, or the server has CAP_LEASE.
 *
 * The states of a file, in which writers.h moves it:
 *   none        no region of it is mapped, or there is no write guard. It has no description
 *   impossible  the server may not guard it; not tried again before it has lost its last region
 *   awaited     somebody has it open for writing, or was just let in, or something ran short: tried again after a pause. So a
 *               writer that does not wait (O_NONBLOCK) gets its chance, too. It is served unguarded meanwhile
 *   held        guarded
 *   breaking    a writer waits: idle leases are recalled, pinned ones are waited for until a deadline, and no other is granted.
 *               Then the writer is let in, and the file is awaited: the writer keeps it from being guarded as long as it has the
 *               file open
 *
 * From any of these it goes to none when its last region goes, which can be while it breaks, when the guard is turned off, and
 * when the server stops: the description is closed, and a writer that waits is let in. A client that dies takes its leases with
 * it, pinned or not: that may be what a break waits for. A lower limit evicts regions as ever. If the server itself stands still
 * past the kernel's own timeout, the kernel lets the writer in.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum write_guard_state {
	WRITE_GUARD_NONE,
	WRITE_GUARD_IMPOSSIBLE,
	WRITE_GUARD_AWAITED,
	WRITE_GUARD_HELD,
	WRITE_GUARD_BREAKING,
};

struct write_guard {
	enum write_guard_state state;
	int fd;            /* the description; -1: none */
	uint64_t until_ms; /* awaited: not tried before; breaking: the deadline */
};

/* Opens a description of the file of @fd, which has to be on a local volume, to guard it with. 0 or -errno of open(2). */
int write_guard_open(struct write_guard *guard, int fd);

/* Takes the lease. 0; -EAGAIN if somebody has the file open for writing; or -errno of fcntl(2). */
int write_guard_take(const struct write_guard *guard);

/* Whether the lease that was taken is to be given up, or was taken away. */
bool write_guard_is_broken(const struct write_guard *guard);

/* Gives the lease up: who waits to write is let in. */
void write_guard_release(const struct write_guard *guard);

/* The same, and closes the description. */
void write_guard_close(struct write_guard *guard);

/* Whether who opens the file for writing has to wait. */
bool write_guard_is_up(const struct write_guard *guard);

/* ---- hearing of writers ---- */

#define WRITE_GUARD_MOST_HEARD 64

/*
 * Opens a descriptor that is readable when a writer waits. It blocks the signals by which the kernel tells it, so it comes before
 * the process has threads, and before any guard. The descriptor, the caller's; or -errno of signalfd(2).
 */
int write_guard_open_ear(void);

/*
 * Stores the descriptors of guards for which writers may wait. The number of them; *@any is set if there are others, of which the
 * kernel could not say which.
 */
size_t write_guard_hear(int ear, int fds[static WRITE_GUARD_MOST_HEARD], bool *any);

#endif
