/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * PDs that start again, where they stand or in a new process: from every state, with memory as it was or fresh, and
 * without loss of notifications or faults.
 */
#include "director.h"

/*
 * A PD is started again in the midst of a handler, asleep, in a call, and stopped. Its memory is kept, constructors and
 * init run again, and it still notifies and hears.
 *
 *   child 1 <-> 1 parent, notifications; child 2 -> 2 parent, calls
 *   board: 0 how often the child has come to init, 1 it is in the handler, 2 how often a constructor has run,
 *          3 notifications the child has heard
 */
static unsigned starts, constructed;

static void states_constructor(int argc, char **argv, char **envp)
{
    CHECK(argc == 0 && argv[0] == 0 && envp[0] == 0);
    CHECK(own_status()->where == MK_IN_START && own_status()->asleep == MK_AWAKE);
    /* The stack and the flags are those of a call, wherever the PD was left. */
    CHECK((uintptr_t)__builtin_frame_address(0) % 16 == 0);
    CHECK((__builtin_ia32_readeflags_u64() & 0x400) == 0);
    constructed++;
    atomic_store(&board[2], constructed);
}

static void states_child_init(void)
{
    /* An x87 stack that is not empty, as it may be left, overflows after a few starts. */
    long double sum = 1;
    for (volatile int i = 0; i < 10; i = i + 1) {
        sum += 1;
    }
    CHECK(sum == 11);
    starts++;
    CHECK(starts == constructed);
    atomic_store(&board[0], starts);
    microkit_notify(1);
}

static void states_child_hear(microkit_channel ch)
{
    CHECK(ch == 1);
    atomic_fetch_add(&board[3], 1);
    if (starts == 1) {
        /* Eight values on the x87 stack: all there is. */
        __asm__ volatile("fld1\n\tfld1\n\tfld1\n\tfld1\n\tfld1\n\tfld1\n\tfld1\n\tfld1");
        atomic_store(&board[1], 1);
        never_returns();
    }
    if (starts == 3) {
        microkit_ppcall(2, microkit_msginfo_new(0, 0));
        CHECK(!"the call returns");
    }
}

static void states_child_change(struct mk_handoff *handoff)
{
    static const uint64_t constructors[1] = {(uint64_t)states_constructor};
    handoff->init_array = (struct mk_functions){(uint64_t)constructors, 1};
}

static void states_hear(microkit_channel ch)
{
    static unsigned round;
    CHECK(ch == 1);
    round++;
    CHECK(atomic_load(&board[0]) == round && atomic_load(&board[2]) == round);
    switch (round) {
    case 1:
        microkit_notify(1);
        wait_until(&board[1], 1);
        microkit_pd_restart(9, 0);
        break;
    case 2:
        wait_for_state(&peer_status(1)->asleep, MK_ASLEEP);
        microkit_pd_restart(9, 0);
        break;
    case 3:
        microkit_notify(1);
        wait_for_state(&peer_status(1)->where, MK_IN_CALL);
        wait_for_state(&peer_status(1)->asleep, MK_ASLEEP_IN_CALL);
        microkit_pd_restart(9, 0);
        wait_until(&board[0], 4);
        break;
    case 4:
        microkit_pd_stop(9);
        CHECK(atomic_load(&board[3]) == 2);
        microkit_notify(1);
        microkit_pd_restart(9, 0);
        break;
    default:
        /* The notification of the time when it was stopped is not lost. */
        wait_until(&board[3], 3);
        wait_for_state(&peer_status(1)->asleep, MK_ASLEEP);
        CHECK(atomic_load(&board[3]) == 3);
        passed();
    }
}

static int states(const char *argument)
{
    (void)argument;
    int parent = add_pd("parent", 9, (struct entry_points){nothing_to_do, states_hear, never_served, 0});
    int child = add_pd("child", 1, (struct entry_points){.init = states_child_init, .notified = states_child_hear});
    set_parent(child, 9, parent);
    add_channel(parent, 1, NOTIFY, child, 1, NOTIFY);
    add_channel(child, 2, CALL, parent, 2, 0);
    adjust(child, states_child_change);
    return run_system(1 << parent, 0);
}

/* A PD that is stopped in the midst of a handler goes on in it when it is resumed. Board: 0 its progress. */
static void resume_child_init(void)
{
    uint64_t local = 0;
    while (local < 1000000000000u) {
        atomic_store(&board[0], ++local);
    }
}

static void resume_init(void)
{
    wait_until(&board[0], 1000);
    microkit_pd_stop(0);
    uint64_t before = atomic_load(&board[0]);
    microkit_pd_resume(0);
    wait_until(&board[0], before + 1000);
    passed();
}

static int resume(const char *argument)
{
    (void)argument;
    int parent = add_pd("parent", 9, (struct entry_points){.init = resume_init, .notified = hears_nothing});
    int child = add_pd("child", 1, (struct entry_points){.init = resume_child_init, .notified = hears_nothing});
    set_parent(child, 0, parent);
    return run_system(1 << parent, 0);
}

/*
 * Of three notifications taken at one look, the first one's handler never returns. After the start that follows, the
 * other two are delivered, and the first is not again. Board: 0 all are sent, 1 the handler of the first runs.
 */
