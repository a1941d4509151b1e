/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Waiting: many messages at odd moments in every strategy, and the estimate of when a spin pays.
 */
#include "harness.h"

#include "wait.h"

static uint64_t messages;
static uint64_t random_state = 88172645463325252u;

/* Busy for a random while: mostly not at all, at times long enough for the peer to fall asleep. */
static void dawdle(uint64_t seed)
{
    random_state += seed;
    uint64_t random = random_word(&random_state);
    uint64_t turns = random % 8 ? 0 : random % 64 ? (random >> 8) % 300 : (random >> 8) % 30000;
    for (volatile uint64_t i = 0; i < turns; i = i + 1) {
    }
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
 * Two notifiers count on the board and notify; every 8th time they wait until the receiver has taken all, so that it
 * falls asleep often. A lost wake-up leaves the test hanging.
 */
static void notifier_init(void)
{
    unsigned own = microkit_name[0] == 'a' ? 0 : 1;
    for (uint64_t i = 1; i <= messages; i++) {
        dawdle(own);
        atomic_store(&board[own], i);
        microkit_notify(1);
        if (i % 8 == 0) {
            wait_until(&board[2 + own], i);
        }
    }
}

static void receiver_hear(microkit_channel ch)
{
    CHECK(ch == 5 || ch == 6);
    unsigned sender = ch - 5;
    uint64_t sent = atomic_load(&board[sender]);
    CHECK(sent >= atomic_load(&board[2 + sender]));
    atomic_store(&board[2 + sender], sent);
    dawdle(2);
    if (atomic_load(&board[2]) == messages && atomic_load(&board[3]) == messages) {
        passed();
    }
}

static int notifications(const char *argument)
{
    messages = argument ? strtoull(argument, 0, 10) : 1000;
    int a = add_pd("a", 1, (struct entry_points){.init = notifier_init, .notified = hears_nothing});
    int b = add_pd("b", 1, (struct entry_points){.init = notifier_init, .notified = hears_nothing});
    int receiver = add_pd("receiver", 1, (struct entry_points){.init = nothing_to_do, .notified = receiver_hear});
    add_channel(a, 1, NOTIFY, receiver, 5, 0);
    add_channel(b, 1, NOTIFY, receiver, 6, 0);
    return run_system(1 << receiver, 0);
}

/*
 * Each message is sent about when its receiver falls asleep after the one before: a step more or less after it was last
 * seen awake. This is the moment at which a wake-up could be lost.
 */
static void step_more_or_less(void)
{
    uint64_t turns = random_word(&random_state) % 128;
    for (volatile uint64_t i = 0; i < turns; i = i + 1) {
    }
}

static void edge_init(void)
{
    for (uint64_t i = 1; i <= messages; i++) {
        wait_until(&board[0], i - 1);
        step_more_or_less();
        microkit_notify(1);
    }
}

static void edge_hear(microkit_channel ch)
{
    CHECK(ch == 5);
    if (atomic_fetch_add(&board[0], 1) + 1 == messages) {
        passed();
    }
}

static int edge(const char *argument)
{
    messages = argument ? strtoull(argument, 0, 10) : 1000;
    int sender = add_pd("sender", 1, (struct entry_points){.init = edge_init, .notified = hears_nothing});
    int receiver = add_pd("receiver", 1, (struct entry_points){.init = nothing_to_do, .notified = edge_hear});
    add_channel(sender, 1, NOTIFY, receiver, 5, 0);
    spread();
    return run_system(1 << receiver, 0);
}

static void call_edge_init(void)
{
    for (uint64_t i = 1; i <= messages; i++) {
        step_more_or_less();
        CHECK(microkit_msginfo_get_label(microkit_ppcall(1, microkit_msginfo_new(i, 0))) == i);
    }
    passed();
}

static microkit_msginfo call_edge_serve(microkit_channel ch, microkit_msginfo info)
{
    CHECK(ch == 5);
    step_more_or_less();
    return info;
}

static int call_edge(const char *argument)
{
    messages = argument ? strtoull(argument, 0, 10) : 1000;
    int caller = add_pd("caller", 1, (struct entry_points){.init = call_edge_init, .notified = hears_nothing});
    int server = add_pd("server", 2, (struct entry_points){nothing_to_do, hears_nothing, call_edge_serve, 0});
    add_channel(caller, 1, CALL, server, 5, 0);
    spread();
    return run_system(1 << caller, 0);
}

/* Two callers; a server that answers each with a word of the question, and notifies it before. */
static void caller_init(void)
{
    uint64_t own = microkit_name[0];
    for (uint64_t i = 1; i <= messages; i++) {
        dawdle(own);
        uint64_t count = random_word(&random_state) % 6;
        for (unsigned k = 0; k < count; k++) {
            microkit_mr_set((seL4_Uint8)k, i * own + k);
        }
        microkit_msginfo reply = microkit_ppcall(1, microkit_msginfo_new(i, (seL4_Uint16)count));
        CHECK(microkit_msginfo_get_label(reply) == (i ^ own));
        CHECK(microkit_msginfo_get_count(reply) == count);
        for (unsigned k = 0; k < count; k++) {
            CHECK(microkit_mr_get((seL4_Uint8)k) == ~(i * own + k));
        }
    }
    microkit_notify(1);
}

static void caller_hear(microkit_channel ch)
{
    CHECK(ch == 1);
    passed();
}

static microkit_msginfo call_serve(microkit_channel ch, microkit_msginfo info)
{
    CHECK(ch == 'a' - 'a' || ch == 'b' - 'a');
    uint64_t caller = 'a' + ch;
    uint64_t count = microkit_msginfo_get_count(info);
    uint64_t round = microkit_msginfo_get_label(info);
    for (unsigned k = 0; k < count; k++) {
        CHECK(microkit_mr_get((seL4_Uint8)k) == round * caller + k);
        microkit_mr_set((seL4_Uint8)k, ~(round * caller + k));
    }
    dawdle(caller);
    return microkit_msginfo_new(round ^ caller, (seL4_Uint16)count);
}

static void answer_hear(microkit_channel ch)
{
    microkit_notify(ch);
}

static int calls(const char *argument)
{
    messages = argument ? strtoull(argument, 0, 10) : 1000;
    int a = add_pd("a", 1, (struct entry_points){.init = caller_init, .notified = caller_hear});
    int b = add_pd("b", 1, (struct entry_points){.init = caller_init, .notified = caller_hear});
    int server = add_pd("server", 2, (struct entry_points){nothing_to_do, answer_hear, call_serve, 0});
    add_channel(a, 1, NOTIFY | CALL, server, 0, NOTIFY);
    add_channel(b, 1, NOTIFY | CALL, server, 1, NOTIFY);
    return run_system(1 << a | 1 << b, 0);
}

/* What a wait is decided from, and a clock and a CPU to decide by. */
struct judge {
    struct wait_policy policy;
    struct wait_history history;
    uint64_t now;
    uint16_t cpu;
    uint32_t peer_cpu;
};

#define SPIN 1000
#define REST (20 * SPIN)

static struct judge a_judge(uint32_t kind, uint64_t spin_cycles)
{
    return (struct judge){
        .policy = {.spin_cycles = spin_cycles, .kind = kind, .cpus = 2, .rest = REST}, .now = 1, .cpu = 0};
}

/* One wait: the longest spin it may have, and how it ends if it has one. */
static uint64_t judged(struct judge *judge, bool pays, bool torn)
{
    uint64_t longest = wait_may_spin(&judge->policy, &judge->history, judge->now, judge->cpu, &judge->peer_cpu);
    if (longest != 0) {
        struct wait_spin spin = wait_spin_begin(judge->now, longest);
        judge->now += pays ? 10 : longest;
        spin.latest = judge->now;
        spin.torn = torn;
        wait_has_spun(&judge->policy, &judge->history, &spin, pays);
    }
    return longest;
}

/* How often of `turns` a wait spins, where every spin pays that `paying_of_8` names; each wait takes 100 cycles. */
static unsigned spins_of(struct judge *judge, unsigned turns, unsigned paying_of_8)
{
    unsigned spins = 0;
    for (unsigned i = 0; i < turns; i++) {
        judge->now += 100;
        spins += judged(judge, spins % 8 < paying_of_8, false) != 0;
    }
    return spins;
}

#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);                             \
            return 1;                                                                                                  \
        }                                                                                                              \
    } while (0)

