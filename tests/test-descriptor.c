/* SPDX-License-Identifier: BSD-3-Clause */
/* Which descriptors can be read through the server. */
#include "config.h"

#include "proto/descriptor.h"
#include "tests/harness.h"

#include "proto/util.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

static struct descriptor_facts facts;

/* Checks what it opens, and closes it. */
static int check(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0600), r;

	ck_assert_int_ge(fd, 0);
	r = descriptor_check(fd, &facts);
	close(fd);
	return r;
}

static int check_fd(int fd)
{
	int r;

	ck_assert_int_ge(fd, 0);
	r = descriptor_check(fd, &facts);
	close(fd);
	return r;
}

START_TEST(test_regular)
{
	struct stat st;

	harness_make_file("file", 12345);
	ck_assert_int_eq(stat("file", &st), 0);
	ck_assert_int_eq(check("file", O_RDONLY), 0);
	ck_assert_uint_eq(facts.size, 12345);
	ck_assert_uint_eq(facts.device, st.st_dev);
	ck_assert_uint_eq(facts.inode, st.st_ino);
	ck_assert(!facts.deleted);
	ck_assert_int_eq(check("file", O_RDONLY | O_NONBLOCK | O_NOATIME), 0);
	ck_assert_int_eq(truncate("file", 0), 0);
	ck_assert_int_eq(check("file", O_RDONLY), 0);
	ck_assert_uint_eq(facts.size, 0);
}
END_TEST

START_TEST(test_not_readable_only)
{
	int fd;

	harness_make_file("file", 1);
	ck_assert_int_eq(check("file", O_WRONLY), -EBADF);
	ck_assert_int_eq(check("file", O_RDWR), -EBADF);
	ck_assert_int_eq(check("file", O_WRONLY | O_APPEND), -EBADF);
	ck_assert_int_eq(check("file", O_ACCMODE), -EBADF);
	ck_assert_int_eq(check("file", O_PATH), -EBADF);
	ck_assert_int_eq(check(".", O_PATH), -EBADF);
	ck_assert_int_eq(descriptor_check(-1, &facts), -EBADF);
	fd = open("file", O_RDONLY | O_CLOEXEC);
	close(fd);
	ck_assert_int_eq(descriptor_check(fd, &facts), -EBADF);
	ck_assert_int_lt(descriptor_look(fd, &facts), 0);
}
END_TEST

START_TEST(test_not_regular)
{
	int pipes[2], ends[2];

	ck_assert_int_eq(mkfifo("fifo", 0600), 0);
	ck_assert_int_eq(check(".", O_RDONLY), -EINVAL);
	ck_assert_int_eq(check("fifo", O_RDONLY | O_NONBLOCK), -EINVAL);
	ck_assert_int_eq(check("/dev/null", O_RDONLY), -EINVAL);
	ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
	ck_assert_int_eq(check_fd(pipes[0]), -EINVAL);
	ck_assert_int_eq(check_fd(pipes[1]), -EBADF);
	/* These can be written to, all of them. */
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	ck_assert_int_eq(check_fd(ends[0]), -EBADF);
	ck_assert_int_eq(check_fd(ends[1]), -EBADF);
	ck_assert_int_eq(check_fd(eventfd(0, EFD_CLOEXEC)), -EBADF);
	ck_assert_int_eq(check_fd(epoll_create1(EPOLL_CLOEXEC)), -EBADF);
}
END_TEST

START_TEST(test_memfd)
{
	int fd = memfd_create("test", MFD_CLOEXEC), again;
	char path[32];

	ck_assert_int_eq(ftruncate(fd, 100), 0);
	ck_assert_int_eq(descriptor_check(fd, &facts), -EBADF);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(check_fd(again), 0);
	ck_assert_uint_eq(facts.size, 100);
	ck_assert(facts.deleted);
	close(fd);
}
END_TEST

START_TEST(test_deleted)
{
	int fd;

	harness_make_file("file", 10);
	fd = open("file", O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(link("file", "name"), 0);
	ck_assert_int_eq(unlink("file"), 0);
	ck_assert_int_eq(descriptor_look(fd, &facts), 0);
	ck_assert(!facts.deleted);
	ck_assert_int_eq(unlink("name"), 0);
	ck_assert_int_eq(descriptor_look(fd, &facts), 0);
	ck_assert(facts.deleted);
	ck_assert_uint_eq(facts.size, 10);
	ck_assert_int_eq(descriptor_check(fd, &facts), 0);
	ck_assert(facts.deleted);
	close(fd);
}
END_TEST

START_TEST(test_same_file)
{
	struct descriptor_facts one, other, device, later;

	harness_make_file("file", 10);
	harness_make_file("other", 10);
	ck_assert_int_eq(link("file", "link"), 0);
	ck_assert_int_eq(check("file", O_RDONLY), 0);
	one = facts;
	ck_assert_int_eq(truncate("file", 20), 0);
	ck_assert_int_eq(check("link", O_RDONLY), 0);
	ck_assert(descriptor_same_file(&one, &facts));
	ck_assert_int_eq(check("other", O_RDONLY), 0);
	other = facts;
	ck_assert(!descriptor_same_file(&one, &other));
	device = one;
	device.device++;
	ck_assert(!descriptor_same_file(&one, &device));

	/* An inode that was given again. What no birth is known of can't be told apart by it. */
	one.birth_ns = 1;
	later = one;
	later.birth_ns++;
	ck_assert(!descriptor_same_file(&one, &later));
	later.birth_ns = 0;
	ck_assert(descriptor_same_file(&one, &later));
	ck_assert(descriptor_same_file(&later, &one));
}
END_TEST

Suite *suite(void);

Suite *suite(void)
{
	Suite *s = suite_create("descriptor");

	HARNESS_CASE(s, "descriptor", test_regular, test_not_readable_only, test_not_regular, test_memfd, test_deleted, test_same_file);
	return s;
}

int main(void)
{
	return harness_run(suite());
}
