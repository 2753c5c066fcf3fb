/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/figures.h"

#include "client/client.h"
#include "proto/channel.h"
#include "proto/util.h"

#include <string.h>
#include <time.h>

static const size_t sizes[FIGURES_N_SECTIONS] = {
	[FIGURES_SUMMARY] = sizeof(struct figures_summary), [FIGURES_CLIENTS] = sizeof(struct figures_client),
	[FIGURES_FILES] = sizeof(struct figures_file),      [FIGURES_USERS] = sizeof(struct figures_user),
	[FIGURES_WAITING] = sizeof(struct figures_waiting), [FIGURES_PINS] = sizeof(struct figures_pin),
};

/* Room for a row of any section. */
union row {
	struct figures_summary summary;
	struct figures_client client;
	struct figures_file file;
	struct figures_user user;
	struct figures_waiting waiting;
	struct figures_pin pin;
};

static void free_texts(enum figures_section section, void *row)
{
	const struct layout *layout = figures_layout(section);

	for (size_t i = 0; i < layout->n_fields; i++)
		if (layout->fields[i].kind == FIELD_TEXT)
			free((char *)(uintptr_t)((struct text *)((char *)row + layout->fields[i].offset))->data);
}

/* Gives the row texts of its own, each ended by a zero byte. 0 or -ENOMEM. */
static int own_texts(enum figures_section section, void *row)
{
	const struct layout *layout = figures_layout(section);
	bool failed = false;

	for (size_t i = 0; i < layout->n_fields; i++) {
		struct text *text = (struct text *)((char *)row + layout->fields[i].offset);
		char *copy;

		if (layout->fields[i].kind != FIELD_TEXT)
			continue;
		copy = malloc(text->length + 1);
		failed = failed || !copy;
		if (copy) {
			memcpy(copy, text->data, text->length);
			copy[text->length] = '\0';
		}
		text->data = copy;
	}
	if (failed)
		free_texts(section, row);
	return failed ? -ENOMEM : 0;
}

/* Adds the rows of a page. */
static int add_rows(struct figures_rows *to, enum figures_section section, struct text page)
{
	union row row;
	int r;

	while ((r = figures_next(&page, section, &row)) > 0) {
		void *rows = reallocarray(to->rows, to->n + 1, sizes[section]);

		if (!rows)
			return -ENOMEM;
		to->rows = rows;
		r = own_texts(section, &row);
		if (r < 0)
			return r;
		memcpy((char *)to->rows + to->n++ * sizes[section], &row, sizes[section]);
	}
	return r == -EBADMSG ? -EPROTO : r;
}

static int fetch_section(struct figures_rows *to, struct smmap_client *client, enum figures_section section)
{
	_cleanup_(freep) char *bytes = malloc(PACKET_MAX_BYTES);
	uint64_t from = 0;

	if (!bytes)
		return -ENOMEM;
	do {
		struct message request = {.type = MESSAGE_STATUS, .status = {.section = section, .from = from}};
		struct message answer;
		int r;

		r = client_ask(client, &request, &answer, bytes, PACKET_MAX_BYTES);
		if (r < 0)
			return r;
		if (answer.type != MESSAGE_FIGURES || (answer.figures.next && answer.figures.next <= from))
			return -EPROTO;
		r = add_rows(to, section, answer.figures.rows);
		if (r < 0)
			return r;
		from = answer.figures.next;
	} while (from);
	return section == FIGURES_SUMMARY && to->n != 1 ? -EPROTO : 0;
}

int figures_fetch(struct figures *figures, struct smmap_client *client, uint32_t sections)
{
	struct timespec now;
	int r = 0;

	*figures = (struct figures){0};
	clock_gettime(CLOCK_MONOTONIC, &now);
	figures->taken_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	for (uint32_t section = 0; !r && section < FIGURES_N_SECTIONS; section++)
		if (section == FIGURES_SUMMARY || sections & (1u << section))
			r = fetch_section(&figures->sections[section], client, section);
	if (r < 0)
		figures_deinit(figures);
	return r;
}

void figures_deinit(struct figures *figures)
{
	for (uint32_t section = 0; section < FIGURES_N_SECTIONS; section++) {
		struct figures_rows *rows = &figures->sections[section];

		for (size_t i = 0; i < rows->n; i++)
			free_texts(section, (char *)rows->rows + i * sizes[section]);
		free(rows->rows);
	}
	*figures = (struct figures){0};
}

const void *figures_row(const struct figures *figures, enum figures_section section, size_t i)
{
	return (const char *)figures->sections[section].rows + i * sizes[section];
}

const struct figures_summary *figures_summary(const struct figures *figures)
{
	return figures->sections[FIGURES_SUMMARY].rows;
}
