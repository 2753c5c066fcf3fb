/* SPDX-License-Identifier: BSD-3-Clause */
/* The server: it is started, killed, ended and reloaded with other limits, and always comes back. */
#include "config.h"

#include "tests/soak.h"

#include "proto/util.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define HIGH_LIMIT (UINT64_C(12) << 20)
#define LOW_LIMIT  (UINT64_C(8) << 20)

static const char *program;
static uint64_t limit; /* that holds */

pid_t soak_server;
uint64_t soak_bound;

static void write_configuration(const char *path)
{
	FILE *file = fopen(path, "we");

	if (!file)
		return;
	fprintf(file, "max-memory = %" PRIu64 "\nmax-handles = 64\nwindow-size = 64K\n", limit);
	fprintf(file, "user-share = 50%%\nrecall-timeout = 5s\nlog-level = error\n");
	fprintf(file, "write-guard = yes\nwrite-guard-timeout = %dms\n", SOAK_GUARD_MS);
	fclose(file);
}

static void run_server(const char *configuration)
{
	char socket[SOAK_PATH + 16], config[SOAK_PATH + 32];

	snprintf(socket, sizeof(socket), "--socket=%s", soak->socket);
	snprintf(config, sizeof(config), "--config=%s", configuration);
	/* What a thread keeps at hand counts as in use, and so much would hide a leak. */
	setenv("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0", 1);
	execl(program, program, socket, config, (char *)NULL);
	_exit(127);
}

static const char *configuration_path(void)
{
	static char path[SOAK_PATH + 8];

	snprintf(path, sizeof(path), "%s.conf", soak->socket);
	return path;
}

static void start(void)
{
	struct soak_figures figures;
	uint64_t until_ms = soak_now_ms() + SOAK_PATIENCE_MS;

	soak_bound = limit;
	atomic_fetch_add(&soak->n_starts, 1);
	soak_server = soak_start();
	if (!soak_server)
		run_server(configuration_path());
	while (access(soak->socket, F_OK) < 0 || soak_look(program, soak_server, &figures) < 0)
		if (soak_now_ms() > until_ms || waitpid(soak_server, NULL, WNOHANG) != 0) {
			soak_lose(SOAK_LIVES, "the server did not start");
			exit(1);
		}
	atomic_store(&soak->server_since_ns, soak_now_ns());
	soak_keep(SOAK_LIVES);
}

void soak_replace_server(int number)
{
	uint64_t began_ms = soak_now_ms();
	int status;

	atomic_store(&soak->server_since_ns, 0);
	kill(soak_server, number);
	waitpid(soak_server, &status, 0);
	soak_count(number == SIGKILL ? SOAK_SERVER_KILLED : SOAK_SERVER_TERMINATED);
	if (number == SIGTERM && (status != 0 || soak_now_ms() - began_ms > SOAK_PATIENCE_MS))
		soak_lose(SOAK_LIVES, "the server ended with status %#x after %" PRIu64 " ms", (unsigned)status, soak_now_ms() - began_ms);
	soak_sleep_ms(soak_random(100));
	start();
}

void soak_change_limits(void)
{
	limit = limit == LOW_LIMIT ? HIGH_LIMIT : LOW_LIMIT;
	soak_bound = max_u64(soak_bound, limit);
	write_configuration(configuration_path());
	kill(soak_server, SIGHUP);
	soak_count(SOAK_LIMITS_CHANGED);
}

void soak_start_server(const char *path)
{
	program = path;
	limit = HIGH_LIMIT;
	write_configuration(configuration_path());
	start();
}
