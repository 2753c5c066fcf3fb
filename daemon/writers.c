/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/writers.h"

#include "daemon/file.h"
#include "daemon/lease.h"
#include "daemon/registry.h"
#include "daemon/volume.h"
#include "proto/util.h"

/* How long a file is left alone after it could not be guarded, or a writer was let in: less than a second, so that each second counts. */
#define PAUSE_MS 500

/* Files that are tried again in one second: about a millisecond's worth. */
#define TRIES_IN_A_SECOND 512

/* ---- states ---- */

/* Where files in this state are listed; NULL if nowhere. */
static struct file **list_of(struct registry *registry, enum write_guard_state state)
{
	switch (state) {
	case WRITE_GUARD_AWAITED:
		return &registry->unguarded;
	case WRITE_GUARD_BREAKING:
		return &registry->breaking;
	default:
		return NULL;
	}
}

static void change_state(struct registry *registry, struct file *file, enum write_guard_state state, uint64_t until_ms)
{
	struct file **from = list_of(registry, file->guard.state), **to = list_of(registry, state);

	if (from)
		DL_DELETE2(*from, file, prev_guard, next_guard);
	file->guard.state = state;
	file->guard.until_ms = until_ms;
	if (to)
		DL_APPEND2(*to, file, prev_guard, next_guard);
}

/* ---- guarding ---- */

static void close_guard(struct registry *registry, struct file *file)
{
	if (file->guard.fd < 0)
		return;
	HASH_DELETE(by_guard, registry->by_guard, file);
	write_guard_close(&file->guard);
}

static int open_guard(struct registry *registry, struct file *file)
{
	int r;

	/* To open it elsewhere may take for ever. */
	if (!file->volume->local)
		return -EOPNOTSUPP;
	r = write_guard_open(&file->guard, file->fd);
	if (r < 0)
		return r;
	HASH_ADD(by_guard, registry->by_guard, guard.fd, sizeof(file->guard.fd), file);
	if (hash_added(file, by_guard))
		return 0;
	write_guard_close(&file->guard);
	return -ENOMEM;
}

/* Whether an error can be over in a while. */
static bool is_passing(int error)
{
	return error == -EAGAIN || error == -EINTR || error == -EMFILE || error == -ENFILE || error == -ENOMEM;
}

void writers_keep_out(struct registry *registry, struct file *file)
{
	struct write_guard *guard = &file->guard;
	int r = 0;

	if (!registry->limits.write_guard || (guard->state != WRITE_GUARD_NONE && guard->state != WRITE_GUARD_AWAITED))
		return;
	if (guard->state == WRITE_GUARD_AWAITED && registry->now_ms < guard->until_ms)
		return;
	if (guard->fd < 0)
		r = open_guard(registry, file);
	if (!r)
		r = write_guard_take(guard);
	if (!r) {
		change_state(registry, file, WRITE_GUARD_HELD, 0);
		/* What was seen until now may be old; what is seen now stays. Where it can't be looked at, that is done again soon. */
		file_refresh(registry, file);
	} else if (is_passing(r)) {
		change_state(registry, file, WRITE_GUARD_AWAITED, registry->now_ms + PAUSE_MS);
	} else {
		close_guard(registry, file);
		change_state(registry, file, WRITE_GUARD_IMPOSSIBLE, 0);
	}
}

void writers_forget(struct registry *registry, struct file *file)
{
	if (file->guard.state == WRITE_GUARD_NONE)
		return;
	/* What waits for the writer need not any more. */
	if (file->guard.state == WRITE_GUARD_BREAKING)
		registry->releases++;
	change_state(registry, file, WRITE_GUARD_NONE, 0);
	close_guard(registry, file);
}

void writers_try_again(struct registry *registry)
{
	for (unsigned n = 0; n < TRIES_IN_A_SECOND; n++) {
		struct file *file = registry->unguarded;

		/* Each goes to the end of the list, until later. */
		if (!file || registry->now_ms < file->guard.until_ms)
			return;
		writers_keep_out(registry, file);
	}
}

void writers_switch(struct registry *registry)
{
	struct file *file, *next;

	HASH_ITER(by_id, registry->by_id, file, next)
	{
		if (!registry->limits.write_guard)
			writers_forget(registry, file);
		else if (file->n_regions && file->guard.state == WRITE_GUARD_NONE)
			change_state(registry, file, WRITE_GUARD_AWAITED, registry->now_ms);
	}
}

/* ---- giving way ---- */

/* What the kernel has said may be of a guard that was there before. */
static void begin_break(struct registry *registry, struct file *file)
{
	if (file->guard.state == WRITE_GUARD_HELD && write_guard_is_broken(&file->guard))
		change_state(registry, file, WRITE_GUARD_BREAKING, registry->now_ms + registry->limits.write_guard_timeout_ms);
}

void writers_hear(struct registry *registry, int guard_fd)
{
	struct file *file;

	HASH_FIND(by_guard, registry->by_guard, &guard_fd, sizeof(guard_fd), file);
	if (file)
		begin_break(registry, file);
}

void writers_hear_any(struct registry *registry)
{
	struct file *file, *next;

	HASH_ITER(by_guard, registry->by_guard, file, next)
		begin_break(registry, file);
}

bool writers_wait_for(struct registry *registry, struct file *file)
{
	begin_break(registry, file);
	return file->guard.state == WRITE_GUARD_BREAKING;
}

/* Each lease once, as far as this turn goes; those that are pinned go behind the others. */
static void recall_idle(struct registry *registry, struct file *file)
{
	struct lease *lease, *last = file->leases ? file->leases->prev_of_file : NULL;

	for (bool more = last; more && registry->looks; registry->looks--) {
		lease = file->leases;
		more = lease != last;
		if (lease_recall(registry, lease))
			continue;
		DL_DELETE2(file->leases, lease, prev_of_file, next_of_file);
		DL_APPEND2(file->leases, lease, prev_of_file, next_of_file);
	}
}

void writers_recall(struct registry *registry)
{
	struct file *file, *last = registry->breaking ? registry->breaking->prev_guard : NULL;

	for (bool more = last; more && registry->looks;) {
		file = registry->breaking;
		more = file != last;
		recall_idle(registry, file);
		DL_DELETE2(registry->breaking, file, prev_guard, next_guard);
		DL_APPEND2(registry->breaking, file, prev_guard, next_guard);
	}
}

void writers_let_in(struct registry *registry)
{
	struct file *file, *next;

	DL_FOREACH_SAFE2(registry->breaking, file, next, next_guard)
	{
		if (file->leases && registry->now_ms < file->guard.until_ms)
			continue;
		write_guard_release(&file->guard);
		change_state(registry, file, WRITE_GUARD_AWAITED, registry->now_ms + PAUSE_MS);
		registry->releases++;
	}
}
