/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Answers: each is checked against what was asked before anything is done. What makes no sense ends the connection; a server that lies
 * can do no more here than withhold what it has.
 */
#include "config.h"

#include "client/answer.h"

#include "client/call.h"
#include "client/connection.h"
#include "proto/hash.h"
#include "proto/pulse.h"
#include "proto/util.h"

#include <string.h>
#include <sys/mman.h>

/* More windows than any system has maps for. A lease of more, on a whole file, would fill the memory here with their entries. */
#define MAX_WINDOWS (1u << 20)

/* ---- checking an answer ---- */

/* Whether a request may be answered so. */
static bool is_answer_to(uint32_t request, uint32_t answer)
{
	switch (answer) {
	case MESSAGE_ERROR:
		return true;
	case MESSAGE_OPENED:
		return request == MESSAGE_OPEN;
	case MESSAGE_LEASED:
	case MESSAGE_REOPEN:
		return request == MESSAGE_LEASE;
	case MESSAGE_CLOSED:
		return request == MESSAGE_CLOSE;
	case MESSAGE_FREED:
		return request == MESSAGE_COLLECT || request == MESSAGE_DROP;
	case MESSAGE_FIGURES:
		return request == MESSAGE_STATUS;
	default:
		return false;
	}
}

/* Whether a lease makes sense at all: on a slot of the board, on the grid, and not longer than the file. */
static bool is_plausible(const struct connection *connection, const struct message_leased *leased)
{
	uint64_t end;

	if (leased->file_size > INT64_MAX)
		return false;
	if (!leased->length)
		return true;
	return leased->lease.slot < connection->board.n_slots && !(leased->offset & (connection->server.window_bytes - 1)) &&
	       !__builtin_add_overflow(leased->offset, leased->length, &end) && end <= leased->file_size;
}

/* Whether a plausible lease is on the windows that were asked for, as far as the file has them, and on no more than were asked for ahead. */
static bool fits(const struct connection *connection, const struct message_leased *leased, const struct message_lease *asked)
{
	uint64_t window_bytes = connection->server.window_bytes, leased_end = leased->offset + leased->length;
	uint64_t end, ahead, most;

	if (asked->offset >= leased->file_size)
		return !leased->length;
	if (__builtin_add_overflow(asked->offset, asked->length, &end))
		end = UINT64_MAX;
	end = min_u64(end, leased->file_size);
	if (__builtin_mul_overflow(asked->ahead, window_bytes, &ahead) ||
	    __builtin_add_overflow(round_up(end, window_bytes), ahead, &most))
		most = UINT64_MAX;
	return leased->offset == round_down(asked->offset, window_bytes) && leased_end >= end && leased_end <= most;
}

/* Whether a message is an answer that can be acted on; @request is NULL if nobody waits for it any more. */
static bool makes_sense(const struct connection *connection, const struct message *message, const struct message *request)
{
	if (request && !is_answer_to(request->type, message->type))
		return false;
	switch (message->type) {
	case MESSAGE_OPENED:
		return message->opened.size <= INT64_MAX;
	case MESSAGE_LEASED:
		return is_plausible(connection, &message->leased) && (!request || fits(connection, &message->leased, &request->lease));
	case MESSAGE_WELCOME:
	case MESSAGE_RECALL:
		return false;
	default:
		return message->type >= MESSAGE_ERROR;
	}
}

/* ---- handling an answer ---- */

/* Maps what was granted, and notes it. 0 or -errno. */
static int map_lease(struct connection *connection, struct lease *lease, int fd)
{
	void *address;
	int r;

	address = mmap(NULL, (size_t)lease->length, PROT_READ, MAP_SHARED, fd, (off_t)lease->offset);
	if (address == MAP_FAILED)
		return -errno;
	lease->address = address;
	pthread_mutex_lock(&connection->lock);
	r = lease_table_add(&connection->leases, lease);
	pthread_mutex_unlock(&connection->lock);
	if (r < 0)
		munmap(address, (size_t)round_up(lease->length, page_size()));
	return r;
}

/* Whether a lease has windows behind those that were asked for. */
static bool has_ahead(const struct connection *connection, const struct lease *lease, const struct message_lease *asked)
{
	uint64_t end;

	return !__builtin_add_overflow(asked->offset, asked->length, &end) &&
	       lease->offset + lease->length > round_up(end, connection->server.window_bytes);
}

/* The same, in place of our own cache if that is what fills the address space; but not for windows @ahead. */
static int make_room_and_map_lease(struct connection *connection, struct lease *lease, int fd, bool ahead)
{
	int r;

	if (lease->length > SIZE_MAX / 2 || lease->length / connection->server.window_bytes > MAX_WINDOWS)
		return -ENOMEM;
	r = map_lease(connection, lease, fd);
	if (r != -ENOMEM || ahead)
		return r;
	connection_trim(connection, 0, 0);
	return map_lease(connection, lease, fd);
}

