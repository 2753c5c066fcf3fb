/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Starting: what a new process needs from connecting to the first byte of a warm file, against open, mmap and read. Each is a program
 * started anew, that measures itself and prints nanoseconds. All are on one core, with the server.
 */
#include "config.h"

#include "bench/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

struct start {
	struct bench_file file;
	struct bench_server server;
};

/* ---- in the new process ---- */

static uint64_t by_client(const char *path, const char *socket)
{
	struct smmap_client_options options = {.socket = socket};
	struct smmap_client *client;
	struct smmap_cursor *cursor;
	uint64_t start = bench_ns(), ns;

	bench_check(smmap_client_open(&client, &options), "connecting");
	bench_check(smmap_cursor_open(&cursor, client, path, 0), path);
	bench_check(smmap_cursor_use(cursor, 0, 8), "the first use");
	bench_check_sum(*(const uint64_t *)smmap_cursor_data(cursor), bench_word(0), path);
	ns = bench_ns() - start;
	smmap_cursor_close(cursor);
	smmap_client_close(client);
	return ns;
}

static uint64_t by_map(const char *path)
{
	uint64_t start = bench_ns();
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	const uint64_t *map = mmap(NULL, 64 * MIB, PROT_READ, MAP_SHARED, fd, 0);

	if (map == MAP_FAILED)
		bench_fail("%s: %s", path, strerror(errno));
	bench_check_sum(map[0], bench_word(0), path);
	return bench_ns() - start;
}

int bench_start_child(char **arguments)
{
	printf("%" PRIu64 "\n", arguments[1] ? by_client(arguments[0], arguments[1]) : by_map(arguments[0]));
	return 0;
}

/* ---- in the benchmark ---- */

static uint64_t start_one(const struct start *start, const char *socket)
{
	uint64_t ns = 0;
	char said[64];
	int pipes[2], status;
	ssize_t n;
	pid_t pid;

	if (pipe2(pipes, O_CLOEXEC) < 0)
		bench_fail("no pipe");
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		bench_fail("no process");
	if (!pid) {
		dup2(pipes[1], STDOUT_FILENO);
		execl("/proc/self/exe", "bench", "start-child", start->file.path, socket, (char *)NULL);
		_exit(127);
	}
	close(pipes[1]);
	n = read(pipes[0], said, sizeof(said) - 1);
	close(pipes[0]);
	said[n > 0 ? n : 0] = '\0';
	if (waitpid(pid, &status, 0) < 0 || status || sscanf(said, "%" SCNu64, &ns) != 1)
		bench_fail("a new process has failed");
	return ns;
}

/* The median of many, in microseconds. */
static double start_many(const struct start *start, const char *socket)
{
	double *figures = calloc(scale->starts, sizeof(*figures)), median;

	if (!figures)
		bench_fail("no memory");
	for (unsigned i = 0; i < scale->starts; i++)
		figures[i] = (double)start_one(start, socket) / 1000;
	median = bench_median(figures, scale->starts);
	free(figures);
	return median;
}

static double ours(void *data)
{
	const struct start *start = data;

	return start_many(start, start->server.socket);
}

static double plain(void *data)
{
	return start_many(data, NULL);
}

void bench_start(void)
{
	static const struct bench_row ratio = {"start-ratio", "a new process, from connecting to the first byte of a warm file",
					       "open, mmap, read a byte", "us", BENCH_AT_MOST, 5};
	static const struct bench_row time = {"start-time", "the same", NULL, "us", BENCH_AT_MOST, 200};
	struct start start = {0};

	bench_file_make(&start.file, "warm", 64 * MIB);
	bench_pin();
	bench_server_start(&start.server, NULL);
	bench_compare(&ratio, ours, plain, &start);
	bench_compare(&time, ours, NULL, &start);
	bench_server_stop(&start.server);
	bench_unpin();
	bench_file_remove(&start.file);
}
