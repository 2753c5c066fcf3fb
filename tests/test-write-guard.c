/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The write guard, with real servers: writers are processes that the kernel has wait, and what the kernel knows is read from what it
 * tells of the server's descriptors.
 */
#include "config.h"

#include "tests/harness.h"
#include "tests/raw.h"

#include "proto/util.h"

#include <inttypes.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#define WINDOW UINT64_C(65536)
#define MANY   100

/* The longest timeout that the kernel allows: it makes it less. Nobody who is slow to unmap is sent away. */
#define GUARD "--write-guard=yes", "--write-guard-timeout=1h", "--recall-timeout=1h", "--window-size=64K"

static struct harness_server server;
static struct raw a, b, observer;
static char output[1 << 16];

/* ---- what the kernel knows ---- */

/* Counts what the kernel tells of one descriptor of the server's. */
static unsigned count_leases_of(const char *fdinfo, ino_t only, bool breaking)
{
	FILE *lines = fopen(fdinfo, "re");
	char line[256], state[16];
	unsigned long inode;
	unsigned n = 0;

	/* It was closed meanwhile. */
	if (!lines)
		return 0;
	/* What is blocked by a lease follows it, behind an arrow. */
	while (fgets(line, sizeof(line), lines))
		if (sscanf(line, "lock: %*d: LEASE %15s %*s %*d %*x:%*x:%lu", state, &inode) == 2)
			n += (!only || inode == only) && (!breaking || strcmp(state, "BREAKING") == 0);
	fclose(lines);
	return n;
}

/*
 * How many leases of the kernel's the server has; with a path, on that file; those of which a writer waits for the end, if @breaking. All of
 * them are in /proc/locks, but that is read in pieces: what others lock meanwhile shows a lease twice, or not at all.
 */
static unsigned count_leases(const char *path, bool breaking)
{
	char folder[64], fdinfo[sizeof(folder) + 1 + NAME_MAX];
	struct stat st = {0};
	struct dirent *entry;
	unsigned n = 0;
	DIR *dir;

	if (path)
		ck_assert_int_eq(stat(path, &st), 0);
	snprintf(folder, sizeof(folder), "/proc/%d/fdinfo", (int)server.pid);
	dir = opendir(folder);
	ck_assert_ptr_nonnull(dir);
	while ((entry = readdir(dir))) {
		snprintf(fdinfo, sizeof(fdinfo), "%s/%s", folder, entry->d_name);
		n += count_leases_of(fdinfo, st.st_ino, breaking);
	}
	closedir(dir);
	return n;
}

/* Waits until the kernel has writers of so many files wait. */
static void await_breaking(unsigned n)
{
	while (count_leases(NULL, true) < n)
		ck_assert_int_ge(poll(NULL, 0, 1), 0);
	ck_assert_uint_eq(count_leases(NULL, true), n);
}

/* ---- writers ---- */

enum how { OPENS, TRUNCATES, CREATES };

/* A process that writes, truncates, or makes the file anew. */
static pid_t start_writer(const char *path, enum how how)
{
	pid_t child = fork();
	int fd;

	ck_assert_int_ge(child, 0);
	if (child)
		return child;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* The connections are the test's. */
	close_range(3, ~0u, 0);
	if (how == TRUNCATES)
		_exit(truncate(path, 1) != 0);
	fd = open(path, O_WRONLY | (how == CREATES ? O_CREAT | O_TRUNC : 0), 0600);
	_exit(fd < 0 || pwrite(fd, "changed", 7, 0) != 7);
}

static bool is_waiting(pid_t writer)
{
	return waitpid(writer, NULL, WNOHANG) == 0;
}

static void await_written(pid_t writer)
{
	int status;

	ck_assert_int_eq(waitpid(writer, &status, 0), writer);
	ck_assert_msg(status == 0, "status %#x", (unsigned)status);
}

/* ---- the server ---- */

static void start_raw(const char *option)
{
	harness_start(&server, GUARD, option, NULL);
	raw_start(&a, &server, "a");
	raw_start(&b, &server, "b");
	raw_start(&observer, &server, "observer");
}

