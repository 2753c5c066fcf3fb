/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * soak SMMAPD MINUTES [SEED]: all faults at once, at random; see scripts/soak.
 *
 * This process has the server killed, ended and reloaded, and starts villains one after the other. For half of the time servers live for a
 * few rests, or for a moment; then one lives to the end. Between that it looks whether what must hold does: the bytes that the server and the
 * honest readers have mapped together are within the limits; nobody has ended who should not have; and, at rest, a server has no more
 * descriptors and maps than at any rest of its before, and not much more memory than at the first one.
 */
#include "config.h"

#include "tests/soak.h"

#include "proto/util.h"

#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

static const char *program;
static pid_t readers[SOAK_READERS], villains[SOAK_VILLAINS];
static uint64_t n_villains;
static uint64_t lasting_ms; /* the time from which on no server is ended */
static uint64_t rested; /* the start of the server that had this memory at its first rest, and the least of all else at any: */
static struct soak_figures at_rest;

/* All others, who stay, and end when they are told to. */
static struct other {
	const char *what;
	int (*run)(unsigned place);
	bool (*can_run)(void); /* NULL: if the one before it can */
	bool runs;
	pid_t pid;
} others[] = {
	{"the one who changes files", soak_change_files, NULL, false, 0},
	{"the writer of guarded files", soak_write_guarded, NULL, false, 0},
	{"a reader of guarded files", soak_read_guarded, NULL, false, 0},
	{"another reader of guarded files", soak_read_guarded, NULL, false, 0},
	{"the one who fills the disk", soak_fill_disk, soak_mount_disk, false, 0},
	{"the keeper of the file system by FUSE", soak_keep_fuse, soak_try_fuse, false, 0},
	{"a reader of files by FUSE", soak_read_fuse, NULL, false, 0},
	{"another reader of files by FUSE", soak_read_fuse, NULL, false, 0},
};

#define OTHERS (sizeof(others) / sizeof(others[0]))

/* ---- files ---- */

static void make_files(void)
{
	soak_fill_bytes();
	for (unsigned i = 0; i < SOAK_FILES + SOAK_GUARDED; i++) {
		size_t size = i < SOAK_FILES ? SOAK_SIZE : SOAK_GUARDED_SIZE;
		FILE *file = fopen(soak_path(i), "we");

		if (!file || fwrite(soak_bytes(i < SOAK_FILES ? i : 0, 0), 1, size, file) != size || fclose(file) != 0)
			soak_lose(SOAK_ITSELF, "can't make %s: %s", soak_path(i), strerror(errno));
	}
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
		soak_lose(SOAK_LIVES, "a villain has ended on its own, with status %#x", (unsigned)status);
	villains[i] = 0;
	soak_count(SOAK_CLIENT_KILLED);
}

static void replace_villain(unsigned i)
{
	kill_villain(i);
	villains[i] = soak_start();
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
		if (atomic_load(&soak->since[i]) != atomic_load(&soak->n_starts))
			return false;
	return true;
}

static void signal_honest(int number)
{
	/* The server stands still first and goes on last. */
	if (number == SIGSTOP)
		kill(soak_server, number);
	for (unsigned i = 0; i < SOAK_READERS; i++)
		kill(readers[i], number);
	if (number == SIGCONT)
		kill(soak_server, number);
}

static void check_limits(void)
{
	pid_t pids[1 + SOAK_READERS] = {soak_server};
	uint64_t sum;

	if (!no_orphans())
		return;
	memcpy(pids + 1, readers, sizeof(readers));
	signal_honest(SIGSTOP);
	for (unsigned i = 0; i <= SOAK_READERS; i++)
		waitpid(pids[i], NULL, WUNTRACED);
	sum = soak_mapped(pids, 1 + SOAK_READERS);
	signal_honest(SIGCONT);
	soak_keep(SOAK_LIMITS);
	soak->largest = max_u64(soak->largest, sum);
	if (sum > soak_bound)
		soak_lose(SOAK_LIMITS, "%" PRIu64 " bytes are mapped, and %" PRIu64 " was the limit", sum, soak_bound);
}

static void check_process(pid_t pid, const char *what)
{
	int status;

	if (waitpid(pid, &status, WNOHANG) == 0)
		return;
	soak_lose(SOAK_LIVES, "%s has ended with status %#x", what, (unsigned)status);
}

