/* SPDX-License-Identifier: BSD-3-Clause */
/* What is allocated in the heap is counted, and what it costs to count is bounded. */
#include "config.h"

#include "daemon/heap.h"
#include "tests/harness.h"

#include <stdio.h>
#include <stdlib.h>

#define PIECES 20000 /* every second of them is free later: more than are looked at whenever somebody asks */

static struct heap heap;

START_TEST(test_counts)
{
	uint64_t before = heap_measure(&heap, 0), with;
	char *small = malloc(10000), *large = malloc(10 << 20);

	ck_assert(small && large);
	with = heap_measure(&heap, 0);
	ck_assert_uint_ge(with, before + 10000 + (10 << 20));
	/* A large piece has a map of its own. */
	free(large);
	ck_assert_uint_le(heap_measure(&heap, 0), with - (10 << 20));
	free(small);
	ck_assert_uint_lt(heap_measure(&heap, 0), before + 10000);
}
END_TEST

START_TEST(test_many_pieces)
{
	char **pieces = calloc(PIECES, sizeof(*pieces));
	uint64_t with;

	ck_assert_ptr_nonnull(pieces);
	for (int i = 0; i < PIECES; i++)
		ck_assert_ptr_nonnull(pieces[i] = malloc(2000));
	for (int i = 0; i < PIECES; i += 2)
		free(pieces[i]);
	with = heap_measure(&heap, 5000);
	ck_assert_uint_ge(heap.pieces, PIECES / 3);

	/* Within a second nothing is looked at. */
	for (int i = 1; i < PIECES; i += 2)
		free(pieces[i]);
	ck_assert_uint_eq(heap_measure(&heap, 5999), with);
	ck_assert_uint_lt(heap_measure(&heap, 6000), with - PIECES / 2 * 1900);
	free(pieces);
}
END_TEST

int main(void)
{
	Suite *suite;

#ifdef __SANITIZE_ADDRESS__
	puts("skipped: the sanitizer has an allocator of its own");
	return 77;
#endif
	suite = suite_create("heap");
	HARNESS_CASE(suite, "heap", test_counts, test_many_pieces);
	return harness_run(suite);
}
