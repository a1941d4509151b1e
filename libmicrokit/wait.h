/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * When to spin before sleeping. Waking a sleeper on another CPU costs tens of microseconds, an answer seen while
 * spinning well under one; but a spin that ends in sleep is CPU time stolen from whoever could have run.
 *
 * So a wait spins, up to a bound that the launcher sets near the cost of two wake-ups, only where spinning has lately
 * paid: a success earns one credit, a failure costs two, and who has none sleeps at once. As a sleeper cannot know
 * whether a spin would have paid, it probes, after a rest that doubles with each probe that fails. The shortest rest
 * is the launcher's choice: so long that the probes of all PDs together, were all in vain, take a small part of the
 * host's time.
 *
 * Two PDs that wake each other on one CPU cannot find out that another is free: neither can run while the other
 * spins, and the scheduler, which never sees both ready to run for long, leaves them where they are; it even brings
 * them together, since who writes to a pipe says that it will sleep. So each tells on which CPU it waits, and where
 * some waits in a row have slept for a peer on the same one, a long spin shows the scheduler both. Whoever it moves
 * finds itself on another CPU, and forgets what it had learnt on the last one.
 *
 * A spin in which this PD was taken off its CPU has stood in somebody's way, whatever it waited for: it ends, and has
 * failed.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "abi.h"

#define WAIT_CREDIT_MOST 8
#define WAIT_CREDIT_PROBED 4
/* The longest rest, in shortest ones. */
#define WAIT_REST_LAST 16
/* Waits in a row that sleep for the same peer on the same CPU before a long spin, at first and at most, and its length
 * in spins: some ticks of the scheduler's clock. */
#define WAIT_LONG_FIRST ((uint32_t)1 << 6)
#define WAIT_LONG_LAST ((uint32_t)1 << 21)
#define WAIT_LONG_SPINS 128
/* A look takes far less, a switch to another process and back more: in cycles. */
#define WAIT_GAP 30000

struct wait_policy {
    /* Longest spin in time stamp counter cycles; 0: never. */
    uint64_t spin_cycles;
    /* MK_WAIT_* */
    uint32_t kind;
    /* CPUs that the system's PDs may run on. */
    uint32_t cpus;
    /* Shortest rest between two probes of this PD, in cycles. */
    uint64_t rest;
    /* No probe before this time, whatever is waited for. */
    uint64_t rest_until;
    /* No spin before this time: more PDs were at work than there are CPUs. */
    uint64_t crowded_until;
    /* Waits in a row that have slept at once for this peer, which waited on the same CPU, and how many of them are due
     * before a long spin: 0 is WAIT_LONG_FIRST. In a crowd it is another peer each time. */
    const uint32_t *beside;
    uint32_t slept;
    uint32_t long_due;
};

/* All zero is a right start: the first wait is a probe. */
struct wait_history {
    uint8_t credit;
    /* CPU of the latest wait, and one more, so that 0 is none. */
    uint16_t cpu;
    /* No probe before this time; the length of the latest rest. */
    uint64_t rest_until;
    uint64_t rest;
};

/* A spin that goes on. */
struct wait_spin {
    uint64_t start;
    uint64_t latest;
    uint64_t longest;
    bool torn;
};

static inline uint64_t wait_clock(void)
{
    return __builtin_ia32_rdtsc();
}

/* Where Linux keeps the number for its own getcpu: the limit of a segment, CPU in the low 12 bits. */
static inline uint16_t wait_cpu(void)
{
    uint32_t limit = 0;
    __asm__ volatile("lsl %1, %0" : "+r"(limit) : "r"(0x7b) : "cc");
    return limit & 0xfff;
}

/* Tells the CPU, and the hypervisor under it, that this is a spin. */
static inline void wait_pause(void)
{
    __builtin_ia32_pause();
}

/* Waits that sleep in a row before the next long spin. */
static inline uint32_t wait_long_due(const struct wait_policy *policy)
{
    return policy->long_due == 0 ? WAIT_LONG_FIRST : policy->long_due;
}

/* Cycles that this wait may spin before it sleeps; 0: it sleeps at once. `peer_cpu`: where the peer last waited, and
 * one more; read only where that matters, since the peer writes beside it. */
static inline uint64_t wait_may_spin(struct wait_policy *policy, struct wait_history *history, uint64_t now,
                                     uint16_t cpu, const uint32_t *peer_cpu)
{
    if (policy->spin_cycles == 0 || policy->kind == MK_WAIT_SLEEP) {
        return 0;
    }
    if (policy->kind == MK_WAIT_SPIN || history->credit > 0) {
        return policy->spin_cycles;
    }
    if (history->cpu != cpu + 1) {
        history->cpu = (uint16_t)(cpu + 1);
        history->rest = 0;
        history->rest_until = 0;
    }
    if (now >= history->rest_until && now >= policy->rest_until) {
        policy->rest_until = now + policy->rest;
        return policy->spin_cycles;
    }
    if (policy->beside != peer_cpu || __atomic_load_n(peer_cpu, __ATOMIC_RELAXED) != cpu + 1u) {
        policy->beside = peer_cpu;
        policy->slept = 0;
        return 0;
    }
    if (++policy->slept >= wait_long_due(policy)) {
        policy->slept = 0;
        return policy->spin_cycles * WAIT_LONG_SPINS;
    }
    return 0;
}

static inline struct wait_spin wait_spin_begin(uint64_t now, uint64_t longest)
{
    return (struct wait_spin){.start = now, .latest = now, .longest = longest};
}

/* After each look: false when the spin is over, or was torn by another process. */
static inline bool wait_spin_goes_on(struct wait_spin *spin)
{
    uint64_t now = wait_clock();
    spin->torn |= now - spin->latest > WAIT_GAP;
    spin->latest = now;
    return !spin->torn && now - spin->start < spin->longest;
}

/* `found`: what was waited for came. */
static inline void wait_has_spun(struct wait_policy *policy, struct wait_history *history, const struct wait_spin *spin,
                                 bool found)
{
    if (found && !spin->torn) {
        if (history->credit == 0) {
            history->credit = WAIT_CREDIT_PROBED;
        } else if (history->credit < WAIT_CREDIT_MOST) {
            history->credit++;
        }
        history->rest = 0;
        policy->slept = 0;
        policy->long_due = 0;
        policy->rest_until = 0;
    } else if (spin->longest > policy->spin_cycles) {
        uint32_t due = wait_long_due(policy);
        policy->long_due = due * 2 > WAIT_LONG_LAST ? WAIT_LONG_LAST : due * 2;
    } else if (history->credit > 2) {
        history->credit = (uint8_t)(history->credit - 2);
    } else {
        uint64_t rest = history->rest == 0 ? policy->rest : history->rest * 2;
        uint64_t last = policy->rest * WAIT_REST_LAST;
        history->credit = 0;
        history->rest = rest > last ? last : rest;
        history->rest_until = spin->latest + history->rest;
        policy->rest_until = spin->latest + policy->rest;
    }
}
