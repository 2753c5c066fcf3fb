/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_FUZZ_STEPS_H
#define TESTS_FUZZ_STEPS_H

/*
 * The input of the server's fuzzer: what several clients do to one server, step by step. A step begins with a byte: what is done, by which
 * client, and an argument. It is made such that a byte more or less, which is what a fuzzer does, leaves the steps behind it what they were.
 */

#include <stdint.h>

enum step {
	STEP_LATER,    /* argument: how much time passes, or one of three other things */
	STEP_CONNECT,  /* argument: a user, or STEP_NOBODY; and STEP_DEAF for one that reads no answer. It leaves first, if it is there */
	STEP_PACKET,   /* a byte: what is sent along; then a msgpack array, as long as it is: or if it is none, all that follows */
	STEP_BYTES,    /* a byte: what is sent along; a byte: how many bytes; these */
	STEP_PIN,      /* a byte: a slot, which is pinned as the library does, under the generation that it has */
	STEP_UNPIN,    /* a byte: a slot, which is unpinned; or, where the argument is STEP_MARK, marked as unmapped */
	STEP_SCRIBBLE, /* argument: a word of a slot; a byte: the slot; eight bytes, the highest first, which are written there */
	STEP_FILE,     /* argument: what becomes of the file of the client's number: a size, as soon as who writes it is let in; or STEP_DELETE */
};

#define STEP_N_CLIENTS 4
#define STEP_BYTE(step, client, argument) ((uint8_t)((step) | (client) << 3 | (argument) << 5))

/* STEP_CONNECT: users 0 (root) to 2 */
#define STEP_NOBODY 3
#define STEP_DEAF   4

/* STEP_UNPIN */
#define STEP_MARK 7

/* STEP_FILE: 0 to 6, sizes */
#define STEP_DELETE 7

/* STEP_LATER: 1 to 5, ever longer */
#define STEP_SET  0 /* what holds from now on is the client's number: of STEP_GUARDED and STEP_STAY those that are in it */
#define STEP_HEAR 6 /* a deaf client reads what has come */
#define STEP_FAIL 7 /* the next map fails */

#define STEP_GUARDED 1 /* files are guarded against writers */
#define STEP_STAY    2 /* writers that are let in stay */

/* What is sent along with a packet. The files are those of STEP_FILE. */
enum step_descriptor {
	STEP_NO_DESCRIPTOR,
	STEP_FILE_0,
	STEP_FILE_1,
	STEP_FILE_2,
	STEP_FILE_3,
	STEP_DELETED_FILE,
	STEP_WRITABLE,
	STEP_PATH_ONLY,
	STEP_FOLDER,
	STEP_SOCKET,
	STEP_PIPE,
	STEP_TWO,
	STEP_THREE,
	STEP_N_DESCRIPTORS,
};

#endif
