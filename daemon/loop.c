/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/loop.h"

#include "proto/util.h"

#include <malloc.h>
#include <string.h>
#include <uv.h>

/* One for the process, as libuv's allocator is. */
static void *spare;
static size_t spare_size;

/* What libuv calls to enlarge a block. */
static void *enlarge(void *block, size_t size)
{
	void *larger = realloc(block, size);

	if (larger || !size || size > spare_size)
		return larger;
	larger = take_ptr(spare);
	spare_size = 0;
	if (block)
		memcpy(larger, block, min_u64(malloc_usable_size(block), size));
	free(block);
	return larger;
}

void loop_prepare(void)
{
	uv_replace_allocator(malloc, enlarge, calloc, free);
}

int loop_reserve(int fd)
{
	/* The table has a power of two of pointers, two more than descriptors: so twice as many are enough. */
	size_t size = 2 * ((size_t)fd + 3) * sizeof(void *);
	void *larger;

	if (size <= spare_size)
		return 0;
	/* Half as much again is for those that follow. */
	larger = malloc(size + size / 2);
	if (!larger)
		return -ENOMEM;
	free(spare);
	spare = larger;
	spare_size = size + size / 2;
	return 0;
}

void loop_release(void)
{
	free(take_ptr(spare));
	spare_size = 0;
}
