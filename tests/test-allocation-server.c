/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * No memory, at each allocation in turn that the server makes for a request: the first, the second, until one run meets none that fails. Each
 * time the answer is an error, or right, or the connection ends; what is used is as before, or as after success; the same request then is
 * served; and when the clients have gone nothing of it is left.
 *
 * The server is a real one, in a child whose allocations this process can make fail (see allocation.h).
 */
#include "config.h"

#include "tests/allocation.h"
#include "tests/raw.h"

#include "daemon/limits.h"
#include "daemon/listener.h"
#include "daemon/server.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#define WINDOW UINT64_C(65536)

/* Far more than any request takes. */
#define MANY_ALLOCATIONS 1000

static struct harness_server harness;
static struct raw observer, subject, other;
static uint64_t subject_file;
static struct allocated baseline;

/* ---- the server ---- */

static struct server server;
static uv_signal_t term;

static void on_term(uv_signal_t *handle, int number)
{
	(void)number;
	server_stop(&server);
	uv_close((uv_handle_t *)handle, NULL);
}

/* In the child. Its status: whether all that it allocated is freed. */
static int serve(int ready)
{
	struct limits limits;
	struct listener listener;
	struct allocated before, after;
	char complaint[1024];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	limits_default(&limits);
	limits.memory = 4 * WINDOW;
	limits.maps = 4;
	limits.handles = 3;
	limits.window = WINDOW;
	limits.clients = 100;
	limits.errands = 100;
	limits.in_flight = 1000;
	limits.user_percent = 100;
	limits.recall_timeout_ms = RAW_LONG_MS;
	limits_set_quota(&limits);

	allocation_watch();
	before = allocation_count();
	if (listener_open(&listener, harness.socket, complaint, sizeof(complaint)) < 0 ||
	    server_init(&server, &limits, &listener, complaint, sizeof(complaint)) < 0 || uv_signal_init(&server.loop, &term) < 0 ||
	    uv_signal_start(&term, on_term, SIGTERM) < 0 || write(ready, "", 1) != 1)
		return EXIT_FAILURE;
	server_run(&server);
	server_deinit(&server);
	/* A runner that was just starting another one has still to unmap what that took. */
	for (int i = 0; i < RAW_PATIENCE_MS; i++) {
		after = allocation_count();
		if (after.blocks == before.blocks && after.mapped_bytes == before.mapped_bytes)
			return EXIT_SUCCESS;
		poll(NULL, 0, 1);
	}
	return EXIT_FAILURE;
}

static void start(void)
{
	int pipes[2];
	char byte;

	allocation_end();
	subject.bell = other.bell = -1;
	ck_assert_int_eq(chmod(".", 0755), 0);
	ck_assert_ptr_nonnull(realpath(".", harness.socket));
	strcat(harness.socket, "/socket");
	ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
	harness.pid = fork();
	ck_assert_int_ge(harness.pid, 0);
	if (!harness.pid)
		_exit(serve(pipes[1]));
	close(pipes[1]);
	ck_assert_int_eq((int)read(pipes[0], &byte, 1), 1);
	close(pipes[0]);
	raw_start(&observer, &harness, "observer");
	harness_make_file("a", 4 * WINDOW);
	harness_make_file("b", 4 * WINDOW);
	harness_make_file("c", WINDOW);
	harness_make_file("d", WINDOW);
}

static void stop(void)
{
	raw_close(&observer);
	harness_stop(&harness);
}

/* ---- what is used ---- */

struct figures {
	uint64_t memory, draining, maps, handles, leases, clients;
};

static struct figures look(void)
{
	struct figures_summary summary = raw_summary(&observer);

	return (struct figures){
		summary.memory_bytes, summary.draining_bytes, summary.maps, summary.handles, summary.leases, summary.clients,
	};
}

