/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_STATUS_H
#define DAEMON_STATUS_H

/* The forms in which `smmapd status` shows figures. */

#include "daemon/figures.h"
#include "daemon/table.h"

#include <stdbool.h>

/* What is to be seen. With none of them: who holds what, in short. */
struct view {
	bool clients;
	bool files;
	bool pins;
};

/* Which sections a view needs, as bits for figures_fetch(). */
uint32_t view_sections(const struct view *view);

/* A whole view. With figures from @before (NULL: none) rates are also given since then. 0 or an error. */
int status_print_view(struct figures *figures, const struct figures *before, const struct view *view, const struct look *look);

/* How full the limits are, and how well it goes. 0 or an error. */
int status_print_summary(const struct figures *figures, const struct figures *before, const struct look *look);

/* That there are no figures at @socket, and @why, while a server is waited for. */
void status_print_absence(const char *socket, const char *why, const struct look *look);

/* All sections, as one JSON object. With @resident, files with what the kernel says of their pages. 0 or an error. */
int status_print_json(const struct figures *figures, bool resident, FILE *out);

/* The totals, and those of users, in the text format that Prometheus reads. 0 or an error. */
int status_print_metrics(const struct figures *figures, FILE *out);

#endif
