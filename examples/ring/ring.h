/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The two halves of the ring. Each is written by one PD only; what the other reads it copies before it uses it.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#define SLOTS 16
#define ITEMS 1000

/* Region `items`: written by the producer. */
struct produced {
    _Atomic uint32_t head;
    uint32_t value[SLOTS];
};

/* Region `taken`: written by the consumer. */
struct consumed {
    _Atomic uint32_t tail;
};
