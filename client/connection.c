/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/connection.h"

#include "client/connections.h"
#include "client/handshake.h"
#include "proto/pulse.h"
#include "proto/util.h"

#include <assert.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

/* A server that does not read for so long is stopped, and would throw this client out if it went on. */
#define RELEASE_TIMEOUT_MS 1000

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
	struct connection *connection = connections_are_watched() ? calloc(1, sizeof(*connection)) : NULL;

	if (!connection)
		return NULL;
	/* Not cleared: of its pages only those are touched that are used. */
	connection->packet = malloc(sizeof(*connection->packet));
	if (!connection->packet) {
		free(connection);
		return NULL;
	}
	connection->packet->n_descriptors = 0;
	atomic_init(&connection->refs, 1);
	connection->owner = options->owner;
	connection->socket = -1;
	connection->bell = -1;
	connection->max_mapped = options->max_mapped;
	pthread_mutex_init(&connection->lock, NULL);
	pthread_mutex_init(&connection->bell_lock, NULL);
	condition_init(&connection->changed);

	connections_add(connection);
	return connection;
}

static void connection_free(struct connection *connection)
{
	connections_remove(connection);
	lease_table_deinit(&connection->leases);
	board_deinit(&connection->board);
	pulse_free(connection->pulse);
	pthread_cond_destroy(&connection->changed);
	pthread_mutex_destroy(&connection->lock);
	pthread_mutex_destroy(&connection->bell_lock);
	free(connection->packet);
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
	r = handshake(connection, options, deadline_ms);
	memcpy(options->complaint, connection->complaint, COMPLAINT_SIZE);
	if (r < 0)
		return r;
	/* The one who listens to the bell: the thread, or the program until connection_close(). */
	connection->n_entered = 1;
	connection->threaded = options->threaded;
	if (options->threaded) {
		r = channel_may_await(connection->socket);
		if (!r)
			r = start_thread(connection);
		if (r < 0)
			return r;
	}
	*new = take_ptr(connection);
	return 0;
}

/* ---- end ---- */

void connection_unmap_idle(struct connection *connection)
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
	connection_unmap_idle(connection);

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
	connections_close_descriptors(connection);
	free(take_ptr(connection->packet));
}

/* ---- places ---- */

static bool find_with_lock(struct connection *connection, uint64_t file, uint64_t begin, uint64_t end, struct place *place)
{
	struct board_slot *slot;
	struct lease *lease;
	struct discards discards;
	bool pinned = false;

	discards.slots.n = 0;
	pthread_mutex_lock(&connection->lock);
	lease = lease_table_find(&connection->leases, file, begin, end);
	if (lease) {
		slot = connection_slot(connection, lease->ref.slot);
		pinned = board_pin(slot, lease->ref.generation, pulse_second(connection->pulse));
		*place = (struct place){
			.slot = lease->ref.slot,
			.generation = lease->ref.generation,
			.data = lease->address,
			.begin = lease->offset,
			.end = lease->offset + lease->length,
		};
		/* It is of no use any more. */
		if (!pinned && board_is_stale(slot))
			lease_table_discard(&connection->leases, lease, &discards);
	}
	pthread_mutex_unlock(&connection->lock);

	connection_discard(connection, &discards);
	return pinned;
}

bool connection_find(struct connection *connection, uint64_t file, uint64_t begin, uint64_t end, struct place *place)
{
	return connection_glance(connection, file, begin, end, place) || find_with_lock(connection, file, begin, end, place);
}

void connection_pin_again(struct connection *connection, uint32_t slot)
{
	board_pin_again(connection_slot(connection, slot));
}

uint64_t connection_most_mapped(const struct connection *connection)
{
	return min_u64(connection->max_mapped, atomic_load_explicit(&connection->pulse->limit_memory_bytes, memory_order_relaxed));
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

/* Takes those out that the server has taken back. */
static void take_back(struct connection *connection, const struct slot_list *slots, struct discards *discards)
{
	discards->slots.n = 0;
	pthread_mutex_lock(&connection->lock);
	for (uint32_t i = 0; i < slots->n; i++)
		lease_table_take(&connection->leases, &slots->refs[i], discards);
	pthread_mutex_unlock(&connection->lock);
}

uint32_t connection_unmap(struct connection *connection, const struct slot_list *slots)
{
	struct discards discards;
	uint32_t n;

	take_back(connection, slots, &discards);
	n = discards.slots.n;
	connection_discard(connection, &discards);
	return n;
}

void connection_unmap_victims(struct connection *connection, const struct slot_list *victims)
{
	struct discards discards;

	if (!victims->n)
		return;
	take_back(connection, victims, &discards);
	discards_unmap(&discards);
	for (uint32_t i = 0; i < discards.slots.n; i++)
		board_mark_unmapped(connection_slot(connection, discards.slots.refs[i].slot));
	if (discards.slots.n && pulse_waits(connection->pulse))
		connection_release(connection, &discards.slots);
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
