/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The event loop. All notifications that are pending at one look are delivered first, in ascending id; with none, one
 * call is served or one fault of a child is handled, whichever has the highest priority, of the caller or the child;
 * among equals, the one that came first; then it looks again. Linux's schedule settles no order between what is seen at
 * one look; under seL4's, callers and launcher write down when.
 */
#include "internal.h"
#include "message.h"
#include "syscall.h"

/* Ends looked at together. The table is filled up to whole groups with an end on which nothing ever comes. */
#define GROUP 4
#define TABLE ((MK_MAX_ENDS + GROUP - 1) / GROUP * GROUP)
/* A look at so many ends takes as long as a pause between two looks. */
#define MANY 32

/* Ends that hear notifications or serve calls, ascending by id. What every look reads lies side by side. */
static struct {
    uint32_t count;
    const struct mk_out *in[TABLE];
    /* What a look finds there when nothing is new: up to where notifications have been taken, ... */
    uint64_t seen[TABLE];
    /* ... and the number of the latest call taken. */
    uint64_t taken[TABLE];
    /* Bit N is about entry N: it hears, it serves. What else changes there means nothing. */
    uint64_t hears;
    uint64_t serves;
    /* Where it is written down for the next start of this PD up to where notifications have been delivered. */
    uint64_t *heard[MK_MAX_ENDS];
    /* When the calls that are pending came, for the entries in `queued`. */
    uint64_t since[MK_MAX_ENDS];
    uint64_t queued;
    /* Of the last look. */
    uint64_t looked;
    uint32_t priority[MK_MAX_ENDS];
    uint8_t id[MK_MAX_ENDS];
} ends;

/* Behind the last channel nothing ever comes; where there are no children, none of them ever faults. */
static const struct mk_out nothing;

/* How many faults of children have been raised, and up to where there is none left to take. */
static const struct mk_supervisor no_faults;
static const struct mk_supervisor *supervisor = &no_faults;
static uint64_t faults_handled;

/* Every peer, once. */
static struct {
    uint32_t count;
    const struct mk_status *status[MK_MAX_ENDS];
} peers;

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

static void add_peer(const struct mk_status *status)
{
    for (uint32_t i = 0; i < peers.count; i++) {
        if (peers.status[i] == status) {
            return;
        }
    }
    peers.status[peers.count++] = status;
}

/* A peer that waits, but spins, counts: it is on a CPU. */
bool mk_is_crowded(const struct mk_status *waited_for)
{
    if (mk_wait.kind == MK_WAIT_SPIN) {
        return false;
    }
    uint32_t working = waited_for == 0 ? 1 : 2;
    for (uint32_t i = 0; i < peers.count && working <= mk_wait.cpus; i++) {
        const struct mk_status *peer = peers.status[i];
        working += peer != waited_for && __atomic_load_n(&peer->asleep, __ATOMIC_RELAXED) == MK_AWAKE;
    }
    return working > mk_wait.cpus;
}

void mk_loop_take_ends(const struct mk_handoff *handoff)
{
    notified_entry = (void (*)(microkit_channel))(uintptr_t)handoff->notified;
    protected_entry = (microkit_msginfo(*)(microkit_channel, microkit_msginfo))(uintptr_t)handoff->protected_entry;
    supervisor = handoff->supervisor == 0 ? &no_faults : (const struct mk_supervisor *)(uintptr_t)handoff->supervisor;
    faults_handled = 0;
    ends.count = 0;
    ends.hears = ends.serves = ends.queued = ends.looked = 0;
    charged = MK_CHARGE_SELF;
    peers.count = 0;
    /* An idle system sleeps from the start. */
    waits.rest_until = wait_clock() + mk_wait.rest;
    waits.cpu = (uint16_t)(wait_cpu() + 1);
    for (unsigned i = 0; i < TABLE; i++) {
        ends.in[i] = &nothing;
        ends.seen[i] = ends.taken[i] = 0;
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
            ends.seen[i] = load_relaxed(&end->out->heard);
            ends.taken[i] = load_relaxed(&end->out->seq);
        }
        if (end->rights != 0 && end->peer != mk_status) {
            add_peer(end->peer);
        }
    }
    for (unsigned i = 0; i < handoff->end_count; i++) {
        for (unsigned k = 0; k < ends.count; k++) {
            if (ends.id[k] == handoff->ends[i].id) {
                ends.priority[k] = handoff->ends[i].peer_priority;
            }
        }
    }
}

/*
 * What has changed at one end. A call that it does not serve, or the reply to one of its own, and a notification that
 * it does not hear are taken for seen: the next look passes over them.
 */
static inline void look_at(uint32_t i, struct pending *pending)
{
    uint64_t notified = load_acquire(&ends.in[i]->notified);
    uint64_t seq = load_acquire(&ends.in[i]->seq);
    uint64_t bit = (uint64_t)1 << i;
    if (ends.hears & bit) {
        pending->notifications |= notified != ends.seen[i] ? bit : 0;
    } else {
        ends.seen[i] = notified;
    }
    if (ends.serves & bit) {
        pending->calls |= seq != ends.taken[i] ? bit : 0;
    } else {
        ends.taken[i] = seq;
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

/*
 * Mostly nothing has changed, or one word: a group is looked at end by end only where one of it differs, so that a PD
 * with many channels answers nearly as fast as one with few.
 */
static struct pending look(void)
{
    struct pending pending = {0, 0};
    for (uint32_t first = 0; first < ends.count; first += GROUP) {
        uint64_t differences = 0;
        for (uint32_t i = first; i < first + GROUP; i++) {
            const struct mk_out *in = ends.in[i];
            differences |= load_relaxed(&in->notified) ^ ends.seen[i];
            differences |= load_relaxed(&in->seq) ^ ends.taken[i];
        }
        if (__builtin_expect(differences != 0, 0)) {
            for (uint32_t i = first; i < first + GROUP; i++) {
                look_at(i, &pending);
            }
        }
    }
    /* A caller that takes its call back, which only a hostile one does, loses its place. */
    ends.queued &= pending.calls;
    uint64_t fresh = pending.calls & ~ends.queued;
    if (fresh != 0) {
        queue(fresh);
    }
    ends.queued = pending.calls;
    pending.calls |= load_acquire(&supervisor->faults) != faults_handled ? PENDING_FAULT : 0;
    return pending;
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
 * What arrives after the first loop counts as the next notification, even on a channel whose handler has not run yet.
 * What has not reached its handler when the PD is started again is pending then.
 */
static void deliver(uint64_t notifications)
{
    charge(MK_CHARGE_SELF);
    for (uint64_t left = notifications; left != 0; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctzll(left);
        ends.seen[i] = load_acquire(&ends.in[i]->notified);
    }
    for (uint64_t left = notifications; left != 0; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctzll(left);
        microkit_channel id = ends.id[i];
        store_relaxed(ends.heard[i], ends.seen[i]);
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
    charge(id);
    message_expect(end);
    microkit_msginfo message = message_get(end->in);
    /* A caller that starts again withdraws its call before it writes another: then this may be parts of both. */
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
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
    uint64_t longest = wait_may_spin(&mk_wait, &waits, now, wait_cpu());
    if (longest != 0 && !mk_is_crowded(0)) {
        struct wait_spin spin = wait_spin_begin(now, longest);
        do {
            if (ends.count < MANY) {
                wait_pause();
            }
            pending = look();
        } while (wait_spin_goes_on(&spin) && !any(pending));
        wait_has_spun(&mk_wait, &waits, &spin, any(pending));
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
