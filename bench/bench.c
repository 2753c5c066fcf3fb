/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench [--smoke] [--commit=NAME] FOLDER [GROUP...]
 *
 * Measures all groups of rows, or those named, and writes the figures to FOLDER. Files of up to 5 GiB stand there meanwhile. $SMMAPD is
 * the server.
 */
#include "config.h"

#include "bench/bench.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const struct bench_scale full = {
	.rounds = 7,
	.large_bytes = 4 * GIB,
	.file_bytes = GIB,
	.reads = 2000000,
	.misses = 20000,
	.processes = 50,
	.starts = 100,
	.clients = 1000,
	.ms = 1000,
};
static const struct bench_scale smoke = {
	.is_short = true,
	.rounds = 2,
	.large_bytes = 128 * MIB,
	.file_bytes = 128 * MIB,
	.reads = 200000,
	.misses = 2000,
	.processes = 5,
	.starts = 10,
	.clients = 100,
	.ms = 200,
};
const struct bench_scale *scale = &full;

static struct bench_result results[BENCH_MAX_ROWS];
static unsigned n_results;
static char *notes[BENCH_MAX_ROWS];
static unsigned n_notes;

/* ---- rows ---- */

static int compare_figures(const void *a, const void *b)
{
	double one = *(const double *)a, other = *(const double *)b;

	return (one > other) - (one < other);
}

double bench_median(double *figures, unsigned n)
{
	qsort(figures, n, sizeof(*figures), compare_figures);
	return (figures[n / 2] + figures[(n - 1) / 2]) / 2;
}

struct bench_spread bench_spread(const double *figures, unsigned n)
{
	double sorted[BENCH_MAX_ROUNDS], median;

	memcpy(sorted, figures, n * sizeof(*figures));
	median = bench_median(sorted, n);
	return (struct bench_spread){.median = median, .least = sorted[0], .most = sorted[n - 1]};
}

void bench_compare(const struct bench_row *row, bench_side *ours, bench_side *reference, void *data)
{
	struct bench_result *result = &results[n_results];
	struct bench_spread ratio;

	if (n_results == BENCH_MAX_ROWS)
		bench_fail("too many rows");
	*result = (struct bench_result){.row = *row, .rounds = scale->rounds};
	ours(data);
	if (reference)
		reference(data);
	for (unsigned i = 0; i < result->rounds; i++) {
		result->ours[i] = ours(data);
		result->reference[i] = reference ? reference(data) : 1;
		result->ratio[i] = result->ours[i] / result->reference[i];
	}
	ratio = bench_spread(result->ratio, result->rounds);
	printf("%-22s %12.4g %12.4g %-10s  %.3f (%.3f to %.3f)\n", row->key, bench_spread(result->ours, result->rounds).median,
	       reference ? bench_spread(result->reference, result->rounds).median : 0, row->unit, ratio.median, ratio.least, ratio.most);
	fflush(stdout);
	n_results++;
}

const struct bench_result *bench_results(unsigned *n)
{
	*n = n_results;
	return results;
}

void bench_note(const char *format, ...)
{
	va_list arguments;

	if (n_notes == BENCH_MAX_ROWS)
		bench_fail("too many notes");
	va_start(arguments, format);
	if (vasprintf(&notes[n_notes], format, arguments) < 0)
		bench_fail("no memory");
	va_end(arguments);
	puts(notes[n_notes++]);
}

const char *const *bench_notes(unsigned *n)
{
	*n = n_notes;
	return (const char *const *)notes;
}

/* ---- the program ---- */

static const struct {
	const char *name;
	void (*run)(void);
} groups[] = {
	{"hits", bench_hits},       {"misses", bench_misses}, {"sequential", bench_sequential}, {"clients", bench_clients},
	{"memory", bench_memory},   {"idle", bench_idle},     {"start", bench_start},           {"churn", bench_churn},
};

static bool is_wanted(const char *name, char **wanted)
{
	if (!*wanted)
		return true;
	for (; *wanted; wanted++)
		if (!strcmp(*wanted, name))
			return true;
	return false;
}

/* A client takes two descriptors, and one program has many here. */
static void raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

int main(int argc, char **argv)
{
	const char *commit = "unknown";
	char *folder;

	if (argc > 1 && !strcmp(argv[1], "start-child"))
		return bench_start_child(argv + 2);
	for (argv++; *argv && !strncmp(*argv, "--", 2); argv++) {
		if (!strcmp(*argv, "--smoke"))
			scale = &smoke;
		else if (!strncmp(*argv, "--commit=", 9))
			commit = *argv + 9;
		else
			bench_fail("there is no option %s", *argv);
	}
	if (!*argv || !getenv("SMMAPD"))
		bench_fail("usage: SMMAPD=PROGRAM bench [--smoke] [--commit=NAME] FOLDER [GROUP...]");
	folder = realpath(*argv++, NULL);
	if (!folder || chdir(folder) < 0)
		bench_fail("there is no folder %s", argv[-1]);
	unsetenv("SMMAP_SOCKET");
	raise_limit();

	printf("%-22s %12s %12s %-10s  %s\n", "", "smmapd", "reference", "", "ratio: median (least to most)");
	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
		if (is_wanted(groups[i].name, argv))
			groups[i].run();
	bench_report(folder, commit);
	free(folder);
	for (unsigned i = 0; i < n_notes; i++)
		free(notes[i]);
	return 0;
}
