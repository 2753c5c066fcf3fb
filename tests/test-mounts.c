/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * File systems that are unmounted, and one that is full: as root, in a mount namespace of each test's own, in which its server runs too. So
 * nothing stays mounted, however a test ends.
 */
#include "config.h"

#include "client/smmap-client.h"
#include "tests/harness.h"

#include "proto/util.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>

#define WINDOW 65536

static struct harness_server server;
static char output[1 << 16];

/* ---- the file system ---- */

static int enter_namespace(void)
{
	return unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ? -errno : 0;
}

/* It is at "disk", and where it is used at "mount": so it can go from there and come back. */
static void mount_again(void)
{
	ck_assert_int_eq(mount("disk", "mount", NULL, MS_BIND, NULL), 0);
}

static void make_file_system(const char *options)
{
	ck_assert_int_eq(enter_namespace(), 0);
	ck_assert_int_eq(mkdir("disk", 0700), 0);
	ck_assert_int_eq(mkdir("mount", 0700), 0);
	ck_assert_int_eq(mount("tmpfs", "disk", "tmpfs", 0, options), 0);
	mount_again();
}

static void assert_busy(void)
{
	ck_assert_int_eq(umount("mount"), -1);
	ck_assert_int_eq(errno, EBUSY);
}

static void assert_unmounts(void)
{
	ck_assert_msg(umount("mount") == 0, "%s", strerror(errno));
}

static uint64_t free_blocks(void)
{
	struct statfs fs;

	ck_assert_int_eq(statfs("disk", &fs), 0);
	return fs.f_bfree;
}

/* ---- who uses it ---- */

static struct smmap_client *open_client(void)
{
	struct smmap_client_options options = {.socket = server.socket, .name = "test"};
	struct smmap_client *client;

	ck_assert_int_eq(smmap_client_open(&client, &options), 0);
	return client;
}

static struct smmap_cursor *open_cursor(struct smmap_client *client, const char *path)
{
	struct smmap_cursor *cursor;

	ck_assert_int_eq(smmap_cursor_open(&cursor, client, path, 0), 0);
	return cursor;
}

static void stand(struct smmap_cursor *cursor, uint64_t offset)
{
	ck_assert_int_eq(smmap_cursor_use(cursor, offset, 100), 100);
	for (uint64_t i = 0; i < 100; i++)
		ck_assert_uint_eq(((const unsigned char *)smmap_cursor_data(cursor))[i], harness_byte(offset + i));
}

static void run(const char *command, const char *part)
{
	int r = harness_shell(output, sizeof(output), "%s %s --socket=%s 2>&1", harness_program(), command, server.socket);

	ck_assert_msg(r == 0 && strstr(output, part), "%s: status %d, and no '%s' in: %s", command, r, part, output);
}

/* ---- unmounting ---- */

/* Clients that are connected, and still have mapped what they have read: of a file that is closed, and by cursors that stand nowhere. */
START_TEST(test_drop_of_idle)
{
	struct smmap_client *client, *another;
	struct smmap_cursor *closed, *open, *beside;

	make_file_system("size=4M");
	harness_start(&server, "--window-size=64K", NULL);
	harness_make_file("mount/closed", 2 * WINDOW);
	harness_make_file("mount/open", 2 * WINDOW);
	harness_make_file("mount-beside", WINDOW);
	client = open_client();
	another = open_client();
	assert_unmounts();
	mount_again();

	closed = open_cursor(another, "mount/closed");
	stand(closed, WINDOW);
	smmap_cursor_close(closed);
	open = open_cursor(client, "mount/open");
	stand(open, 0);
	smmap_cursor_unuse(open);
	beside = open_cursor(client, "mount-beside");
	stand(beside, 0);
	smmap_cursor_unuse(beside);
	assert_busy();

	run("drop mount", "128 KiB in 2 maps came free");
	assert_unmounts();
	ck_assert_uint_eq(harness_figure(&server, "usage.handles"), 1);

	/* The path leads nowhere, and then to the same file again. */
	ck_assert_int_eq(smmap_cursor_use(open, 0, 100), -ESTALE);
	mount_again();
	stand(open, 0);
	stand(open, WINDOW);
	assert_busy();

	smmap_cursor_close(open);
	smmap_cursor_close(beside);
	run("drop mount", "128 KiB in 2 maps came free");
	assert_unmounts();
	smmap_client_close(client);
	smmap_client_close(another);
	harness_stop(&server);
}
END_TEST

