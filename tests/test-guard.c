/* SPDX-License-Identifier: BSD-3-Clause */
/* The guard against SIGBUS: whose signal it is, and what is read and told where a map can't be read. */
#include "config.h"

#include "client/cursor.h"
#include "client/guard.h"
#include "tests/fuse.h"
#include "tests/harness.h"

#include "proto/util.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define PAGE      4096
#define WINDOW    (4 * PAGE)
#define FILE_SIZE (8 * WINDOW)

static struct harness_server server;
static struct smmap_client *client;
static struct smmap_cursor *cursor;

static struct smmap_client *open_client(uint32_t flags)
{
	struct smmap_client_options options = {.socket = server.socket, .flags = flags};
	struct smmap_client *new;

	ck_assert_int_eq(smmap_client_open(&new, &options), 0);
	return new;
}

static void start(void)
{
	harness_start(&server, "--window-size=16K", "--max-memory=16M", NULL);
	harness_make_file("file", FILE_SIZE);
	client = open_client(SMMAP_GUARD_SIGBUS);
	ck_assert_int_eq(smmap_cursor_open(&cursor, client, "file", 0), 0);
}

static void stop(void)
{
	smmap_cursor_close(cursor);
	smmap_client_close(client);
	ck_assert_uint_eq(harness_figure(&server, "counters.protocol_errors"), 0);
	harness_stop(&server);
}

static int byte_at(const struct smmap_cursor *standing, size_t i)
{
	return ((const volatile unsigned char *)smmap_cursor_data(standing))[i];
}

/* Stands on all of the file, of which only @size bytes are left then. */
static void stand_and_truncate(struct smmap_cursor *standing, off_t size)
{
	ck_assert_int_eq(truncate("file", 0), 0);
	harness_make_file("file", FILE_SIZE);
	ck_assert_int_eq((smmap_cursor_use)(standing, 0, FILE_SIZE), FILE_SIZE);
	ck_assert_int_eq(truncate("file", size), 0);
}

static void assert_guarded(void)
{
	stand_and_truncate(cursor, PAGE);
	ck_assert_int_eq(byte_at(cursor, WINDOW), 0);
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, 1), -ESTALE);
}

/* ---- what is read, and told ---- */

START_TEST(test_zeros)
{
	start();
	for (int i = 0; i < 20; i++) {
		stand_and_truncate(cursor, PAGE + 100);
		ck_assert_int_eq(byte_at(cursor, 5 * PAGE), 0);
		ck_assert_int_eq(byte_at(cursor, FILE_SIZE - 1), 0);
		ck_assert_int_eq(byte_at(cursor, 2 * PAGE), 0);
		ck_assert_int_eq(byte_at(cursor, PAGE + 100), 0);
		ck_assert_int_eq(byte_at(cursor, PAGE + 99), harness_byte(PAGE + 99));

		/* Once, be it by the inlined function; then the new size. */
		if (i % 2)
			ck_assert_int_eq(smmap_cursor_use(cursor, 10, 20), -ESTALE);
		else
			ck_assert_int_eq((smmap_cursor_use)(cursor, 10, 20), -ESTALE);
		ck_assert(!smmap_cursor_is_valid(cursor));
		ck_assert_int_eq(smmap_cursor_use(cursor, 10, FILE_SIZE), PAGE + 90);
		ck_assert_uint_eq(smmap_cursor_file_size(cursor), PAGE + 100);
		ck_assert_int_eq(byte_at(cursor, PAGE - 10), harness_byte(PAGE));
	}
	stop();
}
END_TEST

