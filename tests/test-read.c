/* SPDX-License-Identifier: BSD-3-Clause */
/* Copying reads that can't copy: each time they tell what is wrong, and never die. */
#include "config.h"

#include "client/smmap-client.h"
#include "tests/fuse.h"
#include "tests/harness.h"

#include "proto/util.h"

#include <fcntl.h>
#include <signal.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define PAGE      4096
#define WINDOW    (16 * PAGE)
#define FILE_SIZE (20 * WINDOW)

static struct harness_server server;
static struct smmap_client *client;
static struct smmap_cursor *cursor;
static unsigned char bytes[FILE_SIZE];

static void open_all(const char *path, uint32_t flags)
{
	struct smmap_client_options options = {.socket = server.socket};

	ck_assert_int_eq(smmap_client_open(&client, &options), 0);
	ck_assert_int_eq(smmap_cursor_open(&cursor, client, path, flags), 0);
}

static void close_all(void)
{
	smmap_cursor_close(cursor);
	smmap_client_close(client);
}

static void start(const char *path)
{
	harness_start(&server, "--window-size=64K", "--max-memory=4M", NULL);
	open_all(path, 0);
}

static void stop(void)
{
	close_all();
	ck_assert_uint_eq(harness_figure(&server, "counters.protocol_errors"), 0);
	harness_stop(&server);
}

static void assert_read(size_t size, uint64_t offset)
{
	memset(bytes, 0x5a, size);
	ck_assert_int_eq(smmap_cursor_read(cursor, bytes, size, offset), (ssize_t)size);
	for (size_t i = 0; i < size; i++)
		ck_assert_uint_eq(bytes[i], harness_byte(offset + i));
}

/* ---- where the bytes go ---- */

/* Two pages, of which the second can't be written to. */
static unsigned char *half_a_room(void)
{
	unsigned char *room = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(room, MAP_FAILED);
	ck_assert_int_eq(mprotect(room + PAGE, PAGE, PROT_NONE), 0);
	return room;
}

static void assert_bad_destinations(void)
{
	unsigned char *room = half_a_room();

	ck_assert_int_eq(smmap_cursor_read(cursor, room, PAGE, 3 * PAGE), PAGE);
	ck_assert_uint_eq(room[PAGE - 1], harness_byte(4 * PAGE - 1));
	ck_assert_int_eq(smmap_cursor_read(cursor, room + PAGE, 1, 0), -EFAULT);
	ck_assert_int_eq(smmap_cursor_read(cursor, room + 10, PAGE, 0), -EFAULT);
	ck_assert(!smmap_cursor_is_valid(cursor));
	ck_assert_int_eq(munmap(room, 2 * PAGE), 0);
	assert_read(3 * WINDOW, 7);
}

START_TEST(test_bad_destination)
{
	harness_make_file("file", FILE_SIZE);
	start("file");
	assert_bad_destinations();
	stop();
}
END_TEST

/* ---- a sandbox ---- */

/* From here on process_vm_readv(2) fails with @error in this process. */
static void forbid_copying(int error)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_readv, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};

	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
	ck_assert_int_eq(syscall(SYS_process_vm_readv, getpid(), NULL, 0, NULL, 0, 0), -1);
	ck_assert_int_eq(errno, error);
}

static void read_in_a_sandbox(int error)
{
	struct rlimit saved, limit;

	open_all("file", 0);
	forbid_copying(error);
	assert_read(FILE_SIZE, 0);
	assert_read(1, FILE_SIZE - 1);
	ck_assert_int_eq(smmap_cursor_read(cursor, bytes, 100, FILE_SIZE - 1), 1);
	assert_bad_destinations();

	ck_assert_int_eq(smmap_cursor_use(cursor, 0, 1), 1);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &saved), 0);
	limit = (struct rlimit){.rlim_cur = 3, .rlim_max = saved.rlim_max};
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_int_eq(smmap_cursor_read(cursor, bytes, 1, 0), -EMFILE);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &saved), 0);
	assert_read(FILE_SIZE, 0);

	/* The path leads elsewhere: the cursor reads what it has. */
	ck_assert_int_eq(rename("file", "moved"), 0);
	assert_read(WINDOW + 1, 5);
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, WINDOW), WINDOW);
	ck_assert_int_eq(truncate("moved", 0), 0);
	ck_assert_int_eq(smmap_cursor_read(cursor, bytes, WINDOW, 0), -ESTALE);
	ck_assert_int_eq(smmap_cursor_read(cursor, bytes, WINDOW, 0), 0);
	close_all();
}

