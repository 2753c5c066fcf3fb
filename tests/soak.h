/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_SOAK_H
#define TESTS_SOAK_H

/*
 * The soak: a server with small limits, honest readers whose every byte is compared, and around them all that can go wrong, at random. What the
 * processes have in common is here; soak.c has the program, which starts and ends them all and supervises the server.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SOAK_WINDOW   65536
#define SOAK_SIZE     (20 * SOAK_WINDOW - 4321)
#define SOAK_STEADY   8 /* files that stay as they are, and behind them */
#define SOAK_CHANGING 4 /* those that are changed all the while */
#define SOAK_FILES    (SOAK_STEADY + SOAK_CHANGING)
#define SOAK_READERS  3 /* processes, each with */
#define SOAK_THREADS  3
#define SOAK_VILLAINS 6 /* at once */
#define SOAK_PATH     64

/* What is done to the server and to the files, and is counted. */
enum soak_fault {
	SOAK_SERVER_KILLED,
	SOAK_SERVER_TERMINATED,
	SOAK_LIMITS_CHANGED,
	SOAK_CLIENT_KILLED,
	SOAK_CLIENT_STOPPED,
	SOAK_RUBBISH_PACKET,
	SOAK_BOARD_SCRIBBLED,
	SOAK_PINNED_FOR_EVER,
	SOAK_SILENT_CONNECTION,
	SOAK_WRONG_DESCRIPTOR,
	SOAK_UNREAD_ANSWER,
	SOAK_FILE_TRUNCATED,
	SOAK_FILE_GROWN,
	SOAK_FILE_REPLACED,
	SOAK_FILE_DELETED,
	SOAK_N_FAULTS,
};

/* In memory that all share. */
struct soak {
	char socket[SOAK_PATH];
	char folder[SOAK_PATH]; /* of the files */
	uint64_t seed;
	atomic_bool stop;
	atomic_bool rest; /* readers stand nowhere */
	_Alignas(8) _Atomic uint64_t n_starts; /* of the server */
	_Alignas(8) _Atomic uint64_t done[SOAK_N_FAULTS];
	_Alignas(8) _Atomic uint64_t n_reads, n_bytes, n_changed_reads;
	struct {
		_Alignas(8) _Atomic uint64_t since; /* no cursor stands where it stood before this start of the server */
		atomic_bool rests;
	} threads[SOAK_READERS * SOAK_THREADS];
	atomic_uint n_lost;
};

extern struct soak *soak;

/* Counts what was done. */
void soak_count(enum soak_fault fault);

/* Says what was lost. */
void soak_lose(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Random numbers of a thread of its own, from the seed and the number of the thread. */
void soak_begin_random(uint64_t number);
uint64_t soak_random(uint64_t below);

void soak_sleep_ms(uint64_t ms);

/* The path of a file, and what it holds: @n bytes at @offset. */
const char *soak_path(unsigned file);
const unsigned char *soak_bytes(unsigned file, uint64_t offset);
void soak_fill_bytes(void);

/* ---- processes: each returns its exit status ---- */

int soak_read(unsigned reader);
int soak_change_files(void);
/* Does mischief until it is killed, of a kind that the number stands for; may be another user. */
int soak_misbehave(uint64_t number);

/* ---- looking from outside ---- */

/* The bytes of the soak's files that these processes have mapped, each counted once. They have to stand still. */
uint64_t soak_mapped(const pid_t *pids, unsigned n);

/* What a server at rest has; 0 where it does not tell. */
struct soak_figures {
	uint64_t clients, leases, handles;
	uint64_t descriptors, maps, resident_bytes, heap_bytes;
};

/* 0 or -1. */
int soak_look(const char *program, pid_t server, struct soak_figures *figures);

#endif
