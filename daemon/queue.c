/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/queue.h"

#include "daemon/account.h"
#include "daemon/client.h"
#include "daemon/registry.h"
#include "daemon/request.h"
#include "proto/util.h"

#include <string.h>

/* The text that points into the packet; NULL if the message has none. */
static struct text *text_in(struct message *message)
{
	switch (message->type) {
	case MESSAGE_OPEN:
		return &message->open.label;
	case MESSAGE_DROP:
		return &message->drop.path;
	default:
		return NULL;
	}
}

int queue_add(struct request *request, const struct registry *registry)
{
	const struct quota *quota = &registry->limits.quota;
	struct account *account = request->client->account;
	bool opens = request->message.type == MESSAGE_OPEN;
	struct request *copy;
	struct text *text;

	if (account->n_waiting >= quota->requests || (opens && account->n_waiting_opens >= quota->opens))
		return -EDQUOT;
	copy = malloc(sizeof(*copy));
	if (!copy)
		return -ENOMEM;
	*copy = *request;
	text = text_in(&copy->message);
	if (text) {
		copy->text = malloc(text->length + 1);
		if (!copy->text) {
			free(copy);
			return -ENOMEM;
		}
		memcpy(copy->text, text->data, text->length);
		text->data = copy->text;
	}

	request->fd = -1;
	request->volume = NULL;
	account->n_waiting++;
	account->n_waiting_opens += opens;
	DL_APPEND(account->waiting, copy);
	return 0;
}

const struct request *queue_first(const struct account *account, uint32_t type)
{
	const struct request *request;

	DL_FOREACH(account->waiting, request)
		if (request->message.type == type && !request_waits_aside(request))
			return request;
	return NULL;
}

void queue_remove(struct request *request, struct registry *registry)
{
	struct account *account = request->client->account;

	if (account->tried == request)
		account->tried = request == account->waiting ? NULL : request->prev;
	account->n_waiting--;
	account->n_waiting_opens -= request->message.type == MESSAGE_OPEN;
	DL_DELETE(account->waiting, request);
	request_deinit(request, registry);
	free(request);
}

void queue_forget_client(struct client *client, struct registry *registry)
{
	struct request *request, *next;

	DL_FOREACH_SAFE(client->account->waiting, request, next)
		if (request->client == client)
			queue_remove(request, registry);
}
