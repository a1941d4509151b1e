/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Delivery of notifications: coalescing, identity, order, snapshots, sleep and wake.
 */
#include "harness.h"

/* Handlers of a PD write down the channels they hear. */
static uint32_t heard[256];
static unsigned heard_count;

static void hear(microkit_channel ch)
{
    CHECK(heard_count < 256);
    heard[heard_count++] = ch;
}

static void nothing_to_do(void)
{
}

static void hears_nothing(microkit_channel ch)
{
    (void)ch;
    CHECK(!"this PD is notified");
}

/*
 * Five notifications while the receiver is busy are one. Board: 0 the receiver is in its handler, 1 all are sent, 2 the
 * last word: a notification on another channel, after which nothing may be left.
 */
static void coalesce_send(void)
{
    microkit_notify(1);
    wait_until(&board[0], 1);
    for (int i = 0; i < 5; i++) {
        microkit_notify(1);
    }
    atomic_store(&board[1], 1);
    wait_until(&board[0], 2);
    microkit_notify(2);
}

static void coalesce_hear(microkit_channel ch)
{
    hear(ch);
    if (heard_count == 1) {
        CHECK(ch == 11);
        atomic_store(&board[0], 1);
        wait_until(&board[1], 1);
    } else if (heard_count == 2) {
        CHECK(ch == 11);
        atomic_store(&board[0], 2);
    } else {
        CHECK(ch == 12);
        CHECK(heard_count == 3);
        passed();
    }
}

static int coalesce(const char *argument)
{
    (void)argument;
    int sender = add_pd("sender", 1, (struct entry_points){.init = coalesce_send, .notified = hears_nothing});
    int receiver = add_pd("receiver", 2, (struct entry_points){.init = nothing_to_do, .notified = coalesce_hear});
    add_channel(sender, 1, NOTIFY, receiver, 11, NOTIFY);
    add_channel(sender, 2, NOTIFY, receiver, 12, NOTIFY);
    return run_system(1 << receiver, 0);
}

/*
 * Two senders fire on four channels in descending order while the receiver is in init; it hears its own ids in
 * ascending order. During the first handler, channel 0 and 61 fire again: 61 has not been delivered yet, but was taken,
 * so both come again after the snapshot.
 */
static void order_send(void)
{
    if (microkit_name[0] == 'a') {
        microkit_notify(60);
        microkit_notify(0);
    } else {
        microkit_notify(5);
        microkit_notify(4);
    }
    atomic_fetch_add(&board[0], 1);
    wait_until(&board[1], 1);
    if (microkit_name[0] == 'a') {
        microkit_notify(60);
        microkit_notify(0);
        atomic_store(&board[2], 1);
    }
}

static void order_init(void)
{
    wait_until(&board[0], 2);
}

static void order_hear(microkit_channel ch)
{
    static const uint32_t expected[] = {0, 3, 7, 61, 0, 61};
    hear(ch);
    if (heard_count == 1) {
        atomic_store(&board[1], 1);
        wait_until(&board[2], 1);
    }
    CHECK(ch == expected[heard_count - 1]);
    if (heard_count == 6) {
        passed();
    }
}

static int order(const char *argument)
{
    (void)argument;
    int a = add_pd("a", 1, (struct entry_points){.init = order_send, .notified = hears_nothing});
    int b = add_pd("b", 1, (struct entry_points){.init = order_send, .notified = hears_nothing});
    int receiver = add_pd("receiver", 2, (struct entry_points){.init = order_init, .notified = order_hear});
    add_channel(a, 60, NOTIFY, receiver, 61, 0);
    add_channel(b, 4, NOTIFY, receiver, 3, 0);
    add_channel(a, 0, NOTIFY, receiver, 0, 0);
    add_channel(b, 5, NOTIFY, receiver, 7, 0);
    return run_system(1 << receiver, 0);
}

/* Notifications that are pending come before a call that is pending, also those on higher channels. */
static void caller_init(void)
{
    atomic_store(&board[0], 1);
    microkit_ppcall(2, microkit_msginfo_new(0, 0));
    passed();
}

static void notifier_init(void)
{
    microkit_notify(1);
    microkit_notify(2);
    atomic_store(&board[1], 1);
}

static void before_calls_init(void)
{
    wait_until(&board[1], 1);
    wait_for_word(&heard_on(10)->events, 1);
}

static microkit_msginfo before_calls_serve(microkit_channel ch, microkit_msginfo info)
{
    CHECK(ch == 10);
    CHECK(heard_count == 3);
    CHECK(heard[0] == 22 && heard[1] == 30 && heard[2] == 20);
    return info;
}

static void before_calls_hear(microkit_channel ch)
{
    hear(ch);
    if (heard_count == 2) {
        /* Itself, so that one is pending when the handler returns, though not when the call was first seen. */
        microkit_notify(21);
    }
}

static int before_calls(const char *argument)
{
    (void)argument;
    int caller = add_pd("caller", 1, (struct entry_points){.init = caller_init, .notified = hears_nothing});
    int notifier = add_pd("notifier", 1, (struct entry_points){.init = notifier_init, .notified = hears_nothing});
    int server = add_pd("server", 9,
                        (struct entry_points){
                            .init = before_calls_init, .notified = before_calls_hear, .protected = before_calls_serve});
    add_channel(caller, 2, CALL, server, 10, 0);
    add_channel(notifier, 1, NOTIFY, server, 30, 0);
    add_channel(notifier, 2, NOTIFY, server, 22, 0);
    add_channel(server, 20, NOTIFY, server, 21, NOTIFY);
    return run_system(1 << caller, 0);
}

