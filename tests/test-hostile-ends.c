/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Clients that stop, and clients that end: stopped by SIGSTOP with idle leases that others need, and killed by SIGKILL, at each
 * step of each request, and a thousand times whenever it happens.
 */
#include "config.h"

#include "tests/hostile.h"

#include "client/smmap-client.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define STOPPED      2
#define KILLS        500 /* each time */
#define ALIVE        4   /* at once */
#define MOST_US      4000 /* that one lives */
#define LIVES_OF_ONE 3    /* how often each step is tried */

static pid_t start_child(int (*live)(unsigned), unsigned argument)
{
	pid_t child;

	/* Random numbers of its own. */
	harness_random();
	child = fork();
	ck_assert_int_ge(child, 0);
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(live(argument));
	}
	return child;
}

static void assert_killed(int status)
{
	ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "a child has status %#x", (unsigned)status);
}

/* ---- stopped ---- */

/* Reads a window of a file, and compares it. 0, or an exit status. */
static int read_window(struct smmap_cursor *cursor, unsigned file, uint64_t window)
{
	if (smmap_cursor_use(cursor, window * HONEST_WINDOW, HONEST_WINDOW) != (ssize_t)HONEST_WINDOW)
		return 10;
	if (honest_compare(smmap_cursor_data(cursor), file, window * HONEST_WINDOW, HONEST_WINDOW) < HONEST_WINDOW)
		return 11;
	return 0;
}

/* Has an idle lease, and stops. When it goes on, it has lost it and its connection, and gets another. */
static int stop_and_go_on(unsigned file)
{
	struct smmap_client_options options = {.socket = hostile_server.socket, .name = "stopped"};
	struct smmap_client *client;
	struct smmap_cursor *cursor;
	int r;

	if (smmap_client_open(&client, &options) || smmap_cursor_open(&cursor, client, honest_path(file), 0))
		return 1;
	r = read_window(cursor, file, 0);
	smmap_cursor_unuse(cursor);
	if (!r)
		raise(SIGSTOP);
	for (uint64_t window = 0; !r && window < 4; window++)
		r = read_window(cursor, file, window);
	smmap_cursor_close(cursor);
	smmap_client_close(client);
	return r;
}

static void stop_clients(struct tally *tally)
{
	uint64_t before = raw_summary(&hostile_observer).disconnections;
	pid_t children[STOPPED];
	int status;

	for (unsigned i = 0; i < STOPPED; i++)
		children[i] = start_child(stop_and_go_on, i);
	for (unsigned i = 0; i < STOPPED; i++) {
		ck_assert_int_eq(waitpid(children[i], &status, WUNTRACED), children[i]);
		ck_assert_msg(WIFSTOPPED(status), "a child has status %#x", (unsigned)status);
	}
	/* The honest ones need what they have: they get it, and the stopped ones are not waited for any more. */
	while (raw_summary(&hostile_observer).disconnections < before + STOPPED)
		ck_assert_int_ge(poll(NULL, 0, 1), 0);
	hostile_await_alone();
	hostile_await_progress();
	for (unsigned i = 0; i < STOPPED; i++) {
		ck_assert_int_eq(kill(children[i], SIGCONT), 0);
		ck_assert_int_eq(waitpid(children[i], &status, 0), children[i]);
		ck_assert_msg(status == 0, "a child has status %#x", (unsigned)status);
	}
	tally->times += STOPPED;
	tally->disconnections += STOPPED;
}

START_TEST(test_stopped)
{
	hostile_start(NULL);
	hostile_run("clients stopped by SIGSTOP", stop_clients);
	hostile_stop();
}
END_TEST

/* ---- killed at each step ---- */

static unsigned steps_left;

/* Between any two system calls of a request, so to speak. */
static void step(void)
{
	if (!steps_left--)
		kill(getpid(), SIGKILL);
}

/* Sends a request and gets its answer, with a step before, between and behind. */
static void ask_in_steps(struct raw *raw, struct message *request, int fd, struct message *answer)
{
	step();
	raw_send(raw, request, fd);
	step();
	raw_receive(raw, answer);
	step();
}

