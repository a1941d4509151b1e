/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The event loop. All notifications that are pending at one moment are delivered first, in ascending id; with none, one
 * call is served or one fault of a child is handled, whichever has the highest priority, of the caller or the child;
 * among equals, the one that came first; then it looks again. Linux's schedule settles no order between what is seen at
 * one look; under seL4's, callers and launcher write down when.
 */
#include "internal.h"
#include "message.h"
#include "syscall.h"

/* Ends looked at together. The table is filled up to whole groups with an end on which nothing ever comes. */
#define GROUP 8
#define TABLE ((MK_MAX_ENDS + GROUP - 1) / GROUP * GROUP)
/* A look at so many ends takes as long as a pause between two looks. */
#define MANY 32
/* How often one end may be seen to change in one look: more than a PD signals without a pause. A flood ends there. */
#define CHANGES_MOST 32

/* Ends that hear notifications or serve calls, ascending by id. What every look reads lies side by side. */
static struct {
    uint32_t count;
    uint32_t groups;
    /* Where the next look begins: at a whole group. */
    uint32_t next;
    /* Where something has changed lately, and so perhaps will again: looked at with every group. */
    uint32_t hot;
    const struct mk_out *in[TABLE];
    /* `events` as last seen there. */
    uint64_t events[TABLE];
    /* Up to where notifications have been delivered, and up to where they have been seen. */
    uint64_t delivered[MK_MAX_ENDS];
    uint64_t notified[MK_MAX_ENDS];
    /* The number of the latest call taken, and of the latest one seen. */
    uint64_t taken[MK_MAX_ENDS];
    uint64_t called[MK_MAX_ENDS];
    /* Bit N is about entry N: it hears, it serves. What else changes there means nothing. */
    uint64_t hears;
    uint64_t serves;
    /* Where it is written down for the next start of this PD up to where notifications have been delivered. */
    uint64_t *heard[MK_MAX_ENDS];
    /* Calls that have been seen and not taken, and when they came. */
    uint64_t queued;
    uint64_t since[MK_MAX_ENDS];
    /* Of the last look. */
    uint64_t looked;
    uint32_t priority[MK_MAX_ENDS];
    uint8_t id[MK_MAX_ENDS];
    /* By a look that is not over: how often an end has changed again. */
    uint8_t changes[MK_MAX_ENDS];
} ends;

/* Behind the last channel nothing ever comes; where there are no children, none of them ever faults. */
static const struct mk_out nothing;

/* How many faults of children have been raised, and up to where there is none left to take. */
static const struct mk_supervisor no_faults;
static const struct mk_supervisor *supervisor = &no_faults;
static uint64_t faults_handled;

static void (*notified_entry)(microkit_channel);
static microkit_msginfo (*protected_entry)(microkit_channel, microkit_msginfo);
static struct wait_history waits;
/* What MK_OP_CHARGE was last told. */
static uint64_t charged;

/* Bytes of one read from the doorbell. Large, so that a flood of rings costs its receiver few wake-ups. */
static char rings[4096];

/* Bit N is about entry N of `ends`, which has at most 62. Two words, so that they stay in registers. */
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
    supervisor = handoff->supervisor == 0 ? &no_faults : (const struct mk_supervisor *)(uintptr_t)handoff->supervisor;
    faults_handled = 0;
    ends.count = ends.next = ends.hot = 0;
    ends.hears = ends.serves = ends.queued = ends.looked = 0;
    charged = MK_CHARGE_SELF;
    mk_crowd_begin();
    /* An idle system sleeps from the start. */
    waits.rest_until = wait_clock() + mk_wait.rest;
    waits.cpu = (uint16_t)(wait_cpu() + 1);
    for (unsigned i = 0; i < TABLE; i++) {
        ends.in[i] = &nothing;
        ends.events[i] = 0;
    }
    for (unsigned i = 0; i < MK_MAX_ENDS; i++) {
        ends.changes[i] = 0;
    }
    for (unsigned id = 0; id < MK_MAX_ENDS; id++) {
        const struct end *end = &mk_ends[id];
        if (end->rights & (MK_HEARS | MK_SERVES)) {
            unsigned i = ends.count++;
            uint64_t bit = (uint64_t)1 << i;
            ends.in[i] = end->in;
            ends.id[i] = (uint8_t)id;
            ends.hears |= end->rights & MK_HEARS ? bit : 0;
            ends.serves |= end->rights & MK_SERVES ? bit : 0;
            ends.heard[i] = &end->out->heard;
            /* The first look finds whatever is there. */
            ends.events[i] = load_relaxed(&end->in->events) - 1;
            ends.delivered[i] = load_relaxed(&end->out->heard);
            ends.taken[i] = load_relaxed(&end->out->seq);
        }
        if (end->rights != 0 && end->peer != mk_status) {
            mk_crowd_add(end->peer);
        }
    }
    ends.groups = (ends.count + GROUP - 1) / GROUP;
    for (unsigned i = 0; i < handoff->end_count; i++) {
        for (unsigned k = 0; k < ends.count; k++) {
            if (ends.id[k] == handoff->ends[i].id) {
                ends.priority[k] = handoff->ends[i].peer_priority;
            }
        }
    }
}