/* A page of a map has to be filled even where it is a hole; on a full disk there is none for it. */
START_TEST(test_hole_on_a_full_disk)
{
	struct smmap_cursor *hole;
	int fd;

	start();
	ck_assert_int_eq(mkdir("small", 0700), 0);
	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", "small", "tmpfs", 0, "size=16k,huge=never")) {
		puts("skipped: what a full disk does, since none can be mounted here");
		stop();
		return;
	}
	fd = open("small/file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_eq(pwrite(fd, "x", 1, 0), 1);
	ck_assert_int_eq(ftruncate(fd, FILE_SIZE), 0);
	close(fd);
	harness_make_file("small/other", 3 * PAGE);

	ck_assert_int_eq(smmap_cursor_open(&hole, client, "small/file", 0), 0);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(smmap_cursor_use(hole, 0, FILE_SIZE), FILE_SIZE);
		ck_assert_int_eq(byte_at(hole, 0), 'x');
		ck_assert_int_eq(byte_at(hole, WINDOW + 1), 0);
		ck_assert_int_eq(byte_at(hole, FILE_SIZE - 1), 0);
		ck_assert_int_eq(smmap_cursor_use(hole, 0, 1), -ESTALE);
	}
	/* With room for it a hole is one. */
	ck_assert_int_eq(unlink("small/other"), 0);
	ck_assert_int_eq(smmap_cursor_use(hole, 0, FILE_SIZE), FILE_SIZE);
	ck_assert_int_eq(byte_at(hole, WINDOW + 1), 0);
	ck_assert_int_eq(smmap_cursor_use(hole, 0, 1), 1);
	smmap_cursor_close(hole);
	stop();
	ck_assert_int_eq(umount2("small", MNT_DETACH), 0);
}
END_TEST

/* Leaving the place does not make good what was read there. Who has read nothing there is told of nothing. */
START_TEST(test_who_is_told)
{
	struct smmap_cursor *copy, *elsewhere;

	start();
	ck_assert_int_eq(smmap_cursor_open(&elsewhere, client, "file", 0), 0);
	ck_assert_int_eq(smmap_cursor_use(elsewhere, 0, 1), 1);
	ck_assert_int_eq(smmap_cursor_use(cursor, WINDOW, FILE_SIZE - WINDOW), FILE_SIZE - WINDOW);
	ck_assert_int_eq(smmap_cursor_copy(&copy, cursor), 0);
	ck_assert_int_eq(truncate("file", PAGE), 0);
	ck_assert_int_eq(byte_at(cursor, 0), 0);
	smmap_cursor_unuse(cursor);
	ck_assert_int_eq(smmap_cursor_use(elsewhere, 5, 1), 1);
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, 1), -ESTALE);
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, 2 * PAGE), PAGE);
	ck_assert_int_eq(smmap_cursor_use(copy, 0, 1), -ESTALE);
	ck_assert_int_eq(smmap_cursor_use(copy, 0, 2 * PAGE), PAGE);
	smmap_cursor_close(copy);
	smmap_cursor_close(elsewhere);
	stop();
}
END_TEST

/* Copies are plain, and exact all the same. */
START_TEST(test_copies)
{
	static unsigned char bytes[FILE_SIZE];
	struct smmap_buffer *buffer;

	start();
	stand_and_truncate(cursor, 100);
	ck_assert_int_eq(smmap_cursor_read(cursor, bytes, FILE_SIZE, 0), -ESTALE);
	ck_assert_int_eq(smmap_cursor_read(cursor, bytes, FILE_SIZE, 0), 100);
	for (uint64_t i = 0; i < 100; i++)
		ck_assert_uint_eq(bytes[i], harness_byte(i));

	/* What a pointer has read before is told first. */
	stand_and_truncate(cursor, 100);
	ck_assert_int_eq(byte_at(cursor, WINDOW), 0);
	ck_assert_int_eq(smmap_cursor_read(cursor, bytes, 10, 0), -ESTALE);
	ck_assert_int_eq(smmap_cursor_read(cursor, bytes, 10, 0), 10);

	ck_assert_int_eq(truncate("file", 0), 0);
	harness_make_file("file", FILE_SIZE);
	ck_assert_int_eq(smmap_buffer_open(&buffer, cursor, 0, SMMAP_TO_END), 0);
	ck_assert_int_eq(smmap_buffer_at(buffer, -1), harness_byte(FILE_SIZE - 1));
	ck_assert_int_eq(truncate("file", 100), 0);
	ck_assert_int_eq(smmap_buffer_at(buffer, -1), -ESTALE);
	ck_assert_int_eq(smmap_buffer_at(buffer, 99), harness_byte(99));
	ck_assert_int_eq(smmap_buffer_read(buffer, bytes, -PAGE, INT64_MAX), -ESTALE);
	ck_assert_int_eq(smmap_buffer_read(buffer, bytes, 0, 100), 100);
	smmap_buffer_close(buffer);
	stop();
}
END_TEST

