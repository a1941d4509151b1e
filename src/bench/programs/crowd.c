/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * One of many: whoever has the turn calls or notifies a peer picked at random, which then has it. Every PD begins with
 * a turn of its own. Two turns that meet in one notification become one, so now and then a turn is doubled.
 */
#include "bench.h"

const volatile struct parameters *parameters;
/* 1 when the time is over; anybody may say so. */
uint64_t *stop;

static uint64_t seed;
static uint64_t began;
static uint64_t end;
static uint64_t turns;
static uint64_t calls;
static int told;

/* xorshift64 (Marsaglia, 2003). */
static uint64_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/* The position of a bit of `set`, picked at random. */
static microkit_channel pick(uint64_t set)
{
    uint64_t skip = next_random() % (uint64_t)__builtin_popcountll(set);
    while (skip-- > 0) {
        set &= set - 1;
    }
    return (microkit_channel)__builtin_ctzll(set);
}

static int is_over(void)
{
    if (__atomic_load_n(stop, __ATOMIC_RELAXED) == 0) {
        if (now() < end) {
            return 0;
        }
        __atomic_store_n(stop, 1, __ATOMIC_RELAXED);
    }
    return 1;
}

/* Everybody hears of the end from a peer: who sleeps has nobody else to tell it. */
static void finish(void)
{
    if (told) {
        return;
    }
    told = 1;
    tell("began", began);
    tell("ended", now());
    tell("turns", turns);
    tell("calls", calls);
    tell("end", 0);
    for (uint64_t peers = microkit_notifications; peers != 0; peers &= peers - 1) {
        microkit_notify((microkit_channel)__builtin_ctzll(peers));
    }
}

static void notify_somebody(void)
{
    microkit_notify(pick(microkit_notifications));
}

void init(void)
{
    seed = 0x9e3779b97f4a7c15;
    for (const char *letter = microkit_name; *letter != 0; letter++) {
        seed = (seed ^ (uint64_t)(unsigned char)*letter) * 0x100000001b3;
    }
    began = now();
    end = began + parameters->cycles;
    notify_somebody();
}

void notified(microkit_channel ch)
{
    (void)ch;
    if (is_over()) {
        finish();
        return;
    }
    turns++;
    uint64_t choice = next_random() >> 32;
    if (microkit_pps != 0 && choice % 2 == 0) {
        calls++;
        microkit_ppcall(pick(microkit_pps), microkit_msginfo_new(0, 4));
    } else {
        notify_somebody();
    }
    if (choice % 8 < 3) {
        notify_somebody();
    }
}

microkit_msginfo protected(microkit_channel ch, microkit_msginfo msginfo)
{
    (void)ch;
    if (is_over()) {
        finish();
    } else {
        turns++;
        notify_somebody();
    }
    return msginfo;
}
