/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The half of the miniature launcher that traces PDs: it answers launcher calls, brings faults to parents, starts PDs
 * again and decides who runs. It trusts them, which the real one does not.
 */
#define _GNU_SOURCE
#include "launcher.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>

#define STACK_BYTES (256 * 1024)
#define SECCOMP_TRAPPED 1 /* si_code SYS_SECCOMP */

extern void mk_restart(const struct mk_handoff *handoff) __attribute__((noreturn));

bool is_traced, is_scheduled;
static int64_t (*answer)(int pd, const uint64_t call[5]);
/* Every PD has its own copy. */
static char stack[STACK_BYTES] __attribute__((aligned(64)));

static struct {
    /* It does not run: the kernel has stopped it for the tracer. */
    bool stopped;
    /* Why it is not to go on. */
    bool asleep, faulted, suspended;
    /* Something was signalled to it since it last slept. */
    bool woken;
    bool prints;
    /* The signal it goes on with. */
    int signal;
    /* A stop that was met while another was asked for, to be dealt with when it goes on. */
    int met;
    struct mk_fault fault;
    bool fault_waits;
    /* When, in cycles. */
    uint64_t raised;
} tracees[MAX_PDS];
static int current;
static bool went_wrong;

void set_parent(int child, uint32_t id, int parent)
{
    is_traced = true;
    pds[child].is_child = true;
    pds[child].parent = parent;
    pds[child].child_id = id;
    if (pds[parent].supervisor == 0) {
        pds[parent].supervisor = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        or_die(pds[parent].supervisor != MAP_FAILED, "mmap");
    }
}

void on_fault(int pd, seL4_Bool (*entry)(microkit_child, microkit_msginfo, microkit_msginfo *))
{
    pds[pd].fault = entry;
}

void trace(int64_t (*first)(int pd, const uint64_t call[5]))
{
    is_traced = true;
    answer = first;
}

void schedule_pds(void)
{
    is_traced = true;
    is_scheduled = true;
}

void print_calls(int pd)
{
    tracees[pd].prints = true;
}

void read_pd(int pd, uint64_t address, void *to, size_t length)
{
    struct iovec here = {to, length}, there = {(void *)address, length};
    or_die(process_vm_readv(pds[pd].pid, &here, 1, &there, 1, 0) == (ssize_t)length, "process_vm_readv");
}

void write_pd(int pd, uint64_t address, const void *from, size_t length)
{
    struct iovec here = {(void *)from, length}, there = {(void *)address, length};
    or_die(process_vm_writev(pds[pd].pid, &here, 1, &there, 1, 0) == (ssize_t)length, "process_vm_writev");
}

static struct user_regs_struct registers_of(int pd)
{
    struct user_regs_struct registers;
    or_die(ptrace(PTRACE_GETREGS, pds[pd].pid, 0, &registers) == 0, "PTRACE_GETREGS");
    return registers;
}

static void set_registers(int pd, struct user_regs_struct registers)
{
    registers.orig_rax = (unsigned long long)-1;
    or_die(ptrace(PTRACE_SETREGS, pds[pd].pid, 0, &registers) == 0, "PTRACE_SETREGS");
}

static int child_of(int parent, uint64_t id)
{
    for (int i = 0; i < pd_count; i++) {
        if (pds[i].is_child && pds[i].parent == parent && pds[i].child_id == id) {
            return i;
        }
    }
    or_die(false, "a launcher call names a child that is none");
    return 0;
}

static void wake(int pd)
{
    if (!is_scheduled) {
        or_die(write(pds[pd].doorbell[1], "", 1) == 1 || errno == EAGAIN, "doorbell");
    } else if (tracees[pd].asleep) {
        tracees[pd].asleep = false;
    } else {
        tracees[pd].woken = true;
    }
}

/* Whoever is at the other end. */
static int peer_of(int pd, uint64_t id)
{
    for (int i = 0; i < channel_count; i++) {
        for (int side = 0; side < 2; side++) {
            if (channels[i][side].pd == pd && channels[i][side].id == id) {
                return channels[i][!side].pd;
            }
        }
    }
    or_die(false, "a launcher call names a channel that is none");
    return 0;
}

static void ended(int pd, int status)
{
    tracees[pd].stopped = false;
    went_wrong |= !ended_well(pd, status);
}

/* Stops it wherever it is. */
static void stop(int pd)
{
    if (tracees[pd].stopped || pds[pd].ended) {
        return;
    }
    int status;
    or_die(ptrace(PTRACE_INTERRUPT, pds[pd].pid, 0, 0) == 0, "PTRACE_INTERRUPT");
    or_die(waitpid(pds[pd].pid, &status, __WALL) == pds[pd].pid, "waitpid");
    if (!WIFSTOPPED(status)) {
        ended(pd, status);
        return;
    }
    tracees[pd].stopped = true;
    tracees[pd].met = status >> 16 == PTRACE_EVENT_STOP ? 0 : status;
}

