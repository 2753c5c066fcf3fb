/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_LOOK_H
#define DAEMON_LOOK_H

/*
 * Looks: in one turn of the loop only so much is looked at in search of what can go, however much there is. A search that is cut short goes
 * on in the next turn.
 *
 * A pass goes over an order of use: in it each entry comes up once, and once more where it was used since it got its place; a client that
 * keeps writing its board gets no more.
 */

#include <stdbool.h>
#include <stdint.h>

struct registry;

/* Takes one look, in a pass over @n entries, which begins if *@pass is 0. False at its end, and if this turn's looks are used up. */
bool look_on(struct registry *registry, uint64_t *pass, uint64_t n);

/* A look takes longer where more leases are on what is looked at. */
void look_longer(struct registry *registry, uint64_t n);

/* The search is over, unless it was cut short. */
void look_end_pass(const struct registry *registry, uint64_t *pass);

#endif
