/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Holds capabilities to another PD's thread and scheduling context: stops it, looks at its registers and lets it go on.
 */
#include <microkit.h>
#include <stdio.h>

#define WORKER 0
#define IDLER 1

/* Slots of the cspace element. */
#define WORKER_TCB 3
#define WORKER_SC 4

static seL4_TCB worker_tcb;
static seL4_SchedContext worker_sc;

void init(void)
{
    worker_tcb = microkit_cspace_root_slot_to_cptr(WORKER_TCB);
    worker_sc = microkit_cspace_root_slot_to_cptr(WORKER_SC);
    puts("ready");
}

void notified(microkit_channel ch)
{
    if (ch == WORKER) {
        printf("suspend: error %d\n", seL4_TCB_Suspend(worker_tcb));
        seL4_UserContext registers = {0};
        int error = seL4_TCB_ReadRegisters(worker_tcb, seL4_False, 0, sizeof registers / sizeof(seL4_Word), &registers);
        printf("registers: error %d, it stands in code: %s\n", error, registers.rip != 0 ? "yes" : "no");
        seL4_SchedContext_Consumed_t consumed = seL4_SchedContext_Consumed(worker_sc);
        printf("time: error %d, it has used some: %s\n", consumed.error, consumed.consumed > 0 ? "yes" : "no");
        microkit_notify(IDLER);
    } else {
        printf("resume: error %d\n", seL4_TCB_Resume(worker_tcb));
    }
}
