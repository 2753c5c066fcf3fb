/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client whose server is away, stopped, or another one by now: what goes on without it, how long a call waits, and what is left behind. The
 * promise is a time here: no call fails before its deadline; that it does soon after is only looked at with generosity.
 */
#include "config.h"

#include "client/smmap-client.h"
#include "tests/harness.h"

#include "client/client.h"
#include "client/connection.h"
#include "proto/channel.h"
#include "proto/message.h"
#include "proto/util.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>

#define WINDOW      4096
#define DEADLINE_MS 1000

/* A deadline that no test lives to see. */
#define LONG_MS 200000

/* What a call takes at most past its deadline: the second for a server that does not answer, and much for a slow machine. */
#define LATE_MS 20000
#define SOON_MS 1200 /* what the best of a few takes */

static const char *const options[] = {"--window-size=4K", "--max-memory=64K", NULL};

static struct harness_server server;
static struct smmap_client *client;

/* Also again, after the one before was killed. */
static void start(void)
{
	char here[PATH_MAX - 8], socket[PATH_MAX];

	ck_assert_ptr_nonnull(getcwd(here, sizeof(here)));
	snprintf(socket, sizeof(socket), "%s/socket", here);
	harness_start_at(&server, socket, options);
}

static void open_client(uint32_t flags, uint32_t deadline_ms)
{
	struct smmap_client_options of_client = {.socket = server.socket, .flags = flags, .deadline_ms = deadline_ms};

	ck_assert_int_eq(smmap_client_open(&client, &of_client), 0);
}

static struct smmap_cursor *open_cursor(const char *path)
{
	struct smmap_cursor *cursor;

	ck_assert_int_eq(smmap_cursor_open(&cursor, client, path, 0), 0);
	return cursor;
}

/* Stands on a window of a file that the harness has made, and looks at its first byte. 0 or an error. */
static int stand_on(struct smmap_cursor *cursor, uint64_t window)
{
	ssize_t n = smmap_cursor_use(cursor, window * WINDOW, 10);

	if (n != 10)
		return n < 0 ? (int)n : -ENODATA;
	return *(const unsigned char *)smmap_cursor_data(cursor) == harness_byte(window * WINDOW) ? 0 : -EILSEQ;
}

/* The same of a window for which a server is needed that is away. */
static void assert_fails_at_deadline(struct smmap_cursor *cursor, uint64_t window)
{
	uint64_t began_ms = clock_ms();

	ck_assert_int_eq(stand_on(cursor, window), -ENOTCONN);
	ck_assert_uint_ge(clock_ms() - began_ms, DEADLINE_MS);
	ck_assert_uint_le(clock_ms() - began_ms, DEADLINE_MS + LATE_MS);
}

/* On a busy machine some are late, but not all. */
static void assert_fails_soon_after_deadline(struct smmap_cursor *cursor, uint64_t window)
{
	uint64_t least_ms = UINT64_MAX;

	for (int i = 0; i < 5; i++) {
		uint64_t began_ms = clock_ms();

		assert_fails_at_deadline(cursor, window);
		least_ms = min_u64(least_ms, clock_ms() - began_ms);
	}
	ck_assert_uint_le(least_ms, DEADLINE_MS + SOON_MS);
}

static uint64_t count_handles(void)
{
	struct smmap_stats stats;

	smmap_client_stats(client, &stats);
	return stats.handles;
}

/* Waits until the client knows that its server has gone. */
static void await_server_missed(void)
{
	struct smmap_stats stats;

	while (smmap_client_stats(client, &stats) != -ENOTCONN)
		ck_assert_int_ge(poll(NULL, 0, 1), 0);
}

/* ---- away ---- */

/* A server, and a client of it with two cursors on a file of 8 windows. */
static void start_two(struct smmap_cursor **one, struct smmap_cursor **other)
{
	start();
	harness_make_file("file", 8 * WINDOW);
	open_client(0, DEADLINE_MS);
	*one = open_cursor("file");
	*other = open_cursor("file");
}

