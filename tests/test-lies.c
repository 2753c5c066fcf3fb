/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A server that lies. The library believes what the contents of a file are, and nothing else: no answer makes it write where it should
 * not, forget what it has mapped, or go on for ever.
 *
 * The liar is a thread of the test. It does what a server would, but for one thing at a time.
 */
#include "config.h"

#include "client/smmap-client.h"
#include "client/client.h"
#include "client/connection.h"
#include "tests/harness.h"

#include "proto/board.h"
#include "proto/channel.h"
#include "proto/message.h"
#include "proto/pulse.h"
#include "proto/util.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define PAGE      4096
#define WINDOW    ((uint64_t)PAGE)
#define N_SLOTS   64
#define FILE_SIZE (4 * WINDOW)

static const char socket_path[] = "socket";

/* What it has said, and would say next if it told the truth. */
struct liar {
	int listener;
	int socket;
	int bell; /* its end */
	int file;
	struct board board;
	struct pulse *pulse;
	bool taken[N_SLOTS];
	atomic_int n_connections;
	atomic_uint n_leases; /* asked for, on all connections */
	pthread_t thread;

	struct message_welcome welcome; /* the lie about itself, if not the truth */
	bool no_bell;                   /* what comes as one is memory */
	void (*lie)(struct liar *liar, const struct message *request, struct message *answer);
};

static struct liar liar;
static struct smmap_client *client;
static struct smmap_cursor *cursor;

/* ---- the server ---- */

static void say_on(int socket, const struct message *message, const int *descriptors, size_t n)
{
	char bytes[PACKET_MAX_BYTES];
	int length = message_encode(message, bytes, sizeof(bytes));

	ck_assert_int_gt(length, 0);
	/* The client may have ended it. */
	channel_send(socket, bytes, (size_t)length, descriptors, n);
}

static void say(const struct message *answer)
{
	int descriptors[3] = {liar.file, liar.file, liar.file};

	say_on(liar.socket, answer, descriptors, message_descriptors(answer));
}

