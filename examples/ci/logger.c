/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Prints the sum of the readings. It could not change them: its region is read-only.
 */
#include <microkit.h>
#include <stdint.h>

const volatile uint32_t *readings;

void init(void)
{
}

void notified(microkit_channel ch)
{
    (void)ch;
    uint32_t sum = 0;
    for (int i = 0; i < 8; i++) {
        sum += readings[i];
    }
    microkit_dbg_puts("eight readings, sum ");
    microkit_dbg_put32(sum);
    microkit_dbg_puts("\n");
}
