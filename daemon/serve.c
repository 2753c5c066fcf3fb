/* SPDX-License-Identifier: BSD-3-Clause */
/* `smmapd` without a command: serves in the foreground, until SIGTERM or SIGINT. */
#include "config.h"

#include "daemon/command.h"

#include "daemon/log.h"
#include "daemon/manager.h"
#include "daemon/server.h"
#include "daemon/size.h"
#include "proto/util.h"

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* Enough for a line that says how things are. */
#define STATUS_SIZE 192

struct service {
	struct server server;
	uv_signal_t term;
	uv_signal_t interrupt;
	uv_timer_t beat; /* of the service manager's watchdog */
	int signal;      /* that ended it */
};

/* ---- the end ---- */

static void on_signal(uv_signal_t *signal, int number)
{
	struct service *service = signal->data;

	service->signal = number;
	manager_stopping();
	server_stop(&service->server);
	uv_close((uv_handle_t *)&service->term, NULL);
	uv_close((uv_handle_t *)&service->interrupt, NULL);
	uv_close((uv_handle_t *)&service->beat, NULL);
}

static void start_signal(struct service *service, uv_signal_t *signal, int number)
{
	uv_signal_init(&service->server.loop, signal);
	signal->data = service;
	uv_signal_start(signal, on_signal, number);
}

/* ---- the service manager ---- */

/* That this is called shows that the loop goes round. */
static void on_beat(uv_timer_t *timer)
{
	struct service *service = timer->data;
	char line[STATUS_SIZE];

	server_describe(&service->server, line, sizeof(line));
	manager_beat("%s", line);
}

static void start_beat(struct service *service)
{
	uint64_t period_ms = manager_period_ms();

	uv_timer_init(&service->server.loop, &service->beat);
	service->beat.data = service;
	if (period_ms)
		uv_timer_start(&service->beat, on_beat, period_ms, period_ms);
}

/* The socket that is handed over, or else one of its own. EXIT_DONE, or an exit status after saying why. */
static int open_listener(struct listener *listener, const struct options *options)
{
	_cleanup_(close_fdp) int fd = -1;
	char complaint[PATH_MAX + 256];
	int r;

	r = manager_take_socket(&fd, complaint, sizeof(complaint));
	if (r > 0)
		r = listener_adopt(listener, &fd, complaint, sizeof(complaint));
	else if (r == 0)
		r = listener_open(listener, options->socket, complaint, sizeof(complaint));
	if (r < 0)
		complain("%s", complaint);
	return r < 0 ? EXIT_FAILED : EXIT_DONE;
}

/* ---- the beginning ---- */

static void announce(const struct service *service)
{
	const struct limits *limits = &service->server.registry.limits;
	char memory[SIZE_TEXT_MAX], window[SIZE_TEXT_MAX], line[STATUS_SIZE];

	log_event(LOG_INFO, LOG_LIFE, NULL, "serving on %s: at most %s in windows of %s, %" PRIu64 " files, %" PRIu64 " maps",
		  service->server.listener.path, size_print(limits->memory, memory), size_print(limits->window, window), limits->handles,
		  limits->maps);
	server_describe(&service->server, line, sizeof(line));
	manager_ready("%s", line);
}

int command_serve(int argc, char **argv)
{
	_cleanup_(freep) struct service *service = NULL;
	struct options options = {0};
	struct listener listener;
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
	r = open_listener(&listener, &options);
	if (r != EXIT_DONE)
		return r;
	if (server_init(&service->server, &options.limits, &listener, complaint, sizeof(complaint)) < 0) {
		complain("%s", complaint);
		return EXIT_FAILED;
	}
	log_start(getenv("JOURNAL_STREAM"));
	start_signal(service, &service->term, SIGTERM);
	start_signal(service, &service->interrupt, SIGINT);
	start_beat(service);
	announce(service);

	r = server_run(&service->server);
	server_deinit(&service->server);
	log_settle();
	log_event(LOG_INFO, LOG_LIFE, NULL, "stopped by SIG%s", sigabbrev_np(service->signal));
	return r < 0 ? EXIT_FAILED : EXIT_DONE;
}