/* Behind those of the readers. */
static unsigned place_of(unsigned other)
{
	return SOAK_READERS * SOAK_THREADS + other;
}

static bool all_rest(void)
{
	for (unsigned i = 0; i < SOAK_READERS * SOAK_THREADS; i++)
		if (!atomic_load(&soak->rests[i]))
			return false;
	for (unsigned i = 0; i < OTHERS; i++)
		if (others[i].pid && !atomic_load(&soak->rests[place_of(i)]))
			return false;
	return true;
}

/*
 * Waits until the server has nothing left of the villains, nor of the readers but their connections: twice the same, and no more than at any
 * rest before. Connections that have said nothing yet are no clients, but descriptors.
 */
static bool await_rest(struct soak_figures *figures)
{
	uint64_t until_ms = soak_now_ms() + SOAK_PATIENCE_MS, descriptors = 0, maps = 0;
	char command[PATH_MAX];

	snprintf(command, sizeof(command), "%s drop --socket=%s %s >/dev/null 2>&1", program, soak->socket, soak->folder);
	while (soak_now_ms() < until_ms) {
		if (all_rest() && system(command) == 0 && soak_look(program, soak_server, figures) == 0 && !figures->leases &&
		    !figures->handles && figures->clients == SOAK_READERS + 1) {
			if (figures->descriptors == descriptors && figures->maps == maps &&
			    (rested != soak->n_starts || (descriptors <= at_rest.descriptors && maps <= at_rest.maps)))
				return true;
			descriptors = figures->descriptors;
			maps = figures->maps;
		}
		soak_sleep_ms(20);
	}
	return false;
}

/* What the server says of itself, to find out. */
static void show_server(void)
{
	char command[PATH_MAX];

	snprintf(command, sizeof(command), "timeout 10 %s status --clients --files --pins --socket=%s >&2", program, soak->socket);
	if (system(command) != 0)
		fprintf(stderr, "soak: the server does not tell\n");
}

static void compare_rests(const struct soak_figures *now)
{
	if (rested != soak->n_starts) {
		at_rest = *now;
		rested = soak->n_starts;
		return;
	}
	soak_keep(SOAK_RESTS);
	at_rest.descriptors = now->descriptors;
	at_rest.maps = now->maps;
	if (now->heap_bytes > at_rest.heap_bytes + SOAK_HEAP_SLACK ||
	    now->heap_resident_bytes > at_rest.heap_resident_bytes + SOAK_HEAP_RESIDENT_SLACK ||
	    now->resident_bytes > at_rest.resident_bytes + SOAK_RESIDENT_SLACK)
		soak_lose(SOAK_RESTS, "a leak: %" PRIu64 " bytes of the heap, in pages of %" PRIu64 ", and %" PRIu64 " besides; before %" PRIu64
			  ", %" PRIu64 ", %" PRIu64, now->heap_bytes, now->heap_resident_bytes, now->resident_bytes, at_rest.heap_bytes,
			  at_rest.heap_resident_bytes, at_rest.resident_bytes);
}

static void rest(void)
{
	struct soak_figures now;

	for (unsigned i = 0; i < SOAK_VILLAINS; i++)
		kill_villain(i);
	atomic_store(&soak->rest, true);
	if (await_rest(&now)) {
		compare_rests(&now);
		soak_add_to_trend(&now);
	} else {
		soak_lose(SOAK_RESTS, "the server does not come to rest: %" PRIu64 " clients, %" PRIu64 " leases, %" PRIu64 " files, %" PRIu64
			  " descriptors, %" PRIu64 " maps", now.clients, now.leases, now.handles, now.descriptors, now.maps);
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
		soak_lose(SOAK_ITSELF, "can't make %s: %s", soak->folder, strerror(errno));
	make_files();
	soak_enter_namespace();
	for (unsigned i = 0; i < OTHERS; i++)
		others[i].runs = others[i].can_run ? others[i].can_run() : i == 0 || others[i - 1].runs;
	soak_start_server(program);
	for (unsigned i = 0; i < SOAK_READERS; i++) {
		readers[i] = soak_start();
		if (!readers[i])
			_exit(soak_read(i));
	}
	for (unsigned i = 0; i < OTHERS; i++) {
		others[i].pid = others[i].runs ? soak_start() : 0;
		if (others[i].runs && !others[i].pid)
			_exit(others[i].run(place_of(i)));
	}
}

/* Where each thread of a process is in the kernel, to find out. */
static void show_threads(pid_t pid)
{
	char command[128];

	snprintf(command, sizeof(command), "head -v /proc/%d/task/*/wchan >&2", (int)pid);
	if (system(command) != 0)
		fprintf(stderr, "soak: its threads are not to be seen\n");
}

static void await_end(pid_t pid, const char *what)
{
	uint64_t until_ms = soak_now_ms() + SOAK_PATIENCE_MS;
	int status = 0;

	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (soak_now_ms() > until_ms) {
			soak_lose(SOAK_LIVES, "%s does not end", what);
			show_threads(pid);
			kill(pid, SIGKILL);
			return;
		}
		soak_sleep_ms(10);
	}
	if (status != 0)
		soak_lose(SOAK_LIVES, "%s has ended with status %#x", what, (unsigned)status);
}

