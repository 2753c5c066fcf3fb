/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_REGISTRY_FIXTURE_H
#define TESTS_REGISTRY_FIXTURE_H

/*
 * What the tests of the registry share: one registry and three clients of it, driven directly, with boards in this process and
 * small real files. A window is two pages.
 */

#include "daemon/account.h"
#include "daemon/client.h"
#include "daemon/file.h"
#include "daemon/lease.h"
#include "daemon/region.h"
#include "daemon/registry.h"
#include "daemon/volume.h"
#include "proto/descriptor.h"
#include "proto/pulse.h"
#include "proto/util.h"
#include "tests/harness.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define PAGE    page_size()
#define WINDOW  (2 * PAGE)
#define MANY    UINT64_C(1000)
#define N_SLOTS 512

struct user {
	struct client client;
	_Atomic uint64_t last;
};

static struct registry registry;
static struct errands errands;
static struct volume local = {.refs = 1, .known = true, .local = true}; /* where all files are */
static struct pulse *pulse;
static struct user users[3];
#define one   (&users[0])
#define other (&users[1])
#define third (&users[2])

/* The answer to the last request. */
static struct lease_grant grant;
static struct slot_list victims;

static inline void add_user(struct user *user, uid_t uid)
{
	struct account *account;
	struct board board;
	int fd;

	ck_assert_int_eq(board_create(&board, N_SLOTS, &fd), 0);
	close(fd);
	ck_assert_int_eq(account_get(&account, &registry, uid), 0);
	client_init(&user->client, 1, account, text_of("test"), &board);
	registry_add_client(&registry, &user->client);
}

static inline void remove_user(struct user *user)
{
	registry_remove_client(&registry, &user->client);
	client_deinit(&user->client);
	account_put(&registry, user->client.account);
	memset(&user->client, 0, sizeof(user->client));
}

/* Has them be another user. */
static inline void become(struct user *user, uid_t uid)
{
	remove_user(user);
	add_user(user, uid);
}

static inline void start_with_window(uint64_t window, uint64_t memory, uint64_t handles, uint64_t maps)
{
	struct limits limits = {
		.memory = memory,
		.handles = handles,
		.maps = maps,
		.window = window,
		.quota = {MANY * MANY * WINDOW, MANY * MANY, MANY * MANY, MANY * MANY, MANY * MANY, MANY, MANY},
	};
	int fd;

	ck_assert_int_eq(pulse_create(&pulse, &fd), 0);
	close(fd);
	ck_assert_int_eq(errands_start(&errands), 0);
	registry_init(&registry, &limits, pulse, &errands, -1);
	for (size_t i = 0; i < 3; i++)
		add_user(&users[i], 1000);
}

static inline void start(uint64_t memory, uint64_t handles, uint64_t maps)
{
	start_with_window(WINDOW, memory, handles, maps);
}

/* Files that are deleted are closed by errands. */
static inline void await_closed(void)
{
	while (registry.closing)
		errands_end_done(&errands, &registry);
}

static inline void stop(void)
{
	for (size_t i = 0; i < 3; i++)
		if (users[i].client.board.slots)
			remove_user(&users[i]);
	ck_assert_uint_eq(registry.usage.leases, 0);
	ck_assert_uint_eq(registry.usage.draining, 0);
	ck_assert_uint_eq(registry.usage.draining_maps, 0);
	ck_assert_ptr_null(registry.recalled);
	registry_deinit(&registry);
	await_closed();
	errands_stop(&errands);
	ck_assert_uint_eq(registry.usage.memory, 0);
	ck_assert_uint_eq(registry.usage.maps, 0);
	ck_assert_uint_eq(registry.usage.handles, 0);
	pulse_free(pulse);
}

static inline void assert_limits(void)
{
	ck_assert_uint_le(registry.usage.memory, registry.limits.memory);
	ck_assert_uint_le(registry.usage.maps, registry.limits.maps);
	ck_assert_uint_le(registry.usage.handles, registry.limits.handles);
}

