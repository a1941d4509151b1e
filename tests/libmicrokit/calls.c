/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Protected calls: message registers, order of callers, nesting, and what a handler defers.
 */
#include "harness.h"

static void nothing_to_do(void)
{
}

static void hears_nothing(microkit_channel ch)
{
    (void)ch;
    CHECK(!"this PD is notified");
}

static uint64_t word_of(uint64_t round, uint64_t i)
{
    return round * 0x9e3779b97f4a7c15u + i * 0x100000001u;
}

#define LABEL_MOST (((uint64_t)1 << 52) - 1)

/* Every count from 0 to 120 goes both ways, with the widest label; registers beyond the count stay the callee's own. */
static void registers_init(void)
{
    for (uint64_t count = 0; count <= seL4_MsgMaxLength; count++) {
        for (unsigned i = 0; i < seL4_MsgMaxLength; i++) {
            microkit_mr_set((seL4_Uint8)i, i < count ? word_of(count, i) : 0xdead);
        }
        microkit_msginfo reply = microkit_ppcall(3, microkit_msginfo_new(LABEL_MOST - count, (seL4_Uint16)count));
        CHECK(microkit_msginfo_get_label(reply) == count);
        CHECK(microkit_msginfo_get_count(reply) == seL4_MsgMaxLength - count);
        for (unsigned i = 0; i < seL4_MsgMaxLength; i++) {
            uint64_t own = i < count ? word_of(count, i) : 0xdead;
            CHECK(microkit_mr_get((seL4_Uint8)i) == (i < seL4_MsgMaxLength - count ? word_of(~count, i) : own));
        }
    }
    /* The server's last replies claim 127 registers. */
    for (int i = 0; i < 2; i++) {
        microkit_msginfo reply = microkit_ppcall(3, microkit_msginfo_new(0, 0));
        CHECK(microkit_msginfo_get_count(reply) == seL4_MsgMaxLength);
    }
    passed();
}

static microkit_msginfo registers_serve(microkit_channel ch, microkit_msginfo info)
{
    static uint64_t round;
    CHECK(ch == 40);
    /* Nothing was written behind the end's own words. */
    CHECK(*(const uint64_t *)(said_on(40) + 1) == 0);
    if (round > seL4_MsgMaxLength) {
        microkit_mr_set(seL4_MsgMaxLength, 0xdead);
        return microkit_msginfo_new(0, 127);
    }
    CHECK(microkit_msginfo_get_count(info) == round);
    CHECK(microkit_msginfo_get_label(info) == LABEL_MOST - round);
    CHECK(seL4_MessageInfo_get_extraCaps(info) == 0);
    for (unsigned i = 0; i < seL4_MsgMaxLength; i++) {
        if (i < round) {
            CHECK(microkit_mr_get((seL4_Uint8)i) == word_of(round, i));
        } else if (round > 0) {
            CHECK(microkit_mr_get((seL4_Uint8)i) != 0xdead);
        }
        microkit_mr_set((seL4_Uint8)i, word_of(~round, i));
    }
    microkit_msginfo reply = microkit_msginfo_new(round, (seL4_Uint16)(seL4_MsgMaxLength - round));
    round++;
    return reply;
}

static int registers(const char *argument)
{
    (void)argument;
    int caller = add_pd("caller", 1, (struct entry_points){.init = registers_init, .notified = hears_nothing});
    int server =
        add_pd("server", 2,
               (struct entry_points){.init = nothing_to_do, .notified = hears_nothing, .protected = registers_serve});
    add_channel(caller, 3, CALL, server, 40, 0);
    return run_system(1 << caller, 0);
}

/*
 * Callers of priorities 1, 5, 3 on ids 0, 1, 3 are queued while the server is in init. Another of priority 3, on id 2,
 * joins while the first is served, so that it stands behind its equal though its id is lower.
 */
static void queue_call(void)
{
    if (microkit_name[0] == 'l') {
        wait_until(&board[0], 1);
    }
    microkit_ppcall(1, microkit_msginfo_new(0, 0));
    if (atomic_fetch_add(&board[1], 1) == 3) {
        atomic_store(&board[2], 1);
    }
    wait_until(&board[2], 1);
    passed();
}

