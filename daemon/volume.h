/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_VOLUME_H
#define DAEMON_VOLUME_H

/*
 * A volume: a file system that files of the server are on, by its device number. It tells what can be relied on there:
 *
 *   local   what is closed there never waits for anybody. On all others files are closed by errands
 *   weak    another descriptor with equal device and inode can show other contents: on overlayfs, after a copy-up
 *
 * The kernel tells by statfs(2), which may never return. So that is an errand, once for as long as a file of the volume is here; meanwhile
 * its number can't become that of another one.
 *
 * Whoever wants to open a file there can have it asked, and each user a few at a time. So one who has sent files of volumes that never
 * answer keeps nobody else from learning of others: the next who wants to open a file there asks.
 */

#include "daemon/errand.h"
#include "proto/hash.h"

#include <stdbool.h>
#include <stdint.h>

struct account;
struct registry;

struct volume {
	uint64_t device;
	uint64_t refs; /* files, requests to open some, and the errand */
	bool known;    /* what follows */
	int error;     /* -errno where files of it can't be opened */
	bool local;
	bool weak;
	bool asked;    /* the errand is on its way */
	struct errand asking;
	UT_hash_handle hh; /* registry->volumes */
};

/* The volume of @device, a reference of the caller's. 0 or -ENOMEM. */
int volume_get(struct volume **volume, struct registry *registry, uint64_t device);

/*
 * Starts the errand in the name of @account, with @fd, which stays the caller's; unless the volume is known or asked already, or this user
 * asks too many others. To be called again whenever errands are done, while the volume is not known. 0 or -EMFILE.
 */
int volume_ask(struct registry *registry, struct volume *volume, struct account *account, int fd);

struct volume *volume_ref(struct volume *volume);

/* NULL is fine. */
void volume_unref(struct registry *registry, struct volume *volume);

#endif
