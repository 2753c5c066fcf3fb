/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * No memory, at each allocation in turn that the library makes in a call: the first, the second, until one run meets none that fails. Each
 * time the call succeeds all the same, or returns an error; after that the client has what it had before, the same call then succeeds, and
 * when all is closed nothing is left allocated or mapped.
 */
#include "config.h"

#include "tests/allocation.h"
#include "tests/raw.h"

#include "client/smmap-client.h"

#define WINDOW UINT64_C(65536)
#define SIZE   (8 * WINDOW)

/* Far more than any call takes. */
#define MANY_ALLOCATIONS 1000

static struct harness_server server;
static struct smmap_client *client;
static struct smmap_cursor *cursor, *another;
static struct smmap_buffer *buffer;
static char bytes[SIZE];
static uint32_t guarded; /* SMMAP_GUARD_SIGBUS, or nothing */

/* ---- calls ---- */

static const char *const options[] = {"--window-size=64K", "--max-memory=256K", NULL};

/* The library's thread would allocate whenever it likes. */
static int open_client_with(uint32_t flags, uint64_t max_mapped)
{
	const struct smmap_client_options wanted = {
		.socket = server.socket, .flags = flags | guarded, .max_mapped = max_mapped, .deadline_ms = RAW_PATIENCE_MS,
	};

	return smmap_client_open(&client, &wanted);
}

static int open_client(void)
{
	return open_client_with(SMMAP_NO_THREAD, 0);
}

static int open_client_with_thread(void)
{
	return open_client_with(0, 0);
}

static int open_path(void)
{
	return smmap_cursor_open(&cursor, client, "file", 0);
}

static int open_fd(void)
{
	int fd = open("file", O_RDONLY | O_CLOEXEC);
	int r = smmap_cursor_open_fd(&cursor, client, fd, 0);

	close_fd(fd);
	return r;
}

static int open_nothing(void)
{
	return smmap_cursor_open(&cursor, client, NULL, 0);
}

/* Whether what the cursor stands on is right; how much it is. */
static int right(ssize_t n, uint64_t offset)
{
	const unsigned char *data = smmap_cursor_data(cursor);

	if (n <= 0)
		return (int)n;
	for (ssize_t i = 0; i < n; i += 1000)
		if (data[i] != harness_byte(offset + (uint64_t)i))
			return -EBADMSG;
	return (int)n;
}

static int use(uint64_t offset, size_t size)
{
	return right(smmap_cursor_use(cursor, offset, size), offset);
}

static int use_one(void)
{
	return use(0, 1);
}

static int use_three(void)
{
	return use(WINDOW - 1, 2 * WINDOW);
}

static int use_another(void)
{
	return use(6 * WINDOW, 2 * WINDOW);
}

static int use_past_end(void)
{
	return use(SIZE, 1);
}

static int use_rest(void)
{
	return use(2 * WINDOW, 0);
}

static int read_all(void)
{
	ssize_t n = smmap_cursor_read(cursor, bytes, SIZE, 0);

	for (uint64_t i = 0; n == SIZE && i < SIZE; i += 1000)
		if ((unsigned char)bytes[i] != harness_byte(i))
			return -EBADMSG;
	return n >= 0 && n != SIZE ? -EBADMSG : (int)n;
}

static int copy(void)
{
	return smmap_cursor_copy(&another, cursor);
}

static int assign(void)
{
	return smmap_cursor_assign(another, cursor);
}

static int advise(void)
{
	return smmap_cursor_advise(cursor, SMMAP_ADVISE_SEQUENTIAL);
}

static int collect(void)
{
	int64_t freed = smmap_client_collect(client);

	return freed < 0 ? (int)freed : 0;
}

static int dispatch(void)
{
	int n = smmap_client_dispatch(client);

	return n < 0 ? n : 0;
}

static int open_buffer(void)
{
	return smmap_buffer_open(&buffer, cursor, 10, SMMAP_TO_END);
}

static int read_buffer(void)
{
	return (int)smmap_buffer_read(buffer, bytes, 0, -1);
}

static int slice(void)
{
	const void *data;

	return (int)smmap_buffer_slice(buffer, (int64_t)WINDOW - 20, (int64_t)WINDOW + 20, &data);
}

static int at(void)
{
	return smmap_buffer_at(buffer, -1);
}

/* ---- what comes before ---- */

static void with_client(void)
{
	ck_assert_int_eq(open_client(), 0);
}

static void with_cursor(void)
{
	with_client();
	ck_assert_int_eq(open_path(), 0);
}

