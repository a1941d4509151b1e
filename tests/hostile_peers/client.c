/*
 * Calls and tells the server, in turns, and now and then the hostile PD. Channels: 1 the server, which it calls; 2 the
 * hostile PD; 3 the hostile PD, which it calls; 4 the hostile PD, which may not notify there.
 */
#include "messages.h"

static uint64_t calls, told, turns;

static void call_server(void)
{
    uint64_t number = ++calls;
    unsigned count = count_of(number);
    for (unsigned i = 0; i < count; i++) {
        microkit_mr_set((seL4_Uint8)i, word_of(number, i));
    }
    microkit_msginfo reply = microkit_ppcall(1, microkit_msginfo_new(number & 0xffff, (seL4_Uint16)count));
    CHECK(microkit_msginfo_get_label(reply) == (~number & 0xffff));
    CHECK(microkit_msginfo_get_count(reply) == count);
    for (unsigned i = 0; i < count; i++) {
        CHECK(microkit_mr_get((seL4_Uint8)i) == ~word_of(number, i));
    }
}

static void tell_server(void)
{
    uint64_t number = told++;
    for (uint64_t i = 0; i < SLOT_WORDS; i++) {
        ring->slots[number % SLOTS][i] = word_of(number, i);
    }
    atomic_store_explicit(&ring->head, told, memory_order_release);
}

/* Whatever comes back is within a message's bounds, and it comes back: the hostile one gets round to everything. */
static void use_the_hostile_one(void)
{
    microkit_notify(2);
    microkit_msginfo reply = microkit_ppcall(3, microkit_msginfo_new(turns & 0xffff, 120));
    CHECK(microkit_msginfo_get_count(reply) <= 120);
    CHECK(seL4_MessageInfo_get_extraCaps(reply) == 0 && seL4_MessageInfo_get_capsUnwrapped(reply) == 0);
    shared[0] = read_shared();
}

static void turn(void)
{
    if (calls + told >= MESSAGES) {
        microkit_dbg_puts("all sent\n");
        return;
    }
    for (unsigned i = 0; i < RING_TURN; i++) {
        tell_server();
    }
    for (unsigned i = 0; i < CALLS_TURN; i++) {
        call_server();
    }
    if (turns++ % (1 + MESSAGES / 80 / 100) == 0) {
        use_the_hostile_one();
    }
    microkit_notify(1);
}

void init(void)
{
    turn();
}

void notified(microkit_channel ch)
{
    CHECK(ch == 1 || ch == 2 || ch == 3);
    /* Its own server's word counts only when there is something new in the ring: a spare wake-up is no turn. */
    if (ch == 1 && atomic_load_explicit(&ring->tail, memory_order_acquire) == told) {
        turn();
    }
}
