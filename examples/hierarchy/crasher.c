/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Writes through a pointer to memory it has not. A restart does not reset memory, so it can count.
 */
#include <microkit.h>
#include <stdint.h>
#include <stdio.h>

static unsigned long starts;

void init(void)
{
    starts++;
    printf("start %lu\n", starts);
    *(volatile char *)(uintptr_t)(0xbad000 + starts) = 'x';
    puts("this line is never printed");
}

void notified(microkit_channel ch)
{
    (void)ch;
}
