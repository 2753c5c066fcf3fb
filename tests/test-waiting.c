/* SPDX-License-Identifier: BSD-3-Clause */
/* When there is no room: what is recalled from whom, in which order, who waits for it and how long. */
#include "config.h"

#include "tests/harness.h"
#include "tests/raw.h"

#include "proto/util.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#define WINDOW 65536

static struct harness_server server;
static struct raw a, b, observer;
static uint64_t file; /* of ten windows; all three have it open */

/* A server with room for two windows, which waits so long for who does not unmap. */
static void start_with(const char *recall_timeout)
{
	harness_start(&server, "--window-size=64K", "--max-memory=128K", recall_timeout, NULL);
	harness_make_file("file", 10 * WINDOW);
	raw_start(&a, &server, "first");
	raw_start(&b, &server, "second");
	raw_start(&observer, &server, "observer");
	file = raw_open(&a, "file");
	ck_assert_uint_eq(raw_open(&b, "file"), file);
	ck_assert_uint_eq(raw_open(&observer, "file"), file);
}

/* Who is only slow, as on a machine that is, stays. */
static void start(void)
{
	start_with("--recall-timeout=1h");
}

static void stop(void)
{
	ck_assert_uint_le(raw_summary(&observer).memory_bytes, 2 * WINDOW);
	ck_assert_uint_eq(raw_summary(&observer).protocol_errors, 0);
	raw_close(&a);
	raw_close(&b);
	raw_close(&observer);
	harness_stop(&server);
}

static struct slot_ref lease_window(struct raw *raw, uint64_t window)
{
	struct message_leased leased = raw_lease(raw, file, window * WINDOW, 1);

	ck_assert_uint_eq(leased.offset, window * WINDOW);
	ck_assert_uint_eq(leased.length, WINDOW);
	ck_assert_uint_eq(leased.victims.n, 0);
	return leased.lease;
}

static void send_window(struct raw *raw, uint64_t window, uint32_t deadline_ms)
{
	raw_send_lease(raw, file, window * WINDOW, 1, deadline_ms);
}

/* Gives back a lease as soon as it is recalled. */
static void give_back(struct raw *raw, const struct slot_ref *ref)
{
	raw_await_recall(raw, ref);
	raw_release(raw, ref);
}

/* ---- pinned ---- */

static void assert_times_out(struct raw *raw, uint32_t deadline_ms, pid_t holder, const char *name)
{
	char sentence[MESSAGE_MAX_TEXT + 1], pid[32];
	struct message answer;

	send_window(raw, 9, deadline_ms);
	raw_receive(raw, &answer);
	raw_assert_error(&answer, ETIMEDOUT, sentence);
	snprintf(pid, sizeof(pid), "pid %d,", (int)holder);
	ck_assert_msg(strstr(sentence, "max-memory") && strstr(sentence, pid) && strstr(sentence, name), "it says: %s", sentence);
}

START_TEST(test_pinned_stays)
{
	struct slot_ref leases[2];

	start();
	leases[0] = lease_window(&a, 0);
	leases[1] = lease_window(&a, 1);
	assert_times_out(&b, 50, getpid(), "first");
	assert_times_out(&b, 0, getpid(), "first");
	/* Not those that ask themselves either. */
	assert_times_out(&a, 50, getpid(), "first");
	ck_assert_uint_eq(raw_summary(&observer).waits, 3);
	ck_assert_uint_eq(raw_summary(&observer).recalls, 0);
	ck_assert_uint_eq(raw_summary(&observer).evictions, 0);
	ck_assert_uint_eq(raw_summary(&observer).pinned_bytes, 2 * WINDOW);
	ck_assert_uint_eq(raw_summary(&observer).refusals, 3);
	for (int i = 0; i < 2; i++) {
		raw_unpin(&a, &leases[i]);
		ck_assert(raw_pin(&a, &leases[i]));
	}
	/* What is there already needs no room. */
	ck_assert_uint_eq(raw_lease(&b, file, 0, 2 * WINDOW).length, 2 * WINDOW);
	stop();
}
END_TEST

