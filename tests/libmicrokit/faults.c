/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A parent and its children: in which order faults are handled, what `fault` is given and what its answer does, what a
 * parent asks of the launcher, and invocations on capability slots. Launcher calls are printed and compared in
 * tests/libmicrokit.rs.
 */
#include "harness.h"

#include <signal.h>

static void nothing_to_do(void)
{
}

static void hears_nothing(microkit_channel ch)
{
    (void)ch;
    CHECK(!"this PD is notified");
}

static void write_to(uint64_t address)
{
    *(volatile char *)address = 1;
}

static const struct mk_supervisor *supervisor(void)
{
    return (const struct mk_supervisor *)own_handoff()->supervisor;
}

/*
 * A notification, two faults and a call are pending when the parent's init returns. The notification comes first, then
 * the faults in the order in which they happened, then the call; what is notified between the faults comes between.
 *
 *   parent 3 <- first, 5 <- second: children; 22 <- notifier; 10 <- caller; 30 -> 31 itself
 */
static unsigned step;

static void order_crash(void)
{
    if (microkit_name[0] == 's') {
        wait_until(&board[0], 1);
        write_to(0x5550);
    }
    write_to(0x3330);
}

/* Where the parent lets the first child go on. */
static void resumed(void)
{
    atomic_store(&board[2], 1);
    for (;;) {
    }
}

static void order_notify(void)
{
    microkit_notify(1);
}

static void order_call(void)
{
    microkit_ppcall(1, microkit_msginfo_new(0, 0));
    passed();
}

static void order_init(void)
{
    wait_for_word(&supervisor()->faults, 1);
    atomic_store(&board[0], 1);
    wait_for_word(&supervisor()->faults, 2);
    wait_for_word(&heard_on(22)->events, 1);
    wait_for_word(&heard_on(10)->events, 1);
    microkit_mr_set(seL4_VMFault_Length, 0xbeef);
}

static void order_hear(microkit_channel ch)
{
    CHECK(ch == (step == 0 ? 22 : 31));
    CHECK(step == 0 || step == 2);
    step++;
}

static seL4_Bool order_fault(microkit_child child, microkit_msginfo msginfo, microkit_msginfo *reply)
{
    CHECK(own_status()->where == MK_IN_FAULT && own_status()->channel == child);
    CHECK(microkit_msginfo_get_label(msginfo) == seL4_Fault_VMFault);
    CHECK(microkit_msginfo_get_count(msginfo) == seL4_VMFault_Length);
    CHECK(microkit_msginfo_get_label(*reply) == 0 && microkit_msginfo_get_count(*reply) == 0);
    CHECK(microkit_mr_get(seL4_VMFault_FSR) == 6);
    CHECK(microkit_mr_get(seL4_VMFault_Length) == 0xbeef);
    if (step++ == 1) {
        CHECK(child == 3);
        CHECK(microkit_mr_get(seL4_VMFault_Addr) == 0x3330);
        microkit_deferred_notify(30);
        microkit_mr_set(0, (seL4_Word)resumed);
        *reply = microkit_msginfo_new(0, 1);
        return seL4_True;
    }
    CHECK(step == 4);
    CHECK(child == 5);
    CHECK(microkit_mr_get(seL4_VMFault_Addr) == 0x5550);
    /* A reply that is not sent. */
    *reply = microkit_msginfo_new(0, 1);
    return seL4_False;
}

static microkit_msginfo order_serve(microkit_channel ch, microkit_msginfo info)
{
    CHECK(ch == 10);
    CHECK(step == 4);
    CHECK(own_status()->where == MK_IN_PROTECTED);
    wait_until(&board[2], 1);
    return info;
}

