/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Granting a lease: which windows, what is missing, room for it, then the regions and their maps. Where a step fails, no more has happened
 * than that room was made and draining regions are live again.
 */
#include "config.h"

#include "daemon/client.h"
#include "daemon/file.h"
#include "daemon/lease.h"
#include "daemon/region.h"
#include "daemon/registry.h"
#include "daemon/room.h"
#include "daemon/share.h"
#include "daemon/writers.h"
#include "proto/pulse.h"
#include "proto/util.h"

/* ---- which windows, and what they need ---- */

/* What a window would cost the user: the whole of it, or what it has grown by. */
static void add_own_need(const struct region *region, uint64_t bytes, struct need *need)
{
	const struct share *share = region ? share_find(region, need->account) : NULL;

	need->own.memory += bytes - (share ? region->length : 0);
	need->own.maps += share ? 0 : 1;
	if (share && share->draining && !share->late) {
		need->own_revived.memory += region->length;
		need->own_revived.maps++;
	}
}

/* What it would cost in all. */
static void add_need(const struct registry *registry, const struct file *file, uint64_t window, struct need *need)
{
	const struct region *region = region_find(file, window);
	uint64_t bytes = file_window_bytes(registry, file, window);

	need->bytes += bytes - (region ? region->length : 0);
	need->maps += region ? 0 : 1;
	if (region && region->draining && !region->late) {
		need->revived_bytes += region->length;
		need->revived_maps++;
	}
	need->awaits = need->awaits || (region && region->coming);
	add_own_need(region, bytes, need);
}

/* What is counted once, however many windows it has. */
static void start_need(struct account *account, const struct file *file, struct need *need)
{
	const struct file_user *user = file_find_user(file, account);

	need->account = account;
	need->own.leases = need->last - need->first + 1;
	need->own.handles = !user->n_shares;
	need->own_revived.handles = user->n_shares && user->n_draining == user->n_shares && !user->n_late;
}

/* Sets the windows of the range, and what they need. 0; -EFBIG if they can never fit, -EDQUOT if they can't into the user's quota. */
static int choose_windows(struct registry *registry, struct account *account, struct file *file, const struct lease_request *request,
			  struct need *need)
{
	uint64_t window_bytes = registry->limits.window;
	uint64_t end, bytes, n;

	if (__builtin_add_overflow(request->offset, request->length, &end))
		end = UINT64_MAX;
	end = min_u64(end, file->size);
	*need = (struct need){.file = file, .first = request->offset / window_bytes, .last = (end - 1) / window_bytes};

	n = need->last - need->first + 1;
	bytes = (n - 1) * window_bytes + file_window_bytes(registry, file, need->last);
	if (n > registry->limits.maps || bytes > registry->limits.memory)
		return -EFBIG;
	if (n > registry->limits.quota.maps || bytes > registry->limits.quota.memory)
		return -EDQUOT;

	start_need(account, file, need);
	for (uint64_t window = need->first; window <= need->last; window++)
		add_need(registry, file, window, need);
	return 0;
}

/* Of half the windows that memory and maps are enough for, those that are not leased ahead. */
static uint64_t left_ahead(const struct registry *registry, uint64_t memory, uint64_t maps, uint64_t n_ahead)
{
	uint64_t most = min_u64(memory / registry->limits.window, maps) / 2;

	return most > n_ahead ? most - n_ahead : 0;
}

/*
 * Adds windows behind the range as long as they cost no eviction, and says how many. They will be pinned with what was asked for; so that much
 * is left for what others ask for, all that are leased like this have half of the limits, and a user's half of the quota. Those of idle
 * leases count, too, and those on the same region each: what is idle now may be pinned without asking.
 */
static uint64_t look_ahead(struct registry *registry, struct file *file, uint64_t wanted, struct need *need)
{
	const struct quota *quota = &registry->limits.quota;
	uint64_t of_all = left_ahead(registry, registry->limits.memory, registry->limits.maps, registry->n_ahead);
	uint64_t of_user = left_ahead(registry, quota->memory, quota->maps, need->account->n_ahead);
	uint64_t most = min_u64(wanted, min_u64(of_all, of_user)), n = 0;

	for (; n < most && (need->last + 1) * registry->limits.window < file->size; n++) {
		const struct region *region = region_find(file, need->last + 1);
		struct need more = *need;

		if (region && (region->draining || region->coming))
			break;
		more.own.leases++;
		add_need(registry, file, ++more.last, &more);
		if (!room_fits(registry, &more))
			break;
		*need = more;
	}
	return n;
}

/* ---- taking them ---- */

/* What was on its way out stays: before the leases that keep it here can end. */
static void revive_windows(struct registry *registry, struct file *file, const struct need *need)
{
	for (uint64_t window = need->first; window <= need->last; window++) {
		struct region *region = region_find(file, window);

		if (region && region->draining)
			region_revive(registry, region);
	}
}

/* Has the lease hold one window, which is counted in its present length from here on. */
static int hold_window(struct registry *registry, struct file *file, uint64_t window, struct lease *lease)
{
	uint64_t length = file_window_bytes(registry, file, window);
	struct region *region = region_find(file, window);
	int r = 0;

	if (!region)
		r = region_add(&region, registry, file, window);
	if (r < 0)
		return r;
	r = lease_hold(registry, lease, region);
	if (r < 0)
		region_settle(registry, region);
	else if (region->length < length)
		region_grow(registry, region, length);
	return r;
}

