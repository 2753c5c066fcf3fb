/* SPDX-License-Identifier: BSD-3-Clause */
/* The first part of what `smmapd status` shows to people: bars of the limits, and a few facts, in lines that fit the terminal. */
#include "config.h"

#include "daemon/status.h"

#include "daemon/label.h"
#include "daemon/size.h"
#include "proto/util.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

/* ---- bars ---- */

/* Columns of a bar, on a terminal of so many. */
static size_t bar_width(const struct look *look)
{
	return look->width && look->width < 64 ? 10 : 32;
}

/* In eighths of a column where there are characters for that. What is used at all shows, and only what is full is full. */
static char *make_bar(double share, const struct look *look)
{
	static const char *const eighths[] = {"", "\u258f", "\u258e", "\u258d", "\u258c", "\u258b", "\u258a", "\u2589"};
	unsigned parts = look->utf8 ? 8 : 1;
	size_t width = bar_width(look), n = (size_t)(share * (double)(width * parts));
	char *bar = malloc(width * 3 + 1), *end = bar;

	if (!bar)
		return NULL;
	n = (size_t)min_u64(share > 0 && !n ? 1 : n, width * parts);
	for (size_t i = 0; i < n / parts; i++)
		end = stpcpy(end, look->utf8 ? "\u2588" : "#");
	end = stpcpy(end, look->utf8 ? eighths[n % parts] : "");
	for (size_t i = n; !look->utf8 && i < width; i++)
		*end++ = '.';
	*end = '\0';
	return bar;
}

static const char *colour_of(double share)
{
	if (share >= 0.95)
		return "red";
	return share >= 0.8 ? "yellow" : "green";
}

struct limit {
	const char *name;
	uint64_t used;
	uint64_t limit;
	bool bytes;
};

static void add_limit(struct table *table, const struct limit *limit, const struct look *look)
{
	double share = limit->limit ? (double)limit->used / (double)limit->limit : 0;
	_cleanup_(freep) char *bar = make_bar(share, look);
	char used[SIZE_TEXT_MAX], of[SIZE_TEXT_MAX];

	snprintf(used, sizeof(used), "%" PRIu64, limit->used);
	snprintf(of, sizeof(of), "%" PRIu64, limit->limit);
	table_add_row(table);
	table_set(table, 0, "%s", limit->name);
	table_set(table, 1, "%s", bar ? bar : "");
	table_set_colour(table, 1, colour_of(share));
	table_set(table, 2, "%s", limit->bytes ? size_print(limit->used, used) : used);
	table_set(table, 3, "%s", limit->bytes ? size_print(limit->limit, of) : of);
	/* 100% is said only of what is full. */
	table_set(table, 4, "%d%%", (int)(100 * share));
}

static int print_limits(const struct figures_summary *summary, const struct look *look)
{
	static const struct table_column columns[] = {
		{"LIMIT", TABLE_LEFT, 0}, {"", TABLE_LEFT, 1}, {"USED", TABLE_RIGHT, 0}, {"OF", TABLE_RIGHT, 0}, {"SHARE", TABLE_RIGHT, 0},
	};
	const struct limit limits[] = {
		{"memory", summary->memory_bytes, summary->limit_memory_bytes, true},
		{"files", summary->handles, summary->limit_handles, false},
		{"maps", summary->maps, summary->limit_maps, false},
	};
	_cleanup_(table_deinit) struct table table;

	table_init(&table, columns, 5);
	for (size_t i = 0; i < 3; i++)
		add_limit(&table, &limits[i], look);
	return table_print(&table, look);
}

/* ---- facts ---- */

#define NAME_WIDTH 12

