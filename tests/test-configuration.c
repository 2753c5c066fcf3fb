/* SPDX-License-Identifier: BSD-3-Clause */
/* The files of the configuration: what they say, in which order, and each mistake with its file and line. */
#include "config.h"

#include "daemon/configuration.h"
#include "tests/harness.h"

#include "proto/util.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static struct settings settings;
static char said[64 * 1024];

static void write_bytes(const char *path, const char *bytes, size_t n)
{
	FILE *file = fopen(path, "we");

	ck_assert_ptr_nonnull(file);
	ck_assert_uint_eq(fwrite(bytes, 1, n, file), n);
	ck_assert_int_eq(fclose(file), 0);
}

static void write_file(const char *path, const char *text)
{
	write_bytes(path, text, strlen(text));
}

static void note(void *data, const char *sentence)
{
	size_t length = strlen(said);

	ck_assert_ptr_eq(data, &settings);
	snprintf(said + length, sizeof(said) - length, "%s\n", sentence);
}

/* The number of mistakes in "conf" and its folder, which are in @said, one a line. */
static unsigned read_again(void)
{
	unsigned n, lines = 0;

	settings_default(&settings);
	said[0] = '\0';
	n = configuration_read(&settings, "conf", true, note, &settings);
	for (const char *line = said; (line = strchr(line, '\n')); line++)
		lines++;
	ck_assert_uint_eq(n, lines);
	return n;
}

static void assert_well(void)
{
	read_again();
	ck_assert_str_eq(said, "");
}

static void assert_said(const char *expected)
{
	read_again();
	ck_assert_str_eq(said, expected);
}

START_TEST(test_all)
{
	write_file("conf", "# all of them\n"
			   "socket = /run/here\n"
			   "max-memory=3G\n"
			   "\n"
			   "  max-handles = 100  \n"
			   "\tmax-maps\t=\t200\r\n"
			   "; another comment\n"
			   "window-size: 1M\n"
			   "user-share = 10% ; in short\n"
			   "   \n"
			   "recall-timeout = 2s\n"
			   "idle-timeout = 1min\n"
			   "write-guard = yes\n"
			   "write-guard-timeout = 3s\n"
			   "log-level = debug");
	assert_well();
	ck_assert_str_eq(settings.socket, "/run/here");
	ck_assert_uint_eq(settings.limits.memory, UINT64_C(3) << 30);
	ck_assert_uint_eq(settings.limits.handles, 100);
	ck_assert_uint_eq(settings.limits.maps, 200);
	ck_assert_uint_eq(settings.limits.window, 1 << 20);
	ck_assert_uint_eq(settings.limits.user_percent, 10);
	ck_assert_uint_eq(settings.limits.recall_timeout_ms, 2000);
	ck_assert_uint_eq(settings.limits.idle_timeout_ms, 60000);
	ck_assert(settings.limits.write_guard);
	ck_assert_uint_eq(settings.limits.write_guard_timeout_ms, 3000);
	ck_assert_str_eq(settings.origins[SETTING_SOCKET], "conf:2");
	ck_assert_str_eq(settings.origins[SETTING_MAX_HANDLES], "conf:5");
	ck_assert_str_eq(settings.origins[SETTING_MAX_MAPS], "conf:6");
	/* The last line has no end. */
	ck_assert_str_eq(settings.origins[SETTING_LOG_LEVEL], "conf:15");
}
END_TEST

START_TEST(test_nothing)
{
	write_file("conf", "");
	assert_well();
	write_file("conf", "\n\n#\n;\n \n");
	assert_well();
	write_file("conf", "\xef\xbb\xbf");
	assert_well();
	write_file("conf", "\xef\xbb\xbf# a comment\nmax-maps = 5\n");
	assert_well();
	write_file("conf", "\xef\xbb\xbfmax-maps = 5\n");
	assert_well();
	ck_assert_uint_eq(settings.limits.maps, 5);
}
END_TEST

