/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/client.h"

#include "client/call.h"
#include "client/connection.h"
#include "client/connections.h"
#include "proto/address.h"
#include "proto/hash.h"
#include "proto/pulse.h"
#include "proto/util.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define DEFAULT_DEADLINE_MS 5000

/* 64 bits have room for whatever the server allows; 32 don't. */
#define DEFAULT_MAX_MAPPED (sizeof(void *) > 4 ? UINT64_MAX : UINT64_C(1) << 30)

/* How long to wait between two attempts to reach a server that is away, or goes as soon as it is there: from, and at most. */
#define RETRY_FIRST_MS 10
#define RETRY_MOST_MS  100

/* ---- lifetime ---- */

static struct smmap_client *client_new(void)
{
	struct smmap_client *client = calloc(1, sizeof(*client));

	if (!client)
		return NULL;
	atomic_init(&client->refs, 1);
	client->process = connections_process;
	pthread_mutex_init(&client->lock, NULL);
	condition_init(&client->changed);
	return client;
}

struct smmap_client *client_ref(struct smmap_client *client)
{
	atomic_fetch_add(&client->refs, 1);
	return client;
}

void client_unref(struct smmap_client *client)
{
	if (atomic_fetch_sub(&client->refs, 1) != 1)
		return;
	pthread_mutex_destroy(&client->lock);
	pthread_cond_destroy(&client->changed);
	free(client);
}

static void client_unrefp(struct smmap_client **client)
{
	if (*client)
		client_unref(*client);
}

uint64_t client_deadline(const struct smmap_client *client)
{
	return clock_ms() + client->deadline_ms;
}

/* ---- connecting ---- */

/* What a server that does not let the client in says goes to @complaint. */
static int connect_once(struct smmap_client *client, uint64_t deadline_ms, struct connection **connection, char complaint[static COMPLAINT_SIZE])
{
	struct connection_options options = {
		.owner = client,
		.socket = client->socket,
		.name = client->name,
		.max_mapped = client->max_mapped,
		.threaded = client->threaded,
		.complaint = complaint,
		.guarded = client->guarded,
	};

	return connection_open(connection, &options, deadline_ms);
}

static void sleep_ms(uint64_t ms)
{
	nanosleep(&(struct timespec){.tv_nsec = (long)ms * 1000000}, NULL);
}

/* Puts a new connection in the place of the dead one, unless the client was closed meanwhile. With the lock, which is left for a while. */
static int replace(struct smmap_client *client, uint64_t deadline_ms)
{
	struct connection *dead = connection_ref(client->connection), *new = NULL;
	char complaint[COMPLAINT_SIZE];
	int r;

	pthread_mutex_unlock(&client->lock);
	/* It gives its descriptors back first: there may be no others. */
	connection_close(dead);
	r = connect_once(client, deadline_ms, &new, complaint);
	/* As long as the client has no other connection it is asked there. */
	pthread_mutex_lock(&dead->lock);
	memcpy(dead->complaint, complaint, sizeof(complaint));
	pthread_mutex_unlock(&dead->lock);
	pthread_mutex_lock(&client->lock);

	if (!r && client->connection) {
		connection_unref(client->connection);
		client->connection = take_ptr(new);
		client->connected_ms = clock_ms();
	}
	if (new)
		connection_close(new);
	connection_unref(new);
	connection_unref(dead);
	return r;
}

/* Tries until the deadline, and once in any case. With the lock, which is left meanwhile. */
static int reconnect(struct smmap_client *client, uint64_t deadline_ms)
{
	uint64_t pause_ms = RETRY_FIRST_MS, next_ms = client->connected_ms + RETRY_FIRST_MS;
	int r = -ENOTCONN;

	client->connecting = true;
	do {
		if (clock_ms() < next_ms)
			condition_wait(&client->changed, &client->lock, min_u64(next_ms, deadline_ms));
		if (!client->connection)
			break;
		r = replace(client, deadline_ms);
		next_ms = clock_ms() + pause_ms;
		pause_ms = min_u64(pause_ms * 2, RETRY_MOST_MS);
	} while ((r == -ENOTCONN || r == -EBUSY) && clock_ms() < deadline_ms && client->connection);
	client->connecting = false;
	pthread_cond_broadcast(&client->changed);
	return r == -EBUSY ? -ENOTCONN : r;
}

struct connection *client_connection(struct smmap_client *client)
{
	struct connection *connection = NULL;

	pthread_mutex_lock(&client->lock);
	if (client->connection && !connection_is_dead(client->connection))
		connection = connection_ref(client->connection);
	pthread_mutex_unlock(&client->lock);
	return connection;
}

