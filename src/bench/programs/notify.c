/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Notifications one way. `ringer` notifies `busy`, which is in a handler all the while; `waker` notifies `sleeper`,
 * which sleeps each time. Each pair has channel 0 and a page that the receiver writes.
 */
#include "bench.h"

const volatile struct parameters *parameters;

/* Written by the receiver: how many notifications it has taken, and when the last one arrived. */
struct arrivals {
    uint64_t count;
    uint64_t at;
};

struct arrivals *arrivals;
/* Written by `ringer`: 1 once it is done. */
uint64_t *done;

#define PEER 0

static uint64_t arrived(void)
{
    return __atomic_load_n(&arrivals->count, __ATOMIC_ACQUIRE);
}

static void ring(void)
{
    microkit_notify(PEER);
    while (arrived() == 0) {
        __builtin_ia32_pause();
    }
    for (uint64_t batch = 0; batch < parameters->batches; batch++) {
        uint64_t start = now();
        for (uint64_t i = 0; i < parameters->rounds; i++) {
            microkit_notify(PEER);
        }
        tell("busy", now() - start);
    }
    __atomic_store_n(done, 1, __ATOMIC_RELEASE);
    tell("end", 0);
}

static void wake(void)
{
    for (uint64_t i = 1; i <= parameters->rounds; i++) {
        /* Long enough for the other to give up spinning and fall asleep. */
        pause_for(parameters->cycles);
        uint64_t start = now();
        microkit_notify(PEER);
        while (arrived() != i) {
            __builtin_ia32_pause();
        }
        tell("sleeper", arrivals->at - start);
    }
    tell("end", 0);
}

void init(void)
{
    if (is_called('r')) {
        ring();
    } else if (is_called('w')) {
        wake();
    }
}

void notified(microkit_channel ch)
{
    (void)ch;
    arrivals->at = now();
    __atomic_store_n(&arrivals->count, arrivals->count + 1, __ATOMIC_RELEASE);
    if (is_called('b')) {
        while (__atomic_load_n(done, __ATOMIC_ACQUIRE) == 0) {
            __builtin_ia32_pause();
        }
    }
}