static int order(const char *argument)
{
    (void)argument;
    int parent = add_pd("parent", 9,
                        (struct entry_points){.init = order_init, .notified = order_hear, .protected = order_serve});
    on_fault(parent, order_fault);
    int first = add_pd("first", 1, (struct entry_points){.init = order_crash, .notified = hears_nothing});
    int second = add_pd("second", 1, (struct entry_points){.init = order_crash, .notified = hears_nothing});
    int notifier = add_pd("notifier", 1, (struct entry_points){.init = order_notify, .notified = hears_nothing});
    int caller = add_pd("caller", 1, (struct entry_points){.init = order_call, .notified = hears_nothing});
    set_parent(first, 3, parent);
    set_parent(second, 5, parent);
    add_channel(notifier, 1, NOTIFY, parent, 22, 0);
    add_channel(caller, 1, CALL, parent, 10, 0);
    add_channel(parent, 30, NOTIFY, parent, 31, 0);
    print_calls(parent);
    return run_system(1 << caller, 0);
}

/* The deferred action of a fault handler is done before its reply. */
static int64_t deferred_answer(int pd, const uint64_t call[5])
{
    (void)pd;
    if (call[0] == MK_OP_FAULT_REPLY) {
        atomic_store(&board[1], 1 + atomic_load(&board[0]));
    }
    return NOT_MINE;
}

static void deferred_hear(microkit_channel ch)
{
    CHECK(ch == 31);
    CHECK(atomic_load(&board[1]) == 6);
    passed();
}

static seL4_Bool deferred_fault(microkit_child child, microkit_msginfo msginfo, microkit_msginfo *reply)
{
    (void)child, (void)msginfo, (void)reply;
    microkit_deferred_notify(30);
    CHECK(said_on(30)->notified == 0);
    atomic_store(&board[0], 5);
    return seL4_False;
}

static void null_crash(void)
{
    write_to(0);
}

static int deferred(const char *argument)
{
    (void)argument;
    int parent = add_pd("parent", 9, (struct entry_points){.init = nothing_to_do, .notified = deferred_hear});
    on_fault(parent, deferred_fault);
    int child = add_pd("child", 1, (struct entry_points){.init = null_crash, .notified = hears_nothing});
    set_parent(child, 0, parent);
    add_channel(parent, 30, NOTIFY, parent, 31, 0);
    trace(deferred_answer);
    return run_system(1 << parent, 0);
}

static int no_entry(const char *argument)
{
    (void)argument;
    int parent = add_pd("parent", 9, (struct entry_points){.init = nothing_to_do, .notified = hears_nothing});
    int child = add_pd("child", 1, (struct entry_points){.init = null_crash, .notified = hears_nothing});
    set_parent(child, 61, parent);
    must_die(parent, SIGSEGV);
    return run_system(1 << parent, 0);
}

/* A parent that is known to sleep hears of a fault, and lets the child start again, time and again. */
#define CRASHES 200

static void sleeper_crash(void)
{
    wait_for_state(&peer_status(1)->asleep, MK_ASLEEP);
    write_to(8);
}

static seL4_Bool sleeper_fault(microkit_child child, microkit_msginfo msginfo, microkit_msginfo *reply)
{
    static unsigned crashes;
    (void)msginfo, (void)reply;
    CHECK(own_status()->asleep == MK_AWAKE);
    if (++crashes == CRASHES) {
        passed();
    }
    microkit_pd_restart(child, 0);
    return seL4_False;
}

static int sleeper(const char *argument)
{
    (void)argument;
    int parent = add_pd("parent", 9, (struct entry_points){.init = nothing_to_do, .notified = hears_nothing});
    on_fault(parent, sleeper_fault);
    int child = add_pd("child", 1, (struct entry_points){.init = sleeper_crash, .notified = hears_nothing});
    set_parent(child, 7, parent);
    add_channel(child, 1, 0, parent, 1, 0);
    return run_system(1 << parent, 0);
}

/* A fault that the launcher has settled before it is taken is none; the next one is heard again. */
static int64_t settled_answer(int pd, const uint64_t call[5])
{
    static bool settled;
    (void)pd;
    if (call[0] == MK_OP_FAULT_TAKE && !settled) {
        settled = true;
        settle_fault(1);
    }
    return NOT_MINE;
}

