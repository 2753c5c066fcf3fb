/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/screen.h"

#include "proto/util.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

/* The last one: it defines macros of common names. */
#include <curses.h>
#include <term.h>

/* Of a terminal that does not say. */
#define DEFAULT_LINES   24
#define DEFAULT_COLUMNS 80

static struct winsize size_of_screen(void)
{
	struct winsize size = {0};

	ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
	if (!size.ws_col)
		size.ws_col = DEFAULT_COLUMNS;
	if (!size.ws_row)
		size.ws_row = DEFAULT_LINES;
	return size;
}

/* Has terminfo know the terminal: once, since it would keep what it knew before. */
static bool is_known(void)
{
	int error;

	return cur_term || setupterm(NULL, STDOUT_FILENO, &error) == OK;
}

size_t screen_width(void)
{
	return isatty(STDOUT_FILENO) ? size_of_screen().ws_col : 0;
}

bool screen_has_colours(void)
{
	return isatty(STDOUT_FILENO) && is_known() && tigetnum("colors") >= 8;
}

/* Sends a sequence, if the terminal has it. */
static void emit(const char *sequence)
{
	if (sequence)
		tputs(sequence, 1, putchar);
}

int screen_enter(struct screen *screen)
{
	struct termios keys;

	if (!isatty(STDOUT_FILENO) || tcgetattr(STDIN_FILENO, &screen->saved) < 0 || !is_known() || !cursor_home || !clr_eol || !clr_eos)
		return -ENOTTY;
	keys = screen->saved;
	keys.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	keys.c_cc[VMIN] = 0;
	keys.c_cc[VTIME] = 0;
	if (tcsetattr(STDIN_FILENO, TCSANOW, &keys) < 0)
		return -errno;
	screen->entered = true;
	emit(enter_ca_mode);
	emit(cursor_invisible);
	emit(clear_screen);
	fflush(stdout);
	return 0;
}

void screen_leave(struct screen *screen)
{
	if (!screen->entered)
		return;
	screen->entered = false;
	emit(cursor_normal);
	emit(exit_ca_mode);
	fflush(stdout);
	tcsetattr(STDIN_FILENO, TCSADRAIN, &screen->saved);
}

void screen_paint(const char *text)
{
	unsigned left = size_of_screen().ws_row;

	emit(cursor_home);
	/* A line is cleared before it is painted: behind one that fills it, the cursor may still be in its last column. */
	while (*text && left--) {
		size_t length = strcspn(text, "\n");

		emit(clr_eol);
		fwrite(text, 1, length, stdout);
		text += length + (text[length] == '\n');
		if (left)
			putchar('\n');
	}
	if (left && !*text)
		emit(clr_eos);
	fflush(stdout);
}
