/* SPDX-License-Identifier: BSD-3-Clause */
/* The settings: what is built in, and what may be said of each. */
#include "config.h"

#include "daemon/settings.h"
#include "tests/harness.h"

#include "proto/util.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

static struct settings settings;
static char complaint[SETTING_SENTENCE_MAX];

static int set(const char *name, const char *value)
{
	struct settings before = settings;
	enum setting setting = setting_find(name);
	int r;

	ck_assert_int_ne(setting, N_SETTINGS);
	complaint[0] = '\0';
	r = settings_set(&settings, setting, value, "here:1", complaint, sizeof(complaint));
	ck_assert_int_eq(complaint[0] != '\0', r < 0);
	/* What is wrong changes nothing. */
	if (r < 0)
		ck_assert_mem_eq(&settings, &before, sizeof(settings));
	else
		ck_assert_str_eq(settings.origins[setting], "here:1");
	return r;
}

static void assert_refused(const char *name, const char *value, const char *part)
{
	char said[512];

	ck_assert_msg(set(name, value) == -EINVAL, "%s=%s", name, value);
	snprintf(said, sizeof(said), *value ? "%s=%s is not " : "%s has no value: ", name, value);
	ck_assert_msg(strncmp(complaint, said, strlen(said)) == 0 && strstr(complaint, part), "%s", complaint);
}

/* What is printed means the same again. */
static void assert_prints(const char *name, const char *value, const char *expected)
{
	enum setting setting = setting_find(name);
	char text[SETTING_TEXT_MAX];

	ck_assert_msg(set(name, value) == 0, "%s", complaint);
	ck_assert_str_eq(settings_print(&settings, setting, text), expected);
	ck_assert_int_eq(set(name, expected), 0);
	ck_assert_str_eq(settings_print(&settings, setting, text), expected);
}

START_TEST(test_built_in)
{
	uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * page_size();
	enum setting wrong;

	settings_default(&settings);
	ck_assert_str_eq(settings.socket, "");
	ck_assert_uint_eq(settings.limits.memory, memory / 2);
	ck_assert_uint_eq(settings.limits.handles, 8192);
	ck_assert_uint_eq(settings.limits.maps, 32768);
	ck_assert_uint_eq(settings.limits.window, 64 << 20);
	ck_assert_uint_eq(settings.limits.user_percent, 75);
	ck_assert_uint_eq(settings.limits.recall_timeout_ms, 1000);
	ck_assert_uint_eq(settings.limits.idle_timeout_ms, 5 * 60 * 1000);
	ck_assert(!settings.limits.write_guard);
	ck_assert_uint_eq(settings.limits.write_guard_timeout_ms, 5000);
	ck_assert_int_eq(settings.log_level, LOG_INFO);
	for (enum setting setting = 0; setting < N_SETTINGS; setting++) {
		ck_assert_str_eq(settings.origins[setting], "");
		ck_assert_int_eq(setting_find(setting_name(setting)), setting);
	}
	ck_assert_int_eq(settings_check(&settings, &wrong, complaint, sizeof(complaint)), 0);
}
END_TEST

START_TEST(test_names)
{
	ck_assert_int_eq(setting_find(""), N_SETTINGS);
	ck_assert_int_eq(setting_find("max"), N_SETTINGS);
	ck_assert_int_eq(setting_find("Max-Memory"), N_SETTINGS);
	ck_assert_int_eq(setting_find("max_memory"), N_SETTINGS);
	ck_assert_int_eq(setting_find("config"), N_SETTINGS);
}
END_TEST

START_TEST(test_socket)
{
	char path[PATH_MAX + 1];

	settings_default(&settings);
	assert_prints("socket", "/run/smmapd/smmapd.sock", "/run/smmapd/smmapd.sock");
	assert_refused("socket", "", "a path");
	memset(path, 'x', PATH_MAX);
	path[PATH_MAX] = '\0';
	ck_assert_int_eq(set("socket", path), -EINVAL);
	path[PATH_MAX - 1] = '\0';
	ck_assert_int_eq(set("socket", path), 0);
	ck_assert_str_eq(settings.socket, path);
}
END_TEST

START_TEST(test_memory)
{
	uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * page_size();

	settings_default(&settings);
	ck_assert_int_eq(set("max-memory", "25%"), 0);
	ck_assert_uint_eq(settings.limits.memory, memory / 4);
	assert_prints("max-memory", "3G", "3G");
	assert_prints("max-memory", "1536MiB", "1536M");
	assert_prints("max-memory", "1", "1");
	assert_prints("max-memory", "1025", "1025");
	assert_prints("max-memory", "9223372036854775807", "9223372036854775807");
	assert_refused("max-memory", "9223372036854775808", "a size such as 4G");
	assert_refused("max-memory", "0", "a share of the memory such as 50%");
	assert_refused("max-memory", "0%", "50%");
	assert_refused("max-memory", "101%", "50%");
	assert_refused("max-memory", "4X", "4G");
	assert_refused("max-memory", "", "4G");
	assert_refused("max-memory", "4 G", "4G");
	assert_refused("max-memory", "-1", "4G");
}
END_TEST

START_TEST(test_numbers)
{
	static const char *const names[] = {"max-handles", "max-maps"};

	settings_default(&settings);
	for (size_t i = 0; i < 2; i++) {
		assert_prints(names[i], "1", "1");
		assert_prints(names[i], "18446744073709551615", "18446744073709551615");
		assert_refused(names[i], "18446744073709551616", "a number");
		assert_refused(names[i], "0", "at least 1");
		assert_refused(names[i], "1K", "a number");
		assert_refused(names[i], "", "a number");
	}
	ck_assert_uint_eq(settings.limits.handles, UINT64_MAX);
	ck_assert_uint_eq(settings.limits.maps, UINT64_MAX);
}
END_TEST

