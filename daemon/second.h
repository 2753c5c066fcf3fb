/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_SECOND_H
#define DAEMON_SECOND_H

/*
 * What the server does once a second: it looks at its files and its peers, and says what second it is.
 *
 * There is a next second as long as somebody is connected, or something is left that only time or a look will tell. Once begun it is not
 * cut short: clients that come and go faster would keep it from ever being over. Else the server sleeps, until it is given notice that
 * a file may be deleted (notice.h), which is a reason for one more. While there are seconds nobody listens for that.
 */

struct server;

/* Sets it up, in a loop. Where no notice is to be had, all files are looked at each second. */
void second_init(struct server *server);

/* Begins the next second if there has to be one. */
void second_settle(struct server *server);

/* Has the loop forget it; what notice is given on is to be closed after that. */
void second_close(struct server *server);

#endif
