/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Calls of PDs that start again: what the caller had open is withdrawn, what the server had taken is served again.
 */
#include "director.h"

/*
 * A call that was taken, but not answered, is served again; its caller gets one answer, and the next start does not
 * serve it once more. Board: 0 calls taken, 1 starts of the server.
 */
static void server_call(void)
{
    for (uint64_t i = 1; i <= 4; i++) {
        microkit_mr_set(0, i);
        microkit_msginfo reply = microkit_ppcall(1, microkit_msginfo_new(i, 1));
        CHECK(microkit_msginfo_get_label(reply) == i + 50);
        CHECK(atomic_load(&board[0]) == i + (i + 1) / 2);
    }
    start_again();
    wait_until(&board[1], 4);
    wait_for_state(&peer_status(1)->asleep, MK_ASLEEP);
    CHECK(atomic_load(&board[0]) == 6);
    passed();
}

static void server_init(void)
{
    atomic_fetch_add(&board[1], 1);
}

static microkit_msginfo server_serve(microkit_channel ch, microkit_msginfo info)
{
    CHECK(ch == 2);
    CHECK(microkit_msginfo_get_count(info) == 1 && microkit_mr_get(0) == microkit_msginfo_get_label(info));
    /* Calls 1 and 3 are the first and the fourth that are taken. */
    if (atomic_fetch_add(&board[0], 1) % 3 == 0) {
        start_again();
        never_returns();
    }
    return microkit_msginfo_new(microkit_msginfo_get_label(info) + 50, 0);
}

static int server(const char *argument)
{
    int caller = add_pd("caller", 1, (struct entry_points){.init = server_call, .notified = hears_nothing});
    int server = add_pd("server", 2, (struct entry_points){server_init, hears_nothing, server_serve, 0});
    add_channel(caller, 1, CALL, server, 2, 0);
    add_director();
    begin(server, argument);
    return run_system(1 << caller, 0);
}

/*
 * A call that its caller has withdrawn by starting again is not served if it waits, and its answer goes nowhere if it
 * has been taken. Board: 0 how often the caller has come to init.
 */
static void withdrawn_call(void)
{
    uint64_t start = atomic_fetch_add(&board[0], 1) + 1;
    microkit_msginfo reply = microkit_ppcall(1, microkit_msginfo_new(start, 0));
    CHECK(start == 2);
    CHECK(microkit_msginfo_get_label(reply) == 52);
    passed();
}

static void queued_init(void)
{
    wait_for_word(&heard_on(2)->seq, 1);
    start_again();
    wait_for_word(&heard_on(2)->seq, 2);
}

static microkit_msginfo queued_serve(microkit_channel ch, microkit_msginfo info)
{
    CHECK(ch == 2);
    CHECK(microkit_msginfo_get_label(info) == 2);
    return microkit_msginfo_new(52, 0);
}

static int queued(const char *argument)
{
    int caller = add_pd("caller", 1, (struct entry_points){.init = withdrawn_call, .notified = hears_nothing});
    int server = add_pd("server", 2, (struct entry_points){queued_init, hears_nothing, queued_serve, 0});
    add_channel(caller, 1, CALL, server, 2, 0);
    add_director();
    begin(caller, argument);
    return run_system(1 << caller, 0);
}

static microkit_msginfo in_service_serve(microkit_channel ch, microkit_msginfo info)
{
    static unsigned served;
    CHECK(ch == 2);
    CHECK(microkit_msginfo_get_label(info) == ++served);
    if (served == 1) {
        start_again();
        wait_for_word(&heard_on(2)->seq, 2);
    }
    return microkit_msginfo_new(served + 50, 0);
}

static int in_service(const char *argument)
{
    int caller = add_pd("caller", 1, (struct entry_points){.init = withdrawn_call, .notified = hears_nothing});
    int server = add_pd("server", 2, (struct entry_points){nothing_to_do, hears_nothing, in_service_serve, 0});
    add_channel(caller, 1, CALL, server, 2, 0);
    add_director();
    begin(caller, argument);
    return run_system(1 << caller, 0);
}

/* Withdrawn for good: the server takes note of it, and nothing is withdrawn twice. Board: 0 starts of the caller. */
static void dropped_call(void)
{
    switch (atomic_fetch_add(&board[0], 1)) {
    case 0:
        microkit_ppcall(1, microkit_msginfo_new(0, 0));
        CHECK(!"the call returns");
        break;
    case 1:
        wait_for_word(&heard_on(1)->seq, 1 | MK_SEQ_WITHDRAWN);
        start_again();
        never_returns();
        break;
    default:
        CHECK(said_on(1)->seq == (1 | MK_SEQ_WITHDRAWN));
        passed();
    }
}

