/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a grant costs that has to evict, in a registry of a given number of regions: how many regions are looked at, and how long it takes.
 * Run under callgrind by scripts/bench-registry it also tells how many instructions. The registry is alone: in the place of
 * the system calls there is nothing.
 *
 * The limit is full. Of eight regions one is pinned, and two are leased, idle, and used again in turn without a message, so that
 * the order has to find out. The others were leased once. Each grant is of a window that is not there.
 */
#include "config.h"

#include "daemon/account.h"
#include "daemon/client.h"
#include "daemon/file.h"
#include "daemon/lease.h"
#include "daemon/map.h"
#include "daemon/peer.h"
#include "daemon/registry.h"
#include "daemon/volume.h"
#include "proto/descriptor.h"
#include "proto/pulse.h"
#include "proto/util.h"

#include <assert.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define WINDOW       4096
#define FILE_WINDOWS 1000
#define N_SLOTS      16384

/* ---- in the place of the kernel ---- */

int map_file(int fd, uint64_t offset, uint64_t length, void **address)
{
	(void)fd;
	(void)length;
	*address = (void *)(uintptr_t)(WINDOW + offset);
	return 0;
}

int map_extend(void **address, uint64_t length, uint64_t new_length)
{
	(void)address;
	(void)length;
	(void)new_length;
	return 0;
}

void map_remove(void *address, uint64_t length)
{
	(void)address;
	(void)length;
}

int descriptor_look(int fd, struct descriptor_facts *facts)
{
	(void)fd;
	*facts = (struct descriptor_facts){.size = FILE_WINDOWS * WINDOW};
	return 0;
}

int descriptor_check(int fd, struct descriptor_facts *facts)
{
	return descriptor_look(fd, facts);
}

bool descriptor_same_file(const struct descriptor_facts *one, const struct descriptor_facts *other)
{
	return one->inode == other->inode;
}

/* ---- the registry ---- */

static struct registry registry;
static struct volume local = {.refs = 1, .known = true, .local = true};
static struct pulse *pulse;

/* Those of which each region has a lease, and the one that asks. */
static struct client *holders, asker;
static uint64_t n_holders;
static _Atomic uint64_t last_use;

static uint64_t *files; /* their ids */
static uint64_t n_files;

static void fail(const char *what)
{
	fprintf(stderr, "bench-registry: %s\n", what);
	exit(EXIT_FAILURE);
}

/* The bytes of the board that are used. */
static uint64_t add_client(struct client *client)
{
	struct account *account;
	struct board board;
	struct stat st;
	int fd;

	if (board_create(&board, N_SLOTS, &fd) < 0 || account_get(&account, &registry, 0) < 0 || fstat(fd, &st) < 0)
		fail("no memory for a client");
	close(fd);
	client_init(client, 1, account, text_of("bench"), &board);
	registry_add_client(&registry, client);
	return (uint64_t)st.st_blocks * 512;
}

static void open_files(struct client *client)
{
	for (uint64_t i = 0; i < n_files; i++) {
		struct descriptor_facts facts = {.inode = i, .size = FILE_WINDOWS * WINDOW};
		struct open_request request = {.fd = -1, .facts = &facts, .volume = &local, .label = "file", .in_turn = true};
		struct file *file;

		if (registry_open(&registry, client, &request, &file) != 0)
			fail("a file can't be opened");
		files[i] = file->id;
	}
}

static struct lease *grant(struct client *client, uint64_t window)
{
	struct lease_request request = {
		.file = files[window / FILE_WINDOWS], .offset = window % FILE_WINDOWS * WINDOW, .length = WINDOW, .in_turn = true};
	struct lease_grant granted;
	struct slot_list victims = {0};

	registry_begin_turn(&registry);
	while (registry_lease(&registry, client, &request, &granted, &victims) != 0) {
		if (!registry.cut_short)
			fail("no room");
		registry_begin_turn(&registry);
	}
	return granted.lease;
}

static struct board_slot *slot_of(const struct lease *lease)
{
	return &lease->client->board.slots[lease->ref.slot];
}

static void unpin(const struct lease *lease)
{
	board_unpin(slot_of(lease), pulse_use(pulse, &last_use));
}

/* ---- the measurement ---- */

static struct lease **used;
static uint64_t n_used;

