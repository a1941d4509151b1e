/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * What has no counterpart on Linux: I/O ports, which are there without a device behind them, and virtual CPUs and
 * secure monitor calls, which are not there.
 */
#include "internal.h"

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
