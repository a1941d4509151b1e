/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Works in two halves. Between them it rings the controller, which has a higher priority and so runs at once.
 */
#include <microkit.h>
#include <stdio.h>

#define CONTROLLER 0

void init(void)
{
    for (volatile unsigned i = 0; i < 1000000; i++) {
    }
    puts("first half");
    microkit_notify(CONTROLLER);
    puts("second half");
}

void notified(microkit_channel ch)
{
    (void)ch;
}
