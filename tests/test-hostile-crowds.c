/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Too much, and too little: clients that ask on and on and never read an answer, or never hear the bell; ones that connect and say
 * nothing; more than a user may have; and ten thousand that come and go.
 */
#include "config.h"

#include "tests/hostile.h"

#include <sys/resource.h>

#define QUIET_ROUNDS 20   /* in which nothing more is read: then it has stopped */
#define DEAF         2
#define SILENT       50
#define AT_ONCE      1250
#define CROWDS       2    /* of each kind, each time */
#define TOO_MANY     100  /* above what a user may have */
#define HELD         10000 /* by one process, which are more by far */

/* ---- clients that never read ---- */

struct flood {
	struct raw raw;
	uint64_t file;
	uint32_t n_sent;
	bool ended; /* the server may do that, too */
};

/* Sends requests of three kinds, each with an answer, until no more is taken. True if there was one. */
static bool pour(struct flood *flood)
{
	uint32_t before = flood->n_sent;
	struct message open_request = {.type = MESSAGE_OPEN, .open = {.label = text_of("l"), .deadline_ms = RAW_LONG_MS}};
	int fd = open(honest_path(1), O_RDONLY | O_CLOEXEC), r = 0;
	char bytes[256];

	while (!flood->ended) {
		struct message request = {.type = MESSAGE_STATUS};
		int length;

		if (flood->n_sent % 3 == 1)
			request = raw_lease_request(flood->file, 0, 1, RAW_LONG_MS);
		if (flood->n_sent % 3 == 2)
			request = open_request;
		request.serial = flood->n_sent + 1;
		length = message_encode(&request, bytes, sizeof(bytes));
		ck_assert_int_gt(length, 0);
		r = villain_send(flood->raw.socket, bytes, (size_t)length, fd, message_descriptors(&request));
		if (r == -EAGAIN || r == -ETOOMANYREFS)
			break;
		flood->ended = r == -EPIPE || r == -ECONNRESET;
		flood->n_sent += r == 0;
		ck_assert(r == 0 || flood->ended);
		ck_assert_uint_lt(flood->n_sent, 100000);
	}
	close(fd);
	return flood->n_sent != before;
}

/* Until the server has read nothing of it for long. */
static void flood_until_stopped(struct flood *flood)
{
	struct slot_ref lease;

	*flood = (struct flood){0};
	raw_start(&flood->raw, &hostile_server, "flood");
	/* What is pinned is not let go of. */
	lease = villain_lease(&flood->raw, &flood->file, honest_path(1), 0, 1).lease;
	ck_assert(board_is_pinned(&flood->raw.board.slots[lease.slot]));
	for (int quiet = 0; quiet < QUIET_ROUNDS && !flood->ended; quiet++) {
		if (pour(flood))
			quiet = 0;
		raw_summary(&hostile_observer);
	}
	hostile_await_progress();
}

static void flood_and_go(struct tally *tally)
{
	struct flood flood;

	for (int i = 0; i < 3; i++) {
		flood_until_stopped(&flood);
		raw_close(&flood.raw);
		tally->times += flood.n_sent;
		tally->disconnections += flood.ended;
	}
}

START_TEST(test_never_reads)
{
	hostile_start(NULL);
	hostile_run("requests whose answers are never read", flood_and_go);
	hostile_stop();
}
END_TEST

/* When it reads after all, it gets what it was asked for, in order, unless it was ended. */
static void flood_and_read(struct tally *tally)
{
	struct flood flood;
	uint32_t n = 0;

	flood_until_stopped(&flood);
	while (n < flood.n_sent && channel_wait(flood.raw.socket, POLLIN, RAW_PATIENCE_MS) == 1) {
		struct message answer;
		int r;

		packet_deinit(flood.raw.packet);
		r = channel_receive(flood.raw.socket, flood.raw.packet);
		if (r == 0 || r == -ECONNRESET) {
			flood.ended = true;
			break;
		}
		ck_assert_int_eq(r, 1);
		ck_assert_int_eq(message_decode(&answer, flood.raw.packet->bytes, flood.raw.packet->n_bytes), 0);
		ck_assert_uint_eq(answer.serial, ++n);
		ck_assert_uint_ne(answer.type, MESSAGE_ERROR);
	}
	ck_assert(n == flood.n_sent || flood.ended);
	raw_close(&flood.raw);
	tally->times += flood.n_sent;
	tally->disconnections += flood.ended;
}

