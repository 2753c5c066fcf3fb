/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Figures in the text format that Prometheus reads, such that it is right by both definitions of it: OpenMetrics, and the older
 * one of Prometheus, for which # UNIT and # EOF are comments.
 *
 * They differ in what the # TYPE of a counter has to name: with _total, or without. So counters have none: by both they are then
 * of unknown type, which Prometheus treats the same.
 */
#include "config.h"

#include "daemon/status.h"

#include "daemon/label.h"
#include "proto/util.h"

#include <inttypes.h>

/* What says of a family what it is. @unit is the end of its name, "" for a plain number. */
static void begin(FILE *out, const char *name, const char *type, const char *unit, const char *help)
{
	fprintf(out, "# HELP smmapd_%s %s\n# TYPE smmapd_%s %s\n", name, help, name, type);
	if (*unit)
		fprintf(out, "# UNIT smmapd_%s %s\n", name, unit);
}

struct gauge {
	const char *name;
	const char *unit;
	const char *help;
	uint64_t value;
};

static void print_gauges(FILE *out, const struct figures *figures)
{
	const struct figures_summary *summary = figures_summary(figures);
	const struct gauge gauges[] = {
		{"uptime_seconds", "seconds", "Since the start of the server.", summary->uptime_seconds},
		{"heap_bytes", "bytes", "Allocated in the server's own heap.", summary->heap_bytes},
		{"memory_bytes", "bytes", "All regions that are mapped.", summary->memory_bytes},
		{"memory_limit_bytes", "bytes", "What they may have: max-memory.", summary->limit_memory_bytes},
		{"memory_pinned_bytes", "bytes", "Of these, what a program stands on.", summary->pinned_bytes},
		{"memory_draining_bytes", "bytes", "Of these, what is evicted and not yet unmapped by its clients.", summary->draining_bytes},
		{"files", "", "Files that the server has open.", summary->handles},
		{"files_limit", "", "What it may have: max-handles.", summary->limit_handles},
		{"closing", "", "Descriptors that are still to be closed.", summary->closing},
		{"maps", "", "Regions that are mapped.", summary->maps},
		{"maps_limit", "", "What there may be: max-maps.", summary->limit_maps},
		{"window_bytes", "bytes", "The size of a window.", summary->limit_window_bytes},
		{"clients", "", "Clients that are connected, the one that asks too.", summary->clients},
		{"leases", "", "Leases of all clients.", summary->leases},
		{"waiting_requests", "", "Requests that wait for room.", figures->sections[FIGURES_WAITING].n},
		{"user_quota_bytes", "bytes", "What one user may lease.", summary->quota_memory_bytes},
	};

	for (size_t i = 0; i < sizeof(gauges) / sizeof(gauges[0]); i++) {
		begin(out, gauges[i].name, "gauge", gauges[i].unit, gauges[i].help);
		fprintf(out, "smmapd_%s %" PRIu64 "\n", gauges[i].name, gauges[i].value);
	}
}

static void print_counters(FILE *out, const struct figures_summary *summary)
{
	const struct gauge counters[] = {
		{"grants_total", "", "Leases granted.", summary->grants},
		{"hits_total", "", "Pins that needed no grant.", summary->hits},
		{"evictions_total", "", "Regions evicted.", summary->evictions},
		{"recalls_total", "", "Leases taken back.", summary->recalls},
		{"waits_total", "", "Requests that had to wait.", summary->waits},
		{"refusals_total", "", "Requests that were refused.", summary->refusals},
		{"protocol_errors_total", "", "Packets that ended a connection.", summary->protocol_errors},
		{"disconnections_total", "", "Clients that were disconnected, for whatever they did.", summary->disconnections},
	};

	for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++)
		fprintf(out, "# HELP smmapd_%s %s\nsmmapd_%s %" PRIu64 "\n", counters[i].name, counters[i].help, counters[i].name,
			counters[i].value);
}

static void print_seconds(FILE *out, const char *name, uint64_t ns)
{
	fprintf(out, "smmapd_grant_seconds%s %" PRIu64 ".%09" PRIu64 "\n", name, ns / 1000000000, ns % 1000000000);
}

static void print_grant_time(FILE *out, const struct figures_summary *summary)
{
	begin(out, "grant_seconds", "summary", "seconds", "From the arrival of a request for a lease to its answer.");
	if (summary->grant_count) {
		print_seconds(out, "{quantile=\"0.5\"}", summary->grant_p50_ns);
		print_seconds(out, "{quantile=\"0.99\"}", summary->grant_p99_ns);
		print_seconds(out, "{quantile=\"1\"}", summary->grant_worst_ns);
	}
	print_seconds(out, "_sum", summary->grant_sum_ns);
	fprintf(out, "smmapd_grant_seconds_count %" PRIu64 "\n", summary->grant_count);
}

static void print_users(FILE *out, const struct figures *figures)
{
	static const struct {
		const char *name;
		const char *unit;
		const char *help;
		size_t offset;
	} families[] = {
		{"user_leased_bytes", "bytes", "Regions that the user leases, each counted once.", offsetof(struct figures_user, leased_bytes)},
		{"user_leased_maps", "", "These regions.", offsetof(struct figures_user, leased_maps)},
		{"user_leased_files", "", "Files of these regions.", offsetof(struct figures_user, leased_handles)},
		{"user_leases", "", "Leases, each counted once for each of its regions.", offsetof(struct figures_user, leases)},
		{"user_open_files", "", "Files that the user has open, counted for each client.", offsetof(struct figures_user, files)},
		{"user_clients", "", "Clients of the user that are connected.", offsetof(struct figures_user, clients)},
		{"user_waiting_requests", "", "Requests of the user that wait.", offsetof(struct figures_user, requests)},
	};
	const struct figures_rows *users = &figures->sections[FIGURES_USERS];

	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		begin(out, families[i].name, "gauge", families[i].unit, families[i].help);
		for (size_t k = 0; k < users->n; k++) {
			const struct figures_user *user = figures_row(figures, FIGURES_USERS, k);

			fprintf(out, "smmapd_%s{uid=\"%" PRIu32 "\"} %" PRIu64 "\n", families[i].name, user->uid,
				*(const uint64_t *)((const char *)user + families[i].offset));
		}
	}
}

/* A text as the value of a label: in quotes, where a backslash, a quote and the end of a line are escaped. */
static int print_label(FILE *out, struct text text)
{
	_cleanup_(freep) char *label = label_print(text);

	if (!label)
		return -ENOMEM;
	putc('"', out);
	for (const char *at = label; *at; at++) {
		if (*at == '"' || *at == '\\')
			putc('\\', out);
		putc(*at, out);
	}
	putc('"', out);
	return 0;
}

int status_print_metrics(const struct figures *figures, FILE *out)
{
	const struct figures_summary *summary = figures_summary(figures);
	int r;

	begin(out, "build_info", "gauge", "", "Which server this is; always 1.");
	fputs("smmapd_build_info{version=", out);
	r = print_label(out, summary->version);
	if (r < 0)
		return r;
	fputs("} 1\n", out);
	print_gauges(out, figures);
	print_counters(out, summary);
	print_grant_time(out, summary);
	print_users(out, figures);
	fputs("# EOF\n", out);
	return 0;
}
