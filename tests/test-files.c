/* SPDX-License-Identifier: BSD-3-Clause */
/* Files that are replaced or deleted while cursors are on them. */
#include "config.h"

#include "client/smmap-client.h"
#include "tests/harness.h"
#include "tests/raw.h"

#include "proto/util.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#define WINDOW 65536

/* Of a file that the tests replace; the one that replaces it is of another size. */
#define SIZE       (4 * WINDOW)
#define OTHER_SIZE (WINDOW + 100)

static struct harness_server server;
static struct smmap_client *client;
static char output[1 << 16];

static struct smmap_client *open_client(void)
{
	struct smmap_client_options options = {.socket = server.socket, .name = "test"};
	struct smmap_client *opened;

	ck_assert_int_eq(smmap_client_open(&opened, &options), 0);
	return opened;
}

static void start(const char *max_memory)
{
	harness_start(&server, "--window-size=64K", max_memory, NULL);
	client = open_client();
}

static void stop(void)
{
	smmap_client_close(client);
	harness_stop(&server);
}

static struct smmap_cursor *open_cursor(struct smmap_client *of, const char *path)
{
	struct smmap_cursor *cursor;

	ck_assert_int_eq(smmap_cursor_open(&cursor, of, path, 0), 0);
	return cursor;
}

/* Stands on a window of a file of SIZE that is as harness_make_file() made it, and compares all of it. */
static void stand(struct smmap_cursor *cursor, unsigned window)
{
	const unsigned char *data;

	ck_assert_int_eq(smmap_cursor_use(cursor, window * WINDOW, WINDOW), WINDOW);
	data = smmap_cursor_data(cursor);
	for (uint64_t i = 0; i < WINDOW; i++)
		if (data[i] != harness_byte(window * WINDOW + i))
			ck_abort_msg("a wrong byte in window %u", window);
}

/* Whether one of the descriptors or maps of a process is the file of this name in the working directory. */
static bool has(pid_t pid, const char *name)
{
	harness_shell(output, sizeof(output), "{ ls -l /proc/%d/fd; cat /proc/%d/maps; } | grep -e \"$PWD/%s\\$\" -e \"$PWD/%s (deleted)\\$\"",
		      (int)pid, (int)pid, name, name);
	return *output;
}

static void await_gone(pid_t pid, const char *name)
{
	while (has(pid, name))
		ck_assert_int_ge(poll(NULL, 0, 1), 0);
}

/* ---- replaced ---- */

/* The other content: no byte of it is where it is in the first. */
static void replace(const char *path)
{
	FILE *file = fopen("new", "we");

	ck_assert_ptr_nonnull(file);
	for (uint64_t i = 0; i < OTHER_SIZE; i++)
		ck_assert_int_ne(putc((unsigned char)~harness_byte(i), file), EOF);
	ck_assert_int_eq(fclose(file), 0);
	ck_assert_int_eq(rename("new", path), 0);
}

static void assert_other(struct smmap_cursor *cursor)
{
	const unsigned char *data;

	ck_assert_int_eq(smmap_cursor_use(cursor, 0, SIZE), OTHER_SIZE);
	data = smmap_cursor_data(cursor);
	for (uint64_t i = 0; i < OTHER_SIZE; i++)
		if (data[i] != (unsigned char)~harness_byte(i))
			ck_abort_msg("not a byte of the new file at %d", (int)i);
}

/* Where a cursor stands, where it has stood, and where all was evicted: the server has the old file open as long as a cursor has. */
START_TEST(test_replaced)
{
	struct smmap_cursor *pinned, *idle, *evicted, *filler, *after;

	start("--max-memory=192K");
	harness_make_file("file", SIZE);
	harness_make_file("filler", WINDOW);
	pinned = open_cursor(client, "file");
	idle = open_cursor(client, "file");
	evicted = open_cursor(client, "file");
	filler = open_cursor(client, "filler");
	stand(evicted, 2);
	smmap_cursor_unuse(evicted);
	stand(pinned, 0);
	stand(idle, 1);
	smmap_cursor_unuse(idle);
	ck_assert_uint_eq(harness_figure(&server, "counters.evictions"), 0);
	stand(filler, 0);
	smmap_cursor_close(filler);
	ck_assert_uint_eq(harness_figure(&server, "counters.evictions"), 1);

	replace("file");
	after = open_cursor(client, "file");
	stand(idle, 1);
	smmap_cursor_unuse(idle);
	assert_other(after);
	smmap_cursor_unuse(after);
	stand(evicted, 2);
	smmap_cursor_unuse(evicted);
	stand(pinned, 0);
	for (unsigned i = 0; i < 16; i++) {
		stand(idle, i % 4);
		smmap_cursor_unuse(idle);
		assert_other(after);
		smmap_cursor_unuse(after);
	}
	ck_assert_int_eq(harness_shell(output, sizeof(output), "%s cat --socket=%s file | cmp - file", harness_program(), server.socket), 0);

	smmap_cursor_close(pinned);
	smmap_cursor_close(idle);
	smmap_cursor_close(evicted);
	smmap_cursor_close(after);
	stop();
}
END_TEST

/* When the server has closed the old file, no path leads to it; a cursor on a descriptor has its own way. */
static void assert_stale(struct smmap_cursor *old, struct smmap_cursor *by_descriptor, struct smmap_cursor *after)
{
	char byte;

	ck_assert_int_eq(smmap_cursor_use(old, 0, 1), -ESTALE);
	ck_assert(!smmap_cursor_is_valid(old));
	ck_assert_int_eq(smmap_cursor_read(old, &byte, 1, 0), -ESTALE);
	stand(by_descriptor, 3);
	smmap_cursor_unuse(by_descriptor);
	assert_other(after);
	smmap_cursor_unuse(after);
}

