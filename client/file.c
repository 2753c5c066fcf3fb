/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/file.h"

#include "client/call.h"
#include "client/client.h"
#include "client/connection.h"
#include "proto/util.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

/* Newer than some headers: Linux 5.6. */
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#define RESOLVE_NO_SYMLINKS 0x04

/* O_NONBLOCK so that a FIFO can't hang it. */
#define OPEN_FLAGS (O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)

/* ---- descriptors ---- */

/* Whether a path is absolute, and each part of it a name: none is empty, or one or two dots. */
static bool is_of_names(const char *path)
{
	if (*path != '/')
		return false;
	for (path++;; path++) {
		size_t length = strcspn(path, "/");

		if (length <= 2 && strspn(path, ".") >= length)
			return false;
		path += length;
		if (!*path)
			return true;
	}
}

/* Opens a path in which no part is a symbolic link. */
static int open_without_links(const char *path)
{
	struct {
		uint64_t flags, mode, resolve;
	} how = {.flags = OPEN_FLAGS | O_LARGEFILE, .resolve = RESOLVE_NO_SYMLINKS};

	return (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
}

/*
 * The descriptor, or -errno. With @named it is told whether the path is just what /proc would call the file: /proc has much to do for the first
 * question of a process.
 */
static int open_path(const char *path, bool *named)
{
	bool straight = named && is_of_names(path);

	for (;;) {
		int fd = straight ? open_without_links(path) : open(path, OPEN_FLAGS);

		if (fd >= 0 && named)
			*named = straight;
		if (fd >= 0)
			return fd;
		/* There is a link, or the kernel or a sandbox does not know the call. */
		if (straight && (errno == ELOOP || errno == ENOSYS || errno == EPERM))
			straight = false;
		/* A socket can't be opened; like all else that is no regular file it is refused as such. */
		else if (errno != EINTR)
			return errno == ENXIO ? -EINVAL : -errno;
	}
}

/* The name under which this process finds the file behind @fd. */
static void proc_path(char path[static 32], int fd)
{
	snprintf(path, 32, "/proc/self/fd/%d", fd);
}

/* Another open file description of the same file, so that nothing is shared with the caller; where that is refused, a copy. */
static int open_again(int fd)
{
	char path[32];
	int again;

	proc_path(path, fd);
	again = open_path(path, NULL);
	if (again >= 0 || again == -EMFILE)
		return again;
	again = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return again < 0 ? -errno : again;
}

static char *label_of(int fd, const char *otherwise)
{
	char path[32], label[PATH_MAX];
	ssize_t n;

	proc_path(path, fd);
	n = readlink(path, label, sizeof(label) - 1);
	if (n < 0)
		return strdup(otherwise ? otherwise : "");
	return strndup(label, (size_t)n);
}

/* ---- lifetime ---- */

static void file_free(struct file *file)
{
	connection_unref(file->connection);
	if (file->fd >= 0)
		atomic_fetch_sub(&file->client->n_handles, 1);
	atomic_fetch_sub(&file->client->n_files, 1);
	client_unref(file->client);
	close_fdp(&file->fd);
	pthread_mutex_destroy(&file->lock);
	free(file->path);
	free(file->label);
	free(file);
}

/*
 * Tells the server that nobody here needs the file any more. If that fails the server has forgotten it already, or will. There is nothing to
 * wait for: a server that does not answer at once is stopped.
 */
static void say_close(struct file *file)
{
	struct message request = {.type = MESSAGE_CLOSE, .close = {.file = file->id}};
	struct call call = {0};

	if (file->connection && !connection_is_dead(file->connection))
		call_run(&call, file->connection, &request, -1, clock_ms());
}

struct file *file_ref(struct file *file)
{
	atomic_fetch_add(&file->refs, 1);
	return file;
}

void file_unref(struct file *file)
{
	if (!file || atomic_fetch_sub(&file->refs, 1) != 1)
		return;
	/* In a child the conversation is the parent's, and what it was in the middle of is not to be touched. */
	if (client_check(file->client) < 0)
		return;
	say_close(file);
	file_free(file);
}

/* ---- at the server ---- */

static int say_open(struct file *file, struct connection *connection, int fd, uint64_t deadline_ms)
{
	uint64_t now_ms = clock_ms();
	struct message request = {
		.type = MESSAGE_OPEN,
		.open =
			{
				.label = text_of(file->label),
				.deadline_ms = (uint32_t)(deadline_ms > now_ms ? deadline_ms - now_ms : 0),
			},
	};
	struct call call = {0};
	int r;

	r = call_run(&call, connection, &request, fd, deadline_ms);
	if (r < 0)
		return r;

	connection_unref(file->connection);
	file->connection = connection_ref(connection);
	file->id = call.answer.opened.file;
	atomic_store(&file->size, call.answer.opened.size);
	return 0;
}

/* Opens a file again that was open before; the path may lead elsewhere by now. */
static int reopen(struct file *file, struct connection *connection, uint64_t deadline_ms)
{
	_cleanup_(close_fdp) int opened = -1;
	struct descriptor_facts facts;
	int r;

	if (file->fd >= 0)
		return say_open(file, connection, file->fd, deadline_ms);

	opened = open_path(*file->label == '/' ? file->label : file->path, NULL);
	if (opened < 0)
		return opened == -ENOENT || opened == -ENOTDIR || opened == -EINVAL ? -ESTALE : opened;
	r = descriptor_check(opened, &facts);
	if (r == -EINVAL || (!r && !descriptor_same_file(&facts, &file->facts)))
		return -ESTALE;
	return r < 0 ? r : say_open(file, connection, opened, deadline_ms);
}

bool file_is_attached(struct file *file, struct connection **connection, uint64_t *id)
{
	struct connection *current = client_connection(file->client);
	bool attached;

	pthread_mutex_lock(&file->lock);
	attached = current && file->connection == current;
	*id = file->id;
	pthread_mutex_unlock(&file->lock);
	if (attached)
		*connection = current;
	else
		connection_unref(current);
	return attached;
}

int file_attach(struct file *file, uint64_t deadline_ms, struct connection **connection, uint64_t *id)
{
	struct connection *current;
	int r;

	do {
		r = client_connect(file->client, deadline_ms, &current);
		if (r < 0)
			return r;
		pthread_mutex_lock(&file->lock);
		if (file->connection != current)
			r = reopen(file, current, deadline_ms);
		*id = file->id;
		pthread_mutex_unlock(&file->lock);
		if (r < 0)
			connection_unref(current);
		/* The server may have gone in between. */
	} while (r == -ENOTCONN && clock_ms() < deadline_ms);

	if (!r)
		*connection = current;
	return r;
}

void file_detach(struct file *file, const struct connection *connection, uint64_t id)
{
	pthread_mutex_lock(&file->lock);
	if (file->connection == connection && file->id == id) {
		connection_unref(file->connection);
		file->connection = NULL;
	}
	pthread_mutex_unlock(&file->lock);
}

/* ---- opening ---- */

static struct file *file_new(struct smmap_client *client, int caller_fd)
{
	struct file *file = calloc(1, sizeof(*file));

	if (!file)
		return NULL;
	atomic_init(&file->refs, 1);
	file->client = client_ref(client);
	file->caller_fd = caller_fd;
	file->fd = -1;
	pthread_mutex_init(&file->lock, NULL);
	atomic_fetch_add(&client->n_files, 1);
	return file;
}

int file_open(struct file **new, struct smmap_client *client, const char *path, int caller_fd)
{
	uint64_t deadline_ms = client_deadline(client);
	_cleanup_(file_unrefp) struct file *file = NULL;
	_cleanup_(close_fdp) int fd = -1;
	struct connection *connection;
	bool named = false;
	int r;

	client_forget_complaint(client);
	file = file_new(client, caller_fd);
	if (!file)
		return -ENOMEM;

	/* What the caller may do with it counts: opened again, a descriptor for writing could be made one for reading. */
	r = path ? 0 : descriptor_check(caller_fd, &file->facts);
	if (r < 0)
		return r;
	fd = path ? open_path(path, &named) : open_again(caller_fd);
	if (fd < 0)
		return fd;
	r = descriptor_check(fd, &file->facts);
	if (r < 0)
		return r;
	file->path = path ? strdup(path) : NULL;
	file->label = path && named ? strdup(path) : label_of(fd, path);
	if (!file->label || (path && !file->path))
		return -ENOMEM;

	do {
		r = client_connect(client, deadline_ms, &connection);
		if (r < 0)
			return r;
		r = say_open(file, connection, fd, deadline_ms);
		connection_unref(connection);
	} while (r == -ENOTCONN && clock_ms() < deadline_ms);
	if (r < 0)
		return r;
	if (!path) {
		file->fd = take_fd(&fd);
		atomic_fetch_add(&client->n_handles, 1);
	}
	*new = take_ptr(file);
	return 0;
}
