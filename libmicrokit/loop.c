/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The event loop. All notifications that are pending at one look are delivered first, in ascending id; then one fault
 * of a child is handled; with none of these, one call is served, that of the caller with the highest priority, the one
 * seen first among equals; then it looks again.
 */
#include "internal.h"
#include "message.h"
#include "syscall.h"

/* Ends that hear notifications, ascending by id. What every look reads lies side by side. */
static struct {
    uint32_t count;
    const uint64_t *word[MK_MAX_ENDS];
    /* Value of `word` up to which notifications have been taken. */
    uint64_t seen[MK_MAX_ENDS];
    /* Where it is written down for the next start of this PD up to where they have been delivered. */
    uint64_t *heard[MK_MAX_ENDS];
    uint8_t id[MK_MAX_ENDS];
} hears;

/* Ends that serve calls, ascending by id. */
static struct {
    uint32_t count;
    const uint64_t *word[MK_MAX_ENDS];
    /* Number of the latest call taken. */
    uint64_t taken[MK_MAX_ENDS];
    /* Order in which the calls that are pending were first seen, for the ends in `queued`. */
    uint64_t ticket[MK_MAX_ENDS];
    uint64_t queued;
    uint64_t next_ticket;
    uint32_t priority[MK_MAX_ENDS];
    uint8_t id[MK_MAX_ENDS];
} serves;

/* Where there are no children, none of them ever faults. */
static const uint64_t no_faults;

/* How many faults of children have been raised, and up to where there is none left to take. */
static const uint64_t *faults_raised = &no_faults;
static uint64_t faults_handled;

static void (*notified_entry)(microkit_channel);
static microkit_msginfo (*protected_entry)(microkit_channel, microkit_msginfo);
static struct wait_history waits;

/* Bytes of one read from the doorbell. Large, so that a flood of rings costs its receiver few wake-ups. */
static char rings[4096];

/* Bit N is about entry N of `hears` or `serves`, which have at most 62. Two words, so that they stay in registers. */
struct pending {
    uint64_t notifications;
    uint64_t calls;
};

/* Of `calls`: a child's fault. */
#define PENDING_FAULT ((uint64_t)1 << 63)

void mk_loop_take_ends(const struct mk_handoff *handoff)
{
    notified_entry = (void (*)(microkit_channel))(uintptr_t)handoff->notified;
    protected_entry = (microkit_msginfo(*)(microkit_channel, microkit_msginfo))(uintptr_t)handoff->protected_entry;
    faults_raised =
        handoff->supervisor == 0 ? &no_faults : &((const struct mk_supervisor *)handoff->supervisor)->faults;
    faults_handled = 0;
    hears.count = 0;
    serves.count = 0;
    serves.queued = 0;
    for (unsigned id = 0; id < MK_MAX_ENDS; id++) {
        const struct end *end = &mk_ends[id];
        if (end->rights & MK_HEARS) {
            hears.word[hears.count] = &end->in->notified;
            hears.heard[hears.count] = &end->out->heard;
            hears.seen[hears.count] = load_relaxed(&end->out->heard);
            hears.id[hears.count] = (uint8_t)id;
            hears.count++;
        }
        if (end->rights & MK_SERVES) {
            serves.word[serves.count] = &end->in->seq;
            serves.taken[serves.count] = load_relaxed(&end->out->seq);
            serves.id[serves.count] = (uint8_t)id;
            serves.count++;
        }
    }
    for (unsigned i = 0; i < handoff->end_count; i++) {
        for (unsigned k = 0; k < serves.count; k++) {
            if (serves.id[k] == handoff->ends[i].id) {
                serves.priority[k] = handoff->ends[i].peer_priority;
            }
        }
    }
}

static struct pending look(void)
{
    struct pending pending = {0, 0};
    for (uint32_t i = 0; i < hears.count; i++) {
        pending.notifications |= (uint64_t)(load_acquire(hears.word[i]) != hears.seen[i]) << i;
    }
    for (uint32_t i = 0; i < serves.count; i++) {
        pending.calls |= (uint64_t)(load_acquire(serves.word[i]) != serves.taken[i]) << i;
    }
    /* A caller that takes its call back, which only a hostile one does, loses its place. */
    serves.queued &= pending.calls;
    for (uint64_t fresh = pending.calls & ~serves.queued; fresh != 0; fresh &= fresh - 1) {
        serves.ticket[__builtin_ctzll(fresh)] = serves.next_ticket++;
    }
    serves.queued = pending.calls;
    pending.calls |= load_acquire(faults_raised) != faults_handled ? PENDING_FAULT : 0;
    return pending;
}

static void handler_returned(void)
{
    mk_run_deferred();
    say_where(MK_IN_LOOP, 0);
}

