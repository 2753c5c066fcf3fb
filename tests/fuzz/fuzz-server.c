/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The whole server, driven by the input: what several clients send it, write on their boards, do to files, and when (see steps.h).
 *
 * It is the real loop with real connections in this process, not the requests alone: so what is between them, peers that fail, bells,
 * answers that can't be sent, requests that wait, is fuzzed too. Half of the time is the kernel's then, which is worth it: an input of the
 * corpus takes about a millisecond and a half with sanitizers.
 *
 * After each step all sums are counted anew (see audit.h), every answer decodes, no request has two of them or none, and a connection ends if
 * and only if its client has broken the protocol, or has not unmapped in time. Writers wait for nothing but pins (see writing.h). In the end
 * nothing is left.
 */
#include "config.h"

#include "daemon/account.h"
#include "daemon/log.h"
#include "daemon/peer.h"
#include "daemon/server.h"
#include "daemon/write-guard.h"
#include "proto/board.h"
#include "proto/figures.h"
#include "proto/pulse.h"
#include "proto/shape.h"
#include "proto/util.h"
#include "tests/fuzz/audit.h"
#include "tests/fuzz/decode.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/world.h"
#include "tests/fuzz/writing.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

/* More would not reach more, and take longer. */
#define MAX_STEPS 128

/* Descriptors: no client is held for them. */
#define MANY 10000

/* What is left of the input. */
struct input {
	const uint8_t *bytes;
	size_t n;
};

struct puppet {
	int socket; /* -1: not connected */
	int bell;
	bool deaf;
	bool said_hello;
	bool greeted;
	bool broke; /* the protocol */
	uint64_t serial; /* the server's, of this client */
	uint64_t n_due; /* answers */
	struct board board;
	const struct pulse *pulse;
	_Atomic uint64_t last_use;
};

static struct server server;
static struct puppet puppets[STEP_N_CLIENTS];
static struct packet packet;
static bool files_changed;
static int listener_fd = -1;
static struct sockaddr_un address;
static socklen_t address_length;

static uint8_t next_byte(struct input *input)
{
	if (!input->n)
		return 0;
	input->n--;
	return *input->bytes++;
}

/* ---- the server ---- */

/* The socket has a name that the kernel chooses; each server has a descriptor of its own. */
static void make_listener(void)
{
	listener_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	require(bind(listener_fd, (const struct sockaddr *)&(struct sockaddr_un){.sun_family = AF_UNIX}, sizeof(sa_family_t)) == 0);
	address_length = sizeof(address);
	require(getsockname(listener_fd, (struct sockaddr *)&address, &address_length) == 0);
	require(listen(listener_fd, 16) == 0);
}

static void start(void)
{
	uint64_t page = page_size();
	const struct limits limits = {
		.memory = 9 * page,
		.handles = 3,
		.maps = 6,
		.window = 2 * page,
		.clients = STEP_N_CLIENTS - 1,
		.user_percent = 75,
		.strays = MANY,
		.in_flight = MANY,
		.quota = {.memory = 7 * page, .maps = 5, .handles = 2, .leases = 8, .files = 6, .clients = 2, .requests = 3, .opens = 2,
			  .strays = MANY, .in_flight = MANY},
		.recall_timeout_ms = 30,
		.write_guard_timeout_ms = 50,
		.idle_timeout_ms = 2000,
	};
	struct listener listener = LISTENER_NONE;
	char complaint[1024];

	listener.fd = dup(listener_fd);
	require(server_init(&server, &limits, &listener, complaint, sizeof(complaint)) == 0);
	for (unsigned i = 0; i < STEP_N_CLIENTS; i++)
		puppets[i] = (struct puppet){.socket = -1, .bell = -1};
}

/* Whatever there is to do now is done: a turn of the loop has had no event, each of which begins with looks to be used up. */
static void turn(void)
{
	unsigned n = 0;

	do {
		server.registry.looks = 0;
		uv_run(&server.loop, UV_RUN_NOWAIT);
		require(n++ < 1000);
	} while (server.registry.looks || uv_is_active((const uv_handle_t *)&server.busy) || server.errands.running);
}

