/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "tests/fuzz/audit.h"

#include "daemon/account.h"
#include "daemon/client.h"
#include "daemon/file.h"
#include "daemon/lease.h"
#include "daemon/region.h"
#include "daemon/registry.h"
#include "daemon/request.h"
#include "daemon/share.h"
#include "tests/fuzz/fuzz.h"

/* ---- files ---- */

static void audit_share(const struct share *share)
{
	uint32_t n_holds = 0, n_recalled = 0, n_late = 0;
	const struct hold *hold;

	DL_FOREACH(share->holds, hold)
	{
		require(hold->share == share);
		require(hold->lease->client->account == share->account);
		n_holds++;
		n_recalled += hold->lease->recalled;
		n_late += hold->lease->late;
	}
	require(n_holds > 0 && share->n_holds == n_holds);
	require(share->n_recalled == n_recalled);
	require(share->draining == (n_recalled == n_holds));
	require(share->n_late == n_late);
	require(share->late == (share->draining && n_late));
	require(share->n_named == 0);
}

static void audit_region(const struct file *file, const struct region *region, struct usage *usage)
{
	const struct share *share;
	bool late = false;

	DL_FOREACH(region->shares, share)
	{
		require(share->region == region);
		late = late || share->n_late;
		audit_share(share);
		require(!region->draining || share->draining);
	}
	require(region->file == file);
	require(region->mapped <= region->length);
	require(region->mapped == region->length || region->shares);
	require(region->shares || !(region->draining || region->detached || region->coming));
	require(region->late == (region->draining && late));

	usage->memory += region->length;
	usage->maps++;
	usage->draining += region->draining ? region->length : 0;
	usage->draining_maps += region->draining;
	usage->late += region->late ? region->length : 0;
	usage->late_maps += region->late;
}

/* All is heard that the kernel has told of writers, and who need not wait any more does not. */
static void audit_guard(const struct registry *registry, const struct file *file)
{
	const struct write_guard *guard = &file->guard;
	uint64_t timeout_ms = registry->limits.write_guard_timeout_ms;

	switch (guard->state) {
	case WRITE_GUARD_NONE:
		require(guard->fd < 0);
		require(!file->n_regions || !registry->limits.write_guard);
		return;
	case WRITE_GUARD_IMPOSSIBLE:
		require(guard->fd < 0);
		break;
	case WRITE_GUARD_AWAITED:
		break;
	case WRITE_GUARD_HELD:
		require(!write_guard_is_broken(guard));
		break;
	case WRITE_GUARD_BREAKING:
		require(write_guard_is_broken(guard) && file->leases);
		require(registry->now_ms < guard->until_ms && guard->until_ms <= registry->now_ms + timeout_ms);
		break;
	}
	require(file->n_regions && registry->limits.write_guard);
}

static void audit_guards(const struct registry *registry)
{
	uint64_t n_open = 0, n_awaited = 0, n_breaking = 0, n;
	const struct file *file;

	for (file = registry->by_id; file; file = file->by_id.next) {
		audit_guard(registry, file);
		n_open += file->guard.fd >= 0;
		n_awaited += file->guard.state == WRITE_GUARD_AWAITED;
		n_breaking += file->guard.state == WRITE_GUARD_BREAKING;
	}
	require(HASH_CNT(by_guard, registry->by_guard) == n_open);
	DL_COUNT2(registry->unguarded, file, n, next_guard);
	require(n == n_awaited);
	DL_COUNT2(registry->breaking, file, n, next_guard);
	require(n == n_breaking);
}

static void audit_file(const struct file *file, struct usage *usage)
{
	const struct region *region;
	struct usage own = {0};

	for (region = file->regions; region; region = region->by_window.next) {
		require(!region->detached);
		audit_region(file, region, &own);
	}
	DL_FOREACH(file->detached, region)
	{
		require(region->detached);
		audit_region(file, region, &own);
	}
	require(file->fd >= 0);
	require(file->n_regions == own.maps);
	require(file->n_draining == own.draining_maps);
	require(file->n_late == own.late_maps);
	require(file->mapped_bytes == own.memory);

	usage->memory += own.memory;
	usage->draining += own.draining;
	usage->maps += own.maps;
	usage->draining_maps += own.draining_maps;
	usage->late += own.late;
	usage->late_maps += own.late_maps;
	usage->handles++;
}

