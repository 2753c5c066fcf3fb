/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/client.h"

#include "daemon/account.h"
#include "proto/util.h"

#include <assert.h>
#include <ctype.h>

void client_init(struct client *client, pid_t pid, struct account *account, struct text name, struct board *board)
{
	*client = (struct client){.pid = pid, .account = account, .board = *board, .free_slot = NO_SLOT};
	/* For people, and untrusted: nothing in it may steer a terminal. */
	for (size_t i = 0; i < min_u64(name.length, MESSAGE_MAX_NAME); i++)
		client->name[i] = isprint((unsigned char)name.data[i]) ? name.data[i] : '?';
	*board = (struct board){0};
}

static void free_file(struct client *client, struct client_file *file)
{
	HASH_DEL(client->files, file);
	client->account->n_openings--;
	free(file);
}

void client_deinit(struct client *client)
{
	struct client_file *file, *next;

	assert(!client->n_leases);
	HASH_ITER(hh, client->files, file, next)
		free_file(client, file);
	free(client->slots);
	board_deinit(&client->board);
}

/* ---- slots ---- */

static int add_slot(struct client *client)
{
	if (client->n_slots == client->board.n_slots)
		return -EDQUOT;
	if (client->n_slots == client->size_slots) {
		uint32_t size = client->size_slots ? client->size_slots * 2 : 16;
		struct client_slot *slots = reallocarray(client->slots, size, sizeof(*slots));

		if (!slots)
			return -ENOMEM;
		client->slots = slots;
		client->size_slots = size;
	}

	/* A generation of 0 is nobody's: it is that of memory which was never written. */
	board_free(&client->board.slots[client->n_slots]);
	client->slots[client->n_slots] = (struct client_slot){.generation = 1, .next_free = client->free_slot};
	client->free_slot = client->n_slots++;
	return 0;
}

int client_take_slot(struct client *client, struct lease *lease, struct slot_ref *ref)
{
	struct client_slot *slot;
	int r;

	if (client->free_slot == NO_SLOT) {
		r = add_slot(client);
		if (r < 0)
			return r;
	}

	slot = &client->slots[client->free_slot];
	slot->lease = lease;
	*ref = (struct slot_ref){.slot = client->free_slot, .generation = slot->generation};
	client->free_slot = slot->next_free;
	client->n_leases++;
	return 0;
}

void client_free_slot(struct client *client, uint32_t index)
{
	struct client_slot *slot = &client->slots[index];

	slot->lease = NULL;
	client->n_leases--;
	/* What it goes on standing on has to say that it is stale, if it is. */
	if (client->leaves)
		return;
	/* After 2^31 leases a generation would be 0, which is nobody's. */
	do {
		board_free(&client->board.slots[index]);
		slot->generation = board_next_generation(slot->generation);
	} while (!slot->generation);
	slot->next_free = client->free_slot;
	client->free_slot = index;
}

struct lease *client_find_lease(const struct client *client, const struct slot_ref *ref)
{
	const struct client_slot *slot;

	if (ref->slot >= client->n_slots)
		return NULL;
	slot = &client->slots[ref->slot];
	return slot->generation == ref->generation ? slot->lease : NULL;
}

/* ---- files ---- */

static struct client_file *find_file(const struct client *client, uint64_t id)
{
	struct client_file *file;

	HASH_FIND(hh, client->files, &id, sizeof(id), file);
	return file;
}

int client_open_file(struct client *client, uint64_t id)
{
	struct client_file *file = find_file(client, id);

	if (file) {
		file->n_opens++;
		return 0;
	}

	file = calloc(1, sizeof(*file));
	if (!file)
		return -ENOMEM;
	file->id = id;
	file->n_opens = 1;
	HASH_ADD(hh, client->files, id, sizeof(file->id), file);
	if (!hash_added(file, hh)) {
		free(file);
		return -ENOMEM;
	}
	client->account->n_openings++;
	return 1;
}

int client_close_file(struct client *client, uint64_t id)
{
	struct client_file *file = find_file(client, id);

	if (!file)
		return -EBADF;
	if (--file->n_opens)
		return 0;
	free_file(client, file);
	return 1;
}

bool client_has_file(const struct client *client, uint64_t id)
{
	return find_file(client, id) != NULL;
}
