/* SPDX-License-Identifier: BSD-3-Clause */
/* What a client decodes: answers, what the bell says, and rows of figures, whatever section they are of. The input is the packet. */
#include "config.h"

#include "proto/channel.h"
#include "proto/figures.h"
#include "tests/fuzz/decode.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct message message;

	if (size > PACKET_MAX_BYTES || !decode_packet(&message, data, size) || message.type < MESSAGE_ERROR)
		return 0;
	require(message.type <= MESSAGE_FIGURES || message.type == MESSAGE_RECALL);
	if (message.type == MESSAGE_FIGURES)
		for (uint32_t section = 0; section < FIGURES_N_SECTIONS; section++)
			decode_rows(message.figures.rows, section);
	return 0;
}