/*
 * What arrives after the first loop counts as the next notification, even on a channel whose handler has not run yet.
 * What has not reached its handler when the PD is started again is pending then.
 */
static void deliver(uint64_t notifications)
{
    for (uint64_t left = notifications; left != 0; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctzll(left);
        hears.seen[i] = load_acquire(hears.word[i]);
    }
    for (uint64_t left = notifications; left != 0; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctzll(left);
        microkit_channel id = hears.id[i];
        store_relaxed(hears.heard[i], hears.seen[i]);
        say_where(MK_IN_NOTIFIED, id);
        notified_entry(id);
        handler_returned();
    }
}

static unsigned first_of(uint64_t calls)
{
    unsigned best = (unsigned)__builtin_ctzll(calls);
    for (uint64_t left = calls & (calls - 1); left != 0; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctzll(left);
        if (serves.priority[i] > serves.priority[best] ||
            (serves.priority[i] == serves.priority[best] && serves.ticket[i] < serves.ticket[best])) {
            best = i;
        }
    }
    return best;
}

static void serve(unsigned i)
{
    microkit_channel id = serves.id[i];
    const struct end *end = &mk_ends[id];
    uint64_t call = load_acquire(serves.word[i]);
    serves.queued &= ~((uint64_t)1 << i);
    if (call & MK_SEQ_WITHDRAWN) {
        serves.taken[i] = call;
        store_relaxed(&end->out->seq, call);
        return;
    }
    microkit_msginfo message = message_get(end->in);
    /* A caller that starts again withdraws its call before it writes another: then this may be parts of both. */
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (load_relaxed(serves.word[i]) != call) {
        return;
    }
    serves.taken[i] = call;
    say_where(MK_IN_PROTECTED, id);
    if (protected_entry == 0) {
        mk_complain(0, "is missing the 'protected' entry point");
        microkit_internal_crash(seL4_NoError);
    }
    microkit_msginfo reply = protected_entry(id, message);
    mk_run_deferred();
    message_put(end->out, reply);
    __atomic_store_n(&end->out->seq, call, __ATOMIC_SEQ_CST);
    wake_peer(end, MK_ASLEEP_IN_CALL);
    say_where(MK_IN_LOOP, 0);
}

void mk_ring(int32_t doorbell)
{
    /* A full pipe means that a ring is already there, a closed one that nobody listens any more: both are fine. */
    while (system_call(SYS_WRITE, doorbell, (long)rings, 1) == ERROR_EINTR) {
    }
}

void mk_read_doorbell(void)
{
    long got;
    do {
        got = system_call(SYS_READ, mk_doorbell, (long)rings, sizeof(rings));
    } while (got == ERROR_EINTR);
    if (got <= 0) {
        /* To go on would be to spin for ever in silence. */
        mk_complain(0, "has lost its doorbell");
        microkit_internal_crash(seL4_FailedLookup);
    }
}

static bool any(struct pending pending)
{
    return (pending.notifications | pending.calls) != 0;
}

/* Returns what is pending: something. */
static struct pending wait(void)
{
    struct pending pending;
    if (mk_scheduled) {
        do {
            mk_sleep();
            pending = look();
        } while (!any(pending));
        return pending;
    }
    if (wait_may_spin(&mk_wait, &waits)) {
        uint64_t start = wait_clock();
        do {
            wait_pause();
            pending = look();
        } while (!any(pending) && wait_clock() - start < mk_wait.spin_cycles);
        wait_has_spun(&waits, any(pending));
        if (any(pending)) {
            return pending;
        }
    }
    /*
     * A sender publishes, then looks at `asleep`; here it is set, then looked for what was published. In the one order
     * that sequentially consistent accesses have, one of the two sees the other: nobody sleeps on a pending message.
     */
    __atomic_store_n(&mk_status->asleep, MK_ASLEEP, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    while (!any(pending = look())) {
        mk_read_doorbell();
    }
    __atomic_store_n(&mk_status->asleep, MK_AWAKE, __ATOMIC_RELAXED);
    return pending;
}

/* A fault that was raised may have been settled before it is taken, so `handled` catches up where there is none. */
static void handle_fault(void)
{
    uint64_t raised = load_acquire(faults_raised);
    faults_handled = mk_handle_fault() ? faults_handled + 1 : raised;
}

void mk_loop(void)
{
    say_where(MK_IN_LOOP, 0);
    for (;;) {
        struct pending pending = look();
        if (!any(pending)) {
            pending = wait();
        }
        if (pending.notifications != 0) {
            deliver(pending.notifications);
        } else if (pending.calls & PENDING_FAULT) {
            handle_fault();
        } else {
            serve(first_of(pending.calls));
        }
    }
}
