/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_COMMAND_H
#define DAEMON_COMMAND_H

/*
 * What `smmapd` does, by its first argument. Each command parses its own arguments, of which the first is its name, and returns the exit
 * status.
 */

#include "daemon/configuration.h"
#include "daemon/settings.h"

#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

struct smmap_client;

enum exit_status {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_NO_SERVER = 3,
};

int command_serve(int argc, char **argv);
int command_exec(int argc, char **argv);
int command_status(int argc, char **argv);
int command_cat(int argc, char **argv);
int command_warm(int argc, char **argv);
int command_collect(int argc, char **argv);
int command_drop(int argc, char **argv);

/* ---- what they share ---- */

/* Prints a message to standard error: "smmapd: ...", in the manner of printf(3). */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Writes out what was printed. EXIT_DONE, or EXIT_FAILED after saying why. */
int command_flush(void);

/* Points to --help after a message; returns EXIT_USAGE. */
int complain_usage(void);

/* Says what is wrong where getopt_long(3) has returned '?' or ':'; returns EXIT_USAGE. */
int complain_option(int option, char **argv);

/* Says so if an option that takes a path has none. EXIT_DONE or EXIT_USAGE. */
int complain_if_empty(const char *option, const char *path);

/* The command line of the server. */
struct options {
	const char *given[N_SETTINGS]; /* borrowed from it; NULL: not there */
	const char *config;            /* the file to read; NULL: the default one, if it is there */
	bool private;                  /* the server is for one command: there is no default file, and no other user to leave something for */
	bool check_config;
};

/*
 * Parses the command line into *@options; optind is then at the first argument that is none. EXIT_DONE, or an exit status after saying why.
 * With --help and --version *@finished is set, and all is said.
 */
int options_parse(struct options *options, int argc, char **argv, int *finished);

/* Enough for the sentence on what the kernel made lower. */
#define LOWERED_MAX 512

/*
 * What the options, the files and what is built in come to: checked, and fitted to what the kernel allows; what that made lower is said in
 * @lowered. EXIT_DONE, or an exit status after each mistake was told.
 */
int options_load(const struct options *options, struct settings *settings, char lowered[static LOWERED_MAX],
		 configuration_complain_fn *tell, void *data);

/* A configuration_complain_fn that says it by complain(). */
void complain_sentence(void *data, const char *sentence);

/* Puts the socket's default where none was given. EXIT_DONE, or an exit status after saying why. */
int options_default_socket(char socket[static PATH_MAX]);

/* Whether there is a command of that name. */
bool command_exists(const char *name);

/* The help text of the whole program, or its version, to standard output. EXIT_DONE, or EXIT_FAILED after saying why. */
int print_help(void);
int print_version(void);

/*
 * Why there is no connection to a server, or why a server does not tell its figures: as smmap_strerror() says it, but that nothing of this
 * waits for room. In constant text.
 */
const char *command_strerror(int error);

/* Connects a command to the server at @socket (NULL: the default). EXIT_DONE, or an exit status after saying why. */
int command_connect(struct smmap_client **client, const char *socket);

/* Says why a call on @client failed, for @what, with what the server said. Returns the exit status that fits. */
int command_failed(struct smmap_client *client, const char *what, int error);

/* Handles an option of a command, the value that its table gives it. EXIT_DONE, or an exit status after saying why. */
typedef int command_option_fn(void *data, int option, const char *value);

/*
 * Parses the arguments of a command: --socket, --help, and its @own options (NULL: none), which are handed to @use. As options_parse();
 * *@socket stays NULL if it is not given.
 */
int command_parse(int argc, char **argv, const struct option *own, command_option_fn *use, void *data, const char **socket,
		  int *finished);

#endif
