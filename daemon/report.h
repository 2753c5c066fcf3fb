/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_REPORT_H
#define DAEMON_REPORT_H

/*
 * The figures of a running server, as rows for STATUS; see proto/figures.h.
 *
 * They come page by page. A page goes on where the one before has ended, and looks at no more than fits into a turn of the loop,
 * so that the loop does not stand still however much there is.
 */

#include "daemon/heap.h"
#include "daemon/times.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct errands;
struct registry;

/* What the registry does not know. */
struct report_server {
	const char *socket;
	uint64_t started_ms;
	struct times grants; /* from the arrival of a LEASE to its answer */
	struct heap *heap;
	const struct errands *errands;
};

struct report_page {
	uid_t uid;        /* who asks: a user other than root sees only the paths of their own files */
	uint32_t section; /* enum figures_section */
	uint64_t from;    /* 0, or where the page before says that it goes on */

	char *bytes; /* for the rows: @size of them */
	size_t size;
	size_t length;
	uint64_t next; /* where it goes on, 0 at the end */
};

enum report_condition { REPORT_WAITS = 1 };

/*
 * Fills a page. 0; -EINVAL if there is no such section; REPORT_WAITS if it has to wait for the next turn of the loop. *@census
 * is the request's, 0 at first.
 */
int report_page(struct registry *registry, const struct report_server *server, struct report_page *page, uint64_t *census);

#endif
