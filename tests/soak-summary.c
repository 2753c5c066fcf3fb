/* SPDX-License-Identifier: BSD-3-Clause */
/* What the soak tells a person: how far it is; and at its end what was done how many times, and what of all that was promised did not hold. */
#include "config.h"

#include "tests/soak.h"

#include <inttypes.h>
#include <stdio.h>

static const char *const fault_names[SOAK_N_FAULTS] = {
	[SOAK_SERVER_KILLED] = "servers killed",
	[SOAK_SERVER_TERMINATED] = "servers terminated",
	[SOAK_LIMITS_CHANGED] = "limits changed by SIGHUP",
	[SOAK_CLIENT_KILLED] = "clients killed",
	[SOAK_CLIENT_STOPPED] = "clients stopped for ever",
	[SOAK_RUBBISH_PACKET] = "packets of rubbish",
	[SOAK_BOARD_SCRIBBLED] = "words scribbled on boards",
	[SOAK_PINNED_FOR_EVER] = "pins for ever",
	[SOAK_SILENT_CONNECTION] = "connections that say nothing",
	[SOAK_WRONG_DESCRIPTOR] = "descriptors of wrong kinds",
	[SOAK_UNREAD_ANSWER] = "answers never read",
	[SOAK_FILE_TRUNCATED] = "files truncated",
	[SOAK_FILE_GROWN] = "files grown",
	[SOAK_FILE_REPLACED] = "files replaced",
	[SOAK_FILE_DELETED] = "files deleted",
	[SOAK_WRITER_WAITED] = "writers that a guard kept waiting",
	[SOAK_WRITER_AT_ONCE] = "writers of guarded files let in at once",
	[SOAK_FUSE_STOPPED] = "servers of FUSE stopped for a while",
	[SOAK_FUSE_KILLED] = "servers of FUSE killed",
	[SOAK_FUSE_FAILED] = "reads by FUSE that failed",
	[SOAK_DISK_FILLED] = "disks filled",
};

static const char *const promise_names[SOAK_N_PROMISES] = {
	[SOAK_BYTES] = "reads compared, and wrong",
	[SOAK_CALLS] = "calls, and failed that should not",
	[SOAK_LIMITS] = "looks at all maps, and over the limit",
	[SOAK_RESTS] = "rests of a server, and a leak",
	[SOAK_WRITERS] = "guarded files written, and under a reader",
	[SOAK_LIVES] = "servers started, and a process ended on its own",
	[SOAK_ITSELF] = "kinds of faults made, and could not be made",
};

static uint64_t kept(enum soak_promise promise)
{
	return atomic_load(&soak->kept[promise]);
}

void soak_tell(uint64_t seconds)
{
	printf("%6" PRIu64 " s: %" PRIu64 " reads, %" PRIu64 " MiB compared; %" PRIu64 " servers; %" PRIu64 " looks at the limits, at most %" PRIu64
	       " bytes; %" PRIu64 " rests compared; lost: %u\n",
	       seconds, kept(SOAK_BYTES), atomic_load(&soak->n_bytes) >> 20, atomic_load(&soak->n_starts), kept(SOAK_LIMITS), soak->largest,
	       kept(SOAK_RESTS), atomic_load(&soak->n_lost));
	fflush(stdout);
}

void soak_require_all(void)
{
	for (unsigned i = 0; i < SOAK_N_FAULTS; i++) {
		if (atomic_load(&soak->done[i]))
			soak_keep(SOAK_ITSELF);
		else if (!atomic_load(&soak->excused[i]))
			soak_lose(SOAK_ITSELF, "no %s, in all that time", fault_names[i]);
	}
}

void soak_sum_up(void)
{
	printf("\n%12s  %s\n", "times", "what was done");
	for (unsigned i = 0; i < SOAK_N_FAULTS; i++)
		printf("%12" PRIu64 "  %s%s\n", atomic_load(&soak->done[i]), fault_names[i],
		       atomic_load(&soak->excused[i]) ? ": can't be done here" : "");
	printf("\n%12s %8s  %s\n", "times", "lost", "what has to hold all the while");
	for (unsigned i = 0; i < SOAK_N_PROMISES; i++)
		printf("%12" PRIu64 " %8" PRIu64 "  %s\n", kept(i), atomic_load(&soak->lost[i]), promise_names[i]);
	printf("%12s %8u  in all\n", "", atomic_load(&soak->n_lost));
	fflush(stdout);
}
