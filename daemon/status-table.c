/* SPDX-License-Identifier: BSD-3-Clause */
/* Figures for people. libsmartcols lays out the tables and escapes what is not printable. */
#include "config.h"

#include "daemon/status.h"

#include "daemon/figures.h"
#include "daemon/size.h"
#include "proto/util.h"

#include <inttypes.h>
#include <libsmartcols.h>
#include <stdarg.h>
#include <stdio.h>

typedef struct libscols_table table_t;

static void unref_table(table_t **table)
{
	scols_unref_table(*table);
}

/* Starts a row; NULL if there is no memory. */
static struct libscols_line *add_line(table_t *table)
{
	return scols_table_new_line(table, NULL);
}

static int set(struct libscols_line *line, size_t column, const char *format, ...) __attribute__((format(printf, 3, 4)));

static int set(struct libscols_line *line, size_t column, const char *format, ...)
{
	va_list arguments;
	char *text;
	int n;

	va_start(arguments, format);
	n = vasprintf(&text, format, arguments);
	va_end(arguments);
	if (n < 0)
		return -ENOMEM;
	return scols_line_refer_data(line, column, text);
}

static int set_size(struct libscols_line *line, size_t column, uint64_t bytes)
{
	char text[SIZE_TEXT_MAX];

	return set(line, column, "%s", size_print(bytes, text));
}

static int set_text(struct libscols_line *line, size_t column, struct text text)
{
	return set(line, column, "%.*s", (int)text.length, text.data);
}

/* A table with right-aligned columns, but for the one at @left. */
static table_t *new_table(const char *const *names, size_t n, size_t left)
{
	table_t *table = scols_new_table();

	if (!table)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		if (scols_table_new_column(table, names[i], 0, i == left ? 0 : SCOLS_FL_RIGHT))
			continue;
		scols_unref_table(table);
		return NULL;
	}
	return table;
}

/* ---- summary ---- */

static int add_limit(table_t *table, const char *name, uint64_t used, uint64_t limit, bool bytes)
{
	struct libscols_line *line = add_line(table);
	int r;

	if (!line)
		return -ENOMEM;
	r = set(line, 0, "%s", name);
	if (!r)
		r = bytes ? set_size(line, 1, used) : set(line, 1, "%" PRIu64, used);
	if (!r)
		r = bytes ? set_size(line, 2, limit) : set(line, 2, "%" PRIu64, limit);
	return r ? r : set(line, 3, "%.0f%%", limit ? 100.0 * (double)used / (double)limit : 0.0);
}

static void print_uptime(uint64_t seconds)
{
	if (seconds >= 86400)
		printf("%" PRIu64 " d %" PRIu64 " h", seconds / 86400, seconds / 3600 % 24);
	else if (seconds >= 3600)
		printf("%" PRIu64 " h %" PRIu64 " min", seconds / 3600, seconds / 60 % 60);
	else if (seconds >= 60)
		printf("%" PRIu64 " min %" PRIu64 " s", seconds / 60, seconds % 60);
	else
		printf("%" PRIu64 " s", seconds);
}

static int print_limits(const struct figures_summary *summary)
{
	static const char *const names[] = {"LIMIT", "USED", "OF", "SHARE"};
	_cleanup_(unref_table) table_t *table = new_table(names, 4, 0);
	int r;

	if (!table)
		return -ENOMEM;
	r = add_limit(table, "memory", summary->memory_bytes, summary->limit_memory_bytes, true);
	if (!r)
		r = add_limit(table, "files", summary->handles, summary->limit_handles, false);
	if (!r)
		r = add_limit(table, "maps", summary->maps, summary->limit_maps, false);
	return r ? r : scols_print_table(table);
}

