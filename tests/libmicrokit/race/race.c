/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Two PDs as two threads, each on a copy of libmicrokit of its own, all of it built for a race detector. They share
 * plain memory, as PDs share a region, and only messages say whose turn it is: were one published too early, or taken
 * too late, the accesses to that memory would be a race.
 *
 * Usage: race CALLER.so SERVER.so auto|spin|sleep ROUNDS
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <microkit.h>

#include "abi.h"

#define PEER 0
#define SERVED 7
#define REGISTERS 9
#define PAGE 4096

struct pd {
    void (*go)(const struct mk_handoff *);
    void (*notify)(microkit_channel);
    microkit_msginfo (*ppcall)(microkit_channel, microkit_msginfo);
    seL4_IPCBuffer *buffer;
    struct mk_handoff handoff;
};

static struct pd caller, server;
static unsigned long rounds;
/* The region. */
static unsigned long asked, answered, sent, returned;
static unsigned long round_trips;

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "race: %s:%d: %s\n", __FILE__, __LINE__, #condition);                                      \
            _exit(1);                                                                                                  \
        }                                                                                                              \
    } while (0)

static void caller_init(void)
{
    for (unsigned long i = 1; i <= rounds; i++) {
        asked = i;
        for (unsigned k = 0; k < REGISTERS; k++) {
            caller.buffer->msg[k] = i + k;
        }
        microkit_msginfo reply = caller.ppcall(PEER, microkit_msginfo_new(i, REGISTERS));
        CHECK(microkit_msginfo_get_label(reply) == i && caller.buffer->msg[REGISTERS - 1] == 2 * i);
        CHECK(answered == i);
    }
    sent = 1;
    caller.notify(PEER);
}

static void caller_hears(microkit_channel ch)
{
    CHECK(ch == PEER);
    if (returned != sent) {
        return;
    }
    if (++round_trips == rounds) {
        /* With the detector's verdict as its status. */
        exit(0);
    }
    sent++;
    caller.notify(PEER);
}

static void server_init(void)
{
}

static void server_hears(microkit_channel ch)
{
    CHECK(ch == SERVED);
    returned = sent;
    server.notify(SERVED);
}

static microkit_msginfo server_serves(microkit_channel ch, microkit_msginfo info)
{
    CHECK(ch == SERVED && microkit_msginfo_get_count(info) == REGISTERS);
    for (unsigned k = 0; k < REGISTERS; k++) {
        CHECK(server.buffer->msg[k] == asked + k);
    }
    answered = asked;
    server.buffer->msg[REGISTERS - 1] = 2 * asked;
    return info;
}

static void *symbol(void *library, const char *name)
{
    void *found = dlsym(library, name);
    CHECK(found != 0);
    return found;
}

static void take_library(struct pd *pd, const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == 0) {
        fprintf(stderr, "race: %s\n", dlerror());
        _exit(1);
    }
    *(void **)&pd->go = symbol(library, "mk_restart");
    *(void **)&pd->notify = symbol(library, "microkit_notify");
    *(void **)&pd->ppcall = symbol(library, "microkit_ppcall");
    pd->buffer = *(seL4_IPCBuffer **)symbol(library, "__sel4_ipc_buffer");
}

/* Page 0 is the status, page 1 what the one end says. */
static char *memory(void)
{
    char *pages = aligned_alloc(PAGE, 2 * PAGE);
    CHECK(pages != 0);
    return memset(pages, 0, 2 * PAGE);
}

static void fill(struct pd *pd, char *own, char *peer, const int doorbell[2], const int peer_doorbell[2], uint32_t wait)
{
    struct mk_handoff *handoff = &pd->handoff;
    handoff->version = MK_ABI_VERSION;
    handoff->size = sizeof(*handoff);
    handoff->status = (uint64_t)own;
    handoff->doorbell = doorbell[0];
    handoff->console = STDERR_FILENO;
    handoff->wait = wait;
    handoff->cpus = 2;
    handoff->spin_cycles = wait == MK_WAIT_SLEEP ? 0 : 100000;
    handoff->rest_cycles = 1000000;
    handoff->end_count = 1;
    struct mk_end *end = &handoff->ends[0];
    end->out = (uint64_t)(own + PAGE);
    end->in = (uint64_t)(peer + PAGE);
    end->peer_status = (uint64_t)peer;
    end->peer_doorbell = peer_doorbell[1];
}

static void *run(void *pd)
{
    ((struct pd *)pd)->go(&((struct pd *)pd)->handoff);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        return 2;
    }
    uint32_t wait = argv[3][0] == 'a' ? MK_WAIT_AUTO : argv[3][1] == 'p' ? MK_WAIT_SPIN : MK_WAIT_SLEEP;
    rounds = strtoul(argv[4], 0, 10);
    take_library(&caller, argv[1]);
    take_library(&server, argv[2]);
    char *of_caller = memory();
    char *of_server = memory();
    int to_caller[2], to_server[2];
    CHECK(pipe(to_caller) == 0 && pipe(to_server) == 0);
    fill(&caller, of_caller, of_server, to_caller, to_server, wait);
    fill(&server, of_server, of_caller, to_server, to_caller, wait);
    caller.handoff.ends[0].id = PEER;
    caller.handoff.ends[0].rights = MK_MAY_NOTIFY | MK_MAY_CALL | MK_HEARS;
    caller.handoff.init = (uint64_t)caller_init;
    caller.handoff.notified = (uint64_t)caller_hears;
    server.handoff.ends[0].id = SERVED;
    server.handoff.ends[0].rights = MK_MAY_NOTIFY | MK_HEARS | MK_SERVES;
    server.handoff.init = (uint64_t)server_init;
    server.handoff.notified = (uint64_t)server_hears;
    server.handoff.protected_entry = (uint64_t)server_serves;
    pthread_t threads[2];
    CHECK(pthread_create(&threads[0], 0, run, &caller) == 0 && pthread_create(&threads[1], 0, run, &server) == 0);
    pthread_join(threads[0], 0);
    return 1;
}