static int hold_windows(struct registry *registry, struct file *file, const struct need *need, struct lease *lease)
{
	uint64_t window_bytes = registry->limits.window;
	int r = 0;

	lease->offset = need->first * window_bytes;
	lease->length = min_u64((need->last + 1) * window_bytes, file->size) - lease->offset;
	for (uint64_t window = need->first; !r && window <= need->last; window++)
		r = hold_window(registry, file, window, lease);
	return r;
}

/* Its regions are not mapped before the client has unmapped others. */
static void await_victims(struct lease *lease)
{
	for (uint64_t i = 0; i < lease->n_holds; i++) {
		struct region *region = lease->holds[i].share->region;

		region->coming = region->mapped < region->length;
	}
}

/* The lease that is granted: used now, and pinned. */
static void commit(struct registry *registry, struct lease *lease)
{
	uint64_t use = pulse_instant(pulse_advance(registry->pulse));

	for (uint64_t i = 0; i < lease->n_holds; i++) {
		share_touch(lease->holds[i].share, use);
		region_touch(registry, lease->holds[i].share->region, use);
	}
	lease_grant_pin(lease, pulse_second(registry->pulse));
	registry->counters.grants++;
}

enum { GRANT_NO_SPACE = 1 }; /* the kernel has no address space left for the maps */

/* Grants a lease for which there is room, or will be when the client has unmapped what it was not told of yet. 0, GRANT_NO_SPACE, -errno. */
static int grant_lease(struct registry *registry, struct client *client, struct file *file, const struct need *need, bool must_unmap,
		       struct lease **granted, struct slot_list *victims)
{
	struct lease *lease;
	int r;

	revive_windows(registry, file, need);
	r = lease_new(&lease, registry, client, file, need->last - need->first + 1);
	if (r < 0)
		return r;
	r = hold_windows(registry, file, need, lease);
	if (!r && !must_unmap) {
		r = region_map_missing(registry, lease->holds, lease->n_holds);
		if (r == -ENOMEM)
			r = GRANT_NO_SPACE;
	}
	if (r) {
		lease_end(registry, lease);
		return r;
	}

	if (must_unmap) {
		room_take_victims(registry, client, need, lease, victims);
		await_victims(lease);
	}
	commit(registry, lease);
	*granted = lease;
	return 0;
}

/* Grants a lease on a range of a file that is there. */
static int lease_range(struct registry *registry, struct client *client, struct file *file, const struct lease_request *request,
		       struct lease_grant *grant, struct slot_list *victims)
{
	struct need need, with_ahead;
	uint64_t n_ahead = 0;
	bool must_unmap;
	int r;

	r = file_refresh(registry, file);
	if (r < 0)
		return r;
	*grant = (struct lease_grant){.fd = file->fd, .file_size = file->size};
	if (request->offset >= file->size)
		return 0;

	r = choose_windows(registry, client->account, file, request, &need);
	if (r < 0)
		return r;
	/* Room that has come free is for those who have waited for it. */
	if (need.awaits || (need.bytes && !request->in_turn))
		return REGISTRY_NO_ROOM;
	must_unmap = !room_fits(registry, &need);
	if (must_unmap) {
		if (!room_make(registry, &need))
			return registry->cut_short ? REGISTRY_NO_ROOM : REGISTRY_OVER_QUOTA;
		must_unmap = !room_fits(registry, &need);
		if (must_unmap && !room_fits_without(registry, client, &need))
			return REGISTRY_NO_ROOM;
	}
	with_ahead = need;
	/* What is free is not for them while somebody waits. */
	if (!must_unmap && request->in_turn && !pulse_waits(registry->pulse))
		n_ahead = look_ahead(registry, file, request->ahead, &with_ahead);
	r = grant_lease(registry, client, file, &with_ahead, must_unmap, &grant->lease, victims);
	if (!r)
		lease_count_ahead(registry, grant->lease, n_ahead);
	if (r == GRANT_NO_SPACE && n_ahead)
		r = grant_lease(registry, client, file, &need, must_unmap, &grant->lease, victims);
	if (r != GRANT_NO_SPACE)
		return r;
	/* What nobody uses is in the way there, too. */
	return room_relieve(registry, &need) ? REGISTRY_NO_ROOM : -ENOMEM;
}

/* ---- */

int registry_lease(struct registry *registry, struct client *client, const struct lease_request *request, struct lease_grant *grant,
		   struct slot_list *victims)
{
	struct file *file = file_find(registry, request->file);
	int r;

	if (!file && request->file && request->file < registry->next_file_id) {
		/* It was let go; this opening of it is at its end. */
		client_close_file(client, request->file);
		return REGISTRY_REOPEN;
	}
	if (!file || !client_has_file(client, request->file))
		return -EBADF;
	if (writers_wait_for(registry, file))
		return REGISTRY_WRITER;

	file_touch(registry, file);
	writers_keep_out(registry, file);
	r = lease_range(registry, client, file, request, grant, victims);
	/* It may have lost its last region for this one, and so its guard. */
	if (file->n_regions)
		writers_keep_out(registry, file);
	else
		writers_forget(registry, file);
	return r;
}
