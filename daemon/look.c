/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/look.h"

#include "daemon/registry.h"
#include "proto/util.h"

bool look_on(struct registry *registry, uint64_t *pass, uint64_t n)
{
	if (!n)
		return false;
	if (!registry->looks) {
		registry->cut_short = true;
		return false;
	}
	if (!*pass)
		*pass = 2 * n + 1;
	registry->looks--;
	registry->counters.looks++;
	return --*pass;
}

void look_longer(struct registry *registry, uint64_t n)
{
	registry->looks -= min_u64(n, registry->looks);
}

void look_end_pass(const struct registry *registry, uint64_t *pass)
{
	if (!registry->cut_short)
		*pass = 0;
}