static void restart(int pd)
{
    stop(pd);
    struct user_regs_struct registers = registers_of(pd);
    registers.rip = (uint64_t)mk_restart;
    registers.rdi = (uint64_t)&handoff;
    /* A stack pointer that no caller could have: mk_restart sees to it. */
    registers.rsp = (uint64_t)stack + sizeof(stack) - 24;
    /* Direction flag and x87 stack as a handler may leave them when it is stopped in the midst of something. */
    registers.eflags |= 0x400;
    set_registers(pd, registers);
    tracees[pd].asleep = tracees[pd].faulted = tracees[pd].suspended = tracees[pd].woken = false;
    tracees[pd].fault_waits = false;
    tracees[pd].signal = 0;
    tracees[pd].met = 0;
}

static void seize(int pd)
{
    or_die(ptrace(PTRACE_SEIZE, pds[pd].pid, 0, PTRACE_O_EXITKILL) == 0, "PTRACE_SEIZE");
}

void seize_all(void)
{
    for (int i = 0; i < pd_count; i++) {
        seize(i);
    }
}

static void respawn(int pd)
{
    int status;
    kill(pds[pd].pid, SIGKILL);
    do {
        or_die(waitpid(pds[pd].pid, &status, __WALL) == pds[pd].pid, "waitpid");
    } while (WIFSTOPPED(status));
    bool prints = tracees[pd].prints;
    memset(&tracees[pd], 0, sizeof(tracees[pd]));
    tracees[pd].prints = prints;
    hold_new();
    spawn(pd);
    seize(pd);
    let_new_start();
}

void settle_fault(int pd)
{
    tracees[pd].fault_waits = false;
}

/* The child whose fault is to be taken now; -1: none. */
static int first_fault(int parent)
{
    int first = -1;
    for (int i = 0; i < pd_count; i++) {
        if (!pds[i].is_child || pds[i].parent != parent || !tracees[i].fault_waits) {
            continue;
        }
        if (first < 0 || pds[i].priority > pds[first].priority ||
            (pds[i].priority == pds[first].priority && tracees[i].raised < tracees[first].raised)) {
            first = i;
        }
    }
    return first;
}

static void show_first_fault(int parent)
{
    int first = first_fault(parent);
    __atomic_store_n(&pds[parent].supervisor->priority, first < 0 ? 255 : pds[first].priority, __ATOMIC_RELAXED);
    __atomic_store_n(&pds[parent].supervisor->since, first < 0 ? 0 : tracees[first].raised, __ATOMIC_RELAXED);
}

static int64_t take_fault(int parent, uint64_t address)
{
    int first = first_fault(parent);
    if (first < 0) {
        return 0;
    }
    tracees[first].fault_waits = false;
    write_pd(parent, address, &tracees[first].fault, sizeof(struct mk_fault));
    show_first_fault(parent);
    return 1;
}

/* A reply with a message register says where to go on. */
static void reply_to(int parent, int child, uint64_t resumes, uint64_t info, uint64_t address)
{
    if (!resumes || !tracees[child].faulted) {
        return;
    }
    tracees[child].faulted = false;
    if ((info & 0x7f) > 0) {
        struct user_regs_struct registers = registers_of(child);
        uint64_t word;
        read_pd(parent, address, &word, sizeof(word));
        registers.rip = word;
        /* As after a call instruction. */
        registers.rsp = ((registers.rsp - 256) & ~(uint64_t)15) - 8;
        set_registers(child, registers);
    }
}

static int64_t act(int pd, const uint64_t call[5])
{
    switch (call[0]) {
    case MK_OP_FAULT_TAKE:
        return take_fault(pd, call[1]);
    case MK_OP_FAULT_REPLY:
        reply_to(pd, child_of(pd, call[1]), call[2], call[3], call[4]);
        return 0;
    case MK_OP_PD_RESTART:
        restart(child_of(pd, call[1]));
        return 0;
    case MK_OP_PD_STOP:
        stop(child_of(pd, call[1]));
        tracees[child_of(pd, call[1])].suspended = true;
        return 0;
    case MK_OP_PD_RESUME:
        tracees[child_of(pd, call[1])].suspended = false;
        return 0;
    case MK_OP_SLEEP:
        tracees[pd].asleep = !tracees[pd].woken;
        tracees[pd].woken = false;
        return 0;
    case MK_OP_SIGNALLED:
        wake(peer_of(pd, call[1]));
        return 0;
    case ASK_RESTART:
        restart((int)call[1]);
        return 0;
    case ASK_RESPAWN:
        respawn((int)call[1]);
        return 0;
    default:
        return -ENOSYS;
    }
}

