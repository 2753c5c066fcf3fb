/* SPDX-License-Identifier: BSD-3-Clause */
/* What is seen from outside: what the kernel says that processes have mapped, and what a server has when it is at rest. */
#include "config.h"

#include "tests/soak.h"

#include "proto/util.h"

#include <dirent.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

/* ---- maps ---- */

struct piece {
	uint64_t device, inode, begin, end; /* of the file, in bytes */
};

static struct piece *pieces;
static size_t n_pieces, size_pieces;

static void note(const struct piece *piece)
{
	if (n_pieces == size_pieces) {
		size_pieces = size_pieces ? 2 * size_pieces : 1024;
		pieces = reallocarray(pieces, size_pieces, sizeof(*pieces));
		if (!pieces)
			abort();
	}
	pieces[n_pieces++] = *piece;
}

static void note_maps(pid_t pid)
{
	char path[64], line[PATH_MAX + 128];
	uint64_t from, to, begin, inode, major, minor;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return;
	while (fgets(line, sizeof(line), file))
		if (strstr(line, soak->folder) &&
		    sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %" SCNx64 " %" SCNx64 ":%" SCNx64 " %" SCNu64, &from, &to, &begin, &major,
			   &minor, &inode) == 6)
			note(&(struct piece){.device = major << 32 | minor, .inode = inode, .begin = begin, .end = begin + (to - from)});
	fclose(file);
}

static int compare(const void *a, const void *b)
{
	const struct piece *one = a, *other = b;

	if (one->device != other->device)
		return one->device < other->device ? -1 : 1;
	if (one->inode != other->inode)
		return one->inode < other->inode ? -1 : 1;
	return (one->begin > other->begin) - (one->begin < other->begin);
}

uint64_t soak_mapped(const pid_t *pids, unsigned n)
{
	uint64_t bytes = 0, device = 0, inode = 0, end = 0;

	n_pieces = 0;
	for (unsigned i = 0; i < n; i++)
		note_maps(pids[i]);
	qsort(pieces, n_pieces, sizeof(*pieces), compare);
	for (size_t i = 0; i < n_pieces; i++) {
		const struct piece *piece = &pieces[i];
		uint64_t begin = piece->begin;

		if (piece->device != device || piece->inode != inode)
			end = 0;
		device = piece->device;
		inode = piece->inode;
		begin = max_u64(begin, end);
		if (piece->end > begin)
			bytes += piece->end - begin;
		end = max_u64(end, piece->end);
	}
	return bytes;
}

/* ---- a server at rest ---- */

static uint64_t count_entries(pid_t pid, const char *what)
{
	char path[64];
	uint64_t n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, what);
	dir = opendir(path);
	if (!dir)
		return 0;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 2;
}

static void look_at_memory(pid_t pid, struct soak_figures *figures)
{
	uint64_t *bytes = NULL;
	char path[64], line[PATH_MAX + 128];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	file = fopen(path, "re");
	/* Of each map, first where it is and of what, and then, among others, what of it is resident. */
	while (file && fgets(line, sizeof(line), file)) {
		uint64_t number;

		if (sscanf(line, "%*x-%" SCNx64, &number) == 1) {
			figures->maps++;
			bytes = strstr(line, "[heap]") ? &figures->heap_resident_bytes : &figures->resident_bytes;
		} else if (bytes && sscanf(line, "Rss: %" SCNu64, &number) == 1) {
			*bytes += number << 10;
		}
	}
	if (file)
		fclose(file);
}

static uint64_t figure(const json_t *root, const char *object, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(json_object_get(root, object), name));
}

int soak_look(const char *program, pid_t server, struct soak_figures *figures)
{
	char command[PATH_MAX];
	json_t *root = NULL;
	FILE *stream;

	*figures = (struct soak_figures){0};
	snprintf(command, sizeof(command), "%s status --json --socket=%s 2>/dev/null", program, soak->socket);
	stream = popen(command, "re");
	if (stream)
		root = json_loadf(stream, 0, NULL);
	if (!stream || pclose(stream) != 0 || !root) {
		json_decref(root);
		return -1;
	}
	figures->clients = figure(root, "usage", "clients");
	figures->leases = figure(root, "usage", "leases");
	figures->handles = figure(root, "usage", "handles");
	figures->heap_bytes = figure(root, "daemon", "heap_bytes");
	json_decref(root);
	figures->descriptors = count_entries(server, "fd");
	look_at_memory(server, figures);
	/* It has some of each: else nothing could be read, and nothing would rise. */
	return figures->descriptors && figures->maps && figures->heap_bytes ? 0 : -1;
}
