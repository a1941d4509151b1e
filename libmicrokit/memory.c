/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Functions that a compiler may call on its own, also in freestanding code. Hidden: programs have their C library's.
 */
#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t length);
void *memmove(void *to, const void *from, size_t length);
void *memset(void *to, int byte, size_t length);
int memcmp(const void *a, const void *b, size_t length);

/* rep movsb needs no loop that the compiler could turn into a call of the very function. */
void *memcpy(void *restrict to, const void *restrict from, size_t length)
{
    void *start = to;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(length) : : "memory");
    return start;
}

void *memmove(void *to, const void *from, size_t length)
{
    char *target = to;
    const char *source = from;
    if (target <= source) {
        return memcpy(to, from, length);
    }
    while (length > 0) {
        length--;
        *(volatile char *)(target + length) = source[length];
    }
    return to;
}

void *memset(void *to, int byte, size_t length)
{
    void *start = to;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(length) : "a"(byte) : "memory");
    return start;
}

int memcmp(const void *a, const void *b, size_t length)
{
    const unsigned char *left = a;
    const unsigned char *right = b;
    for (size_t i = 0; i < length; i++) {
        if (left[i] != right[i]) {
            return left[i] - right[i];
        }
    }
    return 0;
}
