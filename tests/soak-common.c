/* SPDX-License-Identifier: BSD-3-Clause */
/* What all processes of the soak use: counting, resting, random numbers, and what files hold. */
#include "config.h"

#include "tests/soak.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define SHIFT 7 /* of a file's bytes against those of the file before it */

struct soak *soak;

void soak_count(enum soak_fault fault)
{
	atomic_fetch_add_explicit(&soak->done[fault], 1, memory_order_relaxed);
}

void soak_excuse(enum soak_fault fault)
{
	atomic_store(&soak->excused[fault], true);
}

void soak_keep(enum soak_promise promise)
{
	atomic_fetch_add_explicit(&soak->kept[promise], 1, memory_order_relaxed);
}

void soak_lose(enum soak_promise promise, const char *format, ...)
{
	char line[1024];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	atomic_fetch_add(&soak->lost[promise], 1);
	atomic_fetch_add(&soak->n_lost, 1);
	fprintf(stderr, "lost: %s\n", line);
}

bool soak_goes_on(void)
{
	return !atomic_load(&soak->stop) && !atomic_load(&soak->n_lost);
}

void soak_rest(unsigned place)
{
	if (!atomic_load(&soak->rest))
		return;
	atomic_store(&soak->rests[place], true);
	while (atomic_load(&soak->rest) && soak_goes_on())
		soak_sleep_ms(5);
	atomic_store(&soak->rests[place], false);
}

static _Thread_local uint64_t random_state;

void soak_begin_random(uint64_t number)
{
	random_state = soak->seed + number * UINT64_C(0xd1342543de82ef95);
}

uint64_t soak_random(uint64_t below)
{
	/* The generator of Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014. */
	uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (z ^ (z >> 31)) % below;
}

void soak_sleep_ms(uint64_t ms)
{
	nanosleep(&(struct timespec){.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000}, NULL);
}

uint64_t soak_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

const char *soak_path(unsigned file)
{
	const char *kind = file < SOAK_STEADY ? "steady" : file < SOAK_FILES ? "changing" : "guarded";
	static _Thread_local char path[SOAK_PATH + 16];

	snprintf(path, sizeof(path), "%s/%s-%u", soak->folder, kind, file);
	return path;
}

/* Never zero: that is what was cut off. */
static unsigned char bytes[SOAK_SIZE + SOAK_FILES * SHIFT];

const unsigned char *soak_bytes(unsigned file, uint64_t offset)
{
	return bytes + file * SHIFT + offset;
}

void soak_fill_bytes(void)
{
	for (uint64_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char)(1 + (i * 31 + (i >> 12) * 17 + (i >> 20) * 5) % 255);
}

pid_t soak_start(void)
{
	pid_t pid = fork();

	if (pid < 0) {
		soak_lose(SOAK_ITSELF, "can't fork: %s", strerror(errno));
		exit(1);
	}
	if (!pid)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}
