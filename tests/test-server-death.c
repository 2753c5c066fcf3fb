/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The server is killed again and again, at random instants, while clients read without pause, and started again each time. No call of theirs
 * may fail, and every byte has to be right: that of a pointer also while there is no server. Then, what such a death is allowed to change:
 * a cursor whose path names another file by now; and that it raises no SIGPIPE, on either side.
 *
 * SMMAPD_DEATHS says how many times, if not two hundred.
 */
#include "config.h"

#include "client/smmap-client.h"
#include "tests/harness.h"

#include "client/connection.h"
#include "proto/address.h"
#include "proto/channel.h"
#include "proto/util.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define WINDOW      65536
#define FILES       8
#define SIZE        (24 * WINDOW - 4321)
#define SHIFT       7 /* of a file's bytes against those of the file before it */
#define PROCESSES   4
#define WORKERS     3 /* of each process */
#define DEATHS      200
#define DEADLINE_MS 120000

/* Most of all files, and more than can be pinned at once: two cursors of each worker at two windows each, and three whole files. */
static const char *const options[] = {"--window-size=64K", "--max-memory=8M", NULL};

static struct harness_server server;
static unsigned char bytes[SIZE + FILES * SHIFT];

/* What the processes and the test tell each other. */
static struct shared {
	atomic_bool stop;
	_Alignas(8) _Atomic uint64_t n_steps[PROCESSES]; /* of each */
	_Alignas(8) _Atomic uint64_t n_deaths;
	_Alignas(8) _Atomic uint64_t n_outlived; /* looks at what had outlived its server */
	char complaints[PROCESSES][WORKERS][256];
} *shared;

static const char *path_of(unsigned file)
{
	static _Thread_local char path[16];

	snprintf(path, sizeof(path), "file-%u", file);
	return path;
}

