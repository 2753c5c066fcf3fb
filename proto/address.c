/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "proto/address.h"

#include "proto/channel.h"
#include "proto/util.h"

#include <string.h>
#include <sys/socket.h>

static int join_path(char *path, size_t size, const char *folder, const char *name)
{
	size_t length = strlen(folder);

	if (length + strlen(name) >= size)
		return -ENAMETOOLONG;
	memcpy(path, folder, length);
	strcpy(path + length, name);
	return 0;
}

int address_default(char *path, size_t size)
{
	/* A program with another's rights, set-user-ID or the like, does not hand its files to whom its caller names. */
	const char *socket = secure_getenv("SMMAP_SOCKET");
	const char *runtime = secure_getenv("XDG_RUNTIME_DIR");
	int r;

	if (socket && *socket)
		return join_path(path, size, socket, "");
	if (runtime && *runtime) {
		r = join_path(path, size, runtime, "/smmapd.sock");
		if (r < 0 || access(path, F_OK) == 0)
			return r;
	}
	return join_path(path, size, ADDRESS_SYSTEM, "");
}

int address_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd < 0 ? -errno : fd;
}

int address_reach(int socket, const char *path)
{
	struct sockaddr_un address;
	int length, r;

	length = channel_address(&address, path);
	if (length < 0)
		return length;
	do
		r = connect(socket, (struct sockaddr *)&address, (socklen_t)length);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return errno == ENOENT || errno == ECONNREFUSED || errno == ENOTDIR ? -ENOTCONN : -errno;
	return 0;
}

int address_connect(const char *path)
{
	_cleanup_(close_fdp) int fd = address_socket();
	int r;

	if (fd < 0)
		return fd;
	r = address_reach(fd, path);
	return r < 0 ? r : take_fd(&fd);
}