static void with_place(void)
{
	with_cursor();
	ck_assert_int_eq(use_one(), 1);
}

static void with_two_cursors(void)
{
	with_place();
	ck_assert_int_eq(smmap_cursor_open(&another, client, NULL, 0), 0);
}

static void with_whole_file(void)
{
	with_client();
	harness_make_file("small", 3 * WINDOW);
	ck_assert_int_eq(smmap_cursor_open(&cursor, client, "small", SMMAP_WHOLE_FILE), 0);
}

/* All that there is room for, idle. */
static void with_much(void)
{
	with_cursor();
	for (uint64_t i = 0; i < 4; i++)
		ck_assert_int_eq(use(i * WINDOW, WINDOW), WINDOW);
	smmap_cursor_unuse(cursor);
}

static void with_little_cache(void)
{
	ck_assert_int_eq(open_client_with(SMMAP_NO_THREAD, 2 * WINDOW), 0);
	ck_assert_int_eq(open_path(), 0);
	for (uint64_t i = 0; i < 4; i++)
		ck_assert_int_eq(use(i * WINDOW, WINDOW), WINDOW);
}

static void with_buffer(void)
{
	with_cursor();
	ck_assert_int_eq(open_buffer(), 0);
}

/* Another client needs what this one has. */
static struct raw needy;

static void with_recall(void)
{
	int fd;

	with_much();
	raw_start(&needy, &server, "needy");
	raw_send_lease(&needy, raw_open(&needy, "file"), 4 * WINDOW, 4 * WINDOW, RAW_LONG_MS);
	fd = smmap_client_get_fd(client);
	ck_assert_int_eq(channel_wait(fd, POLLIN, RAW_PATIENCE_MS), 1);
}

/* The server was there, and is another one now. */
static void with_other_server(void)
{
	char socket[PATH_MAX];

	with_place();
	snprintf(socket, sizeof(socket), "%s", server.socket);
	/* What its process does before it is a server is not the client's. */
	allocation_ignore();
	harness_kill(&server);
	harness_start_at(&server, socket, options);
	allocation_watch();
}

static const struct situation {
	const char *name;
	void (*before)(void);
	int (*call)(void);
	bool loses; /* what the client had may be gone after an error: that is what was asked for */
} situations[] = {
	{"smmap_client_open", NULL, open_client, false},
	{"smmap_client_open, with a thread", NULL, open_client_with_thread, false},
	{"smmap_cursor_open", with_client, open_path, false},
	{"smmap_cursor_open_fd", with_client, open_fd, false},
	{"smmap_cursor_open of nothing", with_client, open_nothing, false},
	{"smmap_cursor_copy", with_place, copy, false},
	{"smmap_cursor_assign", with_two_cursors, assign, false},
	{"smmap_cursor_use", with_cursor, use_one, false},
	{"smmap_cursor_use, three windows", with_cursor, use_three, false},
	{"smmap_cursor_use, in place of another lease", with_place, use_three, false},
	{"smmap_cursor_use, a hit", with_place, use_one, false},
	{"smmap_cursor_use, past the end", with_cursor, use_past_end, false},
	{"smmap_cursor_use, a whole file", with_whole_file, use_rest, false},
	{"smmap_cursor_use, instead of what it has", with_much, use_another, true},
	{"smmap_cursor_use, with a full cache", with_little_cache, use_another, true},
	{"smmap_cursor_use, with another server", with_other_server, use_three, true},
	{"smmap_cursor_read", with_cursor, read_all, true},
	{"smmap_cursor_advise", with_place, advise, false},
	{"smmap_client_collect", with_much, collect, true},
	{"smmap_client_dispatch", with_recall, dispatch, true},
	{"smmap_buffer_open", with_cursor, open_buffer, false},
	{"smmap_buffer_read", with_buffer, read_buffer, true},
	{"smmap_buffer_slice", with_buffer, slice, false},
	{"smmap_buffer_at", with_buffer, at, false},
};

/* ---- one of them ---- */

static struct smmap_stats stats(void)
{
	struct smmap_stats now = {0};

	if (client)
		smmap_client_stats(client, &now);
	return now;
}

static void close_all(void)
{
	smmap_buffer_close(take_ptr(buffer));
	smmap_cursor_close(take_ptr(another));
	smmap_cursor_close(take_ptr(cursor));
	smmap_client_close(take_ptr(client));
}

