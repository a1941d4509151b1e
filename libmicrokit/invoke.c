/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * seL4 invocations on the threads and scheduling contexts behind a PD's slots: its children's, and what the system
 * file's `cspace` gives it. The launcher knows what a slot holds and acts; this side finds the slot and says no as the
 * kernel would.
 *
 * Registers pass through a context of the library's own, so that a wrong pointer is the program's memory fault, at the
 * program's address, and not an error of the launcher's.
 */
#include "internal.h"
#include "syscall.h"

/* Words of a seL4_UserContext. */
#define CONTEXT_WORDS (sizeof(seL4_UserContext) / sizeof(seL4_Word))
_Static_assert(CONTEXT_WORDS == 20, "x86-64: 18 registers of the frame, two segment bases");

#define NO_SLOT (-1)
#define ERRNO_EBADF 9
#define ERRNO_EFAULT 14
#define ERRNO_EINVAL 22
#define ERRNO_ERANGE 34

uint64_t mk_cspace[2];

/* The launcher's name of a slot that may hold a thread or a scheduling context. */
static int64_t slot_of(seL4_CPtr cap)
{
    seL4_Word child = cap - BASE_TCB_CAP;
    if (child < 64) {
        return mk_children >> child & 1 ? (int64_t)(MK_SLOT_CHILD + child) : NO_SLOT;
    }
    seL4_Word user = cap - BASE_USER_CAPS;
    if (user < 128) {
        return mk_cspace[user / 64] >> user % 64 & 1 ? (int64_t)user : NO_SLOT;
    }
    return NO_SLOT;
}

/* Why there is no invoking of this kind on `cap`: it is of another kind, or there is nothing. */
static seL4_Error refusal(seL4_CPtr cap)
{
    seL4_Word notification = cap - BASE_OUTPUT_NOTIFICATION_CAP;
    seL4_Word endpoint = cap - BASE_ENDPOINT_CAP;
    seL4_Word irq = cap - BASE_IRQ_CAP;
    seL4_Word ioport = cap - BASE_IOPORT_CAP;
    bool held = slot_of(cap) != NO_SLOT ||
                (notification < MICROKIT_MAX_CHANNELS && mk_may((microkit_channel)notification, MK_MAY_NOTIFY)) ||
                (endpoint < MICROKIT_MAX_CHANNELS && mk_may((microkit_channel)endpoint, MK_MAY_CALL)) ||
                (irq < MICROKIT_MAX_CHANNELS && mk_has_irq((microkit_channel)irq)) ||
                (ioport < MICROKIT_MAX_CHANNELS && (microkit_ioports >> ioport & 1) != 0);
    return held ? seL4_IllegalOperation : seL4_InvalidCapability;
}

static seL4_Error error_of(int64_t result)
{
    if (result >= 0 && result < seL4_NumErrors) {
        return (seL4_Error)result;
    }
    switch (-result) {
    case ERRNO_EBADF:
        return seL4_InvalidCapability;
    case ERRNO_EINVAL:
    case ERRNO_EFAULT:
        return seL4_InvalidArgument;
    case ERRNO_ERANGE:
        return seL4_RangeError;
    default:
        return seL4_IllegalOperation;
    }
}

static seL4_Error invoke(uint64_t op, seL4_CPtr cap, uint64_t b, uint64_t c, uint64_t d)
{
    int64_t slot = slot_of(cap);
    return slot == NO_SLOT ? refusal(cap) : error_of(launcher_call(op, (uint64_t)slot, b, c, d));
}

seL4_Error seL4_TCB_Suspend(seL4_TCB _service)
{
    return invoke(MK_OP_TCB_SUSPEND, _service, 0, 0, 0);
}

seL4_Error seL4_TCB_Resume(seL4_TCB _service)
{
    return invoke(MK_OP_TCB_RESUME, _service, 0, 0, 0);
}

static void copy_words(seL4_Word *to, const seL4_Word *from, seL4_Word count)
{
    for (seL4_Word i = 0; i < count; i++) {
        to[i] = from[i];
    }
}

seL4_Error seL4_TCB_ReadRegisters(seL4_TCB _service, seL4_Bool suspend_source, seL4_Uint8 arch_flags, seL4_Word count,
                                  seL4_UserContext *regs)
{
    (void)arch_flags;
    if (slot_of(_service) == NO_SLOT) {
        return refusal(_service);
    }
    if (count < 1 || count > CONTEXT_WORDS) {
        return seL4_RangeError;
    }
    seL4_UserContext context = {0};
    seL4_Error error =
        invoke(MK_OP_TCB_READ, _service, suspend_source != seL4_False, count, (uint64_t)(uintptr_t)&context);
    if (error == seL4_NoError) {
        copy_words((seL4_Word *)regs, (const seL4_Word *)&context, count);
    }
    return error;
}

seL4_Error seL4_TCB_WriteRegisters(seL4_TCB _service, seL4_Bool resume_target, seL4_Uint8 arch_flags, seL4_Word count,
                                   seL4_UserContext *regs)
{
    (void)arch_flags;
    if (slot_of(_service) == NO_SLOT) {
        return refusal(_service);
    }
    if (count > CONTEXT_WORDS) {
        return seL4_TruncatedMessage;
    }
    seL4_UserContext context = {0};
    copy_words((seL4_Word *)&context, (const seL4_Word *)regs, count);
    return invoke(MK_OP_TCB_WRITE, _service, resume_target != seL4_False, count, (uint64_t)(uintptr_t)&context);
}

seL4_SchedContext_Consumed_t seL4_SchedContext_Consumed(seL4_SchedContext _service)
{
    uint64_t microseconds = 0;
    seL4_SchedContext_Consumed_t answer = {.error = seL4_IllegalOperation, .consumed = 0};
    if (_service - BASE_TCB_CAP < 64) {
        answer.error = refusal(_service);
        return answer;
    }
    answer.error = invoke(MK_OP_SC_CONSUMED, _service, (uint64_t)(uintptr_t)&microseconds, 0, 0);
    if (answer.error == seL4_NoError) {
        answer.consumed = microseconds;
    }
    return answer;
}

/* To bind and to yield is to schedule, which a PD cannot on Linux: refused also where the slot holds one. */
seL4_Error seL4_SchedContext_Bind(seL4_SchedContext _service, seL4_CPtr cap)
{
    (void)cap;
    return refusal(_service);
}

seL4_Error seL4_SchedContext_Unbind(seL4_SchedContext _service)
{
    return refusal(_service);
}

seL4_Error seL4_SchedContext_UnbindObject(seL4_SchedContext _service, seL4_CPtr cap)
{
    (void)cap;
    return refusal(_service);
}

seL4_SchedContext_YieldTo_t seL4_SchedContext_YieldTo(seL4_SchedContext _service)
{
    return (seL4_SchedContext_YieldTo_t){.error = refusal(_service), .consumed = 0};
}

/* Interrupts have no source yet: there is nothing to acknowledge. */
seL4_Error seL4_IRQHandler_Ack(seL4_IRQHandler _service)
{
    seL4_Word irq = _service - BASE_IRQ_CAP;
    return irq < MICROKIT_MAX_CHANNELS && mk_has_irq((microkit_channel)irq) ? seL4_NoError : refusal(_service);
}
