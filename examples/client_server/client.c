/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Rings the server and prints the greeting it finds in the shared region afterwards.
 */
#include <microkit.h>
#include <stdint.h>
#include <stdio.h>

#define SERVER 1

/* Set by the system file (setvar_vaddr) before the PD starts. */
uintptr_t buffer;

void init(void)
{
    microkit_dbg_puts("client: initialised, notifying the server on channel 1\n");
    microkit_notify(SERVER);
}

void notified(microkit_channel ch)
{
    if (ch != SERVER) {
        return;
    }
    printf("client: notified on channel %u, read at %#lx: %s\n", ch, (unsigned long)buffer, (const char *)buffer);
}
