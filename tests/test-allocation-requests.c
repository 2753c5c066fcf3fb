/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * No memory, at each allocation in turn that the server makes for a request: the first, the second, until one run meets none that fails. Each
 * time the answer is an error, or right, or the connection ends; what is used is as before, or as after success; the same request then is
 * served; and when the clients have gone nothing of it is left.
 */
#include "config.h"

#include "tests/scarce.h"

#define WINDOW SCARCE_WINDOW

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

static void lease_four(void)
{
	scarce_open_a();
	for (uint64_t window = 0; window < 4; window++)
		scarce_lease_idle(&subject, subject_file, window, 1);
	subject_file = scarce_open(&subject, "b");
}

static void others_open_a(void)
{
	scarce_open(&other, "a");
}

static void others_lease_a(void)
{
	scarce_lease_idle(&other, scarce_open(&other, "a"), 0, 1);
}

static void others_lease_all(void)
{
	scarce_lease_idle(&other, scarce_open(&other, "b"), 0, 4);
}

/* Regions that nobody leases. */
static void others_leave_all(void)
{
	struct message request = {.type = MESSAGE_RELEASE, .release = {.slots = {.n = 1}}};
	struct message_leased leased = raw_lease(&other, scarce_open(&other, "b"), 0, 4 * WINDOW);

	raw_unpin(&other, &leased.lease);
	request.release.slots.refs[0] = leased.lease;
	raw_send(&other, &request, -1);
	raw_status(&other, FIGURES_USERS, 0);
}

