/* SPDX-License-Identifier: BSD-3-Clause */
/* The program: chooses the command. */
#include "config.h"

#include "daemon/command.h"

#include <stddef.h>
#include <string.h>

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {
	{"exec", command_exec}, {"status", command_status},   {"cat", command_cat},
	{"warm", command_warm}, {"collect", command_collect}, {"drop", command_drop},
};

static size_t find_command(const char *name)
{
	size_t i = 0;

	while (i < sizeof(commands) / sizeof(commands[0]) && strcmp(name, commands[i].name) != 0)
		i++;
	return i;
}

bool command_exists(const char *name)
{
	return find_command(name) < sizeof(commands) / sizeof(commands[0]);
}

int main(int argc, char **argv)
{
	if (argc > 1 && command_exists(argv[1]))
		return commands[find_command(argv[1])].run(argc - 1, argv + 1);
	return command_serve(argc, argv);
}
