/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One slot of a board, and all who touch it: who pins it, who claims it, who unmaps its lease, and when it is free for the next one.
 *
 * The idea: each atomic instruction of proto/board.c is one step here, and so is each message, and each stretch under the client's lock in
 * which nobody else could see a difference. Between two steps the others may do any number of theirs. Spin walks through all orders
 * that there are, and looks everywhere for
 *
 *   - a cursor that reads a lease which is not mapped,
 *   - a lease that is unmapped twice, released twice, or freed while it is mapped,
 *   - a pin that ends without having begun,
 *   - a run that does not end with a free slot, without pins and flags: so no slot is lost, and nobody waits for ever.
 *
 * What a model can't show are memory orders: here all agree on what came first.
 *
 * There are two models. One is of any client that keeps to smmap-protocol(7): it looks a lease up under its lock, but pins and claims
 * without it, so that it may come late and meet the next lease on the slot. The other, with LIBRARY, is of our library, which
 * glances at the lease and pins it without the lock; where that fails, and to claim, it keeps the lock until it has pinned or claimed.
 * There the connection may break at any moment, for either side, and a lease on which
 * a cursor stands lives on as an orphan, until the last cursor leaves it.
 *
 * With a FAULT a mistake is made, which Spin has to find: else the model looks for too little. scripts/check-models runs all of it. It
 * also says how many leases the slot has one after the other (GRANTS), how often each cursor is used, and how often the cache is trimmed.
 */

#define CURSORS 2
#define NONE 255

/* ---- faults: from 101 on, those that only a broken connection shows ---- */

#define NO_FAULT 0
#define PIN_ANY_GENERATION 1
#define PIN_DESPITE_CLAIM 2
#define KEEP_REFUSED_PIN 3
#define CLAIM_ANY_GENERATION 4
#define CLAIM_DESPITE_PINS 5
#define CLAIM_WITHOUT_COMPARING 6
#define RECALL_WITHOUT_COMPARING 7
#define RECALL_NOT_TOLD 8
#define TAKE_ANY_GENERATION 9
#define UNMAP_BEFORE_TAKING 10
#define RELEASE_BEFORE_UNMAPPING 11
#define VICTIM_NOT_RELEASED 12
#define VICTIM_ENDS_AT_ONCE 13
#define GRANT_WITHOUT_PIN 14
#define FREE_FLAGS_FIRST 15
#define FREE_DROPS_PINS 16
#define MARK_BEFORE_UNMAPPING 17
#define MARK_NOT_LOOKED_AT 18
#define FREE_KEEPS_MARK 19
#define ORPHAN_NOT_SPARED 101
#define ORPHAN_FORGOTTEN 102
#define ANSWER_TO_NOBODY_KEPT 103
#define ATTEMPT_FORGOTTEN 104

/* ---- the slot, as in proto/board.c, with fewer bits. Generations run over, and the first is one that makes them ---- */

#define PINS 15
#define CLAIMED_BY_SERVER 16
#define CLAIMED_BY_CLIENT 32
#define CLAIMED (CLAIMED_BY_SERVER | CLAIMED_BY_CLIENT)
#define UNMAPPED 64
#define ONE_GENERATION 128
#define GENERATIONS 4
#define STALE 512
#define ALL_BITS 1023
#define FIRST 2
#define generation_of(word) (((word) & ~STALE) / ONE_GENERATION)

short state = FIRST * ONE_GENERATION;

/* ---- what the client knows ---- */

byte record = NONE;       /* the generation of the lease that is in the table */
bool mapped[GENERATIONS]; /* each lease has a map of its own */
byte finished;            /* threads that have done all they wanted */