static void close_two(struct smmap_cursor *one, struct smmap_cursor *other)
{
	smmap_cursor_close(one);
	smmap_cursor_close(other);
	smmap_client_close(client);
}

START_TEST(test_deadline)
{
	struct smmap_cursor *standing, *cursor, *other;
	char bytes[10];

	start_two(&standing, &cursor);
	ck_assert_int_eq(stand_on(standing, 0), 0);
	ck_assert_int_eq(stand_on(cursor, 1), 0);
	smmap_cursor_unuse(cursor);
	harness_kill(&server);

	/* What needs a server: a miss, and what it had and does not stand on any more. */
	assert_fails_at_deadline(cursor, 2);
	assert_fails_at_deadline(cursor, 1);
	ck_assert(!smmap_cursor_is_valid(cursor));
	ck_assert_int_eq(smmap_cursor_open(&other, client, "file", 0), -ENOTCONN);
	ck_assert_int_eq(smmap_client_collect(client), -ENOTCONN);
	ck_assert_int_eq(smmap_cursor_read(cursor, bytes, sizeof(bytes), 0), -ENOTCONN);
	/* What does not. */
	ck_assert_int_eq(stand_on(standing, 0), 0);
	ck_assert_int_eq(smmap_cursor_read(standing, bytes, sizeof(bytes), 100), 10);
	ck_assert_int_eq((unsigned char)bytes[9], harness_byte(109));
	ck_assert_int_eq(smmap_cursor_copy(&other, standing), 0);
	ck_assert_int_eq(stand_on(other, 0), 0);
	smmap_cursor_close(other);
	ck_assert_int_eq(stand_on(standing, 0), 0);

	start();
	ck_assert_int_eq(stand_on(cursor, 2), 0);
	ck_assert_int_eq(stand_on(standing, 7), 0);
	close_two(standing, cursor);
	harness_stop(&server);
}
END_TEST

/* One that is there and does not answer: at the deadline too, and a second later where a request was sent already. */
START_TEST(test_stopped_server)
{
	struct smmap_client_options of_client = {.deadline_ms = DEADLINE_MS};
	struct smmap_client *another;
	struct smmap_cursor *cursor;
	uint64_t began_ms;

	start();
	of_client.socket = server.socket;
	harness_make_file("file", 8 * WINDOW);
	open_client(0, DEADLINE_MS);
	cursor = open_cursor("file");
	ck_assert_int_eq(kill(server.pid, SIGSTOP), 0);
	assert_fails_soon_after_deadline(cursor, 0);
	began_ms = clock_ms();
	ck_assert_int_eq(smmap_client_open(&another, &of_client), -ETIMEDOUT);
	ck_assert_uint_ge(clock_ms() - began_ms, DEADLINE_MS);
	ck_assert_uint_le(clock_ms() - began_ms, DEADLINE_MS + LATE_MS);
	ck_assert_int_eq(kill(server.pid, SIGCONT), 0);
	ck_assert_int_eq(stand_on(cursor, 0), 0);
	smmap_cursor_close(cursor);
	smmap_client_close(client);
	harness_stop(&server);
}
END_TEST

/* It does not even read. */
START_TEST(test_full_socket)
{
	struct smmap_cursor *cursor, *other;
	static const char filler[4096];
	struct smmap_stats stats;
	uint64_t began_ms;

	start_two(&cursor, &other);
	ck_assert_int_eq(kill(server.pid, SIGSTOP), 0);
	while (channel_send(client->connection->socket, filler, sizeof(filler), NULL, 0) == 0)
		;
	while (channel_send(client->connection->socket, filler, 1, NULL, 0) == 0)
		;
	assert_fails_at_deadline(cursor, 0);
	ck_assert_int_eq(smmap_client_stats(client, &stats), -ENOTCONN);
	ck_assert_int_eq(kill(server.pid, SIGCONT), 0);
	ck_assert_int_eq(stand_on(cursor, 0), 0);
	close_two(cursor, other);

	/* Nor does closing wait for it until the deadline. */
	open_client(0, LONG_MS);
	cursor = open_cursor("file");
	ck_assert_int_eq(kill(server.pid, SIGSTOP), 0);
	began_ms = clock_ms();
	smmap_cursor_close(cursor);
	ck_assert_uint_le(clock_ms() - began_ms, LATE_MS);
	smmap_client_close(client);
	ck_assert_int_eq(kill(server.pid, SIGCONT), 0);
	harness_stop(&server);
}
END_TEST

