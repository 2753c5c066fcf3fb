/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "tests/fuzz/decode.h"

#include "proto/channel.h"
#include "proto/figures.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <string.h>

/* What a field that was left out would show. */
#define UNTOUCHED 0x5a

static char encoded[PACKET_MAX_BYTES], again[PACKET_MAX_BYTES];

/* How long @n bytes of input became by @length bytes in `encoded`. */
static void require_shortest(int length, const void *bytes, size_t n)
{
	require(length > 0 && (size_t)length <= n);
	require((size_t)length < n || memcmp(encoded, bytes, n) == 0);
}

bool decode_packet(struct message *message, const uint8_t *bytes, size_t n_bytes)
{
	static struct message other;
	int length, r;

	memset(message, UNTOUCHED, sizeof(*message));
	r = message_decode(message, bytes, n_bytes);
	if (r < 0) {
		require(r == -EBADMSG);
		return false;
	}

	length = message_encode(message, encoded, sizeof(encoded));
	require_shortest(length, bytes, n_bytes);
	require(message_decode(&other, encoded, (size_t)length) == 0);
	require(message_encode(&other, again, sizeof(again)) == length);
	require(memcmp(encoded, again, (size_t)length) == 0);

	require(message_decode(&other, bytes, n_bytes - 1) == -EBADMSG);
	require(message_descriptors(message) <= PACKET_MAX_DESCRIPTORS);
	return true;
}

void decode_rows(struct text rows, uint32_t section)
{
	const struct layout *layout = figures_layout(section);
	static union {
		struct figures_summary summary;
		struct figures_client client;
		struct figures_file file;
		struct figures_user user;
		struct figures_waiting waiting;
		struct figures_pin pin;
	} row, other;
	struct text before = rows;
	int r;

	memset(&row, UNTOUCHED, sizeof(row));
	while ((r = figures_next(&rows, section, &row)) > 0) {
		int length = codec_encode(layout, &row, encoded, sizeof(encoded));

		require(rows.data > before.data && rows.length + (size_t)(rows.data - before.data) == before.length);
		require_shortest(length, before.data, (size_t)(rows.data - before.data));
		require(codec_decode(layout, &other, encoded, (size_t)length) == length);
		require(codec_encode(layout, &other, again, sizeof(again)) == length);
		require(memcmp(encoded, again, (size_t)length) == 0);
		before = rows;
	}
	require(r == 0 ? !rows.length : r == -EBADMSG);
}
