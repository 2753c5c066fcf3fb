/* SPDX-License-Identifier: BSD-3-Clause */
/* Many files and clients, and clients that do not do their part: handles, STATUS in pages, COLLECT and DROP, floods. */
#include "config.h"

#include "tests/harness.h"
#include "tests/raw.h"

#include "proto/util.h"

#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define WINDOW 65536

static struct harness_server server;
static struct raw a, b, observer;
static uint64_t file; /* of ten windows; all three have it open */

static void start(const char *option)
{
	harness_start(&server, "--window-size=64K", option, NULL);
	harness_make_file("file", 10 * WINDOW);
	raw_start(&a, &server, "first");
	raw_start(&b, &server, "second");
	raw_start(&observer, &server, "observer");
	file = raw_open(&a, "file");
	ck_assert_uint_eq(raw_open(&b, "file"), file);
	ck_assert_uint_eq(raw_open(&observer, "file"), file);
}

static void stop(void)
{
	ck_assert_uint_eq(raw_summary(&observer).protocol_errors, 0);
	raw_close(&a);
	raw_close(&b);
	raw_close(&observer);
	harness_stop(&server);
}

static struct slot_ref lease_window(struct raw *raw, uint64_t window)
{
	struct message_leased leased = raw_lease(raw, file, window * WINDOW, 1);

	ck_assert_uint_eq(leased.offset, window * WINDOW);
	return leased.lease;
}

/* ---- COLLECT and DROP ---- */

START_TEST(test_collect)
{
	struct message request = {.type = MESSAGE_COLLECT}, answer;
	struct slot_ref idle;

	start("--max-memory=1M");
	idle = lease_window(&a, 0);
	raw_unpin(&a, &idle);
	lease_window(&a, 1);
	raw_send(&b, &request, -1);
	raw_await_recall(&a, &idle);
	ck_assert(!raw_is_answered(&b));
	raw_release(&a, &idle);
	raw_receive(&b, &answer);
	ck_assert_uint_eq(answer.type, MESSAGE_FREED);
	ck_assert_uint_eq(answer.freed.bytes, WINDOW);
	ck_assert_uint_eq(answer.freed.maps, 1);
	ck_assert_uint_eq(raw_summary(&observer).memory_bytes, WINDOW);
	ck_assert_uint_eq(raw_summary(&observer).handles, 1);
	stop();
}
END_TEST

START_TEST(test_drop_reopens)
{
	struct message request = {.type = MESSAGE_DROP, .drop = {.path = text_of("file")}}, answer;
	struct slot_ref idle;
	struct message lease;
	uint64_t again;

	start("--max-memory=1M");
	idle = lease_window(&a, 0);
	raw_unpin(&a, &idle);
	raw_send(&b, &request, -1);
	raw_await_recall(&a, &idle);
	raw_release(&a, &idle);
	raw_receive(&b, &answer);
	ck_assert_uint_eq(answer.type, MESSAGE_FREED);
	ck_assert_uint_eq(raw_summary(&observer).handles, 0);

	/* REOPEN however often, and it ends the opening; the id is not used again. */
	lease = raw_lease_request(file, 0, 1, RAW_LONG_MS);
	for (int i = 0; i < 2; i++) {
		raw_ask(&a, &lease, -1, &answer);
		ck_assert_uint_eq(answer.type, MESSAGE_REOPEN);
	}
	lease = raw_close_request(file);
	raw_refused(&a, &lease, -1, EBADF);
	again = raw_open(&a, "file");
	ck_assert_uint_gt(again, file);
	ck_assert_uint_eq(raw_lease(&a, again, 0, 1).length, WINDOW);
	/* Closing what the server has let go of is fine. */
	raw_close_file(&observer, file);
	stop();
}
END_TEST

/* ---- handles ---- */

/* Files "0", "1", ...; each one's size tells which. */
static void make_files(unsigned n)
{
	char name[16];

	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "%u", i);
		harness_make_file(name, i + 1);
	}
}

