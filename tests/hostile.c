/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "tests/hostile.h"

#include <inttypes.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define HONEST   2
#define STEPS    50 /* that are progress */
#define SLACK    2048 /* bytes of heap: what is allocated anew may lie a little different, */
#define RUNS     6    /* but hardly so often, one after the other */
#define AT_FIRST (1 << 20) /* bytes that the server may keep after the first time */

/* Connections at once: more descriptors than what is still to be closed ever takes beside a misdeed. */
#define CROWD 500

/* A millisecond, between two looks at what has to come. */
#define A_MOMENT 1

struct harness_server hostile_server;
struct raw hostile_observer;

static struct honest *honest; /* HONEST of them */
static pid_t pids[HONEST];

/* ---- the honest ones ---- */

static void order(enum honest_order what)
{
	for (unsigned i = 0; i < HONEST; i++)
		atomic_store(&honest[i].order, what);
}

/* Waits a moment, in which all honest ones have to live on. */
static void await_moment(void)
{
	ck_assert_int_ge(poll(NULL, 0, A_MOMENT), 0);
	for (unsigned i = 0; i < HONEST; i++)
		ck_assert_msg(waitpid(pids[i], NULL, WNOHANG) == 0, "an honest client has failed: %s", honest[i].complaint);
}

/* Waits for something that certainly comes. */
#define AWAIT(condition, ...)                                                  \
	do {                                                                   \
		for (int n_ = 0; !(condition); n_++) {                         \
			ck_assert_msg(n_ < RAW_PATIENCE_MS, __VA_ARGS__);      \
			await_moment();                                        \
		}                                                              \
	} while (0)

static void start_honest(unsigned i)
{
	/* Random numbers of its own. */
	harness_random();
	pids[i] = fork();
	ck_assert_int_ge(pids[i], 0);
	if (!pids[i]) {
		/* It must not outlive a test that fails. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(honest_run(&honest[i], hostile_server.socket));
	}
	AWAIT(atomic_load(&honest[i].n_reads), "an honest client does not begin");
}

void hostile_await_progress(void)
{
	for (unsigned i = 0; i < HONEST; i++) {
		uint64_t before = atomic_load(&honest[i].n_reads);

		AWAIT(atomic_load(&honest[i].n_reads) >= before + STEPS, "an honest client does not go on");
	}
}

/* ---- what is left ---- */

static void ask_to_drop(const char *path, size_t length)
{
	struct message request = {.type = MESSAGE_DROP, .drop = {.path = {path, length}}}, answer;

	raw_ask(&hostile_observer, &request, -1, &answer);
	ck_assert_uint_eq(answer.type, MESSAGE_FREED);
}

/* Whatever clients have called their files. The root has all of those whose name begins with it, or is empty. */
static void drop_all(void)
{
	struct figures_file row;

	ask_to_drop("/", 1);
	for (;;) {
		struct message_figures figures = raw_status(&hostile_observer, FIGURES_FILES, 0);
		char path[MESSAGE_MAX_TEXT];

		if (figures_next(&figures.rows, FIGURES_FILES, &row) == 0)
			return;
		memcpy(path, row.path.data, row.path.length);
		ask_to_drop(path, row.path.length);
	}
}

uint64_t hostile_count_connections(void)
{
	struct message_figures figures = raw_status(&hostile_observer, FIGURES_USERS, 0);
	struct figures_user row;
	uint64_t n = 0;

	while (figures_next(&figures.rows, FIGURES_USERS, &row) == 1)
		n += row.clients;
	return n;
}

void hostile_await_alone(void)
{
	AWAIT(hostile_count_connections() == HONEST + 1, "connections are left: %" PRIu64, hostile_count_connections());
}

/* The rows are in the order in which clients have come: who has lost a connection would stand at the end. */
static void assert_never_lost(void)
{
	struct message_figures figures = raw_status(&hostile_observer, FIGURES_CLIENTS, 0);
	struct figures_client row;

	for (unsigned i = 0; i < HONEST; i++) {
		ck_assert_int_eq(figures_next(&figures.rows, FIGURES_CLIENTS, &row), 1);
		ck_assert_msg(row.pid == (uint32_t)pids[i], "an honest client has lost its connection");
	}
	ck_assert_int_eq(figures_next(&figures.rows, FIGURES_CLIENTS, &row), 1);
	ck_assert_uint_eq(row.pid, (uint32_t)getpid());
	ck_assert_int_eq(figures_next(&figures.rows, FIGURES_CLIENTS, &row), 0);
}

void hostile_rest(void)
{
	struct figures_summary summary;

	hostile_await_alone();
	order(HONEST_RESTS);
	for (unsigned i = 0; i < HONEST; i++)
		AWAIT(atomic_load(&honest[i].rests), "an honest client does not rest");
	drop_all();
	assert_never_lost();
	summary = raw_summary(&hostile_observer);
	ck_assert_uint_eq(summary.clients, HONEST + 1);
	ck_assert_uint_eq(summary.leases, 0);
	ck_assert_uint_eq(summary.maps, 0);
	ck_assert_uint_eq(summary.memory_bytes, 0);
	ck_assert_uint_eq(summary.draining_bytes, 0);
	ck_assert_uint_eq(summary.handles, 0);
	AWAIT(!raw_summary(&hostile_observer).closing, "descriptors are still to be closed");
	ck_assert_uint_eq(raw_status(&hostile_observer, FIGURES_WAITING, 0).rows.length, 0);
}

void hostile_resume(void)
{
	order(HONEST_WORKS);
	hostile_await_progress();
}

/* What the server has, at rest. */
struct footprint {
	int descriptors;
	int maps; /* of files and boards */
	uint64_t heap;
};

static int count_maps(void)
{
	char path[64], line[512];
	FILE *file;
	int n = 0;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)hostile_server.pid);
	file = fopen(path, "re");
	ck_assert_ptr_nonnull(file);
	while (fgets(line, sizeof(line), file))
		n += strchr(line, '/') != NULL;
	fclose(file);
	return n;
}