/* ---- threads ---- */

#define THREADS 8

struct misser {
	pthread_t thread;
	struct smmap_cursor *cursor;
	uint64_t took_ms;
	int result;
	atomic_bool done;
};

static void *miss(void *data)
{
	struct misser *misser = data;
	uint64_t began_ms = clock_ms();

	misser->result = stand_on(misser->cursor, 2);
	misser->took_ms = clock_ms() - began_ms;
	atomic_store(&misser->done, true);
	return NULL;
}

static void start_missing(struct misser *misser, struct smmap_cursor *cursor)
{
	*misser = (struct misser){.cursor = cursor};
	ck_assert_int_eq(pthread_create(&misser->thread, NULL, miss, misser), 0);
}

/* Copies of one cursor and cursors of their own, which begin to miss one after the other. */
START_TEST(test_deadline_of_each_thread)
{
	struct smmap_cursor *cursors[THREADS];
	struct misser missers[THREADS];

	start();
	harness_make_file("file", 8 * WINDOW);
	open_client(0, DEADLINE_MS);
	for (int i = 0; i < THREADS; i++) {
		if (i % 2)
			ck_assert_int_eq(smmap_cursor_copy(&cursors[i], cursors[i - 1]), 0);
		else
			cursors[i] = open_cursor("file");
	}
	harness_kill(&server);
	for (int i = 0; i < THREADS; i++) {
		poll(NULL, 0, DEADLINE_MS / 10);
		start_missing(&missers[i], cursors[i]);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(missers[i].thread, NULL);
		ck_assert_int_eq(missers[i].result, -ENOTCONN);
		ck_assert_uint_ge(missers[i].took_ms, DEADLINE_MS);
		ck_assert_uint_le(missers[i].took_ms, DEADLINE_MS + LATE_MS);
	}

	/* All of them go on. */
	start();
	for (int i = 0; i < THREADS; i++)
		start_missing(&missers[i], cursors[i]);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(missers[i].thread, NULL);
		ck_assert_int_eq(missers[i].result, 0);
		smmap_cursor_close(cursors[i]);
	}
	ck_assert_uint_eq(count_handles(), 2);
	smmap_client_close(client);
	harness_stop(&server);
}
END_TEST

/* Threads that wait for a server keep nobody who needs none; and when it comes they have all that they waited for. */
START_TEST(test_nobody_else_waits)
{
	struct smmap_cursor *standing, *cursors[THREADS];
	struct misser missers[THREADS];
	struct smmap_stats stats;
	char said[64];

	start();
	harness_make_file("file", 8 * WINDOW);
	open_client(0, LONG_MS);
	standing = open_cursor("file");
	ck_assert_int_eq(stand_on(standing, 0), 0);
	for (int i = 0; i < THREADS; i++)
		cursors[i] = open_cursor("file");
	harness_kill(&server);
	await_server_missed();
	for (int i = 0; i < THREADS; i++)
		start_missing(&missers[i], cursors[i]);

	/* As often as they try. */
	for (int i = 0; i < 100; i++) {
		poll(NULL, 0, 3);
		ck_assert_int_eq(smmap_client_stats(client, &stats), -ENOTCONN);
		ck_assert_uint_eq(stats.orphans, 1);
		ck_assert_int_eq(smmap_client_get_fd(client), -EINVAL);
		ck_assert_uint_eq(smmap_client_complaint(client, said, sizeof(said)), 0);
		ck_assert_int_eq(stand_on(standing, 0), 0);
	}
	for (int i = 0; i < THREADS; i++)
		ck_assert(!atomic_load(&missers[i].done));

	start();
	for (int i = 0; i < THREADS; i++) {
		pthread_join(missers[i].thread, NULL);
		ck_assert_int_eq(missers[i].result, 0);
		smmap_cursor_close(cursors[i]);
	}
	smmap_cursor_close(standing);
	smmap_client_close(client);
	harness_stop(&server);
}
END_TEST