START_TEST(test_reopen_after_max_handles)
{
	struct slot_ref lease;
	struct message request, answer;
	uint64_t more[2];
	int fd;

	start("--max-handles=2");
	make_files(2);
	more[0] = raw_open(&b, "0");
	ck_assert_uint_eq(raw_summary(&observer).handles, 2);
	/* The one that has had no region for longest goes. */
	more[1] = raw_open(&b, "1");
	ck_assert_uint_eq(raw_summary(&observer).handles, 2);
	request = raw_lease_request(file, 0, 1, RAW_LONG_MS);
	raw_ask(&a, &request, -1, &answer);
	ck_assert_uint_eq(answer.type, MESSAGE_REOPEN);
	lease = raw_lease(&b, more[0], 0, 1).lease;
	ck_assert_uint_eq(raw_lease(&b, more[1], 0, 1).file_size, 2);

	/* Both have pinned regions now: opening waits, until one of them is idle. */
	request = (struct message){.type = MESSAGE_OPEN, .open = {.label = text_of("file"), .deadline_ms = RAW_LONG_MS}};
	fd = open("file", O_RDONLY | O_CLOEXEC);
	raw_send(&a, &request, fd);
	close(fd);
	raw_await_waits(&observer, 1);
	raw_unpin(&b, &lease);
	raw_await_recall(&b, &lease);
	ck_assert(!raw_is_answered(&a));
	raw_release(&b, &lease);
	raw_receive(&a, &answer);
	ck_assert_uint_eq(answer.type, MESSAGE_OPENED);
	ck_assert_uint_gt(answer.opened.file, more[1]);
	ck_assert_uint_eq(raw_lease(&a, answer.opened.file, 0, 1).length, WINDOW);
	ck_assert_uint_eq(raw_summary(&observer).handles, 2);
	stop();
}
END_TEST

START_TEST(test_no_handle_in_time)
{
	struct message request = {.type = MESSAGE_OPEN, .open = {.label = text_of("0")}}, answer;
	char sentence[MESSAGE_MAX_TEXT + 1];
	int before, fd;

	start("--max-handles=1");
	make_files(1);
	lease_window(&a, 0);
	before = raw_server_descriptors(&observer, &server);
	fd = open("0", O_RDONLY | O_CLOEXEC);
	raw_ask(&b, &request, fd, &answer);
	close(fd);
	raw_assert_error(&answer, ETIMEDOUT, sentence);
	ck_assert_msg(strstr(sentence, "max-handles"), "it says: %s", sentence);
	ck_assert_int_eq(raw_server_descriptors(&observer, &server), before);
	stop();
}
END_TEST

/* ---- STATUS ---- */

#define N_FILES 100

START_TEST(test_pages)
{
	bool seen[N_FILES] = {0};
	uint64_t from = 0;
	unsigned n_pages = 0, n_rows = 0;
	char label[4001];

	start("--max-handles=200");
	make_files(N_FILES);
	memset(label, 'l', sizeof(label) - 1);
	label[sizeof(label) - 1] = '\0';
	for (unsigned i = 0; i < N_FILES; i++) {
		char name[16];
		int fd;

		snprintf(name, sizeof(name), "%u", i);
		fd = open(name, O_RDONLY | O_CLOEXEC);
		raw_open_as(&a, fd, label);
		close(fd);
	}

	do {
		struct message_figures figures = raw_status(&a, FIGURES_FILES, from);
		struct figures_file row;
		int r;

		ck_assert_uint_gt(figures.rows.length, 0);
		for (; (r = figures_next(&figures.rows, FIGURES_FILES, &row)) > 0; n_rows++) {
			if (row.path.length == 4)
				continue;
			ck_assert_uint_eq(row.path.length, sizeof(label) - 1);
			ck_assert_uint_eq(row.clients, 1);
			ck_assert_uint_ge(row.size_bytes, 1);
			ck_assert_uint_le(row.size_bytes, N_FILES);
			ck_assert(!seen[row.size_bytes - 1]);
			seen[row.size_bytes - 1] = true;
		}
		ck_assert_int_eq(r, 0);
		ck_assert(!figures.next || figures.next > from);
		from = figures.next;
		n_pages++;
	} while (from);
	ck_assert_uint_eq(n_rows, N_FILES + 1);
	ck_assert_uint_ge(n_pages, N_FILES * 4000 / PACKET_MAX_BYTES);
	/* Past the last row there is an empty page. */
	ck_assert_uint_eq(raw_status(&a, FIGURES_FILES, UINT32_MAX).rows.length, 0);
	ck_assert_uint_eq(raw_status(&a, FIGURES_FILES, UINT64_MAX).rows.length, 0);
	stop();
}
END_TEST