static int estimate(const char *argument)
{
    (void)argument;
    /* Where spinning never pays, it takes a small part of the time, and less and less. */
    struct judge judge = a_judge(MK_WAIT_AUTO, SPIN);
    uint64_t begin = judge.now;
    unsigned spins = spins_of(&judge, 10000, 0);
    EXPECT(spins > 1 && spins * SPIN < (judge.now - begin) / 20);
    spins = spins_of(&judge, 10000, 0);
    EXPECT(spins * SPIN < 1000000 / 100);
    /* Where it begins to pay, the next probe finds out, and then every wait spins. */
    judge.now += WAIT_REST_LAST * REST;
    EXPECT(spins_of(&judge, 1000, 8) == 1000);
    /* One failure in eight does not end it; seven do. */
    EXPECT(spins_of(&judge, 1000, 7) == 1000);
    EXPECT(spins_of(&judge, 1000, 1) <= 300);

    /* What pays on one channel does not let another probe without rest. */
    struct judge one = a_judge(MK_WAIT_AUTO, SPIN);
    EXPECT(judged(&one, false, false) == SPIN);
    struct judge other = a_judge(MK_WAIT_AUTO, SPIN);
    other.policy = one.policy;
    other.now = one.now;
    EXPECT(judged(&other, false, false) == 0);
    other.now += REST;
    EXPECT(judged(&other, false, false) == SPIN);

    /* A spin that was torn has failed, whatever came. */
    struct judge torn = a_judge(MK_WAIT_AUTO, SPIN);
    EXPECT(judged(&torn, true, true) == SPIN);
    EXPECT(torn.history.credit == 0 && torn.history.rest == REST);

    /* Another CPU is a new beginning, as far as the PD's own rest allows. */
    struct judge moved = a_judge(MK_WAIT_AUTO, SPIN);
    spins_of(&moved, 1000, 0);
    moved.now = moved.policy.rest_until;
    EXPECT(moved.now < moved.history.rest_until && judged(&moved, false, false) == 0);
    moved.cpu = 1;
    EXPECT(judged(&moved, true, false) == SPIN);

    /* Waits that sleep for the same peer on the same CPU end in one long spin; where it is in vain, in one for twice as
     * many. */
    struct judge stuck = a_judge(MK_WAIT_AUTO, SPIN);
    judged(&stuck, false, false);
    stuck.policy.rest_until = UINT64_MAX;
    for (uint32_t i = 0; i < 100 * WAIT_LONG_FIRST; i++) {
        stuck.peer_cpu = i % WAIT_LONG_FIRST == 0 ? 2 : 1;
        EXPECT(judged(&stuck, false, false) == 0);
    }
    stuck.peer_cpu = 2;
    EXPECT(judged(&stuck, false, false) == 0);
    stuck.peer_cpu = 1;
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t i = 1; i < WAIT_LONG_FIRST << round; i++) {
            EXPECT(judged(&stuck, false, false) == 0);
        }
        EXPECT(judged(&stuck, false, false) == SPIN * WAIT_LONG_SPINS);
    }
    uint32_t other_cpu = 1;
    for (uint32_t i = 0; i < WAIT_LONG_LAST; i++) {
        struct judge *judge = &stuck;
        EXPECT(wait_may_spin(&judge->policy, &judge->history, judge->now, judge->cpu,
                             i % 2 ? &judge->peer_cpu : &other_cpu) == 0);
    }

    struct judge never = a_judge(MK_WAIT_SLEEP, SPIN), always = a_judge(MK_WAIT_SPIN, SPIN);
    struct judge one_cpu = a_judge(MK_WAIT_SPIN, 0);
    never.history.credit = WAIT_CREDIT_MOST;
    for (int i = 0; i < 1000; i++) {
        EXPECT(judged(&never, false, false) == 0);
        EXPECT(judged(&one_cpu, false, false) == 0);
        EXPECT(judged(&always, false, false) == SPIN);
    }
    return 0;
}

const struct test wait_tests[] = {{"notifications", notifications}, {"edge", edge},
                                  {"call_edge", call_edge},         {"calls", calls},
                                  {"estimate", estimate},           {0, 0}};
