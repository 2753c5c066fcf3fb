/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/volume.h"

#include "daemon/account.h"
#include "daemon/registry.h"
#include "proto/util.h"

#include <fcntl.h>
#include <linux/magic.h>

/* Magic numbers that the kernel does not publish. */
#define BCACHEFS_MAGIC 0xca451a4e
#define ZFS_MAGIC      0x2fc12fc1

/* File systems whose kernel code answers by itself, from memory or a device. FUSE may be on a device, too. */
static bool is_local(int64_t type)
{
	static const uint32_t types[] = {
		BCACHEFS_MAGIC,      BTRFS_SUPER_MAGIC, EROFS_SUPER_MAGIC_V1, EXFAT_SUPER_MAGIC, EXT4_SUPER_MAGIC,
		F2FS_SUPER_MAGIC,    ISOFS_SUPER_MAGIC, MSDOS_SUPER_MAGIC,    RAMFS_MAGIC,       SQUASHFS_MAGIC,
		TMPFS_MAGIC,         UDF_SUPER_MAGIC,   XFS_SUPER_MAGIC,      ZFS_MAGIC,
	};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if ((uint32_t)type == types[i])
			return true;
	return false;
}

/* The errand is done: @type is statfs.f_type, or -errno. Closing what it was asked with may hang all the same. */
static void learn(struct registry *registry, struct errand *errand, int64_t type)
{
	struct volume *volume = container_of(errand, struct volume, asking);

	errand_close_stray(registry->errands, errand->account, errand->fd);
	volume->known = true;
	volume->asked = false;
	volume->error = type < 0 ? (int)type : 0;
	/* The maps of this one begin and end at huge pages, and no window does. */
	if ((uint32_t)type == HUGETLBFS_MAGIC)
		volume->error = -EINVAL;
	volume->local = !volume->error && is_local(type);
	volume->weak = (uint32_t)type == OVERLAYFS_SUPER_MAGIC;
	volume_unref(registry, volume);
}

int volume_ask(struct registry *registry, struct volume *volume, struct account *account, int fd)
{
	int own;

	if (volume->known || volume->asked || account->lanes[RUNNER_IDENTIFY].n == ERRANDS_AT_ONCE)
		return 0;
	own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (own < 0)
		return -errno;
	volume_ref(volume);
	volume->asked = true;
	errand_run(registry->errands, &volume->asking, RUNNER_IDENTIFY, account, own, learn);
	return 0;
}

int volume_get(struct volume **got, struct registry *registry, uint64_t device)
{
	struct volume *volume;

	HASH_FIND(hh, registry->volumes, &device, sizeof(device), volume);
	if (volume) {
		*got = volume_ref(volume);
		return 0;
	}

	volume = malloc(sizeof(*volume));
	if (!volume)
		return -ENOMEM;
	*volume = (struct volume){.device = device, .refs = 1};
	HASH_ADD(hh, registry->volumes, device, sizeof(volume->device), volume);
	if (!hash_added(volume, hh)) {
		free(volume);
		return -ENOMEM;
	}
	*got = volume;
	return 0;
}

struct volume *volume_ref(struct volume *volume)
{
	volume->refs++;
	return volume;
}

void volume_unref(struct registry *registry, struct volume *volume)
{
	if (!volume || --volume->refs)
		return;
	HASH_DELETE(hh, registry->volumes, volume);
	free(volume);
}
