/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Those that misbehave: clients that stop, that pin all they get, that speak nonsense or nothing, that never read, and that scribble on their
 * boards. Whatever the server answers them is fine.
 */
#include "config.h"

#include "client/smmap-client.h"
#include "tests/soak.h"

#include "proto/address.h"
#include "proto/board.h"
#include "proto/channel.h"
#include "proto/message.h"
#include "proto/util.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define OTHER_UID 65534

/* ---- a client that speaks for itself ---- */

static struct packet packet;

/* The socket, when a server is there. */
static int connect_raw(void)
{
	int fd;

	while ((fd = address_connect(soak->socket)) < 0)
		soak_sleep_ms(5);
	return fd;
}

/* 0, or a negative number if the server is gone or has had enough. */
static int send_message(int fd, const struct message *message, int descriptor)
{
	char bytes[PACKET_MAX_BYTES];
	int length = message_encode(message, bytes, sizeof(bytes));

	return channel_send(fd, bytes, (size_t)length, &descriptor, descriptor >= 0);
}

/* Takes the next packet, if one comes. */
static int receive(int fd, struct message *message)
{
	packet_deinit(&packet);
	if (channel_wait(fd, POLLIN, 1000) <= 0 || channel_receive(fd, &packet) <= 0)
		return -1;
	return message_decode(message, packet.bytes, packet.n_bytes);
}

/* A connection that is welcome, and its board if wanted. */
static int greet(struct board *board)
{
	struct message hello = {.type = MESSAGE_HELLO, .hello = {.version = PROTOCOL_VERSION, .name = text_of("villain")}}, answer;

	for (;;) {
		int fd = connect_raw();

		if (send_message(fd, &hello, -1) == 0 && receive(fd, &answer) == 0 && answer.type == MESSAGE_WELCOME &&
		    (!board || board_attach(board, answer.welcome.n_slots, packet.descriptors[0]) == 0))
			return fd;
		close(fd);
	}
}

static uint64_t open_raw(int fd)
{
	const char *path = soak_path((unsigned)soak_random(SOAK_STEADY));
	struct message request = {.type = MESSAGE_OPEN, .serial = 1, .open = {.label = text_of(path), .deadline_ms = 100}}, answer;
	_cleanup_(close_fdp) int file = open(path, O_RDONLY | O_CLOEXEC);

	if (send_message(fd, &request, file) < 0 || receive(fd, &answer) < 0 || answer.type != MESSAGE_OPENED)
		return 0;
	return answer.opened.file;
}

/* ---- what they do ---- */

/* Like an honest one, until it is killed; or it stops in the middle. */
static void read_and_end(bool stops)
{
	struct smmap_client_options options = {.socket = soak->socket, .name = "mortal"};
	struct smmap_client *client;
	struct smmap_cursor *cursor;
	uint64_t n = 1 + soak_random(200);

	while (smmap_client_open(&client, &options) < 0)
		soak_sleep_ms(5);
	for (;;) {
		const char *path = soak_path((unsigned)soak_random(SOAK_FILES));

		if (smmap_cursor_open(&cursor, client, path, soak_random(2) ? SMMAP_WHOLE_FILE : 0) < 0) {
			soak_sleep_ms(1);
			continue;
		}
		for (int i = 0; i < 20; i++) {
			(void)smmap_cursor_use(cursor, soak_random(SOAK_SIZE), 1 + (size_t)soak_random(SOAK_WINDOW));
			if (!stops || --n)
				continue;
			soak_count(SOAK_CLIENT_STOPPED);
			raise(SIGSTOP);
		}
		smmap_cursor_close(cursor);
	}
}

/* Each that it gets, until it gets no more; then it asks on. */
static void pin_all(void)
{
	struct smmap_client_options options = {.socket = soak->socket, .name = "greedy", .deadline_ms = 50};
	struct smmap_client *client;
	struct smmap_cursor *cursor;

	while (smmap_client_open(&client, &options) < 0)
		soak_sleep_ms(5);
	for (;;) {
		if (smmap_cursor_open(&cursor, client, soak_path((unsigned)soak_random(SOAK_STEADY)), 0) < 0) {
			soak_sleep_ms(1);
			continue;
		}
		if (smmap_cursor_use(cursor, soak_random(SOAK_SIZE), 1) == 1)
			soak_count(SOAK_PINNED_FOR_EVER);
		else
			smmap_cursor_close(cursor);
	}
}

static struct message random_request(void)
{
	struct message message = {
		.type = (uint32_t)(MESSAGE_OPEN + soak_random(MESSAGE_STATUS - MESSAGE_OPEN + 1)),
		.serial = (uint32_t)soak_random(1 << 20),
	};

	switch (message.type) {
	case MESSAGE_OPEN:
		message.open = (struct message_open){.label = text_of("label"), .deadline_ms = 10};
		break;
	case MESSAGE_LEASE:
		message.lease = (struct message_lease){
			.file = soak_random(20),
			.offset = soak_random(3) ? soak_random(SOAK_SIZE) : UINT64_MAX >> soak_random(64),
			.length = UINT64_MAX >> soak_random(64),
			.deadline_ms = 10,
			.ahead = UINT32_MAX,
		};
		break;
	case MESSAGE_RELEASE:
		message.release.slots.n = 1;
		message.release.slots.refs[0] = (struct slot_ref){.slot = (uint32_t)soak_random(20000), .generation = 1};
		break;
	case MESSAGE_DROP:
		message.drop.path = text_of("/");
		break;
	case MESSAGE_STATUS:
		message.status = (struct message_status){.section = (uint32_t)soak_random(8), .from = soak_random(100)};
		break;
	default:
		message.close.file = soak_random(20);
	}
	return message;
}

