/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/configuration.h"

#include "proto/util.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define BYTE_ORDER_MARK "\xef\xbb\xbf"

struct reading {
	struct settings *settings;
	configuration_complain_fn *complain;
	void *data;
	unsigned n_mistakes;

	const char *path; /* of the file that is read now */
	FILE *file;
	unsigned line;
	const char *fault;               /* of the line, unless a setting is found in it; NULL: it need not have one */
	unsigned lines_of[N_SETTINGS]; /* where in the file each one is; 0: not yet */
};

/* ---- mistakes ---- */

static void complain(struct reading *reading, unsigned line, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Line 0: it is not about a line. */
static void complain(struct reading *reading, unsigned line, const char *format, ...)
{
	char what[SETTING_SENTENCE_MAX], sentence[sizeof(what) + PATH_MAX + 32];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(what, sizeof(what), format, arguments);
	va_end(arguments);
	if (line)
		snprintf(sentence, sizeof(sentence), "%s:%u: %s", reading->path, line, what);
	else
		snprintf(sentence, sizeof(sentence), "%s: %s", reading->path, what);
	reading->n_mistakes++;
	reading->complain(reading->data, sentence);
}

/* ---- one file ---- */

/*
 * Reads a line into @line, without its end and the blanks at its beginning: inih would take it for a part of the value before. One that can't be
 * handed over is said to be wrong, and an empty one stands in its place. False at the end of the file.
 */
static bool read_line(struct reading *reading, char *line, size_t size)
{
	const char *fault = NULL;
	size_t length = 0;
	int c;

	reading->line++;
	while ((c = getc(reading->file)) != EOF && c != '\n') {
		if (!length && isspace(c))
			continue;
		if (!c)
			fault = "there is a zero byte in the line";
		if (length + 1 < size)
			line[length] = (char)c;
		length++;
	}
	if (length >= size) {
		complain(reading, reading->line, "the line is longer than %zu bytes", size - 1);
		length = 0;
	} else if (fault) {
		complain(reading, reading->line, "%s", fault);
		length = 0;
	}
	line[length] = '\0';
	return length || c != EOF;
}

/* Says what was wrong with the line before, of which inih has made nothing. */
static void end_line(struct reading *reading)
{
	if (reading->fault)
		complain(reading, reading->line, "%s", reading->fault);
	reading->fault = NULL;
}

/* What would be wrong with a line that has no setting. */
static const char *fault_of(const struct reading *reading, const char *line)
{
	if (reading->line == 1 && strncmp(line, BYTE_ORDER_MARK, strlen(BYTE_ORDER_MARK)) == 0)
		line += strlen(BYTE_ORDER_MARK);
	line += strspn(line, " \t");
	if (!*line || strchr("#;", *line))
		return NULL;
	return *line == '[' ? "there are no sections here: take this line out" : "this is not NAME = VALUE";
}

/* Hands inih a line. */
static char *next_line(char *line, int size, void *data)
{
	struct reading *reading = data;

	end_line(reading);
	if (!read_line(reading, line, (size_t)size))
		return NULL;
	reading->fault = fault_of(reading, line);
	return line;
}

/* One setting. It returns 1, as inih wants of what was understood: what was not is said here. */
static int take(void *data, const char *section, const char *name, const char *value)
{
	struct reading *reading = data;
	enum setting setting = setting_find(name);
	char why[SETTING_SENTENCE_MAX], origin[ORIGIN_SIZE];

	(void)section;
	reading->fault = NULL;
	if (setting == N_SETTINGS) {
		complain(reading, reading->line, "there is no setting '%s': smmapd.conf(5) lists them", name);
		return 1;
	}
	if (reading->lines_of[setting])
		complain(reading, reading->line, "%s is in line %u already: take one out", name, reading->lines_of[setting]);
	reading->lines_of[setting] = reading->line;
	snprintf(origin, sizeof(origin), "%s:%u", reading->path, reading->line);
	if (settings_set(reading->settings, setting, value, origin, why, sizeof(why)) < 0)
		complain(reading, reading->line, "%s", why);
	return 1;
}

/* Does not wait for somebody to write, where it is a pipe. */
static FILE *open_file(const char *path)
{
	_cleanup_(close_fdp) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "r");

	if (file)
		take_fd(&fd);
	return file;
}

static void read_file(struct reading *reading, const char *path, bool required)
{
	reading->path = path;
	reading->line = 0;
	memset(reading->lines_of, 0, sizeof(reading->lines_of));
	reading->file = open_file(path);
	if (!reading->file) {
		if (required || errno != ENOENT)
			complain(reading, 0, "can't read it: %s", strerror(errno));
		return;
	}
	errno = 0;
	ini_parse_stream(next_line, reading, take, reading);
	if (ferror(reading->file))
		complain(reading, 0, "can't read it: %s", strerror(errno));
	fclose(reading->file);
}

/* ---- the folder ---- */

static int is_configuration(const struct dirent *entry)
{
	size_t length = strlen(entry->d_name);

	return entry->d_name[0] != '.' && length > 5 && strcmp(entry->d_name + length - 5, ".conf") == 0;
}

/* As bytes, in any locale. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void read_folder(struct reading *reading, const char *folder)
{
	struct dirent **entries;
	char path[PATH_MAX + NAME_MAX + 2];
	int n = scandir(folder, &entries, is_configuration, by_name);

	if (n < 0 && errno != ENOENT && errno != ENOTDIR) {
		reading->path = folder;
		complain(reading, 0, "can't read it: %s", strerror(errno));
	}
	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
		read_file(reading, path, true);
		free(entries[i]);
	}
	if (n >= 0)
		free(entries);
}

unsigned configuration_read(struct settings *settings, const char *path, bool required, configuration_complain_fn *complain_of, void *data)
{
	struct reading reading = {.settings = settings, .complain = complain_of, .data = data};
	char folder[PATH_MAX];

	read_file(&reading, path, required);
	if (snprintf(folder, sizeof(folder), "%s.d", path) < (int)sizeof(folder))
		read_folder(&reading, folder);
	return reading.n_mistakes;
}