static int print_summary(void *data, const void *row)
{
	const struct figures_summary *summary = row;
	char pinned[SIZE_TEXT_MAX], draining[SIZE_TEXT_MAX], window[SIZE_TEXT_MAX], quota[SIZE_TEXT_MAX];
	uint64_t asked = summary->hits + summary->grants;
	int r;

	(void)data;
	printf("smmapd %.*s, pid %" PRIu32 ", up ", (int)summary->version.length, summary->version.data, summary->pid);
	print_uptime(summary->uptime_seconds);
	printf(", on %.*s\n\n", (int)summary->socket.length, summary->socket.data);
	r = print_limits(summary);
	if (r < 0)
		return r;

	printf("\n%s of the memory is pinned, %s draining; a window is %s.\n", size_print(summary->pinned_bytes, pinned),
	       size_print(summary->draining_bytes, draining), size_print(summary->limit_window_bytes, window));
	printf("One user may lease %s in %" PRIu64 " regions of %" PRIu64 " files, with %" PRIu64 " clients.\n",
	       size_print(summary->quota_memory_bytes, quota), summary->quota_maps, summary->quota_handles, summary->quota_clients);
	printf("Clients: %" PRIu64 " (this one is counted), with %" PRIu64 " leases.\n", summary->clients, summary->leases);
	printf("Since the start: %" PRIu64 " grants, %" PRIu64 " hits", summary->grants, summary->hits);
	if (asked)
		printf(" (%.1f%%)", 100.0 * (double)summary->hits / (double)asked);
	printf(", %" PRIu64 " evictions, %" PRIu64 " recalls, %" PRIu64 " waits, %" PRIu64 " refusals, %" PRIu64 " protocol errors.\n",
	       summary->evictions, summary->recalls, summary->waits, summary->refusals, summary->protocol_errors);
	return 0;
}

/* ---- users, clients and files ---- */

static int add_user(void *data, const void *row)
{
	const struct figures_user *user = row;
	struct libscols_line *line = add_line(data);
	const uint64_t counts[] = {user->leased_maps, user->leased_handles, user->leases, user->files, user->clients, user->requests};
	int r;

	if (!line)
		return -ENOMEM;
	r = set_size(line, 0, user->leased_bytes);
	for (size_t i = 0; !r && i < sizeof(counts) / sizeof(counts[0]); i++)
		r = set(line, i + 1, "%" PRIu64, counts[i]);
	return r ? r : set(line, 7, "%" PRIu32, user->uid);
}

static int add_client(void *data, const void *row)
{
	const struct figures_client *client = row;
	struct libscols_line *line = add_line(data);
	int r;

	if (!line)
		return -ENOMEM;
	r = set(line, 0, "%" PRIu32, client->pid);
	if (!r)
		r = set(line, 1, "%" PRIu32, client->uid);
	if (!r)
		r = set(line, 2, "%" PRIu64, client->leases);
	if (!r)
		r = set_size(line, 3, client->mapped_bytes);
	if (!r)
		r = set_size(line, 4, client->pinned_bytes);
	if (!r)
		r = set(line, 5, "%" PRIu64 " s", client->oldest_pin_seconds);
	return r ? r : set_text(line, 6, client->name);
}

static int add_file(void *data, const void *row)
{
	const struct figures_file *file = row;
	struct libscols_line *line = add_line(data);
	int r;

	if (!line)
		return -ENOMEM;
	r = set_size(line, 0, file->size_bytes);
	if (!r)
		r = set_size(line, 1, file->mapped_bytes);
	if (!r)
		r = set(line, 2, "%" PRIu64, file->regions);
	if (!r)
		r = set(line, 3, "%" PRIu64, file->clients);
	return r ? r : set_text(line, 4, file->path);
}

static int print_section(struct smmap_client *client, enum figures_section section, const char *const *names, size_t n,
			 figures_row_fn *add)
{
	_cleanup_(unref_table) table_t *table = new_table(names, n, n - 1);
	int r;

	if (!table)
		return -ENOMEM;
	r = figures_ask(client, section, add, table);
	if (r < 0)
		return r;
	putchar('\n');
	return scols_print_table(table);
}

int status_print_tables(struct smmap_client *client, bool clients, bool files)
{
	static const char *const of_users[] = {"LEASED", "MAPS", "FILES", "LEASES", "OPEN FILES", "CLIENTS", "WAITING", "UID"};
	static const char *const of_clients[] = {"PID", "UID", "LEASES", "MAPPED", "PINNED", "OLDEST PIN", "NAME"};
	static const char *const of_files[] = {"SIZE", "MAPPED", "REGIONS", "CLIENTS", "PATH"};
	int r;

	r = figures_ask(client, FIGURES_SUMMARY, print_summary, NULL);
	if (!r && clients)
		r = print_section(client, FIGURES_USERS, of_users, 8, add_user);
	if (!r && clients)
		r = print_section(client, FIGURES_CLIENTS, of_clients, 7, add_client);
	if (!r && files)
		r = print_section(client, FIGURES_FILES, of_files, 5, add_file);
	return r;
}
