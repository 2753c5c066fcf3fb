/* SPDX-License-Identifier: BSD-3-Clause */
/* What is said, and what is left out. The journal itself is met where a systemd runs: see scripts/check-system. */
#include "config.h"

#include "daemon/log.h"
#include "tests/harness.h"

#include "proto/util.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int saved_stderr;
static char said[1 << 16];

static void begin(void)
{
	int fd = open("said", O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	saved_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	ck_assert_int_eq(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	close(fd);
}

static void end(void)
{
	ck_assert_int_eq(dup2(saved_stderr, STDERR_FILENO), STDERR_FILENO);
	close(saved_stderr);
}

static const char *read_said(void)
{
	ssize_t n = pread(STDERR_FILENO, said, sizeof(said) - 1, 0);

	ck_assert_int_ge(n, 0);
	said[n] = '\0';
	return said;
}

START_TEST(test_lines)
{
	const struct log_client client = {.pid = 123, .uid = 1000, .name = "reader"};
	const struct log_client nobody = {.pid = 7, .uid = 0, .name = ""};

	begin();
	log_event(LOG_INFO, LOG_LIFE, NULL, "serving %d", 1);
	log_event(LOG_WARNING, LOG_REFUSAL, &client, "refused: %s", "too much");
	log_event(LOG_WARNING, LOG_DISCONNECT, &nobody, "gone");
	ck_assert_str_eq(read_said(), "smmapd: serving 1\n"
				      "smmapd: pid 123 (reader, uid 1000): refused: too much\n"
				      "smmapd: pid 7 (no name, uid 0): gone\n");
	end();
}
END_TEST

START_TEST(test_levels)
{
	begin();
	log_event(LOG_DEBUG, LOG_LIFE, NULL, "a detail");
	log_set_level(LOG_WARNING);
	log_event(LOG_INFO, LOG_LIFE, NULL, "nothing of note");
	log_event(LOG_NOTICE, LOG_LIFE, NULL, "hardly");
	ck_assert_str_eq(read_said(), "");
	log_event(LOG_WARNING, LOG_LIFE, NULL, "this");
	log_set_level(LOG_DEBUG);
	log_event(LOG_DEBUG, LOG_LIFE, NULL, "and this");
	ck_assert_str_eq(read_said(), "smmapd: this\nsmmapd: and this\n");
	end();
}
END_TEST

/* A client's name, in whatever way it gets into a message, neither steers a terminal nor begins a line. */
START_TEST(test_escapes)
{
	const struct log_client client = {.pid = 1, .uid = 1, .name = "a\nb\033[2J\xc2\x9b\x7f"};
	static char long_name[8192];
	const struct log_client long_client = {.pid = 1, .uid = 1, .name = long_name};
	const char *line;

	begin();
	log_event(LOG_INFO, LOG_REFUSAL, &client, "pinned by %s", "x\r\ny");
	ck_assert_str_eq(read_said(), "smmapd: pid 1 (a\\x0ab\\x1b[2J\\xc2\\x9b\\x7f, uid 1): pinned by x\\x0d\\x0ay\n");

	/* What is too long is cut, and is a line still. */
	memset(long_name, '\n', sizeof(long_name) - 1);
	log_event(LOG_INFO, LOG_REFUSAL, &long_client, "%s", long_name);
	line = strchr(read_said(), '\n') + 1;
	ck_assert_uint_gt(strlen(line), 256);
	ck_assert_uint_lt(strlen(line), 4096);
	ck_assert_ptr_eq(strchr(line, '\n'), line + strlen(line) - 1);
	end();
}
END_TEST

static uint64_t count(const char *text, const char *what)
{
	uint64_t n = 0;

	for (text = strstr(text, what); text; text = strstr(text + 1, what))
		n++;
	return n;
}

/* How many messages the log says that it left out. */
static uint64_t count_left_out(const char *text)
{
	uint64_t n = 0;

	for (const char *at = strstr(text, " more messages"); at; at = strstr(at + 1, " more messages")) {
		while (at > text && at[-1] >= '0' && at[-1] <= '9')
			at--;
		n += strtoull(at, NULL, 10);
		at = strstr(at, " more messages");
	}
	return n;
}

START_TEST(test_rate)
{
	const uint64_t n = 2000;

	begin();
	for (uint64_t i = 0; i < n; i++)
		log_event(LOG_WARNING, LOG_REFUSAL, NULL, "refused number %" PRIu64, i);
	for (uint64_t i = 0; i < 50; i++)
		log_event(LOG_INFO, LOG_LIFE, NULL, "reloaded");
	ck_assert_uint_eq(count(read_said(), "reloaded"), 50);
	/* Another kind is not held back by this one. */
	log_event(LOG_WARNING, LOG_DISCONNECT, NULL, "disconnected");
	ck_assert_uint_eq(count(read_said(), "disconnected"), 1);
	ck_assert_ptr_nonnull(strstr(said, "refused number 4\n"));
	ck_assert_uint_lt(count(said, "refused number"), n);

	/* With the next second comes what was left out, and nothing is lost. */
	while (count(read_said(), "refused number") + count_left_out(said) < n)
		log_settle();
	ck_assert_uint_eq(count(said, "refused number") + count_left_out(said), n);
	ck_assert_ptr_nonnull(strstr(said, "more messages of this kind (refusal) were left out\n"));
	end();
}
END_TEST

/* Standard error is not the journal that systemd had named. */
START_TEST(test_not_the_journal)
{
	begin();
	log_start(NULL);
	log_start("");
	log_start("1:2");
	log_event(LOG_INFO, LOG_LIFE, NULL, "here");
	ck_assert_str_eq(read_said(), "smmapd: here\n");
	end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("log");

	HARNESS_CASE(suite, "log", test_lines, test_levels, test_escapes, test_rate, test_not_the_journal);
	return harness_run(suite);
}
