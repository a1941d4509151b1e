/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * What the files of libmicrokit share. Everything here is hidden: programs see include/ only.
 *
 *   start.c    entry: takes the handoff, runs constructors and init
 *   loop.c     waits for notifications and calls, runs the handlers
 *   channel.c  the sending side: notify, call, deferred actions
 *   message.h  copying messages between a shared page and the IPC buffer
 *   wait.h     when to spin before sleeping
 *   console.c  debug console, messages of the library, deliberate crash
 *   objects.c  children, I/O ports, virtual machines, seL4 invocations
 *   memory.c   the functions that compilers call behind the programmer's back
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <microkit.h>

#include "abi.h"
#include "wait.h"

#define CACHE_LINE 64

/* One channel end, by channel id. Copied out of the handoff so that a notification touches one line of private data. */
struct end {
    /* What this end says, what its peer says, and whether the peer sleeps. Only `out` is writable. */
    struct mk_out *out;
    const struct mk_out *in;
    const struct mk_status *peer;
    /* Notifications and calls sent so far. Kept here, because the copy in `out` is for the peer. */
    uint64_t notified;
    uint64_t calls;
    /* How waiting for this peer's replies went. */
    struct wait_history replies;
    int32_t peer_doorbell;
    /* MK_MAY_* and so on; 0: there is no such end. */
    uint32_t rights;
} __attribute__((aligned(CACHE_LINE)));

extern struct end mk_ends[MK_MAX_ENDS];
extern struct mk_status *mk_status;
extern int32_t mk_doorbell;
extern int32_t mk_console;
extern struct wait_policy mk_wait;

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

static inline void store_relaxed(uint64_t *word, uint64_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELAXED);
}

/* Says to the launcher what this PD is doing. No order is promised. */
static inline void say_where(uint32_t where, uint32_t channel)
{
    __atomic_store_n(&mk_status->where, where, __ATOMIC_RELAXED);
    __atomic_store_n(&mk_status->channel, channel, __ATOMIC_RELAXED);
}

/* start.c */
void mk_start(const struct mk_handoff *handoff) __attribute__((noreturn, visibility("default")));

/* loop.c */
void mk_loop_take_ends(const struct mk_handoff *handoff);
void mk_loop(void) __attribute__((noreturn));
/* Rings a peer that is asleep as `asleep` says; to be called after the word it sleeps for has been published. */
void mk_ring(int32_t doorbell);
/* Blocks until the doorbell rings, or a little earlier. */
void mk_read_doorbell(void);

/* channel.c */
void mk_run_deferred(void);

/* console.c: one line, in one write where it fits. */
void mk_complain(const char *function, const char *what);
void mk_complain_of(const char *function, const char *what, uint32_t id);
