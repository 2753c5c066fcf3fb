/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/settings.h"

#include "daemon/log.h"
#include "daemon/size.h"
#include "proto/util.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- values ---- */

static const struct {
	const char *name;
	int level;
} log_levels[] = {
	{"error", LOG_ERR}, {"warning", LOG_WARNING}, {"notice", LOG_NOTICE}, {"info", LOG_INFO}, {"debug", LOG_DEBUG},
};

#define N_LOG_LEVELS (sizeof(log_levels) / sizeof(log_levels[0]))

static int parse_socket(struct settings *settings, const char *value)
{
	if (!*value || strlen(value) >= sizeof(settings->socket))
		return -EINVAL;
	strcpy(settings->socket, value);
	return 0;
}

static int parse_memory(struct settings *settings, const char *value)
{
	return size_parse_share(value, (uint64_t)sysconf(_SC_PHYS_PAGES) * page_size(), &settings->limits.memory);
}

static int parse_handles(struct settings *settings, const char *value)
{
	return number_parse(value, &settings->limits.handles);
}

static int parse_maps(struct settings *settings, const char *value)
{
	return number_parse(value, &settings->limits.maps);
}

static int parse_window(struct settings *settings, const char *value)
{
	return size_parse(value, &settings->limits.window);
}

static int parse_user_share(struct settings *settings, const char *value)
{
	return size_parse_share(value, 100, &settings->limits.user_percent);
}

static int parse_recall_timeout(struct settings *settings, const char *value)
{
	return time_parse(value, &settings->limits.recall_timeout_ms);
}

static int parse_idle_timeout(struct settings *settings, const char *value)
{
	return time_parse(value, &settings->limits.idle_timeout_ms);
}

static int parse_log_level(struct settings *settings, const char *value)
{
	for (size_t i = 0; i < N_LOG_LEVELS; i++) {
		if (strcmp(value, log_levels[i].name) != 0)
			continue;
		settings->log_level = log_levels[i].level;
		return 0;
	}
	return -EINVAL;
}

/* ---- the table ---- */

static const struct {
	const char *name;
	const char *expected;
	int (*parse)(struct settings *settings, const char *value);
} table[N_SETTINGS] = {
	[SETTING_SOCKET] = {"socket", "a path", parse_socket},
	[SETTING_MAX_MEMORY] = {"max-memory", "a size such as 4G, or a share of the memory such as 50%", parse_memory},
	[SETTING_MAX_HANDLES] = {"max-handles", "a number", parse_handles},
	[SETTING_MAX_MAPS] = {"max-maps", "a number", parse_maps},
	[SETTING_WINDOW_SIZE] = {"window-size", "a size such as 64M", parse_window},
	[SETTING_USER_SHARE] = {"user-share", "a share such as 75%", parse_user_share},
	[SETTING_RECALL_TIMEOUT] = {"recall-timeout", "a time such as 500ms, 2s or 1min", parse_recall_timeout},
	[SETTING_IDLE_TIMEOUT] = {"idle-timeout", "a time such as 30s, 5min or 1h", parse_idle_timeout},
	[SETTING_LOG_LEVEL] = {"log-level", "one of error, warning, notice, info and debug", parse_log_level},
};

const char *setting_name(enum setting setting)
{
	return table[setting].name;
}

enum setting setting_find(const char *name)
{
	enum setting setting = 0;

	while (setting < N_SETTINGS && strcmp(table[setting].name, name) != 0)
		setting++;
	return setting;
}

void settings_default(struct settings *settings)
{
	*settings = (struct settings){.log_level = LOG_INFO};
	limits_default(&settings->limits);
}

int settings_set(struct settings *settings, enum setting setting, const char *value, const char *origin, char *complaint, size_t size)
{
	if (table[setting].parse(settings, value) < 0) {
		snprintf(complaint, size, "%s=%s is not %s", table[setting].name, value, table[setting].expected);
		return -EINVAL;
	}
	snprintf(settings->origins[setting], ORIGIN_SIZE, "%s", origin);
	return 0;
}

int settings_check(const struct settings *settings, enum setting *wrong, char *complaint, size_t size)
{
	const char *name;

	if (limits_check(&settings->limits, &name, complaint, size) == 0)
		return 0;
	*wrong = setting_find(name);
	return -EINVAL;
}

/* ---- printing ---- */

/* Bytes in the largest unit of which they are a multiple, so that nothing is lost. */
static void print_bytes(uint64_t bytes, char text[static SETTING_TEXT_MAX])
{
	static const char units[] = "KMGT";
	size_t unit = 0;

	while (unit < strlen(units) && bytes && bytes % 1024 == 0) {
		bytes /= 1024;
		unit++;
	}
	snprintf(text, SETTING_TEXT_MAX, "%" PRIu64 "%.1s", bytes, unit ? &units[unit - 1] : "");
}

static void print_time(uint64_t ms, char text[static SETTING_TEXT_MAX])
{
	if (ms % 1000)
		snprintf(text, SETTING_TEXT_MAX, "%" PRIu64 "ms", ms);
	else if (!ms || ms % 60000)
		snprintf(text, SETTING_TEXT_MAX, "%" PRIu64 "s", ms / 1000);
	else
		snprintf(text, SETTING_TEXT_MAX, "%" PRIu64 "min", ms / 60000);
}

static void print_log_level(int level, char text[static SETTING_TEXT_MAX])
{
	for (size_t i = 0; i < N_LOG_LEVELS; i++)
		if (log_levels[i].level == level)
			snprintf(text, SETTING_TEXT_MAX, "%s", log_levels[i].name);
}

const char *settings_print(const struct settings *settings, enum setting setting, char text[static SETTING_TEXT_MAX])
{
	const struct limits *limits = &settings->limits;

	text[0] = '\0';
	switch (setting) {
	case SETTING_SOCKET:
		snprintf(text, SETTING_TEXT_MAX, "%s", settings->socket);
		break;
	case SETTING_MAX_MEMORY:
		print_bytes(limits->memory, text);
		break;
	case SETTING_MAX_HANDLES:
		snprintf(text, SETTING_TEXT_MAX, "%" PRIu64, limits->handles);
		break;
	case SETTING_MAX_MAPS:
		snprintf(text, SETTING_TEXT_MAX, "%" PRIu64, limits->maps);
		break;
	case SETTING_WINDOW_SIZE:
		print_bytes(limits->window, text);
		break;
	case SETTING_USER_SHARE:
		snprintf(text, SETTING_TEXT_MAX, "%" PRIu64 "%%", limits->user_percent);
		break;
	case SETTING_RECALL_TIMEOUT:
		print_time(limits->recall_timeout_ms, text);
		break;
	case SETTING_IDLE_TIMEOUT:
		print_time(limits->idle_timeout_ms, text);
		break;
	case SETTING_LOG_LEVEL:
		print_log_level(settings->log_level, text);
		break;
	case N_SETTINGS:
		break;
	}
	return text;
}
