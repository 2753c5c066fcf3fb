/* SPDX-License-Identifier: BSD-3-Clause */
/* How a cursor gets to a place, where that takes more than one step. */
#include "config.h"

#include "client/smmap-client.h"
#include "tests/harness.h"
#include "tests/raw.h"

#include "proto/util.h"

#include <pthread.h>

#define PAGE   4096
#define WINDOW 65536

/* What the other one pins: all but a page of the limit. */
#define LIMIT "128K"
#define OTHER (2 * WINDOW - PAGE)

static struct harness_server server;
static struct smmap_cursor *cursor;
static struct raw other;

static void *use_past_the_end(void *data)
{
	ssize_t *n = data;

	*n = smmap_cursor_use(cursor, 0, 2 * PAGE);
	return NULL;
}

/*
 * The cursor has come back to a lease, at the end of the file as it is known. The file has grown, there is no room for what is new, and it
 * waits: pinning nothing meanwhile, so that no two can wait for each other.
 */
START_TEST(test_pins_nothing_while_it_waits)
{
	struct smmap_client_options options = {.deadline_ms = RAW_LONG_MS};
	struct message_leased leased;
	struct smmap_client *client;
	uint64_t file;
	pthread_t thread;
	ssize_t n = 0;

	harness_start(&server, "--window-size=64K", "--max-memory=" LIMIT, NULL);
	options.socket = server.socket;
	ck_assert_int_eq(smmap_client_open(&client, &options), 0);
	harness_make_file("growing", PAGE);
	harness_make_file("other", OTHER);
	ck_assert_int_eq(smmap_cursor_open(&cursor, client, "growing", 0), 0);
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, PAGE), PAGE);
	smmap_cursor_unuse(cursor);
	raw_start(&other, &server, "other");
	file = raw_open(&other, "other");
	leased = raw_lease(&other, file, 0, OTHER);

	harness_make_file("growing", 2 * PAGE);
	ck_assert_int_eq(pthread_create(&thread, NULL, use_past_the_end, &n), 0);
	raw_await_waits(&other, 1);
	ck_assert_uint_eq(raw_summary(&other).pinned_bytes, OTHER);

	raw_unpin(&other, &leased.lease);
	raw_await_recall(&other, &leased.lease);
	raw_release(&other, &leased.lease);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_int_eq(n, 2 * PAGE);
	ck_assert_uint_eq(smmap_cursor_file_size(cursor), 2 * PAGE);

	raw_close(&other);
	smmap_cursor_close(cursor);
	smmap_client_close(client);
	harness_stop(&server);
}
END_TEST

/* A cursor on the whole file, which was empty: all of what it has grown by, in one piece. */
START_TEST(test_whole_file_that_was_empty)
{
	struct smmap_client_options options = {0};
	struct smmap_client *client;

	harness_start(&server, "--window-size=64K", "--max-memory=1M", NULL);
	options.socket = server.socket;
	ck_assert_int_eq(smmap_client_open(&client, &options), 0);
	harness_make_file("file", 0);
	ck_assert_int_eq(smmap_cursor_open(&cursor, client, "file", SMMAP_WHOLE_FILE), 0);
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, 3 * WINDOW), 0);
	harness_make_file("file", 2 * WINDOW + PAGE);
	ck_assert_int_eq(smmap_cursor_use(cursor, PAGE, 3 * WINDOW), 2 * WINDOW);
	ck_assert_uint_eq(smmap_cursor_file_size(cursor), 2 * WINDOW + PAGE);
	ck_assert_int_eq(smmap_cursor_use(cursor, 2 * WINDOW + PAGE, 1), 0);
	smmap_cursor_close(cursor);
	smmap_client_close(client);
	harness_stop(&server);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("move");

	HARNESS_CASE(suite, "move", test_pins_nothing_while_it_waits, test_whole_file_that_was_empty);
	return harness_run(suite);
}
