/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "tests/villain.h"

uint64_t villain_hear(struct raw *villain)
{
	uint64_t n = 0;

	while (channel_wait(villain->bell, POLLIN, 0) == 1) {
		struct message message;

		raw_receive_on(villain, villain->bell, &message);
		ck_assert_uint_eq(message.type, MESSAGE_RECALL);
		for (uint32_t i = 0; i < message.recall.slots.n; i++)
			raw_release(villain, &message.recall.slots.refs[i]);
		n += message.recall.slots.n;
	}
	return n;
}

/* What the server waits for may be what the villain itself has to give back. */
static void ask_and_hear(struct raw *villain, struct message request, int fd, struct message *answer)
{
	raw_send(villain, &request, fd);
	for (int n = 0; channel_wait(villain->socket, POLLIN, 1) == 0; n++) {
		ck_assert_msg(n < RAW_PATIENCE_MS, "no answer came");
		villain_hear(villain);
	}
	raw_receive(villain, answer);
}

static uint64_t open_file(struct raw *villain, const char *path)
{
	struct message request = {.type = MESSAGE_OPEN, .open = {.label = text_of(path), .deadline_ms = RAW_LONG_MS}}, answer;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ask_and_hear(villain, request, fd, &answer);
	close(fd);
	ck_assert_uint_eq(answer.type, MESSAGE_OPENED);
	return answer.opened.file;
}

struct message_leased villain_lease(struct raw *villain, uint64_t *file, const char *path, uint64_t offset, uint64_t length)
{
	struct message answer = {.type = MESSAGE_REOPEN};

	if (*file)
		ask_and_hear(villain, raw_lease_request(*file, offset, length, RAW_LONG_MS), -1, &answer);
	while (answer.type == MESSAGE_REOPEN) {
		*file = open_file(villain, path);
		ask_and_hear(villain, raw_lease_request(*file, offset, length, RAW_LONG_MS), -1, &answer);
	}
	ck_assert_uint_eq(answer.type, MESSAGE_LEASED);
	for (uint32_t i = 0; i < answer.leased.victims.n; i++)
		raw_release(villain, &answer.leased.victims.refs[i]);
	return answer.leased;
}

bool villain_probe(struct raw *villain, struct tally *tally)
{
	struct message status = {.type = MESSAGE_STATUS, .serial = 0x57415453}, answer;
	char packet[64];
	int length, r;

	length = message_encode(&status, packet, sizeof(packet));
	r = channel_send(villain->socket, packet, (size_t)length, NULL, 0);
	ck_assert_msg(r == 0 || r == -EPIPE || r == -ECONNRESET, "error %d", r);
	for (;;) {
		ck_assert_msg(channel_wait(villain->socket, POLLIN, RAW_PATIENCE_MS) == 1, "nothing came");
		packet_deinit(villain->packet);
		r = channel_receive(villain->socket, villain->packet);
		/* What was sent last was not read; what was said before is still there. */
		if (r == -ECONNRESET)
			continue;
		if (r <= 0)
			break;
		ck_assert_int_eq(message_decode(&answer, villain->packet->bytes, villain->packet->n_bytes), 0);
		ck_assert_uint_eq(message_descriptors(&answer), villain->packet->n_descriptors);
		if (answer.type == MESSAGE_FIGURES && answer.serial == status.serial)
			return true;
		tally->refusals += answer.type == MESSAGE_ERROR;
	}
	ck_assert_int_eq(r, 0);
	return false;
}

void villain_see_off(struct raw *villain, struct tally *tally)
{
	uint64_t refusals = tally->refusals;

	tally->times++;
	/* The end after a HELLO that was refused is not another error. */
	if (!villain_probe(villain, tally) && tally->refusals == refusals) {
		tally->protocol_errors++;
		tally->disconnections++;
	}
	raw_close(villain);
}

int villain_send(int socket, const void *packet, size_t n_bytes, int fd, size_t n)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(VILLAIN_MOST_DESCRIPTORS * sizeof(int))] = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)packet, .iov_len = n_bytes};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *header = (struct cmsghdr *)control;

	if (n) {
		message.msg_control = control;
		message.msg_controllen = CMSG_SPACE(n * sizeof(int));
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(n * sizeof(int));
	}
	for (size_t i = 0; i < n; i++)
		memcpy(CMSG_DATA(header) + i * sizeof(int), &fd, sizeof(fd));
	return sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}
