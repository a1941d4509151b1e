/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Who else is at work: where more PDs are than there are CPUs, a spin stands in somebody's way.
 */
#include "internal.h"

/* Every peer, once. */
static struct {
    uint32_t count;
    const struct mk_status *status[MK_MAX_ENDS];
} peers;

/*
 * Peers woken since this PD last waited. Who has been woken and still says that it sleeps has work, but no CPU: as it
 * cannot say so itself, that is all there is to tell a crowd from a few, since those who run are never more than the
 * CPUs.
 */
#define WOKEN 8
static struct {
    uint32_t count;
    const struct mk_status *status[WOKEN];
} woken;

void mk_crowd_begin(void)
{
    peers.count = 0;
    woken.count = 0;
}

void mk_crowd_add(const struct mk_status *status)
{
    for (uint32_t i = 0; i < peers.count; i++) {
        if (peers.status[i] == status) {
            return;
        }
    }
    peers.status[peers.count++] = status;
}

static inline bool is_awake(const struct mk_status *status)
{
    return __atomic_load_n(&status->asleep, __ATOMIC_RELAXED) == MK_AWAKE;
}

/*
 * A peer that waits, but spins, counts: it is on a CPU. Each look sees only a part of a crowd, so one that was seen is
 * believed in for a rest.
 */
bool mk_is_crowded(const struct mk_status *waited_for, uint64_t now)
{
    if (mk_wait.kind == MK_WAIT_SPIN) {
        return false;
    }
    uint32_t working = waited_for == 0 ? 1 : 2;
    for (uint32_t i = 0; i < woken.count; i++) {
        working += woken.status[i] != waited_for && !is_awake(woken.status[i]);
    }
    if (working <= mk_wait.cpus) {
        if (now < mk_wait.crowded_until) {
            return true;
        }
        for (uint32_t i = 0; i < peers.count && working <= mk_wait.cpus; i++) {
            working += peers.status[i] != waited_for && is_awake(peers.status[i]);
        }
    }
    if (working > mk_wait.cpus) {
        mk_wait.crowded_until = now + mk_wait.rest;
        return true;
    }
    return false;
}

void mk_wake(const struct end *end)
{
    mk_ring(end->peer_doorbell);
    bool known = woken.count == WOKEN;
    for (uint32_t i = 0; i < woken.count; i++) {
        known |= woken.status[i] == end->peer;
    }
    if (!known) {
        woken.status[woken.count++] = end->peer;
    }
}

void mk_has_waited(void)
{
    woken.count = 0;
}
