/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * System calls, without the C library: it belongs to the program, and its errno with it.
 */
#pragma once

#if !defined(__x86_64__) || !defined(__linux__)
#error "libmicrokit: only x86-64 Linux is supported; add this architecture's system call instruction here"
#endif

#include "abi.h"

#define SYS_READ 0
#define SYS_WRITE 1
#define SYS_EXIT_GROUP 231

#define ERROR_EINTR (-4)
#define ERROR_EAGAIN (-11)

static inline long system_call(long number, long a, long b, long c)
{
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}

/* Asks the launcher, which traces this PD: MK_OP_*. Below 0: -errno. */
static inline int64_t launcher_call(uint64_t op, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    int64_t result;
    register uint64_t third __asm__("r10") = b;
    register uint64_t fourth __asm__("r8") = c;
    register uint64_t fifth __asm__("r9") = d;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"((long)SYS_EXIT_GROUP), "D"((long)MK_LAUNCHER_CALL), "S"(op), "d"(a), "r"(third), "r"(fourth),
                       "r"(fifth)
                     : "rcx", "r11", "memory");
    return result;
}
