/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SMMAP_CLIENT_H
#define SMMAP_CLIENT_H

/*
 * libsmmap-client: read files of any size through smmapd.
 *
 * A client is a connection to the server. A cursor is a handle on one file that stands on one range of it at a time, mapped
 * and readable. A buffer is a cursor dressed as a byte string. The server keeps what all processes of the host have mapped
 * within its limits; what a cursor stands on is never taken away.
 *
 * Functions return 0 or a length, or a negative errno value; smmap_strerror() makes a sentence of it. These values mean
 * something particular here, and any function that talks to the server can return them:
 *
 *   -ETIMEDOUT  no room came free before the deadline
 *   -EDQUOT     the quota of this user is used up, or all slots of this client, and what uses it up stayed pinned until the deadline
 *   -EFBIG      the range is larger than the server's limits: it can never fit
 *   -ESTALE     the file shrank below the range, or the path names another file by now
 *   -ENOTCONN   no server is there
 *   -ECHILD     the client was opened before a fork, by the parent: open another one
 *   -EMFILE     this process has no descriptor left
 *   -EAGAIN     the library's thread could not be started
 *   -EBADF      the descriptor is not open for reading only
 *   -EINVAL     an argument is out of range, or the file is not a regular file
 *   -EPROTO     the server is one of another version, or makes no sense: smmap_client_complaint() tells which version,
 *               where the client was open before
 *
 * A client may be used by many threads at once; a cursor, and the buffers on it, by one thread at a time. Every pointer is
 * checked for NULL where that is said; elsewhere NULL is -EINVAL.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct smmap_client;
struct smmap_cursor;
struct smmap_buffer;

/* Flags of a client: do without the library's thread. The caller then polls smmap_client_get_fd() for reading, and calls
 * smmap_client_dispatch() when it is readable. */
#define SMMAP_NO_THREAD 0x1u

/*
 * Flags of a client: guard what pointers lead to. Where a file was truncated, or can't be read, a touch of its map reads zeros instead of
 * raising SIGBUS; the next call that moves, assigns to or reads by a cursor which stood there returns -ESTALE, once, and the one after that
 * sees the new size. This installs a handler of SIGBUS for the whole process, which hands on what is not its own to the handler that was
 * there before; one that is installed later has to do the same. Not guarded are a thread that blocks SIGBUS, what no cursor stands on, what
 * a child after a fork has of its parent's, and a process that can have no more maps. See smmap-client(3).
 */
#define SMMAP_GUARD_SIGBUS 0x2u

/* Flags of a cursor: stand on the whole file at once, where that fits into the server's limits; else work in windows. */
#define SMMAP_WHOLE_FILE 0x1u

/* As a size: up to the end of the file. */
#define SMMAP_TO_END UINT64_MAX

/* How a client is opened. Zero, or NULL, stands for the default of each field. */
struct smmap_client_options {
	const char *socket;   /* path of the server's socket. Default: $SMMAP_SOCKET, else $XDG_RUNTIME_DIR/smmapd.sock where
	                       * that is there, else /run/smmapd/smmapd.sock */
	const char *name;     /* what `smmapd status` shows, at most 63 bytes. Default: the name of the program */
	uint64_t max_mapped;  /* bytes that the client keeps mapped at most, as far as no cursor stands on them. Default: unlimited
	                       * on 64 bits, 1 GiB on 32 */
	uint32_t deadline_ms; /* how long a call waits for room, or for a server that is away. Default: 5000 */
	uint32_t flags;       /* SMMAP_NO_THREAD, SMMAP_GUARD_SIGBUS */
	uint64_t reserved[8]; /* 0: for what later versions add, else -EINVAL */
};

/* What a client and its server hold. Sizes are in bytes. */
struct smmap_stats {
	uint64_t files;               /* files that this client has open */
	uint64_t handles;             /* descriptors that the client and its cursors use */
	uint64_t leases;              /* leases that this client holds, idle ones too */
	uint64_t orphans;             /* leases of an ended connection on which cursors still stand */
	uint64_t mapped_bytes;        /* bytes of its leases, orphans too; a window under two leases counts twice here */
	uint64_t hits;                /* times that a cursor came to a lease which the client had */
	uint64_t misses;              /* times that the server had to be asked for one */
	uint64_t window_bytes;        /* the server's window-size */
	uint64_t limit_memory_bytes;  /* the server's limits */
	uint64_t limit_handles;
	uint64_t limit_maps;
	uint64_t server_memory_bytes; /* what all clients of the server together use of them now */
	uint64_t server_handles;
	uint64_t server_maps;
	uint64_t reserved[16];        /* 0: for what later versions add */
};

