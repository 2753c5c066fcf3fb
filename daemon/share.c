/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/share.h"

#include "daemon/account.h"
#include "daemon/client.h"
#include "daemon/file.h"
#include "daemon/lease.h"
#include "daemon/region.h"
#include "daemon/registry.h"
#include "proto/hash.h"
#include "proto/pulse.h"
#include "proto/util.h"


/* ---- what it counts for ---- */

static void charge(struct holding *holding, const struct region *region)
{
	holding->memory += region->length;
	holding->maps++;
}

static void discharge(struct holding *holding, const struct region *region)
{
	holding->memory -= region->length;
	holding->maps--;
}

/* What of a user's a file is counted in: taken off before a change of its numbers, and added after it. */
static void count_file(struct account *account, const struct file_user *user, uint64_t n)
{
	bool draining = user->n_shares && user->n_draining == user->n_shares;

	account->held.handles += user->n_shares ? n : 0;
	account->draining.handles += draining ? n : 0;
	account->late.handles += draining && user->n_late ? n : 0;
}

/* Has so many shares more, or less, be counted in the file. */
static void change_file(struct share *share, uint64_t shares, uint64_t draining, uint64_t late)
{
	struct file_user *user = file_find_user(share->region->file, share->account);

	count_file(share->account, user, -UINT64_C(1));
	user->n_shares += shares;
	user->n_draining += draining;
	user->n_late += late;
	count_file(share->account, user, 1);
}

static void set_late(struct share *share, bool late)
{
	if (late == share->late)
		return;
	share->late = late;
	if (late)
		charge(&share->account->late, share->region);
	else
		discharge(&share->account->late, share->region);
	change_file(share, 0, 0, late ? 1 : -UINT64_C(1));
}

static void set_draining(struct share *share, bool draining)
{
	struct account *account = share->account;

	if (draining == share->draining)
		return;
	share->draining = draining;
	change_file(share, 0, draining ? 1 : -UINT64_C(1), 0);
	if (draining) {
		order_remove(&account->order, &share->use);
		charge(&account->draining, share->region);
	} else {
		discharge(&account->draining, share->region);
		order_insert(&account->order, &share->use);
	}
}

/* Some of its leases are other ones, or others than before are recalled or late. */
static void share_settle(struct share *share)
{
	set_draining(share, share->n_recalled == share->n_holds);
	set_late(share, share->draining && share->n_late);
}

/* ---- use ---- */

bool share_is_pinned(struct share *share)
{
	struct hold *hold;

	DL_FOREACH(share->holds, hold)
	{
		if (!lease_is_pinned(hold->lease))
			continue;
		/* The next to ask finds it at once. */
		DL_DELETE(share->holds, hold);
		DL_PREPEND(share->holds, hold);
		return true;
	}
	return false;
}

uint64_t share_last_used(const struct registry *registry, const struct share *share)
{
	uint64_t use = share->use.last_used;
	const struct hold *hold;

	DL_FOREACH(share->holds, hold)
		use = max_u64(use, lease_last_used(registry, hold->lease));
	return use;
}

void share_touch(struct share *share, uint64_t use)
{
	if (share->draining) {
		share->use.last_used = max_u64(share->use.last_used, use);
		return;
	}
	order_remove(&share->account->order, &share->use);
	share->use.last_used = max_u64(share->use.last_used, use);
	order_insert(&share->account->order, &share->use);
}

struct share *share_oldest(struct account *account, uint64_t *moves)
{
	struct order_entry *entry = order_oldest(&account->order, moves);

	return entry ? container_of(entry, struct share, use) : NULL;
}

void share_recall_if_idle(struct registry *registry, struct share *share)
{
	uint64_t use = share_last_used(registry, share);
	struct hold *hold;

	if (use > share->use.last_used || share_is_pinned(share)) {
		share_touch(share, use);
		return;
	}
	DL_FOREACH(share->holds, hold)
		if (!lease_recall(registry, hold->lease)) {
			/* Pinned just now. */
			share_touch(share, pulse_instant(pulse_epoch(registry->pulse)));
			return;
		}
}

/* ---- coming and going ---- */

struct share *share_find(const struct region *region, const struct account *account)
{
	struct share *share;

	DL_SEARCH_SCALAR(region->shares, share, account, account);
	return share;
}

static struct share *share_new(struct region *region, struct account *account, uint64_t use)
{
	struct share *share = calloc(1, sizeof(*share));

	if (!share)
		return NULL;
	*share = (struct share){.account = account, .region = region, .use.last_used = use};
	DL_APPEND(region->shares, share);
	charge(&account->held, region);
	change_file(share, 1, 0, 0);
	order_insert(&account->order, &share->use);
	return share;
}

static void share_free(struct share *share)
{
	set_late(share, false);
	set_draining(share, false);
	order_remove(&share->account->order, &share->use);
	change_file(share, -UINT64_C(1), 0, 0);
	file_forget_user(share->region->file, file_find_user(share->region->file, share->account));
	discharge(&share->account->held, share->region);
	DL_DELETE(share->region->shares, share);
	free(share);
}

int share_add(struct region *region, struct account *account, struct hold *hold, uint64_t use)
{
	struct share *share = share_find(region, account);

	if (!share)
		share = share_new(region, account, use);
	if (!share)
		return -ENOMEM;
	DL_APPEND(share->holds, hold);
	share->n_holds++;
	hold->share = share;
	share_settle(share);
	share_touch(share, use);
	return 0;
}

void share_drop(struct hold *hold, uint64_t use)
{
	struct share *share = take_ptr(hold->share);

	DL_DELETE(share->holds, hold);
	share->n_holds--;
	share->n_recalled -= hold->lease->recalled;
	share->n_late -= hold->lease->late;
	if (!share->n_holds) {
		share_free(share);
		return;
	}
	share_touch(share, use);
	share_settle(share);
}

void share_recalled(struct share *share)
{
	share->n_recalled++;
	share_settle(share);
}

void share_late(struct share *share)
{
	share->n_late++;
	share_settle(share);
}

void share_grow(struct share *share, uint64_t bytes)
{
	share->account->held.memory += bytes;
	if (share->draining)
		share->account->draining.memory += bytes;
	if (share->late)
		share->account->late.memory += bytes;
}
