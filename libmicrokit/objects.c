/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * What the system file can grant besides channels: children, I/O ports, virtual CPUs, and the seL4 objects behind
 * slots. No PD has children or capability slots yet, so every such slot is empty and answers as an empty slot does on
 * seL4.
 */
#include "internal.h"

static void no_child(const char *function, microkit_child child)
{
    mk_complain_of(function, "invalid child given", child);
}

void microkit_pd_restart(microkit_child pd, seL4_Word entry_point)
{
    (void)entry_point;
    no_child("microkit_pd_restart", pd);
}

void microkit_pd_stop(microkit_child pd)
{
    no_child("microkit_pd_stop", pd);
}

void microkit_pd_resume(microkit_child pd)
{
    no_child("microkit_pd_resume", pd);
}

static void port_access(const char *function, microkit_ioport port)
{
    if (port > MICROKIT_MAX_IOPORT_ID || (microkit_ioports >> port & 1) == 0) {
        mk_complain_of(function, "invalid I/O port given", port);
    }
}

seL4_Uint8 microkit_x86_ioport_read_8(microkit_ioport ioport_id, seL4_Word port_addr)
{
    (void)port_addr;
    port_access("microkit_x86_ioport_read_8", ioport_id);
    return 0xff;
}

seL4_Uint16 microkit_x86_ioport_read_16(microkit_ioport ioport_id, seL4_Word port_addr)
{
    (void)port_addr;
    port_access("microkit_x86_ioport_read_16", ioport_id);
    return 0xffff;
}

seL4_Uint32 microkit_x86_ioport_read_32(microkit_ioport ioport_id, seL4_Word port_addr)
{
    (void)port_addr;
    port_access("microkit_x86_ioport_read_32", ioport_id);
    return 0xffffffff;
}

void microkit_x86_ioport_write_8(microkit_ioport ioport_id, seL4_Word port_addr, seL4_Word value)
{
    (void)port_addr;
    (void)value;
    port_access("microkit_x86_ioport_write_8", ioport_id);
}

void microkit_x86_ioport_write_16(microkit_ioport ioport_id, seL4_Word port_addr, seL4_Word value)
{
    (void)port_addr;
    (void)value;
    port_access("microkit_x86_ioport_write_16", ioport_id);
}

void microkit_x86_ioport_write_32(microkit_ioport ioport_id, seL4_Word port_addr, seL4_Word value)
{
    (void)port_addr;
    (void)value;
    port_access("microkit_x86_ioport_write_32", ioport_id);
}

static void not_on_linux(const char *function)
{
    mk_complain(function, "not available on Linux");
}

void microkit_arm_smc_call(seL4_ARM_SMCContext *args, seL4_ARM_SMCContext *response)
{
    /* What the SMC calling convention answers to a function that does not exist. */
    *response = *args;
    response->x0 = (seL4_Word)-1;
    not_on_linux("microkit_arm_smc_call");
}

void microkit_vcpu_restart(microkit_child vcpu, seL4_Word entry_point)
{
    (void)vcpu;
    (void)entry_point;
    not_on_linux("microkit_vcpu_restart");
}

void microkit_vcpu_stop(microkit_child vcpu)
{
    (void)vcpu;
    not_on_linux("microkit_vcpu_stop");
}

void microkit_vcpu_arm_inject_irq(microkit_child vcpu, seL4_Uint16 irq, seL4_Uint8 priority, seL4_Uint8 group,
                                  seL4_Uint8 index)
{
    (void)vcpu;
    (void)irq;
    (void)priority;
    (void)group;
    (void)index;
    not_on_linux("microkit_vcpu_arm_inject_irq");
}

void microkit_vcpu_arm_ack_vppi(microkit_child vcpu, seL4_Word irq)
{
    (void)vcpu;
    (void)irq;
    not_on_linux("microkit_vcpu_arm_ack_vppi");
}

seL4_Word microkit_vcpu_arm_read_reg(microkit_child vcpu, seL4_Word reg)
{
    (void)vcpu;
    (void)reg;
    not_on_linux("microkit_vcpu_arm_read_reg");
    return 0;
}

void microkit_vcpu_arm_write_reg(microkit_child vcpu, seL4_Word reg, seL4_Word value)
{
    (void)vcpu;
    (void)reg;
    (void)value;
    not_on_linux("microkit_vcpu_arm_write_reg");
}

