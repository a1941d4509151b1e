/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * What a PD signals first is heard no later than what it signals next, on whatever channels: on seL4 both are in one
 * word or queue. The receiver has all 62 channels, so that a look at them takes time, and is looking all the while.
 */
#include "harness.h"

#define LOWEST 0
#define LOW 2
#define HIGH 60
#define HIGHEST 61
#define NOISE 30

static uint64_t messages;
static uint64_t random_state = 88172645463325252u;

/* Board: 0 rounds that are over, 1 all are. */
static void sender_init(void)
{
    for (uint64_t round = 0; round < messages; round++) {
        wait_until(&board[0], round);
        uint64_t turns = random_word(&random_state) % 64;
        for (volatile uint64_t i = 0; i < turns; i = i + 1) {
        }
        switch (round % 3) {
        case 0:
            microkit_notify(LOWEST);
            microkit_notify(HIGHEST);
            break;
        case 1:
            microkit_notify(LOWEST);
            microkit_ppcall(HIGH, microkit_msginfo_new(0, 0));
            break;
        default:
            microkit_notify(HIGHEST);
            microkit_ppcall(LOW, microkit_msginfo_new(0, 0));
        }
    }
}

static void hears_nothing(microkit_channel ch)
{
    (void)ch;
    CHECK(!"this PD is notified");
}

static void nothing_to_do(void)
{
}

static uint64_t round_now;
static bool first_heard;

static void round_over(void)
{
    first_heard = false;
    round_now++;
    atomic_store(&board[0], round_now);
    if (round_now == messages) {
        atomic_store(&board[1], 1);
        passed();
    }
}

static void receiver_hear(microkit_channel ch)
{
    if (ch == NOISE) {
        return;
    }
    if (!first_heard) {
        CHECK(ch == (round_now % 3 == 2 ? HIGHEST : LOWEST));
        first_heard = true;
        return;
    }
    CHECK(round_now % 3 == 0 && ch == HIGHEST);
    round_over();
}

static microkit_msginfo receiver_serve(microkit_channel ch, microkit_msginfo info)
{
    CHECK(round_now % 3 == (ch == HIGH ? 1 : 2));
    CHECK(first_heard);
    round_over();
    return info;
}

static void noise_init(void)
{
    while (atomic_load(&board[1]) == 0) {
        microkit_notify(NOISE);
    }
}

/* With a word behind the count, a third PD floods one of the channels meanwhile. */
static int succession(const char *argument)
{
    char *rest = 0;
    messages = argument ? strtoull(argument, &rest, 10) : 1000;
    bool noisy = rest != 0 && *rest != 0;
    int receiver =
        add_pd("receiver", 2,
               (struct entry_points){.init = nothing_to_do, .notified = receiver_hear, .protected = receiver_serve});
    int sender = add_pd("sender", 1, (struct entry_points){.init = sender_init, .notified = hears_nothing});
    int noise =
        noisy ? add_pd("noise", 1, (struct entry_points){.init = noise_init, .notified = hears_nothing}) : sender;
    for (uint32_t id = 0; id < MICROKIT_MAX_CHANNELS; id++) {
        add_channel(id == NOISE ? noise : sender, id, NOTIFY | CALL, receiver, id, 0);
    }
    spread();
    return run_system(1 << receiver, 0);
}

/*
 * A hostile PD that announces something without end, on all channels but two, keeps nobody from hearing of the others.
 * Board: 1 it is over.
 */
#define ANNOUNCED 60

static void announce_run(const struct mk_handoff *own)
{
    while (atomic_load(&board[1]) == 0) {
        for (unsigned i = 0; i < ANNOUNCED; i++) {
            struct mk_out *out = (struct mk_out *)own->ends[i].out;
            __atomic_store_n(&out->events, out->events + 1, __ATOMIC_RELAXED);
        }
    }
}

static void flooded_init(void)
{
    microkit_notify(LOWEST);
}

static void flooded_hear(microkit_channel ch)
{
    static uint64_t heard;
    CHECK(ch == HIGHEST);
    if (++heard == messages) {
        atomic_store(&board[1], 1);
        passed();
    }
    microkit_notify(LOWEST);
}

static int announcements(const char *argument)
{
    messages = argument ? strtoull(argument, 0, 10) : 1000;
    int receiver = add_pd("receiver", 2, (struct entry_points){.init = flooded_init, .notified = flooded_hear});
    int hostile = add_pd("hostile", 1, (struct entry_points){.instead = announce_run});
    add_channel(receiver, LOWEST, NOTIFY, receiver, HIGHEST, 0);
    for (uint32_t id = 1; id <= ANNOUNCED; id++) {
        add_channel(hostile, id, NOTIFY | CALL, receiver, id, 0);
    }
    spread();
    return run_system(1 << receiver, 0);
}

const struct test succession_tests[] = {
    {"succession", succession},
    {"announcements", announcements},
    {0, 0},
};
