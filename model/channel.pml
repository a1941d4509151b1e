/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The channel protocol of libmicrokit: notify, call, reply, sleep and wake, with a hostile PD that shares a channel with
 * every correct one. ./check runs it and says what it shows.
 *
 * Correct PDs in a row: C calls S and, with NESTED, S calls T, also while it serves C. Neighbours notify each other. All do
 * so at moments of spin's choice, as often as their budgets last. Names in brackets are functions in libmicrokit/; each
 * load or store of a shared word there is one step here, and an atomic block holds at most one of them.
 *
 * The hostile PD H is modelled by what it can do to others. It writes its own pages: a load from those may yield anything,
 * another value each time, and so it does here. It rings doorbells: `hostile` does so at any moment and as often as it
 * likes. The pages of correct PDs it can only read.
 *
 * Memory is that of x86, which C11 allows under the orders used: a relaxed store may become visible after loads that follow
 * it. A buffer of one store a PD, which `memory` empties at any moment, gives the delays that matter. A sequentially
 * consistent store, and a fence, wait until it is empty.
 *
 * Left out: the launcher as scheduler, which needs no doorbell; starting a PD again and faults of children, which restart.pml
 * has; the second look after a change, which look.pml has. And, because it changes no shared word, the spin before sleep,
 * which looks and finds nothing.
 * Left open, and so more than the code does: which of several callers is served first. A doorbell holds one ring here; more
 * are dropped, as a full pipe drops them, and those that a real pipe would still hold are rings that H may add.
 */

#define C 0
#define S 1
#define T 2

/* Ends of the channels C-S and S-T. What an end says is indexed by the end, as the pages are: each has one writer. */
#define C_TO_S 0
#define S_TO_C 1
#define S_TO_T 2
#define T_TO_S 3
#ifdef NESTED
#define PDS 3
#define ENDS 4
#else
#define PDS 2
#define ENDS 2
#endif
#define NO_END 255
/* With three PDs, H only rings, and only the one in the middle: the states must remain countable. */
#ifdef NESTED
#define HEARS_HOSTILE false
#else
#define HEARS_HOSTILE true
#endif
#define PEER(end) ((end) ^ 1)
#define OWNER(end) (((end) + 1) / 2)

#ifndef BUDGET
#define BUDGET 2
#endif

/* struct mk_out. The number of a call is also its message, so that its reply can be told from that to another call. */
byte events[ENDS];
byte notified[ENDS];
byte seq[ENDS];
byte message[ENDS];
#define REPLY 100

/* Registers that a message can hold, and the most that the length field can claim. */
#define MOST_MRS 2
#define MOST_CLAIMED 3

/* mk_status.asleep */
#define AWAKE 0
#define ASLEEP 1
#define ASLEEP_IN_CALL 2
byte asleep[PDS];

bool bell[PDS];

/* The store that a PD has made and others do not see yet. */
mtype = { none, store_asleep, store_events, store_notified, store_seq };
mtype buffered[PDS] = none;
byte buffered_end[PDS];
byte buffered_value[PDS];
#define DRAINED (buffered[self] == none)

/* How far each end's announcements, and its notifications, have been taken: ends.events and ends.delivered, indexed by
 * the end that sent. */
byte seen_events[ENDS];
byte seen[ENDS];

/* For the properties only. */
bool in_call[PDS];
byte sent[ENDS];

inline commit(pd)
{
    atomic {
        buffered[pd] != none ->
        if
        :: buffered[pd] == store_asleep -> asleep[pd] = buffered_value[pd]
        :: buffered[pd] == store_events -> events[buffered_end[pd]] = buffered_value[pd]
        :: buffered[pd] == store_notified -> notified[buffered_end[pd]] = buffered_value[pd]
        :: buffered[pd] == store_seq -> seq[buffered_end[pd]] = buffered_value[pd]
        fi;
        buffered[pd] = none;
        buffered_end[pd] = 0;
        buffered_value[pd] = 0
    }
}

active proctype memory()
{
    do
    :: commit(C)
    :: commit(S)
#ifdef NESTED
    :: commit(T)
#endif
    od
}

/* Where the buffer is empty. */
inline buffer(what, end, value)
{
    buffered[self] = what;
    buffered_end[self] = end;
    buffered_value[self] = value
}

/* __atomic_store_n(&mk_status->asleep, value, __ATOMIC_RELAXED) */
inline say_asleep(value)
{
    atomic { DRAINED -> buffer(store_asleep, 0, value) }
}