static void welcome(const struct message *hello)
{
	struct message answer = {.type = MESSAGE_WELCOME, .serial = hello->serial, .welcome = liar.welcome};
	int ends[2], board_fd, pulse_fd;

	liar.n_connections++;
	ck_assert_int_eq(board_create(&liar.board, N_SLOTS, &board_fd), 0);
	ck_assert_int_eq(pulse_create(&liar.pulse, &pulse_fd), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	liar.bell = ends[0];
	memset(liar.taken, 0, sizeof(liar.taken));
	say_on(liar.socket, &answer, (int[]){board_fd, pulse_fd, liar.no_bell ? board_fd : ends[1]}, 3);
	close(board_fd);
	close(pulse_fd);
	close(ends[1]);
}

static struct slot_ref take_slot(void)
{
	uint32_t slot = 0;

	while (liar.taken[slot])
		slot++;
	ck_assert_uint_lt(slot, N_SLOTS);
	liar.taken[slot] = true;
	return (struct slot_ref){.slot = slot, .generation = (uint32_t)(atomic_load(&liar.board.slots[slot].state) >> 32)};
}

static void free_slots(const struct slot_list *slots)
{
	for (uint32_t i = 0; i < slots->n; i++) {
		board_free(&liar.board.slots[slots->refs[i].slot]);
		liar.taken[slots->refs[i].slot] = false;
	}
}

/* The truth. */
static void answer_lease(const struct message_lease *asked, struct message *answer)
{
	uint64_t offset = round_down(asked->offset, WINDOW);

	answer->type = MESSAGE_LEASED;
	answer->leased = (struct message_leased){.offset = asked->offset, .file_size = FILE_SIZE};
	if (asked->offset >= FILE_SIZE)
		return;
	answer->leased.offset = offset;
	answer->leased.length = round_up(min_u64(asked->offset + asked->length, FILE_SIZE), WINDOW) - offset;
	answer->leased.lease = take_slot();
}

static void answer(const struct message *request)
{
	struct message answer = {.serial = request->serial};

	switch (request->type) {
	case MESSAGE_OPEN:
		answer.type = MESSAGE_OPENED;
		answer.opened = (struct message_opened){.file = 1, .size = FILE_SIZE};
		break;
	case MESSAGE_LEASE:
		liar.n_leases++;
		answer_lease(&request->lease, &answer);
		break;
	case MESSAGE_CLOSE:
		answer.type = MESSAGE_CLOSED;
		break;
	case MESSAGE_RELEASE:
		free_slots(&request->release.slots);
		return;
	default:
		answer.type = MESSAGE_ERROR;
		answer.error = (struct message_error){.error = ENOSYS, .sentence = text_of("no")};
	}
	if (liar.lie)
		liar.lie(&liar, request, &answer);
	if (answer.type == MESSAGE_LEASED && answer.leased.length && answer.leased.lease.slot < N_SLOTS)
		board_grant(&liar.board.slots[answer.leased.lease.slot], 1);
	if (answer.type)
		say(&answer);
}

static void serve_one(void)
{
	struct packet *packet = malloc(sizeof(*packet));
	struct message request;
	int r;

	ck_assert_ptr_nonnull(packet);
	while (channel_wait(liar.socket, POLLIN, -1) == 1) {
		r = channel_receive(liar.socket, packet);
		if (r > 0 && message_decode(&request, packet->bytes, packet->n_bytes) == 0) {
			if (request.type == MESSAGE_HELLO)
				welcome(&request);
			else
				answer(&request);
		}
		packet_deinit(packet);
		if (r <= 0)
			break;
	}
	free(packet);
	board_deinit(&liar.board);
	pulse_free(take_ptr(liar.pulse));
	close_fdp(&liar.bell);
	close_fdp(&liar.socket);
}

static void *serve(void *data)
{
	(void)data;
	while ((liar.socket = accept4(liar.listener, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		serve_one();
	return NULL;
}

static void start_liar(void)
{
	struct sockaddr_un address;
	int length = channel_address(&address, socket_path);

	harness_make_file("file", FILE_SIZE);
	liar = (struct liar){.bell = -1, .file = open("file", O_RDONLY | O_CLOEXEC)};
	liar.welcome = (struct message_welcome){.version = PROTOCOL_VERSION, .n_slots = N_SLOTS, .window_bytes = WINDOW};
	liar.listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(liar.listener, (struct sockaddr *)&address, (socklen_t)length), 0);
	ck_assert_int_eq(listen(liar.listener, 8), 0);
	ck_assert_int_eq(pthread_create(&liar.thread, NULL, serve, NULL), 0);
}

static void stop_liar(void)
{
	shutdown(liar.listener, SHUT_RDWR);
	ck_assert_int_eq(pthread_join(liar.thread, NULL), 0);
	close(liar.listener);
	close(liar.file);
}

/* ---- the client ---- */

static int open_client(uint32_t flags, uint32_t deadline_ms)
{
	struct smmap_client_options options = {.socket = socket_path, .flags = flags, .deadline_ms = deadline_ms};

	return smmap_client_open(&client, &options);
}

static void start(void (*lie)(struct liar *, const struct message *, struct message *), uint32_t flags, uint32_t deadline_ms)
{
	start_liar();
	liar.lie = lie;
	ck_assert_int_eq(open_client(flags, deadline_ms), 0);
	ck_assert_int_eq(smmap_cursor_open(&cursor, client, "file", 0), 0);
}

static void stop(void)
{
	smmap_cursor_close(cursor);
	smmap_client_close(client);
	stop_liar();
}

static void assert_bytes(const struct smmap_cursor *standing)
{
	const unsigned char *data = smmap_cursor_data(standing);

	for (size_t i = 0; i < smmap_cursor_size(standing); i++)
		ck_assert_uint_eq(data[i], harness_byte(smmap_cursor_begin(standing) + i));
}

/* ---- the truth ---- */

/* So that the lies below are what is refused. */
START_TEST(test_truth)
{
	start(NULL, 0, 0);
	ck_assert_int_eq(smmap_cursor_use(cursor, WINDOW, 2 * (size_t)WINDOW), 2 * WINDOW);
	assert_bytes(cursor);
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, (size_t)FILE_SIZE + 1), FILE_SIZE);
	assert_bytes(cursor);
	ck_assert_int_eq(smmap_cursor_use(cursor, FILE_SIZE, 1), 0);
	ck_assert_int_eq(smmap_client_collect(client), -ENOSYS);
	stop();
}
END_TEST

static struct {
	bool waits;
	bool marked, said; /* what was known of the victim when the client asked for the next lease */
} victim;

/* In place of the first lease the second is granted. */
static void take_the_first(struct liar *l, const struct message *request, struct message *answer)
{
	struct board_slot *slot = &l->board.slots[0];

	if (request->type != MESSAGE_LEASE)
		return;
	if (l->n_leases == 2) {
		answer->leased.victims = (struct slot_list){.n = 1, .refs = {{.generation = *board_watch(slot)}}};
		ck_assert_int_eq(board_claim(slot, BOARD_SERVER), BOARD_CLAIM_WON);
		pulse_set_waits(l->pulse, victim.waits);
	} else if (l->n_leases == 3) {
		victim.said = !l->taken[0] || answer->leased.lease.slot == 0;
		victim.marked = board_is_unmapped(slot);
	}
}

/* What is unmapped for a lease is said where somebody waits for it, and else only marked. */
START_TEST(test_victim)
{
	for (int waits = 0; waits < 2; waits++) {
		victim.waits = waits;
		start(take_the_first, 0, 0);
		for (uint64_t i = 0; i < 3; i++) {
			ck_assert_int_eq(smmap_cursor_use(cursor, i * WINDOW, 10), 10);
			assert_bytes(cursor);
		}
		ck_assert_int_eq(victim.said, waits);
		ck_assert_int_eq(victim.marked, !waits);
		stop();
		ck_assert_int_eq(unlink(socket_path), 0);
	}
}
END_TEST

/* ---- lies about a lease ---- */

static uint64_t lie_number;

#define N_LEASE_LIES 14

static void lie_about_a_lease(struct liar *l, const struct message *request, struct message *answer)
{
	struct message_leased *leased = &answer->leased;

	(void)l;
	if (request->type != MESSAGE_LEASE)
		return;
	switch (lie_number) {
	case 0:
		leased->lease.slot = N_SLOTS;
		break;
	case 1:
		leased->lease.slot = UINT32_MAX;
		break;
	case 2: /* off the grid */
		leased->offset -= 1;
		break;
	case 3: /* wraps around */
		leased->length = UINT64_MAX - leased->offset + 1;
		break;
	case 4:
		leased->length = UINT64_MAX - WINDOW;
		break;
	case 5: /* longer than the file */
		leased->file_size = leased->offset + leased->length - 1;
		break;
	case 6:
		leased->file_size = (uint64_t)INT64_MAX + 1;
		break;
	case 7: /* something else than what was asked for */
		leased->offset = 0;
		leased->length = WINDOW;
		break;
	case 8:
		leased->offset += WINDOW;
		break;
	case 9: /* less */
		leased->length = WINDOW;
		break;
	case 10: /* nothing at all */
		leased->length = 0;
		break;
	case 11: /* beyond the end, as it says */
		leased->file_size = WINDOW;
		leased->length = 0;
		leased->offset = request->lease.offset;
		break;
	case 12: /* more, before and behind */
		leased->length += leased->offset;
		leased->offset = 0;
		break;
	case 13:
		leased->length += WINDOW;
		break;
	}
}

START_TEST(test_impossible_leases)
{
	for (lie_number = 0; lie_number < N_LEASE_LIES; lie_number++) {
		ssize_t n;

		start(lie_about_a_lease, 0, 0);
		n = smmap_cursor_use(cursor, WINDOW + 1, 2 * (size_t)WINDOW - 1);
		/* One is not impossible: the file may be shorter by now. */
		ck_assert_msg(n == (lie_number == 11 ? 0 : -EPROTO), "lie %u: %zd", (unsigned)lie_number, n);
		ck_assert(!smmap_cursor_is_valid(cursor));
		stop();
		ck_assert_int_eq(unlink(socket_path), 0);
	}
}
END_TEST

static void grant_one_slot_only(struct liar *l, const struct message *request, struct message *answer)
{
	(void)l;
	if (request->type == MESSAGE_LEASE)
		answer->leased.lease = (struct slot_ref){.slot = 0};
}

/* The record of the first lease stays: it is pinned, and its map has to be found again. */
START_TEST(test_slot_in_use)
{
	struct smmap_cursor *second;
	struct smmap_region region;

	start(grant_one_slot_only, 0, 0);
	ck_assert_int_eq(smmap_cursor_open(&second, client, "file", 0), 0);
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, 10), 10);
	ck_assert_int_eq(smmap_cursor_use(second, 2 * WINDOW, 10), -EPROTO);
	ck_assert_int_eq(smmap_cursor_use(cursor, 5, 100), 100);
	assert_bytes(cursor);
	ck_assert_int_eq(smmap_cursor_region(cursor, &region), 0);
	ck_assert_uint_eq(region.offset, 0);
	ck_assert_uint_eq(region.size, WINDOW);
	smmap_cursor_close(second);
	stop();
}
END_TEST

