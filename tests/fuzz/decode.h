/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_FUZZ_DECODE_H
#define TESTS_FUZZ_DECODE_H

/*
 * Decoding, with all that has to hold of it. What was decoded is encoded again, which is never longer, since our encoding is the shortest; what
 * is as long is the same; and it decodes to the same message. No part of a message is one.
 */

#include "proto/codec.h"
#include "proto/message.h"

#include <stdbool.h>
#include <stdint.h>

/* Decodes a packet; texts point into it. False if it is malformed. */
bool decode_packet(struct message *message, const uint8_t *bytes, size_t n_bytes);

/* The same for rows of figures, all of them. */
void decode_rows(struct text rows, uint32_t section);

#endif
