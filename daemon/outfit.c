/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/outfit.h"

#include "proto/util.h"

#include <sys/socket.h>

static int make_board(struct outfit *outfit)
{
	int r;

	r = board_create(&outfit->board, OUTFIT_SLOTS, &outfit->board_fd);
	if (r < 0)
		return r;
	board_warm(&outfit->board);
	return 0;
}

static int make_bell(struct outfit *outfit)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	outfit->bell = ends[0];
	outfit->client_bell = ends[1];
	/* Nothing is ever read of it, and so no descriptor may wait there to be closed. */
	return shutdown(outfit->bell, SHUT_RD) < 0 ? -errno : 0;
}

int outfit_make(struct outfit *outfit)
{
	int r;

	*outfit = OUTFIT_NONE;
	r = make_board(outfit);
	if (!r)
		r = make_bell(outfit);
	if (r < 0)
		outfit_deinit(outfit);
	return r;
}

void outfit_deinit(struct outfit *outfit)
{
	board_deinit(&outfit->board);
	close_fdp(&outfit->board_fd);
	close_fdp(&outfit->bell);
	close_fdp(&outfit->client_bell);
}
