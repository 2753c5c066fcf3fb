/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Figures as JSON. The names are those of the tables in proto/figures.c: a name with a dot is a member of an object.
 */
#include "config.h"

#include "daemon/status.h"

#include "daemon/resident.h"
#include "proto/util.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

/*
 * A text of a client may hold any byte; JSON only UTF-8. Then each other byte is shown as \xNN. What could steer a terminal is
 * escaped when it is printed, but for DEL, which JSON does not know how to.
 */
static json_t *json_of_text(struct text text)
{
	json_t *json = memchr(text.data, 0x7f, text.length) ? NULL : json_stringn(text.data, text.length);
	char *escaped;
	size_t length = 0;

	if (json)
		return json;
	escaped = malloc(text.length * 4 + 1);
	if (!escaped)
		return NULL;
	for (size_t i = 0; i < text.length; i++) {
		unsigned char byte = (unsigned char)text.data[i];

		length += (size_t)sprintf(escaped + length, byte < 0x7f ? "%c" : "\\x%02x", byte);
	}
	json = json_stringn(escaped, length);
	free(escaped);
	return json;
}

static json_t *json_of_field(const struct field *field, const void *row)
{
	const void *value = (const char *)row + field->offset;

	switch (field->kind) {
	case FIELD_U32:
		return json_integer(*(const uint32_t *)value);
	case FIELD_U64:
		return json_integer((json_int_t)min_u64(*(const uint64_t *)value, INT64_MAX));
	case FIELD_TEXT:
		return json_of_text(*(const struct text *)value);
	default:
		return NULL;
	}
}

/* The object that a name is a member of: @object itself, or one in it, made if need be. *@name becomes what is behind the dot. */
static json_t *object_of_name(json_t *object, const char **name)
{
	const char *dot = strchr(*name, '.');
	char outer[32];
	json_t *inner;

	if (!dot)
		return object;
	snprintf(outer, sizeof(outer), "%.*s", (int)(dot - *name), *name);
	*name = dot + 1;
	inner = json_object_get(object, outer);
	if (inner)
		return inner;
	if (json_object_set_new(object, outer, json_object()) < 0)
		return NULL;
	return json_object_get(object, outer);
}

static int add_fields(json_t *object, enum figures_section section, const void *row)
{
	const struct layout *layout = figures_layout(section);

	for (size_t i = 0; i < layout->n_fields; i++) {
		const struct field *field = &layout->fields[i];
		const char *name = field->name;
		json_t *owner = object_of_name(object, &name);

		/* Fails for a value of NULL too. */
		if (json_object_set_new(owner, name, json_of_field(field, row)) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* What the kernel says of a file's pages; it has no such member where the kernel does not say. */
static int add_resident(json_t *object, const struct figures_file *file)
{
	uint64_t bytes;

	if (resident_bytes(file->path.data, file->device, file->inode, &bytes) < 0)
		return 0;
	return json_object_set_new(object, "resident_bytes", json_integer((json_int_t)min_u64(bytes, INT64_MAX))) < 0 ? -ENOMEM : 0;
}

static int add_section(json_t *root, const struct figures *figures, enum figures_section section, bool resident)
{
	static const char *const names[FIGURES_N_SECTIONS] = {
		[FIGURES_CLIENTS] = "clients", [FIGURES_FILES] = "files", [FIGURES_USERS] = "users",
		[FIGURES_WAITING] = "waiting", [FIGURES_PINS] = "pins",
	};
	json_t *array = json_array();
	int r = 0;

	if (json_object_set_new(root, names[section], array) < 0)
		return -ENOMEM;
	for (size_t i = 0; !r && i < figures->sections[section].n; i++) {
		const void *row = figures_row(figures, section, i);
		json_t *object = json_object();

		if (json_array_append_new(array, object) < 0)
			return -ENOMEM;
		r = add_fields(object, section, row);
		if (!r && resident && section == FIGURES_FILES)
			r = add_resident(object, row);
	}
	return r;
}

int status_print_json(const struct figures *figures, bool resident, FILE *out)
{
	json_t *root = json_object();
	int r;

	if (!root)
		return -ENOMEM;
	r = add_fields(root, FIGURES_SUMMARY, figures_summary(figures));
	for (uint32_t section = FIGURES_SUMMARY + 1; !r && section < FIGURES_N_SECTIONS; section++)
		r = add_section(root, figures, section, resident);
	if (!r && json_dumpf(root, out, JSON_INDENT(2) | JSON_ENSURE_ASCII) < 0)
		r = -EIO;
	if (!r)
		putc('\n', out);
	json_decref(root);
	return r;
}
