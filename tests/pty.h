/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_PTY_H
#define TESTS_PTY_H

/* A program on a terminal of its own, of which the test is the other end. The terminal is an xterm. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <termios.h>

/* What an xterm is told to show its alternate screen, and to come back from it. */
#define PTY_ENTERS "\x1b[?1049h"
#define PTY_LEAVES "\x1b[?1049l"

struct pty {
	int master;
	int terminal;          /* the program's end, kept open so that nothing is lost */
	pid_t pid;
	struct termios before; /* as it was when the program started */
	char said[1 << 20];    /* all that the program wrote, ended by a zero byte */
	size_t n_said;
};

/* Runs a shell command on a terminal of so many columns and lines. */
void pty_start(struct pty *pty, unsigned short columns, unsigned short lines, const char *command);

/* Changes the size of the terminal. */
void pty_resize(struct pty *pty, unsigned short columns, unsigned short lines);

/* Types. */
void pty_type(struct pty *pty, const char *keys);

/* Reads until the program has written @text behind the place @from. Where that begins in pty->said. */
size_t pty_await(struct pty *pty, size_t from, const char *text);

/* Reads until the program has ended. What waitpid(2) says of it. */
int pty_finish(struct pty *pty);

/* Whether the terminal has the same settings as at the start. */
bool pty_is_as_before(const struct pty *pty);

/*
 * The widest of the lines from @from to @until, in columns of this locale, without what steers the terminal. *@n_lines is how
 * many of them end there.
 */
size_t pty_widest(const struct pty *pty, size_t from, size_t until, size_t *n_lines);

#endif
