/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client of the service for scripts/check-system, with files that hang: hung-files FOLDER. They are on a file system by FUSE, mounted
 * there in a namespace of its own, which answers until all of them are open in the server, half of them with pinned leases, and then does not
 * any more. Then it says so with a line, and waits for SIGTERM, at which the file system ends, and whatever hangs fails.
 */
#include "config.h"

#include "tests/fuse.h"

#include "client/smmap-client.h"

#include <signal.h>
#include <stdio.h>

/* More than the runners that close files for one user. */
#define FILES 8
#define SIZE  100000

/* Opens a file, and stands on the beginning of it for as long as this process lives, or lets go of it (@idle). 0 or -errno. */
static int hold(struct smmap_client *client, const char *folder, int number, bool idle)
{
	struct smmap_cursor *cursor;
	char path[4096];
	int r;

	snprintf(path, sizeof(path), "%s/%d", folder, number);
	r = smmap_cursor_open(&cursor, client, path, 0);
	if (r < 0)
		return r;
	r = (int)smmap_cursor_use(cursor, 0, 1);
	if (idle)
		smmap_cursor_close(cursor);
	return r < 0 ? r : 0;
}

static int hold_all(const char *folder)
{
	struct smmap_client *client;
	int r = smmap_client_open(&client, NULL);

	for (int i = 0; i < FILES && r >= 0; i++)
		r = hold(client, folder, i, i % 2);
	return r;
}

int main(int argc, char **argv)
{
	struct fuse_system system = {.folder = argv[1], .size = SIZE, .readable = SIZE};
	sigset_t end;
	int r, number;

	if (argc != 2) {
		fprintf(stderr, "usage: hung-files FOLDER\n");
		return 2;
	}
	sigemptyset(&end);
	sigaddset(&end, SIGTERM);
	sigprocmask(SIG_BLOCK, &end, NULL);
	if (!fuse_start(&system))
		return 1;
	r = hold_all(system.folder);
	if (r < 0) {
		fprintf(stderr, "hung-files: %s\n", smmap_strerror(r));
		return 1;
	}
	fuse_hang(&system);
	printf("%d files hang\n", FILES);
	fflush(stdout);
	sigwait(&end, &number);
	fuse_stop(&system);
	return 0;
}
