/* SPDX-License-Identifier: BSD-3-Clause */
/* The configuration of a running server: what it comes to, SIGHUP while clients read, and a user's part where nothing else is said. */
#include "config.h"

#include "client/smmap-client.h"
#include "tests/harness.h"
#include "tests/raw.h"

#include "proto/util.h"

#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define WINDOW UINT64_C(65536)

static struct harness_server server;
static int error; /* what it says */
static char said[1 << 16];
static struct raw a, b, observer;
static uint64_t file; /* of twenty windows; all three have it open */

/* ---- a server with a configuration ---- */

static void await_said(const char *what)
{
	size_t n = strlen(said);

	while (!strstr(said, what)) {
		ssize_t r = read(error, said + n, sizeof(said) - 1 - n);

		ck_assert_msg(r > 0, "no '%s' in: %s", what, said);
		n += (size_t)r;
		said[n] = '\0';
	}
}

/* Starts a server whose windows have 64 KiB, with the rest of "conf". */
static void start_server(const char *conf)
{
	int pipes[2];

	harness_write_file("conf", "window-size = 64K\n%s", conf);
	snprintf(server.socket, sizeof(server.socket), "socket");
	ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
	server.pid = fork();
	ck_assert_int_ge(server.pid, 0);
	if (!server.pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(pipes[1], STDERR_FILENO);
		execl(harness_program(), "smmapd", "--config=conf", "--socket=socket", NULL);
		_exit(127);
	}
	close(pipes[1]);
	error = pipes[0];
	said[0] = '\0';
	await_said("serving on socket:");
}

static void stop_server(void)
{
	harness_stop(&server);
	close(error);
}

/* Has the server read "conf" again, with this behind the first line, and waits until it says @answer. */
static void reload(const char *conf, const char *answer)
{
	harness_write_file("conf", "window-size = 64K\n%s", conf);
	said[0] = '\0';
	ck_assert_int_eq(kill(server.pid, SIGHUP), 0);
	await_said(answer);
}

static void start(const char *conf)
{
	start_server(conf);
	harness_make_file("file", 20 * WINDOW);
	raw_start(&a, &server, "first");
	raw_start(&b, &server, "second");
	raw_start(&observer, &server, "observer");
	file = raw_open(&a, "file");
	ck_assert_uint_eq(raw_open(&b, "file"), file);
}

static void stop(void)
{
	raw_close(&a);
	raw_close(&b);
	raw_close(&observer);
	stop_server();
}

static struct slot_ref lease_windows(struct raw *raw, uint64_t first, uint64_t n)
{
	return raw_lease(raw, file, first * WINDOW, n * WINDOW).lease;
}

static uint64_t used(void)
{
	return raw_summary(&observer).memory_bytes;
}

static void await_used(uint64_t windows)
{
	while (used() != windows * WINDOW)
		;
}

/* ---- limits ---- */

/* What is idle is taken back until the rest fits, what is pinned when its pin ends; who asks meanwhile waits for that. */
START_TEST(test_smaller)
{
	struct slot_ref pinned, idle[2];

	start("max-memory = 512K\nuser-share = 100%\n");
	pinned = lease_windows(&a, 0, 3);
	for (uint64_t i = 0; i < 2; i++)
		idle[i] = lease_windows(&a, 4 + i, 1);
	raw_unpin(&a, &idle[0]);
	ck_assert_uint_eq(used(), 5 * WINDOW);

	reload("max-memory = 256K\nuser-share = 100%\n", "reloaded: serving on socket: at most 256 KiB in windows of 64 KiB");
	raw_await_recall(&a, &idle[0]);
	raw_release(&a, &idle[0]);
	await_used(4);
	ck_assert_uint_eq(raw_summary(&observer).limit_memory_bytes, 4 * WINDOW);
	ck_assert_uint_eq(atomic_load(&a.pulse->limit_memory_bytes), 4 * WINDOW);
	ck_assert_uint_eq(raw_summary(&observer).recalls, 1);

	raw_unpin(&a, &idle[1]);
	reload("max-memory = 128K\nuser-share = 100%\n", "reloaded: ");
	raw_await_recall(&a, &idle[1]);
	raw_release(&a, &idle[1]);
	await_used(3);
	raw_send_lease(&b, file, 9 * WINDOW, 1, RAW_LONG_MS);
	raw_await_waits(&observer, 1);
	ck_assert(!raw_is_answered(&b));
	ck_assert_uint_eq(used(), 3 * WINDOW);

	raw_unpin(&a, &pinned);
	raw_await_recall(&a, &pinned);
	ck_assert(!raw_is_answered(&b));
	raw_release(&a, &pinned);
	ck_assert_uint_eq(raw_receive_leased(&b).length, WINDOW);
	ck_assert_uint_eq(used(), 2 * WINDOW);
	stop();
}
END_TEST

