/* SPDX-License-Identifier: BSD-3-Clause */
/* Time, cores, and files whose every word is known. */
#include "config.h"

#include "bench/bench.h"

#include "proto/util.h"

#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

void bench_fail(const char *format, ...)
{
	va_list arguments;

	fputs("bench: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	/* Servers and members of a team end with this process; see bench_server_fork(). */
	exit(EXIT_FAILURE);
}

size_t bench_check(ssize_t r, const char *what)
{
	if (r < 0)
		bench_fail("%s: %s", what, smmap_strerror((int)r));
	return (size_t)r;
}

static uint64_t read_clock(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint64_t bench_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

uint64_t bench_thread_ns(void)
{
	return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

void bench_sleep_ms(unsigned ms)
{
	nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000}, NULL);
}

/* ---- cores ---- */

static cpu_set_t all_cores;
static bool pinned;

void bench_pin(void)
{
	cpu_set_t one;
	size_t core = CPU_SETSIZE - 1;

	if (sched_getaffinity(0, sizeof(all_cores), &all_cores) < 0)
		bench_fail("cores: %s", strerror(errno));
	/* The last one has the fewest interrupts. */
	while (!CPU_ISSET(core, &all_cores))
		core--;
	CPU_ZERO(&one);
	CPU_SET(core, &one);
	if (sched_setaffinity(0, sizeof(one), &one) < 0)
		bench_fail("core %zu: %s", core, strerror(errno));
	pinned = true;
}

void bench_unpin(void)
{
	if (pinned && sched_setaffinity(0, sizeof(all_cores), &all_cores) < 0)
		bench_fail("cores: %s", strerror(errno));
	pinned = false;
}

/* ---- files ---- */

uint64_t bench_word(uint64_t place)
{
	/* The generator of Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014. */
	uint64_t z = (place + 1) * UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

void bench_file_make(struct bench_file *file, const char *name, uint64_t bytes)
{
	static uint64_t block[MIB / 8];
	_cleanup_(close_fdp) int fd = -1;

	if (!getcwd(file->path, sizeof(file->path)) || strlen(file->path) + strlen(name) + 2 > sizeof(file->path))
		bench_fail("%s: no such path", name);
	strcat(strcat(file->path, "/"), name);
	file->n_words = bytes / 8;
	fd = open(file->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		bench_fail("%s: %s", file->path, strerror(errno));
	for (uint64_t place = 0; place < file->n_words; place += MIB / 8) {
		for (uint64_t i = 0; i < MIB / 8; i++)
			block[i] = bench_word(place + i);
		if (write(fd, block, sizeof(block)) != sizeof(block))
			bench_fail("%s: can't be written: %s", file->path, strerror(errno));
	}
	/* Nothing is to be written back while something is measured; and only what is on the disk can be dropped. */
	if (fsync(fd) < 0)
		bench_fail("%s: %s", file->path, strerror(errno));
}

void bench_file_remove(const struct bench_file *file)
{
	unlink(file->path);
}

const uint64_t *bench_map(const struct bench_file *file, uint64_t offset, uint64_t bytes)
{
	_cleanup_(close_fdp) int fd = open(file->path, O_RDONLY | O_CLOEXEC);
	void *map = fd < 0 ? MAP_FAILED : mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, (off_t)offset);

	if (map == MAP_FAILED)
		bench_fail("%s: can't be mapped: %s", file->path, strerror(errno));
	return map;
}

void bench_unmap(const void *map, uint64_t bytes)
{
	munmap((void *)(uintptr_t)map, bytes);
}

void bench_walk_make(struct bench_walk *walk, uint64_t n, uint64_t n_words, unsigned run)
{
	*walk = (struct bench_walk){.n = n, .places = calloc(n, sizeof(*walk->places))};
	if (!walk->places)
		bench_fail("no memory");
	for (uint64_t i = 0; i < n; i++) {
		walk->places[i] = (uint32_t)(bench_word(~i) % (n_words / run) * run);
		for (unsigned j = 0; j < run; j++)
			walk->sum += bench_word(walk->places[i] + j);
	}
}

void bench_walk_free(struct bench_walk *walk)
{
	free(take_ptr(walk->places));
}

void bench_check_sum(uint64_t sum, uint64_t expected, const char *what)
{
	if (sum != expected)
		bench_fail("%s: what was read is not what the file holds", what);
}
