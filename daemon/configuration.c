/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/configuration.h"

#include "proto/util.h"

#include <dirent.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct reading {
	struct settings *settings;
	configuration_complain_fn *complain;
	void *data;
	unsigned n_mistakes;

	const char *path; /* of the file that is read now */
	FILE *file;
	unsigned line;
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

static bool is_whole(const char *line)
{
	size_t length = strlen(line);

	return length && line[length - 1] == '\n';
}

/* Hands inih a line, and counts it. One that has no room is said to be wrong, and an empty one handed over in its place. */
static char *next_line(char *line, int size, void *data)
{
	struct reading *reading = data;

	if (!fgets(line, size, reading->file))
		return NULL;
	reading->line++;
	if (is_whole(line) || feof(reading->file) || strlen(line) + 1 < (size_t)size)
		return line;

	complain(reading, reading->line, "the line is longer than %d bytes", size - 2);
	while (!is_whole(line) && fgets(line, size, reading->file))
		;
	strcpy(line, "\n");
	return line;
}

/* One setting. It returns 1, as inih wants of what was understood: what was not is said here. */
static int take(void *data, const char *section, const char *name, const char *value)
{
	struct reading *reading = data;
	enum setting setting = setting_find(name);
	char why[SETTING_SENTENCE_MAX], origin[ORIGIN_SIZE];

	snprintf(origin, sizeof(origin), "%s:%u", reading->path, reading->line);
	if (*section)
		complain(reading, reading->line, "there are no sections here: take [%s] out", section);
	else if (setting == N_SETTINGS)
		complain(reading, reading->line, "there is no setting '%s': smmapd.conf(5) lists them", name);
	else if (settings_set(reading->settings, setting, value, origin, why, sizeof(why)) < 0)
		complain(reading, reading->line, "%s", why);
	return 1;
}

static void read_file(struct reading *reading, const char *path, bool required)
{
	int line;

	reading->path = path;
	reading->line = 0;
	reading->file = fopen(path, "re");
	if (!reading->file) {
		if (required || errno != ENOENT)
			complain(reading, 0, "can't read it: %s", strerror(errno));
		return;
	}
	line = ini_parse_stream(next_line, reading, take, reading);
	if (line > 0)
		complain(reading, (unsigned)line, "this is not NAME = VALUE");
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

static void read_folder(struct reading *reading, const char *folder)
{
	struct dirent **entries;
	char path[PATH_MAX + NAME_MAX + 2];
	int n = scandir(folder, &entries, is_configuration, alphasort);

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
