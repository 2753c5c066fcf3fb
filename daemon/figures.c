/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/figures.h"

#include "client/client.h"
#include "proto/channel.h"
#include "proto/util.h"

/* Room for a row of any section. */
union row {
	struct figures_summary summary;
	struct figures_client client;
	struct figures_file file;
	struct figures_user user;
	struct figures_waiting waiting;
	struct figures_pin pin;
};

static int use_rows(struct text rows, enum figures_section section, figures_row_fn *use, void *data)
{
	union row row;
	int r;

	while ((r = figures_next(&rows, section, &row)) > 0) {
		r = use(data, &row);
		if (r < 0)
			return r;
	}
	return r == -EBADMSG ? -EPROTO : r;
}

int figures_ask(struct smmap_client *client, enum figures_section section, figures_row_fn *use, void *data)
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
		r = use_rows(answer.figures.rows, section, use, data);
		if (r < 0)
			return r;
		from = answer.figures.next;
	} while (from);
	return 0;
}
