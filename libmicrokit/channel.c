/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The sending side of channels: notifications, calls, and the one action a handler may defer.
 */
#include "internal.h"
#include "message.h"

seL4_Bool microkit_have_signal;
seL4_CPtr microkit_signal_cap;
seL4_MessageInfo_t microkit_signal_msg;

/* How waiting for replies went, by channel id. */
static struct wait_history replies[MK_MAX_ENDS];

static const char INVALID_CHANNEL[] = "invalid channel given";

static struct end *end_with(microkit_channel ch, uint32_t right)
{
    if (ch > MICROKIT_MAX_CHANNEL_ID || (mk_ends[ch].rights & right) == 0) {
        return 0;
    }
    return &mk_ends[ch];
}

bool mk_may(microkit_channel ch, uint32_t right)
{
    return end_with(ch, right) != 0;
}

bool mk_has_irq(microkit_channel ch)
{
    return ch <= MICROKIT_MAX_CHANNEL_ID && (microkit_irqs >> ch & 1) != 0;
}

/* Says that something has been stored for the peer to look at, with release order since it may see it before this. */
static inline void announce(struct end *end)
{
    __atomic_store_n(&end->out->events, ++end->events, __ATOMIC_SEQ_CST);
}

static inline void announce_and_wake(struct end *end)
{
    announce(end);
    wake_peer(end, MK_ASLEEP);
}

static inline void notify(struct end *end)
{
    store_release(&end->out->notified, ++end->notified);
    announce_and_wake(end);
}

static void wait_for_reply(struct end *end, uint64_t call)
{
    const uint64_t *word = &end->in->seq;
    if (load_acquire(word) == call) {
        return;
    }
    if (mk_scheduled) {
        while (load_acquire(word) != call) {
            mk_sleep();
        }
        return;
    }
    struct wait_history *history = &replies[end - mk_ends];
    uint64_t now = wait_clock();
    uint64_t longest = wait_may_spin(&mk_wait, history, now, say_cpu(), &end->peer->cpu);
    if (longest != 0 && !mk_is_crowded(end->peer, now)) {
        struct wait_spin spin = wait_spin_begin(now, longest);
        bool answered;
        do {
            wait_pause();
            answered = load_acquire(word) == call;
        } while (wait_spin_goes_on(&spin) && !answered);
        wait_has_spun(&mk_wait, history, &spin, answered);
        if (answered) {
            mk_has_waited();
            return;
        }
    }
    /* As in the loop; a notification does not wake a PD that is blocked in a call, so it has a value of its own. */
    __atomic_store_n(&mk_status->asleep, MK_ASLEEP_IN_CALL, __ATOMIC_SEQ_CST);
    while (load_seq_cst(word) != call) {
        mk_read_doorbell();
    }
    __atomic_store_n(&mk_status->asleep, MK_AWAKE, __ATOMIC_RELAXED);
    mk_has_waited();
}

static microkit_msginfo call(microkit_channel ch, struct end *end, microkit_msginfo message)
{
    uint64_t number = ++end->calls;
    message_put(end, message);
    if (mk_scheduled) {
        store_relaxed(&end->out->since, wait_clock());
    }
    store_release(&end->out->seq, number);
    announce_and_wake(end);
    uint32_t where = __atomic_load_n(&mk_status->where, __ATOMIC_RELAXED);
    uint32_t channel = __atomic_load_n(&mk_status->channel, __ATOMIC_RELAXED);
    say_where(MK_IN_CALL, ch);
    wait_for_reply(end, number);
    say_where(where, channel);
    message_expect(end);
    return message_get(end->in);
}

static const microkit_msginfo EMPTY = {{0}};

void microkit_notify(microkit_channel ch)
{
    struct end *end = end_with(ch, MK_MAY_NOTIFY);
    if (end == 0) {
        mk_complain_of("microkit_notify", INVALID_CHANNEL, ch);
        return;
    }
    notify(end);
}

microkit_msginfo microkit_ppcall(microkit_channel ch, microkit_msginfo msginfo)
{
    struct end *end = end_with(ch, MK_MAY_CALL);
    if (end == 0) {
        mk_complain_of("microkit_ppcall", INVALID_CHANNEL, ch);
        return EMPTY;
    }
    if (microkit_msginfo_get_count(msginfo) > MK_MAX_MRS) {
        mk_complain_of("microkit_ppcall", "more than 120 message registers given",
                       (uint32_t)microkit_msginfo_get_count(msginfo));
        return EMPTY;
    }
    return call(ch, end, msginfo);
}

void microkit_irq_ack(microkit_channel ch)
{
    if (!mk_has_irq(ch)) {
        mk_complain_of("microkit_irq_ack", INVALID_CHANNEL, ch);
    }
}

static void defer(seL4_CPtr cap)
{
    microkit_have_signal = seL4_True;
    microkit_signal_cap = cap;
    microkit_signal_msg = EMPTY;
}

void microkit_deferred_notify(microkit_channel ch)
{
    if (end_with(ch, MK_MAY_NOTIFY) == 0) {
        mk_complain_of("microkit_deferred_notify", INVALID_CHANNEL, ch);
        return;
    }
    defer(BASE_OUTPUT_NOTIFICATION_CAP + ch);
}

void microkit_deferred_irq_ack(microkit_channel ch)
{
    if (!mk_has_irq(ch)) {
        mk_complain_of("microkit_deferred_irq_ack", INVALID_CHANNEL, ch);
        return;
    }
    defer(BASE_IRQ_CAP + ch);
}

/*
 * A PD that has been here before withdraws what it was calling for, announces what it may have stored just before the
 * end and not announced, and wakes all who may sleep on it. On the first start there is nothing of either.
 */
static void go_on(struct end *end)
{
    if ((end->rights & MK_MAY_CALL) != 0 && load_acquire(&end->in->seq) != load_relaxed(&end->out->seq)) {
        store_release(&end->out->seq, end->calls | MK_SEQ_WITHDRAWN);
    }
    if (end->notified != 0 || end->calls != 0) {
        announce(end);
        if (mk_scheduled) {
            mk_say_signalled(end);
        } else {
            mk_ring(end->peer_doorbell);
        }
    }
}

void mk_channels_go_on(void)
{
    for (unsigned id = 0; id < MK_MAX_ENDS; id++) {
        if (mk_ends[id].rights != 0) {
            go_on(&mk_ends[id]);
        }
    }
}

/* The globals are the program's to write, as on Microkit, so the slot is judged again. */
void mk_run_deferred(void)
{
    if (microkit_have_signal) {
        microkit_have_signal = seL4_False;
        seL4_Signal(microkit_signal_cap);
    }
}

void seL4_Signal(seL4_CPtr dest)
{
    seL4_Word ch = dest - BASE_OUTPUT_NOTIFICATION_CAP;
    struct end *end = ch <= MICROKIT_MAX_CHANNEL_ID ? end_with((microkit_channel)ch, MK_MAY_NOTIFY) : 0;
    if (end != 0) {
        notify(end);
    }
}

seL4_MessageInfo_t seL4_Call(seL4_CPtr dest, seL4_MessageInfo_t msgInfo)
{
    seL4_Word ch = dest - BASE_ENDPOINT_CAP;
    struct end *end = ch <= MICROKIT_MAX_CHANNEL_ID ? end_with((microkit_channel)ch, MK_MAY_CALL) : 0;
    if (end == 0) {
        return seL4_MessageInfo_new(seL4_InvalidCapability, 0, 0, 0);
    }
    return call((microkit_channel)ch, end, msgInfo);
}
