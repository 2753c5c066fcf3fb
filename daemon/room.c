/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/room.h"

#include "daemon/client.h"
#include "daemon/file.h"
#include "daemon/lease.h"
#include "daemon/look.h"
#include "daemon/region.h"
#include "daemon/registry.h"
#include "daemon/remote.h"
#include "daemon/share.h"
#include "proto/pulse.h"
#include "proto/util.h"

/* What will be gone, or is handed over. */
struct gone {
	uint64_t bytes;
	uint64_t maps;
	struct holding own; /* of the account that needs room */
};

static bool fits_if_gone(const struct registry *registry, const struct need *need, const struct gone *gone)
{
	return registry->usage.memory - gone->bytes + need->bytes <= registry->limits.memory &&
	       registry->usage.maps - gone->maps + need->maps <= registry->limits.maps &&
	       account_may_hold(registry, need->account, &need->own, &gone->own);
}

bool room_fits(const struct registry *registry, const struct need *need)
{
	return fits_if_gone(registry, need, &(struct gone){0});
}

static bool is_needed(const struct region *region, const struct need *need)
{
	return region->file == need->file && region->window >= need->first && region->window <= need->last && !region->detached;
}

/* ---- looking for what was used the longest ago ---- */

/* One look: the oldest region, if nothing pins it and it was not used since. Else it is put where it belongs now, and NULL. */
static struct region *look_at_oldest(struct registry *registry, const struct need *need)
{
	struct region *region = region_oldest(registry, &registry->looks);
	uint64_t use;

	if (!region)
		return NULL;
	look_longer(registry, region_count_leases(region));
	use = region_last_used(registry, region);
	if (use == region->use.last_used && !region_is_pinned(region) && !is_needed(region, need))
		return region;
	region_touch(registry, region, use);
	return NULL;
}

static void evict(struct registry *registry, struct region *region)
{
	if (!region_evict(registry, region))
		region_touch(registry, region, region_last_used(registry, region));
}

/* ---- the limits ---- */

/* Whether enough is evicted, even if it is still draining: as far as nobody is late with it. */
static bool enough_room(const struct registry *registry, const struct need *need)
{
	const struct usage *usage = &registry->usage;
	uint64_t going = usage->draining - usage->late - need->revived_bytes;
	uint64_t going_maps = usage->draining_maps - usage->late_maps - need->revived_maps;

	return usage->memory - going + need->bytes <= registry->limits.memory &&
	       usage->maps - going_maps + need->maps <= registry->limits.maps;
}

static void evict_oldest(struct registry *registry, const struct need *need)
{
	while (!enough_room(registry, need) && look_on(registry, &registry->pass, registry->order.n)) {
		struct region *region = look_at_oldest(registry, need);

		if (region)
			evict(registry, region);
	}
	look_end_pass(registry, &registry->pass);
}

/* Of the files without a region that can be closed, the one that was used the longest ago; NULL if there is none. */
static struct file *oldest_bare(const struct registry *registry)
{
	struct file *oldest = registry->bare;
	const struct account *account;

	DL_FOREACH(registry->accounts, account)
		if (account->bare && !remote_is_stuck(account) && (!oldest || account->bare->last_used < oldest->last_used))
			oldest = account->bare;
	return oldest;
}

/* The file to close: one without a region, if no region was used before it. NULL if there is none, or this turn is too short. */
static struct file *file_to_close(struct registry *registry)
{
	struct file *file = oldest_bare(registry);
	const struct region *region = file ? region_oldest(registry, &registry->looks) : NULL;

	if (!file || (registry->order.n && !region))
		return NULL;
	return !region || file->last_used <= region->use.last_used ? file : NULL;
}