/* A fault in this thread would be the end. */
START_TEST(test_copies_where_it_is_blocked)
{
	static unsigned char bytes[FILE_SIZE];
	sigset_t set, before;

	start();
	sigemptyset(&set);
	sigaddset(&set, SIGBUS);
	for (int i = 0; i < 5; i++) {
		stand_and_truncate(cursor, 100);
		ck_assert_int_eq(pthread_sigmask(SIG_BLOCK, &set, &before), 0);
		ck_assert_int_eq(smmap_cursor_read(cursor, bytes, FILE_SIZE, 0), -ESTALE);
		ck_assert_int_eq(smmap_cursor_read(cursor, bytes, FILE_SIZE, 0), 100);
		ck_assert_int_eq(pthread_sigmask(SIG_SETMASK, &before, NULL), 0);
		ck_assert_uint_eq(bytes[99], harness_byte(99));
		assert_guarded();
	}
	stop();
}
END_TEST

/* It is told of what was read where it stood before. */
START_TEST(test_assign)
{
	struct smmap_cursor *other;

	start();
	harness_make_file("other", WINDOW);
	ck_assert_int_eq(smmap_cursor_open(&other, client, "other", 0), 0);
	ck_assert_int_eq(smmap_cursor_use(other, 10, 10), 10);
	stand_and_truncate(cursor, PAGE);
	ck_assert_int_eq(byte_at(cursor, WINDOW), 0);
	ck_assert_int_eq(smmap_cursor_assign(cursor, other), -ESTALE);
	ck_assert(!smmap_cursor_is_valid(cursor));
	ck_assert_str_eq(smmap_cursor_path(cursor), "file");
	ck_assert_int_eq(smmap_cursor_assign(cursor, other), 0);
	ck_assert_str_eq(smmap_cursor_path(cursor), "other");
	ck_assert_int_eq(byte_at(cursor, 0), harness_byte(10));
	smmap_cursor_close(other);
	stop();
}
END_TEST

/* Another thread may find a lease blanked before it sees that it is stale; a length is no byte then either. */
START_TEST(test_blanked_before_stale)
{
	struct smmap_buffer *buffer;
	struct board_slot *slot;

	start();
	ck_assert_int_eq(smmap_buffer_open(&buffer, cursor, 0, SMMAP_TO_END), 0);
	ck_assert_int_eq(smmap_buffer_at(buffer, 1), harness_byte(1));
	ck_assert_int_eq(truncate("file", PAGE), 0);
	ck_assert_int_eq(byte_at(cursor, PAGE), 0);
	slot = connection_slot(cursor->connection, cursor->slot);
	atomic_fetch_and(&slot->state, INT64_MAX);
	ck_assert(!board_is_stale(slot));
	ck_assert_int_eq(smmap_buffer_at(buffer, 1), -ESTALE);
	ck_assert_int_eq(smmap_buffer_at(buffer, 1), harness_byte(1));
	smmap_buffer_close(buffer);
	stop();
}
END_TEST

START_TEST(test_read_errors)
{
	struct fuse_system system = {.folder = "fuse", .size = 2 * WINDOW, .readable = 5 * PAGE};
	struct smmap_cursor *broken;
	unsigned char bytes[2 * PAGE];

	start();
	if (fuse_start(&system)) {
		ck_assert_int_eq(smmap_cursor_open(&broken, client, "fuse/file", 0), 0);
		ck_assert_int_eq(smmap_cursor_use(broken, 0, 2 * WINDOW), 2 * WINDOW);
		ck_assert_int_eq(byte_at(broken, 5 * PAGE - 1), harness_byte(5 * PAGE - 1));
		ck_assert_int_eq(byte_at(broken, 5 * PAGE), 0);
		ck_assert_int_eq(smmap_cursor_use(broken, 0, 10), -ESTALE);
		ck_assert_int_eq(smmap_cursor_read(broken, bytes, 2 * PAGE, 4 * PAGE), -EIO);
		ck_assert_int_eq(smmap_cursor_read(broken, bytes, 2 * PAGE, 3 * PAGE), 2 * PAGE);
		smmap_cursor_close(broken);
		fuse_stop(&system);
	}
	stop();
}
END_TEST

/* ---- whose signal it is ---- */

