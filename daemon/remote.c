/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/remote.h"

#include "daemon/account.h"
#include "daemon/errand.h"
#include "daemon/file.h"
#include "daemon/region.h"
#include "daemon/registry.h"
#include "proto/util.h"

void remote_charge(struct file *file, struct account *sender)
{
	account_ref(sender);
	sender->n_remote++;
	DL_APPEND2(sender->remote, file, prev_remote, next_remote);
	file->sender = sender;
}

void remote_discharge(struct registry *registry, struct file *file)
{
	file->sender->n_remote--;
	DL_DELETE2(file->sender->remote, file, prev_remote, next_remote);
	account_unref(registry, take_ptr(file->sender));
}

static bool has_room_for_errand(const struct account *account)
{
	return account->lanes[RUNNER_CLOSE].n < ERRANDS_AT_ONCE;
}

bool remote_is_stuck(const struct file *file)
{
	return file->sender && !has_room_for_errand(file->sender);
}

static bool is_open(const struct file *file)
{
	return file->fd >= 0;
}

/* The one without a region that was used the longest ago; NULL if each has one. */
static struct file *oldest_bare(const struct account *account)
{
	struct file *oldest = NULL, *file;

	DL_FOREACH2(account->remote, file, next_remote)
		if (is_open(file) && !file->n_regions && (!oldest || file->last_used < oldest->last_used))
			oldest = file;
	return oldest;
}

static bool is_emptying(const struct file *file)
{
	return file->n_regions && file->n_draining == file->n_regions;
}

/* Has all regions of a file go. False if something pins one. */
static bool evict_all(struct registry *registry, struct file *file)
{
	struct region *region, *next;

	HASH_ITER(by_window, file->regions, region, next)
		if (!region->draining && !region_evict(registry, region))
			return false;
	return true;
}

/* Has the first one that can lose its regions, unless one is losing them already. */
static void empty_one(struct registry *registry, const struct account *account)
{
	struct file *file;

	DL_FOREACH2(account->remote, file, next_remote)
		if (is_emptying(file))
			return;
	DL_FOREACH2(account->remote, file, next_remote)
		if (is_open(file) && evict_all(registry, file))
			return;
}

bool remote_make_handle(struct registry *registry, struct account *account, bool in_turn)
{
	uint64_t most = registry->limits.quota.handles;
	struct file *file;

	if (account->n_remote < most)
		return true;
	if (!in_turn || !has_room_for_errand(account))
		return false;
	file = oldest_bare(account);
	if (!file) {
		empty_one(registry, account);
		file = oldest_bare(account);
	}
	if (file)
		file_free(registry, file);
	return account->n_remote < most;
}
