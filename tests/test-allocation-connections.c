/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * No memory, at each allocation in turn that the server makes for a client that comes: it has a connection at which everything is as it should
 * be, or an error, or none; and then the same is served, and nothing is left of it. To let a client go takes no memory.
 */
#include "config.h"

#include "tests/scarce.h"

#define WINDOW SCARCE_WINDOW

/* Another user, whom the server does not know yet; where there is none, the same. */
#define NOBODY 65534

/* Whether there is a client now, at which everything is as it should be. */
static bool come(void)
{
	struct message hello = {.type = MESSAGE_HELLO, .hello = {.version = PROTOCOL_VERSION, .name = text_of("subject")}}, answer;

	ck_assert(seteuid(NOBODY) == 0 || errno == EPERM);
	raw_connect(&subject, &harness);
	ck_assert(seteuid(getuid()) == 0);
	scarce_send(&subject, &hello, -1);
	scarce_await_answer(&answer);
	if (answer.type == MESSAGE_ERROR) {
		char sentence[MESSAGE_MAX_TEXT + 1];

		raw_assert_error(&answer, ENOMEM, sentence);
		return false;
	}
	if (!answer.type)
		return false;
	ck_assert_uint_eq(answer.type, MESSAGE_WELCOME);
	ck_assert_int_eq(board_attach(&subject.board, answer.welcome.n_slots, subject.packet->descriptors[0]), 0);
	ck_assert_int_eq(pulse_attach(&subject.pulse, subject.packet->descriptors[1]), 0);
	subject.bell = take_fd(&subject.packet->descriptors[2]);
	return true;
}

/* One that has come before has the outfit that was ready. */
START_TEST(test_connection)
{
	uint64_t number = 0;
	bool failed, there;

	scarce_start();
	do {
		raw_start(&other, &harness, "other");
		allocation_fail(number);
		there = come();
		failed = allocation_end();
		ck_assert(failed || there);
		raw_close(&subject);
		scarce_await_clients(2);
		ck_assert(come());
		raw_close(&subject);
		raw_close(&other);
		scarce_assert_nothing_left("HELLO", number);
		ck_assert_uint_lt(++number, SCARCE_MANY_ALLOCATIONS);
	} while (failed || number == 1);
	/* At the least there are a peer, an account and a board. */
	ck_assert_uint_gt(number, 4);
	printf("HELLO: each of %ju allocations has failed\n", (uintmax_t)number - 2);
	scarce_stop();
}
END_TEST

/* When a client has gone an outfit is made for the next. Where that fails, the next is served all the same. */
START_TEST(test_spare)
{
	uint64_t number = 0;
	bool failed, there;

	scarce_start();
	do {
		raw_start(&other, &harness, "other");
		allocation_fail(++number);
		close_fdp(&other.socket);
		ck_assert_int_eq(channel_wait(other.bell, POLLIN, RAW_PATIENCE_MS), 1);
		there = come();
		failed = allocation_end();
		ck_assert(failed || there);
		if (there)
			scarce_lease_one();
		/* The first to fail is the map of the spare board. */
		ck_assert(there || number > 1);
		raw_close(&subject);
		raw_close(&other);
		scarce_assert_nothing_left("a spare outfit", number);
		ck_assert_uint_lt(number, SCARCE_MANY_ALLOCATIONS);
	} while (failed);
	scarce_stop();
}
END_TEST

/* So many that whatever grows with their number has to grow. */
START_TEST(test_many_connections)
{
	struct raw crowd[40];
	bool failed;

	scarce_start();
	for (size_t i = 0; i < sizeof(crowd) / sizeof(crowd[0]); i++) {
		uint64_t number = 1;

		do {
			bool there;

			allocation_fail(number++);
			there = come();
			failed = allocation_end();
			ck_assert(failed || there);
			if (failed)
				raw_close(&subject);
		} while (failed);
		crowd[i] = subject;
		scarce_await_clients(i + 2);
	}
	for (size_t i = 0; i < sizeof(crowd) / sizeof(crowd[0]); i++)
		raw_close(&crowd[i]);
	scarce_await_clients(1);
	scarce_stop();
}
END_TEST

static void leave_waiting(void)
{
	scarce_open_a();
	raw_send_lease(&subject, subject_file, 0, WINDOW, RAW_LONG_MS);
	raw_await_waits(&observer, raw_summary(&observer).waits ? raw_summary(&observer).waits : 1);
}

/* The server closes its end of the bell when the client's end is done with. */
START_TEST(test_end)
{
	static void (*const ends[])(void) = {scarce_lease_one, leave_waiting};
	struct raw passer;

	scarce_start();
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		raw_start(&other, &harness, "other");
		scarce_lease_idle(&other, scarce_open(&other, "b"), 0, 2);
		if (ends[i] == leave_waiting)
			raw_lease(&other, scarce_open(&other, "b"), 0, 4 * WINDOW);
		raw_start(&subject, &harness, "subject");
		/* After this one there is an outfit for the next client, and none is made. */
		raw_start(&passer, &harness, "passer");
		raw_close(&passer);
		scarce_await_clients(3);
		ends[i]();
		allocation_fail(1);
		close_fdp(&subject.socket);
		ck_assert_int_eq(channel_wait(subject.bell, POLLIN, RAW_PATIENCE_MS), 1);
		/* To go needs no memory. */
		ck_assert(!allocation_end());
		ck_assert_uint_eq(scarce_look().clients, 2);
		scarce_end();
		scarce_assert_nothing_left("the end", i);
	}
	scarce_stop();
}
END_TEST

Suite *suite(void);

Suite *suite(void)
{
	Suite *s = suite_create("allocation for connections");

	HARNESS_CASE(s, "connections", test_connection, test_spare, test_many_connections, test_end);
	return s;
}

int main(void)
{
	return allocation_run(suite);
}