/* The piece of a file that a cursor's lease has mapped: it may reach further in both directions than what was asked for. */
struct smmap_region {
	const void *data; /* the first byte */
	uint64_t offset;  /* its place in the file */
	uint64_t size;    /* in bytes */
};

/* How a cursor's range will be read; see smmap_cursor_advise(). */
enum smmap_advice {
	SMMAP_ADVISE_NORMAL,
	SMMAP_ADVISE_RANDOM,
	SMMAP_ADVISE_SEQUENTIAL,
	SMMAP_ADVISE_WILLNEED,
};

/* ---- errors ---- */

/*
 * The sentence for a return value of this library. @error is a negative errno value; 0 and lengths give "success". Never NULL;
 * the text is constant.
 */
const char *smmap_strerror(int error);

/* ---- client ---- */

/*
 * Connects to the server and stores a client in *@client, which the caller closes. @options may be NULL. Opening doesn't wait for a
 * server: -ENOTCONN if none is there; -ETIMEDOUT if one is there, but has no room for another client; -EDQUOT if the user has as many
 * as one may. Also -EINVAL for unknown flags, a reserved field that is not 0, or a name that is too long, -ENAMETOOLONG for such a socket, -EPROTO for a server of
 * another version, -ENOMEM, -EMFILE, and what socket(2) and pthread_create(3) return.
 */
int smmap_client_open(struct smmap_client **client, const struct smmap_client_options *options);

/*
 * Ends the connection and frees the client. Cursors that are still open keep what they stand on and answer -ENOTCONN to
 * whatever else is asked; close them too. NULL is fine.
 */
void smmap_client_close(struct smmap_client *client);

/* Fills *@stats. Sends no message. -ENOTCONN: there is no connection now, the server's figures are the last known ones. */
int smmap_client_stats(struct smmap_client *client, struct smmap_stats *stats);

/*
 * Lets go of all of the client's leases that no cursor stands on, and has the server evict the regions of this user's files that nobody
 * uses (of all files, for root). Returns the bytes that came free in the server, or an error.
 */
int64_t smmap_client_collect(struct smmap_client *client);

/*
 * The descriptor to poll for reading by a client with SMMAP_NO_THREAD; -EINVAL for one that has the thread, -ENOTCONN
 * while there is no connection. It belongs to the client, and is another one after a reconnection.
 */
int smmap_client_get_fd(struct smmap_client *client);

/* Unmaps what the server has taken back, without waiting for more. Returns the number of leases that went, or an error. */
int smmap_client_dispatch(struct smmap_client *client);

/*
 * Copies what the server said with the error that the last call which needed it on this client met into @to (@size bytes, always ended by a
 * zero byte, cut if need be): which limit, how much of it is used, who holds it. Empty if it said nothing; a call that fails before the
 * server is needed, by its arguments for instance, leaves what was there. Returns the length copied.
 */
size_t smmap_client_complaint(struct smmap_client *client, char *to, size_t size);

/* ---- cursor ---- */

/*
 * Opens the file @path and stores a cursor on it in *@cursor, which the caller closes. It stands nowhere yet. @flags: 0 or
 * SMMAP_WHOLE_FILE. No descriptor stays open in this process. With NULL as @path the cursor is associated with no file, until
 * smmap_cursor_assign() gives it one. Errors: those of open(2), -EINVAL if it is not a regular file, and those above.
 */
int smmap_cursor_open(struct smmap_cursor **cursor, struct smmap_client *client, const char *path, uint32_t flags);

/*
 * The same for a descriptor that the caller has open for reading only. The cursor keeps one of its own, so that @fd may be closed
 * at once, and neither its file offset nor its locks are touched. -EBADF for one that is open for writing or with O_PATH.
 */
int smmap_cursor_open_fd(struct smmap_cursor **cursor, struct smmap_client *client, int fd, uint32_t flags);

/* Lets go of where the cursor stands and frees it. NULL is fine. */
void smmap_cursor_close(struct smmap_cursor *cursor);

