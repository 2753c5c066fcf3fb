/* SPDX-License-Identifier: BSD-3-Clause */
/* The board: pins, claims and generations of one slot, and what a hostile other side can do to them. */
#include "config.h"

#include "proto/board.h"
#include "tests/harness.h"

#include "proto/util.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define N_PINNERS 2
#define N_CLAIMS  100

static struct board board;
static struct board_slot *slot;

static void start(void)
{
	int fd;

	ck_assert_int_eq(board_create(&board, 64, &fd), 0);
	close(fd);
	slot = &board.slots[63];
}

static void stop(void)
{
	board_deinit(&board);
	ck_assert_ptr_null(board.slots);
	board_deinit(&board);
}

/* The pins as the state has them. */
static unsigned pins(void)
{
	return atomic_load(&slot->state) & 0xffffff;
}

/* ---- tests ---- */

START_TEST(test_pins)
{
	start();
	ck_assert_uint_eq(atomic_load(&slot->state), 0);
	ck_assert(!board_is_pinned(slot) && !board_is_stale(slot));
	board_grant(slot, 7);
	ck_assert(board_is_pinned(slot));
	ck_assert_uint_eq(board_pinned_since(slot), 7);
	ck_assert_uint_eq(board_hits(slot), 0);

	/* The second of the oldest pin stays, until there is none. */
	ck_assert(board_pin(slot, 0, 8));
	board_pin_again(slot);
	ck_assert_uint_eq(pins(), 3);
	ck_assert_uint_eq(board_pinned_since(slot), 7);
	ck_assert_uint_eq(board_hits(slot), 1);
	board_unpin(slot, 100);
	board_unpin(slot, 101);
	ck_assert(board_is_pinned(slot));
	board_unpin(slot, 102);
	ck_assert(!board_is_pinned(slot));
	ck_assert_uint_eq(board_last_used(slot), 102);
	ck_assert(board_pin(slot, 0, 9));
	ck_assert_uint_eq(board_pinned_since(slot), 9);
	ck_assert_uint_eq(board_hits(slot), 2);
	board_unpin(slot, 103);

	/* Its neighbour has seen nothing of it. */
	ck_assert_uint_eq(atomic_load(&board.slots[62].state), 0);
	stop();
}
END_TEST

/* A pin beside those of others, whatever the lease is, as long as it is not to go. */
START_TEST(test_pin_pinned)
{
	start();
	ck_assert(!board_pin_pinned(slot));
	ck_assert_uint_eq(pins(), 0);
	board_grant(slot, 7);
	ck_assert(board_pin_pinned(slot));
	ck_assert_uint_eq(pins(), 2);
	board_mark_stale(slot);
	ck_assert(board_pin_pinned(slot));
	ck_assert_uint_eq(pins(), 3);
	ck_assert_uint_eq(board_hits(slot), 0);
	for (int i = 0; i < 3; i++)
		board_unpin(slot, 50);

	/* What is claimed has only pins that are being undone. */
	for (int side = 0; side < 2; side++) {
		ck_assert_int_eq(board_claim(slot, side ? BOARD_SERVER : BOARD_CLIENT), BOARD_CLAIM_WON);
		board_pin_again(slot);
		ck_assert(!board_pin_pinned(slot));
		ck_assert_uint_eq(pins(), 1);
		board_unpin(slot, 51);
		board_free(slot);
	}
	stop();
}
END_TEST

START_TEST(test_generation)
{
	start();
	for (uint32_t generation = 0; generation < 3; generation++) {
		board_grant(slot, 1);
		board_unpin(slot, 50);
		ck_assert(!board_pin(slot, generation + 1, 1));
		ck_assert(!board_pin(slot, generation - 1, 1));
		ck_assert(!board_is_pinned(slot));
		ck_assert(board_pin(slot, generation, 1));
		ck_assert_uint_eq(*board_watch(slot), generation);
		board_unpin(slot, 51);
		ck_assert_int_eq(board_claim(slot, BOARD_SERVER), BOARD_CLAIM_WON);
		board_mark_stale(slot);
		board_free(slot);

		/* A pin that comes late fails and leaves nothing behind. */
		ck_assert(!board_pin(slot, generation, 1));
		ck_assert(!board_is_pinned(slot) && !board_is_stale(slot));
		ck_assert_uint_eq(board_last_used(slot), 0);
		ck_assert_uint_eq(board_hits(slot), 0);
	}
	ck_assert_uint_eq(atomic_load(&slot->state) >> 32, 3);

	/* After the last generation comes the first. */
	for (int stale = 0; stale < 2; stale++) {
		atomic_store(&slot->state, (uint64_t)INT32_MAX << 32);
		ck_assert(board_pin(slot, INT32_MAX, 1));
		board_unpin(slot, 1);
		if (stale)
			board_mark_stale(slot);
		board_free(slot);
		ck_assert_uint_eq(atomic_load(&slot->state), 0);
		ck_assert(!board_pin(slot, INT32_MAX, 1));
		ck_assert(board_pin(slot, 0, 1));
	}
	ck_assert_uint_eq(board_next_generation(1), 2);
	ck_assert_uint_eq(board_next_generation(INT32_MAX), 0);
	stop();
}
END_TEST

