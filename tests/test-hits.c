/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A hit costs no system call: in a process that the kernel kills for any, but for ending, cursors stand on a million random places of what
 * is leased. The client has no thread, since the kernel's rule is for one.
 */
#include "config.h"

#include "client/smmap-client.h"
#include "proto/util.h"
#include "tests/harness.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define WINDOW    65536
#define N_WINDOWS 64
#define N_FILES   4
#define N_CURSORS 8
#define N_USES    1000000

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

static struct harness_server server;

struct reader {
	struct smmap_client *client;
	struct smmap_cursor *cursors[N_CURSORS];
};

static void start(void)
{
	harness_start(&server, "--window-size=64K", "--max-memory=64M", NULL);
	for (int i = 0; i < N_FILES; i++)
		harness_make_file((char[]){(char)('a' + i), '\0'}, N_WINDOWS * WINDOW);
}

/* Opens cursors, and leases all windows of all files. 0 or an error. */
static int lease_all(struct reader *reader)
{
	struct smmap_client_options options = {.socket = server.socket, .flags = SMMAP_NO_THREAD};
	int r;

	r = smmap_client_open(&reader->client, &options);
	for (int i = 0; !r && i < N_CURSORS; i++)
		r = smmap_cursor_open(&reader->cursors[i], reader->client, (char[]){(char)('a' + i % N_FILES), '\0'}, 0);
	/* Each window has a lease of its own. */
	for (int i = 0; !r && i < N_FILES; i++)
		r = smmap_cursor_advise(reader->cursors[i], SMMAP_ADVISE_RANDOM);
	for (int i = 0; !r && i < N_FILES; i++)
		for (uint64_t window = 0; !r && window < N_WINDOWS; window++)
			r = smmap_cursor_use(reader->cursors[i], window * WINDOW, 1) == 1 ? 0 : -EIO;
	for (int i = 0; i < N_CURSORS; i++)
		smmap_cursor_unuse(reader->cursors[i]);
	return r;
}

/* Ends this thread, and so the process: exit() would do more than the rule allows, and so does a sanitizer where a function never returns. */
static void leave(int status)
{
	for (;;)
		syscall(SYS_exit, status);
}

/*
 * From now on the kernel kills this process for any call but that. The strict mode of seccomp would do, but can't be had in a
 * container that has a filter.
 */
static int forbid_calls(void)
{
	struct sock_filter rules[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog filter = {.len = sizeof(rules) / sizeof(*rules), .filter = rules};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -1;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
}

/* In a process of its own, with no call but to leave. */
static void use_many(bool in_one_window)
{
	struct reader reader;

	if (lease_all(&reader) < 0)
		leave(2);
	/* Where all is to be in one window, each cursor stands in one to begin with. */
	for (int i = 0; in_one_window && i < N_CURSORS; i++)
		if (smmap_cursor_use(reader.cursors[i], (uint64_t)i * WINDOW, 1) != 1)
			leave(3);
	if (forbid_calls() < 0)
		leave(4);

	for (int n = 0; n < N_USES; n++) {
		int i = n % N_CURSORS;
		uint64_t window = in_one_window ? (uint64_t)i : harness_random() % N_WINDOWS;
		uint64_t offset = window * WINDOW + harness_random() % WINDOW;

		if (smmap_cursor_use(reader.cursors[i], offset, 1) != 1)
			leave(5);
		if (*(const unsigned char *)smmap_cursor_data(reader.cursors[i]) != harness_byte(offset))
			leave(6);
	}
	leave(0);
}

static void assert_no_call(bool in_one_window)
{
	int status;
	pid_t pid;

	start();
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid)
		use_many(in_one_window);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(!WIFSIGNALED(status), "killed: the library has made a system call");
	ck_assert_int_eq(WEXITSTATUS(status), 0);
	harness_stop(&server);
}

START_TEST(test_inside_of_a_lease)
{
	assert_no_call(true);
}
END_TEST

START_TEST(test_coming_back)
{
	assert_no_call(false);
}
END_TEST

/* The rule is one that kills. */
START_TEST(test_rule)
{
	int status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (!pid) {
		if (forbid_calls() < 0)
			leave(4);
		getppid();
		leave(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status));
}
END_TEST

Suite *suite(void);

Suite *suite(void)
{
	Suite *s = suite_create("hits");

	HARNESS_CASE(s, "rule", test_rule);
	/* A sanitizer makes calls of its own. */
	if (!SANITIZED)
		HARNESS_CASE(s, "hits", test_inside_of_a_lease, test_coming_back);
	return s;
}

int main(void)
{
	return harness_run(suite());
}