START_TEST(test_drop_of_pinned)
{
	struct smmap_client *client;
	struct smmap_cursor *pinned, *idle;

	make_file_system("size=4M");
	harness_start(&server, "--window-size=64K", NULL);
	harness_make_file("mount/file", 2 * WINDOW);
	harness_make_file("mount/idle", WINDOW);
	client = open_client();
	pinned = open_cursor(client, "mount/file");
	idle = open_cursor(client, "mount/idle");
	stand(idle, 0);
	smmap_cursor_unuse(idle);
	stand(pinned, 0);

	run("drop mount", "64 KiB in 1 maps came free\n1 files in 1 maps stay");
	assert_busy();
	run("drop mount", "0 B in 0 maps came free\n1 files in 1 maps stay");
	assert_busy();
	stand(pinned, 0);
	smmap_cursor_unuse(pinned);
	assert_busy();
	run("drop mount", "64 KiB in 1 maps came free\n");
	ck_assert_ptr_null(strstr(output, "stay"));
	assert_unmounts();

	smmap_cursor_close(pinned);
	smmap_cursor_close(idle);
	smmap_client_close(client);
	harness_stop(&server);
}
END_TEST

/* Nobody says drop: a file of which nothing is mapped is closed after its time. */
START_TEST(test_idle_timeout)
{
	make_file_system("size=4M");
	harness_start(&server, "--window-size=64K", "--idle-timeout=1s", NULL);
	harness_make_file("mount/file", WINDOW);
	run("warm mount/file", "");
	assert_busy();
	run("collect", "64 KiB in 1 maps came free");
	while (umount("mount") < 0) {
		ck_assert_int_eq(errno, EBUSY);
		ck_assert_int_ge(poll(NULL, 0, 1), 0);
	}
	ck_assert_uint_eq(harness_figure(&server, "usage.handles"), 0);
	harness_stop(&server);
}
END_TEST

/* ---- space ---- */

/* The blocks of a deleted file are free again when the last client is done with it. */
START_TEST(test_space_of_deleted)
{
	struct smmap_client *client;
	struct smmap_cursor *pinned, *idle;
	uint64_t before;

	make_file_system("size=4M");
	harness_start(&server, "--window-size=64K", NULL);
	before = free_blocks();
	harness_make_file("mount/file", 32 * WINDOW);
	client = open_client();
	pinned = open_cursor(client, "mount/file");
	idle = open_cursor(client, "mount/file");
	stand(idle, 5 * WINDOW);
	smmap_cursor_unuse(idle);
	stand(pinned, 0);
	ck_assert_int_eq(unlink("mount/file"), 0);
	smmap_cursor_close(idle);
	stand(pinned, 9 * WINDOW);
	ck_assert_uint_lt(free_blocks(), before);
	smmap_cursor_close(pinned);
	while (free_blocks() < before)
		ck_assert_int_ge(poll(NULL, 0, 1), 0);
	smmap_client_close(client);
	harness_stop(&server);
}
END_TEST

static void fill(const char *path)
{
	static const char bytes[4096];
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	while (write(fd, bytes, sizeof(bytes)) > 0)
		;
	ck_assert_int_eq(errno, ENOSPC);
	close_fd(fd);
}

static void assert_content(const char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)bytes[i] != (i < 100 ? harness_byte(i) : 0))
			ck_abort_msg("a wrong byte at %zu", i);
}

/* To map a hole takes a block of this file system. Who touches it without one would be killed; read(2) knows that there are zeros. */
START_TEST(test_hole_on_a_full_disk)
{
	struct smmap_client *client;
	struct smmap_cursor *cursor;
	char bytes[4 * WINDOW];

	make_file_system("size=1M,huge=never");
	harness_start(&server, "--window-size=64K", NULL);
	harness_make_file("mount/file", 100);
	ck_assert_int_eq(truncate("mount/file", 4 * WINDOW), 0);
	fill("mount/filler");
	client = open_client();
	cursor = open_cursor(client, "mount/file");

	/* What is there can be read. */
	stand(cursor, 0);
	for (unsigned i = 0; i < 4; i++) {
		memset(bytes, 'x', sizeof(bytes));
		ck_assert_int_eq(smmap_cursor_read(cursor, bytes, sizeof(bytes), 0), sizeof(bytes));
		assert_content(bytes, sizeof(bytes));
		ck_assert_int_eq(smmap_cursor_read(cursor, bytes, 1, 3 * WINDOW), 1);
	}

	ck_assert_int_eq(unlink("mount/filler"), 0);
	memset(bytes, 'x', sizeof(bytes));
	ck_assert_int_eq(smmap_cursor_read(cursor, bytes, sizeof(bytes), 0), sizeof(bytes));
	assert_content(bytes, sizeof(bytes));
	smmap_cursor_close(cursor);
	smmap_client_close(client);
	harness_stop(&server);
}
END_TEST

/* Some containers have a root that may not. */
static bool may_mount(void)
{
	pid_t child = fork();
	int status;

	if (!child)
		_exit(enter_namespace() < 0 || mount("tmpfs", "/tmp", "tmpfs", 0, NULL) < 0);
	return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

int main(void)
{
	Suite *suite;

	if (geteuid() != 0 || !may_mount()) {
		puts("skipped: this takes root, who may mount file systems");
		return 77;
	}
	suite = suite_create("mounts");
	HARNESS_CASE(suite, "unmounting", test_drop_of_idle, test_drop_of_pinned, test_idle_timeout);
	HARNESS_CASE(suite, "space", test_space_of_deleted, test_hole_on_a_full_disk);
	return harness_run(suite);
}