/* What a cursor stands on it keeps, and nobody else comes there any more: there is nobody to say when the file changes. */
START_TEST(test_nobody_comes_to_an_orphan)
{
	struct smmap_cursor *standing, *other;

	start_two(&standing, &other);
	ck_assert_int_eq(stand_on(other, 1), 0);
	ck_assert_int_eq(stand_on(standing, 0), 0);
	harness_kill(&server);
	await_server_missed();
	ck_assert_int_eq(stand_on(other, 1), 0);
	ck_assert_int_eq(stand_on(other, 0), -ENOTCONN);
	ck_assert_int_eq(stand_on(standing, 0), 0);
	close_two(standing, other);
}
END_TEST

/* A server that ends takes nothing back: what was stale for those who stand on it stays so. */
START_TEST(test_stale_orphan)
{
	struct smmap_cursor *standing, *other;

	start_two(&standing, &other);
	ck_assert_int_eq(stand_on(standing, 7), 0);
	ck_assert_int_eq(truncate("file", WINDOW), 0);
	/* The server hears of it with this. */
	ck_assert_int_eq(stand_on(other, 0), 0);
	harness_stop(&server);
	await_server_missed();
	ck_assert_int_eq(smmap_cursor_use(standing, 7 * WINDOW, 1), -ENOTCONN);
	close_two(standing, other);
}
END_TEST

/* Who waits for a server of a client that is closed has nothing to wait for. */
START_TEST(test_closed_while_threads_wait)
{
	struct smmap_cursor *cursors[THREADS];
	struct misser missers[THREADS];

	start();
	harness_make_file("file", 8 * WINDOW);
	open_client(0, LONG_MS);
	for (int i = 0; i < THREADS; i++)
		cursors[i] = open_cursor("file");
	harness_kill(&server);
	for (int i = 0; i < THREADS; i++)
		start_missing(&missers[i], cursors[i]);
	smmap_client_close(client);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(missers[i].thread, NULL);
		ck_assert_int_eq(missers[i].result, -ENOTCONN);
		ck_assert_uint_lt(missers[i].took_ms, LONG_MS);
		smmap_cursor_close(cursors[i]);
	}
}
END_TEST

/* ---- descriptors ---- */

static void assert_descriptors_of_child(int expected)
{
	pid_t child = fork();
	int status;

	ck_assert_int_ge(child, 0);
	if (!child)
		_exit(harness_count_descriptors() == expected ? 0 : 1);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
}

/* Two for a client, however many servers it has seen, and whatever of them it still has. */
static void count_through_restarts(uint32_t flags)
{
	struct smmap_cursor *standing[5], *idle[5];
	int before = harness_count_descriptors();

	start();
	open_client(flags, 0);
	for (int i = 0; i < 5; i++) {
		standing[i] = open_cursor("file");
		idle[i] = open_cursor("file");
	}
	for (int i = 0; i < 5; i++) {
		ck_assert_int_eq(stand_on(standing[i], 1), 0);
		ck_assert_int_eq(stand_on(idle[i], 2), 0);
		ck_assert_uint_eq(count_handles(), 2);
		ck_assert_int_eq(harness_count_descriptors(), before + 2);
		harness_kill(&server);
		/* Without a server it has none, as soon as its thread knows that. */
		while (!(flags & SMMAP_NO_THREAD) && (count_handles() || harness_count_descriptors() != before))
			poll(NULL, 0, 1);
		assert_descriptors_of_child(before);
		start();
	}
	/* The others still belong to servers before this one. */
	ck_assert_int_eq(stand_on(idle[0], 3), 0);
	ck_assert_int_eq(harness_count_descriptors(), before + 2);
	assert_descriptors_of_child(before);
	for (int i = 0; i < 5; i++) {
		ck_assert_int_eq(stand_on(standing[i], 1), 0);
		smmap_cursor_close(standing[i]);
		smmap_cursor_close(idle[i]);
	}
	smmap_client_close(client);
	ck_assert_int_eq(harness_count_descriptors(), before);
	harness_stop(&server);
}

