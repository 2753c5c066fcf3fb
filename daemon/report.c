/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/report.h"

#include "daemon/account.h"
#include "daemon/client.h"
#include "daemon/errand.h"
#include "daemon/file.h"
#include "daemon/lease.h"
#include "daemon/region.h"
#include "daemon/registry.h"
#include "daemon/request.h"
#include "daemon/share.h"
#include "proto/figures.h"
#include "proto/pulse.h"
#include "proto/util.h"

/* Adds a row; false if the page is full. Then it goes on @here. */
static bool add_row(struct report_page *page, uint64_t here, const void *row)
{
	int length;

	length = codec_encode(figures_layout(page->section), row, page->bytes + page->length, page->size - page->length);
	if (length < 0) {
		page->next = here;
		return false;
	}
	page->length += (size_t)length;
	return true;
}

/* The name of a file as far as the asking user may see it. */
static struct text path_for(const struct file *file, uid_t uid)
{
	return text_of(file && file_is_visible(file, uid) ? file->label : "");
}

/* ---- summary ---- */

static int add_summary(struct registry *registry, const struct report_server *server, struct report_page *page, uint64_t *ticket)
{
	const struct quota *quota = &registry->limits.quota;
	const struct client *client;
	uint64_t n_clients;
	struct figures_summary summary;

	if (page->from)
		return 0;
	if (!census_take(registry, ticket))
		return REPORT_WAITS;
	DL_COUNT(registry->clients, client, n_clients);
	summary = (struct figures_summary){
		.version = text_of(PACKAGE_VERSION),
		.pid = (uint32_t)getpid(),
		.uptime_seconds = (registry->now_ms - server->started_ms) / 1000,
		.socket = text_of(server->socket),
		.heap_bytes = heap_measure(server->heap, registry->now_ms),
		.limit_memory_bytes = registry->limits.memory,
		.limit_handles = registry->limits.handles,
		.limit_maps = registry->limits.maps,
		.limit_window_bytes = registry->limits.window,
		.quota_memory_bytes = quota->memory,
		.quota_maps = quota->maps,
		.quota_handles = quota->handles,
		.quota_leases = quota->leases,
		.quota_files = quota->files,
		.quota_clients = quota->clients,
		.quota_requests = quota->requests,
		.memory_bytes = registry->usage.memory,
		.pinned_bytes = registry->census.pinned_bytes,
		.draining_bytes = registry->usage.draining,
		.closing = server->errands->n,
		.handles = registry->usage.handles,
		.maps = registry->usage.maps,
		.clients = n_clients,
		.leases = registry->usage.leases,
		.grants = registry->counters.grants,
		.hits = registry->counters.hits,
		.evictions = registry->counters.evictions,
		.recalls = registry->counters.recalls,
		.waits = registry->counters.waits,
		.refusals = registry->counters.refusals,
		.protocol_errors = registry->counters.protocol_errors,
		.disconnections = registry->counters.disconnections,
		.grant_count = server->grants.count,
		.grant_sum_ns = server->grants.sum_ns,
		.grant_p50_ns = times_quantile(&server->grants, 50),
		.grant_p99_ns = times_quantile(&server->grants, 99),
		.grant_worst_ns = server->grants.worst_ns,
	};
	add_row(page, 1, &summary);
	return 0;
}

/* ---- clients ---- */

/* The age of a pin in seconds, as far as the board tells. */
static uint64_t pin_age(const struct registry *registry, const struct client *client, uint32_t slot)
{
	uint32_t second = pulse_second(registry->pulse), since = board_pinned_since(&client->board.slots[slot]);

	return since <= second ? second - since : 0;
}

static struct figures_client describe_client(const struct registry *registry, const struct client *client)
{
	struct figures_client row = {
		.pid = (uint32_t)client->pid,
		.uid = (uint32_t)client->account->uid,
		.name = text_of(client->name),
		.leases = client->n_leases,
	};

	for (uint32_t slot = 0; slot < client->n_slots; slot++) {
		const struct lease *lease = client->slots[slot].lease;

		if (!lease)
			continue;
		row.mapped_bytes += round_up(lease->length, page_size());
		if (!lease_is_pinned(lease))
			continue;
		row.pinned_bytes += round_up(lease->length, page_size());
		row.oldest_pin_seconds = max_u64(row.oldest_pin_seconds, pin_age(registry, client, slot));
	}
	return row;
}

/* Goes on with a client by its serial. One client is looked at in any case, as far as its board goes. */
static int add_clients(struct registry *registry, struct report_page *page)
{
	const struct client *client;

	if (!registry->looks) {
		registry->cut_short = true;
		return REPORT_WAITS;
	}
	DL_FOREACH(registry->clients, client)
	{
		struct figures_client row;

		if (client->serial < page->from)
			continue;
		if (!registry->looks) {
			page->next = client->serial;
			return 0;
		}
		row = describe_client(registry, client);
		if (!add_row(page, client->serial, &row))
			return 0;
		registry->looks -= min_u64(registry->looks, client->n_slots);
	}
	return 0;
}

/* ---- pins ---- */

/* A place among all slots: a client's serial, and its slot, of which no board has more. */
#define SLOT_BITS 16