START_TEST(test_replaced_and_closed)
{
	static const char *const options[] = {"--window-size=64K", "--max-memory=1M", NULL};
	struct smmap_cursor *pinned, *old, *by_descriptor, *after;
	char socket[PATH_MAX];
	int fd;

	start("--max-memory=1M");
	strcpy(socket, server.socket);
	harness_make_file("file", SIZE);
	fd = open("file", O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(smmap_cursor_open_fd(&by_descriptor, client, fd, 0), 0);
	close(fd);
	pinned = open_cursor(client, "file");
	old = open_cursor(client, "file");
	stand(old, 0);
	smmap_cursor_unuse(old);
	replace("file");
	after = open_cursor(client, "file");

	ck_assert_int_eq(harness_shell(output, sizeof(output), "%s drop --socket=%s file", harness_program(), server.socket), 0);
	assert_stale(old, by_descriptor, after);

	/* By now only the cursor on a descriptor has brought the old one back. */
	stand(by_descriptor, 0);
	harness_kill(&server);
	harness_start_at(&server, socket, options);
	stand(by_descriptor, 0);
	assert_stale(old, by_descriptor, after);
	ck_assert_int_eq(smmap_cursor_use(pinned, 0, 1), -ESTALE);

	smmap_cursor_close(pinned);
	smmap_cursor_close(old);
	smmap_cursor_close(by_descriptor);
	smmap_cursor_close(after);
	stop();
}
END_TEST

/* What a cursor stands on outlives the server that granted it. */
START_TEST(test_replaced_without_a_server)
{
	static const char *const options[] = {"--window-size=64K", "--max-memory=1M", NULL};
	struct smmap_cursor *pinned, *after;
	char socket[PATH_MAX];

	start("--max-memory=1M");
	strcpy(socket, server.socket);
	harness_make_file("file", SIZE);
	pinned = open_cursor(client, "file");
	stand(pinned, 1);
	harness_kill(&server);
	replace("file");
	stand(pinned, 1);
	harness_start_at(&server, socket, options);
	after = open_cursor(client, "file");
	assert_other(after);
	stand(pinned, 1);
	ck_assert_int_eq(smmap_cursor_use(pinned, 0, 1), -ESTALE);
	ck_assert_int_eq(smmap_cursor_use(pinned, WINDOW, 1), -ESTALE);
	smmap_cursor_close(pinned);
	smmap_cursor_close(after);
	stop();
}
END_TEST

/* ---- deleted ---- */

/* It stays while a client has it open or stands on it, and no longer: neither server nor clients then keep anything of it. */
START_TEST(test_deleted)
{
	struct smmap_client *another;
	struct smmap_cursor *pinned, *open, *other;

	start("--max-memory=1M");
	harness_make_file("file", SIZE);
	pinned = open_cursor(client, "file");
	open = open_cursor(client, "file");
	another = open_client();
	other = open_cursor(another, "file");
	stand(open, 1);
	smmap_cursor_unuse(open);
	stand(other, 2);
	smmap_cursor_unuse(other);
	stand(pinned, 0);

	ck_assert_int_eq(unlink("file"), 0);
	stand(pinned, 0);
	smmap_cursor_close(other);
	smmap_cursor_close(open);
	stand(pinned, 0);
	/* The server asks for it: a place where none has been. */
	stand(pinned, 3);
	ck_assert(has(server.pid, "file"));

	smmap_cursor_close(pinned);
	await_gone(server.pid, "file");
	await_gone(getpid(), "file");
	ck_assert_uint_eq(harness_figure(&server, "usage.handles"), 0);
	ck_assert_uint_eq(harness_figure(&server, "usage.memory_bytes"), 0);
	smmap_client_close(another);
	stop();
}
END_TEST

/* A client of its own kind says that it is done with the file, and goes on reading. */
START_TEST(test_deleted_and_pinned)
{
	struct message_leased leased;
	struct raw raw;
	uint64_t file;
	uint32_t second;

	harness_start(&server, "--window-size=64K", NULL);
	harness_make_file("file", SIZE);
	raw_start(&raw, &server, "pins");
	file = raw_open(&raw, "file");
	leased = raw_lease(&raw, file, 0, 1);
	packet_deinit(raw.packet);
	raw_close_file(&raw, file);
	ck_assert_int_eq(unlink("file"), 0);
	/* The server has looked around at least once since. */
	for (second = pulse_second(raw.pulse); pulse_second(raw.pulse) < second + 2;)
		ck_assert_int_ge(poll(NULL, 0, 1), 0);
	ck_assert(has(server.pid, "file"));

	raw_unpin(&raw, &leased.lease);
	raw_await_recall(&raw, &leased.lease);
	raw_release(&raw, &leased.lease);
	await_gone(server.pid, "file");
	raw_close(&raw);
	harness_stop(&server);
}
END_TEST

/* The server keeps warm what clients have read that are gone: but not what nobody can open any more. */
START_TEST(test_deleted_without_clients)
{
	harness_start(&server, "--window-size=64K", NULL);
	harness_make_file("file", SIZE);
	ck_assert_int_eq(harness_shell(output, sizeof(output), "%s warm --socket=%s file", harness_program(), server.socket), 0);
	ck_assert(has(server.pid, "file"));
	ck_assert_int_eq(unlink("file"), 0);
	await_gone(server.pid, "file");
	harness_stop(&server);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("files");

	HARNESS_CASE(suite, "replaced", test_replaced, test_replaced_and_closed, test_replaced_without_a_server);
	HARNESS_CASE(suite, "deleted", test_deleted, test_deleted_and_pinned, test_deleted_without_clients);
	return harness_run(suite);
}