/* __atomic_thread_fence(__ATOMIC_SEQ_CST) */
inline fence()
{
#ifndef NO_FENCE
    DRAINED
#else
    skip
#endif
}

/* [announce] __atomic_store_n(&end->out->events, ++end->events, __ATOMIC_SEQ_CST) */
inline announce(end)
{
#ifndef NO_SC_STORE
    atomic { DRAINED -> events[end]++ }
#else
    atomic { DRAINED -> buffer(store_events, end, events[end] + 1) }
#endif
}

/* The reply: __atomic_store_n(&end->out->seq, call, __ATOMIC_SEQ_CST) where the buffer is empty. */
#ifndef NO_SC_REPLY
#define STORE_REPLY(end, value) seq[end] = value
#else
#define STORE_REPLY(end, value) buffer(store_seq, end, value)
#endif

/* [mk_ring] */
#ifndef NO_RING
#define RING(pd) bell[pd] = true
#else
#define RING(pd) skip
#endif

/* [wake_peer] The end of each publication: look whether the peer sleeps, and only then ring. */
inline ring_if(end, state)
{
    if
    :: asleep[OWNER(PEER(end))] == state -> RING(OWNER(PEER(end)))
    :: else
    fi
}

/* [mk_read_doorbell] */
inline read_doorbell()
{
    atomic { bell[self] -> bell[self] = false }
}

/* [look_at] Whether the peer of this end has announced something since. */
#define LOOK_AT(end)                                                                                                   \
    atomic {                                                                                                           \
        announced = events[PEER(end)] != seen_events[PEER(end)];                                                       \
        seen_events[PEER(end)] = events[PEER(end)]                                                                     \
    }

mtype = { any_handler, protected_handler };

/* `below` is the end at which this PD serves its caller, `above` the one at which it calls. */
proctype pd(byte self; byte below; byte above)
{
    byte taken, length, found_below, found_above, budget = BUDGET;
    bool announced, from_below, from_above, from_hostile, called, hostile_called, sleeping;
    mtype handler = any_handler;

handle:
    /* A handler runs, init at first: it does what its program likes. */
    do
    /* [notify] */
    :: atomic {
            budget > 0 && below != NO_END && DRAINED ->
            budget--;
            sent[below]++;
#ifndef EVENTS_FIRST
            buffer(store_notified, below, sent[below])
        };
        announce(below);
#else
            events[below]++
        };
        atomic { DRAINED -> buffer(store_notified, below, sent[below]) };
#endif
        ring_if(below, ASLEEP)
    :: atomic {
            budget > 0 && above != NO_END && DRAINED ->
            budget--;
            sent[above]++;
#ifndef EVENTS_FIRST
            buffer(store_notified, above, sent[above])
        };
        announce(above);
#else
            events[above]++
        };
        atomic { DRAINED -> buffer(store_notified, above, sent[above]) };
#endif
        ring_if(above, ASLEEP)
    /* [call] */
    :: atomic {
            budget > 0 && above != NO_END && DRAINED ->
            budget--;
            in_call[self] = true;
#ifndef SEQ_FIRST
            message[above] = seq[above] + 1
        };
        atomic { DRAINED -> buffer(store_seq, above, message[above]) };
#else
            buffer(store_seq, above, seq[above] + 1)
        };
        atomic { DRAINED -> message[above] = seq[above] };
#endif
        announce(above);
        ring_if(above, ASLEEP);
        /* [wait_for_reply] */
        if
        :: seq[PEER(above)] == message[above]
        :: else ->
            say_asleep(ASLEEP_IN_CALL);
            fence();
            do
            :: seq[PEER(above)] == message[above] -> break
            :: else -> read_doorbell()
            od;
            say_asleep(AWAKE)
        fi;
        /* [message_get] Every reply matches its call. */
        atomic {
            assert(message[PEER(above)] == message[above] + REPLY);
            in_call[self] = false
        }
    :: break
    od;

    /* [serve] answers. */
    if
    :: handler == protected_handler ->
        message[below] = taken + REPLY;
        atomic { DRAINED -> STORE_REPLY(below, taken) };
#ifndef WRONG_REPLY_RING
        ring_if(below, ASLEEP_IN_CALL)
#else
        ring_if(below, ASLEEP)
#endif
    :: else
    fi;
    handler = any_handler;