static void settled_hear(microkit_channel ch)
{
    CHECK(ch == 1);
    atomic_store(&board[0], 1);
}

static void settled_notify(void)
{
    wait_for_state(&peer_status(1)->asleep, MK_ASLEEP);
    microkit_notify(1);
}

static void settled_init(void)
{
    wait_for_word(&supervisor()->faults, 1);
}

static seL4_Bool settled_fault(microkit_child child, microkit_msginfo msginfo, microkit_msginfo *reply)
{
    (void)msginfo, (void)reply;
    CHECK(child == 1);
    CHECK(atomic_load(&board[0]) == 1);
    passed();
}

static void settled_crash(void)
{
    if (microkit_name[0] == 'l') {
        wait_until(&board[0], 1);
    }
    write_to(8);
}

static int settled(const char *argument)
{
    (void)argument;
    int parent = add_pd("parent", 9, (struct entry_points){.init = settled_init, .notified = settled_hear});
    on_fault(parent, settled_fault);
    int early = add_pd("early", 1, (struct entry_points){.init = settled_crash, .notified = hears_nothing});
    int late = add_pd("late", 1, (struct entry_points){.init = settled_crash, .notified = hears_nothing});
    int notifier = add_pd("notifier", 1, (struct entry_points){.init = settled_notify, .notified = hears_nothing});
    set_parent(early, 0, parent);
    set_parent(late, 1, parent);
    add_channel(notifier, 1, NOTIFY, parent, 1, 0);
    trace(settled_answer);
    return run_system(1 << parent, 0);
}

/* What a parent asks for reaches the launcher with its arguments; what it may not ask for does not. */
static int64_t control_answer(int pd, const uint64_t call[5])
{
    (void)pd;
    bool fails = call[0] == MK_OP_PD_RESUME && call[1] == 61;
    return call[0] >= MK_OP_PD_RESTART && call[0] <= MK_OP_PD_RESUME ? (fails ? -3 : 0) : NOT_MINE;
}

static void control_init(void)
{
    microkit_pd_restart(0, 0);
    microkit_pd_restart(61, 0x200000);
    microkit_pd_stop(0);
    microkit_pd_resume(0);
    microkit_pd_resume(61);
    microkit_pd_restart(1, 0);
    microkit_pd_stop(62);
    microkit_pd_resume(4294967295u);
    microkit_pd_stop(64);
    passed();
}

static int control(const char *argument)
{
    (void)argument;
    int parent = add_pd("parent", 9, (struct entry_points){.init = control_init, .notified = hears_nothing});
    int first = add_pd("first", 1, (struct entry_points){.init = nothing_to_do, .notified = hears_nothing});
    int last = add_pd("last", 1, (struct entry_points){.init = nothing_to_do, .notified = hears_nothing});
    set_parent(first, 0, parent);
    set_parent(last, 61, parent);
    trace(control_answer);
    print_calls(parent);
    return run_system(1 << parent, 0);
}

/*
 * Slots 1 and 127 hold threads, 64 a scheduling context, 5 one whose PD is gone. The launcher answers with its errors;
 * registers it gives are 100, 101, ...; those it is given are to be 200, 201, ...
 */
#define GIVEN 100
#define WANTED 200

static int64_t slots_answer(int pd, const uint64_t call[5])
{
    uint64_t words[20];
    if (call[0] < MK_OP_TCB_SUSPEND || call[0] > MK_OP_SC_CONSUMED) {
        return NOT_MINE;
    }
    if (call[1] == 5) {
        return -3;
    }
    if ((call[1] == 64) != (call[0] == MK_OP_SC_CONSUMED)) {
        return -1;
    }
    if (call[0] == MK_OP_TCB_READ) {
        for (uint64_t i = 0; i < 20; i++) {
            words[i] = GIVEN + i;
        }
        write_pd(pd, call[4], words, call[3] * 8);
    } else if (call[0] == MK_OP_TCB_WRITE) {
        read_pd(pd, call[4], words, call[3] * 8);
        for (uint64_t i = 0; i < call[3]; i++) {
            if (words[i] != WANTED + i) {
                return -22;
            }
        }
    } else if (call[0] == MK_OP_SC_CONSUMED) {
        words[0] = 123456789;
        write_pd(pd, call[2], words, 8);
    }
    return 0;
}