START_TEST(test_window)
{
	char text[32];

	settings_default(&settings);
	assert_prints("window-size", "1T", "1T");
	assert_refused("window-size", "2T", "to 1T");
	snprintf(text, sizeof(text), "%" PRIu64, page_size());
	ck_assert_int_eq(set("window-size", text), 0);
	ck_assert_uint_eq(settings.limits.window, page_size());
	snprintf(text, sizeof(text), "%" PRIu64, page_size() / 2);
	assert_refused("window-size", text, "from a page");
	snprintf(text, sizeof(text), "%" PRIu64, page_size() + 1);
	assert_refused("window-size", text, "a power of two");
	assert_refused("window-size", "3M", "a power of two");
	assert_refused("window-size", "0", "a power of two");
	assert_refused("window-size", "50%", "a size");
}
END_TEST

START_TEST(test_user_share)
{
	settings_default(&settings);
	assert_prints("user-share", "1%", "1%");
	assert_prints("user-share", "100", "100%");
	assert_refused("user-share", "0%", "from 1% to 100%");
	assert_refused("user-share", "101%", "from 1% to 100%");
	assert_refused("user-share", "101", "from 1% to 100%");
	assert_refused("user-share", "1K", "from 1% to 100%");
	assert_refused("user-share", "75B", "from 1% to 100%");
	assert_refused("user-share", "75%%", "from 1% to 100%");
	assert_refused("user-share", "half", "75%");
}
END_TEST

START_TEST(test_times)
{
	settings_default(&settings);
	assert_prints("recall-timeout", "100ms", "100ms");
	assert_refused("recall-timeout", "99ms", "from 100ms");
	assert_prints("recall-timeout", "1h", "1h");
	assert_refused("recall-timeout", "3601s", "to 1h");
	assert_prints("recall-timeout", "3", "3s");
	assert_prints("recall-timeout", "60s", "1min");
	assert_prints("recall-timeout", "1500ms", "1500ms");
	assert_prints("idle-timeout", "90min", "90min");
	assert_prints("idle-timeout", "1s", "1s");
	assert_refused("idle-timeout", "999ms", "from 1s");
	assert_prints("idle-timeout", "24h", "24h");
	assert_refused("idle-timeout", "86401", "to 24h");
	assert_refused("idle-timeout", "0", "from 1s");
	assert_refused("idle-timeout", "5m", "5min");
	assert_refused("idle-timeout", "5 min", "5min");
	assert_refused("idle-timeout", "never", "5min");
	assert_prints("write-guard-timeout", "100ms", "100ms");
	assert_refused("write-guard-timeout", "99ms", "from 100ms");
	assert_prints("write-guard-timeout", "1h", "1h");
	assert_refused("write-guard-timeout", "61min", "to 1h");
}
END_TEST

START_TEST(test_write_guard)
{
	settings_default(&settings);
	assert_prints("write-guard", "yes", "yes");
	ck_assert(settings.limits.write_guard);
	assert_prints("write-guard", "no", "no");
	ck_assert(!settings.limits.write_guard);
	assert_refused("write-guard", "", "yes or no");
	assert_refused("write-guard", "Yes", "yes or no");
	assert_refused("write-guard", "1", "yes or no");
	assert_refused("write-guard", "yes ", "yes or no");
}
END_TEST

START_TEST(test_log_level)
{
	static const char *const names[] = {"error", "warning", "notice", "info", "debug"};

	settings_default(&settings);
	for (int i = 0; i < 5; i++) {
		assert_prints("log-level", names[i], names[i]);
		ck_assert_int_eq(settings.log_level, LOG_ERR + i);
	}
	assert_refused("log-level", "Error", "error, warning, notice, info");
	assert_refused("log-level", "7", "debug");
	assert_refused("log-level", "", "debug");
}
END_TEST

/* A window has to fit. The mistake is where one of the two was said. */
START_TEST(test_check)
{
	enum setting wrong = N_SETTINGS;

	settings_default(&settings);
	ck_assert_int_eq(set("max-memory", "1M"), 0);
	ck_assert_int_eq(settings_check(&settings, &wrong, complaint, sizeof(complaint)), -EINVAL);
	ck_assert_str_eq(complaint, "max-memory is 1 MiB, less than one window of 64 MiB: raise it, or lower window-size");
	ck_assert_int_eq(wrong, SETTING_MAX_MEMORY);
	ck_assert_int_eq(set("window-size", "1M"), 0);
	ck_assert_int_eq(settings_check(&settings, &wrong, complaint, sizeof(complaint)), 0);

	settings_default(&settings);
	settings.limits.memory = 1 << 20;
	ck_assert_int_eq(set("window-size", "2M"), 0);
	ck_assert_int_eq(settings_check(&settings, &wrong, complaint, sizeof(complaint)), -EINVAL);
	ck_assert_int_eq(wrong, SETTING_WINDOW_SIZE);
}
END_TEST

Suite *suite(void);

Suite *suite(void)
{
	Suite *s = suite_create("settings");

	HARNESS_CASE(s, "settings", test_built_in, test_names, test_socket, test_memory, test_numbers, test_window, test_user_share,
		     test_times, test_write_guard, test_log_level, test_check);
	return s;
}

int main(void)
{
	return harness_run(suite());
}
