/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "tests/fuse.h"

#include "tests/harness.h"

#include "proto/util.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* The soak uses this too, which is no test: so it does without the assertions of tests. */
static void require(bool done, const char *what)
{
	if (done)
		return;
	fprintf(stderr, "FUSE: can't %s: %s\n", what, strerror(errno));
	exit(EXIT_FAILURE);
}

#ifdef HAVE_FUSE

#define FUSE_USE_VERSION 31
#include <fuse.h>

/* A page is asked for alone, so that one which can't be read takes no other with it. */
#define MAX_READ 4096

static struct fuse_system served; /* in its process */

static int get_attributes(const char *path, struct stat *st, struct fuse_file_info *info)
{
	(void)info;
	*st = (struct stat){.st_mode = S_IFDIR | 0755, .st_nlink = 2};
	if (strcmp(path, "/") != 0)
		*st = (struct stat){.st_mode = S_IFREG | 0644, .st_nlink = 1, .st_size = (off_t)served.size};
	return 0;
}

static int open_file(const char *path, struct fuse_file_info *info)
{
	(void)path;
	(void)info;
	return 0;
}

static int read_file(const char *path, char *to, size_t size, off_t offset, struct fuse_file_info *info)
{
	uint64_t begin = (uint64_t)offset, n = begin < served.size ? min_u64(size, served.size - begin) : 0;

	(void)path;
	(void)info;
	if (begin + n > served.readable)
		return -EIO;
	for (uint64_t i = 0; i < n; i++)
		to[i] = (char)harness_byte(begin + i);
	return (int)n;
}

/* That it is there has every close(2) ask for it. */
static int flush_file(const char *path, struct fuse_file_info *info)
{
	(void)path;
	(void)info;
	if (served.ends_at_close)
		raise(SIGSTOP);
	return 0;
}

static void *init(struct fuse_conn_info *connection, struct fuse_config *config)
{
	connection->max_read = MAX_READ;
	config->attr_timeout = config->entry_timeout = 3600;
	return NULL;
}

static const struct fuse_operations operations = {
	.init = init,
	.getattr = get_attributes,
	.open = open_file,
	.read = read_file,
	.flush = flush_file,
};

/* In its process: serves until it is killed, after a byte on @ready. */
static void serve(int ready)
{
	char options[64];
	char *arguments[] = {"test", "-o", options, NULL};
	struct fuse_args args = FUSE_ARGS_INIT(3, arguments);
	struct fuse *fuse;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(options, sizeof(options), "allow_other,max_read=%d", MAX_READ);
	fuse = fuse_new(&args, &operations, sizeof(operations), NULL);
	if (!fuse || fuse_mount(fuse, served.folder) < 0)
		_exit(1);
	if (write(ready, "", 1) == 1)
		fuse_loop(fuse);
	_exit(0);
}

/* A namespace of mounts of this process's own, if it has none. False where that is not allowed. */
static bool leave_namespace(void)
{
	static bool left;

	left = left || (unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	return left;
}

bool fuse_start(struct fuse_system *system)
{
	int ends[2];
	char byte;

	if (access("/dev/fuse", R_OK | W_OK) < 0 || !leave_namespace()) {
		printf("skipped: a FUSE file system can't be mounted here\n");
		return false;
	}
	require(mkdir(system->folder, 0755) == 0 || errno == EEXIST, "make a folder");
	require(pipe(ends) == 0, "make a pipe");
	system->pid = fork();
	require(system->pid >= 0, "fork");
	if (!system->pid) {
		served = *system;
		close(ends[0]);
		serve(ends[1]);
	}
	close(ends[1]);
	require(read(ends[0], &byte, 1) == 1, "mount the file system");
	close(ends[0]);
	return true;
}

#else

bool fuse_start(struct fuse_system *system)
{
	(void)system;
	printf("skipped: this was built without libfuse\n");
	return false;
}

#endif

void fuse_hang(const struct fuse_system *system)
{
	int status;

	require(kill(system->pid, SIGSTOP) == 0, "stop its process");
	require(waitpid(system->pid, &status, WUNTRACED) == system->pid && WIFSTOPPED(status), "see its process stop");
}

void fuse_go_on(const struct fuse_system *system)
{
	require(kill(system->pid, SIGCONT) == 0, "have its process go on");
}

void fuse_stop(struct fuse_system *system)
{
	require(kill(system->pid, SIGKILL) == 0, "kill its process");
	require(waitpid(system->pid, NULL, 0) == system->pid, "see its process end");
	umount2(system->folder, MNT_DETACH);
	system->pid = 0;
}
