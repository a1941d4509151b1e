/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The other child, which goes on whatever happens to its sibling.
 */
#include <microkit.h>
#include <stdio.h>

void init(void)
{
}

void notified(microkit_channel ch)
{
    (void)ch;
    puts("still here");
}
