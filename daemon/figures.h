/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_FIGURES_H
#define DAEMON_FIGURES_H

/* Figures as `smmapd status` gets them: row by row, however many pages they come in. */

#include "proto/figures.h"

struct smmap_client;

/* Called with each row, the struct of the section, which is gone afterwards. 0, or a negative error that ends it. */
typedef int figures_row_fn(void *data, const void *row);

/* Asks the server for all rows of a section. 0, what @use returned, or an error of the client. */
int figures_ask(struct smmap_client *client, enum figures_section section, figures_row_fn *use, void *data);

#endif
