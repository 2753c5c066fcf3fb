/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/file.h"

#include "daemon/account.h"
#include "daemon/notice.h"
#include "daemon/region.h"
#include "daemon/registry.h"
#include "daemon/remote.h"
#include "daemon/volume.h"
#include "daemon/writers.h"
#include "proto/pulse.h"
#include "proto/util.h"

#include <string.h>

/* The files without a region that are closed as this one is: at once, or by errands of who has sent it. */
static struct file **bare_list(struct registry *registry, const struct file *file)
{
	return file->sender ? &file->sender->bare : &registry->bare;
}

static bool is_local(const struct file *file)
{
	return file->volume->local;
}

static void ask_for_notice(struct registry *registry, struct file *file)
{
	file->notice = is_local(file) ? notice_ask(registry->notices, file->fd) : -EOPNOTSUPP;
	registry->n_unnoticed += file->notice < 0;
}

/* From now on, if it stays, it has to be looked at each second. */
static void end_notice(struct registry *registry, struct file *file)
{
	if (file->notice < 0)
		return;
	notice_end(registry->notices, file->notice);
	file->notice = -1;
	registry->n_unnoticed++;
}

/* Nobody finds it any more. */
static void leave_tables(struct registry *registry, struct file *file)
{
	if (file->identified)
		HASH_DELETE(by_identity, registry->by_identity, file);
	HASH_DELETE(by_id, registry->by_id, file);
}

static void file_discard(struct file *file)
{
	free(file->label);
	free(file);
}

static int enter_tables(struct registry *registry, struct file *file)
{
	HASH_ADD(by_id, registry->by_id, id, sizeof(file->id), file);
	if (!hash_added(file, by_id))
		return -ENOMEM;
	if (file->volume->weak)
		return 0;
	HASH_ADD(by_identity, registry->by_identity, identity, sizeof(file->identity), file);
	file->identified = hash_added(file, by_identity);
	if (!file->identified)
		leave_tables(registry, file);
	return file->identified ? 0 : -ENOMEM;
}

int file_new(struct file **new, struct registry *registry, struct open_request *request, struct account *sender)
{
	struct file *file;

	file = calloc(1, sizeof(*file));
	if (!file)
		return -ENOMEM;
	*file = (struct file){
		.id = registry->next_file_id,
		.identity = {.device = request->facts->device, .inode = request->facts->inode},
		.volume = request->volume,
		.fd = -1,
		.size = request->facts->size,
		.label = strdup(request->label),
		.uid = sender->uid,
		.guard.fd = -1,
	};
	if (!file->label || enter_tables(registry, file) < 0) {
		file_discard(file);
		return -ENOMEM;
	}

	volume_ref(file->volume);
	if (!is_local(file))
		remote_charge(file, sender);
	file->fd = take_fd(&request->fd);
	registry->next_file_id++;
	registry->usage.handles++;
	ask_for_notice(registry, file);
	file->last_used = pulse_instant(pulse_epoch(registry->pulse));
	file_become_bare(registry, file);
	*new = file;
	return 0;
}

/* Its descriptor is closed. */
static void file_end(struct registry *registry, struct file *file)
{
	registry->usage.handles--;
	registry->releases++;
	if (file->sender)
		remote_discharge(registry, file);
	volume_unref(registry, file->volume);
	file_discard(file);
}

static void on_closed(struct registry *registry, struct errand *errand, int64_t result)
{
	struct file *file = container_of(errand, struct file, closing);

	(void)result;
	DL_DELETE(registry->closing, file);
	file_end(registry, file);
}

/* The blocks of a large file that is deleted are seconds in freeing. */
static bool may_take_long(const struct file *file)
{
	return !is_local(file) || file->deleted;
}

bool file_free(struct registry *registry, struct file *file)
{
	struct file_user *user, *next;

	file_leave_bare(registry, file);
	leave_tables(registry, file);
	end_notice(registry, file);
	registry->n_unnoticed--;
	DL_FOREACH_SAFE(file->users, user, next)
		free(user);
	file->users = NULL;

	if (file->fd >= 0 && may_take_long(file)) {
		file->closing_tick = registry->ticks;
		DL_APPEND(registry->closing, file);
		errand_run(registry->errands, &file->closing, RUNNER_CLOSE, file->sender, take_fd(&file->fd), on_closed);
		return false;
	}
	close_fdp(&file->fd);
	file_end(registry, file);
	return true;
}