START_TEST(test_unprintable_name)
{
	struct raw odd;

	start();
	raw_start(&odd, &server, "odd\x1b[31m\nname");
	ck_assert_uint_eq(raw_open(&odd, "file"), file);
	ck_assert_uint_eq(raw_lease(&odd, file, 0, 2 * WINDOW).length, 2 * WINDOW);
	assert_times_out(&b, 0, getpid(), "odd");
	raw_close(&odd);
	stop();
}
END_TEST

START_TEST(test_unpin_lets_in)
{
	struct slot_ref leases[2];
	struct message_leased leased;

	start();
	leases[0] = lease_window(&a, 0);
	leases[1] = lease_window(&a, 1);
	send_window(&b, 2, RAW_LONG_MS);
	raw_await_waits(&observer, 1);
	ck_assert(!raw_is_answered(&b));

	/* The board alone tells that the pin is gone. */
	raw_unpin(&a, &leases[1]);
	raw_await_recall(&a, &leases[1]);
	ck_assert(!raw_pin(&a, &leases[1]));
	ck_assert_uint_eq(raw_summary(&observer).draining_bytes, WINDOW);
	ck_assert_uint_eq(raw_summary(&observer).memory_bytes, 2 * WINDOW);
	ck_assert(!raw_is_answered(&b));

	raw_release(&a, &leases[1]);
	leased = raw_receive_leased(&b);
	ck_assert_uint_eq(leased.offset, 2 * WINDOW);
	ck_assert_uint_eq(leased.victims.n, 0);
	ck_assert_uint_eq(raw_summary(&observer).draining_bytes, 0);
	ck_assert_uint_eq(raw_summary(&observer).evictions, 1);
	ck_assert_uint_eq(raw_summary(&observer).recalls, 1);
	/* The other lease was none of its business. */
	ck_assert(board_is_pinned(&a.board.slots[leases[0].slot]));
	ck_assert_int_eq(channel_wait(a.bell, POLLIN, 0), 0);
	stop();
}
END_TEST

/* ---- idle ---- */

START_TEST(test_idle_is_recalled)
{
	struct slot_ref lease;

	start();
	lease = lease_window(&a, 0);
	raw_unpin(&a, &lease);
	lease_window(&observer, 1);
	send_window(&b, 2, RAW_LONG_MS);
	raw_await_recall(&a, &lease);
	/* It is not there before the client says so, and it says so when it has unmapped. */
	ck_assert_uint_eq(raw_summary(&observer).draining_bytes, WINDOW);
	ck_assert(!raw_is_answered(&b));
	raw_release(&a, &lease);
	ck_assert_uint_eq(raw_receive_leased(&b).offset, 2 * WINDOW);
	stop();
}
END_TEST

START_TEST(test_shared_region_needs_all)
{
	struct slot_ref mine, theirs;

	/* A region that two clients have goes when both have let go of it. */
	start();
	mine = lease_window(&a, 0);
	theirs = lease_window(&observer, 0);
	lease_window(&b, 1);
	raw_unpin(&a, &mine);
	send_window(&b, 2, RAW_LONG_MS);
	while (raw_summary(&observer).waits < 1)
		;
	ck_assert_int_eq(channel_wait(a.bell, POLLIN, 0), 0);
	raw_unpin(&observer, &theirs);
	give_back(&a, &mine);
	ck_assert_uint_eq(raw_summary(&observer).draining_bytes, WINDOW);
	ck_assert(!raw_is_answered(&b));
	raw_release(&observer, &theirs);
	ck_assert_uint_eq(raw_receive_leased(&b).offset, 2 * WINDOW);
	stop();
}
END_TEST

START_TEST(test_deaf_client_goes)
{
	struct slot_ref lease;

	start_with("--recall-timeout=100ms");
	lease = lease_window(&a, 0);
	raw_unpin(&a, &lease);
	lease_window(&observer, 1);
	send_window(&b, 2, RAW_LONG_MS);
	raw_await_recall(&a, &lease);
	raw_await_end(&a);
	ck_assert_uint_eq(raw_receive_leased(&b).offset, 2 * WINDOW);
	ck_assert_uint_eq(raw_summary(&observer).clients, 2);
	ck_assert_uint_eq(raw_summary(&observer).disconnections, 1);
	stop();
}
END_TEST

