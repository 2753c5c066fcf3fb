/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * No memory, at each allocation in turn that the server makes for what no request asks for: another configuration, what it does in each second,
 * and the write guard. Either it is as it should be, or it is as it was, or it is made good in a later second; a writer is let in in any case;
 * and nothing is left.
 */
#include "config.h"

#include "tests/scarce.h"

#include "daemon/command.h"

#include <signal.h>
#include <sys/stat.h>

#define WINDOW SCARCE_WINDOW

/* ---- the server: as the program has it ---- */

/* So many windows, in two files. */
static void configure(unsigned windows, bool write_guard)
{
	harness_write_file("conf", "window-size = 64K\nmax-memory = %uK\nmax-maps = %u\nmax-handles = 8\n", windows * 64, windows);
	ck_assert(mkdir("conf.d", 0755) == 0 || errno == EEXIST);
	harness_write_file("conf.d/more.conf", "user-share = 100%%\nrecall-timeout = 1h\nwrite-guard = %s\n", write_guard ? "yes" : "no");
}

/* What the program knows of its other commands: here there are none. */
bool command_exists(const char *name)
{
	(void)name;
	return false;
}

static int serve(int ready)
{
	char program[] = "smmapd", config[] = "--config=conf", socket[PATH_MAX + 16];
	char *arguments[] = {program, config, socket, NULL};

	snprintf(socket, sizeof(socket), "--socket=%s", harness.socket);
	if (dup2(ready, STDERR_FILENO) < 0)
		return EXIT_FAILURE;
	return command_serve(3, arguments);
}

/* Has it read the file again. Whether it did, and not what was before holds. */
static bool reload(void)
{
	static const char done[] = "reloaded: serving on", not_done[] = "the settings from before hold";
	char said[8192] = "";
	size_t n = 0;

	ck_assert_int_eq(kill(harness.pid, SIGHUP), 0);
	do {
		ssize_t r;

		ck_assert_msg(channel_wait(scarce_said, POLLIN, RAW_PATIENCE_MS) == 1, "it says: %s", said);
		r = read(scarce_said, said + n, sizeof(said) - 1 - n);
		ck_assert_msg(r > 0, "it says: %s", said);
		n += (size_t)r;
		said[n] = '\0';
	} while (said[n - 1] != '\n' || !(strstr(said, done) || strstr(said, not_done)));
	/* The kernel allows all of it, whether the server can ask it or not. */
	ck_assert_msg(!strstr(said, "lowered") && !strstr(said, "allows"), "it says: %s", said);
	return strstr(said, done);
}

static void assert_limits(uint64_t number, unsigned windows)
{
	struct figures_summary summary = raw_summary(&observer);

	ck_assert_msg(summary.limit_maps == windows && summary.limit_memory_bytes == windows * WINDOW && summary.limit_handles == 8 &&
			      summary.quota_maps == windows && summary.limit_window_bytes == WINDOW,
		      "allocation %ju: at most %ju maps, %ju bytes, %ju files", (uintmax_t)number, (uintmax_t)summary.limit_maps,
		      (uintmax_t)summary.limit_memory_bytes, (uintmax_t)summary.limit_handles);
}

/* Waits until the server has done all that it does in a second, and takes no memory for that. */
static void await_second(void)
{
	uint32_t second = pulse_second(observer.pulse);

	while (pulse_second(observer.pulse) < second + 2)
		ck_assert_int_ge(poll(NULL, 0, 1), 0);
}

/* ---- writers ---- */

/* Whether one gets in at once. Else it has the server give way, though it does not wait. */
static bool is_let_in(const char *path)
{
	_cleanup_(close_fdp) int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);

	ck_assert(fd >= 0 || errno == EWOULDBLOCK);
	return fd >= 0;
}

/* Waits until the file is guarded, as the server says and the kernel knows. */
static void await_guarded(const char *label)
{
	while (!raw_is_guarded(&observer, label))
		ck_assert_int_ge(poll(NULL, 0, 1), 0);
	ck_assert(!is_let_in(label + 1));
}

static void await_let_in(const char *path)
{
	while (!is_let_in(path))
		ck_assert_int_ge(poll(NULL, 0, 1), 0);
}

/* ---- tests ---- */