static void print(int pd, const uint64_t call[5], int64_t result)
{
    static const char *const names[] = {
        "",           "fault_take", "fault_reply", "pd_restart",  "pd_stop", "pd_resume", "tcb_suspend",
        "tcb_resume", "tcb_read",   "tcb_write",   "sc_consumed", "sleep",   "signalled", "charge"};
    if (call[0] >= sizeof(names) / sizeof(names[0])) {
        return;
    }
    printf("%s: %s", pds[pd].name, names[call[0]]);
    if (call[0] == MK_OP_FAULT_REPLY) {
        printf(" %lu %s label %lu count %lu", call[1], call[2] ? "resume" : "leave", call[3] >> 12, call[3] & 0xfff);
    } else if (call[0] == MK_OP_TCB_READ || call[0] == MK_OP_TCB_WRITE) {
        printf(" %lu %lu count %lu", call[1], call[2], call[3]);
    } else if (call[0] == MK_OP_PD_RESTART) {
        printf(" %lu at %#lx", call[1], call[2]);
    } else if (call[0] != MK_OP_FAULT_TAKE && call[0] != MK_OP_SLEEP) {
        printf(" %lu", call[1]);
    }
    printf(" = %ld\n", result);
    fflush(stdout);
}

static void called(int pd)
{
    struct user_regs_struct registers = registers_of(pd);
    if (registers.rdi == MK_READY) {
        count_ready();
        return;
    }
    const uint64_t call[5] = {registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9};
    int64_t result = answer ? answer(pd, call) : NOT_MINE;
    if (result == NOT_MINE) {
        result = act(pd, call);
    }
    if (tracees[pd].prints) {
        print(pd, call, result);
    }
    registers.rax = (unsigned long long)result;
    set_registers(pd, registers);
}

static void faulted(int pd, int signal)
{
    if (!pds[pd].is_child) {
        tracees[pd].signal = signal;
        return;
    }
    siginfo_t info;
    or_die(ptrace(PTRACE_GETSIGINFO, pds[pd].pid, 0, &info) == 0, "PTRACE_GETSIGINFO");
    struct mk_fault fault = {.child = pds[pd].child_id};
    fault.info = seL4_MessageInfo_new(seL4_Fault_VMFault, 0, 0, seL4_VMFault_Length).words[0];
    fault.mr[seL4_VMFault_IP] = registers_of(pd).rip;
    fault.mr[seL4_VMFault_Addr] = (uint64_t)info.si_addr;
    fault.mr[seL4_VMFault_FSR] = 6;
    fault.mr[seL4_VMFault_Length] = 0xdead;
    tracees[pd].fault = fault;
    tracees[pd].faulted = true;
    tracees[pd].fault_waits = true;
    tracees[pd].raised = __builtin_ia32_rdtsc();
    show_first_fault(pds[pd].parent);
    __atomic_fetch_add(&pds[pds[pd].parent].supervisor->faults, 1, __ATOMIC_SEQ_CST);
    wake(pds[pd].parent);
}

static void met(int pd, int status)
{
    tracees[pd].stopped = true;
    tracees[pd].signal = 0;
    if (status >> 16 != 0) {
        return;
    }
    siginfo_t info;
    int signal = WSTOPSIG(status);
    or_die(ptrace(PTRACE_GETSIGINFO, pds[pd].pid, 0, &info) == 0, "PTRACE_GETSIGINFO");
    if (signal == SIGSYS && info.si_code == SECCOMP_TRAPPED) {
        called(pd);
    } else {
        faulted(pd, signal);
    }
}

static bool may_run(int pd)
{
    return tracees[pd].stopped && !tracees[pd].asleep && !tracees[pd].faulted && !tracees[pd].suspended;
}

static void go_on(int pd)
{
    if (tracees[pd].met != 0) {
        int status = tracees[pd].met;
        tracees[pd].met = 0;
        met(pd, status);
        return;
    }
    tracees[pd].stopped = false;
    or_die(ptrace(PTRACE_CONT, pds[pd].pid, 0, (void *)(long)tracees[pd].signal) == 0, "PTRACE_CONT");
}

/* The one with the highest priority; among equals who runs now, then the first. */
static void choose(void)
{
    int best = -1;
    for (int i = 0; i < pd_count; i++) {
        if (!pds[i].ended && !tracees[i].stopped) {
            return;
        }
        if (may_run(i) && (best < 0 || pds[i].priority > pds[best].priority ||
                           (pds[i].priority == pds[best].priority && i == current))) {
            best = i;
        }
    }
    if (best >= 0) {
        current = best;
        go_on(best);
    }
}

static void go_on_all(void)
{
    if (is_scheduled) {
        choose();
        return;
    }
    for (int i = 0; i < pd_count; i++) {
        while (may_run(i)) {
            go_on(i);
        }
    }
}

int serve_pds(uint64_t judges)
{
    while (!went_wrong) {
        bool all = true;
        for (int i = 0; i < pd_count; i++) {
            all = all && (pds[i].ended || (judges >> i & 1) == 0);
        }
        if (all) {
            return 0;
        }
        int status;
        pid_t pid = waitpid(-1, &status, __WALL);
        or_die(pid > 0, "waitpid");
        for (int i = 0; i < pd_count; i++) {
            if (pds[i].pid == pid && WIFSTOPPED(status)) {
                met(i, status);
            } else if (pds[i].pid == pid) {
                ended(i, status);
            }
        }
        go_on_all();
    }
    return 1;
}

int64_t ask(uint64_t op, int pd)
{
    int64_t result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(231L), "D"((long)MK_LAUNCHER_CALL), "S"(op), "d"((long)pd)
                     : "rcx", "r11", "memory");
    return result;
}
