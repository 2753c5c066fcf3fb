/* SPDX-License-Identifier: BSD-3-Clause */
/* The limits: what may be asked for, and what the kernel leaves of it. */
#include "config.h"

#include "daemon/limits.h"
#include "tests/harness.h"

#include "proto/util.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

static char complaint[1024];

static const struct limits good = {.memory = UINT64_C(1) << 30, .handles = 1, .maps = 1, .window = UINT64_C(1) << 20,
				   .user_percent = 75};

static void set_descriptors(rlim_t soft, rlim_t hard)
{
	struct rlimit limit = {.rlim_cur = soft, .rlim_max = hard};

	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static uint64_t map_count(void)
{
	FILE *file = fopen("/proc/sys/vm/max_map_count", "re");
	unsigned long count = 65530;

	if (file) {
		ck_assert_int_eq(fscanf(file, "%lu", &count), 1);
		fclose(file);
	}
	return count;
}

START_TEST(test_fit_descriptors)
{
	struct limits limits = good;
	struct rlimit limit;

	/* 20 are the server's own, an eighth of the rest for what is to be closed, half of what is left at most for files, a client has three. */
	limits.handles = 44;
	set_descriptors(100, 120);
	ck_assert_int_eq(limits_fit(&limits, complaint, sizeof(complaint)), 0);
	ck_assert_str_eq(complaint, "");
	ck_assert_uint_eq(limits.handles, 44);
	ck_assert_uint_eq(limits.strays, 12);
	ck_assert_uint_eq(limits.clients, 44 / 3);
	ck_assert_uint_eq(limits.in_flight, 120);
	ck_assert_uint_eq(limits.maps, 1);
	/* It went as high as it might. */
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_uint_eq(limit.rlim_cur, 120);

	limits.handles = 45;
	ck_assert_int_eq(limits_fit(&limits, complaint, sizeof(complaint)), 1);
	ck_assert_uint_eq(limits.handles, 44);
	ck_assert_msg(strstr(complaint, "max-handles lowered from 45 to 44"), "%s", complaint);

	/* The least that is of use. */
	limits = good;
	set_descriptors(26, 26);
	ck_assert_int_eq(limits_fit(&limits, complaint, sizeof(complaint)), 0);
	ck_assert_uint_eq(limits.handles, 1);
	ck_assert_uint_ge(limits.clients, 1);
	set_descriptors(25, 25);
	ck_assert_int_eq(limits_fit(&limits, complaint, sizeof(complaint)), -EMFILE);
}
END_TEST

/* A guard takes as many descriptors again, and its timeout is below the kernel's. */
START_TEST(test_fit_write_guard)
{
	struct limits limits = good;
	FILE *file = fopen("/proc/sys/fs/lease-break-time", "re");
	unsigned long kernel_s;

	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fscanf(file, "%lu", &kernel_s), 1);
	fclose(file);

	set_descriptors(120, 120);
	limits.write_guard = true;
	limits.write_guard_timeout_ms = kernel_s ? kernel_s * 1000 - 500 : 1000;
	limits.handles = 22;
	ck_assert_int_eq(limits_fit(&limits, complaint, sizeof(complaint)), 0);
	ck_assert_uint_eq(limits.clients, 44 / 3);
	limits.handles = 23;
	ck_assert_int_eq(limits_fit(&limits, complaint, sizeof(complaint)), 1);
	ck_assert_uint_eq(limits.handles, 22);
	ck_assert_msg(strstr(complaint, "max-handles lowered from 23 to 22"), "%s", complaint);
	if (kernel_s) {
		limits.write_guard_timeout_ms++;
		ck_assert_int_eq(limits_fit(&limits, complaint, sizeof(complaint)), 1);
		ck_assert_uint_eq(limits.write_guard_timeout_ms, kernel_s * 1000 - 500);
		ck_assert_msg(strstr(complaint, "write-guard-timeout lowered from "), "%s", complaint);
	}

	/* Without it, neither matters. */
	limits.write_guard = false;
	limits.write_guard_timeout_ms = UINT64_MAX;
	limits.handles = 44;
	ck_assert_int_eq(limits_fit(&limits, complaint, sizeof(complaint)), 0);

	/* The least that is of use. */
	limits.write_guard = true;
	limits.write_guard_timeout_ms = 100;
	limits.handles = 1;
	set_descriptors(26, 26);
	ck_assert_int_eq(limits_fit(&limits, complaint, sizeof(complaint)), 0);
	ck_assert_uint_ge(limits.clients, 1);
}
END_TEST

START_TEST(test_fit_maps)
{
	struct limits limits = good;
	uint64_t most;

	/* 512 are the program's own, and each client has a board. */
	set_descriptors(120, 120);
	limits.handles = 44;
	most = map_count() - 512 - 44 / 3;
	limits.maps = most;
	ck_assert_int_eq(limits_fit(&limits, complaint, sizeof(complaint)), 0);
	ck_assert_uint_eq(limits.maps, most);
	limits.maps = most + 1;
	ck_assert_int_eq(limits_fit(&limits, complaint, sizeof(complaint)), 1);
	ck_assert_uint_eq(limits.maps, most);
	ck_assert_msg(strstr(complaint, "max-maps lowered"), "%s", complaint);
	limits.maps = UINT64_MAX;
	limits.handles = UINT64_MAX;
	ck_assert_int_eq(limits_fit(&limits, complaint, sizeof(complaint)), 2);
	ck_assert_ptr_nonnull(strstr(complaint, "max-handles lowered"));
	ck_assert_ptr_nonnull(strstr(complaint, "max-maps lowered"));
}
END_TEST

/* Many descriptors are no reason to refuse: systemd allows 524288, and a kernel 65530 maps. */
START_TEST(test_fit_many_descriptors)
{
	struct rlimit limit = {.rlim_cur = 524288, .rlim_max = 524288};
	struct limits limits;

	limits_default(&limits);
	/* Root may raise it; others have what they have. */
	setrlimit(RLIMIT_NOFILE, &limit);
	ck_assert_int_ge(limits_fit(&limits, complaint, sizeof(complaint)), 0);
	ck_assert_uint_ge(limits.clients, 1);
	ck_assert_uint_ge(limits.maps, 1);
	ck_assert_uint_le(limits.maps + limits.clients, map_count());
}
END_TEST

Suite *suite(void);

Suite *suite(void)
{
	Suite *s = suite_create("limits");

	HARNESS_CASE(s, "limits", test_fit_descriptors, test_fit_write_guard, test_fit_maps, test_fit_many_descriptors);
	return s;
}

int main(void)
{
	return harness_run(suite());
}
