/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * File systems of the soak's own: one by FUSE, of whose files a part can't be read, and whose server stands still and dies at random, with
 * those who read it all the same; and a small disk that is full at times. Neither may kill who copies, or show a wrong byte.
 */
#include "config.h"

#include "client/smmap-client.h"
#include "tests/fuse.h"
#include "tests/harness.h"
#include "tests/soak.h"

#include "proto/util.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEADLINE_MS 2000
#define ROUND       100

/* ---- mounting ---- */

static void write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");

	if (!file)
		return;
	fputs(text, file);
	fclose(file);
}

void soak_enter_namespace(void)
{
	char users[32], groups[32];

	snprintf(users, sizeof(users), "0 %u 1", geteuid());
	snprintf(groups, sizeof(groups), "0 %u 1", getegid());
	if (geteuid() != 0 && unshare(CLONE_NEWUSER) == 0) {
		write_file("/proc/self/setgroups", "deny");
		write_file("/proc/self/uid_map", users);
		write_file("/proc/self/gid_map", groups);
	}
	if (unshare(CLONE_NEWNS) == 0)
		mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
}

static const char *folder_of(const char *name)
{
	static char path[SOAK_PATH + 16];

	snprintf(path, sizeof(path), "%s/%s", soak->folder, name);
	return path;
}

/* ---- the file system by FUSE ---- */

#define FUSE_FILES    6
#define FUSE_SIZE     (4 * SOAK_WINDOW + 100)
#define FUSE_READABLE (3 * SOAK_WINDOW)

static struct fuse_system fuse = {.size = FUSE_SIZE, .readable = FUSE_READABLE};

bool soak_try_fuse(void)
{
	fuse.folder = strdup(folder_of("fuse"));
	if (!fuse.folder || !fuse_start(&fuse)) {
		soak_excuse(SOAK_FUSE_STOPPED);
		soak_excuse(SOAK_FUSE_KILLED);
		soak_excuse(SOAK_FUSE_FAILED);
		return false;
	}
	fuse_stop(&fuse);
	return true;
}

int soak_keep_fuse(unsigned place)
{
	soak_begin_random(place);
	while (soak_goes_on() && fuse_start(&fuse)) {
		for (uint64_t n = 1 + soak_random(8); n && soak_goes_on(); n--) {
			soak_sleep_ms(soak_random(500));
			soak_rest(place);
			fuse_hang(&fuse);
			soak_count(SOAK_FUSE_STOPPED);
			soak_sleep_ms(soak_random(300));
			/* The last time it is killed as it stands. */
			if (n > 1)
				fuse_go_on(&fuse);
		}
		fuse_stop(&fuse);
		soak_count(SOAK_FUSE_KILLED);
	}
	return 0;
}

/* Whatever fails is fine, but what is read is right. */
static void copy(struct smmap_cursor *cursor, uint64_t offset)
{
	unsigned char to[8192];
	ssize_t n = smmap_cursor_read(cursor, to, sizeof(to), offset);

	if (n < 0)
		soak_count(SOAK_FUSE_FAILED);
	if (n > 0 && offset + (uint64_t)n > FUSE_READABLE)
		soak_lose(SOAK_BYTES, "of FUSE %zd bytes were read at %" PRIu64 ", where none can be", n, offset);
	for (ssize_t i = 0; i < n; i++)
		if (to[i] != harness_byte(offset + (uint64_t)i)) {
			soak_lose(SOAK_BYTES, "of FUSE a byte at %" PRIu64 " is wrong", offset + (uint64_t)i);
			return;
		}
	if (n > 0)
		soak_keep(SOAK_BYTES);
}

/* With the guard, what can't be read is zero. */
static void look(struct smmap_cursor *cursor, uint64_t offset)
{
	ssize_t n = smmap_cursor_use(cursor, offset, 8192);
	const unsigned char *data = smmap_cursor_data(cursor);

	if (n < 0)
		soak_count(SOAK_FUSE_FAILED);
	for (ssize_t i = 0; i < n; i += 97)
		if (data[i] && data[i] != harness_byte(offset + (uint64_t)i)) {
			soak_lose(SOAK_BYTES, "of FUSE a byte at %" PRIu64 " is wrong, under the guard", offset + (uint64_t)i);
			return;
		}
	if (n > 0)
		soak_keep(SOAK_BYTES);
}

