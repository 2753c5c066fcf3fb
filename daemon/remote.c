/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/remote.h"

#include "daemon/account.h"
#include "daemon/errand.h"
#include "daemon/file.h"
#include "daemon/look.h"
#include "daemon/region.h"
#include "daemon/registry.h"
#include "proto/pulse.h"
#include "proto/util.h"

void remote_charge(struct file *file, struct account *sender)
{
	account_ref(sender);
	sender->n_remote++;
	file->sender = sender;
}

void remote_discharge(struct registry *registry, struct file *file)
{
	file->sender->n_remote--;
	account_unref(registry, take_ptr(file->sender));
}

void remote_enter(struct file *file)
{
	if (!file->sender)
		return;
	file->use.last_used = file->last_used;
	order_insert(&file->sender->remote, &file->use);
}

void remote_leave(struct file *file)
{
	if (file->sender)
		order_remove(&file->sender->remote, &file->use);
}

bool remote_is_stuck(const struct account *account)
{
	return account->lanes[RUNNER_CLOSE].n >= ERRANDS_AT_ONCE;
}

uint64_t remote_count_closing(const struct registry *registry, const struct account *account)
{
	const struct file *file = registry->closing ? registry->closing->prev : NULL;
	uint64_t n = 0;

	while (file && registry->ticks - file->closing_tick < REGISTRY_LATE_TICKS) {
		n += !account || file->sender == account;
		file = file == registry->closing ? NULL : file->prev;
	}
	return n;
}

/* ---- having one lose its regions ---- */

/* Notes the last use of a region in *@use. Whether it is pinned. */
static bool look_at(struct registry *registry, const struct region *region, uint64_t *use)
{
	look_longer(registry, 1 + region_count_leases(region));
	*use = max_u64(*use, region_last_used(registry, region));
	return region_is_pinned(region);
}

/* The one that was used the longest ago, if no region of it is pinned, late, or used since. Else it is put where it belongs now, and NULL. */
static struct file *look_at_oldest(struct registry *registry, struct account *account)
{
	struct order_entry *entry = order_oldest(&account->remote, &registry->looks);
	struct file *file = entry ? container_of(entry, struct file, use) : NULL;
	const struct region *region;
	bool pinned = false;
	uint64_t use;

	if (!file)
		return NULL;
	use = entry->last_used;
	for (region = file->regions; region; region = region->by_window.next)
		pinned = look_at(registry, region, &use) || pinned;
	DL_FOREACH(file->detached, region)
		pinned = look_at(registry, region, &use) || pinned;
	if (use == entry->last_used && !pinned && !file->n_late)
		return file;
	/* One that a client is late to unmap may stay as long as one that is pinned. */
	if (file->n_late)
		use = pulse_instant(pulse_epoch(registry->pulse));
	order_remove(&account->remote, entry);
	entry->last_used = use;
	order_insert(&account->remote, entry);
	return NULL;
}

static void evict_all(struct registry *registry, struct file *file)
{
	struct region *region, *next;

	HASH_ITER(by_window, file->regions, region, next)
		if (!region->draining && !region_evict(registry, region))
			return;
	DL_FOREACH_SAFE(file->detached, region, next)
		if (!region->draining && !region_evict(registry, region))
			return;
}

/* One whose regions are all draining already is the one. */
static void empty_oldest(struct registry *registry, struct account *account)
{
	struct file *file = NULL;

	while (!file && look_on(registry, &account->remote_pass, account->remote.n))
		file = look_at_oldest(registry, account);
	look_end_pass(registry, &account->remote_pass);
	if (file)
		evict_all(registry, file);
}

bool remote_make_handle(struct registry *registry, struct account *account, bool in_turn)
{
	uint64_t most = registry->limits.quota.handles;

	if (account->n_remote < most)
		return true;
	if (!in_turn || remote_is_stuck(account) || remote_count_closing(registry, account) > account->n_remote - most)
		return false;
	if (!account->bare)
		empty_oldest(registry, account);
	if (account->bare)
		file_free(registry, account->bare);
	return false;
}