/* Requires that who writes any of the files gets in at once. */
static void assert_unguarded(void)
{
	struct dirent *entry;
	DIR *dir = opendir(".");

	ck_assert_ptr_nonnull(dir);
	while ((entry = readdir(dir))) {
		if (entry->d_type != DT_REG)
			continue;
		_cleanup_(close_fdp) int fd = open(entry->d_name, O_WRONLY | O_NONBLOCK | O_CLOEXEC);

		/* A copy of the server may be running still. */
		ck_assert_msg(fd >= 0 || errno == ETXTBSY, "%s: %s", entry->d_name, strerror(errno));
	}
	closedir(dir);
}

static void stop(void)
{
	raw_close(&observer);
	raw_close(&b);
	raw_close(&a);
	harness_stop(&server);
	assert_unguarded();
}

static void await_guarded(const char *label)
{
	while (!raw_is_guarded(&observer, label))
		ck_assert_int_ge(poll(NULL, 0, 1), 0);
}

/* Waits until a request waits for a writer: what the kernel has told, the server has heard. */
static void await_yielding(void)
{
	struct figures_waiting row;
	struct message_figures figures;

	do {
		figures = raw_status(&observer, FIGURES_WAITING, 0);
	} while (figures_next(&figures.rows, FIGURES_WAITING, &row) <= 0 || row.waits_for.length != strlen("a writer") ||
		 memcmp(row.waits_for.data, "a writer", row.waits_for.length) != 0);
}

/* Waits for a second of the server's, with all that it does in each. */
static void await_second(void)
{
	uint32_t second = pulse_second(observer.pulse);

	while (pulse_second(observer.pulse) == second)
		ck_assert_int_ge(poll(NULL, 0, 1), 0);
}

/* What the last lease is on, mapped. */
static const unsigned char *map_leased(struct raw *raw, const struct message_leased *leased)
{
	void *map = mmap(NULL, leased->length, PROT_READ, MAP_SHARED, raw->packet->descriptors[0], (off_t)leased->offset);

	ck_assert(map != MAP_FAILED);
	return map;
}

static void assert_bytes(const unsigned char *bytes, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		ck_assert_uint_eq(bytes[i], harness_byte(i));
}

/* ---- tests ---- */

/* What a client may do with the descriptor that it was lent, where that is the one of a guard: end it, and have its signals sent elsewhere. */
static void silence(int fd)
{
	fcntl(fd, F_SETLEASE, F_UNLCK);
	fcntl(fd, F_SETSIG, 0);
	fcntl(fd, F_SETOWN, 0);
}

/* However it is written, the writer waits for the pin, and sees no reader's bytes change before. */
static void write_pinned(enum how how)
{
	const unsigned char *map;
	struct message_leased leased;
	uint64_t file;
	pid_t writer;

	start_raw(NULL);
	harness_make_file("file", 2 * WINDOW);
	file = raw_open(&a, "file");
	raw_open(&b, "file");
	leased = raw_lease(&a, file, 0, 1);
	map = map_leased(&a, &leased);
	ck_assert(raw_is_guarded(&observer, "file"));
	silence(a.packet->descriptors[0]);

	writer = start_writer("file", how);
	await_breaking(1);
	/* Others come after it, and it still waits when the server has looked many times. */
	raw_send_lease(&b, file, 0, 1, RAW_LONG_MS);
	await_yielding();
	await_second();
	ck_assert(is_waiting(writer));
	ck_assert(raw_is_guarded(&observer, "file"));
	ck_assert(!raw_is_answered(&b));
	assert_bytes(map, WINDOW);

	raw_unpin(&a, &leased.lease);
	raw_await_recall(&a, &leased.lease);
	await_written(writer);
	munmap((void *)(uintptr_t)map, WINDOW);
	raw_release(&a, &leased.lease);
	leased = raw_receive_leased(&b);
	raw_unpin(&b, &leased.lease);
	await_guarded("file");
	stop();
}