int client_connect(struct smmap_client *client, uint64_t deadline_ms, struct connection **connection)
{
	int r = 0;

	pthread_mutex_lock(&client->lock);
	while (!r && client->connecting)
		r = condition_wait(&client->changed, &client->lock, deadline_ms) ? 0 : -ENOTCONN;
	if (!r && client->connection && connection_is_dead(client->connection))
		r = reconnect(client, deadline_ms);
	if (!r && !client->connection)
		r = -ENOTCONN;
	if (!r)
		*connection = connection_ref(client->connection);
	pthread_mutex_unlock(&client->lock);
	return r;
}

static int set_options(struct smmap_client *client, const struct smmap_client_options *options)
{
	const char *name = options->name ? options->name : program_invocation_short_name;
	int n;

	if (options->flags & ~(SMMAP_NO_THREAD | SMMAP_GUARD_SIGBUS))
		return -EINVAL;
	for (size_t i = 0; i < sizeof(options->reserved) / sizeof(options->reserved[0]); i++)
		if (options->reserved[i])
			return -EINVAL;
	if (options->name && strlen(name) >= sizeof(client->name))
		return -EINVAL;
	memcpy(client->name, name, (size_t)min_u64(strlen(name), sizeof(client->name) - 1));

	if (options->socket) {
		size_t length = strlen(options->socket);

		if (!length)
			return -EINVAL;
		if (length >= sizeof(client->socket))
			return -ENAMETOOLONG;
		memcpy(client->socket, options->socket, length);
	} else {
		n = address_default(client->socket, sizeof(client->socket));
		if (n < 0)
			return n;
	}

	client->max_mapped = options->max_mapped ? options->max_mapped : DEFAULT_MAX_MAPPED;
	client->deadline_ms = options->deadline_ms ? options->deadline_ms : DEFAULT_DEADLINE_MS;
	client->threaded = !(options->flags & SMMAP_NO_THREAD);
	client->guarded = options->flags & SMMAP_GUARD_SIGBUS;
	return 0;
}

int smmap_client_open(struct smmap_client **client, const struct smmap_client_options *options)
{
	_cleanup_(client_unrefp) struct smmap_client *new = NULL;
	char complaint[COMPLAINT_SIZE];
	uint64_t deadline_ms;
	int r;

	if (!client)
		return -EINVAL;
	new = client_new();
	if (!new)
		return -ENOMEM;
	r = set_options(new, options ? options : &(struct smmap_client_options){0});
	if (r < 0)
		return r;

	/* A server that is there but busy is waited for, one that is not there isn't. */
	deadline_ms = client_deadline(new);
	while ((r = connect_once(new, deadline_ms, &new->connection, complaint)) == -EBUSY && clock_ms() < deadline_ms)
		sleep_ms(RETRY_FIRST_MS);
	if (r < 0)
		return r == -EBUSY ? -ETIMEDOUT : r;
	*client = take_ptr(new);
	return 0;
}

void smmap_client_close(struct smmap_client *client)
{
	struct connection *connection;

	if (!client)
		return;
	/* In a child the thread and the locks are the parent's; the memory is all that can be left behind. */
	if (client_check(client) < 0)
		return;

	pthread_mutex_lock(&client->lock);
	connection = take_ptr(client->connection);
	pthread_cond_broadcast(&client->changed);
	pthread_mutex_unlock(&client->lock);
	if (connection) {
		connection_close(connection);
		connection_unref(connection);
	}
	client_unref(client);
}

/* ---- asking ---- */

int client_ask(struct smmap_client *client, struct message *request, struct message *answer, char *rows, size_t rows_size)
{
	uint64_t deadline_ms = client_deadline(client);
	struct call call = {.rows = rows, .rows_size = rows_size};
	struct connection *connection;
	int r;

	r = client_check(client);
	if (r < 0)
		return r;
	do {
		r = client_connect(client, deadline_ms, &connection);
		if (r < 0)
			return r;
		r = call_run(&call, connection, request, -1, deadline_ms);
		connection_unref(connection);
		/* The server may have gone since the last call, and be back. */
	} while (r == -ENOTCONN && clock_ms() < deadline_ms);
	*answer = call.answer;
	return r;
}

int64_t smmap_client_collect(struct smmap_client *client)
{
	struct message request = {.type = MESSAGE_COLLECT}, answer;
	uint64_t deadline_ms;
	struct connection *connection;
	int r;

	if (!client)
		return -EINVAL;
	r = client_check(client);
	if (r < 0)
		return r;
	deadline_ms = client_deadline(client);
	r = client_connect(client, deadline_ms, &connection);
	if (r < 0)
		return r;
	connection_trim(connection, 0, 0);
	connection_unref(connection);

	r = client_ask(client, &request, &answer, NULL, 0);
	if (r < 0)
		return r;
	return answer.type == MESSAGE_FREED ? (int64_t)min_u64(answer.freed.bytes, INT64_MAX) : -EPROTO;
}