/* One that is just being undone while the slot is freed: its end must not take a pin of the next lease. */
START_TEST(test_free_keeps_transient_pins)
{
	start();
	board_grant(slot, 1);
	board_unpin(slot, 1);
	ck_assert_int_eq(board_claim(slot, BOARD_SERVER), BOARD_CLAIM_WON);
	atomic_fetch_add(&slot->state, 1); /* the first half of a pin that will fail */
	board_free(slot);
	ck_assert_uint_eq(pins(), 1);
	board_grant(slot, 1);
	atomic_fetch_sub(&slot->state, 1); /* the second half */
	ck_assert_uint_eq(pins(), 1);
	ck_assert_int_eq(board_claim(slot, BOARD_SERVER), BOARD_CLAIM_PINNED);
	stop();
}
END_TEST

START_TEST(test_claim)
{
	static const enum board_side sides[] = {BOARD_SERVER, BOARD_CLIENT};

	start();
	for (int i = 0; i < 2; i++) {
		uint32_t generation = (uint32_t)i;

		board_grant(slot, 1);
		ck_assert_int_eq(board_claim(slot, sides[i]), BOARD_CLAIM_PINNED);
		ck_assert(board_pin(slot, generation, 1));
		board_unpin(slot, 20);
		ck_assert_int_eq(board_claim(slot, sides[i]), BOARD_CLAIM_PINNED);
		board_unpin(slot, 21);
		ck_assert_int_eq(board_claim(slot, sides[i]), BOARD_CLAIM_WON);
		/* Once, whoever asks; and no pin any more. */
		ck_assert_int_eq(board_claim(slot, sides[i]), BOARD_CLAIM_CLAIMED);
		ck_assert_int_eq(board_claim(slot, sides[1 - i]), BOARD_CLAIM_CLAIMED);
		ck_assert(!board_pin(slot, generation, 1));
		ck_assert(!board_is_pinned(slot));
		ck_assert_uint_eq(board_last_used(slot), 21);
		/* A claim beside a transient pin is still a claim. */
		atomic_fetch_add(&slot->state, 1);
		ck_assert_int_eq(board_claim(slot, sides[1 - i]), BOARD_CLAIM_CLAIMED);
		atomic_fetch_sub(&slot->state, 1);
		board_free(slot);
	}

	/* The bit tells whose it is. */
	ck_assert_int_eq(board_claim(slot, BOARD_SERVER), BOARD_CLAIM_WON);
	ck_assert_uint_eq(atomic_load(&slot->state), UINT64_C(2) << 32 | UINT64_C(1) << 24);
	board_free(slot);
	ck_assert_int_eq(board_claim(slot, BOARD_CLIENT), BOARD_CLAIM_WON);
	ck_assert_uint_eq(atomic_load(&slot->state), UINT64_C(3) << 32 | UINT64_C(1) << 25);
	stop();
}
END_TEST

START_TEST(test_stale)
{
	start();
	board_grant(slot, 1);
	board_mark_stale(slot);
	ck_assert(board_is_stale(slot) && board_is_pinned(slot));
	ck_assert_uint_ne(*board_watch(slot), 0);
	/* Who stands on it stays there, and may add to that. */
	ck_assert(!board_pin(slot, 0, 1));
	board_pin_again(slot);
	ck_assert_uint_eq(pins(), 2);
	board_unpin(slot, 1);
	ck_assert_int_eq(board_claim(slot, BOARD_SERVER), BOARD_CLAIM_PINNED);
	board_unpin(slot, 1);
	ck_assert(!board_pin(slot, 0, 1));
	/* A claim keeps the other bits. */
	ck_assert_int_eq(board_claim(slot, BOARD_SERVER), BOARD_CLAIM_WON);
	ck_assert(board_is_stale(slot));
	board_free(slot);
	ck_assert(!board_is_stale(slot));
	ck_assert(board_pin(slot, 1, 1));
	stop();
}
END_TEST

