/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "ring.h"
#include <microkit.h>
#include <stdio.h>

#define CONSUMER 0

struct produced *items;
const struct consumed *taken;

static uint32_t made;

/* Fills the ring as far as the consumer has emptied it. */
static void produce(void)
{
    uint32_t tail = atomic_load_explicit(&taken->tail, memory_order_acquire);
    uint32_t head = made;
    while (made < ITEMS && made - tail < SLOTS) {
        items->value[made % SLOTS] = made * made;
        made++;
    }
    if (made != head) {
        atomic_store_explicit(&items->head, made, memory_order_release);
        microkit_notify(CONSUMER);
        if (made == ITEMS) {
            printf("made %u items\n", made);
        }
    }
}

void init(void)
{
    produce();
}

void notified(microkit_channel ch)
{
    if (ch == CONSUMER) {
        produce();
    }
}
