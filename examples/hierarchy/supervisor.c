/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Parent of two: starts a child again when it faults, nine times, and then stops it.
 */
#include <microkit.h>
#include <stdio.h>

#define CRASHER 3
#define BYSTANDER 4
#define TRIES 9

/* Entry point 0: the image's start, which runs constructors and init again. */
#define IMAGE_START 0

static unsigned restarts;

void init(void)
{
    puts("watching");
}

void notified(microkit_channel ch)
{
    (void)ch;
}

seL4_Bool fault(microkit_child child, microkit_msginfo msginfo, microkit_msginfo *reply)
{
    (void)reply;
    if (child != CRASHER || microkit_msginfo_get_label(msginfo) != seL4_Fault_VMFault) {
        printf("child %u: fault of kind %lu, which is not expected here\n", child, microkit_msginfo_get_label(msginfo));
        return seL4_False;
    }
    printf("child %u: memory fault at %#lx, ", child, microkit_mr_get(seL4_VMFault_Addr));
    if (restarts < TRIES) {
        restarts++;
        printf("restart %u\n", restarts);
        microkit_pd_restart(child, IMAGE_START);
    } else {
        puts("it had its chances");
        microkit_pd_stop(child);
        microkit_notify(BYSTANDER);
    }
    /* Nothing to reply: the fault is settled by the restart, or for ever. */
    return seL4_False;
}
