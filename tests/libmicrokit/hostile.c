/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A hostile PD does to its own pages and its peers' doorbells whatever it can. Correct PDs that share channels with it
 * must deal with each other as if it were not there, and see of it only its own channels' notifications and calls.
 *
 *   client 1 <-> 11 server     both notify, the client calls
 *   client 2 <-> 20 hostile    both notify, the client hears and never calls
 *   client 3 --> 22 hostile    the client calls: each answer may be wrong, but comes within the message's bounds
 *   server 12 <-> 21 hostile   the hostile one may call and notify
 *   server 13 <-> 23 hostile   no rights at all: nothing written there may ever be heard
 *   server 14 --> 24 hostile   only the server notifies: as before
 */
#include "harness.h"

static uint64_t rounds;
static uint64_t random_state = 88172645463325252u;

static void hostile_run(const struct mk_handoff *handoff)
{
    static char bytes[64];
    uint64_t *words[MK_MAX_ENDS];
    for (uint32_t i = 0; i < handoff->end_count; i++) {
        words[i] = (uint64_t *)handoff->ends[i].out;
    }
    struct mk_status *status = (struct mk_status *)handoff->status;
    while (atomic_load(&board[0]) == 0) {
        atomic_fetch_add(&board[1], 1);
        uint64_t random = random_word(&random_state);
        uint64_t *out = words[(random >> 8) % handoff->end_count];
        /* Mostly the counters: they decide what the peer does. */
        unsigned words_of_message = offsetof(struct mk_out, heard) / sizeof(uint64_t);
        unsigned word =
            (random >> 16) % (random & 1 ? offsetof(struct mk_out, mr) / sizeof(uint64_t) : words_of_message);
        uint64_t value = random_word(&random_state);
        __atomic_store_n(&out[word], random & 2 ? value : value % 3, __ATOMIC_SEQ_CST);
        if (random & 4) {
            __atomic_store_n(&status->asleep, (uint32_t)(random >> 32) % 4, __ATOMIC_SEQ_CST);
        }
        if ((random >> 40) % 64 == 0) {
            (void)!write(handoff->ends[value % handoff->end_count].peer_doorbell, bytes, value % sizeof(bytes));
        }
    }
}

static uint64_t answer_to(uint64_t round, uint64_t i)
{
    return (round ^ i) * 0x9e3779b97f4a7c15u;
}

static void client_init(void)
{
    microkit_notify(1);
}

static void client_hear(microkit_channel ch)
{
    static uint64_t round;
    CHECK(ch == 1 || ch == 2);
    if (ch == 2) {
        return;
    }
    round++;
    uint64_t count = round % (MK_MAX_MRS + 1);
    for (unsigned i = 0; i < count; i++) {
        microkit_mr_set((seL4_Uint8)i, answer_to(round, i));
    }
    microkit_msginfo reply = microkit_ppcall(1, microkit_msginfo_new(round, (seL4_Uint16)count));
    CHECK(microkit_msginfo_get_label(reply) == round + 1);
    CHECK(microkit_msginfo_get_count(reply) == count);
    for (unsigned i = 0; i < count; i++) {
        CHECK(microkit_mr_get((seL4_Uint8)i) == ~answer_to(round, i));
    }
    /* Rounds without a blow from the hostile one prove nothing: it may not have had a CPU. */
    if (round >= rounds && atomic_load(&board[1]) >= rounds) {
        atomic_store(&board[0], 1);
        passed();
    }
    microkit_notify(1);
}

static microkit_msginfo server_serve(microkit_channel ch, microkit_msginfo info)
{
    static uint64_t round;
    CHECK(ch == 11 || ch == 12);
    uint64_t count = microkit_msginfo_get_count(info);
    CHECK(count <= MK_MAX_MRS);
    CHECK(seL4_MessageInfo_get_extraCaps(info) == 0 && seL4_MessageInfo_get_capsUnwrapped(info) == 0);
    if (ch == 12) {
        return info;
    }
    round++;
    CHECK(microkit_msginfo_get_label(info) == round);
    CHECK(count == round % (MK_MAX_MRS + 1));
    for (unsigned i = 0; i < count; i++) {
        CHECK(microkit_mr_get((seL4_Uint8)i) == answer_to(round, i));
        microkit_mr_set((seL4_Uint8)i, ~answer_to(round, i));
    }
    return microkit_msginfo_new(round + 1, (seL4_Uint16)count);
}

static void server_hear(microkit_channel ch)
{
    CHECK(ch == 11 || ch == 12);
    microkit_notify(ch);
}

static void nothing_to_do(void)
{
}

