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
	bool asked;    /* it is not known yet */
	int error;     /* -errno where files of it can't be opened */
	bool local;
	bool weak;
	struct errand asking;
	UT_hash_handle hh; /* registry->volumes */
};

/*
 * The volume of @device, a reference of the caller's. Where it is new, the errand is started in the name of @account with @fd, which stays
 * the caller's. 0, -EMFILE or -ENOMEM.
 */
int volume_get(struct volume **volume, struct registry *registry, struct account *account, uint64_t device, int fd);

struct volume *volume_ref(struct volume *volume);

/* NULL is fine. */
void volume_unref(struct registry *registry, struct volume *volume);

#endif
