/* SPDX-License-Identifier: BSD-3-Clause */
/* The second part of what `smmapd status` shows to people: tables, with what matters most first. */
#include "config.h"

#include "daemon/status.h"

#include "daemon/resident.h"
#include "daemon/size.h"
#include "proto/util.h"

#include <inttypes.h>
#include <stdlib.h>

/* How many clients are named where they were not asked for. */
#define N_BIGGEST 5

#define N_COLUMNS(columns) (sizeof(columns) / sizeof((columns)[0]))

/* ---- orders ---- */

static int compare(uint64_t one, uint64_t other)
{
	return (one < other) - (one > other);
}

static int by_leased(const void *one, const void *other)
{
	return compare(((const struct figures_user *)one)->leased_bytes, ((const struct figures_user *)other)->leased_bytes);
}

static int by_mapped(const void *one, const void *other)
{
	return compare(((const struct figures_client *)one)->mapped_bytes, ((const struct figures_client *)other)->mapped_bytes);
}

static int by_mapped_of_file(const void *one, const void *other)
{
	return compare(((const struct figures_file *)one)->mapped_bytes, ((const struct figures_file *)other)->mapped_bytes);
}

static int by_wait(const void *one, const void *other)
{
	return compare(((const struct figures_waiting *)one)->milliseconds, ((const struct figures_waiting *)other)->milliseconds);
}

static int by_age(const void *one, const void *other)
{
	const struct figures_pin *a = one, *b = other;
	int r = compare(a->seconds, b->seconds);

	return r ? r : compare(a->bytes, b->bytes);
}

static void sort(struct figures_rows *rows, size_t size, int (*order)(const void *, const void *))
{
	if (rows->n)
		qsort(rows->rows, rows->n, size, order);
}

/* ---- tables ---- */

/* Prints a table below what is there. */
static int print_below(struct table *table, const struct look *look)
{
	if (table->n_rows)
		putc('\n', look->out);
	return table_print(table, look);
}

/* The same of a table that was asked for: without a row a sentence stands there. */
static int print_asked_for(struct table *table, const char *if_empty, const struct look *look)
{
	if (!table->n_rows && !table->error)
		fprintf(look->out, "\n%s\n", if_empty);
	return print_below(table, look);
}

static void set_age(struct table *table, size_t column, uint64_t seconds)
{
	char text[SIZE_TEXT_MAX];

	table_set(table, column, "%s", age_print(seconds, text));
}

/* A path, or a dash where there is none to see. */
static void set_path(struct table *table, size_t column, struct text path)
{
	table_set_label(table, column, path.length ? path : text_of("-"));
}

static int print_users(struct figures_rows *rows, const struct figures_summary *summary, const struct look *look)
{
	static const struct table_column columns[] = {
		{"UID", TABLE_RIGHT, 0},    {"LEASED", TABLE_RIGHT, 0},     {"OF QUOTA", TABLE_RIGHT, 2}, {"MAPS", TABLE_RIGHT, 4},
		{"FILES", TABLE_RIGHT, 4},  {"OPEN FILES", TABLE_RIGHT, 5}, {"LEASES", TABLE_RIGHT, 3},   {"CLIENTS", TABLE_RIGHT, 1},
		{"WAITING", TABLE_LEFT, 0},
	};
	_cleanup_(table_deinit) struct table table;
	const struct figures_user *users = rows->rows;
	uint64_t quota = max_u64(summary->quota_memory_bytes, 1);

	sort(rows, sizeof(*users), by_leased);
	table_init(&table, columns, N_COLUMNS(columns));
	for (size_t i = 0; i < rows->n; i++) {
		table_add_row(&table);
		table_set_number(&table, 0, users[i].uid);
		table_set_size(&table, 1, users[i].leased_bytes);
		/* 100% is said only of what is full. */
		table_set(&table, 2, "%d%%", (int)(100 * (double)users[i].leased_bytes / (double)quota));
		table_set_number(&table, 3, users[i].leased_maps);
		table_set_number(&table, 4, users[i].leased_handles);
		table_set_number(&table, 5, users[i].files);
		table_set_number(&table, 6, users[i].leases);
		table_set_number(&table, 7, users[i].clients);
		table_set_number(&table, 8, users[i].requests);
	}
	return print_below(&table, look);
}

static int print_clients(struct figures_rows *rows, size_t most, const struct look *look)
{
	static const struct table_column columns[] = {
		{"PID", TABLE_RIGHT, 0},    {"UID", TABLE_RIGHT, 2},        {"LEASES", TABLE_RIGHT, 3}, {"MAPPED", TABLE_RIGHT, 0},
		{"PINNED", TABLE_RIGHT, 1}, {"OLDEST PIN", TABLE_RIGHT, 4}, {"PROGRAM", TABLE_LEFT, 0},
	};
	_cleanup_(table_deinit) struct table table;
	const struct figures_client *clients = rows->rows;

	sort(rows, sizeof(*clients), by_mapped);
	table_init(&table, columns, N_COLUMNS(columns));
	for (size_t i = 0; i < rows->n && i < most; i++) {
		table_add_row(&table);
		table_set_number(&table, 0, clients[i].pid);
		table_set_number(&table, 1, clients[i].uid);
		table_set_number(&table, 2, clients[i].leases);
		table_set_size(&table, 3, clients[i].mapped_bytes);
		table_set_size(&table, 4, clients[i].pinned_bytes);
		if (clients[i].pinned_bytes)
			set_age(&table, 5, clients[i].oldest_pin_seconds);
		else
			table_set(&table, 5, "-");
		table_set_label(&table, 6, clients[i].name);
	}
	return print_below(&table, look);
}

