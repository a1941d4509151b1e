/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Tests of PDs that start again: a PD `director` makes it happen when another says so, and entry points they share.
 */
#pragma once

#include "harness.h"

static inline void nothing_to_do(void)
{
}

static inline void hears_nothing(microkit_channel ch)
{
    (void)ch;
    CHECK(!"this PD is notified");
}

static inline void never_returns(void)
{
    for (;;) {
        __builtin_ia32_pause();
    }
}

static inline microkit_msginfo never_served(microkit_channel ch, microkit_msginfo info)
{
    (void)ch;
    CHECK(!"a withdrawn call is served");
    return info;
}

/* Which start the argument asks for: `again` where the PD stands, or in a `new` process. */
static uint64_t how;
static int under_test;

static inline void begin(int pd, const char *argument)
{
    how = argument && argument[0] == 'n' ? ASK_RESPAWN : ASK_RESTART;
    under_test = pd;
    trace(0);
}

/* The PD `director` starts the PD under test again when board word 30 says so, and says in 31 that it has. */
static void direct(void)
{
    for (uint64_t i = 1;; i++) {
        wait_until(&board[30], i);
        CHECK(ask(how, under_test) == 0);
        atomic_store(&board[31], i);
    }
}

static inline void add_director(void)
{
    add_pd("director", 1, (struct entry_points){.init = direct, .notified = hears_nothing});
}

static inline void start_again(void)
{
    atomic_fetch_add(&board[30], 1);
}