START_TEST(test_deaf_to_many)
{
	struct slot_ref leases[2];

	/* It is late with two leases, and goes once. */
	start_with("--recall-timeout=100ms");
	for (uint64_t window = 0; window < 2; window++) {
		leases[window] = lease_window(&a, window);
		raw_unpin(&a, &leases[window]);
	}
	raw_send_lease(&b, file, 4 * WINDOW, 2 * WINDOW, RAW_LONG_MS);
	raw_await_end(&a);
	ck_assert_uint_eq(raw_receive_leased(&b).length, 2 * WINDOW);
	ck_assert_uint_eq(raw_summary(&observer).disconnections, 1);
	stop();
}
END_TEST

/* Clients that are stopped are waited for all at once, and not while there is one that answers. */
START_TEST(test_many_deaf)
{
	struct raw deaf[8];
	struct slot_ref lease;

	harness_start(&server, "--window-size=64K", "--max-memory=576K", "--recall-timeout=60s", NULL);
	harness_make_file("file", 10 * WINDOW);
	raw_start(&a, &server, "first");
	raw_start(&b, &server, "second");
	raw_start(&observer, &server, "observer");
	file = raw_open(&a, "file");
	raw_open(&b, "file");
	for (uint64_t i = 0; i < 8; i++) {
		raw_start(&deaf[i], &server, "deaf");
		raw_open(&deaf[i], "file");
		lease = lease_window(&deaf[i], i);
		raw_unpin(&deaf[i], &lease);
	}
	lease = lease_window(&a, 8);
	raw_unpin(&a, &lease);
	send_window(&b, 9, RAW_LONG_MS);
	give_back(&a, &lease);
	ck_assert_uint_eq(raw_receive_leased(&b).offset, 9 * WINDOW);
	ck_assert_uint_eq(raw_summary(&observer).recalls, 9);
	ck_assert_uint_eq(raw_summary(&observer).disconnections, 0);
	ck_assert_uint_eq(raw_summary(&observer).draining_bytes, 8 * WINDOW);
	for (int i = 0; i < 8; i++)
		raw_close(&deaf[i]);
	raw_close(&a);
	raw_close(&b);
	raw_close(&observer);
	harness_stop(&server);
}
END_TEST

START_TEST(test_own_victims)
{
	struct message_leased leased;
	struct slot_ref leases[2];

	start();
	leases[0] = lease_window(&a, 0);
	leases[1] = lease_window(&a, 1);
	raw_unpin(&a, &leases[1]);
	raw_unpin(&a, &leases[0]);

	/* One is enough: the one whose pin ended first. It is told in the answer, and not by the bell. */
	leased = raw_lease(&a, file, 2 * WINDOW, 1);
	ck_assert_uint_eq(leased.offset, 2 * WINDOW);
	ck_assert_uint_eq(leased.victims.n, 1);
	ck_assert(raw_same(&leased.victims.refs[0], &leases[1]));
	ck_assert(!raw_pin(&a, &leases[1]));
	ck_assert_uint_eq(raw_summary(&observer).memory_bytes, 2 * WINDOW);
	ck_assert_uint_eq(raw_summary(&observer).waits, 0);
	/* The slot is not free before it is unmapped, and the new window not for others. */
	ck_assert_uint_eq(raw_summary(&observer).leases, 3);
	send_window(&b, 2, RAW_LONG_MS);
	raw_await_waits(&observer, 1);
	ck_assert(!raw_is_answered(&b));
	raw_release(&a, &leases[1]);
	leases[1] = raw_receive_leased(&b).lease;
	raw_unpin(&b, &leases[1]);
	raw_release(&b, &leases[1]);
	ck_assert_uint_eq(raw_summary(&observer).leases, 2);
	ck_assert_int_eq(channel_wait(a.bell, POLLIN, 0), 0);
	ck_assert(raw_pin(&a, &leases[0]));
	raw_unpin(&a, &leases[0]);

	/* Now both, for two windows at once. */
	raw_unpin(&a, &leased.lease);
	leased = raw_lease(&a, file, 4 * WINDOW, 2 * WINDOW);
	ck_assert_uint_eq(leased.length, 2 * WINDOW);
	ck_assert_uint_eq(leased.victims.n, 2);
	raw_release(&a, &leased.victims.refs[0]);
	raw_release(&a, &leased.victims.refs[1]);
	ck_assert_uint_eq(raw_summary(&observer).leases, 1);
	stop();
}
END_TEST