/* A page of a file of which nothing is left. */
static unsigned char *broken_page(void)
{
	int fd = open("broken", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	unsigned char *page;

	ck_assert_int_eq(ftruncate(fd, PAGE), 0);
	page = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(page, MAP_FAILED);
	ck_assert_int_eq(ftruncate(fd, 0), 0);
	close(fd);
	return page;
}

static volatile unsigned char *broken;
static sigjmp_buf way_out;
static volatile sig_atomic_t n_signals;
static volatile sig_atomic_t right;
static char alternate[65536];

/* The handlers of a program that has its own idea of SIGBUS. */
static void take_signal(int signal)
{
	right = right && signal == SIGBUS;
	n_signals++;
	siglongjmp(way_out, 1);
}

static void take_signal_with_information(int signal, siginfo_t *info, void *context)
{
	const char here = 0;

	right = right && signal == SIGBUS && info->si_code == BUS_ADRERR && info->si_addr == (void *)(uintptr_t)broken && context;
	right = right && (uintptr_t)&here - (uintptr_t)alternate < sizeof(alternate);
	n_signals++;
	siglongjmp(way_out, 1);
}

static void count_signal(int signal)
{
	right = right && signal == SIGBUS;
	n_signals++;
}

/* Installs what was there before the guard. */
static void handle_before(void (*handler)(int), void (*with_information)(int, siginfo_t *, void *), int flags)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = flags};

	if (with_information)
		action.sa_sigaction = with_information;
	ck_assert_int_eq(sigaction(SIGBUS, &action, NULL), 0);
}

/* Touches what is not the library's; returns when the handler has jumped out. */
static void touch_broken(void)
{
	if (!sigsetjmp(way_out, 1))
		(void)broken[0];
}

START_TEST(test_handler_before)
{
	handle_before(take_signal, NULL, 0);
	broken = broken_page();
	right = 1;
	start();
	for (int i = 1; i <= 5; i++) {
		touch_broken();
		ck_assert_int_eq(n_signals, i);
		assert_guarded();
	}
	ck_assert_int_eq(n_signals, 5);
	ck_assert(right);
	stop();
}
END_TEST

START_TEST(test_handler_with_information_before)
{
	stack_t stack = {.ss_sp = alternate, .ss_size = sizeof(alternate)};

	ck_assert_int_eq(sigaltstack(&stack, NULL), 0);
	handle_before(NULL, take_signal_with_information, SA_SIGINFO | SA_ONSTACK);
	broken = broken_page();
	right = 1;
	start();
	for (int i = 1; i <= 5; i++) {
		touch_broken();
		ck_assert_int_eq(n_signals, i);
		assert_guarded();
	}
	ck_assert(right);
	/* What the caller has set is as it was. */
	ck_assert_int_eq(sigaltstack(NULL, &stack), 0);
	ck_assert_ptr_eq(stack.ss_sp, alternate);
	ck_assert_int_eq(stack.ss_flags, 0);
	stop();
}
END_TEST

START_TEST(test_sent_signals)
{
	union sigval value = {.sival_ptr = NULL};

	handle_before(count_signal, NULL, 0);
	right = 1;
	start();
	stand_and_truncate(cursor, PAGE);
	ck_assert_int_eq(raise(SIGBUS), 0);
	/* What comes with one that was sent is no address, even if it looks like one. */
	value.sival_ptr = (void *)(uintptr_t)smmap_cursor_data(cursor);
	ck_assert_int_eq(sigqueue(getpid(), SIGBUS, value), 0);
	ck_assert_int_eq(n_signals, 2);
	ck_assert(right);
	ck_assert_int_eq(smmap_cursor_use(cursor, 5, 1), 1);
	stop();
}
END_TEST

/* Runs something in a child; its status as of wait(2). */
static int status_of(void (*run)(void))
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		run();
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return status;
}

static void open_guarded(void)
{
	client = open_client(SMMAP_GUARD_SIGBUS);
	ck_assert_int_eq(smmap_cursor_open(&cursor, client, "file", 0), 0);
	assert_guarded();
}

static void touch_with_the_default(void)
{
	handle_before(SIG_DFL, NULL, 0);
	open_guarded();
	broken = broken_page();
	(void)broken[0];
}

static void *touch(void *data)
{
	(void)data;
	(void)broken[0];
	return NULL;
}

