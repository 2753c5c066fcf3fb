/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_WATCH_H
#define DAEMON_WATCH_H

/* `smmapd status --watch`: the same view again and again. */

#include "daemon/status.h"

/* Makes one look of what is known of standard output now; its stream is @out. */
struct look look_now(FILE *out);

/*
 * Shows a view of the server at @socket (NULL: the default) every @seconds, until the user has enough of it. On a terminal each
 * frame is painted over the last, else they come one after the other. The exit status.
 */
int status_watch(const char *socket, const struct view *view, uint64_t seconds);

#endif