seL4_Word microkit_vcpu_x86_read_vmcs(microkit_child vcpu, seL4_Word field)
{
    (void)vcpu;
    (void)field;
    not_on_linux("microkit_vcpu_x86_read_vmcs");
    return 0;
}

void microkit_vcpu_x86_write_vmcs(microkit_child vcpu, seL4_Word field, seL4_Word value)
{
    (void)vcpu;
    (void)field;
    (void)value;
    not_on_linux("microkit_vcpu_x86_write_vmcs");
}

seL4_Word microkit_vcpu_x86_read_msr(microkit_child vcpu, seL4_Word msr)
{
    (void)vcpu;
    (void)msr;
    not_on_linux("microkit_vcpu_x86_read_msr");
    return 0;
}

void microkit_vcpu_x86_write_msr(microkit_child vcpu, seL4_Word msr, seL4_Word value)
{
    (void)vcpu;
    (void)msr;
    (void)value;
    not_on_linux("microkit_vcpu_x86_write_msr");
}

void microkit_vcpu_x86_enable_ioport(microkit_child vcpu, microkit_ioport ioport_id, seL4_Word port_addr,
                                     seL4_Word length)
{
    (void)vcpu;
    (void)ioport_id;
    (void)port_addr;
    (void)length;
    not_on_linux("microkit_vcpu_x86_enable_ioport");
}

void microkit_vcpu_x86_disable_ioport(microkit_child vcpu, microkit_ioport ioport_id, seL4_Word port_addr,
                                      seL4_Word length)
{
    (void)vcpu;
    (void)ioport_id;
    (void)port_addr;
    (void)length;
    not_on_linux("microkit_vcpu_x86_disable_ioport");
}

void microkit_vcpu_x86_write_regs(microkit_child vcpu, seL4_VCPUContext *regs)
{
    (void)vcpu;
    (void)regs;
    not_on_linux("microkit_vcpu_x86_write_regs");
}

seL4_Error seL4_IRQHandler_Ack(seL4_IRQHandler _service)
{
    seL4_Word irq = _service - BASE_IRQ_CAP;
    bool valid = irq <= MICROKIT_MAX_CHANNEL_ID && (microkit_irqs >> irq & 1) != 0;
    return valid ? seL4_NoError : seL4_InvalidCapability;
}

seL4_Error seL4_TCB_Suspend(seL4_TCB _service)
{
    (void)_service;
    return seL4_InvalidCapability;
}

seL4_Error seL4_TCB_Resume(seL4_TCB _service)
{
    (void)_service;
    return seL4_InvalidCapability;
}

seL4_Error seL4_TCB_ReadRegisters(seL4_TCB _service, seL4_Bool suspend_source, seL4_Uint8 arch_flags, seL4_Word count,
                                  seL4_UserContext *regs)
{
    (void)_service;
    (void)suspend_source;
    (void)arch_flags;
    (void)count;
    (void)regs;
    return seL4_InvalidCapability;
}

seL4_Error seL4_TCB_WriteRegisters(seL4_TCB _service, seL4_Bool resume_target, seL4_Uint8 arch_flags, seL4_Word count,
                                   seL4_UserContext *regs)
{
    (void)_service;
    (void)resume_target;
    (void)arch_flags;
    (void)count;
    (void)regs;
    return seL4_InvalidCapability;
}

seL4_Error seL4_SchedContext_Bind(seL4_SchedContext _service, seL4_CPtr cap)
{
    (void)_service;
    (void)cap;
    return seL4_InvalidCapability;
}

seL4_Error seL4_SchedContext_Unbind(seL4_SchedContext _service)
{
    (void)_service;
    return seL4_InvalidCapability;
}

seL4_Error seL4_SchedContext_UnbindObject(seL4_SchedContext _service, seL4_CPtr cap)
{
    (void)_service;
    (void)cap;
    return seL4_InvalidCapability;
}

seL4_SchedContext_Consumed_t seL4_SchedContext_Consumed(seL4_SchedContext _service)
{
    (void)_service;
    return (seL4_SchedContext_Consumed_t){.error = seL4_InvalidCapability, .consumed = 0};
}

seL4_SchedContext_YieldTo_t seL4_SchedContext_YieldTo(seL4_SchedContext _service)
{
    (void)_service;
    return (seL4_SchedContext_YieldTo_t){.error = seL4_InvalidCapability, .consumed = 0};
}
