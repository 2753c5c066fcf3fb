/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/connections.h"

#include "client/connection.h"
#include "client/smmap-client.h"
#include "proto/hash.h"
#include "proto/util.h"

unsigned connections_process;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct connection *all;
static bool watched;

void connections_lock(void)
{
	pthread_mutex_lock(&lock);
}

void connections_unlock(void)
{
	pthread_mutex_unlock(&lock);
}

/* ---- at a fork ---- */

static void close_descriptors(struct connection *connection)
{
	close_fdp(&connection->socket);
	close_fdp(&connection->bell);
}

/* The conversation is the parent's. Nothing else is touched: another thread of the parent may have been in the middle of it. */
static void after_fork_in_child(void)
{
	struct connection *connection;

	connections_process++;
	DL_FOREACH(all, connection)
	{
		close_descriptors(connection);
		board_forget(&connection->board);
	}
	all = NULL;
	connections_unlock();
}

/* When the library is loaded: later, a fork in another thread could find the handlers half there, or have a child install them once more. */
static __attribute__((constructor)) void watch_forks(void)
{
	watched = pthread_atfork(connections_lock, connections_unlock, after_fork_in_child) == 0;
}

bool connections_are_watched(void)
{
	return watched;
}

/* ---- all of them ---- */

void connections_add(struct connection *connection)
{
	connections_lock();
	DL_APPEND(all, connection);
	connections_unlock();
}

void connections_remove(struct connection *connection)
{
	connections_lock();
	close_descriptors(connection);
	DL_DELETE(all, connection);
	connections_unlock();
}

void connections_close_descriptors(struct connection *connection)
{
	connections_lock();
	pthread_mutex_lock(&connection->lock);
	close_descriptors(connection);
	pthread_mutex_unlock(&connection->lock);
	connections_unlock();
}

void connections_count(const struct smmap_client *owner, struct smmap_stats *stats)
{
	struct connection *connection;

	connections_lock();
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
	connections_unlock();
}
