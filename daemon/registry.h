/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_REGISTRY_H
#define DAEMON_REGISTRY_H

/*
 * The registry: all files and regions of the server, and who leases them. It holds the limits.
 *
 * It knows no wire format, no socket and no clock. What can't be done at once is a positive value: the caller tries again when
 * something was released.
 */

#include "daemon/census.h"
#include "daemon/limits.h"
#include "daemon/order.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct account;
struct client;
struct descriptor_facts;
struct file;
struct lease;
struct pulse;
struct slot_list;
struct errands;
struct slot_ref;
struct volume;

/* What an operation answers besides 0 and errors. */
enum registry_condition {
	REGISTRY_NO_ROOM = 1, /* nothing was done but that room is on its way, where that was possible */
	REGISTRY_OVER_QUOTA,  /* the same, because of the user's quota: too much is pinned */
	REGISTRY_REOPEN,      /* the server let go of the file: it has to be opened again */
	REGISTRY_WRITER,      /* a writer of the file comes first */
};

/* What others have to do is late after so many ticks: it may never be done, and something else is counted on. */
#define REGISTRY_LATE_TICKS 2

struct usage {
	uint64_t memory;   /* bytes of all regions */
	uint64_t draining; /* of these, bytes of regions that will go once their leases are unmapped */
	uint64_t late;     /* of these, bytes of which a client is late to unmap something */
	uint64_t handles;
	uint64_t maps;
	uint64_t draining_maps;
	uint64_t late_maps;
	uint64_t leases;
};

struct counters {
	uint64_t grants;
	uint64_t hits; /* as far as they were counted: when a lease ends, and by a census */
	uint64_t evictions;
	uint64_t recalls;
	uint64_t waits;
	uint64_t refusals;
	uint64_t protocol_errors;
	uint64_t disconnections;
	uint64_t looks; /* at regions and shares that might be evicted */
};

struct registry {
	struct limits limits;
	struct usage usage;
	struct counters counters;
	struct pulse *pulse;
	uint64_t now_ms;   /* set by whoever has a clock */
	uint64_t ticks;    /* counted by registry_tick() */
	uint64_t looks;    /* at what might be evicted, or is counted, that are left for this turn */
	bool cut_short;    /* there were too few: what waits has to be tried again soon */
	uint64_t releases; /* grows with whatever may have made room */
	uint64_t next_marked; /* the serial of the client at which to go on looking for marks; 0: at the first */
	uint64_t n_ahead;  /* windows ahead, of all leases */

	struct file *by_id;
	struct file *by_identity;
	struct file *by_guard;
	struct file *bare;       /* files without a region that can be closed at once, in order of use; see account->bare */
	struct file *unguarded;  /* files that are to be guarded and could not be, in the order in which they are tried again */
	struct file *breaking;   /* files for which a writer waits */
	uint64_t n_emptying;     /* files whose regions are all draining, and none of them late */
	struct order order;      /* of use: the regions that don't drain */
	uint64_t pass;           /* of room.c over that order, see look.h: looks that are left in it; 0: none has begun */
	struct lease *recalled;  /* leases that their clients have to unmap, the longest so first */
	struct lease *in_time;   /* of these, the first whose client is not late; NULL if there is none */
	uint64_t n_untold;       /* of these, those that no bell has told of */
	struct census census;
	struct client *clients; /* in the order of their serials */
	uint64_t next_serial;
	struct account *accounts; /* of the users of these, in turn */
	struct volume *volumes;   /* that files are on */
	struct errands *errands;  /* borrowed: for what can't be done here */
	int notices;              /* borrowed: where notice is given that files are deleted; negative: nowhere */
	uint64_t n_unnoticed;     /* files of which none is given */
	struct file *closing;     /* files that errands are closing, the longest so first */
	uint64_t next_file_id;
};

/* What a request to open a file brings. */
struct open_request {
	int fd;
	const struct descriptor_facts *facts;
	struct volume *volume; /* borrowed: known, and of use */
	const char *label; /* copied */
	bool in_turn;      /* nobody of this user waits to open a file before this one */
};

/* What a request for a lease asks for. */
struct lease_request {
	uint64_t file;
	uint64_t offset;
	uint64_t length; /* at least 1; cut at the end of the file */
	uint64_t ahead;  /* windows to lease in addition, as far as there is room anyway */
	bool in_turn;    /* nobody of this user waits for a lease before this one */
};

