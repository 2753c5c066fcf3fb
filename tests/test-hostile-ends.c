/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Clients that stop, and clients that end: stopped by SIGSTOP with idle leases that others need, and killed by SIGKILL, at each
 * step of each request, and a thousand times whenever it happens.
 */
#include "config.h"

#include "tests/hostile.h"

#include "client/smmap-client.h"

#include <signal.h>
#include <sys/mman.h>
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
		if (raw_pin(raw, &lease)) {
			step();
			raw_unpin(raw, &lease);
		}
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

/* The same for calls of the library: between them its own thread is at work. */
static int die_between_calls(unsigned n)
{
	struct smmap_client_options options = {.socket = hostile_server.socket, .name = "mortal"};
	unsigned file = (unsigned)(harness_random() % HONEST_FILES);
	struct smmap_cursor *cursor, *copy;
	struct smmap_buffer *buffer;
	struct smmap_client *client;
	int r = 0;

	steps_left = n;
	step();
	if (smmap_client_open(&client, &options))
		return 1;
	step();
	if (smmap_cursor_open(&cursor, client, honest_path(file), 0))
		return 2;
	step();
	for (uint64_t window = 0; !r && window < 4; window++) {
		r = read_window(cursor, file, window);
		step();
	}
	if (r || smmap_cursor_copy(&copy, cursor))
		return 3;
	step();
	smmap_cursor_unuse(cursor);
	step();
	if (smmap_buffer_open(&buffer, cursor, 0, SMMAP_TO_END))
		return 4;
	step();
	if (smmap_buffer_at(buffer, -1) < 0)
		return 5;
	step();
	smmap_buffer_close(buffer);
	step();
	smmap_cursor_close(copy);
	step();
	if (smmap_client_collect(client) < 0)
		return 6;
	step();
	smmap_cursor_close(cursor);
	step();
	smmap_client_close(client);
	return 0;
}

/* Step after step, until one comes to the end. */
static void kill_in_steps(int (*live)(unsigned), unsigned n_steps, struct tally *tally)
{
	for (unsigned n = 0;; n++) {
		for (unsigned i = 0; i < LIVES_OF_ONE; i++, tally->times++) {
			pid_t child = start_child(live, n);
			int status;

			ck_assert_int_eq(waitpid(child, &status, 0), child);
			if (status == 0) {
				ck_assert_uint_ge(n, n_steps);
				return;
			}
			assert_killed(status);
		}
	}
}

static void kill_at_each_step(struct tally *tally)
{
	kill_in_steps(die_at, 20, tally);
}

START_TEST(test_each_step)
{
	hostile_start(NULL);
	hostile_run("clients killed at each step", kill_at_each_step);
	hostile_stop();
}
END_TEST

static void kill_between_calls(struct tally *tally)
{
	kill_in_steps(die_between_calls, 14, tally);
}

START_TEST(test_each_call)
{
	hostile_start(NULL);
	hostile_run("clients of the library killed between any two calls", kill_between_calls);
	hostile_stop();
}
END_TEST

/* ---- killed while they wait ---- */

/* Has all that there is: every map and every handle is pinned, but for one idle lease, which it does not give back for now. */
static struct raw hog;
static uint64_t hog_file;
static struct slot_ref hog_idle;

static void hog_all(void)
{
	raw_start(&hog, &hostile_server, "hog");
	_Static_assert(HOSTILE_MAPS - 1 == 3 * HOSTILE_HANDLES + 2, "all maps but one, over all handles");
	for (unsigned file = 1; file <= HOSTILE_HANDLES; file++) {
		uint64_t id = raw_open(&hog, honest_path(file)), n = 3 + (file <= 2);

		for (uint64_t window = 0; window < n; window++)
			raw_lease(&hog, id, window * HONEST_WINDOW, 1);
		if (file == 1)
			hog_file = id;
	}
}

static void idle_again(void)
{
	hog_idle = raw_lease(&hog, hog_file, 4 * HONEST_WINDOW, 1).lease;
	raw_unpin(&hog, &hog_idle);
}

static void give_back_idle(void)
{
	raw_release(&hog, &hog_idle);
	/* It is done when something behind it is, and what the bell has said of it is not news any more. */
	raw_summary(&hog);
	villain_hear(&hog);
}

enum waiting { WAITS_LEASE, WAITS_OPEN, WAITS_COLLECT, WAITS_DROP, N_WAITING };

/* Asks for something for which there is no room, or that takes what another has yet to unmap. */
static int wait_for_ever(unsigned kind)
{
	struct message request = {.type = MESSAGE_COLLECT}, answer;
	struct raw raw;
	int fd = -1;

	raw_start(&raw, &hostile_server, "mortal");
	if (kind == WAITS_LEASE)
		request = raw_lease_request(raw_open(&raw, honest_path(2)), 4 * HONEST_WINDOW, 1, RAW_LONG_MS);
	if (kind == WAITS_OPEN) {
		request = (struct message){.type = MESSAGE_OPEN, .open = {.label = text_of("l"), .deadline_ms = RAW_LONG_MS}};
		fd = open(honest_path(HOSTILE_HANDLES + 1), O_RDONLY | O_CLOEXEC);
	}
	if (kind == WAITS_DROP)
		request = (struct message){.type = MESSAGE_DROP, .drop = {.path = text_of(honest_path(1))}};
	raw_ask(&raw, &request, fd, &answer);
	return 1;
}

