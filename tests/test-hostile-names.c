/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names of what is not theirs: files that another client has open, that were closed, that the server has let go of, or that never
 * were; and slots of others, with generations of before and to come. Nobody gets anything for it, and nobody loses what is theirs.
 */
#include "config.h"

#include "tests/hostile.h"

#include <sys/stat.h>

#define ROUNDS    10
#define OTHER_UID 65534

/*
 * Asks for something to be done with a file, which has to be refused, or where it was let go of, and only leased, to be opened
 * again.
 */
static void must_not_have(struct raw *villain, struct message request, struct tally *tally)
{
	char sentence[MESSAGE_MAX_TEXT + 1];
	struct message answer;

	tally->times++;
	raw_ask(villain, &request, -1, &answer);
	if (request.type == MESSAGE_LEASE && answer.type == MESSAGE_REOPEN)
		return;
	raw_assert_error(&answer, EBADF, sentence);
	tally->refusals++;
}

static void try_file(struct raw *villain, uint64_t file, struct tally *tally)
{
	for (int twice = 0; twice < 2; twice++) {
		must_not_have(villain, raw_lease_request(file, 0, 1, RAW_LONG_MS), tally);
		must_not_have(villain, raw_lease_request(file, HONEST_WINDOW, UINT64_MAX, RAW_LONG_MS), tally);
		must_not_have(villain, raw_close_request(file), tally);
	}
}

/* A lease that somebody has, and requires that it stays so. */
struct held {
	struct raw raw;
	uint64_t file;
	struct message_leased leased;
};

static void hold(struct held *held, const char *name, const char *path)
{
	raw_start(&held->raw, &hostile_server, name);
	held->file = 0;
	held->leased = villain_lease(&held->raw, &held->file, path, HONEST_WINDOW, 1);
}

static uint32_t generation_on_board(const struct held *held)
{
	return *board_watch(&held->raw.board.slots[held->leased.lease.slot]);
}

/* After all that the villain has sent was taken. */
static void assert_held(struct held *held, struct raw *villain)
{
	raw_status(villain, FIGURES_WAITING, 0);
	ck_assert_uint_eq(generation_on_board(held), held->leased.lease.generation);
	ck_assert(board_is_pinned(&held->raw.board.slots[held->leased.lease.slot]));
}

static void release(struct raw *villain, uint32_t slot, uint32_t generation, struct tally *tally)
{
	tally->times++;
	/* Nobody answers, so there may be more than the socket holds. */
	ck_assert_int_eq(channel_wait(villain->socket, POLLOUT, RAW_PATIENCE_MS), 1);
	raw_release(villain, &(struct slot_ref){.slot = slot, .generation = generation});
}

/* ---- files ---- */

static void try_others_files(struct tally *tally)
{
	struct held owner;
	struct raw thief;

	hold(&owner, "owner", honest_path(3));
	raw_start(&thief, &hostile_server, "thief");
	for (int i = 0; i < ROUNDS; i++) {
		/* What the owner has, what the honest ones have or had, what nobody has yet. */
		try_file(&thief, owner.file, tally);
		try_file(&thief, 0, tally);
		try_file(&thief, 1 + harness_random() % (owner.file + 10), tally);
		for (unsigned bit = 0; bit < 64; bit++)
			if ((owner.file ^ (UINT64_C(1) << bit)) > owner.file + 100)
				try_file(&thief, owner.file ^ (UINT64_C(1) << bit), tally);
		try_file(&thief, UINT64_MAX, tally);
		assert_held(&owner, &thief);
	}
	raw_close(&thief);
	raw_close(&owner.raw);
}

START_TEST(test_others_files)
{
	hostile_start(NULL);
	hostile_run("files of others", try_others_files);
	hostile_stop();
}
END_TEST

static void try_after_close(struct tally *tally)
{
	for (int i = 0; i < ROUNDS; i++) {
		struct held held;

		/* As often as it was opened, and not once more. The lease stays. */
		hold(&held, "closer", honest_path(4));
		ck_assert_uint_eq(raw_open(&held.raw, honest_path(4)), held.file);
		raw_close_file(&held.raw, held.file);
		raw_close_file(&held.raw, held.file);
		try_file(&held.raw, held.file, tally);
		assert_held(&held, &held.raw);

		/* Its own lease it can still give back, once; the second time names nothing. */
		release(&held.raw, held.leased.lease.slot, held.leased.lease.generation, tally);
		release(&held.raw, held.leased.lease.slot, held.leased.lease.generation, tally);
		raw_status(&held.raw, FIGURES_WAITING, 0);
		ck_assert_uint_eq(generation_on_board(&held), board_next_generation(held.leased.lease.generation));
		raw_close(&held.raw);
	}
}

