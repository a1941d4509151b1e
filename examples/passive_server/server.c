/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A passive server: once init has returned, it runs only on the time of those who call it.
 */
#include <microkit.h>
#include <stdio.h>

static seL4_Word total;

void init(void)
{
    printf("passive: %s\n", microkit_passive ? "yes" : "no");
}

void notified(microkit_channel ch)
{
    (void)ch;
}

microkit_msginfo protected(microkit_channel ch, microkit_msginfo msginfo)
{
    total += microkit_mr_get(0);
    printf("channel %u adds %lu\n", ch, microkit_mr_get(0));
    microkit_mr_set(0, total);
    return microkit_msginfo_new(microkit_msginfo_get_label(msginfo), 1);
}