START_TEST(test_reads_late)
{
	hostile_start(NULL);
	hostile_run("requests whose answers are read late", flood_and_read);
	hostile_stop();
}
END_TEST

/* They have what others need, and do not unmap it: they are disconnected when the recall is over. */
static void be_deaf(struct tally *tally)
{
	struct raw villains[DEAF];

	for (unsigned i = 0; i < DEAF; i++) {
		struct slot_ref lease;
		uint64_t file = 0;

		raw_start(&villains[i], &hostile_server, "deaf");
		lease = villain_lease(&villains[i], &file, honest_path(i), 2 * HONEST_WINDOW, 1).lease;
		raw_unpin(&villains[i], &lease);
	}
	for (unsigned i = 0; i < DEAF; i++, tally->times++, tally->disconnections++) {
		raw_await_end(&villains[i]);
		raw_close(&villains[i]);
	}
}

START_TEST(test_deaf)
{
	hostile_start(NULL);
	hostile_run("clients that do not unmap", be_deaf);
	hostile_stop();
}
END_TEST

/* ---- crowds ---- */

/* A connection; the server takes them one by one. */
static int connect_patiently(void)
{
	int fd;

	while ((fd = address_connect(hostile_server.socket)) == -EAGAIN)
		ck_assert_int_ge(poll(NULL, 0, 1), 0);
	ck_assert_int_ge(fd, 0);
	return fd;
}