/*
 * A call cannot have come before the last look, which has not seen it. So a caller that lies about the time is before
 * those that came since then, but before nobody who was there already.
 */
static uint64_t bounded_since(uint64_t said, uint64_t now)
{
    return said > now ? now : said < ends.looked ? ends.looked : said;
}

/* `fresh`: calls that this look is the first to see. */
static void queue(uint64_t fresh)
{
    /* Whoever has neither children nor the times of calls needs only their order, which is cheaper to have. */
    uint64_t now = mk_scheduled || supervisor != &no_faults ? wait_clock() : ends.looked + 1;
    for (; fresh != 0; fresh &= fresh - 1) {
        unsigned i = (unsigned)__builtin_ctzll(fresh);
        ends.since[i] = mk_scheduled ? bounded_since(load_relaxed(&ends.in[i]->since), now) : now;
    }
    ends.looked = now;
}

/* What one look has found so far. */
struct look {
    uint64_t notifications;
    /* Calls that no look has seen before. */
    uint64_t fresh;
    /* Ends that have changed, and whether one of them has changed again. */
    uint64_t changed;
    bool changed_again;
};

/*
 * Whether anything has changed at one end. What it does not hear or serve, and the reply to a call of its own, is not
 * announced there, or means nothing.
 */
static bool look_at(uint32_t i, struct look *look)
{
    uint64_t events = load_acquire(&ends.in[i]->events);
    uint64_t bit = (uint64_t)1 << i;
    if (events == ends.events[i]) {
        return false;
    }
    if (look->changed & bit) {
        if (ends.changes[i] == CHANGES_MOST) {
            /* What else comes there is for the next look. */
            return false;
        }
        ends.changes[i]++;
        look->changed_again = true;
    }
    look->changed |= bit;
    ends.events[i] = events;
    uint64_t notified = load_acquire(&ends.in[i]->notified);
    uint64_t seq = load_acquire(&ends.in[i]->seq);
    if ((ends.hears & bit) != 0 && notified != ends.delivered[i]) {
        ends.notified[i] = notified;
        look->notifications |= bit;
    }
    if ((ends.serves & bit) != 0) {
        /* Who takes its call back, as only a hostile caller and one that starts again does, loses its place. */
        if (seq == ends.taken[i]) {
            ends.queued &= ~bit;
        } else if ((ends.queued & bit) == 0 || seq != ends.called[i]) {
            ends.queued |= bit;
            ends.called[i] = seq;
            look->fresh |= bit;
        }
    }
    return true;
}

static __attribute__((noinline)) bool look_at_group(uint32_t first, struct look *look)
{
    bool changed = false;
    for (uint32_t i = first; i < first + GROUP && i < ends.count; i++) {
        changed |= look_at(i, look);
    }
    return changed;
}

static inline uint64_t difference(const struct mk_out *const *in, const uint64_t *events)
{
    return load_seq_cst(&(*in)->events) ^ *events;
}

/*
 * Mostly nothing has changed, or one word: a group is looked at end by end only where one of it differs. Not a loop,
 * whose counting would take as long as the loads.
 */
static inline bool group_differs(uint32_t first)
{
    const struct mk_out *const *in = &ends.in[first];
    const uint64_t *events = &ends.events[first];
    _Static_assert(GROUP == 8, "all of a group are here");
    return (difference(in, events) | difference(in + 1, events + 1) | difference(in + 2, events + 2) |
            difference(in + 3, events + 3) | difference(in + 4, events + 4) | difference(in + 5, events + 5) |
            difference(in + 6, events + 6) | difference(in + 7, events + 7)) != 0;
}

/*
 * What is pending at one moment: that of the last change seen. All ends are looked at once more after it, and none of
 * them has changed since it was looked at before. So what a PD has signalled earlier, on whatever channel, is never
 * missing: on seL4 both are in one word or queue.
 */
static struct pending look(void)
{
    struct look look = {0, 0, 0, false};
    const uint64_t *hot = &ends.in[ends.hot]->events;
    uint64_t hot_events = ends.events[ends.hot];
    uint32_t first = ends.next;
    uint32_t left = ends.groups;
    while (left > 0) {
        bool changed = false;
        if (__builtin_expect(load_seq_cst(hot) != hot_events, 0)) {
            changed = look_at(ends.hot, &look);
            hot_events = ends.events[ends.hot];
        }
        if (!changed && __builtin_expect(group_differs(first), 0)) {
            changed = look_at_group(first, &look);
        }
        /* After a change this group too is looked at once more. */
        left = changed ? ends.groups : left - 1;
        first = first + GROUP < ends.count ? first + GROUP : 0;
    }
    ends.next = first;
    if (look.changed != 0) {
        ends.hot = (uint32_t)__builtin_ctzll(look.changed);
    }
    if (look.changed_again) {
        for (uint64_t left = look.changed; left != 0; left &= left - 1) {
            ends.changes[__builtin_ctzll(left)] = 0;
        }
    }
    if (look.fresh != 0) {
        queue(look.fresh & ends.queued);
    }
    uint64_t fault = load_acquire(&supervisor->faults) != faults_handled ? PENDING_FAULT : 0;
    return (struct pending){look.notifications, ends.queued | fault};
}

