/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Has the lowest priority: it runs only when nobody else can, as when the worker is suspended.
 */
#include <microkit.h>
#include <stdio.h>

#define CONTROLLER 0

void init(void)
{
    puts("my turn, so the worker is suspended");
}

void notified(microkit_channel ch)
{
    (void)ch;
    puts("ask for the worker");
    microkit_notify(CONTROLLER);
    puts("my turn again, so the worker is done");
}