static void audit_files(const struct registry *registry, struct usage *usage)
{
	uint64_t n_bare = 0, n_listed, n_emptying = 0;
	const struct file *file;

	for (file = registry->by_id; file; file = file->by_id.next) {
		audit_file(file, usage);
		n_bare += !file->n_regions;
		n_emptying += file->n_regions && file->n_draining == file->n_regions && !file->n_late;
	}
	DL_COUNT(registry->bare, file, n_listed);
	require(n_listed == n_bare);
	require(registry->n_emptying == n_emptying);
	require(registry->order.n == usage->maps - usage->draining_maps);
}

/* ---- leases ---- */

static void audit_lease(const struct client *client, uint32_t slot, const struct lease *lease, struct usage *usage)
{
	require(lease->client == client);
	require(lease->ref.slot == slot && lease->ref.generation == client->slots[slot].generation);
	require(lease->n_holds == lease->n_charged && lease->n_ahead < lease->n_charged);
	require(!lease->heir || (lease->recalled && lease->told && lease->heir->n_awaited));
	for (uint64_t i = 0; i < lease->n_holds; i++)
		require(lease->holds[i].lease == lease && (lease->holds[i].share || lease->recalled));
	/* What was given up for it in excess is there until that is unmapped. */
	usage->memory += lease->excess_bytes;
	usage->draining += lease->excess_bytes;
	usage->maps += lease->excess_maps;
	usage->draining_maps += lease->excess_maps;
	usage->leases++;
}

static void audit_clients(const struct registry *registry, struct usage *usage)
{
	uint64_t n_recalled = 0, n_untold = 0, n_named = 0, n;
	const struct client *client;
	const struct lease *lease;

	DL_FOREACH(registry->clients, client)
	{
		uint64_t before = usage->leases;

		for (uint32_t slot = 0; slot < client->n_slots; slot++) {
			lease = client->slots[slot].lease;
			if (!lease)
				continue;
			audit_lease(client, slot, lease, usage);
			n_recalled += lease->recalled;
			n_untold += lease->recalled && !lease->told;
			n_named += lease->named;
			require(!lease->named || lease->told);
		}
		require(client->n_leases == usage->leases - before);
	}
	DL_COUNT(registry->recalled, lease, n);
	require(n == n_recalled);
	require(registry->n_untold == n_untold);
	DL_FOREACH(registry->clients, client)
	{
		DL_COUNT2(client->untold, lease, n, next_of_client);
		n_untold -= n;
		DL_COUNT2(client->named, lease, n, next_of_client);
		n_named -= n;
	}
	require(n_untold == 0 && n_named == 0);
}

/* ---- accounts ---- */

static void add_region(const struct region *region, const struct account *account, struct holding *held, struct holding *draining,
		       struct holding *late)
{
	const struct share *share = share_find(region, account);

	if (!share)
		return;
	held->memory += region->length;
	held->maps++;
	draining->memory += share->draining ? region->length : 0;
	draining->maps += share->draining;
	late->memory += share->late ? region->length : 0;
	late->maps += share->late;
}

static uint64_t count_having(const struct registry *registry, const struct account *account, uint64_t file)
{
	const struct client *client;
	uint64_t n = 0;

	DL_FOREACH(registry->clients, client)
		n += client->account == account && client_has_file(client, file);
	return n;
}

static void add_file(const struct registry *registry, const struct file *file, const struct account *account, struct holding *held,
		     struct holding *draining, struct holding *late)
{
	const struct file_user *user = file_find_user(file, account);
	struct holding own = {0}, own_draining = {0}, own_late = {0};
	const struct region *region;

	for (region = file->regions; region; region = region->by_window.next)
		add_region(region, account, &own, &own_draining, &own_late);
	DL_FOREACH(file->detached, region)
		add_region(region, account, &own, &own_draining, &own_late);

