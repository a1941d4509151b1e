/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * What a PD finds and what it is told: start-up, globals, console, and the answers to calls that are not its right.
 * What is printed is compared in tests/libmicrokit.rs.
 */
#include "harness.h"

#include <signal.h>

static void hears_nothing(microkit_channel ch)
{
    (void)ch;
    CHECK(!"this PD is notified");
}

static void hears_anything(microkit_channel ch)
{
    (void)ch;
}

static void nothing_to_do(void)
{
}

static void call_once(void)
{
    microkit_ppcall(1, microkit_msginfo_new(0, 0));
}

/* Constructors run in the dynamic linker's order, with its arguments, under the filter, before init. */
static int started;

static void step(int expected, int argc, char **argv, char **envp)
{
    CHECK(own_status()->where == MK_IN_START);
    CHECK(started == expected);
    CHECK(argc == 0 && argv[0] == 0 && envp[0] == 0);
    CHECK(ready_count() == 1);
    started++;
}

#define STEP(name, expected)                                                                                           \
    static void name(int argc, char **argv, char **envp)                                                               \
    {                                                                                                                  \
        step(expected, argc, argv, envp);                                                                              \
    }
STEP(preinit_a, 0)
STEP(preinit_b, 1)
STEP(old_init, 2)
STEP(init_a, 3)
STEP(init_b, 4)

typedef void (*constructor)(int, char **, char **);
static const constructor preinits[] = {preinit_a, preinit_b}, inits[] = {init_a, init_b};

static void start_change(struct mk_handoff *handoff)
{
    handoff->preinit_array = (struct mk_functions){(uint64_t)preinits, 2};
    handoff->dt_init = (uint64_t)old_init;
    handoff->init_array = (struct mk_functions){(uint64_t)inits, 2};
    handoff->irqs = 0x11;
    handoff->ioports = 0x22;
    handoff->passive = 1;
}

static void start_init(void)
{
    CHECK(started == 5);
    CHECK(own_status()->where == MK_IN_INIT);
    CHECK(microkit_irqs == 0x11 && microkit_ioports == 0x22 && microkit_passive);
    CHECK(microkit_notifications == ((uint64_t)1 << 6 | (uint64_t)1 << 7) && microkit_pps == 0);
    CHECK(!microkit_have_signal);
    CHECK(seL4_GetIPCBuffer() == __sel4_ipc_buffer);
    microkit_notify(6);
}

static void start_hear(microkit_channel ch)
{
    CHECK(ch == 7);
    CHECK(own_status()->where == MK_IN_NOTIFIED && own_status()->channel == 7);
    microkit_dbg_puts(microkit_name);
    microkit_dbg_putc('\n');
    passed();
}

static int start(const char *argument)
{
    (void)argument;
    int pd = add_pd("starts_with_a_name_of_63_bytes_which_is_as_long_as_names_may_be", 1,
                    (struct entry_points){.init = start_init, .notified = start_hear});
    add_channel(pd, 6, NOTIFY, pd, 7, NOTIFY);
    adjust(pd, start_change);
    return run_system(1 << pd, 0);
}

static void console_init(void)
{
    microkit_dbg_puts("text ");
    microkit_dbg_put8(0);
    microkit_dbg_putc(' ');
    microkit_dbg_put8(255);
    microkit_dbg_putc(' ');
    microkit_dbg_put32(4294967295u);
    microkit_dbg_putc(' ');
    microkit_dbg_put32(0);
    microkit_dbg_putc(' ');
    seL4_DebugPutChar('c');
    seL4_DebugPutString(" end\n");
    microkit_dbg_puts("");
    passed();
}

static int console(const char *argument)
{
    (void)argument;
    int pd = add_pd("talks", 1, (struct entry_points){.init = console_init, .notified = hears_nothing});
    return run_system(1 << pd, 0);
}

/* End 1 may notify but not call, end 2 may call but not notify; irq 4 is the only one. */
static void invalid_init(void)
{
    microkit_notify(0);
    microkit_notify(2);
    microkit_notify(61);
    microkit_notify(62);
    microkit_notify(4294967295u);
    microkit_deferred_notify(63);
    CHECK(!microkit_have_signal);
    microkit_irq_ack(4);
    microkit_irq_ack(3);
    microkit_irq_ack(64);
    microkit_deferred_irq_ack(5);
    CHECK(!microkit_have_signal);
    microkit_deferred_irq_ack(4);
    CHECK(microkit_have_signal && microkit_signal_cap == BASE_IRQ_CAP + 4);
    CHECK(seL4_IRQHandler_Ack(BASE_IRQ_CAP + 4) == seL4_NoError);
    CHECK(seL4_IRQHandler_Ack(BASE_IRQ_CAP + 3) == seL4_InvalidCapability);

    microkit_msginfo reply = microkit_ppcall(1, microkit_msginfo_new(9, 9));
    CHECK(microkit_msginfo_get_label(reply) == 0 && microkit_msginfo_get_count(reply) == 0);
    reply = microkit_ppcall(66, microkit_msginfo_new(9, 9));
    CHECK(microkit_msginfo_get_label(reply) == 0 && microkit_msginfo_get_count(reply) == 0);
    reply = microkit_ppcall(2, microkit_msginfo_new(9, 121));
    CHECK(microkit_msginfo_get_label(reply) == 0 && microkit_msginfo_get_count(reply) == 0);
    reply = microkit_ppcall(2, microkit_msginfo_new(9, 65535));
    CHECK(microkit_msginfo_get_label(reply) == 0 && microkit_msginfo_get_count(reply) == 0);
    CHECK(said_on(2)->seq == 0 && said_on(1)->seq == 0);

    microkit_pd_restart(0, 0);
    microkit_pd_stop(1);
    microkit_pd_resume(63);
    CHECK(seL4_TCB_Suspend(BASE_TCB_CAP) == seL4_InvalidCapability);
    CHECK(seL4_SchedContext_Consumed(BASE_USER_CAPS).error == seL4_InvalidCapability);
    passed();
}

