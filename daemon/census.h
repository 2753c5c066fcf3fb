/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_CENSUS_H
#define DAEMON_CENSUS_H

/*
 * What only the boards tell: how many bytes are pinned, and the hits.
 *
 * There may be a million leases, and the loop must not stand still. So a census goes from slot to slot, over as many turns of
 * the loop as it takes, within the looks of each turn. Who asks gets one that began after that. The bytes are of the moments
 * when each lease was looked at; where all fits into one turn, that is a single one.
 */

#include <stdbool.h>
#include <stdint.h>

struct registry;

struct census {
	uint64_t n_begun, n_ended;
	uint64_t client;       /* the serial of the next to be looked at, */
	uint32_t slot;         /* and its slot */
	uint64_t so_far;       /* bytes of regions that were found pinned */
	uint64_t pinned_bytes; /* that of the last one that has ended */
};

/*
 * Counts on. True once a census has ended that began after the first call with this *@ticket, which was 0 then. Else this turn's
 * looks are used up, and the call is to be made again in the next one.
 */
bool census_take(struct registry *registry, uint64_t *ticket);

#endif
