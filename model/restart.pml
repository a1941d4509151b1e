/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * PDs that start again: a caller C and a server S with a parent P that restarts them, whatever they are doing, and hears of
 * their faults. ./check runs it and says what it shows. Names in brackets are functions in libmicrokit/ and src/monitor/.
 *
 * A child is stopped between any two of its steps: `unless` says so. The launcher is one thread, so what it does for one
 * PD is never broken into by what it does for another, but PDs run meanwhile and read what it writes: `launcher` is who
 * has it. A stopped PD's stores are visible, as the kernel has switched away from it. Memory is sequentially consistent
 * here: which orders the code needs for that is what channel.pml shows.
 *
 * A message has two words, so that one may be of one call and the other of the next. Its value is unique to its call.
 */

#define C 0
#define S 1
#define P 2
#define CHILDREN 2

#ifndef CALLS
#define CALLS 2
#endif
#ifndef RESTARTS
#define RESTARTS 1
#endif
#ifndef FAULTS
#define FAULTS 1
#endif
#ifndef PARENT_RESTARTS
#define PARENT_RESTARTS 1
#endif

/* MK_SEQ_WITHDRAWN */
#define WITHDRAWN 64
#define NUMBER(seq) ((seq) & 63)

#ifndef NO_RECHECK
#define IS_STILL(call) (seq == (call))
#else
#define IS_STILL(call) true
#endif

/* The calling end: struct mk_out of C. */
byte events;
byte seq;
byte mr[2];
/* The serving end: struct mk_out of S. */
byte answered;
byte reply;

/* mk_status.asleep of C and S; doorbells. */
bool asleep[CHILDREN];
bool bell[3];

/* mk_supervisor.faults of P, and the launcher's inbox of P. */
byte raised;
bool inbox[CHILDREN];

/* The launcher: whether it is at work; whom it stops, who has stopped, who may go on. */
bool launcher;
bool stop[CHILDREN];
bool stopped[CHILDREN];
bool go[CHILDREN];

/* Faults that each child has left to make. */
byte faults[CHILDREN];

/* For the properties. Calls made so far, which number messages; the first of C's present life; who is stopped by a fault. */
byte made;
byte first_of_life = 1;
byte current;
bool faulted[CHILDREN];
/* A fault was taken by a life of P that has ended: nobody answers it, as on seL4. */
bool lost;
bool done;

#define LAUNCHER_BEGINS atomic { !launcher -> launcher = true }
#define LAUNCHER_ENDS launcher = false

/* Who is stopped waits; then it starts again. */
inline be_stopped(self)
{
    atomic { stop[self] -> stopped[self] = true };
    atomic { go[self] -> go[self] = false }
}

/* [raise, post] A child faults, and does nothing more. */
inline crash(self)
{
    faults[self]--;
    LAUNCHER_BEGINS;
    atomic { faulted[self] = true; inbox[self] = true };
#ifdef RING_FIRST
    bell[P] = true;
    raised++;
#else
    raised++;
#ifndef NO_FAULT_RING
    bell[P] = true;
#endif
#endif
    LAUNCHER_ENDS;
    false
}

/* [wake_peer] */
inline wake(peer)
{
    if
    :: asleep[peer] -> bell[peer] = true
    :: else
    fi
}

/* [mk_read_doorbell] */
inline read_doorbell(self)
{
    atomic { bell[self] -> bell[self] = false }
}

active proctype caller()
{
    byte number;

start:
    {
        /* [take_handoff, mk_channels_go_on] */
        asleep[C] = false;
#ifdef REUSE_NUMBER
        number = NUMBER(answered);
#else
        number = NUMBER(seq);
#endif
        if
        :: answered != seq -> seq = number | WITHDRAWN
        :: else
        fi;
        events++;
        bell[S] = true;
        do
        :: faults[C] > 0 -> crash(C)
        :: made < CALLS ->
            /* [call, message_put] */
            atomic { made++; current = made; number++ };
            mr[0] = current;
            mr[1] = current;
            seq = number;
            events++;
            wake(S);
            /* [wait_for_reply] */
            do
            :: answered == number -> break
            :: answered != number ->
                asleep[C] = true;
                if
                :: answered == number
                :: answered != number -> read_doorbell(C)
                fi;
                asleep[C] = false
            od;
            /* [message_get] The reply is that to this call. */
            assert(reply == current);
            current = 0
        :: made >= CALLS && faults[C] == 0 -> break
        od;
        done = true;
        false
    } unless {
        be_stopped(C);
        goto start
    }
}

