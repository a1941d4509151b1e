/*
 * Writes anything into everything it can write, without end: each word of its channel pages, of the page about itself,
 * of the region that it shares with the others; their doorbells; the console.
 */
#include "internal.h"

static volatile uint64_t *const shared = (uint64_t *)0x5000000;

static uint64_t state = 88172645463325252u;

static uint64_t any(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void store(volatile uint64_t *word, uint64_t value)
{
    __atomic_store_n(word, value, __ATOMIC_SEQ_CST);
}

static long write_to(long fd, const void *bytes, unsigned long count)
{
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(1), "D"(fd), "S"(bytes), "d"(count) : "rcx", "r11", "memory");
    return result;
}

/* Values that a protocol may trip over, for whom it is between these two. */
static uint64_t adversarial(uint64_t mine, uint64_t theirs)
{
    static const uint64_t edges[] = {0, 1, 119, 120, 121, 127, 128, 255, 4095, ~0ul, 1ul << 63, MK_SEQ_WITHDRAWN};
    uint64_t random = any();
    switch (random % 8) {
    case 0:
        return edges[(random >> 8) % (sizeof(edges) / sizeof(*edges))];
    case 1:
        return theirs + (random >> 8) % 5 - 2;
    case 2:
        return mine + (random >> 8) % 5 - 2;
    case 3:
        return theirs | MK_SEQ_WITHDRAWN;
    case 4:
        return theirs;
    case 5:
        /* An old one again. */
        return mine - (random >> 8) % 1024;
    default:
        return any();
    }
}

static uint64_t *any_register(struct mk_out *out, uint64_t random)
{
    uint64_t index = random % MK_MAX_MRS;
    return index < MK_FIRST_MRS ? &out->mr[index] : &out->more[index - MK_MORE_FROM];
}

static void blow(struct end *ends, uint32_t *status)
{
    static uint64_t garbage[64];
    struct end *end;
    uint64_t random = any();
    do {
        end = &ends[any() % 8];
    } while (end->out == 0);
    struct mk_out *out = end->out;
    const volatile struct mk_out *in = (const volatile struct mk_out *)end->in;
    volatile uint64_t *page = (volatile uint64_t *)((uintptr_t)out & -4096ul);
    switch (random % 14) {
    case 0:
        store(&page[(random >> 8) % 512], any());
        break;
    case 1:
        store(&out->seq, adversarial(out->seq, in->seq));
        break;
    case 2:
        store(&out->notified, adversarial(out->notified, in->notified));
        break;
    case 3:
        store(&out->heard, adversarial(out->heard, in->notified));
        break;
    case 4:
        store(&out->info, random & 256 ? any() : (any() & ~127ul) | (random >> 16) % 128);
        break;
    case 5:
        store(any_register(out, random >> 8), any());
        break;
    case 6:
        __atomic_store_n(&status[random & 256 ? 0 : (random >> 16) % 1024],
                         (uint32_t)(random & 512 ? any() : any() % 8), __ATOMIC_SEQ_CST);
        break;
    case 7:
        /* A message that is right when its number is stored, and then is not. */
        store(&out->info, 120);
        store(&out->seq, out->seq + 1);
        store(&out->events, out->events + 1);
        store(&out->info, ~0ul);
        store(any_register(out, random >> 8), any());
        break;
    case 8:
        /* An answer that its caller has been waiting for. */
        store(&out->info, any());
        store(&out->seq, in->seq);
        write_to(end->peer_doorbell, garbage, 1);
        break;
    case 9:
        store(&shared[(random >> 8) % 512], random & 1 << 20 ? any() : any() % 1024);
        break;
    case 10:
        if ((random >> 8) % 16 == 0) {
            write_to(end->peer_doorbell, garbage, (random >> 16) % sizeof(garbage));
        }
        break;
    case 11:
        store(&out->events, adversarial(out->events, in->events));
        break;
    case 12:
        /* What has been stored before, right or wrong, is announced. */
        store(&out->events, out->events + 1);
        break;
    default:
        if ((random >> 8) % 65536 == 0) {
            for (unsigned i = 0; i < 64; i++) {
                garbage[i] = any();
            }
            write_to(1, garbage, (random >> 32) % sizeof(garbage));
        }
    }
}

void init(void)
{
    /* libmicrokit hides these, but not from those who know how far they are from what it shows. */
    uintptr_t name = (uintptr_t)microkit_name;
    __asm__("" : "+r"(name));
    struct end *ends = (struct end *)(name + ENDS_FROM_NAME);
    uint32_t *status = *(uint32_t **)(name + STATUS_FROM_NAME);
    for (;;) {
        blow(ends, status);
    }
}

void notified(microkit_channel ch)
{
    (void)ch;
}
