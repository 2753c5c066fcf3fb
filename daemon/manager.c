/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/manager.h"

#include "proto/util.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <time.h>

/* Where there is no watchdog: so old may the line be that the manager shows. */
#define PERIOD_MS 10000

int manager_take_socket(int *fd, char *complaint, size_t size)
{
	int n = sd_listen_fds(true);

	if (n < 0) {
		snprintf(complaint, size, "can't take the sockets that were handed over: %s", strerror(-n));
		return n;
	}
	if (n > 1) {
		snprintf(complaint, size, "%d sockets were handed over: smmapd serves on one", n);
		return -EINVAL;
	}
	if (n)
		*fd = SD_LISTEN_FDS_START;
	return n;
}

uint64_t manager_period_ms(void)
{
	uint64_t watchdog_us;

	if (sd_watchdog_enabled(false, &watchdog_us) > 0)
		return max_u64(watchdog_us / 2000, 1);
	return getenv("NOTIFY_SOCKET") ? PERIOD_MS : 0;
}

static void tell(const char *state, const char *format, va_list arguments)
{
	char status[256];

	vsnprintf(status, sizeof(status), format, arguments);
	sd_notifyf(false, "%s\nSTATUS=%s", state, status);
}

void manager_ready(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	tell("READY=1", format, arguments);
	va_end(arguments);
}

void manager_beat(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	tell("WATCHDOG=1", format, arguments);
	va_end(arguments);
}

void manager_reloading(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	sd_notifyf(false, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
}

void manager_stopping(void)
{
	sd_notify(false, "STOPPING=1");
}
