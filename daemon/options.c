/* SPDX-License-Identifier: BSD-3-Clause */
/* The options of the server, checked at the door. */
#include "config.h"

#include "daemon/command.h"

#include "daemon/size.h"
#include "proto/util.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

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
	if (strcmp(option, "user-share") == 0 && size_parse_share(value, 100, &limits->user_percent) < 0)
		return complain_value(option, value, "a share such as 75%");
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
		{"socket", required_argument, NULL, 's'},
		{"max-memory", required_argument, NULL, 'm'},
		{"max-handles", required_argument, NULL, 'f'},
		{"max-maps", required_argument, NULL, 'r'},
		{"window-size", required_argument, NULL, 'w'},
		{"user-share", required_argument, NULL, 'u'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{0},
	};
	int option, index = 0, r = EXIT_DONE;

	*finished = false;
	opterr = 0;
	while (r == EXIT_DONE && (option = getopt_long(argc, argv, "+:hV", table, &index)) != -1) {
		switch (option) {
		case 's':
			r = set_socket(options->socket, optarg);
			break;
		case 'm':
		case 'f':
		case 'r':
		case 'w':
		case 'u':
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
			return complain_option(option, argv);
		}
	}
	return r == EXIT_DONE ? settle_limits(&options->limits) : r;
}