static void send_rubbish(void)
{
	static char bytes[128 * 1024];

	for (;;) {
		int fd = soak_random(4) ? greet(NULL) : connect_raw(), r = 0;

		while (r == 0 || r == -EAGAIN) {
			struct message message = random_request();
			int length = message_encode(&message, bytes, sizeof(bytes));
			size_t n = length > 0 ? (size_t)length : 0;

			if (soak_random(4) == 0)
				n = (size_t)soak_random(n + 1);
			else if (n && soak_random(3) == 0)
				bytes[soak_random(n)] = (char)soak_random(256);
			else if (soak_random(20) == 0)
				n = soak_random(2) ? sizeof(bytes) : (size_t)soak_random(PACKET_MAX_BYTES);
			r = n ? channel_send(fd, bytes, n, NULL, 0) : 0;
			soak_count(SOAK_RUBBISH_PACKET);
			while (channel_wait(fd, POLLIN, 0) > 0 && channel_receive(fd, &packet) > 0)
				packet_deinit(&packet);
		}
		close(fd);
	}
}

static void scribble(void)
{
	for (;;) {
		struct board board = {0};
		int fd = greet(&board), r = 0;
		uint64_t file = open_raw(fd);
		struct message request = {.type = MESSAGE_LEASE, .lease = {.file = file, .length = 1, .deadline_ms = 10}}, answer;

		while (r >= 0 && file) {
			request.lease.offset = soak_random(SOAK_SIZE);
			r = send_message(fd, &request, -1);
			for (int i = 0; r >= 0 && i < 1000; i++) {
				struct board_slot *slot = &board.slots[soak_random(32)];

				atomic_store(&slot->state, soak_random(2) ? soak_random(UINT64_MAX) : UINT64_C(1) << soak_random(64));
				atomic_store(&slot->last_used, soak_random(UINT64_MAX));
				soak_count(SOAK_BOARD_SCRIBBLED);
			}
			r = r < 0 ? r : receive(fd, &answer);
		}
		board_deinit(&board);
		close(fd);
	}
}

static void say_nothing(void)
{
	for (;;) {
		int fds[10];

		for (int i = 0; i < 10; i++) {
			fds[i] = i % 2 ? connect_raw() : greet(NULL);
			soak_count(SOAK_SILENT_CONNECTION);
		}
		soak_sleep_ms(soak_random(500));
		for (int i = 0; i < 10; i++)
			close(fds[i]);
	}
}

/* Of every kind that is no regular file opened for reading alone. */
static int wrong_descriptor(void)
{
	int ends[2], fd;

	switch (soak_random(7)) {
	case 0:
		return open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	case 1:
		return open("/dev/zero", O_RDWR | O_CLOEXEC);
	case 2:
		return open(soak_path(0), O_PATH | O_CLOEXEC);
	case 3:
		return socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	case 4:
		return open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	case 5:
		return (int)syscall(SYS_memfd_create, "wrong", 1u);
	default:
		if (pipe2(ends, O_CLOEXEC) < 0)
			return -1;
		fd = ends[0];
		close(ends[1]);
		return fd;
	}
}

static void send_wrong_descriptors(void)
{
	for (;;) {
		int fd = greet(NULL), r = 0;

		while (r >= 0) {
			struct message request = {.type = MESSAGE_OPEN, .open = {.label = text_of("wrong"), .deadline_ms = 10}};
			int wrong = wrong_descriptor();
			struct message answer;

			if (soak_random(10) == 0)
				request = random_request();
			r = send_message(fd, &request, wrong);
			close_fd(wrong);
			soak_count(SOAK_WRONG_DESCRIPTOR);
			r = r < 0 ? r : receive(fd, &answer);
		}
		close(fd);
	}
}

static void never_read(void)
{
	for (;;) {
		int fd = greet(NULL), r;

		do {
			struct message request = {.type = MESSAGE_STATUS, .serial = 4};

			r = send_message(fd, &request, -1);
			if (r == 0)
				soak_count(SOAK_UNREAD_ANSWER);
			else
				soak_sleep_ms(10);
		} while (r == 0 || r == -EAGAIN);
		close(fd);
	}
}

int soak_misbehave(uint64_t number)
{
	bool other = geteuid() == 0 && setresuid(OTHER_UID, OTHER_UID, OTHER_UID) == 0;

	soak_begin_random(10000 + number);
	/* Who takes the room of a user takes it from all processes of that user. */
	if (!other) {
		soak_excuse(SOAK_CLIENT_STOPPED);
		soak_excuse(SOAK_PINNED_FOR_EVER);
	}
	switch (soak_random(other ? 8 : 6)) {
	case 0:
		read_and_end(false);
		break;
	case 1:
		send_rubbish();
		break;
	case 2:
		say_nothing();
		break;
	case 3:
		send_wrong_descriptors();
		break;
	case 4:
		never_read();
		break;
	case 5:
		scribble();
		break;
	case 6:
		read_and_end(true);
		break;
	default:
		pin_all();
	}
	return 0;
}
