/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A PD that says when it came to life, and waits.
 */
#include "bench.h"

void init(void)
{
    tell("init", now());
}

void notified(microkit_channel ch)
{
    (void)ch;
}