static void touch_in_a_thread(void)
{
	pthread_t thread;

	handle_before(SIG_DFL, NULL, 0);
	open_guarded();
	broken = broken_page();
	ck_assert_int_eq(pthread_create(&thread, NULL, touch, NULL), 0);
	pthread_join(thread, NULL);
}

static void send_with_the_default(void)
{
	handle_before(SIG_DFL, NULL, 0);
	open_guarded();
	kill(getpid(), SIGBUS);
}

static void touch_with_ignore(void)
{
	handle_before(SIG_IGN, NULL, 0);
	open_guarded();
	broken = broken_page();
	(void)broken[0];
}

static void send_with_ignore(void)
{
	handle_before(SIG_IGN, NULL, 0);
	open_guarded();
	kill(getpid(), SIGBUS);
	assert_guarded();
}

static void send_twice_with_reset(void)
{
	handle_before(count_signal, NULL, (int)SA_RESETHAND);
	right = 1;
	open_guarded();
	kill(getpid(), SIGBUS);
	if (n_signals != 1 || !right)
		_exit(1);
	kill(getpid(), SIGBUS);
}

static void touch_without_a_guard(void)
{
	struct smmap_client *other;
	struct smmap_cursor *unguarded;

	handle_before(SIG_DFL, NULL, 0);
	open_guarded();
	other = open_client(0);
	ck_assert_int_eq(smmap_cursor_open(&unguarded, other, "file", 0), 0);
	stand_and_truncate(unguarded, PAGE);
	byte_at(unguarded, WINDOW);
}

/* As if the guard were not there. */
START_TEST(test_no_handler_before)
{
	static void (*const deadly[])(void) = {
		touch_with_the_default, touch_in_a_thread, send_with_the_default, touch_with_ignore, send_twice_with_reset,
		touch_without_a_guard,
	};

	harness_start(&server, "--window-size=16K", "--max-memory=16M", NULL);
	harness_make_file("file", FILE_SIZE);
	for (size_t i = 0; i < sizeof(deadly) / sizeof(deadly[0]); i++) {
		int status = status_of(deadly[i]);

		ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS, "%u: status %#x", (unsigned)i, (unsigned)status);
	}
	ck_assert_int_eq(status_of(send_with_ignore), 0);
	harness_stop(&server);
}
END_TEST

/* ---- threads, clients, forks ---- */

#define N_THREADS 6
#define N_ROUNDS  200

/* Each with a file of its own that it truncates, while the leases of the others come and go. */
static void *fault_again_and_again(void *data)
{
	struct smmap_client *shared = data;
	static atomic_uint number;
	struct smmap_cursor *own;
	char path[32];

	snprintf(path, sizeof(path), "file-%u", atomic_fetch_add(&number, 1));
	for (int i = 0; i < N_ROUNDS; i++) {
		harness_make_file(path, WINDOW + PAGE);
		ck_assert_int_eq(smmap_cursor_open(&own, shared, path, 0), 0);
		ck_assert_int_eq(smmap_cursor_use(own, 0, 2 * WINDOW), WINDOW + PAGE);
		ck_assert_int_eq(byte_at(own, WINDOW), harness_byte(WINDOW));
		ck_assert_int_eq(truncate(path, PAGE), 0);
		ck_assert_int_eq(byte_at(own, WINDOW), 0);
		ck_assert_int_eq(byte_at(own, PAGE), 0);
		ck_assert_int_eq(byte_at(own, PAGE - 1), harness_byte(PAGE - 1));
		ck_assert_int_eq(smmap_cursor_use(own, 0, 1), -ESTALE);
		ck_assert_int_eq(smmap_cursor_use(own, 0, WINDOW), PAGE);
		smmap_cursor_close(own);
		ck_assert_int_eq(unlink(path), 0);
	}
	return NULL;
}

START_TEST(test_threads_and_clients)
{
	struct smmap_client *other;
	pthread_t threads[N_THREADS];

	start();
	other = open_client(SMMAP_GUARD_SIGBUS);
	for (int i = 0; i < N_THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, fault_again_and_again, i % 2 ? client : other), 0);
	/* Others that come and go. */
	for (int i = 0; i < 20; i++)
		smmap_client_close(open_client(SMMAP_GUARD_SIGBUS));
	for (int i = 0; i < N_THREADS; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	smmap_client_close(other);
	assert_guarded();
	stop();
}
END_TEST

