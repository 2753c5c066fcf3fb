/* SPDX-License-Identifier: BSD-3-Clause */
/* Sizes and numbers as people write them. */
#include "config.h"

#include "daemon/size.h"
#include "tests/harness.h"

#include <errno.h>

#define UNTOUCHED 4711

static void assert_number(const char *text, int result, uint64_t expected)
{
	uint64_t value = UNTOUCHED;

	ck_assert_msg(number_parse(text, &value) == result, "'%s'", text);
	ck_assert_uint_eq(value, result ? UNTOUCHED : expected);
}

static void assert_size(const char *text, int result, uint64_t expected)
{
	uint64_t value = UNTOUCHED;

	ck_assert_msg(size_parse(text, &value) == result, "'%s'", text);
	ck_assert_uint_eq(value, result ? UNTOUCHED : expected);
}

static void assert_share(const char *text, uint64_t whole, int result, uint64_t expected)
{
	uint64_t value = UNTOUCHED;

	ck_assert_msg(size_parse_share(text, whole, &value) == result, "'%s'", text);
	ck_assert_uint_eq(value, result ? UNTOUCHED : expected);
}

static void assert_time_read(const char *text, int result, uint64_t expected)
{
	uint64_t ms = UNTOUCHED;

	ck_assert_msg(time_parse(text, &ms) == result, "'%s'", text);
	ck_assert_uint_eq(ms, result ? UNTOUCHED : expected);
}

static void assert_printed(uint64_t bytes, const char *expected)
{
	char text[SIZE_TEXT_MAX];

	ck_assert_ptr_eq(size_print(bytes, text), text);
	ck_assert_str_eq(text, expected);
}

START_TEST(test_number)
{
	static const char *const wrong[] = {"",    " ",   "-",    "+1", "-1", "-0",  " 1", "1 ",
					    "1.0", "1e3", "0x10", "1K", "x",  "1\n", "%",  "\xd9\xa1"};

	assert_number("0", 0, 0);
	assert_number("007", 0, 7);
	assert_number("18446744073709551615", 0, UINT64_MAX);
	assert_number("000000000000000000000000000001", 0, 1);
	assert_number("18446744073709551616", -ERANGE, 0);
	assert_number("99999999999999999999999999", -ERANGE, 0);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_number(wrong[i], -EINVAL, 0);
}
END_TEST

START_TEST(test_size)
{
	static const char *const wrong[] = {"",   "K",  " 1K", "1 K", "1K ", "-1K", "+1", "1P",   "1E",   "1KK",   "1Ki", "1Kb",
					    "1b", "1BB", "1iB", "1.5G", "1,5G", "G1", "0x1", "1KiBs", "1%", "50%"};

	assert_size("0", 0, 0);
	assert_size("1", 0, 1);
	assert_size("1B", 0, 1);
	assert_size("1K", 0, 1024);
	assert_size("1k", 0, 1024);
	assert_size("1KB", 0, 1024);
	assert_size("1KiB", 0, 1024);
	assert_size("3M", 0, UINT64_C(3) << 20);
	assert_size("3g", 0, UINT64_C(3) << 30);
	assert_size("3TiB", 0, UINT64_C(3) << 40);
	assert_size("18446744073709551615", 0, UINT64_MAX);
	assert_size("18446744073709551616", -ERANGE, 0);
	assert_size("18014398509481983K", 0, UINT64_MAX - 1023);
	assert_size("18014398509481984K", -ERANGE, 0);
	assert_size("17179869183G", 0, UINT64_C(17179869183) << 30);
	assert_size("17179869184G", -ERANGE, 0);
	assert_size("16777215T", 0, UINT64_C(16777215) << 40);
	assert_size("16777216T", -ERANGE, 0);
	assert_size("0T", 0, 0);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_size(wrong[i], -EINVAL, 0);
}
END_TEST

START_TEST(test_share)
{
	assert_share("0%", 1000, 0, 0);
	assert_share("1%", 1000, 0, 10);
	assert_share("50%", 1000, 0, 500);
	assert_share("100%", 1000, 0, 1000);
	assert_share("101%", 1000, -ERANGE, 0);
	assert_share("18446744073709551616%", 1000, -ERANGE, 0);
	assert_share("100%", UINT64_MAX / 100 * 100, 0, UINT64_MAX / 100 * 100);
	assert_share("64M", 1000, 0, UINT64_C(64) << 20);
	assert_share("5", 1000, 0, 5);
	assert_share("%", 1000, -EINVAL, 0);
	assert_share("50%%", 1000, -EINVAL, 0);
	assert_share("50 %", 1000, -EINVAL, 0);
	assert_share("-1%", 1000, -EINVAL, 0);
	assert_share("5.5%", 1000, -EINVAL, 0);
	assert_share("50%K", 1000, -EINVAL, 0);
}
END_TEST

