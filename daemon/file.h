/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_FILE_H
#define DAEMON_FILE_H

/*
 * A file: a regular file that the server holds open, and the regions of it. One descriptor serves all clients, whoever sent it
 * first.
 */

#include "daemon/errand.h"
#include "daemon/order.h"
#include "daemon/write-guard.h"
#include "proto/descriptor.h"
#include "proto/hash.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct account;
struct lease;
struct open_request;
struct region;
struct registry;
struct volume;

struct file_identity {
	uint64_t device;
	uint64_t inode;
};

/* What one user has of the file; there while that is anything. */
struct file_user {
	struct account *account;
	uint64_t n_clients;  /* that have it open */
	uint64_t n_shares;   /* in regions of it */
	uint64_t n_draining; /* of these */
	uint64_t n_late;     /* of these */
	struct file_user *prev, *next;
};

struct file {
	uint64_t id; /* never used for another file */
	struct file_identity identity;
	struct volume *volume; /* that it is on: a reference */
	bool identified; /* found by its identity: not where that is weak */
	int fd;
	uint64_t size; /* as of the last look */
	bool deleted;  /* no name leads to it any more */
	int notice;    /* of that, see notice.h; negative: none */
	char *label;   /* what a client calls it; for people, and untrusted */
	uid_t uid;     /* who sent it */
	struct account *sender; /* the same, whom it is charged to: a reference. NULL where the volume is local */
	struct file_user *users;

	struct region *regions;  /* by window; those that the file still reaches */
	struct region *detached; /* those that it doesn't */
	uint64_t n_regions;      /* all of them */
	uint64_t n_draining;
	uint64_t n_late;
	struct lease *leases;    /* that are not recalled: what may be pinned */
	uint64_t bare_since_ms; /* without a region, or asked for */
	uint64_t mapped_bytes; /* of all of them */

	UT_hash_handle by_id, by_identity; /* of the registry */
	struct file *prev, *next;          /* registry->bare or sender->bare, if there is no region; registry->closing after that */
	struct order_entry use;            /* sender->remote, if it is charged to somebody and has a region */
	struct errand closing;
	uint64_t closing_tick;             /* since which it is being closed */
	uint64_t last_used;                /* when it was asked for while it had none, or one that is gone was used */

	struct write_guard guard;                   /* see writers.h */
	struct file *prev_guard, *next_guard; /* registry->unguarded or breaking, if it is */
	UT_hash_handle by_guard;              /* registry->by_guard, by the guard's descriptor */
};

/* Takes request->fd on success. 0, or -ENOMEM. */
int file_new(struct file **file, struct registry *registry, struct open_request *request, struct account *sender);

/*
 * Closes a file that has no region: at once, or, where its volume is not local, or its blocks are freed with it, by an errand (false). Its
 * handle is in use until that is done.
 */
bool file_free(struct registry *registry, struct file *file);

/* The file has lost its last region, or has none yet. */
void file_become_bare(struct registry *registry, struct file *file);

/* It gets one again, or goes itself. */
void file_leave_bare(struct registry *registry, struct file *file);

/* Somebody asks for it, which is a use if there is no region. */
void file_touch(struct registry *registry, struct file *file);

struct file *file_find(const struct registry *registry, uint64_t id);
struct file *file_find_identity(const struct registry *registry, const struct descriptor_facts *facts);

/* What the user of @account has of the file; NULL if nothing. */
struct file_user *file_find_user(const struct file *file, const struct account *account);

/* The same; made if there is nothing. 0 or -ENOMEM. */
int file_add_user(struct file *file, struct account *account, struct file_user **user);

/* Frees it if nothing is left. */
void file_forget_user(struct file *file, struct file_user *user);

/* How many clients have it open. */
uint64_t file_count_clients(const struct file *file);

/* Looks at its size, and whether it is deleted; regions that it no longer reaches are detached. 0 or -errno of statx(2). */
int file_refresh(struct registry *registry, struct file *file);

/* The bytes of one of its windows, cut at the end of the file, rounded up to pages. */
uint64_t file_window_bytes(const struct registry *registry, const struct file *file, uint64_t window);

/* Whether @uid may see its name: root, and who sent it. */
bool file_is_visible(const struct file *file, uid_t uid);

/* Whether @uid may have it evicted: root, and who is its only user. */
bool file_belongs_to(const struct file *file, uid_t uid);

#endif
