/* SPDX-License-Identifier: BSD-3-Clause */
/* Writes what the fuzzers begin with, a file for each input, into folders below the one that is named: make-seeds FOLDER */
#include "config.h"

#include "proto/channel.h"
#include "proto/figures.h"
#include "proto/message.h"
#include "proto/util.h"
#include "tests/fuzz/steps.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static char input[PACKET_MAX_BYTES];
static size_t n_input;
static const char *folder;
static unsigned n_written;

static void fail(const char *what)
{
	perror(what);
	exit(EXIT_FAILURE);
}

/* Ends an input of the fuzzer @name. */
static void write_input(const char *name)
{
	char path[4096];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		fail(path);
	snprintf(path, sizeof(path), "%s/%s/seed-%02u", folder, name, n_written++);
	file = fopen(path, "we");
	if (!file || fwrite(input, 1, n_input, file) != n_input || fclose(file) != 0)
		fail(path);
	n_input = 0;
}

static void add_message(const struct message *message)
{
	int length = message_encode(message, input + n_input, sizeof(input) - n_input);

	if (length < 0)
		fail("a message");
	n_input += (size_t)length;
}

static void write_message(const char *name, struct message message)
{
	message.serial = 7;
	add_message(&message);
	write_input(name);
}

/* ---- requests ---- */

static const struct slot_list few_slots = {.n = 3, .refs = {{0, 1}, {200, 70000}, {UINT32_MAX, UINT32_MAX}}};

static struct slot_list many_slots(void)
{
	struct slot_list slots = {.n = MESSAGE_MAX_SLOTS};

	for (uint32_t i = 0; i < slots.n; i++)
		slots.refs[i] = (struct slot_ref){.slot = i, .generation = i * 1000};
	return slots;
}

static struct text long_text(void)
{
	static char text[MESSAGE_MAX_TEXT];

	memset(text, 'x', sizeof(text));
	return (struct text){.data = text, .length = sizeof(text)};
}

static void write_requests(void)
{
	static const char name[] = "requests-decoder";

	write_message(name, (struct message){.type = MESSAGE_HELLO, .hello = {.version = 1, .name = text_of("seed")}});
	write_message(name, (struct message){.type = MESSAGE_OPEN, .open = {.label = text_of("/seed"), .deadline_ms = 5000}});
	write_message(name, (struct message){.type = MESSAGE_OPEN, .open = {.label = long_text()}});
	write_message(name, (struct message){.type = MESSAGE_LEASE, .lease = {1, 2, 3, 4, 5, few_slots}});
	write_message(name, (struct message){.type = MESSAGE_LEASE,
					     .lease = {UINT64_MAX, INT64_MAX, UINT64_C(1) << 32, UINT32_MAX, 65536}});
	write_message(name, (struct message){.type = MESSAGE_RELEASE});
	write_message(name, (struct message){.type = MESSAGE_RELEASE, .release = {.slots = few_slots}});
	write_message(name, (struct message){.type = MESSAGE_RELEASE, .release = {.slots = many_slots()}});
	write_message(name, (struct message){.type = MESSAGE_CLOSE, .close = {.file = 300}});
	write_message(name, (struct message){.type = MESSAGE_COLLECT});
	write_message(name, (struct message){.type = MESSAGE_DROP, .drop = {.path = text_of("/seed")}});
	write_message(name, (struct message){.type = MESSAGE_STATUS, .status = {.section = 1, .from = 2}});
}

/* ---- answers ---- */

/* Rows as a server would have them; which of their numbers is what is of no matter. */
static void write_figures(uint32_t section)
{
	static char page[4096];
	static union {
		uint64_t numbers[64];
		struct figures_summary summary;
		struct figures_client client;
		struct figures_file file;
		struct figures_user user;
		struct figures_waiting waiting;
		struct figures_pin pin;
	} row;
	struct message message = {.type = MESSAGE_FIGURES, .figures = {.next = section}};
	const struct layout *layout = figures_layout(section);
	size_t length = 0;

	for (size_t i = 0; i < layout->n_fields; i++) {
		const struct field *field = &layout->fields[i];
		void *value = (char *)&row + field->offset;

		if (field->kind == FIELD_TEXT)
			*(struct text *)value = text_of(i % 2 ? "text" : "");
		else if (field->kind == FIELD_U32)
			*(uint32_t *)value = UINT32_MAX >> i % 32;
		else
			*(uint64_t *)value = UINT64_MAX >> i;
	}
	for (int i = 0; i < 2; i++)
		length += (size_t)codec_encode(layout, &row, page + length, sizeof(page) - length);
	message.figures.rows = (struct text){.data = page, .length = length};
	write_message("answers-decoder", message);
}

