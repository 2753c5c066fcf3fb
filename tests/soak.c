/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * soak SMMAPD MINUTES [SEED]: all faults at once, at random; see scripts/soak.
 *
 * This process supervises the server, which it kills, ends and reloads as well, and starts villains one after the other. Between that it looks
 * whether what must hold does: the bytes that the server and the honest readers have mapped together are within the limits; nobody has ended
 * who should not have; and, at rest, a server has as many descriptors and maps as at its rest before, and not much more memory.
 */
#include "config.h"

#include "tests/soak.h"

#include "proto/util.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#define PATIENCE_MS 30000
#define HIGH_LIMIT  (UINT64_C(12) << 20)
#define LOW_LIMIT   (UINT64_C(8) << 20)

/* How much more memory a server may have than at its first rest: caches of the allocator fill up. */
#define RESIDENT_SLACK (UINT64_C(4) << 20)
#define HEAP_SLACK     (UINT64_C(256) << 10)
#define MAPS_SLACK     8

static const char *program;
static pid_t server, changer, readers[SOAK_READERS], villains[SOAK_VILLAINS];
static uint64_t n_villains, n_samples, n_rests, largest;
static uint64_t limit, bound; /* the limit that holds, and the highest that has since the server's start */
static bool rested;           /* this server has, and had this then: */
static struct soak_figures at_rest;

static const char *const fault_names[SOAK_N_FAULTS] = {
	[SOAK_SERVER_KILLED] = "servers killed",
	[SOAK_SERVER_TERMINATED] = "servers terminated",
	[SOAK_LIMITS_CHANGED] = "limits changed by SIGHUP",
	[SOAK_CLIENT_KILLED] = "clients killed",
	[SOAK_CLIENT_STOPPED] = "clients stopped for ever",
	[SOAK_RUBBISH_PACKET] = "packets of rubbish",
	[SOAK_BOARD_SCRIBBLED] = "words scribbled on boards",
	[SOAK_PINNED_FOR_EVER] = "pins for ever",
	[SOAK_SILENT_CONNECTION] = "connections that say nothing",
	[SOAK_WRONG_DESCRIPTOR] = "descriptors of wrong kinds",
	[SOAK_UNREAD_ANSWER] = "answers never read",
	[SOAK_FILE_TRUNCATED] = "files truncated",
	[SOAK_FILE_GROWN] = "files grown",
	[SOAK_FILE_REPLACED] = "files replaced",
	[SOAK_FILE_DELETED] = "files deleted",
};

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- files ---- */

static void make_files(void)
{
	soak_fill_bytes();
	for (unsigned i = 0; i < SOAK_FILES; i++) {
		FILE *file = fopen(soak_path(i), "we");

		if (!file || fwrite(soak_bytes(i, 0), 1, SOAK_SIZE, file) != SOAK_SIZE || fclose(file) != 0)
			soak_lose("can't make %s: %s", soak_path(i), strerror(errno));
	}
}

/* ---- the server ---- */

static void write_configuration(const char *path)
{
	FILE *file = fopen(path, "we");

	if (!file)
		return;
	fprintf(file, "max-memory = %" PRIu64 "\nmax-handles = 64\nwindow-size = 64K\n", limit);
	fprintf(file, "user-share = 50%%\nrecall-timeout = 5s\nlog-level = error\n");
	fclose(file);
}

static void run_server(const char *configuration)
{
	char socket[SOAK_PATH + 16], config[SOAK_PATH + 32];

	snprintf(socket, sizeof(socket), "--socket=%s", soak->socket);
	snprintf(config, sizeof(config), "--config=%s", configuration);
	execl(program, program, socket, config, (char *)NULL);
	_exit(127);
}

static const char *configuration_path(void)
{
	static char path[SOAK_PATH + 8];

	snprintf(path, sizeof(path), "%s.conf", soak->socket);
	return path;
}