static void dropped_init(void)
{
    wait_for_word(&heard_on(2)->seq, 1);
    start_again();
    wait_for_word(&heard_on(2)->seq, 1 | MK_SEQ_WITHDRAWN);
}

static int dropped(const char *argument)
{
    int caller = add_pd("caller", 1, (struct entry_points){.init = dropped_call, .notified = hears_nothing});
    int server = add_pd("server", 2, (struct entry_points){dropped_init, hears_nothing, never_served, 0});
    add_channel(caller, 1, CALL, server, 2, 0);
    add_director();
    begin(caller, argument);
    return run_system(1 << caller, 0);
}

/* A caller that withdraws and calls again at any moment is served whole messages only. */
static uint64_t whole_rounds;

static void whole_call(const struct mk_handoff *own)
{
    struct mk_out *out = (struct mk_out *)own->ends[0].out;
    uint64_t state = 88172645463325252u;
    for (uint64_t round = 1; atomic_load(&board[0]) == 0; round++) {
        __atomic_store_n(&out->info, seL4_MessageInfo_new(round, 0, 0, MK_MAX_MRS).words[0], __ATOMIC_RELEASE);
        for (unsigned i = 0; i < MK_MAX_MRS; i++) {
            uint64_t *word = i < MK_FIRST_MRS ? &out->mr[i] : &out->more[i - MK_MORE_FROM];
            __atomic_store_n(word, round + i, __ATOMIC_RELEASE);
        }
        __atomic_store_n(&out->seq, round, __ATOMIC_RELEASE);
        __atomic_store_n(&out->events, round, __ATOMIC_RELEASE);
        (void)!write(own->ends[0].peer_doorbell, "", 1);
        for (uint64_t pause = random_word(&state) % 512; pause > 0; pause--) {
            __builtin_ia32_pause();
        }
        __atomic_store_n(&out->seq, round | MK_SEQ_WITHDRAWN, __ATOMIC_RELEASE);
    }
}

static microkit_msginfo whole_serve(microkit_channel ch, microkit_msginfo info)
{
    static uint64_t served;
    CHECK(ch == 2);
    CHECK(microkit_msginfo_get_count(info) == MK_MAX_MRS);
    for (unsigned i = 0; i < MK_MAX_MRS; i++) {
        CHECK(microkit_mr_get((seL4_Uint8)i) == microkit_msginfo_get_label(info) + i);
    }
    if (++served == whole_rounds) {
        atomic_store(&board[0], 1);
        passed();
    }
    return info;
}

static int whole(const char *argument)
{
    whole_rounds = argument ? strtoull(argument, 0, 10) : 1000;
    int server = add_pd("server", 2, (struct entry_points){nothing_to_do, hears_nothing, whole_serve, 0});
    int caller = add_pd("caller", 1, (struct entry_points){.instead = whole_call});
    add_channel(caller, 1, CALL, server, 2, 0);
    spread();
    return run_system(1 << server, 0);
}

static void silent_reply(const struct mk_handoff *own)
{
    struct mk_out *out = (struct mk_out *)own->ends[0].out;
    wait_for_state(&peer_status(2)->asleep, MK_ASLEEP_IN_CALL);
    __atomic_store_n(&out->info, seL4_MessageInfo_new(77, 0, 0, 0).words[0], __ATOMIC_SEQ_CST);
    __atomic_store_n(&out->seq, 1, __ATOMIC_SEQ_CST);
    start_again();
    never_returns();
}

static void silent_call(void)
{
    microkit_msginfo reply = microkit_ppcall(1, microkit_msginfo_new(0, 0));
    CHECK(microkit_msginfo_get_label(reply) == 77);
    passed();
}

static int silent_answer(const char *argument)
{
    int caller = add_pd("caller", 1, (struct entry_points){.init = silent_call, .notified = hears_nothing});
    int server = add_pd("server", 2, (struct entry_points){nothing_to_do, hears_nothing, never_served, silent_reply});
    at_first(server);
    add_channel(caller, 1, CALL, server, 2, 0);
    add_director();
    begin(server, argument);
    return run_system(1 << caller, 0);
}

const struct test withdrawal_tests[] = {
    {"server", server},
    {"queued", queued},
    {"in_service", in_service},
    {"dropped", dropped},
    {"whole", whole},
    {"silent_answer", silent_answer},
    {0, 0},
};
