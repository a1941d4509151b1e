/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The private contract between the launcher, the PD host and libmicrokit: the pages that channel ends share and the
 * handoff a PD starts from. This file is its one source: the build turns every `#define MK_` number below into a Rust
 * constant (src/sys/abi.rs), the assertions at the end hold this side to them, and src/sys/abi.rs the other side.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Raised on every change of this file's layout. */
#define MK_ABI_VERSION 5

/* MICROKIT_MAX_CHANNELS of the Microkit manual. */
#define MK_MAX_ENDS 62
/* Message registers of one message: seL4_MsgMaxLength. */
#define MK_MAX_MRS 120
/* Of those, how many share a cache line with what announces them. */
#define MK_FIRST_MRS 4
#define MK_MORE_FROM 3
/* The last is never used: it makes mk_out whole cache lines. */
#define MK_MORE_WORDS 118
/* MICROKIT_PD_NAME_LENGTH, terminating NUL included. */
#define MK_NAME_LENGTH 64

/*
 * Page 0 of a PD's channel memory: what it tells its peers and the launcher about itself. The PD writes it; its peers
 * map it read-only. Every reader treats it as hostile: `asleep` only decides whether to ring the doorbell, the rest
 * is read by the launcher for its reports.
 */
struct mk_status {
    /*
     * Not MK_AWAKE from before the last look at the channels until the PD runs again. A notification and a call ring
     * the doorbell where they see MK_ASLEEP, a reply where it sees MK_ASLEEP_IN_CALL: who is blocked in a call is not
     * woken for what it will not receive before its call returns.
     */
    uint32_t asleep;
    /* Peers read `asleep` for every message; what follows changes with every handler, so it is two cache lines away. */
    uint32_t reserved[31];
    /* MK_IN_*: what the PD is doing. */
    uint32_t where;
    /* The channel id that `where` is about. */
    uint32_t channel;
    /* The CPU on which the PD last began to wait, and one more, so that 0 is none: two that wait for each other on one
     * CPU are told by it. */
    uint32_t cpu;
};

#define MK_AWAKE 0
#define MK_ASLEEP 1
#define MK_ASLEEP_IN_CALL 2

#define MK_IN_LOOP 0
#define MK_IN_START 1
#define MK_IN_INIT 2
#define MK_IN_NOTIFIED 3
#define MK_IN_PROTECTED 4
#define MK_IN_FAULT 5
/* Blocked in microkit_ppcall on `channel`. */
#define MK_IN_CALL 6

/*
 * What one channel end says to the other. The end's own PD maps the page that holds it read-write, the peer maps it
 * read-only; nobody else maps it. Offset inside the page: a multiple of 64 below MK_OUT_SPAN, chosen by the launcher so
 * that the words a PD polls fall into different cache sets.
 *
 * events:   count of notifications and calls ever sent, stored behind each: the one word that the peer polls.
 * notified: count of notifications ever sent; the peer remembers how far it has seen, so they coalesce by themselves.
 * seq:      on the calling end, the number of the latest call; on the serving end, the number of the call answered.
 * heard:    how far this end has seen the peer's `notified`: a PD that is started again goes on from there.
 * info, mr: the call's or the reply's message, complete before `seq` is stored with release order.
 * more:     its registers from MK_FIRST_MRS on: N is more[N - MK_MORE_FROM], so that pairs lie as in the IPC buffer.
 * since:    under MK_SCHEDULE_MICROKIT, when the call was made, in time stamp counter cycles: the order of equal
 * callers. Whoever lies gains no more than the time between two looks of the callee.
 *
 * A PD that starts again, in its process or in a new one, goes on from what its pages say: from its own `events`,
 * `notified`, `heard` and, on a calling end, `seq`. On a serving end `seq` says which call it has answered, so a call
 * that it had taken is served again. A call that a caller had open when it started again is withdrawn: its number gets
 * MK_SEQ_WITHDRAWN, the serving end then answers with the number alone. The launcher may do that for a stopped caller.
 *
 * The first cache line holds the counters, the label and the first message registers.
 */
struct mk_out {
    uint64_t events;
    uint64_t notified;
    uint64_t seq;
    uint64_t info;
    uint64_t mr[MK_FIRST_MRS];
    uint64_t more[MK_MORE_WORDS];
    uint64_t heard;
    uint64_t since;
};

/*
 * What the launcher tells a PD that has children. The launcher writes this page, the PD maps it read-only.
 *
 * faults:   count of faults of its children ever raised; the PD takes them one by one with MK_OP_FAULT_TAKE, by the
 *           children's priority and in the order in which they were raised among equals.
 * priority: of the child whose fault would be taken now.
 * since:    when that fault was raised, in time stamp counter cycles.
 */
struct mk_supervisor {
    uint64_t faults;
    uint64_t priority;
    uint64_t since;
};

