/* SPDX-License-Identifier: BSD-3-Clause */
/* `smmapd status` as its users see it: every view, on a terminal and elsewhere, with real clients. */
#include "config.h"

#include "client/smmap-client.h"
#include "tests/harness.h"
#include "tests/pty.h"

#include "proto/util.h"

#include <jansson.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#define WINDOW 65536

/* A name that no terminal here has room for. */
#define LONG_NAME \
	"a-rather-long-name-of-a-file-in-which-nothing-happens-for-quite-some-time-and-then-still-nothing-" \
	"and-in-the-end-there-are-two-characters-that-take-two-columns-each-\u732b\u732b-and-its-last-words"

static struct harness_server server;
static char output[1 << 20];
static struct pty pty;

static void start(const char *share)
{
	harness_start(&server, "--window-size=64K", "--max-memory=256K", share, NULL);
	ck_assert_int_eq(setenv("SMMAP_SOCKET", server.socket, 1), 0);
	ck_assert_int_eq(setenv("P", harness_program(), 1), 0);
	ck_assert_int_eq(setenv("LC_ALL", "C.UTF-8", 1), 0);
	unsetenv("NO_COLOR");
	unsetenv("TERM");
	ck_assert_ptr_nonnull(setlocale(LC_CTYPE, "C.UTF-8"));
}

static void run(int status, const char *command)
{
	int r = harness_shell(output, sizeof(output), "{ %s; } 2>&1", command);

	ck_assert_msg(r == status, "%s: status %d, not %d: %s", command, r, status, output);
}

static void assert_said(const char *part)
{
	ck_assert_msg(strstr(output, part), "no '%s' in: %s", part, output);
}

static void assert_not_said(const char *part)
{
	ck_assert_msg(!strstr(output, part), "a '%s' in: %s", part, output);
}

static json_t *load(const char *command)
{
	json_error_t error;
	json_t *root;

	run(0, command);
	root = json_loads(output, 0, &error);
	ck_assert_msg(root, "not JSON: %s: %s", error.text, output);
	return root;
}

static uint64_t integer_of(const json_t *object, const char *name)
{
	const json_t *value = json_object_get(object, name);

	ck_assert_msg(json_is_integer(value), "no %s", name);
	return (uint64_t)json_integer_value(value);
}

static const char *text_of_member(const json_t *object, const char *name)
{
	const char *value = json_string_value(json_object_get(object, name));

	ck_assert_msg(value, "no %s", name);
	return value;
}

/* ---- clients ---- */

struct reader {
	struct smmap_client *client;
	struct smmap_cursor *cursor;
};

static void open_reader(struct reader *reader, const char *name, const char *path)
{
	struct smmap_client_options options = {.name = name, .deadline_ms = 3600000};

	ck_assert_int_eq(smmap_client_open(&reader->client, &options), 0);
	ck_assert_int_eq(smmap_cursor_open(&reader->cursor, reader->client, path, 0), 0);
}

static void close_reader(struct reader *reader)
{
	smmap_cursor_close(reader->cursor);
	smmap_client_close(reader->client);
}

/* Stands on @n windows from @first on. */
static void stand(struct reader *reader, uint64_t first, uint64_t n)
{
	ck_assert_int_eq(smmap_cursor_use(reader->cursor, first * WINDOW, n * WINDOW), (ssize_t)(n * WINDOW));
}

/* A process that asks for a window, which takes as long as it takes. Its status is 0 if it got it. */
static pid_t ask_elsewhere(const char *path, uint64_t window, uid_t uid)
{
	pid_t child = fork();
	struct reader reader;

	ck_assert_int_ge(child, 0);
	if (child)
		return child;
	if (uid)
		ck_assert_int_eq(setuid(uid), 0);
	open_reader(&reader, "waits", path);
	stand(&reader, window, 1);
	close_reader(&reader);
	_exit(0);
}