/* Has the only room that is left, and is told what of its own has to go for what it asks for. It never says that this is unmapped. */
static int die_with_victims(unsigned argument)
{
	struct message_leased leased;
	struct raw raw;
	uint64_t file;

	(void)argument;
	raw_start(&raw, &hostile_server, "mortal");
	file = raw_open(&raw, honest_path(1));
	leased = raw_lease(&raw, file, 4 * HONEST_WINDOW, 1);
	raw_unpin(&raw, &leased.lease);
	leased = raw_lease(&raw, raw_open(&raw, honest_path(2)), 4 * HONEST_WINDOW, 1);
	if (leased.victims.n == 1)
		kill(getpid(), SIGKILL);
	return 1;
}

static bool waits_any(void)
{
	return raw_status(&hostile_observer, FIGURES_WAITING, 0).rows.length > 0;
}

static void kill_waiting(struct tally *tally)
{
	int status;

	hostile_rest();
	hog_all();
	for (unsigned i = 0; i < LIVES_OF_ONE * N_WAITING; i++, tally->times++) {
		pid_t child;

		idle_again();
		child = start_child(wait_for_ever, i % N_WAITING);
		while (!waits_any())
			ck_assert_msg(waitpid(child, &status, WNOHANG) == 0, "child %u does not wait: %#x", i, (unsigned)status);
		ck_assert_int_eq(kill(child, SIGKILL), 0);
		ck_assert_int_eq(waitpid(child, &status, 0), child);
		assert_killed(status);
		while (waits_any())
			ck_assert_int_ge(poll(NULL, 0, 1), 0);
		give_back_idle();
	}
	for (unsigned i = 0; i < LIVES_OF_ONE; i++, tally->times++) {
		pid_t child = start_child(die_with_victims, 0);

		ck_assert_int_eq(waitpid(child, &status, 0), child);
		assert_killed(status);
	}
	/* All of that room is there again. */
	idle_again();
	raw_close(&hog);
	hostile_resume();
}

START_TEST(test_waiting)
{
	/* So long that who is late because it waits for a child is not too late. */
	hostile_start("--recall-timeout=1min");
	hostile_run("clients killed while a request waits, and before they give back", kill_waiting);
	hostile_stop();
}
END_TEST

/* ---- killed at any time ---- */

/* What each of those that live has got done, in memory that is shared with them. */
static struct honest *lives;

/* Every second one has the library. */
static int live_on(unsigned i)
{
	struct honest *life = &lives[i % ALIVE];
	struct raw raw;

	if (i % 2)
		return honest_run(life, hostile_server.socket);
	steps_left = UINT32_MAX;
	for (;; atomic_fetch_add(&life->n_reads, 1))
		run_script(&raw);
}

/* Every second pair gets something done before: on a busy machine hardly any would. */
static void await_life(unsigned i, pid_t child)
{
	if (i % ALIVE < 2)
		return;
	while (!atomic_load(&lives[i % ALIVE].n_reads)) {
		ck_assert_int_eq(waitpid(child, NULL, WNOHANG), 0);
		ck_assert_int_ge(poll(NULL, 0, 1), 0);
	}
}

static void kill_at_any_time(struct tally *tally)
{
	pid_t children[ALIVE] = {0};
	unsigned n_alive = 0;
	int status;

	for (unsigned i = 0; i < HOSTILE_TIMES(KILLS) + ALIVE; i++) {
		pid_t *child = &children[i % ALIVE];

		if (*child) {
			await_life(i, *child);
			kill(*child, SIGKILL);
			ck_assert_int_eq(waitpid(*child, &status, 0), *child);
			assert_killed(status);
			*child = 0;
			n_alive += atomic_load(&lives[i % ALIVE].n_reads) > 0;
			lives[i % ALIVE] = (struct honest){0};
			tally->times++;
		}
		if (i < HOSTILE_TIMES(KILLS))
			*child = start_child(live_on, i);
		usleep((useconds_t)(harness_random() % (MOST_US / ALIVE)));
	}
	printf("%u of them had got something done\n", n_alive);
	ck_assert_uint_ge(n_alive, tally->times / 3);
}

START_TEST(test_any_time)
{
	lives = mmap(NULL, ALIVE * sizeof(*lives), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert(lives != MAP_FAILED);
	hostile_start(NULL);
	hostile_run("clients killed at any time", kill_at_any_time);
	hostile_stop();
	munmap(lives, ALIVE * sizeof(*lives));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("hostile-ends");

	HARNESS_CASE(suite, "stopped", test_stopped);
	HARNESS_CASE(suite, "killed", test_each_step, test_each_call, test_waiting, test_any_time);
	return harness_run(suite);
}