/* All of them, each where it is, in one go. */
START_TEST(test_mistakes)
{
	write_file("conf", "max-mem = 5\n"
			   "max-memory = 4X\n"
			   "[limits]\n"
			   "max-maps = 5\n"
			   "max-handles\n"
			   "  window-size =\n"
			   "\n"
			   "# fine\n"
			   "[unfinished\n"
			   "user-share = 75% # of all\n"
			   "= 5\n"
			   "max-maps = 6\n"
			   "log-level = \"info\"\n"
			   "idle-timeout = 0");
	assert_said("conf:1: there is no setting 'max-mem': smmapd.conf(5) lists them\n"
		    "conf:2: max-memory=4X is not a size such as 4G, or a share of the memory such as 50%\n"
		    "conf:3: there are no sections here: take this line out\n"
		    "conf:5: this is not NAME = VALUE\n"
		    "conf:6: window-size has no value: it has to be a size such as 64M, a power of two from a page to 1T\n"
		    "conf:9: there are no sections here: take this line out\n"
		    "conf:10: user-share=75% # of all is not a share such as 75%, from 1% to 100%\n"
		    "conf:11: there is no setting '': smmapd.conf(5) lists them\n"
		    "conf:12: max-maps is in line 4 already: take one out\n"
		    "conf:13: log-level=\"info\" is not one of error, warning, notice, info and debug\n"
		    "conf:14: idle-timeout=0 is not a time such as 5min, from 1s to 24h\n");
}
END_TEST

/* A line that is indented does not go on with the value before. */
START_TEST(test_indented)
{
	write_file("conf", "max-maps = 5\n"
			   "    max-handles = 6\n"
			   "    and more\n"
			   "  [section]\n");
	assert_said("conf:3: this is not NAME = VALUE\n"
		    "conf:4: there are no sections here: take this line out\n");
	ck_assert_uint_eq(settings.limits.maps, 5);
	ck_assert_uint_eq(settings.limits.handles, 6);
}
END_TEST

/* 199 bytes are the most, without the blanks before. */
START_TEST(test_long_lines)
{
	char text[1024];

	memset(text, 'x', sizeof(text));
	memcpy(text, "   socket=/", 11);
	text[3 + 199] = '\n';
	memcpy(text + 3 + 200, "max-maps = 5\n", 14);
	write_file("conf", text);
	assert_well();
	ck_assert_uint_eq(strlen(settings.socket), 199 - strlen("socket="));
	ck_assert_str_eq(settings.origins[SETTING_MAX_MAPS], "conf:2");

	text[3 + 199] = 'x';
	text[3 + 200] = '\n';
	memcpy(text + 3 + 201, "max-maps = 0\n", 14);
	write_file("conf", text);
	assert_said("conf:1: the line is longer than 199 bytes\n"
		    "conf:2: max-maps=0 is not a number, at least 1\n");
	ck_assert_str_eq(settings.socket, "");

	/* The last one, without an end. */
	memset(text, '#', sizeof(text));
	write_bytes("conf", text, sizeof(text));
	assert_said("conf:1: the line is longer than 199 bytes\n");
}
END_TEST

START_TEST(test_zero_bytes)
{
	static const char bytes[] = "max-maps = 5\0 6\n\0\nmax-handles = 7";

	write_bytes("conf", bytes, sizeof(bytes));
	assert_said("conf:1: there is a zero byte in the line\n"
		    "conf:2: there is a zero byte in the line\n"
		    "conf:3: there is a zero byte in the line\n");
	ck_assert_uint_ne(settings.limits.maps, 5);
}
END_TEST

/* Whatever the bytes are, each line has at most one setting or its mistakes, and nothing breaks. */
START_TEST(test_random_bytes)
{
	static const char letters[] = "max-maps=5 \t\r\n\n\n[];#:\"\0\xef\xbb\xbf\xff";
	char bytes[400] = {0};

	for (int round = 0; round < 2000; round++) {
		size_t n = harness_random() % sizeof(bytes);

		for (size_t i = 0; i < n; i++)
			bytes[i] = letters[harness_random() % (sizeof(letters) - 1)];
		write_bytes("conf", bytes, n);
		read_again();
	}
}
END_TEST

/* ---- more than one file ---- */