static void queue_init(void)
{
    wait_for_word(&heard_on(0)->events, 1);
    wait_for_word(&heard_on(1)->events, 1);
    wait_for_word(&heard_on(3)->events, 1);
}

static microkit_msginfo queue_serve(microkit_channel ch, microkit_msginfo info)
{
    static const uint32_t expected[] = {1, 3, 2, 0};
    static unsigned served;
    CHECK(ch == expected[served]);
    if (served++ == 0) {
        atomic_store(&board[0], 1);
        wait_for_word(&heard_on(2)->events, 1);
    }
    return info;
}

static int queue(const char *argument)
{
    (void)argument;
    struct entry_points caller = {.init = queue_call, .notified = hears_nothing};
    int low = add_pd("1", 1, caller);
    int high = add_pd("5", 5, caller);
    int early = add_pd("3", 3, caller);
    int late = add_pd("late", 3, caller);
    int server = add_pd("server", 9,
                        (struct entry_points){.init = queue_init, .notified = hears_nothing, .protected = queue_serve});
    add_channel(low, 1, CALL, server, 0, 0);
    add_channel(high, 1, CALL, server, 1, 0);
    add_channel(late, 1, CALL, server, 2, 0);
    add_channel(early, 1, CALL, server, 3, 0);
    return run_system(1 << low | 1 << high | 1 << early | 1 << late, 0);
}

/* A calls B, which calls C before it answers; the message registers are per PD, not per call. */
static void nested_init(void)
{
    for (uint64_t i = 0; i < 1000; i++) {
        microkit_mr_set(0, i);
        microkit_msginfo reply = microkit_ppcall(1, microkit_msginfo_new(7, 1));
        CHECK(microkit_msginfo_get_label(reply) == 8);
        CHECK(microkit_msginfo_get_count(reply) == 2);
        CHECK(microkit_mr_get(0) == i + 100);
        CHECK(microkit_mr_get(1) == i + 101);
    }
    passed();
}

static microkit_msginfo nested_middle(microkit_channel ch, microkit_msginfo info)
{
    CHECK(ch == 2);
    CHECK(microkit_msginfo_get_label(info) == 7);
    uint64_t asked = microkit_mr_get(0);
    microkit_mr_set(0, asked + 100);
    microkit_msginfo reply = microkit_ppcall(1, microkit_msginfo_new(70, 1));
    CHECK(own_status()->where == MK_IN_PROTECTED && own_status()->channel == 2);
    CHECK(microkit_msginfo_get_label(reply) == 71);
    microkit_mr_set(1, microkit_mr_get(0));
    microkit_mr_set(0, asked + 100);
    return microkit_msginfo_new(8, 2);
}

static microkit_msginfo nested_last(microkit_channel ch, microkit_msginfo info)
{
    CHECK(ch == 2);
    CHECK(microkit_msginfo_get_label(info) == 70);
    microkit_mr_set(0, microkit_mr_get(0) + 1);
    return microkit_msginfo_new(71, 1);
}

static int nested(const char *argument)
{
    (void)argument;
    int a = add_pd("a", 1, (struct entry_points){.init = nested_init, .notified = hears_nothing});
    int b = add_pd("b", 2, (struct entry_points){nothing_to_do, hears_nothing, nested_middle, 0});
    int c = add_pd("c", 3, (struct entry_points){nothing_to_do, hears_nothing, nested_last, 0});
    add_channel(a, 1, CALL, b, 2, 0);
    add_channel(b, 1, CALL, c, 2, 0);
    return run_system(1 << a, 0);
}

/*
 * What a handler defers happens when it returns, and before the reply: the caller finds it done. Of two deferred
 * actions the later one is done. It holds in init and in notified as well.
 */
static void deferred_init(void)
{
    wait_for_word(&heard_on(2)->notified, 1);
    CHECK(heard_on(3)->notified == 0);
    microkit_msginfo reply = microkit_ppcall(1, microkit_msginfo_new(0, 0));
    CHECK(microkit_msginfo_get_label(reply) == 5);
    CHECK(heard_on(2)->notified == 1);
    CHECK(heard_on(3)->notified == 1);
    microkit_notify(1);
    wait_for_word(&heard_on(2)->notified, 2);
    passed();
}

