/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/listener.h"

#include "proto/address.h"
#include "proto/channel.h"
#include "proto/util.h"

#include <fcntl.h>
#include <libgen.h>
#include <stddef.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#define BACKLOG 512

/* How long the folder may be locked by somebody else: two seconds. */
#define LOCK_ATTEMPTS 200
#define LOCK_PAUSE_NS 10000000

/* The folder of the socket, made if need be, and locked: two servers that start at once take turns. The descriptor, or -errno. */
static int lock_folder(const char *path)
{
	_cleanup_(close_fdp) int fd = -1;
	char copy[PATH_MAX];
	const char *folder;

	snprintf(copy, sizeof(copy), "%s", path);
	folder = dirname(copy);
	if (mkdir(folder, 0755) < 0 && errno != EEXIST)
		return -errno;
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;

	/* Others may hold it as well, for their own ends: for a moment, or it is said. */
	for (int i = 0; i < LOCK_ATTEMPTS; i++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return take_fd(&fd);
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		nanosleep(&(struct timespec){.tv_nsec = LOCK_PAUSE_NS}, NULL);
	}
	return -EBUSY;
}

static int try_bind(int fd, const struct sockaddr_un *address, socklen_t length)
{
	/* Whoever can reach the path may connect. */
	mode_t saved = umask(0111);
	int r = bind(fd, (const struct sockaddr *)address, length) < 0 ? -errno : 0;

	umask(saved);
	return r;
}

/* Whether who listens at the other end is no more: of a server that was killed, its runners may keep the socket for a moment. */
static bool is_orphaned(int fd)
{
	struct ucred listener;
	socklen_t length = sizeof(listener);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &listener, &length) < 0)
		return false;
	return listener.pid > 0 && kill(listener.pid, 0) < 0 && errno == ESRCH;
}

/* Removes what is at @path if it is the socket of a server that is gone. 0 or -errno. */
static int remove_dead(const char *path)
{
	_cleanup_(close_fdp) int fd = -1;
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	fd = address_connect(path);
	if (fd == -EAGAIN || (fd >= 0 && !is_orphaned(fd)))
		return -EADDRINUSE;
	if (fd < 0 && fd != -ENOTCONN)
		return fd;
	return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

static int bind_and_listen(struct listener *listener, int fd)
{
	_cleanup_(close_fdp) int folder = -1;
	struct sockaddr_un address;
	struct stat st;
	int length, r;

	length = channel_address(&address, listener->path);
	if (length < 0)
		return length;
	folder = lock_folder(listener->path);
	if (folder < 0)
		return folder;

	r = try_bind(fd, &address, (socklen_t)length);
	if (r == -EADDRINUSE) {
		r = remove_dead(listener->path);
		if (r < 0)
			return r;
		r = try_bind(fd, &address, (socklen_t)length);
	}
	if (r < 0)
		return r;
	if (listen(fd, BACKLOG) < 0 || lstat(listener->path, &st) < 0) {
		r = -errno;
		unlink(listener->path);
		return r;
	}
	listener->ours = true;
	listener->device = st.st_dev;
	listener->inode = st.st_ino;
	return 0;
}

static void complain(int error, const char *path, char *complaint, size_t size)
{
	switch (-error) {
	case EADDRINUSE:
		snprintf(complaint, size, "a server is running on %s already: stop that one, or choose another --socket", path);
		break;
	case EBUSY:
		snprintf(complaint, size, "somebody holds a lock on the folder of %s: choose another --socket", path);
		break;
	case EEXIST:
		snprintf(complaint, size, "%s is there and is not a socket: choose another --socket", path);
		break;
	case ENAMETOOLONG:
		snprintf(complaint, size, "%s is too long for a socket (at most 107 bytes): choose another --socket", path);
		break;
	case EACCES:
	case EPERM:
		snprintf(complaint, size, "no permission to make the socket %s: choose a --socket in a folder of your own", path);
		break;
	default:
		snprintf(complaint, size, "can't listen on %s: %s", path, strerror(-error));
	}
}

int listener_open(struct listener *listener, const char *path, char *complaint, size_t size)
{
	_cleanup_(close_fdp) int fd = -1;
	int r;

	*listener = LISTENER_NONE;
	if (strlen(path) >= sizeof(listener->path)) {
		complain(-ENAMETOOLONG, path, complaint, size);
		return -ENAMETOOLONG;
	}
	strcpy(listener->path, path);

	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	r = fd < 0 ? -errno : bind_and_listen(listener, fd);
	if (r < 0) {
		complain(r, path, complaint, size);
		return r;
	}
	listener->fd = take_fd(&fd);
	return 0;
}

/* Whether @fd is what clients of ours connect to. */
static bool is_listening(int fd)
{
	socklen_t length = sizeof(int);
	int listens;

	return channel_is_one(fd) && getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) == 0 && listens;
}

int listener_adopt(struct listener *listener, int *fd, char *complaint, size_t size)
{
	struct sockaddr_un address = {0};
	socklen_t length = sizeof(address);
	int flags;

	*listener = LISTENER_NONE;
	if (!is_listening(*fd)) {
		snprintf(complaint, size, "what was handed over is not a Unix socket that listens: use ListenSequentialPacket= for it");
		return -EINVAL;
	}
	flags = fcntl(*fd, F_GETFL);
	if (flags < 0 || fcntl(*fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(*fd, F_SETFD, FD_CLOEXEC) < 0 ||
	    getsockname(*fd, (struct sockaddr *)&address, &length) < 0) {
		int r = -errno;

		snprintf(complaint, size, "can't use the socket that was handed over: %s", strerror(-r));
		return r;
	}
	/* The kernel does not end a path that fills the address. An abstract one begins with a zero byte, and is shown with an @. */
	length -= (socklen_t)offsetof(struct sockaddr_un, sun_path);
	memcpy(listener->path, address.sun_path, min_u64(length, sizeof(address.sun_path)));
	if (length && !listener->path[0])
		listener->path[0] = '@';
	listener->fd = take_fd(fd);
	return 0;
}

int listener_end(struct listener *listener)
{
	struct stat st;

	if (listener->ours) {
		shutdown(listener->fd, SHUT_RDWR);
		if (lstat(listener->path, &st) == 0 && st.st_dev == listener->device && st.st_ino == listener->inode)
			unlink(listener->path);
		listener->ours = false;
	}
	return take_fd(&listener->fd);
}

void listener_close(struct listener *listener)
{
	close_fd(listener_end(listener));
}