/* Without anybody who waits, or has asked since, too. */
START_TEST(test_smaller_alone)
{
	struct slot_ref pinned;

	start("max-memory = 512K\n");
	pinned = lease_windows(&a, 0, 4);
	reload("max-memory = 128K\n", "reloaded: ");
	raw_unpin(&a, &pinned);
	raw_await_recall(&a, &pinned);
	raw_release(&a, &pinned);
	await_used(2);
	stop();
}
END_TEST

/* A request that waits is granted as soon as there is room. */
START_TEST(test_larger)
{
	start("max-memory = 128K\nuser-share = 100%\n");
	lease_windows(&a, 0, 2);
	raw_send_lease(&b, file, 5 * WINDOW, 1, RAW_LONG_MS);
	raw_await_waits(&observer, 1);
	ck_assert(!raw_is_answered(&b));
	reload("max-memory = 192K\nuser-share = 100%\n", "reloaded: ");
	ck_assert_uint_eq(raw_receive_leased(&b).length, WINDOW);
	ck_assert_uint_eq(used(), 3 * WINDOW);

	/* And one that can never fit any more is refused. */
	raw_send_lease(&b, file, 6 * WINDOW, 3 * WINDOW, RAW_LONG_MS);
	raw_await_waits(&observer, 2);
	reload("max-memory = 128K\nuser-share = 100%\n", "reloaded: ");
	{
		char sentence[MESSAGE_MAX_TEXT + 1];
		struct message answer;

		raw_receive(&b, &answer);
		raw_assert_error(&answer, EFBIG, sentence);
	}
	stop();
}
END_TEST

START_TEST(test_handles)
{
	struct message close_it;
	uint64_t second;

	start("max-handles = 3\n");
	harness_make_file("second", WINDOW);
	second = raw_open(&a, "second");
	ck_assert_uint_eq(raw_summary(&observer).handles, 2);
	reload("max-handles = 1\n", "1 files");
	ck_assert_uint_eq(raw_summary(&observer).handles, 1);
	/* The one that was asked for first is gone, and its client is told to open it again. */
	{
		struct message request = raw_lease_request(file, 0, 1, RAW_LONG_MS), answer;

		raw_ask(&a, &request, -1, &answer);
		ck_assert_uint_eq(answer.type, MESSAGE_REOPEN);
	}
	close_it = raw_close_request(second);
	raw_ask(&a, &close_it, -1, &close_it);
	stop();
}
END_TEST

/* The client library sees the limits change without asking. */
START_TEST(test_library)
{
	struct smmap_client_options options = {.socket = "socket"};
	struct smmap_client *client;
	struct smmap_stats stats;

	start_server("max-memory = 512K\nmax-maps = 7\n");
	ck_assert_int_eq(smmap_client_open(&client, &options), 0);
	ck_assert_int_eq(smmap_client_stats(client, &stats), 0);
	ck_assert_uint_eq(stats.limit_memory_bytes, 512 * 1024);
	ck_assert_uint_eq(stats.limit_maps, 7);
	reload("max-memory = 256K\nmax-maps = 5\nmax-handles = 9\n", "reloaded: ");
	ck_assert_int_eq(smmap_client_stats(client, &stats), 0);
	ck_assert_uint_eq(stats.limit_memory_bytes, 256 * 1024);
	ck_assert_uint_eq(stats.limit_maps, 5);
	ck_assert_uint_eq(stats.limit_handles, 9);
	smmap_client_close(client);
	stop_server();
}
END_TEST

