/* SPDX-License-Identifier: BSD-3-Clause */
/* The program from outside: serving, `smmapd exec`, and what it says and returns when it is called in a wrong way. */
#include "config.h"

#include "tests/harness.h"

#include "proto/util.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

static struct harness_server server;
static char output[1 << 20];

/* Runs the program with these arguments, as a shell reads them, and requires an exit status. Both its outputs are kept. */
static void run(int status, const char *arguments)
{
	int r = harness_shell(output, sizeof(output), "%s %s 2>&1", harness_program(), arguments);

	ck_assert_msg(r == status, "smmapd %s: status %d, not %d: %s", arguments, r, status, output);
}

static void assert_said(const char *part)
{
	ck_assert_msg(strstr(output, part), "no '%s' in: %s", part, output);
}

/* The same, and requires that it says something of @part. */
static void run_saying(int status, const char *arguments, const char *part)
{
	run(status, arguments);
	assert_said(part);
}

/* ---- serving ---- */

static void assert_serves_until(int number)
{
	int status;

	harness_start(&server, NULL);
	ck_assert_int_eq(access(server.socket, F_OK), 0);
	run(0, "status --socket=socket");
	ck_assert_int_eq(kill(server.pid, number), 0);
	ck_assert_int_eq(waitpid(server.pid, &status, 0), server.pid);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 0);
	ck_assert_int_eq(access(server.socket, F_OK), -1);
}

START_TEST(test_ends_by_signal)
{
	assert_serves_until(SIGTERM);
	assert_serves_until(SIGINT);
}
END_TEST