/*
 * The list is in order of use. A file that loses its last region by eviction belongs to the old end, one that was asked for to the young
 * one.
 */
void file_become_bare(struct registry *registry, struct file *file)
{
	struct file **list = bare_list(registry, file), *older = *list ? (*list)->prev : NULL;

	if (*list && (*list)->last_used > file->last_used)
		older = NULL;
	while (older && older->last_used > file->last_used)
		older = older->prev;
	writers_forget(registry, file);
	file->bare_since_ms = registry->now_ms;
	DL_APPEND_ELEM(*list, older, file);
}

void file_leave_bare(struct registry *registry, struct file *file)
{
	struct file **list = bare_list(registry, file);

	DL_DELETE(*list, file);
}

void file_touch(struct registry *registry, struct file *file)
{
	if (file->n_regions)
		return;
	file_leave_bare(registry, file);
	file->last_used = max_u64(file->last_used, pulse_instant(pulse_epoch(registry->pulse)));
	file_become_bare(registry, file);
}

struct file *file_find(const struct registry *registry, uint64_t id)
{
	struct file *file;

	HASH_FIND(by_id, registry->by_id, &id, sizeof(id), file);
	return file;
}

struct file *file_find_identity(const struct registry *registry, const struct descriptor_facts *facts)
{
	struct file_identity identity = {.device = facts->device, .inode = facts->inode};
	struct file *file;

	HASH_FIND(by_identity, registry->by_identity, &identity, sizeof(identity), file);
	return file;
}

/* ---- who has what of it ---- */

struct file_user *file_find_user(const struct file *file, const struct account *account)
{
	struct file_user *user;

	DL_SEARCH_SCALAR(file->users, user, account, account);
	return user;
}

int file_add_user(struct file *file, struct account *account, struct file_user **added)
{
	struct file_user *user = file_find_user(file, account);

	if (!user) {
		user = calloc(1, sizeof(*user));
		if (!user)
			return -ENOMEM;
		user->account = account;
		DL_APPEND(file->users, user);
	}
	*added = user;
	return 0;
}

void file_forget_user(struct file *file, struct file_user *user)
{
	if (user->n_clients || user->n_shares)
		return;
	DL_DELETE(file->users, user);
	free(user);
}

uint64_t file_count_clients(const struct file *file)
{
	const struct file_user *user;
	uint64_t n = 0;

	DL_FOREACH(file->users, user)
		n += user->n_clients;
	return n;
}

bool file_is_visible(const struct file *file, uid_t uid)
{
	return uid == 0 || uid == file->uid;
}

bool file_belongs_to(const struct file *file, uid_t uid)
{
	const struct file_user *user;

	if (uid != file->uid)
		return uid == 0;
	DL_FOREACH(file->users, user)
		if (user->account->uid != uid)
			return uid == 0;
	return true;
}

/* ---- its size ---- */

int file_refresh(struct registry *registry, struct file *file)
{
	struct descriptor_facts facts;
	struct region *region, *next;
	uint64_t old_size = file->size;
	int r;

	r = descriptor_look(file->fd, &facts);
	if (r < 0) {
		/* What was given notice of was not seen. */
		end_notice(registry, file);
		return r;
	}
	file->size = min_u64(facts.size, INT64_MAX);
	file->deleted = facts.deleted;

	DL_FOREACH_SAFE(file->detached, region, next)
		region_cut(registry, region);
	if (file->size >= old_size)
		return 0;
	HASH_ITER(by_window, file->regions, region, next)
	{
		if (region->window * registry->limits.window + region->length > file->size)
			region_cut(registry, region);
	}
	return 0;
}

uint64_t file_window_bytes(const struct registry *registry, const struct file *file, uint64_t window)
{
	uint64_t begin = window * registry->limits.window;

	return round_up(min_u64(registry->limits.window, file->size - begin), page_size());
}
