/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PROTO_MESSAGE_H
#define PROTO_MESSAGE_H

/*
 * The messages between client and server, as plain structs. smmap-protocol(7) specifies them for others.
 *
 * On the wire a message is a msgpack array: type, serial, then the fields in the order of its struct. A table for each type says
 * what they are, and one function walks it. Decoding is all or nothing: a message that was decoded is well-formed, but what its
 * values mean is the receiver's to check.
 */

#include <stddef.h>
#include <stdint.h>

#define PROTOCOL_VERSION 1

#define MESSAGE_MAX_TEXT  4096  /* bytes of a label or a sentence */
#define MESSAGE_MAX_NAME  63    /* bytes of a client's name */
#define MESSAGE_MAX_SLOTS 256   /* slots in one message */

enum message_type {
	/* requests */
	MESSAGE_HELLO = 1,
	MESSAGE_OPEN,
	MESSAGE_LEASE,
	MESSAGE_RELEASE,
	MESSAGE_CLOSE,
	MESSAGE_COLLECT,
	MESSAGE_DROP,
	MESSAGE_STATUS,

	/* answers */
	MESSAGE_ERROR = 64,
	MESSAGE_WELCOME,
	MESSAGE_OPENED,
	MESSAGE_LEASED,
	MESSAGE_REOPEN,
	MESSAGE_CLOSED,
	MESSAGE_FREED,
	MESSAGE_FIGURES,

	/* on the bell */
	MESSAGE_RECALL = 96,
};

/* A run of bytes that stays where it is: in the packet that was decoded, or wherever the sender has it. */
struct text {
	const char *data;
	size_t length;
};

/* A lease, as both ends name it. */
struct slot_ref {
	uint32_t slot;
	uint32_t generation;
};

struct slot_list {
	uint32_t n;
	struct slot_ref refs[MESSAGE_MAX_SLOTS];
};

struct message_hello {
	uint32_t version;
	struct text name;
};

struct message_open {
	struct text label;
	uint32_t deadline_ms;
};

struct message_lease {
	uint64_t file;
	uint64_t offset;
	uint64_t length;
	uint32_t deadline_ms;
	uint32_t ahead; /* how many windows more, if it is easy */
	struct slot_list released; /* as by a RELEASE before */
};

struct message_slots {
	struct slot_list slots;
};

struct message_close {
	uint64_t file;
};

struct message_drop {
	struct text path;
};

struct message_status {
	uint32_t section; /* enum figures_section */
	uint64_t from;    /* the first row */
};

struct message_error {
	uint32_t error; /* a positive errno value */
	struct text sentence;
};

struct message_welcome {
	uint32_t version;
	uint32_t n_slots; /* of the board */
	uint64_t window_bytes;
	uint64_t limit_memory_bytes;
	uint64_t limit_handles;
	uint64_t limit_maps;
};

struct message_opened {
	uint64_t file;
	uint64_t size;
};

struct message_leased {
	struct slot_ref lease;
	uint64_t offset;
	uint64_t length; /* 0: the range is past the end of the file, and there is no lease */
	uint64_t file_size;
	struct slot_list victims; /* to unmap before the lease is mapped */
};

struct message_freed {
	uint64_t bytes;
	uint64_t maps;
};

struct message_figures {
	uint64_t next; /* the first row of the next page, 0 if this is the last */
	struct text rows;
};

struct message {
	uint32_t type;
	uint32_t serial;
	union {
		struct message_hello hello;
		struct message_open open;
		struct message_lease lease;
		struct message_slots release;
		struct message_close close;
		struct message_drop drop;
		struct message_status status;
		struct message_error error;
		struct message_welcome welcome;
		struct message_opened opened;
		struct message_leased leased;
		struct message_freed freed;
		struct message_figures figures;
		struct message_slots recall;
	};
};

/* Encodes into @bytes, which has room for @size. The length, or -EMSGSIZE. */
int message_encode(const struct message *message, void *bytes, size_t size);

/*
 * Decodes a whole packet; texts point into it. 0; -EBADMSG if it is malformed, of an unknown type, or has anything left over; -ENOMEM.
 */
int message_decode(struct message *message, const void *bytes, size_t n_bytes);

/* What an error answers, as a negative errno value; -EPROTO if its number is none. */
int message_errno(const struct message_error *refusal);

/* How many descriptors a message of this type has to come with. A lease has none where its length is 0. */
size_t message_descriptors(const struct message *message);

/* Puts a text that is a C string. */
struct text text_of(const char *string);

#endif