/* Else it could not tell a process of its own that has ended as it should from one that was killed. */
START_TEST(test_started_where_ends_are_ignored)
{
	unsigned long long ignored = 0;
	char path[64], line[256];
	FILE *status;

	ck_assert(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
	harness_start(&server, NULL);
	ck_assert(signal(SIGCHLD, SIG_DFL) != SIG_ERR);
	snprintf(path, sizeof(path), "/proc/%d/status", (int)server.pid);
	status = fopen(path, "re");
	ck_assert_ptr_nonnull(status);
	while (fgets(line, sizeof(line), status))
		sscanf(line, "SigIgn: %llx", &ignored);
	fclose(status);
	ck_assert(ignored >> (SIGPIPE - 1) & 1);
	ck_assert(!(ignored >> (SIGCHLD - 1) & 1));
	harness_stop(&server);
}
END_TEST

START_TEST(test_second_server)
{
	struct stat before, after;

	harness_start(&server, NULL);
	ck_assert_int_eq(stat("socket", &before), 0);
	run_saying(1, "--socket=socket", "running");
	assert_said("socket");
	ck_assert_int_eq(stat("socket", &after), 0);
	ck_assert_uint_eq(before.st_ino, after.st_ino);
	run(0, "status --socket=socket");
	harness_stop(&server);
}
END_TEST

START_TEST(test_socket_of_a_dead_server)
{
	struct harness_server next;

	harness_start(&server, NULL);
	harness_kill(&server);
	ck_assert_int_eq(access("socket", F_OK), 0);
	run_saying(3, "status --socket=socket", "socket");
	harness_start(&next, NULL);
	run(0, "status --socket=socket");
	harness_stop(&next);
}
END_TEST

START_TEST(test_socket_in_the_way)
{
	char long_path[300];
	struct stat st;

	/* A file that is no socket is nobody's to remove. */
	harness_make_file("file", 10);
	run_saying(1, "--socket=file", "file");
	ck_assert_int_eq(stat("file", &st), 0);
	ck_assert_int_eq(st.st_size, 10);
	run_saying(1, "--socket=no/such/folder", "no/such/folder");
	run_saying(1, "--socket=/dev/null/socket", "/dev/null/socket");

	memset(long_path, 'x', sizeof(long_path) - 1);
	memcpy(long_path, "--socket=", 9);
	/* The address has room for 107 bytes. */
	long_path[9 + 108] = '\0';
	run_saying(1, long_path, "too long");
}
END_TEST

START_TEST(test_own_socket_only)
{
	int status;

	/* Where another file has taken the place of the socket, it stays. */
	harness_start(&server, NULL);
	ck_assert_int_eq(unlink("socket"), 0);
	harness_make_file("socket", 1);
	ck_assert_int_eq(kill(server.pid, SIGTERM), 0);
	ck_assert_int_eq(waitpid(server.pid, &status, 0), server.pid);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(access("socket", F_OK), 0);
}
END_TEST

/* ---- exec ---- */

/* Has its folders here, so that what is left of them is seen. */
static void prepare_exec(void)
{
	char here[PATH_MAX];

	ck_assert_int_eq(mkdir("tmp", 0700), 0);
	ck_assert_ptr_nonnull(getcwd(here, sizeof(here)));
	strcat(here, "/tmp");
	ck_assert_int_eq(setenv("TMPDIR", here, 1), 0);
	ck_assert_int_eq(unsetenv("XDG_RUNTIME_DIR"), 0);
}

static void assert_nothing_left(void)
{
	/* Succeeds only with an empty folder. */
	ck_assert_int_eq(rmdir("tmp"), 0);
	ck_assert_int_eq(mkdir("tmp", 0700), 0);
}

static void run_exec(int status, const char *arguments)
{
	run(status, arguments);
	assert_nothing_left();
}

START_TEST(test_exec_status)
{
	prepare_exec();
	run_exec(0, "exec -- true");
	run_exec(0, "exec true");
	run_exec(1, "exec -- false");
	run_exec(77, "exec -- sh -c 'exit 77'");
	run_exec(255, "exec -- sh -c 'exit 255'");
	run_exec(128 + SIGTERM, "exec -- sh -c 'kill -TERM $$'");
	run_exec(128 + SIGKILL, "exec -- sh -c 'kill -KILL $$'");
	run_exec(127, "exec -- ./not-there");
	assert_said("not-there");
	run_exec(127, "exec -- not-there-at-all");
	assert_said("not-there-at-all");
	harness_make_file("data", 1);
	run_exec(126, "exec -- ./data");
	assert_said("data");
	/* What stands behind the command is the command's. */
	run_exec(0, "exec echo --help --max-memory=abc");
	ck_assert_str_eq(output, "--help --max-memory=abc\n");
	run_exec(0, "exec -- sh -c 'cat; echo err >&2; echo $0' </dev/null");
	assert_said("err");
	run_exec(2, "exec");
	assert_said("command");
	run_exec(2, "exec --max-memory=abc true");
}
END_TEST

START_TEST(test_exec_serves)
{
	char command[2 * PATH_MAX];

	prepare_exec();
	harness_make_file("file", 300000);
	snprintf(command, sizeof(command),
		 "exec --max-memory=128K --window-size=64K -- "
		 "sh -c 'test -S \"$SMMAP_SOCKET\" && %s cat file | cmp - file && %s status'",
		 harness_program(), harness_program());
	run_exec(0, command);
	assert_said("128 KiB");

	/* Only this user can enter the folder. */
	run_exec(0, "exec -- sh -c 'stat -c %a \"$(dirname \"$SMMAP_SOCKET\")\"'");
	assert_said("700");
	run_exec(0, "exec --socket=chosen -- sh -c 'test -S chosen && echo $SMMAP_SOCKET'");
	assert_said("chosen");
	ck_assert_int_eq(access("chosen", F_OK), -1);

	/* A command inside of another. */
	snprintf(command, sizeof(command), "exec -- %s exec -- sh -c 'exit 5'", harness_program());
	run_exec(5, command);
}
END_TEST

/* Starts `smmapd exec` on a shell script that says "ready" when it is. */
static pid_t start_exec(const char *script, int *from)
{
	int pipes[2];
	char byte;
	pid_t pid;

	ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		dup2(pipes[1], STDOUT_FILENO);
		execl(harness_program(), "smmapd", "exec", "--", "sh", "-c", script, (char *)NULL);
		_exit(99);
	}
	close(pipes[1]);
	for (int i = 0; i < 6; i++)
		ck_assert_int_eq(read(pipes[0], &byte, 1), 1);
	*from = pipes[0];
	return pid;
}

