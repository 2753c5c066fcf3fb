/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/map.h"

#include "proto/util.h"

#include <sys/mman.h>

int map_file(int fd, uint64_t offset, uint64_t length, void **address)
{
	void *map;

	if (length > SIZE_MAX)
		return -ENOMEM;
	map = mmap(NULL, (size_t)length, PROT_READ, MAP_SHARED, fd, (off_t)offset);
	if (map == MAP_FAILED)
		return -errno;
	*address = map;
	return 0;
}

int map_extend(void **address, uint64_t length, uint64_t new_length)
{
	void *map;

	if (new_length > SIZE_MAX)
		return -ENOMEM;
	map = mremap(*address, (size_t)length, (size_t)new_length, MREMAP_MAYMOVE);
	if (map == MAP_FAILED)
		return -errno;
	*address = map;
	return 0;
}

void map_remove(void *address, uint64_t length)
{
	/*
	 * Taking a piece out of a larger map makes two of it, which the kernel refuses past vm.max_map_count. The limit on maps is below
	 * that; if somebody lowers it later, address space is lost, of pages that nobody ever touches.
	 */
	munmap(address, (size_t)length);
}
