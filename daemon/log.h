/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_LOG_H
#define DAEMON_LOG_H

/*
 * What the server says while it runs: to the journal, with fields, where systemd has connected standard error to it; else to standard
 * error. All is well when it is quiet. Whatever a client does again and again is said a few times a second at most, and the rest counted.
 *
 * Levels are those of syslog(3): LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_INFO, LOG_DEBUG.
 */

#include <sys/types.h>
#include <syslog.h>

/* What happened. Each is counted for itself, so that none keeps another from being said. */
enum log_event {
	LOG_LIFE,       /* the server has started, stops, or has read its configuration again: never left out */
	LOG_MISTAKE,    /* in the configuration that was read again */
	LOG_SHORTAGE,   /* a request waits for room that does not come, or no longer does */
	LOG_REFUSAL,    /* a client or its request was refused */
	LOG_DISCONNECT, /* a client was thrown out */
	LOG_TROUBLE,    /* the kernel refuses what the server needs */
	LOG_N_EVENTS,
};

/* Whom it is about. */
struct log_client {
	pid_t pid;
	uid_t uid;
	const char *name; /* as the client calls itself: any bytes */
};

/*
 * Finds out where to write: @journal is $JOURNAL_STREAM, see systemd.exec(5), or NULL. Before that it is standard error, and all levels up to
 * LOG_INFO.
 */
void log_start(const char *journal);

/* Says nothing any more that is less urgent than @level. */
void log_set_level(int level);

/* Says what happened, in the manner of printf(3). @client may be NULL. */
void log_event(int level, enum log_event event, const struct log_client *client, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* Says how much was left out, of what is over for now. Once a second or so, and at the end. */
void log_settle(void);

#endif
