/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/notice.h"

#include <errno.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <unistd.h>

#define MOST_HEARD 1024

int notice_open_ear(void)
{
	int ear = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

	return ear < 0 ? -errno : ear;
}

int notice_ask(int ear, int fd)
{
	char path[32];
	int notice;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	notice = inotify_add_watch(ear, path, IN_ATTRIB | IN_MASK_CREATE);
	return notice < 0 ? -errno : notice;
}

void notice_end(int ear, int notice)
{
	/* It fails only where the kernel has ended it, after the last name. */
	inotify_rm_watch(ear, notice);
}

void notice_hear(int ear)
{
	char heard[MOST_HEARD * sizeof(struct inotify_event)];
	ssize_t n;

	do
		n = read(ear, heard, sizeof(heard));
	while (n < 0 && errno == EINTR);
}