static void await_exec(pid_t pid, int from, int expected, const char *said)
{
	char rest[64] = "";
	size_t n = 0;
	ssize_t r;
	int status;

	/* The end of the pipe comes when no process is left. */
	while ((r = read(from, rest + n, sizeof(rest) - 1 - n)) > 0)
		n += (size_t)r;
	close(from);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status), "it ended with status %#x", (unsigned)status);
	ck_assert_int_eq(WEXITSTATUS(status), expected);
	ck_assert_str_eq(rest, said);
	assert_nothing_left();
}

START_TEST(test_exec_forwards_sigterm)
{
	pid_t pid;
	int from;

	prepare_exec();
	pid = start_exec("echo ready; exec sleep 1000", &from);
	ck_assert_int_eq(kill(pid, SIGTERM), 0);
	await_exec(pid, from, 128 + SIGTERM, "");

	/* One that decides otherwise. */
	ck_assert_int_eq(mkfifo("fifo", 0600), 0);
	pid = start_exec("trap 'echo caught; exit 9' TERM; echo ready; read x <fifo", &from);
	ck_assert_int_eq(kill(pid, SIGTERM), 0);
	await_exec(pid, from, 9, "caught\n");
}
END_TEST

START_TEST(test_exec_survives_sigint)
{
	int from, fifo;
	pid_t pid;

	/* The command gets SIGINT from the terminal, and decides. Here only the server does, which goes on serving. */
	prepare_exec();
	ck_assert_int_eq(mkfifo("fifo", 0600), 0);
	pid = start_exec("echo ready; read x <fifo; test -S $SMMAP_SOCKET && echo there; exit 4", &from);
	ck_assert_int_eq(kill(pid, SIGINT), 0);
	ck_assert_int_eq(kill(pid, SIGINT), 0);
	fifo = open("fifo", O_WRONLY | O_CLOEXEC);
	ck_assert_int_eq(write(fifo, "x\n", 2), 2);
	close(fifo);
	await_exec(pid, from, 4, "there\n");
}
END_TEST

/* ---- usage ---- */

START_TEST(test_help_and_version)
{
	static const char *const commands[] = {"", "exec", "status", "cat", "warm", "collect", "drop"};
	char arguments[64];

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		snprintf(arguments, sizeof(arguments), "%s --help 2>/dev/null", commands[i]);
		run_saying(0, arguments, "Usage: smmapd");
		snprintf(arguments, sizeof(arguments), "%s -h 2>/dev/null", commands[i]);
		run_saying(0, arguments, "Usage: smmapd");
	}
	run(0, "--version 2>/dev/null");
	ck_assert_str_eq(output, PACKAGE_STRING "\n");
	run(0, "exec -V 2>/dev/null");
	ck_assert_str_eq(output, PACKAGE_STRING "\n");
	run(1, "--help >/dev/full");
	run(1, "status --help >/dev/full");
	run(1, "--version >/dev/full");
}
END_TEST