static bool add_pin(const struct registry *registry, const struct client *client, uint32_t slot, struct report_page *page)
{
	const struct lease *lease = client->slots[slot].lease;
	struct figures_pin row;

	if (!lease || !lease_is_pinned(lease))
		return true;
	row = (struct figures_pin){
		.pid = (uint32_t)client->pid,
		.uid = (uint32_t)client->account->uid,
		.name = text_of(client->name),
		.bytes = round_up(lease->length, page_size()),
		.seconds = pin_age(registry, client, slot),
	};
	row.path = path_for(lease->holds[0].share->region->file, page->uid);
	/* Where others read is for them to know. */
	if (page->uid == 0 || page->uid == client->account->uid)
		row.offset = lease->offset;
	return add_row(page, client->serial << SLOT_BITS | slot, &row);
}

static int add_pins(struct registry *registry, struct report_page *page)
{
	const struct client *client;

	if (!registry->looks) {
		registry->cut_short = true;
		return REPORT_WAITS;
	}
	DL_FOREACH(registry->clients, client)
	{
		uint64_t first = client->serial << SLOT_BITS, slot = page->from > first ? page->from - first : 0;

		for (; slot < client->n_slots; slot++) {
			if (!registry->looks) {
				page->next = first | slot;
				return 0;
			}
			registry->looks--;
			if (!add_pin(registry, client, (uint32_t)slot, page))
				return 0;
		}
	}
	return 0;
}

/* ---- users ---- */

static void add_users(const struct registry *registry, struct report_page *page)
{
	const struct account *account;
	uint64_t n = 0;

	DL_FOREACH(registry->accounts, account)
	{
		struct figures_user row = {
			.uid = (uint32_t)account->uid,
			.clients = account->n_clients,
			.files = account->n_openings,
			.leases = account->held.leases,
			.leased_bytes = account->held.memory,
			.leased_maps = account->held.maps,
			.leased_handles = account->held.handles,
			.requests = account->n_waiting,
		};

		if (n++ >= page->from && !add_row(page, n - 1, &row))
			return;
	}
}

/* ---- files ---- */

/* The file where a page begins. Where it is gone meanwhile, the next one. */
static const struct file *first_file(const struct registry *registry, uint64_t id)
{
	const struct file *file = id ? file_find(registry, id) : registry->by_id;

	if (!file && id < registry->next_file_id)
		for (file = registry->by_id; file && file->id < id;)
			file = file->by_id.next;
	return file;
}

static void add_files(const struct registry *registry, struct report_page *page)
{
	const struct file *file;

	for (file = first_file(registry, page->from); file; file = file->by_id.next) {
		struct figures_file row = {
			.path = text_of(file->label),
			.size_bytes = file->size,
			.mapped_bytes = file->mapped_bytes,
			.regions = file->n_regions,
			.clients = file_count_clients(file),
			.device = file->identity.device,
			.inode = file->identity.inode,
			.guarded = write_guard_is_up(&file->guard),
		};

		if (file_is_visible(file, page->uid) && !add_row(page, file->id, &row))
			return;
	}
}

/* ---- what waits ---- */

static struct figures_waiting describe_waiting(const struct registry *registry, const struct request *request, uid_t uid)
{
	const struct client *client = request->client;
	const struct message *message = &request->message;
	struct figures_waiting row = {
		.pid = (uint32_t)client->pid,
		.uid = (uint32_t)client->account->uid,
		.name = text_of(client->name),
		.request = text_of(request_name(request)),
		.waits_for = text_of(request_shortage(request, registry)),
		.path = text_of(""),
		.milliseconds = registry->now_ms - min_u64(registry->now_ms, request->arrived_ns / 1000000),
	};

	if (message->type == MESSAGE_LEASE) {
		row.path = path_for(file_find(registry, message->lease.file), uid);
		row.bytes = message->lease.length;
	} else if (uid == 0 || uid == client->account->uid) {
		if (message->type == MESSAGE_OPEN)
			row.path = message->open.label;
		if (message->type == MESSAGE_DROP)
			row.path = message->drop.path;
	}
	return row;
}

static void add_waiting(const struct registry *registry, struct report_page *page)
{
	const struct account *account;
	uint64_t n = 0;

	DL_FOREACH(registry->accounts, account)
	{
		const struct request *request;

		DL_FOREACH(account->waiting, request)
		{
			struct figures_waiting row;

			if (n++ < page->from)
				continue;
			row = describe_waiting(registry, request, page->uid);
			if (!add_row(page, n - 1, &row))
				return;
		}
	}
}

int report_page(struct registry *registry, const struct report_server *server, struct report_page *page, uint64_t *census)
{
	switch (page->section) {
	case FIGURES_SUMMARY:
		return add_summary(registry, server, page, census);
	case FIGURES_CLIENTS:
		return add_clients(registry, page);
	case FIGURES_FILES:
		add_files(registry, page);
		return 0;
	case FIGURES_USERS:
		add_users(registry, page);
		return 0;
	case FIGURES_WAITING:
		add_waiting(registry, page);
		return 0;
	case FIGURES_PINS:
		return add_pins(registry, page);
	default:
		return -EINVAL;
	}
}
