/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/label.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

bool label_is_below(struct text label, const char *path)
{
	size_t length = strlen(path);

	while (length && path[length - 1] == '/')
		length--;
	return label.length >= length && memcmp(label.data, path, length) == 0 && (label.length == length || label.data[length] == '/');
}

/* The length of the character at the start of @text, and its width in columns; -1 if it can't be printed. */
static size_t take_character(const char *text, size_t length, int *width)
{
	mbstate_t state = {0};
	wchar_t wide;
	size_t n = mbrtowc(&wide, text, length, &state);

	*width = -1;
	if (n == 0 || n > length)
		return 1;
	*width = wcwidth(wide);
	return n;
}

char *label_print(struct text text)
{
	char *label = malloc(text.length * 4 + 1);
	size_t n_printed = 0;

	if (!label)
		return NULL;
	for (size_t i = 0; i < text.length;) {
		int width;
		size_t n = take_character(text.data + i, text.length - i, &width);

		if (width >= 0) {
			memcpy(label + n_printed, text.data + i, n);
			n_printed += n;
		} else {
			for (size_t k = 0; k < n; k++)
				n_printed += (size_t)sprintf(label + n_printed, "\\x%02x", (unsigned char)text.data[i + k]);
		}
		i += n;
	}
	label[n_printed] = '\0';
	return label;
}

size_t label_width(const char *label)
{
	size_t length = strlen(label), columns = 0;

	while (length) {
		int width;
		size_t n = take_character(label, length, &width);

		columns += width > 0 ? (size_t)width : 0;
		label += n;
		length -= n;
	}
	return columns;
}

const char *label_tail(const char *label, size_t width)
{
	size_t length = strlen(label), columns = label_width(label);

	while (columns > width) {
		int first;
		size_t n = take_character(label, length, &first);

		columns -= first > 0 ? (size_t)first : 0;
		label += n;
		length -= n;
	}
	return label;
}