	require((user ? user->n_shares : 0) == own.maps);
	require((user ? user->n_draining : 0) == own_draining.maps);
	require((user ? user->n_late : 0) == own_late.maps);
	require((user ? user->n_clients : 0) == count_having(registry, account, file->id));
	require(!user || user->n_shares || user->n_clients);
	held->memory += own.memory;
	held->maps += own.maps;
	held->handles += own.maps > 0;
	draining->memory += own_draining.memory;
	draining->maps += own_draining.maps;
	draining->handles += own.maps && own.maps == own_draining.maps;
	late->memory += own_late.memory;
	late->maps += own_late.maps;
	late->handles += own.maps == own_draining.maps && own_late.maps;
}

static void require_same(const struct holding *a, const struct holding *b)
{
	require(a->memory == b->memory);
	require(a->maps == b->maps);
	require(a->handles == b->handles);
	require(a->leases == b->leases);
}

static void audit_waiting(const struct account *account)
{
	const struct request *request;
	uint64_t n = 0, n_opens = 0;

	DL_FOREACH(account->waiting, request)
	{
		require(request->client->account == account);
		require((request->message.type == MESSAGE_OPEN) == (request->fd >= 0));
		n++;
		n_opens += request->message.type == MESSAGE_OPEN;
	}
	require(account->n_waiting == n);
	require(account->n_waiting_opens == n_opens);
}

static void audit_account(const struct registry *registry, const struct account *account)
{
	struct holding held = {0}, draining = {0}, late = {0};
	uint64_t n_clients = 0, n_openings = 0, n_ahead = 0;
	const struct client *client;
	const struct file *file;

	DL_FOREACH(registry->clients, client)
	{
		if (client->account != account)
			continue;
		n_clients++;
		n_openings += HASH_COUNT(client->files);
		for (uint32_t slot = 0; slot < client->n_slots; slot++) {
			const struct lease *lease = client->slots[slot].lease;

			held.leases += lease ? lease->n_charged : 0;
			n_ahead += lease ? lease->n_ahead : 0;
			draining.leases += lease && lease->recalled ? lease->n_charged : 0;
			late.leases += lease && lease->late ? lease->n_charged : 0;
		}
	}
	for (file = registry->by_id; file; file = file->by_id.next)
		add_file(registry, file, account, &held, &draining, &late);

	/* Others have not said HELLO yet. */
	require(account->n_clients > 0 && account->n_clients >= n_clients);
	require(account->n_openings == n_openings);
	require(account->n_ahead == n_ahead);
	require_same(&account->held, &held);
	require_same(&account->draining, &draining);
	require_same(&account->late, &late);
	require(account->order.n == held.maps - draining.maps);
	audit_waiting(account);
}

/* ---- limits ---- */

static void audit_limits(const struct registry *registry, bool grown)
{
	const struct quota *quota = &registry->limits.quota;
	const struct account *account;

	require(registry->usage.memory <= registry->limits.memory);
	require(registry->usage.maps <= registry->limits.maps);
	require(registry->usage.handles <= registry->limits.handles);
	DL_FOREACH(registry->accounts, account)
	{
		require(grown || account->held.memory <= quota->memory);
		require(account->held.maps <= quota->maps);
		require(account->held.handles <= quota->handles);
		require(account->held.leases <= quota->leases);
		require(account->n_openings <= quota->files);
		require(account->n_clients <= quota->clients);
		require(account->n_waiting <= quota->requests);
		require(account->n_waiting_opens <= quota->opens);
	}
}

void audit(const struct registry *registry, bool grown)
{
	const struct account *account;
	struct usage usage = {0};
	uint64_t n_ahead = 0;

	audit_files(registry, &usage);
	audit_guards(registry);
	audit_clients(registry, &usage);
	require(registry->usage.memory == usage.memory);
	require(registry->usage.draining == usage.draining);
	require(registry->usage.maps == usage.maps);
	require(registry->usage.draining_maps == usage.draining_maps);
	require(registry->usage.late == usage.late);
	require(registry->usage.late_maps == usage.late_maps);
	require(registry->usage.handles == usage.handles);
	require(registry->usage.leases == usage.leases);
	DL_FOREACH(registry->accounts, account)
	{
		audit_account(registry, account);
		n_ahead += account->n_ahead;
	}
	require(registry->n_ahead == n_ahead);
	audit_limits(registry, grown);
}