static void use_again(const struct lease *lease)
{
	if (!board_pin(slot_of(lease), lease->ref.generation, 0))
		fail("a lease in use was taken back");
	unpin(lease);
}

/* Fills the registry with @n regions. The leases that are used again are kept. */
static void fill(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		struct client *client = &holders[i / 8 % n_holders];
		struct lease *lease;

		if (i % 8 < 3) {
			lease = grant(client, i);
			if (i % 8)
				unpin(lease);
			if (i % 8)
				used[n_used++] = lease;
			continue;
		}
		lease = grant(&asker, i);
		unpin(lease);
		registry_release(&registry, &asker, &lease->ref);
	}
	for (uint64_t i = 0; i < n_used; i++)
		use_again(used[i]);
}

static void grant_many(uint64_t n, uint64_t n_grants)
{
	for (uint64_t i = 0; i < n_grants; i++) {
		/* The windows come round when they have long been evicted. */
		struct lease *lease = grant(&asker, n + i % (2 * n));

		unpin(lease);
		registry_release(&registry, &asker, &lease->ref);
		use_again(used[i % n_used]);
	}
}

/* A function of its own for callgrind, which counts what is called by it. */
__attribute__((noinline)) void measured_grants(uint64_t n, uint64_t n_grants);

void measured_grants(uint64_t n, uint64_t n_grants)
{
	grant_many(n, n_grants);
}

static uint64_t heap(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

int main(int argc, char **argv)
{
	uint64_t n = argc == 3 ? strtoull(argv[1], NULL, 10) : 0, n_grants = argc == 3 ? strtoull(argv[2], NULL, 10) : 0;
	struct limits limits = {.window = WINDOW, .handles = UINT64_MAX / 4, .clients = 4096, .user_percent = 100};
	uint64_t before, client_bytes, region_bytes, evictions, looks;
	struct timespec start, end;
	double ns;
	int fd;

	if (n < 100 || !n_grants) {
		fprintf(stderr, "usage: bench-registry REGIONS GRANTS, at least 100 and 1\n");
		return 2;
	}
	limits.memory = n * WINDOW;
	limits.maps = n;
	limits_set_quota(&limits);
	limits.quota.leases = limits.quota.files = UINT64_MAX / 4;
	if (pulse_create(&pulse, &fd) < 0)
		fail("no pulse");
	registry_init(&registry, &limits, pulse, NULL, -1);

	n_holders = n * 3 / 8 / N_SLOTS + 2;
	n_files = 3 * n / FILE_WINDOWS + 1;
	holders = calloc(n_holders, sizeof(*holders));
	files = calloc(n_files, sizeof(*files));
	used = calloc(n, sizeof(*used));
	if (!holders || !files || !used)
		fail("no memory");
	before = heap();
	client_bytes = add_client(&asker);
	client_bytes += heap() - before + sizeof(struct peer);
	for (uint64_t i = 0; i < n_holders; i++)
		add_client(&holders[i]);
	open_files(&asker);
	for (uint64_t i = 0; i < n_holders; i++)
		open_files(&holders[i]);

	/* What regions take without leases: of as many as go into the other windows. */
	before = heap();
	for (uint64_t i = 0; i < n; i++) {
		struct lease *lease = grant(&asker, 2 * n + i);

		unpin(lease);
		registry_release(&registry, &asker, &lease->ref);
	}
	region_bytes = (heap() - before) / n;
	fill(n);

	/* Until it is the same round after round. */
	grant_many(n, n);
	evictions = registry.counters.evictions;
	looks = registry.counters.looks;
	clock_gettime(CLOCK_MONOTONIC, &start);
	measured_grants(n, n_grants);
	clock_gettime(CLOCK_MONOTONIC, &end);

	if (registry.counters.evictions - evictions != n_grants)
		fail("not one eviction for each grant");
	ns = ((double)(end.tv_sec - start.tv_sec) * 1e9 + (double)(end.tv_nsec - start.tv_nsec)) / (double)n_grants;
	printf("%" PRIu64 " %.3f %.0f %" PRIu64 " %" PRIu64 "\n", n, (double)(registry.counters.looks - looks) / (double)n_grants, ns,
	       region_bytes, client_bytes);
	return 0;
}
