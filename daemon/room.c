/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/room.h"

#include "daemon/client.h"
#include "daemon/file.h"
#include "daemon/lease.h"
#include "daemon/region.h"
#include "daemon/registry.h"

#include <string.h>

static bool fits_if_gone(const struct registry *registry, const struct need *need, uint64_t bytes_gone, uint64_t maps_gone)
{
	return registry->usage.memory - bytes_gone + need->bytes <= registry->limits.memory &&
	       registry->usage.maps - maps_gone + need->maps <= registry->limits.maps;
}

bool room_fits(const struct registry *registry, const struct need *need)
{
	return fits_if_gone(registry, need, 0, 0);
}

/* ---- eviction ---- */

/* Whether enough is evicted, even if it is still draining. */
typedef bool enough_fn(const struct registry *registry, const struct need *need);

static bool enough_room(const struct registry *registry, const struct need *need)
{
	return fits_if_gone(registry, need, registry->usage.draining - need->revived_bytes,
			    registry->usage.draining_maps - need->revived_maps);
}

static bool enough_handles(const struct registry *registry, const struct need *need)
{
	(void)need;
	return registry->bare || registry->n_emptying;
}

static bool is_needed(const struct region *region, const struct need *need)
{
	return region->file == need->file && region->window >= need->first && region->window <= need->last && !region->detached;
}

static void evict_oldest(struct registry *registry, const struct need *need, enough_fn *enough)
{
	/* Each region comes up once, and once more where it was used since; a client that keeps writing its board gets no more. */
	uint64_t looks = 2 * (registry->usage.maps - registry->usage.draining_maps);
	struct region *region, *next;

	for (region = registry->oldest; region && looks && !enough(registry, need); region = next, looks--) {
		struct region *before = region == registry->oldest ? NULL : region->prev;
		uint64_t use = region_last_used(registry, region);

		next = region->next;
		if (is_needed(region, need))
			continue;
		if (use > region->last_used) {
			/* It was used since it was put here: it goes where it belongs, which may be here again. */
			region_touch(registry, region, use);
			next = before ? before->next : registry->oldest;
		} else {
			region_evict(registry, region);
		}
	}
}

void room_make(struct registry *registry, const struct need *need)
{
	evict_oldest(registry, need, enough_room);
}

bool room_make_handle(struct registry *registry, bool in_turn)
{
	struct need nothing = {0};

	if (!in_turn)
		return false;
	if (registry->usage.handles < registry->limits.handles)
		return true;
	evict_oldest(registry, &nothing, enough_handles);
	if (!registry->bare)
		return false;
	file_free(registry, registry->bare);
	return true;
}

/* ---- victims of the client that asks ---- */

bool room_fits_without(const struct registry *registry, struct client *client, const struct need *need)
{
	uint64_t bytes = 0, maps = 0;
	struct lease *lease;
	uint32_t n = 0;

	/* A region goes when all leases on it have been named. */
	DL_FOREACH2(client->untold, lease, next_untold)
	{
		if (n++ == MESSAGE_MAX_SLOTS)
			break;
		for (uint64_t i = 0; i < lease->n_holds; i++) {
			struct region *region = lease->holds[i].region;

			if (++region->n_named == region->n_holds && (region->draining || region->detached) &&
			    !is_needed(region, need)) {
				bytes += region->length;
				maps++;
			}
		}
	}
	DL_FOREACH2(client->untold, lease, next_untold)
		for (uint64_t i = 0; i < lease->n_holds; i++)
			lease->holds[i].region->n_named = 0;

	return fits_if_gone(registry, need, bytes, maps);
}

void room_take_victims(struct registry *registry, struct client *client, struct slot_list *victims)
{
	while (client->untold && victims->n < MESSAGE_MAX_SLOTS) {
		victims->refs[victims->n++] = client->untold->ref;
		lease_end(registry, client->untold);
	}
}
