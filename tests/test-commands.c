/* SPDX-License-Identifier: BSD-3-Clause */
/* The commands that are clients, from outside: cat, warm, collect, drop, and the figures of status; tests/test-status.c has its views. */
#include "config.h"

#include "client/smmap-client.h"
#include "tests/harness.h"

#include "proto/util.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#define WINDOW 65536

static struct harness_server server;
static char output[1 << 20];

/* A server with room for four windows, known to all commands. */
static void start(void)
{
	harness_start(&server, "--window-size=64K", "--max-memory=256K", NULL);
	ck_assert_int_eq(setenv("SMMAP_SOCKET", server.socket, 1), 0);
	ck_assert_int_eq(setenv("P", harness_program(), 1), 0);
}

/* Runs a shell command, in which "$P" is the program. Both its outputs are kept. */
static void run(int status, const char *command)
{
	int r = harness_shell(output, sizeof(output), "{ %s; } 2>&1", command);

	ck_assert_msg(r == status, "%s: status %d, not %d: %s", command, r, status, output);
}

static void assert_said(const char *part)
{
	ck_assert_msg(strstr(output, part), "no '%s' in: %s", part, output);
}

static void run_saying(int status, const char *command, const char *part)
{
	run(status, command);
	assert_said(part);
}

/* ---- cat ---- */

START_TEST(test_cat_whole)
{
	static const uint64_t sizes[] = {0, 1, WINDOW - 1, WINDOW, WINDOW + 1, 4 * WINDOW, 4 * WINDOW + 1, 20 * WINDOW + 77};

	/* The larger ones are past max-memory. */
	start();
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		harness_make_file("file", sizes[i]);
		run(0, "$P cat file >got && cmp got file");
		unlink("file");
		ck_assert_uint_le(harness_figure(&server, "usage.memory_bytes"), 4 * WINDOW);
	}
	harness_make_file("one", 100);
	harness_make_file("two", 5 * WINDOW);
	harness_make_file("none", 0);
	run(0, "cat one two none one >expected && $P cat one two none one | cmp - expected");
	ck_assert_uint_eq(harness_figure(&server, "usage.leases"), 0);
	harness_stop(&server);
}
END_TEST

START_TEST(test_cat_range)
{
	static const uint64_t places[] = {
		0, 1, WINDOW - 1, WINDOW, WINDOW + 1, 3 * WINDOW, 3 * WINDOW + 99, 3 * WINDOW + 100, 3 * WINDOW + 101,
	};
	static const uint64_t lengths[] = {0, 1, 2, WINDOW, 4 * WINDOW, INT64_MAX};
	uint64_t size = 3 * WINDOW + 100;
	char command[256];

	start();
	harness_make_file("file", size);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		for (size_t k = 0; k < sizeof(lengths) / sizeof(lengths[0]); k++) {
			uint64_t offset = places[i], n = offset < size ? min_u64(lengths[k], size - offset) : 0;

			snprintf(command, sizeof(command),
				 "tail -c +%llu file | head -c %llu >expected; "
				 "$P cat --offset=%llu --length=%llu file >got && cmp got expected",
				 (unsigned long long)offset + 1, (unsigned long long)n, (unsigned long long)offset,
				 (unsigned long long)lengths[k]);
			run(0, command);
		}
	}
	run(0, "$P cat --offset=9223372036854775807 file");
	ck_assert_str_eq(output, "");
	run(0, "$P cat --offset=64K --length=1 file | cmp -n 1 - file -i 0:65536");
	harness_stop(&server);
}
END_TEST

START_TEST(test_cat_to_a_closed_pipe)
{
	start();
	harness_make_file("file", 40 * WINDOW);
	/* By SIGPIPE, as of all filters; where that is ignored, by saying so. */
	run(0, "{ $P cat file; echo $? >status; } | head -c 1 >/dev/null; test $(cat status) -eq 141");
	run_saying(0, "{ trap '' PIPE; $P cat file; echo $? >status; } | head -c 1 >/dev/null; test $(cat status) -eq 1",
		   "standard output");
	run_saying(1, "$P cat file >/dev/full", "standard output");
	harness_stop(&server);
}
END_TEST

/* What is printed goes nowhere then, and the connection is not taken for the output. */
START_TEST(test_closed_outputs)
{
	start();
	harness_make_file("file", 10);
	run_saying(1, "$P cat file >&-", "standard output");
	run_saying(1, "$P status >&-", "standard output");
	run(1, "$P cat missing 2>&-");
	ck_assert_str_eq(output, "");
	run(1, "$P cat file <&- >&- 2>&-");
	run(0, "$P cat file <&- | cmp - file");
	ck_assert_uint_eq(harness_figure(&server, "counters.protocol_errors"), 0);
	harness_stop(&server);
}
END_TEST

