/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guarded files: one who writes them, again and again, and those who read them and let go in time. A writer who found a file guarded gets in
 * only when nobody stands on it any more who did so before. And what was written last is what is read, whole, as long as nobody writes.
 */
#include "config.h"

#include "client/smmap-client.h"
#include "tests/soak.h"

#include "proto/util.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define SIZE        SOAK_GUARDED_SIZE
#define DEADLINE_MS 120000
#define ROUND       100
#define STANDS_MS   20 /* at most */
#define MS          UINT64_C(1000000) /* in ns */

/* A server is known to all so long after its start, and nobody stands on what one before it had granted. */
#define KNOWN_NS (2000 * MS)

/* What a guarded file holds, once it was written so often. */
static const unsigned char *bytes_of(uint64_t version, uint64_t offset)
{
	return soak_bytes((unsigned)(version / 2 % SOAK_FILES), offset);
}

/* ---- the writer ---- */

/* Whoever stands on the file, since before @began_ns. */
static void accuse(unsigned file, uint64_t began_ns, uint64_t server_ns)
{
	for (unsigned i = 0; i < SOAK_PLACES; i++) {
		uint64_t since_ns = atomic_load(&soak->stands[i].since_ns);

		if (since_ns && since_ns < began_ns && since_ns > server_ns + KNOWN_NS && atomic_load(&soak->stands[i].file) == file)
			soak_lose(SOAK_WRITERS, "a writer of %s was let in after %" PRIu64 " ms, and %u stood on it for %" PRIu64 " ms before",
				  soak_path(file), (soak_now_ns() - began_ns) / MS, i, (began_ns - since_ns) / MS);
	}
}

/* The file, open for writing; -1 if it can't be had. */
static int get_in(unsigned file)
{
	uint64_t began_ns = soak_now_ns(), server_ns = atomic_load(&soak->server_since_ns);
	int fd = open(soak_path(file), O_WRONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0) {
		soak_count(SOAK_WRITER_AT_ONCE);
		return fd;
	}
	if (errno != EWOULDBLOCK) {
		soak_lose(SOAK_ITSELF, "can't open %s: %s", soak_path(file), strerror(errno));
		return -1;
	}
	/* To change the length takes it in as well as to open it does. */
	if (soak_random(2) && truncate(soak_path(file), SIZE) < 0)
		soak_lose(SOAK_ITSELF, "can't truncate %s: %s", soak_path(file), strerror(errno));
	else
		fd = open(soak_path(file), O_WRONLY | O_CLOEXEC);
	/* Nobody is promised anything past the timeout, nor by a server that ends. */
	if (server_ns && server_ns == atomic_load(&soak->server_since_ns) && soak_now_ns() - began_ns < (SOAK_GUARD_MS - 500) * MS) {
		accuse(file, began_ns, server_ns);
		soak_keep(SOAK_WRITERS);
	}
	soak_count(SOAK_WRITER_WAITED);
	return fd;
}

static void write_version(unsigned file, int fd)
{
	_Atomic uint64_t *version = &soak->versions[file - SOAK_FILES];
	const unsigned char *bytes = bytes_of(atomic_load(version) + 2, 0);

	/* Odd as long as it is written. */
	atomic_fetch_add(version, 1);
	if (ftruncate(fd, (off_t)soak_random(SIZE)) < 0 || pwrite(fd, bytes, SIZE, 0) != SIZE)
		soak_lose(SOAK_ITSELF, "can't write %s: %s", soak_path(file), strerror(errno));
	atomic_fetch_add(version, 1);
}

/* A server can guard a file only where the kernel gives leases on it. */
static void try_guard(void)
{
	_cleanup_(close_fdp) int fd = open(soak_path(SOAK_FILES), O_RDONLY | O_CLOEXEC);

	if (fcntl(fd, F_SETLEASE, F_RDLCK) < 0)
		soak_excuse(SOAK_WRITER_WAITED);
}

