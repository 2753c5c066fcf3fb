/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_HARNESS_H
#define TESTS_HARNESS_H

/*
 * What the tests share: every one runs in a process and a folder of its own, and must leave as many descriptors open as it found. Servers are
 * real ones: the program that was built, in a process of its own.
 */

#include <check.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Adds a case with the fixture: a folder as working directory, removed afterwards, and the count of descriptors. */
void harness_add_case(Suite *suite, const char *name, const TTest *const *tests, size_t n_tests);

#define HARNESS_CASE(suite, name, ...)                                                                     \
	do {                                                                                               \
		const TTest *const tests_[] = {__VA_ARGS__};                                              \
		harness_add_case(suite, name, tests_, sizeof(tests_) / sizeof(tests_[0])); \
	} while (0)

/* Runs a suite; the exit status of the test program. */
int harness_run(Suite *suite);

/* Whether this is root; a test that takes that is skipped else, which is said here. */
bool harness_is_root(void);

/* How many descriptors this process has open. */
int harness_count_descriptors(void);

/* A server of this test's own; its socket is in the working directory. */
struct harness_server {
	pid_t pid;
	char socket[PATH_MAX];
};

/* Starts smmapd with more options, ended by NULL, and waits until it serves. */
void harness_start(struct harness_server *server, ...) __attribute__((sentinel));

/* Starts one on the same socket, which must be free. */
void harness_start_at(struct harness_server *server, const char *socket, const char *const *options);

/* The same; what it says from then on is to be read from *@said, the caller's. */
void harness_start_heard(struct harness_server *server, const char *socket, const char *const *options, int *said);

/* Ends it with SIGTERM and requires that it ends well and removes its socket. */
void harness_stop(struct harness_server *server);

/* Ends it with SIGKILL. */
void harness_kill(struct harness_server *server);

/* The path of the program. */
const char *harness_program(void);

/*
 * Runs a shell command and returns its exit status; all it prints is stored, ended by a zero byte, in @output (@size bytes), cut if need
 * be.
 */
int harness_shell(char *output, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Makes a file of @size bytes, of which the one at offset i is harness_byte(i). */
void harness_make_file(const char *path, uint64_t size);
unsigned char harness_byte(uint64_t offset);

/* Makes a file with a text in it, as printf(3) would. */
void harness_write_file(const char *path, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A number of /proc/PID/status, as it stands there. */
uint64_t harness_process_figure(pid_t pid, const char *name);

/* A member of a server's `status --json`, by its path: "usage.memory_bytes". */
uint64_t harness_figure(const struct harness_server *server, const char *path);

/* A number that is the same in every run of a test with the same seed; the seed is printed where a test fails. */
uint64_t harness_random(void);

#endif
