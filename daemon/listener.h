/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_LISTENER_H
#define DAEMON_LISTENER_H

/*
 * The socket that clients connect to, as a file. A socket file that a dead server has left is taken over; a live one is left alone. Or it
 * is systemd's, which has it for as long as the host is up, so that clients find it while a server starts again.
 */

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct listener {
	int fd;
	char path[PATH_MAX];
	bool ours;    /* to remove */
	dev_t device; /* of our file */
	ino_t inode;
};

#define LISTENER_NONE           \
	(struct listener)       \
	{                       \
		.fd = -1        \
	}

/*
 * Binds and listens, for every user of the host that can reach the path. The folder is made if only itself is missing. 0; -EADDRINUSE if
 * a server is there; another -errno; each with a sentence in @complaint (@size bytes).
 */
int listener_open(struct listener *listener, const char *path, char *complaint, size_t size);

/*
 * Takes over *@fd, which somebody else has bound and listens on, and who keeps it. 0; -EINVAL if it is not such a socket, or another -errno;
 * each with a sentence in @complaint (@size bytes).
 */
int listener_adopt(struct listener *listener, int *fd, char *complaint, size_t size);

/*
 * Lets nobody connect any more and removes the file, if it is ours. The descriptor, which is the caller's to close: that can take as long as
 * closing what is sent by those who wait in it.
 */
int listener_end(struct listener *listener);

/* Ends it and closes it. */
void listener_close(struct listener *listener);

#endif
