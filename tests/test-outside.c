/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The limit on memory, as it is seen from outside: not what the server says that it has mapped, but what the kernel says that all have.
 *
 * Clients read at random in files that are twice the limit together. Again and again they and the server are stopped, all of them, and
 * /proc/PID/maps of each is read. A page of a file counts once, whoever maps it, so the sum is what really was mapped at one instant. It
 * must not be more than the limit, ever, and has to come close to it. A stop takes milliseconds: nobody may be thrown out for it.
 */
#include "config.h"

#include "client/connection.h"
#include "client/smmap-client.h"
#include "tests/harness.h"

#include "proto/util.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define WINDOW    UINT64_C(131072)
#define LIMIT     (UINT64_C(16) << 20)
#define FILES     64
#define FILE_SIZE (2 * LIMIT / FILES)
#define CLIENTS   8
#define STANDING  3 /* cursors of a client that stand somewhere, at most: all fit, at two windows each */

#define OTHER_UID 65534 /* the one of every other client, where the test is root: what two users share is counted once, too */

#define SAMPLES      1000
#define PATIENCE_MS  60000
#define READS_A_WORD 8 /* after so many a client says that it goes on */

/* What a client tells the test, in memory that they share. */
static struct shared {
	atomic_bool stop;
	struct report {
		uint64_t n_reads;
		char complaint[256];
	} reports[CLIENTS];
} *shared;

static struct harness_server server;
static pid_t pids[1 + CLIENTS]; /* the server's, and behind it the clients' */
static FILE *maps[1 + CLIENTS];
static int progress; /* an eventfd */
static ino_t inodes[FILES];

/* ---- files ---- */

static const char *path_of(unsigned file)
{
	static char path[16];

	snprintf(path, sizeof(path), "file-%02u", file);
	return path;
}

/* One after the other they hold what harness_make_file() writes. */
static void make_files(void)
{
	char output[16];
	struct stat st;

	harness_make_file("all", FILES * FILE_SIZE);
	ck_assert_int_eq(harness_shell(output, sizeof(output), "split -d -a 2 -b %" PRIu64 " all file- && chmod a+rX . *", FILE_SIZE), 0);
	for (unsigned i = 0; i < FILES; i++) {
		ck_assert_int_eq(stat(path_of(i), &st), 0);
		inodes[i] = st.st_ino;
	}
}

/* ---- what is mapped ---- */

static bool mapped[1 + CLIENTS][FILES][FILE_SIZE / 4096]; /* by page */

/* Notes a piece of a file that a process has mapped: a part of a window, or many. The bytes that no process before has. */
static uint64_t note_map(unsigned process, unsigned file, uint64_t begin, uint64_t end)
{
	uint64_t bytes = 0;

	ck_assert_uint_le(end, FILE_SIZE);
	for (uint64_t page = begin / page_size(); page < end / page_size(); page++) {
		unsigned i = 0;

		while (i <= process && !mapped[i][file][page])
			i++;
		bytes += i > process ? page_size() : 0;
		mapped[process][file][page] = true;
	}
	return bytes;
}

