/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The PD at the other end of the channel, and the child.
 */
#include <microkit.h>
#include <stdio.h>

void init(void)
{
}

void notified(microkit_channel ch)
{
    printf("notified on channel %u\n", ch);
}