static void make_files(void)
{
	for (uint64_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = harness_byte(i);
	for (unsigned i = 0; i < FILES; i++) {
		FILE *file = fopen(path_of(i), "we");

		ck_assert_ptr_nonnull(file);
		ck_assert_uint_eq(fwrite(bytes + i * SHIFT, 1, SIZE, file), SIZE);
		ck_assert_int_eq(fclose(file), 0);
	}
}

/* Also again, after the one before was killed. */
static void start(void)
{
	char here[PATH_MAX - 8], socket[PATH_MAX];

	ck_assert_ptr_nonnull(getcwd(here, sizeof(here)));
	snprintf(socket, sizeof(socket), "%s/socket", here);
	harness_start_at(&server, socket, options);
}

/* ---- a worker: a thread with cursors that it moves, and one that it keeps where it is for a while ---- */

struct worker {
	pthread_t thread;
	unsigned process, number;
	struct smmap_client *client;
	struct smmap_cursor *cursors[FILES]; /* by path, by descriptor, or whole, as the number of the file says */
	struct smmap_cursor *moved;          /* that of them which may stand somewhere */
	struct smmap_cursor *standing;       /* a copy of it, of when it stood */
	struct stand {
		unsigned file;
		uint64_t begin, size; /* size 0: nowhere */
		uint64_t n_deaths;    /* by then */
	} stand; /* where that has to stand until it is moved */
	uint64_t random;
	bool failed;
};

static uint64_t next_random(struct worker *worker)
{
	worker->random = worker->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return worker->random >> 32;
}

static void report(struct worker *worker, const char *what, unsigned file, int64_t value)
{
	char said[128];

	smmap_client_complaint(worker->client, said, sizeof(said));
	snprintf(shared->complaints[worker->process][worker->number], sizeof(shared->complaints[0][0]),
		 "%s, file %u: %" PRId64 ", %s %s", what, file, value, smmap_strerror((int)value), said);
	worker->failed = true;
}

static void compare(struct worker *worker, const char *what, unsigned file, const void *data, uint64_t offset, uint64_t n)
{
	if (!worker->failed && memcmp(data, bytes + file * SHIFT + offset, n) != 0)
		report(worker, what, file, 0);
}

static void use_somewhere(struct worker *worker, unsigned file)
{
	struct smmap_cursor *cursor = worker->cursors[file];
	uint64_t offset = next_random(worker) % SIZE;
	size_t size = 1 + next_random(worker) % WINDOW;
	ssize_t n = smmap_cursor_use(cursor, offset, size);

	if (n != (ssize_t)min_u64(size, SIZE - offset))
		report(worker, "use", file, n);
	else
		compare(worker, "a wrong byte", file, smmap_cursor_data(cursor), offset, (uint64_t)n);
}

static void read_somewhere(struct worker *worker, unsigned file)
{
	uint64_t offset = next_random(worker) % SIZE;
	size_t size = 1 + next_random(worker) % (2 * WINDOW);
	unsigned char to[2 * WINDOW];
	ssize_t n = smmap_cursor_read(worker->cursors[file], to, size, offset);

	if (n != (ssize_t)min_u64(size, SIZE - offset))
		report(worker, "read", file, n);
	else
		compare(worker, "a wrong byte read", file, to, offset, (uint64_t)n);
}

static void read_buffer(struct worker *worker, unsigned file)
{
	uint64_t offset = next_random(worker) % (SIZE - WINDOW);
	struct smmap_buffer *buffer;
	unsigned char to[1000];
	ssize_t n;

	n = smmap_buffer_open(&buffer, worker->cursors[file], offset, WINDOW);
	if (n < 0) {
		report(worker, "buffer", file, n);
		return;
	}
	n = smmap_buffer_read(buffer, to, -(int64_t)sizeof(to), INT64_MAX);
	if (n != (ssize_t)sizeof(to))
		report(worker, "buffer read", file, n);
	else
		compare(worker, "a wrong byte of a buffer", file, to, offset + WINDOW - sizeof(to), sizeof(to));
	smmap_buffer_close(buffer);
}

/* What it has kept has to be there, whether or not its server is. */
static void look_back(struct worker *worker)
{
	struct smmap_cursor *standing = worker->standing;
	const struct stand *stand = &worker->stand;

	if (!stand->size)
		return;
	if (smmap_cursor_begin(standing) != stand->begin || smmap_cursor_size(standing) != stand->size) {
		report(worker, "does not stand where it stood", stand->file, (int64_t)smmap_cursor_size(standing));
		return;
	}
	compare(worker, "a wrong byte where it stood", stand->file, smmap_cursor_data(standing), stand->begin, stand->size);
	if (atomic_load(&shared->n_deaths) > stand->n_deaths)
		atomic_fetch_add(&shared->n_outlived, 1);
}

/* Has a copy stand instead. */
static void hand_on(struct worker *worker)
{
	struct smmap_cursor *copy;
	int r = smmap_cursor_copy(&copy, worker->standing);

	if (r < 0) {
		report(worker, "copy", worker->stand.file, r);
		return;
	}
	smmap_cursor_close(worker->standing);
	worker->standing = copy;
}

/* Keeps where the last file's cursor stands. */
static void keep(struct worker *worker, unsigned file)
{
	const struct smmap_cursor *from = worker->cursors[file];
	int r = smmap_cursor_assign(worker->standing, from);

	if (r < 0)
		report(worker, "assign", file, r);
	worker->stand = (struct stand){
		.file = file,
		.begin = smmap_cursor_begin(from),
		.size = smmap_cursor_size(from),
		.n_deaths = atomic_load(&shared->n_deaths),
	};
}

static void *work(void *data)
{
	struct worker *worker = data;
	unsigned file = 0;

	while (!worker->failed && !atomic_load(&shared->stop)) {
		look_back(worker);
		if (next_random(worker) % 8 == 0)
			hand_on(worker);
		if (next_random(worker) % 32 == 0)
			keep(worker, file);
		file = (unsigned)(next_random(worker) % FILES);
		if (worker->moved != worker->cursors[file])
			smmap_cursor_unuse(worker->moved);
		worker->moved = worker->cursors[file];
		switch (next_random(worker) % 6) {
		case 0:
			read_somewhere(worker, file);
			break;
		case 1:
			read_buffer(worker, file);
			break;
		default:
			use_somewhere(worker, file);
		}
		atomic_fetch_add(&shared->n_steps[worker->process], 1);
	}
	return NULL;
}

static int open_cursor(struct smmap_cursor **cursor, struct smmap_client *client, unsigned file)
{
	_cleanup_(close_fdp) int fd = -1;

	if (file % 3 < 2)
		return smmap_cursor_open(cursor, client, path_of(file), file % 3 ? SMMAP_WHOLE_FILE : 0);
	fd = open(path_of(file), O_RDONLY | O_CLOEXEC);
	return smmap_cursor_open_fd(cursor, client, fd, 0);
}

/* Opens all of a worker, which has copies of the first one's cursors if that is another. */
static void begin_worker(struct worker *worker, const struct worker *first)
{
	int r = smmap_cursor_open(&worker->standing, worker->client, NULL, 0);

	for (unsigned i = 0; !r && i < FILES; i++) {
		if (worker == first)
			r = open_cursor(&worker->cursors[i], worker->client, i);
		else
			r = smmap_cursor_copy(&worker->cursors[i], first->cursors[i]);
	}
	if (r < 0)
		report(worker, "open", 0, r);
}

/* A process: its workers share a client. Every other one does without the library's thread: who waits for an answer looks at the bell. */
static int run_process(unsigned process, uint64_t random)
{
	struct smmap_client_options of_client = {
		.socket = server.socket,
		.deadline_ms = DEADLINE_MS,
		.flags = process % 2 ? SMMAP_NO_THREAD : 0,
	};
	struct worker workers[WORKERS];
	int descriptors = harness_count_descriptors();
	struct smmap_client *client;
	bool failed = false;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* Many a request is sent just when the server dies: this would end the process. */
	signal(SIGPIPE, SIG_DFL);
	if (smmap_client_open(&client, &of_client) < 0)
		return 2;
	for (unsigned i = 0; i < WORKERS; i++) {
		workers[i] = (struct worker){.process = process, .number = i, .client = client, .random = random + i};
		begin_worker(&workers[i], &workers[0]);
	}
	for (unsigned i = 0; i < WORKERS; i++)
		pthread_create(&workers[i].thread, NULL, work, &workers[i]);
	while (process % 2 && !atomic_load(&shared->stop)) {
		struct pollfd pollfd = {.fd = smmap_client_get_fd(client), .events = POLLIN};

		/* No descriptor, no event: it asks for another one soon. */
		poll(&pollfd, 1, 10);
		smmap_client_dispatch(client);
	}
	for (unsigned i = 0; i < WORKERS; i++) {
		pthread_join(workers[i].thread, NULL);
		failed = failed || workers[i].failed;
	}
	for (unsigned i = 0; i < WORKERS; i++) {
		for (unsigned j = 0; j < FILES; j++)
			smmap_cursor_close(workers[i].cursors[j]);
		smmap_cursor_close(workers[i].standing);
	}
	smmap_client_close(client);
	return failed || harness_count_descriptors() != descriptors ? 1 : 0;
}

/* ---- deaths ---- */

/* Requires that a process is well: one that goes on, or has ended. */
static void check_process(unsigned process, pid_t pid, bool ends)
{
	int status = 0;
	pid_t ended = waitpid(pid, &status, ends ? 0 : WNOHANG);

	for (unsigned i = 0; i < WORKERS; i++)
		ck_assert_msg(!shared->complaints[process][i][0], "process %u: %s", process, shared->complaints[process][i]);
	ck_assert_msg(ended == (ends ? pid : 0) && status == 0, "process %u has status %#x", process, (unsigned)status);
}

/* Waits until each process has gone on, in steps: by @n of them. */
static void await_steps(const pid_t *pids, uint64_t n)
{
	for (unsigned i = 0; i < PROCESSES; i++) {
		uint64_t until = atomic_load(&shared->n_steps[i]) + n;

		while (atomic_load(&shared->n_steps[i]) < until) {
			check_process(i, pids[i], false);
			poll(NULL, 0, 1);
		}
	}
}

START_TEST(test_deaths)
{
	const char *wanted = getenv("SMMAPD_DEATHS");
	unsigned n = wanted ? (unsigned)strtoul(wanted, NULL, 10) : DEATHS;
	uint64_t began_ms = clock_ms(), n_steps = 0;
	pid_t pids[PROCESSES];

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert(shared != MAP_FAILED);
	make_files();
	start();
	for (unsigned i = 0; i < PROCESSES; i++) {
		uint64_t random = harness_random();

		pids[i] = fork();
		ck_assert_int_ge(pids[i], 0);
		if (!pids[i])
			_exit(run_process(i, random));
	}
	for (unsigned i = 0; i < n; i++) {
		/* At times before all have connected again, at times in the middle of much. */
		if (harness_random() % 4)
			await_steps(pids, harness_random() % 2 ? 1 : 200);
		poll(NULL, 0, (int)(harness_random() % 50));
		harness_kill(&server);
		atomic_fetch_add(&shared->n_deaths, 1);
		poll(NULL, 0, (int)(harness_random() % 20));
		start();
	}
	await_steps(pids, 100);
	atomic_store(&shared->stop, true);
	for (unsigned i = 0; i < PROCESSES; i++) {
		check_process(i, pids[i], true);
		n_steps += atomic_load(&shared->n_steps[i]);
	}
	printf("the server died %u times in %" PRIu64 " ms: its clients took %" PRIu64 " steps, %" PRIu64
	       " of them on what had outlived its server\n", n, clock_ms() - began_ms, n_steps, atomic_load(&shared->n_outlived));
	fflush(stdout);
	ck_assert_uint_ge(atomic_load(&shared->n_outlived), n);
	ck_assert_uint_eq(harness_figure(&server, "usage.leases"), 0);
	ck_assert_uint_eq(harness_figure(&server, "counters.protocol_errors"), 0);
	harness_stop(&server);
}
END_TEST

/* ---- what is another file by now ---- */

static struct smmap_cursor *open_at(struct smmap_client *client, const char *path)
{
	struct smmap_cursor *cursor;

	ck_assert_int_eq(smmap_cursor_open(&cursor, client, path, 0), 0);
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, 10), 10);
	return cursor;
}