START_TEST(test_unfit_paths)
{
	static const char *const commands[] = {"cat", "warm"};
	static const char *const paths[] = {"missing", "folder", "fifo", "/dev/null", "sock", "file/below", "loop"};
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "sock"};
	char command[128];
	int fd;

	start();
	harness_make_file("file", 10);
	ck_assert_int_eq(mkdir("folder", 0700), 0);
	ck_assert_int_eq(mkfifo("fifo", 0600), 0);
	ck_assert_int_eq(symlink("loop", "loop"), 0);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	for (size_t i = 0; i < 2; i++) {
		for (size_t k = 0; k < sizeof(paths) / sizeof(paths[0]); k++) {
			snprintf(command, sizeof(command), "$P %s %s", commands[i], paths[k]);
			run_saying(1, command, paths[k]);
		}
		/* The others of the list are served all the same. */
		snprintf(command, sizeof(command), "$P %s missing file folder", commands[i]);
		run_saying(1, command, "missing");
		assert_said("folder");
	}
	run(1, "$P cat missing file 2>/dev/null >got; r=$?; cmp got file && exit $r");
	run_saying(1, "$P drop missing", "missing");
	harness_stop(&server);
}
END_TEST

/* ---- warm, collect, drop ---- */

START_TEST(test_warm_and_collect)
{
	start();
	harness_make_file("file", 2 * WINDOW + 100);
	harness_make_file("empty", 0);
	run_saying(0, "$P warm file", "file");
	ck_assert_uint_eq(harness_figure(&server, "usage.memory_bytes"), 2 * WINDOW + page_size());
	ck_assert_uint_eq(harness_figure(&server, "usage.maps"), 3);
	run(0, "$P warm empty file");
	run_saying(0, "$P collect", "3 maps");
	ck_assert_uint_eq(harness_figure(&server, "usage.memory_bytes"), 0);
	run_saying(0, "$P collect", "0 maps");
	harness_stop(&server);
}
END_TEST

/* How many of the server's descriptors or maps are of @name. */
static int count_in_server(const char *name)
{
	int r = harness_shell(output, sizeof(output), "{ ls -l /proc/%d/fd; cat /proc/%d/maps; } | grep -c '/%s$'",
			      (int)server.pid, (int)server.pid, name);

	ck_assert_int_le(r, 1);
	return atoi(output);
}

START_TEST(test_drop)
{
	start();
	ck_assert_int_eq(mkdir("folder", 0700), 0);
	harness_make_file("folder/in", WINDOW);
	harness_make_file("folder-beside", WINDOW);
	harness_make_file("gone", WINDOW);
	run(0, "$P warm folder/in folder-beside gone");
	ck_assert_int_eq(count_in_server("in"), 2);
	run_saying(0, "$P drop folder", "1 maps");
	ck_assert_int_eq(count_in_server("in"), 0);
	ck_assert_int_eq(count_in_server("folder-beside"), 2);
	run_saying(0, "$P drop folder-beside", "1 maps");
	ck_assert_int_eq(count_in_server("folder-beside"), 0);
	/* By another name of the same place. */
	run(0, "$P warm folder/in && ln -s folder link && $P drop link/");
	ck_assert_int_eq(count_in_server("in"), 0);
	run_saying(0, "$P drop \"$PWD/never-there\"", "0 maps");
	run(0, "$P drop /");
	ck_assert_uint_eq(harness_figure(&server, "usage.handles"), 0);
	ck_assert_uint_eq(harness_figure(&server, "usage.maps"), 0);
	harness_stop(&server);
}
END_TEST

START_TEST(test_drop_under_a_client)
{
	struct smmap_client_options options = {.socket = server.socket, .name = "reader"};
	struct smmap_client *client;
	struct smmap_cursor *cursor;

	start();
	harness_make_file("file", 2 * WINDOW);
	ck_assert_int_eq(smmap_client_open(&client, &options), 0);
	ck_assert_int_eq(smmap_cursor_open(&cursor, client, "file", 0), 0);

	/* Pinned, it stays. */
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, 10), 10);
	run_saying(0, "$P drop file", "0 maps");
	assert_said("1 files in 1 maps stay");
	run(0, "$P drop \"$PWD/fil\"");
	ck_assert_ptr_null(strstr(output, "stay"));
	ck_assert_int_eq(count_in_server("file"), 2);
	ck_assert_uint_eq(*(const unsigned char *)smmap_cursor_data(cursor), harness_byte(0));

	/* Idle, it goes; and the client opens it again by itself, at the same place and at another. */
	for (uint64_t i = 0; i < 2; i++) {
		smmap_cursor_unuse(cursor);
		run_saying(0, "$P drop file", "1 maps");
		ck_assert_ptr_null(strstr(output, "stay"));
		ck_assert_int_eq(count_in_server("file"), 0);
		ck_assert_int_eq(smmap_cursor_use(cursor, i * WINDOW + 5, 10), 10);
		ck_assert_uint_eq(*(const unsigned char *)smmap_cursor_data(cursor), harness_byte(i * WINDOW + 5));
		ck_assert_int_eq(count_in_server("file"), 2);
	}
	smmap_cursor_close(cursor);
	smmap_client_close(client);
	harness_stop(&server);
}
END_TEST