static void slots_change(struct mk_handoff *handoff)
{
    handoff->cspace[0] = 1 << 1 | 1 << 5;
    handoff->cspace[1] = 1 | (uint64_t)1 << 63;
    handoff->irqs = 1 << 4;
    handoff->ioports = 1 << 6;
}

static void slots_read(seL4_CPtr cap)
{
    union {
        seL4_UserContext context;
        seL4_Word words[20];
    } registers;
    for (seL4_Word count = 1; count <= 20; count += 19) {
        for (unsigned i = 0; i < 20; i++) {
            registers.words[i] = 7;
        }
        CHECK(seL4_TCB_ReadRegisters(cap, seL4_True, 0, count, &registers.context) == seL4_NoError);
        for (unsigned i = 0; i < 20; i++) {
            CHECK(registers.words[i] == (i < count ? GIVEN + i : 7));
        }
    }
    CHECK(registers.context.rip == GIVEN && registers.context.rsp == GIVEN + 1 &&
          registers.context.rflags == GIVEN + 2);
    CHECK(registers.context.rax == GIVEN + 3 && registers.context.rbp == GIVEN + 9 &&
          registers.context.r8 == GIVEN + 10);
    CHECK(registers.context.fs_base == GIVEN + 18 && registers.context.gs_base == GIVEN + 19);
    CHECK(seL4_TCB_ReadRegisters(cap, seL4_False, 0, 0, &registers.context) == seL4_RangeError);
    CHECK(seL4_TCB_ReadRegisters(cap, seL4_False, 0, 21, &registers.context) == seL4_RangeError);
}

static void slots_write(seL4_CPtr cap)
{
    union {
        seL4_UserContext context;
        seL4_Word words[20];
    } registers;
    for (unsigned i = 0; i < 20; i++) {
        registers.words[i] = WANTED + i;
    }
    CHECK(seL4_TCB_WriteRegisters(cap, seL4_True, 0, 20, &registers.context) == seL4_NoError);
    CHECK(seL4_TCB_WriteRegisters(cap, seL4_False, 0, 1, &registers.context) == seL4_NoError);
    CHECK(seL4_TCB_WriteRegisters(cap, seL4_True, 0, 0, &registers.context) == seL4_NoError);
    CHECK(seL4_TCB_WriteRegisters(cap, seL4_True, 0, 21, &registers.context) == seL4_TruncatedMessage);
    registers.context.rip = 0;
    CHECK(seL4_TCB_WriteRegisters(cap, seL4_True, 0, 1, &registers.context) == seL4_InvalidArgument);
}

