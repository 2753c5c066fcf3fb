/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "tests/fuzz/writing.h"

#include "daemon/file.h"
#include "daemon/lease.h"
#include "daemon/registry.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/world.h"

#include <sys/stat.h>

/* Until when a writer is kept out at most, since the server has heard of it. */
static uint64_t deadlines_ms[WORLD_N_FILES];

static const struct file *find(const struct registry *registry, unsigned number)
{
	const struct file *file = registry->by_id;
	struct stat st;

	require(fstat(world_file(number), &st) == 0);
	while (file && (file->identity.device != st.st_dev || file->identity.inode != st.st_ino))
		file = file->by_id.next;
	return file;
}

static bool is_held(const struct registry *registry, unsigned number)
{
	const struct file *file = find(registry, number);

	return file && file->guard.state == WRITE_GUARD_HELD;
}

static void check_refused(const struct registry *registry, unsigned number, bool looked)
{
	const struct file *file = find(registry, number);
	const struct lease *lease;

	require(file && file->guard.state == WRITE_GUARD_BREAKING);
	require(file->guard.until_ms == deadlines_ms[number]);
	DL_FOREACH2(file->leases, lease, next_of_file)
		require(!looked || lease_is_pinned(lease));
}

void writing_come(const struct registry *registry, unsigned number, bool looked, void (*turn)(void))
{
	bool held;

	if (!world_has_writer(number))
		return;
	do {
		held = is_held(registry, number);
		if (world_write(number))
			return;
		/* The server hears of it only now: what could have let it in meanwhile, when it was not there, was another guard. */
		if (held) {
			turn();
			looked = true;
			deadlines_ms[number] = registry->now_ms + registry->limits.write_guard_timeout_ms;
		}
	} while (held);
	check_refused(registry, number, looked);
}

void writing_end(void)
{
	for (unsigned i = 0; i < WORLD_N_FILES; i++)
		require(!world_has_writer(i) || world_write(i));
	world_have_writers_stay(false);
}
