/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/lease.h"

#include "daemon/account.h"
#include "daemon/client.h"
#include "daemon/file.h"
#include "daemon/region.h"
#include "daemon/registry.h"
#include "daemon/share.h"
#include "proto/board.h"
#include "proto/pulse.h"
#include "proto/util.h"

static struct board_slot *slot_of(const struct lease *lease)
{
	return &lease->client->board.slots[lease->ref.slot];
}

int lease_new(struct lease **new, struct registry *registry, struct client *client, struct file *file, uint64_t n)
{
	struct lease *lease;
	size_t size;
	int r;

	if (__builtin_mul_overflow(n, sizeof(struct hold), &size) || __builtin_add_overflow(size, sizeof(*lease), &size))
		return -ENOMEM;
	lease = calloc(1, size);
	if (!lease)
		return -ENOMEM;
	lease->client = client;
	r = client_take_slot(client, lease, &lease->ref);
	if (r < 0) {
		free(lease);
		return r;
	}

	lease->file = file;
	DL_APPEND2(file->leases, lease, prev_of_file, next_of_file);
	lease->n_charged = n;
	client->account->held.leases += n;
	registry->usage.leases++;
	*new = lease;
	return 0;
}

int lease_hold(const struct registry *registry, struct lease *lease, struct region *region)
{
	struct hold *hold = &lease->holds[lease->n_holds];
	int r;

	hold->lease = lease;
	r = share_add(region, lease->client->account, hold, pulse_instant(pulse_epoch(registry->pulse)));
	if (!r)
		lease->n_holds++;
	return r;
}

void lease_count_ahead(struct registry *registry, struct lease *lease, uint64_t n)
{
	lease->n_ahead = n;
	lease->client->account->n_ahead += n;
	registry->n_ahead += n;
}

void lease_grant_pin(struct lease *lease, uint32_t second)
{
	board_grant(slot_of(lease), second);
}

/* ---- the end ---- */

void lease_give_up(struct registry *registry, struct hold *hold)
{
	uint64_t use = lease_last_used(registry, hold->lease);
	struct region *region = hold->share->region;

	share_drop(hold, use);
	region_touch(registry, region, use);
	region_settle(registry, region);
}

static void count_excess(struct registry *registry, uint64_t bytes, uint64_t maps)
{
	registry->usage.memory += bytes;
	registry->usage.draining += bytes;
	registry->usage.maps += maps;
	registry->usage.draining_maps += maps;
}

void lease_await(struct registry *registry, struct lease *lease, uint64_t excess_bytes, uint64_t excess_maps)
{
	lease->excess_bytes = excess_bytes;
	lease->excess_maps = excess_maps;
	count_excess(registry, excess_bytes, excess_maps);
}

/* Nothing keeps others from its regions any more. */
static void arrive(struct registry *registry, struct lease *lease)
{
	count_excess(registry, -lease->excess_bytes, -lease->excess_maps);
	lease->excess_bytes = lease->excess_maps = 0;
	for (uint64_t i = 0; i < lease->n_holds; i++)
		if (lease->holds[i].share)
			lease->holds[i].share->region->coming = false;
}

/* The client has unmapped all that had to go for a lease. Where mapping it fails now, the next grant of these regions tries again. */
static void complete(struct registry *registry, struct lease *lease)
{
	arrive(registry, lease);
	region_map_missing(registry, lease->holds, lease->n_holds);
}

/* Of what has to be unmapped before a lease, nothing is to be told to it any more. */
static void disinherit(struct registry *registry, struct lease *heir)
{
	struct lease *lease;

	if (!heir->n_awaited)
		return;
	arrive(registry, heir);
	heir->n_awaited = 0;
	DL_FOREACH(registry->recalled, lease)
		if (lease->heir == heir)
			lease->heir = NULL;
}

void lease_count_hits(struct registry *registry, struct lease *lease)
{
	uint64_t hits = board_hits(slot_of(lease));

	/* Only a liar's board goes back. */
	if (hits <= lease->hits)
		return;
	registry->counters.hits += hits - lease->hits;
	lease->hits = hits;
}