static int print_files(struct figures_rows *rows, const struct look *look)
{
	static const struct table_column columns[] = {
		{"SIZE", TABLE_RIGHT, 1},    {"MAPPED", TABLE_RIGHT, 0}, {"IN MEMORY", TABLE_RIGHT, 2}, {"REGIONS", TABLE_RIGHT, 4},
		{"CLIENTS", TABLE_RIGHT, 3}, {"GUARDED", TABLE_LEFT, 5}, {"PATH", TABLE_LEFT, 0},
	};
	_cleanup_(table_deinit) struct table table;
	const struct figures_file *files = rows->rows;

	sort(rows, sizeof(*files), by_mapped_of_file);
	table_init(&table, columns, N_COLUMNS(columns));
	for (size_t i = 0; i < rows->n; i++) {
		uint64_t resident;

		table_add_row(&table);
		table_set_size(&table, 0, files[i].size_bytes);
		table_set_size(&table, 1, files[i].mapped_bytes);
		if (resident_bytes(files[i].path.data, files[i].device, files[i].inode, &resident) == 0)
			table_set_size(&table, 2, resident);
		else
			table_set(&table, 2, "-");
		table_set_number(&table, 3, files[i].regions);
		table_set_number(&table, 4, files[i].clients);
		table_set(&table, 5, files[i].guarded ? "yes" : "no");
		set_path(&table, 6, files[i].path);
	}
	return print_asked_for(&table, "No file that you may see.", look);
}

static int print_pins(struct figures_rows *rows, const struct look *look)
{
	static const struct table_column columns[] = {
		{"PID", TABLE_RIGHT, 0},   {"UID", TABLE_RIGHT, 2},    {"PROGRAM", TABLE_LEFT, 4}, {"PINNED", TABLE_RIGHT, 1},
		{"FOR", TABLE_RIGHT, 0},   {"OFFSET", TABLE_RIGHT, 3}, {"FILE", TABLE_LEFT, 0},
	};
	_cleanup_(table_deinit) struct table table;
	const struct figures_pin *pins = rows->rows;

	sort(rows, sizeof(*pins), by_age);
	table_init(&table, columns, N_COLUMNS(columns));
	for (size_t i = 0; i < rows->n; i++) {
		table_add_row(&table);
		table_set_number(&table, 0, pins[i].pid);
		table_set_number(&table, 1, pins[i].uid);
		table_set_label(&table, 2, pins[i].name);
		table_set_size(&table, 3, pins[i].bytes);
		set_age(&table, 4, pins[i].seconds);
		/* Others' are not told. */
		if (geteuid() == 0 || geteuid() == pins[i].uid)
			table_set_number(&table, 5, pins[i].offset);
		else
			table_set(&table, 5, "-");
		set_path(&table, 6, pins[i].path);
	}
	return print_asked_for(&table, "Nothing is pinned.", look);
}

static int print_waiting(struct figures_rows *rows, const struct look *look)
{
	static const struct table_column columns[] = {
		{"PID", TABLE_RIGHT, 0},       {"UID", TABLE_RIGHT, 3},     {"PROGRAM", TABLE_LEFT, 4}, {"ASKS FOR", TABLE_LEFT, 2},
		{"WAITS FOR", TABLE_LEFT, 0}, {"SINCE", TABLE_RIGHT, 1}, {"FILE", TABLE_LEFT, 0},
	};
	_cleanup_(table_deinit) struct table table;
	const struct figures_waiting *waiting = rows->rows;

	sort(rows, sizeof(*waiting), by_wait);
	table_init(&table, columns, N_COLUMNS(columns));
	for (size_t i = 0; i < rows->n; i++) {
		char text[SIZE_TEXT_MAX], asked[64];

		snprintf(asked, sizeof(asked), "%s %s", waiting[i].request.data, waiting[i].bytes ? size_print(waiting[i].bytes, text) : "");
		table_add_row(&table);
		table_set_number(&table, 0, waiting[i].pid);
		table_set_number(&table, 1, waiting[i].uid);
		table_set_label(&table, 2, waiting[i].name);
		table_set_label(&table, 3, text_of(asked));
		table_set_label(&table, 4, waiting[i].waits_for);
		table_set(&table, 5, "%s", waiting[i].milliseconds ? time_print(waiting[i].milliseconds * 1000000, text) : "0 ms");
		set_path(&table, 6, waiting[i].path);
	}
	return print_below(&table, look);
}

/* ---- views ---- */

uint32_t view_sections(const struct view *view)
{
	uint32_t sections = 1u << FIGURES_WAITING;

	if (view->clients || !(view->files || view->pins))
		sections |= 1u << FIGURES_USERS | 1u << FIGURES_CLIENTS;
	if (view->files)
		sections |= 1u << FIGURES_FILES;
	if (view->pins)
		sections |= 1u << FIGURES_PINS;
	return sections;
}

int status_print_view(struct figures *figures, const struct figures *before, const struct view *view, const struct look *look)
{
	struct figures_rows *sections = figures->sections;
	int r;

	r = status_print_summary(figures, before, look);
	/* Of these, a section that was not asked for has no row. */
	if (!r)
		r = print_waiting(&sections[FIGURES_WAITING], look);
	if (!r)
		r = print_users(&sections[FIGURES_USERS], figures_summary(figures), look);
	if (!r)
		r = print_clients(&sections[FIGURES_CLIENTS], view->clients ? SIZE_MAX : N_BIGGEST, look);
	if (!r && view->pins)
		r = print_pins(&sections[FIGURES_PINS], look);
	if (!r && view->files)
		r = print_files(&sections[FIGURES_FILES], look);
	return r;
}