/* As many files as there may be, none of which has a region. */
static void others_open_three(void)
{
	scarce_open(&other, "b");
	scarce_open(&other, "c");
	scarce_open(&other, "d");
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
	{"OPEN of a file that it has itself", NULL, scarce_open_a, OPEN, "a", MESSAGE_OPENED, false},
	{"OPEN in place of another file", others_open_three, NULL, OPEN, "a", MESSAGE_OPENED, true},
	{"LEASE of a new region", NULL, scarce_open_a, LEASE(0, 1), NULL, MESSAGE_LEASED, false},
	{"LEASE of four new regions", NULL, scarce_open_a, LEASE(0, 4 * WINDOW), NULL, MESSAGE_LEASED, false},
	{"LEASE of a region that another has", others_lease_a, scarce_open_a, LEASE(0, 1), NULL, MESSAGE_LEASED, false},
	{"LEASE of a region that it has itself", NULL, scarce_lease_one, LEASE(0, 1), NULL, MESSAGE_LEASED, false},
	{"LEASE past the end", NULL, scarce_open_a, LEASE(4 * WINDOW, 1), NULL, MESSAGE_LEASED, false},
	{"LEASE with eviction", others_leave_all, scarce_open_a, LEASE(0, 2 * WINDOW), NULL, MESSAGE_LEASED, true},
	{"LEASE with victims", NULL, lease_four, LEASE(0, 2 * WINDOW), NULL, MESSAGE_LEASED, true},
	{"LEASE that waits, and is served", others_lease_all, scarce_open_a, LEASE(0, WINDOW), NULL, MESSAGE_LEASED, true},
	{"RELEASE", NULL, scarce_lease_one, {.type = MESSAGE_RELEASE, .release = {.slots = {.n = 1, .refs = {{0, 1}}}}}, NULL, 0, false},
	{"CLOSE", NULL, scarce_open_a, {.type = MESSAGE_CLOSE}, NULL, MESSAGE_CLOSED, false},
	{"CLOSE of a file with a lease", NULL, scarce_lease_one, {.type = MESSAGE_CLOSE}, NULL, MESSAGE_CLOSED, false},
	{"COLLECT", others_leave_all, NULL, {.type = MESSAGE_COLLECT}, NULL, MESSAGE_FREED, true},
	{"COLLECT that waits", others_lease_all, NULL, {.type = MESSAGE_COLLECT}, NULL, MESSAGE_FREED, true},
	{"DROP", others_leave_all, NULL, {.type = MESSAGE_DROP, .drop = {.path = {"/b", 2}}}, NULL, MESSAGE_FREED, true},
	{"DROP that waits", others_lease_all, NULL, {.type = MESSAGE_DROP, .drop = {.path = {"/b", 2}}}, NULL, MESSAGE_FREED, true},
	{"STATUS, the summary", others_lease_a, scarce_lease_one, STATUS(FIGURES_SUMMARY), NULL, MESSAGE_FIGURES, false},
	{"STATUS of clients", others_lease_a, scarce_lease_one, STATUS(FIGURES_CLIENTS), NULL, MESSAGE_FIGURES, false},
	{"STATUS of files", others_lease_a, scarce_lease_one, STATUS(FIGURES_FILES), NULL, MESSAGE_FIGURES, false},
	{"STATUS of users", others_lease_a, scarce_lease_one, STATUS(FIGURES_USERS), NULL, MESSAGE_FIGURES, false},
	{"STATUS of what waits", others_lease_a, scarce_lease_one, STATUS(FIGURES_WAITING), NULL, MESSAGE_FIGURES, false},
	{"STATUS of pins", others_lease_a, scarce_lease_one, STATUS(FIGURES_PINS), NULL, MESSAGE_FIGURES, false},
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

/* Sends something that has no answer, and something that has one. What that one is. */
static uint32_t send_and_probe(struct message *request)
{
	struct message probe = STATUS(FIGURES_USERS), answer;

	scarce_send(&subject, request, -1);
	scarce_send(&subject, &probe, -1);
	scarce_await_answer(&answer);
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
	scarce_send(&subject, &request, fd);
	close_fd(fd);
	scarce_await_answer(&answer);
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
	scarce_await_clients(other.bell >= 0 ? 2 : 1);
	raw_start(&subject, &harness, "subject");
	if (situation->before)
		situation->before();
}

/* What is used before and after, where nothing fails. */
static void go_well(const struct situation *situation, struct scarce_figures *before, struct scarce_figures *after)
{
	begin(situation);
	*before = scarce_look();
	ck_assert_msg(ask(situation), "%s: not served", situation->name);
	*after = scarce_look();
	scarce_end();
}

static bool is_no_more(const struct scarce_figures *now, const struct scarce_figures *than)
{
	return now->memory <= than->memory && now->maps <= than->maps && now->handles <= than->handles && now->leases <= than->leases;
}

static void assert_half(const struct situation *situation, uint64_t number, const struct scarce_figures *before, const struct scarce_figures *now)
{
	bool gone = now->clients < before->clients;

	/* With a connection goes all that the client had. */
	if (situation->makes_room || gone)
		ck_assert_msg(is_no_more(now, before), "%s, allocation %ju: more is used after an error", situation->name,
			      (uintmax_t)number);
	else
		ck_assert_msg(scarce_is_same(now, before), "%s, allocation %ju: something is half done", situation->name, (uintmax_t)number);
}

/* Fails one allocation. False if there was none of this number. */
static bool go_wrong(const struct situation *situation, uint64_t number, const struct scarce_figures *before, const struct scarce_figures *after)
{
	struct scarce_figures now;
	bool failed, done;

	begin(situation);
	allocation_fail(number);
	done = ask(situation);
	failed = allocation_end();
	now = scarce_look();
	ck_assert_msg(failed || done, "%s, allocation %ju: an error, and none has failed", situation->name, (uintmax_t)number);
	if (done)
		/* Where a map has failed, more may have made way. */
		ck_assert_msg(scarce_is_same(&now, after) || now.clients < after->clients || (situation->makes_room && is_no_more(&now, after)),
			      "%s, allocation %ju: not quite done", situation->name, (uintmax_t)number);
	else
		assert_half(situation, number, before, &now);

	if (!done) {
		come_again(situation);
		ck_assert_msg(ask(situation), "%s, allocation %ju: not served afterwards", situation->name, (uintmax_t)number);
	}
	scarce_end();
	return failed;
}

START_TEST(test_requests)
{
	scarce_start();
	for (size_t i = 0; i < sizeof(situations) / sizeof(situations[0]); i++) {
		const struct situation *situation = &situations[i];
		struct scarce_figures before, after;
		uint64_t number = 1;

		go_well(situation, &before, &after);
		scarce_assert_nothing_left(situation->name, 0);
		while (go_wrong(situation, number, &before, &after)) {
			scarce_assert_nothing_left(situation->name, number);
			ck_assert_uint_lt(++number, SCARCE_MANY_ALLOCATIONS);
		}
		scarce_assert_nothing_left(situation->name, number);
		/* At the least a packet is decoded. */
		ck_assert_uint_gt(number, 1);
		printf("%s: each of %ju allocations has failed\n", situation->name, (uintmax_t)number - 1);
	}
	scarce_stop();
}
END_TEST

Suite *suite(void);

Suite *suite(void)
{
	Suite *s = suite_create("allocation for requests");

	HARNESS_CASE(s, "requests", test_requests);
	return s;
}

int main(void)
{
	return allocation_run(suite);
}