static bool is_same(const struct figures *a, const struct figures *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

static void await_clients(uint64_t n)
{
	while (raw_summary(&observer).clients != n)
		;
}

/*
 * What is allocated when all is freed. The loop frees the memory of a peer at the end of its turn, when the observer may have been answered
 * already: it needs some turns more, and by far not as many as these.
 */
static struct allocated await_freed(void)
{
	struct allocated now;

	while (raw_summary(&observer).closing)
		;
	now = allocation_count();

	for (int i = 0; i < 100 && (now.blocks != baseline.blocks || now.mapped_bytes != baseline.mapped_bytes); i++) {
		look();
		now = allocation_count();
	}
	if (!baseline.blocks)
		baseline = now;
	return now;
}

/* All others have gone: then nothing is left of what they did. */
static void assert_nothing_left(const char *name, uint64_t number)
{
	struct message request = {.type = MESSAGE_DROP, .drop = {.path = text_of("/")}}, answer;
	const struct figures nothing = {.clients = 1};
	struct allocated now;
	struct figures left;

	await_clients(1);
	raw_ask(&observer, &request, -1, &answer);
	ck_assert_uint_eq(answer.type, MESSAGE_FREED);
	left = look();
	ck_assert_msg(is_same(&left, &nothing), "%s, allocation %ju: something is left in use", name, (uintmax_t)number);
	now = await_freed();
	ck_assert_msg(now.blocks == baseline.blocks, "%s, allocation %ju: %jd blocks are left", name, (uintmax_t)number,
		      (intmax_t)(now.blocks - baseline.blocks));
	ck_assert_msg(now.mapped_bytes == baseline.mapped_bytes, "%s, allocation %ju: %jd bytes are left mapped", name,
		      (uintmax_t)number, (intmax_t)(now.mapped_bytes - baseline.mapped_bytes));
}

/* ---- situations ---- */

struct situation {
	const char *name;
	void (*others)(void); /* what is there when it begins: by the other client */
	void (*before)(void); /* and by the one that asks */
	struct message request; /* a file of 0 is the subject's */
	const char *path;       /* of the file that is sent along */
	uint32_t answer;
	bool makes_room; /* so that less may be used after an error than before */
};

static uint64_t open_at(struct raw *raw, const char *path)
{
	char label[16];
	uint64_t file;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	snprintf(label, sizeof(label), "/%s", path);
	file = raw_open_as(raw, fd, label);
	close_fd(fd);
	return file;
}

static void open_a(void)
{
	subject_file = open_at(&subject, "a");
}

static void lease_idle(struct raw *raw, uint64_t file, uint64_t window, uint64_t n)
{
	struct message_leased leased = raw_lease(raw, file, window * WINDOW, n * WINDOW);

	raw_unpin(raw, &leased.lease);
}

/* Slot 0 has its first lease. */
static void lease_one(void)
{
	open_a();
	lease_idle(&subject, subject_file, 0, 1);
}

static void lease_four(void)
{
	open_a();
	for (uint64_t window = 0; window < 4; window++)
		lease_idle(&subject, subject_file, window, 1);
	subject_file = open_at(&subject, "b");
}

static void others_open_a(void)
{
	open_at(&other, "a");
}

static void others_lease_a(void)
{
	lease_idle(&other, open_at(&other, "a"), 0, 1);
}

static void others_lease_all(void)
{
	lease_idle(&other, open_at(&other, "b"), 0, 4);
}

/* Regions that nobody leases. */
static void others_leave_all(void)
{
	struct message request = {.type = MESSAGE_RELEASE, .release = {.slots = {.n = 1}}};
	struct message_leased leased = raw_lease(&other, open_at(&other, "b"), 0, 4 * WINDOW);

	raw_unpin(&other, &leased.lease);
	request.release.slots.refs[0] = leased.lease;
	raw_send(&other, &request, -1);
	raw_status(&other, FIGURES_USERS, 0);
}

/* As many files as there may be, none of which has a region. */
static void others_open_three(void)
{
	open_at(&other, "b");
	open_at(&other, "c");
	open_at(&other, "d");
}

#define LEASE(offset_, length_)                                                                                       \
	{                                                                                                             \
		.type = MESSAGE_LEASE, .lease = {.offset = (offset_), .length = (length_), .deadline_ms = RAW_LONG_MS} \
	}
#define OPEN                                                                                     \
	{                                                                                        \
		.type = MESSAGE_OPEN, .open = {.label = {"/a", 2}, .deadline_ms = RAW_LONG_MS} \
	}
#define STATUS(section_)                                                       \
	{                                                                      \
		.type = MESSAGE_STATUS, .status = {.section = (section_)} \
	}

static const struct situation situations[] = {
	{"OPEN of a new file", NULL, NULL, OPEN, "a", MESSAGE_OPENED, false},
	{"OPEN of a file that another has", others_open_a, NULL, OPEN, "a", MESSAGE_OPENED, false},
	{"OPEN of a file that it has itself", NULL, open_a, OPEN, "a", MESSAGE_OPENED, false},
	{"OPEN in place of another file", others_open_three, NULL, OPEN, "a", MESSAGE_OPENED, true},
	{"LEASE of a new region", NULL, open_a, LEASE(0, 1), NULL, MESSAGE_LEASED, false},
	{"LEASE of four new regions", NULL, open_a, LEASE(0, 4 * WINDOW), NULL, MESSAGE_LEASED, false},
	{"LEASE of a region that another has", others_lease_a, open_a, LEASE(0, 1), NULL, MESSAGE_LEASED, false},
	{"LEASE of a region that it has itself", NULL, lease_one, LEASE(0, 1), NULL, MESSAGE_LEASED, false},
	{"LEASE past the end", NULL, open_a, LEASE(4 * WINDOW, 1), NULL, MESSAGE_LEASED, false},
	{"LEASE with eviction", others_leave_all, open_a, LEASE(0, 2 * WINDOW), NULL, MESSAGE_LEASED, true},
	{"LEASE with victims", NULL, lease_four, LEASE(0, 2 * WINDOW), NULL, MESSAGE_LEASED, true},
	{"LEASE that waits, and is served", others_lease_all, open_a, LEASE(0, WINDOW), NULL, MESSAGE_LEASED, true},
	{"RELEASE", NULL, lease_one, {.type = MESSAGE_RELEASE, .release = {.slots = {.n = 1, .refs = {{0, 1}}}}}, NULL, 0, false},
	{"CLOSE", NULL, open_a, {.type = MESSAGE_CLOSE}, NULL, MESSAGE_CLOSED, false},
	{"CLOSE of a file with a lease", NULL, lease_one, {.type = MESSAGE_CLOSE}, NULL, MESSAGE_CLOSED, false},
	{"COLLECT", others_leave_all, NULL, {.type = MESSAGE_COLLECT}, NULL, MESSAGE_FREED, true},
	{"COLLECT that waits", others_lease_all, NULL, {.type = MESSAGE_COLLECT}, NULL, MESSAGE_FREED, true},
	{"DROP", others_leave_all, NULL, {.type = MESSAGE_DROP, .drop = {.path = {"/b", 2}}}, NULL, MESSAGE_FREED, true},
	{"DROP that waits", others_lease_all, NULL, {.type = MESSAGE_DROP, .drop = {.path = {"/b", 2}}}, NULL, MESSAGE_FREED, true},
	{"STATUS, the summary", others_lease_a, lease_one, STATUS(FIGURES_SUMMARY), NULL, MESSAGE_FIGURES, false},
	{"STATUS of clients", others_lease_a, lease_one, STATUS(FIGURES_CLIENTS), NULL, MESSAGE_FIGURES, false},
	{"STATUS of files", others_lease_a, lease_one, STATUS(FIGURES_FILES), NULL, MESSAGE_FIGURES, false},
	{"STATUS of users", others_lease_a, lease_one, STATUS(FIGURES_USERS), NULL, MESSAGE_FIGURES, false},
	{"STATUS of what waits", others_lease_a, lease_one, STATUS(FIGURES_WAITING), NULL, MESSAGE_FIGURES, false},
	{"STATUS of pins", others_lease_a, lease_one, STATUS(FIGURES_PINS), NULL, MESSAGE_FIGURES, false},
};

/* ---- one of them ---- */

static void begin(const struct situation *situation)
{
	raw_start(&other, &harness, "other");
	if (situation->others)
		situation->others();
	raw_start(&subject, &harness, "subject");
	if (situation->before)
		situation->before();
}

/* Sends what may find the connection at its end. */
static void try_send(struct raw *raw, struct message *request, int fd)
{
	char bytes[PACKET_MAX_BYTES];
	int length, r;

	request->serial = ++raw->serial;
	length = message_encode(request, bytes, sizeof(bytes));
	r = channel_send(raw->socket, bytes, (size_t)length, &fd, fd >= 0);
	ck_assert(r == 0 || r == -EPIPE || r == -ECONNRESET);
}

/* A client gives back what is recalled. */
static void answer_bell(struct raw *raw)
{
	struct message message, release = {.type = MESSAGE_RELEASE};
	int r;

	packet_deinit(raw->packet);
	r = channel_receive(raw->bell, raw->packet);
	/* It is gone: there was no memory for what it said. */
	if (r <= 0) {
		close_fdp(&raw->bell);
		return;
	}
	ck_assert_int_eq(message_decode(&message, raw->packet->bytes, raw->packet->n_bytes), 0);
	release.release.slots = message.recall.slots;
	try_send(raw, &release, -1);
}

/* What the subject is answered; type 0 if its connection ends. */
static void await_answer(struct message *answer)
{
	struct pollfd pollfds[3];
	int r;

	do {
		pollfds[0] = (struct pollfd){.fd = subject.socket, .events = POLLIN};
		pollfds[1] = (struct pollfd){.fd = other.bell, .events = POLLIN};
		pollfds[2] = (struct pollfd){.fd = subject.bell, .events = POLLIN};
		ck_assert_int_gt(poll(pollfds, 3, RAW_PATIENCE_MS), 0);
		if (pollfds[1].revents)
			answer_bell(&other);
		if (pollfds[2].revents)
			answer_bell(&subject);
	} while (!pollfds[0].revents);

	packet_deinit(subject.packet);
	r = channel_receive(subject.socket, subject.packet);
	answer->type = 0;
	if (r == 0 || r == -ECONNRESET)
		return;
	ck_assert_int_eq(r, 1);
	ck_assert_int_eq(message_decode(answer, subject.packet->bytes, subject.packet->n_bytes), 0);
	ck_assert_uint_eq(message_descriptors(answer), subject.packet->n_descriptors);
}

/* Sends something that has no answer, and something that has one. What that one is. */
static uint32_t send_and_probe(struct message *request)
{
	struct message probe = STATUS(FIGURES_USERS), answer;

	try_send(&subject, request, -1);
	try_send(&subject, &probe, -1);
	await_answer(&answer);
	return answer.type;
}

/* The descriptor that came with it is that of the file. */
static void check_lease(const struct message_leased *leased)
{
	unsigned char byte;

	ck_assert_int_eq((int)pread(subject.packet->descriptors[0], &byte, 1, (off_t)leased->offset + 5), 1);
	ck_assert_uint_eq(byte, harness_byte(leased->offset + 5));
}

/* Whether it was done, all of it. */
static bool ask(const struct situation *situation)
{
	struct message request = situation->request, answer;
	int fd = situation->path ? open(situation->path, O_RDONLY | O_CLOEXEC) : -1;
	uint32_t serial = subject.serial + 1;

	if (request.type == MESSAGE_LEASE)
		request.lease.file = subject_file;
	if (request.type == MESSAGE_CLOSE)
		request.close.file = subject_file;
	if (!situation->answer)
		return send_and_probe(&request) == MESSAGE_FIGURES;
	try_send(&subject, &request, fd);
	close_fd(fd);
	await_answer(&answer);
	if (answer.type == MESSAGE_ERROR) {
		char sentence[MESSAGE_MAX_TEXT + 1];

		raw_assert_error(&answer, ENOMEM, sentence);
		ck_assert_msg(strstr(sentence, strerror(ENOMEM)), "%s: %s", situation->name, sentence);
		return false;
	}
	if (!answer.type)
		return false;
	ck_assert_msg(answer.type == situation->answer, "%s: answer %u", situation->name, answer.type);
	ck_assert_uint_eq(answer.serial, serial);
	if (answer.type == MESSAGE_LEASED && answer.leased.length)
		check_lease(&answer.leased);
	if (answer.type != MESSAGE_LEASED || !answer.leased.victims.n)
		return true;
	/* They are unmapped, which the server has to be told before it maps the new one. */
	request = (struct message){.type = MESSAGE_RELEASE, .release = {.slots = answer.leased.victims}};
	return send_and_probe(&request) == MESSAGE_FIGURES;
}

/* Where its connection has ended it comes again, and does again what comes before. */
static void come_again(const struct situation *situation)
{
	if (channel_wait(subject.socket, POLLIN, 0) == 0)
		return;
	raw_close(&subject);
	await_clients(other.bell >= 0 ? 2 : 1);
	raw_start(&subject, &harness, "subject");
	if (situation->before)
		situation->before();
}

static void end(void)
{
	raw_close(&subject);
	raw_close(&other);
}

/* What is used before and after, where nothing fails. */
static void go_well(const struct situation *situation, struct figures *before, struct figures *after)
{
	begin(situation);
	*before = look();
	ck_assert_msg(ask(situation), "%s: not served", situation->name);
	*after = look();
	end();
}

static bool is_no_more(const struct figures *now, const struct figures *than)
{
	return now->memory <= than->memory && now->maps <= than->maps && now->handles <= than->handles && now->leases <= than->leases;
}

static void assert_half(const struct situation *situation, uint64_t number, const struct figures *before, const struct figures *now)
{
	bool gone = now->clients < before->clients;

	/* With a connection goes all that the client had. */
	if (situation->makes_room || gone)
		ck_assert_msg(is_no_more(now, before), "%s, allocation %ju: more is used after an error", situation->name,
			      (uintmax_t)number);
	else
		ck_assert_msg(is_same(now, before), "%s, allocation %ju: something is half done", situation->name, (uintmax_t)number);
}

/* Fails one allocation. False if there was none of this number. */
static bool go_wrong(const struct situation *situation, uint64_t number, const struct figures *before, const struct figures *after)
{
	struct figures now;
	bool failed, done;

	begin(situation);
	allocation_fail(number);
	done = ask(situation);
	failed = allocation_end();
	now = look();
	ck_assert_msg(failed || done, "%s, allocation %ju: an error, and none has failed", situation->name, (uintmax_t)number);
	if (done)
		/* Where a map has failed, more may have made way. */
		ck_assert_msg(is_same(&now, after) || now.clients < after->clients || (situation->makes_room && is_no_more(&now, after)),
			      "%s, allocation %ju: not quite done", situation->name, (uintmax_t)number);
	else
		assert_half(situation, number, before, &now);

	if (!done) {
		come_again(situation);
		ck_assert_msg(ask(situation), "%s, allocation %ju: not served afterwards", situation->name, (uintmax_t)number);
	}
	end();
	return failed;
}

START_TEST(test_requests)
{
	start();
	for (size_t i = 0; i < sizeof(situations) / sizeof(situations[0]); i++) {
		const struct situation *situation = &situations[i];
		struct figures before, after;
		uint64_t number = 1;

		go_well(situation, &before, &after);
		assert_nothing_left(situation->name, 0);
		while (go_wrong(situation, number, &before, &after)) {
			assert_nothing_left(situation->name, number);
			ck_assert_uint_lt(++number, MANY_ALLOCATIONS);
		}
		assert_nothing_left(situation->name, number);
		/* At the least a packet is decoded. */
		ck_assert_uint_gt(number, 1);
		printf("%s: %ju allocations\n", situation->name, (uintmax_t)number - 1);
	}
	stop();
}
END_TEST

/* ---- coming and going ---- */

/* Another user, whom the server does not know yet; where there is none, the same. */
#define NOBODY 65534

/* Whether there is a client now, at which everything is as it should be. */
static bool come(void)
{
	struct message hello = {.type = MESSAGE_HELLO, .hello = {.version = PROTOCOL_VERSION, .name = text_of("subject")}}, answer;

	ck_assert(seteuid(NOBODY) == 0 || errno == EPERM);
	raw_connect(&subject, &harness);
	ck_assert(seteuid(getuid()) == 0);
	try_send(&subject, &hello, -1);
	await_answer(&answer);
	if (answer.type == MESSAGE_ERROR) {
		char sentence[MESSAGE_MAX_TEXT + 1];

		raw_assert_error(&answer, ENOMEM, sentence);
		return false;
	}
	if (!answer.type)
		return false;
	ck_assert_uint_eq(answer.type, MESSAGE_WELCOME);
	ck_assert_int_eq(board_attach(&subject.board, answer.welcome.n_slots, subject.packet->descriptors[0]), 0);
	ck_assert_int_eq(pulse_attach(&subject.pulse, subject.packet->descriptors[1]), 0);
	subject.bell = take_fd(&subject.packet->descriptors[2]);
	return true;
}

START_TEST(test_connection)
{
	uint64_t number = 0;
	bool failed, there;

	start();
	do {
		allocation_fail(number);
		there = come();
		failed = allocation_end();
		ck_assert(failed || there);
		raw_close(&subject);
		await_clients(1);
		ck_assert(come());
		raw_close(&subject);
		assert_nothing_left("HELLO", number);
		ck_assert_uint_lt(++number, MANY_ALLOCATIONS);
	} while (failed || number == 1);
	/* At the least there are a peer, an account and a board. */
	ck_assert_uint_gt(number, 4);
	printf("HELLO: %ju allocations\n", (uintmax_t)number - 2);
	stop();
}
END_TEST

/* So many that whatever grows with their number has to grow. */
START_TEST(test_many_connections)
{
	struct raw crowd[40];
	bool failed;

	start();
	for (size_t i = 0; i < sizeof(crowd) / sizeof(crowd[0]); i++) {
		uint64_t number = 1;

		do {
			bool there;

			allocation_fail(number++);
			there = come();
			failed = allocation_end();
			ck_assert(failed || there);
			if (failed)
				raw_close(&subject);
		} while (failed);
		crowd[i] = subject;
		await_clients(i + 2);
	}
	for (size_t i = 0; i < sizeof(crowd) / sizeof(crowd[0]); i++)
		raw_close(&crowd[i]);
	await_clients(1);
	stop();
}
END_TEST

static void leave_with_a_lease(void)
{
	lease_one();
}

static void leave_waiting(void)
{
	open_a();
	raw_send_lease(&subject, subject_file, 0, WINDOW, RAW_LONG_MS);
	raw_await_waits(&observer, raw_summary(&observer).waits ? raw_summary(&observer).waits : 1);
}

/* The server closes its end of the bell when the client's end is done with. */
START_TEST(test_end)
{
	static void (*const ends[])(void) = {leave_with_a_lease, leave_waiting};

	start();
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		raw_start(&other, &harness, "other");
		lease_idle(&other, open_at(&other, "b"), 0, 2);
		if (ends[i] == leave_waiting)
			raw_lease(&other, open_at(&other, "b"), 0, 4 * WINDOW);
		raw_start(&subject, &harness, "subject");
		ends[i]();
		allocation_fail(1);
		close_fdp(&subject.socket);
		ck_assert_int_eq(channel_wait(subject.bell, POLLIN, RAW_PATIENCE_MS), 1);
		/* To go needs no memory. */
		ck_assert(!allocation_end());
		ck_assert_uint_eq(look().clients, 2);
		end();
		assert_nothing_left("the end", i);
	}
	stop();
}
END_TEST

Suite *suite(void);

Suite *suite(void)
{
	Suite *s = suite_create("allocation in the server");

	HARNESS_CASE(s, "requests", test_requests);
	HARNESS_CASE(s, "connections", test_connection, test_many_connections, test_end);
	return s;
}

int main(void)
{
	if (!allocation_is_ours()) {
		puts("skipped: a sanitizer has an allocator of its own");
		return 77;
	}
	return harness_run(suite());
}