/* The cursor lets go of where it stood before the call does anything: that is no loss. */
static void assert_as_before(const struct situation *situation, uint64_t number, const struct smmap_stats *before)
{
	struct smmap_stats now = stats();

	ck_assert_msg(now.files == before->files && now.handles <= before->handles,
		      "%s, allocation %ju: %ju files and %ju handles, before %ju and %ju", situation->name, (uintmax_t)number,
		      (uintmax_t)now.files, (uintmax_t)now.handles, (uintmax_t)before->files, (uintmax_t)before->handles);
	ck_assert_msg(now.leases <= before->leases && now.mapped_bytes <= before->mapped_bytes,
		      "%s, allocation %ju: %ju leases, before %ju", situation->name, (uintmax_t)number, (uintmax_t)now.leases,
		      (uintmax_t)before->leases);
	ck_assert_msg(situation->loses || now.leases == before->leases, "%s, allocation %ju: a lease is lost", situation->name,
		      (uintmax_t)number);
}

/* Fails one allocation. False if there was none of this number. */
static bool go(const struct situation *situation, uint64_t number)
{
	struct smmap_stats before;
	bool failed;
	int r;

	allocation_watch();
	if (situation->before)
		situation->before();
	before = stats();
	allocation_fail(number);
	r = situation->call();
	failed = allocation_end();
	ck_assert_msg(r >= 0 || failed, "%s: error %d, and nothing has failed", situation->name, r);
	if (r < 0) {
		printf("%s, %ju: %s\n", situation->name, (uintmax_t)number, smmap_strerror(r));
		ck_assert_msg(r == -ENOMEM, "%s, allocation %ju: error %d", situation->name, (uintmax_t)number, r);
		assert_as_before(situation, number, &before);
		r = situation->call();
		ck_assert_msg(r >= 0, "%s, allocation %ju: error %d afterwards", situation->name, (uintmax_t)number, r);
	}
	close_all();
	if (needy.socket > 0)
		raw_close(&needy);
	allocation_ignore();
	return failed;
}

static void go_through(const struct situation *situation)
{
	struct allocated baseline, now;
	uint64_t number = 1;
	bool failed;

	/* What is allocated once, for the process. */
	go(situation, 0);
	baseline = allocation_count();
	do {
		failed = go(situation, number);
		now = allocation_count();
		ck_assert_msg(now.blocks == baseline.blocks && now.mapped_bytes == baseline.mapped_bytes,
			      "%s, allocation %ju: %jd blocks and %jd mapped bytes are left", situation->name, (uintmax_t)number,
			      (intmax_t)(now.blocks - baseline.blocks), (intmax_t)(now.mapped_bytes - baseline.mapped_bytes));
		ck_assert_uint_lt(++number, MANY_ALLOCATIONS);
	} while (failed);
	printf("%s: each of %ju allocations has failed\n", situation->name, (uintmax_t)number - 2);
}

/*
 * A guard is never freed, but handed on: there are as many as a client ever has connections at once. While the first of them is made each
 * allocation fails, too.
 */
static void make_guards(void)
{
	struct smmap_client *clients[4];
	uint64_t number = 1;
	bool failed;
	int r;

	allocation_watch();
	do {
		allocation_fail(number++);
		r = open_client();
		failed = allocation_end();
		ck_assert_msg(r == 0 || (failed && r == -ENOMEM), "allocation %ju: error %d", (uintmax_t)number - 1, r);
		smmap_client_close(take_ptr(client));
	} while (failed);
	allocation_ignore();
	for (unsigned i = 0; i < 4; i++) {
		ck_assert_int_eq(open_client(), 0);
		clients[i] = take_ptr(client);
	}
	for (unsigned i = 0; i < 4; i++)
		smmap_client_close(clients[i]);
}

static void go_through_all(void)
{
	harness_start(&server, options[0], options[1], NULL);
	harness_make_file("file", SIZE);
	for (size_t i = 0; i < sizeof(situations) / sizeof(situations[0]); i++)
		go_through(&situations[i]);
	harness_stop(&server);
}

START_TEST(test_calls)
{
	go_through_all();
}
END_TEST

START_TEST(test_calls_with_guard)
{
	guarded = SMMAP_GUARD_SIGBUS;
	harness_start(&server, options[0], options[1], NULL);
	make_guards();
	harness_stop(&server);
	go_through_all();
}
END_TEST

Suite *suite(void);

Suite *suite(void)
{
	Suite *s = suite_create("allocation in the client");

	HARNESS_CASE(s, "calls", test_calls, test_calls_with_guard);
	return s;
}

int main(void)
{
	return allocation_run(suite);
}
