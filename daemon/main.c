/* SPDX-License-Identifier: BSD-3-Clause */
/* The program: chooses the command. */
#include "config.h"

#include "daemon/command.h"

#include <string.h>

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {
	{"exec", command_exec},       {"status", command_status}, {"cat", command_cat}, {"warm", command_warm},
	{"collect", command_collect}, {"drop", command_drop},
};

int main(int argc, char **argv)
{
	if (argc > 1)
		for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
			if (strcmp(argv[1], commands[i].name) == 0)
				return commands[i].run(argc - 1, argv + 1);
	return command_serve(argc, argv);
}
