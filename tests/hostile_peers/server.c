/*
 * Answers the client and takes what it puts into the ring. Channels: 1 the client; 2 the hostile PD, which calls and
 * notifies as it likes; 5 the hostile PD, which may do neither; 6 the hostile PD, which may call.
 */
#include "messages.h"

static uint64_t answered, taken;

void init(void)
{
}

void notified(microkit_channel ch)
{
    CHECK(ch == 1 || ch == 2);
    if (ch != 1) {
        microkit_notify(ch);
        return;
    }
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
    CHECK(head - taken <= SLOTS);
    for (; taken != head; taken++) {
        for (uint64_t i = 0; i < SLOT_WORDS; i++) {
            CHECK(ring->slots[taken % SLOTS][i] == word_of(taken, i));
        }
    }
    atomic_store_explicit(&ring->tail, taken, memory_order_release);
    if (answered + taken >= MESSAGES) {
        microkit_dbg_puts("all seen\n");
    }
    microkit_notify(1);
}

microkit_msginfo protected(microkit_channel ch, microkit_msginfo info)
{
    CHECK(ch == 1 || ch == 2 || ch == 6);
    uint64_t count = microkit_msginfo_get_count(info);
    CHECK(count <= 120);
    CHECK(seL4_MessageInfo_get_extraCaps(info) == 0 && seL4_MessageInfo_get_capsUnwrapped(info) == 0);
    if (ch != 1) {
        microkit_mr_set(0, read_shared());
        return microkit_msginfo_new(microkit_msginfo_get_label(info), (seL4_Uint16)count);
    }
    uint64_t number = ++answered;
    CHECK(microkit_msginfo_get_label(info) == (number & 0xffff));
    CHECK(count == count_of(number));
    for (unsigned i = 0; i < count; i++) {
        CHECK(microkit_mr_get((seL4_Uint8)i) == word_of(number, i));
        microkit_mr_set((seL4_Uint8)i, ~word_of(number, i));
    }
    return microkit_msginfo_new(~number & 0xffff, (seL4_Uint16)count);
}