/* In a process of its own, since there is no way back from it. */
static void try_sandbox(int error)
{
	int status;
	pid_t pid;

	harness_start(&server, "--window-size=64K", "--max-memory=4M", NULL);
	harness_make_file("file", FILE_SIZE);
	fflush(stdout);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		read_in_a_sandbox(error);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	harness_stop(&server);
}

START_TEST(test_eperm)
{
	try_sandbox(EPERM);
}
END_TEST

START_TEST(test_enosys)
{
	try_sandbox(ENOSYS);
}
END_TEST

/* ---- files that can't be read ---- */

START_TEST(test_read_errors)
{
	struct fuse_system system = {.folder = "fuse", .size = 3 * WINDOW, .readable = WINDOW + 3 * PAGE};
	struct smmap_buffer *buffer;
	const uint64_t readable = system.readable;

	harness_start(&server, "--window-size=64K", "--max-memory=4M", NULL);
	if (fuse_start(&system)) {
		open_all("fuse/file", 0);
		assert_read((size_t)readable, 0);
		for (int i = 0; i < 3; i++) {
			ck_assert_int_eq(smmap_cursor_read(cursor, bytes, 1, readable), -EIO);
			ck_assert_int_eq(smmap_cursor_read(cursor, bytes, 2 * PAGE, readable - PAGE), -EIO);
			ck_assert_int_eq(smmap_cursor_read(cursor, bytes, 3 * WINDOW, 0), -EIO);
			assert_read(PAGE, readable - PAGE);
		}
		ck_assert_int_eq(smmap_buffer_open(&buffer, cursor, 0, SMMAP_TO_END), 0);
		ck_assert_int_eq(smmap_buffer_read(buffer, bytes, -1, INT64_MAX), -EIO);
		ck_assert_int_eq(smmap_buffer_read(buffer, bytes, 10, WINDOW), WINDOW - 10);
		smmap_buffer_close(buffer);
		close_all();
		fuse_stop(&system);
	}
	harness_stop(&server);
}
END_TEST

/* A file system of this process's own, of four pages. False where that is not allowed. */
static bool mount_small(const char *folder)
{
	ck_assert_int_eq(mkdir(folder, 0700), 0);
	if (unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	    mount("none", folder, "tmpfs", 0, "size=16k") == 0)
		return true;
	printf("skipped: what a full disk does, since none can be mounted here\n");
	return false;
}

