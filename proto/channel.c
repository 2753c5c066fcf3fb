/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "proto/channel.h"

#include "proto/clock.h"
#include "proto/util.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

/* Newer than some headers. */
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

void packet_deinit(struct packet *packet)
{
	for (size_t i = 0; i < packet->n_descriptors; i++)
		close_fdp(&packet->descriptors[i]);
	packet->n_descriptors = 0;
}

int channel_send(int socket, const void *bytes, size_t n_bytes, const int *descriptors, size_t n_descriptors)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(PACKET_MAX_DESCRIPTORS * sizeof(int))] = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = n_bytes};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (n_descriptors > PACKET_MAX_DESCRIPTORS)
		return -EINVAL;
	if (n_descriptors) {
		size_t size = n_descriptors * sizeof(int);
		struct cmsghdr *header;

		message.msg_control = control;
		message.msg_controllen = CMSG_SPACE(size);
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(size);
		memcpy(CMSG_DATA(header), descriptors, size);
	}

	do
		n = sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

/* Moves the descriptors of @message into the packet. */
static void collect_descriptors(struct msghdr *message, struct packet *packet)
{
	for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header; header = CMSG_NXTHDR(message, header)) {
		size_t n;

		if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
			continue;
		n = (size_t)min_u64((header->cmsg_len - CMSG_LEN(0)) / sizeof(int), PACKET_ROOM - packet->n_descriptors);
		memcpy(packet->descriptors + packet->n_descriptors, CMSG_DATA(header), n * sizeof(int));
		packet->n_descriptors += n;
	}
}

static ssize_t receive_now(int socket, struct msghdr *message)
{
	ssize_t n;

	do
		n = recvmsg(socket, message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* Not again after a signal: who sends one after the other would keep it waiting. */
static ssize_t receive_patiently(int socket, struct msghdr *message)
{
	ssize_t n = recvmsg(socket, message, MSG_CMSG_CLOEXEC);

	if (n < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	return n;
}

static int receive(int socket, struct packet *packet, ssize_t (*receive_message)(int socket, struct msghdr *message))
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(PACKET_ROOM * sizeof(int))];
	struct iovec iov = {.iov_base = packet->bytes, .iov_len = sizeof(packet->bytes)};
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n;

	packet->n_bytes = 0;
	packet->n_descriptors = 0;
	for (size_t i = 0; i < PACKET_MAX_DESCRIPTORS; i++)
		packet->descriptors[i] = -1;

	n = receive_message(socket, &message);
	if (n < 0)
		return (int)n;

	collect_descriptors(&message, packet);
	packet->n_bytes = (size_t)n;
	if (message.msg_flags & MSG_CTRUNC)
		return -EMFILE;
	if (packet->n_descriptors > PACKET_MAX_DESCRIPTORS)
		return -EPROTO;
	if (message.msg_flags & MSG_TRUNC || packet->n_bytes > PACKET_MAX_BYTES)
		return -EMSGSIZE;
	return n > 0;
}

int channel_receive(int socket, struct packet *packet)
{
	return receive(socket, packet, receive_now);
}

int channel_may_await(int socket)
{
	struct timeval patience = {.tv_sec = CHANNEL_PATIENCE_MS / 1000, .tv_usec = CHANNEL_PATIENCE_MS % 1000 * 1000};

	if (setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0)
		return -errno;
	return fcntl(socket, F_SETFL, 0) < 0 ? -errno : 0;
}

int channel_await(int socket, struct packet *packet)
{
	return receive(socket, packet, receive_patiently);
}

int channel_receive_bytes(int socket, void *bytes, size_t size)
{
	struct iovec iov = {.iov_base = bytes, .iov_len = size};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	n = receive_now(socket, &message);
	if (n < 0)
		return (int)n;
	if (message.msg_flags & MSG_CTRUNC)
		return -EPROTO;
	return message.msg_flags & MSG_TRUNC ? -EMSGSIZE : (int)n;
}

void channel_take_descriptors(int socket, bool wanted)
{
	int value = wanted;

	setsockopt(socket, SOL_SOCKET, SO_PASSRIGHTS, &value, sizeof(value));
}

bool channel_takes_descriptors(int socket)
{
	socklen_t length = sizeof(int);
	int value;

	return getsockopt(socket, SOL_SOCKET, SO_PASSRIGHTS, &value, &length) < 0 || value;
}

bool channel_is_one(int fd)
{
	socklen_t length = sizeof(int);
	int domain, type;

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 && domain == AF_UNIX &&
	       getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_SEQPACKET;
}

int channel_wait(int socket, short events, int timeout_ms)
{
	struct pollfd pollfd = {.fd = socket, .events = events};
	uint64_t until_ms = clock_ms() + (timeout_ms > 0 ? (uint64_t)timeout_ms : 0);
	int n;

	while ((n = poll(&pollfd, 1, timeout_ms)) < 0 && errno == EINTR) {
		uint64_t now_ms = clock_ms();

		/* A signal that comes again and again does not make it longer. */
		if (timeout_ms > 0)
			timeout_ms = (int)(until_ms > now_ms ? until_ms - now_ms : 0);
	}
	return n < 0 ? -errno : n;
}

int channel_address(struct sockaddr_un *address, const char *path)
{
	size_t length = strlen(path);

	if (!length)
		return -EINVAL;
	if (length >= sizeof(address->sun_path))
		return -ENAMETOOLONG;

	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(address->sun_path, path, length);
	return (int)(offsetof(struct sockaddr_un, sun_path) + length + 1);
}
