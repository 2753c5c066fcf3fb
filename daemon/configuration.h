/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAEMON_CONFIGURATION_H
#define DAEMON_CONFIGURATION_H

/*
 * The files of the configuration: one, and those of the folder beside it that has its name with ".d" behind it, in the order of their names. Each
 * may say again what one before it has said.
 *
 * A line is "NAME = VALUE", of a setting, or empty, or a comment after "#" or ";". See smmapd.conf(5).
 */

#include "daemon/settings.h"

#include <stdbool.h>

/* Is told a mistake, in a sentence that names the file and the line. */
typedef void configuration_complain_fn(void *data, const char *sentence);

/*
 * Reads them into *@settings. The first file may be missing unless it is @required. All mistakes are told; the number of them is
 * returned.
 */
unsigned configuration_read(struct settings *settings, const char *path, bool required, configuration_complain_fn *complain, void *data);

#endif
