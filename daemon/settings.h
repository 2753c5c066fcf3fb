/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_SETTINGS_H
#define DAEMON_SETTINGS_H

/*
 * The settings of the server. Each has one name, on the command line and in the files, and knows where its value came from: it is built in,
 * or a line of a file says so, or the command line, which goes before the files.
 */

#include "daemon/limits.h"

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

enum setting {
	SETTING_SOCKET,
	SETTING_MAX_MEMORY,
	SETTING_MAX_HANDLES,
	SETTING_MAX_MAPS,
	SETTING_WINDOW_SIZE,
	SETTING_USER_SHARE,
	SETTING_RECALL_TIMEOUT,
	SETTING_IDLE_TIMEOUT,
	SETTING_WRITE_GUARD,
	SETTING_WRITE_GUARD_TIMEOUT,
	SETTING_LOG_LEVEL,
	N_SETTINGS,
};

/* ORIGIN_COMMAND_LINE, or a file with the number of a line behind it. */
#define ORIGIN_COMMAND_LINE "command line"
#define ORIGIN_SIZE (PATH_MAX + 16)

struct settings {
	char socket[PATH_MAX]; /* empty: the default */
	struct limits limits;
	int log_level; /* of syslog(3) */
	char origins[N_SETTINGS][ORIGIN_SIZE]; /* empty: built in */
};

/* Enough for what settings_print() makes, and for a sentence about a setting. */
#define SETTING_TEXT_MAX     PATH_MAX
#define SETTING_SENTENCE_MAX (2 * PATH_MAX + 256)

/* What is built in, on this machine. */
void settings_default(struct settings *settings);

const char *setting_name(enum setting setting);

/* The setting of that name; N_SETTINGS if there is none. */
enum setting setting_find(const char *name);

/*
 * Sets one of them from text. 0; -EINVAL with a sentence in @complaint (@size bytes), which says what is wrong and what would be right.
 */
int settings_set(struct settings *settings, enum setting setting, const char *value, const char *origin, char *complaint, size_t size);

/* Checks whether they fit one another. 0; -EINVAL with such a sentence, and in *@wrong the setting that it is about. */
int settings_check(const struct settings *settings, enum setting *wrong, char *complaint, size_t size);

/* The value of a setting as settings_set() would take it. Returns @text. */
const char *settings_print(const struct settings *settings, enum setting setting, char text[static SETTING_TEXT_MAX]);

#endif
