/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Hands a counter to the PD of the other domain, which cannot run before its domain's time has come.
 */
#include <microkit.h>
#include <stdio.h>
#include <string.h>

#define OTHER 0
#define ROUNDS 3

/* In a region that both have. */
volatile unsigned *counter;

static void pass_on(void)
{
    if (*counter < 2 * ROUNDS) {
        *counter += 1;
        printf("hand-over %u\n", *counter);
        microkit_notify(OTHER);
    }
}

void init(void)
{
    if (strcmp(microkit_name, "sun") == 0) {
        pass_on();
    }
}

void notified(microkit_channel ch)
{
    (void)ch;
    pass_on();
}