/* The server is gone, and what the cursor stands on is still guarded. */
START_TEST(test_orphan)
{
	start();
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, FILE_SIZE), FILE_SIZE);
	harness_kill(&server);
	ck_assert_int_eq(truncate("file", PAGE), 0);
	ck_assert_int_eq(byte_at(cursor, WINDOW), 0);
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, 1), -ESTALE);
	smmap_cursor_close(cursor);
	smmap_client_close(client);
}
END_TEST

static void look_in_a_child(void)
{
	if (byte_at(cursor, 0) != harness_byte(0))
		_exit(1);
	if (smmap_cursor_use(cursor, 0, 1) != -ECHILD)
		_exit(2);
	open_guarded();
}

static void touch_what_the_parent_stands_on(void)
{
	byte_at(cursor, WINDOW);
}

/* A child is told of nothing, and so what it has of its parent's is not guarded there. */
START_TEST(test_fork)
{
	int status;

	handle_before(SIG_DFL, NULL, 0);
	start();
	stand_and_truncate(cursor, PAGE);
	status = status_of(touch_what_the_parent_stands_on);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	ck_assert_int_eq(status_of(look_in_a_child), 0);
	/* For the parent nothing has changed. */
	harness_make_file("file", FILE_SIZE);
	ck_assert_int_eq(byte_at(cursor, 2 * WINDOW), harness_byte(2 * WINDOW));
	assert_guarded();
	stop();
}
END_TEST

/* ---- pins ---- */

#define SLOT 5

static struct guard *guard;
static struct board board;

static void touch_the_broken_page(void)
{
	if (broken[0] != 0)
		_exit(1);
	/* A mark, and no pin more than before. */
	if (!board_is_stale(&board.slots[SLOT]) || !guard_has_blanked(guard, SLOT))
		_exit(2);
	board_unpin(&board.slots[SLOT], 1);
	if (board_is_pinned(&board.slots[SLOT]))
		_exit(3);
}

static bool is_killed_by_touching(void)
{
	int status = status_of(touch_the_broken_page);

	ck_assert_msg(status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS), "status %#x", (unsigned)status);
	return status != 0;
}

/*
 * A lease without a pin, or one that is claimed, may be unmapped at any time: no zeros are put there. Memory of a board that a child shares
 * shows what it has done.
 */
START_TEST(test_pins)
{
	int fd;

	handle_before(SIG_DFL, NULL, 0);
	ck_assert_int_eq(board_create(&board, 64, &fd), 0);
	close(fd);
	ck_assert_int_eq(guard_new(&guard, &board), 0);
	broken = broken_page();
	guard_add(guard, SLOT, (const void *)(uintptr_t)broken, PAGE);

	ck_assert(is_killed_by_touching());
	board_grant(&board.slots[SLOT], 1);
	ck_assert(!is_killed_by_touching());
	for (int side = 0; side < 2; side++) {
		board_free(&board.slots[SLOT]);
		ck_assert_int_eq(board_claim(&board.slots[SLOT], side ? BOARD_SERVER : BOARD_CLIENT), BOARD_CLAIM_WON);
		board_pin_again(&board.slots[SLOT]);
		ck_assert(is_killed_by_touching());
		ck_assert(!board_is_stale(&board.slots[SLOT]));
		board_unpin(&board.slots[SLOT], 1);
	}
	board_free(&board.slots[SLOT]);
	board_grant(&board.slots[SLOT], 1);
	guard_remove(guard, SLOT);
	ck_assert(is_killed_by_touching());
	guard_release(guard);
	board_deinit(&board);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("guard");

	HARNESS_CASE(suite, "zeros", test_zeros, test_hole_on_a_full_disk, test_who_is_told, test_copies, test_copies_where_it_is_blocked, test_assign,
		     test_blanked_before_stale, test_read_errors);
	HARNESS_CASE(suite, "signals", test_handler_before, test_handler_with_information_before, test_sent_signals, test_no_handler_before);
	HARNESS_CASE(suite, "clients", test_threads_and_clients, test_orphan, test_fork);
	HARNESS_CASE(suite, "pins", test_pins);
	return harness_run(suite);
}
