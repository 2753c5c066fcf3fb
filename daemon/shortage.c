/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/shortage.h"

#include "daemon/account.h"
#include "daemon/client.h"
#include "daemon/lease.h"
#include "daemon/registry.h"
#include "daemon/size.h"
#include "proto/util.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* How many of those who pin the most are named. */
#define N_NAMED 3

struct sentence {
	char *text;
	size_t length;
};

static void say(struct sentence *sentence, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(struct sentence *sentence, const char *format, ...)
{
	size_t left = SHORTAGE_MAX - sentence->length;
	va_list arguments;
	int n;

	va_start(arguments, format);
	n = vsnprintf(sentence->text + sentence->length, left, format, arguments);
	va_end(arguments);
	sentence->length += n < 0 ? 0 : (size_t)min_u64((uint64_t)n, left - 1);
}

/* ---- who pins how much ---- */

struct pinner {
	const struct client *client;
	uint64_t bytes;
};

static uint64_t pinned_bytes(const struct client *client)
{
	uint64_t bytes = 0;

	for (uint32_t slot = 0; slot < client->n_slots; slot++) {
		const struct lease *lease = client->slots[slot].lease;

		if (lease && lease_is_pinned(lease))
			bytes += round_up(lease->length, page_size());
	}
	return bytes;
}

/* Puts a client among the first, if it belongs there. */
static void rank(struct pinner first[static N_NAMED], struct pinner new)
{
	for (size_t i = 0; i < N_NAMED; i++) {
		struct pinner here = first[i];

		if (new.bytes <= here.bytes)
			continue;
		first[i] = new;
		new = here;
	}
}

/* Says who pins the most, of all or of one user. */
static void say_who_pins(struct sentence *sentence, const struct registry *registry, const struct account *account)
{
	struct pinner first[N_NAMED] = {0};
	const struct client *client;
	char size[SIZE_TEXT_MAX];
	uint64_t others = 0;

	DL_FOREACH(registry->clients, client)
	{
		struct pinner pinner = {.client = client};

		if (account && client->account != account)
			continue;
		pinner.bytes = pinned_bytes(client);
		if (!pinner.bytes)
			continue;
		others++;
		rank(first, pinner);
	}
	if (!others) {
		say(sentence, "; nothing is pinned");
		return;
	}
	for (size_t i = 0; i < N_NAMED && first[i].client; i++, others--)
		say(sentence, "%s %s by %s (pid %d, uid %u)", i ? "," : "; pinned are", size_print(first[i].bytes, size),
		    first[i].client->name, (int)first[i].client->pid, (unsigned)first[i].client->account->uid);
	if (others)
		say(sentence, " and more by %" PRIu64 " others", others);
}

/* ---- which limit ---- */

enum scarce { SCARCE_MEMORY, SCARCE_MAPS, SCARCE_HANDLES, SCARCE_LEASES, SCARCE_OPENINGS, SCARCE_SLOTS, SCARCE_REMOTE };

static enum scarce scarce_for_all(const struct registry *registry, bool to_open)
{
	if (to_open)
		return SCARCE_HANDLES;
	return registry->usage.maps >= registry->limits.maps ? SCARCE_MAPS : SCARCE_MEMORY;
}

static enum scarce scarce_for_user(const struct registry *registry, const struct client *client, bool to_open)
{
	const struct quota *quota = &registry->limits.quota;
	const struct holding *held = &client->account->held;

	if (to_open)
		return client->account->n_openings >= quota->files ? SCARCE_OPENINGS : SCARCE_REMOTE;
	if (client->n_leases == client->board.n_slots)
		return SCARCE_SLOTS;
	if (held->leases >= quota->leases)
		return SCARCE_LEASES;
	if (held->maps >= quota->maps)
		return SCARCE_MAPS;
	if (held->handles >= quota->handles && held->memory + registry->limits.window <= quota->memory)
		return SCARCE_HANDLES;
	return SCARCE_MEMORY;
}

const char *shortage_name(const struct registry *registry, const struct client *client, bool to_open, bool over_quota)
{
	static const char *const of_all[] = {"max-memory", "max-maps", "max-handles"};
	static const char *const of_user[] = {
		"user's max-memory", "user's max-maps",   "user's max-handles",  "user's leases",
		"user's open files", "client's leases", "user's remote files",
	};

	if (over_quota)
		return of_user[scarce_for_user(registry, client, to_open)];
	return of_all[scarce_for_all(registry, to_open)];
}

static void say_number(struct sentence *sentence, const char *what, uint64_t used, uint64_t limit, const char *name)
{
	say(sentence, "%s: %" PRIu64 " of %" PRIu64 " %s are in use", what, used, limit, name);
}

static void say_bytes(struct sentence *sentence, const char *what, uint64_t used, uint64_t limit)
{
	char used_text[SIZE_TEXT_MAX], limit_text[SIZE_TEXT_MAX];

	say(sentence, "%s: %s of %s are in use", what, size_print(used, used_text), size_print(limit, limit_text));
}

void shortage_of_room(const struct registry *registry, bool to_open, char text[static SHORTAGE_MAX])
{
	struct sentence sentence = {.text = text};
	const struct limits *limits = &registry->limits;
	const struct usage *usage = &registry->usage;

	switch (scarce_for_all(registry, to_open)) {
	case SCARCE_HANDLES:
		say_number(&sentence, "max-handles", usage->handles, limits->handles, "files");
		break;
	case SCARCE_MAPS:
		say_number(&sentence, "max-maps", usage->maps, limits->maps, "maps");
		break;
	default:
		say_bytes(&sentence, "max-memory", usage->memory, limits->memory);
	}
	say_who_pins(&sentence, registry, NULL);
}

void shortage_of_quota(const struct registry *registry, const struct client *client, bool to_open, char text[static SHORTAGE_MAX])
{
	struct sentence sentence = {.text = text};
	const struct quota *quota = &registry->limits.quota;
	const struct account *account = client->account;
	const struct holding *held = &account->held;
	enum scarce scarce = scarce_for_user(registry, client, to_open);

	if (scarce == SCARCE_SLOTS) {
		say(&sentence, "the client has all of its %" PRIu32 " leases in use", client->n_leases);
		return;
	}
	say(&sentence, "the quota of uid %u is used up, ", (unsigned)account->uid);
	switch (scarce) {
	case SCARCE_OPENINGS:
		say_number(&sentence, "open files", account->n_openings, quota->files, "files");
		break;
	case SCARCE_REMOTE:
		say_number(&sentence, "files on file systems that may hang", account->n_remote, quota->handles, "files");
		break;
	case SCARCE_LEASES:
		say_number(&sentence, "leases", held->leases, quota->leases, "leases");
		break;
	case SCARCE_MAPS:
		say_number(&sentence, "its part of max-maps", held->maps, quota->maps, "maps");
		break;
	case SCARCE_HANDLES:
		say_number(&sentence, "its part of max-handles", held->handles, quota->handles, "files");
		break;
	default:
		say_bytes(&sentence, "its part of max-memory", held->memory, quota->memory);
	}
	say_who_pins(&sentence, registry, account);
}