/* ---- one user's part ---- */

static void assert_over_quota(uint64_t window)
{
	char sentence[MESSAGE_MAX_TEXT + 1];
	struct message answer;

	raw_send_lease(&a, file, window * WINDOW, 1, 0);
	raw_receive(&a, &answer);
	raw_assert_error(&answer, EDQUOT, sentence);
	ck_assert_msg(strstr(sentence, "its part of max-memory"), "%s", sentence);
}

/* Where nobody says otherwise that is three quarters; and it changes with what is said. */
START_TEST(test_user_share)
{
	start("max-memory = 512K\n");
	for (uint64_t window = 0; window < 6; window++)
		lease_windows(&a, window, 1);
	assert_over_quota(6);
	ck_assert_uint_eq(used(), 6 * WINDOW);
	/* Of a range that can never fit it is said at once. */
	{
		struct message request = raw_lease_request(file, 0, 7 * WINDOW, RAW_LONG_MS);

		raw_refused(&a, &request, -1, EDQUOT);
	}

	reload("max-memory = 512K\nuser-share = 100%\n", "reloaded: ");
	lease_windows(&a, 6, 1);
	reload("max-memory = 512K\nuser-share = 50%\n", "reloaded: ");
	assert_over_quota(7);
	ck_assert_uint_eq(used(), 7 * WINDOW);
	reload("max-memory = 1M\n", "reloaded: ");
	for (uint64_t window = 7; window < 12; window++)
		lease_windows(&a, window, 1);
	assert_over_quota(12);
	stop();
}
END_TEST

/* ---- the others ---- */

START_TEST(test_recall_timeout)
{
	struct slot_ref idle;

	start("max-memory = 128K\nuser-share = 100%\nrecall-timeout = 1h\n");
	idle = lease_windows(&a, 0, 2);
	raw_unpin(&a, &idle);
	raw_send_lease(&b, file, 5 * WINDOW, 1, RAW_LONG_MS);
	raw_await_recall(&a, &idle);
	ck_assert(!raw_is_answered(&b));
	/* It does not unmap, and is thrown out for that only now. */
	reload("max-memory = 128K\nuser-share = 100%\nrecall-timeout = 100ms\n", "it has not unmapped what was recalled within 100 ms");
	raw_await_end(&a);
	raw_receive_leased(&b);
	stop();
}
END_TEST

static bool has_open(const char *name)
{
	char output[4096];

	harness_shell(output, sizeof(output), "ls -l /proc/%d/fd", (int)server.pid);
	return strstr(output, name);
}

/* A file that nobody asks for is closed though no client is there, so that its file system can be unmounted. */
START_TEST(test_idle_timeout)
{
	start_server("idle-timeout = 24h\n");
	harness_make_file("forgotten", 1);
	raw_start(&a, &server, "first");
	raw_open(&a, "forgotten");
	raw_close(&a);
	ck_assert(has_open("/forgotten"));
	reload("idle-timeout = 1s\n", "reloaded: ");
	while (has_open("/forgotten"))
		;
	stop_server();
}
END_TEST

START_TEST(test_log_level)
{
	start_server("log-level = info\n");
	raw_start(&a, &server, "first");
	reload("log-level = nonsense\n", "conf:2: log-level=nonsense is not one of");
	harness_write_file("conf", "window-size = 64K\nlog-level = error\nmax-maps = 77\n");
	ck_assert_int_eq(kill(server.pid, SIGHUP), 0);
	while (atomic_load(&a.pulse->limit_maps) != 77)
		;
	harness_write_file("conf", "window-size = 64K\nmax-maps = 78\n");
	ck_assert_int_eq(kill(server.pid, SIGHUP), 0);
	await_said("78 maps");
	ck_assert_msg(!strstr(said, "77 maps"), "%s", said);
	raw_close(&a);
	stop_server();
}
END_TEST

