/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PROTO_ADDRESS_H
#define PROTO_ADDRESS_H

/* Where the server's socket is, if nobody says otherwise. */

#include <stddef.h>

/* The socket of the system's server. */
#define ADDRESS_SYSTEM "/run/smmapd/smmapd.sock"

/*
 * Stores the default path in @path (@size bytes, PATH_MAX is enough): $SMMAP_SOCKET, else $XDG_RUNTIME_DIR/smmapd.sock where that is
 * there, else the system's. In a program that runs with another's rights, always the system's. 0 or -ENAMETOOLONG.
 */
int address_default(char *path, size_t size);

/* A socket that doesn't block, the caller's, or -errno. */
int address_socket(void);

/* Connects such a socket to the server at @path. 0, or an error as below. */
int address_reach(int socket, const char *path);

/*
 * Both: connects to the server at @path; the socket is the caller's, and doesn't block. -ENOTCONN if no server is there, -EAGAIN if it has too
 * many waiting to be accepted, or another -errno.
 */
int address_connect(const char *path);

#endif
