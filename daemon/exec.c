/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `smmapd exec`: a private server around one command. The socket stands in a folder of its own that only this user can enter; both go
 * when the command ends.
 */
#include "config.h"

#include "daemon/command.h"

#include "daemon/log.h"
#include "daemon/server.h"
#include "proto/util.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

/* As a shell says it of a command that a signal has ended, or that could not be run. */
#define STATUS_SIGNALLED  128
#define STATUS_NOT_RUN    126
#define STATUS_NOT_FOUND  127

struct embedding {
	struct server server;
	uv_process_t process;
	uv_signal_t term;
	uv_signal_t hangup;
	uv_signal_t interrupt;
	struct rlimit descriptors; /* as they were when this began */
	int status;                /* of the command */
};

static void stop(struct embedding *embedding)
{
	server_stop(&embedding->server);
	uv_close((uv_handle_t *)&embedding->process, NULL);
	uv_close((uv_handle_t *)&embedding->term, NULL);
	uv_close((uv_handle_t *)&embedding->hangup, NULL);
	uv_close((uv_handle_t *)&embedding->interrupt, NULL);
}

static void on_exit_of_command(uv_process_t *process, int64_t status, int signal)
{
	struct embedding *embedding = process->data;

	embedding->status = signal ? STATUS_SIGNALLED + signal : (int)status;
	stop(embedding);
}

/* The command decides when it is over: it gets SIGTERM and SIGHUP from here, and SIGINT from the terminal itself. */
static void on_signal(uv_signal_t *signal, int number)
{
	struct embedding *embedding = signal->data;

	if (number != SIGINT)
		uv_process_kill(&embedding->process, number);
}

static void start_signal(struct embedding *embedding, uv_signal_t *signal, int number)
{
	uv_signal_init(&embedding->server.loop, signal);
	signal->data = embedding;
	uv_signal_start(signal, on_signal, number);
}

static int spawn(struct embedding *embedding, char **command)
{
	uv_stdio_container_t stdio[3];
	uv_process_options_t options = {
		.exit_cb = on_exit_of_command,
		.file = command[0],
		.args = command,
		.stdio = stdio,
		.stdio_count = 3,
	};
	struct rlimit raised;
	int r;

	for (int fd = 0; fd < 3; fd++)
		stdio[fd] = (uv_stdio_container_t){.flags = UV_INHERIT_FD, .data.fd = fd};
	embedding->process.data = embedding;

	/* The server has raised its limit on descriptors; the command gets the one that was here before. */
	getrlimit(RLIMIT_NOFILE, &raised);
	setrlimit(RLIMIT_NOFILE, &embedding->descriptors);
	r = uv_spawn(&embedding->server.loop, &embedding->process, &options);
	setrlimit(RLIMIT_NOFILE, &raised);
	return r;
}

static int run(struct embedding *embedding, const struct settings *settings, char **command)
{
	struct listener listener;
	char complaint[512];
	int r;

	if (listener_open(&listener, settings->socket, complaint, sizeof(complaint)) < 0 ||
	    server_init(&embedding->server, &settings->limits, &listener, complaint, sizeof(complaint)) < 0) {
		complain("%s", complaint);
		return EXIT_FAILED;
	}
	setenv("SMMAP_SOCKET", settings->socket, 1);
	start_signal(embedding, &embedding->term, SIGTERM);
	start_signal(embedding, &embedding->hangup, SIGHUP);
	start_signal(embedding, &embedding->interrupt, SIGINT);

	r = spawn(embedding, command);
	if (r < 0) {
		complain("can't run %s: %s", command[0], uv_strerror(r));
		embedding->status = r == -ENOENT ? STATUS_NOT_FOUND : STATUS_NOT_RUN;
		stop(embedding);
	}
	if (server_run(&embedding->server) < 0)
		embedding->status = EXIT_FAILED;
	server_deinit(&embedding->server);
	return embedding->status;
}

/* Makes a folder for the socket, where files go that live as long as their user is there. 0 or -errno. */
static int make_folder(char folder[static PATH_MAX])
{
	const char *places[] = {getenv("XDG_RUNTIME_DIR"), getenv("TMPDIR"), "/tmp"};
	int r = -ENOENT;

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		/* A socket's path has room for 107 bytes. */
		if (!places[i] || !*places[i] || strlen(places[i]) > 80)
			continue;
		snprintf(folder, PATH_MAX, "%s/smmapd-XXXXXX", places[i]);
		if (mkdtemp(folder))
			return 0;
		r = -errno;
	}
	return r;
}

/* Where there is no socket yet: one in a new folder, which is the caller's to remove. EXIT_DONE, or an exit status after saying why. */
static int make_socket(char socket[static PATH_MAX], char folder[static PATH_MAX])
{
	int r;

	if (*socket)
		return EXIT_DONE;
	r = make_folder(folder);
	if (r < 0) {
		complain("can't make a folder for the socket: %s", strerror(-r));
		return EXIT_FAILED;
	}
	snprintf(socket, PATH_MAX, "%.*s/socket", PATH_MAX - 8, folder);
	return EXIT_DONE;
}

int command_exec(int argc, char **argv)
{
	_cleanup_(freep) struct embedding *embedding = NULL;
	struct options options = {.private = true};
	char folder[PATH_MAX] = "", lowered[LOWERED_MAX];
	struct settings settings;
	struct rlimit descriptors;
	int finished, r;

	getrlimit(RLIMIT_NOFILE, &descriptors);
	r = options_parse(&options, argc, argv, &finished);
	if (r != EXIT_DONE || finished)
		return r;
	if (options.check_config) {
		complain("--check-config is not an option here");
		return complain_usage();
	}
	if (optind == argc) {
		complain("exec needs a command to run");
		return complain_usage();
	}
	r = options_load(&options, &settings, lowered, complain_sentence, NULL);
	if (r != EXIT_DONE)
		return r;
	if (*lowered)
		complain("%s", lowered);
	log_set_level(settings.log_level);

	embedding = calloc(1, sizeof(*embedding));
	if (!embedding) {
		complain("no memory");
		return EXIT_FAILED;
	}
	embedding->descriptors = descriptors;
	r = make_socket(settings.socket, folder);
	if (r != EXIT_DONE)
		return r;
	r = run(embedding, &settings, argv + optind);
	if (*folder)
		rmdir(folder);
	return r;
}