/* A passive PD says on whose time it is about to run, where that has changed. */
static inline void charge(uint64_t whom)
{
    if (__builtin_expect(mk_charges, false) && whom != charged) {
        charged = whom;
        mk_charge(whom);
    }
}

static void handler_returned(void)
{
    mk_run_deferred();
    say_where(MK_IN_LOOP, 0);
}

/*
 * What has arrived since the look counts as the next notification, even on a channel whose handler has not run yet.
 * What has not reached its handler when the PD is started again is pending then.
 */
static void deliver(uint64_t notifications)
{
    charge(MK_CHARGE_SELF);
    for (uint64_t left = notifications; left != 0; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctzll(left);
        microkit_channel id = ends.id[i];
        ends.delivered[i] = ends.notified[i];
        store_relaxed(ends.heard[i], ends.delivered[i]);
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
        if (ends.priority[i] > ends.priority[best] ||
            (ends.priority[i] == ends.priority[best] && ends.since[i] < ends.since[best])) {
            best = i;
        }
    }
    return best;
}

static void serve(unsigned i)
{
    microkit_channel id = ends.id[i];
    struct end *end = &mk_ends[id];
    uint64_t call = load_acquire(&end->in->seq);
    ends.queued &= ~((uint64_t)1 << i);
    if (call & MK_SEQ_WITHDRAWN) {
        ends.taken[i] = call;
        store_relaxed(&end->out->seq, call);
        return;
    }
    if (call != ends.called[i]) {
        /* Another one by now, which is announced behind its number: the next look sees it. */
        return;
    }
    charge(id);
    message_expect(end);
    microkit_msginfo message = message_get(end->in);
    /* A caller that starts again withdraws its call before it writes another: then this may be parts of both. */
    message_has_been_read();
    if (load_relaxed(&end->in->seq) != call) {
        return;
    }
    ends.taken[i] = call;
    say_where(MK_IN_PROTECTED, id);
    if (protected_entry == 0) {
        mk_complain(0, "is missing the 'protected' entry point");
        microkit_internal_crash(seL4_NoError);
    }
    microkit_msginfo reply = protected_entry(id, message);
    mk_run_deferred();
    message_put(end, reply);
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

/* Whoever has last announced something is who is waited for, as far as one can know. A PD does not wait for itself. */
static const uint32_t *cpu_of_last_heard(void)
{
    static const uint32_t nowhere;
    const struct mk_status *peer = ends.count == 0 ? mk_status : mk_ends[ends.id[ends.hot]].peer;
    return peer == mk_status ? &nowhere : &peer->cpu;
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
    uint64_t now = wait_clock();
    uint64_t longest = wait_may_spin(&mk_wait, &waits, now, say_cpu(), cpu_of_last_heard());
    if (longest != 0 && !mk_is_crowded(0, now)) {
        struct wait_spin spin = wait_spin_begin(now, longest);
        do {
            if (ends.count < MANY) {
                wait_pause();
            }
            pending = look();
        } while (wait_spin_goes_on(&spin) && !any(pending));
        wait_has_spun(&mk_wait, &waits, &spin, any(pending));
        if (any(pending)) {
            mk_has_waited();
            return pending;
        }
    }
    /*
     * A sender publishes, then looks at `asleep`; here it is set, then looked for what was published. In the one order
     * that sequentially consistent accesses have, one of the two sees the other: nobody sleeps on a pending message.
     */
    __atomic_store_n(&mk_status->asleep, MK_ASLEEP, __ATOMIC_SEQ_CST);
    while (!any(pending = look())) {
        mk_read_doorbell();
    }
    __atomic_store_n(&mk_status->asleep, MK_AWAKE, __ATOMIC_RELAXED);
    mk_has_waited();
    return pending;
}

/* A fault that was raised may have been settled before it is taken, so `handled` catches up where there is none. */
static void handle_fault(void)
{
    charge(MK_CHARGE_SELF);
    uint64_t raised = load_acquire(&supervisor->faults);
    faults_handled = mk_handle_fault() ? faults_handled + 1 : raised;
}

/* Whether a fault goes before the first of these calls. */
static bool fault_is_first(uint64_t calls)
{
    calls &= ~PENDING_FAULT;
    if (calls == 0) {
        return true;
    }
    unsigned call = first_of(calls);
    uint64_t priority = load_relaxed(&supervisor->priority);
    return priority > ends.priority[call] ||
           (priority == ends.priority[call] && load_relaxed(&supervisor->since) <= ends.since[call]);
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
        } else if ((pending.calls & PENDING_FAULT) != 0 && fault_is_first(pending.calls)) {
            handle_fault();
        } else {
            serve(first_of(pending.calls & ~PENDING_FAULT));
        }
    }
}