START_TEST(test_two_descriptors)
{
	harness_make_file("file", 8 * WINDOW);
	count_through_restarts(0);
	count_through_restarts(SMMAP_NO_THREAD);
}
END_TEST

/* The descriptor of a client without a thread says that the server has gone, and is another one afterwards. */
START_TEST(test_descriptor_to_poll)
{
	struct pollfd pollfd = {.events = POLLIN};
	struct smmap_cursor *cursor;

	start();
	harness_make_file("file", 8 * WINDOW);
	open_client(SMMAP_NO_THREAD, 0);
	cursor = open_cursor("file");
	pollfd.fd = smmap_client_get_fd(client);
	ck_assert_int_ge(pollfd.fd, 0);
	ck_assert_int_eq(smmap_client_dispatch(client), 0);
	harness_kill(&server);
	ck_assert_int_eq(poll(&pollfd, 1, -1), 1);
	ck_assert_int_eq(smmap_client_dispatch(client), -ENOTCONN);
	ck_assert_int_eq(smmap_client_get_fd(client), -ENOTCONN);
	/* Nobody else has that number: it can still be polled. */
	ck_assert_int_eq(poll(&pollfd, 1, -1), 1);
	ck_assert(pollfd.revents & POLLHUP);
	start();
	ck_assert_int_eq(stand_on(cursor, 0), 0);
	ck_assert_int_ge(smmap_client_get_fd(client), 0);
	ck_assert_int_eq(smmap_client_dispatch(client), 0);
	smmap_cursor_close(cursor);
	smmap_client_close(client);
	harness_stop(&server);
}
END_TEST

#define FORKS 500

static void *open_and_close(void *data)
{
	const atomic_bool *until = data;
	struct smmap_client_options of_client = {.socket = server.socket};
	struct smmap_client *another;
	int r = 0;

	while (!atomic_load(until) && !r) {
		r = smmap_client_open(&another, &of_client);
		if (!r)
			smmap_client_close(another);
	}
	return (void *)(intptr_t)r;
}

/* A fork at any moment of a beginning or an end leaves a child nothing of it. */
START_TEST(test_forks_meanwhile)
{
	atomic_bool until = false;
	pthread_t thread;
	void *result;
	int before;

	start();
	before = harness_count_descriptors();
	ck_assert_int_eq(pthread_create(&thread, NULL, open_and_close, &until), 0);
	for (int i = 0; i < FORKS; i++)
		assert_descriptors_of_child(before);
	atomic_store(&until, true);
	ck_assert_int_eq(pthread_join(thread, &result), 0);
	ck_assert_int_eq((int)(intptr_t)result, 0);
	harness_stop(&server);
}
END_TEST

#define RECONNECTIONS 100

static void *ask_for_stats(void *data)
{
	const atomic_bool *until = data;
	uint64_t most = 0;

	while (!atomic_load(until)) {
		uint64_t n = count_handles();

		most = n > most ? n : most;
	}
	return (void *)(uintptr_t)most;
}

