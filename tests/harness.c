/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "tests/harness.h"

#include "proto/util.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <jansson.h>
#include <linux/magic.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <time.h>

#define MAX_OPTIONS 16

/* For what is closed a little later. */
#define DESCRIPTORS_PATIENCE_MS 30000

/* Generous: under sanitizers and valgrind everything takes longer. */
#define TIMEOUT_SECONDS 900

/* ---- the fixture ---- */

static char folder[PATH_MAX];
static int descriptors_before;
static uint64_t random_state;

bool harness_is_root(void)
{
	if (geteuid() == 0)
		return true;
	puts("skipped: this takes root");
	return false;
}

int harness_count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 3; /* ".", ".." and the folder's own */
}

/* Where the identity of files is weak (see proto/descriptor.h) nothing is shared, and there is nothing to test. */
static const char *folder_template(void)
{
	struct statfs fs;

	if (statfs("/tmp", &fs) == 0 && fs.f_type == OVERLAYFS_SUPER_MAGIC)
		return "/dev/shm/smmap-test-XXXXXX";
	return "/tmp/smmap-test-XXXXXX";
}

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static void set_up(void)
{
	const char *seed = getenv("SMMAP_TEST_SEED");

	random_state = seed ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL) * 2654435761u;
	printf("seed %" PRIu64 "\n", random_state);
	fflush(stdout);

	snprintf(folder, sizeof(folder), "%s", folder_template());
	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(chdir(folder), 0);
	unsetenv("SMMAP_SOCKET");
	descriptors_before = harness_count_descriptors();
}

/* What runners have to close, they may close a little later. */
static int await_descriptors(void)
{
	for (int n = 0; n < DESCRIPTORS_PATIENCE_MS && harness_count_descriptors() > descriptors_before; n++)
		poll(NULL, 0, 1);
	return harness_count_descriptors();
}

static void tear_down(void)
{
	int descriptors_after = await_descriptors();

	ck_assert_int_eq(chdir("/"), 0);
	nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	ck_assert_int_eq(descriptors_after, descriptors_before);
}

void harness_add_case(Suite *suite, const char *name, const TTest *const *tests, size_t n_tests)
{
	TCase *tcase = tcase_create(name);

	tcase_set_timeout(tcase, TIMEOUT_SECONDS);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	for (size_t i = 0; i < n_tests; i++)
		tcase_add_test(tcase, tests[i]);
	suite_add_tcase(suite, tcase);
}

