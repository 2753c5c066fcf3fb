/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client's board is a client's to write. Villains fill all words of all slots with every pattern, while the server takes back
 * what they lease there; and one pins all that it may for ever. They hold at most their quota, and others go on.
 */
#include "config.h"

#include "tests/hostile.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define LEASES    6 /* at once: the honest ones find room beside them */
#define EVICTIONS 4 /* that are awaited after each step: in a few steps, all that is idle was evicted once */
#define ROUND     20
#define SLOTS     32
#define WORDS     (sizeof(struct board_slot) / sizeof(uint64_t))
#define SCRIBBLES 60
#define WRITERS   2
#define OWN_FILE  "own" /* that no honest one reads: nothing but the board keeps it from being recalled */

/* ---- patterns ---- */

/* The bits that mean something; see proto/board.h. */
#define CLAIMED_BY_SERVER (UINT64_C(1) << 24)
#define CLAIMED_BY_CLIENT (UINT64_C(1) << 25)
#define STALE             (UINT64_C(1) << 63)
#define GENERATION(n)     ((uint64_t)(n) << 32)

static const uint64_t patterns[] = {
	0, UINT64_MAX, CLAIMED_BY_SERVER, CLAIMED_BY_CLIENT, CLAIMED_BY_SERVER | CLAIMED_BY_CLIENT, STALE,
	GENERATION(1), GENERATION(2), GENERATION(1) | 1, GENERATION(1) | CLAIMED_BY_SERVER, GENERATION(1) | CLAIMED_BY_CLIENT,
	GENERATION(1) | CLAIMED_BY_SERVER | 1, GENERATION(1) | STALE, GENERATION(0x7fffffff), GENERATION(0x7fffffff) | 0xffffff,
	0xffffff, 0x800000, INT64_MAX, UINT32_MAX, UINT64_C(0xaaaaaaaaaaaaaaaa), UINT64_C(0x5555555555555555),
};

#define N_PATTERNS (sizeof(patterns) / sizeof(patterns[0]))
#define N_VALUES   (N_PATTERNS + 64)

/* The patterns, and behind them each single bit. */
static uint64_t value_of(size_t i)
{
	return i < N_PATTERNS ? patterns[i] : UINT64_C(1) << (i - N_PATTERNS) % 64;
}

static _Atomic uint64_t *word_of(const struct raw *villain, uint32_t slot, size_t word)
{
	return (_Atomic uint64_t *)(void *)&villain->board.slots[slot] + word;
}

/* ---- a villain with leases ---- */

static struct raw villain;
static uint64_t file;
static struct slot_ref leases[LEASES];

static void start_villain(void)
{
	file = 0;
	raw_start(&villain, &hostile_server, "scribbler");
}

/* As far as the board tells by itself, they are idle. */
static void take_leases(void)
{
	for (unsigned i = 0; i < LEASES; i++) {
		leases[i] = villain_lease(&villain, &file, honest_path(2), i % 5 * HONEST_WINDOW, 1).lease;
		raw_unpin(&villain, &leases[i]);
	}
}

static void give_back(void)
{
	for (unsigned i = 0; i < LEASES; i++)
		raw_release(&villain, &leases[i]);
}

/* Until the server has evicted on, whether or not it got what the villain has. How much that was. */
static uint64_t await_evictions(unsigned n)
{
	uint64_t before = raw_summary(&hostile_observer).evictions, heard = 0;

	while (raw_summary(&hostile_observer).evictions < before + n)
		heard += villain_hear(&villain);
	return heard + villain_hear(&villain);
}

/* ---- every value of every word ---- */

static void fill_board(size_t first_word, size_t n_words, uint64_t value)
{
	for (uint32_t slot = 0; slot < SLOTS; slot++)
		for (size_t word = first_word; word < first_word + n_words; word++)
			atomic_store(word_of(&villain, slot, word), value);
}

/* Value after value, in the same leases as long as they last: they get old, and their turn to be taken back comes. */
static uint64_t write_values(size_t first_word, size_t n_words)
{
	uint64_t heard = 0;

	fill_board(0, WORDS, 0);
	take_leases();
	for (size_t i = 0; i < N_VALUES; i++) {
		uint64_t now;

		fill_board(first_word, n_words, value_of(i));
		now = await_evictions(EVICTIONS);
		heard += now;
		if (!now && i % ROUND)
			continue;
		give_back();
		take_leases();
	}
	give_back();
	return heard;
}

