/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/table.h"

#include "daemon/label.h"
#include "daemon/size.h"
#include "proto/util.h"

#include <inttypes.h>
#include <libsmartcols.h>
#include <stdarg.h>
#include <string.h>

/* The last column is not cut to less than that as long as another can be left out. */
#define LEAST_WIDTH 16

/* ---- cells ---- */

void table_init(struct table *table, const struct table_column *columns, size_t n_columns)
{
	*table = (struct table){.columns = columns, .n_columns = n_columns};
}

void table_deinit(struct table *table)
{
	for (size_t i = 0; i < table->n_rows * table->n_columns; i++)
		free(table->cells[i]);
	free(table->cells);
	free(table->colours);
	*table = (struct table){0};
}

void table_add_row(struct table *table)
{
	size_t n = table->n_rows * table->n_columns, more = n + table->n_columns;
	char **cells = reallocarray(table->cells, more, sizeof(*cells));
	const char **colours;

	if (cells)
		table->cells = cells;
	colours = reallocarray(table->colours, more, sizeof(*colours));
	if (colours)
		table->colours = colours;
	if (!cells || !colours) {
		table->error = -ENOMEM;
		return;
	}
	for (; n < more; n++) {
		cells[n] = NULL;
		colours[n] = NULL;
	}
	table->n_rows++;
}

/* Puts a text, which it takes; NULL if there was no memory for it. */
static void put(struct table *table, size_t column, char *text)
{
	char **cell;

	if (!text)
		table->error = -ENOMEM;
	if (table->error) {
		free(text);
		return;
	}
	cell = &table->cells[(table->n_rows - 1) * table->n_columns + column];
	free(*cell);
	*cell = text;
}

void table_set(struct table *table, size_t column, const char *format, ...)
{
	va_list arguments;
	char *text;
	int n;

	va_start(arguments, format);
	n = vasprintf(&text, format, arguments);
	va_end(arguments);
	put(table, column, n < 0 ? NULL : text);
}

void table_set_number(struct table *table, size_t column, uint64_t number)
{
	table_set(table, column, "%" PRIu64, number);
}

void table_set_size(struct table *table, size_t column, uint64_t bytes)
{
	char text[SIZE_TEXT_MAX];

	table_set(table, column, "%s", size_print(bytes, text));
}

void table_set_label(struct table *table, size_t column, struct text text)
{
	put(table, column, label_print(text));
}

void table_set_colour(struct table *table, size_t column, const char *colour)
{
	if (!table->error)
		table->colours[(table->n_rows - 1) * table->n_columns + column] = colour;
}

/* ---- widths ---- */

static const char *text_in(const struct table *table, size_t row, size_t column)
{
	const char *text = table->cells[row * table->n_columns + column];

	return text ? text : "";
}

static size_t width_of(const struct table *table, size_t column)
{
	size_t width = label_width(table->columns[column].name);

	for (size_t row = 0; row < table->n_rows; row++)
		width = (size_t)max_u64(width, label_width(text_in(table, row, column)));
	return width;
}

/* The width of all columns but the last that are at most of a rank, each with a blank behind it. */
static size_t width_to_rank(const struct table *table, const size_t *widths, unsigned rank)
{
	size_t width = 0;

	for (size_t i = 0; i + 1 < table->n_columns; i++)
		if (table->columns[i].rank <= rank)
			width += widths[i] + 1;
	return width;
}

/* The highest rank of columns that are shown; *@last is what is left for the last column. */
static unsigned choose_rank(const struct table *table, const size_t *widths, size_t width, size_t *last)
{
	size_t wanted = (size_t)min_u64(widths[table->n_columns - 1], LEAST_WIDTH);
	unsigned rank = 0;
	size_t others;

	for (size_t i = 0; i < table->n_columns; i++)
		rank = table->columns[i].rank > rank ? table->columns[i].rank : rank;
	while (rank && width_to_rank(table, widths, rank) + wanted > width)
		rank--;
	others = width_to_rank(table, widths, rank);
	*last = others + 1 < width ? width - others : 1;
	return rank;
}

/* Cuts the last column. */
static void cut(struct table *table, size_t width, bool utf8)
{
	const char *dots = utf8 ? "\u2026" : "...";
	size_t of_dots = utf8 ? 1 : 3;

	for (size_t row = 0; row < table->n_rows; row++) {
		const char *text = text_in(table, row, table->n_columns - 1);
		char *shorter;

		if (label_width(text) <= width)
			continue;
		if (asprintf(&shorter, "%s%s", width > of_dots ? dots : "", label_tail(text, width > of_dots ? width - of_dots : width)) < 0) {
			table->error = -ENOMEM;
			return;
		}
		free(table->cells[(row + 1) * table->n_columns - 1]);
		table->cells[(row + 1) * table->n_columns - 1] = shorter;
	}
}

/* ---- printing ---- */

static void unref_table(struct libscols_table **table)
{
	scols_unref_table(*table);
}

static int print_row(const struct table *table, size_t row, unsigned rank, struct libscols_table *printed)
{
	struct libscols_line *line = scols_table_new_line(printed, NULL);
	size_t n = 0;
	int r = line ? 0 : -ENOMEM;

	for (size_t column = 0; !r && column < table->n_columns; column++) {
		const char *colour = table->colours[row * table->n_columns + column];

		if (table->columns[column].rank > rank)
			continue;
		r = scols_line_set_data(line, n, text_in(table, row, column));
		if (!r && colour)
			r = scols_cell_set_color(scols_line_get_cell(line, n), colour);
		n++;
	}
	return r;
}

/* Has libsmartcols align the columns up to a rank. */
static int print_columns(const struct table *table, const struct look *look, unsigned rank)
{
	_cleanup_(unref_table) struct libscols_table *printed = scols_new_table();
	int r = 0;

	if (!printed)
		return -ENOMEM;
	for (size_t i = 0; i < table->n_columns; i++) {
		const struct table_column *column = &table->columns[i];

		if (column->rank <= rank &&
		    !scols_table_new_column(printed, column->name, 0, column->side == TABLE_RIGHT ? SCOLS_FL_RIGHT : 0))
			return -ENOMEM;
	}
	scols_table_set_stream(printed, look->out);
	/* It fits, and what can't be printed was escaped. */
	scols_table_set_termforce(printed, SCOLS_TERMFORCE_NEVER);
	scols_table_enable_noencoding(printed, 1);
	scols_table_enable_colors(printed, look->colour);
	for (size_t row = 0; !r && row < table->n_rows; row++)
		r = print_row(table, row, rank, printed);
	return r ? r : scols_print_table(printed);
}

int table_print(struct table *table, const struct look *look)
{
	_cleanup_(freep) size_t *widths = NULL;
	unsigned rank = UINT32_MAX;

	if (table->error || !table->n_rows)
		return table->error;
	if (look->width) {
		size_t last;

		widths = reallocarray(NULL, table->n_columns, sizeof(*widths));
		if (!widths)
			return -ENOMEM;
		for (size_t i = 0; i < table->n_columns; i++)
			widths[i] = width_of(table, i);
		rank = choose_rank(table, widths, look->width, &last);
		cut(table, last, look->utf8);
	}
	return table->error ? table->error : print_columns(table, look, rank);
}