/* Stores a second cursor on the same file, standing at the same place, in *@copy; the caller closes it. */
int smmap_cursor_copy(struct smmap_cursor **copy, const struct smmap_cursor *from);

/*
 * Makes @cursor a handle on @from's file that stands where @from stands, whatever it was before. On an error it is unchanged, but for
 * -ESTALE, once, of what @cursor stood on with the guard: then it stands nowhere.
 */
int smmap_cursor_assign(struct smmap_cursor *cursor, const struct smmap_cursor *from);

/*
 * Moves the cursor to @size bytes at @offset, which are then mapped in one piece at smmap_cursor_data(), also across windows.
 * Returns how many there are: @size, or fewer up to the end of the file; 0 at or past the end, and the cursor then stands
 * nowhere. With a @size of 0, as many as the lease has, which may be more than a window: see smmap_cursor_advise(). The cursor
 * lets go of where it stood first; on an error it stands nowhere. A file that has grown is readable up to its new end. Inlined
 * where the cursor stays inside of its lease; (smmap_cursor_use)(...) calls the function.
 *
 * Errors: -EINVAL if there is no file, or @offset, @size or their sum is past 2^63 - 1; -ESTALE; and those above.
 */
ssize_t smmap_cursor_use(struct smmap_cursor *cursor, uint64_t offset, size_t size);

/* Lets go of where the cursor stands. Its lease stays mapped, idle, so that coming back is free. */
void smmap_cursor_unuse(struct smmap_cursor *cursor);

/*
 * Copies @size bytes at @offset of the file to @to, moving the cursor as it goes, and returns how many: fewer at the end of the
 * file, 0 past it. Also over more than the limits allow in one piece. Never raises SIGBUS: -ESTALE if the file was truncated
 * underneath, -EFAULT if @to can't be written to, and -EIO or another errno value of pread(2) if the file can't be read.
 * With SMMAP_GUARD_SIGBUS it is faster, in a thread that does not block SIGBUS, and then has the limits of that guard: it is only as safe as
 * the handler that is there, and a @to that can't be written to raises its signal. With a @size of 0 it moves nowhere, and returns 0.
 */
ssize_t smmap_cursor_read(struct smmap_cursor *cursor, void *to, size_t size, uint64_t offset);

/*
 * Says how the file will be read. A cursor that runs forward leases windows ahead, twice as many with each miss, up to the least of 16 MiB,
 * 64 windows, and a sixteenth of what the client may have mapped; SMMAP_ADVISE_SEQUENTIAL has it do so from the start, wherever it
 * moves, and SMMAP_ADVISE_RANDOM never. All are handed to madvise(2) for what the cursor stands on; it is fine to stand nowhere.
 */
int smmap_cursor_advise(struct smmap_cursor *cursor, enum smmap_advice advice);

/*
 * Queries. They send nothing, and are all defined for NULL, for a cursor without a file and for one that stands nowhere.
 */

/* The first byte of where the cursor stands; NULL nowhere. Valid until the cursor is moved, unused or closed. Inlined, too. */
const void *smmap_cursor_data(const struct smmap_cursor *cursor);
/* How many bytes are there: what smmap_cursor_use() returned; 0 nowhere. */
size_t smmap_cursor_size(const struct smmap_cursor *cursor);
/* The place of the first byte in the file, and the place after the last; both 0 nowhere. */
uint64_t smmap_cursor_begin(const struct smmap_cursor *cursor);
uint64_t smmap_cursor_end(const struct smmap_cursor *cursor);
/* Whether the cursor stands somewhere. */
bool smmap_cursor_is_valid(const struct smmap_cursor *cursor);
/* Whether the cursor has a file. */
bool smmap_cursor_is_associated(const struct smmap_cursor *cursor);
/* Whether the byte at @offset of the file is among those the cursor stands on. */
bool smmap_cursor_includes(const struct smmap_cursor *cursor, uint64_t offset);
/* The size of the file as of the last use or open; 0 without a file. */
uint64_t smmap_cursor_file_size(const struct smmap_cursor *cursor);
/* The path that the cursor was opened with, which belongs to it; NULL if it has none. */
const char *smmap_cursor_path(const struct smmap_cursor *cursor);
/* The descriptor that the cursor was opened with, as a number: the caller may have closed it. -EBADF if there was none. */
int smmap_cursor_fd(const struct smmap_cursor *cursor);
/* Fills *@region with all that the cursor's lease has mapped. -ENODATA, and all zero, if it stands nowhere. */
int smmap_cursor_region(const struct smmap_cursor *cursor, struct smmap_region *region);