static int hostile(const char *argument)
{
    rounds = argument ? strtoull(argument, 0, 10) : 1000;
    int client = add_pd("client", 1, (struct entry_points){.init = client_init, .notified = client_hear});
    int server = add_pd("server", 9, (struct entry_points){nothing_to_do, server_hear, server_serve, 0});
    int hostile_pd = add_pd("hostile", 5, (struct entry_points){.instead = hostile_run});
    add_channel(client, 1, NOTIFY | CALL, server, 11, NOTIFY);
    add_channel(client, 2, NOTIFY, hostile_pd, 20, NOTIFY);
    add_channel(hostile_pd, 21, NOTIFY | CALL, server, 12, NOTIFY);
    add_channel(hostile_pd, 23, 0, server, 13, 0);
    add_channel(hostile_pd, 24, 0, server, 14, NOTIFY);
    return run_system(1 << client, 0);
}

/* A caller of the hostile one gets an answer some time, and one within bounds: it writes its words at random. */
static void bounds_init(void)
{
    for (uint64_t i = 0; i < rounds; i++) {
        microkit_msginfo reply = microkit_ppcall(3, microkit_msginfo_new(i, MK_MAX_MRS));
        CHECK(microkit_msginfo_get_count(reply) <= MK_MAX_MRS);
        CHECK(seL4_MessageInfo_get_extraCaps(reply) == 0 && seL4_MessageInfo_get_capsUnwrapped(reply) == 0);
    }
    atomic_store(&board[0], 1);
    passed();
}

static void bounds_answer(const struct mk_handoff *handoff)
{
    struct mk_out *out = (struct mk_out *)handoff->ends[0].out;
    const struct mk_out *in = (const struct mk_out *)handoff->ends[0].in;
    static char byte;
    while (atomic_load(&board[0]) == 0) {
        __atomic_store_n(&out->info, random_word(&random_state), __ATOMIC_SEQ_CST);
        __atomic_store_n(&out->seq, random_word(&random_state), __ATOMIC_SEQ_CST);
        __atomic_store_n(&out->seq, __atomic_load_n(&in->seq, __ATOMIC_SEQ_CST), __ATOMIC_SEQ_CST);
        __atomic_store_n(&out->info, ~(uint64_t)0, __ATOMIC_SEQ_CST);
        (void)!write(handoff->ends[0].peer_doorbell, &byte, 1);
    }
}

static void hears_nothing(microkit_channel ch)
{
    (void)ch;
    CHECK(!"this PD is notified");
}

static int bounds(const char *argument)
{
    rounds = argument ? strtoull(argument, 0, 10) : 1000;
    int client = add_pd("client", 1, (struct entry_points){.init = bounds_init, .notified = hears_nothing});
    int hostile_pd = add_pd("hostile", 5, (struct entry_points){.instead = bounds_answer});
    add_channel(client, 3, CALL, hostile_pd, 22, 0);
    return run_system(1 << client, 0);
}

/*
 * A full doorbell is no harm: the sender does not block, the receiver hears what is pending. The flooder fills the pipe
 * while the receiver is in init, the correct sender then notifies once.
 */
static void flood_run(const struct mk_handoff *handoff)
{
    static char bytes[4096];
    while (write(handoff->ends[0].peer_doorbell, bytes, sizeof(bytes)) > 0) {
    }
    while (write(handoff->ends[0].peer_doorbell, bytes, 1) > 0) {
    }
    atomic_store(&board[0], 1);
}

static void flood_send(void)
{
    wait_until(&board[0], 1);
    /* Says that it sleeps, so that the sender rings. */
    microkit_notify(1);
    atomic_store(&board[1], 1);
}

static void flooded_init(void)
{
    __atomic_store_n((uint32_t *)&own_status()->asleep, MK_ASLEEP, __ATOMIC_SEQ_CST);
    wait_until(&board[1], 1);
}

static void flooded_hear(microkit_channel ch)
{
    CHECK(ch == 1);
    passed();
}

static int flood(const char *argument)
{
    (void)argument;
    int receiver = add_pd("receiver", 1, (struct entry_points){.init = flooded_init, .notified = flooded_hear});
    int flooder = add_pd("flooder", 1, (struct entry_points){.instead = flood_run});
    int sender = add_pd("sender", 1, (struct entry_points){.init = flood_send, .notified = hears_nothing});
    add_channel(receiver, 0, 0, flooder, 0, 0);
    add_channel(receiver, 1, 0, sender, 1, NOTIFY);
    return run_system(1 << receiver | 1 << flooder, 0);
}

const struct test hostile_tests[] = {{"hostile", hostile}, {"bounds", bounds}, {"flood", flood}, {0, 0}};