deliver:
    /* [deliver] One handler a pass, until all that the look has found is delivered. */
    if
    :: from_below -> from_below = false; goto handle
    :: !from_below && from_above -> from_above = false; goto handle
    :: !from_below && !from_above && from_hostile ->
progress_hostile_notification:
        from_hostile = false;
        goto handle
    :: else
    fi;

    /* [mk_loop, wait] */
    do
    :: true ->
        /* [look] */
        if
        :: below != NO_END ->
            LOOK_AT(below);
            if
            :: announced ->
                atomic {
                    announced = false;
                    found_below = notified[PEER(below)];
                    from_below = found_below != seen[PEER(below)]
                };
                called = seq[PEER(below)] != taken
            :: else
            fi
        :: else
        fi;
        if
        :: above != NO_END ->
            LOOK_AT(above);
            atomic {
                if
                :: announced ->
                    announced = false;
                    found_above = notified[PEER(above)];
                    from_above = found_above != seen[PEER(above)]
                :: else
                fi
            }
        :: else
        fi;
        atomic {
            if
            :: true
            :: HEARS_HOSTILE ->
                if
                :: from_hostile = true
                :: below != NO_END -> hostile_called = true
                fi
            fi
        };
        if
        :: from_below || from_above || from_hostile || called || hostile_called -> break
        :: else
        fi;
        if
        :: !sleeping ->
            say_asleep(ASLEEP);
            fence();
            sleeping = true;
#ifdef NO_RESCAN
            read_doorbell()
#endif
        :: sleeping -> read_doorbell()
        fi
    od;
    if
    :: sleeping ->
        atomic {
            DRAINED -> buffer(store_asleep, 0, AWAKE);
            sleeping = false
        }
    :: else
    fi;

    /* Calls wait for the notifications of one look; those that come meanwhile wait for the next. */
    if
    :: from_below || from_above || from_hostile ->
        atomic {
            hostile_called = false;
            if
            :: from_below -> seen[PEER(below)] = found_below; found_below = 0
            :: else
            fi;
            if
            :: from_above -> seen[PEER(above)] = found_above; found_above = 0
            :: else
            fi
        };
        goto deliver
    :: else
    fi;

    /* [serve, message_get] */
    if
    :: called ->
        atomic {
            called = false;
            hostile_called = false;
            taken = seq[PEER(below)]
        };
        /* Each call is served once, with its own message. */
        atomic { assert(message[PEER(below)] == taken); handler = protected_handler }
    :: hostile_called ->
progress_hostile_call:
        /* The one load of `info`. Were there two, the value used would not be the one that was bounded. */
        atomic {
            hostile_called = false;
            if
            :: length = MOST_MRS
            :: length = MOST_CLAIMED
            fi;
            if
            :: length > MOST_MRS -> length = MOST_MRS
            :: else ->
#ifdef DOUBLE_FETCH
                length = MOST_CLAIMED
#endif
            fi;
            assert(length <= MOST_MRS);
            length = 0
        }
    fi;
    goto handle
}

/* H rings whom it likes as often as it likes, and may stop at any moment. */
active proctype hostile()
{
    do
    :: true ->
progress_hostile_ring:
        if
        :: bell[S] = true
#ifndef NESTED
        :: bell[C] = true
#endif
        fi
    :: break
    od
}

/* Once nobody can go on, H has stopped and all correct PDs sleep. Then everything has been taken and answered. */
active proctype rest()
{
    timeout ->
    atomic {
        assert(!in_call[C] && !in_call[S]);
        assert(seen[C_TO_S] == sent[C_TO_S] && seen[S_TO_C] == sent[S_TO_C]);
#ifdef NESTED
        assert(seen[S_TO_T] == sent[S_TO_T] && seen[T_TO_S] == sent[T_TO_S]);
#endif
#ifdef REACHABLE
        /* Does not hold: rest is reached, and with every kind of message sent. */
        assert(!(sent[C_TO_S] > 0 && sent[S_TO_C] > 0 && seq[C_TO_S] > 0));
#ifdef NESTED
        assert(seq[S_TO_T] == 0);
#endif
#endif
    }
}

init
{
    atomic {
        run pd(C, NO_END, C_TO_S);
#ifdef NESTED
        run pd(S, S_TO_C, S_TO_T);
        run pd(T, T_TO_S, NO_END)
#else
        run pd(S, S_TO_C, NO_END)
#endif
    }
}