int harness_run(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	int failed;

	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

uint64_t harness_random(void)
{
	/* The generator of Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014. */
	uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* ---- servers ---- */

const char *harness_program(void)
{
	const char *program = getenv("SMMAPD");

	ck_assert_msg(program, "SMMAPD is not set: run this by `make check`");
	return program;
}

/* In the child. */
static void run_server(const char *const *arguments, int error)
{
	/* It must not outlive a test that fails. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(error, STDERR_FILENO);
	execv(arguments[0], (char *const *)(uintptr_t)arguments);
	_exit(127);
}

/* Reads until the server says that it serves. */
static void await_serving(int fd)
{
	char said[4096];
	size_t n = 0;

	while (n < sizeof(said) - 1) {
		ssize_t r = read(fd, said + n, sizeof(said) - 1 - n);

		if (r < 0 && errno == EINTR)
			continue;
		ck_assert_msg(r > 0, "the server did not start: %.*s", (int)n, said);
		n += (size_t)r;
		said[n] = '\0';
		if (strstr(said, "serving on"))
			return;
	}
	ck_abort_msg("the server says too much: %s", said);
}

void harness_start_heard(struct harness_server *server, const char *socket, const char *const *options, int *said)
{
	char option[PATH_MAX + 16];
	/*
	 * Most tests are of one user, who may have all; and are slow to unmap on a machine that is, and yet not to be sent away. What this
	 * machine's configuration says is not theirs.
	 */
	const char *arguments[MAX_OPTIONS + 6] = {
		harness_program(), option, "--config=/dev/null", "--user-share=100%", "--recall-timeout=1h",
	};
	int pipes[2];
	size_t n = 5;

	snprintf(server->socket, sizeof(server->socket), "%s", socket);
	snprintf(option, sizeof(option), "--socket=%s", socket);
	for (; *options; options++) {
		ck_assert_uint_lt(n, MAX_OPTIONS + 5);
		arguments[n++] = *options;
	}

	ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
	server->pid = fork();
	ck_assert_int_ge(server->pid, 0);
	if (!server->pid)
		run_server(arguments, pipes[1]);
	close(pipes[1]);
	await_serving(pipes[0]);
	*said = pipes[0];
}

void harness_start_at(struct harness_server *server, const char *socket, const char *const *options)
{
	int said;

	harness_start_heard(server, socket, options, &said);
	close(said);
}

void harness_start(struct harness_server *server, ...)
{
	const char *options[MAX_OPTIONS + 1];
	char socket[PATH_MAX + 8];
	va_list arguments;
	size_t n = 0;

	va_start(arguments, server);
	do {
		ck_assert_uint_le(n, MAX_OPTIONS);
		options[n] = va_arg(arguments, const char *);
	} while (options[n++]);
	va_end(arguments);
	snprintf(socket, sizeof(socket), "%s/socket", folder);
	harness_start_at(server, socket, options);
}

static int await_end(struct harness_server *server)
{
	int status;

	while (waitpid(server->pid, &status, 0) < 0)
		ck_assert_int_eq(errno, EINTR);
	server->pid = 0;
	return status;
}

void harness_stop(struct harness_server *server)
{
	int status;

	ck_assert_int_eq(kill(server->pid, SIGTERM), 0);
	status = await_end(server);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the server ended with status %#x", (unsigned)status);
	ck_assert_int_eq(access(server->socket, F_OK), -1);
}

void harness_kill(struct harness_server *server)
{
	ck_assert_int_eq(kill(server->pid, SIGKILL), 0);
	await_end(server);
}

int harness_shell(char *output, size_t size, const char *format, ...)
{
	char *command;
	va_list arguments;
	size_t n = 0;
	FILE *stream;
	int status;

	va_start(arguments, format);
	ck_assert_int_ge(vasprintf(&command, format, arguments), 0);
	va_end(arguments);

	stream = popen(command, "re");
	ck_assert_ptr_nonnull(stream);
	while (n < size - 1) {
		size_t r = fread(output + n, 1, size - 1 - n, stream);

		if (!r)
			break;
		n += r;
	}
	output[n] = '\0';
	status = pclose(stream);
	free(command);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

uint64_t harness_figure(const struct harness_server *server, const char *path)
{
	static char output[4 << 20];
	json_t *root, *value;
	json_error_t error;
	char names[128];
	char *name, *rest = names;
	uint64_t figure;

	ck_assert_int_eq(harness_shell(output, sizeof(output), "%s status --json --socket=%s", harness_program(), server->socket), 0);
	root = json_loads(output, 0, &error);
	ck_assert_msg(root, "not JSON: %s", error.text);

	snprintf(names, sizeof(names), "%s", path);
	value = root;
	while ((name = strsep(&rest, ".")))
		value = json_object_get(value, name);
	ck_assert_msg(json_is_integer(value), "no figure %s", path);
	figure = (uint64_t)json_integer_value(value);
	json_decref(root);
	return figure;
}

/* ---- files ---- */

unsigned char harness_byte(uint64_t offset)
{
	/* Differs from window to window and from page to page. */
	return (unsigned char)(offset * 31 + (offset >> 12) * 17 + (offset >> 20) * 5 + 7);
}

void harness_make_file(const char *path, uint64_t size)
{
	FILE *file = fopen(path, "we");
	unsigned char bytes[4096];

	ck_assert_ptr_nonnull(file);
	for (uint64_t offset = 0; offset < size; offset += sizeof(bytes)) {
		size_t n = (size_t)min_u64(sizeof(bytes), size - offset);

		for (size_t i = 0; i < n; i++)
			bytes[i] = harness_byte(offset + i);
		ck_assert_uint_eq(fwrite(bytes, 1, n, file), n);
	}
	ck_assert_int_eq(fclose(file), 0);
}

void harness_write_file(const char *path, const char *format, ...)
{
	FILE *file = fopen(path, "we");
	va_list arguments;

	ck_assert_ptr_nonnull(file);
	va_start(arguments, format);
	vfprintf(file, format, arguments);
	va_end(arguments);
	ck_assert_int_eq(fclose(file), 0);
}

uint64_t harness_process_figure(pid_t pid, const char *name)
{
	char path[64], line[256];
	size_t length = strlen(name);
	uint64_t figure = 0;
	bool found = false;
	FILE *status;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	status = fopen(path, "re");
	ck_assert_ptr_nonnull(status);
	while (!found && fgets(line, sizeof(line), status))
		found = strncmp(line, name, length) == 0 && sscanf(line + length, ": %" SCNu64, &figure) == 1;
	fclose(status);
	ck_assert_msg(found, "%s does not tell %s", path, name);
	return figure;
}
