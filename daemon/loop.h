/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_LOOP_H
#define DAEMON_LOOP_H

/*
 * A lack of memory that libuv does not survive: its table of what it watches grows with the highest descriptor, and where there is no memory for
 * that it ends the process. So there is memory ready before it has to grow, and to have none is an error like others.
 */

/* Has libuv take what is ready; before anything else of libuv is called. */
void loop_prepare(void);

/* Sees to it that a descriptor of this number can be watched. 0 or -ENOMEM. */
int loop_reserve(int fd);

/* Frees what was not needed. */
void loop_release(void);

#endif
