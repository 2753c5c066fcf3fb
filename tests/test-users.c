/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two users of one host. The greedy one pins all that it can get, with several processes and hundreds of cursors, and goes on asking
 * for more while it holds that. It must get its quota, three quarters of each limit, and not a piece more. The other one reads its
 * own files all the while, and must not notice: no error, and every byte right. It takes root to be two users.
 */
#include "config.h"

#include "client/smmap-client.h"
#include "tests/harness.h"

#include "proto/util.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define WINDOW      UINT64_C(65536)
#define GREEDY_UID  12345
#define OTHER_UID   65534
#define HOGS        4
#define READERS     2 /* one while the greedy user takes, one when it has */
#define CHILDREN    (HOGS + READERS)
#define READS       5000
#define CURSORS     4 /* of a reader */
#define MOST_PIECES 300

/* How long a hog waits for a piece: at first as long as it takes to evict, and then hardly. */
#define TAKE_MS 2000
#define ASK_MS  20

/* What they fight for: pieces, each a window of a file. Each user has its own files, more than the limit allows together. */
static const struct plan {
	const char *limit_name;
	const char *options[3];
	unsigned limit;  /* pieces that all together may have */
	unsigned common; /* of these, which all processes of the greedy user pin */
	unsigned files;  /* of each user */
	unsigned pieces; /* of each file */
	uint64_t file_size;
} *plan;

/* What the children tell, in memory that they share with the test. */
static struct shared {
	atomic_bool stop;
	atomic_uint next_piece; /* of the greedy user */
	struct report {
		unsigned n; /* of what it has pinned and no other has, or of what it has read */
		char refusal[1024]; /* what the server said when it was refused first, */
		char said[1024];    /* and when it was last */
		char complaint[128];
	} reports[CHILDREN];
} *shared;

static struct child {
	pid_t pid;
	int said; /* a byte of a hog that was refused, and the end of it when the child ends */
} children[CHILDREN];

static struct harness_server server;

/* ---- files ---- */

/* The greedy user's files come first. */
static const char *path_of(unsigned file)
{
	static char path[16];

	snprintf(path, sizeof(path), "file-%03u", file);
	return path;
}

/* One after the other they hold what harness_make_file() writes. */
static void make_files(void)
{
	char output[16];

	harness_make_file("all", 2 * plan->files * plan->file_size);
	ck_assert_int_eq(harness_shell(output, sizeof(output), "split -d -a 3 -b %" PRIu64 " all file- && chmod 755 . && chmod 400 file-*",
				       plan->file_size), 0);
	for (unsigned i = 0; i < 2 * plan->files; i++)
		ck_assert_int_eq(chown(path_of(i), i < plan->files ? GREEDY_UID : OTHER_UID, (gid_t)-1), 0);
}

/* ---- what both do ---- */

static int complain(struct report *report, const char *what, int error)
{
	snprintf(report->complaint, sizeof(report->complaint), "%s after %u: %s", what, report->n, smmap_strerror(error));
	return 1;
}

/* Opens a file, stands on a range of it, and compares all of that. 0 or an error; then there is no cursor. */
static int stand(struct report *report, struct smmap_client *client, unsigned file, uint64_t offset, size_t size,
		 struct smmap_cursor **cursor)
{
	const unsigned char *data;
	ssize_t r;

	*cursor = NULL;
	r = smmap_cursor_open(cursor, client, path_of(file), 0);
	if (!r)
		r = smmap_cursor_use(*cursor, offset, size);
	data = smmap_cursor_data(*cursor);
	for (ssize_t i = 0; i < r; i++)
		if (data[i] != harness_byte(file * plan->file_size + offset + (uint64_t)i))
			r = -EILSEQ;
	if (r == (ssize_t)min_u64(size, plan->file_size - offset))
		return 0;
	smmap_client_complaint(client, report->said, sizeof(report->said));
	smmap_cursor_close(take_ptr(*cursor));
	return r < 0 ? (int)r : -ENODATA;
}

