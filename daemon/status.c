/* SPDX-License-Identifier: BSD-3-Clause */
/* `smmapd status`: the command. */
#include "config.h"

#include "daemon/status.h"

#include "client/smmap-client.h"
#include "daemon/command.h"

#include <getopt.h>
#include <locale.h>
#include <stdio.h>

int command_status(int argc, char **argv)
{
	static const struct option table[] = {
		{"socket", required_argument, NULL, 's'}, {"json", no_argument, NULL, 'j'},  {"clients", no_argument, NULL, 'c'},
		{"files", no_argument, NULL, 'f'},	  {"help", no_argument, NULL, 'h'}, {0},
	};
	bool json = false, clients = false, files = false;
	const char *socket = NULL;
	struct smmap_client *client;
	int option, status, r;

	while ((option = getopt_long(argc, argv, "h", table, NULL)) != -1) {
		switch (option) {
		case 's':
			socket = optarg;
			break;
		case 'j':
			json = true;
			break;
		case 'c':
			clients = true;
			break;
		case 'f':
			files = true;
			break;
		case 'h':
			print_help();
			return EXIT_DONE;
		default:
			return complain_usage();
		}
	}
	if (optind < argc) {
		complain("status takes no argument '%s'", argv[optind]);
		return complain_usage();
	}

	setlocale(LC_CTYPE, "");
	status = command_connect(&client, socket);
	if (status != EXIT_DONE)
		return status;
	r = json ? status_print_json(client) : status_print_tables(client, clients, files);
	if (r < 0)
		status = command_failed(client, "status", r);
	else
		status = command_flush();
	smmap_client_close(client);
	return status;
}