/* Gives back a lease that nobody wants, or that could not be mapped. */
static void return_lease(struct connection *connection, const struct slot_ref *ref)
{
	struct board_slot *slot = connection_slot(connection, ref->slot);
	struct slot_list slots = {.n = 1, .refs = {*ref}};

	board_unpin(slot, pulse_use(connection->pulse, &connection->last_use));
	connection_release(connection, &slots);
}

static bool is_mapped(struct connection *connection, uint32_t slot)
{
	bool mapped;

	pthread_mutex_lock(&connection->lock);
	mapped = connection->leases.leases[slot].mapped;
	pthread_mutex_unlock(&connection->lock);
	return mapped;
}

/*
 * Unmaps what has to go for it, then maps and notes a lease. *@fd is -1 if there was no room for it here, and @call is NULL if nobody waits
 * for it any more. 0; -EPROTO if the slot has a lease that is mapped; or -errno, and it is given back.
 */
static int take_lease(struct connection *connection, const struct message_leased *leased, int *fd, struct call *call)
{
	struct lease lease = {.ref = leased->lease, .offset = leased->offset, .length = leased->length};
	int r = -ETIMEDOUT;

	/* Before it is said that these are unmapped nobody else gets what is new in the lease. */
	connection_unmap_victims(connection, &leased->victims);
	if (!leased->length)
		return 0;
	if (is_mapped(connection, leased->lease.slot))
		return -EPROTO;

	if (call) {
		lease.file = call->request->lease.file;
		call->got_ahead = has_ahead(connection, &lease, &call->request->lease);
		r = *fd >= 0 ? make_room_and_map_lease(connection, &lease, *fd, call->got_ahead) : -EMFILE;
	}
	if (r < 0) {
		return_lease(connection, &leased->lease);
		return r;
	}
	call->address = lease.address;
	if (call->descriptor)
		*call->descriptor = take_fd(fd);
	return 0;
}

/* Ends an opening that nobody wants. The answer finds nobody either. */
static void return_file(struct connection *connection, uint64_t file)
{
	struct message message = {.type = MESSAGE_CLOSE, .close = {.file = file}};
	char bytes[64];
	int length = message_encode(&message, bytes, sizeof(bytes));

	if (length > 0)
		channel_send(connection->socket, bytes, (size_t)length, NULL, 0);
}

/* Hands an answer to the call that waits for it. With the lock. */
static void complete(struct connection *connection, struct call *call, const struct message *message, int error)
{
	struct text *rows = &call->answer.figures.rows;

	call->answer = *message;
	call->error = error;
	call->done = true;
	if (error < 0)
		return;
	if (message->type == MESSAGE_ERROR) {
		call->error = message_errno(&message->error);
		connection_keep_complaint(connection, &message->error);
	}
	if (message->type == MESSAGE_FIGURES) {
		if (rows->length)
			memcpy(call->rows, rows->data, rows->length);
		rows->data = call->rows;
	}
}

/* The call that waits for this answer, which has to stay until it is complete; NULL if none does. One answer is all it gets. */
static struct call *find_call(struct connection *connection, uint32_t serial)
{
	struct call *call;

	pthread_mutex_lock(&connection->lock);
	DL_FOREACH(connection->calls, call)
		if (call->request->serial == serial && !call->done)
			break;
	if (call)
		call->handling = true;
	pthread_mutex_unlock(&connection->lock);
	return call;
}

/* Acts on an answer that came with as many descriptors as it should have, or as there was room for. 0 or -errno for the call. */
static int act(struct connection *connection, const struct message *message, struct packet *packet, struct call *call)
{
	if (!makes_sense(connection, message, call ? call->request : NULL))
		return -EPROTO;
	if (message->type == MESSAGE_FIGURES && call && message->figures.rows.length > call->rows_size)
		return -EPROTO;
	if (message->type == MESSAGE_LEASED)
		return take_lease(connection, &message->leased, &packet->descriptors[0], call);
	if (message->type == MESSAGE_OPENED && !call)
		return_file(connection, message->opened.file);
	return 0;
}

int answer_handle(struct connection *connection, struct packet *packet, bool are_missing)
{
	struct message message;
	struct call *call;
	size_t n;
	int r;

	r = message_decode(&message, packet->bytes, packet->n_bytes);
	if (r < 0)
		return r;
	call = find_call(connection, message.serial);
	n = message_descriptors(&message);
	r = packet->n_descriptors == n || (are_missing && packet->n_descriptors < n) ? act(connection, &message, packet, call) : -EPROTO;
	if (call) {
		pthread_mutex_lock(&connection->lock);
		complete(connection, call, &message, r);
		pthread_mutex_unlock(&connection->lock);
	}
	return r == -EPROTO ? r : 0;
}
