/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Rings the intruders one by one, and after each asks the keeper whether its secret is still there.
 */
#include <microkit.h>
#include <stdio.h>
#include <string.h>

#define FIRST 1
#define LAST 5
#define KEEPER 6

char *notice;

void init(void)
{
    strcpy(notice, "read me only");
    microkit_notify(FIRST);
}

void notified(microkit_channel ch)
{
    (void)microkit_ppcall(KEEPER, microkit_msginfo_new(0, 0));
    printf("after intruder %u: notice \"%s\", the keeper's secret is %s\n", ch, notice,
           microkit_mr_get(0) ? "intact" : "gone");
    if (ch < LAST) {
        microkit_notify(ch + 1);
    }
}