static void raise_limit(void)
{
	struct rlimit limit;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* How many this process and the server have room for. */
static unsigned crowd_size(void)
{
	struct rlimit limit;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	return (unsigned)min_u64(AT_ONCE, min_u64((limit.rlim_cur - 100) / 2, raw_summary(&hostile_observer).quota_clients - 10));
}

static void come_silent(unsigned n)
{
	int *fds = calloc(n, sizeof(*fds));

	ck_assert_ptr_nonnull(fds);
	for (unsigned i = 0; i < n; i++)
		fds[i] = connect_patiently();
	for (unsigned i = 0; i < n; i++)
		close(fds[i]);
	free(fds);
}

/* They are all there at once, and go without a word. */
static void come_greeting(unsigned n)
{
	struct raw *villains = calloc(n, sizeof(*villains));

	ck_assert_ptr_nonnull(villains);
	for (unsigned i = 0; i < n; i++) {
		villains[i] = (struct raw){.socket = connect_patiently(), .bell = -1, .packet = calloc(1, sizeof(struct packet))};
		ck_assert_ptr_nonnull(villains[i].packet);
		raw_hello(&villains[i], "one of many");
	}
	ck_assert_uint_ge(raw_summary(&hostile_observer).clients, n);
	for (unsigned i = 0; i < n; i++)
		raw_close(&villains[i]);
	free(villains);
}

static void come_and_go(struct tally *tally)
{
	unsigned n = crowd_size();

	/* On a slow machine the silent ones may be sent away. */
	tally->may_vary = true;
	while (tally->times < HOSTILE_TIMES(2 * CROWDS * AT_ONCE)) {
		come_silent(n);
		come_greeting(n);
		tally->times += 2 * n;
	}
}

START_TEST(test_ten_thousand)
{
	raise_limit();
	hostile_start(NULL);
	hostile_run("connections that come and go", come_and_go);
	hostile_stop();
}
END_TEST

/* Those above the quota are told so, and the others of the user stay. */
static void come_too_many(struct tally *tally)
{
	unsigned n = (unsigned)raw_summary(&hostile_observer).quota_clients + TOO_MANY;
	int *fds = calloc(n, sizeof(*fds));
	struct packet *packet = calloc(1, sizeof(*packet));
	char sentence[MESSAGE_MAX_TEXT + 1];

	ck_assert(fds && packet);
	tally->may_vary = true;
	for (unsigned i = 0; i < n; i++)
		fds[i] = connect_patiently();
	for (unsigned i = n - TOO_MANY; i < n; i++, tally->refusals++) {
		struct message answer;

		ck_assert_int_eq(channel_wait(fds[i], POLLIN, RAW_PATIENCE_MS), 1);
		ck_assert_int_eq(channel_receive(fds[i], packet), 1);
		ck_assert_int_eq(message_decode(&answer, packet->bytes, packet->n_bytes), 0);
		raw_assert_error(&answer, EDQUOT, sentence);
	}
	hostile_await_progress();
	/* The honest ones and the observer are of the same user: as many of these were refused, too. */
	for (unsigned i = 0; i < n - TOO_MANY; i++) {
		tally->refusals += channel_wait(fds[i], POLLIN, 0) == 1 && channel_receive(fds[i], packet) == 1;
		close(fds[i]);
	}
	for (unsigned i = n - TOO_MANY; i < n; i++)
		close(fds[i]);
	tally->times += n;
	free(packet);
	free(fds);
}

START_TEST(test_too_many)
{
	raise_limit();
	hostile_start("--user-share=75%");
	hostile_run("connections above the quota", come_too_many);
	hostile_stop();
}
END_TEST

/* Whether the server has told why it has ended this connection. */
static bool is_refused(int fd, struct packet *packet)
{
	char sentence[MESSAGE_MAX_TEXT + 1];
	struct message answer;

	packet_deinit(packet);
	if (channel_wait(fd, POLLIN, 0) != 1 || channel_receive(fd, packet) != 1)
		return false;
	ck_assert_int_eq(message_decode(&answer, packet->bytes, packet->n_bytes), 0);
	raw_assert_error(&answer, EDQUOT, sentence);
	return true;
}

/* They stay: each is refused, or connected, or was silent for too long. None is forgotten. */
static void hold_ten_thousand(struct tally *tally)
{
	struct figures_summary before = raw_summary(&hostile_observer), now;
	uint64_t others = hostile_count_connections(), held;
	int *fds = calloc(HELD, sizeof(*fds));
	struct packet *packet = calloc(1, sizeof(*packet));

	ck_assert(fds && packet);
	tally->may_vary = true;
	for (unsigned i = 0; i < HELD; i++)
		fds[i] = connect_patiently();
	do {
		ck_assert_int_ge(poll(NULL, 0, 1), 0);
		now = raw_summary(&hostile_observer);
		held = hostile_count_connections() - others;
		ck_assert_uint_le(held, now.quota_clients);
	} while (held + now.refusals - before.refusals + now.disconnections - before.disconnections < HELD);
	hostile_await_progress();
	for (unsigned i = 0; i < HELD; i++)
		tally->refusals += is_refused(fds[i], packet);
	ck_assert_uint_ge(tally->refusals, HELD - now.quota_clients - (now.disconnections - before.disconnections));
	for (unsigned i = 0; i < HELD; i++)
		close(fds[i]);
	tally->times += HELD;
	free(packet);
	free(fds);
}

START_TEST(test_ten_thousand_at_once)
{
	struct rlimit limit;

	raise_limit();
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	if (limit.rlim_cur < HELD + 100) {
		puts("skipped: a process can't have ten thousand descriptors");
		return;
	}
	hostile_start("--user-share=75%");
	hostile_run("connections that one process holds", hold_ten_thousand);
	hostile_stop();
}
END_TEST

/* ---- clients that say nothing ---- */

static void say_nothing(struct tally *tally)
{
	int fds[SILENT];

	tally->may_vary = true;
	for (unsigned i = 0; i < SILENT; i++)
		fds[i] = connect_patiently();
	hostile_await_progress();
	for (unsigned i = 0; i < SILENT; i++, tally->times++)
		close(fds[i]);
}

START_TEST(test_silent)
{
	hostile_start(NULL);
	hostile_run("clients that say nothing", say_nothing);
	hostile_stop();
}
END_TEST

/* They are not waited for for ever. */
static void stay_silent(struct tally *tally)
{
	struct raw villains[SILENT];

	for (unsigned i = 0; i < SILENT; i++)
		raw_connect(&villains[i], &hostile_server);
	for (unsigned i = 0; i < SILENT; i++, tally->times++, tally->disconnections++) {
		raw_await_end(&villains[i]);
		raw_close(&villains[i]);
	}
}

START_TEST(test_silent_for_ever)
{
	hostile_start(NULL);
	hostile_run("clients that never say anything", stay_silent);
	hostile_stop();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("hostile-crowds");

	HARNESS_CASE(suite, "unread", test_never_reads, test_reads_late, test_deaf);
	HARNESS_CASE(suite, "crowds", test_ten_thousand, test_too_many, test_ten_thousand_at_once);
	HARNESS_CASE(suite, "silent", test_silent, test_silent_for_ever);
	return harness_run(suite);
}
