/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_RAW_H
#define TESTS_RAW_H

/*
 * A client in a few lines, for what the library never does: it says each message itself, and keeps its promises only where a
 * test wants it to. Whatever has to come is waited for; nothing is taken from how long it takes.
 */

#include "tests/harness.h"

#include "proto/address.h"
#include "proto/board.h"
#include "proto/channel.h"
#include "proto/figures.h"
#include "proto/message.h"
#include "proto/pulse.h"
#include "proto/util.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* For what certainly comes: only a test that fails waits as long. */
#define RAW_PATIENCE_MS 120000

/* A deadline that no test lives to see. */
#define RAW_LONG_MS 200000

struct raw {
	int socket;
	int bell;
	struct board board;
	const struct pulse *pulse;
	struct message_welcome welcome;
	_Atomic uint64_t last_use;
	uint32_t serial;
	struct packet *packet; /* the last that was received: texts of an answer point into it, and it owns its descriptors */
};

/* ---- packets ---- */

static inline void raw_connect(struct raw *raw, const struct harness_server *server)
{
	int fd = address_connect(server->socket);

	ck_assert_int_ge(fd, 0);
	*raw = (struct raw){.socket = fd, .bell = -1, .packet = calloc(1, sizeof(struct packet))};
	ck_assert_ptr_nonnull(raw->packet);
}

static inline void raw_close(struct raw *raw)
{
	packet_deinit(raw->packet);
	free(raw->packet);
	board_deinit(&raw->board);
	pulse_free(raw->pulse);
	close_fdp(&raw->bell);
	close_fdp(&raw->socket);
}

static inline void raw_send_bytes(struct raw *raw, const void *bytes, size_t n, const int *descriptors, size_t n_descriptors)
{
	ck_assert_int_eq(channel_send(raw->socket, bytes, n, descriptors, n_descriptors), 0);
}

/* Sends a request, with a descriptor unless it is -1, under a serial of its own. */
static inline void raw_send(struct raw *raw, struct message *request, int descriptor)
{
	char bytes[PACKET_MAX_BYTES];
	int length;

	request->serial = ++raw->serial;
	length = message_encode(request, bytes, sizeof(bytes));
	ck_assert_int_gt(length, 0);
	raw_send_bytes(raw, bytes, (size_t)length, &descriptor, descriptor >= 0);
}

static inline void raw_receive_on(struct raw *raw, int socket, struct message *message)
{
	ck_assert_msg(channel_wait(socket, POLLIN, RAW_PATIENCE_MS) == 1, "nothing came");
	packet_deinit(raw->packet);
	ck_assert_msg(channel_receive(socket, raw->packet) == 1, "the server ended the connection");
	ck_assert_int_eq(message_decode(message, raw->packet->bytes, raw->packet->n_bytes), 0);
	ck_assert_uint_eq(message_descriptors(message), raw->packet->n_descriptors);
}

static inline void raw_receive(struct raw *raw, struct message *answer)
{
	raw_receive_on(raw, raw->socket, answer);
}

static inline void raw_ask(struct raw *raw, struct message *request, int descriptor, struct message *answer)
{
	raw_send(raw, request, descriptor);
	raw_receive(raw, answer);
	ck_assert_uint_eq(answer->serial, raw->serial);
}

/* Requires an error, with a sentence that is fit to be printed, which is stored if wanted. */
static inline void raw_assert_error(const struct message *answer, int error, char sentence[static MESSAGE_MAX_TEXT + 1])
{
	const struct text *text = &answer->error.sentence;

	ck_assert_uint_eq(answer->type, MESSAGE_ERROR);
	ck_assert_uint_gt(text->length, 0);
	ck_assert_uint_le(text->length, MESSAGE_MAX_TEXT);
	memcpy(sentence, text->data, text->length);
	sentence[text->length] = '\0';
	ck_assert_uint_eq(strlen(sentence), text->length);
	ck_assert_msg(answer->error.error == (uint32_t)error, "error %u, not %d: %s", answer->error.error, error, sentence);
	for (size_t i = 0; i < text->length; i++)
		ck_assert_msg((unsigned char)sentence[i] >= ' ' && sentence[i] != 0x7f, "a control character in: %s", sentence);
}

