/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CLIENT_FILE_H
#define CLIENT_FILE_H

/*
 * A file that cursors are on: how it was opened, so that it can be opened again, and what the server calls it. Copies of a cursor
 * share it.
 *
 * A file that was opened by path has no descriptor here; one that was opened by descriptor keeps its own. When the server has let go
 * of it, or is another one, it is opened again, and must be the same file still.
 */

#include "proto/descriptor.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct connection;
struct smmap_client;

struct file {
	atomic_uint refs;
	struct smmap_client *client; /* a reference */
	char *path;                  /* as it was given; NULL for a descriptor */
	char *label;                 /* its absolute path, where that can be told */
	int caller_fd;               /* as it was given; -1 for a path */
	int fd;                      /* a descriptor of its own, for one that was given; else -1 */
	struct descriptor_facts facts;
	_Alignas(8) _Atomic uint64_t size; /* the last that was heard of */

	pthread_mutex_t lock;          /* of all below */
	struct connection *connection; /* where it is open; a reference; NULL if nowhere */
	uint64_t id;
};

/* Opens the file at @path (else NULL) or behind @caller_fd (else -1), here and at the server. 0 or -errno. */
int file_open(struct file **file, struct smmap_client *client, const char *path, int caller_fd);

struct file *file_ref(struct file *file);
void file_unref(struct file *file);

static inline void file_unrefp(struct file **file)
{
	file_unref(*file);
}

/* Whether the file is open at the server that there is now: then the same as file_attach(), without looking at the clock. */
bool file_is_attached(struct file *file, struct connection **connection, uint64_t *id);

/*
 * Sees to it that the file is open at the server until @deadline_ms. 0, and the connection, the caller's to unref, and its id there;
 * -ESTALE if another file is there by now; an error of the call.
 */
int file_attach(struct file *file, uint64_t deadline_ms, struct connection **connection, uint64_t *id);

/* On this connection the server no longer knows the file by this id. */
void file_detach(struct file *file, const struct connection *connection, uint64_t id);

#endif