active proctype server()
{
    byte taken, call, first, second, seen;
    bool queued;

start:
    {
        /* [mk_loop_take_ends] A call that was taken and not answered is there again. */
        asleep[S] = false;
#ifdef TAKEN_IS_FINAL
        taken = seq;
#else
        taken = answered;
#endif
        /* Whatever has been announced, the first look looks. */
        atomic { seen = events - 1; queued = false };
        /* [go_on] */
#ifndef NO_RING_AGAIN
        bell[C] = true;
#endif
        do
        /* [look_at] */
        :: atomic { events != seen -> seen = events };
            atomic {
                call = seq;
                queued = call != taken
            }
        :: queued ->
            /* [serve] */
            queued = false;
            if
            :: atomic { seq >= WITHDRAWN -> taken = seq };
                answered = taken
            :: seq != call
            :: atomic { seq == call && call < WITHDRAWN -> skip };
                first = mr[0];
                second = mr[1];
                if
                :: !IS_STILL(call) -> skip
                :: atomic {
                        IS_STILL(call) ->
                        /* A whole message, of a call of the caller's present life. */
                        assert(first == second);
                        assert(first >= first_of_life)
                    };
                    taken = call;
                    if
                    :: faults[S] > 0 -> crash(S)
                    :: true
                    fi;
                    reply = first;
                    answered = call;
                    wake(C)
                fi
            fi
        :: !queued && events == seen ->
            asleep[S] = true;
            if
            :: events != seen
            :: events == seen -> read_doorbell(S)
            fi;
            asleep[S] = false
        od
    } unless {
        be_stopped(S);
        goto start
    }
}

#define LET_GO(child) stop[child] = false; stopped[child] = false; go[child] = true; faulted[child] = false

/* [restart, withdraw] */
inline restart(child)
{
    LAUNCHER_BEGINS;
    stop[child] = true;
    stopped[child];
    inbox[child] = false;
    if
    :: child == C ->
#ifdef RESUME_FIRST
        atomic { first_of_life = made + 1; current = 0; LET_GO(child) };
#endif
#ifndef NO_MARK
        if
        :: seq != answered && seq < WITHDRAWN -> seq = seq | WITHDRAWN
        :: else
        fi;
#endif
        skip
    :: else
    fi;
#ifdef RESUME_FIRST
    if
    :: child == C
    :: else -> atomic { LET_GO(child) }
    fi;
#else
    atomic {
        if
        :: child == C -> first_of_life = made + 1; current = 0
        :: else
        fi;
        LET_GO(child)
    };
#endif
    LAUNCHER_ENDS
}

active proctype parent()
{
    byte handled, restarts = RESTARTS, own_restarts = PARENT_RESTARTS, which;

    do
    /* From any handler. */
    :: restarts > 0 && made > 0 -> restarts--; restart(C)
    :: restarts > 0 && made > 0 -> restarts--; restart(S)
    :: own_restarts > 0 -> own_restarts--; handled = 0
    /* [handle_fault] */
    :: raised != handled ->
        byte seen = raised;
        LAUNCHER_BEGINS;
        atomic {
            which = P;
            if
            :: inbox[C] -> which = C; inbox[C] = false
            :: inbox[S] -> which = S; inbox[S] = false
            :: !inbox[C] && !inbox[S]
            fi
        };
        LAUNCHER_ENDS;
        if
        :: which != P ->
#ifdef HANDLED_SKIPS
            handled = raised;
#else
            handled++;
#endif
            if
            :: own_restarts > 0 -> own_restarts--; handled = 0; lost = true
            :: restart(which)
            fi
        :: else -> handled = seen
        fi
    /* [wait] The launcher always rings, so there is nothing to say before sleeping. */
    :: raised == handled -> read_doorbell(P)
    od
}

init
{
    atomic { faults[C] = FAULTS; faults[S] = FAULTS }
}

/* Nobody can go on: every fault has been taken, every call answered. */
active proctype rest()
{
    timeout ->
    atomic {
        assert(!launcher);
        assert(!inbox[C] && !inbox[S]);
        assert(lost || (!faulted[C] && !faulted[S] && done && current == 0));
#ifdef REACHABLE
        /* Does not hold: rest is reached after faults of both, restarts and calls. */
        assert(lost || faults[C] > 0 || faults[S] > 0 || made < CALLS || first_of_life == 1);
#endif
    }
}
