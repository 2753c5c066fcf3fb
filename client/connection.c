/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/connection.h"

#include "client/guard.h"
#include "client/smmap-client.h"
#include "proto/address.h"
#include "proto/hash.h"
#include "proto/pulse.h"
#include "proto/util.h"

#include <assert.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

/* A server that does not read for so long is stopped, and would throw this client out if it went on. */
#define RELEASE_TIMEOUT_MS 1000

/* ---- all connections: a child gives them up ---- */

static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct connection *all;
static unsigned process;

static void before_fork(void)
{
	pthread_mutex_lock(&all_lock);
}

static void after_fork_in_parent(void)
{
	pthread_mutex_unlock(&all_lock);
}

/* The conversation is the parent's. Nothing else is touched: another thread of the parent may have been in the middle of it. */
static void after_fork_in_child(void)
{
	struct connection *connection;

	process++;
	DL_FOREACH(all, connection)
	{
		close_fdp(&connection->socket);
		close_fdp(&connection->bell);
		board_forget(&connection->board);
	}
	all = NULL;
	pthread_mutex_unlock(&all_lock);
}

static void watch_forks(void)
{
	pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

void connections_count(const struct smmap_client *owner, struct smmap_stats *stats)
{
	struct connection *connection;

	pthread_mutex_lock(&all_lock);
	DL_FOREACH(all, connection)
	{
		if (connection->owner != owner)
			continue;
		pthread_mutex_lock(&connection->lock);
		stats->leases += connection->leases.n_mapped;
		stats->mapped_bytes += connection->leases.mapped_bytes;
		if (connection_is_dead(connection))
			stats->orphans += connection->leases.n_mapped;
		stats->handles += connection->socket >= 0 ? 1 : 0;
		stats->handles += connection->bell >= 0 ? 1 : 0;
		pthread_mutex_unlock(&connection->lock);
	}
	pthread_mutex_unlock(&all_lock);
}

unsigned connection_process(void)
{
	return process;
}

/* ---- beginning ---- */

void condition_init(pthread_cond_t *condition)
{
	pthread_condattr_t attributes;

	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(condition, &attributes);
	pthread_condattr_destroy(&attributes);
}

bool condition_wait(pthread_cond_t *condition, pthread_mutex_t *lock, uint64_t until_ms)
{
	struct timespec until = {.tv_sec = (time_t)(until_ms / 1000), .tv_nsec = (long)(until_ms % 1000) * 1000000};

	return pthread_cond_timedwait(condition, lock, &until) == 0;
}

static struct connection *connection_new(const struct connection_options *options)
{
	struct connection *connection = calloc(1, sizeof(*connection));

	if (!connection)
		return NULL;
	atomic_init(&connection->refs, 1);
	connection->owner = options->owner;
	connection->socket = -1;
	connection->bell = -1;
	connection->max_mapped = options->max_mapped;
	pthread_mutex_init(&connection->lock, NULL);
	pthread_mutex_init(&connection->bell_lock, NULL);
	condition_init(&connection->changed);

	pthread_once(&once, watch_forks);
	pthread_mutex_lock(&all_lock);
	DL_APPEND(all, connection);
	pthread_mutex_unlock(&all_lock);
	return connection;
}

/* With the lock of all connections: a fork comes before or after it, and the child knows what it has to close. */
static void close_descriptors(struct connection *connection)
{
	close_fdp(&connection->socket);
	close_fdp(&connection->bell);
}

static void connection_free(struct connection *connection)
{
	pthread_mutex_lock(&all_lock);
	close_descriptors(connection);
	DL_DELETE(all, connection);
	pthread_mutex_unlock(&all_lock);

	lease_table_deinit(&connection->leases);
	board_deinit(&connection->board);
	pulse_free(connection->pulse);
	pthread_cond_destroy(&connection->changed);
	pthread_mutex_destroy(&connection->lock);
	pthread_mutex_destroy(&connection->bell_lock);
	free(connection);
}

struct connection *connection_ref(struct connection *connection)
{
	atomic_fetch_add(&connection->refs, 1);
	return connection;
}

void connection_unref(struct connection *connection)
{
	if (connection && atomic_fetch_sub(&connection->refs, 1) == 1)
		connection_free(connection);
}

static void connection_unrefp(struct connection **connection)
{
	connection_unref(*connection);
}

static int say_hello(struct connection *connection, const char *name)
{
	struct message message = {.type = MESSAGE_HELLO, .hello = {.version = PROTOCOL_VERSION, .name = text_of(name)}};
	char bytes[MESSAGE_MAX_NAME + 64];
	int length;

	length = message_encode(&message, bytes, sizeof(bytes));
	if (length < 0)
		return -EINVAL;
	return channel_send(connection->socket, bytes, (size_t)length, NULL, 0);
}

/* What a server of another version would have said, had it known. */
static void complain_of_version(struct connection *connection, uint32_t version)
{
	snprintf(connection->complaint, sizeof(connection->complaint), "the server speaks version %" PRIu32 " of the protocol, the client version %d",
		 version, PROTOCOL_VERSION);
}

/* Takes the three descriptors of a welcome; board and pulse are closed once they are mapped. */
static int enter(struct connection *connection, const struct message_welcome *welcome, int *descriptors, bool guarded)
{
	int r;

	if (welcome->version != PROTOCOL_VERSION) {
		complain_of_version(connection, welcome->version);
		return -EPROTO;
	}
	if (welcome->window_bytes < page_size() || welcome->window_bytes & (welcome->window_bytes - 1))
		return -EPROTO;
	connection->server = *welcome;
	r = board_attach(&connection->board, welcome->n_slots, descriptors[0]);
	if (r < 0)
		return r;
	r = pulse_attach(&connection->pulse, descriptors[1]);
	if (r < 0)
		return r;
	connection->bell = take_fd(&descriptors[2]);
	r = lease_table_init(&connection->leases, &connection->board, welcome->window_bytes);
	return !r && guarded ? guard_new(&connection->leases.guard, &connection->board) : r;
}

static int handle_welcome(struct connection *connection, struct packet *packet, bool guarded)
{
	struct message message;
	int r;

	r = message_decode(&message, packet->bytes, packet->n_bytes);
	if (r == -EBADMSG || (!r && message_descriptors(&message) != packet->n_descriptors)) {
		snprintf(connection->complaint, sizeof(connection->complaint), "the server's answer to HELLO is not one of version %d of the protocol",
			 PROTOCOL_VERSION);
		return -EPROTO;
	}
	if (r < 0)
		return r;
	if (message.type == MESSAGE_ERROR) {
		connection_keep_complaint(connection, &message.error);
		return message_errno(&message.error);
	}
	return message.type == MESSAGE_WELCOME ? enter(connection, &message.welcome, packet->descriptors, guarded) : -EPROTO;
}

static int await_welcome(struct connection *connection, uint64_t deadline_ms, bool guarded)
{
	struct packet *packet = &connection->packet;
	uint64_t now_ms = clock_ms();
	int r;

	r = channel_wait(connection->socket, POLLIN, (int)(deadline_ms > now_ms ? min_u64(deadline_ms - now_ms, INT_MAX) : 0));
	if (r <= 0)
		return r < 0 ? r : -EBUSY;
	/* Where the server did not read what was sent, that comes before what it has said. */
	r = channel_receive(connection->socket, packet);
	if (r == -ECONNRESET)
		r = channel_receive(connection->socket, packet);
	if (r <= 0) {
		packet_deinit(packet);
		return r == 0 || r == -ECONNRESET ? -ENOTCONN : r;
	}

	r = handle_welcome(connection, packet, guarded);
	packet_deinit(packet);
	return r;
}

/* Signals are the program's: none is delivered to the library's thread. */
static int start_thread(struct connection *connection)
{
	sigset_t none, saved;
	int r;

	sigfillset(&none);
	pthread_sigmask(SIG_SETMASK, &none, &saved);
	r = pthread_create(&connection->thread, NULL, connection_listen, connection);
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
	return -r;
}

int connection_open(struct connection **new, const struct connection_options *options, uint64_t deadline_ms)
{
	_cleanup_(connection_unrefp) struct connection *connection = NULL;
	int r;

	options->complaint[0] = '\0';
	connection = connection_new(options);
	if (!connection)
		return -ENOMEM;
	connection->socket = address_connect(options->socket);
	if (connection->socket < 0)
		return connection->socket == -EAGAIN ? -EBUSY : connection->socket;

	/* A server that turns this client away says so, and does not read what it sends. */
	r = say_hello(connection, options->name);
	if (r < 0 && r != -EPIPE && r != -ECONNRESET)
		return r;
	r = await_welcome(connection, deadline_ms, options->guarded);
	memcpy(options->complaint, connection->complaint, COMPLAINT_SIZE);
	if (r < 0)
		return r;
	/* The one who listens to the bell: the thread, or the program until connection_close(). */
	connection->n_entered = 1;
	connection->threaded = options->threaded;
	if (options->threaded) {
		r = start_thread(connection);
		if (r < 0)
			return r;
	}
	*new = take_ptr(connection);
	return 0;
}

/* ---- end ---- */

/* Claims and unmaps all that nothing pins; the server is not there to be told. */
static void unmap_idle(struct connection *connection)
{
	struct discards discards;

	do {
		discards.slots.n = 0;
		pthread_mutex_lock(&connection->lock);
		lease_table_trim(&connection->leases, 0, 0, &discards);
		pthread_mutex_unlock(&connection->lock);
		discards_unmap(&discards);
	} while (discards.slots.n);
}

void connection_keep_complaint(struct connection *connection, const struct message_error *error)
{
	size_t length = (size_t)min_u64(error->sentence.length, sizeof(connection->complaint) - 1);

	memcpy(connection->complaint, error->sentence.data, length);
	connection->complaint[length] = '\0';
}

void connection_fail(struct connection *connection)
{
	pthread_mutex_lock(&connection->lock);
	/* From here on whoever ends a pin unmaps; see connection_unpin(). */
	atomic_store(&connection->dead, true);
	if (connection->socket >= 0)
		shutdown(connection->socket, SHUT_RDWR);
	if (connection->bell >= 0)
		shutdown(connection->bell, SHUT_RDWR);
	pthread_mutex_unlock(&connection->lock);
	unmap_idle(connection);

	pthread_mutex_lock(&connection->lock);
	pthread_cond_broadcast(&connection->changed);
	pthread_mutex_unlock(&connection->lock);
}

void connection_close(struct connection *connection)
{
	bool closed;

	connection_fail(connection);
	pthread_mutex_lock(&connection->lock);
	closed = connection->closed;
	connection->closed = true;
	pthread_mutex_unlock(&connection->lock);
	if (closed)
		return;
	if (connection->threaded)
		pthread_join(connection->thread, NULL);
	else
		connection_leave(connection);
}

bool connection_enter(struct connection *connection)
{
	bool alive;

	pthread_mutex_lock(&connection->lock);
	alive = !connection_is_dead(connection);
	connection->n_entered += alive;
	pthread_mutex_unlock(&connection->lock);
	return alive;
}

void connection_leave(struct connection *connection)
{
	bool last;

	pthread_mutex_lock(&connection->lock);
	last = !--connection->n_entered && connection_is_dead(connection);
	pthread_mutex_unlock(&connection->lock);
	if (!last)
		return;
	pthread_mutex_lock(&all_lock);
	pthread_mutex_lock(&connection->lock);
	close_descriptors(connection);
	pthread_mutex_unlock(&connection->lock);
	pthread_mutex_unlock(&all_lock);
}

/* ---- places ---- */

static struct board_slot *slot_of(const struct connection *connection, uint32_t slot)
{
	return &connection->board.slots[slot];
}

/* Lets go of a lease that is of no use any more, unless it is pinned. */
static void discard_lease(struct connection *connection, uint32_t slot)
{
	struct discards discards;

	discards.slots.n = 0;
	pthread_mutex_lock(&connection->lock);
	if (connection->leases.leases[slot].mapped)
		lease_table_discard(&connection->leases, &connection->leases.leases[slot], &discards);
	pthread_mutex_unlock(&connection->lock);
	connection_discard(connection, &discards);
}

bool connection_find(struct connection *connection, uint64_t file, uint64_t begin, uint64_t end, struct place *place)
{
	struct board_slot *slot;
	struct lease *lease;
	bool pinned = false, stale = false;

	pthread_mutex_lock(&connection->lock);
	lease = lease_table_find(&connection->leases, file, begin, end);
	if (lease) {
		slot = slot_of(connection, lease->ref.slot);
		pinned = board_pin(slot, lease->ref.generation, pulse_second(connection->pulse));
		stale = !pinned && board_is_stale(slot);
		*place = (struct place){
			.slot = lease->ref.slot,
			.generation = lease->ref.generation,
			.data = lease->address,
			.begin = lease->offset,
			.end = lease->offset + lease->length,
		};
	}
	pthread_mutex_unlock(&connection->lock);

	if (stale)
		discard_lease(connection, place->slot);
	return pinned;
}

void connection_pin_again(struct connection *connection, const struct place *place)
{
	board_pin_again(slot_of(connection, place->slot));
}

void connection_unpin(struct connection *connection, const struct place *place)
{
	board_unpin(slot_of(connection, place->slot), pulse_use(connection->pulse, &connection->last_use));
	if (connection_is_dead(connection))
		unmap_idle(connection);
}

bool connection_is_stale(const struct connection *connection, const struct place *place)
{
	return board_is_stale(slot_of(connection, place->slot));
}

bool connection_is_blanked(const struct connection *connection, const struct place *place)
{
	return guard_has_blanked(connection->leases.guard, place->slot);
}

const uint32_t *connection_watch(const struct connection *connection, const struct place *place)
{
	return board_watch(slot_of(connection, place->slot));
}

/* ---- letting go ---- */

void connection_release(struct connection *connection, const struct slot_list *slots)
{
	struct message message = {.type = MESSAGE_RELEASE, .release = {.slots = *slots}};
	char bytes[MESSAGE_MAX_SLOTS * 12 + 64];
	int length;

	length = message_encode(&message, bytes, sizeof(bytes));
	assert(length > 0);
	if (!connection_enter(connection))
		return;
	while (!connection_is_dead(connection)) {
		int r = channel_send(connection->socket, bytes, (size_t)length, NULL, 0);

		if (!r)
			break;
		if (r != -EAGAIN || channel_wait(connection->socket, POLLOUT, RELEASE_TIMEOUT_MS) <= 0)
			connection_fail(connection);
	}
	connection_leave(connection);
}

void connection_discard(struct connection *connection, struct discards *discards)
{
	if (!discards->slots.n)
		return;
	discards_unmap(discards);
	connection_release(connection, &discards->slots);
	discards->slots.n = 0;
}

uint32_t connection_unmap(struct connection *connection, const struct slot_list *slots)
{
	struct discards discards;
	uint32_t n;

	discards.slots.n = 0;
	pthread_mutex_lock(&connection->lock);
	for (uint32_t i = 0; i < slots->n; i++)
		lease_table_take(&connection->leases, &slots->refs[i], &discards);
	pthread_mutex_unlock(&connection->lock);

	n = discards.slots.n;
	connection_discard(connection, &discards);
	return n;
}

void connection_trim(struct connection *connection, uint64_t bytes, uint32_t n)
{
	struct discards discards;
	bool more;

	do {
		discards.slots.n = 0;
		pthread_mutex_lock(&connection->lock);
		lease_table_discard_superseded(&connection->leases, &discards);
		lease_table_trim(&connection->leases, bytes, n, &discards);
		pthread_mutex_unlock(&connection->lock);
		more = discards.slots.n == MESSAGE_MAX_SLOTS;
		connection_discard(connection, &discards);
	} while (more);
}
