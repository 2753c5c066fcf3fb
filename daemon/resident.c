/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The path is a stranger's word. So it is first looked at without being opened, which has no effect on anything, be it a device
 * that begins to work when somebody opens it; only what proves to be the file is opened.
 *
 * cachestat(2) is there from Linux 6.5 on; before that mincore(2) tells the same, page by page. To who neither owns the file nor
 * may write it, cachestat says EPERM (some kernels tell it all), and mincore says that all is there, which is an untruth. On
 * overlayfs it is cachestat that does not know: the pages are those of the file below, which a map reaches, so mincore is asked.
 */
#include "config.h"

#include "daemon/resident.h"

#include "proto/util.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>

#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

/* What one call of mincore(2) is for: a page takes a byte of its answer. */
#define CHUNK_BYTES (UINT64_C(64) << 20)

struct range {
	uint64_t offset;
	uint64_t length; /* 0: to the end */
};

struct counts {
	uint64_t in_cache;
	uint64_t dirty;
	uint64_t writeback;
	uint64_t evicted;
	uint64_t recently_evicted;
};

static int open_file(const char *path, uint64_t device, uint64_t inode, struct stat *st)
{
	_cleanup_(close_fdp) int place = open(path, O_PATH | O_CLOEXEC);
	char name[64];
	int fd;

	if (place < 0 || fstat(place, st) < 0)
		return -errno;
	if (!S_ISREG(st->st_mode) || st->st_dev != device || st->st_ino != inode)
		return -ESTALE;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", place);
	fd = open(name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Adds the pages of a piece of the file that are in memory to *@pages. */
static int count_piece(int fd, uint64_t offset, uint64_t length, uint64_t *pages)
{
	static unsigned char in_memory[CHUNK_BYTES / 4096];
	void *address = mmap(NULL, (size_t)length, PROT_READ, MAP_SHARED, fd, (off_t)offset);
	int r;

	if (address == MAP_FAILED)
		return -errno;
	r = mincore(address, (size_t)length, in_memory) < 0 ? -errno : 0;
	munmap(address, (size_t)length);
	for (uint64_t i = 0; !r && i < round_up(length, page_size()) / page_size(); i++)
		*pages += in_memory[i] & 1;
	return r;
}

static int ask_mincore(int fd, const struct stat *st, uint64_t *pages)
{
	uint64_t size = (uint64_t)st->st_size;
	char name[64];
	int r = 0;

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	if (st->st_uid != geteuid() && faccessat(AT_FDCWD, name, W_OK, AT_EACCESS) < 0)
		return -EPERM;
	*pages = 0;
	for (uint64_t offset = 0; !r && offset < size; offset += CHUNK_BYTES)
		r = count_piece(fd, offset, min_u64(CHUNK_BYTES, size - offset), pages);
	return r;
}

static int ask_cachestat(int fd, uint64_t *pages)
{
	struct counts counts;
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return -errno;
	if (fs.f_type == OVERLAYFS_SUPER_MAGIC)
		return -ENOSYS;
	if (syscall(SYS_cachestat, fd, &(struct range){0}, &counts, 0) < 0)
		return -errno;
	*pages = counts.in_cache;
	return 0;
}

int resident_bytes(const char *path, uint64_t device, uint64_t inode, uint64_t *bytes)
{
	_cleanup_(close_fdp) int fd = -1;
	struct stat st;
	uint64_t pages = 0;
	int r;

	fd = open_file(path, device, inode, &st);
	if (fd < 0)
		return fd;
	r = ask_cachestat(fd, &pages);
	if (r == -ENOSYS)
		r = ask_mincore(fd, &st, &pages);
	if (!r)
		*bytes = pages * page_size();
	return r;
}