/* Closes files until no more than @most are open, as far as that goes in this turn. Whether it did. */
static bool close_files(struct registry *registry, uint64_t most)
{
	uint64_t n_closing = remote_count_closing(registry, NULL);
	struct need nothing = {0};
	struct region *region;
	struct file *file;

	/* Where errands are closing files, or files are losing their last regions, there are handles on their way. */
	while (registry->usage.handles > most && n_closing < registry->usage.handles - most) {
		file = file_to_close(registry);
		if (file && !registry->looks) {
			registry->cut_short = true;
			break;
		}
		if (file) {
			look_longer(registry, 1);
			n_closing += !file_free(registry, file);
			continue;
		}
		if (!look_on(registry, &registry->pass, registry->order.n))
			break;
		region = look_at_oldest(registry, &nothing);
		if (region && registry->n_emptying + n_closing >= registry->usage.handles - most)
			break;
		if (region)
			evict(registry, region);
	}
	look_end_pass(registry, &registry->pass);
	return registry->usage.handles <= most;
}

bool room_make_handle(struct registry *registry, bool in_turn)
{
	if (!in_turn)
		return false;
	if (registry->usage.handles < registry->limits.handles)
		return true;
	pulse_advance(registry->pulse);
	return close_files(registry, registry->limits.handles - 1);
}

static bool is_within_limits(const struct registry *registry)
{
	return registry->usage.memory <= registry->limits.memory && registry->usage.maps <= registry->limits.maps &&
	       registry->usage.handles <= registry->limits.handles;
}

bool room_shrink(struct registry *registry)
{
	const struct need nothing = {0};

	if (!is_within_limits(registry)) {
		pulse_advance(registry->pulse);
		evict_oldest(registry, &nothing);
		close_files(registry, registry->limits.handles);
	}
	return is_within_limits(registry);
}

bool room_relieve(struct registry *registry, const struct need *need)
{
	uint64_t bytes = 0;

	while (bytes < need->bytes && look_on(registry, &registry->pass, registry->order.n)) {
		struct region *region = look_at_oldest(registry, need);

		if (!region)
			continue;
		bytes += region->length;
		evict(registry, region);
	}
	look_end_pass(registry, &registry->pass);
	return bytes || registry->usage.draining;
}

/* ---- the quota of a user ---- */

static bool enough_of_quota(const struct registry *registry, const struct need *need)
{
	const struct holding *draining = &need->account->draining, *late = &need->account->late, *revived = &need->own_revived;
	struct holding gone = {
		.memory = draining->memory - late->memory - revived->memory,
		.maps = draining->maps - late->maps - revived->maps,
		.handles = draining->handles - late->handles - revived->handles,
		.leases = draining->leases - late->leases,
	};

	return account_may_hold(registry, need->account, &need->own, &gone);
}

/* Recalls what the user has used the longest ago. False if that is not enough, or not yet. */
static bool recall_oldest(struct registry *registry, const struct need *need)
{
	struct account *account = need->account;
	bool enough;

	while (!(enough = enough_of_quota(registry, need)) && look_on(registry, &account->pass, account->order.n)) {
		struct share *share = share_oldest(account, &registry->looks);

		if (!share)
			continue;
		look_longer(registry, share->n_holds);
		if (is_needed(share->region, need))
			share_touch(share, share_last_used(registry, share));
		else
			share_recall_if_idle(registry, share);
	}
	look_end_pass(registry, &account->pass);
	return enough;
}

/*
 * What is asked for is used now. So it is looked at last, with what is pinned: later than all that was used until now, since another epoch
 * begins.
 */
static void touch_needed(struct registry *registry, const struct need *need)
{
	uint64_t now = pulse_instant(pulse_advance(registry->pulse));

	for (uint64_t window = need->first; window <= need->last; window++) {
		struct region *region = region_find(need->file, window);
		struct share *share = region ? share_find(region, need->account) : NULL;

		if (region)
			region_touch(registry, region, now);
		if (share)
			share_touch(share, now);
	}
}

bool room_make(struct registry *registry, const struct need *need)
{
	touch_needed(registry, need);
	if (!recall_oldest(registry, need))
		return false;
	evict_oldest(registry, need);
	return true;
}

/* ---- victims of the client that asks ---- */

static bool is_all_named(const struct region *region)
{
	const struct share *share;

	DL_FOREACH(region->shares, share)
		if (share->n_named < share->n_holds)
			return false;
	return true;
}