/* The status, once so many requests wait. */
static json_t *await_waiting(size_t n)
{
	for (;;) {
		json_t *root = load("$P status --json");

		if (json_array_size(json_object_get(root, "waiting")) == n)
			return root;
		json_decref(root);
		poll(NULL, 0, 10);
	}
}

/* ---- what it says ---- */

START_TEST(test_views)
{
	struct reader reader;

	start("--user-share=67%");
	run(0, "$P status");
	assert_not_said("No file");
	assert_not_said("Nothing is pinned");
	run(0, "$P status --files --pins");
	assert_said("\nNothing is pinned.\n\nNo file that you may see.\n");
	harness_make_file("file-of-a-name", 2 * WINDOW);
	open_reader(&reader, "reader", "file-of-a-name");
	stand(&reader, 0, 1);
	run(0, "$P status");
	assert_said("256 KiB");
	assert_said(" 25%");
	assert_said(server.socket);
	assert_said("a grant took");
	assert_said("OF QUOTA");
	assert_said("reader");
	assert_not_said("file-of-a-name");
	assert_not_said("WAITS FOR");
	assert_not_said("since the last frame");
	run(0, "$P status --files");
	assert_said("/file-of-a-name");
	assert_said("IN MEMORY");
	assert_not_said("UID");
	run(0, "$P status --clients");
	assert_said("UID");
	assert_said("reader");
	assert_not_said("file-of-a-name");
	run(0, "$P status --pins");
	assert_said("/file-of-a-name");
	assert_said("reader");
	assert_not_said("OF QUOTA");
	run(0, "$P status --clients --files --pins");
	assert_said("OF QUOTA");
	assert_said("IN MEMORY");
	assert_said("OFFSET");
	assert_not_said("No file");
	assert_not_said("Nothing is pinned");
	/* 74.6% of what a user may lease. */
	stand(&reader, 0, 2);
	run(0, "$P status");
	assert_said(" 74% ");
	run(1, "$P status >/dev/full");
	assert_said("smmapd");
	close_reader(&reader);
	harness_stop(&server);
}
END_TEST

/* Without asking for all, only the biggest are shown. */
START_TEST(test_biggest_clients)
{
	struct reader readers[7];
	char name[16];

	start(NULL);
	harness_make_file("file", 4 * WINDOW);
	for (size_t i = 0; i < 7; i++) {
		snprintf(name, sizeof(name), "reader-%zu", i);
		open_reader(&readers[i], name, "file");
		if (i == 5)
			stand(&readers[i], 0, 3);
		else if (i == 6)
			stand(&readers[i], 0, 2);
	}
	run(0, "$P status | sed -n '/PROGRAM/,$p'");
	ck_assert_ptr_nonnull(strstr(output, "reader-5"));
	ck_assert_ptr_nonnull(strstr(strstr(output, "reader-5"), "reader-6"));
	run(0, "$P status | grep -c 'reader-\\|smmapd$' | grep -qx 5");
	run(0, "$P status --clients | grep -c 'reader-\\|smmapd$' | grep -qx 8");
	for (size_t i = 0; i < 7; i++)
		close_reader(&readers[i]);
	harness_stop(&server);
}
END_TEST

START_TEST(test_usage)
{
	static const char *const wrong[] = {
		"--watch=0", "--watch=x", "--watch=86401", "--watch=1s", "--json --watch", "--json --openmetrics", "--openmetrics --watch",
	};
	char command[64];

	start(NULL);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		snprintf(command, sizeof(command), "$P status %s", wrong[i]);
		run(2, command);
		assert_said("--watch");
	}
	harness_stop(&server);
}
END_TEST

