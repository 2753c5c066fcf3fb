/* SPDX-License-Identifier: BSD-3-Clause */
/* `smmapd status`: the command. */
#include "config.h"

#include "daemon/status.h"

#include "client/smmap-client.h"
#include "daemon/command.h"

#include <locale.h>

/* What is to be shown. */
struct choice {
	bool json;
	bool clients;
	bool files;
};

static int choose(void *data, int option, const char *value)
{
	struct choice *choice = data;

	(void)value;
	choice->json = choice->json || option == 'j';
	choice->clients = choice->clients || option == 'c';
	choice->files = choice->files || option == 'f';
	return EXIT_DONE;
}

int command_status(int argc, char **argv)
{
	static const struct option own[] = {
		{"json", no_argument, NULL, 'j'},
		{"clients", no_argument, NULL, 'c'},
		{"files", no_argument, NULL, 'f'},
		{0},
	};
	struct choice choice = {0};
	struct smmap_client *client;
	const char *socket;
	int finished, status, r;

	status = command_parse(argc, argv, own, choose, &choice, &socket, &finished);
	if (status != EXIT_DONE || finished)
		return status;
	if (optind < argc) {
		complain("status takes no argument '%s'", argv[optind]);
		return complain_usage();
	}

	setlocale(LC_CTYPE, "");
	status = command_connect(&client, socket);
	if (status != EXIT_DONE)
		return status;
	r = choice.json ? status_print_json(client) : status_print_tables(client, choice.clients, choice.files);
	status = r < 0 ? command_failed(client, "status", r) : command_flush();
	smmap_client_close(client);
	return status;
}
