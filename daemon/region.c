/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/region.h"

#include "daemon/file.h"
#include "daemon/lease.h"
#include "daemon/map.h"
#include "daemon/registry.h"
#include "daemon/remote.h"
#include "daemon/share.h"
#include "proto/pulse.h"
#include "proto/util.h"

/* The first instant of this epoch: what is used now is as old as that at most. */
static uint64_t now(const struct registry *registry)
{
	return pulse_instant(pulse_epoch(registry->pulse));
}

/* ---- order of use ---- */

struct region *region_oldest(struct registry *registry, uint64_t *moves)
{
	struct order_entry *entry = order_oldest(&registry->order, moves);

	return entry ? container_of(entry, struct region, use) : NULL;
}

void region_touch(struct registry *registry, struct region *region, uint64_t use)
{
	if (region->draining) {
		region->use.last_used = max_u64(region->use.last_used, use);
		return;
	}
	order_remove(&registry->order, &region->use);
	region->use.last_used = max_u64(region->use.last_used, use);
	order_insert(&registry->order, &region->use);
}

uint64_t region_last_used(const struct registry *registry, const struct region *region)
{
	uint64_t use = region->use.last_used;
	const struct share *share;

	DL_FOREACH(region->shares, share)
		use = max_u64(use, share_last_used(registry, share));
	return use;
}

bool region_is_pinned(const struct region *region)
{
	struct share *share;

	DL_FOREACH(region->shares, share)
		if (share_is_pinned(share))
			return true;
	return false;
}

/* ---- coming and going ---- */

struct region *region_find(const struct file *file, uint64_t window)
{
	struct region *region;

	HASH_FIND(by_window, file->regions, &window, sizeof(window), region);
	return region;
}

/* Whether its last regions will all go soon: for the registry to count, taken off before a change of its numbers and added after it. */
static bool is_emptying(const struct file *file)
{
	return file->n_regions && file->n_draining == file->n_regions && !file->n_late;
}

int region_add(struct region **added, struct registry *registry, struct file *file, uint64_t window)
{
	struct region *region = calloc(1, sizeof(*region));

	if (!region)
		return -ENOMEM;
	region->file = file;
	region->window = window;
	region->length = file_window_bytes(registry, file, window);
	region->use.last_used = now(registry);
	HASH_ADD(by_window, file->regions, window, sizeof(region->window), region);
	if (!hash_added(region, by_window)) {
		free(region);
		return -ENOMEM;
	}

	if (!file->n_regions) {
		file_leave_bare(registry, file);
		remote_enter(file);
	}
	registry->n_emptying -= is_emptying(file);
	file->n_regions++;
	registry->usage.maps++;
	registry->usage.memory += region->length;
	file->mapped_bytes += region->length;
	order_insert(&registry->order, &region->use);
	*added = region;
	return 0;
}

void region_grow(struct registry *registry, struct region *region, uint64_t length)
{
	struct share *share;

	DL_FOREACH(region->shares, share)
		share_grow(share, length - region->length);
	registry->usage.memory += length - region->length;
	region->file->mapped_bytes += length - region->length;
	region->length = length;
}

/* Maps the regions of @n holds, of which none is, at once. */
static int map_run(const struct registry *registry, const struct hold *holds, uint64_t n)
{
	const struct region *first = holds[0].share->region, *last = holds[n - 1].share->region;
	uint64_t window_bytes = registry->limits.window;
	void *address;
	int r;

	r = map_file(first->file->fd, first->window * window_bytes, (n - 1) * window_bytes + last->length, &address);
	if (r < 0)
		return r;
	for (uint64_t i = 0; i < n; i++) {
		struct region *region = holds[i].share->region;

		region->address = (char *)address + i * window_bytes;
		region->mapped = region->length;
	}
	return 0;
}

static int extend(struct region *region)
{
	int r = map_extend(&region->address, region->mapped, region->length);

	if (!r)
		region->mapped = region->length;
	return r;
}