static void name_victims(struct liar *l, const struct message *request, struct message *answer)
{
	if (request->type != MESSAGE_LEASE || l->n_leases < 2)
		return;
	for (uint32_t i = 0; i < MESSAGE_MAX_SLOTS; i++)
		answer->leased.victims.refs[answer->leased.victims.n++] = (struct slot_ref){.slot = i % 2 ? i * 0x1010101 : 0};
}

/* What is pinned stays mapped, whatever the server says of it. */
START_TEST(test_pinned_victims)
{
	struct smmap_cursor *second;

	start(name_victims, 0, 0);
	ck_assert_int_eq(smmap_cursor_open(&second, client, "file", 0), 0);
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, (size_t)WINDOW), WINDOW);
	ck_assert_int_eq(smmap_cursor_use(second, 2 * WINDOW, 10), 10);
	assert_bytes(cursor);
	assert_bytes(second);
	smmap_cursor_close(second);
	stop();
}
END_TEST

static void claim_more_windows_than_there_can_be(struct liar *l, const struct message *request, struct message *answer)
{
	(void)l;
	if (request->type == MESSAGE_LEASE && request->lease.length > FILE_SIZE) {
		answer->leased.length = (uint64_t)1 << 42;
		answer->leased.file_size = (uint64_t)1 << 42;
	}
}