static void read_fuse(struct smmap_client *client, bool guarded)
{
	struct smmap_cursor *cursor;
	char path[SOAK_PATH + 32];

	snprintf(path, sizeof(path), "%s/file-%u", fuse.folder, (unsigned)soak_random(FUSE_FILES));
	if (smmap_cursor_open(&cursor, client, path, 0) < 0) {
		soak_count(SOAK_FUSE_FAILED);
		soak_sleep_ms(5);
		return;
	}
	for (uint64_t n = soak_random(10); n && soak_goes_on(); n--) {
		uint64_t offset = soak_random(FUSE_SIZE);

		if (guarded)
			look(cursor, offset);
		else
			copy(cursor, offset);
	}
	smmap_cursor_close(cursor);
}

int soak_read_fuse(unsigned place)
{
	struct smmap_client_options options = {.socket = soak->socket, .name = "fuse", .deadline_ms = DEADLINE_MS};
	bool guarded = place % 2;

	options.flags = guarded ? SMMAP_GUARD_SIGBUS : 0;
	soak_begin_random(place);
	while (soak_goes_on()) {
		struct smmap_client *client;

		if (smmap_client_open(&client, &options) < 0) {
			soak_sleep_ms(10);
			continue;
		}
		for (unsigned i = 0; i < ROUND && soak_goes_on() && !atomic_load(&soak->rest); i++)
			read_fuse(client, guarded);
		smmap_client_close(client);
		soak_rest(place);
	}
	return 0;
}

/* ---- the disk ---- */

#define DISK_SIZE  "1M"
#define DISK_DATA  100 /* bytes of its file; behind them is a hole */
#define DISK_BYTES (4 * SOAK_WINDOW)

bool soak_mount_disk(void)
{
	_cleanup_(close_fdp) int fd = -1;

	if (mkdir(folder_of("disk"), 0755) < 0 ||
	    mount("tmpfs", folder_of("disk"), "tmpfs", 0, "size=" DISK_SIZE ",huge=never") < 0) {
		printf("skipped: a full disk can't be mounted here\n");
		soak_excuse(SOAK_DISK_FILLED);
		return false;
	}
	fd = open(folder_of("disk/file"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (write(fd, soak_bytes(0, 0), DISK_DATA) != DISK_DATA || ftruncate(fd, DISK_BYTES) < 0)
		soak_lose(SOAK_ITSELF, "can't write to the disk: %s", strerror(errno));
	return true;
}

static void fill(const char *path)
{
	static const char bytes[4096];
	_cleanup_(close_fdp) int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	while (write(fd, bytes, sizeof(bytes)) > 0)
		;
	if (errno == ENOSPC)
		soak_count(SOAK_DISK_FILLED);
	else
		soak_lose(SOAK_ITSELF, "can't fill the disk: %s", strerror(errno));
}

static void read_disk(struct smmap_client *client, const char *path)
{
	struct smmap_cursor *cursor;
	static unsigned char to[DISK_BYTES];
	ssize_t n = smmap_cursor_open(&cursor, client, path, 0);

	if (!n) {
		memset(to, 'x', sizeof(to));
		n = smmap_cursor_read(cursor, to, sizeof(to), 0);
		smmap_cursor_close(cursor);
	}
	soak_keep(SOAK_CALLS);
	if (n != DISK_BYTES)
		soak_lose(SOAK_CALLS, "on a full disk: %zd, %s", n, smmap_strerror(n < 0 ? (int)n : 0));
	for (ssize_t i = 0; i < n; i++)
		if (to[i] != (i < DISK_DATA ? *soak_bytes(0, (uint64_t)i) : 0)) {
			soak_lose(SOAK_BYTES, "on a full disk the byte at %zd is wrong", i);
			return;
		}
	soak_keep(SOAK_BYTES);
}

int soak_fill_disk(unsigned place)
{
	struct smmap_client_options options = {.socket = soak->socket, .name = "disk", .deadline_ms = 120000};
	_cleanup_(freep) char *file = strdup(folder_of("disk/file")), *filler = strdup(folder_of("disk/filler"));
	struct smmap_client *client;

	soak_begin_random(place);
	while (soak_goes_on()) {
		if (smmap_client_open(&client, &options) < 0) {
			soak_sleep_ms(10);
			continue;
		}
		fill(filler);
		for (uint64_t i = 0, n = soak_random(20); i < n && soak_goes_on(); i++)
			read_disk(client, file);
		unlink(filler);
		read_disk(client, file);
		smmap_client_close(client);
		soak_rest(place);
		soak_sleep_ms(soak_random(100));
	}
	return 0;
}
