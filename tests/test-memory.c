/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory shared by descriptor, and the pulse on it. */
#include "config.h"

#include "proto/memory.h"
#include "proto/pulse.h"
#include "tests/harness.h"

#include "proto/util.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

START_TEST(test_seals)
{
	size_t size = 2 * (size_t)page_size();
	void *ours, *theirs = NULL;
	int fd;

	ck_assert_int_eq(memory_create("test", size, &ours, &fd), 0);
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(ftruncate(fd, 0), -1);
	ck_assert_int_eq(errno, EPERM);
	ck_assert_int_eq(ftruncate(fd, (off_t)size + 1), -1);
	ck_assert_int_eq(errno, EPERM);

	ck_assert_int_eq(memory_attach(fd, size - 1, PROT_READ, &theirs), -EPROTO);
	ck_assert_int_eq(memory_attach(fd, size + 1, PROT_READ, &theirs), -EPROTO);
	ck_assert_int_eq(memory_attach(fd, 0, PROT_READ, &theirs), -EPROTO);
	ck_assert_int_eq(memory_attach(-1, size, PROT_READ, &theirs), -EPROTO);
	ck_assert_ptr_null(theirs);
	ck_assert_int_eq(memory_attach(fd, size, PROT_READ | PROT_WRITE, &theirs), 0);
	((char *)theirs)[size - 1] = 5;
	ck_assert_int_eq(((char *)ours)[size - 1], 5);
	munmap(theirs, size);
	munmap(ours, size);
	close(fd);
}
END_TEST

START_TEST(test_seal_writes)
{
	size_t size = (size_t)page_size();
	void *ours, *theirs = NULL;
	int fd;

	ck_assert_int_eq(memory_create("test", size, &ours, &fd), 0);
	ck_assert_int_eq(memory_seal_writes(fd), 0);
	/* Nobody can add or take a seal any more. */
	ck_assert_int_eq(memory_seal_writes(fd), -EPERM);
	ck_assert_int_eq(memory_attach(fd, size, PROT_READ | PROT_WRITE, &theirs), -EPERM);
	ck_assert_int_eq(memory_attach(fd, size, PROT_READ, &theirs), 0);
	ck_assert_int_eq(mprotect(theirs, size, PROT_READ | PROT_WRITE), -1);
	ck_assert_int_eq(errno, EACCES);
	ck_assert_int_eq(pwrite(fd, "x", 1, 0), -1);
	ck_assert_int_eq(errno, EPERM);
	/* The map that was there before is as writable as ever. */
	*(char *)ours = 'y';
	ck_assert_int_eq(*(char *)theirs, 'y');
	munmap(theirs, size);
	munmap(ours, size);
	close(fd);
}
END_TEST

/* ---- the pulse ---- */

/* It is not in a child. */
START_TEST(test_fork)
{
	size_t size = (size_t)page_size();
	const struct pulse *theirs;
	unsigned char resident;
	struct pulse *pulse;
	int fd, status;
	pid_t pid;

	ck_assert_int_eq(pulse_create(&pulse, &fd), 0);
	ck_assert_int_eq(pulse_attach(&theirs, fd), 0);
	ck_assert_int_eq(mincore((void *)(uintptr_t)theirs, size, &resident), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid)
		_exit(mincore((void *)(uintptr_t)theirs, size, &resident) < 0 && errno == ENOMEM ? 0 : 1);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	pulse_free(theirs);
	pulse_free(pulse);
	close(fd);
}
END_TEST

START_TEST(test_pulse)
{
	const struct pulse *theirs = NULL;
	struct pulse *pulse;
	void *memory;
	int fd, unsealed;

	pulse_free(NULL);
	ck_assert_int_eq(pulse_create(&pulse, &fd), 0);
	ck_assert_int_eq(memory_attach(fd, (size_t)page_size(), PROT_READ | PROT_WRITE, &memory), -EPERM);
	ck_assert_int_eq(pulse_attach(&theirs, fd), 0);
	ck_assert_uint_eq(pulse_epoch(theirs), 0);
	ck_assert_uint_eq(pulse_second(theirs), 0);
	pulse->instance = 12345;
	atomic_store(&pulse->second, 9);
	ck_assert_uint_eq(pulse_advance(pulse), 1);
	ck_assert_uint_eq(pulse_advance(pulse), 2);
	ck_assert_uint_eq(theirs->instance, 12345);
	ck_assert_uint_eq(pulse_second(theirs), 9);
	ck_assert_uint_eq(pulse_epoch(theirs), 2);
	pulse_free(theirs);
	pulse_free(pulse);
	close(fd);

	theirs = NULL;
	unsealed = memfd_create("test", MFD_CLOEXEC);
	ck_assert_int_eq(ftruncate(unsealed, (off_t)page_size()), 0);
	ck_assert_int_eq(pulse_attach(&theirs, unsealed), -EPROTO);
	ck_assert_ptr_null(theirs);
	close(unsealed);
}
END_TEST

START_TEST(test_order)
{
	_Atomic uint64_t one = 0, other = 0;
	struct pulse *pulse;
	uint64_t use, before;
	int fd;

	ck_assert_int_eq(pulse_create(&pulse, &fd), 0);
	close(fd);
	ck_assert_uint_eq(pulse_instant(0), 0);
	ck_assert_uint_eq(pulse_instant(1), UINT64_C(1) << 24);
	/* Within an epoch each use is later than the one before. */
	pulse_advance(pulse);
	use = pulse_use(pulse, &one);
	ck_assert_uint_eq(use, pulse_instant(1));
	for (int i = 0; i < 1000; i++) {
		before = use;
		use = pulse_use(pulse, &one);
		ck_assert_uint_eq(use, before + 1);
		ck_assert_uint_eq(atomic_load(&one), use);
	}
	ck_assert_uint_lt(use, pulse_instant(2));
	/* A use in a later epoch is later than all that others did before, however much that was. */
	pulse_advance(pulse);
	before = use;
	use = pulse_use(pulse, &other);
	ck_assert_uint_gt(use, before);
	ck_assert_uint_eq(use, pulse_instant(2));
	ck_assert_uint_eq(pulse_use(pulse, &one), pulse_instant(2));

	/* The last instant of an epoch, and one more: it runs ahead, and never back. */
	atomic_store(&one, pulse_instant(3) - 2);
	ck_assert_uint_eq(pulse_use(pulse, &one), pulse_instant(3) - 1);
	ck_assert_uint_eq(pulse_use(pulse, &one), pulse_instant(3));
	pulse_advance(pulse);
	ck_assert_uint_eq(pulse_use(pulse, &one), pulse_instant(3) + 1);
	pulse_free(pulse);
}
END_TEST

Suite *suite(void);

Suite *suite(void)
{
	Suite *s = suite_create("memory");

	HARNESS_CASE(s, "memory", test_seals, test_seal_writes, test_fork);
	HARNESS_CASE(s, "pulse", test_pulse, test_order);
	return s;
}

int main(void)
{
	return harness_run(suite());
}
