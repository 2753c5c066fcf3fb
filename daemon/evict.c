/* SPDX-License-Identifier: BSD-3-Clause */
/* `smmapd collect` and `smmapd drop`: have the server let go. */
#include "config.h"

#include "daemon/command.h"

#include "client/client.h"
#include "daemon/figures.h"
#include "daemon/label.h"
#include "daemon/size.h"
#include "proto/message.h"
#include "proto/util.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Says which files a drop had to leave. 0, or an error of the client. */
static int tell_what_stays(struct smmap_client *client, const char *path)
{
	_cleanup_(figures_deinit) struct figures figures;
	uint64_t n_files = 0, n_maps = 0;
	int r;

	r = figures_fetch(&figures, client, 1u << FIGURES_FILES);
	for (size_t i = 0; !r && i < figures.sections[FIGURES_FILES].n; i++) {
		const struct figures_file *file = figures_row(&figures, FIGURES_FILES, i);

		if (!file->regions || !label_is_below(file->path, path))
			continue;
		n_files++;
		n_maps += file->regions;
	}
	if (n_files)
		printf("%" PRIu64 " files in %" PRIu64 " maps stay, since they are in use: smmapd status --pins\n", n_files, n_maps);
	return r;
}

static int evict(const char *socket, struct message *request, const char *what)
{
	struct smmap_client *client;
	struct message answer;
	char size[SIZE_TEXT_MAX];
	int status, r;

	status = command_connect(&client, socket);
	if (status != EXIT_DONE)
		return status;
	r = client_ask(client, request, &answer, NULL, 0);
	if (!r && answer.type != MESSAGE_FREED)
		r = -EPROTO;
	if (!r)
		printf("%s in %" PRIu64 " maps came free\n", size_print(answer.freed.bytes, size), answer.freed.maps);
	if (!r && request->type == MESSAGE_DROP)
		r = tell_what_stays(client, request->drop.path.data);
	if (r < 0)
		status = command_failed(client, what, r);
	smmap_client_close(client);
	return status == EXIT_DONE ? command_flush() : status;
}

int command_collect(int argc, char **argv)
{
	struct message request = {.type = MESSAGE_COLLECT};
	const char *socket;
	int finished, status;

	status = command_parse(argc, argv, NULL, NULL, NULL, &socket, &finished);
	if (status != EXIT_DONE || finished)
		return status;
	if (optind < argc) {
		complain("collect takes no argument '%s'", argv[optind]);
		return complain_usage();
	}
	return evict(socket, &request, "collect");
}

int command_drop(int argc, char **argv)
{
	struct message request = {.type = MESSAGE_DROP};
	char absolute[PATH_MAX];
	const char *socket;
	int finished, status;

	status = command_parse(argc, argv, NULL, NULL, NULL, &socket, &finished);
	if (status != EXIT_DONE || finished)
		return status;
	if (argc - optind != 1) {
		complain("drop needs one path");
		return complain_usage();
	}

	/* The server knows files by their absolute paths. One that is not there any more can still be dropped, by that. */
	if (!realpath(argv[optind], absolute)) {
		if (*argv[optind] != '/' || strlen(argv[optind]) >= sizeof(absolute)) {
			complain("%s: %s", argv[optind], strerror(errno));
			return EXIT_FAILED;
		}
		strcpy(absolute, argv[optind]);
	}
	request.drop.path = text_of(absolute);
	return evict(socket, &request, argv[optind]);
}
