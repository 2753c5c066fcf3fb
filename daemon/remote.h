/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_REMOTE_H
#define DAEMON_REMOTE_H

/*
 * Remote files: those on volumes that are not local. Closing one is an errand, which may hang, and then its handle stays in use. So each is
 * charged to the user who has sent it until it is closed, and no user may have more of them than the part of all handles that is one
 * user's. The rest is left for others whatever hangs.
 *
 * Each user has lists of their own: where those of one can't be closed, nobody has to look at them to find out.
 */

#include <stdbool.h>
#include <stdint.h>

struct account;
struct file;
struct registry;

/* Charges a file to its sender. */
void remote_charge(struct file *file, struct account *sender);

/* It is closed. */
void remote_discharge(struct registry *registry, struct file *file);

/* It gets its first region, and has lost the last one. Nothing where it is local. */
void remote_enter(struct file *file);
void remote_leave(struct file *file);

/* Whether closing a file of this user's would have to wait for other errands of theirs. */
bool remote_is_stuck(const struct account *account);

/* How many files are just being closed, of one user or (NULL) of all. Those that are late with it may never be, and are not counted. */
uint64_t remote_count_closing(const struct registry *registry, const struct account *account);

/*
 * Makes room for one more of a user's remote files, by closing one. False if that is only on its way, everything is in use, or others
 * wait before this one (not @in_turn).
 */
bool remote_make_handle(struct registry *registry, struct account *account, bool in_turn);

#endif