START_TEST(test_folder)
{
	ck_assert_int_eq(mkdir("conf.d", 0700), 0);
	write_file("conf", "max-maps = 1\nmax-handles = 1\nuser-share = 1%\n");
	write_file("conf.d/b.conf", "max-maps = 3\n");
	write_file("conf.d/a.conf", "max-maps = 2\nmax-handles = 2\n");
	write_file("conf.d/B.conf", "max-handles = 9\nmax-maps = 9\n");
	write_file("conf.d/c.conf~", "max-maps = 4\n");
	write_file("conf.d/c.config", "max-maps = 4\n");
	write_file("conf.d/.c.conf", "max-maps = 4\n");
	write_file("conf.d/.conf", "max-maps = 4\n");
	write_file("conf.d/README", "rubbish\n");
	assert_well();
	ck_assert_uint_eq(settings.limits.maps, 3);
	ck_assert_str_eq(settings.origins[SETTING_MAX_MAPS], "conf.d/b.conf:1");
	ck_assert_uint_eq(settings.limits.handles, 2);
	ck_assert_str_eq(settings.origins[SETTING_MAX_HANDLES], "conf.d/a.conf:2");
	ck_assert_str_eq(settings.origins[SETTING_USER_SHARE], "conf:3");

	write_file("conf.d/a.conf", "max-maps\n");
	write_file("conf.d/b.conf", "max-maps = 0\n");
	write_file("conf", "wrong = 1\n");
	assert_said("conf:1: there is no setting 'wrong': smmapd.conf(5) lists them\n"
		    "conf.d/a.conf:1: this is not NAME = VALUE\n"
		    "conf.d/b.conf:1: max-maps=0 is not a number, at least 1\n");
}
END_TEST

START_TEST(test_missing)
{
	assert_said("conf: can't read it: No such file or directory\n");
	said[0] = '\0';
	ck_assert_uint_eq(configuration_read(&settings, "conf", false, note, &settings), 0);

	/* The folder is read also where the file is not there. */
	ck_assert_int_eq(mkdir("conf.d", 0700), 0);
	write_file("conf.d/a.conf", "max-maps = 2\n");
	ck_assert_uint_eq(configuration_read(&settings, "conf", false, note, &settings), 0);
	ck_assert_uint_eq(settings.limits.maps, 2);

	/* A link that leads nowhere is a mistake. */
	ck_assert_int_eq(symlink("nowhere", "conf.d/b.conf"), 0);
	ck_assert_uint_eq(configuration_read(&settings, "conf", false, note, &settings), 1);
	ck_assert_str_eq(said, "conf.d/b.conf: can't read it: No such file or directory\n");
}
END_TEST

START_TEST(test_no_files)
{
	ck_assert_int_eq(mkdir("conf", 0700), 0);
	assert_said("conf: can't read it: Is a directory\n");
	said[0] = '\0';
	ck_assert_uint_eq(configuration_read(&settings, "conf", false, note, &settings), 1);
	ck_assert_int_eq(rmdir("conf"), 0);

	/* A pipe to which nobody writes is not waited for. */
	ck_assert_int_eq(mkfifo("conf", 0600), 0);
	assert_well();
	ck_assert_int_eq(unlink("conf"), 0);

	write_file("conf", "max-maps = 5\n");
	write_file("conf.d", "no folder");
	assert_well();
	ck_assert_int_eq(unlink("conf.d"), 0);
	ck_assert_int_eq(mkdir("conf.d", 0700), 0);
	ck_assert_int_eq(mkdir("conf.d/a.conf", 0700), 0);
	assert_said("conf.d/a.conf: can't read it: Is a directory\n");
}
END_TEST

/* As a user who may read neither. */
START_TEST(test_unreadable)
{
	write_file("conf", "max-maps = 5\n");
	ck_assert_int_eq(mkdir("conf.d", 0), 0);
	ck_assert_int_eq(chmod("conf", 0), 0);
	ck_assert_int_eq(chmod(".", 0755), 0);
	ck_assert(geteuid() != 0 || seteuid(65534) == 0);
	read_again();
	ck_assert(getuid() != 0 || seteuid(0) == 0);
	ck_assert_str_eq(said, "conf: can't read it: Permission denied\n"
			       "conf.d: can't read it: Permission denied\n");
	ck_assert_int_eq(rmdir("conf.d"), 0);
}
END_TEST

Suite *suite(void);

Suite *suite(void)
{
	Suite *s = suite_create("configuration");

	HARNESS_CASE(s, "a file", test_all, test_nothing, test_mistakes, test_indented, test_long_lines, test_zero_bytes, test_random_bytes);
	HARNESS_CASE(s, "files", test_folder, test_missing, test_no_files, test_unreadable);
	return s;
}

int main(void)
{
	return harness_run(suite());
}