/* Whoever asks for figures while a connection begins finds it there or not, and waits for nobody. */
START_TEST(test_stats_meanwhile)
{
	atomic_bool until = false;
	struct smmap_cursor *cursor;
	pthread_t thread;
	void *most;

	start();
	harness_make_file("file", 8 * WINDOW);
	open_client(0, LONG_MS);
	cursor = open_cursor("file");
	ck_assert_int_eq(pthread_create(&thread, NULL, ask_for_stats, &until), 0);
	for (int i = 0; i < RECONNECTIONS; i++) {
		struct connection *connection = client_connection(client);

		ck_assert_ptr_nonnull(connection);
		connection_fail(connection);
		connection_unref(connection);
		ck_assert_int_eq(stand_on(cursor, (uint64_t)i % 8), 0);
	}
	atomic_store(&until, true);
	ck_assert_int_eq(pthread_join(thread, &most), 0);
	ck_assert_uint_eq((uintptr_t)most, 2);
	smmap_cursor_close(cursor);
	smmap_client_close(client);
	harness_stop(&server);
}
END_TEST

/* ---- signals ---- */

static void on_alarm(int number)
{
	(void)number;
}

/* A signal that interrupts, every millisecond, changes nothing: neither what is read nor how long a call waits. */
START_TEST(test_interrupted)
{
	struct itimerval every_ms = {.it_interval.tv_usec = 1000, .it_value.tv_usec = 1000}, none = {0};
	struct sigaction action = {.sa_handler = on_alarm};
	struct smmap_client_options of_client = {.deadline_ms = DEADLINE_MS};
	struct smmap_client *another;
	struct smmap_cursor *cursor;
	char bytes[3 * WINDOW];

	start();
	of_client.socket = server.socket;
	harness_make_file("file", 64 * WINDOW);
	ck_assert_int_eq(sigaction(SIGALRM, &action, NULL), 0);
	ck_assert_int_eq(setitimer(ITIMER_REAL, &every_ms, NULL), 0);
	open_client(0, DEADLINE_MS);
	cursor = open_cursor("file");
	for (int i = 0; i < 2000; i++) {
		uint64_t window = harness_random() % 60;

		ck_assert_int_eq(stand_on(cursor, window), 0);
		ck_assert_int_eq(smmap_cursor_read(cursor, bytes, sizeof(bytes), window * WINDOW + 1), sizeof(bytes));
		for (size_t j = 0; j < sizeof(bytes); j++)
			ck_assert_int_eq((unsigned char)bytes[j], harness_byte(window * WINDOW + 1 + j));
	}

	/* A server that does not answer, and none: of the last window, which no read has reached. */
	ck_assert_int_eq(kill(server.pid, SIGSTOP), 0);
	assert_fails_at_deadline(cursor, 63);
	assert_fails_at_deadline(cursor, 63);
	ck_assert_int_eq(smmap_client_open(&another, &of_client), -ETIMEDOUT);
	harness_kill(&server);
	assert_fails_at_deadline(cursor, 63);
	ck_assert_int_eq(setitimer(ITIMER_REAL, &none, NULL), 0);
	start();
	ck_assert_int_eq(stand_on(cursor, 63), 0);
	smmap_cursor_close(cursor);
	smmap_client_close(client);
	harness_stop(&server);
}
END_TEST

/* ---- another version ---- */

/* A server of another time: answers one HELLO with a packet and any three descriptors, or with the end of the connection. */
struct fake {
	pthread_t thread;
	int listener;
	const void *bytes; /* NULL: none */
	size_t n_bytes;
	size_t n_descriptors;
};

static void *answer_hello(void *data)
{
	const struct fake *fake = data;
	int socket = accept4(fake->listener, NULL, NULL, SOCK_CLOEXEC);
	_cleanup_(freep) struct packet *packet = calloc(1, sizeof(*packet));

	if (socket < 0 || !packet || channel_wait(socket, POLLIN, -1) != 1 || channel_receive(socket, packet) != 1)
		return NULL;
	if (fake->bytes)
		channel_send(socket, fake->bytes, fake->n_bytes, (int[]){socket, socket, socket}, fake->n_descriptors);
	close(socket);
	return NULL;
}