/* Bit of `seq`: 2 to the 62. */
#define MK_SEQ_WITHDRAWN 4611686018427387904

/* Message registers of the longest fault message (x86-64 UnknownSyscall has 19). */
#define MK_FAULT_MRS 24

/* A child's fault, as MK_OP_FAULT_TAKE stores it. */
struct mk_fault {
    uint64_t child;
    uint64_t info;
    uint64_t mr[MK_FAULT_MRS];
};

/* Bytes of a page in which an mk_out may begin: 4096 - 1024, in steps of MK_OUT_ALIGN. */
#define MK_OUT_SPAN 3072
#define MK_OUT_ALIGN 64

/* Rights of an end, from the system file. */
#define MK_MAY_NOTIFY 1
#define MK_MAY_CALL 2
/* The peer may notify this end; without it, what arrives in `notified` is ignored. */
#define MK_HEARS 4
/* The peer may call this end; without it, what arrives in `seq` is ignored. */
#define MK_SERVES 8

/* One end of a channel, as its own PD sees it. Addresses are in the PD's address space. */
struct mk_end {
    /* struct mk_out, read-write: what this end says. */
    uint64_t out;
    /* const struct mk_out, read-only: what the peer says. */
    uint64_t in;
    /* const struct mk_status, read-only: the peer's page 0. */
    uint64_t peer_status;
    /* Write end of the peer's doorbell pipe, non-blocking. */
    int32_t peer_doorbell;
    /* MK_MAY_NOTIFY | MK_MAY_CALL | MK_HEARS | MK_SERVES */
    uint32_t rights;
    /* Channel id in this PD, 0..61. */
    uint32_t id;
    /* Priority of the peer, 0..254: the order in which callers are served. */
    uint32_t peer_priority;
};

/* A table of functions: DT_PREINIT_ARRAY, DT_INIT_ARRAY. Checked by the launcher to lie inside the image. */
struct mk_functions {
    uint64_t address;
    uint64_t count;
};

/* Everything a PD starts from. Built by the PD host in a page of its own, read-only before any foreign code runs. */
struct mk_handoff {
    uint32_t version;
    uint32_t size;
    char name[MK_NAME_LENGTH];
    /* struct mk_status, read-write. */
    uint64_t status;
    /* Read end of this PD's doorbell pipe, blocking. */
    int32_t doorbell;
    /* Write end of the console pipe, blocking. */
    int32_t console;
    /* Entry points of the image; 0 where it has none. init and notified are never 0. */
    uint64_t init;
    uint64_t notified;
    uint64_t protected_entry;
    uint64_t fault;
    /* Run in this order before init, as the dynamic linker would have: DT_PREINIT_ARRAY, DT_INIT, DT_INIT_ARRAY. */
    struct mk_functions preinit_array;
    uint64_t dt_init;
    struct mk_functions init_array;
    /* microkit_irqs, microkit_notifications, microkit_pps, microkit_ioports */
    uint64_t irqs;
    uint64_t notifications;
    uint64_t pps;
    uint64_t ioports;
    /* 0, MK_PASSIVE or MK_PASSIVE_CHARGES */
    uint32_t passive;
    /* MK_WAIT_*: how to wait for a message. */
    uint32_t wait;
    /*
     * Longest spin before sleeping, in time stamp counter cycles; 0: sleep at once. Best about twice what it takes to
     * wake a PD: with less, two PDs that have both taken to sleeping cannot find out that spinning would pay.
     */
    uint64_t spin_cycles;
    /* MK_SCHEDULE_*: who decides when this PD runs. */
    uint32_t schedule;
    uint32_t end_count;
    /* Ascending by id. */
    struct mk_end ends[MK_MAX_ENDS];
    /* const struct mk_supervisor, read-only; 0 when the PD has no children. */
    uint64_t supervisor;
    /* Bit N: child id N exists. */
    uint64_t children;
    /* Bit N of word N / 64: user capability slot N holds something. */
    uint64_t cspace[2];
    /* CPUs that the system's PDs may run on: with as many PDs at work, a spin stands in somebody's way. */
    uint64_t cpus;
    /* Shortest time between two spins of this PD that are made to find out whether spinning pays, in cycles. */
    uint64_t rest_cycles;
};

/* After init, this PD runs on its callers' time; where that is limited, it tells the launcher whose it is:
 * MK_OP_CHARGE. */
#define MK_PASSIVE 1
#define MK_PASSIVE_CHARGES 2

#define MK_WAIT_AUTO 0
#define MK_WAIT_SPIN 1
#define MK_WAIT_SLEEP 2

