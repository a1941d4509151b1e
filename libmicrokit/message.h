/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Messages between a shared page and the IPC buffer. A message is copied out before anyone looks at it, so what a
 * handler has checked cannot change under it.
 */
#pragma once

#include "internal.h"

/* Writes label and registers of `info` to the page. The caller publishes them by storing `seq`. */
static inline void message_put(struct mk_out *out, seL4_MessageInfo_t info)
{
    uint64_t count = seL4_MessageInfo_get_length(info);
    if (count > MK_MAX_MRS) {
        count = MK_MAX_MRS;
    }
    store_relaxed(&out->info, seL4_MessageInfo_new(seL4_MessageInfo_get_label(info), 0, 0, count).words[0]);
    const seL4_Word *from = __sel4_ipc_buffer->msg;
    for (uint64_t i = 0; i < count; i++) {
        store_relaxed(&out->mr[i], from[i]);
    }
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
    seL4_Word *to = __sel4_ipc_buffer->msg;
    for (uint64_t i = 0; i < count; i++) {
        to[i] = load_relaxed(&in->mr[i]);
    }
    return seL4_MessageInfo_new(seL4_MessageInfo_get_label(said), 0, 0, count);
}
