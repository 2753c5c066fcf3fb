/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/request.h"

#include "daemon/account.h"
#include "daemon/client.h"
#include "daemon/errand.h"
#include "daemon/file.h"
#include "daemon/lease.h"
#include "daemon/queue.h"
#include "daemon/registry.h"
#include "daemon/report.h"
#include "daemon/shortage.h"
#include "daemon/volume.h"
#include "proto/util.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- a request ---- */

void request_init(struct request *request, struct client *client, const struct message *message, int *fd, uint64_t now_ms)
{
	uint64_t wait_ms = REQUEST_DEFAULT_DEADLINE_MS;

	if (message->type == MESSAGE_LEASE)
		wait_ms = message->lease.deadline_ms;
	if (message->type == MESSAGE_OPEN)
		wait_ms = message->open.deadline_ms;
	*request = (struct request){
		.client = client,
		.message = *message,
		.fd = take_fd(fd),
		.deadline_ms = now_ms + min_u64(wait_ms, REQUEST_MAX_DEADLINE_MS),
	};
}

/* Waits for no volume but a local one. */
static void close_descriptor(struct request *request, struct registry *registry)
{
	if (request->fd < 0)
		return;
	if (request->volume && request->volume->local)
		close_fd(request->fd);
	else
		errand_close_stray(registry->errands, request->client->account, request->fd);
	request->fd = -1;
}

void request_deinit(struct request *request, struct registry *registry)
{
	close_descriptor(request, registry);
	volume_unref(registry, take_ptr(request->volume));
	free(request->text);
	request->text = NULL;
}

/* ---- answers ---- */

static struct message *answer_with(struct answer *answer, enum message_type type, uint32_t serial)
{
	memset(&answer->message, 0, sizeof(answer->message));
	answer->message.type = type;
	answer->message.serial = serial;
	answer->fd = -1;
	return &answer->message;
}

void request_refuse(struct answer *answer, uint32_t serial, int error, const char *format, ...)
{
	struct message *message = answer_with(answer, MESSAGE_ERROR, serial);
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(answer->text, MESSAGE_MAX_TEXT, format, arguments);
	va_end(arguments);
	message->error = (struct message_error){.error = (uint32_t)error, .sentence = text_of(answer->text)};
}

/* Refuses for an error that this request can meet. */
static void refuse(const struct request *request, struct registry *registry, struct answer *answer, int error)
{
	uint32_t serial = request->message.serial;
	char sentence[SHORTAGE_MAX];

	switch (-error) {
	case EBADF:
		request_refuse(answer, serial, EBADF, "the client has no file of this id open");
		break;
	case EDQUOT:
		shortage_of_quota(registry, request->client, request->message.type == MESSAGE_OPEN, sentence);
		request_refuse(answer, serial, EDQUOT, "%s", sentence);
		break;
	case EFBIG:
		request_refuse(answer, serial, EFBIG,
			       "the range can never fit: max-memory is %" PRIu64 " bytes, max-maps is %" PRIu64 " windows of %" PRIu64
			       " bytes",
			       registry->limits.memory, registry->limits.maps, registry->limits.window);
		break;
	default:
		request_refuse(answer, serial, -error, "the server could not do it: %s", strerror(-error));
	}
}

/* Whether it waits for a file system to say what it is. */
static bool asks_volume(const struct request *request)
{
	return request->volume && !request->volume->known;
}

bool request_waits_aside(const struct request *request)
{
	return request->yields || asks_volume(request);
}

bool request_needs_room(const struct request *request)
{
	uint32_t type = request->message.type;

	return (type == MESSAGE_OPEN || type == MESSAGE_LEASE) && !request_waits_aside(request);
}

/* Who never had their turn waited for what the first one waits for. */
static bool is_over_quota(const struct request *request)
{
	const struct request *first = queue_first(request->client->account, request->message.type);

	return request->over_quota || (first && first->over_quota);
}

void request_describe_wait(const struct request *request, const struct registry *registry, char sentence[static SHORTAGE_MAX])
{
	bool opens = request->message.type == MESSAGE_OPEN;

	if (is_over_quota(request))
		shortage_of_quota(registry, request->client, opens, sentence);
	else
		shortage_of_room(registry, opens, sentence);
}

const char *request_name(const struct request *request)
{
	switch (request->message.type) {
	case MESSAGE_OPEN:
		return "open";
	case MESSAGE_LEASE:
		return "lease";
	case MESSAGE_COLLECT:
		return "collect";
	case MESSAGE_DROP:
		return "drop";
	default:
		return "status";
	}
}

