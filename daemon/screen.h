/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_SCREEN_H
#define DAEMON_SCREEN_H

/*
 * The terminal as a page that is painted anew: on the alternate screen, where it has one, so that what was there comes back. All
 * sequences are those that terminfo has for the terminal.
 */

#include <stdbool.h>
#include <stddef.h>
#include <termios.h>

struct screen {
	struct termios saved; /* as it was */
	bool entered;
};

/* Columns of the terminal that is standard output; 0 if it is none. */
size_t screen_width(void);

/* Whether standard output is a terminal that has colours. */
bool screen_has_colours(void);

/*
 * Takes standard input and output as the screen: keys come one by one and are not shown. 0; -ENOTTY if these are no terminal, or
 * terminfo does not know how to paint on it.
 */
int screen_enter(struct screen *screen);

/* Leaves the terminal as it was. Nothing is done if it was not entered. */
void screen_leave(struct screen *screen);

/* Paints lines of text from the top, as many as there is room for. */
void screen_paint(const char *text);

#endif