/* The mark stays with its lease, and is nothing to a pin that comes late. */
START_TEST(test_unmapped)
{
	start();
	ck_assert(!board_is_unmapped(slot));
	ck_assert_int_eq(board_claim(slot, BOARD_SERVER), BOARD_CLAIM_WON);
	ck_assert(!board_is_unmapped(slot));
	board_mark_unmapped(slot);
	ck_assert(board_is_unmapped(slot) && board_is_claimed(slot, 0) && !board_is_stale(slot));
	ck_assert(!board_pin(slot, 0, 1));
	ck_assert_uint_eq(pins(), 0);
	ck_assert(board_is_unmapped(slot));
	board_free(slot);
	ck_assert(!board_is_unmapped(slot) && !board_is_claimed(slot, 1));
	ck_assert(board_pin(slot, 1, 1));
	stop();
}
END_TEST

/* Whatever is in the words, each operation of the server does one thing and returns. */
START_TEST(test_hostile)
{
	start();
	for (int i = 0; i < 20000; i++) {
		uint64_t value = i < 64 ? UINT64_C(1) << i : i < 128 ? ~(UINT64_C(1) << (i - 64)) : harness_random();
		uint64_t state = i == 128 ? UINT64_MAX : i == 129 ? 0 : value;
		enum board_claim claim, expected;

		atomic_store(&slot->state, state);
		atomic_store(&slot->last_used, harness_random());
		atomic_store(&slot->hits, harness_random());
		atomic_store(&slot->pinned_since, (uint32_t)harness_random());

		ck_assert_int_eq(board_is_pinned(slot), (state & 0xffffff) != 0);
		ck_assert_int_eq(board_is_stale(slot), (state >> 63) != 0);
		(void)board_last_used(slot);
		(void)board_hits(slot);
		(void)board_pinned_since(slot);
		expected = state >> 24 & 3 ? BOARD_CLAIM_CLAIMED : state & 0xffffff ? BOARD_CLAIM_PINNED : BOARD_CLAIM_WON;
		claim = board_claim(slot, BOARD_SERVER);
		ck_assert_int_eq(claim, expected);
		ck_assert_uint_eq(atomic_load(&slot->state), claim == BOARD_CLAIM_WON ? state | UINT64_C(1) << 24 : state);
		board_mark_stale(slot);
		board_grant(slot, 1);
		board_free(slot);
		ck_assert_uint_eq(atomic_load(&slot->state) >> 24 & 3, 0);
		ck_assert(!board_is_stale(slot));
		ck_assert_uint_eq(board_last_used(slot), 0);
		ck_assert_uint_eq(board_hits(slot), 0);
	}
	stop();
}
END_TEST

/* ---- shared ---- */

START_TEST(test_attach)
{
	struct board theirs = {0};
	struct stat st;
	int fd;

	ck_assert_int_eq(board_create(&board, 65, &fd), 0);
	ck_assert_uint_eq(board.n_slots, 65);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_uint_eq((uint64_t)st.st_size, round_up(65 * 64, page_size()));
	ck_assert_int_eq(board_attach(&theirs, 65, fd), 0);
	ck_assert_ptr_ne(theirs.slots, board.slots);
	ck_assert_uint_eq((uintptr_t)theirs.slots % 64, 0);

	/* Both write to the same memory. */
	board_grant(&board.slots[64], 3);
	ck_assert(board_is_pinned(&theirs.slots[64]));
	board_unpin(&theirs.slots[64], 77);
	ck_assert(!board_is_pinned(&board.slots[64]));
	ck_assert_uint_eq(board_last_used(&board.slots[64]), 77);

	/* One that is forgotten is another, and of no generation. */
	board_free(&board.slots[64]);
	board_forget(&theirs);
	ck_assert_uint_eq(*board_watch(&theirs.slots[64]), 0);
	board_grant(&theirs.slots[64], 3);
	ck_assert(!board_is_pinned(&board.slots[64]));
	ck_assert_uint_eq(*board_watch(&board.slots[64]), 1);
	board_forget(&(struct board){0});

	/* Nobody can take the memory away. */
	ck_assert_int_eq(ftruncate(fd, 0), -1);
	ck_assert_int_eq(errno, EPERM);
	ck_assert_int_eq(ftruncate(fd, st.st_size + 1), -1);
	ck_assert_int_eq(errno, EPERM);
	board_deinit(&theirs);

	/* Of another size: a slot more than there are pages, or a page less. */
	ck_assert_int_eq(board_attach(&theirs, (uint32_t)(st.st_size / 64), fd), 0);
	board_deinit(&theirs);
	ck_assert_int_eq(board_attach(&theirs, (uint32_t)(st.st_size / 64) + 1, fd), -EPROTO);
	ck_assert_int_eq(board_attach(&theirs, (uint32_t)((uint64_t)st.st_size - page_size()) / 64, fd), -EPROTO);
	ck_assert_int_eq(board_attach(&theirs, 0, fd), -EPROTO);
	ck_assert_int_eq(board_attach(&theirs, UINT32_MAX, fd), -EPROTO);
	ck_assert_ptr_null(theirs.slots);
	close(fd);
	stop();
}
END_TEST