static void slots_init(void)
{
    seL4_CPtr child = BASE_TCB_CAP + 2, thread = microkit_cspace_root_slot_to_cptr(1);
    seL4_CPtr last = microkit_cspace_root_slot_to_cptr(127), gone = microkit_cspace_root_slot_to_cptr(5);
    seL4_CPtr context = microkit_cspace_root_slot_to_cptr(64);
    CHECK(seL4_TCB_Suspend(thread) == seL4_NoError);
    CHECK(seL4_TCB_Resume(last) == seL4_NoError);
    CHECK(seL4_TCB_Suspend(child) == seL4_NoError);
    slots_read(thread);
    slots_write(child);
    CHECK(seL4_TCB_Suspend(gone) == seL4_IllegalOperation);
    seL4_SchedContext_Consumed_t consumed = seL4_SchedContext_Consumed(context);
    CHECK(consumed.error == seL4_NoError && consumed.consumed == 123456789);
    CHECK(seL4_SchedContext_Consumed(thread).error == seL4_IllegalOperation);
    CHECK(seL4_TCB_Suspend(context) == seL4_IllegalOperation);
    puts_line("what follows is not asked");

    /* Of another kind. */
    const seL4_CPtr others[] = {BASE_OUTPUT_NOTIFICATION_CAP + 1, BASE_ENDPOINT_CAP + 2, BASE_IRQ_CAP + 4,
                                BASE_IOPORT_CAP + 6};
    /* Beside these, and beyond them all. */
    const seL4_CPtr empty[] = {0,
                               BASE_OUTPUT_NOTIFICATION_CAP + 2,
                               BASE_ENDPOINT_CAP + 1,
                               BASE_IRQ_CAP + 5,
                               BASE_IOPORT_CAP + 5,
                               BASE_TCB_CAP + 1,
                               BASE_TCB_CAP + 61,
                               BASE_VM_TCB_CAP,
                               BASE_USER_CAPS,
                               BASE_USER_CAPS + 2,
                               BASE_USER_CAPS + 65,
                               BASE_USER_CAPS + 128,
                               ~(seL4_Word)0};
    seL4_UserContext registers = {0};
    for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]) + sizeof(empty) / sizeof(empty[0]); i++) {
        bool other = i < sizeof(others) / sizeof(others[0]);
        seL4_CPtr cap = other ? others[i] : empty[i - sizeof(others) / sizeof(others[0])];
        seL4_Error error = other ? seL4_IllegalOperation : seL4_InvalidCapability;
        CHECK(seL4_TCB_Suspend(cap) == error);
        CHECK(seL4_TCB_Resume(cap) == error);
        CHECK(seL4_TCB_ReadRegisters(cap, 0, 0, 99, &registers) == error);
        CHECK(seL4_TCB_WriteRegisters(cap, 0, 0, 99, &registers) == error);
        CHECK((seL4_Error)seL4_SchedContext_Consumed(cap).error == error);
        CHECK((seL4_Error)seL4_SchedContext_YieldTo(cap).error == error);
        CHECK(seL4_SchedContext_Bind(cap, thread) == error);
        CHECK(seL4_SchedContext_Unbind(cap) == error);
        CHECK(seL4_SchedContext_UnbindObject(cap, thread) == error);
        CHECK(seL4_IRQHandler_Ack(cap) == (cap == BASE_IRQ_CAP + 4 ? seL4_NoError : error));
    }
    CHECK(seL4_SchedContext_Bind(context, thread) == seL4_IllegalOperation);
    CHECK(seL4_SchedContext_Consumed(child).error == seL4_IllegalOperation);
    CHECK(seL4_SchedContext_Consumed(BASE_TCB_CAP + 1).error == seL4_InvalidCapability);
    passed();
}

static microkit_msginfo never_called(microkit_channel ch, microkit_msginfo info)
{
    (void)ch;
    CHECK(!"this PD is called");
    return info;
}

static int slots(const char *argument)
{
    (void)argument;
    int parent = add_pd("parent", 1, (struct entry_points){.init = slots_init, .notified = hears_nothing});
    int child = add_pd("child", 2, (struct entry_points){nothing_to_do, hears_nothing, never_called, 0});
    set_parent(child, 2, parent);
    add_channel(parent, 1, NOTIFY, child, 1, 0);
    add_channel(parent, 2, CALL, child, 2, 0);
    adjust(parent, slots_change);
    trace(slots_answer);
    print_calls(parent);
    return run_system(1 << parent, 0);
}

const struct test fault_tests[] = {
    {"fault_order", order},     {"fault_deferred", deferred}, {"no_fault", no_entry}, {"fault_sleeper", sleeper},
    {"fault_settled", settled}, {"control", control},         {"cspace", slots},      {0, 0},
};