static void invalid_change(struct mk_handoff *handoff)
{
    handoff->irqs = 1 << 4;
}

static microkit_msginfo never_called(microkit_channel ch, microkit_msginfo info)
{
    (void)ch;
    CHECK(!"this PD is called");
    return info;
}

static int invalid(const char *argument)
{
    (void)argument;
    int pd = add_pd("asks", 1, (struct entry_points){.init = invalid_init, .notified = hears_nothing});
    int peer = add_pd("peer", 2, (struct entry_points){nothing_to_do, hears_anything, never_called, 0});
    add_channel(pd, 1, NOTIFY, peer, 1, 0);
    add_channel(pd, 2, CALL, peer, 2, 0);
    adjust(pd, invalid_change);
    return run_system(1 << pd, 0);
}

/* Port 1 is granted: without a device behind it, it reads as all ones. */
static void unavailable_init(void)
{
    CHECK(microkit_x86_ioport_read_8(1, 0x3f8) == 0xff);
    CHECK(microkit_x86_ioport_read_16(1, 0x3f8) == 0xffff);
    CHECK(microkit_x86_ioport_read_32(1, 0x3f8) == 0xffffffff);
    microkit_x86_ioport_write_8(1, 0x3f8, 'x');
    microkit_x86_ioport_read_8(0, 0x3f8);
    microkit_x86_ioport_write_32(64, 0x3f8, 0);

    seL4_ARM_SMCContext args = {.x0 = 1, .x7 = 7}, response = {.x0 = 0};
    microkit_arm_smc_call(&args, &response);
    CHECK(response.x0 == ~(seL4_Word)0);
    microkit_vcpu_restart(0, 0);
    microkit_vcpu_stop(0);
    microkit_vcpu_arm_inject_irq(0, 0, 0, 0, 0);
    microkit_vcpu_arm_ack_vppi(0, 0);
    CHECK(microkit_vcpu_arm_read_reg(0, 0) == 0);
    microkit_vcpu_arm_write_reg(0, 0, 0);
    CHECK(microkit_vcpu_x86_read_vmcs(0, 0) == 0);
    microkit_vcpu_x86_write_vmcs(0, 0, 0);
    CHECK(microkit_vcpu_x86_read_msr(0, 0) == 0);
    microkit_vcpu_x86_write_msr(0, 0, 0);
    microkit_vcpu_x86_enable_ioport(0, 0, 0, 0);
    microkit_vcpu_x86_disable_ioport(0, 0, 0, 0);
    microkit_vcpu_x86_write_regs(0, 0);
    passed();
}

static void unavailable_change(struct mk_handoff *handoff)
{
    handoff->ioports = 1 << 1;
}

static int unavailable(const char *argument)
{
    (void)argument;
    int pd = add_pd("asks", 1, (struct entry_points){.init = unavailable_init, .notified = hears_nothing});
    adjust(pd, unavailable_change);
    return run_system(1 << pd, 0);
}

/* Faults, each judged by the signal that ends the PD. */
static int faults_by(int signal, struct entry_points entry_points, void (*change)(struct mk_handoff *))
{
    int faulty = add_pd("faulty", 9, entry_points);
    int caller = add_pd("caller", 1, (struct entry_points){.init = call_once, .notified = hears_nothing});
    add_channel(caller, 1, CALL, faulty, 2, 0);
    adjust(faulty, change);
    must_die(faulty, signal);
    return run_system(1 << faulty, 0);
}

static int no_protected(const char *argument)
{
    (void)argument;
    return faults_by(SIGSEGV, (struct entry_points){.init = nothing_to_do, .notified = hears_nothing}, 0);
}

static void crash_init(void)
{
    microkit_internal_crash(seL4_RangeError);
}

static int crash(const char *argument)
{
    (void)argument;
    return faults_by(SIGSEGV, (struct entry_points){.init = crash_init, .notified = hears_nothing}, 0);
}

static void other_version(struct mk_handoff *handoff)
{
    handoff->version++;
}

static int version(const char *argument)
{
    (void)argument;
    return faults_by(SIGSEGV, (struct entry_points){.init = passed, .notified = hears_nothing}, other_version);
}

/* The launcher keeps every doorbell's write end; were it ever lost, the PD would fault rather than spin in silence. */
static void doorbell_closed(struct mk_handoff *handoff)
{
    handoff->doorbell = -1;
}

static int no_doorbell(const char *argument)
{
    (void)argument;
    int pd = add_pd("faulty", 9, (struct entry_points){.init = nothing_to_do, .notified = hears_nothing});
    adjust(pd, doorbell_closed);
    must_die(pd, SIGSEGV);
    return run_system(1 << pd, 0);
}

const struct test api_tests[] = {
    {"start", start},
    {"console", console},
    {"invalid", invalid},
    {"unavailable", unavailable},
    {"no_protected", no_protected},
    {"crash", crash},
    {"version", version},
    {"no_doorbell", no_doorbell},
    {0, 0},
};