/* The whole file could be mapped, on 64 bits, but an entry for each window would fill the memory: it is read in windows. */
START_TEST(test_too_many_windows)
{
	struct smmap_cursor *whole;
	struct smmap_region region;

	start(claim_more_windows_than_there_can_be, 0, 0);
	ck_assert_int_eq(smmap_cursor_open(&whole, client, "file", SMMAP_WHOLE_FILE), 0);
	ck_assert_int_eq(smmap_cursor_use(whole, 0, 10), 10);
	ck_assert_int_eq(smmap_cursor_region(whole, &region), 0);
	ck_assert_uint_eq(region.size, WINDOW);
	smmap_cursor_close(whole);
	stop();
}
END_TEST

/* ---- answers that are none ---- */

static uint32_t wrong_type;

static void answer_something_else(struct liar *l, const struct message *request, struct message *answer)
{
	uint32_t serial = answer->serial;

	(void)l;
	if (request->type != MESSAGE_LEASE)
		return;
	*answer = (struct message){.type = wrong_type, .serial = serial};
	if (wrong_type == MESSAGE_ERROR)
		answer->error = (struct message_error){.error = 4096, .sentence = text_of("")};
	if (wrong_type == MESSAGE_FIGURES)
		answer->figures.rows = text_of("rows");
}

