/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_LABEL_H
#define DAEMON_LABEL_H

/*
 * Paths and names, which come from strangers, as people can see them: nothing in them steers a terminal, and they fit where they
 * go.
 */

#include "proto/message.h"

#include <stdbool.h>
#include <stddef.h>

/* Whether a file's label is @path, or a path below it. */
bool label_is_below(struct text label, const char *path);

/*
 * A printable copy, the caller's to free: each byte of what can't be printed in this locale is shown as \xNN. NULL if there is
 * no memory.
 */
char *label_print(struct text text);

/* How many columns of the terminal a printable text takes. */
size_t label_width(const char *label);

/* Where the last part of a printable text begins that takes at most @width columns. */
const char *label_tail(const char *label, size_t width);

#endif