static void stop(void)
{
	const struct usage *usage = &server.registry.usage;
	int fd;

	server_stop(&server);
	server_run(&server);
	require(!server.peers && !server.left);
	require(!usage->leases && !usage->draining && !usage->draining_maps && !server.registry.recalled && !server.registry.n_untold);
	server_deinit(&server);
	require(!server.n_peers && !server.registry.accounts && !server.registry.volumes && !server.registry.closing);
	require(!usage->memory && !usage->maps && !usage->handles);
	require(!server.registry.by_guard && !server.registry.unguarded && !server.registry.breaking);
	/* The backlog is not the next one's. */
	while ((fd = accept4(listener_fd, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		close_fd(fd);
}

/* ---- clients ---- */

static void leave(struct puppet *puppet)
{
	close_fdp(&puppet->socket);
	close_fdp(&puppet->bell);
	board_deinit(&puppet->board);
	pulse_free(puppet->pulse);
	*puppet = (struct puppet){.socket = -1, .bell = -1};
}

static void join(struct puppet *puppet, unsigned argument)
{
	if (puppet->socket >= 0)
		leave(puppet);
	if ((argument & STEP_NOBODY) == STEP_NOBODY)
		return;
	/* A place that was just left. */
	turn();
	world_become(argument & STEP_NOBODY);
	puppet->socket = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	require(puppet->socket >= 0);
	puppet->deaf = argument & STEP_DEAF;
	if (connect(puppet->socket, (const struct sockaddr *)&address, address_length) == 0)
		return;
	/* The backlog is full of others, and of what those have left there who did. */
	require(errno == EAGAIN);
	leave(puppet);
}

static struct peer *peer_of(const struct puppet *puppet)
{
	struct peer *peer;

	DL_FOREACH(server.peers, peer)
		if (peer->greeted && peer->client.serial == puppet->serial)
			return peer;
	return NULL;
}

/* What a packet means: an answer is due, none is, or it is against the protocol. */
static void expect(struct puppet *puppet, const uint8_t *bytes, size_t n_bytes, size_t n_descriptors)
{
	static struct message message;

	if (!n_bytes || !decode_packet(&message, bytes, n_bytes) || message.type >= MESSAGE_ERROR ||
	    message_descriptors(&message) != n_descriptors || (message.type == MESSAGE_HELLO) == puppet->said_hello ||
	    (message.type == MESSAGE_HELLO && (message.hello.version != PROTOCOL_VERSION || message.hello.name.length > MESSAGE_MAX_NAME)))
		puppet->broke = true;
	else
		puppet->n_due += message.type != MESSAGE_RELEASE;
	puppet->said_hello = true;
}

static void send_packet(struct puppet *puppet, const uint8_t *bytes, size_t n_bytes, enum step_descriptor what)
{
	int descriptors[3];
	size_t n = world_descriptors(what, descriptors);
	int r;

	if (puppet->socket < 0 || n_bytes > PACKET_MAX_BYTES)
		return;
	r = channel_send(puppet->socket, bytes, n_bytes, descriptors, n);
	if (r == 0)
		expect(puppet, bytes, n_bytes, n);
	else if (r != -EPERM || !n || puppet->greeted) /* before WELCOME the kernel may let no descriptor through */
		require(puppet->deaf || r == -EPIPE || r == -ECONNRESET);
}

/* ---- what they are told ---- */

static void enter(struct puppet *puppet, const struct message_welcome *welcome)
{
	/* The map that is to fail is one of the server's. */
	bool fails = world_fail_map(false);

	require(!puppet->greeted);
	require(board_attach(&puppet->board, welcome->n_slots, packet.descriptors[0]) == 0);
	require(pulse_attach(&puppet->pulse, packet.descriptors[1]) == 0);
	world_fail_map(fails);
	puppet->bell = take_fd(&packet.descriptors[2]);
	puppet->greeted = true;
	puppet->serial = server.registry.next_serial - 1;
}

static void check_leased(const struct puppet *puppet, const struct message_leased *leased)
{
	struct stat st;

	if (!leased->length)
		return;
	require(leased->lease.slot < puppet->board.n_slots && leased->lease.generation);
	require(leased->offset % server.registry.limits.window == 0);
	require(leased->offset < leased->file_size && leased->length <= leased->file_size - leased->offset);
	require(fstat(packet.descriptors[0], &st) == 0 && S_ISREG(st.st_mode));
}

static void take_answer(struct puppet *puppet, const struct message *message)
{
	switch (message->type) {
	case MESSAGE_WELCOME:
		enter(puppet, &message->welcome);
		break;
	case MESSAGE_LEASED:
		check_leased(puppet, &message->leased);
		break;
	case MESSAGE_ERROR:
		require(message->error.error > 0 && message->error.sentence.length > 0);
		break;
	default:
		require(message->type <= MESSAGE_FIGURES);
	}
	require(message->type >= MESSAGE_ERROR);
	/* Who is turned away is told before anything was asked. */
	require(puppet->n_due > 0 || (message->type == MESSAGE_ERROR && !puppet->greeted));
	puppet->n_due -= puppet->n_due > 0;
}

/* Reads all that has come on a socket. False at its end. */
static bool hear_on(struct puppet *puppet, int socket)
{
	static struct message message;
	int r;

	while ((r = channel_receive(socket, &packet)) > 0) {
		require(decode_packet(&message, (const uint8_t *)packet.bytes, packet.n_bytes));
		require(message_descriptors(&message) == packet.n_descriptors);
		if (socket == puppet->bell)
			require(message.type == MESSAGE_RECALL && message.recall.slots.n);
		else
			take_answer(puppet, &message);
		packet_deinit(&packet);
	}
	require(r == -EAGAIN || r == 0 || r == -ECONNRESET);
	return r == -EAGAIN;
}

static bool hear(struct puppet *puppet)
{
	return hear_on(puppet, puppet->socket) && (puppet->bell < 0 || hear_on(puppet, puppet->bell));
}

/* Those that wait have no answer yet, all others do. */
static void check_due(const struct puppet *puppet)
{
	const struct peer *peer = peer_of(puppet);
	const struct request *request;
	uint64_t n = 0;

	require(peer);
	DL_FOREACH(peer->account->waiting, request)
		n += request->client == &peer->client;
	require(puppet->n_due == n);
}

/* Who is there, and should be. @heard: something has come; @late: some may have been too late with what they had to do. */
static void look(struct puppet *puppet, bool heard, bool late)
{
	if (puppet->socket < 0 || puppet->deaf)
		return;
	if (heard && !hear(puppet)) {
		require(puppet->broke || late || !puppet->greeted);
		leave(puppet);
		return;
	}
	/* Where there is no place, a connection waits in the backlog, with what was sent on it. */
	require(!puppet->broke || !puppet->greeted);
	if (puppet->greeted)
		check_due(puppet);
}

/* One poll(2) tells who has something to read: most have not. */
static void look_at_all(bool late)
{
	struct pollfd pollfds[2 * STEP_N_CLIENTS];

	for (unsigned i = 0; i < STEP_N_CLIENTS; i++) {
		pollfds[2 * i] = (struct pollfd){.fd = puppets[i].socket, .events = POLLIN};
		pollfds[2 * i + 1] = (struct pollfd){.fd = puppets[i].bell, .events = POLLIN};
	}
	world_poll(pollfds, 2 * STEP_N_CLIENTS);
	for (unsigned i = 0; i < STEP_N_CLIENTS; i++)
		look(&puppets[i], pollfds[2 * i].revents || pollfds[2 * i + 1].revents, late);
}

/* ---- steps ---- */

static struct board_slot *slot_of(struct puppet *puppet, uint8_t slot)
{
	return puppet->board.slots ? &puppet->board.slots[slot] : NULL;
}

static void pin(struct puppet *puppet, uint8_t index)
{
	struct board_slot *slot = slot_of(puppet, index);
	uint32_t generation;

	if (!slot)
		return;
	generation = *board_watch(slot);
	board_pin(slot, generation, pulse_second(puppet->pulse));
}

static void unpin(struct puppet *puppet, uint8_t index, unsigned argument)
{
	struct board_slot *slot = slot_of(puppet, index);

	if (slot && argument == STEP_MARK)
		board_mark_unmapped(slot);
	else if (slot && board_is_pinned(slot))
		board_unpin(slot, pulse_use(puppet->pulse, &puppet->last_use));
}

static void scribble(struct puppet *puppet, unsigned word, struct input *input)
{
	struct board_slot *slot = slot_of(puppet, next_byte(input));
	uint64_t value = 0;

	for (int i = 0; i < 8; i++)
		value = value << 8 | next_byte(input);
	if (slot)
		((_Atomic uint64_t *)slot)[word % 4] = value;
}

static void set(unsigned settings)
{
	struct limits limits = server.registry.limits;

	limits.write_guard = settings & STEP_GUARDED;
	if (limits.write_guard != server.registry.limits.write_guard)
		server_set_limits(&server, &limits);
	world_have_writers_stay(settings & STEP_STAY);
}

static void later(unsigned client, unsigned argument)
{
	static const uint64_t waits_ms[] = {0, 10, 20, 100, 1000, 3600000};
	struct puppet *puppet = &puppets[client];

	if (argument == STEP_SET)
		set(client);
	else if (argument < STEP_HEAR)
		world_wait_ms(waits_ms[argument]);
	else if (argument == STEP_FAIL)
		world_fail_map(true);
	else if (puppet->socket >= 0 && !hear(puppet))
		leave(puppet);
}

static void do_packet(struct puppet *puppet, struct input *input)
{
	enum step_descriptor what = next_byte(input) % STEP_N_DESCRIPTORS;
	int length = shape_check(input->bytes, input->n);
	size_t n = length < 0 ? input->n : (size_t)length;

	send_packet(puppet, input->bytes, n, what);
	input->bytes += n;
	input->n -= n;
}

static void do_bytes(struct puppet *puppet, struct input *input)
{
	enum step_descriptor what = next_byte(input) % STEP_N_DESCRIPTORS;
	size_t n = next_byte(input);

	n = (size_t)min_u64(n, input->n);
	send_packet(puppet, input->bytes, n, what);
	input->bytes += n;
	input->n -= n;
}

static void do_step(struct input *input)
{
	uint8_t byte = next_byte(input);
	unsigned client = byte >> 3 & 3, argument = byte >> 5;
	enum step step = byte & 7;
	struct puppet *puppet = &puppets[client];
	bool passes = step == STEP_LATER && argument != STEP_SET && argument < STEP_HEAR; /* time */

	switch (step) {
	case STEP_LATER:
		later(client, argument);
		break;
	case STEP_CONNECT:
		join(puppet, argument);
		break;
	case STEP_PACKET:
		do_packet(puppet, input);
		break;
	case STEP_BYTES:
		do_bytes(puppet, input);
		break;
	case STEP_PIN:
		pin(puppet, next_byte(input));
		break;
	case STEP_UNPIN:
		unpin(puppet, next_byte(input), argument);
		break;
	case STEP_SCRIBBLE:
		scribble(puppet, argument, input);
		break;
	case STEP_FILE:
		world_change_file(client, argument);
		writing_come(&server.registry, client, false, turn);
		break;
	}
	turn();
	for (unsigned i = 0; i < WORLD_N_FILES; i++)
		writing_come(&server.registry, i, passes, turn);
	look_at_all(step == STEP_LATER);
	files_changed = files_changed || step == STEP_FILE;
	audit(&server.registry, files_changed);
}

/* What is made only once: here, and by libuv in the first server. */
static void prepare(void)
{
	if (listener_fd >= 0)
		return;
	log_set_level(LOG_EMERG);
	world_reset();
	make_listener();
	start();
	stop();
}

/* What the kernel tells of writers waits for the server, whichever thread it may choose. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	close_fd(write_guard_open_ear());
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {.bytes = data, .n = size};
	unsigned n_descriptors;

	prepare();
	world_reset();
	n_descriptors = world_count_descriptors();
	files_changed = false;

	start();
	for (unsigned i = 0; i < MAX_STEPS && input.n; i++)
		do_step(&input);
	for (unsigned i = 0; i < STEP_N_CLIENTS; i++)
		leave(&puppets[i]);
	stop();
	writing_end();
	require(world_count_descriptors() == n_descriptors);
	require(world_mapped_bytes() == 0);
	return 0;
}