START_TEST(test_wrong_types)
{
	static const uint32_t types[] = {
		MESSAGE_HELLO,  MESSAGE_LEASE, MESSAGE_ERROR,   MESSAGE_WELCOME, MESSAGE_OPENED,
		MESSAGE_CLOSED, MESSAGE_FREED, MESSAGE_FIGURES, MESSAGE_RECALL,
	};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		wrong_type = types[i];
		start(answer_something_else, 0, 0);
		ck_assert_int_eq(smmap_cursor_use(cursor, 0, 1), -EPROTO);
		stop();
		ck_assert_int_eq(unlink(socket_path), 0);
	}
}
END_TEST

static void open_with_something_else(struct liar *l, const struct message *request, struct message *answer)
{
	(void)l;
	if (request->type != MESSAGE_OPEN)
		return;
	if (lie_number == 0) {
		answer->opened.size = (uint64_t)INT64_MAX + 1;
	} else {
		answer->type = MESSAGE_LEASED;
		answer->leased = (struct message_leased){.length = WINDOW, .file_size = WINDOW};
	}
}

START_TEST(test_impossible_openings)
{
	for (lie_number = 0; lie_number < 2; lie_number++) {
		struct smmap_stats stats;

		start_liar();
		liar.lie = open_with_something_else;
		ck_assert_int_eq(open_client(0, 0), 0);
		ck_assert_int_eq(smmap_cursor_open(&cursor, client, "file", 0), -EPROTO);
		ck_assert_int_eq(smmap_client_stats(client, &stats), -ENOTCONN);
		ck_assert_uint_eq(stats.leases, 0);
		smmap_client_close(client);
		stop_liar();
		ck_assert_int_eq(unlink(socket_path), 0);
	}
}
END_TEST

/* Says it all once more, with another slot. */
static void answer_twice(struct liar *l, const struct message *request, struct message *answer)
{
	struct message again = *answer;

	if (request->type != MESSAGE_LEASE)
		return;
	again.leased.lease = take_slot();
	board_grant(&l->board.slots[again.leased.lease.slot], 1);
	say(&again);
}

/* The second answer finds nobody, whether or not the caller has gone on meanwhile, and is given back. */
START_TEST(test_answered_twice)
{
	start(answer_twice, 0, 0);
	for (uint64_t i = 0; i < 5000; i++) {
		ck_assert_int_eq(smmap_cursor_use(cursor, i % 4 * WINDOW, 0), WINDOW);
		assert_bytes(cursor);
		smmap_cursor_unuse(cursor);
		smmap_client_collect(client);
	}
	stop();
}
END_TEST

/* Says something to nobody before it answers, once. */
static void say_something_to_nobody(struct liar *l, const struct message *request, struct message *answer)
{
	struct message message = {.type = wrong_type, .serial = UINT32_MAX};

	(void)answer;
	if (request->type == MESSAGE_LEASE && l->n_connections == 1)
		say(&message);
}

/* What could be the late answer to a call that is over is fine; what answers no call ends the connection, and the call goes on with another. */
START_TEST(test_unasked)
{
	static const struct {
		uint32_t type;
		int n_connections;
	} cases[] = {{MESSAGE_CLOSED, 1}, {MESSAGE_FREED, 1}, {MESSAGE_REOPEN, 1}, {MESSAGE_WELCOME, 2}, {MESSAGE_RECALL, 2}, {MESSAGE_HELLO, 2}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		wrong_type = cases[i].type;
		start(say_something_to_nobody, 0, 0);
		ck_assert_int_eq(smmap_cursor_use(cursor, 0, 1), 1);
		ck_assert_int_eq(liar.n_connections, cases[i].n_connections);
		stop();
		ck_assert_int_eq(unlink(socket_path), 0);
	}
}
END_TEST

