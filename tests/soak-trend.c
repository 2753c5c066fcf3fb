/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Leaks by slope: a line, by least squares, through the memory that one server has at each of its rests, under all that is done to it but
 * its end. What it has at one rest goes up and down with the load before; the line does not. What makes it rise without a leak, such as
 * tables that grow for the largest crowd so far, comes to an end. So it may rise by the same in minutes as in days, and the longer the soak, the
 * smaller the leak that is found.
 */
#include "config.h"

#include "tests/soak.h"

#include <inttypes.h>
#include <stdio.h>

/* Fewer rests make no line. */
#define FEWEST_RESTS 5

/* By how many bytes the line of the heap in use may rise in all: all tables that were seen to grow came to a third of that. */
#define HEAP_RISE (UINT64_C(48) << 10)

/* Of what a server has at its rests: sums of bytes, and of bytes times seconds, since the first one. */
struct line {
	double bytes, products;
};

static struct trend {
	uint64_t start; /* of the server */
	unsigned n;
	uint64_t first_ms;
	struct soak_figures first;
	double seconds, squares, last; /* sums of times, and the last one */
	struct line heap, heap_resident, resident;
} trend;

static void add(struct line *line, uint64_t bytes, uint64_t first)
{
	line->bytes += (double)bytes - (double)first;
	line->products += ((double)bytes - (double)first) * trend.last;
}

void soak_add_to_trend(const struct soak_figures *figures)
{
	if (trend.start != soak->n_starts)
		trend = (struct trend){.start = soak->n_starts, .first_ms = soak_now_ms(), .first = *figures};
	trend.n++;
	trend.last = (double)(soak_now_ms() - trend.first_ms) / 1000;
	trend.seconds += trend.last;
	trend.squares += trend.last * trend.last;
	add(&trend.heap, figures->heap_bytes, trend.first.heap_bytes);
	add(&trend.heap_resident, figures->heap_resident_bytes, trend.first.heap_resident_bytes);
	add(&trend.resident, figures->resident_bytes, trend.first.resident_bytes);
}

static void judge(const char *what, const struct line *line, uint64_t most)
{
	double slope = (trend.n * line->products - trend.seconds * line->bytes) / (trend.n * trend.squares - trend.seconds * trend.seconds);
	double rise = slope * trend.last;

	printf("%s of the last server rose by %.0f bytes over %u rests, in %.0f s; it may by %" PRIu64 "\n", what, rise, trend.n, trend.last, most);
	if (rise > (double)most)
		soak_lose(SOAK_RESTS, "a leak: %s rose by %.0f bytes in %.0f s", what, rise, trend.last);
}

void soak_judge_trend(void)
{
	if (trend.start != soak->n_starts || trend.n < FEWEST_RESTS) {
		soak_lose(SOAK_RESTS, "the last server had fewer than %u rests, and so a leak is not to be seen", FEWEST_RESTS);
		return;
	}
	judge("the heap in use", &trend.heap, HEAP_RISE);
	judge("the pages of the heap", &trend.heap_resident, SOAK_HEAP_RESIDENT_SLACK);
	judge("all other resident memory", &trend.resident, SOAK_RESIDENT_SLACK);
}
