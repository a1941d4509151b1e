/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Prints the variables that the system file sets. Each has a value of its own in the source, which nobody sees.
 */
#include <microkit.h>
#include <stdint.h>
#include <stdio.h>

/* setvar_vaddr, setvar_size, setvar_prefill_size of a map */
uint64_t motd = 0xbad;
uint64_t motd_size = 0xbad;
uint64_t motd_length = 0xbad;
/* setvar region_paddr */
uint64_t device_paddr = 0xbad;
/* setvar_id of a channel's end, an irq and a child: eight bytes or four */
uint64_t other_channel = 0xbad;
uint32_t timer_irq = 0xbad;
uint32_t child_id = 0xbad;
/* Variables without a value (.bss), local ones and constants can be set as well. */
uint64_t second_paddr;
static volatile uint64_t hidden = 0xbad;
extern const volatile uint64_t constant;
const volatile uint64_t constant = 0xbad;

void init(void)
{
    printf("motd at %#lx, %lu of %lu bytes: %.*s\n", motd, motd_length, motd_size, (int)motd_length - 1,
           (const char *)motd);
    printf("device at %#lx and %#lx\n", device_paddr, second_paddr);
    printf("channel %lu, irq %u, child %u\n", other_channel, timer_irq, child_id);
    printf("hidden %#lx, constant %#lx\n", hidden, constant);
    microkit_irq_ack(timer_irq);
    microkit_notify((microkit_channel)other_channel);
}

void notified(microkit_channel ch)
{
    (void)ch;
}

seL4_Bool fault(microkit_child child, microkit_msginfo msginfo, microkit_msginfo *reply)
{
    (void)child;
    (void)msginfo;
    (void)reply;
    return seL4_False;
}
