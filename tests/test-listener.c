/* SPDX-License-Identifier: BSD-3-Clause */
/* The socket as a file: made, taken over, left alone, removed. */
#include "config.h"

#include "daemon/listener.h"
#include "tests/harness.h"

#include "proto/address.h"
#include "proto/util.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static struct listener listener, other;
static char complaint[2 * PATH_MAX];

static int try_open(struct listener *opened, const char *path)
{
	int r;

	complaint[0] = '\0';
	r = listener_open(opened, path, complaint, sizeof(complaint));
	ck_assert_int_eq(complaint[0] != '\0', r < 0);
	ck_assert_int_eq(opened->fd >= 0, r == 0);
	return r;
}

static bool is_socket(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0 && S_ISSOCK(st.st_mode);
}

/* A socket file without a server. */
static void make_dead(const char *path, int type)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
}

START_TEST(test_open)
{
	mode_t mask = umask(077);
	struct stat st;
	int fd;

	ck_assert_int_eq(try_open(&listener, "socket"), 0);
	/* Every user may connect, and the mask of the process is what it was. */
	ck_assert_int_eq(lstat("socket", &st), 0);
	ck_assert(S_ISSOCK(st.st_mode));
	ck_assert_uint_eq(st.st_mode & 07777, 0666);
	ck_assert_uint_eq(umask(mask), 077);
	fd = address_connect("socket");
	ck_assert_int_ge(fd, 0);
	close(fd);
	listener_close(&listener);
	ck_assert_int_eq(access("socket", F_OK), -1);
	ck_assert_int_eq(listener.fd, -1);
	listener_close(&listener);
	ck_assert_int_eq(address_connect("socket"), -ENOTCONN);
}
END_TEST

START_TEST(test_live)
{
	int fd;

	ck_assert_int_eq(try_open(&listener, "socket"), 0);
	ck_assert_int_eq(try_open(&other, "socket"), -EADDRINUSE);
	ck_assert_msg(strstr(complaint, "running on socket already"), "%s", complaint);
	/* The one that runs has not noticed. */
	fd = address_connect("socket");
	ck_assert_int_ge(fd, 0);
	close(fd);
	listener_close(&other);
	ck_assert(is_socket("socket"));
	listener_close(&listener);
	ck_assert_int_eq(try_open(&other, "socket"), 0);
	listener_close(&other);
}
END_TEST

START_TEST(test_dead)
{
	int fd;

	make_dead("socket", SOCK_SEQPACKET);
	ck_assert_int_eq(try_open(&listener, "socket"), 0);
	fd = address_connect("socket");
	ck_assert_int_ge(fd, 0);
	close(fd);
	listener_close(&listener);
	ck_assert_int_eq(access("socket", F_OK), -1);
}
END_TEST

START_TEST(test_in_the_way)
{
	struct stat before, after;

	harness_make_file("socket", 10);
	ck_assert_int_eq(stat("socket", &before), 0);
	ck_assert_int_eq(try_open(&listener, "socket"), -EEXIST);
	ck_assert_msg(strstr(complaint, "socket is there and is not a socket"), "%s", complaint);
	ck_assert_int_eq(stat("socket", &after), 0);
	ck_assert(before.st_ino == after.st_ino && after.st_size == 10);

	/* A folder, and a link to somewhere. */
	ck_assert_int_eq(mkdir("folder", 0700), 0);
	ck_assert_int_eq(try_open(&listener, "folder"), -EEXIST);
	ck_assert_int_eq(symlink("nowhere", "link"), 0);
	ck_assert_int_eq(try_open(&listener, "link"), -EEXIST);
	ck_assert_int_eq(lstat("link", &after), 0);
	ck_assert(S_ISLNK(after.st_mode));
}
END_TEST

START_TEST(test_path)
{
	char path[PATH_MAX + 8];

	memset(path, 'x', sizeof(path));
	path[PATH_MAX] = '\0';
	ck_assert_int_eq(try_open(&listener, path), -ENAMETOOLONG);
	path[108] = '\0';
	ck_assert_int_eq(try_open(&listener, path), -ENAMETOOLONG);
	ck_assert_msg(strstr(complaint, path) && strstr(complaint, "too long"), "%s", complaint);
	path[107] = '\0';
	ck_assert_int_eq(try_open(&listener, path), 0);
	listener_close(&listener);
	ck_assert_int_eq(access(path, F_OK), -1);
	ck_assert_int_eq(try_open(&listener, ""), -EINVAL);
}
END_TEST

START_TEST(test_folder)
{
	struct stat st;
	mode_t mask = umask(022);

	ck_assert_int_eq(try_open(&listener, "made/socket"), 0);
	ck_assert(is_socket("made/socket"));
	ck_assert_int_eq(stat("made", &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0755);
	listener_close(&listener);
	ck_assert_int_eq(access("made/socket", F_OK), -1);
	/* Only one level; and not through a file. */
	ck_assert_int_eq(try_open(&listener, "not/there/socket"), -ENOENT);
	ck_assert_msg(strstr(complaint, "not/there/socket"), "%s", complaint);
	ck_assert_int_eq(access("not", F_OK), -1);
	harness_make_file("file", 1);
	ck_assert_int_eq(try_open(&listener, "file/socket"), -ENOTDIR);
	umask(mask);
}
END_TEST

/* Somebody has put another file there meanwhile: it is not ours to remove. */
START_TEST(test_replaced)
{
	ck_assert_int_eq(try_open(&listener, "socket"), 0);
	ck_assert_int_eq(rename("socket", "moved"), 0);
	ck_assert_int_eq(try_open(&other, "socket"), 0);
	listener_close(&listener);
	ck_assert(is_socket("socket"));
	listener_close(&other);
	ck_assert_int_eq(access("socket", F_OK), -1);
	ck_assert(is_socket("moved"));

	ck_assert_int_eq(try_open(&listener, "socket"), 0);
	ck_assert_int_eq(rename("socket", "moved"), 0);
	harness_make_file("socket", 5);
	listener_close(&listener);
	ck_assert_int_eq(access("socket", F_OK), 0);
}
END_TEST

/* One that somebody else has made: it is used, and left where it is. */
START_TEST(test_adopt)
{
	int fd, made, flags;

	ck_assert_int_eq(try_open(&other, "socket"), 0);
	made = dup(other.fd);
	ck_assert_int_eq(listener_adopt(&listener, &made, complaint, sizeof(complaint)), 0);
	ck_assert_int_eq(made, -1);
	ck_assert_str_eq(listener.path, "socket");
	flags = fcntl(listener.fd, F_GETFL);
	ck_assert_int_ne(flags & O_NONBLOCK, 0);
	ck_assert_int_ne(fcntl(listener.fd, F_GETFD) & FD_CLOEXEC, 0);
	listener_close(&listener);
	ck_assert(is_socket("socket"));
	fd = address_connect("socket");
	ck_assert_int_ge(fd, 0);
	close(fd);
	listener_close(&other);

	/* What is none is not taken. */
	made = open("/dev/null", O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(listener_adopt(&listener, &made, complaint, sizeof(complaint)), -EINVAL);
	ck_assert_int_ge(made, 0);
	ck_assert_msg(strstr(complaint, "ListenSequentialPacket="), "%s", complaint);
	close(made);
}
END_TEST

Suite *suite(void);

Suite *suite(void)
{
	Suite *s = suite_create("listener");

	HARNESS_CASE(s, "listener", test_open, test_live, test_dead, test_in_the_way, test_path, test_folder, test_replaced, test_adopt);
	return s;
}

int main(void)
{
	return harness_run(suite());
}