START_TEST(test_no_server)
{
	static const char *const ways[] = {"", "--json", "--openmetrics", "--watch", "--clients --files --pins"};
	char command[64];

	start(NULL);
	harness_stop(&server);
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		snprintf(command, sizeof(command), "$P status %s", ways[i]);
		run(3, command);
		assert_said("start one with");
		assert_said("'smmapd'");
		assert_said("'smmapd exec -- PROGRAM'");
	}

	/* Where the unit is there, that is the way to its socket. In a mount namespace, which takes root. */
	if (harness_shell(output, sizeof(output), "unshare -m true 2>&1") != 0) {
		printf("skipped: the sentence with a unit: %s", output);
		return;
	}
	run(3, "unshare -m sh -c 'mount -t tmpfs none /run && mount -t tmpfs none /usr/local/lib && "
	       "mkdir -p /run/systemd/system /usr/local/lib/systemd/system && >/usr/local/lib/systemd/system/smmapd.socket && "
	       "{ $P status --socket=elsewhere || unset SMMAP_SOCKET XDG_RUNTIME_DIR; } && exec $P status'");
	assert_said("no server at elsewhere: start one with 'smmapd --socket=elsewhere', or");
	assert_said("no server at /run/smmapd/smmapd.sock: start one with 'systemctl start smmapd.socket' or 'smmapd', or");
}
END_TEST

/* ---- times ---- */

START_TEST(test_grant_time)
{
	struct reader reader;
	uint64_t waited_ns;
	json_t *root, *times;
	pid_t child;
	int status;

	start(NULL);
	harness_make_file("file", 5 * WINDOW);
	open_reader(&reader, "reader", "file");
	stand(&reader, 0, 4);
	child = ask_elsewhere("file", 4, 0);
	do {
		root = await_waiting(1);
		waited_ns = integer_of(json_array_get(json_object_get(root, "waiting"), 0), "milliseconds") * 1000000;
		json_decref(root);
	} while (waited_ns < 20000000);
	smmap_cursor_unuse(reader.cursor);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);

	/* A wait is a part of it, and each grant is counted. */
	root = load("$P status --json");
	times = json_object_get(root, "grant_time");
	ck_assert_uint_eq(integer_of(times, "count"), 2);
	ck_assert_uint_eq(integer_of(json_object_get(root, "counters"), "grants"), 2);
	ck_assert_uint_ge(integer_of(times, "worst_nanoseconds"), waited_ns);
	ck_assert_uint_ge(integer_of(times, "sum_nanoseconds"), integer_of(times, "worst_nanoseconds"));
	ck_assert_uint_gt(integer_of(times, "p50_nanoseconds"), 0);
	ck_assert_uint_lt(integer_of(times, "p50_nanoseconds"), waited_ns);
	ck_assert_uint_eq(integer_of(times, "p99_nanoseconds"), integer_of(times, "worst_nanoseconds"));
	json_decref(root);
	close_reader(&reader);
	harness_stop(&server);
}
END_TEST

/* ---- what waits, and pins ---- */

static void assert_waiting(const char *share, uint64_t n_pinned, const char *what)
{
	const json_t *row;
	struct reader reader;
	json_t *root;
	pid_t child;

	start(share);
	harness_make_file("file", 5 * WINDOW);
	open_reader(&reader, "reader", "file");
	stand(&reader, 0, n_pinned);
	child = ask_elsewhere("file", 4, 0);
	root = await_waiting(1);
	row = json_array_get(json_object_get(root, "waiting"), 0);
	ck_assert_uint_eq(integer_of(row, "pid"), (uint64_t)child);
	ck_assert_uint_eq(integer_of(row, "uid"), geteuid());
	ck_assert_uint_eq(integer_of(row, "bytes"), WINDOW);
	ck_assert_str_eq(text_of_member(row, "name"), "waits");
	ck_assert_str_eq(text_of_member(row, "request"), "lease");
	ck_assert_str_eq(text_of_member(row, "waits_for"), what);
	ck_assert_ptr_nonnull(strstr(text_of_member(row, "path"), "/file"));
	json_decref(root);
	run(0, "$P status | grep -A 1 'WAITS FOR'");
	assert_said(what);
	assert_said("lease 64 KiB");
	run(0, "$P status --openmetrics | grep -qx 'smmapd_waiting_requests 1'");
	ck_assert_int_eq(kill(child, SIGKILL), 0);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	json_decref(await_waiting(0));
	close_reader(&reader);
	harness_stop(&server);
}

