/* SPDX-License-Identifier: BSD-3-Clause */
/* `smmapd status`: the command. */
#include "config.h"

#include "daemon/status.h"

#include "client/smmap-client.h"
#include "daemon/command.h"
#include "daemon/size.h"
#include "daemon/watch.h"

#include <locale.h>
#include <stdio.h>

#define ALL_SECTIONS ((1u << FIGURES_N_SECTIONS) - 1)

/* Seconds between two frames of --watch. */
#define DEFAULT_SECONDS 2
#define MOST_SECONDS    86400

/* What is to be shown, and how. */
struct choice {
	struct view view;
	bool json;
	bool metrics;
	uint64_t seconds; /* 0: once */
};

static int choose_seconds(struct choice *choice, const char *value)
{
	choice->seconds = DEFAULT_SECONDS;
	if (!value || (number_parse(value, &choice->seconds) == 0 && choice->seconds >= 1 && choice->seconds <= MOST_SECONDS))
		return EXIT_DONE;
	complain("--watch=%s is not a number of seconds from 1 to %d", value, MOST_SECONDS);
	return EXIT_USAGE;
}

static int choose(void *data, int option, const char *value)
{
	struct choice *choice = data;

	choice->view.clients = choice->view.clients || option == 'c';
	choice->view.files = choice->view.files || option == 'f';
	choice->view.pins = choice->view.pins || option == 'p';
	choice->json = choice->json || option == 'j';
	choice->metrics = choice->metrics || option == 'm';
	return option == 'w' ? choose_seconds(choice, value) : EXIT_DONE;
}

/* Shows figures once. 0 or an error. */
static int show(struct smmap_client *client, const struct choice *choice)
{
	struct look look = look_now(stdout);
	struct figures figures;
	int r;

	r = figures_fetch(&figures, client, choice->json || choice->metrics ? ALL_SECTIONS : view_sections(&choice->view));
	if (r < 0)
		return r;
	if (choice->json)
		r = status_print_json(&figures, choice->view.files, stdout);
	else if (choice->metrics)
		r = status_print_metrics(&figures, stdout);
	else
		r = status_print_view(&figures, NULL, &choice->view, &look);
	figures_deinit(&figures);
	return r;
}

int command_status(int argc, char **argv)
{
	static const struct option own[] = {
		{"clients", no_argument, NULL, 'c'}, {"files", no_argument, NULL, 'f'},       {"pins", no_argument, NULL, 'p'},
		{"json", no_argument, NULL, 'j'},    {"openmetrics", no_argument, NULL, 'm'}, {"watch", optional_argument, NULL, 'w'},
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
	if (choice.json + choice.metrics + (choice.seconds > 0) > 1) {
		complain("only one of --json, --openmetrics and --watch can be had");
		return complain_usage();
	}

	setlocale(LC_CTYPE, "");
	status = command_connect(&client, socket);
	if (status != EXIT_DONE)
		return status;
	if (choice.seconds) {
		smmap_client_close(client);
		return status_watch(socket, &choice.view, choice.seconds);
	}
	r = show(client, &choice);
	status = r < 0 ? command_failed(client, "status", r) : command_flush();
	smmap_client_close(client);
	return status;
}
