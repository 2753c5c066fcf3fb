/* SPDX-License-Identifier: BSD-3-Clause */
/* The program: chooses the command. */
#include "config.h"

#include "daemon/command.h"

#include "proto/util.h"

#include <fcntl.h>
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

/*
 * Where standard input, output or error is closed, the next file or socket would be taken for it, and what is printed would go to
 * the server. Each gets a descriptor that can't be used as it would be, so that the use of it fails. 0 or -errno.
 */
static int fill_standard_descriptors(void)
{
	static const int modes[] = {[STDIN_FILENO] = O_WRONLY, [STDOUT_FILENO] = O_RDONLY, [STDERR_FILENO] = O_RDONLY};

	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", modes[fd]) < 0)
			return -errno;
	return 0;
}

int main(int argc, char **argv)
{
	if (fill_standard_descriptors() < 0) {
		complain("can't open /dev/null: %s", strerror(errno));
		return EXIT_FAILED;
	}
	if (argc > 1 && command_exists(argv[1]))
		return commands[find_command(argv[1])].run(argc - 1, argv + 1);
	return command_serve(argc, argv);
}
