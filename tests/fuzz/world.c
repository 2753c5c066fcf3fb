/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The clock, the credentials of a socket and the maps are had by standing before libc: the program's own functions of these names are
 * called by it and by the libraries.
 */
#include "config.h"

#include "tests/fuzz/world.h"

#include "proto/util.h"
#include "tests/fuzz/fuzz.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

/* In memory, and not on an overlay, where files have no identity; else where there is a place. */
static char folder[] = "/dev/shm/smmap-fuzz-XXXXXX";
static const char other_folder[] = "/tmp/smmap-fuzz-XXXXXX";
static uint64_t now_ns;
static uid_t uid;
static bool map_fails;
static int64_t mapped_bytes;

/* The next function of this name: that of libc, or of a sanitizer. */
static void *next(const char *name)
{
	void *function = dlsym(RTLD_NEXT, name);

	require(function);
	return function;
}

/* ---- time ---- */

int clock_gettime(clockid_t clock, struct timespec *time)
{
	static int (*real)(clockid_t, struct timespec *);

	if (clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE) {
		*time = (struct timespec){.tv_sec = (time_t)(now_ns / 1000000000), .tv_nsec = (long)(now_ns % 1000000000)};
		return 0;
	}
	if (!real)
		real = (int (*)(clockid_t, struct timespec *))next("clock_gettime");
	return real(clock, time);
}

void world_wait_ms(uint64_t ms)
{
	now_ns += ms * 1000000;
}

/* ---- users ---- */

int getsockopt(int fd, int level, int name, void *restrict value, socklen_t *restrict length)
{
	static int (*real)(int, int, int, void *, socklen_t *);
	int r;

	if (!real)
		real = (int (*)(int, int, int, void *, socklen_t *))next("getsockopt");
	r = real(fd, level, name, value, length);
	if (r == 0 && level == SOL_SOCKET && name == SO_PEERCRED)
		((struct ucred *)value)->uid = uid;
	return r;
}

void world_become(uid_t new_uid)
{
	uid = new_uid;
}

/* ---- maps ---- */

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	static void *(*real)(void *, size_t, int, int, int, off_t);
	void *map;

	if (map_fails && fd >= 0) {
		map_fails = false;
		errno = ENOMEM;
		return MAP_FAILED;
	}
	if (!real)
		real = (void *(*)(void *, size_t, int, int, int, off_t))next("mmap64");
	map = real(address, length, protection, flags, fd, offset);
	if (map != MAP_FAILED && fd >= 0)
		mapped_bytes += (int64_t)round_up(length, page_size());
	return map;
}

int munmap(void *address, size_t length)
{
	static int (*real)(void *, size_t);

	if (!real)
		real = (int (*)(void *, size_t))next("munmap");
	mapped_bytes -= (int64_t)round_up(length, page_size());
	return real(address, length);
}

void *mremap(void *address, size_t length, size_t new_length, int flags, ...)
{
	static void *(*real)(void *, size_t, size_t, int, ...);
	void *map;

	if (map_fails) {
		map_fails = false;
		errno = ENOMEM;
		return MAP_FAILED;
	}
	if (!real)
		real = (void *(*)(void *, size_t, size_t, int, ...))next("mremap");
	map = real(address, length, new_length, flags);
	if (map != MAP_FAILED)
		mapped_bytes += (int64_t)round_up(new_length, page_size()) - (int64_t)round_up(length, page_size());
	return map;
}

bool world_fail_map(bool fails)
{
	bool failed = map_fails;

	map_fails = fails;
	return failed;
}

int64_t world_mapped_bytes(void)
{
	return mapped_bytes;
}

/* ---- files ---- */

static struct {
	char path[sizeof(folder) + 8];
	int fd;
	int writer; /* one that has stayed; -1: none */
	bool changed, deleted;
	bool awaits_writer;
	unsigned size; /* to be, of those below */
} files[WORLD_N_FILES];
static int deleted, writable, path_only, in_folder, sockets[2], pipes[2];
static bool writers_stay;

/* In pages; and what a window that ends within one has more. */
static const unsigned first_sizes[WORLD_N_FILES] = {5, 9, 1, 3};
static const unsigned sizes[STEP_DELETE] = {0, 1, 2, 3, 5, 9, 12};
#define PART 100

static void close_file(unsigned i)
{
	close_fdp(&files[i].fd);
	unlink(files[i].path);
}

static void make_file(unsigned i)
{
	snprintf(files[i].path, sizeof(files[i].path), "%s/%u", folder, i);
	files[i].fd = open(files[i].path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	require(files[i].fd >= 0);
	files[i].writer = -1;
	files[i].deleted = false;
	files[i].changed = true;
}

/* The file of a descriptor, whatever has become of its name. */
static int open_again(int fd, int flags)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags | O_CLOEXEC);
}