/* Of what is no multiple of a hundred: all of it is all of it, and half of it the half. */
START_TEST(test_share_of_odd)
{
	assert_share("100%", 4096, 0, 4096);
	assert_share("50%", 250, 0, 125);
	assert_share("100%", UINT64_MAX, 0, UINT64_MAX);
	assert_share("1%", 199, 0, 1);
}
END_TEST

START_TEST(test_time)
{
	static const char *const wrong[] = {"", "s", "1 s", " 1s", "1s ", "-1s", "1.5s", "1m", "1M", "1S", "1sec", "1d", "1ss", "1%"};

	assert_time_read("0", 0, 0);
	assert_time_read("1", 0, 1000);
	assert_time_read("1s", 0, 1000);
	assert_time_read("500ms", 0, 500);
	assert_time_read("5min", 0, 5 * 60 * 1000);
	assert_time_read("2h", 0, 2 * 60 * 60 * 1000);
	assert_time_read("18446744073709551615ms", 0, UINT64_MAX);
	assert_time_read("18446744073709551616ms", -ERANGE, 0);
	assert_time_read("18446744073709551s", 0, UINT64_C(18446744073709551000));
	assert_time_read("18446744073709552s", -ERANGE, 0);
	assert_time_read("18446744073709552", -ERANGE, 0);
	assert_time_read("5124095576030h", 0, UINT64_C(5124095576030) * 3600000);
	assert_time_read("5124095576031h", -ERANGE, 0);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_time_read(wrong[i], -EINVAL, 0);
}
END_TEST

START_TEST(test_print)
{
	assert_printed(0, "0 B");
	assert_printed(1, "1 B");
	assert_printed(1023, "1023 B");
	assert_printed(1024, "1 KiB");
	assert_printed(1536, "1.50 KiB");
	assert_printed(10240, "10 KiB");
	assert_printed(10752, "10.5 KiB");
	assert_printed(102912, "100 KiB");
	assert_printed(UINT64_C(64) << 20, "64 MiB");
	assert_printed((UINT64_C(1) << 20) - 1, "1.00 MiB");
	assert_printed(UINT64_C(5) << 28, "1.25 GiB");
	assert_printed(UINT64_C(1) << 40, "1 TiB");
	assert_printed(UINT64_C(1) << 50, "1 PiB");
	assert_printed(UINT64_C(1) << 63, "8 EiB");
	assert_printed(UINT64_MAX, "16 EiB");
}
END_TEST

static void assert_time(uint64_t ns, const char *expected)
{
	char text[SIZE_TEXT_MAX];

	ck_assert_str_eq(time_print(ns, text), expected);
}

static void assert_age(uint64_t seconds, const char *expected)
{
	char text[SIZE_TEXT_MAX];

	ck_assert_str_eq(age_print(seconds, text), expected);
}

START_TEST(test_print_times)
{
	assert_time(0, "0 ns");
	assert_time(999, "999 ns");
	assert_time(1000, "1 us");
	assert_time(1234, "1.23 us");
	assert_time(12345, "12.3 us");
	assert_time(123456, "123 us");
	assert_time(999499, "999 us");
	assert_time(999500, "1.00 ms");
	assert_time(UINT64_C(3400000000), "3.40 s");
	assert_time(UINT64_MAX, "18446744074 s");
	assert_age(0, "0 s");
	assert_age(59, "59 s");
	assert_age(60, "1 min 0 s");
	assert_age(3599, "59 min 59 s");
	assert_age(3600, "1 h 0 min");
	assert_age(86399, "23 h 59 min");
	assert_age(86400, "1 d 0 h");
	assert_age(UINT64_MAX, "213503982334601 d 7 h");
}
END_TEST

Suite *suite(void);

Suite *suite(void)
{
	Suite *s = suite_create("size");

	HARNESS_CASE(s, "size", test_number, test_size, test_share, test_share_of_odd, test_time, test_print, test_print_times);
	return s;
}

int main(void)
{
	return harness_run(suite());
}
