/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/registry.h"

#include "daemon/account.h"
#include "daemon/client.h"
#include "daemon/file.h"
#include "daemon/label.h"
#include "daemon/lease.h"
#include "daemon/region.h"
#include "daemon/remote.h"
#include "daemon/volume.h"
#include "daemon/room.h"
#include "daemon/share.h"
#include "daemon/writers.h"
#include "proto/message.h"
#include "proto/pulse.h"
#include "proto/util.h"

#include <assert.h>

/* Regions and shares that are looked at in one turn of the loop: well below a millisecond's worth. */
#define LOOKS_IN_A_TURN 4096

/* Leases that are looked at for marks at once: as many as one answer names, and of all clients a fraction of a millisecond's worth. */
#define MARKS_OF_A_CLIENT MESSAGE_MAX_SLOTS
#define MARKS_IN_A_TURN   4096

void registry_init(struct registry *registry, const struct limits *limits, struct pulse *pulse, struct errands *errands, int notices)
{
	*registry = (struct registry){.limits = *limits, .pulse = pulse, .errands = errands, .notices = notices, .next_file_id = 1};
	registry_begin_turn(registry);
	pulse->window_bytes = limits->window;
	registry_set_limits(registry, limits);
}

void registry_set_limits(struct registry *registry, const struct limits *limits)
{
	struct pulse *pulse = registry->pulse;
	uint64_t window = registry->limits.window;

	registry->limits = *limits;
	registry->limits.window = window;
	atomic_store_explicit(&pulse->limit_memory_bytes, limits->memory, memory_order_relaxed);
	atomic_store_explicit(&pulse->limit_handles, limits->handles, memory_order_relaxed);
	atomic_store_explicit(&pulse->limit_maps, limits->maps, memory_order_relaxed);
	writers_switch(registry);
}

void registry_begin_turn(struct registry *registry)
{
	registry->looks = LOOKS_IN_A_TURN;
	registry->cut_short = false;
}

void registry_deinit(struct registry *registry)
{
	uint64_t moves = UINT64_MAX;

	struct account *account;

	assert(!registry->clients);
	while (registry->order.n)
		region_evict(registry, region_oldest(registry, &moves));
	while (registry->bare)
		file_free(registry, registry->bare);
	DL_FOREACH(registry->accounts, account)
		while (account->bare)
			file_free(registry, account->bare);
}

void registry_publish(struct registry *registry)
{
	struct pulse *pulse = registry->pulse;

	atomic_store_explicit(&pulse->memory_bytes, registry->usage.memory, memory_order_relaxed);
	atomic_store_explicit(&pulse->handles, registry->usage.handles, memory_order_relaxed);
	atomic_store_explicit(&pulse->maps, registry->usage.maps, memory_order_relaxed);
}

/* ---- files ---- */

/* A file that no client has open and no name leads to is of no use to anyone. */
static void let_go_if_deleted(struct registry *registry, struct file *file)
{
	struct region *region, *next;

	if (!file->deleted || file_count_clients(file))
		return;
	HASH_ITER(by_window, file->regions, region, next)
	{
		if (!region->draining)
			region_evict(registry, region);
	}
	if (!file->n_regions)
		file_free(registry, file);
}

/* Ends a lease, and lets go of its file if that was the last use of one that is deleted. */
static void end_lease(struct registry *registry, struct lease *lease)
{
	struct file *file = NULL;

	for (uint64_t i = 0; !file && i < lease->n_holds; i++)
		file = lease->holds[i].share ? lease->holds[i].share->region->file : NULL;
	lease_end(registry, lease);
	if (file)
		let_go_if_deleted(registry, file);
}

static void close_idle_of(struct registry *registry, struct file *bare)
{
	struct file *file, *next;

	DL_FOREACH_SAFE(bare, file, next)
	{
		if (file->sender && remote_is_stuck(file->sender))
			break;
		if (registry->now_ms - file->bare_since_ms >= registry->limits.idle_timeout_ms && !file_count_clients(file))
			file_free(registry, file);
	}
}

void registry_close_idle_remote(struct registry *registry)
{
	const struct account *account;

	DL_FOREACH(registry->accounts, account)
		close_idle_of(registry, account->bare);
}

void registry_look_around(struct registry *registry)
{
	struct file *file, *next;

	writers_try_again(registry);
	HASH_ITER(by_id, registry->by_id, file, next)
	{
		if (file_refresh(registry, file) == 0)
			let_go_if_deleted(registry, file);
	}
	close_idle_of(registry, registry->bare);
	registry_close_idle_remote(registry);
}

/* Counts that @client has the file open, once more. 0 or -ENOMEM. */
static int count_opening(struct client *client, struct file *file)
{
	struct file_user *user;
	int r;

	r = file_add_user(file, client->account, &user);
	if (r < 0)
		return r;
	r = client_open_file(client, file->id);
	if (r > 0)
		user->n_clients++;
	file_forget_user(file, user);
	return r < 0 ? r : 0;
}

int registry_open(struct registry *registry, struct client *client, struct open_request *request, struct file **found)
{
	struct file *file = request->volume->weak ? NULL : file_find_identity(registry, request->facts);
	bool is_new = !file;
	int r;

	if (!(file && client_has_file(client, file->id)) && client->account->n_openings >= registry->limits.quota.files)
		return -EDQUOT;
	if (is_new) {
		if (!request->volume->local && !remote_make_handle(registry, client->account, request->in_turn))
			return REGISTRY_OVER_QUOTA;
		if (!room_make_handle(registry, request->in_turn))
			return REGISTRY_NO_ROOM;
		r = file_new(&file, registry, request, client->account);
	} else {
		file_touch(registry, file);
		r = file_refresh(registry, file);
	}
	if (r < 0)
		return r;
	r = count_opening(client, file);
	if (r < 0 && is_new) {
		request->fd = take_fd(&file->fd);
		file_free(registry, file);
	}
	if (!r)
		*found = file;
	return r;
}

