/* SPDX-License-Identifier: BSD-3-Clause */
/* Servers, readers, and teams of processes. None of them outlives the benchmark. */
#include "config.h"

#include "bench/bench.h"

#include "proto/util.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#define MAX_OPTIONS 16

/* ---- servers ---- */

static pid_t start_process(void)
{
	pid_t parent = getpid(), pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		bench_fail("no process: %s", strerror(errno));
	if (!pid && (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent))
		_exit(127);
	return pid;
}

static void await_serving(int fd)
{
	char said[4096];
	size_t n = 0;

	for (;;) {
		ssize_t r = read(fd, said + n, sizeof(said) - 1 - n);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			bench_fail("the server did not start: %.*s", (int)n, said);
		n += (size_t)r;
		said[n] = '\0';
		if (strstr(said, "serving on"))
			return;
	}
}

void bench_server_start(struct bench_server *server, ...)
{
	const char *arguments[MAX_OPTIONS + 1] = {getenv("SMMAPD"), "--socket=socket", "--config=/dev/null", "--user-share=100%"};
	size_t n = 4;
	va_list options;
	int pipes[2];

	va_start(options, server);
	while (n < MAX_OPTIONS && (arguments[n] = va_arg(options, const char *)))
		n++;
	va_end(options);
	snprintf(server->socket, sizeof(server->socket), "socket");
	if (pipe2(pipes, O_CLOEXEC) < 0)
		bench_fail("no pipe: %s", strerror(errno));
	server->pid = start_process();
	if (!server->pid) {
		dup2(pipes[1], STDERR_FILENO);
		execv(arguments[0], (char *const *)(uintptr_t)arguments);
		_exit(127);
	}
	close(pipes[1]);
	await_serving(pipes[0]);
	close(pipes[0]);
}

void bench_server_fork(struct bench_server *server, void (*serve)(int listener))
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "bare"};
	int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(server->socket, sizeof(server->socket), "bare");
	unlink(server->socket);
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(listener, 1024) < 0)
		bench_fail("%s: %s", server->socket, strerror(errno));
	server->pid = start_process();
	if (!server->pid) {
		serve(listener);
		_exit(1);
	}
	close(listener);
}

void bench_server_stop(struct bench_server *server)
{
	kill(server->pid, SIGTERM);
	waitpid(server->pid, NULL, 0);
	unlink(server->socket);
}

/* ---- readers ---- */

void bench_reader_open(struct bench_reader *reader, const struct bench_server *server, const struct bench_file *file, uint64_t max_mapped)
{
	struct smmap_client_options options = {.socket = server->socket, .max_mapped = max_mapped};

	bench_check(smmap_client_open(&reader->client, &options), "connecting");
	bench_check(smmap_cursor_open(&reader->cursor, reader->client, file->path, 0), file->path);
}

void bench_reader_close(struct bench_reader *reader)
{
	smmap_cursor_close(reader->cursor);
	smmap_client_close(reader->client);
}

/* ---- teams ---- */

static size_t board_bytes(unsigned n)
{
	return sizeof(struct bench_board) + n * sizeof(struct bench_member);
}

void bench_team_start(struct bench_team *team, unsigned n, void (*work)(struct bench_team *team, unsigned member, void *data), void *data)
{
	*team = (struct bench_team){.n = n, .pids = calloc(n, sizeof(*team->pids))};
	team->board = mmap(NULL, board_bytes(n), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!team->pids || team->board == MAP_FAILED)
		bench_fail("no memory");
	sem_init(&team->board->go, true, 0);
	for (unsigned i = 0; i < n; i++) {
		team->pids[i] = start_process();
		if (!team->pids[i]) {
			work(team, i, data);
			_exit(0);
		}
	}
	while (atomic_load(&team->board->n_ready) < n) {
		if (waitpid(-1, NULL, WNOHANG) > 0)
			bench_fail("a process of a team, or a server, has ended");
		bench_sleep_ms(1);
	}
}

void bench_team_ready(struct bench_team *team)
{
	atomic_fetch_add(&team->board->n_ready, 1);
	while (sem_wait(&team->board->go) < 0)
		;
}

/* All that are ready go on. */
static void begin_phase(struct bench_team *team, unsigned phase)
{
	if (atomic_exchange(&team->board->phase, phase))
		return;
	for (unsigned i = 0; i < team->n; i++)
		sem_post(&team->board->go);
}

bool bench_team_works(const struct bench_team *team)
{
	return atomic_load_explicit(&team->board->phase, memory_order_relaxed) == 1;
}

void bench_team_await_end(const struct bench_team *team)
{
	while (atomic_load(&team->board->phase) != 2)
		bench_sleep_ms(1);
}

void bench_team_count(struct bench_team *team, unsigned member, uint64_t count)
{
	atomic_store_explicit(&team->board->members[member].count, count, memory_order_relaxed);
}

static uint64_t sum_counts(const struct bench_team *team)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < team->n; i++)
		sum += atomic_load_explicit(&team->board->members[i].count, memory_order_relaxed);
	return sum;
}

double bench_team_rate(struct bench_team *team)
{
	uint64_t start, ns, before, n;

	begin_phase(team, 1);
	bench_sleep_ms(scale->ms / 4);
	start = bench_ns();
	before = sum_counts(team);
	bench_sleep_ms(scale->ms);
	n = sum_counts(team) - before;
	ns = bench_ns() - start;
	return (double)n * 1e9 / (double)ns;
}

void bench_team_end(struct bench_team *team)
{
	int status;

	begin_phase(team, 2);
	for (unsigned i = 0; i < team->n; i++)
		if (waitpid(team->pids[i], &status, 0) < 0 || status)
			bench_fail("a process of a team has failed");
	munmap(team->board, board_bytes(team->n));
	free(team->pids);
}

/* ---- what the kernel tells ---- */

uint64_t bench_proc(pid_t pid, const char *file, const char *name)
{
	char path[64], line[256];
	size_t length = strlen(name);
	uint64_t figure = 0;
	bool found = false;
	FILE *stream;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	stream = fopen(path, "re");
	while (stream && !found && fgets(line, sizeof(line), stream))
		found = !strncmp(line, name, length) && sscanf(line + length, ": %" SCNu64, &figure) == 1;
	if (!found)
		bench_fail("%s does not tell %s", path, name);
	fclose(stream);
	return figure;
}
