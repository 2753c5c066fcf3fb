/* SPDX-License-Identifier: BSD-3-Clause */
/* The server under a service manager, which this test is: it hands over the socket, hears how things are, and reads what is said. */
#include "config.h"

#include "tests/harness.h"

#include "proto/address.h"
#include "proto/channel.h"
#include "proto/message.h"
#include "proto/util.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

struct managed {
	pid_t pid;
	int error; /* what it says */
};

static char said[1 << 16];

static int make_socket(const char *path, int type)
{
	struct sockaddr_un address;
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	int length = channel_address(&address, path);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_gt(length, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, (socklen_t)length), 0);
	return fd;
}

static int make_listening(const char *path, int type)
{
	int fd = make_socket(path, type);

	ck_assert_int_eq(listen(fd, 16), 0);
	return fd;
}

static void start(struct managed *managed, const int *sockets, int n_sockets)
{
	int pipes[2];

	ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
	managed->pid = fork();
	ck_assert_int_ge(managed->pid, 0);
	if (!managed->pid) {
		char number[32];

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(pipes[1], STDERR_FILENO);
		/* First out of the way of one another. */
		for (int i = 0; i < n_sockets; i++)
			dup2(sockets[i], 100 + i);
		for (int i = 0; i < n_sockets; i++)
			dup2(100 + i, 3 + i);
		snprintf(number, sizeof(number), "%d", (int)getpid());
		setenv("LISTEN_PID", number, 1);
		setenv("WATCHDOG_PID", number, 1);
		snprintf(number, sizeof(number), "%d", n_sockets);
		if (n_sockets)
			setenv("LISTEN_FDS", number, 1);
		execl(harness_program(), "smmapd", "--config=/dev/null", "--socket=own", "--max-memory=1M", "--window-size=64K", NULL);
		_exit(127);
	}
	close(pipes[1]);
	managed->error = pipes[0];
}

static void await_said(const struct managed *managed, const char *what)
{
	size_t n = strlen(said);

	while (!strstr(said, what)) {
		ssize_t r = read(managed->error, said + n, sizeof(said) - 1 - n);

		ck_assert_msg(r > 0, "no '%s' in: %s", what, said);
		n += (size_t)r;
		said[n] = '\0';
	}
}

/* Reads what it says until its end; its exit status. */
static int finish(struct managed *managed)
{
	size_t n = strlen(said);
	ssize_t r;
	int status;

	while ((r = read(managed->error, said + n, sizeof(said) - 1 - n)) > 0)
		n += (size_t)r;
	said[n] = '\0';
	close(managed->error);
	ck_assert_int_eq(waitpid(managed->pid, &status, 0), managed->pid);
	ck_assert_msg(WIFEXITED(status), "ended with status %#x: %s", (unsigned)status, said);
	return WEXITSTATUS(status);
}

static void assert_serves(const char *socket)
{
	char output[4096];

	ck_assert_msg(harness_shell(output, sizeof(output), "%s status --socket=%s 2>&1", harness_program(), socket) == 0, "%s", output);
	ck_assert_msg(strstr(output, socket), "%s", output);
}

/* ---- the socket ---- */

START_TEST(test_activation)
{
	int listening = make_listening("handed", SOCK_SEQPACKET), early, late;
	struct managed managed;

	/* A client that came before the server is served. */
	early = address_connect("handed");
	ck_assert_int_ge(early, 0);
	start(&managed, &listening, 1);
	await_said(&managed, "serving on handed:");
	assert_serves("handed");
	ck_assert_int_eq(access("own", F_OK), -1);

	ck_assert_int_eq(kill(managed.pid, SIGTERM), 0);
	ck_assert_int_eq(finish(&managed), 0);
	ck_assert_msg(strstr(said, "stopped by SIGTERM"), "%s", said);
	ck_assert_int_eq(channel_wait(early, POLLIN, -1), 1);

	/* The socket is not the server's: clients find it as long as the manager has it, and the next server serves them. */
	late = address_connect("handed");
	ck_assert_int_ge(late, 0);
	said[0] = '\0';
	start(&managed, &listening, 1);
	await_said(&managed, "serving on handed:");
	assert_serves("handed");
	ck_assert_int_eq(kill(managed.pid, SIGTERM), 0);
	ck_assert_int_eq(finish(&managed), 0);
	close(early);
	close(late);
	close(listening);
}
END_TEST

static void assert_refused(const int *sockets, int n, const char *why)
{
	struct managed managed;

	said[0] = '\0';
	start(&managed, sockets, n);
	ck_assert_int_eq(finish(&managed), 1);
	ck_assert_msg(strstr(said, why), "no '%s' in: %s", why, said);
	ck_assert_int_eq(access("own", F_OK), -1);
}

START_TEST(test_wrong_sockets)
{
	int sockets[] = {
		make_listening("first", SOCK_SEQPACKET),
		make_listening("second", SOCK_SEQPACKET),
		make_listening("stream", SOCK_STREAM),
		make_socket("datagram", SOCK_DGRAM),
		make_socket("deaf", SOCK_SEQPACKET),
		open("/dev/null", O_RDONLY | O_CLOEXEC),
	};

	assert_refused(sockets, 2, "2 sockets were handed over");
	for (int i = 2; i < 6; i++)
		assert_refused(&sockets[i], 1, "ListenSequentialPacket=");
	for (int i = 0; i < 6; i++)
		close(sockets[i]);
}
END_TEST