static void end(void)
{
	char command[2 * SOAK_PATH + 64];

	if (atomic_load(&soak->n_lost))
		show_server();
	for (unsigned i = 0; i < SOAK_VILLAINS; i++)
		kill_villain(i);
	atomic_store(&soak->stop, true);
	for (unsigned i = 0; i < SOAK_READERS; i++)
		await_end(readers[i], "an honest reader");
	for (unsigned i = 0; i < OTHERS; i++)
		if (others[i].pid)
			await_end(others[i].pid, others[i].what);
	kill(soak_server, SIGTERM);
	await_end(soak_server, "the server");
	snprintf(command, sizeof(command), "umount -q %s/disk; rm -rf %.*s", soak->folder,
		 (int)(strlen(soak->socket) - strlen("/socket")), soak->socket);
	if (system(command) != 0)
		fprintf(stderr, "soak: %s is left behind\n", soak->folder);
}

/* One of the things that happen, every few milliseconds. */
static void step(void)
{
	if (soak_random(10) == 0)
		replace_villain((unsigned)soak_random(SOAK_VILLAINS));
	if (soak_random(20) == 0)
		check_limits();
	if (soak_random(100) == 0)
		soak_change_limits();
	if (soak_random(250) == 0)
		rest();
	/* A server lives for a few rests, or for a moment. */
	if (soak_now_ms() < lasting_ms && soak_random(rested == soak->n_starts ? 600 : 60) == 0)
		soak_replace_server(soak->n_starts % 2 ? SIGKILL : SIGTERM);
	check_process(soak_server, "the server");
	for (unsigned i = 0; i < SOAK_READERS; i++)
		check_process(readers[i], "an honest reader");
	for (unsigned i = 0; i < OTHERS; i++)
		if (others[i].pid)
			check_process(others[i].pid, others[i].what);
	soak_sleep_ms(soak_random(20));
}

int main(int argc, char **argv)
{
	uint64_t began_ms = soak_now_ms(), said_ms = began_ms, minutes, seed;

	if (argc < 3 || argc > 4) {
		fprintf(stderr, "usage: soak SMMAPD MINUTES [SEED]\n");
		return 2;
	}
	program = argv[1];
	minutes = strtoull(argv[2], NULL, 10);
	lasting_ms = began_ms + minutes * 30000;
	seed = argc > 3 ? strtoull(argv[3], NULL, 10) : (uint64_t)time(NULL);
	printf("seed %" PRIu64 "\n", seed);
	fflush(stdout);
	begin(seed);
	while (soak_now_ms() - began_ms < minutes * 60000 && !atomic_load(&soak->n_lost)) {
		step();
		if (soak_now_ms() - said_ms < 10000)
			continue;
		said_ms = soak_now_ms();
		soak_tell((soak_now_ms() - began_ms) / 1000);
	}
	end();
	soak_tell((soak_now_ms() - began_ms) / 1000);
	/* If it has gone on to its end. */
	if (!atomic_load(&soak->n_lost)) {
		soak_judge_trend();
		soak_require_all();
	}
	soak_sum_up();
	if (atomic_load(&soak->n_lost))
		fprintf(stderr, "soak: the seed was %" PRIu64 "\n", seed);
	return atomic_load(&soak->n_lost) ? 1 : 0;
}
