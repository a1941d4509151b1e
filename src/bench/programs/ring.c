/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * 64 KiB at a time from `producer` to `consumer` through a shared ring, each told of the other's progress by
 * notifications.
 */
#include "bench.h"

#include <stdbool.h>
#include <string.h>

const volatile struct parameters *parameters;

#define PEER 0
#define MESSAGE (64u << 10)
#define SLOTS 8u
/* Before the clock starts every page has been touched and both have found their CPU, as in the floor: some ticks of the
 * scheduler's clock. */
#define WARM 10000u

/* A page with one writer. */
struct progress {
    uint64_t count;
};

/* Written by the producer: the slots, and how many it has filled. */
char *slots;
struct progress *filled;
/* Written by the consumer: how many it has emptied. */
struct progress *emptied;

static char copy[MESSAGE];
/* With that which warms. */
static uint64_t batches_left;
static uint64_t batch_end;
static uint64_t started;

static uint64_t load(const struct progress *progress)
{
    return __atomic_load_n(&progress->count, __ATOMIC_ACQUIRE);
}

static void advance(struct progress *progress)
{
    __atomic_store_n(&progress->count, progress->count + 1, __ATOMIC_RELEASE);
    microkit_notify(PEER);
}

static void fill(void)
{
    while (filled->count < batch_end && filled->count - load(emptied) < SLOTS) {
        memcpy(slots + (filled->count % SLOTS) * MESSAGE, copy, MESSAGE);
        advance(filled);
    }
}

static bool is_warm;

static void next_batch(void)
{
    batch_end = filled->count + (is_warm ? parameters->rounds : WARM);
    started = now();
    fill();
}

void init(void)
{
    if (is_called('p')) {
        memset(copy, 0x5a, sizeof(copy));
        batches_left = parameters->batches + 1;
        next_batch();
    }
}

void notified(microkit_channel ch)
{
    (void)ch;
    if (is_called('c')) {
        while (emptied->count < load(filled)) {
            memcpy(copy, slots + (emptied->count % SLOTS) * MESSAGE, MESSAGE);
            advance(emptied);
        }
        return;
    }
    fill();
    if (batches_left > 0 && load(emptied) == batch_end) {
        if (is_warm) {
            tell("ring", now() - started);
        }
        is_warm = true;
        if (--batches_left > 0) {
            next_batch();
        } else {
            tell("end", 0);
        }
    }
}