START_TEST(test_sections)
{
	static const uint32_t unknown[] = {FIGURES_N_SECTIONS, FIGURES_N_SECTIONS + 1, UINT32_MAX};
	struct message_figures figures;
	struct figures_client row;

	start("--max-memory=1M");
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
		struct message request = {.type = MESSAGE_STATUS, .status = {.section = unknown[i]}};

		raw_refused(&a, &request, -1, EINVAL);
	}
	lease_window(&b, 0);
	figures = raw_status(&a, FIGURES_CLIENTS, 1);
	ck_assert_int_eq(figures_next(&figures.rows, FIGURES_CLIENTS, &row), 1);
	ck_assert_int_eq(strncmp(row.name.data, "second", row.name.length), 0);
	ck_assert_uint_eq(row.pid, (uint32_t)getpid());
	ck_assert_uint_eq(row.uid, geteuid());
	ck_assert_uint_eq(row.leases, 1);
	ck_assert_uint_eq(row.mapped_bytes, WINDOW);
	ck_assert_uint_eq(row.pinned_bytes, WINDOW);
	ck_assert_int_eq(figures_next(&figures.rows, FIGURES_CLIENTS, &row), 1);
	ck_assert_int_eq(figures_next(&figures.rows, FIGURES_CLIENTS, &row), 0);
	stop();
}
END_TEST

/* ---- users ---- */

#define OTHER_UID 65534

/* Connects as another user of the host. */
static void start_as(struct raw *raw, uid_t uid, const char *name)
{
	ck_assert_int_eq(seteuid(uid), 0);
	raw_start(raw, &server, name);
	ck_assert_int_eq(seteuid(0), 0);
}

/* How many files a client sees. */
static unsigned count_files(struct raw *raw)
{
	struct message_figures figures = raw_status(raw, FIGURES_FILES, 0);
	struct figures_file row;
	unsigned n = 0;

	while (figures_next(&figures.rows, FIGURES_FILES, &row) == 1)
		n++;
	return n;
}

START_TEST(test_users)
{
	struct message drop = {.type = MESSAGE_DROP, .drop = {.path = text_of("")}};
	struct message collect = {.type = MESSAGE_COLLECT}, answer;
	struct slot_ref idle;
	struct raw user;

	if (!harness_is_root())
		return;
	start("--max-memory=1M");
	ck_assert_int_eq(chmod(".", 0755), 0);
	make_files(2);
	start_as(&user, OTHER_UID, "user");
	ck_assert_uint_eq(count_files(&user), 0);
	raw_open(&user, "0");
	ck_assert_uint_eq(count_files(&user), 1);
	ck_assert_uint_eq(count_files(&a), 2);

	/* What root uses is not the user's to let go of. */
	idle = lease_window(&a, 0);
	raw_unpin(&a, &idle);
	raw_ask(&user, &collect, -1, &answer);
	ck_assert_uint_eq(answer.type, MESSAGE_FREED);
	ck_assert_uint_eq(answer.freed.bytes, 0);
	raw_ask(&user, &drop, -1, &answer);
	ck_assert(answer.type == MESSAGE_ERROR || !answer.freed.bytes);
	ck_assert(raw_pin(&a, &idle));

	/* A file that root opens too keeps the name that the user gave it, for the user as well. */
	raw_open(&a, "0");
	ck_assert_uint_eq(count_files(&a), 2);
	raw_open(&user, "1");
	ck_assert_uint_eq(count_files(&a), 3);
	ck_assert_uint_eq(count_files(&user), 2);
	raw_close(&user);
	stop();
}
END_TEST