static void answer_with_figures(struct liar *l, const struct message *request, struct message *answer)
{
	(void)l;
	if (request->type != MESSAGE_STATUS)
		return;
	answer->type = MESSAGE_FIGURES;
	answer->figures.rows = text_of("rows");
}

/* More rows than the caller has room for. */
START_TEST(test_too_many_rows)
{
	struct message request = {.type = MESSAGE_STATUS}, said;
	struct smmap_stats stats;
	char rows[4];

	start(answer_with_figures, 0, 0);
	ck_assert_int_eq(client_ask(client, &request, &said, rows, sizeof(rows)), 0);
	ck_assert_mem_eq(rows, "rows", sizeof(rows));
	ck_assert_int_eq(client_ask(client, &request, &said, rows, sizeof(rows) - 1), -EPROTO);
	ck_assert_int_eq(smmap_client_stats(client, &stats), -ENOTCONN);
	stop();
}
END_TEST

/* Makes no sound as long as the test wants. */
static struct {
	sem_t asked, go, end;
} silence;

/* The second lease is waited for; then the third is answered, of which it can't have heard, and the first is taken back for it. */
static void answer_what_was_not_asked(struct liar *l, const struct message *request, struct message *answer)
{
	if (request->type != MESSAGE_LEASE || l->n_leases != 2)
		return;
	sem_post(&silence.asked);
	ck_assert_int_eq(sem_wait(&silence.go), 0);
	ck_assert_int_eq(board_claim(&l->board.slots[0], BOARD_SERVER), BOARD_CLAIM_WON);
	answer->serial = request->serial + 1;
	answer->leased.victims.n = 1;
	answer->leased.victims.refs[0] = (struct slot_ref){.generation = (uint32_t)(atomic_load(&l->board.slots[0].state) >> 32)};
	board_grant(&l->board.slots[answer->leased.lease.slot], 1);
	say(answer);
	answer->type = 0;
	/* Nor does it read. */
	ck_assert_int_eq(sem_wait(&silence.end), 0);
}

static void *use_second_window(void *data)
{
	smmap_cursor_use(data, WINDOW, 1);
	return NULL;
}

static void *speak_later(void *data)
{
	(void)data;
	poll(NULL, 0, 1000);
	sem_post(&silence.go);
	return NULL;
}

#define STACK_BYTES 65536

/* Fills what the stack of the call was, waits until whoever might write there is done, and counts what was written. */
static __attribute__((noinline)) size_t watch_stack(pthread_t writer)
{
	volatile unsigned char bytes[STACK_BYTES];
	size_t n = 0;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = 0xa5;
	ck_assert_int_eq(pthread_join(writer, NULL), 0);
	for (size_t i = 0; i < sizeof(bytes); i++)
		n += bytes[i] != 0xa5;
	return n;
}

static __attribute__((noinline)) void use_again(void)
{
	smmap_cursor_use(cursor, WINDOW, 1);
}

/*
 * A request finds the socket full, for good. When its time is nearly over its answer comes, and another thread is kept with that, by the same
 * full socket, for longer than this one would wait.
 */
START_TEST(test_answer_to_unsent_request)
{
	struct smmap_cursor *second;
	static const char filler[4096];
	pthread_t reader, speaker;
	int socket;

	sem_init(&silence.asked, 0, 0);
	sem_init(&silence.go, 0, 0);
	sem_init(&silence.end, 0, 0);
	start(answer_what_was_not_asked, 0, 500);
	ck_assert_int_eq(smmap_cursor_open(&second, client, "file", 0), 0);
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, 1), 1);
	smmap_cursor_unuse(cursor);
	ck_assert_int_eq(pthread_create(&reader, NULL, use_second_window, second), 0);
	ck_assert_int_eq(sem_wait(&silence.asked), 0);
	socket = client->connection->socket;
	while (channel_send(socket, filler, sizeof(filler), NULL, 0) == 0)
		;
	while (channel_send(socket, filler, 1, NULL, 0) == 0)
		;
	ck_assert_int_eq(pthread_create(&speaker, NULL, speak_later, NULL), 0);
	use_again();
	ck_assert_uint_eq(watch_stack(reader), 0);
	ck_assert_int_eq(pthread_join(speaker, NULL), 0);
	sem_post(&silence.end);
	smmap_cursor_close(second);
	stop();
}
END_TEST

