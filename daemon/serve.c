/* SPDX-License-Identifier: BSD-3-Clause */
/* `smmapd` without a command: serves in the foreground, until SIGTERM or SIGINT. */
#include "config.h"

#include "daemon/command.h"

#include "daemon/server.h"
#include "daemon/size.h"
#include "proto/util.h"

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>

struct service {
	struct server server;
	uv_signal_t term;
	uv_signal_t interrupt;
};

static void on_signal(uv_signal_t *signal, int number)
{
	struct service *service = signal->data;

	(void)number;
	server_stop(&service->server);
	uv_close((uv_handle_t *)&service->term, NULL);
	uv_close((uv_handle_t *)&service->interrupt, NULL);
}

static void start_signal(struct service *service, uv_signal_t *signal, int number)
{
	uv_signal_init(&service->server.loop, signal);
	signal->data = service;
	uv_signal_start(signal, on_signal, number);
}

static void announce(const struct options *options)
{
	char memory[SIZE_TEXT_MAX], window[SIZE_TEXT_MAX];

	complain("serving on %s: at most %s in windows of %s, %" PRIu64 " files, %" PRIu64 " maps", options->socket,
		 size_print(options->limits.memory, memory), size_print(options->limits.window, window), options->limits.handles,
		 options->limits.maps);
}

int command_serve(int argc, char **argv)
{
	_cleanup_(freep) struct service *service = NULL;
	struct options options = {0};
	char complaint[512];
	int finished, r;

	limits_default(&options.limits);
	r = options_parse(&options, argc, argv, &finished);
	if (r != EXIT_DONE || finished)
		return r;
	if (optind < argc) {
		if (command_exists(argv[optind]))
			complain("the command comes before its options: smmapd %s [OPTIONS]", argv[optind]);
		else
			complain("there is no command '%s'", argv[optind]);
		return complain_usage();
	}
	r = options_default_socket(options.socket);
	if (r != EXIT_DONE)
		return r;

	service = calloc(1, sizeof(*service));
	if (!service) {
		complain("no memory");
		return EXIT_FAILED;
	}
	if (server_init(&service->server, &options.limits, options.socket, complaint, sizeof(complaint)) < 0) {
		complain("%s", complaint);
		return EXIT_FAILED;
	}
	start_signal(service, &service->term, SIGTERM);
	start_signal(service, &service->interrupt, SIGINT);
	announce(&options);

	r = server_run(&service->server);
	server_deinit(&service->server);
	return r < 0 ? EXIT_FAILED : EXIT_DONE;
}
