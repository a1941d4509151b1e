/*
 * What the two correct PDs say to each other. Every word of every message follows from its number, so each is checked
 * by who receives it.
 */
#include <microkit.h>
#include <stdatomic.h>
#include <stdint.h>

/* Of a turn: messages through the ring, and calls. */
#define RING_TURN 16
#define CALLS_TURN 64

/* The region that only the two share: slots, and how many messages were ever put in and taken out. */
#define SLOTS 64
#define SLOT_WORDS 8
struct ring {
    _Atomic uint64_t head, tail;
    uint64_t slots[SLOTS][SLOT_WORDS];
};
static struct ring *const ring = (struct ring *)0x4000000;

/* The region that the hostile PD writes, too: how many words follow, and the words. */
static volatile uint64_t *const shared = (uint64_t *)0x5000000;
#define SHARED_WORDS 512

static inline uint64_t word_of(uint64_t message, uint64_t word)
{
    return (message ^ (word << 56)) * 0x9e3779b97f4a7c15u;
}

/* Words of call number `call`: mostly few, now and then all there are. */
static inline unsigned count_of(uint64_t call)
{
    return call % 997 == 0 ? 120 : (unsigned)(call % 8);
}

static inline void wrong(const char *what)
{
    microkit_dbg_puts("WRONG: ");
    microkit_dbg_puts(what);
    microkit_dbg_puts("\n");
}

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            wrong(#condition);                                                                                         \
        }                                                                                                              \
    } while (0)

/* What a correct PD does with memory that anybody may change at any time: the length is read once and bounded. */
static inline uint64_t read_shared(void)
{
    uint64_t count = shared[0] % SHARED_WORDS, sum = 0;
    for (uint64_t i = 1; i < 1 + count % 16; i++) {
        sum += shared[i];
    }
    return sum;
}
