/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Keeps a total for each slot: message register 0 names the slot, 1 what to add; the answer is the new total.
 */
#include <microkit.h>

#define SLOTS 62

static seL4_Word totals[SLOTS];

void init(void)
{
}

void notified(microkit_channel ch)
{
    (void)ch;
}

microkit_msginfo protected(microkit_channel ch, microkit_msginfo msginfo)
{
    (void)ch;
    (void)msginfo;
    seL4_Word slot = microkit_mr_get(0) % SLOTS;
    totals[slot] += microkit_mr_get(1);
    microkit_mr_set(0, totals[slot]);
    return microkit_msginfo_new(0, 1);
}