static inline void raw_refused(struct raw *raw, struct message *request, int descriptor, int error)
{
	char sentence[MESSAGE_MAX_TEXT + 1];
	struct message answer;

	raw_ask(raw, request, descriptor, &answer);
	raw_assert_error(&answer, error, sentence);
}

/* Waits until the server has ended the connection, whatever it still says. */
static inline void raw_await_end(struct raw *raw)
{
	int r;

	do {
		ck_assert_msg(channel_wait(raw->socket, POLLIN, RAW_PATIENCE_MS) == 1, "the server did not end the connection");
		packet_deinit(raw->packet);
		r = channel_receive(raw->socket, raw->packet);
	} while (r > 0);
	ck_assert_msg(r == 0 || r == -ECONNRESET, "error %d", r);
}

/* Whether an answer is here. */
static inline bool raw_is_answered(const struct raw *raw)
{
	return channel_wait(raw->socket, POLLIN, 0) == 1;
}

/* ---- HELLO ---- */

static inline void raw_hello(struct raw *raw, const char *name)
{
	struct message hello = {.type = MESSAGE_HELLO, .hello = {.version = PROTOCOL_VERSION, .name = text_of(name)}};
	struct message answer;

	raw_ask(raw, &hello, -1, &answer);
	ck_assert_uint_eq(answer.type, MESSAGE_WELCOME);
	raw->welcome = answer.welcome;
	ck_assert_int_eq(board_attach(&raw->board, answer.welcome.n_slots, raw->packet->descriptors[0]), 0);
	ck_assert_int_eq(pulse_attach(&raw->pulse, raw->packet->descriptors[1]), 0);
	raw->bell = take_fd(&raw->packet->descriptors[2]);
}

static inline void raw_start(struct raw *raw, const struct harness_server *server, const char *name)
{
	raw_connect(raw, server);
	raw_hello(raw, name);
}

/* ---- files ---- */

static inline uint64_t raw_open_as(struct raw *raw, int descriptor, const char *label)
{
	struct message request = {.type = MESSAGE_OPEN, .open = {.label = text_of(label), .deadline_ms = RAW_LONG_MS}}, answer;

	raw_ask(raw, &request, descriptor, &answer);
	ck_assert_uint_eq(answer.type, MESSAGE_OPENED);
	return answer.opened.file;
}

/* Opens a path, which is its label too. */
static inline uint64_t raw_open(struct raw *raw, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t file;

	ck_assert_int_ge(fd, 0);
	file = raw_open_as(raw, fd, path);
	close_fd(fd);
	return file;
}

static inline struct message raw_close_request(uint64_t file)
{
	return (struct message){.type = MESSAGE_CLOSE, .close = {.file = file}};
}

static inline void raw_close_file(struct raw *raw, uint64_t file)
{
	struct message request = raw_close_request(file), answer;

	raw_ask(raw, &request, -1, &answer);
	ck_assert_uint_eq(answer.type, MESSAGE_CLOSED);
}

/* ---- leases ---- */

static inline struct message raw_lease_request(uint64_t file, uint64_t offset, uint64_t length, uint32_t deadline_ms)
{
	return (struct message){
		.type = MESSAGE_LEASE,
		.lease = {.file = file, .offset = offset, .length = length, .deadline_ms = deadline_ms},
	};
}

static inline void raw_send_lease(struct raw *raw, uint64_t file, uint64_t offset, uint64_t length, uint32_t deadline_ms)
{
	struct message request = raw_lease_request(file, offset, length, deadline_ms);

	raw_send(raw, &request, -1);
}

static inline struct message_leased raw_receive_leased(struct raw *raw)
{
	struct message answer;

	raw_receive(raw, &answer);
	ck_assert_uint_eq(answer.serial, raw->serial);
	ck_assert_msg(answer.type != MESSAGE_ERROR, "refused: %.*s", (int)answer.error.sentence.length,
		      answer.error.sentence.data);
	ck_assert_uint_eq(answer.type, MESSAGE_LEASED);
	return answer.leased;
}

/* Leases a range, for which there has to be room or a way to it. The descriptor stays in the packet until the next one. */
static inline struct message_leased raw_lease(struct raw *raw, uint64_t file, uint64_t offset, uint64_t length)
{
	raw_send_lease(raw, file, offset, length, RAW_LONG_MS);
	return raw_receive_leased(raw);
}