/* A client need not say what it has unmapped as long as nobody waits for it. */
START_TEST(test_marked_victims)
{
	struct message_leased leased;
	struct slot_ref leases[2];

	start();
	lease_window(&a, 0);
	leases[0] = lease_window(&a, 1);
	raw_unpin(&a, &leases[0]);
	leased = raw_lease(&a, file, 2 * WINDOW, 1);
	ck_assert(raw_same(&leased.victims.refs[0], &leases[0]));
	ck_assert(!pulse_waits(a.pulse));
	board_mark_unmapped(&a.board.slots[leases[0].slot]);
	/* So nobody has to wait for it, nor for the server to see that. */
	send_window(&b, 2, 0);
	leases[1] = raw_receive_leased(&b).lease;
	raw_unpin(&b, &leases[1]);
	raw_release(&b, &leases[1]);
	raw_unpin(&a, &leased.lease);
	leases[0] = leased.lease;

	/* Nobody does: a little later the server has seen it too. */
	leased = raw_lease(&a, file, 3 * WINDOW, 1);
	ck_assert(raw_same(&leased.victims.refs[0], &leases[0]));
	board_mark_unmapped(&a.board.slots[leases[0].slot]);
	while (raw_summary(&observer).leases > 2)
		;
	raw_unpin(&a, &leased.lease);
	leases[0] = leased.lease;

	/* Somebody waits, who is to be told. */
	ck_assert_uint_eq(raw_summary(&observer).waits, 0);
	leased = raw_lease(&a, file, 4 * WINDOW, 1);
	send_window(&b, 4, RAW_LONG_MS);
	while (!pulse_waits(a.pulse))
		;
	board_mark_unmapped(&a.board.slots[leases[0].slot]);
	raw_release(&a, &leases[0]);
	leases[1] = raw_receive_leased(&b).lease;
	raw_unpin(&b, &leases[1]);
	raw_release(&b, &leases[1]);
	ck_assert_uint_eq(raw_summary(&observer).leases, 2);
	ck_assert(!pulse_waits(a.pulse));
	stop();
}
END_TEST

/* What a client has let go of may stand in the request for what it wants instead. */
START_TEST(test_released_with_request)
{
	struct message request;
	struct slot_ref lease;

	start();
	lease_window(&a, 0);
	lease = lease_window(&a, 1);
	raw_unpin(&a, &lease);
	ck_assert_int_eq(board_claim_own(&a.board.slots[lease.slot], lease.generation), BOARD_CLAIM_WON);
	request = raw_lease_request(file, 2 * WINDOW, 1, RAW_LONG_MS);
	request.lease.released = (struct slot_list){.n = 2, .refs = {lease, {.slot = UINT32_MAX, .generation = 1}}};
	raw_send(&a, &request, -1);
	ck_assert_uint_eq(raw_receive_leased(&a).victims.n, 0);
	ck_assert_uint_eq(raw_summary(&observer).leases, 2);
	ck_assert_uint_eq(raw_summary(&observer).recalls, 0);

	/* Also if the request itself can't be met. */
	lease = raw_lease(&b, file, 0, 1).lease;
	raw_unpin(&b, &lease);
	ck_assert_int_eq(board_claim_own(&b.board.slots[lease.slot], lease.generation), BOARD_CLAIM_WON);
	request = raw_lease_request(file, 0, 0, RAW_LONG_MS);
	request.lease.released = (struct slot_list){.n = 1, .refs = {lease}};
	raw_refused(&b, &request, -1, EINVAL);
	ck_assert_uint_eq(raw_summary(&observer).leases, 2);
	stop();
}
END_TEST

