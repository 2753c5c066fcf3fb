/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_CLIENT_H
#define DAEMON_CLIENT_H

/*
 * A client as the registry sees it: who it is, its board, its leases by slot, and the files that it has open. No socket.
 */

#include "proto/board.h"
#include "proto/hash.h"
#include "proto/message.h"

#include <sys/types.h>

struct account;
struct lease;

/* What a slot was last; generations go on where they were. */
struct client_slot {
	struct lease *lease; /* NULL if it is free */
	uint32_t generation;
	uint32_t next_free;
};

/* A file that the client has open, or had when the server let go of it. */
struct client_file {
	uint64_t id;
	uint64_t n_opens;
	UT_hash_handle hh;
};

struct client {
	pid_t pid;
	uint64_t serial; /* grows from client to client; no two have the same */
	struct account *account; /* borrowed: the user's */
	char name[MESSAGE_MAX_NAME + 1];

	struct board board;
	struct client_slot *slots; /* as many as were ever used */
	uint32_t n_slots;
	uint32_t size_slots;
	uint32_t free_slot; /* the first free one below n_slots; NO_SLOT if there is none */
	uint32_t n_leases;
	bool leaves; /* its board stays as it is */

	struct client_file *files;
	struct lease *untold; /* recalled, and not on the bell yet */
	struct lease *named;  /* recalled, and named in answers: these it may mark as unmapped, instead of saying so */

	struct client *prev, *next; /* registry->clients */
};

#define NO_SLOT UINT32_MAX

/* Takes over *@board. */
void client_init(struct client *client, pid_t pid, struct account *account, struct text name, struct board *board);

/* Frees what it has; its leases have ended. */
void client_deinit(struct client *client);

/* Gives @lease a slot, and its name in *@ref. 0, -EDQUOT if the board is full, -ENOMEM. */
int client_take_slot(struct client *client, struct lease *lease, struct slot_ref *ref);

/* Frees a slot, on the board too unless the client leaves. */
void client_free_slot(struct client *client, uint32_t slot);

/* The lease of that name, NULL if there is none. */
struct lease *client_find_lease(const struct client *client, const struct slot_ref *ref);

/* Counts an opening of a file. 1 if it is the client's first of this file, 0 if not; -ENOMEM. */
int client_open_file(struct client *client, uint64_t id);

/* Ends one opening. 1 if it was the last, 0 if not, -EBADF if there was none. */
int client_close_file(struct client *client, uint64_t id);

bool client_has_file(const struct client *client, uint64_t id);

#endif
