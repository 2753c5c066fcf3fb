/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_STATUS_H
#define DAEMON_STATUS_H

/* The forms in which `smmapd status` shows figures. */

#include <stdbool.h>

struct smmap_client;

/* All sections, as one JSON object. 0 or an error. */
int status_print_json(struct smmap_client *client);

/* The summary, and tables of clients and files, for people. 0 or an error. */
int status_print_tables(struct smmap_client *client, bool clients, bool files);

#endif