/* After the last one, which has not failed; at the least there were so many. */
static void tell(const char *name, uint64_t number, uint64_t least)
{
	ck_assert_uint_gt(number, least);
	printf("%s: each of %ju allocations has failed\n", name, (uintmax_t)number - 1);
}

/* Fewer windows, so that one is recalled, and a write guard, which is taken in the next second. False if no allocation of this number was made. */
static bool reload_wrongly(uint64_t number)
{
	bool done, failed;

	configure(4, false);
	ck_assert(reload());
	raw_start(&subject, &harness, "subject");
	scarce_lease_one();
	scarce_lease_idle(&subject, scarce_open(&subject, "b"), 0, 2);

	configure(2, true);
	allocation_fail(number);
	done = reload();
	if (done)
		await_second();
	failed = allocation_end();
	ck_assert(failed || done);
	assert_limits(number, done ? 2 : 4);
	if (!done) {
		await_second();
		ck_assert(!raw_is_guarded(&observer, "/b") && is_let_in("b"));
		ck_assert(reload());
		assert_limits(number, 2);
	}
	await_guarded("/b");
	await_let_in("b");
	raw_close(&subject);
	return failed;
}

START_TEST(test_reload)
{
	uint64_t number = 1;

	configure(4, false);
	scarce_start_other(serve);
	for (; reload_wrongly(number); number++)
		scarce_assert_nothing_left("SIGHUP, and a second", number);
	scarce_assert_nothing_left("SIGHUP, and a second", number);
	/* The file's, the recall's, and the guard's. */
	tell("SIGHUP, and a second", number, 3);
	scarce_stop();
}
END_TEST

/* Whether the subject is granted what it asks for. */
static bool is_granted(void)
{
	char sentence[MESSAGE_MAX_TEXT + 1];
	struct message answer;

	scarce_await_answer(&answer);
	if (answer.type == MESSAGE_ERROR)
		raw_assert_error(&answer, ENOMEM, sentence);
	if (answer.type == MESSAGE_LEASED)
		raw_unpin(&subject, &answer.leased.lease);
	return answer.type == MESSAGE_LEASED;
}

static void send_lease(void)
{
	struct message request = raw_lease_request(subject_file, 0, WINDOW, RAW_LONG_MS);

	scarce_send(&subject, &request, -1);
}

/* What can't be guarded at once is served all the same, and guarded later. */
START_TEST(test_guard)
{
	uint64_t number = 0;
	bool failed, granted;

	configure(4, true);
	scarce_start_other(serve);
	do {
		raw_start(&subject, &harness, "subject");
		scarce_open_a();
		allocation_fail(++number);
		send_lease();
		granted = is_granted();
		failed = allocation_end();
		ck_assert(failed || granted);
		if (granted) {
			await_guarded("/a");
			await_let_in("a");
		}
		raw_close(&subject);
		scarce_assert_nothing_left("LEASE with a write guard", number);
	} while (failed);
	/* A region, a lease and a guard. */
	tell("LEASE with a write guard", number, 3);
	scarce_stop();
}
END_TEST

/* A writer comes while another client has a pin, and the subject comes behind it. */
START_TEST(test_writer)
{
	uint64_t number = 0;
	bool failed, granted;

	configure(4, true);
	scarce_start_other(serve);
	do {
		struct message_leased pinned;

		raw_start(&other, &harness, "other");
		pinned = raw_lease(&other, scarce_open(&other, "a"), 0, WINDOW);
		raw_start(&subject, &harness, "subject");
		scarce_open_a();
		ck_assert(raw_is_guarded(&observer, "/a"));
		allocation_fail(++number);
		ck_assert(!is_let_in("a"));
		send_lease();
		await_second();
		raw_unpin(&other, &pinned.lease);
		granted = is_granted();
		await_second();
		failed = allocation_end();
		ck_assert(failed || granted);
		await_let_in("a");
		scarce_end();
		scarce_assert_nothing_left("a writer", number);
	} while (failed);
	/* A packet, a request that waits, and a recall. */
	tell("a writer", number, 3);
	scarce_stop();
}
END_TEST

Suite *suite(void);

Suite *suite(void)
{
	Suite *s = suite_create("allocation for the service");

	HARNESS_CASE(s, "service", test_reload, test_guard, test_writer);
	return s;
}

int main(void)
{
	return allocation_run(suite);
}
