/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Gives a fuzzer what is in files and folders, once, by any compiler: replay-NAME FILE|FOLDER... So the corpus is a test, and a reproducer of
 * scripts/fuzz can be looked at in a debugger.
 */
#include "config.h"

#include "tests/fuzz/fuzz.h"

#include "proto/util.h"

#include <fcntl.h>
#include <ftw.h>
#include <string.h>
#include <sys/stat.h>

static uint64_t n_replayed;

static int replay(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	_cleanup_(close_fdp) int fd = -1;
	_cleanup_(freep) uint8_t *bytes = NULL;
	size_t size = (size_t)st->st_size;

	(void)ftw;
	if (flag == FTW_D)
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	/* Of the very size, so that a sanitizer sees who reads behind it. */
	bytes = malloc(size);
	if (flag != FTW_F || fd < 0 || (size && !bytes) || read(fd, bytes, size) != (ssize_t)size) {
		fprintf(stderr, "%s: can't be read\n", path);
		return 1;
	}
	fprintf(stderr, "%s\n", path);
	LLVMFuzzerTestOneInput(bytes, size);
	n_replayed++;
	return 0;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (nftw(argv[i], replay, 16, FTW_PHYS) != 0) {
			fprintf(stderr, "%s: not replayed\n", argv[i]);
			return EXIT_FAILURE;
		}
	if (!n_replayed) {
		fprintf(stderr, "usage: %s FILE|FOLDER...\n", program_invocation_short_name);
		return EXIT_FAILURE;
	}
	printf("%ju inputs replayed\n", (uintmax_t)n_replayed);
	return EXIT_SUCCESS;
}