const char *request_shortage(const struct request *request, const struct registry *registry)
{
	if (asks_volume(request))
		return "the file system";
	if (request->yields)
		return "a writer";
	switch (request->message.type) {
	case MESSAGE_OPEN:
	case MESSAGE_LEASE:
		return shortage_name(registry, request->client, request->message.type == MESSAGE_OPEN, is_over_quota(request));
	case MESSAGE_COLLECT:
	case MESSAGE_DROP:
		return "clients to unmap";
	default:
		return "a census";
	}
}

void request_expire(struct request *request, struct registry *registry, struct answer *answer)
{
	char sentence[SHORTAGE_MAX];

	if (request->message.type == MESSAGE_COLLECT || request->message.type == MESSAGE_DROP) {
		answer_with(answer, MESSAGE_FREED, request->message.serial)->freed =
			(struct message_freed){.bytes = request->bytes_freed, .maps = request->maps_freed};
		return;
	}
	if (request->message.type == MESSAGE_STATUS) {
		refuse(request, registry, answer, -ETIMEDOUT);
		return;
	}
	if (asks_volume(request)) {
		request_refuse(answer, request->message.serial, ETIMEDOUT, "the file system does not answer");
		return;
	}
	if (request->yields) {
		request_refuse(answer, request->message.serial, ETIMEDOUT,
			       "a program that wants to write the file waits until what is pinned of it comes free");
		return;
	}
	request_describe_wait(request, registry, sentence);
	if (is_over_quota(request))
		request_refuse(answer, request->message.serial, EDQUOT, "%s", sentence);
	else
		request_refuse(answer, request->message.serial, ETIMEDOUT, "no room came free in time within %s", sentence);
}

/* ---- what each one does ---- */

/* Finds out on what the file is. 0; REQUEST_WAITS; or -errno of statfs(2), or for want of a descriptor or memory. */
static int find_volume(struct request *request, struct registry *registry, uint64_t device)
{
	int r = 0;

	if (!request->volume)
		r = volume_get(&request->volume, registry, device);
	if (!r)
		r = volume_ask(registry, request->volume, request->client->account, request->fd);
	if (r < 0)
		return r;
	return request->volume->known ? request->volume->error : REQUEST_WAITS;
}

static int run_open(struct request *request, struct registry *registry, bool in_turn, struct answer *answer)
{
	struct text label = request->message.open.label;
	uint32_t serial = request->message.serial;
	struct descriptor_facts facts;
	char name[MESSAGE_MAX_TEXT + 1];
	struct open_request open = {.facts = &facts, .label = name, .in_turn = in_turn};
	struct file *file;
	int r;

	r = descriptor_check(request->fd, &facts);
	if (r < 0 || memchr(label.data, '\0', label.length)) {
		if (r == -EBADF)
			request_refuse(answer, serial, EBADF, "the descriptor is not open for reading only");
		else
			request_refuse(answer, serial, r < 0 ? -r : EINVAL, "the descriptor is not one of a regular file with a label");
		return 0;
	}
	r = find_volume(request, registry, facts.device);
	if (r == REQUEST_WAITS)
		return r;
	if (r < 0) {
		refuse(request, registry, answer, r);
		return 0;
	}
	memcpy(name, label.data, label.length);
	name[label.length] = '\0';

	open.fd = request->fd;
	open.volume = request->volume;
	r = registry_open(registry, request->client, &open, &file);
	request->fd = open.fd;
	request->over_quota = r == REGISTRY_OVER_QUOTA;
	if (r == REGISTRY_NO_ROOM || r == REGISTRY_OVER_QUOTA)
		return REQUEST_WAITS;
	if (r < 0) {
		refuse(request, registry, answer, r);
		return 0;
	}
	answer_with(answer, MESSAGE_OPENED, serial)->opened = (struct message_opened){.file = file->id, .size = file->size};
	return 0;
}

/* The client says that it has unmapped. What is not there (any more) is nothing to complain of: it may have crossed a recall. */
static void release(struct request *request, struct registry *registry, struct slot_list *slots)
{
	for (uint32_t i = 0; i < slots->n; i++)
		registry_release(registry, request->client, &slots->refs[i]);
	/* Once is enough for a request that waits. */
	slots->n = 0;
}