static void write_every_value(struct tally *tally)
{
	uint64_t heard = 0;

	start_villain();
	/* Each word alone, and all. */
	for (size_t word = 0; word < WORDS / 2; word++)
		heard += write_values(word, 1);
	heard += write_values(0, WORDS);
	ck_assert_uint_gt(heard, 0);
	raw_close(&villain);
	tally->times += (WORDS / 2 + 1) * N_VALUES;
}

/* A value while the server waits for what it has recalled: behind the bell, and before that is given back. */
static void write_while_recalled(size_t first_word, size_t n_words, uint64_t value)
{
	struct message drop = {.type = MESSAGE_DROP, .drop = {.path = text_of(OWN_FILE)}}, message;

	fill_board(0, WORDS, 0);
	for (unsigned i = 0; i < LEASES; i++) {
		leases[i] = villain_lease(&villain, &file, OWN_FILE, i * HONEST_WINDOW, 1).lease;
		raw_unpin(&villain, &leases[i]);
	}
	raw_send(&hostile_observer, &drop, -1);
	raw_receive_on(&villain, villain.bell, &message);
	ck_assert_uint_eq(message.type, MESSAGE_RECALL);
	ck_assert_uint_gt(message.recall.slots.n, 0);
	fill_board(first_word, n_words, value);
	/* The server looks at it meanwhile. */
	raw_status(&villain, FIGURES_PINS, 0);
	give_back();
	raw_receive(&hostile_observer, &message);
	ck_assert_uint_eq(message.type, MESSAGE_FREED);
	/* The next bell is for the next value. */
	villain_hear(&villain);
}

static void write_every_value_late(struct tally *tally)
{
	start_villain();
	for (size_t i = 0; i < N_VALUES; i++, tally->times += WORDS / 2 + 1) {
		for (size_t word = 0; word < WORDS / 2; word++)
			write_while_recalled(word, 1, value_of(i));
		write_while_recalled(0, WORDS, value_of(i));
	}
	raw_close(&villain);
}

START_TEST(test_every_value)
{
	hostile_start(NULL);
	hostile_run("boards with each value in each word", write_every_value);
	hostile_stop();
}
END_TEST

START_TEST(test_every_value_late)
{
	harness_make_file(OWN_FILE, LEASES * HONEST_WINDOW);
	hostile_start(NULL);
	hostile_run("boards with each value in each word, while leases are recalled", write_every_value_late);
	hostile_stop();
}
END_TEST

/* ---- without pause ---- */

static atomic_bool stop;
static _Atomic uint64_t n_written;

/* The first writer goes through all patterns, the others write at random. */
static void *scribble(void *data)
{
	uint64_t random = *(const uint64_t *)data, n = 0;

	for (size_t i = 0; !atomic_load_explicit(&stop, memory_order_relaxed); i++) {
		uint64_t value = value_of(i % N_VALUES);

		random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		if (random >> 63)
			value = random >> 32 | random << 32;
		for (uint32_t slot = 0; slot < SLOTS; slot++)
			for (size_t word = 0; word < WORDS; word++, n++)
				atomic_store_explicit(word_of(&villain, slot, word), value, memory_order_relaxed);
		/* Now and then it looks as if all were idle and unclaimed: then it can be recalled. */
		if (random >> 61 & 1)
			for (uint32_t slot = 0; slot < SLOTS; slot++)
				atomic_store_explicit(word_of(&villain, slot, 0), GENERATION(1), memory_order_relaxed);
	}
	atomic_fetch_add(&n_written, n);
	return NULL;
}