/* Whether a region goes with the last of its leases; else it stays warm. */
static bool goes(const struct region *region)
{
	return region->draining || region->detached;
}

/*
 * Names the leases that an answer would, and adds what goes when all leases on a region have been named to *@gone: where there is another, it may
 * still be mapped. Of the user's quota a region that would stay warm goes as well: nobody else has it then, so it can be handed over.
 */
static void name_victims(const struct client *client, const struct need *need, struct gone *gone)
{
	const struct lease *lease = client->untold;

	for (uint32_t n = 0; lease && n < MESSAGE_MAX_SLOTS; lease = lease->next_of_client, n++)
		for (uint64_t i = 0; i < lease->n_holds; i++) {
			struct share *share = lease->holds[i].share;

			share->n_named++;
			if (!is_all_named(share->region) || is_needed(share->region, need))
				continue;
			gone->own.memory += share->region->length;
			gone->own.maps++;
			if (!goes(share->region))
				continue;
			gone->bytes += share->region->length;
			gone->maps++;
		}
}

static void forget_names(const struct lease *lease)
{
	for (uint64_t i = 0; i < lease->n_holds; i++)
		if (lease->holds[i].share)
			lease->holds[i].share->n_named = 0;
}

bool room_fits_without(const struct registry *registry, struct client *client, const struct need *need)
{
	const struct lease *lease;
	struct gone gone = {0};

	name_victims(client, need, &gone);
	DL_FOREACH2(client->untold, lease, next_of_client)
		forget_names(lease);
	return fits_if_gone(registry, need, &gone);
}

static bool is_over_quota(const struct registry *registry, const struct account *account)
{
	const struct holding nothing = {0};

	return !account_may_hold(registry, account, &nothing, &nothing);
}

/* Whether more is counted than may be: a lease was granted for which something has to be given up. */
static bool is_over(const struct registry *registry, const struct account *account)
{
	return registry->usage.memory > registry->limits.memory || registry->usage.maps > registry->limits.maps ||
	       is_over_quota(registry, account);
}

/* Gives up what goes, as far as something has to be given up. */
static void give_up_what_goes(struct registry *registry, const struct account *account, struct lease *lease)
{
	for (uint64_t i = 0; i < lease->n_holds; i++) {
		const struct share *share = lease->holds[i].share;

		if (is_over(registry, account) && goes(share->region) && is_all_named(share->region))
			lease_give_up(registry, &lease->holds[i]);
	}
}

/* The same for what would stay warm, if the user has too much. */
static void give_up_what_stays(struct registry *registry, const struct account *account, struct lease *lease)
{
	for (uint64_t i = 0; i < lease->n_holds; i++) {
		const struct share *share = lease->holds[i].share;

		if (!share || !is_over_quota(registry, account) || !is_all_named(share->region))
			continue;
		if (!goes(share->region))
			region_evict(registry, share->region);
		lease_give_up(registry, &lease->holds[i]);
	}
}

void room_take_victims(struct registry *registry, struct client *client, const struct need *need, struct lease *heir,
		       struct slot_list *victims)
{
	uint64_t bytes = registry->usage.memory, maps = registry->usage.maps;
	struct gone gone = {0};
	struct lease *lease;

	name_victims(client, need, &gone);
	DL_FOREACH2(client->untold, lease, next_of_client)
		give_up_what_goes(registry, need->account, lease);
	DL_FOREACH2(client->untold, lease, next_of_client)
		give_up_what_stays(registry, need->account, lease);
	bytes -= registry->usage.memory;
	maps -= registry->usage.maps;
	lease_await(registry, heir, bytes > need->bytes ? bytes - need->bytes : 0, maps > need->maps ? maps - need->maps : 0);

	while (client->untold && victims->n < MESSAGE_MAX_SLOTS) {
		lease = client->untold;
		forget_names(lease);
		victims->refs[victims->n++] = lease->ref;
		lease_bequeath(registry, lease, heir);
	}
}