START_TEST(test_waiting)
{
	assert_waiting(NULL, 4, "max-memory");
	assert_waiting("--max-maps=3", 3, "max-maps");
	assert_waiting("--user-share=50%", 2, "user's max-memory");
}
END_TEST

START_TEST(test_pins)
{
	struct reader first, second;
	const json_t *pins;
	json_t *root;

	start(NULL);
	harness_make_file("old", 2 * WINDOW);
	harness_make_file("new", 2 * WINDOW);
	open_reader(&first, "first", "old");
	open_reader(&second, "second", "new");
	stand(&second, 0, 1);
	smmap_cursor_unuse(second.cursor);
	stand(&first, 1, 1);
	do {
		root = load("$P status --json");
		pins = json_object_get(root, "pins");
		ck_assert_uint_eq(json_array_size(pins), 1);
		if (integer_of(json_array_get(pins, 0), "seconds") >= 2)
			break;
		json_decref(root);
		poll(NULL, 0, 50);
	} while (true);
	json_decref(root);

	/* A hit is a pin too, and as young as that. */
	stand(&second, 0, 1);
	root = load("$P status --json");
	pins = json_object_get(root, "pins");
	ck_assert_uint_eq(json_array_size(pins), 2);
	ck_assert_uint_eq(integer_of(json_array_get(pins, 0), "offset"), WINDOW);
	ck_assert_uint_eq(integer_of(json_array_get(pins, 0), "bytes"), WINDOW);
	ck_assert_uint_eq(integer_of(json_array_get(pins, 0), "pid"), (uint64_t)getpid());
	ck_assert_str_eq(text_of_member(json_array_get(pins, 0), "name"), "first");
	ck_assert_uint_gt(integer_of(json_array_get(pins, 0), "seconds"), integer_of(json_array_get(pins, 1), "seconds"));
	ck_assert_uint_eq(integer_of(json_object_get(root, "usage"), "pinned_bytes"), 2 * WINDOW);
	json_decref(root);

	/* The oldest first. */
	run(0, "$P status --pins | sed -n '/OFFSET/,$p'");
	ck_assert_ptr_nonnull(strstr(output, "/old"));
	ck_assert_ptr_nonnull(strstr(strstr(output, "/old"), "/new"));
	close_reader(&first);
	close_reader(&second);
	harness_stop(&server);
}
END_TEST

/* ---- files in memory ---- */

START_TEST(test_resident)
{
	const json_t *file;
	json_t *root;

	start(NULL);
	harness_make_file("file", WINDOW + 1);
	run(0, "$P warm file");
	root = load("$P status --json --files");
	file = json_array_get(json_object_get(root, "files"), 0);
	ck_assert_uint_eq(integer_of(file, "resident_bytes"), WINDOW + page_size());
	json_decref(root);
	root = load("$P status --json");
	ck_assert_ptr_null(json_object_get(json_array_get(json_object_get(root, "files"), 0), "resident_bytes"));
	json_decref(root);
	run(0, "$P status --files | grep -q '68 KiB *68 KiB *2 .*/file$'");

	/* What the path is now is something else, be it one that nobody must open. */
	run(0, "mv file away && mkfifo file && $P status --files | grep -q '68 KiB *- *2 .*/file$'");
	run(0, "rm file && cp away file && $P status --files | grep -q '68 KiB *- *2 .*/file$'");
	run(0, "rm file && $P status --files | grep -q '68 KiB *- *2 .*/file$'");
	run(0, "mv away file && $P status --files | grep -q '68 KiB *68 KiB *2 .*/file$'");
	harness_stop(&server);
}
END_TEST