#ifdef LIBRARY
bool locked;
bool dead;            /* this side has given the connection up */
bool asking[CURSORS]; /* waits for an answer */
byte handling = NONE; /* whose answer is being handled: he has to stay */
#define is_free !locked
#define keep_lock() locked = true
#define leave_lock() locked = false
#define is_wanted(who) (handling == who || FAULT == ANSWER_TO_NOBODY_KEPT)
#else
/* No stretch under the lock is longer than a step, so nobody ever sees it taken. */
#define is_free true
#define keep_lock() skip
#define leave_lock() skip
#define is_wanted(who) true
#endif

/* ---- messages: none is lost, and each takes as long as it likes ---- */

mtype = { LEASE, RELEASE, MARKED };
chan requests = [CURSORS + 1] of { mtype, byte }; /* which cursor asks; which lease is released, or is marked besides */
chan answers = [CURSORS] of { byte, byte, byte }; /* to which cursor, the lease granted, the lease named as a victim */
chan bell = [GRANTS] of { byte };
chan result[CURSORS] = [1] of { byte };           /* from the thread that reads the answers to the one that asks */

/* ---- the client's operations on the board ---- */

/* The lease to come back to. Unless there is none, the library keeps the lock. */
inline look_up(g)
{
	atomic { is_free; g = record; if :: g != NONE -> keep_lock() :: else fi }
}

inline unpin()
{
	d_step { assert(state & PINS); state-- }
}

inline pin(g, before, pinned)
{
	d_step {
		before = state;
		state++;
		pinned = (generation_of(before) == g || FAULT == PIN_ANY_GENERATION) &&
			 !(before & STALE) && (!(before & CLAIMED) || FAULT == PIN_DESPITE_CLAIM);
		before = 0
	}
	if :: pinned || FAULT == KEEP_REFUSED_PIN :: else -> unpin() fi
}

#define is_same(word, g) (generation_of(word) == g || FAULT == CLAIM_ANY_GENERATION)

/* True also for a lease that somebody has claimed before: who takes it out of the table is seen there. */
inline claim_own(g, seen, claimed)
{
	seen = state;
	do
	:: is_same(seen, g) && !(seen & CLAIMED) && (!(seen & PINS) || FAULT == CLAIM_DESPITE_PINS) ->
		atomic {
			if :: state == seen || FAULT == CLAIM_WITHOUT_COMPARING -> state = state | CLAIMED_BY_CLIENT :: else fi;
			seen = state
		}
	:: else -> break
	od;
	if
	:: is_same(seen, g) -> claimed = (seen & CLAIMED) != 0
#ifdef LIBRARY
	/* The server has ended it, for this client is gone. Where somebody stands on it, it is his to unmap. */
	:: else -> claimed = !(state & PINS) || FAULT == ORPHAN_NOT_SPARED
#else
	:: else
#endif
	fi;
	seen = 0
}

/* ---- letting go ---- */

inline take_out(g, taken)
{
	taken = record == g || (record != NONE && FAULT == TAKE_ANY_GENERATION);
	if :: taken && FAULT != UNMAP_BEFORE_TAKING -> record = NONE :: else fi
}

inline unmap(g)
{
	d_step { assert(mapped[g]); mapped[g] = false }
}

inline unmap_and_release(g)
{
#if FAULT == RELEASE_BEFORE_UNMAPPING
	requests ! RELEASE, g; unmap(g)
#elif FAULT == UNMAP_BEFORE_TAKING
	unmap(g); record = NONE; requests ! RELEASE, g
#else
	unmap(g); requests ! RELEASE, g
#endif
}

/* The server is told besides if somebody waits, which it may or may not be. */
inline unmap_and_mark(g)
{
#if FAULT == MARK_BEFORE_UNMAPPING
	state = state | UNMAPPED; unmap(g);
#else
	unmap(g); state = state | UNMAPPED;
#endif
	if :: requests ! MARKED, g :: skip fi
}

/* Of a lease that an answer has named. */
inline let_go_victim(g, taken)
{
	atomic { is_free; take_out(g, taken) }
	if :: taken -> unmap_and_mark(g) :: else fi;
	taken = false
}

