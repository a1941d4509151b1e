/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * What the two halves of the miniature launcher share: harness.c builds and starts PDs, tracer.c traces them.
 */
#pragma once

#include <sys/types.h>

#include "harness.h"

#define MAX_PDS 63
#define PAGE 4096

struct side {
    int pd;
    uint32_t id;
    uint32_t rights;
    /* Page of the PD's channel memory in which the side's mk_out lies. */
    unsigned page;
};

struct pd {
    const char *name;
    uint32_t priority;
    struct entry_points entry_points;
    seL4_Bool (*fault)(microkit_child, microkit_msginfo, microkit_msginfo *);
    bool at_first;
    void (*change)(struct mk_handoff *);
    unsigned pages;
    int memory;
    int doorbell[2];
    pid_t pid;
    int fatal_signal;
    bool ended;
    /* How many processes it has had. */
    unsigned processes;
    bool is_child;
    int parent;
    uint32_t child_id;
    /* Of a parent: the page that only the launcher writes. */
    struct mk_supervisor *supervisor;
};

extern struct pd pds[MAX_PDS];
extern int pd_count;
extern struct side channels[2048][2];
extern int channel_count;
/* In a PD: what it starts from. At the same address in all. */
extern struct mk_handoff handoff;

void or_die(bool good, const char *what);
/* A new process waits until all may start. */
void spawn(int pd);
void hold_new(void);
void let_new_start(void);
void count_ready(void);
/* Says on stderr where it has not. */
bool ended_well(int pd, int status);

/* tracer.c */
extern bool is_traced, is_scheduled;
void seize_all(void);
/* As run_system, from where all PDs have been started. */
int serve_pds(uint64_t judges);