/* A page of a map has to be filled even where it is a hole; there is none for it, and a touch would be the end. The hole is read as one. */
START_TEST(test_hole_on_a_full_disk)
{
	int fd;

	if (!mount_small("small"))
		return;
	fd = open("small/file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_eq(ftruncate(fd, FILE_SIZE), 0);
	harness_make_file("small/other", 4 * PAGE);
	ck_assert_int_eq(pwrite(fd, "", 1, 0), -1);
	ck_assert_int_eq(errno, ENOSPC);
	close(fd);

	start("small/file");
	memset(bytes, 0x5a, sizeof(bytes));
	ck_assert_int_eq(smmap_cursor_read(cursor, bytes, FILE_SIZE, 0), FILE_SIZE);
	for (size_t i = 0; i < FILE_SIZE; i++)
		ck_assert_uint_eq(bytes[i], 0);
	stop();
	ck_assert_int_eq(umount2("small", MNT_DETACH), 0);
}
END_TEST

/* ---- a descriptor of the cursor's own ---- */

static void open_by_descriptor(void)
{
	int fd;

	harness_make_file("file", FILE_SIZE);
	start("file");
	smmap_cursor_close(cursor);
	fd = open("file", O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(smmap_cursor_open_fd(&cursor, client, fd, SMMAP_WHOLE_FILE), 0);
	close(fd);
	assert_read(FILE_SIZE, 0);
}

/* It tells at once; what the file has now the server is asked. */
START_TEST(test_descriptor)
{
	open_by_descriptor();
	for (int i = 0; i < 10; i++) {
		/* A server that is looking might see it first. */
		ck_assert_int_eq(kill(server.pid, SIGSTOP), 0);
		ck_assert_int_eq(truncate("file", WINDOW), 0);
		ck_assert_int_eq(smmap_cursor_read(cursor, bytes, FILE_SIZE, 0), -ESTALE);
		ck_assert_int_eq(kill(server.pid, SIGCONT), 0);
		ck_assert_int_eq(smmap_cursor_read(cursor, bytes, FILE_SIZE, 0), WINDOW);
		harness_make_file("file", FILE_SIZE);
		assert_read(FILE_SIZE, 0);
	}
	assert_bad_destinations();
	stop();
}
END_TEST

START_TEST(test_descriptor_without_a_server)
{
	static const char *const options[] = {"--window-size=64K", "--max-memory=4M", NULL};
	unsigned char *room = half_a_room();
	struct smmap_cursor *copy;
	char socket[PATH_MAX];

	open_by_descriptor();
	ck_assert_int_eq(smmap_cursor_use(cursor, 0, FILE_SIZE), FILE_SIZE);
	ck_assert_int_eq(smmap_cursor_copy(&copy, cursor), 0);
	harness_kill(&server);
	assert_read(FILE_SIZE, 0);
	ck_assert_int_eq(smmap_cursor_read(copy, room + PAGE, 1, 0), -EFAULT);
	ck_assert_int_eq(truncate("file", WINDOW), 0);
	ck_assert_int_eq(smmap_cursor_read(cursor, bytes, FILE_SIZE, 0), -ESTALE);
	snprintf(socket, sizeof(socket), "%s", server.socket);
	harness_start_at(&server, socket, options);
	assert_read(WINDOW, 0);
	ck_assert_int_eq(smmap_cursor_read(copy, bytes, FILE_SIZE, 0), WINDOW);
	smmap_cursor_close(copy);
	ck_assert_int_eq(munmap(room, 2 * PAGE), 0);
	stop();
}
END_TEST

START_TEST(test_nothing)
{
	struct smmap_cursor *blank;

	harness_make_file("file", FILE_SIZE);
	start("file");
	ck_assert_int_eq(smmap_cursor_read(cursor, NULL, 0, 0), 0);
	ck_assert_int_eq(smmap_cursor_read(cursor, NULL, 0, INT64_MAX), 0);
	ck_assert_int_eq(smmap_cursor_read(cursor, NULL, 0, UINT64_MAX), -EINVAL);
	ck_assert(!smmap_cursor_is_valid(cursor));
	ck_assert_int_eq(smmap_cursor_open(&blank, client, NULL, 0), 0);
	ck_assert_int_eq(smmap_cursor_read(blank, NULL, 0, 0), -EINVAL);
	smmap_cursor_close(blank);
	stop();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("read");

	HARNESS_CASE(suite, "destinations", test_bad_destination);
	HARNESS_CASE(suite, "sandboxes", test_eperm, test_enosys);
	HARNESS_CASE(suite, "descriptors", test_descriptor, test_descriptor_without_a_server);
	HARNESS_CASE(suite, "nothing", test_nothing);
	HARNESS_CASE(suite, "files", test_read_errors, test_hole_on_a_full_disk);
	return harness_run(suite);
}
