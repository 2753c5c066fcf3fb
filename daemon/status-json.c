/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Figures as JSON. The names are those of the tables in proto/figures.c: a name with a dot is a member of an object.
 */
#include "config.h"

#include "daemon/status.h"

#include "daemon/figures.h"
#include "proto/util.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

/*
 * A text of a client may hold any byte; JSON only UTF-8. Then each other byte is shown as \xNN. What could steer a terminal is escaped when
 * it is printed, but for DEL, which JSON does not know how to.
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

static int add_summary(void *data, const void *row)
{
	return add_fields(data, FIGURES_SUMMARY, row);
}

struct list {
	json_t *array;
	enum figures_section section;
};

static int add_row(void *data, const void *row)
{
	struct list *list = data;
	json_t *object = json_object();

	if (json_array_append_new(list->array, object) < 0)
		return -ENOMEM;
	return add_fields(object, list->section, row);
}

static int add_section(struct smmap_client *client, json_t *root, const char *name, enum figures_section section)
{
	struct list list = {.array = json_array(), .section = section};

	if (json_object_set_new(root, name, list.array) < 0)
		return -ENOMEM;
	return figures_ask(client, section, add_row, &list);
}

int status_print_json(struct smmap_client *client)
{
	json_t *root = json_object();
	int r;

	if (!root)
		return -ENOMEM;
	r = figures_ask(client, FIGURES_SUMMARY, add_summary, root);
	if (!r)
		r = add_section(client, root, "clients", FIGURES_CLIENTS);
	if (!r)
		r = add_section(client, root, "files", FIGURES_FILES);
	if (!r)
		r = add_section(client, root, "users", FIGURES_USERS);
	if (!r && json_dumpf(root, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII) < 0)
		r = -EIO;
	if (!r)
		putchar('\n');
	json_decref(root);
	return r;
}
