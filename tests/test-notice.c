/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Servers without clients: they sleep until one of their files is deleted, and where the kernel gives no notice of that, they look each
 * second. How often a process went to sleep the kernel counts.
 */
#include "config.h"

#include "tests/harness.h"
#include "tests/raw.h"

#include "proto/util.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define WINDOW    UINT64_C(65536)
#define OTHER_UID "54321"

/* A server that does something each second does it a few times in these. */
#define SPAN_MS 3000
#define STEP_MS 100

static struct harness_server server;
static char output[1 << 16];

static uint64_t count_sleeps(void)
{
	return harness_process_figure(server.pid, "voluntary_ctxt_switches");
}

/* Waits until the server does nothing for a while. */
static void await_asleep(void)
{
	uint64_t before = 0, n;

	for (int ms = 0; ms < SPAN_MS; ms += STEP_MS) {
		n = count_sleeps();
		if (n != before)
			ms = 0;
		before = n;
		ck_assert_int_eq(poll(NULL, 0, STEP_MS), 0);
	}
}

/* Waits until it has done something a few times. */
static void await_awake(void)
{
	uint64_t before = count_sleeps();

	while (count_sleeps() < before + 3)
		ck_assert_int_ge(poll(NULL, 0, 1), 0);
}

/* Of how many files the kernel is to give it notice. */
static int count_notices(void)
{
	harness_shell(output, sizeof(output), "cat /proc/%d/fdinfo/* 2>/dev/null | grep -c '^inotify wd:'", (int)server.pid);
	return atoi(output);
}

/* Whether the server has a descriptor or a map of the file of this name in the working directory. */
static bool has(const char *name)
{
	harness_shell(output, sizeof(output), "{ ls -l /proc/%d/fd; cat /proc/%d/maps; } 2>/dev/null | grep -e \"$PWD/%s\\$\" -e \"$PWD/%s (deleted)\\$\"",
		      (int)server.pid, (int)server.pid, name, name);
	return *output;
}

static void await_gone(const char *name)
{
	while (has(name))
		ck_assert_int_ge(poll(NULL, 0, 1), 0);
}

static void warm(const char *name)
{
	ck_assert_int_eq(harness_shell(output, sizeof(output), "%s warm --socket=%s %s", harness_program(), server.socket, name), 0);
	ck_assert(has(name));
}

static void start_with_file(const char *option)
{
	harness_start(&server, "--window-size=64K", option, NULL);
	harness_make_file("file", WINDOW);
}

/* ---- asleep ---- */

START_TEST(test_deleted)
{
	start_with_file(NULL);
	harness_make_file("other", WINDOW);
	warm("file");
	warm("other");
	ck_assert_int_eq(count_notices(), 2);
	await_asleep();
	ck_assert_int_eq(unlink("file"), 0);
	await_gone("file");
	await_asleep();
	ck_assert_int_eq(count_notices(), 1);
	/* Another takes its name, which is a deletion, too. */
	harness_make_file("new", WINDOW);
	ck_assert_int_eq(rename("new", "other"), 0);
	await_gone("other");
	ck_assert_int_eq(count_notices(), 0);
	ck_assert_uint_eq(harness_figure(&server, "usage.handles"), 0);
	ck_assert_uint_eq(harness_figure(&server, "usage.memory_bytes"), 0);
	harness_stop(&server);
}
END_TEST

/* Only time will tell when a file without a region is to be closed. */
START_TEST(test_idle)
{
	struct raw raw;

	start_with_file("--idle-timeout=2s");
	raw_start(&raw, &server, "opens");
	raw_open(&raw, "file");
	raw_close(&raw);
	await_gone("file");
	await_asleep();
	ck_assert_int_eq(count_notices(), 0);
	harness_stop(&server);
}
END_TEST

