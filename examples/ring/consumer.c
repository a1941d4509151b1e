/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "ring.h"
#include <microkit.h>
#include <stdio.h>

#define PRODUCER 0

const struct produced *items;
struct consumed *taken;

static uint32_t got;
static uint64_t sum;

void init(void)
{
}

void notified(microkit_channel ch)
{
    if (ch != PRODUCER) {
        return;
    }
    uint32_t head = atomic_load_explicit(&items->head, memory_order_acquire);
    if (head - got > SLOTS) {
        printf("the producer claims %u items in a ring of %u\n", head - got, SLOTS);
        return;
    }
    uint32_t before = got;
    while (got != head) {
        sum += items->value[got % SLOTS];
        got++;
    }
    if (got != before) {
        atomic_store_explicit(&taken->tail, got, memory_order_release);
        microkit_notify(PRODUCER);
        if (got == ITEMS) {
            printf("took %u items, sum %lu\n", got, (unsigned long)sum);
        }
    }
}
