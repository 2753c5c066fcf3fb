/* SPDX-License-Identifier: BSD-3-Clause */
/* Many processes and many files: what is shared is counted once, and the limits hold all the while. */
#include "config.h"

#include "client/smmap-client.h"
#include "tests/harness.h"

#include "proto/util.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define WINDOW 65536

static struct harness_server server;

static struct smmap_client *open_client(void)
{
	struct smmap_client_options options = {.socket = server.socket, .deadline_ms = 60000};
	struct smmap_client *client;

	ck_assert_int_eq(smmap_client_open(&client, &options), 0);
	return client;
}

START_TEST(test_two_clients_share_a_region)
{
	struct smmap_client *one, *other;
	struct smmap_cursor *cursor, *others;

	harness_start(&server, "--window-size=64K", "--max-memory=1M", NULL);
	harness_make_file("file", WINDOW + 10);
	one = open_client();
	other = open_client();
	ck_assert_int_eq(smmap_cursor_open(&cursor, one, "file", 0), 0);
	ck_assert_int_eq(smmap_cursor_open(&others, other, "file", 0), 0);
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, 0), WINDOW);
	ck_assert_int_eq(smmap_cursor_use(others, 10, 0), WINDOW - 10);
	ck_assert_uint_eq(harness_figure(&server, "usage.memory_bytes"), WINDOW);
	ck_assert_uint_eq(harness_figure(&server, "usage.maps"), 1);
	ck_assert_uint_eq(harness_figure(&server, "usage.leases"), 2);
	ck_assert_uint_eq(harness_figure(&server, "usage.pinned_bytes"), WINDOW);
	ck_assert_uint_eq(harness_figure(&server, "usage.handles"), 1);

	/* The second window is a page long. */
	ck_assert_int_eq(smmap_cursor_use(others, WINDOW, 0), 10);
	ck_assert_uint_eq(harness_figure(&server, "usage.memory_bytes"), WINDOW + (uint64_t)sysconf(_SC_PAGESIZE));
	smmap_cursor_close(cursor);
	smmap_cursor_close(others);
	smmap_client_close(one);
	smmap_client_close(other);

	/* Both are gone, the regions stay. */
	ck_assert_uint_eq(harness_figure(&server, "usage.leases"), 0);
	ck_assert_uint_eq(harness_figure(&server, "usage.maps"), 2);
	harness_stop(&server);
}
END_TEST

/* ---- many files ---- */

#define FILES 10000

static void set_descriptor_limit(rlim_t n)
{
	struct rlimit limit;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = n;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* Each file holds its number, a few times, so that no two are equal. */
static void make_numbered_files(void)
{
	ck_assert_int_eq(mkdir("files", 0700), 0);
	for (int i = 0; i < FILES; i++) {
		char path[32];
		FILE *file;

		snprintf(path, sizeof(path), "files/%d", i);
		file = fopen(path, "we");
		ck_assert_ptr_nonnull(file);
		for (int n = 0; n < 1 + i % 3; n++)
			fprintf(file, "%08d\n", i);
		fclose(file);
	}
}

static void read_numbered_file(struct smmap_client *client, int i, struct smmap_cursor **cursor)
{
	char path[32], expected[16];

	snprintf(path, sizeof(path), "files/%d", i);
	snprintf(expected, sizeof(expected), "%08d\n", i);
	ck_assert_int_eq(smmap_cursor_open(cursor, client, path, 0), 0);
	ck_assert_int_eq(smmap_cursor_use(*cursor, 0, 0), 9 * (1 + i % 3));
	ck_assert_mem_eq(smmap_cursor_data(*cursor), expected, 9);
}

START_TEST(test_many_files_few_descriptors)
{
	static struct smmap_cursor *cursors[FILES];
	struct smmap_client *client;

	harness_start(&server, "--max-handles=4000", NULL);
	make_numbered_files();
	set_descriptor_limit(32);
	client = open_client();
	/* More than the server may have open, so that it lets go of some: one after the other first, then as many as can be pinned at once. */
	for (int i = 0; i < FILES; i++) {
		read_numbered_file(client, i, &cursors[i]);
		smmap_cursor_unuse(cursors[i]);
	}
	for (int i = 0; i < FILES; i += 7) {
		ck_assert_int_eq(smmap_cursor_use(cursors[i], 8, 1), 1);
		ck_assert_int_eq(*(const char *)smmap_cursor_data(cursors[i]), '\n');
	}
	set_descriptor_limit(1024);
	ck_assert_uint_le(harness_figure(&server, "usage.handles"), 4000);
	for (int i = 0; i < FILES; i++)
		smmap_cursor_close(cursors[i]);
	smmap_client_close(client);
	harness_stop(&server);
}
END_TEST

/* ---- many processes ---- */

#define PROCESSES 8
#define SHARED    6
#define SIZE      (40 * WINDOW + 99)

/* In a child: reads at random places of all files, and compares. */
static int read_at_random(void)
{
	struct smmap_client *client = open_client();
	struct smmap_cursor *cursors[SHARED];
	char path[32];

	for (int i = 0; i < SHARED; i++) {
		snprintf(path, sizeof(path), "shared-%d", i);
		if (smmap_cursor_open(&cursors[i], client, path, 0) < 0)
			return 1;
	}
	for (int i = 0; i < 3000; i++) {
		struct smmap_cursor *cursor = cursors[harness_random() % SHARED];
		uint64_t offset = harness_random() % SIZE;
		ssize_t n = smmap_cursor_use(cursor, offset, (size_t)(harness_random() % 3000 + 1));
		const unsigned char *data = smmap_cursor_data(cursor);

		if (n <= 0)
			return 2;
		for (ssize_t j = 0; j < n; j++)
			if (data[j] != harness_byte(offset + (uint64_t)j))
				return 3;
		/* Nobody stands on more than one place at a time, so that all fit. */
		smmap_cursor_unuse(cursor);
	}
	for (int i = 0; i < SHARED; i++)
		smmap_cursor_close(cursors[i]);
	smmap_client_close(client);
	return 0;
}

START_TEST(test_many_processes)
{
	pid_t children[PROCESSES];
	char path[32];
	int status;

	harness_start(&server, "--window-size=64K", "--max-memory=4M", "--max-maps=50", "--max-handles=4", NULL);
	for (int i = 0; i < SHARED; i++) {
		snprintf(path, sizeof(path), "shared-%d", i);
		harness_make_file(path, SIZE);
	}
	for (int i = 0; i < PROCESSES; i++) {
		/* A seed for each. */
		harness_random();
		children[i] = fork();
		ck_assert_int_ge(children[i], 0);
		if (!children[i])
			_exit(read_at_random());
	}
	for (int i = 0; i < 20; i++) {
		ck_assert_uint_le(harness_figure(&server, "usage.memory_bytes"), 4 << 20);
		ck_assert_uint_le(harness_figure(&server, "usage.maps"), 50);
		ck_assert_uint_le(harness_figure(&server, "usage.handles"), 4);
	}
	for (int i = 0; i < PROCESSES; i++) {
		ck_assert_int_eq(waitpid(children[i], &status, 0), children[i]);
		ck_assert_int_eq(status, 0);
	}
	ck_assert_uint_gt(harness_figure(&server, "counters.evictions"), 0);
	ck_assert_uint_eq(harness_figure(&server, "usage.leases"), 0);
	ck_assert_uint_eq(harness_figure(&server, "usage.draining_bytes"), 0);
	harness_stop(&server);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sharing");

	HARNESS_CASE(suite, "sharing", test_two_clients_share_a_region, test_many_files_few_descriptors, test_many_processes);
	return harness_run(suite);
}