/* ---- queries ---- */

void client_add_tally(struct smmap_client *client, struct tally *tally)
{
	atomic_init(&tally->hits, 0);
	pthread_mutex_lock(&client->lock);
	DL_APPEND(client->tallies, tally);
	pthread_mutex_unlock(&client->lock);
}

void client_remove_tally(struct smmap_client *client, struct tally *tally)
{
	pthread_mutex_lock(&client->lock);
	DL_DELETE(client->tallies, tally);
	client->hits += atomic_load_explicit(&tally->hits, memory_order_relaxed);
	pthread_mutex_unlock(&client->lock);
}

int smmap_client_stats(struct smmap_client *client, struct smmap_stats *stats)
{
	const struct connection *connection;
	const struct tally *tally;
	int r;

	if (!client || !stats)
		return -EINVAL;
	*stats = (struct smmap_stats){0};
	r = client_check(client);
	if (r < 0)
		return r;

	stats->files = atomic_load(&client->n_files);
	stats->handles = atomic_load(&client->n_handles);
	stats->misses = atomic_load(&client->misses);
	connections_count(client, stats);

	pthread_mutex_lock(&client->lock);
	stats->hits = client->hits;
	DL_FOREACH(client->tallies, tally)
		stats->hits += atomic_load_explicit(&tally->hits, memory_order_relaxed);
	connection = client->connection;
	if (connection) {
		stats->window_bytes = connection->server.window_bytes;
		stats->limit_memory_bytes = atomic_load_explicit(&connection->pulse->limit_memory_bytes, memory_order_relaxed);
		stats->limit_handles = atomic_load_explicit(&connection->pulse->limit_handles, memory_order_relaxed);
		stats->limit_maps = atomic_load_explicit(&connection->pulse->limit_maps, memory_order_relaxed);
		stats->server_memory_bytes = atomic_load(&connection->pulse->memory_bytes);
		stats->server_handles = atomic_load(&connection->pulse->handles);
		stats->server_maps = atomic_load(&connection->pulse->maps);
	}
	if (!connection || connection_is_dead(client->connection))
		r = -ENOTCONN;
	pthread_mutex_unlock(&client->lock);
	return r;
}

void client_forget_complaint(struct smmap_client *client)
{
	pthread_mutex_lock(&client->lock);
	if (client->connection) {
		pthread_mutex_lock(&client->connection->lock);
		client->connection->complaint[0] = '\0';
		pthread_mutex_unlock(&client->connection->lock);
	}
	pthread_mutex_unlock(&client->lock);
}

size_t smmap_client_complaint(struct smmap_client *client, char *to, size_t size)
{
	struct connection *connection;

	if (!to || !size)
		return 0;
	*to = '\0';
	if (!client || client_check(client) < 0)
		return 0;

	pthread_mutex_lock(&client->lock);
	connection = client->connection;
	if (connection) {
		pthread_mutex_lock(&connection->lock);
		snprintf(to, size, "%s", connection->complaint);
		pthread_mutex_unlock(&connection->lock);
	}
	pthread_mutex_unlock(&client->lock);
	return strlen(to);
}

/* The living connection of a client without a thread; the caller's to unref. 0 or an error; asks nobody. */
static int connection_without_thread(struct smmap_client *client, struct connection **connection)
{
	int r;

	if (!client || client->threaded)
		return -EINVAL;
	r = client_check(client);
	if (r < 0)
		return r;

	*connection = client_connection(client);
	return *connection ? 0 : -ENOTCONN;
}

int smmap_client_get_fd(struct smmap_client *client)
{
	struct connection *connection;
	int r;

	r = connection_without_thread(client, &connection);
	if (r < 0)
		return r;
	pthread_mutex_lock(&connection->lock);
	r = connection->bell >= 0 ? connection->bell : -ENOTCONN;
	pthread_mutex_unlock(&connection->lock);
	connection_unref(connection);
	return r;
}

int smmap_client_dispatch(struct smmap_client *client)
{
	struct connection *connection;
	int r;

	r = connection_without_thread(client, &connection);
	if (r < 0)
		return r;
	r = -ENOTCONN;
	if (connection_enter(connection)) {
		r = connection_answer_bell(connection);
		if (r < 0)
			connection_fail(connection);
		connection_leave(connection);
	}
	connection_unref(connection);
	return r;
}
