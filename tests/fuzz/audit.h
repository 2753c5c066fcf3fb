/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_FUZZ_AUDIT_H
#define TESTS_FUZZ_AUDIT_H

#include <stdbool.h>

struct registry;

/*
 * Counts anew, from end to end, all that the registry and the accounts keep count of, and requires that it is the same and within the limits.
 * @grown: files may have grown; what one user then leases makes the regions longer that another has, perhaps past that one's quota.
 */
void audit(const struct registry *registry, bool grown);

#endif
