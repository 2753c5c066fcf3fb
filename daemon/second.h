/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_SECOND_H
#define DAEMON_SECOND_H

/* What the server does once a second: it looks at its files and its peers, and says what second it is. */

struct server;

/* Sets it up, in a loop. */
void second_init(struct server *server);

/* Has there be a next second if it is needed, and none else. */
void second_settle(struct server *server);

/* Has the loop forget it. */
void second_close(struct server *server);

#endif