START_TEST(test_attach_unsealed)
{
	static const int seals[] = {0, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_SHRINK | F_SEAL_GROW};
	struct board theirs = {0};
	int fd;

	for (int i = 0; i < 4; i++) {
		fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		ck_assert_int_eq(ftruncate(fd, (off_t)page_size()), 0);
		ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, seals[i]), 0);
		ck_assert_int_eq(board_attach(&theirs, 1, fd), i == 3 ? 0 : -EPROTO);
		board_deinit(&theirs);
		close(fd);
	}
	harness_make_file("file", page_size());
	fd = open("file", O_RDWR | O_CLOEXEC);
	ck_assert_int_eq(board_attach(&theirs, 1, fd), -EPROTO);
	close(fd);
	ck_assert_int_eq(board_attach(&theirs, 1, -1), -EPROTO);
}
END_TEST

/* ---- at once ---- */

static atomic_bool taken, ended;
static atomic_uint_fast64_t n_pinned;
static _Atomic uint32_t generation;

static void *pin_again_and_again(void *data)
{
	uint64_t wrong = 0;

	while (!ended) {
		uint32_t seen = generation;

		if (!board_pin(slot, seen, 1)) {
			sched_yield();
			continue;
		}
		/* As long as the pin is there, the lease is not taken, and the generation is the one that was asked for. */
		for (int i = 0; i < 20; i++)
			wrong += taken || generation != seen;
		n_pinned++;
		board_unpin(slot, 1);
		/* Rather here than with a pin in hand, where the other would wait for a whole slice. */
		sched_yield();
	}
	*(uint64_t *)data = wrong;
	return NULL;
}

START_TEST(test_stress)
{
	pthread_t threads[N_PINNERS];
	uint64_t wrong[N_PINNERS];
	int claims = 0;

	start();
	for (int i = 0; i < N_PINNERS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, pin_again_and_again, &wrong[i]), 0);
	/* Each lease is pinned by someone before it is claimed. */
	while (claims < N_CLAIMS) {
		uint64_t before = n_pinned;

		while (n_pinned == before)
			sched_yield();
		while (board_claim(slot, BOARD_SERVER) != BOARD_CLAIM_WON)
			sched_yield();
		taken = true;
		for (int i = 0; i < 50; i++)
			ck_assert_int_eq(board_claim(slot, BOARD_CLIENT), BOARD_CLAIM_CLAIMED);
		taken = false;
		generation++;
		board_free(slot);
		claims++;
	}
	ended = true;
	for (int i = 0; i < N_PINNERS; i++) {
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
		ck_assert_uint_eq(wrong[i], 0);
	}
	ck_assert_uint_eq(atomic_load(&slot->state), (uint64_t)N_CLAIMS << 32);
	stop();
}
END_TEST

Suite *suite(void);

Suite *suite(void)
{
	Suite *s = suite_create("board");

	HARNESS_CASE(s, "slot", test_pins, test_pin_pinned, test_generation, test_free_keeps_transient_pins, test_claim, test_stale,
		     test_unmapped, test_hostile);
	HARNESS_CASE(s, "shared", test_attach, test_attach_unsealed);
	HARNESS_CASE(s, "at once", test_stress);
	return s;
}

int main(void)
{
	return harness_run(suite());
}