START_TEST(test_open)
{
	write_pinned(OPENS);
}
END_TEST

START_TEST(test_truncate)
{
	write_pinned(TRUNCATES);
}
END_TEST

START_TEST(test_create)
{
	write_pinned(CREATES);
}
END_TEST

/* Who has it idle need not even have unmapped it. */
START_TEST(test_idle)
{
	struct message_leased leased;
	struct slot_ref refs[2];
	uint64_t file;

	start_raw(NULL);
	harness_make_file("file", 2 * WINDOW);
	for (int i = 0; i < 2; i++) {
		file = raw_open(i ? &b : &a, "file");
		leased = raw_lease(i ? &b : &a, file, 0, 2 * WINDOW);
		refs[i] = leased.lease;
		raw_unpin(i ? &b : &a, &refs[i]);
	}
	await_written(start_writer("file", CREATES));
	raw_await_recall(&a, &refs[0]);
	raw_await_recall(&b, &refs[1]);
	ck_assert(!raw_pin(&a, &refs[0]) && !raw_pin(&b, &refs[1]));
	/* What is new is there for the next, in a map that the server has kept. */
	leased = raw_lease(&a, file, 0, 1);
	ck_assert_uint_eq(leased.file_size, 7);
	stop();
}
END_TEST

static uint64_t clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Who pins for ever is waited for until the timeout, not until the kernel's, which is 45 seconds. */
START_TEST(test_timeout)
{
	struct message_leased leased, other;
	uint64_t file, began_ms;

	start_raw("--write-guard-timeout=1500ms");
	harness_make_file("file", 2 * WINDOW);
	file = raw_open(&a, "file");
	raw_open(&b, "file");
	leased = raw_lease(&a, file, 0, 2 * WINDOW);
	began_ms = clock_ms();
	await_written(start_writer("file", TRUNCATES));
	ck_assert_uint_ge(clock_ms() - began_ms, 1400);
	ck_assert_uint_lt(clock_ms() - began_ms, 20000);
	other = raw_lease(&b, file, 0, 1);
	ck_assert_uint_eq(other.file_size, 1);
	/* It is told then. */
	ck_assert(board_is_stale(&a.board.slots[leased.lease.slot]));
	ck_assert(!board_is_stale(&b.board.slots[other.lease.slot]));
	/* A pin is no reason not to guard it again. */
	await_guarded("file");
	stop();
}
END_TEST

/* A writer that does not wait is told so, and gets in when it comes back. */
START_TEST(test_nonblocking)
{
	struct message_leased leased;
	uint64_t file;
	int fd;

	start_raw(NULL);
	harness_make_file("file", WINDOW);
	file = raw_open(&a, "file");
	leased = raw_lease(&a, file, 0, 1);
	ck_assert_int_eq(open("file", O_WRONLY | O_NONBLOCK), -1);
	ck_assert_int_eq(errno, EWOULDBLOCK);
	raw_send_lease(&a, file, 0, 1, RAW_LONG_MS);
	await_yielding();
	ck_assert_int_eq(open("file", O_RDWR | O_NONBLOCK), -1);
	raw_unpin(&a, &leased.lease);
	raw_await_recall(&a, &leased.lease);
	raw_receive_leased(&a);
	/* Readers that go on don't keep it out. */
	while ((fd = open("file", O_WRONLY | O_NONBLOCK | O_CLOEXEC)) < 0) {
		ck_assert_int_eq(errno, EWOULDBLOCK);
		leased = raw_lease(&a, file, 0, 1);
		raw_unpin(&a, &leased.lease);
	}
	close(fd);
	stop();
}
END_TEST