static void start_fake(struct fake *fake)
{
	struct sockaddr_un address;
	int length = channel_address(&address, "socket");

	unlink("socket");
	fake->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(fake->listener, (struct sockaddr *)&address, (socklen_t)length), 0);
	ck_assert_int_eq(listen(fake->listener, 1), 0);
	ck_assert_int_eq(pthread_create(&fake->thread, NULL, answer_hello, fake), 0);
}

static void stop_fake(struct fake *fake)
{
	pthread_join(fake->thread, NULL);
	close(fake->listener);
	ck_assert_int_eq(unlink("socket"), 0);
}

static size_t encode(const struct message *message, char bytes[static MESSAGE_MAX_TEXT])
{
	int length = message_encode(message, bytes, MESSAGE_MAX_TEXT);

	ck_assert_int_gt(length, 0);
	return (size_t)length;
}

/* At first when a client is opened, then when one connects again whose cursors stand. */
static void meet(struct fake fake, int error, const char *sentence)
{
	struct smmap_client_options of_client = {.socket = "socket"};
	struct smmap_cursor *standing, *cursor;
	struct smmap_client *another;
	struct misser misser;
	char said[512];
	int before;

	before = harness_count_descriptors();
	start_fake(&fake);
	ck_assert_int_eq(smmap_client_open(&another, &of_client), error);
	stop_fake(&fake);
	ck_assert_int_eq(harness_count_descriptors(), before);

	start();
	open_client(0, LONG_MS);
	standing = open_cursor("file");
	cursor = open_cursor("file");
	ck_assert_int_eq(stand_on(standing, 0), 0);
	harness_kill(&server);
	start_fake(&fake);
	if (error == -EPROTO) {
		ck_assert_int_eq(stand_on(cursor, 1), error);
		smmap_client_complaint(client, said, sizeof(said));
		ck_assert_msg(strstr(said, sentence), "it says: %s", said);
		stop_fake(&fake);
		ck_assert_int_eq(stand_on(standing, 0), 0);
		start();
	} else {
		/* It tries again, until there is one. */
		start_missing(&misser, cursor);
		stop_fake(&fake);
		start();
		pthread_join(misser.thread, NULL);
		ck_assert_int_eq(misser.result, 0);
	}

	/* All is well with a server of this version, and there is nothing to complain of. */
	ck_assert_int_eq(stand_on(cursor, 1), 0);
	ck_assert_uint_eq(smmap_client_complaint(client, said, sizeof(said)), 0);
	ck_assert_int_eq(stand_on(standing, 2), 0);
	smmap_cursor_close(standing);
	smmap_cursor_close(cursor);
	smmap_client_close(client);
	harness_stop(&server);
	ck_assert_int_eq(harness_count_descriptors(), before);
}

START_TEST(test_other_version)
{
	struct message refusal = {
		.type = MESSAGE_ERROR,
		.error = {.error = EPROTO, .sentence = text_of("the server speaks version 7 of the protocol, the client version 1")},
	};
	struct message welcome = {
		.type = MESSAGE_WELCOME,
		.welcome = {.version = 7, .n_slots = 1024, .window_bytes = WINDOW, .limit_memory_bytes = 1, .limit_handles = 1, .limit_maps = 1},
	};
	/* [65, 1, 7, "new"] */
	static const char unknown[] = "\x94\x41\x01\x07\xa3new";
	char bytes[MESSAGE_MAX_TEXT];

	harness_make_file("file", 8 * WINDOW);
	ck_assert_str_eq(smmap_strerror(-EPROTO), "the other end speaks another protocol, or another version of it");
	meet((struct fake){.bytes = bytes, .n_bytes = encode(&refusal, bytes)}, -EPROTO, "the server speaks version 7");
	meet((struct fake){.bytes = bytes, .n_bytes = encode(&welcome, bytes), .n_descriptors = 3}, -EPROTO, "the server speaks version 7");
	meet((struct fake){.bytes = unknown, .n_bytes = sizeof(unknown) - 1, .n_descriptors = 2}, -EPROTO, "not one of version 1");
	meet((struct fake){.bytes = "rubbish", .n_bytes = 7}, -EPROTO, "not one of version 1");
	/* One of this version that goes at this moment. */
	meet((struct fake){.bytes = NULL}, -ENOTCONN, NULL);
}
END_TEST

