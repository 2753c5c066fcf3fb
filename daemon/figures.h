/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_FIGURES_H
#define DAEMON_FIGURES_H

/* Figures as `smmapd status` gets them: the rows of whole sections, however many pages they come in. */

#include "proto/figures.h"

#include <stddef.h>
#include <stdint.h>

struct smmap_client;

/* The rows of a section: an array of its struct, with texts of its own. */
struct figures_rows {
	void *rows;
	size_t n;
};

/* What a server says of itself. The sections come one after the other, so they need not agree to the last byte. */
struct figures {
	uint64_t taken_ns; /* when, by CLOCK_MONOTONIC */
	struct figures_rows sections[FIGURES_N_SECTIONS];
};

/*
 * Asks for the summary, and for those of the other sections whose bit (1 << section) is set in @sections. 0, or an error of the
 * client.
 */
int figures_fetch(struct figures *figures, struct smmap_client *client, uint32_t sections);

/* Frees the rows; fine for what is all zero. */
void figures_deinit(struct figures *figures);

/* A row of a section. */
const void *figures_row(const struct figures *figures, enum figures_section section, size_t i);

/* The one row of the summary. */
const struct figures_summary *figures_summary(const struct figures *figures);

#endif