/* ---- what never ends ---- */

static void reopen(struct liar *l, const struct message *request, struct message *answer)
{
	if (request->type != MESSAGE_LEASE)
		return;
	l->taken[answer->leased.lease.slot] = false;
	answer->type = MESSAGE_REOPEN;
}

START_TEST(test_reopen_for_ever)
{
	start(reopen, 0, 100);
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, 1), -ETIMEDOUT);
	stop();
}
END_TEST

static void go(struct liar *l, const struct message *request, struct message *answer)
{
	if (request->type != MESSAGE_LEASE)
		return;
	shutdown(l->socket, SHUT_RDWR);
	l->taken[answer->leased.lease.slot] = false;
	answer->type = 0;
}

#define SHORT_MS 300

/* A server that goes at each request, and is there again, is not asked without a pause. */
START_TEST(test_gone_for_ever)
{
	start(go, 0, SHORT_MS);
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, 1), -ENOTCONN);
	ck_assert_int_gt(liar.n_connections, 1);
	ck_assert_int_le(liar.n_connections, 2 + SHORT_MS / 10);
	stop();
}
END_TEST

/* Whoever asks for the end of the file hears of another one. */
static void move_the_end(struct liar *l, const struct message *request, struct message *answer)
{
	(void)l;
	if (request->type != MESSAGE_LEASE || request->lease.offset + request->lease.length <= FILE_SIZE)
		return;
	if (request->lease.offset == FILE_SIZE)
		answer->leased.file_size = FILE_SIZE - WINDOW;
}

START_TEST(test_end_that_moves)
{
	start(move_the_end, 0, 100);
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, (size_t)FILE_SIZE), FILE_SIZE);
	smmap_cursor_unuse(cursor);
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, (size_t)FILE_SIZE + 1), -ETIMEDOUT);
	ck_assert_uint_gt(liar.n_leases, 2);
	stop();
}
END_TEST

/* ---- the bell ---- */

/* More than are taken off it at once. */
#define N_RECALLS 100

enum { RING_LIES, RING_TRUTH, RING_NONSENSE, RING_DESCRIPTORS, RING_NOT };

/* Rings while a file is opened, once. */
static void ring(struct liar *l, const struct message *request, struct message *answer)
{
	struct message recall = {.type = MESSAGE_RECALL, .recall = {.slots = {.n = 2}}};
	uint64_t number = lie_number;

	(void)answer;
	if (request->type != MESSAGE_OPEN || number == RING_NOT)
		return;
	lie_number = RING_NOT;
	/* The cursor's, and what is nowhere. */
	recall.recall.slots.refs[1].slot = UINT32_MAX;
	if (number == RING_TRUTH)
		ck_assert_int_eq(board_claim(&l->board.slots[0], BOARD_SERVER), BOARD_CLAIM_WON);
	if (number == RING_NONSENSE)
		recall.type = MESSAGE_FREED;
	for (int i = 0; i < (number == RING_LIES ? N_RECALLS : 1); i++)
		say_on(l->bell, &recall, &l->file, number == RING_DESCRIPTORS);
}