static struct footprint take_footprint(void)
{
	return (struct footprint){
		.descriptors = raw_server_descriptors(&hostile_observer, &hostile_server),
		.maps = count_maps(),
		.heap = raw_summary(&hostile_observer).heap_bytes,
	};
}

/* Waits until no more is left than before; what it closes, it may close a little later. */
static void assert_no_leak(const struct footprint *before, uint64_t slack)
{
	AWAIT(take_footprint().descriptors <= before->descriptors, "%d descriptors are left, of %d", take_footprint().descriptors,
	      before->descriptors);
	AWAIT(take_footprint().maps <= before->maps, "%d maps are left, of %d", take_footprint().maps, before->maps);
	AWAIT(take_footprint().heap <= before->heap + slack, "the heap has grown from %" PRIu64 " to %" PRIu64 " bytes",
	      before->heap, take_footprint().heap);
}

/* ---- misdeeds ---- */

/* Requires that `status` tells of what was seen. */
static void assert_counted(const struct figures_summary *before, const struct tally *tally)
{
	struct figures_summary now = raw_summary(&hostile_observer);

	ck_assert_uint_eq(now.refusals - before->refusals, tally->refusals);
	ck_assert_uint_eq(now.protocol_errors - before->protocol_errors, tally->protocol_errors);
	if (!tally->may_vary)
		ck_assert_uint_eq(now.disconnections - before->disconnections, tally->disconnections);
	ck_assert_uint_gt(now.recalls, before->recalls);
	ck_assert_uint_gt(now.evictions, before->evictions);
}

static struct tally do_once(void (*misdeed)(struct tally *tally))
{
	struct figures_summary before = raw_summary(&hostile_observer);
	struct tally tally = {0};

	misdeed(&tally);
	hostile_await_alone();
	hostile_await_progress();
	assert_counted(&before, &tally);
	return tally;
}