/* What it gets. Without a lease the offset is past the end of the file. */
struct lease_grant {
	struct lease *lease; /* borrowed */
	int fd;              /* borrowed: the file's */
	uint64_t file_size;
};

/*
 * @pulse, borrowed, is where the epoch is counted and figures are published. @errands, borrowed, are for files on volumes that are not local.
 * @notices, borrowed, see notice_open_ear(), is where notice of deletion is given; negative: nowhere.
 */
void registry_init(struct registry *registry, const struct limits *limits, struct pulse *pulse, struct errands *errands, int notices);

/*
 * Has other limits hold from now on, but for the size of a window, which stays. Nothing is granted as long as more is used; see
 * room_shrink(). Where the write guard is turned off, writers that wait are let in.
 */
void registry_set_limits(struct registry *registry, const struct limits *limits);

/* Lets go of all files. There are no clients any more. */
void registry_deinit(struct registry *registry);

/* A turn of the loop begins: so many regions may be looked at for eviction in it that it does not take long. */
void registry_begin_turn(struct registry *registry);

/*
 * Time goes by, a tick each 10 ms while a lease is recalled or a request waits: who has not unmapped in a few ticks what was recalled is late. To
 * be called by the one who has a clock.
 */
void registry_tick(struct registry *registry);

/*
 * Opens a file for @client. On success *@file is set, borrowed, and request->fd is taken if the file is new, else left.
 * 0, REGISTRY_NO_ROOM; REGISTRY_OVER_QUOTA if the user has sent too many on volumes that are not local; -EDQUOT if too many files are
 * open for the user; or -ENOMEM.
 */
int registry_open(struct registry *registry, struct client *client, struct open_request *request, struct file **file);

/* Ends one opening. -EBADF if the client does not have the file open. */
int registry_close(struct registry *registry, struct client *client, uint64_t file_id);

/*
 * Grants @client a lease on all windows of a range, with one pin. Leases of the client itself that had to go for it are listed in
 * @victims: the client unmaps them before it maps the new one, and says so.
 *
 * 0, REGISTRY_NO_ROOM, REGISTRY_OVER_QUOTA, REGISTRY_REOPEN, REGISTRY_WRITER; -EBADF if the client does not have the file open;
 * -EFBIG if the range can never fit; -EDQUOT if it can never fit into the user's quota, or the client has no slot left; -EIO,
 * -ENOMEM and others of statx(2) and mmap(2).
 */
int registry_lease(struct registry *registry, struct client *client, const struct lease_request *request, struct lease_grant *grant,
		   struct slot_list *victims);

/* The client has unmapped a lease. False if it has no such lease. */
bool registry_release(struct registry *registry, struct client *client, const struct slot_ref *ref);

/* Looks at the board for leases that were named to @client and that it has marked as unmapped: these have ended. */
void registry_look_for_marks(struct registry *registry, struct client *client);

/*
 * Has it known whether anybody waits. Where that is new, looks at all boards for marks, since from then on it is said. True if leases have ended
 * thereby.
 */
bool registry_set_waits(struct registry *registry, bool waits);

/*
 * Evicts all regions that nothing pins, of the files that @client may see and whose label is @path or below it (NULL: of all). Adds
 * what goes to *@bytes and *@maps.
 */
void registry_evict_files(struct registry *registry, struct client *client, const char *path, uint64_t *bytes, uint64_t *maps);

/* Closes such files that have no region; true if some that are draining, or just being closed, are left. */
bool registry_close_files(struct registry *registry, struct client *client, const char *path);

/* Whether regions of the files that @client may see are draining. */
bool registry_drains(const struct registry *registry, const struct client *client);

/*
 * Looks at all files: what was truncated is noticed, what was deleted and is not open is let go, and what could not be guarded before is
 * tried again. Once a second: without clients only as long as a file is bare or unnoticed, or when notice was given; of a truncation the
 * next grant tells then.
 */
void registry_look_around(struct registry *registry);

/*
 * Closes the files on other than local volumes that for long nobody has asked for, nor has open, as far as their users' errands allow it now:
 * when some are done, there are more.
 */
void registry_close_idle_remote(struct registry *registry);

/* Adds and removes a client. Removing ends all its leases. */
void registry_add_client(struct registry *registry, struct client *client);
void registry_remove_client(struct registry *registry, struct client *client);

/* Shows usage on the pulse. */
void registry_publish(struct registry *registry);

#endif
