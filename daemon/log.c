/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

/* The place in the source would always be the one that is here. */
#define SD_JOURNAL_SUPPRESS_LOCATION

#include "daemon/log.h"

#include "proto/util.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-journal.h>
#include <time.h>

/* Of one kind, in one second. */
#define MOST_IN_A_SECOND 5

#define MESSAGE_SIZE 1536

struct event_rate {
	int64_t second; /* that is counted */
	uint64_t n_said;
	uint64_t n_left_out;
};

/* One for the process, as standard error is. */
static struct {
	bool journal;
	int level;
	struct event_rate rates[LOG_N_EVENTS];
} the_log = {.level = LOG_INFO};

static const char *const event_names[LOG_N_EVENTS] = {
	[LOG_LIFE] = "life",
	[LOG_MISTAKE] = "mistake",
	[LOG_SHORTAGE] = "shortage",
	[LOG_REFUSAL] = "refusal",
	[LOG_DISCONNECT] = "disconnect",
	[LOG_TROUBLE] = "trouble",
};

/* The journal is named by device and inode: where standard error was sent elsewhere since, it is another file. */
void log_start(const char *journal)
{
	char own[64];
	struct stat st;

	if (!journal || fstat(STDERR_FILENO, &st) < 0)
		return;
	snprintf(own, sizeof(own), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	the_log.journal = strcmp(journal, own) == 0;
}

void log_set_level(int level)
{
	the_log.level = level;
}

/* What clients call themselves can't steer a terminal, nor begin another line. */
static void escape(const char *text, char *escaped, size_t size)
{
	size_t length = 0;

	for (; *text && length + 5 < size; text++) {
		unsigned char byte = (unsigned char)*text;

		length += (size_t)sprintf(escaped + length, byte >= 0x20 && byte < 0x7f ? "%c" : "\\x%02x", byte);
	}
	escaped[length] = '\0';
}

/* ---- where it goes ---- */

static int send_to_journal(int level, enum log_event event, const struct log_client *client, const char *message)
{
	char name[256];

	if (!client)
		return sd_journal_send("MESSAGE=%s", message, "PRIORITY=%d", level, "SYSLOG_IDENTIFIER=smmapd", "SMMAPD_EVENT=%s",
				       event_names[event], NULL);
	escape(client->name, name, sizeof(name));
	return sd_journal_send("MESSAGE=%s", message, "PRIORITY=%d", level, "SYSLOG_IDENTIFIER=smmapd", "SMMAPD_EVENT=%s",
			       event_names[event], "SMMAPD_CLIENT_PID=%jd", (intmax_t)client->pid, "SMMAPD_CLIENT_UID=%ju",
			       (uintmax_t)client->uid, "SMMAPD_CLIENT_NAME=%s", name, NULL);
}

static void say(int level, enum log_event event, const struct log_client *client, const char *message)
{
	char line[MESSAGE_SIZE + 128], escaped[sizeof(line)];

	if (client)
		snprintf(line, sizeof(line), "pid %jd (%s, uid %ju): %s", (intmax_t)client->pid, *client->name ? client->name : "no name",
			 (uintmax_t)client->uid, message);
	else
		snprintf(line, sizeof(line), "%s", message);
	escape(line, escaped, sizeof(escaped));
	/* Where the journal does not take it, standard error leads there too. */
	if (!the_log.journal || send_to_journal(level, event, client, escaped) < 0)
		fprintf(stderr, "smmapd: %s\n", escaped);
}

/* ---- how often ---- */

static int64_t this_second(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return now.tv_sec;
}

/* Begins to count anew in a new second, after saying what was left out of the last. */
static void settle(enum log_event event, int64_t second)
{
	struct event_rate *rate = &the_log.rates[event];
	char message[128];

	if (rate->second == second)
		return;
	if (rate->n_left_out) {
		snprintf(message, sizeof(message), "%" PRIu64 " more messages of this kind (%s) were left out", rate->n_left_out,
			 event_names[event]);
		say(LOG_NOTICE, event, NULL, message);
	}
	*rate = (struct event_rate){.second = second};
}

void log_settle(void)
{
	int64_t second = this_second();

	for (unsigned event = 0; event < LOG_N_EVENTS; event++)
		settle(event, second);
}

void log_event(int level, enum log_event event, const struct log_client *client, const char *format, ...)
{
	struct event_rate *rate = &the_log.rates[event];
	char message[MESSAGE_SIZE];
	va_list arguments;

	if (level > the_log.level)
		return;
	settle(event, this_second());
	/* What the administrator does is told in full. */
	if (event != LOG_LIFE && rate->n_said == MOST_IN_A_SECOND) {
		rate->n_left_out++;
		return;
	}
	rate->n_said++;
	va_start(arguments, format);
	vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	say(level, event, client, message);
}