static inline int try_open(struct user *user, const char *name, struct volume *volume, uint64_t *id)
{
	struct descriptor_facts facts;
	struct open_request request = {.facts = &facts, .volume = volume, .label = name, .in_turn = true};
	struct file *file = NULL;
	int r;

	request.fd = open(name + strspn(name, "/"), O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(request.fd, 0);
	registry_begin_turn(&registry);
	ck_assert_int_eq(descriptor_check(request.fd, &facts), 0);
	r = registry_open(&registry, &user->client, &request, &file);
	close_fd(request.fd);
	if (!r)
		*id = file->id;
	assert_limits();
	return r;
}

static inline uint64_t open_file(struct user *user, const char *name)
{
	uint64_t id = 0;

	ck_assert_int_eq(try_open(user, name, &local, &id), 0);
	return id;
}

/* Makes a file and opens it. */
static inline uint64_t new_file(struct user *user, const char *name, uint64_t size)
{
	harness_make_file(name, size);
	return open_file(user, name);
}

static inline int ask(struct user *user, const struct lease_request *request)
{
	int r;

	registry_begin_turn(&registry);
	victims.n = 0;
	grant = (struct lease_grant){0};
	r = registry_lease(&registry, &user->client, request, &grant, &victims);
	assert_limits();
	return r;
}

static inline int try_lease(struct user *user, uint64_t file, uint64_t offset, uint64_t length)
{
	return ask(user, &(struct lease_request){.file = file, .offset = offset, .length = length, .in_turn = true});
}

static inline struct slot_ref lease(struct user *user, uint64_t file, uint64_t window, uint64_t n)
{
	ck_assert_int_eq(try_lease(user, file, window * WINDOW, n * WINDOW), 0);
	ck_assert_ptr_nonnull(grant.lease);
	return grant.lease->ref;
}

static inline struct board_slot *slot_of(struct user *user, struct slot_ref ref)
{
	return &user->client.board.slots[ref.slot];
}

static inline bool pin(struct user *user, struct slot_ref ref)
{
	return board_pin(slot_of(user, ref), ref.generation, pulse_second(pulse));
}

static inline void unpin(struct user *user, struct slot_ref ref)
{
	board_unpin(slot_of(user, ref), pulse_use(pulse, &user->last));
}

static inline struct slot_ref idle_lease(struct user *user, uint64_t file, uint64_t window, uint64_t n)
{
	struct slot_ref ref = lease(user, file, window, n);

	unpin(user, ref);
	return ref;
}

static inline bool release(struct user *user, struct slot_ref ref)
{
	return registry_release(&registry, &user->client, &ref);
}

/* The client unmaps what the answer has named. */
static inline void unmap_victims(struct user *user)
{
	for (uint32_t i = 0; i < victims.n; i++)
		ck_assert(release(user, victims.refs[i]));
}

static inline const struct region *region_of(uint64_t file, uint64_t window)
{
	const struct file *found = file_find(&registry, file);

	return found ? region_find(found, window) : NULL;
}

/* Live, and not on its way out. */
static inline bool has(uint64_t file, uint64_t window)
{
	const struct region *region = region_of(file, window);

	return region && !region->draining;
}

static inline bool is_draining(uint64_t file, uint64_t window)
{
	const struct region *region = region_of(file, window);

	return region && region->draining;
}

/* As the bell would. */
static inline void tell(struct user *user)
{
	while (user->client.untold)
		lease_tell(&registry, user->client.untold);
}

static inline void assert_usage(uint64_t pages, uint64_t maps, uint64_t handles)
{
	ck_assert_uint_eq(registry.usage.memory, pages * PAGE);
	ck_assert_uint_eq(registry.usage.maps, maps);
	ck_assert_uint_eq(registry.usage.handles, handles);
}

#endif
