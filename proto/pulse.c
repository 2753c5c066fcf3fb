/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "proto/pulse.h"

#include "proto/memory.h"
#include "proto/util.h"

#include <sys/mman.h>

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