/* What can't change is kept, and that is said. */
START_TEST(test_kept)
{
	start("max-memory = 512K\nuser-share = 100%\n");
	harness_write_file("conf", "window-size = 128K\nsocket = other\nmax-memory = 256K\n");
	said[0] = '\0';
	ck_assert_int_eq(kill(server.pid, SIGHUP), 0);
	await_said("reloaded: serving on socket: at most 256 KiB in windows of 64 KiB");
	ck_assert_msg(strstr(said, "window-size stays 64K: for 128K the server has to be started again"), "%s", said);
	/* The command line says socket, and goes before the file. */
	ck_assert_msg(!strstr(said, "socket stays"), "%s", said);
	ck_assert_uint_eq(raw_summary(&observer).limit_window_bytes, WINDOW);
	ck_assert_uint_eq(atomic_load(&a.pulse->limit_memory_bytes), 256 * 1024);
	ck_assert_uint_eq(raw_lease(&a, file, 0, 1).length, WINDOW);
	ck_assert_int_eq(access("other", F_OK), -1);

	/* A window of the size that stays does not fit. */
	harness_write_file("conf", "window-size = 4K\nmax-memory = 60K\n");
	said[0] = '\0';
	ck_assert_int_eq(kill(server.pid, SIGHUP), 0);
	await_said("the settings from before hold\n");
	ck_assert_msg(strstr(said, "window-size stays 64K: for 4K the server has to be started again\n"), "%s", said);
	ck_assert_msg(strstr(said, " conf:2: max-memory is 60K, less than one window, which stays 64K: raise it, or start the server again\n"),
		      "%s", said);
	ck_assert_uint_eq(raw_summary(&observer).limit_memory_bytes, 256 * 1024);
	stop();
}
END_TEST

/* ---- mistakes ---- */

START_TEST(test_bad_file)
{
	start("max-memory = 512K\nmax-maps = 8\nuser-share = 100%\n");
	lease_windows(&a, 0, 8);
	reload("max-memory = 64K\nmax-maps = many\nmax-handels = 5\n",
	       "the settings from before hold: smmapd --check-config shows all mistakes\n");
	ck_assert_msg(strstr(said, "conf:3: max-maps=many is not a number, at least 1\n") &&
			      strstr(said, "conf:4: there is no setting 'max-handels'"), "%s", said);
	ck_assert_uint_eq(raw_summary(&observer).limit_memory_bytes, 512 * 1024);
	ck_assert_uint_eq(raw_summary(&observer).limit_maps, 8);
	ck_assert_uint_eq(used(), 8 * WINDOW);

	ck_assert_int_eq(unlink("conf"), 0);
	said[0] = '\0';
	ck_assert_int_eq(kill(server.pid, SIGHUP), 0);
	await_said("the settings from before hold");
	ck_assert_msg(strstr(said, "conf: can't read it: No such file or directory"), "%s", said);
	ck_assert_uint_eq(raw_summary(&observer).limit_maps, 8);
	reload("max-memory = 512K\nmax-maps = 9\n", "9 maps");
	ck_assert_uint_eq(raw_summary(&observer).limit_maps, 9);
	stop();
}
END_TEST

static char output[1 << 16];

static void check_config(int status, const char *arguments)
{
	int r = harness_shell(output, sizeof(output), "%s %s 2>&1", harness_program(), arguments);

	ck_assert_msg(r == status, "status %d: %s", r, output);
}

