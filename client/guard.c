/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See guard.h for the idea. The marks on a lease come before the zeros, so that a thread which has read zeros finds the marks: first that
 * it is stale, so that a thread which finds it blanked can't come back to it. The zeros reach to the end of the lease, so that a lease takes
 * at most one more map, whatever is touched.
 */
#include "config.h"

#include "client/guard.h"

#include "proto/util.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

/* Where a lease is mapped: whole pages. */
struct entry {
	_Atomic uintptr_t begin;
	_Atomic uintptr_t end; /* 0: there is no lease */
	atomic_bool blanked;
};

struct guard {
	struct guard *next; /* all */
	atomic_bool taken;  /* by a connection */
	_Atomic(struct board_slot *) slots;
	_Atomic uint32_t n_used; /* entries that ever had a lease */
	uint32_t n_entries;
	struct entry entries[];
};

static _Atomic(struct guard *) all;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct sigaction previous; /* who had the signal before */
static atomic_bool previous_is_over;

/* ---- a signal that is not ours ---- */

/* Ends the process by this signal, as soon as the handler returns, in the same thread and with the same information. */
static void die(siginfo_t *info)
{
	struct sigaction action = {.sa_handler = SIG_DFL};

	sigaction(SIGBUS, &action, NULL);
	if (syscall(SYS_rt_tgsigqueueinfo, getpid(), (pid_t)syscall(SYS_gettid), SIGBUS, info) < 0)
		raise(SIGBUS);
}

/* Does what the kernel would have done if there were no guard. */
static void hand_on(int signal, siginfo_t *info, void *context)
{
	/* One that tells a thread why it can't go on can't be ignored. */
	bool is_forced = info->si_code > 0 && info->si_code != BUS_MCEERR_AO;

	if (previous.sa_handler == SIG_IGN && !is_forced)
		return;
	if (previous.sa_handler == SIG_IGN || previous.sa_handler == SIG_DFL ||
	    ((unsigned)previous.sa_flags & SA_RESETHAND && atomic_exchange(&previous_is_over, true)))
		die(info);
	else if (previous.sa_flags & SA_SIGINFO)
		previous.sa_sigaction(signal, info, context);
	else
		previous.sa_handler(signal);
}

/* ---- one that is ---- */

/* Whether a lease is mapped at @address: as long as it is pinned; else that may have changed in between. */
static bool is_at(struct entry *entry, uintptr_t address)
{
	/* The beginning is written before the end. */
	uintptr_t end = atomic_load(&entry->end);

	return address < end && address >= atomic_load(&entry->begin);
}

/* Blanks the lease of an entry, which is pinned, from @address on; false if there is no map to be had. */
static bool blank_pinned(struct entry *entry, struct board_slot *slot, uintptr_t address)
{
	uintptr_t page = (uintptr_t)round_down(address, page_size());

	board_mark_stale(slot);
	atomic_store(&entry->blanked, true);
	return mmap((void *)page, atomic_load(&entry->end) - page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1,
		    0) != MAP_FAILED;
}

/* The same, if that is the lease at @address and somebody stands on it. */
static bool blank_entry(struct guard *guard, uint32_t i, uintptr_t address)
{
	struct entry *entry = &guard->entries[i];
	struct board_slot *slot;
	bool blanked;

	if (!is_at(entry, address))
		return false;
	slot = &atomic_load(&guard->slots)[i];
	if (!board_pin_pinned(slot))
		return false;
	blanked = is_at(entry, address) && blank_pinned(entry, slot, address);
	/* That was no use. */
	board_unpin(slot, board_last_used(slot));
	return blanked;
}

static bool blank(uintptr_t address)
{
	for (struct guard *guard = atomic_load(&all); guard; guard = guard->next) {
		uint32_t n = atomic_load(&guard->n_used);

		for (uint32_t i = 0; i < n; i++)
			if (blank_entry(guard, i, address))
				return true;
	}
	return false;
}

static void handle(int signal, siginfo_t *info, void *context)
{
	int saved = errno;
	bool is_ours = info->si_code == BUS_ADRERR && blank((uintptr_t)info->si_addr);

	errno = saved;
	if (!is_ours)
		hand_on(signal, info, context);
}

/* What held for who had the signal before holds for the guard, which calls it. On a stack of its own, where the thread has one. */
static void install(void)
{
	struct sigaction action;

	sigaction(SIGBUS, NULL, &previous);
	action = previous;
	action.sa_sigaction = handle;
	action.sa_flags = SA_SIGINFO | SA_ONSTACK | (previous.sa_flags & (SA_NODEFER | SA_RESTART));
	if (previous.sa_handler == SIG_IGN)
		action.sa_flags |= SA_RESTART;
	sigaction(SIGBUS, &action, NULL);
}

/* ---- guards ---- */

/* One that no connection has, with room for so many slots; NULL if there is none. */
static struct guard *take(uint32_t n_slots)
{
	for (struct guard *guard = atomic_load(&all); guard; guard = guard->next) {
		bool taken = false;

		if (guard->n_entries >= n_slots && atomic_compare_exchange_strong(&guard->taken, &taken, true))
			return guard;
	}
	return NULL;
}

/* Another one. Pages that were never touched cost nothing. */
static struct guard *add(uint32_t n_slots)
{
	size_t size = sizeof(struct guard) + n_slots * sizeof(struct entry);
	struct guard *guard = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (guard == MAP_FAILED)
		return NULL;
	guard->n_entries = n_slots;
	guard->taken = true;
	guard->next = atomic_load(&all);
	while (!atomic_compare_exchange_weak(&all, &guard->next, guard))
		;
	return guard;
}

int guard_new(struct guard **new, const struct board *board)
{
	struct guard *guard;

	pthread_once(&once, install);
	guard = take(board->n_slots);
	if (!guard)
		guard = add(board->n_slots);
	if (!guard)
		return -ENOMEM;
	atomic_store(&guard->slots, board->slots);
	*new = guard;
	return 0;
}

void guard_release(struct guard *guard)
{
	if (guard)
		atomic_store(&guard->taken, false);
}

void guard_add(struct guard *guard, uint32_t slot, const void *address, size_t length)
{
	struct entry *entry = &guard->entries[slot];

	if (slot >= atomic_load(&guard->n_used))
		atomic_store(&guard->n_used, slot + 1);
	atomic_store(&entry->blanked, false);
	atomic_store(&entry->begin, (uintptr_t)address);
	atomic_store(&entry->end, (uintptr_t)address + length);
}

void guard_remove(struct guard *guard, uint32_t slot)
{
	atomic_store(&guard->entries[slot].end, 0);
}

bool guard_has_blanked(const struct guard *guard, uint32_t slot)
{
	/* What was read was read before this. */
	atomic_thread_fence(memory_order_seq_cst);
	return atomic_load(&guard->entries[slot].blanked);
}
