/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Churn: 4 processes read at random in a file that is four times as large as the server's limit, so that most reads evict. The reference
 * has no limit: each process maps all of the file by itself. What the limit costs in time, and what it saves in memory, belong together.
 */
#include "config.h"

#include "bench/bench.h"

#include <inttypes.h>
#include <stdio.h>

#define N_PROCESSES 4
#define LIMIT_SHARE 4

struct churn {
	struct bench_file file;
	struct bench_server server;
	bool tells_memory;
};

static uint64_t pick(unsigned member, uint64_t i, uint64_t n_words)
{
	return bench_word((uint64_t)member << 40 | i) % n_words;
}

static void read_by_cursor(struct bench_team *team, unsigned member, void *data)
{
	const struct churn *churn = data;
	struct bench_reader reader;

	bench_reader_open(&reader, &churn->server, &churn->file, 0);
	bench_team_ready(team);
	for (uint64_t i = 0; bench_team_works(team); i++) {
		uint64_t place = pick(member, i, churn->file.n_words);

		bench_check(smmap_cursor_use(reader.cursor, place * 8, 8), "a read");
		bench_check_sum(*(const uint64_t *)smmap_cursor_data(reader.cursor), bench_word(place), "a cursor");
		bench_team_count(team, member, i + 1);
	}
	bench_reader_close(&reader);
}

static void read_by_map(struct bench_team *team, unsigned member, void *data)
{
	const struct churn *churn = data;
	const uint64_t *map = bench_map(&churn->file, 0, churn->file.n_words * 8);

	bench_team_ready(team);
	for (uint64_t i = 0; bench_team_works(team); i++) {
		uint64_t place = pick(member, i, churn->file.n_words);

		bench_check_sum(map[place], bench_word(place), "a map");
		bench_team_count(team, member, i + 1);
	}
}

/* Microseconds for a read, or the mebibytes of the file that all have resident while they read: a page counts once for each process. */
static double run(struct churn *churn, void (*work)(struct bench_team *team, unsigned member, void *data))
{
	struct bench_team team;
	double rate, mib = 0;

	bench_team_start(&team, N_PROCESSES, work, churn);
	rate = bench_team_rate(&team);
	for (unsigned i = 0; i < N_PROCESSES; i++)
		mib += (double)bench_proc(team.pids[i], "status", "RssFile") / 1024;
	bench_team_end(&team);
	return churn->tells_memory ? mib : 1e6 / rate;
}

static double ours(void *data)
{
	return run(data, read_by_cursor);
}

static double maps(void *data)
{
	return run(data, read_by_map);
}

void bench_churn(void)
{
	static const struct bench_row time = {"churn-time", "random reads in 4 times the limit, 4 processes",
					      "each its own plain map, no limit", "us", .aim = BENCH_REPORTED};
	static const struct bench_row memory = {"churn-memory", "the same: what all have resident of the file",
						"each its own plain map, no limit", "MiB", .aim = BENCH_REPORTED};
	struct churn churn = {0};
	char option[64];

	bench_file_make(&churn.file, "churned", scale->file_bytes);
	snprintf(option, sizeof(option), "--max-memory=%" PRIu64, scale->file_bytes / LIMIT_SHARE);
	bench_server_start(&churn.server, "--window-size=256K", option, NULL);
	bench_compare(&time, ours, maps, &churn);
	churn.tells_memory = true;
	bench_compare(&memory, ours, maps, &churn);
	bench_server_stop(&churn.server);
	bench_file_remove(&churn.file);
}