/* ---- buffer ---- */

/*
 * Indexes of a buffer are relative to its offset. As in Python, a negative one counts from the end, and a range is clipped to the
 * length.
 */

/*
 * Stores a buffer over @size bytes at @offset of the cursor's file in *@buffer; the caller closes it. The length is cut at the end of the
 * file; SMMAP_TO_END asks for all. The buffer borrows the cursor and moves it: close the buffer first.
 */
int smmap_buffer_open(struct smmap_buffer **buffer, struct smmap_cursor *cursor, uint64_t offset, uint64_t size);

/* Makes the buffer one over @size bytes at @offset of the same cursor's file. On an error it is empty. */
int smmap_buffer_begin(struct smmap_buffer *buffer, uint64_t offset, uint64_t size);

/* Empties the buffer and lets go of where its cursor stands. */
void smmap_buffer_end(struct smmap_buffer *buffer);

/* Ends and frees the buffer, not the cursor. NULL is fine. */
void smmap_buffer_close(struct smmap_buffer *buffer);

/* The number of bytes; 0 for NULL. */
int64_t smmap_buffer_length(const struct smmap_buffer *buffer);

/* The byte at @index, 0 to 255; -ERANGE outside of the buffer, or an error of smmap_cursor_use(). */
int smmap_buffer_at(struct smmap_buffer *buffer, int64_t index);

/*
 * Copies the bytes from index @from, up to but not including @until, to @to, which has room for them; the number of bytes, or an error of
 * smmap_cursor_read().
 */
ssize_t smmap_buffer_read(struct smmap_buffer *buffer, void *to, int64_t from, int64_t until);

/*
 * Stores a pointer into the map to the same bytes in *@data, NULL if there are none, and returns their number. Valid until
 * the buffer or its cursor is used for anything else. -EFBIG for more than the limits allow in one piece.
 */
ssize_t smmap_buffer_slice(struct smmap_buffer *buffer, int64_t from, int64_t until, const void **data);

/* ---- what is inlined ---- */

/*
 * A cursor begins like this (a part of the binary interface), for what follows: a use that stays inside of the cursor's lease takes two
 * comparisons, and one look at whether the file was truncated. Only the library writes it, but for the first three.
 */
struct smmap_cursor_head {
	const char *data; /* where the cursor stands; NULL nowhere */
	size_t size;
	uint64_t begin;
	const char *lease_data; /* what its lease has mapped */
	uint64_t lease_begin;
	uint64_t lease_size;   /* 0 nowhere */
	const uint32_t *watch; /* from 1 to 2^31 - 1 as long as the lease may be used like this */
};

static inline ssize_t smmap_cursor_use_inlined(struct smmap_cursor *cursor, uint64_t offset, size_t size)
{
	struct smmap_cursor_head *head = (struct smmap_cursor_head *)cursor;
	uint64_t ahead;

	if (!head)
		return (smmap_cursor_use)(cursor, offset, size);
	ahead = offset - head->lease_begin;
	/* A size of 0, which asks for all that is there, is made the largest, and goes the long way. */
	if (ahead >= head->lease_size || (uint64_t)size - 1 >= head->lease_size - ahead ||
	    __atomic_load_n(head->watch, __ATOMIC_RELAXED) - 1 >= INT32_MAX)
		return (smmap_cursor_use)(cursor, offset, size);

	head->data = head->lease_data + ahead;
	head->size = size;
	head->begin = offset;
	return (ssize_t)size;
}

static inline const void *smmap_cursor_data_inlined(const struct smmap_cursor *cursor)
{
	const struct smmap_cursor_head *head = (const struct smmap_cursor_head *)cursor;

	return head ? head->data : NULL;
}

/* Of any number of arguments: a comma in braces ends one for the preprocessor. */
#define smmap_cursor_use(...)  smmap_cursor_use_inlined(__VA_ARGS__)
#define smmap_cursor_data(...) smmap_cursor_data_inlined(__VA_ARGS__)

#ifdef __cplusplus
}
#endif

#endif
