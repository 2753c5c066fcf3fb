/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading a large file from beginning to end, all of its words. Each side begins with nothing mapped, and what it costs to map is measured
 * with it. Windows are of 1 MiB.
 */
#include "config.h"

#include "bench/bench.h"

#include "proto/util.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

struct sequence {
	struct bench_file file;
	struct bench_server server;
	bool advised; /* says that it reads forward */
	bool cold;
	uint64_t sum;
};

static uint64_t sum_words(const uint64_t *words, uint64_t n)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < n; i++)
		sum += words[i];
	return sum;
}

/* Drops the file from the page cache, and makes sure that it is gone: what is mapped, or not yet written, stays. */
static void drop(const struct bench_file *file)
{
	_cleanup_(close_fdp) int fd = open(file->path, O_RDONLY | O_CLOEXEC);
	_cleanup_(freep) unsigned char *pages = NULL;
	uint64_t n = file->n_words * 8 / page_size(), resident = 0;
	const uint64_t *map;

	if (fd < 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED))
		bench_fail("%s can't be dropped from the page cache", file->path);
	pages = malloc(n);
	map = bench_map(file, 0, file->n_words * 8);
	if (!pages || mincore((void *)(uintptr_t)map, file->n_words * 8, pages) < 0)
		bench_fail("%s: %s", file->path, strerror(errno));
	bench_unmap(map, file->n_words * 8);
	for (uint64_t i = 0; i < n; i++)
		resident += pages[i] & 1;
	if (resident > n / 100)
		bench_fail("%s: %llu of %llu pages stay in the page cache", file->path, (unsigned long long)resident, (unsigned long long)n);
}

static double finish(const struct sequence *sequence, uint64_t start, uint64_t sum)
{
	uint64_t ns = bench_ns() - start;

	bench_check_sum(sum, sequence->sum, "from beginning to end");
	return (double)ns / ((double)sequence->file.n_words * 8 / (double)MIB) / 1000;
}

static double by_cursor(void *data)
{
	const struct sequence *sequence = data;
	uint64_t start, sum = 0, offset = 0, end = sequence->file.n_words * 8;
	struct bench_reader reader;
	double figure;

	if (sequence->cold)
		drop(&sequence->file);
	bench_reader_open(&reader, &sequence->server, &sequence->file, 0);
	if (sequence->advised)
		bench_check(smmap_cursor_advise(reader.cursor, SMMAP_ADVISE_SEQUENTIAL), "advice");
	start = bench_ns();
	for (; offset < end; offset += MIB) {
		if (smmap_cursor_use(reader.cursor, offset, MIB) != (ssize_t)MIB)
			bench_fail("a use has failed");
		sum += sum_words(smmap_cursor_data(reader.cursor), MIB / 8);
	}
	figure = finish(sequence, start, sum);
	bench_reader_close(&reader);
	return figure;
}

static double by_map(void *data)
{
	const struct sequence *sequence = data;
	uint64_t start = bench_ns(), bytes = sequence->file.n_words * 8;
	const uint64_t *map = bench_map(&sequence->file, 0, bytes);
	double figure = finish(sequence, start, sum_words(map, sequence->file.n_words));

	bench_unmap(map, bytes);
	return figure;
}

static double by_read(void *data)
{
	static uint64_t block[MIB / 8];
	const struct sequence *sequence = data;
	_cleanup_(close_fdp) int fd = -1;
	uint64_t start, sum = 0;

	drop(&sequence->file);
	fd = open(sequence->file.path, O_RDONLY | O_CLOEXEC);
	start = bench_ns();
	for (uint64_t offset = 0; offset < sequence->file.n_words * 8; offset += MIB) {
		if (read(fd, block, MIB) != (ssize_t)MIB)
			bench_fail("a read has failed");
		sum += sum_words(block, MIB / 8);
	}
	return finish(sequence, start, sum);
}

void bench_sequential(void)
{
	static const struct bench_row cached = {"sequential-cached", "read a cached file from beginning to end through windows of 1 MiB",
						"one plain map of the file", "us/MiB", BENCH_AT_MOST, 1.1};
	static const struct bench_row advised = {"sequential-advised", "the same, after saying so (SMMAP_ADVISE_SEQUENTIAL)",
						 "one plain map of the file", "us/MiB", BENCH_AT_MOST, 1.1};
	static const struct bench_row cold = {"sequential-cold", "the same, cold", "read with 1 MiB blocks, cold", "us/MiB",
					      BENCH_AT_MOST, 1.05};
	struct sequence sequence = {0};

	bench_file_make(&sequence.file, "large", scale->large_bytes);
	for (uint64_t i = 0; i < sequence.file.n_words; i++)
		sequence.sum += bench_word(i);
	bench_pin();
	bench_server_start(&sequence.server, "--window-size=1M", NULL);
	bench_compare(&cached, by_cursor, by_map, &sequence);
	sequence.advised = true;
	bench_compare(&advised, by_cursor, by_map, &sequence);
	sequence.cold = true;
	bench_compare(&cold, by_cursor, by_read, &sequence);
	bench_server_stop(&sequence.server);
	bench_unpin();
	bench_file_remove(&sequence.file);
}
