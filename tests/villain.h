/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_VILLAIN_H
#define TESTS_VILLAIN_H

/* What villains have in common: clients that speak the protocol by hand, and see for themselves what comes of a misdeed. */

#include "tests/raw.h"

/* What a misdeed adds up: how often it was done, and what came of it, as far as the villain could see. */
struct tally {
	uint64_t times;
	uint64_t refusals;
	uint64_t protocol_errors;
	uint64_t disconnections; /* those for protocol errors too */
	bool may_vary;           /* how many of these there are is not for the villain to see */
	uint64_t heap_slack;  /* bytes that the server may have allocated for good */
};

/*
 * Leases a range of a file, which is opened as *@file as often as the server lets go of it; 0 if it is not open yet. What has to go
 * for it is given back, and so is what the bell tells of meanwhile.
 */
struct message_leased villain_lease(struct raw *villain, uint64_t *file, const char *path, uint64_t offset, uint64_t length);

/* Gives back what the bell tells of. How many leases that were. */
uint64_t villain_hear(struct raw *villain);

/*
 * Has the villain, whose packet was sent, ask for STATUS behind it, and takes all that comes until that is answered. False if the
 * connection was ended instead. Errors among the answers are counted as refusals.
 */
bool villain_probe(struct raw *villain, struct tally *tally);

/* The same, where only an error of the protocol can be why a connection was ended: that is counted. Closes the villain. */
void villain_see_off(struct raw *villain, struct tally *tally);

/* What the kernel takes. */
#define VILLAIN_MOST_DESCRIPTORS 253

/* Sends a packet with @n copies of a descriptor. 0 or -errno. */
int villain_send(int socket, const void *bytes, size_t n_bytes, int fd, size_t n);

#endif
