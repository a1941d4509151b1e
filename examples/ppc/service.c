/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Adds what its callers send, and has the store keep one running total for each of them. It knows a caller by the
 * channel, which the caller cannot choose.
 */
#include <microkit.h>

#define STORE 3

void init(void)
{
}

void notified(microkit_channel ch)
{
    (void)ch;
}

microkit_msginfo protected(microkit_channel ch, microkit_msginfo msginfo)
{
    seL4_Word sum = 0;
    for (seL4_Word i = 0; i < microkit_msginfo_get_count(msginfo); i++) {
        sum += microkit_mr_get((seL4_Uint8)i);
    }
    microkit_mr_set(0, ch);
    microkit_mr_set(1, sum);
    (void)microkit_ppcall(STORE, microkit_msginfo_new(0, 2));
    seL4_Word total = microkit_mr_get(0);
    microkit_mr_set(0, sum);
    microkit_mr_set(1, total);
    return microkit_msginfo_new(microkit_msginfo_get_label(msginfo), 2);
}
