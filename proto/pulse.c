/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "proto/pulse.h"

#include "proto/memory.h"
#include "proto/util.h"

#include <sys/mman.h>

/* How many uses of one client an epoch can order; further ones run ahead of it, and only into its own future. */
#define USES_BITS 24

static size_t pulse_bytes(void)
{
	return (size_t)round_up(sizeof(struct pulse), page_size());
}

int pulse_create(struct pulse **pulse, int *fd)
{
	_cleanup_(close_fdp) int memfd = -1;
	void *memory;
	int r;

	r = memory_create("smmap-pulse", pulse_bytes(), &memory, &memfd);
	if (r < 0)
		return r;
	r = memory_seal_writes(memfd);
	if (r < 0) {
		pulse_free(memory);
		return r;
	}

	*pulse = memory;
	*fd = take_fd(&memfd);
	return 0;
}

int pulse_attach(const struct pulse **pulse, int fd)
{
	void *memory;
	int r;

	r = memory_attach(fd, pulse_bytes(), PROT_READ, &memory);
	if (r < 0)
		return r;
	if (madvise(memory, pulse_bytes(), MADV_DONTFORK) < 0) {
		r = -errno;
		pulse_free(memory);
		return r;
	}
	*pulse = memory;
	return 0;
}

void pulse_free(const struct pulse *pulse)
{
	if (pulse)
		munmap((void *)(uintptr_t)pulse, pulse_bytes());
}

uint64_t pulse_epoch(const struct pulse *pulse)
{
	return atomic_load_explicit(&pulse->epoch, memory_order_relaxed);
}

uint32_t pulse_second(const struct pulse *pulse)
{
	return atomic_load_explicit(&pulse->second, memory_order_relaxed);
}

void pulse_set_waits(struct pulse *pulse, bool waits)
{
	atomic_store_explicit(&pulse->waits, waits, memory_order_seq_cst);
}

bool pulse_waits(const struct pulse *pulse)
{
	return atomic_load_explicit(&pulse->waits, memory_order_seq_cst);
}

uint64_t pulse_advance(struct pulse *pulse)
{
	return atomic_fetch_add_explicit(&pulse->epoch, 1, memory_order_relaxed) + 1;
}

uint64_t pulse_instant(uint64_t epoch)
{
	return epoch << USES_BITS;
}

uint64_t pulse_use(const struct pulse *pulse, _Atomic uint64_t *last)
{
	uint64_t after_last = atomic_load_explicit(last, memory_order_relaxed) + 1;
	uint64_t use = max_u64(pulse_instant(pulse_epoch(pulse)), after_last);

	atomic_store_explicit(last, use, memory_order_relaxed);
	return use;
}
