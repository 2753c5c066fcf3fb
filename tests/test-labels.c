/* SPDX-License-Identifier: BSD-3-Clause */
/* What files are called at the server: their absolute paths, however they were opened. */
#include "config.h"

#include "client/smmap-client.h"
#include "tests/harness.h"
#include "tests/raw.h"

#include "proto/util.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define WINDOW 65536

static struct harness_server server;
static struct smmap_client *client;
static char here[PATH_MAX];

static void start(void)
{
	struct smmap_client_options options = {.name = "test"};

	ck_assert_ptr_nonnull(getcwd(here, sizeof(here)));
	harness_start(&server, "--window-size=64K", NULL);
	options.socket = server.socket;
	ck_assert_int_eq(smmap_client_open(&client, &options), 0);
}

static void stop(void)
{
	smmap_client_close(client);
	harness_stop(&server);
}

static bool is_known(const char *label)
{
	struct message_figures figures;
	struct figures_file row;
	struct raw observer;
	bool found = false;

	raw_start(&observer, &server, "observer");
	figures = raw_status(&observer, FIGURES_FILES, 0);
	while (!found && figures_next(&figures.rows, FIGURES_FILES, &row) > 0)
		found = row.path.length == strlen(label) && memcmp(row.path.data, label, row.path.length) == 0;
	raw_close(&observer);
	return found;
}

/* Makes the file @name, opens it as @path, and requires that it is known by its absolute path. */
static void check(const char *path, const char *name)
{
	struct smmap_cursor *cursor;
	char label[2 * PATH_MAX];

	harness_make_file(name, 1);
	snprintf(label, sizeof(label), "%s/%s", here, name);
	ck_assert_int_eq(smmap_cursor_open(&cursor, client, path, 0), 0);
	ck_assert_str_eq(smmap_cursor_path(cursor), path);
	ck_assert_msg(is_known(label), "'%s' is not known as '%s'", path, label);
	smmap_cursor_close(cursor);
}

/* Where a path is absolute, all its parts are names, and none is a symbolic link, /proc need not be asked. */
START_TEST(test_ways)
{
	static const struct {
		const char *path, *name; /* up to the last part */
	} ways[] = {
		{"", ""},           {"sub/", "sub/"},       {"sub/.../", "sub/.../"}, {"sub/..f/", "sub/..f/"}, {".f/", ".f/"},
		{"./", ""},         {"sub/./", "sub/"},     {"sub/../", ""},          {"sub//", "sub/"},        {"link/", "sub/"},
		{"link/../", ""},   {"link/.../", "sub/.../"},
	};
	static const char *const folders[] = {"sub", "sub/...", "sub/..f", ".f"};
	char path[2 * PATH_MAX], name[16];

	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
		ck_assert_int_eq(mkdir(folders[i], 0700), 0);
	ck_assert_int_eq(symlink("sub", "link"), 0);
	start();
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		snprintf(path, sizeof(path), "%s%zu", ways[i].path, i);
		snprintf(name, sizeof(name), "%s%zu", ways[i].name, i);
		check(path, name);
		snprintf(path, sizeof(path), "%s/%s%zu.", here, ways[i].path, i);
		snprintf(name, sizeof(name), "%s%zu.", ways[i].name, i);
		check(path, name);
	}
	ck_assert_int_eq(symlink("sub/file", "linked"), 0);
	check("linked", "sub/file");
	stop();
}
END_TEST

/* The root of all is the one folder whose path ends in a slash. */
START_TEST(test_in_root)
{
	char label[PATH_MAX + 8];
	struct smmap_cursor *cursor;

	start();
	harness_make_file("file", 1);
	snprintf(label, sizeof(label), "%s/file", here);
	ck_assert_int_eq(chdir("/"), 0);
	ck_assert_int_eq(smmap_cursor_open(&cursor, client, label + 1, 0), 0);
	ck_assert(is_known(label));
	smmap_cursor_close(cursor);
	stop();
}
END_TEST

/* A folder that is no more has no path: what is in it can be opened, by way of the one above. */
START_TEST(test_in_no_folder)
{
	struct smmap_cursor *cursor;
	char label[PATH_MAX + 8];

	start();
	ck_assert_int_eq(mkdir("sub", 0700), 0);
	harness_make_file("file", 1);
	snprintf(label, sizeof(label), "%s/file", here);
	ck_assert_int_eq(chdir("sub"), 0);
	ck_assert_int_eq(rmdir("../sub"), 0);
	ck_assert_int_eq(smmap_cursor_open(&cursor, client, "../file", 0), 0);
	ck_assert(is_known(label));
	smmap_cursor_close(cursor);
	stop();
}
END_TEST

/* By these labels files are found again, from wherever the program is by then. */
START_TEST(test_opened_again)
{
	static const char *const options[] = {"--window-size=64K", NULL};
	struct smmap_cursor *straight, *linked;
	char socket[PATH_MAX];

	ck_assert_int_eq(mkdir("sub", 0700), 0);
	ck_assert_int_eq(symlink("sub", "link"), 0);
	harness_make_file("sub/straight", WINDOW);
	harness_make_file("sub/linked", WINDOW);
	start();
	strcpy(socket, server.socket);
	ck_assert_int_eq(smmap_cursor_open(&straight, client, "sub/straight", 0), 0);
	ck_assert_int_eq(smmap_cursor_open(&linked, client, "link/linked", 0), 0);
	harness_kill(&server);
	harness_start_at(&server, socket, options);
	ck_assert_int_eq(unlink("link"), 0);
	ck_assert_int_eq(chdir("/"), 0);
	ck_assert_int_eq(smmap_cursor_use(straight, 0, 1), 1);
	ck_assert_int_eq(smmap_cursor_use(linked, 0, 1), 1);
	smmap_cursor_close(straight);
	smmap_cursor_close(linked);
	stop();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("labels");

	HARNESS_CASE(suite, "ways", test_ways, test_in_root, test_in_no_folder);
	HARNESS_CASE(suite, "opened again", test_opened_again);
	return harness_run(suite);
}