/* Where the pages are those of a file below. In a mount namespace, which takes root. */
START_TEST(test_resident_on_overlayfs)
{
	start(NULL);
	run(0, "mkdir one two merged");
	harness_make_file("one/file", WINDOW + 1);
	if (harness_shell(output, sizeof(output), "unshare -m mount -t overlay -o lowerdir=one:two none merged 2>&1") != 0) {
		printf("skipped: %s", output);
		harness_stop(&server);
		return;
	}
	run(0, "unshare -m sh -e -c 'mount -t overlay -o lowerdir=one:two none merged; $P warm merged/file; $P status --files' | "
	       "grep '68 KiB *68 KiB *2 .*/file$'");
	harness_stop(&server);
}
END_TEST

/* ---- other users ---- */

#define NOBODY 65534

/* Runs a command as nobody, with a copy of the program that this user can run. */
static json_t *load_as_nobody(const char *command)
{
	json_error_t error;
	json_t *root;
	int status;
	pid_t child = fork();

	if (!child) {
		ck_assert_int_eq(setuid(NOBODY), 0);
		_exit(harness_shell(output, sizeof(output), "{ %s; } >said 2>&1", command));
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	run(0, "cat said");
	ck_assert_msg(status == 0, "status %#x: %s", (unsigned)status, output);
	root = json_loads(output, 0, &error);
	ck_assert_msg(root, "not JSON: %s: %s", error.text, output);
	return root;
}

/* The row of a list that is of this process; NULL if there is none. */
static const json_t *row_of(const json_t *root, const char *list, pid_t pid)
{
	const json_t *rows = json_object_get(root, list);

	for (size_t i = 0; i < json_array_size(rows); i++)
		if (integer_of(json_array_get(rows, i), "pid") == (uint64_t)pid)
			return json_array_get(rows, i);
	return NULL;
}

START_TEST(test_other_users)
{
	struct reader reader;
	const json_t *mine, *theirs;
	pid_t child, waiting;
	json_t *root;

	if (!harness_is_root())
		return;
	start(NULL);
	ck_assert_int_eq(chmod(".", 01777), 0);
	run(0, "cp $P program && chmod 755 program && install -m 666 /dev/null said");
	harness_make_file("secret", 5 * WINDOW);
	harness_make_file("public", WINDOW);
	ck_assert_int_eq(chmod("secret", 0600), 0);
	ck_assert_int_eq(chmod("public", 0644), 0);
	open_reader(&reader, "reader", "secret");
	stand(&reader, 1, 3);

	/* Nobody stands on a file of its own. */
	child = fork();
	if (!child) {
		struct reader other;

		ck_assert_int_eq(setuid(NOBODY), 0);
		open_reader(&other, "other", "public");
		stand(&other, 0, 1);
		pause();
	}
	while (harness_figure(&server, "usage.pinned_bytes") < 4 * WINDOW)
		poll(NULL, 0, 10);
	waiting = ask_elsewhere("secret", 4, 0);
	root = await_waiting(1);
	ck_assert_ptr_nonnull(strstr(text_of_member(row_of(root, "pins", getpid()), "path"), "/secret"));
	ck_assert_ptr_nonnull(strstr(text_of_member(row_of(root, "pins", child), "path"), "/public"));
	ck_assert_ptr_nonnull(strstr(text_of_member(row_of(root, "waiting", waiting), "path"), "/secret"));
	ck_assert_uint_eq(integer_of(row_of(root, "pins", getpid()), "offset"), WINDOW);
	ck_assert_uint_eq(json_array_size(json_object_get(root, "files")), 2);
	json_decref(root);

	root = load_as_nobody("./program status --json --files");
	assert_not_said("secret");
	mine = row_of(root, "pins", child);
	theirs = row_of(root, "pins", getpid());
	ck_assert_ptr_nonnull(strstr(text_of_member(mine, "path"), "/public"));
	ck_assert_str_eq(text_of_member(theirs, "path"), "");
	ck_assert_uint_eq(integer_of(theirs, "offset"), 0);
	ck_assert_uint_eq(integer_of(theirs, "bytes"), 3 * WINDOW);
	ck_assert_str_eq(text_of_member(row_of(root, "waiting", waiting), "path"), "");
	ck_assert_uint_eq(json_array_size(json_object_get(root, "files")), 1);
	ck_assert_uint_eq(integer_of(json_object_get(root, "usage"), "pinned_bytes"), 4 * WINDOW);
	ck_assert_uint_eq(integer_of(json_object_get(root, "usage"), "memory_bytes"), 4 * WINDOW);
	/* It is root's file: the kernel would tell nobody an untruth, or nothing; on some kernels, the truth. */
	theirs = json_object_get(json_array_get(json_object_get(root, "files"), 0), "resident_bytes");
	ck_assert(!theirs || json_integer_value(theirs) == WINDOW);
	json_decref(root);

	ck_assert_int_eq(kill(child, SIGKILL), 0);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	ck_assert_int_eq(waitpid(waiting, NULL, 0), waiting);
	close_reader(&reader);
	harness_stop(&server);
}
END_TEST

/* ---- terminals ---- */

/* Runs a command on a terminal; all of its lines have to fit. */
static void run_on_terminal(unsigned short columns, const char *command)
{
	size_t n_lines, widest;

	pty_start(&pty, columns, 50, command);
	ck_assert_int_eq(pty_finish(&pty), 0);
	snprintf(output, sizeof(output), "%s", pty.said);
	widest = pty_widest(&pty, 0, pty.n_said, &n_lines);
	ck_assert_msg(widest <= columns, "'%s' is %zu columns wide on %u: %s", command, widest, columns, pty.said);
	ck_assert_uint_ge(n_lines, 8);
}

START_TEST(test_widths)
{
	static const unsigned short widths[] = {40, 64, 80, 200};
	static const char *const views[] = {"", "--clients", "--files", "--pins", "--clients --files --pins"};
	struct reader reader;
	char command[128];
	pid_t child;

	start(NULL);
	harness_make_file(LONG_NAME, 5 * WINDOW);
	open_reader(&reader, "a-program-that-has-a-name-which-is-longer-than-usual-by-far", LONG_NAME);
	stand(&reader, 0, 4);
	child = ask_elsewhere(LONG_NAME, 4, 0);
	json_decref(await_waiting(1));
	for (size_t i = 0; i < sizeof(widths) / sizeof(widths[0]); i++) {
		for (size_t k = 0; k < sizeof(views) / sizeof(views[0]); k++) {
			snprintf(command, sizeof(command), "$P status %s", views[k]);
			run_on_terminal(widths[i], command);
			assert_said("max-memory");
			assert_said("last-words");
			assert_said("\u2026");
			snprintf(command, sizeof(command), "LC_ALL=C $P status %s", views[k]);
			run_on_terminal(widths[i], command);
			assert_said("...");
			for (size_t n = 0; output[n]; n++)
				ck_assert_int_gt(output[n], 0);
		}
	}
	/* Where there is no terminal nothing is cut. */
	run(0, "$P status --files --pins | grep -c '/" LONG_NAME "$' | grep -qx 3");
	ck_assert_int_eq(kill(child, SIGKILL), 0);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	close_reader(&reader);
	harness_stop(&server);
}
END_TEST

START_TEST(test_colour)
{
	start(NULL);
	harness_make_file("file", 4 * WINDOW);
	run(0, "$P warm file");
	run_on_terminal(80, "$P status");
	assert_said("\x1b[31m");
	assert_said("\u2588");
	run_on_terminal(80, "NO_COLOR= $P status");
	assert_said("\x1b[31m");
	run_on_terminal(80, "NO_COLOR=1 $P status");
	assert_not_said("\x1b");
	assert_said("\u2588");
	run_on_terminal(80, "TERM=dumb $P status");
	assert_not_said("\x1b");
	run_on_terminal(80, "TERM=there-is-no-such $P status");
	assert_not_said("\x1b");
	run_on_terminal(80, "LC_ALL=C $P status");
	assert_said("########");
	run(0, "$P status --clients --files --pins");
	assert_not_said("\x1b");
	assert_said("\u2588");
	run(0, "LC_ALL=C $P status");
	assert_not_said("\u2588");
	assert_said("########");
	harness_stop(&server);
}
END_TEST

/* ---- --watch ---- */

/* A whole frame that begins behind @from; its end is where the next begins. */
static size_t await_frame(size_t from, size_t *end)
{
	size_t begin = pty_await(&pty, from, "\x1b[H");

	*end = pty_await(&pty, begin + 3, "\x1b[H");
	return begin;
}

/* A frame behind @from that fits a terminal. Where it ends. */
static size_t await_fitting_frame(size_t from, size_t columns, size_t lines)
{
	for (size_t begin, end = from;;) {
		size_t widest, n_lines;

		begin = await_frame(end, &end);
		widest = pty_widest(&pty, begin, end, &n_lines);
		if (widest <= columns && n_lines < lines)
			return end;
	}
}

START_TEST(test_watch)
{
	char socket[sizeof(server.socket)];
	struct reader reader;
	struct termios now;
	size_t at, end, n_lines;

	start(NULL);
	harness_make_file(LONG_NAME, 2 * WINDOW);
	open_reader(&reader, "reader", LONG_NAME);
	stand(&reader, 0, 1);
	pty_start(&pty, 120, 60, "exec $P status --watch=1 --clients --files --pins");
	/* The screen is cleared, then painted. */
	at = pty_await(&pty, pty_await(&pty, 0, PTY_ENTERS), "\x1b[2J");
	at = await_frame(at, &end);
	ck_assert_uint_lt(pty_await(&pty, at, "OF QUOTA"), end);
	ck_assert_uint_lt(pty_await(&pty, at, "IN MEMORY"), end);
	ck_assert_uint_lt(pty_await(&pty, at, "OFFSET"), end);
	pty_await(&pty, end, "since the last frame");
	ck_assert_int_eq(tcgetattr(pty.terminal, &now), 0);
	ck_assert(!(now.c_lflag & (ICANON | ECHO)));
	ck_assert(now.c_lflag & ISIG);

	/* Another size, narrower and lower than all there is. */
	pty_resize(&pty, 40, 12);
	at = await_fitting_frame(pty.n_said, 40, 12);
	at = await_fitting_frame(at, 40, 12);

	/* A server that goes and comes back, as another one. */
	harness_kill(&server);
	pty_await(&pty, at, "Waiting for a server");
	at = await_frame(pty.n_said, &end);
	ck_assert_uint_lt(pty_await(&pty, at, "no server is there"), end);
	ck_assert_uint_le(pty_widest(&pty, at, end, &n_lines), 40);
	snprintf(socket, sizeof(socket), "%s", server.socket);
	harness_start_at(&server, socket, (const char *const[]){"--window-size=64K", "--max-memory=128K", NULL});
	pty_await(&pty, at, "128 KiB");

	pty_type(&pty, "xq");
	pty_await(&pty, at, PTY_LEAVES);
	while (!pty_is_as_before(&pty))
		poll(NULL, 0, 1);
	ck_assert_int_eq(pty_finish(&pty), 0);
	ck_assert_ptr_null(strstr(strstr(pty.said, PTY_LEAVES), PTY_ENTERS));
	close_reader(&reader);
	harness_stop(&server);
}
END_TEST

START_TEST(test_watch_ended)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

	start(NULL);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		int status;

		pty_start(&pty, 80, 24, "ulimit -c 0; exec $P status --watch=1");
		pty_await(&pty, 0, "a second");
		ck_assert(!pty_is_as_before(&pty));
		if (numbers[i] == SIGINT)
			pty_type(&pty, "\x03");
		else
			ck_assert_int_eq(kill(pty.pid, numbers[i]), 0);
		pty_await(&pty, 0, PTY_LEAVES);
		while (!pty_is_as_before(&pty))
			poll(NULL, 0, 1);
		status = pty_finish(&pty);
		ck_assert(WIFSIGNALED(status));
		ck_assert_int_eq(WTERMSIG(status), numbers[i]);
	}
	harness_stop(&server);
}
END_TEST

