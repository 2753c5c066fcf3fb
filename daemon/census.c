/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/census.h"

#include "daemon/client.h"
#include "daemon/lease.h"
#include "daemon/region.h"
#include "daemon/registry.h"
#include "daemon/share.h"

/* Each region counts once in a census, however many leases on it are pinned. */
static void count_pinned(struct census *census, const struct lease *lease)
{
	for (uint64_t i = 0; i < lease->n_holds; i++) {
		struct region *region = lease->holds[i].share->region;

		if (region->census == census->n_begun)
			continue;
		region->census = census->n_begun;
		census->so_far += region->length;
	}
}

/* Looks at the slots of a client from census->slot on. False if the looks are used up before its end. */
static bool count_client(struct registry *registry, const struct client *client)
{
	struct census *census = &registry->census;

	for (; census->slot < client->n_slots; census->slot++) {
		struct lease *lease = client->slots[census->slot].lease;

		if (!registry->looks) {
			registry->cut_short = true;
			return false;
		}
		registry->looks--;
		if (!lease)
			continue;
		lease_count_hits(registry, lease);
		if (lease_is_pinned(lease))
			count_pinned(census, lease);
	}
	return true;
}

/* False if the looks are used up before the end. */
static bool count_all(struct registry *registry)
{
	struct census *census = &registry->census;
	const struct client *client;

	DL_FOREACH(registry->clients, client)
	{
		if (client->serial < census->client)
			continue;
		if (client->serial > census->client)
			census->slot = 0;
		census->client = client->serial;
		if (!count_client(registry, client))
			return false;
		census->slot = 0;
		census->client++;
	}
	return true;
}

bool census_take(struct registry *registry, uint64_t *ticket)
{
	struct census *census = &registry->census;

	if (!*ticket)
		*ticket = census->n_begun + 1;
	while (census->n_ended < *ticket) {
		if (census->n_begun == census->n_ended) {
			census->n_begun++;
			census->client = census->slot = 0;
			census->so_far = 0;
		}
		if (!count_all(registry))
			return false;
		census->pinned_bytes = census->so_far;
		census->n_ended = census->n_begun;
	}
	return true;
}