/* A line of the table, however wide its columns are. */
static void assert_line(const char *name, const char *value, const char *origin)
{
	char line[PATH_MAX], a_name[64], a_value[PATH_MAX], an_origin[PATH_MAX];
	FILE *lines = fmemopen(output, strlen(output), "r");
	bool found = false;

	ck_assert_ptr_nonnull(lines);
	while (!found && fgets(line, sizeof(line), lines))
		found = sscanf(line, "%63s %4095s %4095[^\n]", a_name, a_value, an_origin) == 3 && strcmp(a_name, name) == 0;
	fclose(lines);
	ck_assert_msg(found && strcmp(a_value, value) == 0 && strcmp(an_origin, origin) == 0, "%s in %s", name, output);
}

START_TEST(test_check_config)
{
	harness_write_file("conf", "# limits\nmax-memory = 1G\nmax-handles = 10\nmax-maps = 20\n");
	ck_assert_int_eq(mkdir("conf.d", 0700), 0);
	harness_write_file("conf.d/50-site.conf", "max-handles = 11\nmax-maps = 21\nidle-timeout = 90s\n");
	check_config(0, "--config=conf --check-config --max-maps=22 --socket=here");
	assert_line("socket", "here", "command line");
	assert_line("max-memory", "1G", "conf:2");
	assert_line("max-handles", "11", "conf.d/50-site.conf:1");
	assert_line("max-maps", "22", "command line");
	assert_line("window-size", "64M", "default");
	assert_line("idle-timeout", "90s", "conf.d/50-site.conf:3");
	assert_line("log-level", "info", "default");

	/* What the kernel allows less of is what would hold. */
	ck_assert_int_eq(harness_shell(output, sizeof(output), "ulimit -n 120 && %s --check-config --config=conf --max-handles=60 2>&1",
				       harness_program()), 0);
	assert_line("max-handles", "44", "command line");
	ck_assert_msg(strstr(output, "max-handles lowered from 60 to 44: the limit on open files (RLIMIT_NOFILE)"), "%s", output);
}
END_TEST

START_TEST(test_check_config_mistakes)
{
	harness_write_file("conf", "max-memory = 1M\n");
	check_config(1, "--check-config --config=conf");
	ck_assert_str_eq(output, "smmapd: conf:1: max-memory is 1 MiB, less than one window of 64 MiB: raise it, or lower window-size\n");
	check_config(0, "--check-config --config=conf --max-memory=64M");
	check_config(0, "--check-config --config=conf --window-size=1M");
	check_config(2, "--check-config --config=/dev/null --max-memory=1M");
	ck_assert_str_eq(output, "smmapd: max-memory is 1 MiB, less than one window of 64 MiB: raise it, or lower window-size\n");

	harness_write_file("conf", "max-memory = 1X\nunknown = 1\n");
	check_config(1, "--check-config --config=conf");
	ck_assert_msg(strstr(output, "smmapd: conf:1: max-memory=1X is not a size") && strstr(output, "smmapd: conf:2: "), "%s", output);
	check_config(2, "--check-config --config=conf --max-maps=0");
	ck_assert_msg(strstr(output, "smmapd: --max-maps=0 is not a number, at least 1"), "%s", output);
	/* As a server would say it that does not start. */
	check_config(1, "--config=conf --socket=here");
	ck_assert_msg(strstr(output, "smmapd: conf:1: ") && strstr(output, "smmapd: conf:2: "), "%s", output);
	ck_assert_int_eq(access("here", F_OK), -1);

	check_config(1, "--check-config --config=missing");
	ck_assert_str_eq(output, "smmapd: missing: can't read it: No such file or directory\n");
	check_config(2, "--check-config=yes");
	check_config(2, "exec --check-config -- true");
}
END_TEST

/* The running server is not touched. */
START_TEST(test_check_config_beside)
{
	start("max-maps = 9\n");
	harness_write_file("conf", "max-maps = 3\n");
	check_config(0, "--check-config --config=conf --socket=socket");
	assert_line("max-maps", "3", "conf:1");
	ck_assert_uint_eq(raw_summary(&observer).limit_maps, 9);
	stop();
}
END_TEST

