/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "proto/descriptor.h"

#include "proto/util.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static int look(int fd, struct descriptor_facts *facts, uint16_t *mode)
{
	struct statx stx;

	/* Without AT_STATX_DONT_SYNC this would wait for the server of a network or FUSE file system. */
	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_INO | STATX_SIZE | STATX_NLINK | STATX_BTIME, &stx) < 0)
		return -errno;

	*facts = (struct descriptor_facts){
		.device = makedev(stx.stx_dev_major, stx.stx_dev_minor),
		.inode = stx.stx_ino,
		.size = stx.stx_size,
		.deleted = !stx.stx_nlink,
	};
	if (stx.stx_mask & STATX_BTIME)
		facts->birth_ns = (uint64_t)stx.stx_btime.tv_sec * 1000000000 + stx.stx_btime.tv_nsec;
	*mode = stx.stx_mode;
	return 0;
}

int descriptor_check(int fd, struct descriptor_facts *facts)
{
	uint16_t mode;
	int flags, r;

	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || flags & O_PATH || (flags & O_ACCMODE) != O_RDONLY)
		return -EBADF;
	r = look(fd, facts, &mode);
	if (r < 0)
		return r;
	return S_ISREG(mode) ? 0 : -EINVAL;
}

int descriptor_look(int fd, struct descriptor_facts *facts)
{
	uint16_t mode;

	return look(fd, facts, &mode);
}

bool descriptor_same_file(const struct descriptor_facts *a, const struct descriptor_facts *b)
{
	bool same_birth = a->birth_ns == b->birth_ns || !a->birth_ns || !b->birth_ns;

	return a->device == b->device && a->inode == b->inode && same_birth;
}