/* All requests, one after the other. */
static void run_script(struct raw *raw)
{
	struct message hello = {.type = MESSAGE_HELLO, .hello = {.version = PROTOCOL_VERSION, .name = text_of("mortal")}};
	struct message open_request = {.type = MESSAGE_OPEN, .open = {.label = text_of("mortal"), .deadline_ms = RAW_LONG_MS}};
	struct message status = {.type = MESSAGE_STATUS}, collect = {.type = MESSAGE_COLLECT};
	struct message drop = {.type = MESSAGE_DROP, .drop = {.path = text_of("/nowhere")}};
	struct message request, answer, opened;
	unsigned file = (unsigned)(harness_random() % HONEST_FILES);
	int fd = open(honest_path(file), O_RDONLY | O_CLOEXEC);

	step();
	raw_connect(raw, &hostile_server);
	ask_in_steps(raw, &hello, -1, &answer);
	board_attach(&raw->board, answer.welcome.n_slots, raw->packet->descriptors[0]);
	pulse_attach(&raw->pulse, raw->packet->descriptors[1]);
	raw->bell = take_fd(&raw->packet->descriptors[2]);
	step();
	ask_in_steps(raw, &open_request, fd, &opened);
	close(fd);
	/* One that is left pinned, and one that is idle, pinned again and given back. */
	for (uint64_t window = 0; window < 2; window++) {
		request = raw_lease_request(opened.opened.file, window * HONEST_WINDOW, 1, RAW_LONG_MS);
		ask_in_steps(raw, &request, -1, &answer);
	}
	/* Else the server had let go of the file, and it is not open any more. */
	if (answer.type == MESSAGE_LEASED) {
		struct slot_ref lease = answer.leased.lease;

		raw_unpin(raw, &lease);
		step();
		if (raw_pin(raw, &lease))
			raw_unpin(raw, &lease);
		step();
		raw_release(raw, &lease);
		request = raw_close_request(opened.opened.file);
		ask_in_steps(raw, &request, -1, &answer);
	}
	ask_in_steps(raw, &status, -1, &answer);
	ask_in_steps(raw, &drop, -1, &answer);
	ask_in_steps(raw, &collect, -1, &answer);
	raw_close(raw);
	step();
}

static int die_at(unsigned n)
{
	struct raw raw;

	steps_left = n;
	run_script(&raw);
	return 0;
}

/* Step after step, until one comes to the end. */
static void kill_at_each_step(struct tally *tally)
{
	for (unsigned n = 0;; n++) {
		for (unsigned i = 0; i < LIVES_OF_ONE; i++, tally->times++) {
			pid_t child = start_child(die_at, n);
			int status;

			ck_assert_int_eq(waitpid(child, &status, 0), child);
			if (status == 0) {
				ck_assert_uint_ge(n, 20);
				return;
			}
			assert_killed(status);
		}
	}
}

START_TEST(test_each_step)
{
	hostile_start(NULL);
	hostile_run("clients killed at each step", kill_at_each_step);
	hostile_stop();
}
END_TEST

/* ---- killed at any time ---- */

/* Every second one has the library. */
static int live_on(unsigned kind)
{
	struct honest honest = {0};
	struct raw raw;

	if (kind % 2)
		return honest_run(&honest, hostile_server.socket);
	steps_left = UINT32_MAX;
	for (;;)
		run_script(&raw);
}

static void kill_at_any_time(struct tally *tally)
{
	pid_t children[ALIVE] = {0};
	int status;

	for (unsigned i = 0; i < HOSTILE_TIMES(KILLS) + ALIVE; i++) {
		pid_t *child = &children[i % ALIVE];

		if (*child) {
			kill(*child, SIGKILL);
			ck_assert_int_eq(waitpid(*child, &status, 0), *child);
			assert_killed(status);
			*child = 0;
			tally->times++;
		}
		if (i < HOSTILE_TIMES(KILLS))
			*child = start_child(live_on, i);
		usleep((useconds_t)(harness_random() % (MOST_US / ALIVE)));
	}
}

START_TEST(test_any_time)
{
	hostile_start(NULL);
	hostile_run("clients killed at any time", kill_at_any_time);
	hostile_stop();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("hostile-ends");

	HARNESS_CASE(suite, "stopped", test_stopped);
	HARNESS_CASE(suite, "killed", test_each_step, test_any_time);
	return harness_run(suite);
}