/* ---- how things are ---- */

static const char *receive_state(int manager)
{
	static char state[4096];
	ssize_t n;

	ck_assert_int_eq(channel_wait(manager, POLLIN, -1), 1);
	n = recv(manager, state, sizeof(state) - 1, 0);
	ck_assert_int_gt(n, 0);
	state[n] = '\0';
	return state;
}

/* Whether it has that line. */
static bool has_line(const char *state, const char *line)
{
	const char *at = strstr(state, line);
	size_t length = strlen(line);

	return at && (at == state || at[-1] == '\n') && (at[length] == '\0' || at[length] == '\n');
}

START_TEST(test_notifications)
{
	char folder[PATH_MAX], path[PATH_MAX + 8];
	struct managed managed;
	const char *state;
	int manager = make_socket("manager", SOCK_DGRAM);

	ck_assert_ptr_nonnull(getcwd(folder, sizeof(folder)));
	snprintf(path, sizeof(path), "%s/manager", folder);
	setenv("NOTIFY_SOCKET", path, 1);
	setenv("WATCHDOG_USEC", "50000", 1);
	start(&managed, NULL, 0);

	state = receive_state(manager);
	ck_assert_msg(has_line(state, "READY=1") && strstr(state, "\nSTATUS=0 clients; 0 B of 1 MiB in 0 maps of 0 files"), "%s", state);
	assert_serves("own");
	for (int i = 0; i < 3; i++) {
		state = receive_state(manager);
		ck_assert_msg(has_line(state, "WATCHDOG=1") && strstr(state, "\nSTATUS="), "%s", state);
	}

	ck_assert_int_eq(kill(managed.pid, SIGHUP), 0);
	do
		state = receive_state(manager);
	while (has_line(state, "WATCHDOG=1"));
	ck_assert_msg(has_line(state, "RELOADING=1") && strstr(state, "\nMONOTONIC_USEC="), "%s", state);
	state = receive_state(manager);
	ck_assert_msg(has_line(state, "READY=1") && strstr(state, "\nSTATUS=0 clients"), "%s", state);

	ck_assert_int_eq(kill(managed.pid, SIGTERM), 0);
	do
		state = receive_state(manager);
	while (has_line(state, "WATCHDOG=1"));
	ck_assert_str_eq(state, "STOPPING=1");
	ck_assert_int_eq(finish(&managed), 0);
	close(manager);
}
END_TEST

/* A manager without a watchdog; and one that is gone, which is no reason to fail. */
START_TEST(test_no_watchdog)
{
	char folder[PATH_MAX], path[PATH_MAX + 8];
	struct managed managed;
	int manager = make_socket("manager", SOCK_DGRAM);

	ck_assert_ptr_nonnull(getcwd(folder, sizeof(folder)));
	snprintf(path, sizeof(path), "%s/manager", folder);
	setenv("NOTIFY_SOCKET", path, 1);
	start(&managed, NULL, 0);
	ck_assert(has_line(receive_state(manager), "READY=1"));
	close(manager);
	assert_serves("own");
	ck_assert_int_eq(kill(managed.pid, SIGTERM), 0);
	ck_assert_int_eq(finish(&managed), 0);
}
END_TEST

/* ---- what it says ---- */

/* Sends a packet and waits for the end of the connection. */
static void send_rubbish(int socket, const void *bytes, size_t n)
{
	static struct packet packet;

	ck_assert_int_eq(channel_send(socket, bytes, n, NULL, 0), 0);
	do
		ck_assert_int_eq(channel_wait(socket, POLLIN, -1), 1);
	while (channel_receive(socket, &packet) > 0);
	close(socket);
}

START_TEST(test_log)
{
	struct message hello = {.type = MESSAGE_HELLO, .hello = {.version = PROTOCOL_VERSION + 1, .name = text_of("a\nname")}};
	struct message early = {.type = MESSAGE_COLLECT};
	struct managed managed;
	char bytes[256], line[256];
	int length, fd;

	start(&managed, NULL, 0);
	await_said(&managed, "serving on own: at most 1 MiB in windows of 64 KiB");
	/* All is well: it is quiet. */
	assert_serves("own");
	ck_assert_ptr_eq(strchr(said, '\n'), said + strlen(said) - 1);

	fd = address_connect("own");
	send_rubbish(fd, "rubbish", 7);
	snprintf(line, sizeof(line), "smmapd: pid %d (no name, uid %u): disconnected: it sent a packet that the protocol does not know\n",
		 (int)getpid(), (unsigned)getuid());
	await_said(&managed, line);

	fd = address_connect("own");
	length = message_encode(&early, bytes, sizeof(bytes));
	send_rubbish(fd, bytes, (size_t)length);
	await_said(&managed, "disconnected: its first packet is not a HELLO\n");

	fd = address_connect("own");
	length = message_encode(&hello, bytes, sizeof(bytes));
	send_rubbish(fd, bytes, (size_t)length);
	await_said(&managed, "refused: the server speaks version");

	ck_assert_int_eq(kill(managed.pid, SIGINT), 0);
	ck_assert_int_eq(finish(&managed), 0);
	ck_assert_msg(strstr(said, "smmapd: stopped by SIGINT\n"), "%s", said);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("service");

	HARNESS_CASE(suite, "service", test_activation, test_wrong_sockets, test_notifications, test_no_watchdog, test_log);
	return harness_run(suite);
}