static void write_without_pause(struct tally *tally)
{
	uint64_t seeds[WRITERS], heard = 0;
	pthread_t threads[WRITERS];

	start_villain();
	atomic_store(&stop, false);
	atomic_store(&n_written, 0);
	for (unsigned i = 0; i < WRITERS; i++) {
		seeds[i] = harness_random();
		ck_assert_int_eq(pthread_create(&threads[i], NULL, scribble, &seeds[i]), 0);
	}
	/* What is written does not let everything be recalled: it takes as long as it takes until something was. */
	for (unsigned i = 0; i < HOSTILE_TIMES(SCRIBBLES) || !heard; i++) {
		take_leases();
		heard += await_evictions(ROUND * EVICTIONS);
		ck_assert_uint_le(raw_summary(&hostile_observer).memory_bytes, HOSTILE_MEMORY);
		give_back();
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	raw_close(&villain);
	tally->times += atomic_load(&n_written);
}

START_TEST(test_without_pause)
{
	hostile_start(NULL);
	hostile_run("words of boards written without pause", write_without_pause);
	hostile_stop();
}
END_TEST

/* Its board says that nothing is pinned and all was used just now, whatever the server does; and it never unmaps. It is ended. */
static void lie_and_stay(struct tally *tally)
{
	pthread_t thread;
	uint64_t seed = harness_random();

	start_villain();
	take_leases();
	atomic_store(&stop, false);
	ck_assert_int_eq(pthread_create(&thread, NULL, scribble, &seed), 0);
	raw_await_end(&villain);
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	raw_close(&villain);
	tally->times++;
	tally->disconnections++;
}

START_TEST(test_lie_and_stay)
{
	hostile_start(NULL);
	hostile_run("clients that write their board and never unmap", lie_and_stay);
	hostile_stop();
}
END_TEST

/* ---- all pinned, for ever ---- */

/* Pins window after window of all files, until that is refused. How many it got. */
static unsigned pin_all(struct raw *hog, int error)
{
	char sentence[MESSAGE_MAX_TEXT + 1];
	unsigned n = 0;

	for (unsigned i = 0; i < HONEST_FILES; i++) {
		uint64_t id = raw_open(hog, honest_path(i));

		for (uint64_t window = 0; window < 5; window++, n++) {
			struct message request = raw_lease_request(id, window * HONEST_WINDOW, 1, 1000), answer;

			raw_ask(hog, &request, -1, &answer);
			if (answer.type == MESSAGE_LEASED)
				continue;
			raw_assert_error(&answer, error, sentence);
			return n;
		}
	}
	ck_abort_msg("it got all");
}

#define HOG_UID 12345

/* Its user gets the quota and no more, and the others do not notice. It stays until they have gone on for a good while. */
static void pin_as_another(struct tally *tally)
{
	struct raw hog;
	unsigned n;

	ck_assert_int_eq(seteuid(HOG_UID), 0);
	raw_start(&hog, &hostile_server, "hog");
	ck_assert_int_eq(seteuid(0), 0);
	n = pin_all(&hog, EDQUOT);
	tally->refusals++;
	ck_assert_uint_eq(n, HOSTILE_MAPS * 3 / 4);
	for (int i = 0; i < 10; i++)
		hostile_await_progress();
	ck_assert_uint_gt(raw_summary(&hog).pinned_bytes, 0);
	raw_close(&hog);
	tally->times += n;
}

START_TEST(test_hog_of_another_user)
{
	/* It takes root to be two users. */
	if (!harness_is_root())
		return;
	ck_assert_int_eq(chmod(".", 0755), 0);
	hostile_start("--user-share=75%");
	hostile_run("windows that another user pins for ever", pin_as_another);
	hostile_stop();
}
END_TEST

/*
 * Where it is of the same user, that user has nothing else left. What holds then: who stands somewhere stays there, every request
 * is answered with a sentence, in time, and all goes on when it is gone.
 */
static void pin_as_the_same(struct tally *tally)
{
	struct raw standing, hog;
	struct message_leased leased;
	struct message request;
	uint64_t id = 0;
	void *map;

	/* They would have to wait longer than they do. */
	hostile_rest();
	raw_start(&standing, &hostile_server, "standing");
	leased = villain_lease(&standing, &id, honest_path(9), HONEST_WINDOW, 1);
	map = mmap(NULL, HONEST_WINDOW, PROT_READ, MAP_SHARED, standing.packet->descriptors[0], (off_t)leased.offset);
	ck_assert(map != MAP_FAILED);
	raw_start(&hog, &hostile_server, "hog");
	ck_assert_uint_eq(pin_all(&hog, ETIMEDOUT), HOSTILE_MAPS - 1);
	tally->refusals++;

	for (int i = 0; i < 3; i++, tally->refusals++) {
		request = raw_lease_request(id, 3 * HONEST_WINDOW, 1, 100);
		raw_refused(&standing, &request, -1, ETIMEDOUT);
		ck_assert(board_is_pinned(&standing.board.slots[leased.lease.slot]));
		ck_assert_uint_eq(honest_compare(map, 9, HONEST_WINDOW, HONEST_WINDOW), HONEST_WINDOW);
	}
	raw_close(&hog);
	villain_lease(&standing, &id, honest_path(9), 3 * HONEST_WINDOW, 1);
	raw_close(&standing);
	munmap(map, HONEST_WINDOW);
	hostile_resume();
	tally->times += HOSTILE_MAPS - 1;
}

START_TEST(test_hog_of_the_same_user)
{
	hostile_start(NULL);
	hostile_run("windows that a client of the same user pins for ever", pin_as_the_same);
	hostile_stop();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("hostile-board");

	HARNESS_CASE(suite, "scribbles", test_every_value, test_every_value_late, test_without_pause, test_lie_and_stay);
	HARNESS_CASE(suite, "hogs", test_hog_of_another_user, test_hog_of_the_same_user);
	return harness_run(suite);
}
