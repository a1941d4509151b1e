/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Messages between a shared page and the IPC buffer. A message is copied out before anyone looks at it, so what a
 * handler has checked cannot change under it.
 */
#pragma once

#include "internal.h"

/*
 * Two registers at once. Each half is read and written once, and nothing depends on the halves belonging together. A
 * race detector knows words only.
 */
typedef seL4_Word register_pair __attribute__((vector_size(16), may_alias));
_Static_assert(offsetof(seL4_IPCBuffer, msg) % 16 == 8, "from an odd register on, pairs are aligned in the IPC buffer");
_Static_assert(MK_FIRST_MRS % 2 == 0 && MK_MORE_FROM % 2 == 1 && offsetof(struct mk_out, more) % 16 == 0,
               "and in the page");

static inline void registers_put(struct mk_out *out, const seL4_Word *from, uint64_t count)
{
    uint64_t i = 0;
    for (; i < count && i < MK_FIRST_MRS; i++) {
        store_relaxed(&out->mr[i], from[i]);
    }
    uint64_t *more = out->more;
#ifndef __SANITIZE_THREAD__
    if (i < count) {
        store_relaxed(&more[i - MK_MORE_FROM], from[i]);
        for (i++; i + 2 <= count; i += 2) {
            *(volatile register_pair *)&more[i - MK_MORE_FROM] = *(const register_pair *)&from[i];
        }
    }
#endif
    for (; i < count; i++) {
        store_relaxed(&more[i - MK_MORE_FROM], from[i]);
    }
}

static inline void registers_get(const struct mk_out *in, seL4_Word *to, uint64_t count)
{
    uint64_t i = 0;
    for (; i < count && i < MK_FIRST_MRS; i++) {
        to[i] = load_relaxed(&in->mr[i]);
    }
    const uint64_t *more = in->more;
#ifndef __SANITIZE_THREAD__
    if (i < count) {
        to[i] = load_relaxed(&more[i - MK_MORE_FROM]);
        for (i++; i + 2 <= count; i += 2) {
            *(register_pair *)&to[i] = *(const volatile register_pair *)&more[i - MK_MORE_FROM];
        }
    }
#endif
    for (; i < count; i++) {
        to[i] = load_relaxed(&more[i - MK_MORE_FROM]);
    }
}

/*
 * Takes the cache lines of this end's next message, of about the length of its latest one, away from the peer, which
 * has read them. To be called before reading the peer's message: both kinds of lines then travel at the same time. Not
 * the first line, which the peer may be watching, and which is not even to be read here: it is the peer's by now. A
 * hint; the CPU may ignore it.
 */
static inline void message_expect(const struct end *end)
{
    if (end->said <= MK_FIRST_MRS) {
        return;
    }
    const char *last = (const char *)&end->out->more[end->said - MK_MORE_FROM];
    for (const char *line = (const char *)end->out->more; line < last; line += CACHE_LINE) {
        __asm__ volatile("prefetchw %0" : : "m"(*line));
    }
}

/* Writes label and registers of `info` to the end's page. The caller publishes them by storing `seq`. */
static inline void message_put(struct end *end, seL4_MessageInfo_t info)
{
    struct mk_out *out = end->out;
    uint64_t count = seL4_MessageInfo_get_length(info);
    if (count > MK_MAX_MRS) {
        count = MK_MAX_MRS;
    }
    store_relaxed(&out->info, seL4_MessageInfo_new(seL4_MessageInfo_get_label(info), 0, 0, count).words[0]);
    end->said = (uint32_t)count;
    registers_put(out, __sel4_ipc_buffer->msg, count);
}

/* Between reading a message and looking whether it is still the same: x86-64 loads in order, the compiler must too. */
static inline void message_has_been_read(void)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* Copies the message that `seq`, loaded with acquire order, has announced. Registers beyond its count stay as they
 * were. */
static inline seL4_MessageInfo_t message_get(const struct mk_out *in)
{
    seL4_MessageInfo_t said = {{load_relaxed(&in->info)}};
    uint64_t count = seL4_MessageInfo_get_length(said);
    if (count > MK_MAX_MRS) {
        count = MK_MAX_MRS;
    }
    registers_get(in, __sel4_ipc_buffer->msg, count);
    return seL4_MessageInfo_new(seL4_MessageInfo_get_label(said), 0, 0, count);
}
