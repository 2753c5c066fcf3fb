/* SPDX-License-Identifier: BSD-3-Clause */
/* The one who changes files: he truncates them, lets them grow, replaces and deletes them, whoever reads them. */
#include "config.h"

#include "tests/soak.h"

#include "proto/util.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void append(unsigned file, const char *path, uint64_t until)
{
	_cleanup_(close_fdp) int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || (uint64_t)st.st_size >= until)
		return;
	/* What was cut off in the middle of a page is zero there, for a moment. */
	if (pwrite(fd, soak_bytes(file, (uint64_t)st.st_size), until - (uint64_t)st.st_size, st.st_size) < 0)
		soak_lose(SOAK_ITSELF, "can't write: %s", strerror(errno));
}

int soak_change_files(unsigned place)
{
	char new[SOAK_PATH + 8];

	soak_begin_random(place);
	while (soak_goes_on()) {
		unsigned file = SOAK_STEADY + (unsigned)soak_random(SOAK_CHANGING);
		const char *path = soak_path(file);

		switch (soak_random(8)) {
		case 0:
			snprintf(new, sizeof(new), "%s.new", path);
			append(file, new, SOAK_SIZE);
			if (rename(new, path) == 0)
				soak_count(SOAK_FILE_REPLACED);
			break;
		case 1:
			if (unlink(path) == 0)
				soak_count(SOAK_FILE_DELETED);
			break;
		case 2:
		case 3:
			if (truncate(path, (off_t)soak_random(soak_random(2) ? SOAK_SIZE : 2048)) == 0)
				soak_count(SOAK_FILE_TRUNCATED);
			break;
		default:
			append(file, path, 1 + soak_random(SOAK_SIZE));
			soak_count(SOAK_FILE_GROWN);
		}
		soak_sleep_ms(soak_random(20));
		soak_rest(place);
	}
	return 0;
}
