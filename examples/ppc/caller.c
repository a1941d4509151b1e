/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * One program for two PDs: asks the service to add three numbers, twice.
 */
#include <microkit.h>
#include <stdio.h>

#define SERVICE 0

enum {
    LABEL_ADD = 1
};

static void add(seL4_Word a, seL4_Word b, seL4_Word c)
{
    microkit_mr_set(0, a);
    microkit_mr_set(1, b);
    microkit_mr_set(2, c);
    microkit_msginfo reply = microkit_ppcall(SERVICE, microkit_msginfo_new(LABEL_ADD, 3));
    printf("%s: %lu + %lu + %lu = %lu, running total %lu (label %lu, %lu words)\n", microkit_name, a, b, c,
           microkit_mr_get(0), microkit_mr_get(1), microkit_msginfo_get_label(reply),
           microkit_msginfo_get_count(reply));
}

void init(void)
{
    seL4_Word first = (seL4_Word)microkit_name[0];
    add(1, 2, 3);
    add(first, first, first);
}

void notified(microkit_channel ch)
{
    (void)ch;
}