/* A channel of a PD with itself: what goes in at one end comes out at the other. */
static void self_init(void)
{
    microkit_notify(4);
}

static void self_hear(microkit_channel ch)
{
    hear(ch);
    if (heard_count <= 3) {
        CHECK(ch == (heard_count % 2 ? 9 : 4));
        microkit_notify(ch);
        return;
    }
    passed();
}

static int self_channel(const char *argument)
{
    (void)argument;
    int pd = add_pd("self", 1, (struct entry_points){.init = self_init, .notified = self_hear});
    add_channel(pd, 4, NOTIFY, pd, 9, NOTIFY);
    return run_system(1 << pd, 0);
}

/* All 62 channels between two PDs, each to another id; the answer comes back on the same channel. */
static uint64_t answered;

static void all_init(void)
{
    for (unsigned id = 0; id < MICROKIT_MAX_CHANNELS; id++) {
        microkit_notify(id);
    }
}

static void all_answered(microkit_channel ch)
{
    answered |= (uint64_t)1 << ch;
    if (answered == ((uint64_t)1 << MICROKIT_MAX_CHANNELS) - 1) {
        passed();
    }
}

static void all_answer(microkit_channel ch)
{
    microkit_notify(ch);
}

static int all_channels(const char *argument)
{
    (void)argument;
    int a = add_pd("asks", 1, (struct entry_points){.init = all_init, .notified = all_answered});
    int b = add_pd("answers", 1, (struct entry_points){.init = nothing_to_do, .notified = all_answer});
    for (uint32_t id = 0; id < MICROKIT_MAX_CHANNELS; id++) {
        add_channel(a, id, NOTIFY, b, (id + 31) % MICROKIT_MAX_CHANNELS, NOTIFY);
    }
    return run_system(1 << a, 0);
}

/* A receiver that is known to sleep is woken, time and again. */
#define WAKES 300

static void wake_init(void)
{
    for (int i = 0; i < WAKES; i++) {
        wait_until(&board[0], (uint64_t)i);
        wait_for_state(&peer_status(1)->asleep, MK_ASLEEP);
        microkit_notify(1);
    }
}

static void wake_hear(microkit_channel ch)
{
    CHECK(ch == 2);
    CHECK(own_status()->asleep == MK_AWAKE);
    if (atomic_fetch_add(&board[0], 1) + 1 == WAKES) {
        passed();
    }
}

static int wake(const char *argument)
{
    (void)argument;
    int sender = add_pd("sender", 1, (struct entry_points){.init = wake_init, .notified = hears_nothing});
    int sleeper = add_pd("sleeper", 1, (struct entry_points){.init = nothing_to_do, .notified = wake_hear});
    add_channel(sender, 1, NOTIFY, sleeper, 2, 0);
    return run_system(1 << sleeper, 0);
}

/* Who is blocked in a call is not rung for a notification, and hears it when its handler has returned. */
static int blocked_pd;

static void blocked_init(void)
{
    microkit_ppcall(1, microkit_msginfo_new(0, 0));
    CHECK(heard_count == 0);
    atomic_store(&board[2], 1);
}

static void blocked_hear(microkit_channel ch)
{
    CHECK(atomic_load(&board[2]) == 1);
    CHECK(ch == 2);
    passed();
}

static microkit_msginfo blocked_serve(microkit_channel ch, microkit_msginfo info)
{
    wait_for_state(&peer_status(ch)->asleep, MK_ASLEEP_IN_CALL);
    CHECK(peer_status(ch)->where == MK_IN_CALL);
    CHECK(peer_status(ch)->channel == 1);
    for (int i = 0; i < 10; i++) {
        microkit_notify(12);
    }
    atomic_store(&board[0], 1);
    wait_until(&board[1], 1);
    return info;
}

static void blocked_watch(void)
{
    wait_until(&board[0], 1);
    int rings = rings_waiting(blocked_pd);
    if (rings != 0) {
        fprintf(stderr, "a PD blocked in a call was rung %d times\n", rings);
        exit(1);
    }
    atomic_store(&board[1], 1);
}

static int blocked(const char *argument)
{
    (void)argument;
    blocked_pd = add_pd("blocked", 1, (struct entry_points){.init = blocked_init, .notified = blocked_hear});
    int server =
        add_pd("server", 2,
               (struct entry_points){.init = nothing_to_do, .notified = hears_nothing, .protected = blocked_serve});
    add_channel(blocked_pd, 1, CALL, server, 11, 0);
    add_channel(blocked_pd, 2, 0, server, 12, NOTIFY);
    return run_system(1 << blocked_pd, blocked_watch);
}

const struct test delivery_tests[] = {
    {"coalesce", coalesce},         {"order", order}, {"before_calls", before_calls}, {"self_channel", self_channel},
    {"all_channels", all_channels}, {"wake", wake},   {"blocked", blocked},           {0, 0},
};
