/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_SHORTAGE_H
#define DAEMON_SHORTAGE_H

/* Why there is no room, in a sentence: which limit or quota it is, how much of it is used, and who pins how much. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct client;
struct registry;

/*
 * What a request of @client that waits is short of, in a few words: "max-memory", or "user's max-memory" where it is the quota.
 * @to_open: it is for a file to be opened, or else for a lease.
 */
const char *shortage_name(const struct registry *registry, const struct client *client, bool to_open, bool over_quota);

/* Enough for any of the sentences; a longer one is cut. */
#define SHORTAGE_MAX 768

/* The limit that a request waits for: one to open a file, or else for a lease. */
void shortage_of_room(const struct registry *registry, bool to_open, char sentence[static SHORTAGE_MAX]);

/* For one of @client that is over a quota of its user, or has no slot left. */
void shortage_of_quota(const struct registry *registry, const struct client *client, bool to_open, char sentence[static SHORTAGE_MAX]);

#endif