static void assert_stands(struct smmap_cursor *cursor, uint64_t offset)
{
	ck_assert_int_eq(smmap_cursor_use(cursor, offset, 10), 10);
	ck_assert_mem_eq(smmap_cursor_data(cursor), bytes + offset, 10);
}

/* Every kind of change between two servers. The content is the same, but for the file that has grown: the file is what counts. */
START_TEST(test_other_files)
{
	struct smmap_cursor *replaced, *deleted, *folder, *gone, *same, *moved_back, *grown, *by_descriptor;
	struct smmap_client_options of_client = {.deadline_ms = DEADLINE_MS};
	struct smmap_client *client;
	char output[16];
	int fd;

	make_files();
	start();
	of_client.socket = server.socket;
	ck_assert_int_eq(smmap_client_open(&client, &of_client), 0);
	ck_assert_int_eq(harness_shell(output, sizeof(output), "mkdir d && for i in r x f d/g s m n; do cp file-0 $i || exit; done"),
			 0);
	replaced = open_at(client, "r");
	deleted = open_at(client, "x");
	folder = open_at(client, "f");
	gone = open_at(client, "d/g");
	same = open_at(client, "s");
	moved_back = open_at(client, "m");
	grown = open_at(client, "n");
	fd = open("x", O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(smmap_cursor_open_fd(&by_descriptor, client, fd, 0), 0);
	close(fd);

	harness_kill(&server);
	ck_assert_int_eq(harness_shell(output, sizeof(output), "cp r r2 && mv r2 r && rm x f && mkdir f && rm -r d &&"
				       "mv s s2 && ln -s s2 s && mv m m2 && mv m2 m && echo 12345678901 >>n"), 0);
	/* What they stand on is what it was. */
	assert_stands(replaced, 10);
	assert_stands(deleted, 10);
	start();
	assert_stands(replaced, 20);
	assert_stands(deleted, 20);
	ck_assert_int_eq(smmap_cursor_use(replaced, WINDOW, 10), -ESTALE);
	ck_assert_int_eq(smmap_cursor_use(deleted, WINDOW, 10), -ESTALE);
	ck_assert_int_eq(smmap_cursor_use(folder, WINDOW, 10), -ESTALE);
	ck_assert_int_eq(smmap_cursor_use(gone, WINDOW, 10), -ESTALE);
	ck_assert_int_eq(smmap_cursor_use(replaced, 0, 10), -ESTALE);
	assert_stands(same, WINDOW);
	assert_stands(moved_back, WINDOW);
	assert_stands(by_descriptor, WINDOW);
	ck_assert_int_eq(smmap_cursor_use(grown, SIZE, 12), 12);
	ck_assert_mem_eq(smmap_cursor_data(grown), "12345678901", 12 - 1);
	/* A new cursor sees what is there now. */
	smmap_cursor_close(replaced);
	replaced = open_at(client, "r");
	assert_stands(replaced, WINDOW);

	smmap_cursor_close(replaced);
	smmap_cursor_close(deleted);
	smmap_cursor_close(folder);
	smmap_cursor_close(gone);
	smmap_cursor_close(same);
	smmap_cursor_close(moved_back);
	smmap_cursor_close(grown);
	smmap_cursor_close(by_descriptor);
	smmap_client_close(client);
	harness_stop(&server);
}
END_TEST

/* ---- signals of broken pipes ---- */

/* A client that reads until it is killed. */
static void run_victim(void)
{
	struct smmap_client_options of_client = {.socket = server.socket};
	struct worker worker = {.random = (uint64_t)getpid()};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (smmap_client_open(&worker.client, &of_client) == 0) {
		begin_worker(&worker, &worker);
		work(&worker);
	}
	/* Until then nothing may go wrong. */
	_exit(1);
}

/* The server's standard error is a pipe too that nobody reads: the harness has closed its end. Rubbish has it write there. */
START_TEST(test_server_of_dead_clients)
{
	int status;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert(shared != MAP_FAILED);
	make_files();
	start();
	for (int i = 0; i < 100; i++) {
		int fd = address_connect(server.socket);
		pid_t victim = fork();

		ck_assert_int_ge(fd, 0);
		ck_assert_int_ge(victim, 0);
		if (!victim)
			run_victim();
		ck_assert_int_eq(channel_send(fd, "rubbish", 7, NULL, 0), 0);
		poll(NULL, 0, (int)(harness_random() % 20));
		ck_assert_int_eq(kill(victim, SIGKILL), 0);
		ck_assert_int_eq(waitpid(victim, &status, 0), victim);
		ck_assert_msg(WIFSIGNALED(status), "a client has status %#x: %s", (unsigned)status, shared->complaints[0][0]);
		close(fd);
	}
	ck_assert_uint_eq(harness_figure(&server, "counters.protocol_errors"), 100);
	ck_assert_uint_eq(harness_figure(&server, "usage.clients"), 1);
	ck_assert_uint_eq(harness_figure(&server, "usage.leases"), 0);
	harness_stop(&server);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("server-death");

	HARNESS_CASE(suite, "deaths", test_deaths);
	HARNESS_CASE(suite, "files", test_other_files);
	HARNESS_CASE(suite, "pipes", test_server_of_dead_clients);
	return harness_run(suite);
}
