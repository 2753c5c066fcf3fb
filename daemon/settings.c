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

#define HOUR_MS (UINT64_C(60) * 60 * 1000)

#define N_LOG_LEVELS (sizeof(log_levels) / sizeof(log_levels[0]))

typedef int parse_fn(const char *text, uint64_t *value);

/* Sets a number that has to be from @least to @most. */
static int set_number(uint64_t *number, parse_fn *parse, const char *text, uint64_t least, uint64_t most)
{
	uint64_t value;
	int r = parse(text, &value);

	if (r < 0)
		return r;
	if (value < least || value > most)
		return -ERANGE;
	*number = value;
	return 0;
}

static int parse_memory_size(const char *text, uint64_t *bytes)
{
	return size_parse_share(text, (uint64_t)sysconf(_SC_PHYS_PAGES) * page_size(), bytes);
}

/* With its sign or without. A size it is not. */
static int parse_percent(const char *text, uint64_t *percent)
{
	return strchr(text, '%') ? size_parse_share(text, 100, percent) : number_parse(text, percent);
}

static int parse_power_of_two(const char *text, uint64_t *bytes)
{
	int r = size_parse(text, bytes);

	return r == 0 && *bytes & (*bytes - 1) ? -ERANGE : r;
}

static int parse_socket(struct settings *settings, const char *value)
{
	if (!*value || strlen(value) >= sizeof(settings->socket))
		return -EINVAL;
	strcpy(settings->socket, value);
	return 0;
}

static int parse_memory(struct settings *settings, const char *value)
{
	return set_number(&settings->limits.memory, parse_memory_size, value, 1, INT64_MAX);
}

static int parse_handles(struct settings *settings, const char *value)
{
	return set_number(&settings->limits.handles, number_parse, value, 1, UINT64_MAX);
}

static int parse_maps(struct settings *settings, const char *value)
{
	return set_number(&settings->limits.maps, number_parse, value, 1, UINT64_MAX);
}

static int parse_window(struct settings *settings, const char *value)
{
	return set_number(&settings->limits.window, parse_power_of_two, value, page_size(), UINT64_C(1) << 40);
}

static int parse_user_share(struct settings *settings, const char *value)
{
	return set_number(&settings->limits.user_percent, parse_percent, value, 1, 100);
}

static int parse_recall_timeout(struct settings *settings, const char *value)
{
	return set_number(&settings->limits.recall_timeout_ms, time_parse, value, 100, HOUR_MS);
}

static int parse_idle_timeout(struct settings *settings, const char *value)
{
	return set_number(&settings->limits.idle_timeout_ms, time_parse, value, 1000, 24 * HOUR_MS);
}

static int parse_write_guard(struct settings *settings, const char *value)
{
	bool yes = strcmp(value, "yes") == 0;

	if (!yes && strcmp(value, "no") != 0)
		return -EINVAL;
	settings->limits.write_guard = yes;
	return 0;
}

static int parse_write_guard_timeout(struct settings *settings, const char *value)
{
	return set_number(&settings->limits.write_guard_timeout_ms, time_parse, value, 100, HOUR_MS);
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
	[SETTING_MAX_HANDLES] = {"max-handles", "a number, at least 1", parse_handles},
	[SETTING_MAX_MAPS] = {"max-maps", "a number, at least 1", parse_maps},
	[SETTING_WINDOW_SIZE] = {"window-size", "a size such as 64M, a power of two from a page to 1T", parse_window},
	[SETTING_USER_SHARE] = {"user-share", "a share such as 75%, from 1% to 100%", parse_user_share},
	[SETTING_RECALL_TIMEOUT] = {"recall-timeout", "a time such as 1s, from 100ms to 1h", parse_recall_timeout},
	[SETTING_IDLE_TIMEOUT] = {"idle-timeout", "a time such as 5min, from 1s to 24h", parse_idle_timeout},
	[SETTING_WRITE_GUARD] = {"write-guard", "yes or no", parse_write_guard},
	[SETTING_WRITE_GUARD_TIMEOUT] = {"write-guard-timeout", "a time such as 5s, from 100ms to 1h", parse_write_guard_timeout},
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
		if (*value)
			snprintf(complaint, size, "%s=%s is not %s", table[setting].name, value, table[setting].expected);
		else
			snprintf(complaint, size, "%s has no value: it has to be %s", table[setting].name, table[setting].expected);
		return -EINVAL;
	}
	snprintf(settings->origins[setting], ORIGIN_SIZE, "%s", origin);
	return 0;
}

int settings_check(const struct settings *settings, enum setting *wrong, char *complaint, size_t size)
{
	const struct limits *limits = &settings->limits;
	char memory[SIZE_TEXT_MAX], window[SIZE_TEXT_MAX];

	if (limits->memory >= limits->window)
		return 0;
	snprintf(complaint, size, "max-memory is %s, less than one window of %s: raise it, or lower window-size",
		 size_print(limits->memory, memory), size_print(limits->window, window));
	*wrong = *settings->origins[SETTING_MAX_MEMORY] ? SETTING_MAX_MEMORY : SETTING_WINDOW_SIZE;
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

/* Likewise. */
static void print_time(uint64_t ms, char text[static SETTING_TEXT_MAX])
{
	if (!ms || ms % 1000)
		snprintf(text, SETTING_TEXT_MAX, "%" PRIu64 "ms", ms);
	else if (ms % 60000)
		snprintf(text, SETTING_TEXT_MAX, "%" PRIu64 "s", ms / 1000);
	else if (ms % HOUR_MS)
		snprintf(text, SETTING_TEXT_MAX, "%" PRIu64 "min", ms / 60000);
	else
		snprintf(text, SETTING_TEXT_MAX, "%" PRIu64 "h", ms / HOUR_MS);
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
	case SETTING_WRITE_GUARD:
		snprintf(text, SETTING_TEXT_MAX, "%s", limits->write_guard ? "yes" : "no");
		break;
	case SETTING_WRITE_GUARD_TIMEOUT:
		print_time(limits->write_guard_timeout_ms, text);
		break;
	case SETTING_LOG_LEVEL:
		print_log_level(settings->log_level, text);
		break;
	case N_SETTINGS:
		break;
	}
	return text;
}
