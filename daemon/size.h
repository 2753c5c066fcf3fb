/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_SIZE_H
#define DAEMON_SIZE_H

/* Sizes, times and numbers as people write them. */

#include <stddef.h>
#include <stdint.h>

/* Enough for any size that size_print() makes. */
#define SIZE_TEXT_MAX 32

/* Reads a plain decimal number. 0, -EINVAL if it is not one, -ERANGE if it is too large. */
int number_parse(const char *text, uint64_t *value);

/* Reads bytes, plain or with K, M, G or T (powers of 1024), optionally followed by iB or B. 0, -EINVAL or -ERANGE. */
int size_parse(const char *text, uint64_t *bytes);

/* Reads a size, or a percentage of @whole, such as 50%. 0, -EINVAL or -ERANGE. */
int size_parse_share(const char *text, uint64_t whole, uint64_t *bytes);

/* Reads a time, in seconds or with ms, s, min or h, as milliseconds. 0, -EINVAL or -ERANGE. */
int time_parse(const char *text, uint64_t *ms);

/* Prints bytes with the largest unit that leaves at least 1, to three digits: "64 MiB", "1.50 GiB". Returns @text. */
const char *size_print(uint64_t bytes, char text[static SIZE_TEXT_MAX]);

/* Prints a time to three digits: "12 us", "1.20 ms", "3.40 s". Returns @text. */
const char *time_print(uint64_t ns, char text[static SIZE_TEXT_MAX]);

/* Prints an age in its two largest units: "5 s", "2 h 5 min", "3 d 4 h". Returns @text. */
const char *age_print(uint64_t seconds, char text[static SIZE_TEXT_MAX]);

#endif
