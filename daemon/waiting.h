/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_WAITING_H
#define DAEMON_WAITING_H

/*
 * What the server does with requests that wait: it tries them again when something was released, each user in turn, and of each the first
 * in turn and a few others, and says when room is short.
 */

#include <stdbool.h>

struct server;

/* Tries those again that something may have changed for. Users take turns: whose request was answered goes behind the others. */
void waiting_serve(struct server *server);

bool waiting_is_any(const struct server *server);

/* Says when room gets short, and when that is over. That a request waits until another client has unmapped something is nothing to tell. */
void waiting_tell_shortage(struct server *server);

#endif