START_TEST(test_written)
{
	uint64_t file;
	int fd;

	start_raw(NULL);
	harness_make_file("file", WINDOW);
	fd = open("file", O_WRONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	file = raw_open(&a, "file");
	raw_open(&observer, "file");
	raw_lease(&a, file, 0, 1);
	ck_assert(!raw_is_guarded(&observer, "file"));
	await_second();
	ck_assert(!raw_is_guarded(&observer, "file"));
	ck_assert_uint_eq(count_leases(NULL, false), 0);
	close(fd);
	await_guarded("file");
	ck_assert_uint_eq(count_leases("file", false), 1);
	stop();
}
END_TEST

/* Many writers at once, which wait for one pin each. */
static void write_many(void)
{
	struct message_leased leased[MANY];
	uint64_t files[MANY];
	pid_t writers[MANY];
	char path[32];

	for (int i = 0; i < MANY; i++) {
		snprintf(path, sizeof(path), "file-%d", i);
		harness_make_file(path, WINDOW);
		files[i] = raw_open(&a, path);
		leased[i] = raw_lease(&a, files[i], 0, 1);
	}
	ck_assert_uint_eq(count_leases(NULL, false), MANY);
	for (int i = 0; i < MANY; i++) {
		snprintf(path, sizeof(path), "file-%d", i);
		writers[i] = start_writer(path, (enum how)(i % 3));
	}
	await_breaking(MANY);
	for (int i = MANY - 1; i >= 0; i--) {
		ck_assert(is_waiting(writers[i]));
		raw_unpin(&a, &leased[i].lease);
		await_written(writers[i]);
	}
	for (int i = 0; i < MANY; i++)
		ck_assert(!raw_pin(&a, &leased[i].lease));
}

START_TEST(test_many)
{
	start_raw(NULL);
	write_many();
	stop();
}
END_TEST

/* The kernel has no memory for a signal that names the file. */
START_TEST(test_many_without_names)
{
	struct rlimit none = {0, 0};

	start_raw(NULL);
	ck_assert_int_eq(prlimit(server.pid, RLIMIT_SIGPENDING, &none, NULL), 0);
	write_many();
	stop();
}
END_TEST

/* Only who asks for a file that is to be written waits, not the user's other requests, even where these wait for room. */
START_TEST(test_requests)
{
	struct message_leased leased, of_other;
	struct message request, answer;
	char sentence[MESSAGE_MAX_TEXT + 1];
	uint64_t file, other;
	pid_t writer;

	start_raw("--max-maps=2");
	harness_make_file("file", 2 * WINDOW);
	harness_make_file("other", 2 * WINDOW);
	file = raw_open(&a, "file");
	raw_open(&b, "file");
	other = raw_open(&b, "other");
	leased = raw_lease(&a, file, 0, 1);
	writer = start_writer("file", OPENS);
	await_breaking(1);
	raw_send_lease(&a, file, WINDOW, 1, RAW_LONG_MS);
	await_yielding();
	of_other = raw_lease(&b, other, 0, 1);

	/* Its deadline comes first. */
	request = raw_lease_request(file, WINDOW, 1, 1);
	raw_ask(&b, &request, -1, &answer);
	raw_assert_error(&answer, ETIMEDOUT, sentence);
	ck_assert_msg(strstr(sentence, "wants to write the file"), "%s", sentence);
	ck_assert_uint_eq(raw_summary(&observer).waits, 0);

	raw_send_lease(&b, other, WINDOW, 1, RAW_LONG_MS);
	raw_await_waits(&observer, 1);
	raw_unpin(&b, &of_other.lease);
	raw_release(&b, &of_other.lease);
	raw_receive(&b, &answer);
	ck_assert_uint_eq(answer.type, MESSAGE_LEASED);
	ck_assert(is_waiting(writer));
	raw_unpin(&b, &answer.leased.lease);
	raw_release(&b, &answer.leased.lease);

	raw_unpin(&a, &leased.lease);
	await_written(writer);
	raw_release(&a, &leased.lease);
	raw_receive(&a, &answer);
	ck_assert_uint_eq(answer.type, MESSAGE_LEASED);
	stop();
}
END_TEST

/* The pins of a client that dies are gone. */
START_TEST(test_killed)
{
	pid_t writer;

	start_raw(NULL);
	harness_make_file("file", WINDOW);
	raw_lease(&a, raw_open(&a, "file"), 0, 1);
	writer = start_writer("file", OPENS);
	await_breaking(1);
	ck_assert(is_waiting(writer));
	raw_close(&a);
	await_written(writer);
	raw_start(&a, &server, "again");
	stop();
}
END_TEST

/* When the server ends, well or not, the kernel lets the writer in. */
static void end_server(void (*end)(struct harness_server *server))
{
	pid_t writer;

	start_raw(NULL);
	harness_make_file("file", WINDOW);
	raw_lease(&a, raw_open(&a, "file"), 0, 1);
	writer = start_writer("file", TRUNCATES);
	await_breaking(1);
	ck_assert(is_waiting(writer));
	end(&server);
	await_written(writer);
	raw_close(&observer);
	raw_close(&b);
	raw_close(&a);
}

START_TEST(test_stopped)
{
	end_server(harness_stop);
}
END_TEST

START_TEST(test_server_killed)
{
	end_server(harness_kill);
}
END_TEST

static void write_conf(const char *text)
{
	FILE *file = fopen("conf", "we");

	ck_assert_ptr_nonnull(file);
	fputs(text, file);
	ck_assert_int_eq(fclose(file), 0);
}

/* Off by default; turned on, what is mapped is guarded; turned off again, writers are let in. */
START_TEST(test_switch)
{
	struct message_leased leased;
	pid_t writer;

	write_conf("window-size = 64K\n");
	harness_start(&server, "--config=conf", NULL);
	raw_start(&a, &server, "a");
	raw_start(&b, &server, "b");
	raw_start(&observer, &server, "observer");
	harness_make_file("file", WINDOW);
	leased = raw_lease(&a, raw_open(&a, "file"), 0, 1);
	await_second();
	ck_assert(!raw_is_guarded(&observer, "file"));
	ck_assert_uint_eq(count_leases(NULL, false), 0);
	await_written(start_writer("file", OPENS));

	write_conf("window-size = 64K\nwrite-guard = yes\nwrite-guard-timeout = 1h\n");
	ck_assert_int_eq(kill(server.pid, SIGHUP), 0);
	await_guarded("file");
	ck_assert_uint_eq(count_leases("file", false), 1);
	writer = start_writer("file", OPENS);
	await_breaking(1);
	ck_assert(is_waiting(writer));
	write_conf("window-size = 64K\nwrite-guard = no\n");
	ck_assert_int_eq(kill(server.pid, SIGHUP), 0);
	await_written(writer);
	ck_assert(!raw_is_guarded(&observer, "file"));
	ck_assert_uint_eq(count_leases(NULL, false), 0);
	raw_unpin(&a, &leased.lease);
	stop();
}
END_TEST

static void assert_status(bool guarded)
{
	const char *program = harness_program();

	ck_assert_int_eq(harness_shell(output, sizeof(output), "%s status --files --socket=%s | grep -x '.* %s */file'", program,
				       server.socket, guarded ? "yes" : "no"), 0);
	ck_assert_int_eq(harness_shell(output, sizeof(output), "%s status --json --socket=%s | grep -E '\"guarded\": %d,?$'", program,
				       server.socket, guarded), 0);
}

START_TEST(test_status)
{
	uint64_t file;
	int fd, sent;

	start_raw(NULL);
	harness_make_file("file", WINDOW);
	fd = open("file", O_WRONLY | O_CLOEXEC);
	sent = open("file", O_RDONLY | O_CLOEXEC);
	file = raw_open_as(&a, sent, "/file");
	close(sent);
	raw_lease(&a, file, 0, 1);
	assert_status(false);
	close(fd);
	await_guarded("/file");
	assert_status(true);
	stop();
}
END_TEST

/* Runs the server as nobody, with or without the capability. */
static void start_as_nobody(const char *capability)
{
	FILE *script = fopen("as-nobody", "we");

	ck_assert_ptr_nonnull(script);
	fprintf(script, "#!/bin/sh\nexec setpriv --pdeathsig=KILL --reuid=65534 --regid=65534 --clear-groups %s ./smmapd \"$@\"\n",
		capability);
	ck_assert_int_eq(fchmod(fileno(script), 0755), 0);
	ck_assert_int_eq(fclose(script), 0);
	start_raw(NULL);
}

/* Whose files are guarded: the server's own; with CAP_LEASE those, too, that it may read. The others are served all the same. */
START_TEST(test_whose)
{
	static const char *const capabilities[] = {"--bounding-set=-all", "--inh-caps=+lease --ambient-caps=+lease"};

	if (!harness_is_root())
		return;
	ck_assert_int_eq(harness_shell(output, sizeof(output), "chmod 777 . && cp %s smmapd && chmod 755 smmapd", harness_program()), 0);
	setenv("SMMAPD", "./as-nobody", 1);
	harness_make_file("own", WINDOW);
	harness_make_file("public", WINDOW);
	harness_make_file("private", WINDOW);
	ck_assert_int_eq(chown("own", 65534, 65534), 0);
	ck_assert_int_eq(chmod("public", 0644), 0);
	ck_assert_int_eq(chmod("private", 0600), 0);

	for (unsigned i = 0; i < 2; i++) {
		start_as_nobody(capabilities[i]);
		raw_lease(&a, raw_open(&a, "own"), 0, 1);
		raw_lease(&a, raw_open(&a, "public"), 0, 1);
		raw_lease(&a, raw_open(&a, "private"), 0, 1);
		ck_assert(raw_is_guarded(&observer, "own"));
		ck_assert(raw_is_guarded(&observer, "public") == i);
		ck_assert(!raw_is_guarded(&observer, "private"));
		await_written(start_writer("private", OPENS));
		stop();
	}
}
END_TEST

/* The command that a private server runs has the signals that it had anyway. */
START_TEST(test_exec)
{
	ck_assert_int_eq(harness_shell(output, sizeof(output), "%s exec --write-guard=yes -- grep -x 'SigBlk:.0*' /proc/self/status 2>&1",
				       harness_program()), 0);
}
END_TEST

/* All files that there may be can be guarded, and the descriptors are those. */
START_TEST(test_handles)
{
	int before;

	ck_assert_int_eq(harness_shell(output, sizeof(output), "ulimit -n 300 && %s --check-config --config=/dev/null --write-guard=yes",
				       harness_program()), 0);
	ck_assert_msg(strstr(output, "max-handles lowered from 8192 to 61: "), "%s", output);

	start_raw("--max-handles=10");
	before = raw_server_descriptors(&observer, &server);
	for (int i = 0; i < 30; i++) {
		char path[32];

		snprintf(path, sizeof(path), "file-%d", i);
		harness_make_file(path, WINDOW);
		ck_assert_int_eq(harness_shell(output, sizeof(output), "%s warm --socket=%s %s 2>&1", harness_program(), server.socket,
					       path), 0);
		/* The client may not have gone yet. */
		while (raw_summary(&observer).clients > 3)
			ck_assert_int_ge(poll(NULL, 0, 1), 0);
		ck_assert_uint_eq(count_leases(NULL, false), min_u64((uint64_t)i + 1, 10));
		ck_assert_int_eq(raw_server_descriptors(&observer, &server), before + 2 * (int)min_u64((uint64_t)i + 1, 10));
	}
	stop();
}
END_TEST

Suite *suite(void);

Suite *suite(void)
{
	Suite *s = suite_create("write-guard");

	HARNESS_CASE(s, "writers", test_open, test_truncate, test_create, test_idle, test_timeout, test_nonblocking, test_written);
	HARNESS_CASE(s, "many", test_many, test_many_without_names);
	HARNESS_CASE(s, "ends", test_requests, test_killed, test_stopped, test_server_killed);
	HARNESS_CASE(s, "settings", test_switch, test_status, test_whose, test_exec, test_handles);
	return s;
}

int main(void)
{
	return harness_run(suite());
}