int soak_write_guarded(unsigned place)
{
	soak_begin_random(place);
	try_guard();
	while (soak_goes_on()) {
		unsigned file = SOAK_FILES + (unsigned)soak_random(SOAK_GUARDED);
		_cleanup_(close_fdp) int fd = get_in(file);

		if (fd >= 0)
			write_version(file, fd);
		close_fdp(&fd);
		soak_rest(place);
		/* It is guarded again a second or so after this. */
		soak_sleep_ms(soak_random(1500));
	}
	return 0;
}

/* ---- a reader ---- */

static void lose(struct smmap_client *client, enum soak_promise promise, unsigned file, uint64_t offset, const char *what, ssize_t n)
{
	char said[256];

	smmap_client_complaint(client, said, sizeof(said));
	soak_lose(promise, "%s at %" PRIu64 ": %s: %zd, %s %s", soak_path(file), offset, what, n, smmap_strerror(n < 0 ? (int)n : 0), said);
}

/* Requires that it is what was written last, if nobody has written since @version. */
static void compare(struct smmap_client *client, struct smmap_cursor *cursor, unsigned file, uint64_t version, uint64_t offset, size_t size,
		    ssize_t n)
{
	bool same = n <= 0 || memcmp(smmap_cursor_data(cursor), bytes_of(version, offset), (size_t)n) == 0;

	atomic_thread_fence(memory_order_acquire);
	if (version % 2 || atomic_load(&soak->versions[file - SOAK_FILES]) != version)
		return;
	if (n != (ssize_t)size)
		lose(client, SOAK_CALLS, file, offset, "use", n);
	else if (!same)
		lose(client, SOAK_BYTES, file, offset, "what was written last is not there", n);
	soak_keep(SOAK_BYTES);
}

static void stand(struct smmap_client *client, struct smmap_cursor *cursor, unsigned file, unsigned place)
{
	uint64_t version = atomic_load(&soak->versions[file - SOAK_FILES]);
	uint64_t offset = soak_random(SIZE);
	size_t size = (size_t)min_u64(1 + soak_random(SOAK_WINDOW), SIZE - offset);
	ssize_t n = smmap_cursor_use(cursor, offset, size);

	/* The guard of pointers tells once that zeros stood in for what was cut off. */
	if (n == -ESTALE)
		n = smmap_cursor_use(cursor, offset, size);
	soak_keep(SOAK_CALLS);
	if (n < 0 && n != -ESTALE)
		lose(client, SOAK_CALLS, file, offset, "use", n);
	atomic_store(&soak->stands[place].file, file);
	atomic_store(&soak->stands[place].since_ns, n > 0 ? soak_now_ns() : 0);
	compare(client, cursor, file, version, offset, size, n);
	soak_sleep_ms(soak_random(STANDS_MS));
	atomic_store(&soak->stands[place].since_ns, 0);
	smmap_cursor_unuse(cursor);
}

int soak_read_guarded(unsigned place)
{
	struct smmap_client_options options = {
		.socket = soak->socket, .name = "guarded", .deadline_ms = DEADLINE_MS, .flags = SMMAP_GUARD_SIGBUS,
	};
	struct smmap_cursor *cursors[SOAK_GUARDED];
	struct smmap_client *client;

	soak_begin_random(place);
	while (soak_goes_on()) {
		/* The server may just be away. */
		if (smmap_client_open(&client, &options) < 0) {
			soak_sleep_ms(10);
			continue;
		}
		for (unsigned i = 0; i < SOAK_GUARDED; i++) {
			int r = smmap_cursor_open(&cursors[i], client, soak_path(SOAK_FILES + i), 0);

			if (r < 0)
				lose(client, SOAK_CALLS, SOAK_FILES + i, 0, "open", r);
		}
		for (unsigned i = 0; i < ROUND && soak_goes_on(); i++)
			stand(client, cursors[i % SOAK_GUARDED], SOAK_FILES + i % SOAK_GUARDED, place);
		for (unsigned i = 0; i < SOAK_GUARDED; i++)
			smmap_cursor_close(cursors[i]);
		smmap_client_close(client);
		soak_rest(place);
	}
	return 0;
}