/* A server that is there and says nothing. No room has to do with that. */
START_TEST(test_silent_server)
{
	static const char sentence[] = "the server does not answer: it is stopped, can't start, or has no room for another client";

	start(NULL);
	ck_assert_int_eq(kill(server.pid, SIGSTOP), 0);
	run(1, "$P status");
	assert_said(sentence);
	ck_assert_int_eq(kill(server.pid, SIGCONT), 0);

	pty_start(&pty, 200, 24, "exec $P status --watch=1");
	pty_await(&pty, 0, "a second");
	ck_assert_int_eq(kill(server.pid, SIGSTOP), 0);
	pty_await(&pty, 0, sentence);
	ck_assert_int_eq(kill(server.pid, SIGCONT), 0);
	pty_await(&pty, pty.n_said, "a second");
	pty_type(&pty, "q");
	ck_assert_int_eq(pty_finish(&pty), 0);
	harness_stop(&server);
}
END_TEST

/*
 * While it is stopped, the terminal is somebody else's. A shell with job control runs it, since nothing else can be stopped so.
 */
START_TEST(test_watch_stopped)
{
	size_t at;

	start(NULL);
	pty_start(&pty, 80, 24, "set -m; $P status --watch=1; echo stopped; fg");
	pty_await(&pty, 0, "a second");
	pty_type(&pty, "\x1a");
	at = pty_await(&pty, 0, PTY_LEAVES);
	at = pty_await(&pty, at, "stopped");
	at = pty_await(&pty, at, PTY_ENTERS);
	at = pty_await(&pty, at, "a second");
	pty_type(&pty, "q");
	pty_await(&pty, at, PTY_LEAVES);
	ck_assert_int_eq(pty_finish(&pty), 0);
	harness_stop(&server);
}
END_TEST

