/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_SOAK_H
#define TESTS_SOAK_H

/*
 * The soak: a server with small limits, honest readers whose every byte is compared, and around them all that can go wrong, at random. What the
 * processes have in common is here; soak.c has the program, which starts and ends them all and looks whether all is well.
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
#define SOAK_GUARDED_SIZE (3 * SOAK_WINDOW - 1234)
#define SOAK_GUARDED  2 /* behind those: only their own readers read them, and their own writer writes them */
#define SOAK_READERS  3 /* processes, each with */
#define SOAK_THREADS  3
#define SOAK_VILLAINS 6 /* at once */
#define SOAK_PLACES   20 /* threads that rest when they are told to: those of the readers come first */
#define SOAK_PATIENCE_MS 30000
#define SOAK_GUARD_MS 3000 /* write-guard-timeout */
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
	SOAK_WRITER_WAITED,
	SOAK_WRITER_AT_ONCE,
	SOAK_FUSE_STOPPED,
	SOAK_FUSE_KILLED,
	SOAK_FUSE_FAILED,
	SOAK_DISK_FILLED,
	SOAK_N_FAULTS,
};

/* What has to hold all the while: how often each was looked at is counted, and how often it did not. */
enum soak_promise {
	SOAK_BYTES,   /* what is read is right */
	SOAK_CALLS,   /* no call of an honest one fails that should not */
	SOAK_LIMITS,  /* no more is mapped than may be */
	SOAK_RESTS,   /* a server at rest comes to rest, has no more than at its rests before, and not more and more */
	SOAK_WRITERS, /* no writer of a guarded file gets in while somebody stands on it */
	SOAK_LIVES,   /* the server starts and ends as it should, and nobody ends on his own */
	SOAK_ITSELF,  /* the soak can do what it wants to */
	SOAK_N_PROMISES,
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
	atomic_bool excused[SOAK_N_FAULTS];
	_Alignas(8) _Atomic uint64_t kept[SOAK_N_PROMISES], lost[SOAK_N_PROMISES];
	_Alignas(8) _Atomic uint64_t n_bytes; /* compared */
	/* No cursor of a reader's thread stands where it stood before this start of the server. */
	_Alignas(8) _Atomic uint64_t since[SOAK_READERS * SOAK_THREADS];
	_Alignas(8) _Atomic uint64_t server_since_ns; /* 0 when there may be none */
	_Alignas(8) _Atomic uint64_t versions[SOAK_GUARDED]; /* of guarded files: odd while one is written */
	struct {
		_Alignas(8) _Atomic uint64_t since_ns; /* who reads guarded files stands on one; 0: on none */
		atomic_uint file;
	} stands[SOAK_PLACES];
	atomic_bool rests[SOAK_PLACES];
	uint64_t largest; /* that was mapped at once, in bytes */
	atomic_uint n_lost;
};

extern struct soak *soak;

/* Counts what was done. */
void soak_count(enum soak_fault fault);

/* It can't be done here, so it need not be. */
void soak_excuse(enum soak_fault fault);

/* Counts what was looked at, and held. */
void soak_keep(enum soak_promise promise);

/* Says what was lost. */
void soak_lose(enum soak_promise promise, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Whether all goes on: nothing was lost, and it is not the end. */
bool soak_goes_on(void);

/* Rests if it is time for that, in this place. Who rests has no lease, and stands nowhere. */
void soak_rest(unsigned place);

/* Random numbers of a thread of its own, from the seed and the number of the thread. */
void soak_begin_random(uint64_t number);
uint64_t soak_random(uint64_t below);

void soak_sleep_ms(uint64_t ms);
uint64_t soak_now_ns(void);

static inline uint64_t soak_now_ms(void)
{
	return soak_now_ns() / 1000000;
}

/* Forks; what is started ends with this process. 0 in the child. */
pid_t soak_start(void);

/* The path of a file, and what it holds: @n bytes at @offset. */
const char *soak_path(unsigned file);
const unsigned char *soak_bytes(unsigned file, uint64_t offset);
void soak_fill_bytes(void);

/* ---- the server ---- */

extern pid_t soak_server;
extern uint64_t soak_bound; /* the highest limit that has held since its start */

void soak_start_server(const char *program);
/* Ends it by a signal, and starts another one. */
void soak_replace_server(int number);
void soak_change_limits(void);

/* ---- processes: each returns its exit status ---- */

int soak_read(unsigned reader);
/* Does mischief until it is killed, of a kind that the number stands for; may be another user. */
int soak_misbehave(uint64_t number);

/* Each of these rests in its place. */
int soak_change_files(unsigned place);
int soak_read_guarded(unsigned place);
int soak_write_guarded(unsigned place);
int soak_keep_fuse(unsigned place);
int soak_read_fuse(unsigned place);
int soak_fill_disk(unsigned place);

/* ---- file systems of the soak's own, for the last three: before anything is started ---- */

/* Has this process, and what it starts, a namespace of mounts. As root of a namespace of users, where it is none. */
void soak_enter_namespace(void);

/* False, with a line that says so, where they can't be mounted: then what is done with them is excused. */
bool soak_try_fuse(void);
bool soak_mount_disk(void);

/* ---- the end ---- */

/* Requires that all was done that is not excused. */
void soak_require_all(void);

/* A line of how far it is; and what was done how many times, what was promised, and what was lost. */
void soak_tell(uint64_t seconds);
void soak_sum_up(void);

/* ---- looking from outside ---- */

/* The bytes of the soak's files that these processes have mapped, each counted once. They have to stand still. */
uint64_t soak_mapped(const pid_t *pids, unsigned n);

/* What a server at rest has; 0 where it does not tell. */
struct soak_figures {
	uint64_t clients, leases, handles;
	uint64_t descriptors, maps;
	uint64_t heap_bytes; /* in use */
	uint64_t heap_resident_bytes, resident_bytes; /* of the heap, and of all else */
};

/*
 * How much more of these than at its first rest a server may have at another one. Tables of a few hundred descriptors, clients or leases double
 * at times. The heap keeps all pages below a piece that is in use, at most as many as it ever had: the 2 KiB of each of 1024 requests of either user
 * that waited once, and what they waited with. Of its programs' files a server comes to use more pages.
 */
#define SOAK_HEAP_SLACK          (UINT64_C(64) << 10)
#define SOAK_HEAP_RESIDENT_SLACK (UINT64_C(12) << 20)
#define SOAK_RESIDENT_SLACK      (UINT64_C(1) << 20)

/* 0 or -1. */
int soak_look(const char *program, pid_t server, struct soak_figures *figures);

/* What a server has at each rest; and at the end, whether the last server had more and more memory. */
void soak_add_to_trend(const struct soak_figures *figures);
void soak_judge_trend(void);

#endif
