/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_SCARCE_H
#define TESTS_SCARCE_H

/*
 * A server whose memory runs out when a test wants it to: a real one, in a child whose allocations this process can make fail (see
 * allocation.h). With three clients: one asks, another one has what it asks for, or is in its way, and one only looks.
 */

#include "tests/allocation.h"
#include "tests/raw.h"

#include <stdbool.h>
#include <stdint.h>

#define SCARCE_WINDOW UINT64_C(65536)

/* Far more than any request takes. */
#define SCARCE_MANY_ALLOCATIONS 1000

extern struct harness_server harness;
extern struct raw observer, subject, other;
extern uint64_t subject_file;

/* Starts it, with the observer, and makes files: a and b have four windows, c and d have one. It has room for four, and for three files. */
void scarce_start(void);

/* The same with another server, that of @serves, which in the child serves until SIGTERM and returns EXIT_SUCCESS. */
typedef int scarce_serve_fn(int ready);
void scarce_start_other(scarce_serve_fn *serves);

/* To be read: what such a server has written to @ready, after the first byte, that said that it serves. */
extern int scarce_said;

void scarce_stop(void);

/* ---- what is used ---- */

struct scarce_figures {
	uint64_t memory, draining, maps, handles, leases, clients;
};

struct scarce_figures scarce_look(void);
bool scarce_is_same(const struct scarce_figures *a, const struct scarce_figures *b);
void scarce_await_clients(uint64_t n);

/* Requires, when all others have gone, that nothing is left of what they did. */
void scarce_assert_nothing_left(const char *name, uint64_t number);

/* ---- the clients ---- */

/* Opens a file, the subject a as its own. */
uint64_t scarce_open(struct raw *raw, const char *path);
void scarce_open_a(void);

/* Leases @n windows, without a pin; the subject the first of a, which is the first lease of its slot 0. */
void scarce_lease_idle(struct raw *raw, uint64_t file, uint64_t window, uint64_t n);
void scarce_lease_one(void);

/* Sends what may find the connection at its end. */
void scarce_send(struct raw *raw, struct message *request, int fd);

/* What the subject is answered; type 0 if its connection ends. Meanwhile all give back what is recalled. */
void scarce_await_answer(struct message *answer);

/* Closes the subject and the other. */
void scarce_end(void);

#endif
