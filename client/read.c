/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copying reads. The kernel copies, and stops where the map can't be read, where this thread would be killed. It does not say why. So what
 * is left is read from the file, by the cursor's own descriptor or the one that comes with a new lease: that tells the end of the file from
 * an error of the disk, and from a destination that can't be written to.
 *
 * With the guard this thread can't be killed, unless it has SIGBUS blocked, and copies for itself. To ask for that is a system call too, but
 * one that costs a small part of a copy by the kernel.
 */
#include "config.h"

#include "client/cursor.h"

#include "client/client.h"
#include "client/file.h"
#include "proto/util.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/uio.h>

/* The kernel copies no more than 2 GiB at once; and a pipe holds no more than this. */
#define COPY_PIECE (1u << 30)
#define PIPE_PIECE (1u << 16)

/* ---- from the map ---- */

/* Copies some of it through a pipe: any process may do that. The number of bytes; -EFAULT if the first can't be copied; or -errno. */
static ssize_t copy_by_pipe(char *to, const char *from, size_t size)
{
	ssize_t n;
	int ends[2];

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	n = write(ends[1], from, (size_t)min_u64(size, PIPE_PIECE));
	if (n > 0)
		n = read(ends[0], to, (size_t)n);
	if (n < 0)
		n = -errno;
	close_fd(ends[0]);
	close_fd(ends[1]);
	return n;
}

/* Copies some of it. The number of bytes; -EFAULT if the first can't be copied; or -errno. */
static ssize_t copy_some(char *to, const char *from, size_t size)
{
	struct iovec local = {.iov_base = to, .iov_len = (size_t)min_u64(size, COPY_PIECE)};
	struct iovec remote = {.iov_base = (void *)(uintptr_t)from, .iov_len = local.iov_len};
	ssize_t n = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);

	if (n > 0)
		return n;
	/* All else is a sandbox that forbids the call. */
	return n < 0 && errno == EFAULT ? -EFAULT : copy_by_pipe(to, from, size);
}

/* Whether the guard lets this thread touch what can't be read. */
static bool is_guarded(const struct smmap_cursor *cursor)
{
	sigset_t blocked;

	return cursor->client->guarded && pthread_sigmask(SIG_BLOCK, NULL, &blocked) == 0 && !sigismember(&blocked, SIGBUS);
}

/* Copies the first @size bytes of where the cursor stands. How many could be; or -errno. */
static ssize_t copy_map(const struct smmap_cursor *cursor, char *to, size_t size)
{
	const char *from = smmap_cursor_data(cursor);
	size_t done = 0;

	if (is_guarded(cursor)) {
		memcpy(to, from, size);
		done = size;
	}
	while (done < size) {
		ssize_t n = copy_some(to + done, from + done, size - done);

		if (n == -EFAULT)
			break;
		if (n < 0)
			return n;
		done += (size_t)n;
	}
	/* Zeros that the guard put there can be copied in either way. */
	return cursor_is_blanked(cursor) ? 0 : (ssize_t)done;
}

/* ---- from the file ---- */

/* 0; -ESTALE if the file has become shorter; or -errno of pread(2). */
static int read_all(int fd, char *to, size_t size, uint64_t offset)
{
	for (size_t done = 0; done < size;) {
		ssize_t n = pread(fd, to + done, size - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ESTALE;
		done += (size_t)n;
	}
	return 0;
}

/* The same for what can't be copied from the map. The cursor stands nowhere then. */
static int read_file(struct smmap_cursor *cursor, char *to, size_t size, uint64_t offset)
{
	_cleanup_(close_fdp) int fd = -1;
	ssize_t n;
	int r;

	/* What was blanked is not handed out, so there is nothing to tell. */
	cursor_let_go(cursor);
	if (cursor->file->fd >= 0) {
		r = read_all(cursor->file->fd, to, size, offset);
		cursor->doubts = cursor->doubts || r == -ESTALE;
		return r;
	}
	n = cursor_move(cursor, offset, size, &fd);
	if (n <= 0)
		return n < 0 ? (int)n : -ESTALE;
	smmap_cursor_unuse(cursor);
	return read_all(fd, to, size, offset);
}

/* ---- */

/* Reads the first @size bytes of where the cursor stands, which are at @offset of the file. 0 or an error. */
static int read_piece(struct smmap_cursor *cursor, char *to, size_t size, uint64_t offset)
{
	ssize_t n = copy_map(cursor, to, size);

	if (n < 0)
		return (int)n;
	return (size_t)n == size ? 0 : read_file(cursor, to + n, size - (size_t)n, offset + (uint64_t)n);
}

ssize_t smmap_cursor_read(struct smmap_cursor *cursor, void *to, size_t size, uint64_t offset)
{
	size_t done = 0;
	int r;

	r = cursor_check(cursor);
	if (r < 0)
		return r;
	if (!cursor->file || (!to && size))
		return -EINVAL;
	if (size > SSIZE_MAX || offset > INT64_MAX || size > INT64_MAX - offset)
		return -EINVAL;

	while (done < size) {
		size_t piece;
		ssize_t n;

		/* As much as the lease has: then any size fits. */
		n = smmap_cursor_use(cursor, offset + done, 0);
		if (n <= 0)
			return n < 0 ? n : (ssize_t)done;
		piece = (size_t)min_u64((uint64_t)n, size - done);
		r = read_piece(cursor, (char *)to + done, piece, offset + done);
		if (r < 0) {
			smmap_cursor_unuse(cursor);
			return r;
		}
		done += piece;
	}
	return (ssize_t)done;
}
