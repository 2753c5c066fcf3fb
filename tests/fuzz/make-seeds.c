/* SPDX-License-Identifier: BSD-3-Clause */
/* Writes what the fuzzers begin with, a file for each input, into folders below the one that is named: make-seeds FOLDER */
#include "config.h"

#include "proto/channel.h"
#include "proto/figures.h"
#include "proto/message.h"
#include "proto/util.h"

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
	write_message(name, (struct message){.type = MESSAGE_LEASE, .lease = {1, 2, 3, 4, 5}});
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

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: make-seeds FOLDER\n");
		return EXIT_FAILURE;
	}
	folder = argv[1];
	write_requests();
	write_answers();
	return EXIT_SUCCESS;
}
