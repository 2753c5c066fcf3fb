/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/write-guard.h"

#include "proto/util.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>

/* The signal of a writer has the descriptor with it. Where no more of these can wait, the kernel sends SIGIO, which has not. */
#define WRITER_SIGNAL SIGRTMIN

int write_guard_open(struct write_guard *guard, int fd)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	guard->fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	return guard->fd < 0 ? -errno : 0;
}

int write_guard_take(const struct write_guard *guard)
{
	/* Giving up a lease resets both of these. */
	if (fcntl(guard->fd, F_SETSIG, WRITER_SIGNAL) < 0 || fcntl(guard->fd, F_SETOWN, getpid()) < 0 ||
	    fcntl(guard->fd, F_SETLEASE, F_RDLCK) < 0)
		return -errno;
	return 0;
}

bool write_guard_is_broken(const struct write_guard *guard)
{
	return fcntl(guard->fd, F_GETLEASE) != F_RDLCK;
}

void write_guard_release(const struct write_guard *guard)
{
	/* It fails only where the kernel has taken the lease away. */
	fcntl(guard->fd, F_SETLEASE, F_UNLCK);
}

void write_guard_close(struct write_guard *guard)
{
	close_fdp(&guard->fd);
}

bool write_guard_is_up(const struct write_guard *guard)
{
	return guard->state == WRITE_GUARD_HELD || guard->state == WRITE_GUARD_BREAKING;
}

/* ---- hearing of writers ---- */

int write_guard_open_ear(void)
{
	sigset_t signals;
	int ear;

	sigemptyset(&signals);
	sigaddset(&signals, WRITER_SIGNAL);
	sigaddset(&signals, SIGIO);
	if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0)
		return -errno;
	ear = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
	return ear < 0 ? -errno : ear;
}

size_t write_guard_hear(int ear, int fds[static WRITE_GUARD_MOST_HEARD], bool *any)
{
	struct signalfd_siginfo heard[WRITE_GUARD_MOST_HEARD];
	ssize_t r = read(ear, heard, sizeof(heard));
	size_t n = 0;

	*any = false;
	for (size_t i = 0; r > 0 && i < (size_t)r / sizeof(heard[0]); i++) {
		if (heard[i].ssi_signo == (uint32_t)SIGIO)
			*any = true;
		else
			fds[n++] = heard[i].ssi_fd;
	}
	return n;
}