static uint64_t clock_ms(clockid_t clock)
{
	struct timespec now;

	ck_assert_int_eq(clock_gettime(clock, &now), 0);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* However fast somebody changes what is told, the server hears of it once a second, and does then what it does in one. */
START_TEST(test_changes)
{
	uint64_t before, began_ms, used_ms, ms;
	clockid_t used;

	start_with_file(NULL);
	warm("file");
	await_asleep();
	ck_assert_int_eq(clock_getcpuclockid(server.pid, &used), 0);
	before = count_sleeps();
	used_ms = clock_ms(used);
	began_ms = clock_ms(CLOCK_MONOTONIC);
	do {
		for (mode_t i = 0; i < 1000; i++)
			ck_assert_int_eq(chmod("file", 0600 | i % 2), 0);
		ms = clock_ms(CLOCK_MONOTONIC) - began_ms;
	} while (ms < SPAN_MS);
	ck_assert_uint_gt(count_sleeps(), before);
	ck_assert_uint_le(count_sleeps() - before, 2 * (ms / 1000 + 1));
	ck_assert_uint_lt(clock_ms(used) - used_ms, ms / 10);
	await_asleep();
	ck_assert_int_eq(unlink("file"), 0);
	await_gone("file");
	harness_stop(&server);
}
END_TEST

/* Clients that come and go all the time don't keep the server from what it does each second. */
START_TEST(test_brief_clients)
{
	uint64_t first = 0, epoch;

	start_with_file(NULL);
	warm("file");
	await_asleep();
	/* Nobody leases anything: the epoch is that of seconds. */
	do {
		struct raw raw;

		raw_start(&raw, &server, "brief");
		epoch = pulse_epoch(raw.pulse);
		raw_close(&raw);
		if (!first)
			first = epoch;
		ck_assert_int_eq(poll(NULL, 0, 10), 0);
	} while (epoch < first + 2);
	harness_stop(&server);
}
END_TEST

/* ---- without notice ---- */

/* Starts the server below a command. */
static void start_below(const char *command)
{
	FILE *script = fopen("below", "we");

	ck_assert_ptr_nonnull(script);
	fprintf(script, "#!/bin/sh\nexec %s ./smmapd \"$@\"\n", command);
	ck_assert_int_eq(fchmod(fileno(script), 0755), 0);
	ck_assert_int_eq(fclose(script), 0);
	ck_assert_int_eq(harness_shell(output, sizeof(output), "chmod 777 . && cp %s smmapd && chmod 755 smmapd", harness_program()), 0);
	setenv("SMMAPD", "./below", 1);
	start_with_file(NULL);
	setenv("SMMAPD", "./smmapd", 1);
}

/* A deleted file is let go all the same, by who does not sleep for that. */
static void delete_without_notice(void)
{
	warm("file");
	ck_assert_int_eq(count_notices(), 0);
	await_awake();
	ck_assert_int_eq(unlink("file"), 0);
	await_gone("file");
	harness_stop(&server);
}

START_TEST(test_private)
{
	if (!harness_is_root())
		return;
	start_below("setpriv --reuid=" OTHER_UID " --regid=" OTHER_UID " --clear-groups");
	ck_assert_int_eq(chmod("file", 0600), 0);
	delete_without_notice();
}
END_TEST

/* The kernel gives a user no more of something. That can be made so for who is in a user namespace. */
static void run_out(const char *what)
{
	char command[256];

	snprintf(command, sizeof(command), "unshare --user --map-root-user sh -c 'echo 0 >/proc/sys/user/%s && exec \"$0\" \"$@\"'", what);
	if (harness_shell(output, sizeof(output), "%s true 2>&1", command)) {
		printf("skipped: no user namespaces: %s\n", output);
		return;
	}
	start_below(command);
	delete_without_notice();
}

START_TEST(test_no_watch)
{
	run_out("max_inotify_watches");
}
END_TEST

START_TEST(test_no_instance)
{
	run_out("max_inotify_instances");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("notice");

	HARNESS_CASE(suite, "asleep", test_deleted, test_idle, test_changes, test_brief_clients);
	HARNESS_CASE(suite, "without notice", test_private, test_no_watch, test_no_instance);
	return harness_run(suite);
}
