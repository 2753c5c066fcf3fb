/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/outfit.h"
#include "tests/harness.h"
#include "tests/raw.h"

#include "proto/util.h"

#include <sys/stat.h>

#define N_CLIENTS 20

static struct harness_server server;

START_TEST(test_make)
{
	struct outfit outfit = OUTFIT_NONE;

	ck_assert(!outfit_is_made(&outfit));
	outfit_deinit(&outfit);
	ck_assert_int_eq(outfit_make(&outfit), 0);
	ck_assert(outfit_is_made(&outfit));
	ck_assert_uint_eq(outfit.board.n_slots, OUTFIT_SLOTS);
	ck_assert(!board_is_pinned(&outfit.board.slots[0]));

	/* The bell rings one way. */
	ck_assert_int_eq(channel_send(outfit.client_bell, "x", 1, NULL, 0), -EPIPE);
	ck_assert_int_eq(channel_send(outfit.bell, "x", 1, NULL, 0), 0);
	ck_assert_int_eq(channel_wait(outfit.client_bell, POLLIN, 0), 1);
	outfit_deinit(&outfit);
	ck_assert(!outfit_is_made(&outfit));
}
END_TEST

/* Comes, and leaves a mark on its board, where there was none. The board's descriptor. */
static int come(struct raw *raw)
{
	int fd;

	raw_start(raw, &server, "client");
	fd = take_fd(&raw->packet->descriptors[0]);
	for (uint32_t i = 0; i < raw->board.n_slots; i++)
		ck_assert_uint_eq(atomic_load(&raw->board.slots[i].state), 0);
	atomic_store(&raw->board.slots[0].state, 1);
	return fd;
}

/* Whether another outfit was ready, or none, no two clients ever have the same board. */
START_TEST(test_each_its_own)
{
	struct raw raws[N_CLIENTS];
	struct stat stats[N_CLIENTS];
	int fds[N_CLIENTS];

	harness_start(&server, NULL);
	for (int i = 0; i < N_CLIENTS; i++) {
		fds[i] = come(&raws[i]);
		ck_assert_int_eq(fstat(fds[i], &stats[i]), 0);
		for (int k = 0; k < i; k++)
			ck_assert(stats[k].st_ino != stats[i].st_ino);
		/* Half of them leave at once, two in turn. */
		if (i % 4 >= 2)
			raw_close(&raws[i]);
	}
	for (int i = 0; i < N_CLIENTS; i++) {
		if (i % 4 < 2)
			raw_close(&raws[i]);
		close_fd(fds[i]);
	}
	harness_stop(&server);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("outfit");

	HARNESS_CASE(suite, "outfit", test_make, test_each_its_own);
	return harness_run(suite);
}
