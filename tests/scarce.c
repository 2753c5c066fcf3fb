/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "tests/scarce.h"

#include "daemon/limits.h"
#include "daemon/listener.h"
#include "daemon/server.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#define WINDOW SCARCE_WINDOW

struct harness_server harness;
struct raw observer, subject, other;
uint64_t subject_file;
int scarce_said = -1;

static struct allocated baseline;
static int n_descriptors; /* of the server, with nobody but the observer */

/* ---- the server ---- */

static struct server server;
static uv_signal_t term;

static void on_term(uv_signal_t *handle, int number)
{
	(void)number;
	server_stop(&server);
	uv_close((uv_handle_t *)handle, NULL);
}

static int serve(int ready)
{
	struct limits limits;
	struct listener listener;
	char complaint[1024];

	limits_default(&limits);
	limits.memory = 4 * WINDOW;
	limits.maps = 4;
	limits.handles = 3;
	limits.window = WINDOW;
	limits.clients = 100;
	limits.strays = 100;
	limits.in_flight = 1000;
	limits.user_percent = 100;
	limits.recall_timeout_ms = RAW_LONG_MS;
	limits_set_quota(&limits);

	if (listener_open(&listener, harness.socket, complaint, sizeof(complaint)) < 0 ||
	    server_init(&server, &limits, &listener, complaint, sizeof(complaint)) < 0 || uv_signal_init(&server.loop, &term) < 0 ||
	    uv_signal_start(&term, on_term, SIGTERM) < 0 || write(ready, "", 1) != 1)
		return EXIT_FAILURE;
	server_run(&server);
	server_deinit(&server);
	return EXIT_SUCCESS;
}

/* In the child. Its status: whether all that it allocated is freed. */
static int serve_watched(scarce_serve_fn *serves, int ready)
{
	struct allocated before, after;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	allocation_watch();
	before = allocation_count();
	if (serves(ready) != EXIT_SUCCESS)
		return EXIT_FAILURE;
	/* A runner that was just starting another one has still to unmap what that took. */
	for (int i = 0; i < RAW_PATIENCE_MS; i++) {
		after = allocation_count();
		if (after.blocks == before.blocks && after.mapped_bytes == before.mapped_bytes)
			return EXIT_SUCCESS;
		poll(NULL, 0, 1);
	}
	return EXIT_FAILURE;
}

void scarce_start_other(scarce_serve_fn *serves)
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
		_exit(serve_watched(serves, pipes[1]));
	close(pipes[1]);
	scarce_said = pipes[0];
	ck_assert_int_eq((int)read(scarce_said, &byte, 1), 1);
	raw_start(&observer, &harness, "observer");
	n_descriptors = raw_server_descriptors(&observer, &harness);
	harness_make_file("a", 4 * WINDOW);
	harness_make_file("b", 4 * WINDOW);
	harness_make_file("c", WINDOW);
	harness_make_file("d", WINDOW);
}

void scarce_start(void)
{
	scarce_start_other(serve);
}

void scarce_stop(void)
{
	close_fdp(&scarce_said);
	raw_close(&observer);
	harness_stop(&harness);
}

/* ---- what is used ---- */

struct scarce_figures scarce_look(void)
{
	struct figures_summary summary = raw_summary(&observer);

	return (struct scarce_figures){
		summary.memory_bytes, summary.draining_bytes, summary.maps, summary.handles, summary.leases, summary.clients,
	};
}

bool scarce_is_same(const struct scarce_figures *a, const struct scarce_figures *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

void scarce_await_clients(uint64_t n)
{
	while (raw_summary(&observer).clients != n)
		;
}

static bool is_more(const struct allocated *now, const struct allocated *than)
{
	return now->blocks > than->blocks || now->mapped_bytes > than->mapped_bytes;
}

/*
 * What is allocated when all is freed. That is awaited: the loop frees the memory of a peer at the end of its turn, when the observer may have
 * been answered already, and a runner that has started another one still has something mapped for a moment.
 */
static struct allocated await_freed(void)
{
	struct allocated now;

	while (raw_summary(&observer).closing)
		;
	now = allocation_count();
	if (!baseline.blocks)
		baseline = now;
	for (int i = 0; i < RAW_PATIENCE_MS && is_more(&now, &baseline); i++) {
		ck_assert_int_ge(poll(NULL, 0, i > 100), 0);
		scarce_look();
		now = allocation_count();
	}
	return now;
}

void scarce_assert_nothing_left(const char *name, uint64_t number)
{
	struct message request = {.type = MESSAGE_DROP, .drop = {.path = text_of("/")}}, answer;
	const struct scarce_figures nothing = {.clients = 1};
	struct allocated now;
	struct scarce_figures left;

	scarce_await_clients(1);
	raw_ask(&observer, &request, -1, &answer);
	ck_assert_uint_eq(answer.type, MESSAGE_FREED);
	left = scarce_look();
	ck_assert_msg(scarce_is_same(&left, &nothing), "%s, allocation %ju: something is left in use", name, (uintmax_t)number);
	now = await_freed();
	ck_assert_msg(now.blocks <= baseline.blocks, "%s, allocation %ju: %jd blocks are left", name, (uintmax_t)number,
		      (intmax_t)(now.blocks - baseline.blocks));
	ck_assert_msg(now.mapped_bytes <= baseline.mapped_bytes, "%s, allocation %ju: %jd bytes are left mapped", name,
		      (uintmax_t)number, (intmax_t)(now.mapped_bytes - baseline.mapped_bytes));
	for (int i = 0; i < RAW_PATIENCE_MS && raw_server_descriptors(&observer, &harness) > n_descriptors; i++)
		ck_assert_int_ge(poll(NULL, 0, 1), 0);
	ck_assert_msg(raw_server_descriptors(&observer, &harness) <= n_descriptors, "%s, allocation %ju: a descriptor is left", name,
		      (uintmax_t)number);
	/* The first of them may have been counted too early. */
	baseline = now;
}

/* ---- the clients ---- */

uint64_t scarce_open(struct raw *raw, const char *path)
{
	char label[16];
	uint64_t file;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	snprintf(label, sizeof(label), "/%s", path);
	file = raw_open_as(raw, fd, label);
	close_fd(fd);
	return file;
}

void scarce_open_a(void)
{
	subject_file = scarce_open(&subject, "a");
}

void scarce_lease_idle(struct raw *raw, uint64_t file, uint64_t window, uint64_t n)
{
	struct message_leased leased = raw_lease(raw, file, window * WINDOW, n * WINDOW);

	raw_unpin(raw, &leased.lease);
}

void scarce_lease_one(void)
{
	scarce_open_a();
	scarce_lease_idle(&subject, subject_file, 0, 1);
}

void scarce_send(struct raw *raw, struct message *request, int fd)
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
	scarce_send(raw, &release, -1);
}

void scarce_await_answer(struct message *answer)
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

void scarce_end(void)
{
	raw_close(&subject);
	raw_close(&other);
}
