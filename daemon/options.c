/* SPDX-License-Identifier: BSD-3-Clause */
/* The options of the server, checked at the door, and what all commands share in talking to people. */
#include "config.h"

#include "daemon/command.h"

#include "client/smmap-client.h"
#include "daemon/size.h"
#include "proto/address.h"
#include "proto/util.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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

static int set_socket(char socket[static PATH_MAX], const char *path)
{
	if (!*path || strlen(path) >= PATH_MAX) {
		complain("--socket has to be a path");
		return EXIT_USAGE;
	}
	strcpy(socket, path);
	return EXIT_DONE;
}

/* A number that was not understood. */
static int complain_value(const char *option, const char *value, const char *expected)
{
	complain("--%s=%s is not %s", option, value, expected);
	return EXIT_USAGE;
}

static int set_limit(struct limits *limits, const char *option, const char *value)
{
	uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * page_size();

	if (strcmp(option, "max-memory") == 0 && size_parse_share(value, memory, &limits->memory) < 0)
		return complain_value(option, value, "a size such as 4G, or a share of the memory such as 50%");
	if (strcmp(option, "window-size") == 0 && size_parse(value, &limits->window) < 0)
		return complain_value(option, value, "a size such as 64M");
	if (strcmp(option, "max-handles") == 0 && number_parse(value, &limits->handles) < 0)
		return complain_value(option, value, "a number");
	if (strcmp(option, "max-maps") == 0 && number_parse(value, &limits->maps) < 0)
		return complain_value(option, value, "a number");
	return EXIT_DONE;
}

/* Checks the limits, and fits them to what the kernel allows. */
static int settle_limits(struct limits *limits)
{
	char complaint[512];
	int r;

	if (limits_check(limits, complaint, sizeof(complaint)) < 0) {
		complain("%s", complaint);
		return EXIT_USAGE;
	}
	r = limits_fit(limits, complaint, sizeof(complaint));
	if (r < 0) {
		complain("the kernel allows this process too few %s to serve anything",
			 r == -EMFILE ? "open files (RLIMIT_NOFILE)" : "maps (vm.max_map_count)");
		return EXIT_FAILED;
	}
	if (r > 0)
		complain("%s", complaint);
	return EXIT_DONE;
}

int options_parse(struct options *options, int argc, char **argv, int *finished)
{
	static const struct option table[] = {
		{"socket", required_argument, NULL, 's'},      {"max-memory", required_argument, NULL, 'l'},
		{"max-handles", required_argument, NULL, 'l'}, {"max-maps", required_argument, NULL, 'l'},
		{"window-size", required_argument, NULL, 'l'}, {"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},	       {0},
	};
	int option, index = 0, r = EXIT_DONE;

	*options = (struct options){0};
	*finished = false;
	limits_default(&options->limits);
	while (r == EXIT_DONE && (option = getopt_long(argc, argv, "+hV", table, &index)) != -1) {
		switch (option) {
		case 's':
			r = set_socket(options->socket, optarg);
			break;
		case 'l':
			r = set_limit(&options->limits, table[index].name, optarg);
			break;
		case 'h':
			print_help();
			*finished = true;
			return EXIT_DONE;
		case 'V':
			print_version();
			*finished = true;
			return EXIT_DONE;
		default:
			return complain_usage();
		}
	}
	return r == EXIT_DONE ? settle_limits(&options->limits) : r;
}

int command_parse_socket(int argc, char **argv, const char **socket, int *finished)
{
	static const struct option table[] = {
		{"socket", required_argument, NULL, 's'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int option;

	*socket = NULL;
	*finished = false;
	while ((option = getopt_long(argc, argv, "h", table, NULL)) != -1) {
		switch (option) {
		case 's':
			*socket = optarg;
			break;
		case 'h':
			print_help();
			*finished = true;
			return EXIT_DONE;
		default:
			return complain_usage();
		}
	}
	return EXIT_DONE;
}

int command_connect(struct smmap_client **client, const char *socket)
{
	struct smmap_client_options options = {.socket = socket, .name = "smmapd"};
	char path[PATH_MAX] = "";
	int r;

	r = smmap_client_open(client, &options);
	if (!r)
		return EXIT_DONE;
	if (!socket && options_default_socket(path) == EXIT_DONE)
		socket = path;
	if (r == -ENOTCONN) {
		complain("no server at %s: start one with 'smmapd', or run a program under 'smmapd exec -- PROGRAM'", socket);
		return EXIT_NO_SERVER;
	}
	complain("can't connect to %s: %s", socket, smmap_strerror(r));
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
