/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/runner.h"

#include "proto/util.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/vfs.h>
#include <sys/wait.h>

/* One that stays idle, and one that runs errands. */
#define FIRST_RUNNERS 2

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

/* A runner stands on one of them, and starts another on the other one, which is a copy of it: so none has more memory than the first. */
static struct {
	_Alignas(16) char bytes[STACK_BYTES];
} stacks[2];

static bool on_second_stack; /* is who is started next */

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

/* A socket may linger for as long as its sender has set, until a signal comes. */
static int64_t close_soon(int fd)
{
	const struct itimerval soon = {.it_value = {.tv_usec = LINGER_US}, .it_interval = {.tv_usec = LINGER_US}}, never = {0};

	setitimer(ITIMER_REAL, &soon, NULL);
	close(fd);
	setitimer(ITIMER_REAL, &never, NULL);
	return 0;
}

/*
 * The server is gone. Runners that hang keep its table, and with it its sockets: its clients, and the next server, must not wait for that.
 * A socket that listens, or that was there before, is others' too, and only closed. What may take time, or hang, comes last. All of this
 * may be done in a handler.
 */
static void bury(int signal)
{
	int most = most_descriptors(), listens;

	(void)signal;
	for (int fd = 0; fd < 3; fd++)
		close(fd);
	for (int fd = 3; fd < most; fd++)
		if (is_socket(fd, &listens) && !listens && fcntl(fd, F_GETFD) == FD_CLOEXEC)
			shutdown(fd, SHUT_RDWR);
	for (int fd = 3; fd < most; fd++)
		if (is_socket(fd, &listens) && listens)
			close_soon(fd);
	for (int fd = 3; fd < most; fd++)
		if (is_socket(fd, &listens))
			close_soon(fd);
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
		_exit(0);
	default:
		return -EINVAL;
	}
}

static bool serve_call(struct runners *runners)
{
	struct runner_reply reply;
	struct call call;
	ssize_t n;

	do
		n = recv(runners->theirs, &call, sizeof(call), 0);
	while (n < 0 && errno == EINTR);
	if (n != sizeof(call))
		return false;
	reply = (struct runner_reply){.id = call.id, .kind = call.kind, .value = perform(runners, &call)};
	do
		n = send(runners->theirs, &reply, sizeof(reply), MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n == sizeof(reply);
}

static int run(void *data)
{
	on_second_stack = !on_second_stack;
	follow_server(data);
	while (serve_call(data))
		;
	/* The server is about to end, and what it does not close is ours then. */
	while (pause() < 0)
		;
	return 0;
}

/* Starts one, as a child of the server, whoever calls it. Its pid, or -errno. */
static int start_runner(struct runners *runners)
{
	int parent = getpid() == runners->server ? 0 : CLONE_PARENT, pid;

	pid = clone(run, stacks[on_second_stack].bytes + STACK_BYTES, CLONE_FILES | parent | SIGCHLD, runners);
	return pid < 0 ? -errno : pid;
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

/* There is room for this: at most as many calls and replies are on their way as there are runners. */
static bool send_call(const struct runners *runners, const struct call *call)
{
	return send(runners->socket, call, sizeof(*call), MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof(*call);
}

static uint64_t count_idle(const struct runners *runners)
{
	return runners->n - runners->n_busy - runners->n_retiring - runners->starting;
}

static void start_another(struct runners *runners)
{
	if (!runners->starting && !runners->error && runners->n < RUNNERS_MOST)
		runners->starting = send_call(runners, &(struct call){.kind = CALL_MULTIPLY, .fd = -1});
}

bool runners_call(struct runners *runners, enum runner_call kind, uint64_t id, int fd)
{
	if (count_idle(runners) < 2) {
		start_another(runners);
		return false;
	}
	if (!send_call(runners, &(struct call){.id = id, .kind = kind, .fd = fd}))
		return false;
	runners->n_busy++;
	return true;
}

/* What came of starting another: its pid, or -errno. */
static void welcome(struct runners *runners, int64_t pid)
{
	runners->starting = false;
	if (pid > 0)
		runners->pids[runners->n++] = (pid_t)pid;
	else
		runners->error = (int)pid;
}

bool runners_hear(struct runners *runners, struct runner_reply *reply)
{
	while (recv(runners->socket, reply, sizeof(*reply), MSG_DONTWAIT) == sizeof(*reply)) {
		if (reply->kind != CALL_MULTIPLY) {
			runners->n_busy--;
			return true;
		}
		welcome(runners, reply->value);
	}
	return false;
}

/* Forgets those that have ended, as they were told to. False if another one has. */
static bool forget_retired(struct runners *runners)
{
	for (uint64_t i = runners->n; i-- > 0;) {
		int status;
		pid_t pid = waitpid(runners->pids[i], &status, WNOHANG);

		if (!pid)
			continue;
		if (pid < 0 || status || !runners->n_retiring)
			return false;
		runners->n_retiring--;
		runners->pids[i] = runners->pids[--runners->n];
	}
	return true;
}

bool runners_look_around(struct runners *runners)
{
	if (!forget_retired(runners))
		return false;
	while (count_idle(runners) > RUNNERS_KEPT && send_call(runners, &(struct call){.kind = CALL_RETIRE, .fd = -1}))
		runners->n_retiring++;
	runners->error = 0;
	return true;
}
