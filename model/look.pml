/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * What one look finds: a sender P signals its receiver R on two channels, A and B, and calls on B; a hostile PD floods a
 * third one, H. ./check runs it and says what it shows. Names in brackets are functions in libmicrokit/loop.c.
 *
 * P's stores become visible in their order, as on x86 and as release stores promise. R's ends are looked at one after
 * the other, a group each, from where the last look ended. A load from H's page may yield anything. Sleeping is left out,
 * since channel.pml has it.
 */

#define A 0
#define B 1
#define H 2
#define ENDS 3

#ifndef MESSAGES
#define MESSAGES 4
#endif
/* CHANGES_MOST of the hostile end; P never signals as often. */
#define CHANGES_MOST 2

/* struct mk_out of P's ends; of B the latest call too. */
byte events[ENDS];
byte notified[ENDS];
byte seq;

/* R: what it has delivered and taken. */
byte delivered[ENDS];
byte answered;

/* For the properties: what P had signalled on the other channel before notification N of this one, and before call N. */
byte before_a[MESSAGES + 1];
byte before_b[MESSAGES + 1];
byte a_before_call[MESSAGES + 1];
byte b_before_call[MESSAGES + 1];

active proctype sender()
{
    byte sent, a, b, calls;

    do
    :: sent < MESSAGES ->
        sent++;
        if
        :: atomic { a++; before_a[a] = b; notified[A] = a };
            events[A]++
        :: atomic { b++; before_b[b] = a; notified[B] = b };
            events[B]++
        :: atomic { calls++; a_before_call[calls] = a; b_before_call[calls] = b; seq = calls };
            events[B]++;
            /* [wait_for_reply] */
            answered == calls
        fi
    :: else -> break
    od
}

#ifndef ONE_LOOK
#define AFTER_CHANGE unchanged = 0
#else
#define AFTER_CHANGE unchanged++
#endif

/* [look_at] */
#define LOOK_AT(end)                                                                                                   \
    if                                                                                                                 \
    :: atomic { events[end] != seen[end] -> seen[end] = events[end] };                                                 \
        found[end] = notified[end];                                                                                    \
        if                                                                                                             \
        :: end == B && seq != answered -> atomic { queued = true; call = seq }                                         \
        :: end != B || seq == answered                                                                                 \
        fi;                                                                                                            \
        AFTER_CHANGE                                                                                                   \
    :: events[end] == seen[end] -> unchanged++                                                                         \
    fi

active proctype receiver()
{
    byte seen[ENDS], found[ENDS], unchanged, at, call, changes;
    bool queued, flooded;

end_look:
    do
    :: true ->
        /* [look] */
        unchanged = 0;
        do
        :: unchanged < ENDS ->
            if
            :: at == A -> LOOK_AT(A)
            :: at == B -> LOOK_AT(B)
            :: at == H ->
                if
                :: changes < CHANGES_MOST -> atomic { changes++; flooded = true; AFTER_CHANGE }
                :: unchanged++
                fi
            fi;
            at = (at + 1) % ENDS
        :: else -> break
        od;
        changes = 0;
        if
        :: found[A] != delivered[A] || found[B] != delivered[B] || flooded ->
            /* [deliver] Whatever P has signalled before any of these is among them. */
            atomic {
                flooded = false;
#ifdef LATEST
                if
                :: found[B] != delivered[B] -> found[B] = notified[B]
                :: else
                fi;
#endif
                assert(found[A] == delivered[A] || found[B] >= before_a[found[A]]);
                assert(found[B] == delivered[B] || found[A] >= before_b[found[B]]);
                delivered[A] = found[A];
                delivered[B] = found[B]
            }
        :: else ->
            if
            :: queued ->
                /* [serve] All that P has signalled before its call has been delivered. */
                atomic {
                    assert(delivered[A] >= a_before_call[call] && delivered[B] >= b_before_call[call]);
                    queued = false;
                    answered = call
                }
            :: else -> break
            fi
        fi
    od;
    /* Asleep, until P announces something. */
    if
    :: events[A] != seen[A] -> goto end_look
    :: events[B] != seen[B] -> goto end_look
    fi
}

/* Nobody can go on: P has signalled all it had, and all is delivered. */
active proctype rest()
{
    timeout ->
    atomic {
        assert(delivered[A] == notified[A] && delivered[B] == notified[B] && answered == seq);
#ifdef REACHABLE
        assert(!(notified[A] > 0 && notified[B] > 0 && seq > 0));
#endif
    }
}
