/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/runner.h"

#include "proto/util.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/vfs.h>
#include <sys/wait.h>

/* One that stays idle, and one that runs errands. */
#define FIRST_RUNNERS 2

/* So many more are kept for the next time. */
#define IDLE_RUNNERS 4

#define STACK_BYTES (64 * 1024)

#define LINGER_US 10000

/* What they are called for about themselves. */
enum { CALL_MULTIPLY = N_RUNNER_CALLS, CALL_RETIRE };

struct call {
	uint64_t id;
	uint32_t kind;
	int32_t fd;
};

/* ---- a runner: in its own process ---- */

/* No descriptor is higher than that which a server uses. */
static int most_descriptors(void)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_NOFILE, &limit) < 0 ? 1024 : (int)min_u64(limit.rlim_cur, 1 << 20);
}

static bool is_socket(int fd, int *listens)
{
	socklen_t length = sizeof(*listens);

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, listens, &length) == 0;
}

/*
 * The server is gone. Runners that hang keep its table, and with it its sockets: its clients, and the next server, must not wait for that.
 * A socket that listens, or that was there before, is others' too, and only closed. All of this may be done in a handler.
 */
static void bury(int signal)
{
	int most = most_descriptors(), listens;

	(void)signal;
	for (int fd = 3; fd < most; fd++) {
		if (!is_socket(fd, &listens))
			continue;
		if (listens)
			close(fd);
		else if (fcntl(fd, F_GETFD) == FD_CLOEXEC)
			shutdown(fd, SHUT_RDWR);
	}
	for (int fd = 3; fd < most; fd++)
		if (is_socket(fd, &listens))
			close(fd);
	for (int fd = 0; fd < 3; fd++)
		close(fd);
	_exit(0);
}

static void do_nothing(int signal)
{
	(void)signal;
}

/* Signals that are for the server, as a terminal or a service manager sends them to all, are not for its runners. */
static void follow_server(const struct runners *runners)
{
	const struct sigaction end = {.sa_handler = bury}, wake = {.sa_handler = do_nothing};
	sigset_t others;

	sigaction(SIGUSR1, &end, NULL);
	sigaction(SIGALRM, &wake, NULL);
	sigfillset(&others);
	sigdelset(&others, SIGUSR1);
	sigdelset(&others, SIGALRM);
	sigprocmask(SIG_SETMASK, &others, NULL);
	prctl(PR_SET_NAME, "smmapd-runner");
	prctl(PR_SET_PDEATHSIG, SIGUSR1);
	if (getppid() != runners->server)
		bury(SIGUSR1);
}

/* A socket may linger for as long as its sender has set, until a signal comes. */
static int64_t close_soon(int fd)
{
	const struct itimerval soon = {.it_value = {.tv_usec = LINGER_US}, .it_interval = {.tv_usec = LINGER_US}}, never = {0};

	setitimer(ITIMER_REAL, &soon, NULL);
	close(fd);
	setitimer(ITIMER_REAL, &never, NULL);
	return 0;
}

static int64_t identify(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) < 0 ? -errno : (int64_t)(uint32_t)fs.f_type;
}

static int start_runner(struct runners *runners);

static int64_t perform(struct runners *runners, const struct call *call)
{
	switch (call->kind) {
	case RUNNER_CLOSE:
		return close_soon(call->fd);
	case RUNNER_IDENTIFY:
		return identify(call->fd);
	case CALL_MULTIPLY:
		return start_runner(runners);
	case CALL_RETIRE:
		return getpid();
	default:
		return -EINVAL;
	}
}

