/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/limits.h"

#include "daemon/size.h"
#include "proto/channel.h"
#include "proto/util.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

/* Descriptors that are neither a file's nor a client's: the loop, the socket, the pulse, standard streams, those just received. */
#define RESERVED_DESCRIPTORS 20
/* Descriptors that a client needs: its socket, the bell, and the board while it is handed over or a file that waits to be opened. */
#define CLIENT_DESCRIPTORS 3
/* A part of the rest for strays, with as many as one packet can bring where there are that many; and the most of that. */
#define STRAYS_PART 8
#define MOST_STRAYS 2048
/* The part of them that is for all users by their quotas. The rest is for the packets that pass these: who has one is not read any more. */
#define STRAYS_BY_QUOTA 4
/* Of what many users have in common, one may have so small a part in any case. */
#define SMALL_PART 64
/* Maps that are neither regions nor boards: the program, its libraries, heap and stacks. */
#define RESERVED_MAPS 512
/* How much sooner than the kernel the write guard gives way. */
#define WRITE_GUARD_MARGIN_MS 500
/* More connections than that are of no use, whatever the kernel allows. */
#define MOST_CLIENTS 4096

static uint64_t percent_of(uint64_t whole, uint64_t percent)
{
	return whole / 100 * percent + whole % 100 * percent / 100;
}

void limits_default(struct limits *limits)
{
	uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * page_size();

	*limits = (struct limits){
		.memory = percent_of(memory, LIMITS_DEFAULT_MEMORY_PERCENT),
		.handles = LIMITS_DEFAULT_HANDLES,
		.maps = LIMITS_DEFAULT_MAPS,
		.window = LIMITS_DEFAULT_WINDOW,
		.user_percent = LIMITS_DEFAULT_USER_PERCENT,
		.recall_timeout_ms = LIMITS_DEFAULT_RECALL_MS,
		.idle_timeout_ms = LIMITS_DEFAULT_IDLE_MS,
		.write_guard_timeout_ms = LIMITS_DEFAULT_WRITE_GUARD_MS,
	};
}

/* The highest number of descriptors that this process may have open. */
static uint64_t raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 1024;
	if (limit.rlim_cur < limit.rlim_max) {
		struct rlimit raised = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};

		if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
			limit = raised;
	}
	return limit.rlim_cur;
}

/*
 * A number of the kernel's; its default where it can't be read. The kernel tells it to the first read(2) alone, which has to be for all of it:
 * without memory for a buffer stdio(3) would get one digit.
 */
static uint64_t kernel_number(const char *path, uint64_t otherwise)
{
	_cleanup_(close_fdp) int fd = open(path, O_RDONLY | O_CLOEXEC);
	char text[32];
	ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	uint64_t value;

	if (length < 0)
		return otherwise;
	text[length] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return number_parse(text, &value) < 0 ? otherwise : value;
}

/* Lowers *@limit to @most, in @unit, and says so. */
static int lower(uint64_t *limit, uint64_t most, const char *unit, const char *name, const char *why, char *complaint, size_t size)
{
	size_t length = strlen(complaint);

	if (*limit <= most)
		return 0;
	snprintf(complaint + length, size - length, "%s%s lowered from %" PRIu64 "%s to %" PRIu64 "%s: %s", length ? "; " : "",
		 name, *limit, unit, most, unit, why);
	*limit = most;
	return 1;
}

/* The most that the timeout of the write guard may be, so that it is over before the kernel loses patience, which it may never do. */
static uint64_t most_write_guard_ms(void)
{
	uint64_t kernel_s = kernel_number("/proc/sys/fs/lease-break-time", 45), kernel_ms;

	if (!kernel_s || __builtin_mul_overflow(kernel_s, UINT64_C(1000), &kernel_ms))
		return UINT64_MAX;
	return kernel_ms - WRITE_GUARD_MARGIN_MS;
}

int limits_fit(struct limits *limits, char *complaint, size_t size)
{
	uint64_t descriptors = raise_descriptors();
	uint64_t map_count = kernel_number("/proc/sys/vm/max_map_count", 65530);
	uint64_t descriptors_of_file = limits->write_guard ? 2 : 1;
	int lowered = 0;

	complaint[0] = '\0';
	if (descriptors < RESERVED_DESCRIPTORS + 2 * CLIENT_DESCRIPTORS)
		return -EMFILE;
	limits->in_flight = descriptors;
	descriptors -= RESERVED_DESCRIPTORS;
	limits->strays = descriptors / STRAYS_PART;
	if (descriptors >= 3 * PACKET_ROOM)
		limits->strays += PACKET_ROOM;
	limits->strays = min_u64(limits->strays, MOST_STRAYS);
	descriptors -= limits->strays;

	/* Half of the descriptors at most are for files, and those that guard them; the rest for clients. */
	lowered += lower(&limits->handles, descriptors / 2 / descriptors_of_file, "", "max-handles",
			 "the limit on open files (RLIMIT_NOFILE) allows no more", complaint, size);
	limits->clients = min_u64((descriptors - limits->handles * descriptors_of_file) / CLIENT_DESCRIPTORS, MOST_CLIENTS);

	/* A region is a map of its own at worst, and so is a client's board. */
	if (map_count < 2 * RESERVED_MAPS)
		return -ENOMEM;
	limits->clients = min_u64(limits->clients, map_count / 4);
	lowered += lower(&limits->maps, map_count - RESERVED_MAPS - limits->clients, "", "max-maps", "vm.max_map_count allows no more",
			 complaint, size);
	if (limits->write_guard)
		lowered += lower(&limits->write_guard_timeout_ms, most_write_guard_ms(), "ms", "write-guard-timeout",
				 "it has to be over before fs.lease-break-time", complaint, size);
	limits_set_quota(limits);
	return lowered;
}

bool limits_are_reached(uint64_t own, uint64_t quota, uint64_t all, uint64_t limit)
{
	return own >= quota || all >= limit || (all >= limit / 2 && own > limit / SMALL_PART);
}

void limits_set_quota(struct limits *limits)
{
	uint64_t percent = limits->user_percent;
	uint64_t clients = max_u64(percent_of(limits->clients, percent), 1);
	uint64_t strays = max_u64(percent_of(limits->strays / STRAYS_BY_QUOTA, percent), 1);

	limits->quota = (struct quota){
		.memory = max_u64(percent_of(limits->memory, percent), limits->window),
		.maps = max_u64(percent_of(limits->maps, percent), 1),
		.handles = max_u64(percent_of(limits->handles, percent), 1),
		.leases = max_u64(LIMITS_USER_LEASES, percent_of(limits->maps, percent)),
		.files = LIMITS_USER_FILES,
		.clients = clients,
		.requests = min_u64(clients, LIMITS_USER_REQUESTS),
		.opens = max_u64(strays / 2, 1),
		.strays = strays,
		.in_flight = max_u64(percent_of(limits->in_flight / 2, percent), 1),
	};
}