int region_map_missing(const struct registry *registry, const struct hold *holds, uint64_t n)
{
	uint64_t i = 0;

	while (i < n) {
		struct region *region = holds[i].share->region;
		uint64_t run = 0;
		int r = 0;

		while (i + run < n && !holds[i + run].share->region->mapped)
			run++;
		if (run)
			r = map_run(registry, holds + i, run);
		else if (region->mapped < region->length)
			r = extend(region);
		if (r < 0)
			return r;
		i += run ? run : 1;
	}
	return 0;
}

static void leave_draining(struct registry *registry, struct region *region)
{
	struct file *file = region->file;

	registry->n_emptying -= is_emptying(file);
	file->n_draining--;
	file->n_late -= region->late;
	registry->n_emptying += is_emptying(file);
	registry->usage.draining -= region->length;
	registry->usage.draining_maps--;
	registry->usage.late -= region->late ? region->length : 0;
	registry->usage.late_maps -= region->late;
	region->draining = region->late = false;
}

static void region_forget(struct registry *registry, struct region *region)
{
	struct file *file = region->file;

	file->last_used = max_u64(file->last_used, region->use.last_used);
	if (region->mapped)
		map_remove(region->address, region->mapped);
	if (region->draining)
		leave_draining(registry, region);
	else
		order_remove(&registry->order, &region->use);
	if (region->detached)
		DL_DELETE(file->detached, region);
	else
		HASH_DELETE(by_window, file->regions, region);
	registry->usage.memory -= region->length;
	file->mapped_bytes -= region->length;
	registry->usage.maps--;
	free(region);

	registry->n_emptying -= is_emptying(file);
	file->n_regions--;
	registry->n_emptying += is_emptying(file);
	if (!file->n_regions) {
		remote_leave(file);
		file_become_bare(registry, file);
	}
}

void region_settle(struct registry *registry, struct region *region)
{
	if (!region->shares && (region->draining || region->detached || region->mapped < region->length))
		region_forget(registry, region);
}

uint64_t region_count_leases(const struct region *region)
{
	const struct share *share;
	uint64_t n = 0;

	DL_FOREACH(region->shares, share)
		n += share->n_holds;
	return n;
}

bool region_evict(struct registry *registry, struct region *region)
{
	struct file *file = region->file;
	struct share *share;
	struct hold *hold;
	bool late = false;

	if (region_is_pinned(region))
		return false;
	DL_FOREACH(region->shares, share)
		DL_FOREACH(share->holds, hold)
		{
			if (!lease_recall(registry, hold->lease))
				return false;
			late = late || hold->lease->late;
		}

	registry->counters.evictions++;
	order_remove(&registry->order, &region->use);
	region->draining = true;
	registry->usage.draining += region->length;
	registry->usage.draining_maps++;
	registry->n_emptying -= is_emptying(file);
	file->n_draining++;
	registry->n_emptying += is_emptying(file);
	if (late)
		region_be_late(registry, region);
	region_settle(registry, region);
	return true;
}

void region_be_late(struct registry *registry, struct region *region)
{
	struct file *file = region->file;

	if (!region->draining || region->late)
		return;
	region->late = true;
	registry->usage.late += region->length;
	registry->usage.late_maps++;
	registry->n_emptying -= is_emptying(file);
	file->n_late++;
}

void region_revive(struct registry *registry, struct region *region)
{
	leave_draining(registry, region);
	region->use.last_used = now(registry);
	order_insert(&registry->order, &region->use);
}

static void detach(struct registry *registry, struct region *region)
{
	struct file *file = region->file;

	HASH_DELETE(by_window, file->regions, region);
	DL_APPEND(file->detached, region);
	region->detached = true;
	region_settle(registry, region);
}

void region_cut(struct registry *registry, struct region *region)
{
	struct file *file = region->file;
	uint64_t begin = region->window * registry->limits.window;
	struct share *share;
	struct hold *hold;

	DL_FOREACH(region->shares, share)
		DL_FOREACH(share->holds, hold)
			lease_cut(registry, hold->lease, file->size);
	if (!region->detached && (begin >= file->size || region->length > file_window_bytes(registry, file, region->window)))
		detach(registry, region);
}
