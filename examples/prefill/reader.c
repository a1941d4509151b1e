/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Reads what the system file has put into a region before this program ran.
 */
#include <microkit.h>
#include <stdio.h>

/* Set by the system file. */
const char *poem;
seL4_Word region_size;
seL4_Word poem_size;

void init(void)
{
    printf("%lu bytes in a region of %lu\n", poem_size, region_size);
    printf("%.*s", (int)poem_size, poem);
    seL4_Word rest = 0;
    for (seL4_Word i = poem_size; i < region_size; i++) {
        rest |= (seL4_Word)poem[i];
    }
    puts(rest == 0 ? "and zeros behind it" : "and something behind it");
}

void notified(microkit_channel ch)
{
    (void)ch;
}
