/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * What a PD asks of the launcher: its children's faults and their control, and to be scheduled. The launcher decides
 * what is granted; the checks here are for the message that a mistaken program gets.
 */
#include "internal.h"
#include "syscall.h"

static seL4_Bool (*fault_entry)(microkit_child, microkit_msginfo, microkit_msginfo *);

bool mk_scheduled;
bool mk_charges;
uint64_t mk_children;

void mk_launcher_take(const struct mk_handoff *handoff)
{
    fault_entry = (seL4_Bool(*)(microkit_child, microkit_msginfo, microkit_msginfo *))(uintptr_t)handoff->fault;
    mk_scheduled = handoff->schedule == MK_SCHEDULE_MICROKIT;
    mk_charges = handoff->passive == MK_PASSIVE_CHARGES;
    mk_children = handoff->children;
}

static uint64_t at(const void *address)
{
    return (uint64_t)(uintptr_t)address;
}

static microkit_msginfo bounded(microkit_msginfo info, uint64_t most)
{
    uint64_t count = seL4_MessageInfo_get_length(info);
    return seL4_MessageInfo_new(seL4_MessageInfo_get_label(info), 0, 0, count > most ? most : count);
}

bool mk_handle_fault(void)
{
    struct mk_fault taken;
    if (launcher_call(MK_OP_FAULT_TAKE, at(&taken), 0, 0, 0) <= 0) {
        return false;
    }
    microkit_child child = (microkit_child)taken.child;
    microkit_msginfo message = bounded((microkit_msginfo){{taken.info}}, MK_FAULT_MRS);
    for (uint64_t i = 0; i < seL4_MessageInfo_get_length(message); i++) {
        __sel4_ipc_buffer->msg[i] = taken.mr[i];
    }
    say_where(MK_IN_FAULT, child);
    if (fault_entry == 0) {
        mk_complain(0, "is missing the 'fault' entry point");
        microkit_internal_crash(seL4_NoError);
    }
    microkit_msginfo reply = {{0}};
    bool resumes = fault_entry(child, message, &reply) != seL4_False;
    mk_run_deferred();
    launcher_call(MK_OP_FAULT_REPLY, child, resumes, bounded(reply, MK_MAX_MRS).words[0], at(__sel4_ipc_buffer->msg));
    say_where(MK_IN_LOOP, 0);
    return true;
}

static void control(const char *function, microkit_child child, uint64_t op, uint64_t argument)
{
    if (child >= 64 || (mk_children >> child & 1) == 0) {
        mk_complain_of(function, "invalid child given", child);
    } else if (launcher_call(op, child, argument, 0, 0) < 0) {
        mk_complain_of(function, "the launcher cannot do this to child", child);
    }
}

void microkit_pd_restart(microkit_child pd, seL4_Word entry_point)
{
    control("microkit_pd_restart", pd, MK_OP_PD_RESTART, entry_point);
}

void microkit_pd_stop(microkit_child pd)
{
    control("microkit_pd_stop", pd, MK_OP_PD_STOP, 0);
}

void microkit_pd_resume(microkit_child pd)
{
    control("microkit_pd_resume", pd, MK_OP_PD_RESUME, 0);
}

static void schedule(uint64_t op, uint64_t argument)
{
    if (launcher_call(op, argument, 0, 0, 0) < 0) {
        /* To go on would be to spin for ever in silence. */
        mk_complain(0, "is not scheduled by the launcher");
        microkit_internal_crash(seL4_FailedLookup);
    }
}

void mk_say_signalled(const struct end *end)
{
    schedule(MK_OP_SIGNALLED, (uint64_t)(end - mk_ends));
}

void mk_sleep(void)
{
    schedule(MK_OP_SLEEP, 0);
}

/* A refusal means that the call has been withdrawn meanwhile: then nothing is served. */
void mk_charge(uint64_t whom)
{
    launcher_call(MK_OP_CHARGE, whom, 0, 0, 0);
}