START_TEST(test_watch_hung_up)
{
	int status;

	start(NULL);
	pty_start(&pty, 80, 24, "exec $P status --watch=1");
	pty_await(&pty, 0, "a second");
	close_fdp(&pty.terminal);
	close_fdp(&pty.master);
	ck_assert_int_eq(waitpid(pty.pid, &status, 0), pty.pid);
	harness_stop(&server);
}
END_TEST

/* Where it can't be painted, frames come one after the other. */
START_TEST(test_watch_elsewhere)
{
	start(NULL);
	run(0, "$P status --watch=1 | grep -m 3 '^LIMIT\\|since the last'");
	assert_not_said("\x1b");
	assert_said("since the last");
	pty_start(&pty, 80, 24, "TERM=dumb exec $P status --watch=1");
	pty_await(&pty, pty_await(&pty, 0, "smmapd ") + 1, "smmapd ");
	ck_assert_ptr_null(strchr(pty.said, '\x1b'));
	ck_assert(pty_is_as_before(&pty));
	ck_assert_int_eq(kill(pty.pid, SIGTERM), 0);
	ck_assert(WIFSIGNALED(pty_finish(&pty)));
	harness_stop(&server);
}
END_TEST

Suite *suite(void);

Suite *suite(void)
{
	Suite *s = suite_create("status");

	HARNESS_CASE(s, "views", test_views, test_biggest_clients, test_usage, test_no_server);
	HARNESS_CASE(s, "figures", test_grant_time, test_waiting, test_pins, test_resident, test_resident_on_overlayfs,
		     test_other_users);
	HARNESS_CASE(s, "terminal", test_widths, test_colour);
	HARNESS_CASE(s, "watch", test_watch, test_watch_ended, test_silent_server, test_watch_stopped, test_watch_hung_up,
		     test_watch_elsewhere);
	return s;
}

int main(void)
{
	return harness_run(suite());
}
