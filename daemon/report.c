/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/report.h"

#include "daemon/account.h"
#include "daemon/client.h"
#include "daemon/file.h"
#include "daemon/lease.h"
#include "daemon/region.h"
#include "daemon/registry.h"
#include "proto/figures.h"
#include "proto/pulse.h"
#include "proto/util.h"

struct page {
	char *bytes;
	size_t size;
	size_t length;
	uint64_t from;
	uint64_t row; /* that comes next */
};

/* Adds a row unless it comes before the page; false if the page is full. */
static bool add_row(struct page *page, enum figures_section section, const void *row)
{
	int length;

	if (page->row < page->from) {
		page->row++;
		return true;
	}
	length = codec_encode(figures_layout(section), row, page->bytes + page->length, page->size - page->length);
	if (length < 0)
		return false;
	page->length += (size_t)length;
	page->row++;
	return true;
}

/* ---- summary ---- */

static uint64_t pinned_bytes(const struct registry *registry)
{
	const struct region *region;
	const struct file *file;
	uint64_t bytes = 0;

	for (file = registry->by_id; file; file = file->by_id.next) {
		for (region = file->regions; region; region = region->by_window.next)
			bytes += region_is_pinned(region) ? region->length : 0;
		DL_FOREACH(file->detached, region)
			bytes += region_is_pinned(region) ? region->length : 0;
	}
	return bytes;
}

/* Of ended leases and of those that are there. */
static uint64_t hits(const struct registry *registry)
{
	const struct client *client;
	uint64_t n = registry->counters.hits;

	DL_FOREACH(registry->clients, client)
		for (uint32_t slot = 0; slot < client->n_slots; slot++)
			n += board_hits(&client->board.slots[slot]);
	return n;
}

static bool add_summary(const struct registry *registry, const struct report_server *server, struct page *page)
{
	const struct quota *quota = &registry->limits.quota;
	const struct client *client;
	uint64_t n_clients;
	struct figures_summary summary;

	DL_COUNT(registry->clients, client, n_clients);
	summary = (struct figures_summary){
		.version = text_of(PACKAGE_VERSION),
		.pid = (uint32_t)getpid(),
		.uptime_seconds = (registry->now_ms - server->started_ms) / 1000,
		.socket = text_of(server->socket),
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
		.pinned_bytes = pinned_bytes(registry),
		.draining_bytes = registry->usage.draining,
		.handles = registry->usage.handles,
		.maps = registry->usage.maps,
		.clients = n_clients,
		.leases = registry->usage.leases,
		.grants = registry->counters.grants,
		.hits = hits(registry),
		.evictions = registry->counters.evictions,
		.recalls = registry->counters.recalls,
		.waits = registry->counters.waits,
		.refusals = registry->counters.refusals,
		.protocol_errors = registry->counters.protocol_errors,
	};
	return add_row(page, FIGURES_SUMMARY, &summary);
}

/* ---- clients ---- */

static struct figures_client describe_client(const struct registry *registry, const struct client *client)
{
	struct figures_client row = {
		.pid = (uint32_t)client->pid,
		.uid = (uint32_t)client->account->uid,
		.name = text_of(client->name),
		.leases = client->n_leases,
	};
	uint32_t second = pulse_second(registry->pulse);

	for (uint32_t slot = 0; slot < client->n_slots; slot++) {
		const struct lease *lease = client->slots[slot].lease;
		uint32_t since = board_pinned_since(&client->board.slots[slot]);

		if (!lease)
			continue;
		row.mapped_bytes += round_up(lease->length, page_size());
		if (!lease_is_pinned(lease))
			continue;
		row.pinned_bytes += round_up(lease->length, page_size());
		if (since <= second)
			row.oldest_pin_seconds = max_u64(row.oldest_pin_seconds, second - since);
	}
	return row;
}

static bool add_clients(const struct registry *registry, struct page *page)
{
	const struct client *client;

	DL_FOREACH(registry->clients, client)
	{
		struct figures_client row = describe_client(registry, client);

		if (!add_row(page, FIGURES_CLIENTS, &row))
			return false;
	}
	return true;
}

/* ---- users ---- */

static bool add_users(const struct registry *registry, struct page *page)
{
	const struct account *account;

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

		if (!add_row(page, FIGURES_USERS, &row))
			return false;
	}
	return true;
}

/* ---- files ---- */

static bool add_files(const struct registry *registry, uid_t uid, struct page *page)
{
	const struct file *file;

	for (file = registry->by_id; file; file = file->by_id.next) {
		const struct region *region;
		struct figures_file row = {
			.path = text_of(file->label),
			.size_bytes = file->size,
			.regions = file->n_regions,
			.clients = file_count_clients(file),
		};

		if (!file_is_visible(file, uid))
			continue;
		for (region = file->regions; region; region = region->by_window.next)
			row.mapped_bytes += region->length;
		if (!add_row(page, FIGURES_FILES, &row))
			return false;
	}
	return true;
}

int report_page(const struct registry *registry, const struct report_server *server, uid_t uid, uint32_t section, uint64_t from,
		void *bytes, size_t size, uint64_t *next)
{
	struct page page = {.bytes = bytes, .size = size, .from = from};
	bool whole;

	switch (section) {
	case FIGURES_SUMMARY:
		whole = add_summary(registry, server, &page);
		break;
	case FIGURES_CLIENTS:
		whole = add_clients(registry, &page);
		break;
	case FIGURES_FILES:
		whole = add_files(registry, uid, &page);
		break;
	case FIGURES_USERS:
		whole = add_users(registry, &page);
		break;
	default:
		return -EINVAL;
	}
	*next = whole ? 0 : page.row;
	return (int)page.length;
}