int registry_close(struct registry *registry, struct client *client, uint64_t file_id)
{
	struct file *file = file_find(registry, file_id);
	int r;

	r = client_close_file(client, file_id);
	if (r > 0 && file) {
		struct file_user *user = file_find_user(file, client->account);

		user->n_clients--;
		file_forget_user(file, user);
		if (file_refresh(registry, file) == 0)
			let_go_if_deleted(registry, file);
	}
	return r < 0 ? r : 0;
}

/* ---- eviction on demand ---- */

static bool is_meant(const struct file *file, const struct client *client, const char *path)
{
	return file_belongs_to(file, client->account->uid) && (!path || label_is_below(text_of(file->label), path));
}

void registry_evict_files(struct registry *registry, struct client *client, const char *path, uint64_t *bytes, uint64_t *maps)
{
	struct file *file, *next_file;

	HASH_ITER(by_id, registry->by_id, file, next_file)
	{
		struct region *region, *next;

		if (!is_meant(file, client, path))
			continue;
		HASH_ITER(by_window, file->regions, region, next)
		{
			uint64_t length = region->length;

			if (region->draining || !region_evict(registry, region))
				continue;
			*bytes += length;
			*maps += 1;
		}
	}
}

bool registry_close_files(struct registry *registry, struct client *client, const char *path)
{
	struct file *file, *next;
	bool draining = false;

	HASH_ITER(by_id, registry->by_id, file, next)
	{
		if (!is_meant(file, client, path))
			continue;
		draining = draining || file->n_draining;
		if (!file->n_regions)
			file_free(registry, file);
	}
	DL_FOREACH(registry->closing, file)
		draining = draining || is_meant(file, client, path);
	return draining;
}

bool registry_drains(const struct registry *registry, const struct client *client)
{
	const struct file *file;

	for (file = registry->by_id; file; file = file->by_id.next)
		if (is_meant(file, client, NULL) && file->n_draining)
			return true;
	return false;
}

/* ---- clients ---- */

bool registry_release(struct registry *registry, struct client *client, const struct slot_ref *ref)
{
	struct lease *lease = client_find_lease(client, ref);

	if (!lease)
		return false;
	end_lease(registry, lease);
	return true;
}

/*
 * Looks at up to @most leases that were named to a client: those which it has marked as unmapped have ended. Marks come in the order in which leases
 * were named, but for what the client has taken back itself, and says. How many were looked at.
 */
static uint64_t look_for_marks(struct registry *registry, struct client *client, uint64_t most)
{
	struct lease *lease, *next;
	uint64_t n = 0;

	DL_FOREACH_SAFE2(client->named, lease, next, next_of_client)
	{
		if (n == most)
			break;
		n++;
		if (lease_is_unmapped(lease))
			end_lease(registry, lease);
	}
	return n;
}

void registry_look_for_marks(struct registry *registry, struct client *client)
{
	look_for_marks(registry, client, MARKS_OF_A_CLIENT);
}

/* Liars that mark nothing make this no longer: the next time begins with the client behind. */
static void look_for_all_marks(struct registry *registry)
{
	uint64_t left = MARKS_IN_A_TURN;
	struct client *client;

	DL_FOREACH(registry->clients, client)
	{
		if (client->serial < registry->next_marked)
			continue;
		if (!left) {
			registry->next_marked = client->serial;
			return;
		}
		left -= look_for_marks(registry, client, min_u64(left, MARKS_OF_A_CLIENT));
	}
	registry->next_marked = 0;
}

void registry_tick(struct registry *registry)
{
	registry->ticks++;
	look_for_all_marks(registry);
	while (registry->in_time && registry->ticks - registry->in_time->recalled_tick >= REGISTRY_LATE_TICKS) {
		/* Behind many liars it may not have been looked at yet. */
		if (lease_is_unmapped(registry->in_time))
			end_lease(registry, registry->in_time);
		else
			lease_be_late(registry, registry->in_time);
	}
}

bool registry_set_waits(struct registry *registry, bool waits)
{
	uint64_t releases = registry->releases;

	if (waits == pulse_waits(registry->pulse))
		return false;
	pulse_set_waits(registry->pulse, waits);
	if (waits)
		look_for_all_marks(registry);
	return registry->releases != releases;
}

void registry_add_client(struct registry *registry, struct client *client)
{
	client->serial = registry->next_serial++;
	DL_APPEND(registry->clients, client);
}

void registry_remove_client(struct registry *registry, struct client *client)
{
	struct client_file *opened, *next;

	/* What it has marked ends first: so what was to be mapped then is, and stays. */
	registry_look_for_marks(registry, client);
	client->leaves = true;
	for (uint32_t slot = 0; slot < client->n_slots; slot++)
		if (client->slots[slot].lease)
			end_lease(registry, client->slots[slot].lease);
	HASH_ITER(hh, client->files, opened, next)
	{
		opened->n_opens = 1;
		registry_close(registry, client, opened->id);
	}
	DL_DELETE(registry->clients, client);
}
