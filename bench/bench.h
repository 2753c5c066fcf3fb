/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

/*
 * What the benchmarks share: comparing two ways to do the same work, servers, files, and processes. A group of rows is one file, and uses the
 * library by its public header alone, as a program would.
 *
 * A row is a comparison. Both sides do the same work on the same places, in turn, round after round in one run, so that whatever
 * disturbs the machine meets both. A side returns its figure, measured by itself around what is meant and nothing else; the first
 * round warms up and does not count. All that a side reads it adds up, and fails if the sum is not the one that the file must have.
 */

#include "client/smmap-client.h"

#include <limits.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define BENCH_MAX_ROUNDS 9
#define BENCH_MAX_ROWS   64

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

/* A short run shows that all of it works. */
struct bench_scale {
	bool is_short;
	unsigned rounds;
	uint64_t large_bytes; /* of the file that is read from beginning to end */
	uint64_t file_bytes;  /* of the one that is read at random */
	uint64_t reads;       /* in one round */
	uint64_t misses;
	unsigned processes; /* that share memory */
	unsigned starts;
	unsigned clients; /* at most */
	unsigned ms;      /* for which a rate is measured */
};
extern const struct bench_scale *scale;

/* ---- rows ---- */

enum bench_aim { BENCH_REPORTED, BENCH_AT_MOST, BENCH_AT_LEAST };

struct bench_row {
	const char *key;
	const char *what;
	const char *reference; /* NULL: there is none, and the target is for the figure itself */
	const char *unit;
	enum bench_aim aim;
	double target; /* of the figure divided by the reference's */
};

/* A side: does its work once and returns its figure. */
typedef double bench_side(void *data);

/* Measures a row; @reference is NULL where the row has none. */
void bench_compare(const struct bench_row *row, bench_side *ours, bench_side *reference, void *data);

/* Adds a line for what could not be measured, or what a figure needs to be understood. */
void bench_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The figures so far, as CSV, JSON and a page. @folder is where they go. */
void bench_report(const char *folder, const char *commit);

struct bench_spread {
	double median, least, most;
};

struct bench_result {
	struct bench_row row;
	unsigned rounds;
	double ours[BENCH_MAX_ROUNDS], reference[BENCH_MAX_ROUNDS], ratio[BENCH_MAX_ROUNDS];
};

/* Sorts them. */
double bench_median(double *figures, unsigned n);
struct bench_spread bench_spread(const double *figures, unsigned n);
const struct bench_result *bench_results(unsigned *n);
const char *const *bench_notes(unsigned *n);

/* ---- time and places ---- */

/* Says why, ends all servers, and exits. */
_Noreturn void bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Fails for an error of the library; a length is returned. */
size_t bench_check(ssize_t r, const char *what);

uint64_t bench_ns(void);
/* The same of this thread alone, for what never waits: what else the machine does is left out. */
uint64_t bench_thread_ns(void);
void bench_sleep_ms(unsigned ms);

/* Binds this thread, and what it starts from now on, to one core; or to all again. */
void bench_pin(void);
void bench_unpin(void);

/* ---- files ---- */

/* A file of words, each a hash of its place, on the disk. */
struct bench_file {
	char path[PATH_MAX]; /* absolute */
	uint64_t n_words;
};

void bench_file_make(struct bench_file *file, const char *name, uint64_t bytes);
void bench_file_remove(const struct bench_file *file);
uint64_t bench_word(uint64_t place);

/* Maps all of it, or @bytes from @offset. */
const uint64_t *bench_map(const struct bench_file *file, uint64_t offset, uint64_t bytes);
void bench_unmap(const void *map, uint64_t bytes);

/* Places, as numbers of words: the same for both sides, made before anything is measured. */
struct bench_walk {
	uint32_t *places;
	uint64_t n;
	uint64_t sum;  /* of what is there: of @run words from each place */
	uint64_t link; /* 0, which the compiler can't know: by it what was read leads to the next place */
};

/* @n random multiples of @run from 0 to @n_words - @run. */
void bench_walk_make(struct bench_walk *walk, uint64_t n, uint64_t n_words, unsigned run);
void bench_walk_free(struct bench_walk *walk);

/* Fails if the sum is another one. */
void bench_check_sum(uint64_t sum, uint64_t expected, const char *what);

/* ---- servers and processes ---- */

struct bench_server {
	pid_t pid;
	char socket[64];
};

/* Starts smmapd with more options, ended by NULL, on the cores of the caller, and waits until it serves. */
void bench_server_start(struct bench_server *server, ...) __attribute__((sentinel));

/* Starts a function that serves on a socket, in a process of its own, in the same way. It never returns. */
void bench_server_fork(struct bench_server *server, void (*serve)(int listener));
void bench_server_stop(struct bench_server *server);

/* A client, and a cursor on a file. */
struct bench_reader {
	struct smmap_client *client;
	struct smmap_cursor *cursor;
};
void bench_reader_open(struct bench_reader *reader, const struct bench_server *server, const struct bench_file *file, uint64_t max_mapped);
void bench_reader_close(struct bench_reader *reader);

/*
 * Processes that get ready, do something as long as the caller says, and end. Each has memory that the caller sees.
 */
struct bench_team {
	unsigned n;
	pid_t *pids;
	struct bench_board {
		_Atomic unsigned n_ready;
		_Atomic unsigned phase; /* 0: wait, 1: work, 2: end */
		sem_t go;               /* what those that are ready wait for: a thousand that looked again and again would keep others from getting there */
		struct bench_member {
			_Alignas(64) _Atomic uint64_t count;
		} members[];
	} *board;
};
void bench_team_start(struct bench_team *team, unsigned n, void (*work)(struct bench_team *team, unsigned member, void *data), void *data);
/* Has them work, and tells how much they count in a second once all are at it. They work on until the end. */
double bench_team_rate(struct bench_team *team);
void bench_team_end(struct bench_team *team);
/* In a member: says that it is ready, and waits for the word to work, or to end. */
void bench_team_ready(struct bench_team *team);
bool bench_team_works(const struct bench_team *team);
void bench_team_await_end(const struct bench_team *team);
void bench_team_count(struct bench_team *team, unsigned member, uint64_t count);

/* Kilobytes that a file of a process in /proc tells under a name. */
uint64_t bench_proc(pid_t pid, const char *file, const char *name);

/* ---- the bare exchange (bare.c) ---- */

int bare_connect(const char *socket);
/* One request, one answer with a descriptor, which is the caller's. */
int bare_exchange(int socket);
/* Serves one client at a time, by blocking calls; and any number, by libuv. The file is bare_file. */
void bare_serve(int listener);
void bare_serve_uv(int listener);
extern const char *bare_file;

/* ---- groups of rows ---- */

void bench_hits(void);
void bench_misses(void);
void bench_sequential(void);
void bench_clients(void);
void bench_memory(void);
void bench_idle(void);
void bench_start(void);
void bench_churn(void);

/* What a new process does that bench_start() has started. */
int bench_start_child(char **arguments);

#endif