/*
 * Entry of libmicrokit, called once by the PD host on the PD's own stack under the final filter. It does not return.
 * Its first act is the system call `exit_group(MK_READY)`, which the final filter traps: so the launcher learns from
 * the kernel, and not from the PD, that the filter is in force; it then resumes the PD behind the call when all are
 * ready.
 *
 * mk_start(handoff) is for a fresh process. mk_restart(handoff) starts a PD again where it stands, its memory as it is:
 * the launcher sets rip to it and rdi to the handoff's address, rsp to the top of the stack (aligned or not, with
 * nothing on it), and orig_rax to -1 so that no system call is restarted. It does not announce itself with MK_READY.
 */
#define MK_READY 77

/* Linux schedules PDs; they sleep on their doorbells. */
#define MK_SCHEDULE_LINUX 0
/* The launcher decides, as seL4 does: a PD tells it of every event and sleeps in it. No spinning, no doorbells. */
#define MK_SCHEDULE_MICROKIT 1

/*
 * Launcher calls: `exit_group(MK_LAUNCHER_CALL, op, a, b, c, d)` as a raw system call. The final filter traps it, the
 * launcher, which traces the PD, checks it, acts, and lets the PD go on behind it with the result in rax. Results below
 * 0 are -errno. From a PD that may not ask for `op` it is a denied system call like any other.
 *
 * What invocations (MK_OP_TCB_*, MK_OP_SC_*) answer is told to the program as a seL4_Error: one of those values as it
 * is, -EBADF as seL4_InvalidCapability, -EINVAL and -EFAULT as seL4_InvalidArgument, -ERANGE as seL4_RangeError, all
 * else as seL4_IllegalOperation.
 */
#define MK_LAUNCHER_CALL 78
/* a: address of a struct mk_fault to fill. 1: taken; 0: there is none. */
#define MK_OP_FAULT_TAKE 1
/*
 * a: child; b: 1 resume it, 0 leave it as it is (stopped, unless the handler has restarted or resumed it); c: msginfo
 * of the reply, of at most 120 registers; d: their address.
 */
#define MK_OP_FAULT_REPLY 2
/* a: child; b: entry point. */
#define MK_OP_PD_RESTART 3
/* a: child. */
#define MK_OP_PD_STOP 4
#define MK_OP_PD_RESUME 5
/* a: user capability slot 0..127, or MK_SLOT_CHILD + child id: a parent holds its children's TCBs. */
#define MK_SLOT_CHILD 128
#define MK_OP_TCB_SUSPEND 6
#define MK_OP_TCB_RESUME 7
/* a: slot; b: suspend (read) or resume (write) it; c: words, 0..20; d: address of a seL4_UserContext. */
#define MK_OP_TCB_READ 8
#define MK_OP_TCB_WRITE 9
/* a: slot; b: address of a uint64_t that receives the microseconds it ran since last asked. */
#define MK_OP_SC_CONSUMED 10
/* MK_SCHEDULE_MICROKIT only. The PD found nothing to do; returns when there may be something. */
#define MK_OP_SLEEP 11
/* MK_SCHEDULE_MICROKIT only. a: channel id; the PD has just published a notification, a call or a reply there. */
#define MK_OP_SIGNALLED 12
/*
 * MK_PASSIVE_CHARGES only. a: the channel id on which the PD is about to serve a call, or MK_CHARGE_SELF. What it runs
 * from now on is charged to the budget of that caller; it returns when that allows.
 */
#define MK_OP_CHARGE 13
#define MK_CHARGE_SELF 64

/* The layout, in numbers both sides assert. */
#define MK_SIZEOF_STATUS 140
#define MK_STATUS_OFF_ASLEEP 0
#define MK_STATUS_OFF_WHERE 128
#define MK_STATUS_OFF_CHANNEL 132
#define MK_STATUS_OFF_CPU 136
#define MK_SIZEOF_OUT 1024
#define MK_OUT_OFF_EVENTS 0
#define MK_OUT_OFF_NOTIFIED 8
#define MK_OUT_OFF_SEQ 16
#define MK_OUT_OFF_INFO 24
#define MK_OUT_OFF_MR 32
#define MK_OUT_OFF_MORE 64
#define MK_OUT_OFF_HEARD 1008
#define MK_OUT_OFF_SINCE 1016
#define MK_SIZEOF_END 40
#define MK_END_OFF_RIGHTS 28
#define MK_SIZEOF_HANDOFF 2744
#define MK_HANDOFF_OFF_NAME 8
#define MK_HANDOFF_OFF_STATUS 72
#define MK_HANDOFF_OFF_INIT 88
#define MK_HANDOFF_OFF_PREINIT_ARRAY 120
#define MK_HANDOFF_OFF_INIT_ARRAY 144
#define MK_HANDOFF_OFF_IRQS 160
#define MK_HANDOFF_OFF_SPIN_CYCLES 200
#define MK_HANDOFF_OFF_END_COUNT 212
#define MK_HANDOFF_OFF_ENDS 216
#define MK_HANDOFF_OFF_SUPERVISOR 2696
#define MK_SIZEOF_FAULT 208
#define MK_SIZEOF_SUPERVISOR 24
#define MK_SUPERVISOR_OFF_PRIORITY 8
#define MK_SUPERVISOR_OFF_SINCE 16