/* Has the server ring, and takes what comes. How many leases went. */
static uint64_t listen_to(uint64_t number)
{
	struct smmap_stats before, after;
	struct smmap_cursor *second;
	struct pollfd pollfd = {.events = POLLIN};

	ck_assert_int_eq(smmap_client_stats(client, &before), 0);
	lie_number = number;
	ck_assert_int_eq(smmap_cursor_open(&second, client, "file", 0), 0);
	pollfd.fd = smmap_client_get_fd(client);
	while (poll(&pollfd, 1, 0) == 1)
		ck_assert_int_ge(smmap_client_dispatch(client), 0);
	ck_assert_int_eq(smmap_client_stats(client, &after), 0);
	smmap_cursor_close(second);
	return before.leases - after.leases;
}

START_TEST(test_bell)
{
	lie_number = RING_NOT;
	start(ring, SMMAP_NO_THREAD, 0);
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, (size_t)WINDOW), WINDOW);
	/* What is pinned stays. */
	ck_assert_uint_eq(listen_to(RING_LIES), 0);
	assert_bytes(cursor);
	smmap_cursor_unuse(cursor);
	ck_assert_uint_eq(listen_to(RING_TRUTH), 1);
	/* This ends the connection, and the call goes on with another one. */
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, (size_t)WINDOW), WINDOW);
	ck_assert_uint_eq(listen_to(RING_NONSENSE), 0);
	assert_bytes(cursor);
	/* And so does what would have to be closed here. */
	ck_assert_uint_eq(listen_to(RING_DESCRIPTORS), 0);
	assert_bytes(cursor);
	ck_assert_int_eq(liar.n_connections, 3);
	stop();
}
END_TEST

/* ---- lies of the server about itself ---- */

START_TEST(test_impossible_welcomes)
{
	static const struct message_welcome lies[] = {
		{.version = PROTOCOL_VERSION + 1, .n_slots = N_SLOTS, .window_bytes = WINDOW},
		{.version = PROTOCOL_VERSION, .n_slots = 0, .window_bytes = WINDOW},
		/* 32 bits hold the size of this board only in part, which is that of the one that comes with it. */
		{.version = PROTOCOL_VERSION, .n_slots = UINT32_MAX / 64 + 1 + N_SLOTS, .window_bytes = WINDOW},
		{.version = PROTOCOL_VERSION, .n_slots = UINT32_MAX, .window_bytes = WINDOW},
		{.version = PROTOCOL_VERSION, .n_slots = 2 * N_SLOTS, .window_bytes = WINDOW},
		{.version = PROTOCOL_VERSION, .n_slots = N_SLOTS, .window_bytes = 0},
		{.version = PROTOCOL_VERSION, .n_slots = N_SLOTS, .window_bytes = 1},
		{.version = PROTOCOL_VERSION, .n_slots = N_SLOTS, .window_bytes = WINDOW / 2},
		{.version = PROTOCOL_VERSION, .n_slots = N_SLOTS, .window_bytes = WINDOW + 1},
		{.version = PROTOCOL_VERSION, .n_slots = N_SLOTS, .window_bytes = 3 * WINDOW},
		{.version = PROTOCOL_VERSION, .n_slots = N_SLOTS, .window_bytes = UINT64_MAX},
	};

	start_liar();
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		liar.welcome = lies[i];
		ck_assert_int_eq(open_client(0, 0), -EPROTO);
	}
	liar.welcome = (struct message_welcome){.version = PROTOCOL_VERSION, .n_slots = N_SLOTS, .window_bytes = WINDOW};
	liar.no_bell = true;
	ck_assert_int_eq(open_client(0, 0), -EPROTO);
	stop_liar();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("lies");

	HARNESS_CASE(suite, "leases", test_truth, test_victim, test_impossible_leases, test_slot_in_use, test_pinned_victims, test_too_many_windows);
	HARNESS_CASE(suite, "answers", test_wrong_types, test_impossible_openings, test_unasked, test_too_many_rows, test_answered_twice,
		     test_answer_to_unsent_request);
	HARNESS_CASE(suite, "without end", test_reopen_for_ever, test_gone_for_ever, test_end_that_moves, test_bell);
	HARNESS_CASE(suite, "welcome", test_impossible_welcomes);
	return harness_run(suite);
}
