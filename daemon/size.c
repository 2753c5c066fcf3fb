/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/size.h"

#include "proto/util.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Reads the digits at the start of @text; *@rest is what follows. */
static int parse_digits(const char *text, uint64_t *value, const char **rest)
{
	char *end;
	uintmax_t parsed;

	/* strtoumax() would accept a sign and blanks. */
	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	parsed = strtoumax(text, &end, 10);
	if (errno || parsed > UINT64_MAX)
		return -ERANGE;

	*value = parsed;
	*rest = end;
	return 0;
}

int number_parse(const char *text, uint64_t *value)
{
	const char *rest;
	uint64_t parsed;
	int r;

	r = parse_digits(text, &parsed, &rest);
	if (r < 0)
		return r;
	if (*rest)
		return -EINVAL;
	*value = parsed;
	return 0;
}

int size_parse(const char *text, uint64_t *bytes)
{
	static const char units[] = "KMGT";
	const char *rest, *unit;
	uint64_t parsed;
	int r;

	r = parse_digits(text, &parsed, &rest);
	if (r < 0)
		return r;

	unit = *rest ? strchr(units, toupper((unsigned char)*rest)) : NULL;
	if (unit) {
		if (__builtin_mul_overflow(parsed, UINT64_C(1) << (10 * (unit - units + 1)), &parsed))
			return -ERANGE;
		rest++;
	}
	if (*rest && strcmp(rest, "B") != 0 && !(unit && strcmp(rest, "iB") == 0))
		return -EINVAL;

	*bytes = parsed;
	return 0;
}

int size_parse_share(const char *text, uint64_t whole, uint64_t *bytes)
{
	const char *rest;
	uint64_t percent;
	int r;

	r = parse_digits(text, &percent, &rest);
	if (r < 0)
		return r;
	if (strcmp(rest, "%") != 0)
		return size_parse(text, bytes);
	if (percent > 100)
		return -ERANGE;

	*bytes = whole / 100 * percent + whole % 100 * percent / 100;
	return 0;
}

int time_parse(const char *text, uint64_t *ms)
{
	static const struct {
		const char *name;
		uint64_t ms;
	} units[] = {{"", 1000}, {"ms", 1}, {"s", 1000}, {"min", 60000}, {"h", 3600000}};
	const char *rest;
	uint64_t parsed;
	int r;

	r = parse_digits(text, &parsed, &rest);
	if (r < 0)
		return r;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(rest, units[i].name) != 0)
			continue;
		if (__builtin_mul_overflow(parsed, units[i].ms, &parsed))
			return -ERANGE;
		*ms = parsed;
		return 0;
	}
	return -EINVAL;
}

/* To three digits, and no fraction where it would be zero. */
static const char *print_scaled(double value, const char *unit, char text[static SIZE_TEXT_MAX])
{
	int digits = value < 9.995 ? 2 : 1;

	if (value >= 99.95 || value == (double)(uint64_t)value)
		digits = 0;
	snprintf(text, SIZE_TEXT_MAX, "%.*f %s", digits, value, unit);
	return text;
}

const char *size_print(uint64_t bytes, char text[static SIZE_TEXT_MAX])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1023.5 && unit + 1 < sizeof(units) / sizeof(units[0])) {
		value /= 1024;
		unit++;
	}
	return print_scaled(value, units[unit], text);
}

const char *time_print(uint64_t ns, char text[static SIZE_TEXT_MAX])
{
	static const char *const units[] = {"ns", "us", "ms", "s"};
	double value = (double)ns;
	size_t unit = 0;

	while (value >= 999.5 && unit + 1 < sizeof(units) / sizeof(units[0])) {
		value /= 1000;
		unit++;
	}
	return print_scaled(value, units[unit], text);
}

const char *age_print(uint64_t seconds, char text[static SIZE_TEXT_MAX])
{
	if (seconds >= 86400)
		snprintf(text, SIZE_TEXT_MAX, "%" PRIu64 " d %" PRIu64 " h", seconds / 86400, seconds / 3600 % 24);
	else if (seconds >= 3600)
		snprintf(text, SIZE_TEXT_MAX, "%" PRIu64 " h %" PRIu64 " min", seconds / 3600, seconds / 60 % 60);
	else if (seconds >= 60)
		snprintf(text, SIZE_TEXT_MAX, "%" PRIu64 " min %" PRIu64 " s", seconds / 60, seconds % 60);
	else
		snprintf(text, SIZE_TEXT_MAX, "%" PRIu64 " s", seconds);
	return text;
}