static void write_answers(void)
{
	static const char name[] = "answers-decoder";

	write_message(name, (struct message){.type = MESSAGE_ERROR, .error = {.error = EDQUOT, .sentence = text_of("too much")}});
	write_message(name, (struct message){.type = MESSAGE_WELCOME, .welcome = {1, 16384, 65536, UINT64_MAX, 200, 32768}});
	write_message(name, (struct message){.type = MESSAGE_OPENED, .opened = {.file = 1, .size = INT64_MAX}});
	write_message(name, (struct message){.type = MESSAGE_LEASED, .leased = {{3, 4}, 65536, 100, 70000, {.n = 0}}});
	write_message(name, (struct message){.type = MESSAGE_LEASED, .leased = {{3, 4}, 0, 0, 0, few_slots}});
	write_message(name, (struct message){.type = MESSAGE_REOPEN});
	write_message(name, (struct message){.type = MESSAGE_CLOSED});
	write_message(name, (struct message){.type = MESSAGE_FREED, .freed = {.bytes = 65536, .maps = 1}});
	write_message(name, (struct message){.type = MESSAGE_RECALL, .recall = {.slots = few_slots}});
	write_message(name, (struct message){.type = MESSAGE_RECALL, .recall = {.slots = many_slots()}});
	for (uint32_t section = 0; section < FIGURES_N_SECTIONS; section++)
		write_figures(section);
}

/* ---- what clients of a server do ---- */

#define PAGE   UINT32_C(4096)
#define WINDOW (2 * PAGE)

static void add_byte(unsigned byte)
{
	input[n_input++] = (char)byte;
}

static void step(enum step step, unsigned client, unsigned argument)
{
	add_byte(STEP_BYTE(step, client, argument));
}

static void ask_with(unsigned client, enum step_descriptor what, struct message message)
{
	static uint32_t serial;

	message.serial = ++serial % 128;
	step(STEP_PACKET, client, 0);
	add_byte(what);
	add_message(&message);
}

static void ask(unsigned client, struct message message)
{
	ask_with(client, STEP_NO_DESCRIPTOR, message);
}

static void join(unsigned client, unsigned user)
{
	step(STEP_CONNECT, client, user);
	ask(client, (struct message){.type = MESSAGE_HELLO, .hello = {.version = PROTOCOL_VERSION, .name = text_of("n")}});
}

static void open_file(unsigned client, enum step_descriptor what)
{
	ask_with(client, what, (struct message){.type = MESSAGE_OPEN, .open = {.label = text_of("/l"), .deadline_ms = 50}});
}

static void lease(unsigned client, uint64_t file, uint64_t offset, uint64_t length)
{
	ask(client, (struct message){.type = MESSAGE_LEASE, .lease = {file, offset, length, 50, 1, {.n = 0}}});
}

static void unpin(unsigned client, unsigned slot)
{
	step(STEP_UNPIN, client, 0);
	add_byte(slot);
}

static void mark(unsigned client, unsigned slot)
{
	step(STEP_UNPIN, client, STEP_MARK);
	add_byte(slot);
}

static void release(unsigned client, uint32_t slot)
{
	ask(client, (struct message){.type = MESSAGE_RELEASE, .release = {.slots = {.n = 1, .refs = {{slot, 1}}}}});
}

static void set(unsigned settings)
{
	step(STEP_LATER, settings, STEP_SET);
}

static void ask_all(unsigned client)
{
	for (uint32_t section = 0; section < FIGURES_N_SECTIONS; section++)
		ask(client, (struct message){.type = MESSAGE_STATUS, .status = {.section = section}});
}

