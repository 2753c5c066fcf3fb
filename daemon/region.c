/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/region.h"

#include "daemon/client.h"
#include "daemon/file.h"
#include "daemon/lease.h"
#include "daemon/map.h"
#include "daemon/registry.h"
#include "proto/board.h"
#include "proto/pulse.h"
#include "proto/util.h"

/* ---- order of use ---- */

/* Puts the region where its last use belongs: nearly always at the young end. */
static void insert_in_order(struct registry *registry, struct region *region)
{
	struct region *older = registry->oldest ? registry->oldest->prev : NULL;

	while (older && older->last_used > region->last_used)
		older = older == registry->oldest ? NULL : older->prev;
	DL_APPEND_ELEM(registry->oldest, older, region);
}

void region_touch(struct registry *registry, struct region *region, uint64_t use)
{
	if (use <= region->last_used)
		return;
	region->last_used = use;
	if (!region->draining) {
		DL_DELETE(registry->oldest, region);
		insert_in_order(registry, region);
	}
}

uint64_t region_last_used(const struct registry *registry, const struct region *region)
{
	uint64_t use = region->last_used;
	const struct hold *hold;

	DL_FOREACH(region->holds, hold)
		use = max_u64(use, lease_last_used(registry, hold->lease));
	return use;
}

bool region_is_pinned(const struct region *region)
{
	const struct hold *hold;

	DL_FOREACH(region->holds, hold)
		if (lease_is_pinned(hold->lease))
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

/* Adds a region without a map to its file. */
static struct region *region_new(struct file *file, uint64_t window, uint64_t length)
{
	struct region *region = calloc(1, sizeof(*region));

	if (!region)
		return NULL;
	region->file = file;
	region->window = window;
	region->length = length;
	HASH_ADD(by_window, file->regions, window, sizeof(region->window), region);
	if (!hash_added(region, by_window)) {
		free(region);
		return NULL;
	}
	return region;
}

static void region_free(struct region *region)
{
	if (!region->detached)
		HASH_DELETE(by_window, region->file->regions, region);
	free(region);
}

int region_map_run(struct registry *registry, struct file *file, uint64_t first, uint64_t n)
{
	uint64_t use = pulse_instant(pulse_epoch(registry->pulse));
	uint64_t window_bytes = registry->limits.window;
	uint64_t last = first + n - 1;
	uint64_t length = (n - 1) * window_bytes + file_window_bytes(registry, file, last);
	uint64_t made;
	void *address;
	int r = 0;

	for (made = 0; made < n; made++)
		if (!region_new(file, first + made, file_window_bytes(registry, file, first + made)))
			break;
	if (made == n)
		r = map_file(file->fd, first * window_bytes, length, &address);
	else
		r = -ENOMEM;
	if (r < 0) {
		while (made)
			region_free(region_find(file, first + --made));
		return r;
	}

	if (!file->n_regions)
		DL_DELETE(registry->bare, file);
	else if (file->n_draining == file->n_regions)
		registry->n_emptying--;
	file->n_regions += n;
	registry->usage.maps += n;
	registry->usage.memory += length;
	for (uint64_t i = 0; i < n; i++) {
		struct region *region = region_find(file, first + i);

		region->address = (char *)address + i * window_bytes;
		region->last_used = use;
		insert_in_order(registry, region);
	}
	return 0;
}

int region_extend(struct registry *registry, struct region *region, uint64_t length)
{
	int r;

	r = map_extend(&region->address, region->length, length);
	if (r < 0)
		return r;
	registry->usage.memory += length - region->length;
	region->length = length;
	return 0;
}

static void region_forget(struct registry *registry, struct region *region)
{
	struct file *file = region->file;

	map_remove(region->address, region->length);
	registry->usage.memory -= region->length;
	registry->usage.maps--;
	if (region->draining) {
		registry->usage.draining -= region->length;
		registry->usage.draining_maps--;
		if (file->n_draining-- == file->n_regions)
			registry->n_emptying--;
	} else {
		DL_DELETE(registry->oldest, region);
	}
	region_free(region);

	file->n_regions--;
	if (!file->n_regions)
		DL_APPEND(registry->bare, file);
	else if (file->n_draining == file->n_regions)
		registry->n_emptying++;
}

void region_settle(struct registry *registry, struct region *region)
{
	if (!region->holds && (region->draining || region->detached))
		region_forget(registry, region);
}

bool region_evict(struct registry *registry, struct region *region)
{
	struct file *file = region->file;
	struct hold *hold;

	if (region_is_pinned(region))
		return false;
	DL_FOREACH(region->holds, hold)
		if (!lease_recall(registry, hold->lease))
			return false;

	registry->counters.evictions++;
	DL_DELETE(registry->oldest, region);
	region->draining = true;
	registry->usage.draining += region->length;
	registry->usage.draining_maps++;
	if (++file->n_draining == file->n_regions)
		registry->n_emptying++;
	region_settle(registry, region);
	return true;
}

void region_revive(struct registry *registry, struct region *region)
{
	struct file *file = region->file;

	if (file->n_draining-- == file->n_regions)
		registry->n_emptying--;
	registry->usage.draining -= region->length;
	registry->usage.draining_maps--;
	region->draining = false;
	insert_in_order(registry, region);
}

void region_cut(struct registry *registry, struct region *region)
{
	struct file *file = region->file;
	uint64_t begin = region->window * registry->limits.window;
	struct hold *hold;

	DL_FOREACH(region->holds, hold)
		lease_cut(registry, hold->lease, file->size);
	if (begin < file->size && region->length <= file_window_bytes(registry, file, region->window))
		return;

	HASH_DELETE(by_window, file->regions, region);
	region->detached = true;
	region_settle(registry, region);
}
