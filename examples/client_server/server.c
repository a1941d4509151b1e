/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Waits for the client's notification, answers with a greeting in the shared region.
 */
#include <microkit.h>
#include <stdint.h>
#include <stdio.h>

#define CLIENT 2

/* Set by the system file (setvar_vaddr) before the PD starts. */
uintptr_t buffer;

void init(void)
{
    microkit_dbg_puts("server: initialised\n");
}

void notified(microkit_channel ch)
{
    if (ch != CLIENT) {
        return;
    }
    printf("server: notified on channel %u, writing to %#lx\n", ch, (unsigned long)buffer);
    snprintf((char *)buffer, 0x1000, "Hello from %s", microkit_name);
    microkit_notify(CLIENT);
}