/* Prints a name, and a sentence beside it, broken at blanks where it does not fit. */
static void say(const struct look *look, const char *name, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void say(const struct look *look, const char *name, const char *format, ...)
{
	char sentence[512], *rest = sentence, *word;
	size_t column = NAME_WIDTH;
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(sentence, sizeof(sentence), format, arguments);
	va_end(arguments);
	fprintf(look->out, "%-*s", NAME_WIDTH - 1, name);
	while ((word = strsep(&rest, " "))) {
		size_t length = strlen(word);

		if (look->width && column + length >= look->width && column > NAME_WIDTH) {
			fprintf(look->out, "\n%*s", NAME_WIDTH - 1, "");
			column = NAME_WIDTH;
		}
		fprintf(look->out, " %s", word);
		column += length + 1;
	}
	putc('\n', look->out);
}

/* What happened since some figures: those of the start are all zero. */
struct change {
	double seconds;
	uint64_t grants;
	uint64_t hits;
};

/* False if these are no figures of the same server. */
static bool change_since(const struct figures *figures, const struct figures *before, struct change *change)
{
	const struct figures_summary *now = figures_summary(figures), *then = before ? figures_summary(before) : NULL;

	if (!then || now->pid != then->pid || now->grants < then->grants || now->hits < then->hits ||
	    now->uptime_seconds < then->uptime_seconds || figures->taken_ns <= before->taken_ns)
		return false;
	*change = (struct change){
		.seconds = (double)(figures->taken_ns - before->taken_ns) / 1e9,
		.grants = now->grants - then->grants,
		.hits = now->hits - then->hits,
	};
	return true;
}

static const char *print_hit_rate(const struct change *change, char text[static SIZE_TEXT_MAX])
{
	uint64_t uses = change->hits + change->grants;

	if (uses)
		snprintf(text, SIZE_TEXT_MAX, "%.1f%%", 100 * (double)change->hits / (double)uses);
	else
		snprintf(text, SIZE_TEXT_MAX, "-");
	return text;
}

static void print_rates(const struct figures *figures, const struct figures *before, const struct look *look)
{
	const struct figures_summary *summary = figures_summary(figures);
	/* A server that has just started was there for a part of its first second. */
	struct change all = {(double)max_u64(summary->uptime_seconds, 1), summary->grants, summary->hits}, change;
	char text[SIZE_TEXT_MAX], now[SIZE_TEXT_MAX];

	if (change_since(figures, before, &change)) {
		say(look, "hit rate", "%s of %" PRIu64 " uses, %s since the last frame", print_hit_rate(&all, text), all.hits + all.grants,
		    print_hit_rate(&change, now));
		say(look, "grants", "%.1f a second, %.1f since the last frame", (double)all.grants / all.seconds,
		    (double)change.grants / change.seconds);
	} else {
		say(look, "hit rate", "%s of %" PRIu64 " uses", print_hit_rate(&all, text), all.hits + all.grants);
		say(look, "grants", "%.1f a second, %" PRIu64 " in all", (double)all.grants / all.seconds, all.grants);
	}
}

static void print_title(const struct figures_summary *summary, const struct look *look)
{
	char age[SIZE_TEXT_MAX], title[128];
	_cleanup_(freep) char *version = label_print(summary->version), *socket = label_print(summary->socket);
	size_t width;

	snprintf(title, sizeof(title), "smmapd %s, pid %" PRIu32 ", up %s, on ", version ? version : "", summary->pid,
		 age_print(summary->uptime_seconds, age));
	width = label_width(title);
	if (!look->width || width + label_width(socket ? socket : "") <= look->width)
		fprintf(look->out, "%s%s\n", title, socket ? socket : "");
	else
		fprintf(look->out, "%s\n%s\n", label_tail(title, look->width), label_tail(socket ? socket : "", look->width));
}

int status_print_summary(const struct figures *figures, const struct figures *before, const struct look *look)
{
	const struct figures_summary *summary = figures_summary(figures);
	char one[SIZE_TEXT_MAX], two[SIZE_TEXT_MAX], three[SIZE_TEXT_MAX];
	int r;

	print_title(summary, look);
	putc('\n', look->out);
	r = print_limits(summary, look);
	if (r < 0)
		return r;
	putc('\n', look->out);

	say(look, "pinned", "%s, and %s draining; a window is %s", size_print(summary->pinned_bytes, one),
	    size_print(summary->draining_bytes, two), size_print(summary->limit_window_bytes, three));
	say(look, "one user", "may lease %s in %" PRIu64 " regions of %" PRIu64 " files, with %" PRIu64 " clients",
	    size_print(summary->quota_memory_bytes, one), summary->quota_maps, summary->quota_handles, summary->quota_clients);
	say(look, "clients", "%" PRIu64 " (this one is counted), with %" PRIu64 " leases", summary->clients, summary->leases);
	if (summary->closing)
		say(look, "closing", "%" PRIu64 " descriptors, which may have to wait for a file system", summary->closing);
	print_rates(figures, before, look);
	if (summary->grant_count)
		say(look, "a grant took", "%s (p50), %s (p99), %s at worst", time_print(summary->grant_p50_ns, one),
		    time_print(summary->grant_p99_ns, two), time_print(summary->grant_worst_ns, three));
	say(look, "events",
	    "%" PRIu64 " evictions, %" PRIu64 " recalls, %" PRIu64 " waits, %" PRIu64 " refusals, %" PRIu64 " protocol errors, %" PRIu64
	    " disconnections",
	    summary->evictions, summary->recalls, summary->waits, summary->refusals, summary->protocol_errors, summary->disconnections);
	return 0;
}

void status_print_absence(const char *socket, const char *why, const struct look *look)
{
	size_t width = look->width > NAME_WIDTH ? look->width - NAME_WIDTH : SIZE_MAX;

	say(look, "socket", "%s", label_tail(socket, width));
	say(look, "no figures", "%s", why);
	say(look, "", "Waiting for a server.");
}
