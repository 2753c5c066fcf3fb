/* SPDX-License-Identifier: BSD-3-Clause */
/* The histogram of times, against the times themselves. */
#include "config.h"

#include "daemon/times.h"
#include "tests/harness.h"

#include <stdlib.h>

#define N 20000

static struct times times;

static int compare(const void *a, const void *b)
{
	const uint64_t *one = a, *other = b;

	return (*one > *other) - (*one < *other);
}

START_TEST(test_none)
{
	times = (struct times){0};
	ck_assert_uint_eq(times_quantile(&times, 50), 0);
	ck_assert_uint_eq(times_quantile(&times, 100), 0);
}
END_TEST

/* Alone in it, a time is found exactly, whatever its size. */
START_TEST(test_borders)
{
	for (unsigned bit = 0; bit < 64; bit++) {
		for (uint64_t around = 0; around < 3; around++) {
			uint64_t ns = (UINT64_C(1) << bit) + around - 1;

			times = (struct times){0};
			times_add(&times, ns);
			ck_assert_uint_eq(times_quantile(&times, 1), ns);
			ck_assert_uint_eq(times_quantile(&times, 100), ns);
			ck_assert_uint_eq(times.worst_ns, ns);
		}
	}
	times = (struct times){0};
	times_add(&times, UINT64_MAX);
	times_add(&times, UINT64_MAX);
	ck_assert_uint_eq(times_quantile(&times, 50), UINT64_MAX);
	ck_assert_uint_eq(times.sum_ns, UINT64_MAX);
}
END_TEST

/* Small ones have a bucket each. */
START_TEST(test_exact)
{
	times = (struct times){0};
	for (uint64_t ns = 1; ns <= 2 * TIMES_PARTS; ns++)
		times_add(&times, ns);
	ck_assert_uint_eq(times.count, 2 * TIMES_PARTS);
	ck_assert_uint_eq(times.sum_ns, TIMES_PARTS * (2 * TIMES_PARTS + 1));
	ck_assert_uint_eq(times_quantile(&times, 50), TIMES_PARTS);
	ck_assert_uint_eq(times_quantile(&times, 100), 2 * TIMES_PARTS);
	ck_assert_uint_eq(times_quantile(&times, 1), 1);
}
END_TEST

/* Never below the true quantile, and above it by a thirty-second at most. */
START_TEST(test_error)
{
	static uint64_t all[N];

	times = (struct times){0};
	for (size_t i = 0; i < N; i++) {
		all[i] = harness_random() >> (harness_random() % 64);
		times_add(&times, all[i]);
	}
	qsort(all, N, sizeof(all[0]), compare);
	ck_assert_uint_eq(times.count, N);
	ck_assert_uint_eq(times.worst_ns, all[N - 1]);
	for (unsigned percent = 1; percent <= 100; percent++) {
		uint64_t truth = all[(N * percent + 99) / 100 - 1], said = times_quantile(&times, percent);

		ck_assert_uint_ge(said, truth);
		ck_assert_uint_le(said - truth, truth / TIMES_PARTS);
	}
}
END_TEST

Suite *suite(void);

Suite *suite(void)
{
	Suite *s = suite_create("times");

	HARNESS_CASE(s, "times", test_none, test_borders, test_exact, test_error);
	return s;
}

int main(void)
{
	return harness_run(suite());
}