/* Of a lease that the bell has named. */
inline let_go(g, taken)
{
	atomic { is_free; take_out(g, taken) }
	if :: taken -> unmap_and_release(g) :: else fi;
	taken = false
}

/* Of an idle lease, on the client's own account. */
inline discard(g, seen, yes)
{
	look_up(g);
	if
	:: g == NONE
	:: else ->
		claim_own(g, seen, yes);
		atomic { if :: yes -> take_out(g, yes) :: else fi; leave_lock() }
		if :: yes -> unmap_and_release(g) :: else fi
	fi;
	d_step { yes = false; g = 0 }
}

/* Comes back to a lease without the lock. An attempt that fails was a pin for a moment, by which another thread may have left it mapped. */
inline glance(g, seen, yes)
{
	g = record;
	if
	:: g == NONE
	:: else ->
		pin(g, seen, yes);
		if :: !yes && dead && FAULT != ATTEMPT_FORGOTTEN -> discard(g, seen, yes) :: else fi
	fi
}

/* ---- the client's threads ---- */

inline ask(me, g)
{
#ifdef LIBRARY
	atomic { requests ! LEASE, me; asking[me] = true }
	if
	:: atomic { result[me] ? g; asking[me] = false }
	/* It goes on with another connection. */
	:: atomic { dead && handling != me && empty(result[me]); asking[me] = false; g = NONE; uses = USES }
	fi
#else
	requests ! LEASE, me;
	result[me] ? g
#endif
}

proctype cursor(byte me)
{
	byte g, uses; short seen; bool yes;

	do
	:: uses == USES -> break
	:: uses < USES ->
		uses++;
#ifdef LIBRARY
		glance(g, seen, yes);
#endif
		if :: !yes -> look_up(g) :: else fi;
		if
		:: yes || g == NONE
		:: else ->
			pin(g, seen, yes);
			if
			:: yes -> leave_lock()
			:: else ->
				atomic { yes = (state & STALE) != 0; leave_lock() }
				if :: yes -> discard(g, seen, yes) :: else fi;
				g = NONE
			fi
		fi;
		yes = false;
		if :: g == NONE -> ask(me, g) :: else fi;
		if
		:: g == NONE
		:: else ->
			/* What is unmapped stays so: that the last look is good says the same of all before it. */
			atomic { assert(mapped[g]); unpin() }
#ifdef LIBRARY
			if :: dead && FAULT != ORPHAN_FORGOTTEN -> discard(g, seen, yes) :: else fi
#endif
		fi;
		g = 0
	od;
	finished++
}

/* Keeps the client's cache small. */
proctype trimmer()
{
	byte g, n; short seen; bool yes;

	do
	:: n == TRIMS -> break
	:: n < TRIMS -> n++; discard(g, seen, yes)
	od;
	finished++
}

/* Handles the answers as they come. In the library that is whichever thread waits for one. */
proctype reader()
{
	byte who, granted, victim; bool yes;
	xr answers;

end:	do
	:: atomic {
		answers ? who, granted, victim;
#ifdef LIBRARY
		if :: asking[who] -> handling = who :: else fi
#endif
	   }
		if
#if FAULT == VICTIM_NOT_RELEASED
		:: victim == record && victim != NONE -> record = NONE; unmap(victim)
#else
		:: victim != NONE -> let_go_victim(victim, yes)
#endif
		:: else
		fi;
		if
		:: granted != NONE && is_wanted(who) ->
			mapped[granted] = true;
			atomic { is_free; assert(record == NONE); record = granted }
		:: granted != NONE ->
			/* It can't be mapped, or nobody waits for it any more. */
			unpin(); requests ! RELEASE, granted; granted = NONE
		:: else
		fi;
		atomic {
#ifdef LIBRARY
			if :: handling == who -> handling = NONE; result[who] ! granted :: else fi;
#else
			result[who] ! granted;
#endif
			who = 0; granted = 0; victim = 0
		}
	od
}