/* ---- floods ---- */

/* Sends STATUS until no more fits into the socket; how many that were. */
static uint32_t flood(struct raw *raw)
{
	struct message request = {.type = MESSAGE_STATUS, .status = {.section = FIGURES_SUMMARY}};
	char bytes[64];
	uint32_t n = 0;
	int r;

	for (;; n++) {
		int length;

		request.serial = raw->serial + 1;
		length = message_encode(&request, bytes, sizeof(bytes));
		r = channel_send(raw->socket, bytes, (size_t)length, NULL, 0);
		if (r < 0)
			break;
		raw->serial++;
	}
	ck_assert_int_eq(r, -EAGAIN);
	return n;
}

START_TEST(test_never_reads)
{
	uint32_t first, sent, idle_rounds = 0;
	struct message answer;

	/* It is read until so much lies unread at its door, and no more: then nothing that it sends is taken. */
	start("--max-memory=1M");
	first = a.serial + 1;
	for (sent = flood(&a); idle_rounds < 100; idle_rounds++) {
		uint32_t n;

		raw_summary(&observer);
		lease_window(&b, 0);
		n = flood(&a);
		sent += n;
		if (n)
			idle_rounds = 0;
		ck_assert_uint_lt(sent, 100000);
	}

	/* When it reads after all, it gets every answer, in order. */
	for (uint32_t i = 0; i < sent; i++) {
		raw_receive(&a, &answer);
		ck_assert_uint_eq(answer.type, MESSAGE_FIGURES);
		ck_assert_uint_eq(answer.serial, first + i);
	}
	ck_assert(!raw_is_answered(&a));
	lease_window(&a, 1);
	stop();
}
END_TEST

#define MANY_ANSWERS 400 /* more than lie at the door of one client */

/*
 * Requests that have waited for the same, and come free in one turn, before their client can have read all answers. Each is answered once; in
 * their order only as long as there is room for the answers, which its reading makes at any time.
 */
START_TEST(test_many_answers)
{
	bool answered[MANY_ANSWERS] = {0};
	struct slot_ref lease;
	struct message answer;
	uint32_t first;

	start("--max-memory=64K");
	lease = lease_window(&b, 0);
	first = a.serial + 1;
	for (uint32_t i = 0; i < MANY_ANSWERS; i++) {
		raw_send_lease(&a, file, WINDOW, 1, RAW_LONG_MS);
		raw_await_waits(&observer, i + 1);
	}
	raw_unpin(&b, &lease);
	raw_release(&b, &lease);
	for (uint32_t i = 0; i < MANY_ANSWERS; i++) {
		raw_receive(&a, &answer);
		ck_assert_uint_eq(answer.type, MESSAGE_LEASED);
		ck_assert_uint_eq(answer.leased.offset, WINDOW);
		ck_assert_uint_lt(answer.serial - first, MANY_ANSWERS);
		ck_assert(!answered[answer.serial - first]);
		answered[answer.serial - first] = true;
	}
	stop();
}
END_TEST

static uint64_t count_connections(void)
{
	struct message_figures figures = raw_status(&observer, FIGURES_USERS, 0);
	struct figures_user row;

	ck_assert_int_eq(figures_next(&figures.rows, FIGURES_USERS, &row), 1);
	return row.clients;
}

/* A client that shuts down its end keeps what it has not received, and so it counts. */
START_TEST(test_leaves_unread)
{
	uint32_t second;

	start("--max-memory=1M");
	raw_send_lease(&a, file, 0, 1, RAW_LONG_MS);
	ck_assert_int_eq(channel_wait(a.socket, POLLIN, RAW_PATIENCE_MS), 1);
	ck_assert_int_eq(shutdown(a.socket, SHUT_WR), 0);
	/* It is gone as a client, and there is time to look. */
	while (raw_summary(&observer).clients > 2)
		;
	second = pulse_second(observer.pulse);
	while (pulse_second(observer.pulse) < second + 2)
		ck_assert_uint_eq(count_connections(), 3);
	raw_await_end(&a);
	while (count_connections() > 2)
		;
	stop();
}
END_TEST