START_TEST(test_after_close)
{
	hostile_start(NULL);
	hostile_run("files after CLOSE", try_after_close);
	hostile_stop();
}
END_TEST

/* ---- slots ---- */

static void try_others_slots(struct tally *tally)
{
	struct held owner, thief;
	struct slot_ref lease;

	hold(&owner, "owner", honest_path(5));
	hold(&thief, "thief", honest_path(6));
	lease = thief.leased.lease;
	for (int i = 0; i < ROUNDS; i++) {
		/* Those that the others have had, and the thief has not, and its own with any generation but the right one. */
		for (uint32_t slot = 0; slot < 64; slot++)
			for (uint32_t generation = 0; generation < 8; generation++)
				if (slot != lease.slot || generation != lease.generation)
					release(&thief.raw, slot, generation, tally);
		for (unsigned bit = 0; bit < 32; bit++) {
			release(&thief.raw, lease.slot ^ (UINT32_C(1) << bit), lease.generation, tally);
			release(&thief.raw, lease.slot, lease.generation ^ (UINT32_C(1) << bit), tally);
		}
		release(&thief.raw, thief.raw.welcome.n_slots, lease.generation, tally);
		release(&thief.raw, UINT32_MAX, UINT32_MAX, tally);
		assert_held(&thief, &thief.raw);
		assert_held(&owner, &thief.raw);
	}
	raw_close(&thief.raw);
	raw_close(&owner.raw);
}

START_TEST(test_others_slots)
{
	hostile_start(NULL);
	hostile_run("slots of others", try_others_slots);
	hostile_stop();
}
END_TEST

/* One list with the same lease in all of its places; and then that list again, when the slot has another lease. */
static void release_often(struct tally *tally)
{
	struct held held;

	hold(&held, "twice", honest_path(7));
	for (int i = 0; i < ROUNDS; i++) {
		struct message request = {.type = MESSAGE_RELEASE, .release = {.slots = {.n = MESSAGE_MAX_SLOTS}}};

		for (uint32_t k = 0; k < MESSAGE_MAX_SLOTS; k++)
			request.release.slots.refs[k] = held.leased.lease;
		raw_send(&held.raw, &request, -1);
		held.leased = villain_lease(&held.raw, &held.file, honest_path(7), 0, HONEST_SIZE);
		raw_send(&held.raw, &request, -1);
		assert_held(&held, &held.raw);
		tally->times += 2 * MESSAGE_MAX_SLOTS;
	}
	raw_close(&held.raw);
}

START_TEST(test_release_often)
{
	hostile_start(NULL);
	hostile_run("slots given back more than once", release_often);
	hostile_stop();
}
END_TEST

/* ---- another user ---- */

static uint64_t freed(struct raw *villain, struct message request)
{
	struct message answer;

	raw_ask(villain, &request, -1, &answer);
	ck_assert_uint_eq(answer.type, MESSAGE_FREED);
	return answer.freed.bytes;
}

static void try_as_another(struct tally *tally)
{
	struct held owner;
	struct raw thief;

	hold(&owner, "owner", honest_path(8));
	ck_assert_int_eq(seteuid(OTHER_UID), 0);
	raw_start(&thief, &hostile_server, "thief");
	ck_assert_int_eq(seteuid(0), 0);
	for (int i = 0; i < ROUNDS; i++) {
		try_file(&thief, owner.file, tally);
		release(&thief, owner.leased.lease.slot, owner.leased.lease.generation, tally);
		ck_assert_uint_eq(freed(&thief, (struct message){.type = MESSAGE_COLLECT}), 0);
		ck_assert_uint_eq(freed(&thief, (struct message){.type = MESSAGE_DROP, .drop = {.path = text_of("/")}}), 0);
		ck_assert_uint_eq(raw_status(&thief, FIGURES_FILES, 0).rows.length, 0);
		assert_held(&owner, &thief);
	}
	raw_close(&thief);
	raw_close(&owner.raw);
}

START_TEST(test_another_user)
{
	/* It takes root to be two users. */
	if (!harness_is_root())
		return;
	ck_assert_int_eq(chmod(".", 0755), 0);
	hostile_start(NULL);
	hostile_run("what is another user's", try_as_another);
	hostile_stop();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("hostile-names");

	HARNESS_CASE(suite, "names", test_others_files, test_after_close, test_others_slots, test_release_often, test_another_user);
	return harness_run(suite);
}