/* ---- status ---- */

static json_t *load_status(void)
{
	json_error_t error;
	json_t *root;

	run(0, "$P status --json");
	for (const char *at = output; *at; at++)
		ck_assert_msg((unsigned char)*at >= ' ' || *at == '\n', "a raw control character in: %s", output);
	root = json_loads(output, 0, &error);
	ck_assert_msg(root, "not JSON: %s: %s", error.text, output);
	return root;
}

/* Requires members of an object: names, of which those of texts begin with '$'. */
static void assert_members(const json_t *object, const char *const *names)
{
	ck_assert(json_is_object(object));
	for (; *names; names++) {
		const json_t *member = json_object_get(object, **names == '$' ? *names + 1 : *names);

		ck_assert_msg(**names == '$' ? json_is_string(member) : json_is_integer(member), "no %s", *names);
		ck_assert_msg(**names == '$' || json_integer_value(member) >= 0, "negative: %s", *names);
	}
}

static uint64_t integer_of(const json_t *object, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(object, name));
}

START_TEST(test_status_json)
{
	static const char *const daemon[] = {"$version", "pid", "uptime_seconds", "$socket", "heap_bytes", NULL};
	static const char *const limits[] = {"memory_bytes", "handles", "maps", "window_bytes", NULL};
	static const char *const usage[] = {
		"memory_bytes", "pinned_bytes", "draining_bytes", "handles", "closing", "maps", "clients", "leases", NULL,
	};
	static const char *const counters[] = {
		"grants", "hits", "evictions", "recalls", "waits", "refusals", "protocol_errors", "disconnections", NULL,
	};
	static const char *const client[] = {
		"pid", "uid", "$name", "leases", "mapped_bytes", "pinned_bytes", "oldest_pin_seconds", NULL,
	};
	static const char *const file[] = {"$path", "size_bytes", "mapped_bytes", "regions", "clients", NULL};
	const json_t *files, *clients;
	json_t *root;

	start();
	harness_make_file("file", WINDOW + 1);
	run(0, "$P warm file");
	root = load_status();
	assert_members(json_object_get(root, "daemon"), daemon);
	assert_members(json_object_get(root, "limits"), limits);
	assert_members(json_object_get(root, "usage"), usage);
	assert_members(json_object_get(root, "counters"), counters);
	ck_assert_uint_eq(integer_of(json_object_get(root, "daemon"), "pid"), (uint64_t)server.pid);
	ck_assert_str_eq(json_string_value(json_object_get(json_object_get(root, "daemon"), "socket")), server.socket);
	ck_assert_str_eq(json_string_value(json_object_get(json_object_get(root, "daemon"), "version")), PACKAGE_VERSION);
	ck_assert_uint_eq(integer_of(json_object_get(root, "limits"), "memory_bytes"), 4 * WINDOW);
	ck_assert_uint_eq(integer_of(json_object_get(root, "usage"), "memory_bytes"), WINDOW + page_size());

	clients = json_object_get(root, "clients");
	ck_assert_uint_eq(json_array_size(clients), 1);
	assert_members(json_array_get(clients, 0), client);
	ck_assert_uint_eq(integer_of(json_array_get(clients, 0), "uid"), geteuid());
	files = json_object_get(root, "files");
	ck_assert_uint_eq(json_array_size(files), 1);
	assert_members(json_array_get(files, 0), file);
	ck_assert_ptr_nonnull(strstr(json_string_value(json_object_get(json_array_get(files, 0), "path")), "/file"));
	ck_assert_uint_eq(integer_of(json_array_get(files, 0), "size_bytes"), WINDOW + 1);
	ck_assert_uint_eq(integer_of(json_array_get(files, 0), "mapped_bytes"), WINDOW + page_size());
	ck_assert_uint_eq(integer_of(json_array_get(files, 0), "regions"), 2);
	ck_assert_uint_eq(integer_of(json_array_get(files, 0), "clients"), 0);
	json_decref(root);
	harness_stop(&server);
}
END_TEST