#define MK_ASSERT_LAYOUT(condition) _Static_assert(condition, "libmicrokit/abi.h: " #condition)
MK_ASSERT_LAYOUT(sizeof(struct mk_status) == MK_SIZEOF_STATUS);
MK_ASSERT_LAYOUT(offsetof(struct mk_status, asleep) == MK_STATUS_OFF_ASLEEP);
MK_ASSERT_LAYOUT(offsetof(struct mk_status, where) == MK_STATUS_OFF_WHERE);
MK_ASSERT_LAYOUT(offsetof(struct mk_status, channel) == MK_STATUS_OFF_CHANNEL);
MK_ASSERT_LAYOUT(offsetof(struct mk_status, cpu) == MK_STATUS_OFF_CPU);
MK_ASSERT_LAYOUT(sizeof(struct mk_out) == MK_SIZEOF_OUT);
MK_ASSERT_LAYOUT(offsetof(struct mk_out, events) == MK_OUT_OFF_EVENTS);
MK_ASSERT_LAYOUT(offsetof(struct mk_out, notified) == MK_OUT_OFF_NOTIFIED);
MK_ASSERT_LAYOUT(offsetof(struct mk_out, seq) == MK_OUT_OFF_SEQ);
MK_ASSERT_LAYOUT(offsetof(struct mk_out, info) == MK_OUT_OFF_INFO);
MK_ASSERT_LAYOUT(offsetof(struct mk_out, mr) == MK_OUT_OFF_MR);
MK_ASSERT_LAYOUT(offsetof(struct mk_out, more) == MK_OUT_OFF_MORE);
MK_ASSERT_LAYOUT(MK_MAX_MRS - MK_MORE_FROM <= MK_MORE_WORDS);
MK_ASSERT_LAYOUT(offsetof(struct mk_out, heard) == MK_OUT_OFF_HEARD);
MK_ASSERT_LAYOUT(offsetof(struct mk_out, since) == MK_OUT_OFF_SINCE);
MK_ASSERT_LAYOUT(sizeof(struct mk_fault) == MK_SIZEOF_FAULT);
MK_ASSERT_LAYOUT(sizeof(struct mk_supervisor) == MK_SIZEOF_SUPERVISOR);
MK_ASSERT_LAYOUT(offsetof(struct mk_supervisor, priority) == MK_SUPERVISOR_OFF_PRIORITY);
MK_ASSERT_LAYOUT(offsetof(struct mk_supervisor, since) == MK_SUPERVISOR_OFF_SINCE);
MK_ASSERT_LAYOUT(sizeof(struct mk_end) == MK_SIZEOF_END);
MK_ASSERT_LAYOUT(offsetof(struct mk_end, rights) == MK_END_OFF_RIGHTS);
MK_ASSERT_LAYOUT(sizeof(struct mk_handoff) == MK_SIZEOF_HANDOFF);
MK_ASSERT_LAYOUT(offsetof(struct mk_handoff, name) == MK_HANDOFF_OFF_NAME);
MK_ASSERT_LAYOUT(offsetof(struct mk_handoff, status) == MK_HANDOFF_OFF_STATUS);
MK_ASSERT_LAYOUT(offsetof(struct mk_handoff, init) == MK_HANDOFF_OFF_INIT);
MK_ASSERT_LAYOUT(offsetof(struct mk_handoff, preinit_array) == MK_HANDOFF_OFF_PREINIT_ARRAY);
MK_ASSERT_LAYOUT(offsetof(struct mk_handoff, init_array) == MK_HANDOFF_OFF_INIT_ARRAY);
MK_ASSERT_LAYOUT(offsetof(struct mk_handoff, irqs) == MK_HANDOFF_OFF_IRQS);
MK_ASSERT_LAYOUT(offsetof(struct mk_handoff, spin_cycles) == MK_HANDOFF_OFF_SPIN_CYCLES);
MK_ASSERT_LAYOUT(offsetof(struct mk_handoff, end_count) == MK_HANDOFF_OFF_END_COUNT);
MK_ASSERT_LAYOUT(offsetof(struct mk_handoff, ends) == MK_HANDOFF_OFF_ENDS);
MK_ASSERT_LAYOUT(offsetof(struct mk_handoff, supervisor) == MK_HANDOFF_OFF_SUPERVISOR);
MK_ASSERT_LAYOUT(MK_OUT_SPAN + MK_SIZEOF_OUT <= 4096);