START_TEST(test_unleased_goes_first)
{
	struct slot_ref lease;

	/* A region that nobody leases any more needs nobody's leave. */
	start();
	lease = lease_window(&a, 0);
	raw_unpin(&a, &lease);
	raw_release(&a, &lease);
	lease = lease_window(&a, 1);
	raw_unpin(&a, &lease);
	ck_assert_uint_eq(raw_lease(&b, file, 2 * WINDOW, 1).offset, 2 * WINDOW);
	ck_assert_uint_eq(raw_summary(&observer).recalls, 0);
	ck_assert_uint_eq(raw_summary(&observer).evictions, 1);
	ck_assert(raw_pin(&a, &lease));
	stop();
}
END_TEST

START_TEST(test_draining_is_revived)
{
	struct slot_ref lease;

	/* While it drains, another client asks for the same window: it stays, and is counted once. */
	start();
	lease = lease_window(&a, 0);
	raw_unpin(&a, &lease);
	lease_window(&observer, 1);
	send_window(&b, 2, 0);
	give_back(&a, &lease);
	lease = lease_window(&observer, 0);
	ck_assert_uint_eq(raw_summary(&observer).draining_bytes, 0);
	ck_assert_uint_eq(raw_summary(&observer).memory_bytes, 2 * WINDOW);
	stop();
}
END_TEST

/* ---- order ---- */

START_TEST(test_lru_by_end_of_pin)
{
	struct slot_ref first, second;

	/* Granted first, pinned longest: the other one goes. */
	start();
	first = lease_window(&a, 0);
	second = lease_window(&b, 1);
	raw_unpin(&b, &second);
	raw_await_epoch(&a);
	raw_unpin(&a, &first);
	raw_await_epoch(&a);
	send_window(&observer, 2, RAW_LONG_MS);
	raw_await_recall(&b, &second);
	ck_assert_int_eq(channel_wait(a.bell, POLLIN, 0), 0);
	raw_release(&b, &second);
	ck_assert_uint_eq(raw_receive_leased(&observer).offset, 2 * WINDOW);
	stop();
}
END_TEST

START_TEST(test_lru_of_hits)
{
	struct slot_ref first, second;

	/* A hit without a message counts as a use. */
	start();
	first = lease_window(&a, 0);
	raw_unpin(&a, &first);
	raw_await_epoch(&a);
	second = lease_window(&b, 1);
	raw_unpin(&b, &second);
	raw_await_epoch(&a);
	ck_assert(raw_pin(&a, &first));
	raw_unpin(&a, &first);
	raw_await_epoch(&a);
	send_window(&observer, 2, RAW_LONG_MS);
	raw_await_recall(&b, &second);
	ck_assert_int_eq(channel_wait(a.bell, POLLIN, 0), 0);
	raw_release(&b, &second);
	ck_assert_uint_eq(raw_receive_leased(&observer).offset, 2 * WINDOW);
	ck_assert_uint_eq(raw_summary(&observer).hits, 1);
	stop();
}
END_TEST

/* What needs no room any more is found behind any number of requests that do. */
START_TEST(test_out_of_turn)
{
	struct message_leased swapped;
	struct slot_ref lease;

	start();
	lease_window(&a, 0);
	lease = lease_window(&a, 1);
	raw_unpin(&a, &lease);
	/* Others have to wait for the new window until the old one is unmapped. */
	swapped = raw_lease(&a, file, 3 * WINDOW, 1);
	ck_assert_uint_eq(swapped.victims.n, 1);
	for (int i = 0; i < 100; i++)
		send_window(&b, 5, RAW_LONG_MS);
	send_window(&b, 3, RAW_LONG_MS);
	raw_await_waits(&observer, 101);
	raw_release(&a, &swapped.victims.refs[0]);
	ck_assert_uint_eq(raw_receive_leased(&b).offset, 3 * WINDOW);
	stop();
}
END_TEST

