/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_MANAGER_H
#define DAEMON_MANAGER_H

/*
 * The service manager, where there is one that speaks the protocols of sd_listen_fds(3) and sd_notify(3): what it hands over, and what it wants
 * to know. Without one all of this does nothing.
 */

#include <stddef.h>
#include <stdint.h>

/*
 * Takes the socket that the manager listens on. 1 with *@fd, the caller's to close; 0 if there is none; -EINVAL if there are several, or
 * another -errno, with a sentence in @complaint (@size bytes).
 */
int manager_take_socket(int *fd, char *complaint, size_t size);

/* How often manager_beat() has to be called, in milliseconds; 0: never. */
uint64_t manager_period_ms(void);

/* Each with a line that says how things are, in the manner of printf(3). */
void manager_ready(const char *format, ...) __attribute__((format(printf, 1, 2)));
void manager_beat(const char *format, ...) __attribute__((format(printf, 1, 2)));

void manager_reloading(void);
void manager_stopping(void);

#endif