static pid_t start(void)
{
	pid_t pid = fork();

	if (pid < 0) {
		soak_lose("can't fork: %s", strerror(errno));
		exit(1);
	}
	if (!pid)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

static void start_server(void)
{
	struct soak_figures figures;
	uint64_t until_ms = now_ms() + PATIENCE_MS;

	bound = limit;
	rested = false;
	atomic_fetch_add(&soak->n_starts, 1);
	server = start();
	if (!server)
		run_server(configuration_path());
	while (access(soak->socket, F_OK) < 0 || soak_look(program, server, &figures) < 0)
		if (now_ms() > until_ms || waitpid(server, NULL, WNOHANG) != 0) {
			soak_lose("the server did not start");
			exit(1);
		}
}

/* Ends it, and starts another one. */
static void replace_server(int number)
{
	uint64_t began_ms = now_ms();
	int status;

	kill(server, number);
	waitpid(server, &status, 0);
	soak_count(number == SIGKILL ? SOAK_SERVER_KILLED : SOAK_SERVER_TERMINATED);
	if (number == SIGTERM && (status != 0 || now_ms() - began_ms > PATIENCE_MS))
		soak_lose("the server ended with status %#x after %" PRIu64 " ms", (unsigned)status, now_ms() - began_ms);
	soak_sleep_ms(soak_random(100));
	start_server();
}

static void change_limits(void)
{
	limit = limit == LOW_LIMIT ? HIGH_LIMIT : LOW_LIMIT;
	bound = max_u64(bound, limit);
	write_configuration(configuration_path());
	kill(server, SIGHUP);
	soak_count(SOAK_LIMITS_CHANGED);
}

/* ---- villains ---- */

static void kill_villain(unsigned i)
{
	int status;

	if (!villains[i])
		return;
	kill(villains[i], SIGKILL);
	waitpid(villains[i], &status, 0);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		soak_lose("a villain has ended on its own, with status %#x", (unsigned)status);
	villains[i] = 0;
	soak_count(SOAK_CLIENT_KILLED);
}

static void replace_villain(unsigned i)
{
	kill_villain(i);
	villains[i] = start();
	n_villains++;
	if (!villains[i]) {
		/* It says nothing where it ends in a way of its own. */
		signal(SIGPIPE, SIG_DFL);
		_exit(soak_misbehave(n_villains));
	}
}

/* ---- invariants ---- */

/* Whether no honest cursor stands on what a server before this one has granted: that it does not know. */
static bool no_orphans(void)
{
	for (unsigned i = 0; i < SOAK_READERS * SOAK_THREADS; i++)
		if (atomic_load(&soak->threads[i].since) != atomic_load(&soak->n_starts))
			return false;
	return true;
}

static void signal_honest(int number)
{
	/* The server stands still first and goes on last. */
	if (number == SIGSTOP)
		kill(server, number);
	for (unsigned i = 0; i < SOAK_READERS; i++)
		kill(readers[i], number);
	if (number == SIGCONT)
		kill(server, number);
}

static void check_limits(void)
{
	pid_t pids[1 + SOAK_READERS] = {server};
	uint64_t sum;

	if (!no_orphans())
		return;
	memcpy(pids + 1, readers, sizeof(readers));
	signal_honest(SIGSTOP);
	for (unsigned i = 0; i <= SOAK_READERS; i++)
		waitpid(pids[i], NULL, WUNTRACED);
	sum = soak_mapped(pids, 1 + SOAK_READERS);
	signal_honest(SIGCONT);
	n_samples++;
	largest = max_u64(largest, sum);
	if (sum > bound)
		soak_lose("%" PRIu64 " bytes are mapped, and %" PRIu64 " was the limit", sum, bound);
}

static void check_process(pid_t pid, const char *what)
{
	int status;

	if (waitpid(pid, &status, WNOHANG) == 0)
		return;
	soak_lose("%s has ended with status %#x", what, (unsigned)status);
}

static bool all_rest(void)
{
	for (unsigned i = 0; i < SOAK_READERS * SOAK_THREADS; i++)
		if (!atomic_load(&soak->threads[i].rests))
			return false;
	return true;
}

/*
 * Waits until the server has nothing left of the villains, nor of the readers but their connections: twice the same, and no more than at the
 * rest before. Connections that have said nothing yet are no clients, but descriptors.
 */
static bool await_rest(struct soak_figures *figures)
{
	uint64_t until_ms = now_ms() + PATIENCE_MS, descriptors = 0;
	char command[PATH_MAX];

	snprintf(command, sizeof(command), "%s drop --socket=%s %s >/dev/null 2>&1", program, soak->socket, soak->folder);
	while (now_ms() < until_ms) {
		if (all_rest() && system(command) == 0 && soak_look(program, server, figures) == 0 && !figures->leases &&
		    !figures->handles && figures->clients == SOAK_READERS + 1) {
			if (figures->descriptors == descriptors && (!rested || descriptors <= at_rest.descriptors))
				return true;
			descriptors = figures->descriptors;
		}
		soak_sleep_ms(20);
	}
	return false;
}

/* What the server says of itself, to find out. */
static void show_server(void)
{
	char command[PATH_MAX];

	snprintf(command, sizeof(command), "%s status --clients --files --pins --socket=%s >&2", program, soak->socket);
	if (system(command) != 0)
		fprintf(stderr, "soak: the server does not tell\n");
}

static void rest(void)
{
	struct soak_figures now;

	for (unsigned i = 0; i < SOAK_VILLAINS; i++)
		kill_villain(i);
	atomic_store(&soak->rest, true);
	if (!await_rest(&now)) {
		soak_lose("the server does not come to rest: %" PRIu64 " clients, %" PRIu64 " leases, %" PRIu64 " files, %" PRIu64
			  " descriptors", now.clients, now.leases, now.handles, now.descriptors);
		show_server();
	} else if (!rested) {
		at_rest = now;
		rested = true;
	} else {
		n_rests++;
		if (now.maps > at_rest.maps + MAPS_SLACK ||
		    now.resident_bytes > at_rest.resident_bytes + RESIDENT_SLACK || now.heap_bytes > at_rest.heap_bytes + HEAP_SLACK)
			soak_lose("a leak: %" PRIu64 " maps, %" PRIu64 " bytes, %" PRIu64 " of the heap; before %" PRIu64 ", %" PRIu64
				  ", %" PRIu64, now.maps, now.resident_bytes, now.heap_bytes, at_rest.maps, at_rest.resident_bytes,
				  at_rest.heap_bytes);
	}
	atomic_store(&soak->rest, false);
}

/* ---- the whole ---- */

static void begin(uint64_t seed)
{
	char folder[] = "/tmp/smmap-soak-XXXXXX";

	soak = mmap(NULL, sizeof(*soak), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (soak == MAP_FAILED || !mkdtemp(folder) || chmod(folder, 0755) < 0) {
		fprintf(stderr, "soak: can't begin: %s\n", strerror(errno));
		exit(1);
	}
	soak->seed = seed;
	snprintf(soak->folder, sizeof(soak->folder), "%s/files", folder);
	snprintf(soak->socket, sizeof(soak->socket), "%s/socket", folder);
	soak_begin_random(0);
	if (mkdir(soak->folder, 0755) < 0)
		soak_lose("can't make %s: %s", soak->folder, strerror(errno));
	make_files();
	limit = HIGH_LIMIT;
	write_configuration(configuration_path());
	start_server();
	for (unsigned i = 0; i < SOAK_READERS; i++) {
		readers[i] = start();
		if (!readers[i])
			_exit(soak_read(i));
	}
	changer = start();
	if (!changer)
		_exit(soak_change_files());
}

static void await_end(pid_t pid, const char *what)
{
	int status;

	if (waitpid(pid, &status, 0) == pid && status != 0)
		soak_lose("%s has ended with status %#x", what, (unsigned)status);
}

static void end(void)
{
	char command[SOAK_PATH + 32];

	for (unsigned i = 0; i < SOAK_VILLAINS; i++)
		kill_villain(i);
	atomic_store(&soak->stop, true);
	for (unsigned i = 0; i < SOAK_READERS; i++)
		await_end(readers[i], "an honest reader");
	await_end(changer, "the one who changes files");
	kill(server, SIGTERM);
	await_end(server, "the server");
	snprintf(command, sizeof(command), "rm -rf %.*s", (int)(strlen(soak->socket) - strlen("/socket")), soak->socket);
	if (system(command) != 0)
		fprintf(stderr, "soak: %s is left behind\n", soak->folder);
}

static void report(uint64_t began_ms)
{
	printf("%6" PRIu64 " s: %" PRIu64 " reads, %" PRIu64 " MiB compared; %" PRIu64 " servers, %" PRIu64 " villains; %" PRIu64
	       " looks at the limits, at most %" PRIu64 " bytes; %" PRIu64 " rests compared; lost: %u\n",
	       (now_ms() - began_ms) / 1000, atomic_load(&soak->n_reads), atomic_load(&soak->n_bytes) >> 20,
	       atomic_load(&soak->n_starts), n_villains, n_samples, largest, n_rests, atomic_load(&soak->n_lost));
	fflush(stdout);
}

/* One of the things that happen, every few milliseconds. */
static void step(void)
{
	if (soak_random(10) == 0)
		replace_villain((unsigned)soak_random(SOAK_VILLAINS));
	if (soak_random(20) == 0)
		check_limits();
	if (soak_random(100) == 0)
		change_limits();
	/* A server lives for a few rests, or for a moment. */
	if (soak_random(250) == 0)
		rest();
	if (soak_random(rested ? 600 : 60) == 0)
		replace_server(soak_random(4) ? SIGKILL : SIGTERM);
	check_process(server, "the server");
	for (unsigned i = 0; i < SOAK_READERS; i++)
		check_process(readers[i], "an honest reader");
	soak_sleep_ms(soak_random(20));
}

int main(int argc, char **argv)
{
	uint64_t began_ms = now_ms(), said_ms = began_ms, minutes, seed;

	if (argc < 3 || argc > 4) {
		fprintf(stderr, "usage: soak SMMAPD MINUTES [SEED]\n");
		return 2;
	}
	program = argv[1];
	minutes = strtoull(argv[2], NULL, 10);
	seed = argc > 3 ? strtoull(argv[3], NULL, 10) : (uint64_t)time(NULL);
	printf("seed %" PRIu64 "\n", seed);
	fflush(stdout);
	begin(seed);
	while (now_ms() - began_ms < minutes * 60000 && !atomic_load(&soak->n_lost)) {
		step();
		if (now_ms() - said_ms < 10000)
			continue;
		said_ms = now_ms();
		report(began_ms);
	}
	end();
	report(began_ms);
	for (unsigned i = 0; i < SOAK_N_FAULTS; i++)
		printf("%12" PRIu64 " %s\n", atomic_load(&soak->done[i]), fault_names[i]);
	printf("%12u lost\n", atomic_load(&soak->n_lost));
	if (atomic_load(&soak->n_lost))
		fprintf(stderr, "soak: the seed was %" PRIu64 "\n", seed);
	return atomic_load(&soak->n_lost) ? 1 : 0;
}
