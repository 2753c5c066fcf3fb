/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_NOTICE_H
#define DAEMON_NOTICE_H

/*
 * Notice of deletion: the kernel tells when a file may have lost its last name (inotify(7)), so that without clients nobody has to
 * look once a second. As long as the file is held open, its deletion itself is not told; but the count of its names is one of its
 * attributes, and a change of these is.
 *
 * Attributes can be changed as fast as somebody likes. So what is heard does not say of which file: it has all of them looked at, in
 * the next second, and until then nobody listens.
 *
 * The kernel wants read permission, which a server without privilege lacks for the private files of others, and allows each user a
 * number of these. Where it refuses, and on volumes that are not local, where to ask may take for ever, a file has no notice.
 */

/* Opens a descriptor that is readable when notice was given. The descriptor, the caller's; or -errno of inotify_init1(2). */
int notice_open_ear(void);

/*
 * Asks for notice of the file of @fd, which has to be on a local volume. The number of the notice, or -errno of
 * inotify_add_watch(2); -EEXIST if there is one of the file.
 */
int notice_ask(int ear, int fd);

/* Ends it. Before @fd is closed: what frees a file may take long. */
void notice_end(int ear, int notice);

/* Takes what was heard; where that is much, as much as can be taken at once. Where there is no @ear, nothing. */
void notice_hear(int ear);

#endif