/* Does it once more, and adds to what came of it before. What the server has then. */
static struct footprint run_again(void (*misdeed)(struct tally *tally), struct footprint before, uint64_t slack, struct tally *sum)
{
	struct tally tally = do_once(misdeed);
	struct footprint after;

	hostile_rest();
	assert_no_leak(&before, slack + tally.heap_slack);
	after = take_footprint();
	hostile_resume();
	sum->times += tally.times;
	sum->refusals += tally.refusals;
	sum->protocol_errors += tally.protocol_errors;
	sum->disconnections += tally.disconnections;
	sum->heap_slack = tally.heap_slack;
	return after;
}

void hostile_run(const char *name, void (*misdeed)(struct tally *tally))
{
	struct footprint before, first, last, after;
	struct tally sum = {0};
	unsigned n = 1;

	hostile_rest();
	before = take_footprint();
	hostile_resume();
	first = run_again(misdeed, before, AT_FIRST, &sum);
	after = first;
	do {
		last = after;
		after = run_again(misdeed, last, SLACK, &sum);
		n++;
	} while (n < RUNS && after.heap > last.heap + sum.heap_slack);

	printf("%s: %" PRIu64 " times; %" PRIu64 " refused, %" PRIu64 " errors of the protocol, %" PRIu64 " disconnected\n", name,
	       sum.times, sum.refusals, sum.protocol_errors, sum.disconnections);
	printf("  the server's heap: %" PRIu64 " bytes before, %" PRIu64 " after the first run, %" PRIu64 " after %u; honest clients have read %"
	       PRIu64 " and %" PRIu64 " times so far\n", before.heap, first.heap, after.heap, n, atomic_load(&honest[0].n_reads),
	       atomic_load(&honest[1].n_reads));
	fflush(stdout);
	ck_assert_msg(after.heap <= last.heap + sum.heap_slack, "the heap grows by a little each time");
}

/* ---- beginning and end ---- */

/* The loop's table of descriptors only grows. So that no misdeed does that, by how slowly a busy machine closes what it leaves, it is large. */
static void stretch_loop(void)
{
	struct raw *crowd = calloc(CROWD, sizeof(*crowd));

	ck_assert_ptr_nonnull(crowd);
	for (unsigned i = 0; i < CROWD; i++)
		raw_connect(&crowd[i], &hostile_server);
	AWAIT(hostile_count_connections() == HONEST + 1 + CROWD, "not all are connected: %" PRIu64, hostile_count_connections());
	for (unsigned i = 0; i < CROWD; i++)
		raw_close(&crowd[i]);
	free(crowd);
	hostile_await_alone();
}

void hostile_start(const char *option)
{
	char memory[32], maps[32], handles[32];

	snprintf(memory, sizeof(memory), "--max-memory=%" PRIu64, HOSTILE_MEMORY);
	snprintf(maps, sizeof(maps), "--max-maps=%d", HOSTILE_MAPS);
	snprintf(handles, sizeof(handles), "--max-handles=%d", HOSTILE_HANDLES);
	honest = mmap(NULL, HONEST * sizeof(*honest), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert(honest != MAP_FAILED);
	honest_make_files();
	/* Free pieces that a thread keeps for itself would count as allocated. */
	setenv("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0", 1);
	harness_start(&hostile_server, "--window-size=64K", "--recall-timeout=1s", memory, maps, handles, option, NULL);
	unsetenv("GLIBC_TUNABLES");
	for (unsigned i = 0; i < HONEST; i++)
		start_honest(i);
	raw_start(&hostile_observer, &hostile_server, "observer");
	stretch_loop();
}

void hostile_stop(void)
{
	int status;

	order(HONEST_ENDS);
	for (unsigned i = 0; i < HONEST; i++) {
		ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
		ck_assert_msg(status == 0, "an honest client has status %#x: %s", (unsigned)status, honest[i].complaint);
	}
	raw_close(&hostile_observer);
	harness_stop(&hostile_server);
	munmap(honest, HONEST * sizeof(*honest));
}