START_TEST(test_strange_names)
{
	static const char *const names[] = {
		"new\nline", "esc\x1b[31mape", "bad\xff\xfeutf", "tab\tand\rreturn", "quote\"back\\slash", "del\x7f",
	};
	const json_t *files;
	json_t *root;

	start();
	ck_assert_int_eq(mkdir("folder", 0700), 0);
	ck_assert_int_eq(chdir("folder"), 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		harness_make_file(names[i], 1);
	run(0, "$P cat ./* | wc -c | grep -qx 6");
	root = load_status();
	files = json_object_get(root, "files");
	ck_assert_uint_eq(json_array_size(files), sizeof(names) / sizeof(names[0]));
	for (size_t i = 0; i < json_array_size(files); i++) {
		const char *path = json_string_value(json_object_get(json_array_get(files, i), "path"));
		bool found = strstr(path, "/bad\\xff\\xfeutf") != NULL || strstr(path, "/del\\x7f") != NULL;

		for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++)
			found = found || strcmp(strrchr(path, '/') + 1, names[k]) == 0;
		ck_assert_msg(found, "which is '%s'?", path);
	}
	json_decref(root);

	for (int i = 0; i < 2; i++) {
		run(0, i ? "LC_ALL=C $P status --files" : "LC_ALL=C.UTF-8 $P status --files");
		for (const char *at = output; *at; at++)
			ck_assert_msg(((unsigned char)*at >= ' ' && *at != 0x7f) || *at == '\n', "a raw control character in: %s",
				      output);
		ck_assert_ptr_null(strstr(output, "new\nline"));
		ck_assert_ptr_null(strchr(output, 0xff));
		assert_said("mape");
		assert_said("utf");
	}
	harness_stop(&server);
}
END_TEST

/* ---- users ---- */

static void run_as_user(const char *command)
{
	pid_t child = fork();
	int status;

	if (!child) {
		ck_assert_int_eq(setuid(65534), 0);
		run(0, command);
		_exit(strstr(output, "secret") ? 1 : 0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_msg(WIFEXITED(status), "it ended with status %#x", (unsigned)status);
	ck_assert_msg(WEXITSTATUS(status) == 0, "'%s' shows what it must not, or fails", command);
}

START_TEST(test_names_of_others)
{
	if (!harness_is_root())
		return;
	start();
	ck_assert_int_eq(chmod(".", 01777), 0);
	harness_make_file("secret", 1);
	harness_make_file("public", 1);
	ck_assert_int_eq(harness_shell(output, sizeof(output), "cp $P program && chmod 755 program && chmod 644 public"), 0);
	run(0, "$P warm secret");
	run_as_user("./program warm public && ./program status --json && ./program status --files | grep public");
	run_as_user("./program drop / && ./program collect");
	/* Root sees its own, and the user did not drop it. */
	run_saying(0, "$P status --files", "secret");
	ck_assert_uint_eq(harness_figure(&server, "usage.maps"), 1);
	run_as_user("./program warm public");
	run_saying(0, "$P status --files", "public");
	harness_stop(&server);
}
END_TEST

/* What runs with another's rights hands the files that it may read to nobody whom its caller names. */
START_TEST(test_set_user_id)
{
#ifdef __SANITIZE_ADDRESS__
	/* It may not look into such a program for leaks, and fails for that. */
	return;
#endif
	if (!harness_is_root())
		return;
	start();
	ck_assert_int_eq(chmod(".", 01777), 0);
	run(0, "cp $P program && chown 65534 program && chmod 4755 program");
	ck_assert_int_eq(setenv("XDG_RUNTIME_DIR", ".", 1), 0);
	run(0, "./program status --socket=\"$SMMAP_SOCKET\"");
	/* There may be a server of this machine's. */
	harness_shell(output, sizeof(output), "./program status 2>&1");
	assert_said("/run/smmapd/smmapd.sock");
	harness_stop(&server);
}
END_TEST

Suite *suite(void);

Suite *suite(void)
{
	Suite *s = suite_create("commands");

	HARNESS_CASE(s, "cat", test_cat_whole, test_cat_range, test_cat_to_a_closed_pipe, test_closed_outputs, test_unfit_paths);
	HARNESS_CASE(s, "evict", test_warm_and_collect, test_drop, test_drop_under_a_client);
	HARNESS_CASE(s, "status", test_status_json, test_strange_names, test_names_of_others, test_set_user_id);
	return s;
}

int main(void)
{
	return harness_run(suite());
}