/* Not by the device: it is not the one of stat(2) on some file systems. */
static uint64_t note_maps(unsigned process)
{
	uint64_t from, to, begin, inode, bytes = 0;
	char line[PATH_MAX + 128];
	unsigned file;

	memset(mapped[process], false, sizeof(mapped[process]));
	rewind(maps[process]);
	while (fgets(line, sizeof(line), maps[process])) {
		const char *name = strrchr(line, '/');

		ck_assert_int_eq(sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %" SCNx64 " %*s %" SCNu64, &from, &to, &begin, &inode), 4);
		if (name && sscanf(name, "/file-%u", &file) == 1 && file < FILES && inode == inodes[file])
			bytes += note_map(process, file, begin, begin + (to - from));
	}
	return bytes;
}

/* Prints the windows of each process; those that only clients have, not the server, in brackets. */
static void print_mapped(uint64_t sum)
{
	uint64_t step = WINDOW / page_size();

	printf("%" PRIu64 " bytes are mapped, and %" PRIu64 " is the limit:\n", sum, LIMIT);
	for (unsigned process = 0; process <= CLIENTS; process++) {
		printf("%s %u (%d):", process ? "client" : "server", process, (int)pids[process]);
		for (unsigned i = 0; i < FILES; i++)
			for (uint64_t page = 0; page < FILE_SIZE / page_size(); page += step)
				if (mapped[process][i][page])
					printf(mapped[0][i][page] ? " %u/%u" : " [%u/%u]", i, (unsigned)(page / step));
		printf("\n");
	}
}

/* ---- a client ---- */

struct reader {
	struct report *report;
	struct smmap_client *client;
	struct smmap_cursor *cursors[FILES];
	struct smmap_cursor *standing[STANDING];
};

static int complain(struct reader *reader, const char *what, int error)
{
	snprintf(reader->report->complaint, sizeof(reader->report->complaint), "%s after %" PRIu64 " reads: %s", what,
		 reader->report->n_reads, smmap_strerror(error));
	return 1;
}

static int read_somewhere(struct reader *reader)
{
	uint64_t n = reader->report->n_reads++;
	unsigned file = (unsigned)(harness_random() % FILES);
	uint64_t offset = harness_random() % FILE_SIZE;
	/* The long ones reach into the next window, as often as not. */
	size_t size = (size_t)(1 + harness_random() % (harness_random() % 8 ? 4096 : WINDOW));
	struct smmap_cursor *cursor = reader->cursors[file];
	ssize_t there;

	smmap_cursor_unuse(reader->standing[n % STANDING]);
	reader->standing[n % STANDING] = cursor;
	there = smmap_cursor_use(cursor, offset, size);
	if (there != (ssize_t)min_u64(size, FILE_SIZE - offset))
		return complain(reader, "not the range", there < 0 ? (int)there : 0);
	/* It looks at every byte now and then. */
	for (size_t i = 0; i < (size_t)there; i += n % 16 ? 1024 : 1)
		if (((const unsigned char *)smmap_cursor_data(cursor))[i] != harness_byte(file * FILE_SIZE + offset + i))
			return complain(reader, "a wrong byte", 0);
	return 0;
}

/* Is another one when the library has connected again: the inode of a socket does not come back. */
static uint64_t sum_of_sockets(void)
{
	uint64_t sum = 0;
	struct stat st;

	for (int fd = 0; fd < 256; fd++)
		if (fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode))
			sum += st.st_ino;
	return sum;
}

static int read_until_stopped(struct reader *reader)
{
	uint64_t sockets = sum_of_sockets();
	struct smmap_stats stats;
	int r;

	while (!atomic_load(&shared->stop)) {
		if (read_somewhere(reader) != 0)
			return 1;
		if (reader->report->n_reads % READS_A_WORD == 0)
			eventfd_write(progress, 1);
	}
	r = smmap_client_stats(reader->client, &stats);
	if (r < 0 || stats.orphans || sum_of_sockets() != sockets)
		return complain(reader, "thrown out by the server", r);
	return 0;
}

static int run_client(unsigned n)
{
	struct smmap_client_options options = {.socket = server.socket, .deadline_ms = PATIENCE_MS};
	struct reader reader = {.report = &shared->reports[n]};
	int r;

	/* Until the test has opened its maps: it could be another user's afterwards. */
	raise(SIGSTOP);
	if (geteuid() == 0 && n % 2 && setresuid(OTHER_UID, OTHER_UID, OTHER_UID) < 0)
		return complain(&reader, "no other user", -errno);
	/* It must not outlive a test that fails. With the user this would have changed. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* A part of the random numbers for each. */
	for (unsigned i = 0; i < n * 500000; i++)
		harness_random();

	r = smmap_client_open(&reader.client, &options);
	for (unsigned i = 0; !r && i < FILES; i++)
		r = smmap_cursor_open(&reader.cursors[i], reader.client, path_of(i), 0);
	r = r < 0 ? complain(&reader, "not open", r) : read_until_stopped(&reader);
	for (unsigned i = 0; i < FILES; i++)
		smmap_cursor_close(reader.cursors[i]);
	smmap_client_close(reader.client);
	return r;
}

/* ---- all processes ---- */

/* Waits until it stands still, or for its end. */
static void await_process(unsigned i, bool stopped)
{
	int status;

	ck_assert_int_eq(waitpid(pids[i], &status, stopped ? WUNTRACED : 0), pids[i]);
	ck_assert_msg(stopped ? WIFSTOPPED(status) : status == 0, "%s %u has status %#x: %s", i ? "client" : "server", i,
		      (unsigned)status, i ? shared->reports[i - 1].complaint : "");
}

