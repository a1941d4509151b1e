/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * `child` crashes as soon as it runs; `parent` starts it again, and the child says how long that took.
 */
#include "bench.h"

const volatile struct parameters *parameters;

/* Kept over restarts, as a child's memory is. */
static uint64_t crashes;
static uint64_t crashed;

#define IMAGE_START 0

void init(void)
{
    if (!is_called('c')) {
        return;
    }
    if (crashes > 0) {
        tell("restart", now() - crashed);
    }
    if (crashes == parameters->rounds) {
        tell("end", 0);
        return;
    }
    crashes++;
    crashed = now();
    *(volatile char *)(uintptr_t)0xbad000 = 0;
}

void notified(microkit_channel ch)
{
    (void)ch;
}

seL4_Bool fault(microkit_child child, microkit_msginfo msginfo, microkit_msginfo *reply)
{
    (void)msginfo;
    (void)reply;
    microkit_pd_restart(child, IMAGE_START);
    return seL4_False;
}
