/* SPDX-License-Identifier: BSD-3-Clause */
/* What the server does with a packet before it has any effect: it is decoded, and made a request. The input is the packet. */
#include "config.h"

#include "daemon/request.h"
#include "proto/channel.h"
#include "tests/fuzz/decode.h"
#include "tests/fuzz/fuzz.h"

#define NOW_MS UINT64_C(1000000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct message message;
	static struct request request;
	int fd = -1;

	if (size > PACKET_MAX_BYTES || !decode_packet(&message, data, size) || message.type >= MESSAGE_ERROR)
		return 0;
	require(message.type >= MESSAGE_HELLO && message.type <= MESSAGE_STATUS);
	require(message_descriptors(&message) == (message.type == MESSAGE_OPEN));

	request_init(&request, NULL, &message, &fd, NOW_MS);
	require(request.deadline_ms >= NOW_MS && request.deadline_ms <= NOW_MS + REQUEST_MAX_DEADLINE_MS);
	request_deinit(&request, NULL);
	return 0;
}