static bool serve_call(struct runners *runners, struct call *call)
{
	struct runner_reply reply;
	ssize_t n;

	do
		n = recv(runners->theirs, call, sizeof(*call), 0);
	while (n < 0 && errno == EINTR);
	if (n != sizeof(*call))
		return false;
	reply = (struct runner_reply){.id = call->id, .kind = call->kind, .value = perform(runners, call)};
	do
		n = send(runners->theirs, &reply, sizeof(reply), MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n == sizeof(reply);
}

static int run(void *data)
{
	struct call call = {0};

	follow_server(data);
	while (serve_call(data, &call))
		if (call.kind == CALL_RETIRE)
			_exit(0);
	/* The server is about to end, and what it does not close is ours then. */
	for (;;)
		pause();
}

/* Starts one, as a child of the server, whoever calls it. Its pid, or -errno. */
static int start_runner(struct runners *runners)
{
	int parent = getpid() == runners->server ? 0 : CLONE_PARENT, pid;
	char *stack;

	stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (stack == MAP_FAILED)
		return -errno;
	pid = clone(run, stack + STACK_BYTES, CLONE_FILES | parent | SIGCHLD, runners);
	if (pid < 0)
		pid = -errno;
	/* The new process has a copy of it. */
	munmap(stack, STACK_BYTES);
	return pid;
}

/* ---- the server ---- */

int runners_start(struct runners *runners)
{
	int ends[2];

	*runners = (struct runners){.socket = -1, .theirs = -1, .server = getpid()};
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	runners->socket = ends[0];
	runners->theirs = ends[1];
	for (int i = 0; i < FIRST_RUNNERS; i++) {
		int pid = start_runner(runners);

		if (pid < 0) {
			runners_stop(runners);
			return pid;
		}
		runners->pids[runners->n++] = pid;
	}
	return 0;
}

void runners_stop(struct runners *runners)
{
	close_fdp(&runners->socket);
	close_fdp(&runners->theirs);
}

bool runners_are_well(const struct runners *runners)
{
	for (uint64_t i = 0; i < runners->n; i++) {
		siginfo_t end = {0};

		if (waitid(P_PID, (id_t)runners->pids[i], &end, WEXITED | WNOHANG | WNOWAIT) < 0)
			return false;
		/* One that has retired ends by itself, and its word may not have been read yet. */
		if (end.si_pid && (end.si_code != CLD_EXITED || end.si_status))
			return false;
	}
	return true;
}

static void forget_runner(struct runners *runners, pid_t pid)
{
	uint64_t i = 0;

	while (runners->pids[i] != pid)
		i++;
	runners->pids[i] = runners->pids[--runners->n];
	/* It has said its last. */
	waitpid(pid, NULL, 0);
}

/* There is room for this: at most as many calls and replies are on their way as there are runners. */
static bool send_call(const struct runners *runners, const struct call *call)
{
	return send(runners->socket, call, sizeof(*call), MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof(*call);
}

static uint64_t count_idle(const struct runners *runners)
{
	return runners->n - runners->n_busy - runners->changing;
}

/* Has a runner start another one, or end itself. */
static void change(struct runners *runners, uint32_t kind)
{
	if (!runners->changing)
		runners->changing = send_call(runners, &(struct call){.kind = kind, .fd = -1});
}

bool runners_call(struct runners *runners, enum runner_call kind, uint64_t id, int fd)
{
	if (count_idle(runners) < 2) {
		if (runners->n < RUNNERS_MOST)
			change(runners, CALL_MULTIPLY);
		return false;
	}
	if (!send_call(runners, &(struct call){.id = id, .kind = kind, .fd = fd}))
		return false;
	runners->n_busy++;
	return true;
}

/* What one says of the others, and of itself. */
static void take_news(struct runners *runners, const struct runner_reply *reply)
{
	runners->changing = false;
	if (reply->kind == CALL_RETIRE)
		forget_runner(runners, (pid_t)reply->value);
	else if (reply->value > 0)
		runners->pids[runners->n++] = (pid_t)reply->value;
}

bool runners_hear(struct runners *runners, struct runner_reply *reply)
{
	while (recv(runners->socket, reply, sizeof(*reply), MSG_DONTWAIT) == sizeof(*reply)) {
		if (reply->kind == CALL_MULTIPLY || reply->kind == CALL_RETIRE) {
			take_news(runners, reply);
			continue;
		}
		runners->n_busy--;
		if (count_idle(runners) > IDLE_RUNNERS)
			change(runners, CALL_RETIRE);
		return true;
	}
	return false;
}