static void resize(int fd, unsigned pages, unsigned part)
{
	require(ftruncate(fd, (off_t)(pages * page_size() + part)) == 0);
}

/* A file that no name leads to, open for reading only. */
static int make_deleted(void)
{
	_cleanup_(close_fdp) int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	require(fd >= 0);
	resize(fd, 2, 0);
	return open_again(fd, O_RDONLY);
}

static void remove_all(void)
{
	for (unsigned i = 0; i < WORLD_N_FILES; i++)
		close_file(i);
	rmdir(folder);
}

static void make_all(void)
{
	if (!mkdtemp(folder)) {
		memcpy(folder, other_folder, sizeof(other_folder));
		require(mkdtemp(folder));
	}
	for (unsigned i = 0; i < WORLD_N_FILES; i++)
		make_file(i);
	atexit(remove_all);
	deleted = make_deleted();
	/* None of the others, or that could never be guarded. */
	writable = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	path_only = open(files[0].path, O_PATH | O_CLOEXEC);
	in_folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	require(deleted >= 0 && writable >= 0 && path_only >= 0 && in_folder >= 0);
	require(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) == 0);
	require(pipe2(pipes, O_CLOEXEC) == 0);
}

void world_change_file(unsigned i, unsigned change)
{
	if (change == STEP_DELETE) {
		files[i].deleted = true;
		unlink(files[i].path);
		return;
	}
	files[i].awaits_writer = true;
	files[i].size = change;
}

bool world_has_writer(unsigned i)
{
	return files[i].awaits_writer;
}

bool world_write(unsigned i)
{
	int fd = open_again(files[i].fd, O_WRONLY | O_NONBLOCK);

	require(fd >= 0 || errno == EWOULDBLOCK);
	if (fd < 0)
		return false;
	files[i].awaits_writer = false;
	files[i].changed = true;
	resize(fd, sizes[files[i].size], sizes[files[i].size] ? PART : 0);
	close_fdp(&files[i].writer);
	files[i].writer = writers_stay ? fd : close_fd(fd);
	return true;
}

void world_have_writers_stay(bool stay)
{
	writers_stay = stay;
	for (unsigned i = 0; i < WORLD_N_FILES && !stay; i++)
		close_fdp(&files[i].writer);
}

int world_file(unsigned i)
{
	return files[i].fd;
}

size_t world_descriptors(enum step_descriptor what, int descriptors[static 3])
{
	static const int *const others[] = {
		[STEP_DELETED_FILE] = &deleted, [STEP_WRITABLE] = &writable, [STEP_PATH_ONLY] = &path_only,
		[STEP_FOLDER] = &in_folder,     [STEP_SOCKET] = &sockets[0],          [STEP_PIPE] = &pipes[0],
	};

	switch (what) {
	case STEP_NO_DESCRIPTOR:
		return 0;
	case STEP_TWO:
	case STEP_THREE:
		for (unsigned i = 0; i < 3; i++)
			descriptors[i] = files[i].fd;
		return what == STEP_TWO ? 2 : 3;
	default:
		descriptors[0] = what <= STEP_FILE_3 ? files[what - STEP_FILE_0].fd : *others[what];
		return 1;
	}
}

void world_poll(struct pollfd *pollfds, nfds_t n)
{
	int r;

	/* libFuzzer has a timer. */
	do
		r = poll(pollfds, n, 0);
	while (r < 0 && errno == EINTR);
	require(r >= 0);
}

unsigned world_count_descriptors(void)
{
	struct pollfd pollfds[256];
	unsigned n = 0;

	for (int i = 0; i < 256; i++)
		pollfds[i] = (struct pollfd){.fd = i};
	world_poll(pollfds, 256);
	for (int i = 0; i < 256; i++)
		n += !(pollfds[i].revents & POLLNVAL);
	return n;
}

void world_reset(void)
{
	static bool made;

	if (!made)
		make_all();
	made = true;
	now_ns = UINT64_C(1000000000000);
	map_fails = false;
	world_have_writers_stay(false);
	for (unsigned i = 0; i < WORLD_N_FILES; i++) {
		if (files[i].deleted) {
			close_file(i);
			make_file(i);
		}
		if (files[i].changed) {
			_cleanup_(close_fdp) int fd = open_again(files[i].fd, O_WRONLY);

			require(fd >= 0);
			resize(fd, first_sizes[i], PART);
		}
		files[i].changed = files[i].awaits_writer = false;
	}
	mapped_bytes = 0;
}
