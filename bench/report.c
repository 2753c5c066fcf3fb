/* SPDX-License-Identifier: BSD-3-Clause */
/* The figures, for programs (CSV, JSON) and as the page that stands in the project (bench/RESULTS.md). */
#include "config.h"

#include "bench/bench.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

struct machine {
	struct utsname system;
	char cpu[128];
	long cores;
	double memory_gib;
};

static struct machine look(void)
{
	struct machine machine = {.cpu = "unknown", .cores = sysconf(_SC_NPROCESSORS_ONLN)};
	FILE *stream = fopen("/proc/cpuinfo", "re");
	char line[256];

	uname(&machine.system);
	machine.memory_gib = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / (double)GIB;
	while (stream && fgets(line, sizeof(line), stream))
		if (sscanf(line, "model name : %127[^\n]", machine.cpu) == 1)
			break;
	if (stream)
		fclose(stream);
	return machine;
}

/* ---- what came of it ---- */

static const char *verdict(const struct bench_result *result)
{
	double median = bench_spread(result->ratio, result->rounds).median;

	switch (result->row.aim) {
	case BENCH_AT_MOST:
		return median <= result->row.target ? "met" : "not met";
	case BENCH_AT_LEAST:
		return median >= result->row.target ? "met" : "not met";
	default:
		return "reported";
	}
}

static FILE *create(const char *folder, const char *name)
{
	char path[4096];
	FILE *stream;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	stream = fopen(path, "we");
	if (!stream)
		bench_fail("%s can't be written", path);
	return stream;
}

static void finish(FILE *stream)
{
	if (fclose(stream))
		bench_fail("the figures can't be written");
}

/* ---- CSV ---- */

static void print_csv(FILE *stream)
{
	static const char *const aims[] = {"", "at most", "at least"};
	const struct bench_result *results;
	unsigned n;

	results = bench_results(&n);
	fprintf(stream, "key,unit,ours,ours_least,ours_most,reference,reference_least,reference_most,"
			"ratio,ratio_least,ratio_most,aim,target,verdict\n");
	for (unsigned i = 0; i < n; i++) {
		const struct bench_result *result = &results[i];
		struct bench_spread ours = bench_spread(result->ours, result->rounds);
		struct bench_spread reference = bench_spread(result->reference, result->rounds);
		struct bench_spread ratio = bench_spread(result->ratio, result->rounds);

		fprintf(stream, "%s,%s,%g,%g,%g,", result->row.key, result->row.unit, ours.median, ours.least, ours.most);
		if (result->row.reference)
			fprintf(stream, "%g,%g,%g,%g,%g,%g,", reference.median, reference.least, reference.most, ratio.median, ratio.least,
				ratio.most);
		else
			fprintf(stream, ",,,,,,");
		fprintf(stream, "%s,%g,%s\n", aims[result->row.aim], result->row.target, verdict(result));
	}
}

/* ---- JSON ---- */

static json_t *json_of_figures(const double *figures, unsigned n)
{
	json_t *array = json_array();

	for (unsigned i = 0; i < n; i++)
		json_array_append_new(array, json_real(figures[i]));
	return array;
}

static json_t *json_of_result(const struct bench_result *result)
{
	json_t *row = json_pack("{s:s, s:s, s:s?, s:s, s:o}", "key", result->row.key, "what", result->row.what,
				"reference", result->row.reference, "unit", result->row.unit,
				"ours", json_of_figures(result->ours, result->rounds));

	if (result->row.reference) {
		json_object_set_new(row, "reference_figures", json_of_figures(result->reference, result->rounds));
		json_object_set_new(row, "ratios", json_of_figures(result->ratio, result->rounds));
	}
	if (result->row.aim != BENCH_REPORTED)
		json_object_set_new(row, result->row.aim == BENCH_AT_MOST ? "at_most" : "at_least", json_real(result->row.target));
	json_object_set_new(row, "verdict", json_string(verdict(result)));
	return row;
}

static void print_json(FILE *stream, const struct machine *machine, const char *commit)
{
	json_t *rows = json_array(), *notes = json_array(), *root;
	const struct bench_result *results;
	const char *const *lines;
	unsigned n, n_lines;

	results = bench_results(&n);
	lines = bench_notes(&n_lines);
	for (unsigned i = 0; i < n; i++)
		json_array_append_new(rows, json_of_result(&results[i]));
	for (unsigned i = 0; i < n_lines; i++)
		json_array_append_new(notes, json_string(lines[i]));
	root = json_pack("{s:s, s:{s:s, s:i, s:f, s:s}, s:o, s:o}", "commit", commit,
			 "machine", "cpu", machine->cpu, "cores", (int)machine->cores, "memory_gib", machine->memory_gib, "kernel", machine->system.release, "rows", rows, "notes", notes);
	if (!root || json_dumpf(root, stream, JSON_INDENT(2)) < 0)
		bench_fail("the figures can't be written");
	fputc('\n', stream);
	json_decref(root);
}

/* ---- the page ---- */

static void print_spread(FILE *stream, const double *figures, unsigned n)
{
	struct bench_spread spread = bench_spread(figures, n);

	fprintf(stream, " %.4g (%.4g to %.4g) |", spread.median, spread.least, spread.most);
}

static void print_row(FILE *stream, const struct bench_result *result)
{
	static const char *const aims[] = {"", "at most ", "at least "};

	fprintf(stream, "| %s | %s | %s |", result->row.what, result->row.reference ? result->row.reference : "", result->row.unit);
	print_spread(stream, result->ours, result->rounds);
	if (result->row.reference) {
		print_spread(stream, result->reference, result->rounds);
		print_spread(stream, result->ratio, result->rounds);
	} else {
		fputs(" | |", stream);
	}
	if (result->row.aim == BENCH_REPORTED)
		fputs(" | reported |\n", stream);
	else
		fprintf(stream, " %s%g | %s |\n", aims[result->row.aim], result->row.target, verdict(result));
}

static void print_page(FILE *stream, const struct machine *machine, const char *commit)
{
	const struct bench_result *results;
	const char *const *lines;
	unsigned n, n_lines;

	results = bench_results(&n);
	lines = bench_notes(&n_lines);
	fprintf(stream,
		"# What `make bench` has measured\n\n"
		"Commit %s, on %s, %ld cores, %.0f GiB, Linux %s. Written by `make bench`; README.md says how to\n"
		"read it. Each figure is the median of %u rounds, with the least and the most.\n\n",
		commit, machine->cpu, machine->cores, machine->memory_gib, machine->system.release, scale->rounds);
	if (scale->is_short)
		fprintf(stream, "**A short run, which shows that all of it works, and nothing of its speed.**\n\n");
	fprintf(stream, "| what | reference | unit | smmapd | reference | ratio | to reach | |\n|---|---|---|---|---|---|---|---|\n");
	for (unsigned i = 0; i < n; i++)
		print_row(stream, &results[i]);
	fputc('\n', stream);
	for (unsigned i = 0; i < n_lines; i++)
		fprintf(stream, "- %s\n", lines[i]);
}

void bench_report(const char *folder, const char *commit)
{
	struct machine machine = look();
	FILE *stream;

	stream = create(folder, "results.csv");
	print_csv(stream);
	finish(stream);
	stream = create(folder, "results.json");
	print_json(stream, &machine, commit);
	finish(stream);
	stream = create(folder, "results.md");
	print_page(stream, &machine, commit);
	finish(stream);
}
