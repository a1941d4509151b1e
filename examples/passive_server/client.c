/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * One program for two clients: adds to the server's total, twice.
 */
#include <microkit.h>
#include <stdio.h>

#define SERVER 0

static void add(seL4_Word amount)
{
    microkit_mr_set(0, amount);
    microkit_msginfo answer = microkit_ppcall(SERVER, microkit_msginfo_new(0, 1));
    printf("total %lu (%lu word)\n", microkit_mr_get(0), microkit_msginfo_get_count(answer));
}

void init(void)
{
    printf("passive: %s\n", microkit_passive ? "yes" : "no");
    add(1);
    add(10);
}

void notified(microkit_channel ch)
{
    (void)ch;
}
