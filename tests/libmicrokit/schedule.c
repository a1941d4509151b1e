/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The launcher decides who runs: what PDs tell it and when, seen in the one order that results. Doorbells are closed,
 * so that a PD which reads its own crashes; one that rings a peer's writes to the console.
 */
#include "harness.h"

#include <signal.h>

static void without_doorbells(struct mk_handoff *handoff)
{
    handoff->doorbell = -1;
    for (uint32_t i = 0; i < handoff->end_count; i++) {
        handoff->ends[i].peer_doorbell = handoff->console;
    }
}

static void hears_nothing(microkit_channel ch)
{
    (void)ch;
    CHECK(!"this PD is notified");
}

/*
 *   client (1)  1 -> server (9) 1: calls, and notifications back
 *               2 -> watcher (5) 2: notifications both ways
 */
static void client_init(void)
{
    CHECK(peer_status(1)->asleep == MK_AWAKE && peer_status(2)->asleep == MK_AWAKE);
    puts_line("client calls");
    microkit_mr_set(0, 6);
    microkit_msginfo reply = microkit_ppcall(1, microkit_msginfo_new(5, 1));
    CHECK(microkit_msginfo_get_label(reply) == 7);
    puts_line("client is answered");
    microkit_notify(2);
    puts_line("client goes on");
    microkit_deferred_notify(2);
}

static void client_hear(microkit_channel ch)
{
    static unsigned heard;
    CHECK(ch == (heard == 0 ? 1 : 2));
    puts_line("client hears");
    if (++heard == 2) {
        passed();
    }
}

static void server_init(void)
{
    puts_line("server starts");
}

static microkit_msginfo server_serve(microkit_channel ch, microkit_msginfo info)
{
    CHECK(ch == 1);
    CHECK(microkit_msginfo_get_label(info) == 5 && microkit_mr_get(0) == 6);
    puts_line("server serves");
    microkit_notify(1);
    return microkit_msginfo_new(7, 0);
}

static void watcher_init(void)
{
    puts_line("watcher starts");
}

static void watcher_hear(microkit_channel ch)
{
    static unsigned heard;
    CHECK(ch == 2);
    CHECK(own_status()->asleep == MK_AWAKE);
    puts_line("watcher hears");
    if (++heard == 2) {
        microkit_notify(2);
    }
}

static int scheduled(const char *argument)
{
    (void)argument;
    int client = add_pd("client", 1, (struct entry_points){.init = client_init, .notified = client_hear});
    int watcher = add_pd("watcher", 5, (struct entry_points){.init = watcher_init, .notified = watcher_hear});
    int server = add_pd("server", 9, (struct entry_points){server_init, hears_nothing, server_serve, 0});
    add_channel(client, 1, CALL, server, 1, NOTIFY);
    add_channel(client, 2, NOTIFY, watcher, 2, NOTIFY);
    for (int pd = client; pd <= server; pd++) {
        adjust(pd, without_doorbells);
        print_calls(pd);
    }
    schedule_pds();
    return run_system(1 << client, 0);
}

/* A child's fault runs the parent, which starts the child again and goes on before it. */
static void crash_init(void)
{
    puts_line("child starts");
    microkit_notify(3);
    *(volatile char *)8 = 1;
}

static void parent_init(void)
{
    puts_line("parent starts");
}

static void parent_hear(microkit_channel ch)
{
    CHECK(ch == 4);
    puts_line("parent hears");
}

static seL4_Bool parent_fault(microkit_child child, microkit_msginfo msginfo, microkit_msginfo *reply)
{
    static unsigned faults;
    (void)msginfo, (void)reply;
    puts_line("parent handles");
    if (++faults == 2) {
        passed();
    }
    microkit_pd_restart(child, 0);
    return seL4_False;
}

static int family(const char *argument)
{
    (void)argument;
    int child = add_pd("child", 1, (struct entry_points){.init = crash_init, .notified = hears_nothing});
    int parent = add_pd("parent", 9, (struct entry_points){.init = parent_init, .notified = parent_hear});
    on_fault(parent, parent_fault);
    add_channel(child, 3, NOTIFY, parent, 4, 0);
    set_parent(child, 6, parent);
    for (int pd = child; pd <= parent; pd++) {
        adjust(pd, without_doorbells);
        print_calls(pd);
    }
    schedule_pds();
    return run_system(1 << parent, 0);
}

/* A caller whose answer is not there yet sleeps until it is. */
static void early_init(void)
{
    microkit_mr_set(0, 6);
    microkit_msginfo reply = microkit_ppcall(2, microkit_msginfo_new(5, 1));
    CHECK(microkit_msginfo_get_label(reply) == 7);
    puts_line("caller is answered");
    passed();
}

static int early(const char *argument)
{
    (void)argument;
    int caller = add_pd("caller", 9, (struct entry_points){.init = early_init, .notified = hears_nothing});
    int server = add_pd("server", 1, (struct entry_points){server_init, hears_nothing, server_serve, 0});
    add_channel(caller, 2, CALL, server, 1, NOTIFY);
    for (int pd = caller; pd <= server; pd++) {
        adjust(pd, without_doorbells);
        print_calls(pd);
    }
    schedule_pds();
    return run_system(1 << caller, 0);
}

/* A launcher that does not schedule after all: the PD faults rather than spin in silence. */
static int64_t refuse(int pd, const uint64_t call[5])
{
    (void)pd, (void)call;
    return -38;
}

static int unscheduled(const char *argument)
{
    (void)argument;
    int pd = add_pd("faulty", 1, (struct entry_points){.init = server_init, .notified = hears_nothing});
    schedule_pds();
    trace(refuse);
    must_die(pd, SIGSEGV);
    return run_system(1 << pd, 0);
}

const struct test schedule_tests[] = {
    {"scheduled", scheduled}, {"family", family}, {"early", early}, {"unscheduled", unscheduled}, {0, 0}};