START_TEST(test_first_come_first_served)
{
	struct message_leased leased;
	struct slot_ref leases[3];
	uint32_t serial; /* of the first */

	/* Three wait: for one window, for two, and for one again. */
	start();
	leases[0] = lease_window(&a, 0);
	leases[1] = lease_window(&a, 1);
	send_window(&b, 2, RAW_LONG_MS);
	serial = b.serial;
	raw_await_waits(&observer, 1);
	raw_send_lease(&b, file, 4 * WINDOW, 2 * WINDOW, RAW_LONG_MS);
	send_window(&b, 3, RAW_LONG_MS);
	raw_await_waits(&observer, 3);
	raw_unpin(&a, &leases[0]);
	give_back(&a, &leases[0]);
	b.serial = serial;
	leases[2] = raw_receive_leased(&b).lease;

	/* One window comes free. That is not for the third before the second has its two. */
	raw_unpin(&b, &leases[2]);
	give_back(&b, &leases[2]);
	while (raw_summary(&observer).leases > 1 && !raw_is_answered(&b))
		;
	ck_assert(!raw_is_answered(&b));
	raw_unpin(&a, &leases[1]);
	give_back(&a, &leases[1]);
	b.serial = serial + 1;
	leases[2] = raw_receive_leased(&b).lease;
	/* The third is of the same client: what it has to unmap stands in the answer. */
	raw_unpin(&b, &leases[2]);
	b.serial = serial + 2;
	leased = raw_receive_leased(&b);
	ck_assert_uint_eq(leased.offset, 3 * WINDOW);
	ck_assert_uint_eq(leased.victims.n, 1);
	ck_assert(raw_same(&leased.victims.refs[0], &leases[2]));
	stop();
}
END_TEST

/* ---- clients that go ---- */

/* In a process of its own: holds both windows until it is killed. */
static void hold_in_child(int ready)
{
	struct raw raw;

	raw_start(&raw, &server, "child");
	file = raw_open(&raw, "file");
	ck_assert_uint_eq(raw_lease(&raw, file, 0, 2 * WINDOW).length, 2 * WINDOW);
	ck_assert_int_eq(write(ready, "x", 1), 1);
	for (;;)
		pause();
}

START_TEST(test_killed_client)
{
	int ready[2];
	pid_t child;
	char byte;

	start();
	ck_assert_int_eq(pipe(ready), 0);
	child = fork();
	if (!child)
		hold_in_child(ready[1]);
	close(ready[1]);
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	close(ready[0]);

	assert_times_out(&b, 0, child, "child");
	send_window(&b, 2, RAW_LONG_MS);
	raw_await_waits(&observer, 2);
	kill(child, SIGKILL);
	ck_assert_uint_eq(raw_receive_leased(&b).offset, 2 * WINDOW);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	ck_assert_uint_eq(raw_summary(&observer).leases, 1);
	ck_assert_uint_eq(raw_summary(&observer).clients, 3);
	stop();
}
END_TEST

START_TEST(test_waiting_client_goes)
{
	struct slot_ref lease;
	struct raw gone;

	start();
	lease = lease_window(&a, 0);
	lease_window(&a, 1);
	raw_start(&gone, &server, "gone");
	raw_open(&gone, "file");
	for (uint64_t window = 2; window < 6; window++)
		send_window(&gone, window, RAW_LONG_MS);
	raw_await_waits(&observer, 4);
	send_window(&b, 7, RAW_LONG_MS);
	raw_await_waits(&observer, 5);
	raw_close(&gone);
	raw_unpin(&a, &lease);
	give_back(&a, &lease);
	ck_assert_uint_eq(raw_receive_leased(&b).offset, 7 * WINDOW);
	stop();
}
END_TEST

Suite *suite(void);

Suite *suite(void)
{
	Suite *s = suite_create("waiting");

	HARNESS_CASE(s, "pinned", test_pinned_stays, test_unprintable_name, test_unpin_lets_in);
	HARNESS_CASE(s, "idle", test_idle_is_recalled, test_shared_region_needs_all, test_deaf_client_goes, test_deaf_to_many, test_many_deaf,
		     test_own_victims, test_marked_victims, test_released_with_request,
		     test_unleased_goes_first, test_draining_is_revived);
	HARNESS_CASE(s, "order", test_lru_by_end_of_pin, test_lru_of_hits, test_out_of_turn, test_first_come_first_served);
	HARNESS_CASE(s, "gone", test_killed_client, test_waiting_client_goes);
	return s;
}

int main(void)
{
	return harness_run(suite());
}