/* ---- the greedy user ---- */

struct hog {
	struct report *report;
	struct smmap_cursor *cursors[MOST_PIECES];
	unsigned n;
};

static int pin_piece(struct hog *hog, struct smmap_client *client, unsigned piece)
{
	struct report *report = hog->report;
	int r = stand(report, client, piece / plan->pieces, piece % plan->pieces * WINDOW, WINDOW, &hog->cursors[hog->n]);

	hog->n += !r;
	if (r == -EDQUOT && !report->refusal[0])
		memcpy(report->refusal, report->said, sizeof(report->refusal));
	return r;
}

/* Takes and takes. What another process of the user has costs nothing more. */
static int pin_all(struct hog *hog, struct smmap_client *client)
{
	struct report *report = hog->report;
	int r = 0;

	for (unsigned i = 0; !r && i < plan->common; i++)
		r = pin_piece(hog, client, i);
	if (r < 0)
		return complain(report, "not what another has", r);
	while (!r && report->n < plan->limit) {
		r = pin_piece(hog, client, plan->common + atomic_fetch_add(&shared->next_piece, 1));
		report->n += !r;
	}
	return r == -EDQUOT ? 0 : complain(report, "not the quota", r);
}

/* Asks for what none of the user's processes has. It has to wait like everybody who asks, but must not get it as long as all go on. */
static int ask_on(struct hog *hog, struct smmap_client *client)
{
	int r;

	do
		r = pin_piece(hog, client, plan->limit + (unsigned)(harness_random() % (plan->files * plan->pieces - plan->limit)));
	while (!atomic_load(&shared->stop) && (r == -EDQUOT || r == -ETIMEDOUT));
	return atomic_load(&shared->stop) ? 0 : complain(hog->report, "more than the quota", r);
}

static int run_hog(struct report *report, int said)
{
	struct smmap_client_options takes = {.socket = server.socket, .deadline_ms = TAKE_MS};
	struct smmap_client_options asks = {.socket = server.socket, .deadline_ms = ASK_MS};
	struct smmap_client *taker = NULL, *asker = NULL;
	struct hog hog = {.report = report};
	int r;

	r = smmap_client_open(&taker, &takes);
	/* That can take longer than what it is going to wait for. */
	while (!asker && (!r || r == -ETIMEDOUT))
		r = smmap_client_open(&asker, &asks);
	r = r < 0 ? complain(report, "no client", r) : pin_all(&hog, taker);
	if (!r && write(said, "", 1) == 1)
		r = ask_on(&hog, asker);
	while (hog.n)
		smmap_cursor_close(hog.cursors[--hog.n]);
	smmap_client_close(taker);
	smmap_client_close(asker);
	return r;
}

/* ---- the other user ---- */

/* With the default deadline. Each cursor stands where it is until its turn comes again. */
static int run_reader(struct report *report)
{
	struct smmap_client_options options = {.socket = server.socket};
	struct smmap_cursor *cursors[CURSORS] = {NULL};
	struct smmap_client *client;
	int r;

	r = smmap_client_open(&client, &options);
	if (r)
		return complain(report, "no client", r);
	for (; !r && report->n < READS; report->n += !r) {
		struct smmap_cursor **cursor = &cursors[report->n % CURSORS];
		unsigned file = plan->files + (unsigned)(harness_random() % plan->files);
		uint64_t offset = harness_random() % plan->file_size;

		smmap_cursor_close(take_ptr(*cursor));
		r = stand(report, client, file, offset, 1 + harness_random() % 8192, cursor);
	}
	r = r < 0 ? complain(report, "not read", r) : 0;
	for (unsigned i = 0; i < CURSORS; i++)
		smmap_cursor_close(cursors[i]);
	smmap_client_close(client);
	return r;
}

/* ---- processes ---- */

