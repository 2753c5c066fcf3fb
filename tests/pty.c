/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "tests/pty.h"

#include "proto/util.h"

#include <check.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <wchar.h>

/* In the child. */
static void run(int terminal, const char *command)
{
	static const int numbers[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* Whoever runs the tests, in the background or beyond a terminal's end, may have some of these ignored. */
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		signal(numbers[i], SIG_DFL);
	setsid();
	ioctl(terminal, TIOCSCTTY, 0);
	for (int fd = 0; fd < 3; fd++)
		dup2(terminal, fd);
	setenv("TERM", "xterm", 1);
	execl("/bin/sh", "sh", "-c", command, (char *)NULL);
	_exit(127);
}

void pty_resize(struct pty *pty, unsigned short columns, unsigned short lines)
{
	struct winsize size = {.ws_col = columns, .ws_row = lines};

	ck_assert_int_eq(ioctl(pty->master, TIOCSWINSZ, &size), 0);
}

void pty_start(struct pty *pty, unsigned short columns, unsigned short lines, const char *command)
{
	pty->n_said = 0;
	pty->said[0] = '\0';
	pty->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	ck_assert_int_ge(pty->master, 0);
	ck_assert_int_eq(grantpt(pty->master), 0);
	ck_assert_int_eq(unlockpt(pty->master), 0);
	pty->terminal = open(ptsname(pty->master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	ck_assert_int_ge(pty->terminal, 0);
	pty_resize(pty, columns, lines);
	ck_assert_int_eq(tcgetattr(pty->terminal, &pty->before), 0);
	pty->pid = fork();
	ck_assert_int_ge(pty->pid, 0);
	if (!pty->pid)
		run(pty->terminal, command);
}

void pty_type(struct pty *pty, const char *keys)
{
	ck_assert_int_eq(write(pty->master, keys, strlen(keys)), (ssize_t)strlen(keys));
}

/* Takes what there is, or comes within so many milliseconds. False if nothing did. */
static bool take(struct pty *pty, int milliseconds)
{
	struct pollfd source = {.fd = pty->master, .events = POLLIN};
	ssize_t n;

	if (poll(&source, 1, milliseconds) <= 0)
		return false;
	n = read(pty->master, pty->said + pty->n_said, sizeof(pty->said) - 1 - pty->n_said);
	ck_assert_msg(n > 0, "the terminal's end says no more than: %s", pty->said);
	pty->n_said += (size_t)n;
	pty->said[pty->n_said] = '\0';
	return true;
}

/* It stays there to be waited for. */
static bool has_ended(const struct pty *pty)
{
	siginfo_t info = {0};

	ck_assert_int_eq(waitid(P_PID, (id_t)pty->pid, &info, WEXITED | WNOHANG | WNOWAIT), 0);
	return info.si_pid != 0;
}

size_t pty_await(struct pty *pty, size_t from, const char *text)
{
	const char *found;

	while (!(found = strstr(pty->said + from, text))) {
		bool ended = has_ended(pty);

		/* What it said before its end is read first. */
		ck_assert_msg(take(pty, 100) || !ended, "it has ended without '%s': %s", text, pty->said);
	}
	return (size_t)(found - pty->said);
}

int pty_finish(struct pty *pty)
{
	int status;

	/* It may have to wait until something is read. */
	while (waitpid(pty->pid, &status, WNOHANG) == 0)
		take(pty, 10);
	while (take(pty, 0))
		;
	close_fdp(&pty->master);
	close_fdp(&pty->terminal);
	return status;
}

bool pty_is_as_before(const struct pty *pty)
{
	struct termios now;

	ck_assert_int_eq(tcgetattr(pty->terminal, &now), 0);
	return now.c_iflag == pty->before.c_iflag && now.c_oflag == pty->before.c_oflag && now.c_cflag == pty->before.c_cflag &&
	       now.c_lflag == pty->before.c_lflag && memcmp(now.c_cc, pty->before.c_cc, sizeof(now.c_cc)) == 0;
}

/* What follows an escape sequence, one character of which steers the terminal. */
static const char *skip_sequence(const char *at)
{
	at += strspn(at, "\x1b");
	if (*at == '(')
		return at + 2;
	if (*at != '[')
		return at + 1;
	at++;
	at += strspn(at, "0123456789;?");
	return at + 1;
}

size_t pty_widest(const struct pty *pty, size_t from, size_t until, size_t *n_lines)
{
	const char *at = pty->said + from, *end = pty->said + until;
	size_t widest = 0, width = 0;

	*n_lines = 0;
	while (at < end) {
		mbstate_t state = {0};
		wchar_t wide;
		size_t n;

		if (*at == '\x1b') {
			at = skip_sequence(at);
			continue;
		}
		if (*at == '\n') {
			++*n_lines;
			width = 0;
		}
		n = mbrtowc(&wide, at, (size_t)(end - at), &state);
		ck_assert_msg(n > 0 && n <= (size_t)(end - at), "no character of this locale in: %s", pty->said);
		width += wcwidth(wide) > 0 ? (size_t)wcwidth(wide) : 0;
		widest = (size_t)max_u64(widest, width);
		at += n;
	}
	return widest;
}
