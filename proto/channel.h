/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PROTO_CHANNEL_H
#define PROTO_CHANNEL_H

/*
 * The channel: packets with descriptors over a Unix-domain socket of type SOCK_SEQPACKET. Both ends use it, and nothing else in the tree
 * knows of control messages. It waits only where it says so, never raises SIGPIPE, and loses no descriptor: each one that was received is in the packet,
 * also of one that is an error. It closes none by itself: that may wait, for the server of a file system.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/un.h>

#define PACKET_MAX_BYTES       65536
#define PACKET_MAX_DESCRIPTORS 3

/* As many as the kernel lets through (SCM_MAX_FD). Those for which there is no room it would close, in the middle of a call here. */
#define PACKET_ROOM 253

/* A received packet. It owns its descriptors until they are taken; those that it may carry, and didn't, are -1. */
struct packet {
	size_t n_bytes;
	size_t n_descriptors;
	int descriptors[PACKET_ROOM];
	char bytes[PACKET_MAX_BYTES + 1];
};

/* Closes the descriptors that were not taken. For _cleanup_() too. */
void packet_deinit(struct packet *packet);

/*
 * Sends one packet, with copies of the descriptors. 0; -EAGAIN if the socket is full; -EPIPE or -ECONNRESET if the peer is gone;
 * another -errno.
 */
int channel_send(int socket, const void *bytes, size_t n_bytes, const int *descriptors, size_t n_descriptors);

/*
 * Receives one packet. 1 if there was one, 0 at the end of the stream; -EAGAIN if none waits; -EMSGSIZE if it was larger than
 * PACKET_MAX_BYTES; -EPROTO if it came with too many descriptors; -EMFILE if this process had no descriptor left for one; another
 * -errno. Whatever it returns, the packet owns what came, and what it owned before is the caller's to have closed.
 */
int channel_receive(int socket, struct packet *packet);

/* Has channel_await() wait on this socket. 0 or -errno. */
int channel_may_await(int socket);

/*
 * The same for who has nothing else to wait for: waits up to CHANNEL_PATIENCE_MS for a packet, or for a signal, in one call of the kernel where
 * poll(2) would make it two. -EAGAIN if none came.
 */
#define CHANNEL_PATIENCE_MS 500
int channel_await(int socket, struct packet *packet);

/*
 * Receives one packet that may have no descriptors, of at most @size bytes. Its length, 0 at the end of the stream; -EAGAIN if none waits;
 * -EMSGSIZE if it was larger; -EPROTO if it came with descriptors, which this process then never had; another -errno.
 */
int channel_receive_bytes(int socket, void *bytes, size_t size);

/*
 * Says whether a socket takes packets with descriptors; one that was accepted is as the one that listened was when it connected. Where the
 * kernel can't keep them from coming, all do: before Linux 6.16.
 */
void channel_take_descriptors(int socket, bool wanted);
bool channel_takes_descriptors(int socket);

/* Whether a descriptor is a socket of the kind that channels are. */
bool channel_is_one(int fd);

/* Waits until @socket is ready for @events of poll(2), for @timeout_ms (-1: for ever). 1 if it is, 0 if not; -errno. */
int channel_wait(int socket, short events, int timeout_ms);

/* Fills an address with @path; its length. -ENAMETOOLONG or, if it is empty, -EINVAL. */
int channel_address(struct sockaddr_un *address, const char *path);

#endif