static void start_child(unsigned i)
{
	struct report *report = &shared->reports[i];
	bool is_hog = i < HOGS;
	uid_t uid = is_hog ? GREEDY_UID : OTHER_UID;
	int ends[2];

	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	/* Random numbers of its own. */
	harness_random();
	children[i] = (struct child){.pid = fork(), .said = ends[0]};
	ck_assert_int_ge(children[i].pid, 0);
	if (!children[i].pid) {
		close_fd(ends[0]);
		if (setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
			_exit(complain(report, "not another user", -errno));
		/* It must not outlive a test that fails. With the user this would have changed. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(is_hog ? run_hog(report, ends[1]) : run_reader(report));
	}
	close_fd(ends[1]);
}

static void await_end(unsigned i)
{
	int status;

	ck_assert_int_eq(waitpid(children[i].pid, &status, 0), children[i].pid);
	ck_assert_msg(status == 0, "%s %u has status %#x: %s (%s)", i < HOGS ? "hog" : "reader", i, (unsigned)status,
		      shared->reports[i].complaint, shared->reports[i].said);
	close_fdp(&children[i].said);
}

/* ---- the tests ---- */

/* Waits until each hog was refused; they have what they should. */
static void await_refusals(void)
{
	unsigned n = plan->common;
	char byte;

	for (unsigned i = 0; i < HOGS; i++) {
		const struct report *report = &shared->reports[i];

		if (read(children[i].said, &byte, 1) != 1)
			await_end(i);
		ck_assert_msg(strstr(report->refusal, "quota") && strstr(report->refusal, plan->limit_name), "it says: %s", report->refusal);
		n += report->n;
	}
	printf("%s: one user has pinned %u of %u, and was told: %s\n", plan->limit_name, n, plan->limit, shared->reports[0].refusal);
	fflush(stdout);
	ck_assert_uint_ge(n * 100, plan->limit * 70);
	ck_assert_uint_le(n * 100, plan->limit * 75);
}

static void fight(const struct plan *of)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert(shared != MAP_FAILED);
	plan = of;
	make_files();
	harness_start(&server, "--window-size=64K", "--user-share=75%", plan->options[0], plan->options[1], plan->options[2], NULL);
	start_child(HOGS);
	for (unsigned i = 0; i < HOGS; i++)
		start_child(i);
	await_refusals();
	await_end(HOGS);
	start_child(HOGS + 1);
	await_end(HOGS + 1);
	ck_assert_uint_eq(shared->reports[HOGS].n + shared->reports[HOGS + 1].n, READERS * READS);

	atomic_store(&shared->stop, true);
	for (unsigned i = 0; i < HOGS; i++)
		await_end(i);
	ck_assert_uint_eq(harness_figure(&server, "usage.leases"), 0);
	harness_stop(&server);
}

START_TEST(test_memory)
{
	fight(&(struct plan){
		.limit_name = "max-memory",
		.options = {"--max-memory=16M"},
		.limit = 256,
		.common = 16,
		.files = 5,
		.pieces = 64,
		.file_size = 64 * WINDOW,
	});
}
END_TEST

START_TEST(test_handles)
{
	fight(&(struct plan){
		.limit_name = "max-handles",
		.options = {"--max-memory=16M", "--max-handles=64"},
		.limit = 64,
		.files = 100,
		.pieces = 1,
		.file_size = 4096,
	});
}
END_TEST

START_TEST(test_maps)
{
	fight(&(struct plan){
		.limit_name = "max-maps",
		.options = {"--max-memory=16M", "--max-handles=1000", "--max-maps=64"},
		.limit = 64,
		.files = 100,
		.pieces = 1,
		.file_size = 4096,
	});
}
END_TEST

int main(void)
{
	Suite *suite;

	if (geteuid() != 0) {
		puts("skipped: this takes root");
		return 77;
	}
	suite = suite_create("users");
	HARNESS_CASE(suite, "greed", test_memory, test_handles, test_maps);
	return harness_run(suite);
}