/* ---- no descriptors ---- */

#define MOST_DESCRIPTORS 5

static int descriptor; /* of the file */

/* Leaves this process room for @n more descriptors, while @work does what fails for the lack of one. */
static void with_descriptors(int n, void (*work)(int n))
{
	struct rlimit saved, limit;
	int numbers[MOST_DESCRIPTORS + 1], highest = -1;

	/* The lowest that are free are given out first. */
	for (int i = 0; i <= n; i++) {
		numbers[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
		ck_assert_int_ge(numbers[i], 0);
		highest = numbers[i];
	}
	for (int i = 0; i <= n; i++)
		close(numbers[i]);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &saved), 0);
	limit = (struct rlimit){.rlim_cur = (rlim_t)highest, .rlim_max = saved.rlim_max};
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	work(n);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &saved), 0);
}

/* A client needs its socket, and three for a moment. */
static void open_without(int n)
{
	struct smmap_client_options of_client = {.socket = server.socket, .deadline_ms = DEADLINE_MS};
	struct smmap_client *another;
	int r = smmap_client_open(&another, &of_client);

	ck_assert_int_eq(r, n < 4 ? -EMFILE : 0);
	if (!r)
		smmap_client_close(another);
}

static void open_cursors_without(int n)
{
	struct smmap_cursor *cursor;
	int r;

	r = smmap_cursor_open(&cursor, client, "file", 0);
	ck_assert_int_eq(r, n < 1 ? -EMFILE : 0);
	if (!r)
		smmap_cursor_close(cursor);
	r = smmap_cursor_open_fd(&cursor, client, descriptor, 0);
	ck_assert_int_eq(r, n < 1 ? -EMFILE : 0);
	if (!r)
		smmap_cursor_close(cursor);
}

static struct smmap_cursor *lost; /* whose server was killed */

static void reconnect_without(int n)
{
	ck_assert_int_eq(stand_on(lost, 0), n < 4 ? -EMFILE : 0);
	smmap_cursor_unuse(lost);
}

START_TEST(test_no_descriptors)
{
	int before;

	start();
	harness_make_file("file", 8 * WINDOW);
	descriptor = open("file", O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(descriptor, 0);
	open_client(0, DEADLINE_MS);
	before = harness_count_descriptors();
	for (int n = 0; n <= MOST_DESCRIPTORS; n++) {
		with_descriptors(n, open_without);
		with_descriptors(n, open_cursors_without);
		ck_assert_int_eq(harness_count_descriptors(), before);
		ck_assert_uint_eq(count_handles(), 2);
	}

	lost = open_cursor("file");
	harness_kill(&server);
	while (count_handles())
		poll(NULL, 0, 1);
	start();
	for (int n = 0; n < 4; n++) {
		with_descriptors(n, reconnect_without);
		ck_assert_int_eq(harness_count_descriptors(), before - 2);
	}
	with_descriptors(4, reconnect_without);
	ck_assert_int_eq(harness_count_descriptors(), before);
	smmap_cursor_close(lost);
	smmap_client_close(client);
	close_fdp(&descriptor);
	harness_stop(&server);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("reconnect");

	HARNESS_CASE(suite, "away", test_deadline, test_stopped_server, test_full_socket,
		     test_nobody_comes_to_an_orphan, test_stale_orphan);
	HARNESS_CASE(suite, "threads", test_deadline_of_each_thread, test_nobody_else_waits, test_closed_while_threads_wait);
	HARNESS_CASE(suite, "descriptors", test_two_descriptors, test_descriptor_to_poll, test_no_descriptors,
		     test_forks_meanwhile, test_stats_meanwhile);
	HARNESS_CASE(suite, "signals", test_interrupted);
	HARNESS_CASE(suite, "versions", test_other_version);
	return harness_run(suite);
}