static int run_lease(struct request *request, struct registry *registry, bool in_turn, struct answer *answer)
{
	const struct message_lease *lease = &request->message.lease;
	uint32_t serial = request->message.serial;
	struct lease_request wanted = {
		.file = lease->file,
		.offset = lease->offset,
		.length = lease->length,
		.ahead = lease->ahead,
		.in_turn = in_turn,
	};
	struct message *message = answer_with(answer, MESSAGE_LEASED, serial);
	struct lease_grant grant;
	int r;

	release(request, registry, &request->message.lease.released);
	if (!lease->length || lease->offset > INT64_MAX) {
		request_refuse(answer, serial, EINVAL, "a lease needs an offset below 2^63 and a length of at least 1");
		return 0;
	}

	r = registry_lease(registry, request->client, &wanted, &grant, &message->leased.victims);
	/* Where a user may have all, it is a matter of the limits. */
	request->over_quota = r == REGISTRY_OVER_QUOTA && registry->limits.user_percent < 100;
	request->yields = r == REGISTRY_WRITER;
	if (r == REGISTRY_NO_ROOM || r == REGISTRY_OVER_QUOTA || r == REGISTRY_WRITER)
		return REQUEST_WAITS;
	if (r == REGISTRY_REOPEN) {
		answer_with(answer, MESSAGE_REOPEN, serial);
		return 0;
	}
	if (r == -EDQUOT && request->client->n_leases < request->client->board.n_slots) {
		request_refuse(answer, serial, EDQUOT,
			       "the range can never fit into what one user may lease: %" PRIu64 " bytes in %" PRIu64 " windows of %" PRIu64
			       " bytes",
			       registry->limits.quota.memory, registry->limits.quota.maps, registry->limits.window);
		return 0;
	}
	if (r < 0) {
		refuse(request, registry, answer, r);
		return 0;
	}

	message->leased.file_size = grant.file_size;
	message->leased.offset = lease->offset;
	if (grant.lease) {
		message->leased.lease = grant.lease->ref;
		message->leased.offset = grant.lease->offset;
		message->leased.length = grant.lease->length;
		answer->fd = grant.fd;
	}
	return 0;
}

static int run_release(struct request *request, struct registry *registry, struct answer *answer)
{
	release(request, registry, &request->message.release.slots);
	answer_with(answer, 0, 0);
	return 0;
}

static int run_close(struct request *request, struct registry *registry, struct answer *answer)
{
	int r = registry_close(registry, request->client, request->message.close.file);

	if (r < 0)
		refuse(request, registry, answer, r);
	else
		answer_with(answer, MESSAGE_CLOSED, request->message.serial);
	return 0;
}

/* COLLECT, and DROP, which closes the files too. Both wait until the clients concerned have unmapped. */
static int run_evict(struct request *request, struct registry *registry, struct answer *answer)
{
	char path[MESSAGE_MAX_TEXT + 1];
	bool drop = request->message.type == MESSAGE_DROP;

	if (drop) {
		struct text text = request->message.drop.path;

		memcpy(path, text.data, text.length);
		path[text.length] = '\0';
		if (!text.length || strlen(path) != text.length) {
			request_refuse(answer, request->message.serial, EINVAL, "the path is empty, or has a zero byte in it");
			return 0;
		}
	}
	if (!request->started)
		registry_evict_files(registry, request->client, drop ? path : NULL, &request->bytes_freed, &request->maps_freed);
	request->started = true;
	if (drop ? registry_close_files(registry, request->client, path) : registry_drains(registry, request->client))
		return REQUEST_WAITS;

	answer_with(answer, MESSAGE_FREED, request->message.serial)->freed =
		(struct message_freed){.bytes = request->bytes_freed, .maps = request->maps_freed};
	return 0;
}

static int run_status(struct request *request, struct registry *registry, const struct report_server *server, struct answer *answer)
{
	const struct message_status *status = &request->message.status;
	struct message *message = answer_with(answer, MESSAGE_FIGURES, request->message.serial);
	struct report_page page = {
		.uid = request->client->account->uid,
		.section = status->section,
		.from = status->from,
		.bytes = answer->text,
		.size = sizeof(answer->text),
	};
	int r;

	r = report_page(registry, server, &page, &request->census);
	if (r == REPORT_WAITS)
		return REQUEST_WAITS;
	if (r < 0) {
		request_refuse(answer, request->message.serial, EINVAL, "there is no section %" PRIu32 " of figures", status->section);
		return 0;
	}
	message->figures.next = page.next;
	message->figures.rows = (struct text){.data = answer->text, .length = page.length};
	return 0;
}

int request_run(struct request *request, struct registry *registry, const struct report_server *server, bool in_turn,
		struct answer *answer)
{
	switch (request->message.type) {
	case MESSAGE_OPEN:
		return run_open(request, registry, in_turn, answer);
	case MESSAGE_LEASE:
		return run_lease(request, registry, in_turn, answer);
	case MESSAGE_RELEASE:
		return run_release(request, registry, answer);
	case MESSAGE_CLOSE:
		return run_close(request, registry, answer);
	case MESSAGE_COLLECT:
	case MESSAGE_DROP:
		return run_evict(request, registry, answer);
	case MESSAGE_STATUS:
		return run_status(request, registry, server, answer);
	default:
		request_refuse(answer, request->message.serial, EPROTO, "this is not a request that can be made now");
		return 0;
	}
}
