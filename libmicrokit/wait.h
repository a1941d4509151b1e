/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * When to spin before sleeping. Waking a sleeper on another CPU costs tens of microseconds, an answer seen while
 * spinning well under one; but a spin that ends in sleep is CPU time stolen from whoever could have run.
 *
 * So a wait spins, up to a bound that the launcher sets near the cost of a wake-up, only where spinning has lately
 * paid: a success earns one credit, a failure costs two, and who has none sleeps at once. That holds the loss to one
 * failed spin in three. As a sleeper cannot know whether a spin would have paid, it probes: after 8 waits, then, while
 * probes fail, after twice as many each time up to 256, so that an idle system spins for next to nothing.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "abi.h"

#define WAIT_CREDIT_MOST 8
#define WAIT_CREDIT_PROBED 4
#define WAIT_PROBE_FIRST 8
#define WAIT_PROBE_LAST 256

struct wait_policy {
    /* Longest spin in time stamp counter cycles; 0: never. */
    uint64_t spin_cycles;
    /* MK_WAIT_* */
    uint32_t kind;
};

/* All zero is the right start: the first wait is a probe. */
struct wait_history {
    uint8_t credit;
    /* Waits until the next probe, and how many there were from the last one: 0 stands for WAIT_PROBE_FIRST. */
    uint16_t until_probe;
    uint16_t probe_interval;
};

static inline bool wait_may_spin(const struct wait_policy *policy, struct wait_history *history)
{
    if (policy->spin_cycles == 0 || policy->kind == MK_WAIT_SLEEP) {
        return false;
    }
    if (policy->kind == MK_WAIT_SPIN || history->credit > 0 || history->until_probe == 0) {
        return true;
    }
    history->until_probe--;
    return false;
}

static inline void wait_has_spun(struct wait_history *history, bool paid)
{
    if (paid) {
        if (history->credit == 0) {
            history->credit = WAIT_CREDIT_PROBED;
        } else if (history->credit < WAIT_CREDIT_MOST) {
            history->credit++;
        }
        history->probe_interval = 0;
    } else if (history->credit > 2) {
        history->credit = (uint8_t)(history->credit - 2);
    } else {
        uint16_t interval = history->probe_interval;
        interval = interval == 0 ? WAIT_PROBE_FIRST : (uint16_t)(interval * 2);
        history->credit = 0;
        history->probe_interval = interval > WAIT_PROBE_LAST ? WAIT_PROBE_LAST : interval;
        history->until_probe = history->probe_interval;
    }
}

static inline uint64_t wait_clock(void)
{
    return __builtin_ia32_rdtsc();
}

/* Tells the CPU, and the hypervisor under it, that this is a spin. */
static inline void wait_pause(void)
{
    __builtin_ia32_pause();
}
