/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "daemon/account.h"

#include "daemon/registry.h"
#include "proto/hash.h"
#include "proto/util.h"

#include <assert.h>

int account_get(struct account **got, struct registry *registry, uid_t uid)
{
	struct account *account;

	DL_SEARCH_SCALAR(registry->accounts, account, uid, uid);
	*got = account;
	if (account && account->n_clients >= registry->limits.quota.clients)
		return -EDQUOT;
	if (!account) {
		account = calloc(1, sizeof(*account));
		if (!account)
			return -ENOMEM;
		account->uid = uid;
		DL_APPEND(registry->accounts, account);
	}
	account_ref(account);
	account->n_clients++;
	*got = account;
	return 0;
}

void account_put(struct registry *registry, struct account *account)
{
	account->n_clients--;
	account_unref(registry, account);
}

void account_ref(struct account *account)
{
	account->refs++;
}

void account_unref(struct registry *registry, struct account *account)
{
	if (--account->refs)
		return;
	assert(!account->held.leases && !account->n_ahead && !account->order.n && !account->n_openings && !account->waiting);
	assert(!account->n_clients && !account->n_remote && !account->bare && !account->n_in_flight && !account->n_strays);
	for (size_t i = 0; i < N_RUNNER_CALLS; i++)
		assert(!account->lanes[i].n);
	DL_DELETE(registry->accounts, account);
	free(account);
}

bool account_may_hold(const struct registry *registry, const struct account *account, const struct holding *more,
		      const struct holding *gone)
{
	const struct quota *quota = &registry->limits.quota;
	const struct holding *held = &account->held;

	return held->memory - gone->memory + more->memory <= quota->memory && held->maps - gone->maps + more->maps <= quota->maps &&
	       held->handles - gone->handles + more->handles <= quota->handles &&
	       held->leases - gone->leases + more->leases <= quota->leases;
}
