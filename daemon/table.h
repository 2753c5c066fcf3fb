/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_TABLE_H
#define DAEMON_TABLE_H

/*
 * Tables for people, that fit the width of the terminal: where it is too narrow, columns that matter less are left out, and the
 * text of the last column is cut at its beginning, since the end of a path says more.
 *
 * An error stays with the table until it is printed.
 */

#include "proto/message.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* How things are to look. */
struct look {
	FILE *out;
	size_t width; /* columns of the terminal; 0: nothing is cut */
	bool utf8;
	bool colour;
};

enum table_side { TABLE_RIGHT, TABLE_LEFT };

struct table_column {
	const char *name;
	enum table_side side;
	unsigned rank; /* columns of the highest are the first to be left out; 0: it stays */
};

struct table {
	const struct table_column *columns; /* the last one may be cut */
	size_t n_columns;
	char **cells; /* row by row */
	const char **colours; /* of the cells; NULL: none */
	size_t n_rows;
	int error;
};

/* @columns are borrowed. */
void table_init(struct table *table, const struct table_column *columns, size_t n_columns);
void table_deinit(struct table *table);

/* Starts a row, of which the cells are empty. */
void table_add_row(struct table *table);

/* Set a cell of the last row. */
void table_set(struct table *table, size_t column, const char *format, ...) __attribute__((format(printf, 3, 4)));
void table_set_number(struct table *table, size_t column, uint64_t number);
void table_set_size(struct table *table, size_t column, uint64_t bytes);
void table_set_label(struct table *table, size_t column, struct text text);

/* A name of libsmartcols, such as "red"; it stays the caller's. */
void table_set_colour(struct table *table, size_t column, const char *colour);

/* Prints the table, nothing if it has no row. 0, or the first error that there was. */
int table_print(struct table *table, const struct look *look);

#endif
