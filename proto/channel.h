/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PROTO_CHANNEL_H
#define PROTO_CHANNEL_H

/*
 * The channel: packets with descriptors over a Unix-domain socket of type SOCK_SEQPACKET. Both ends use it, and nothing else in the tree
 * knows of control messages. It never waits, never raises SIGPIPE, and loses no descriptor: each one that was received is either in
 * the packet or closed.
 */

#include <stddef.h>
#include <sys/un.h>

#define PACKET_MAX_BYTES       65536
#define PACKET_MAX_DESCRIPTORS 3

/* A received packet. It owns its descriptors until they are taken; all others are -1. */
struct packet {
	size_t n_bytes;
	size_t n_descriptors;
	int descriptors[PACKET_MAX_DESCRIPTORS];
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
 * -errno. A packet that is not returned is lost, and its descriptors are closed.
 */
int channel_receive(int socket, struct packet *packet);

/* Waits until @socket is ready for @events of poll(2), for @timeout_ms (-1: for ever). 1 if it is, 0 if not; -errno. */
int channel_wait(int socket, short events, int timeout_ms);

/* Fills an address with @path; its length. -ENAMETOOLONG or, if it is empty, -EINVAL. */
int channel_address(struct sockaddr_un *address, const char *path);

#endif
