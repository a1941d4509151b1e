/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A launcher in miniature for tests of libmicrokit alone: one process a PD, the channel pages shared as the real
 * launcher shares them (each page with one writer), doorbells, the handoff, and a filter that lets the library make no
 * system call but the three it may. No namespaces and no image: entry points are functions of the test program.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <microkit.h>

#include "abi.h"

/* Rights of an end as the system file gives them. */
#define NOTIFY 1
#define CALL 2

struct entry_points {
    void (*init)(void);
    void (*notified)(microkit_channel);
    microkit_msginfo (*protected)(microkit_channel, microkit_msginfo);
    /* Runs in place of libmicrokit: a hostile PD, which does what it likes with its own pages. */
    void (*instead)(const struct mk_handoff *);
};

/* Builds the system; each returns or takes indices counted from 0. */
int add_pd(const char *name, uint32_t priority, struct entry_points entry_points);
void add_channel(int pd_a, uint32_t id_a, uint32_t rights_a, int pd_b, uint32_t id_b, uint32_t rights_b);
/* This judge must end by this signal. */
void must_die(int pd, int signal);
/* Runs the PDs on CPUs of their own as far as there are any, instead of where the scheduler finds it convenient. */
void spread(void);
/* `instead` runs in this PD's first process only. */
void at_first(int pd);
/* Changes the handoff of a PD before it starts. */
void adjust(int pd, void (*change)(struct mk_handoff *));

/* The PD is a child. Its faults go to the parent; all PDs are traced, and launcher calls answered. */
void set_parent(int child, uint32_t id, int parent);
/* The parent's entry point. */
void on_fault(int pd, seL4_Bool (*entry)(microkit_child, microkit_msginfo, microkit_msginfo *));
/* PDs are traced also where none has children. `answer`, if not 0, is asked first about every launcher call. */
#define NOT_MINE INT64_MIN
void trace(int64_t (*answer)(int pd, const uint64_t call[5]));
/* One PD runs at a time, that with the highest priority of those that can. */
void schedule_pds(void);
/* In `answer`: memory of the PD; its fault is settled before its parent has taken it. */
void settle_fault(int pd);
void read_pd(int pd, uint64_t address, void *to, size_t length);
void write_pd(int pd, uint64_t address, const void *from, size_t length);
/* Prints the launcher calls of this PD. */
void print_calls(int pd);

/*
 * Starts every PD and waits until each of those in the bit mask `judges` has ended. Returns the exit status of the
 * test: 0 where all judges ended by passed(). `watch` runs meanwhile in the launcher; it may be 0.
 */
int run_system(uint64_t judges, void (*watch)(void));
/* Bytes waiting in the doorbell of a PD. For `watch`. */
int rings_waiting(int pd);
/* How many PDs have made the system call that says they are ready. */
int ready_count(void);

/* In a PD: prints a line. */
#define puts_line(text) microkit_dbg_puts(text "\n")
/* In a PD: ends it. */
void passed(void) __attribute__((noreturn));
void failed(const char *file, int line, const char *what) __attribute__((noreturn));
#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            failed(__FILE__, __LINE__, #condition);                                                                    \
        }                                                                                                              \
    } while (0)

/* In a PD: what it started from, its own end with this id, the PD's own status, and its peer's. */
const struct mk_handoff *own_handoff(void);
const struct mk_end *own_end(uint32_t id);
const struct mk_out *heard_on(uint32_t id);
const struct mk_out *said_on(uint32_t id);
const struct mk_status *own_status(void);
const struct mk_status *peer_status(uint32_t id);

/* In a PD that is traced: what the harness does besides launcher calls. The argument is a PD, counted from 0. */
#define ASK_RESTART 1000 /* Start it again where it stands. */
#define ASK_RESPAWN 1001 /* A new process in its place. */
int64_t ask(uint64_t op, int pd);

/* Words all PDs of a test share, outside of the library: for the test to know where everybody is. */
#define BOARD_WORDS 64
extern _Atomic uint64_t *board;
static inline void wait_until(_Atomic uint64_t *word, uint64_t value)
{
    while (atomic_load(word) < value) {
        __builtin_ia32_pause();
    }
}
static inline void wait_for_word(const uint64_t *word, uint64_t value)
{
    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) != value) {
        __builtin_ia32_pause();
    }
}
static inline void wait_for_state(const uint32_t *word, uint32_t value)
{
    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) != value) {
        __builtin_ia32_pause();
    }
}

/* xorshift: the same sequence in every run. */
static inline uint64_t random_word(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* A test by name; `argument` is what follows the name on the command line, or 0. */
struct test {
    const char *name;
    int (*run)(const char *argument);
};
extern const struct test delivery_tests[], call_tests[], api_tests[], hostile_tests[], wait_tests[], fault_tests[],
    restart_tests[], withdrawal_tests[], schedule_tests[], succession_tests[];
/* MK_WAIT_* for all PDs, from the command line. */
extern uint32_t wait_kind;
extern uint64_t spin_cycles;