/* One client, who asks one thing of each kind. */
static void add_short_life(unsigned client, unsigned user)
{
	join(client, user);
	open_file(client, STEP_FILE_0);
	lease(client, 1, 0, 1);
	unpin(client, 0);
	step(STEP_PIN, client, 0);
	add_byte(0);
	ask_all(client);
	unpin(client, 0);
	release(client, 0);
	ask(client, (struct message){.type = MESSAGE_COLLECT});
	ask(client, (struct message){.type = MESSAGE_DROP, .drop = {.path = text_of("/l")}});
	ask(client, (struct message){.type = MESSAGE_CLOSE, .close = {.file = 1}});
}

/* Two users on the same files; what one needs the other has to unmap. */
static void add_contention(bool unmaps)
{
	join(0, 1);
	join(1, 2);
	open_file(0, STEP_FILE_0);
	open_file(1, STEP_FILE_1);
	for (uint32_t i = 0; i < 3; i++)
		lease(0, 1, i * WINDOW, WINDOW);
	unpin(0, 0);
	unpin(0, 1);
	lease(1, 2, 0, 2 * WINDOW);
	ask_all(1);
	if (unmaps) {
		release(0, 0);
		release(0, 1);
	}
	step(STEP_LATER, 0, 1);
	step(STEP_LATER, 0, 3);
	step(STEP_LATER, 0, 4);
}

/* A client whose own leases have to go for what it asks, and who says so later: in messages, or by marks, of which the next request tells. */
static void add_swap(bool marks)
{
	join(0, 1);
	open_file(0, STEP_FILE_0);
	open_file(0, STEP_FILE_1);
	for (uint32_t i = 0; i < 3; i++) {
		lease(0, 1, i * WINDOW, WINDOW);
		unpin(0, i);
	}
	lease(0, 2, 0, 2 * WINDOW);
	lease(0, 2, 0, WINDOW);
	step(STEP_LATER, 0, STEP_FAIL);
	for (uint32_t i = 0; i < 3; i++) {
		if (marks)
			mark(0, i);
		else
			release(0, i);
	}
	lease(0, 2, 0, WINDOW);
}

/* Of a mark a tick tells, and who begins to wait. */
static void add_marks(void)
{
	join(0, 1);
	join(1, 2);
	open_file(0, STEP_FILE_1);
	open_file(1, STEP_FILE_1);
	for (uint32_t i = 0; i < 4; i++) {
		lease(0, 1, i * WINDOW, WINDOW);
		unpin(0, i);
		mark(0, 0);
		if (i == 2)
			step(STEP_LATER, 0, 1);
	}
	lease(1, 1, 0, 3 * WINDOW);
	step(STEP_LATER, 0, 1);
}

static void add_files(void)
{
	join(0, 1);
	for (unsigned i = 0; i < STEP_N_DESCRIPTORS; i++) {
		open_file(0, i);
		step(STEP_CONNECT, 0, STEP_NOBODY);
		join(0, i % 3);
	}
}

static void add_changing_files(void)
{
	join(0, 1);
	open_file(0, STEP_FILE_0);
	for (unsigned i = 0; i < 3; i++)
		lease(0, 1, i * WINDOW, 1);
	step(STEP_FILE, 0, 1);
	lease(0, 1, 0, 1);
	step(STEP_LATER, 0, 4);
	step(STEP_FILE, 0, 6);
	lease(0, 1, 2 * WINDOW, 1);
	for (unsigned i = 0; i < 5; i++)
		unpin(0, i);
	step(STEP_LATER, 0, 4);
	step(STEP_FILE, 0, STEP_DELETE);
	step(STEP_LATER, 0, 4);
	ask(0, (struct message){.type = MESSAGE_CLOSE, .close = {.file = 1}});
	step(STEP_LATER, 0, 4);
}

/* The last window of a file is only a part of one, and becomes longer, under the leases of two users. */
static void add_growing_file(void)
{
	step(STEP_FILE, 0, 2);
	for (unsigned client = 0; client < 2; client++) {
		join(client, client + 1);
		open_file(client, STEP_FILE_0);
		lease(client, 1, WINDOW, 1);
	}
	step(STEP_FILE, 0, 3);
	lease(0, 1, WINDOW, WINDOW);
	step(STEP_FILE, 0, 6);
	step(STEP_LATER, 0, STEP_FAIL);
	lease(1, 1, WINDOW, WINDOW);
	lease(1, 1, WINDOW, 2 * WINDOW);
	ask_all(1);
}

