/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One sentence for each error that a user of the library or the server can meet; all others are the C library's own.
 */
#include "config.h"

#include "client/smmap-client.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

const char *smmap_strerror(int error)
{
	const char *description;

	if (error >= 0)
		return "success";

	switch (error) {
	case -ETIMEDOUT:
		return "no room came free in time: what is in use fills the server's limits";
	case -EDQUOT:
		return "the quota is used up: this user or client holds as much as it may";
	case -EFBIG:
		return "the range is larger than the server's limits, and can never fit";
	case -ESTALE:
		return "the file shrank below the range, or is not the same file any more";
	case -ENOTCONN:
		return "no server is there: start smmapd, or run the program under `smmapd exec`";
	case -ECHILD:
		return "the client belongs to the parent process: open another one after a fork";
	case -EAGAIN:
		return "no thread could be started: this user or the system has as many as it may";
	case -EMFILE:
		return "this process has no descriptor left";
	case -EBADF:
		return "the descriptor is not open for reading only";
	case -EINVAL:
		return "an argument is out of range, or the file is not a regular file";
	case -ERANGE:
		return "the index is outside of the buffer";
	case -ENODATA:
		return "the cursor stands nowhere";
	case -EPROTO:
		return "the other end speaks another protocol, or another version of it";
	}

	description = error == INT_MIN ? NULL : strerrordesc_np(-error);
	return description ? description : "unknown error";
}
