/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bare exchange: the least that a server must do which hands out a descriptor. One small packet asks, one answers, and nothing is
 * looked up, counted or limited.
 */
#include "config.h"

#include "bench/bench.h"

#include "proto/util.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <uv.h>

/* About as long as a LEASE and its answer are. */
#define PACKET 32

const char *bare_file;

/* With a descriptor, or -1. Whether it went out. */
static bool send_packet(int socket, int fd)
{
	char bytes[PACKET] = {0};
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec iov = {.iov_base = bytes, .iov_len = sizeof(bytes)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		struct cmsghdr *header = (struct cmsghdr *)(void *)control;

		msg.msg_control = control;
		msg.msg_controllen = sizeof(control);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	}
	return sendmsg(socket, &msg, MSG_NOSIGNAL) == PACKET;
}

/* Whether a packet came. The descriptor, or -1, is stored in *@fd. */
static bool receive_packet(int socket, int *fd)
{
	char bytes[PACKET];
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = {.iov_base = bytes, .iov_len = sizeof(bytes)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	struct cmsghdr *header;

	*fd = -1;
	if (recvmsg(socket, &msg, MSG_CMSG_CLOEXEC) != PACKET)
		return false;
	header = CMSG_FIRSTHDR(&msg);
	if (header)
		memcpy(fd, CMSG_DATA(header), sizeof(*fd));
	return true;
}

/* ---- the client ---- */

int bare_connect(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	memcpy(address.sun_path, path, strlen(path) + 1);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		bench_fail("the bare server: %s", strerror(errno));
	return fd;
}

int bare_exchange(int socket)
{
	int fd;

	if (!send_packet(socket, -1) || !receive_packet(socket, &fd) || fd < 0)
		bench_fail("the bare server does not answer");
	return fd;
}

/* ---- the servers ---- */

static int open_file(void)
{
	int fd = open(bare_file, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		bench_fail("%s: %s", bare_file, strerror(errno));
	return fd;
}

void bare_serve(int listener)
{
	int fd = open_file(), none, client;

	while ((client = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		while (receive_packet(client, &none) && send_packet(client, fd))
			continue;
		close(client);
	}
}

struct uv_client {
	uv_poll_t poll;
	int socket;
};

static int served_file;

static void free_client(uv_handle_t *handle)
{
	struct uv_client *client = container_of(handle, struct uv_client, poll);

	close(client->socket);
	free(client);
}

static void on_packet(uv_poll_t *poll, int status, int events)
{
	struct uv_client *client = container_of(poll, struct uv_client, poll);
	int none;

	(void)events;
	if (status < 0 || !receive_packet(client->socket, &none) || !send_packet(client->socket, served_file))
		uv_close((uv_handle_t *)poll, free_client);
}

static void on_client(uv_poll_t *poll, int status, int events)
{
	struct uv_client *client;
	int fd, socket;

	(void)events;
	if (status < 0 || uv_fileno((uv_handle_t *)poll, &fd) < 0)
		return;
	socket = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (socket < 0)
		bench_fail("the bare server has no room: %s", strerror(errno));
	client = calloc(1, sizeof(*client));
	if (!client)
		abort();
	client->socket = socket;
	if (uv_poll_init(poll->loop, &client->poll, socket) < 0 || uv_poll_start(&client->poll, UV_READABLE, on_packet) < 0)
		bench_fail("the bare server can't watch a client");
}

void bare_serve_uv(int listener)
{
	uv_loop_t loop;
	uv_poll_t poll;

	served_file = open_file();
	if (uv_loop_init(&loop) < 0 || uv_poll_init(&loop, &poll, listener) < 0 || uv_poll_start(&poll, UV_READABLE, on_client) < 0)
		bench_fail("the bare server has no loop");
	uv_run(&loop, UV_RUN_DEFAULT);
}
