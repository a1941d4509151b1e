/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Writes eight readings and tells the logger.
 */
#include <microkit.h>
#include <stdint.h>

uint32_t *readings;

void init(void)
{
    for (uint32_t i = 0; i < 8; i++) {
        readings[i] = 20 + i % 3;
    }
    microkit_notify(0);
}

void notified(microkit_channel ch)
{
    (void)ch;
}
