/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_OUTFIT_H
#define DAEMON_OUTFIT_H

/*
 * The outfit of a client: what the server makes for it alone, board and bell. It is the same for every client until it is somebody's, and takes
 * long to make, so the server has a spare one for the next. None is ever given to a second client: the first may still have it.
 */

#include "proto/board.h"

#include <stdbool.h>

/* Slots of a board, and so the most leases of a client. The memory is used as far as the slots are. */
#define OUTFIT_SLOTS 16384

struct outfit {
	struct board board;
	int board_fd;
	int bell;
	int client_bell; /* the client's end */
};

#define OUTFIT_NONE ((struct outfit){.board_fd = -1, .bell = -1, .client_bell = -1})

/* Makes one. 0, or -errno; then *@outfit is as OUTFIT_NONE. */
int outfit_make(struct outfit *outfit);

/* Frees what was not taken out of it. For _cleanup_() too. */
void outfit_deinit(struct outfit *outfit);

static inline bool outfit_is_made(const struct outfit *outfit)
{
	return outfit->board_fd >= 0;
}

#endif