START_TEST(test_wrong_usage)
{
	static const struct {
		const char *arguments;
		const char *part; /* of what it says */
	} calls[] = {
		{"--bogus", "bogus"},
		{"-x", "x"},
		{"status --bogus", "bogus"},
		{"cat --bogus file", "bogus"},
		{"exec --bogus true", "bogus"},
		{"warm --bogus file", "bogus"},
		{"collect --bogus", "bogus"},
		{"drop --bogus file", "bogus"},
		{"nonsense", "nonsense"},
		{"statuses", "statuses"},
		{"status extra", "extra"},
		{"collect extra", "extra"},
		{"cat", "file"},
		{"warm", "file"},
		{"drop", "path"},
		{"drop one two", "path"},
		{"exec", "command"},
		{"exec --", "command"},
		{"--socket", "socket"},
		{"--socket=", "--socket has no value"},
		{"status --socket=", "--socket has no value"},
		{"cat --socket= file", "--socket has no value"},
		{"--config=", "--config has no value"},
		{"--max-memory", "max-memory"},
		{"--max-memory=abc", "abc"},
		{"--max-memory=", "max-memory"},
		{"--max-memory=-1", "-1"},
		{"--max-memory=+1", "+1"},
		{"--max-memory=1X", "1X"},
		{"--max-memory=1.5G", "1.5G"},
		{"--max-memory=101%", "101%"},
		{"--max-memory=18446744073709551616", "18446744073709551616"},
		{"--max-memory=16777216T", "16777216T"},
		{"--max-memory=65535 --window-size=64K", "max-memory"},
		{"--max-memory=0", "max-memory"},
		{"--max-memory=0%", "max-memory"},
		{"--window-size=65537", "window-size"},
		{"--window-size=98304", "window-size"},
		{"--window-size=0", "window-size"},
		{"--window-size=1", "window-size"},
		{"--window-size=2T --max-memory=4T", "window-size"},
		{"--window-size=abc", "abc"},
		{"--max-handles=0", "max-handles"},
		{"--max-handles=-1", "-1"},
		{"--max-handles=1K", "1K"},
		{"--max-maps=0", "max-maps"},
		{"--max-maps=many", "many"},
		{"cat --offset=-1 file", "-1"},
		{"cat --offset=9223372036854775808 file", "9223372036854775808"},
		{"cat --length=x file", "x"},
		{"exec --window-size=3 true", "window-size"},
	};

	/* None of these may start to serve: a socket that can't be. */
	ck_assert_int_eq(setenv("SMMAP_SOCKET", "/dev/null/socket", 1), 0);
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		run_saying(2, calls[i].arguments, calls[i].part);

	/* A path that is none. */
	memset(output, 'x', PATH_MAX);
	output[PATH_MAX] = '\0';
	ck_assert_int_eq(setenv("SMMAP_SOCKET", output, 1), 0);
	run(2, "status");
	ck_assert_str_eq(output, "smmapd: the path of the socket in the environment is too long\n");
	run(2, "--check-config --config=/dev/null");
	ck_assert_str_eq(output, "smmapd: the path of the socket in the environment is too long\n");
}
END_TEST

START_TEST(test_borders_of_limits)
{
	/* The other side of the borders above. */
	harness_start(&server, "--max-memory=64K", "--window-size=65536", "--max-handles=1", "--max-maps=1", NULL);
	ck_assert_uint_eq(harness_figure(&server, "limits.memory_bytes"), 65536);
	ck_assert_uint_eq(harness_figure(&server, "limits.window_bytes"), 65536);
	ck_assert_uint_eq(harness_figure(&server, "limits.handles"), 1);
	ck_assert_uint_eq(harness_figure(&server, "limits.maps"), 1);
	harness_stop(&server);
	harness_start(&server, "--max-memory=100%", NULL);
	ck_assert_uint_le(harness_figure(&server, "limits.memory_bytes"),
			  (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE));
	ck_assert_uint_eq(harness_figure(&server, "limits.window_bytes"), 64 << 20);
	harness_stop(&server);
}
END_TEST

START_TEST(test_no_server)
{
	static const char *const commands[] = {"status", "status --json", "cat file", "warm file", "collect", "drop file"};
	char arguments[128];

	harness_make_file("file", 1);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		snprintf(arguments, sizeof(arguments), "%s --socket=nowhere", commands[i]);
		run_saying(3, arguments, "nowhere");
		assert_said("start one with 'smmapd --socket=nowhere', or");
		assert_said("smmapd exec");
		snprintf(arguments, sizeof(arguments), "%s --socket=file", commands[i]);
		run_saying(3, arguments, "file");
		ck_assert_int_eq(setenv("SMMAP_SOCKET", "from-the-environment", 1), 0);
		run_saying(3, commands[i], "from-the-environment: start one with 'smmapd', or");
		unsetenv("SMMAP_SOCKET");
	}
}
END_TEST

Suite *suite(void);

Suite *suite(void)
{
	Suite *s = suite_create("program");

	HARNESS_CASE(s, "serve", test_ends_by_signal, test_started_where_ends_are_ignored, test_second_server,
		     test_socket_of_a_dead_server, test_socket_in_the_way, test_own_socket_only);
	HARNESS_CASE(s, "exec", test_exec_status, test_exec_serves, test_exec_forwards_sigterm, test_exec_survives_sigint);
	HARNESS_CASE(s, "usage", test_help_and_version, test_wrong_usage, test_borders_of_limits, test_no_server);
	return s;
}

int main(void)
{
	return harness_run(suite());
}