/* Sleeps on the bell. In the library it also sees the connection break: then it unmaps what is idle. */
proctype listener()
{
	byte g; short seen; bool yes;
	xr bell;

end:	do
	:: bell ? g -> let_go(g, yes); g = 0
#ifdef LIBRARY
	:: dead = true -> discard(g, seen, yes); break
#endif
	od
}

/* ---- the server: a single thread, so only what it does to the board and to messages are steps ---- */

inline free_slot()
{
#if FAULT == FREE_FLAGS_FIRST
	state = state & ~(UNMAPPED | CLAIMED | STALE);
	state = (state + ONE_GENERATION) & ALL_BITS;
#elif FAULT == FREE_KEEPS_MARK
	state = (state + ONE_GENERATION) & ALL_BITS;
	state = state & ~(CLAIMED | STALE);
#elif FAULT == FREE_DROPS_PINS
	state = (generation_of(state) + 1) % GENERATIONS * ONE_GENERATION;
#else
	state = (state + ONE_GENERATION) & ALL_BITS;
	state = state & ~(UNMAPPED | CLAIMED | STALE);
#endif
	d_step { leased = false; recalled = false; told = false; named = false; g = (g + 1) % GENERATIONS }
}

proctype server()
{
	byte g = FIRST; /* the slot's generation, that of the lease or of the next one */
	byte granted, n; short seen; bool leased, recalled, told, named;
	xr requests; xs answers; xs bell;

end:	do
	/* A request that has to wait for room may as well be on its way still. One for another window gets another slot. */
	:: requests ? LEASE, n ->
		if
		:: !leased && granted < GRANTS ->
			d_step { leased = true; granted++; state = state + (FAULT != GRANT_WITHOUT_PIN) }
			answers ! n, g, NONE
		:: recalled && !told ->
			told = true; named = true; answers ! n, NONE, g;
#if FAULT == VICTIM_ENDS_AT_ONCE
			assert(!mapped[g]); free_slot()
#endif
		:: answers ! n, NONE, NONE
		fi;
		n = 0
	:: requests ? RELEASE, n -> assert(leased && n == g && !mapped[g]); free_slot(); n = 0
	/* It may have seen the mark before, and have granted the slot anew. */
	:: requests ? MARKED, n ->
		if :: leased && n == g -> assert(!mapped[g]); free_slot() :: else fi;
		n = 0
	:: named && (state & UNMAPPED) && FAULT != MARK_NOT_LOOKED_AT -> assert(!mapped[g]); free_slot()
	/* A claim that meets a pin does nothing, so it is as well not tried. */
	:: atomic { leased && !recalled && (!(state & PINS) || (state & CLAIMED)); seen = state }
		atomic {
			if
			/* By the client: it is on its way back, and recalled nevertheless. */
			:: seen & CLAIMED -> recalled = true
			:: !(seen & CLAIMED) && (state == seen || FAULT == RECALL_WITHOUT_COMPARING) ->
				state = state | CLAIMED_BY_SERVER; recalled = true
			:: else -> recalled = (state & CLAIMED) != 0
			fi;
			seen = 0
		}
	:: recalled && !told && FAULT != RECALL_NOT_TOLD -> told = true; bell ! g
	:: atomic { leased && !(state & STALE); state = state | STALE }
#ifdef LIBRARY
	/* It ends what the client has, pinned or not; or it crashes. */
	:: leased -> free_slot(); break
	:: break
#endif
	od
}

/* ---- all of it ---- */

bool home;
ltl comes_home { <> home }

init
{
	atomic { run server(); run reader(); run listener(); run trimmer(); run cursor(0); run cursor(1) }
	/* Nobody can do anything any more. */
	timeout;
	assert(finished == CURSORS + 1 && record == NONE && !(state & PINS));
#ifdef LIBRARY
	assert(dead && !locked && handling == NONE);
#else
	assert(!(state & (UNMAPPED | CLAIMED | STALE)));
#endif
	home = true
}