START_TEST(test_never_reads_and_goes)
{
	start("--max-memory=1M");
	lease_window(&a, 0);
	while (flood(&a))
		raw_summary(&observer);
	close_fdp(&a.socket);
	while (raw_summary(&observer).clients > 2)
		;
	ck_assert_uint_eq(raw_summary(&observer).leases, 0);
	stop();
}
END_TEST

START_TEST(test_rubbish_on_the_board)
{
	struct slot_ref idle;

	/* Whatever stands on a board, the others go on, and so does the server. */
	start("--max-memory=128K");
	idle = lease_window(&a, 0);
	raw_unpin(&a, &idle);
	for (int i = 0; i < 1000; i++) {
		struct board_slot *slot = &a.board.slots[harness_random() % 4];

		atomic_store(&slot->state, harness_random());
		atomic_store(&slot->last_used, harness_random());
		atomic_store(&slot->hits, harness_random());
		atomic_store(&slot->pinned_since, (uint32_t)harness_random());
		idle = lease_window(&b, 1);
		raw_unpin(&b, &idle);
		ck_assert(raw_pin(&b, &idle));
		raw_unpin(&b, &idle);
		raw_release(&b, &idle);
		ck_assert_uint_le(raw_summary(&observer).memory_bytes, 2 * WINDOW);
	}
	stop();
}
END_TEST

#define N_CLIENTS 300

START_TEST(test_many_clients)
{
	struct rlimit limit;
	struct raw *many = calloc(N_CLIENTS, sizeof(*many));
	int before;

	ck_assert_ptr_nonnull(many);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	start("--max-memory=1M");
	before = raw_server_descriptors(&observer, &server);
	for (int i = 0; i < N_CLIENTS; i++)
		raw_connect(&many[i], &server);
	for (int i = 0; i < N_CLIENTS; i++)
		raw_hello(&many[i], "one of many");
	for (int i = 0; i < N_CLIENTS; i++) {
		ck_assert_uint_eq(raw_open(&many[i], "file"), file);
		raw_send_lease(&many[i], file, (uint64_t)(i % 10) * WINDOW, 1, RAW_LONG_MS);
	}
	for (int i = 0; i < N_CLIENTS; i++)
		ck_assert_uint_eq(raw_receive_leased(&many[i]).offset, (uint64_t)(i % 10) * WINDOW);
	ck_assert_uint_eq(raw_summary(&observer).clients, N_CLIENTS + 3);
	ck_assert_uint_eq(raw_summary(&observer).leases, N_CLIENTS);
	ck_assert_uint_eq(raw_summary(&observer).memory_bytes, 10 * WINDOW);

	for (int i = 0; i < N_CLIENTS; i++)
		raw_close(&many[i]);
	free(many);
	while (raw_summary(&observer).clients > 3)
		;
	ck_assert_uint_eq(raw_summary(&observer).leases, 0);
	ck_assert_int_eq(raw_server_descriptors(&observer, &server), before);
	stop();
}
END_TEST

Suite *suite(void);

Suite *suite(void)
{
	Suite *s = suite_create("crowd");

	HARNESS_CASE(s, "evict", test_collect, test_drop_reopens);
	HARNESS_CASE(s, "handles", test_reopen_after_max_handles, test_no_handle_in_time);
	HARNESS_CASE(s, "status", test_pages, test_sections, test_users);
	HARNESS_CASE(s, "floods", test_never_reads, test_many_answers, test_leaves_unread, test_never_reads_and_goes, test_rubbish_on_the_board, test_many_clients);
	return s;
}

int main(void)
{
	return harness_run(suite());
}
