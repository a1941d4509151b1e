/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Message registers and invocations. A slot that holds nothing in this PD answers seL4_InvalidCapability, one that
 * holds something else seL4_IllegalOperation; a signal to either is dropped, as the kernel drops it.
 */
#pragma once

#include <sel4/errors.h>
#include <sel4/types.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* The PD's own copy of its message: peers neither see nor change it. Alone in its page. */
extern seL4_IPCBuffer *__sel4_ipc_buffer;

static inline seL4_IPCBuffer *seL4_GetIPCBuffer(void)
{
    return __sel4_ipc_buffer;
}

/* Message register `i`, 0 to seL4_MsgMaxLength - 1; the caller sees to the bound. */
static inline void seL4_SetMR(int i, seL4_Word mr)
{
    __sel4_ipc_buffer->msg[i] = mr;
}

static inline seL4_Word seL4_GetMR(int i)
{
    return __sel4_ipc_buffer->msg[i];
}

static inline void seL4_SetUserData(seL4_Word data)
{
    __sel4_ipc_buffer->userData = data;
}

static inline seL4_Word seL4_GetUserData(void)
{
    return __sel4_ipc_buffer->userData;
}

/* An output notification slot: as microkit_notify. Any other slot: nothing. */
void seL4_Signal(seL4_CPtr dest);

/* An endpoint slot: as microkit_ppcall. Any other slot: the answer's label is a seL4_Error and its length 0. */
seL4_MessageInfo_t seL4_Call(seL4_CPtr dest, seL4_MessageInfo_t msgInfo);

seL4_Error seL4_IRQHandler_Ack(seL4_IRQHandler _service);

/*
 * Threads: slots of the system file's `cspace` that hold a TCB, and BASE_TCB_CAP + N for the child with id N. Words are
 * counted in the order of seL4_UserContext: 1 to 20 are read (else seL4_RangeError), 0 to 20 are written (else
 * seL4_TruncatedMessage), the others stay as they are. `arch_flags` means nothing on this architecture.
 */
seL4_Error seL4_TCB_Suspend(seL4_TCB _service);
seL4_Error seL4_TCB_Resume(seL4_TCB _service);
seL4_Error seL4_TCB_ReadRegisters(seL4_TCB _service, seL4_Bool suspend_source, seL4_Uint8 arch_flags, seL4_Word count,
                                  seL4_UserContext *regs);
seL4_Error seL4_TCB_WriteRegisters(seL4_TCB _service, seL4_Bool resume_target, seL4_Uint8 arch_flags, seL4_Word count,
                                   seL4_UserContext *regs);

/*
 * Scheduling contexts: slots of `cspace` that hold one. `consumed` is in microseconds since it was last asked for. The
 * others are always refused with seL4_IllegalOperation: who runs when is settled by the system file and the launcher.
 */
seL4_Error seL4_SchedContext_Bind(seL4_SchedContext _service, seL4_CPtr cap);
seL4_Error seL4_SchedContext_Unbind(seL4_SchedContext _service);
seL4_Error seL4_SchedContext_UnbindObject(seL4_SchedContext _service, seL4_CPtr cap);
seL4_SchedContext_Consumed_t seL4_SchedContext_Consumed(seL4_SchedContext _service);
seL4_SchedContext_YieldTo_t seL4_SchedContext_YieldTo(seL4_SchedContext _service);

/* One byte to the debug console. */
void seL4_DebugPutChar(char c);
void seL4_DebugPutString(char *str);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
