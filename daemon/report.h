/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_REPORT_H
#define DAEMON_REPORT_H

/* The figures of a running server, as rows for STATUS; see proto/figures.h. */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct registry;

/* What the registry does not know. */
struct report_server {
	const char *socket;
	uint64_t started_ms;
};

/*
 * Fills @bytes (@size of them) with as many rows of a section as fit, from row @from on. *@next is the row to go on with, 0 at
 * the end. A user other than root sees only their own files. The length, or -EINVAL if there is no such section.
 */
int report_page(const struct registry *registry, const struct report_server *server, uid_t uid, uint32_t section, uint64_t from,
		void *bytes, size_t size, uint64_t *next);

#endif