void lease_end(struct registry *registry, struct lease *lease)
{
	struct account *account = lease->client->account;

	lease_count_hits(registry, lease);
	disinherit(registry, lease);
	if (lease->heir && !--lease->heir->n_awaited)
		complete(registry, lease->heir);
	if (lease == registry->in_time)
		registry->in_time = lease->next;
	if (lease->recalled)
		DL_DELETE(registry->recalled, lease);
	else
		DL_DELETE2(lease->file->leases, lease, prev_of_file, next_of_file);
	if (lease->recalled && !lease->told)
		lease_tell(registry, lease);
	if (lease->named)
		DL_DELETE2(lease->client->named, lease, prev_of_client, next_of_client);
	for (uint64_t i = 0; i < lease->n_holds; i++)
		if (lease->holds[i].share)
			lease_give_up(registry, &lease->holds[i]);

	client_free_slot(lease->client, lease->ref.slot);
	account->held.leases -= lease->n_charged;
	account->n_ahead -= lease->n_ahead;
	registry->n_ahead -= lease->n_ahead;
	account->draining.leases -= lease->recalled ? lease->n_charged : 0;
	account->late.leases -= lease->late ? lease->n_charged : 0;
	registry->usage.leases--;
	registry->releases++;
	free(lease);
}

/* ---- recall ---- */

bool lease_recall(struct registry *registry, struct lease *lease)
{
	if (lease->recalled)
		return true;
	/* A lease that its client has claimed is on its way back already. */
	if (board_claim(slot_of(lease), BOARD_SERVER) == BOARD_CLAIM_PINNED)
		return false;

	registry->counters.recalls++;
	lease->recalled = true;
	DL_DELETE2(lease->file->leases, lease, prev_of_file, next_of_file);
	lease->client->account->draining.leases += lease->n_charged;
	for (uint64_t i = 0; i < lease->n_holds; i++)
		share_recalled(lease->holds[i].share);
	lease->recalled_tick = registry->ticks;
	DL_APPEND(registry->recalled, lease);
	if (!registry->in_time)
		registry->in_time = lease;
	DL_APPEND2(lease->client->untold, lease, prev_of_client, next_of_client);
	registry->n_untold++;
	return true;
}

void lease_tell(struct registry *registry, struct lease *lease)
{
	lease->told = true;
	registry->n_untold--;
	DL_DELETE2(lease->client->untold, lease, prev_of_client, next_of_client);
}

void lease_be_late(struct registry *registry, struct lease *lease)
{
	registry->in_time = lease->next;
	lease->late = true;
	lease->client->account->late.leases += lease->n_charged;
	for (uint64_t i = 0; i < lease->n_holds; i++) {
		struct share *share = lease->holds[i].share;

		if (!share)
			continue;
		share_late(share);
		region_be_late(registry, share->region);
	}
}

void lease_bequeath(struct registry *registry, struct lease *lease, struct lease *heir)
{
	lease_tell(registry, lease);
	lease->named = true;
	DL_APPEND2(lease->client->named, lease, prev_of_client, next_of_client);
	disinherit(registry, lease);
	lease->heir = heir;
	heir->n_awaited++;
}

void lease_cut(struct registry *registry, struct lease *lease, uint64_t file_size)
{
	if (lease->offset + lease->length <= file_size && !board_is_stale(slot_of(lease)))
		return;
	board_mark_stale(slot_of(lease));
	lease_recall(registry, lease);
}

bool lease_is_unmapped(const struct lease *lease)
{
	return lease->named && board_is_unmapped(slot_of(lease));
}

bool lease_is_pinned(const struct lease *lease)
{
	return !lease->recalled && board_is_pinned(slot_of(lease));
}

uint64_t lease_last_used(const struct registry *registry, const struct lease *lease)
{
	uint64_t epoch = pulse_epoch(registry->pulse);
	uint64_t use = min_u64(board_last_used(slot_of(lease)), pulse_instant(epoch + 1) - 1);

	return lease_is_pinned(lease) ? max_u64(use, pulse_instant(epoch)) : use;
}