/* More files than there are handles, one after the other. */
static void add_many_files(void)
{
	join(0, 0);
	for (unsigned i = 0; i < 4; i++) {
		open_file(0, STEP_FILE_0 + i);
		lease(0, i + 1, 0, 1);
		unpin(0, i);
	}
	lease(0, 1, 0, 1);
	step(STEP_LATER, 0, 5);
	step(STEP_LATER, 0, 5);
}

static void add_liar(void)
{
	join(0, 1);
	open_file(0, STEP_FILE_0);
	lease(0, 1, 0, 1);
	for (unsigned word = 0; word < 4; word++) {
		step(STEP_SCRIBBLE, 0, word);
		for (int i = 0; i < 9; i++)
			add_byte(i ? 0xff : 0);
	}
	ask_all(0);
	release(0, 0);
}

/* A writer of a file that one user has pinned and another leases as well; what it waits for ends. */
static void add_writer(void)
{
	set(STEP_GUARDED);
	for (unsigned client = 0; client < 2; client++) {
		join(client, client + 1);
		open_file(client, STEP_FILE_0);
		lease(client, 1, 0, WINDOW);
	}
	unpin(1, 0);
	step(STEP_FILE, 0, 1);
	lease(1, 1, 0, 1);
	ask_all(1);
	step(STEP_LATER, 0, 1);
}

static void write_writers(const char *name)
{
	/* The pin ends; when it has written, the file is guarded again. */
	add_writer();
	unpin(0, 0);
	step(STEP_LATER, 0, 1);
	step(STEP_LATER, 0, 4);
	step(STEP_FILE, 0, 6);
	write_input(name);
	/* Its time ends. */
	add_writer();
	step(STEP_LATER, 0, 3);
	lease(1, 1, 0, 1);
	write_input(name);
	/* The client, the guard, or the server goes. */
	add_writer();
	step(STEP_CONNECT, 0, STEP_NOBODY);
	write_input(name);
	add_writer();
	set(0);
	set(STEP_GUARDED);
	step(STEP_LATER, 0, 4);
	write_input(name);
	add_writer();
	write_input(name);
	/* The writer stays, and the file is not guarded before it has gone. */
	set(STEP_STAY);
	step(STEP_FILE, 0, 5);
	set(STEP_GUARDED | STEP_STAY);
	join(0, 1);
	open_file(0, STEP_FILE_0);
	lease(0, 1, 0, 1);
	step(STEP_LATER, 0, 4);
	set(STEP_GUARDED);
	step(STEP_LATER, 0, 4);
	step(STEP_FILE, 0, 2);
	write_input(name);
}

static void add_nonsense(void)
{
	join(0, 1);
	join(1, 1 | STEP_DEAF);
	step(STEP_BYTES, 1, 0);
	add_byte(STEP_NO_DESCRIPTOR);
	add_byte(6);
	for (int i = 0; i < 6; i++)
		add_byte("\xdd\x0f\xff\xff\xff\x29"[i] & 0xff);
	ask_all(0);
	step(STEP_LATER, 1, STEP_HEAR);
	ask(0, (struct message){.type = MESSAGE_HELLO, .hello = {.version = 2, .name = text_of("n")}});
}

static void write_lives(void)
{
	static const char name[] = "server";

	add_short_life(0, 1);
	write_input(name);
	add_short_life(3, 0);
	write_input(name);
	add_contention(true);
	write_input(name);
	add_contention(false);
	write_input(name);
	add_swap(false);
	write_input(name);
	add_swap(true);
	write_input(name);
	add_marks();
	write_input(name);
	add_files();
	write_input(name);
	add_changing_files();
	write_input(name);
	add_growing_file();
	write_input(name);
	add_many_files();
	write_input(name);
	add_liar();
	write_input(name);
	write_writers(name);
	add_nonsense();
	write_input(name);
	/* More of one user than there may be, and more than there is room for. */
	for (unsigned i = 0; i < 4; i++)
		join(i, i / 3);
	step(STEP_CONNECT, 0, STEP_NOBODY);
	write_input(name);
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: make-seeds FOLDER\n");
		return EXIT_FAILURE;
	}
	folder = argv[1];
	write_requests();
	write_answers();
	write_lives();
	return EXIT_SUCCESS;
}
