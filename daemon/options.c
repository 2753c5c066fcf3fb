/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line of the server, and the settings that it comes to together with the files. */
#include "config.h"

#include "daemon/command.h"

#include "proto/util.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

/* Options that are no settings. The others are the numbers of these. */
enum { OPTION_CONFIG = N_SETTINGS, OPTION_CHECK_CONFIG, N_OPTIONS };

int options_parse(struct options *options, int argc, char **argv, int *finished)
{
	struct option table[N_OPTIONS + 3] = {
		[OPTION_CONFIG] = {"config", required_argument, NULL, OPTION_CONFIG},
		[OPTION_CHECK_CONFIG] = {"check-config", no_argument, NULL, OPTION_CHECK_CONFIG},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
	};
	int option;

	for (enum setting setting = 0; setting < N_SETTINGS; setting++)
		table[setting] = (struct option){setting_name(setting), required_argument, NULL, (int)setting};

	*finished = false;
	opterr = 0;
	while ((option = getopt_long(argc, argv, "+:hV", table, NULL)) != -1) {
		switch (option) {
		case OPTION_CONFIG:
			options->config = optarg;
			if (complain_if_empty("config", optarg) != EXIT_DONE)
				return EXIT_USAGE;
			break;
		case OPTION_CHECK_CONFIG:
			options->check_config = true;
			break;
		case 'h':
			*finished = true;
			return print_help();
		case 'V':
			*finished = true;
			return print_version();
		case '?':
		case ':':
			return complain_option(option, argv);
		default:
			options->given[option] = optarg;
		}
	}
	return EXIT_DONE;
}

void complain_sentence(void *data, const char *sentence)
{
	(void)data;
	complain("%s", sentence);
}

/* What is built in, and what the files say. EXIT_DONE, or EXIT_FAILED after each mistake was told. */
static int read_files(const struct options *options, struct settings *settings, configuration_complain_fn *tell, void *data)
{
	const char *path = options->config ? options->config : CONFIG_FILE;

	settings_default(settings);
	if (options->private) {
		settings->limits.user_percent = 100;
		/* Standard error is the command's: what is refused to it, it says itself. */
		settings->log_level = LOG_ERR;
		if (!options->config)
			return EXIT_DONE;
	}
	return configuration_read(settings, path, options->config, tell, data) ? EXIT_FAILED : EXIT_DONE;
}

/* What the command line says goes over that. */
static int apply_given(const struct options *options, struct settings *settings, configuration_complain_fn *tell, void *data)
{
	char why[SETTING_SENTENCE_MAX], sentence[sizeof(why) + 2];
	int status = EXIT_DONE;

	for (enum setting setting = 0; setting < N_SETTINGS; setting++) {
		if (!options->given[setting] ||
		    settings_set(settings, setting, options->given[setting], ORIGIN_COMMAND_LINE, why, sizeof(why)) == 0)
			continue;
		snprintf(sentence, sizeof(sentence), "--%s", why);
		tell(data, sentence);
		status = EXIT_USAGE;
	}
	return status;
}

/* Whether the settings fit one another. The mistake is the file's or the command line's that one of them comes from. */
static int check(const struct settings *settings, configuration_complain_fn *tell, void *data)
{
	char why[SETTING_SENTENCE_MAX], sentence[sizeof(why) + ORIGIN_SIZE + 2];
	enum setting wrong;
	const char *origin;

	if (settings_check(settings, &wrong, why, sizeof(why)) == 0)
		return EXIT_DONE;
	origin = settings->origins[wrong];
	if (strcmp(origin, ORIGIN_COMMAND_LINE) == 0) {
		tell(data, why);
		return EXIT_USAGE;
	}
	snprintf(sentence, sizeof(sentence), "%s%s%s", origin, *origin ? ": " : "", why);
	tell(data, sentence);
	return EXIT_FAILED;
}

int options_load(const struct options *options, struct settings *settings, char lowered[static LOWERED_MAX],
		 configuration_complain_fn *tell, void *data)
{
	int status, r;

	status = read_files(options, settings, tell, data);
	r = apply_given(options, settings, tell, data);
	if (r == EXIT_DONE && status == EXIT_DONE)
		r = check(settings, tell, data);
	if (r != EXIT_DONE || status != EXIT_DONE)
		return r != EXIT_DONE ? r : status;

	r = limits_fit(&settings->limits, lowered, LOWERED_MAX);
	if (r == -EMFILE)
		tell(data, "the kernel allows this process too few open files (RLIMIT_NOFILE) to serve anything");
	else if (r < 0)
		tell(data, "the kernel allows this process too few maps (vm.max_map_count) to serve anything");
	return r < 0 ? EXIT_FAILED : EXIT_DONE;
}