static void taken_notify(void)
{
    for (unsigned id = 1; id <= 3; id++) {
        microkit_notify(id);
    }
    atomic_store(&board[0], 1);
}

static void taken_init(void)
{
    wait_until(&board[0], 1);
}

static void taken_hear(microkit_channel ch)
{
    static unsigned heard;
    if (atomic_fetch_add(&board[1], 1) == 0) {
        CHECK(ch == 11);
        start_again();
        never_returns();
    }
    CHECK(ch == 12 + heard);
    if (++heard == 2) {
        passed();
    }
}

static int taken(const char *argument)
{
    int sender = add_pd("sender", 1, (struct entry_points){.init = taken_notify, .notified = hears_nothing});
    int receiver = add_pd("receiver", 1, (struct entry_points){.init = taken_init, .notified = taken_hear});
    for (uint32_t id = 1; id <= 3; id++) {
        add_channel(sender, id, NOTIFY, receiver, 10 + id, 0);
    }
    add_director();
    begin(receiver, argument);
    return run_system(1 << receiver, 0);
}

/* Whoever starts again is heard again: its notifications go on where they were. */
static void sender_init(void)
{
    microkit_notify(1);
}

static void sender_hear(microkit_channel ch)
{
    static unsigned heard;
    CHECK(ch == 2);
    if (++heard == 6) {
        passed();
    }
    start_again();
}

static int sender(const char *argument)
{
    int sender = add_pd("sender", 1, (struct entry_points){.init = sender_init, .notified = hears_nothing});
    int receiver = add_pd("receiver", 1, (struct entry_points){.init = nothing_to_do, .notified = sender_hear});
    add_channel(sender, 1, NOTIFY, receiver, 2, 0);
    add_director();
    begin(sender, argument);
    return run_system(1 << receiver, 0);
}

/*
 * What a PD published without ringing, because it was started again just then, is heard by a peer that sleeps. The
 * first process writes as the library does up to there.
 */
static void silent_notify(const struct mk_handoff *own)
{
    wait_for_state(&peer_status(1)->asleep, MK_ASLEEP);
    __atomic_store_n(&((struct mk_out *)own->ends[0].out)->notified, 1, __ATOMIC_SEQ_CST);
    start_again();
    never_returns();
}

static void silent_hear(microkit_channel ch)
{
    CHECK(ch == 2);
    passed();
}

static int silent_notification(const char *argument)
{
    int receiver = add_pd("receiver", 1, (struct entry_points){.init = nothing_to_do, .notified = silent_hear});
    int sender = add_pd("sender", 1, (struct entry_points){nothing_to_do, hears_nothing, 0, silent_notify});
    at_first(sender);
    add_channel(sender, 1, NOTIFY, receiver, 2, 0);
    add_director();
    begin(sender, argument);
    return run_system(1 << receiver, 0);
}

/* Memory is as it was: what a handler had deferred when it was left is done after the next init. */
static void left_init(void)
{
    CHECK(said_on(1)->notified == 0);
}

static void left_hear(microkit_channel ch)
{
    CHECK(ch == 1);
    microkit_deferred_notify(1);
    start_again();
    never_returns();
}

static void left_wait(void)
{
    microkit_notify(2);
}

static void left_heard(microkit_channel ch)
{
    CHECK(ch == 2);
    passed();
}

static int left(const char *argument)
{
    int judge = add_pd("judge", 1, (struct entry_points){.init = left_wait, .notified = left_heard});
    int deferring = add_pd("deferring", 1, (struct entry_points){.init = left_init, .notified = left_hear});
    add_channel(judge, 2, NOTIFY, deferring, 1, NOTIFY);
    add_director();
    begin(deferring, argument);
    return run_system(1 << judge, 0);
}

/*
 * A parent that is started again in the midst of handling one child's fault takes the faults that wait, and hears of
 * those that follow. Board: 0 faults the parent has taken.
 */
static void parent_crash(void)
{
    if (microkit_name[0] != '0') {
        wait_until(&board[0], (uint64_t)(microkit_name[0] - '0'));
    }
    *(volatile char *)8 = 1;
}

static seL4_Bool parent_fault(microkit_child child, microkit_msginfo msginfo, microkit_msginfo *reply)
{
    (void)msginfo, (void)reply;
    CHECK(child == atomic_load(&board[0]));
    if (atomic_fetch_add(&board[0], 1) == 0) {
        wait_for_word(&((const struct mk_supervisor *)own_handoff()->supervisor)->faults, 2);
        start_again();
        never_returns();
    }
    if (child == 2) {
        passed();
    }
    return seL4_False;
}

static int parent(const char *argument)
{
    int parent = add_pd("parent", 9, (struct entry_points){.init = nothing_to_do, .notified = hears_nothing});
    on_fault(parent, parent_fault);
    for (uint32_t id = 0; id < 3; id++) {
        static const char *const names[] = {"0", "1", "2"};
        int child = add_pd(names[id], 1, (struct entry_points){.init = parent_crash, .notified = hears_nothing});
        set_parent(child, id, parent);
    }
    add_director();
    begin(parent, argument);
    return run_system(1 << parent, 0);
}

const struct test restart_tests[] = {
    {"states", states},
    {"resume", resume},
    {"taken", taken},
    {"sender", sender},
    {"silent_notification", silent_notification},
    {"left", left},
    {"parent", parent},
    {0, 0},
};
