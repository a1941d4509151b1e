/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * What the files of libmicrokit share. Everything here is hidden: programs see include/ only.
 *
 *   start.c    entry: takes the handoff, runs constructors and init
 *   loop.c     waits for notifications and calls, runs the handlers
 *   crowd.c    who else is at work
 *   channel.c  the sending side: notify, call, deferred actions
 *   message.h  copying messages between a shared page and the IPC buffer
 *   wait.h     when to spin before sleeping
 *   launcher.c what is asked of the launcher: faults of children, their control, being scheduled by it
 *   invoke.c   seL4 invocations on threads, scheduling contexts and interrupt handlers
 *   console.c  debug console, messages of the library, deliberate crash
 *   objects.c  I/O ports, virtual machines
 *   memory.c   the functions that compilers call behind the programmer's back
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <microkit.h>

#include "abi.h"
#include "wait.h"

#define CACHE_LINE 64

/* In `rights` of an end, beside MK_MAY_* and so on: MK_SCHEDULE_MICROKIT, which senders must know for every message. */
#define END_SCHEDULED ((uint32_t)1 << 31)

/* One channel end, by channel id. Copied out of the handoff so that a notification touches one line of private data. */
struct end {
    /* What this end says, what its peer says, and whether the peer sleeps. Only `out` is writable. */
    struct mk_out *out;
    const struct mk_out *in;
    const struct mk_status *peer;
    /* Notifications and calls sent so far, and both together. Kept here: the copies in `out` are for the peer. */
    uint64_t notified;
    uint64_t calls;
    uint64_t events;
    /* Registers of the latest message. */
    uint32_t said;
    int32_t peer_doorbell;
    /* MK_MAY_* and so on; 0: there is no such end. */
    uint32_t rights;
} __attribute__((aligned(CACHE_LINE)));

extern struct end mk_ends[MK_MAX_ENDS];
extern struct mk_status *mk_status;
extern int32_t mk_doorbell;
extern int32_t mk_console;
extern struct wait_policy mk_wait;
/* MK_SCHEDULE_MICROKIT: the launcher decides who runs. */
extern bool mk_scheduled;
/* MK_PASSIVE_CHARGES */
extern bool mk_charges;
/* Bit N: child id N. */
extern uint64_t mk_children;
/* Bit N of word N / 64: user capability slot N. */
extern uint64_t mk_cspace[2];

/*
 * The words that both sides of a page touch. A peer may change its words at any moment and to anything: each is read
 * once, through these, and never used as an index or a length before it has been bounded.
 */
static inline uint64_t load_relaxed(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static inline uint64_t load_acquire(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

/* One order for all of these and the sequentially consistent stores; on x86-64 as cheap as the others. */
static inline uint64_t load_seq_cst(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

static inline void store_relaxed(uint64_t *word, uint64_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELAXED);
}

static inline void store_release(uint64_t *word, uint64_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

/* Says to the launcher what this PD is doing. No order is promised. */
static inline void say_where(uint32_t where, uint32_t channel)
{
    __atomic_store_n(&mk_status->where, where, __ATOMIC_RELAXED);
    __atomic_store_n(&mk_status->channel, channel, __ATOMIC_RELAXED);
}

/* Says to the peers on which CPU this PD begins to wait, and returns it. */
static inline uint16_t say_cpu(void)
{
    uint16_t cpu = wait_cpu();
    if (mk_status->cpu != cpu + 1u) {
        __atomic_store_n(&mk_status->cpu, cpu + 1u, __ATOMIC_RELAXED);
    }
    return cpu;
}

/* start.c */
void mk_start(const struct mk_handoff *handoff) __attribute__((noreturn, visibility("default")));
void mk_restart(const struct mk_handoff *handoff) __attribute__((noreturn, visibility("default")));

/* loop.c */
void mk_loop_take_ends(const struct mk_handoff *handoff);
void mk_loop(void) __attribute__((noreturn));
void mk_ring(int32_t doorbell);
/* Blocks until the doorbell rings, or a little earlier. */
void mk_read_doorbell(void);

/* crowd.c */
void mk_crowd_begin(void);
/* A peer, once or again. */
void mk_crowd_add(const struct mk_status *status);
/* More PDs are at work than there are CPUs, this one and the one that is waited for, if any, among them. */
bool mk_is_crowded(const struct mk_status *waited_for, uint64_t now);
/* Rings the doorbell of a peer that sleeps. */
void mk_wake(const struct end *end);
/* This PD has waited, so that those it has woken before have had their time. */
void mk_has_waited(void);

/* launcher.c */
void mk_launcher_take(const struct mk_handoff *handoff);
/* Takes one fault of a child to the program's handler and its answer back. False: there is none. */
bool mk_handle_fault(void);
/* MK_SCHEDULE_MICROKIT: says that something was published on `end`; waits until there may be something to do. */
void mk_say_signalled(const struct end *end);
void mk_sleep(void);
/* Says on whose time this PD runs from now on, and waits until that has some: a channel id, or MK_CHARGE_SELF. */
void mk_charge(uint64_t whom);

/*
 * To be called after something has been published on `end`, in sequentially consistent order: wakes its peer where it
 * sleeps as `asleep` says.
 */
static inline void wake_peer(const struct end *end, uint32_t asleep)
{
    if (__builtin_expect((end->rights & END_SCHEDULED) != 0, 0)) {
        mk_say_signalled(end);
    } else if (__atomic_load_n(&end->peer->asleep, __ATOMIC_SEQ_CST) == asleep) {
        mk_wake(end);
    }
}

/* channel.c */
void mk_channels_go_on(void);
void mk_run_deferred(void);
/* What the system file gives this PD in each kind of slot. */
bool mk_may(microkit_channel ch, uint32_t right);
bool mk_has_irq(microkit_channel ch);

/* console.c: one line, in one write where it fits. */
void mk_complain(const char *function, const char *what);
void mk_complain_of(const char *function, const char *what, uint32_t id);
