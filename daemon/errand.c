/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/errand.h"

#include "daemon/account.h"
#include "proto/hash.h"
#include "proto/util.h"

#include <assert.h>
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

/* What a runner can do besides errands. */
enum { CALL_MULTIPLY = ERRAND_IDENTIFY + 1, CALL_RETIRE };

struct call {
	uint64_t id; /* the errand's; 0 for those of the runners themselves */
	uint32_t kind;
	int32_t fd;
};

struct reply {
	uint64_t id;
	uint32_t kind;
	int64_t value;
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
static void follow_server(const struct errands *errands)
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
	if (getppid() != errands->server)
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
	int64_t type = fstatfs(fd, &fs) < 0 ? -errno : (int64_t)(uint32_t)fs.f_type;

	close_soon(fd);
	return type;
}

static int start_runner(struct errands *errands);

static int64_t perform(struct errands *errands, const struct call *call)
{
	switch (call->kind) {
	case ERRAND_CLOSE:
		return close_soon(call->fd);
	case ERRAND_IDENTIFY:
		return identify(call->fd);
	case CALL_MULTIPLY:
		return start_runner(errands);
	case CALL_RETIRE:
		return getpid();
	default:
		return -EINVAL;
	}
}

static bool serve_call(struct errands *errands, struct call *call)
{
	struct reply reply;
	ssize_t n;

	do
		n = recv(errands->theirs, call, sizeof(*call), 0);
	while (n < 0 && errno == EINTR);
	if (n != sizeof(*call))
		return false;
	reply = (struct reply){.id = call->id, .kind = call->kind, .value = perform(errands, call)};
	do
		n = send(errands->theirs, &reply, sizeof(reply), MSG_NOSIGNAL);
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
static int start_runner(struct errands *errands)
{
	int parent = getpid() == errands->server ? 0 : CLONE_PARENT, pid;
	char *stack;

	stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (stack == MAP_FAILED)
		return -errno;
	pid = clone(run, stack + STACK_BYTES, CLONE_FILES | parent | SIGCHLD, errands);
	if (pid < 0)
		pid = -errno;
	/* The new process has a copy of it. */
	munmap(stack, STACK_BYTES);
	return pid;
}

/* ---- the server: its runners ---- */

int errands_start(struct errands *errands)
{
	int ends[2];

	*errands = (struct errands){.socket = -1, .theirs = -1, .server = getpid()};
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	errands->socket = ends[0];
	errands->theirs = ends[1];
	for (int i = 0; i < FIRST_RUNNERS; i++) {
		int pid = start_runner(errands);

		if (pid < 0) {
			errands_stop(errands);
			return pid;
		}
		errands->runners[errands->n_runners++] = pid;
	}
	return 0;
}

void errands_stop(struct errands *errands)
{
	close_fdp(&errands->socket);
	close_fdp(&errands->theirs);
}

bool errands_are_well(const struct errands *errands)
{
	for (uint64_t i = 0; i < errands->n_runners; i++) {
		siginfo_t end = {0};

		if (waitid(P_PID, (id_t)errands->runners[i], &end, WEXITED | WNOHANG | WNOWAIT) < 0)
			return false;
		/* One that has retired ends by itself, and its word may not have been read yet. */
		if (end.si_pid && (end.si_code != CLD_EXITED || end.si_status))
			return false;
	}
	return true;
}

static void forget_runner(struct errands *errands, pid_t pid)
{
	uint64_t i = 0;

	while (errands->runners[i] != pid)
		i++;
	errands->runners[i] = errands->runners[--errands->n_runners];
	/* It has said its last. */
	waitpid(pid, NULL, 0);
}

/* There is room for this: at most as many calls and replies are on their way as there are runners. */
static bool send_call(const struct errands *errands, const struct call *call)
{
	return send(errands->socket, call, sizeof(*call), MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof(*call);
}

static uint64_t count_idle(const struct errands *errands)
{
	return errands->n_runners - errands->n_running - errands->changing;
}

/* Has a runner start another one, or end itself. */
static void change(struct errands *errands, uint32_t kind)
{
	if (!errands->changing)
		errands->changing = send_call(errands, &(struct call){.kind = kind, .fd = -1});
}

/* ---- the server: its errands ---- */

/* A user for whom one could be run, whose turn it is; NULL if there is none. */
static struct account *next_account(const struct errands *errands)
{
	struct account *account;

	DL_FOREACH2(errands->accounts, account, next_errands)
		if (account->n_errands_running < ERRANDS_AT_ONCE)
			break;
	return account;
}

/* The first errand of a user waits no more. */
static struct errand *take_first(struct errands *errands, struct account *account)
{
	struct errand *errand = account->errands;

	DL_DELETE(account->errands, errand);
	DL_DELETE2(errands->accounts, account, prev_errands, next_errands);
	if (account->errands)
		DL_APPEND2(errands->accounts, account, prev_errands, next_errands);
	return errand;
}

static bool start_errand(struct errands *errands, struct account *account)
{
	struct errand *errand = account->errands;

	if (count_idle(errands) < 2)
		return false;
	if (!send_call(errands, &(struct call){.id = errand->id, .kind = errand->kind, .fd = errand->fd}))
		return false;
	take_first(errands, account);
	DL_APPEND(errands->running, errand);
	errands->n_running++;
	account->n_errands_running++;
	return true;
}

void errands_run(struct errands *errands)
{
	struct account *account;

	while ((account = next_account(errands)) && start_errand(errands, account))
		;
	if (account && errands->n_runners < ERRAND_MOST_RUNNERS)
		change(errands, CALL_MULTIPLY);
}

void errand_run(struct errands *errands, struct errand *errand, enum errand_kind kind, struct account *account, int fd,
		errand_done_fn *done)
{
	*errand = (struct errand){.kind = kind, .id = ++errands->last_id, .fd = fd, .account = account, .done = done};
	account_ref(account);
	account->n_errands++;
	errands->n++;
	if (!account->errands)
		DL_APPEND2(errands->accounts, account, prev_errands, next_errands);
	DL_APPEND(account->errands, errand);
	errands_run(errands);
}

void errand_close_stray(struct errands *errands, struct account *account, int fd)
{
	struct errand *errand = malloc(sizeof(*errand));

	if (!errand) {
		close_fd(fd);
		return;
	}
	account->n_strays++;
	errands->n_strays++;
	errand_run(errands, errand, ERRAND_CLOSE, account, fd, NULL);
}

static void end_errand(struct errands *errands, struct registry *registry, struct errand *errand, int64_t result)
{
	struct account *account = errand->account;

	account->n_errands--;
	errands->n--;
	if (errand->done) {
		errand->done(registry, errand, result);
	} else {
		account->n_strays--;
		errands->n_strays--;
		free(errand);
	}
	account_unref(registry, account);
}

/* What a runner says of the runners. */
static void take_news(struct errands *errands, const struct reply *reply)
{
	errands->changing = false;
	if (reply->kind == CALL_RETIRE) {
		forget_runner(errands, (pid_t)reply->value);
	} else if (reply->value > 0) {
		errands->runners[errands->n_runners++] = (pid_t)reply->value;
		errands_run(errands);
	}
}

static struct errand *take_running(struct errands *errands, struct errand *errand)
{
	DL_DELETE(errands->running, errand);
	errands->n_running--;
	errand->account->n_errands_running--;
	return errand;
}

static void end_running(struct errands *errands, struct registry *registry, const struct reply *reply)
{
	struct errand *errand;

	DL_SEARCH_SCALAR(errands->running, errand, id, reply->id);
	assert(errand);
	end_errand(errands, registry, take_running(errands, errand), reply->value);
	errands_run(errands);
	if (count_idle(errands) > IDLE_RUNNERS)
		change(errands, CALL_RETIRE);
}

void errands_end_done(struct errands *errands, struct registry *registry)
{
	struct reply reply;

	while (recv(errands->socket, &reply, sizeof(reply), MSG_DONTWAIT) == sizeof(reply)) {
		if (reply.id)
			end_running(errands, registry, &reply);
		else
			take_news(errands, &reply);
	}
}

void errands_give_up(struct errands *errands, struct registry *registry)
{
	while (errands->running)
		end_errand(errands, registry, take_running(errands, errands->running), -ECANCELED);
	while (errands->accounts)
		end_errand(errands, registry, take_first(errands, errands->accounts), -ECANCELED);
}
