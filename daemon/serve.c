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
	struct options options;
	struct settings settings;
	uv_signal_t term;
	uv_signal_t interrupt;
	uv_signal_t hangup;
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
	uv_close((uv_handle_t *)&service->hangup, NULL);
	uv_close((uv_handle_t *)&service->beat, NULL);
}

/* ---- what is said ---- */

static void announce(const struct service *service, const char *how)
{
	const struct limits *limits = &service->server.registry.limits;
	char memory[SIZE_TEXT_MAX], window[SIZE_TEXT_MAX];

	log_event(LOG_INFO, LOG_LIFE, NULL, "%s on %s: at most %s in windows of %s, %" PRIu64 " files, %" PRIu64 " maps", how,
		  service->server.listener.path, size_print(limits->memory, memory), size_print(limits->window, window), limits->handles,
		  limits->maps);
}

/* What the settings come to. EXIT_DONE, or an exit status after each mistake was told. */
static int load(const struct options *options, struct settings *settings, char lowered[static LOWERED_MAX], configuration_complain_fn *tell)
{
	int r = options_load(options, settings, lowered, tell, NULL);

	return r == EXIT_DONE ? options_default_socket(settings->socket) : r;
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
static int open_listener(struct listener *listener, const struct settings *settings)
{
	_cleanup_(close_fdp) int fd = -1;
	char complaint[PATH_MAX + 256];
	int r;

	r = manager_take_socket(&fd, complaint, sizeof(complaint));
	if (r > 0)
		r = listener_adopt(listener, &fd, complaint, sizeof(complaint));
	else if (r == 0)
		r = listener_open(listener, settings->socket, complaint, sizeof(complaint));
	if (r < 0)
		complain("%s", complaint);
	return r < 0 ? EXIT_FAILED : EXIT_DONE;
}

static void say_ready(const struct service *service)
{
	char line[STATUS_SIZE];

	server_describe(&service->server, line, sizeof(line));
	manager_ready("%s", line);
}

/* ---- another configuration ---- */

static void log_mistake(void *data, const char *sentence)
{
	(void)data;
	log_event(LOG_ERR, LOG_MISTAKE, NULL, "%s", sentence);
}

/* Says which settings are others now, but stay as they are. */
static void keep_what_stays(const struct settings *old, struct settings *new)
{
	static const enum setting stays[] = {SETTING_SOCKET, SETTING_WINDOW_SIZE};
	char before[SETTING_TEXT_MAX], after[SETTING_TEXT_MAX];

	for (size_t i = 0; i < sizeof(stays) / sizeof(stays[0]); i++) {
		/* Nobody has said anything: the default of the socket may be another one since. */
		if (!*old->origins[stays[i]] && !*new->origins[stays[i]])
			continue;
		settings_print(old, stays[i], before);
		settings_print(new, stays[i], after);
		if (strcmp(before, after) != 0)
			log_event(LOG_WARNING, LOG_LIFE, NULL, "%s stays %s: for %s the server has to be started again", setting_name(stays[i]),
				  before, after);
	}
	strcpy(new->socket, old->socket);
	new->limits.window = old->limits.window;
	limits_set_quota(&new->limits);
}

/* Whether the window that stays fits. Where it does not, another one would, or the settings would not have been loaded. */
static bool window_fits(const struct settings *new)
{
	const char *origin = new->origins[SETTING_MAX_MEMORY];
	char memory[SETTING_TEXT_MAX], window[SETTING_TEXT_MAX];

	if (new->limits.memory >= new->limits.window)
		return true;
	log_event(LOG_ERR, LOG_MISTAKE, NULL,
		  "%s%smax-memory is %s, less than one window, which stays %s: raise it, or start the server again", origin,
		  *origin ? ": " : "", settings_print(new, SETTING_MAX_MEMORY, memory), settings_print(new, SETTING_WINDOW_SIZE, window));
	return false;
}

/* Whether other settings were found that can hold from now on. */
static bool load_again(const struct service *service, struct settings *new)
{
	char lowered[LOWERED_MAX];

	if (load(&service->options, new, lowered, log_mistake) != EXIT_DONE) {
		log_event(LOG_ERR, LOG_LIFE, NULL, "the settings from before hold: smmapd --check-config shows all mistakes");
		return false;
	}
	keep_what_stays(&service->settings, new);
	if (!window_fits(new)) {
		log_event(LOG_ERR, LOG_LIFE, NULL, "the settings from before hold");
		return false;
	}
	if (*lowered)
		log_event(LOG_WARNING, LOG_LIFE, NULL, "%s", lowered);
	return true;
}

static void reload(struct service *service)
{
	struct settings new;

	if (!load_again(service, &new))
		return;
	service->settings = new;
	log_set_level(new.log_level);
	server_set_limits(&service->server, &new.limits);
	announce(service, "reloaded: serving");
}

static void on_hangup(uv_signal_t *signal, int number)
{
	struct service *service = signal->data;

	(void)number;
	manager_reloading();
	reload(service);
	say_ready(service);
}

/* ---- the beginning ---- */

static void start_signal(struct service *service, uv_signal_t *signal, int number, uv_signal_cb callback)
{
	uv_signal_init(&service->server.loop, signal);
	signal->data = service;
	uv_signal_start(signal, callback, number);
}

/* Serves until a signal ends it. An exit status. */
static int serve(struct service *service)
{
	struct listener listener;
	char complaint[512];
	int r;

	r = open_listener(&listener, &service->settings);
	if (r != EXIT_DONE)
		return r;
	if (server_init(&service->server, &service->settings.limits, &listener, complaint, sizeof(complaint)) < 0) {
		complain("%s", complaint);
		return EXIT_FAILED;
	}
	log_start(getenv("JOURNAL_STREAM"));
	log_set_level(service->settings.log_level);
	start_signal(service, &service->term, SIGTERM, on_signal);
	start_signal(service, &service->interrupt, SIGINT, on_signal);
	start_signal(service, &service->hangup, SIGHUP, on_hangup);
	start_beat(service);
	announce(service, "serving");
	say_ready(service);

	r = server_run(&service->server);
	server_deinit(&service->server);
	log_settle();
	log_event(LOG_INFO, LOG_LIFE, NULL, "stopped by SIG%s", sigabbrev_np(service->signal));
	return r < 0 ? EXIT_FAILED : EXIT_DONE;
}

/* Prints what would hold, and where each value comes from. An exit status. */
static int show(const struct settings *settings, const char *lowered)
{
	char text[SETTING_TEXT_MAX];
	size_t name_width = 0, width = 0;

	for (enum setting setting = 0; setting < N_SETTINGS; setting++) {
		name_width = max_u64(name_width, strlen(setting_name(setting)));
		width = max_u64(width, strlen(settings_print(settings, setting, text)));
	}
	for (enum setting setting = 0; setting < N_SETTINGS; setting++)
		printf("%-*s  %-*s  %s\n", (int)name_width, setting_name(setting), (int)width, settings_print(settings, setting, text),
		       *settings->origins[setting] ? settings->origins[setting] : "default");
	if (*lowered)
		printf("%s\n", lowered);
	return command_flush();
}

int command_serve(int argc, char **argv)
{
	_cleanup_(freep) struct service *service = calloc(1, sizeof(*service));
	char lowered[LOWERED_MAX];
	int finished, r;

	if (!service) {
		complain("no memory");
		return EXIT_FAILED;
	}
	r = options_parse(&service->options, argc, argv, &finished);
	if (r != EXIT_DONE || finished)
		return r;
	if (optind < argc) {
		if (command_exists(argv[optind]))
			complain("the command comes before its options: smmapd %s [OPTIONS]", argv[optind]);
		else
			complain("there is no command '%s'", argv[optind]);
		return complain_usage();
	}
	r = load(&service->options, &service->settings, lowered, complain_sentence);
	if (r != EXIT_DONE)
		return r;
	if (service->options.check_config)
		return show(&service->settings, lowered);
	if (*lowered)
		complain("%s", lowered);
	return serve(service);
}
