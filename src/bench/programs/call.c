/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Round trips between `client` and `server` on their channels 0: calls with 4 and with 120 message registers, in turn,
 * then notifications to and fro.
 */
#include "bench.h"

const volatile struct parameters *parameters;

#define PEER 0
#define FEW 4
#define MANY 120

static uint64_t round_trips;
static uint64_t batches_left;
static uint64_t started;

static void calls(const char *word, uint8_t registers, uint64_t rounds)
{
    for (unsigned i = 0; i < registers; i++) {
        microkit_mr_set((uint8_t)i, i == registers - 1u ? 0 : i);
    }
    uint64_t start = now();
    for (uint64_t i = 0; i < rounds; i++) {
        microkit_ppcall(PEER, microkit_msginfo_new(0, registers));
    }
    uint64_t took = now() - start;
    /* The server counts in the last register: what was timed were whole calls. */
    if (microkit_mr_get(registers - 1) != rounds) {
        tell("wrong", microkit_mr_get(registers - 1));
    }
    tell(word, took);
}

static void next_batch(void)
{
    round_trips = 0;
    started = now();
    microkit_notify(PEER);
}

void init(void)
{
    if (!is_called('c')) {
        return;
    }
    /* The first calls wait for the server's init, and both sides learn whether spinning pays. */
    calls("warm", FEW, parameters->rounds / 4 + 100);
    for (uint64_t i = 0; i < parameters->batches; i++) {
        calls("few", FEW, parameters->rounds);
        calls("many", MANY, parameters->rounds);
    }
    batches_left = parameters->batches;
    next_batch();
}

void notified(microkit_channel ch)
{
    if (!is_called('c')) {
        microkit_notify(ch);
        return;
    }
    if (++round_trips < parameters->rounds) {
        microkit_notify(ch);
        return;
    }
    tell("notify", now() - started);
    if (--batches_left > 0) {
        next_batch();
    } else {
        tell("end", 0);
    }
}

microkit_msginfo protected(microkit_channel ch, microkit_msginfo msginfo)
{
    (void)ch;
    uint8_t last = (uint8_t)(microkit_msginfo_get_count(msginfo) - 1);
    microkit_mr_set(last, microkit_mr_get(last) + 1);
    return msginfo;
}
