/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_HOSTILE_H
#define TESTS_HOSTILE_H

/*
 * A server under load, for clients that misbehave.
 *
 * Two honest clients, each a process of its own with the library and its defaults, read random ranges of files whose every byte is
 * known, and compare every byte. The limits are so small that at every step something is evicted, recalled or opened again. No call
 * of theirs may fail, nor may they lose their connection, whatever others do.
 *
 * A misdeed is done twice. After each time the honest ones have to go on, and then to rest: they give back all that they have, and
 * what is left is compared. What a server keeps for good, such as a table that has grown, it may keep after the first time. The
 * second must not add a descriptor, a map, or a byte of heap, and `status` has to have counted just what was refused. Where the heap
 * has grown by so little that it may only lie different, it is done again, a few times, until that stops: a leak never does.
 */

#include "tests/harness.h"
#include "tests/honest.h"
#include "tests/raw.h"
#include "tests/villain.h"

/* The limits. A quarter of them is what all honest cursors together can pin: two windows of a file each. */
#define HOSTILE_MEMORY  (40 * HONEST_WINDOW)
#define HOSTILE_MAPS    36
#define HOSTILE_HANDLES 11

/* Sanitizers make everything slower. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HOSTILE_TIMES(n) (((n) + 9) / 10)
#else
#define HOSTILE_TIMES(n) (n)
#endif

extern struct harness_server hostile_server;

/* A client that only looks. */
extern struct raw hostile_observer;

/* Starts the server, with one option more unless that is NULL, and the honest clients. */
void hostile_start(const char *option);

/* Has something done twice, or a few times more. */
void hostile_run(const char *name, void (*misdeed)(struct tally *tally));

/* Has the honest clients give back all that they have and wait; all else has to go as well. And has them work again. */
void hostile_rest(void);
void hostile_resume(void);

/* Waits until each honest client has read on. */
void hostile_await_progress(void);

/* How many connections there are, those that have not said HELLO too. */
uint64_t hostile_count_connections(void);

/* Waits until nobody but the honest ones and the observer is connected. */
void hostile_await_alone(void);

void hostile_stop(void);

#endif
