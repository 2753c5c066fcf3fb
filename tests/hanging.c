/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "tests/hanging.h"

#include <sys/mount.h>
#include <sys/stat.h>

#define SIZE   HANGING_SIZE
#define WINDOW HANGING_WINDOW

struct harness_server server;
struct raw honest;
uint64_t honest_file;
struct fuse_system hung = {.folder = "hung", .size = SIZE, .readable = SIZE};

bool hanging_start(const char *option)
{
	if (!fuse_start(&hung))
		return false;
	harness_start(&server, "--window-size=64K", "--max-memory=4M", option, NULL);
	raw_start(&honest, &server, "honest");
	harness_make_file("honest", 3 * WINDOW);
	honest_file = raw_open(&honest, "honest");
	return true;
}

void hanging_stop(void)
{
	raw_close(&honest);
	harness_stop(&server);
	fuse_stop(&hung);
}

void hanging_assert_serving(void)
{
	struct message_leased leased = raw_lease(&honest, honest_file, WINDOW, 1);
	static int n;
	char name[16];

	ck_assert_uint_eq(leased.length, WINDOW);
	raw_unpin(&honest, &leased.lease);
	raw_release(&honest, &leased.lease);
	snprintf(name, sizeof(name), "other%d", n++);
	harness_make_file(name, 1);
	raw_close_file(&honest, raw_open(&honest, name));
}

int hanging_open(const struct fuse_system *system, const char *name)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", system->folder, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	return fd;
}

void hanging_close_all(const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		close_fd(fds[i]);
}

void hanging_make_volume(const char *folder)
{
	char path[64];

	ck_assert_int_eq(mkdir(folder, 0755), 0);
	ck_assert_int_eq(mount("none", folder, "tmpfs", 0, "mode=755"), 0);
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%d", folder, i);
		harness_make_file(path, SIZE);
	}
}

void hanging_connect_as(struct raw *raw, uid_t uid)
{
	ck_assert_int_eq(seteuid(uid), 0);
	raw_connect(raw, &server);
	ck_assert_int_eq(seteuid(0), 0);
}
