/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Each frame is a connection of its own, so that it makes no difference whether the server is still the same. While there is
 * none, it is waited for.
 *
 * On a terminal all signals that would end or stop the process, or say that the size has changed, are read from a descriptor,
 * between two frames: the terminal is left as it was before anything else happens.
 */
#include "config.h"

#include "daemon/watch.h"

#include "client/connection.h"
#include "client/smmap-client.h"
#include "daemon/command.h"
#include "daemon/screen.h"
#include "proto/util.h"

#include <langinfo.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>

/* How long to wait for a server that does not answer: no key and no signal is looked at meanwhile. */
#define DEADLINE_MS 1000

struct watch {
	char socket[PATH_MAX];
	const struct view *view;
	uint64_t period_ms;
	struct screen screen;
	int signals; /* descriptor; -1 if it is no terminal */
	sigset_t mask; /* as it was */
	struct figures now, before;
	int error; /* why there are no figures now */
};

struct look look_now(FILE *out)
{
	const char *no_colour = getenv("NO_COLOR");

	return (struct look){
		.out = out,
		.width = screen_width(),
		.utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0,
		.colour = !(no_colour && *no_colour) && screen_has_colours(),
	};
}

/* ---- frames ---- */

static void fetch(struct watch *watch)
{
	struct smmap_client_options options = {
		.socket = watch->socket,
		.name = "smmapd",
		.deadline_ms = DEADLINE_MS,
		.flags = SMMAP_NO_THREAD,
	};
	struct smmap_client *client = NULL;

	figures_deinit(&watch->before);
	watch->before = watch->now;
	watch->now = (struct figures){0};
	watch->error = smmap_client_open(&client, &options);
	if (!watch->error)
		watch->error = figures_fetch(&watch->now, client, view_sections(watch->view));
	smmap_client_close(client);
}

static int print_frame(struct watch *watch, const struct look *look)
{
	if (watch->error) {
		status_print_absence(watch->socket, command_strerror(watch->error), look);
		return 0;
	}
	return status_print_view(&watch->now, watch->before.taken_ns ? &watch->before : NULL, watch->view, look);
}

/* Shows what was fetched last. 0 or -errno. */
static int show(struct watch *watch)
{
	_cleanup_(freep) char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);
	struct look look;
	int r;

	if (!out)
		return -ENOMEM;
	look = look_now(out);
	r = print_frame(watch, &look);
	if (fclose(out) != 0 && !r)
		r = -ENOMEM;
	if (r < 0)
		return r;
	if (watch->screen.entered)
		screen_paint(text);
	else
		printf("%s\n", text);
	return fflush(stdout) == 0 ? 0 : -errno;
}

/* ---- what happens between frames ---- */

static int catch_signals(struct watch *watch)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGWINCH};
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		sigaddset(&set, numbers[i]);
	watch->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (watch->signals < 0)
		return -errno;
	sigprocmask(SIG_BLOCK, &set, &watch->mask);
	return 0;
}

static void release_signals(struct watch *watch)
{
	if (watch->signals >= 0)
		sigprocmask(SIG_SETMASK, &watch->mask, NULL);
	close_fdp(&watch->signals);
}

/* Leaves the terminal as it was, and lets a signal do what it does. */
static int yield_to(struct watch *watch, int number)
{
	sigset_t blocked;

	screen_leave(&watch->screen);
	sigprocmask(SIG_SETMASK, &watch->mask, &blocked);
	raise(number);
	/* It was only stopped, or ignores the signal. */
	sigprocmask(SIG_SETMASK, &blocked, NULL);
	return screen_enter(&watch->screen);
}

/* Whether a key was pressed that ends it; also if the terminal is gone. */
static bool is_quit(int events)
{
	char key;

	while (events & POLLIN && read(STDIN_FILENO, &key, 1) == 1)
		if (key == 'q' || key == 'Q')
			return true;
	return events & (POLLHUP | POLLERR | POLLNVAL);
}

/* Handles signals that came. 0 or -errno. */
static int take_signals(struct watch *watch)
{
	struct signalfd_siginfo info;
	int r = 0;

	while (r == 0 && read(watch->signals, &info, sizeof(info)) == sizeof(info))
		if (info.ssi_signo != SIGWINCH)
			r = yield_to(watch, (int)info.ssi_signo);
	return r < 0 ? r : show(watch);
}

/* Waits for the next frame. 0; 1 to end; -errno. */
static int wait_on(struct watch *watch)
{
	struct pollfd sources[] = {{.fd = watch->signals, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
	nfds_t n = watch->screen.entered ? 2 : 0;
	uint64_t now = clock_ms(), end = now + watch->period_ms;

	for (; now < end; now = clock_ms()) {
		int r = poll(sources, n, (int)(end - now));

		if (r < 0 && errno != EINTR)
			return -errno;
		if (r > 0 && sources[1].revents && is_quit(sources[1].revents))
			return 1;
		r = r > 0 && sources[0].revents ? take_signals(watch) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

static int run(struct watch *watch)
{
	int r;

	r = catch_signals(watch);
	if (r < 0)
		return r;
	if (screen_enter(&watch->screen) < 0)
		release_signals(watch);
	do {
		fetch(watch);
		r = show(watch);
		if (!r)
			r = wait_on(watch);
	} while (!r);
	return r;
}

int status_watch(const char *socket, const struct view *view, uint64_t seconds)
{
	struct watch watch = {.view = view, .period_ms = seconds * 1000, .signals = -1};
	int r;

	if (socket)
		snprintf(watch.socket, sizeof(watch.socket), "%s", socket);
	r = options_default_socket(watch.socket);
	if (r != EXIT_DONE)
		return r;
	/* A frame goes out at once. */
	setvbuf(stdout, NULL, _IOFBF, 65536);
	r = run(&watch);
	screen_leave(&watch.screen);
	release_signals(&watch);
	figures_deinit(&watch.now);
	figures_deinit(&watch.before);
	if (r < 0)
		complain("status: %s", strerror(-r));
	return r < 0 ? EXIT_FAILED : command_flush();
}
