/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Granting a lease: which windows, what is missing, room for it, then the maps. Where a step fails, no more has happened than that room
 * was made and draining regions are live again; once the maps are there, nothing can fail.
 */
#include "config.h"

#include "daemon/client.h"
#include "daemon/file.h"
#include "daemon/lease.h"
#include "daemon/region.h"
#include "daemon/registry.h"
#include "daemon/room.h"
#include "proto/pulse.h"
#include "proto/util.h"

/* What a window would cost: the whole of it, or what it has grown by. */
static void add_need(const struct registry *registry, const struct file *file, uint64_t window, struct need *need)
{
	const struct region *region = region_find(file, window);

	need->bytes += file_window_bytes(registry, file, window) - (region ? region->length : 0);
	need->maps += region ? 0 : 1;
	if (region && region->draining) {
		need->revived_bytes += region->length;
		need->revived_maps++;
	}
}

/* Sets the windows of the range, and what they need. 0, or -EFBIG if they can never fit. */
static int choose_windows(struct registry *registry, struct file *file, const struct lease_request *request, struct need *need)
{
	uint64_t window_bytes = registry->limits.window;
	uint64_t end, n;

	if (__builtin_add_overflow(request->offset, request->length, &end))
		end = UINT64_MAX;
	end = min_u64(end, file->size);
	*need = (struct need){.file = file, .first = request->offset / window_bytes, .last = (end - 1) / window_bytes};

	n = need->last - need->first + 1;
	if (n > registry->limits.maps ||
	    (n - 1) * window_bytes + file_window_bytes(registry, file, need->last) > registry->limits.memory)
		return -EFBIG;

	for (uint64_t window = need->first; window <= need->last; window++)
		add_need(registry, file, window, need);
	return 0;
}

/* What was on its way out stays: before the leases that keep it here can end. */
static void revive_windows(struct registry *registry, struct file *file, const struct need *need)
{
	for (uint64_t window = need->first; window <= need->last; window++) {
		struct region *region = region_find(file, window);

		if (region && region->draining)
			region_revive(registry, region);
	}
}

/* Adds windows behind the range as long as they cost no eviction. */
static void look_ahead(struct registry *registry, struct file *file, uint64_t ahead, struct need *need)
{
	for (; ahead && (need->last + 1) * registry->limits.window < file->size; ahead--) {
		const struct region *region = region_find(file, need->last + 1);
		struct need more = *need;

		if (region && region->draining)
			return;
		add_need(registry, file, ++more.last, &more);
		if (!room_fits(registry, &more))
			return;
		*need = more;
	}
}

/* Maps each run of missing windows at once. */
static int map_missing(struct registry *registry, struct file *file, const struct need *need)
{
	uint64_t window = need->first;

	while (window <= need->last) {
		uint64_t n = 0;
		int r;

		while (window + n <= need->last && !region_find(file, window + n))
			n++;
		r = n ? region_map_run(registry, file, window, n) : 0;
		if (r < 0)
			return r;
		window += n ? n : 1;
	}
	return 0;
}

/* Extends what was cut where the file ended then. */
static int extend_short(struct registry *registry, struct file *file, const struct need *need)
{
	for (uint64_t window = need->first; window <= need->last; window++) {
		struct region *region = region_find(file, window);
		uint64_t length = file_window_bytes(registry, file, window);
		int r = region->length < length ? region_extend(registry, region, length) : 0;

		if (r < 0)
			return r;
	}
	return 0;
}

/* Maps all windows. If that fails, those that nobody leases go again: the room was made for the lease. */
static int map_windows(struct registry *registry, struct file *file, const struct need *need)
{
	int r;

	r = map_missing(registry, file, need);
	if (!r)
		r = extend_short(registry, file, need);
	for (uint64_t window = need->first; r < 0 && window <= need->last; window++) {
		struct region *region = region_find(file, window);

		if (region && !region->holds)
			region_evict(registry, region);
	}
	return r;
}

static void hold_windows(struct registry *registry, struct file *file, const struct need *need, struct lease *lease)
{
	uint64_t use = pulse_instant(pulse_advance(registry->pulse));
	uint64_t window_bytes = registry->limits.window;

	lease->offset = need->first * window_bytes;
	lease->length = min_u64((need->last + 1) * window_bytes, file->size) - lease->offset;
	for (uint64_t window = need->first; window <= need->last; window++) {
		struct region *region = region_find(file, window);

		lease_hold(lease, region);
		region_touch(registry, region, use);
	}
}

int registry_lease(struct registry *registry, struct client *client, const struct lease_request *request, struct lease_grant *grant,
		   struct slot_list *victims)
{
	struct file *file = file_find(registry, request->file);
	bool must_unmap;
	struct lease *lease;
	struct need need;
	int r;

	if (!file && request->file && request->file < registry->next_file_id) {
		/* It was let go; this opening of it is at its end. */
		client_close_file(client, request->file);
		return REGISTRY_REOPEN;
	}
	if (!file || !client_has_file(client, request->file))
		return -EBADF;

	r = file_refresh(registry, file);
	if (r < 0)
		return r;
	*grant = (struct lease_grant){.fd = file->fd, .file_size = file->size};
	if (request->offset >= file->size)
		return 0;

	r = choose_windows(registry, file, request, &need);
	if (r < 0)
		return r;
	/* Room that has come free is for those who have waited for it. */
	if (need.bytes && !request->in_turn)
		return REGISTRY_NO_ROOM;
	must_unmap = !room_fits(registry, &need);
	if (must_unmap) {
		room_make(registry, &need);
		must_unmap = !room_fits(registry, &need);
		if (must_unmap && !room_fits_without(registry, client, &need))
			return REGISTRY_NO_ROOM;
	}
	if (!must_unmap && request->in_turn)
		look_ahead(registry, file, request->ahead, &need);

	revive_windows(registry, file, &need);
	r = lease_new(&lease, registry, client, need.last - need.first + 1);
	if (r < 0)
		return r;
	r = map_windows(registry, file, &need);
	if (r < 0) {
		lease_end(registry, lease);
		return r;
	}

	if (must_unmap)
		room_take_victims(registry, client, victims);
	hold_windows(registry, file, &need, lease);
	lease_grant_pin(lease, pulse_second(registry->pulse));
	registry->counters.grants++;
	grant->lease = lease;
	return 0;
}
