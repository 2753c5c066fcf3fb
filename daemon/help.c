/* SPDX-License-Identifier: BSD-3-Clause */
/* What --help and --version print. */
#include "config.h"

#include "daemon/command.h"

#include <stdio.h>

int print_help(void)
{
	fputs("Usage: smmapd [OPTIONS]                          serve, until SIGTERM or SIGINT;\n"
	      "                                                 SIGHUP reads the configuration again\n"
	      "       smmapd exec [OPTIONS] -- COMMAND [ARG...] run COMMAND with a private server\n"
	      "       smmapd status [--clients] [--files] [--pins] [--watch[=SECONDS]]\n"
	      "                                                 show figures of a running server\n"
	      "       smmapd status --json | --openmetrics      print them for programs\n"
	      "       smmapd cat [--offset=N] [--length=N] FILE...\n"
	      "                                                 copy files to standard output\n"
	      "       smmapd warm FILE...                       read files ahead into memory\n"
	      "       smmapd collect                            let go of all that nobody uses\n"
	      "       smmapd drop PATH                          let go of all below PATH\n"
	      "\n"
	      "One server keeps what all processes of the host have mapped within its limits, and\n"
	      "shares it among them.\n"
	      "\n"
	      "Options of the server, which may be in the configuration too, but for the last three:\n"
	      "  --max-memory=SIZE      bytes mapped, or a share of the memory (default: 50%)\n"
	      "  --max-handles=N        open files (default: 8192)\n"
	      "  --max-maps=N           regions mapped (default: 32768)\n"
	      "  --user-share=N%        of each limit, what one user may lease (default: 75%; exec: 100%)\n"
	      "  --window-size=SIZE     bytes of a window, a power of two (default: 64M)\n"
	      "  --recall-timeout=TIME  for clients to unmap what is taken back (default: 1s)\n"
	      "  --idle-timeout=TIME    until a file that nobody uses is closed (default: 5min)\n"
	      "  --write-guard=yes|no   keep writers from mapped files while they are read (default: no)\n"
	      "  --write-guard-timeout=TIME  for a writer to wait at most (default: 5s)\n"
	      "  --log-level=LEVEL      error, warning, notice, info or debug (default: info; exec: error)\n"
	      "  --config=FILE          the configuration (default: " CONFIG_FILE ",\n"
	      "                         if it is there; exec: none)\n"
	      "  --check-config         show what would hold, and where each value is from\n"
	      "  -V, --version          show the version\n"
	      "Options of all commands, too:\n"
	      "  --socket=PATH          the server's socket (default: $SMMAP_SOCKET, else\n"
	      "                         $XDG_RUNTIME_DIR/smmapd.sock if it is there, else\n"
	      "                         /run/smmapd/smmapd.sock)\n"
	      "  -h, --help             show this\n"
	      "SIZE is in bytes, or with K, M, G or T, powers of 1024; TIME in seconds, or with ms, s, min or h.\n"
	      "\n"
	      "Exit status: 0 done, 1 failed, 2 wrong usage, 3 no server there.\n"
	      "More: man smmapd, man smmapd.conf, man smmap-client.\n",
	      stdout);
	return command_flush();
}

int print_version(void)
{
	puts(PACKAGE_STRING);
	return command_flush();
}