/* A private server has the file that it is told of, and another user's part: all. */
START_TEST(test_exec)
{
	harness_write_file("conf", "max-maps = 5\n");
	check_config(0, "exec --config=conf -- sh -c '$SMMAPD status --json' | grep -E '\"maps\": 5,?$'");
	harness_write_file("conf", "max-maps = 0\n");
	check_config(1, "exec --config=conf -- true");
	ck_assert_msg(strstr(output, "conf:1: max-maps=0"), "%s", output);
}
END_TEST

/* ---- under load ---- */

#define READERS 3
#define RELOADS 12

static struct load {
	atomic_bool stop;
	atomic_uint n[READERS];
} *load;

/* Reads random pieces, of up to two windows, and compares them. */
static void read_on(int reader)
{
	struct smmap_client_options options = {.socket = server.socket};
	struct smmap_cursor *cursor;
	struct smmap_client *client;
	bool wrong = false;

	ck_assert_int_eq(smmap_client_open(&client, &options), 0);
	ck_assert_int_eq(smmap_cursor_open(&cursor, client, "file", 0), 0);
	while (!load->stop) {
		uint64_t offset = (harness_random() + (uint64_t)reader) % (20 * WINDOW);
		ssize_t n = smmap_cursor_use(cursor, offset, 3000);
		const unsigned char *data = smmap_cursor_data(cursor);

		ck_assert_msg(n > 0, "%s", smmap_strerror((int)n));
		for (ssize_t i = 0; i < n; i++)
			wrong = wrong || data[i] != harness_byte(offset + (uint64_t)i);
		ck_assert(!wrong);
		load->n[reader]++;
	}
	smmap_cursor_close(cursor);
	smmap_client_close(client);
}

/* The limit goes down and up while clients read: they read on, and each time no more is used than may be. */
START_TEST(test_under_load)
{
	static const unsigned windows[] = {16, 8, 12, 6};
	pid_t readers[READERS];
	bool too_much = false;

	load = mmap(NULL, sizeof(*load), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(load, MAP_FAILED);
	start("max-memory = 1M\nuser-share = 100%\n");
	for (int i = 0; i < READERS; i++) {
		readers[i] = fork();
		ck_assert_int_ge(readers[i], 0);
		if (!readers[i]) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			read_on(i);
			_exit(0);
		}
	}
	for (int i = 0; i < RELOADS; i++) {
		unsigned n = windows[i % 4], before[READERS];

		/* Too often for the log, which leaves out what comes again and again. */
		harness_write_file("conf", "window-size = 64K\nmax-memory = %uK\nuser-share = 100%%\n", n * 64);
		ck_assert_int_eq(kill(server.pid, SIGHUP), 0);
		while (atomic_load(&observer.pulse->limit_memory_bytes) != n * WINDOW || used() > n * WINDOW)
			;
		for (int reader = 0; reader < READERS; reader++)
			before[reader] = load->n[reader];
		for (int reader = 0; reader < READERS; reader++)
			while (load->n[reader] < before[reader] + 10)
				too_much = too_much || used() > n * WINDOW;
		ck_assert(!too_much);
	}
	load->stop = true;
	for (int i = 0; i < READERS; i++) {
		int status;

		ck_assert_int_eq(waitpid(readers[i], &status, 0), readers[i]);
		ck_assert_int_eq(status, 0);
	}
	stop();
	munmap(load, sizeof(*load));
}
END_TEST

Suite *suite(void);

Suite *suite(void)
{
	Suite *s = suite_create("reload");

	HARNESS_CASE(s, "limits", test_smaller, test_smaller_alone, test_larger, test_handles, test_library, test_user_share);
	HARNESS_CASE(s, "others", test_recall_timeout, test_idle_timeout, test_log_level, test_kept, test_bad_file);
	HARNESS_CASE(s, "check", test_check_config, test_check_config_mistakes, test_check_config_beside, test_exec);
	HARNESS_CASE(s, "load", test_under_load);
	return s;
}

int main(void)
{
	return harness_run(suite());
}
