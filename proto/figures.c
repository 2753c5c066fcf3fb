/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "proto/figures.h"

#define SUMMARY(kind_, name_, member)                                                                \
	{                                                                                            \
		.name = (name_), .kind = (kind_), .offset = offsetof(struct figures_summary, member) \
	}

static const struct field summary[] = {
	SUMMARY(FIELD_TEXT, "daemon.version", version),
	SUMMARY(FIELD_U32, "daemon.pid", pid),
	SUMMARY(FIELD_U64, "daemon.uptime_seconds", uptime_seconds),
	SUMMARY(FIELD_TEXT, "daemon.socket", socket),
	SUMMARY(FIELD_U64, "daemon.heap_bytes", heap_bytes),
	SUMMARY(FIELD_U64, "limits.memory_bytes", limit_memory_bytes),
	SUMMARY(FIELD_U64, "limits.handles", limit_handles),
	SUMMARY(FIELD_U64, "limits.maps", limit_maps),
	SUMMARY(FIELD_U64, "limits.window_bytes", limit_window_bytes),
	SUMMARY(FIELD_U64, "quotas.memory_bytes", quota_memory_bytes),
	SUMMARY(FIELD_U64, "quotas.maps", quota_maps),
	SUMMARY(FIELD_U64, "quotas.handles", quota_handles),
	SUMMARY(FIELD_U64, "quotas.leases", quota_leases),
	SUMMARY(FIELD_U64, "quotas.files", quota_files),
	SUMMARY(FIELD_U64, "quotas.clients", quota_clients),
	SUMMARY(FIELD_U64, "quotas.requests", quota_requests),
	SUMMARY(FIELD_U64, "usage.memory_bytes", memory_bytes),
	SUMMARY(FIELD_U64, "usage.pinned_bytes", pinned_bytes),
	SUMMARY(FIELD_U64, "usage.draining_bytes", draining_bytes),
	SUMMARY(FIELD_U64, "usage.handles", handles),
	SUMMARY(FIELD_U64, "usage.closing", closing),
	SUMMARY(FIELD_U64, "usage.maps", maps),
	SUMMARY(FIELD_U64, "usage.clients", clients),
	SUMMARY(FIELD_U64, "usage.leases", leases),
	SUMMARY(FIELD_U64, "counters.grants", grants),
	SUMMARY(FIELD_U64, "counters.hits", hits),
	SUMMARY(FIELD_U64, "counters.evictions", evictions),
	SUMMARY(FIELD_U64, "counters.recalls", recalls),
	SUMMARY(FIELD_U64, "counters.waits", waits),
	SUMMARY(FIELD_U64, "counters.refusals", refusals),
	SUMMARY(FIELD_U64, "counters.protocol_errors", protocol_errors),
	SUMMARY(FIELD_U64, "counters.disconnections", disconnections),
	SUMMARY(FIELD_U64, "grant_time.count", grant_count),
	SUMMARY(FIELD_U64, "grant_time.sum_nanoseconds", grant_sum_ns),
	SUMMARY(FIELD_U64, "grant_time.p50_nanoseconds", grant_p50_ns),
	SUMMARY(FIELD_U64, "grant_time.p99_nanoseconds", grant_p99_ns),
	SUMMARY(FIELD_U64, "grant_time.worst_nanoseconds", grant_worst_ns),
};

#define ROW(kind_, row, member)                                                      \
	{                                                                            \
		.name = #member, .kind = (kind_), .offset = offsetof(struct row, member) \
	}

static const struct field client[] = {
	ROW(FIELD_U32, figures_client, pid),
	ROW(FIELD_U32, figures_client, uid),
	ROW(FIELD_TEXT, figures_client, name),
	ROW(FIELD_U64, figures_client, leases),
	ROW(FIELD_U64, figures_client, mapped_bytes),
	ROW(FIELD_U64, figures_client, pinned_bytes),
	ROW(FIELD_U64, figures_client, oldest_pin_seconds),
};

static const struct field file[] = {
	ROW(FIELD_TEXT, figures_file, path),
	ROW(FIELD_U64, figures_file, size_bytes),
	ROW(FIELD_U64, figures_file, mapped_bytes),
	ROW(FIELD_U64, figures_file, regions),
	ROW(FIELD_U64, figures_file, clients),
	ROW(FIELD_U64, figures_file, device),
	ROW(FIELD_U64, figures_file, inode),
	ROW(FIELD_U32, figures_file, guarded),
};

static const struct field user[] = {
	ROW(FIELD_U32, figures_user, uid),
	ROW(FIELD_U64, figures_user, clients),
	ROW(FIELD_U64, figures_user, files),
	ROW(FIELD_U64, figures_user, leases),
	ROW(FIELD_U64, figures_user, leased_bytes),
	ROW(FIELD_U64, figures_user, leased_maps),
	ROW(FIELD_U64, figures_user, leased_handles),
	ROW(FIELD_U64, figures_user, requests),
};

static const struct field waiting[] = {
	ROW(FIELD_U32, figures_waiting, pid),
	ROW(FIELD_U32, figures_waiting, uid),
	ROW(FIELD_TEXT, figures_waiting, name),
	ROW(FIELD_TEXT, figures_waiting, request),
	ROW(FIELD_TEXT, figures_waiting, waits_for),
	ROW(FIELD_TEXT, figures_waiting, path),
	ROW(FIELD_U64, figures_waiting, bytes),
	ROW(FIELD_U64, figures_waiting, milliseconds),
};

static const struct field pin[] = {
	ROW(FIELD_U32, figures_pin, pid),
	ROW(FIELD_U32, figures_pin, uid),
	ROW(FIELD_TEXT, figures_pin, name),
	ROW(FIELD_TEXT, figures_pin, path),
	ROW(FIELD_U64, figures_pin, offset),
	ROW(FIELD_U64, figures_pin, bytes),
	ROW(FIELD_U64, figures_pin, seconds),
};

static const struct layout layouts[FIGURES_N_SECTIONS] = {
	[FIGURES_SUMMARY] = LAYOUT(summary),
	[FIGURES_CLIENTS] = LAYOUT(client),
	[FIGURES_FILES] = LAYOUT(file),
	[FIGURES_USERS] = LAYOUT(user),
	[FIGURES_WAITING] = LAYOUT(waiting),
	[FIGURES_PINS] = LAYOUT(pin),
};

const struct layout *figures_layout(uint32_t section)
{
	return section < FIGURES_N_SECTIONS ? &layouts[section] : NULL;
}

int figures_next(struct text *rows, enum figures_section section, void *row)
{
	int length;

	if (!rows->length)
		return 0;
	length = codec_decode(&layouts[section], row, rows->data, rows->length);
	if (length < 0)
		return length;
	rows->data += length;
	rows->length -= (size_t)length;
	return 1;
}