static void deferred_server_init(void)
{
    microkit_deferred_notify(12);
    CHECK(microkit_have_signal && microkit_signal_cap == BASE_OUTPUT_NOTIFICATION_CAP + 12);
    CHECK(said_on(12)->notified == 0);
}

static microkit_msginfo deferred_serve(microkit_channel ch, microkit_msginfo info)
{
    (void)ch, (void)info;
    CHECK(!microkit_have_signal);
    microkit_deferred_notify(12);
    microkit_deferred_notify(13);
    CHECK(said_on(12)->notified == 1 && said_on(13)->notified == 0);
    return microkit_msginfo_new(5, 0);
}

static void deferred_hear(microkit_channel ch)
{
    CHECK(ch == 11);
    CHECK(!microkit_have_signal);
    microkit_deferred_notify(12);
    CHECK(said_on(12)->notified == 1);
}

static int deferred(const char *argument)
{
    (void)argument;
    int caller = add_pd("caller", 1, (struct entry_points){.init = deferred_init, .notified = hears_nothing});
    int server = add_pd("server", 2, (struct entry_points){deferred_server_init, deferred_hear, deferred_serve, 0});
    add_channel(caller, 1, CALL | NOTIFY, server, 11, 0);
    add_channel(caller, 2, 0, server, 12, NOTIFY);
    add_channel(caller, 3, 0, server, 13, NOTIFY);
    return run_system(1 << caller, 0);
}

/* The same through the seL4 slots, as programs do that know nothing of Microkit's functions. */
static void slots_init(void)
{
    seL4_SetMR(0, 41);
    seL4_MessageInfo_t reply = seL4_Call(BASE_ENDPOINT_CAP + 1, seL4_MessageInfo_new(3, 0, 0, 1));
    CHECK(seL4_MessageInfo_get_label(reply) == 4);
    CHECK(seL4_MessageInfo_get_length(reply) == 1);
    CHECK(seL4_GetMR(0) == 42);
    reply = seL4_Call(BASE_ENDPOINT_CAP + 2, seL4_MessageInfo_new(3, 0, 0, 1));
    CHECK(seL4_MessageInfo_get_label(reply) == seL4_InvalidCapability);
    CHECK(seL4_MessageInfo_get_length(reply) == 0);
    CHECK(seL4_MessageInfo_get_label(seL4_Call(5, reply)) == seL4_InvalidCapability);
    CHECK(seL4_MessageInfo_get_label(seL4_Call(~(seL4_Word)0, reply)) == seL4_InvalidCapability);
    seL4_Signal(0);
    seL4_Signal(~(seL4_Word)0);
    seL4_Signal(BASE_OUTPUT_NOTIFICATION_CAP + 61);
    seL4_Signal(BASE_OUTPUT_NOTIFICATION_CAP + 62);
    CHECK(said_on(1)->notified == 0);
    seL4_Signal(BASE_OUTPUT_NOTIFICATION_CAP + 1);
    CHECK(said_on(1)->notified == 1);
    passed();
}

static void slots_hear(microkit_channel ch)
{
    CHECK(ch == 0);
}

static microkit_msginfo slots_serve(microkit_channel ch, microkit_msginfo info)
{
    CHECK(ch == 0);
    microkit_mr_set(0, microkit_mr_get(0) + 1);
    return microkit_msginfo_new(microkit_msginfo_get_label(info) + 1, 1);
}

static int slots(const char *argument)
{
    (void)argument;
    int caller = add_pd("caller", 1, (struct entry_points){.init = slots_init, .notified = hears_nothing});
    int server = add_pd("server", 2, (struct entry_points){nothing_to_do, slots_hear, slots_serve, 0});
    add_channel(caller, 1, CALL | NOTIFY, server, 0, 0);
    return run_system(1 << caller, 0);
}

const struct test call_tests[] = {
    {"registers", registers}, {"queue", queue}, {"nested", nested}, {"deferred", deferred}, {"slots", slots}, {0, 0},
};
