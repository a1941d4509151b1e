/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * What the programs of `mk-sandbox bench` share. Each is an ordinary program of a PD: it runs in the full sandbox,
 * reads the time stamp counter and prints what it measured, one line a value: `WORD NUMBER`.
 */
#pragma once

#include <microkit.h>
#include <stdint.h>

/* Prefilled by the bench, mapped read-only; the system file sets `parameters` to its address. */
struct parameters {
    /* How often to measure. */
    uint64_t batches;
    /* What one measurement repeats. */
    uint64_t rounds;
    /* A pause or a span of time, in cycles of the time stamp counter. */
    uint64_t cycles;
};

extern const volatile struct parameters *parameters;

static inline uint64_t now(void)
{
    return __builtin_ia32_rdtsc();
}

static inline void pause_for(uint64_t cycles)
{
    uint64_t start = now();
    while (now() - start < cycles) {
        __builtin_ia32_pause();
    }
}

/* One write, so that lines of many PDs are whole. */
static inline void tell(const char *word, uint64_t number)
{
    char line[64];
    unsigned at = sizeof(line);
    line[--at] = 0;
    line[--at] = '\n';
    do {
        line[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    line[--at] = ' ';
    unsigned length = 0;
    while (word[length] != 0 && length < 32) {
        length++;
    }
    while (length > 0) {
        line[--at] = word[--length];
    }
    microkit_dbg_puts(&line[at]);
}

/* What a PD does follows from the first letter of its name. */
static inline int is_called(char letter)
{
    return microkit_name[0] == letter;
}
