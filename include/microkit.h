/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The Microkit API on Linux. Names, signatures and meaning are those of the Microkit manual; what differs says so here.
 *
 * An invalid channel prints `NAME FUNCTION: invalid channel given 'N'` on the debug console and the call returns (a
 * microkit_ppcall with label 0 and count 0).
 */
#pragma once

#include <sel4/sel4.h>

#ifdef __cplusplus
extern "C" {
#endif
/* Entry points and API stay visible in programs that are built with -fvisibility=hidden. */
#pragma GCC visibility push(default)

typedef unsigned int microkit_channel;
typedef unsigned int microkit_child;
typedef unsigned int microkit_ioport;
typedef seL4_MessageInfo_t microkit_msginfo;

/* First slot of each kind; the object with id N is in slot BASE + N. */
#define BASE_OUTPUT_NOTIFICATION_CAP 10
#define BASE_ENDPOINT_CAP 74
#define BASE_IRQ_CAP 138
#define BASE_TCB_CAP 202
#define BASE_VM_TCB_CAP 266
#define BASE_VCPU_CAP 330
#define BASE_IOPORT_CAP 394
#define BASE_USER_CAPS 458

#define MICROKIT_MAX_CHANNELS 62
#define MICROKIT_MAX_CHANNEL_ID (MICROKIT_MAX_CHANNELS - 1)
#define MICROKIT_MAX_IOPORT_ID MICROKIT_MAX_CHANNEL_ID
#define MICROKIT_PD_NAME_LENGTH 64

/*
 * Entry points of a program. `init` and `notified` must be there; `protected` where an end serves calls; `fault` where
 * the PD has children. Each runs to completion before the next.
 */
void init(void);
void notified(microkit_channel ch);
/*
 * A child has faulted: `msginfo` has the kind of fault as its label (seL4_Fault_*), the message registers say what and
 * where (sel4/faults.h). The child stands still until it is answered: with seL4_True it goes on, at the instruction
 * that faulted or, after a user exception or an unknown system call, as the registers of `*reply_msginfo` with label 0
 * say. With seL4_False it stays as it is, unless the handler has restarted it.
 */
seL4_Bool fault(microkit_child child, microkit_msginfo msginfo, microkit_msginfo *reply_msginfo);
#ifndef __cplusplus
microkit_msginfo protected(microkit_channel ch, microkit_msginfo msginfo);
#else
/* `protected` is a keyword of C++: a C++ program defines this function, whose symbol is `protected`. */
microkit_msginfo microkit_protected(microkit_channel ch, microkit_msginfo msginfo) __asm__("protected");
#endif

/* Name of this PD, NUL-terminated. */
extern char microkit_name[MICROKIT_PD_NAME_LENGTH];
extern seL4_Bool microkit_passive;

/* Bit N: id N is valid for that kind of call. */
extern seL4_Word microkit_irqs;
extern seL4_Word microkit_notifications;
extern seL4_Word microkit_pps;
extern seL4_Word microkit_ioports;

/* The deferred action: what the handler that runs now leaves to be done when it returns. */
extern seL4_Bool microkit_have_signal;
extern seL4_CPtr microkit_signal_cap;
extern seL4_MessageInfo_t microkit_signal_msg;

/* Debug console. Numbers are printed in decimal. */
void microkit_dbg_putc(int c);
void microkit_dbg_puts(const char *s);
void microkit_dbg_put8(seL4_Uint8 x);
void microkit_dbg_put32(seL4_Uint32 x);

/* Faults on purpose: a memory fault at address `err`, after a line on the debug console. Does not return. */
void microkit_internal_crash(seL4_Error err) __attribute__((noreturn));

/* Never blocks. Notifications that the peer has not yet heard coalesce into one. */
void microkit_notify(microkit_channel ch);
/* Blocks until the peer's `protected` answers. More than seL4_MsgMaxLength registers are refused with a message. */
microkit_msginfo microkit_ppcall(microkit_channel ch, microkit_msginfo msginfo);
/* Interrupts have no source on Linux yet: a valid id does nothing. */
void microkit_irq_ack(microkit_channel ch);
/*
 * Done when the running handler returns, before its reply. One a handler: a later one takes the place of an earlier. As
 * memory survives microkit_pd_restart, what a handler had deferred when it was left is done after the next init.
 */
void microkit_deferred_notify(microkit_channel ch);
void microkit_deferred_irq_ack(microkit_channel ch);

/*
 * Children. An id that is no child's prints `NAME FUNCTION: invalid child given 'N'` and returns.
 *
 * microkit_pd_restart: from whatever the child was doing it goes to `entry_point`, on an empty stack, its memory as it
 * is. 0 and 0x200000, where Microkit links programs to, stand for the image's start: constructors, init, then its
 * handlers. Any other value is an address in the image. Notifications that have reached no handler are still pending; a
 * call that the child was serving is served again; a call that it had open is withdrawn.
 *
 * microkit_pd_stop: the child stands still, also in the midst of a handler, until it is resumed, where it was, or
 * restarted.
 */
void microkit_pd_restart(microkit_child pd, seL4_Word entry_point);
void microkit_pd_stop(microkit_child pd);
void microkit_pd_resume(microkit_child pd);

/*
 * I/O ports. A port without a device behind it reads as all ones and ignores writes, as on a PC. An id that is no
 * port's does the same and prints `NAME FUNCTION: invalid I/O port given 'N'`.
 */
seL4_Uint8 microkit_x86_ioport_read_8(microkit_ioport ioport_id, seL4_Word port_addr);
seL4_Uint16 microkit_x86_ioport_read_16(microkit_ioport ioport_id, seL4_Word port_addr);
seL4_Uint32 microkit_x86_ioport_read_32(microkit_ioport ioport_id, seL4_Word port_addr);
void microkit_x86_ioport_write_8(microkit_ioport ioport_id, seL4_Word port_addr, seL4_Word value);
void microkit_x86_ioport_write_16(microkit_ioport ioport_id, seL4_Word port_addr, seL4_Word value);
void microkit_x86_ioport_write_32(microkit_ioport ioport_id, seL4_Word port_addr, seL4_Word value);

/* Virtual machines and secure monitor calls do not exist on Linux: each prints `NAME FUNCTION: not available on Linux`.
 */
typedef struct seL4_ARM_SMCContext {
    seL4_Word x0, x1, x2, x3, x4, x5, x6, x7;
} seL4_ARM_SMCContext;
typedef struct seL4_VCPUContext {
    seL4_Word eax, ebx, ecx, edx, esi, edi, ebp, r8, r9, r10, r11, r12, r13, r14, r15;
} seL4_VCPUContext;
void microkit_arm_smc_call(seL4_ARM_SMCContext *args, seL4_ARM_SMCContext *response);
void microkit_vcpu_restart(microkit_child vcpu, seL4_Word entry_point);
void microkit_vcpu_stop(microkit_child vcpu);
void microkit_vcpu_arm_inject_irq(microkit_child vcpu, seL4_Uint16 irq, seL4_Uint8 priority, seL4_Uint8 group,
                                  seL4_Uint8 index);
void microkit_vcpu_arm_ack_vppi(microkit_child vcpu, seL4_Word irq);
seL4_Word microkit_vcpu_arm_read_reg(microkit_child vcpu, seL4_Word reg);
void microkit_vcpu_arm_write_reg(microkit_child vcpu, seL4_Word reg, seL4_Word value);
seL4_Word microkit_vcpu_x86_read_vmcs(microkit_child vcpu, seL4_Word field);
void microkit_vcpu_x86_write_vmcs(microkit_child vcpu, seL4_Word field, seL4_Word value);
seL4_Word microkit_vcpu_x86_read_msr(microkit_child vcpu, seL4_Word msr);
void microkit_vcpu_x86_write_msr(microkit_child vcpu, seL4_Word msr, seL4_Word value);
void microkit_vcpu_x86_enable_ioport(microkit_child vcpu, microkit_ioport ioport_id, seL4_Word port_addr,
                                     seL4_Word length);
void microkit_vcpu_x86_disable_ioport(microkit_child vcpu, microkit_ioport ioport_id, seL4_Word port_addr,
                                      seL4_Word length);
void microkit_vcpu_x86_write_regs(microkit_child vcpu, seL4_VCPUContext *regs);

/* `count` above what a message can hold stays too large, so that microkit_ppcall refuses it instead of cutting it. */
static inline microkit_msginfo microkit_msginfo_new(seL4_Word label, seL4_Uint16 count)
{
    return seL4_MessageInfo_new(label, 0, 0, count > 0x7f ? 0x7f : count);
}

static inline seL4_Word microkit_msginfo_get_label(microkit_msginfo msginfo)
{
    return seL4_MessageInfo_get_label(msginfo);
}

static inline seL4_Word microkit_msginfo_get_count(microkit_msginfo msginfo)
{
    return seL4_MessageInfo_get_length(msginfo);
}

static inline void microkit_mr_set(seL4_Uint8 mr, seL4_Word value)
{
    seL4_SetMR(mr, value);
}

static inline seL4_Word microkit_mr_get(seL4_Uint8 mr)
{
    return seL4_GetMR(mr);
}

/* The capability pointer of a slot of the system file's `cspace` element. */
static inline seL4_CPtr microkit_cspace_root_slot_to_cptr(seL4_Word slot)
{
    return BASE_USER_CAPS + slot;
}

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