/* The server stands still first and goes on last, so that it waits for nobody who can't move. */
static void signal_all(int number)
{
	for (unsigned i = 0; i <= CLIENTS; i++)
		ck_assert_int_eq(kill(pids[number == SIGSTOP ? i : CLIENTS - i], number), 0);
	for (unsigned i = 0; number == SIGSTOP && i <= CLIENTS; i++)
		await_process(i, true);
}

static void start_all(void)
{
	char path[32];

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	progress = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ck_assert(shared != MAP_FAILED && progress >= 0);
	harness_start(&server, "--max-memory=16M", "--window-size=128K", "--user-share=75%", NULL);
	for (unsigned i = 0; i <= CLIENTS; i++) {
		pids[i] = i ? fork() : server.pid;
		ck_assert_int_ge(pids[i], 0);
		if (!pids[i])
			_exit(run_client(i - 1));
		snprintf(path, sizeof(path), "/proc/%d/maps", (int)pids[i]);
		maps[i] = fopen(path, "re");
		ck_assert_ptr_nonnull(maps[i]);
		if (i)
			await_process(i, true);
	}
}

static void end_all(void)
{
	atomic_store(&shared->stop, true);
	for (unsigned i = 1; i <= CLIENTS; i++)
		await_process(i, false);
	/* The server alone has something, and says so: what was recalled it unmaps when it has seen the clients' ends. */
	while (harness_figure(&server, "usage.clients") > 1 || harness_figure(&server, "usage.draining_bytes"))
		ck_assert_int_ge(poll(NULL, 0, 1), 0);
	ck_assert_uint_eq(note_maps(0), harness_figure(&server, "usage.memory_bytes"));
	ck_assert_uint_gt(harness_figure(&server, "counters.evictions"), 0);
	harness_stop(&server);
	for (unsigned i = 0; i <= CLIENTS; i++)
		fclose(maps[i]);
	close_fdp(&progress);
}

/* Waits until the clients have made some reads since they were stopped. */
static void await_progress(void)
{
	struct pollfd pollfd = {.fd = progress, .events = POLLIN};
	eventfd_t wanted = 1 + harness_random() % 16, n = 0;

	for (eventfd_t said = 0; n < wanted; n += said) {
		ck_assert_msg(poll(&pollfd, 1, PATIENCE_MS) == 1, "no client goes on");
		ck_assert_int_eq(eventfd_read(progress, &said), 0);
	}
}

/* ---- the test ---- */

/* Stops all, adds up what they have mapped, and lets them go on. Notes how long that took, if it never took longer. */
static uint64_t take_sample(uint64_t *longest_ms)
{
	uint64_t began_ms = clock_ms(), sum = 0;
	eventfd_t said;

	signal_all(SIGSTOP);
	eventfd_read(progress, &said);
	for (unsigned i = 0; i <= CLIENTS; i++)
		sum += note_maps(i);
	signal_all(SIGCONT);
	*longest_ms = max_u64(*longest_ms, clock_ms() - began_ms);
	return sum;
}

START_TEST(test_sum_of_maps)
{
	const char *seconds = getenv("SMMAPD_OUTSIDE_SECONDS");
	uint64_t wanted_ms = 1000 * (seconds ? strtoull(seconds, NULL, 10) : 20), began_ms, longest_ms = 0;
	uint64_t sum, largest = 0;
	unsigned n = 0, n_over = 0;

	make_files();
	start_all();
	signal_all(SIGCONT);
	for (began_ms = clock_ms(); n < SAMPLES || clock_ms() < began_ms + wanted_ms; n++) {
		await_progress();
		sum = take_sample(&longest_ms);
		if (sum > max_u64(largest, LIMIT))
			print_mapped(sum);
		largest = max_u64(largest, sum);
		n_over += sum > LIMIT;
	}
	printf("looked at all maps %u times in %" PRIu64 " s, each within %" PRIu64 " ms: at most %" PRIu64 " bytes of the %" PRIu64
	       " that may be, and more than that %u times\n", n, (clock_ms() - began_ms) / 1000, longest_ms, largest, LIMIT, n_over);
	fflush(stdout);
	end_all();
	ck_assert_msg(!n_over, "the limit was passed in %u of %u samples", n_over, n);
	ck_assert_uint_ge(largest, LIMIT / 100 * 95);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("outside");

	HARNESS_CASE(suite, "maps", test_sum_of_maps);
	return harness_run(suite);
}