static inline void raw_unpin(struct raw *raw, const struct slot_ref *ref)
{
	board_unpin(&raw->board.slots[ref->slot], pulse_use(raw->pulse, &raw->last_use));
}

static inline bool raw_pin(struct raw *raw, const struct slot_ref *ref)
{
	return board_pin(&raw->board.slots[ref->slot], ref->generation, pulse_second(raw->pulse));
}

static inline void raw_release(struct raw *raw, const struct slot_ref *ref)
{
	struct message request = {.type = MESSAGE_RELEASE, .release = {.slots = {.n = 1, .refs = {*ref}}}};

	raw_send(raw, &request, -1);
}

static inline bool raw_same(const struct slot_ref *a, const struct slot_ref *b)
{
	return a->slot == b->slot && a->generation == b->generation;
}

/* Waits for the bell to say that this lease, and nothing else, was recalled. */
static inline void raw_await_recall(struct raw *raw, const struct slot_ref *ref)
{
	struct message message;

	raw_receive_on(raw, raw->bell, &message);
	ck_assert_uint_eq(message.type, MESSAGE_RECALL);
	ck_assert_uint_eq(message.recall.slots.n, 1);
	ck_assert(raw_same(&message.recall.slots.refs[0], ref));
}

/* Waits until a use that ends now is later than every one before, whoever's it was. */
static inline void raw_await_epoch(const struct raw *raw)
{
	uint64_t epoch = pulse_epoch(raw->pulse);

	while (pulse_epoch(raw->pulse) == epoch)
		ck_assert_int_ge(poll(NULL, 0, 1), 0);
}

/* ---- figures ---- */

static inline struct message_figures raw_status(struct raw *raw, uint32_t section, uint64_t from)
{
	struct message request = {.type = MESSAGE_STATUS, .status = {.section = section, .from = from}}, answer;

	raw_ask(raw, &request, -1, &answer);
	ck_assert_uint_eq(answer.type, MESSAGE_FIGURES);
	return answer.figures;
}

static inline struct figures_summary raw_summary(struct raw *raw)
{
	struct message_figures figures = raw_status(raw, FIGURES_SUMMARY, 0);
	struct figures_summary summary;

	ck_assert_int_eq(figures_next(&figures.rows, FIGURES_SUMMARY, &summary), 1);
	ck_assert_int_eq(figures_next(&figures.rows, FIGURES_SUMMARY, &summary), 0);
	ck_assert_uint_eq(figures.next, 0);
	return summary;
}

/* Whether the server says that a file is guarded. */
static inline bool raw_is_guarded(struct raw *raw, const char *label)
{
	struct message_figures figures = raw_status(raw, FIGURES_FILES, 0);
	struct figures_file row;

	while (figures_next(&figures.rows, FIGURES_FILES, &row) > 0)
		if (row.path.length == strlen(label) && memcmp(row.path.data, label, row.path.length) == 0)
			return row.guarded;
	ck_abort_msg("no file %s", label);
}

/* Whether this entry of a folder of descriptors is a board's: the server has closed those of its clients. */
static inline bool raw_is_board(DIR *dir, const char *name)
{
	static const char board[] = "/memfd:smmap-board";
	char link[64];
	ssize_t n = readlinkat(dirfd(dir), name, link, sizeof(link));

	return n > (ssize_t)sizeof(board) && memcmp(link, board, sizeof(board) - 1) == 0;
}

/*
 * How many descriptors the server has open, when it is done with all that this client has asked for before, and has closed all that it has to: but
 * for the three of the outfit that it may have for the next client.
 */
static inline int raw_server_descriptors(struct raw *raw, const struct harness_server *server)
{
	char path[64];
	const struct dirent *entry;
	DIR *dir;
	int n = 0;

	while (raw_summary(raw).closing)
		;
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)server->pid);
	dir = opendir(path);
	ck_assert_ptr_nonnull(dir);
	while ((entry = readdir(dir)))
		n += raw_is_board(dir, entry->d_name) ? -2 : 1;
	closedir(dir);
	return n - 2;
}

/* Waits until so many requests have had to wait since the server's start. */
static inline void raw_await_waits(struct raw *observer, uint64_t n)
{
	while (raw_summary(observer).waits < n)
		;
	ck_assert_uint_eq(raw_summary(observer).waits, n);
}

#endif
