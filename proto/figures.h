/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PROTO_FIGURES_H
#define PROTO_FIGURES_H

/*
 * The figures of STATUS: rows of a few sections, each a struct with a table of its fields. The names in the tables are those of
 * `smmapd status --json`, where a dot opens an object.
 */

#include "proto/codec.h"
#include "proto/message.h"

enum figures_section {
	FIGURES_SUMMARY, /* one row, struct figures_summary */
	FIGURES_CLIENTS, /* a row for each client, struct figures_client */
	FIGURES_FILES,   /* a row for each file that the asking user may see, struct figures_file */
	FIGURES_USERS,   /* a row for each user who has a client, struct figures_user */
	FIGURES_WAITING, /* a row for each request that waits, struct figures_waiting */
	FIGURES_PINS,    /* a row for each lease that is pinned, struct figures_pin */
	FIGURES_N_SECTIONS,
};

struct figures_summary {
	struct text version;
	uint32_t pid;
	uint64_t uptime_seconds;
	struct text socket;
	uint64_t heap_bytes;

	uint64_t limit_memory_bytes;
	uint64_t limit_handles;
	uint64_t limit_maps;
	uint64_t limit_window_bytes;

	uint64_t quota_memory_bytes; /* of each user */
	uint64_t quota_maps;
	uint64_t quota_handles;
	uint64_t quota_leases;
	uint64_t quota_files;
	uint64_t quota_clients;
	uint64_t quota_requests;

	uint64_t memory_bytes;
	uint64_t pinned_bytes;
	uint64_t draining_bytes;
	uint64_t handles;
	uint64_t closing;
	uint64_t maps;
	uint64_t clients;
	uint64_t leases;

	uint64_t grants;
	uint64_t hits;
	uint64_t evictions;
	uint64_t recalls;
	uint64_t waits;
	uint64_t refusals;
	uint64_t protocol_errors;
	uint64_t disconnections;

	uint64_t grant_count; /* how long they took, from the arrival of the LEASE to its answer */
	uint64_t grant_sum_ns;
	uint64_t grant_p50_ns;
	uint64_t grant_p99_ns;
	uint64_t grant_worst_ns;
};

struct figures_client {
	uint32_t pid;
	uint32_t uid;
	struct text name;
	uint64_t leases;
	uint64_t mapped_bytes;
	uint64_t pinned_bytes;
	uint64_t oldest_pin_seconds;
};

struct figures_file {
	struct text path;
	uint64_t size_bytes;
	uint64_t mapped_bytes;
	uint64_t regions;
	uint64_t clients;
	uint64_t device; /* st_dev and st_ino: whether the path still is that file */
	uint64_t inode;
	uint32_t guarded; /* 1 if writers are kept out, else 0 */
};

/* What one user has of each quota. */
struct figures_user {
	uint32_t uid;
	uint64_t clients;
	uint64_t files;
	uint64_t leases;
	uint64_t leased_bytes;
	uint64_t leased_maps;
	uint64_t leased_handles;
	uint64_t requests;
};

/* A path that is not for the asking user to see is empty. */
struct figures_waiting {
	uint32_t pid;
	uint32_t uid;
	struct text name;
	struct text request;
	struct text waits_for;
	struct text path;
	uint64_t bytes; /* that a lease is asked for */
	uint64_t milliseconds;
};

/* The same here. */
struct figures_pin {
	uint32_t pid;
	uint32_t uid;
	struct text name;
	struct text path;
	uint64_t offset; /* of the lease in the file; of others' pins 0 */
	uint64_t bytes;
	uint64_t seconds; /* since it was pinned */
};

/* The fields of a section's rows; NULL if there is no such section. */
const struct layout *figures_layout(uint32_t section);

/* Takes the next row off @rows into @row, the struct of @section. 1; 0 if none is left; -EBADMSG or -ENOMEM. */
int figures_next(struct text *rows, enum figures_section section, void *row);

#endif
