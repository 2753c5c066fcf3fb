/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "tests/allocation.h"
#include "tests/harness.h"

#include "proto/util.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#ifdef __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define SANITIZED
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED
#endif

#ifdef SANITIZED

int allocation_run(Suite *(*suite)(void))
{
	(void)suite;
	puts("skipped: a sanitizer has an allocator of its own");
	return 77;
}

void allocation_watch(void)
{
}

void allocation_ignore(void)
{
}

void allocation_fail(uint64_t number)
{
	(void)number;
}

bool allocation_end(void)
{
	return false;
}

struct allocated allocation_count(void)
{
	return (struct allocated){0};
}

#else

static struct counts {
	_Alignas(8) _Atomic int64_t left; /* allocations until one fails; 0 and less: none will */
	_Alignas(8) _Atomic int64_t blocks;
	_Alignas(8) _Atomic int64_t mapped_bytes;
	atomic_bool failed;
} *counts;
static bool watched;

int allocation_run(Suite *(*suite)(void))
{
	return harness_run(suite());
}

/* Before anything else: a child has it too. */
static void __attribute__((constructor)) share_counts(void)
{
	void *memory = mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		abort();
	counts = memory;
}

void allocation_watch(void)
{
	watched = true;
}

void allocation_ignore(void)
{
	watched = false;
}

void allocation_fail(uint64_t number)
{
	atomic_store(&counts->failed, false);
	atomic_store(&counts->left, (int64_t)number);
}

bool allocation_end(void)
{
	atomic_store(&counts->left, 0);
	return atomic_load(&counts->failed);
}

struct allocated allocation_count(void)
{
	return (struct allocated){.blocks = atomic_load(&counts->blocks), .mapped_bytes = atomic_load(&counts->mapped_bytes)};
}

/* Whether this allocation fails, and errno says so. */
static bool fails(void)
{
	if (!watched || atomic_load_explicit(&counts->left, memory_order_relaxed) <= 0 || atomic_fetch_sub(&counts->left, 1) != 1)
		return false;
	atomic_store(&counts->failed, true);
	errno = ENOMEM;
	return true;
}

static void *count_block(void *block)
{
	if (watched && block)
		atomic_fetch_add(&counts->blocks, 1);
	return block;
}

/* ---- malloc and its family, as glibc has them below their names ---- */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *block);

void *malloc(size_t size)
{
	return fails() ? NULL : count_block(__libc_malloc(size));
}

void *calloc(size_t n, size_t size)
{
	return fails() ? NULL : count_block(__libc_calloc(n, size));
}

void *realloc(void *block, size_t size)
{
	void *moved;

	if (fails())
		return NULL;
	moved = __libc_realloc(block, size);
	if (!block)
		count_block(moved);
	else if (watched && !size)
		atomic_fetch_sub(&counts->blocks, 1);
	return moved;
}

void *reallocarray(void *block, size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(block, bytes);
}

void *memalign(size_t alignment, size_t size);

void *memalign(size_t alignment, size_t size)
{
	return fails() ? NULL : count_block(__libc_memalign(alignment, size));
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return memalign(alignment, size);
}

int posix_memalign(void **block, size_t alignment, size_t size)
{
	int saved = errno;

	if (alignment % sizeof(void *) || alignment & (alignment - 1) || !alignment)
		return EINVAL;
	*block = memalign(alignment, size);
	errno = saved;
	return *block ? 0 : ENOMEM;
}

void free(void *block)
{
	if (watched && block)
		atomic_fetch_sub(&counts->blocks, 1);
	__libc_free(block);
}

/* ---- maps ---- */

/* What comes after this program's function of the name. */
static void *libc_function(const char *name)
{
	void *function = dlsym(RTLD_NEXT, name);

	if (!function)
		abort();
	return function;
}

static void count_map(int64_t bytes)
{
	if (watched)
		atomic_fetch_add(&counts->mapped_bytes, bytes);
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	static void *(*real)(void *, size_t, int, int, int, off_t);
	void *map;

	if (fails())
		return MAP_FAILED;
	/* This name has the wide offset on every machine, as this file has. */
	if (!real)
		real = (void *(*)(void *, size_t, int, int, int, off_t))libc_function("mmap64");
	map = real(address, length, protection, flags, fd, offset);
	if (map != MAP_FAILED)
		count_map((int64_t)round_up(length, page_size()));
	return map;
}

int munmap(void *address, size_t length)
{
	static int (*real)(void *, size_t);

	if (!real)
		real = (int (*)(void *, size_t))libc_function("munmap");
	count_map(-(int64_t)round_up(length, page_size()));
	return real(address, length);
}

void *mremap(void *address, size_t length, size_t new_length, int flags, ...)
{
	static void *(*real)(void *, size_t, size_t, int, ...);
	void *map;

	if (fails())
		return MAP_FAILED;
	if (!real)
		real = (void *(*)(void *, size_t, size_t, int, ...))libc_function("mremap");
	map = real(address, length, new_length, flags);
	if (map != MAP_FAILED)
		count_map((int64_t)round_up(new_length, page_size()) - (int64_t)round_up(length, page_size()));
	return map;
}

#endif
