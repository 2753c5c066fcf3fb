/* SPDX-License-Identifier: BSD-3-Clause */
/* What the commands share: talking to people, parsing arguments, and reaching the server. */
#include "config.h"

#include "daemon/command.h"

#include "client/smmap-client.h"
#include "proto/address.h"
#include "proto/util.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- people ---- */

void complain(const char *format, ...)
{
	char message[PATH_MAX + 512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	/* In one write, so that messages of several processes don't mix. */
	fprintf(stderr, "smmapd: %s\n", message);
}

int command_flush(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return EXIT_DONE;
	complain("can't write to standard output: %s", strerror(errno));
	return EXIT_FAILED;
}

int complain_usage(void)
{
	fputs("Try 'smmapd --help'.\n", stderr);
	return EXIT_USAGE;
}

int complain_option(int option, char **argv)
{
	if (option == ':')
		complain("the option %s needs a value", argv[optind - 1]);
	else
		complain("%s is not an option here", argv[optind - 1]);
	return complain_usage();
}

int complain_if_empty(const char *option, const char *path)
{
	if (*path)
		return EXIT_DONE;
	complain("--%s has no value: it has to be a path", option);
	return EXIT_USAGE;
}

/* ---- arguments ---- */

#define MAX_OWN_OPTIONS 8

int command_parse(int argc, char **argv, const struct option *own, command_option_fn *use, void *data, const char **socket,
		  int *finished)
{
	static const struct option common[] = {
		{"socket", required_argument, NULL, 's'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	struct option table[MAX_OWN_OPTIONS + sizeof(common) / sizeof(common[0])];
	int option, status = EXIT_DONE;
	size_t n = 0;

	for (; own && own[n].name; n++) {
		assert(n < MAX_OWN_OPTIONS);
		table[n] = own[n];
	}
	memcpy(table + n, common, sizeof(common));

	*socket = NULL;
	*finished = false;
	opterr = 0;
	while (status == EXIT_DONE && (option = getopt_long(argc, argv, ":h", table, NULL)) != -1) {
		switch (option) {
		case 's':
			*socket = optarg;
			status = complain_if_empty("socket", optarg);
			break;
		case 'h':
			*finished = true;
			return print_help();
		case '?':
		case ':':
			return complain_option(option, argv);
		default:
			status = use(data, option, optarg);
		}
	}
	return status;
}

/* ---- the server ---- */

int options_default_socket(char socket[static PATH_MAX])
{
	if (*socket)
		return EXIT_DONE;
	if (address_default(socket, PATH_MAX) < 0) {
		complain("the path of the socket in the environment is too long");
		return EXIT_USAGE;
	}
	return EXIT_DONE;
}

/* Whether the machine runs systemd and has the unit that listens at that socket. */
static bool has_unit(const char *socket)
{
	static const char *const folders[] = {"/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system",
					      "/lib/systemd/system"};
	char path[64];

	if (strcmp(socket, ADDRESS_SYSTEM) != 0 || access("/run/systemd/system", F_OK) < 0)
		return false;
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		snprintf(path, sizeof(path), "%s/smmapd.socket", folders[i]);
		if (access(path, F_OK) == 0)
			return true;
	}
	return false;
}

const char *command_strerror(int error)
{
	return error == -ETIMEDOUT ? "the server does not answer: it is stopped, can't start, or has no room for another client"
				   : smmap_strerror(error);
}

int command_connect(struct smmap_client **client, const char *socket)
{
	struct smmap_client_options options = {.name = "smmapd"};
	const char *option = socket ? " --socket=" : "", *place = socket ? socket : "";
	char path[PATH_MAX] = "";
	int r;

	if (!socket) {
		r = options_default_socket(path);
		if (r != EXIT_DONE)
			return r;
		socket = path;
	}
	options.socket = socket;
	r = smmap_client_open(client, &options);
	if (!r)
		return EXIT_DONE;
	if (r == -ENOTCONN) {
		complain("no server at %s: start one with %s'smmapd%s%s', or run a program under 'smmapd exec -- PROGRAM'", socket,
			 has_unit(socket) ? "'systemctl start smmapd.socket' or " : "", option, place);
		return EXIT_NO_SERVER;
	}
	complain("can't connect to %s: %s", socket, command_strerror(r));
	return EXIT_FAILED;
}

int command_failed(struct smmap_client *client, const char *what, int error)
{
	char said[1024];

	if (smmap_client_complaint(client, said, sizeof(said)))
		complain("%s: %s (%s)", what, smmap_strerror(error), said);
	else
		complain("%s: %s", what, smmap_strerror(error));
	return error == -ENOTCONN ? EXIT_NO_SERVER : EXIT_FAILED;
}
