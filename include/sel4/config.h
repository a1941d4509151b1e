/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * How Microkit programs see the kernel they were built for: an x86-64 SMP debug build of seL4 with the MCS scheduler.
 */
#pragma once

#if !defined(__x86_64__) || !defined(__LP64__)
#error "sel4/config.h: only x86-64 is supported; build this program for x86_64-linux-gnu"
#endif

#define CONFIG_ARCH_X86 1
#define CONFIG_ARCH_X86_64 1
#define CONFIG_SEL4_ARCH_X86_64 1
#define CONFIG_ARCH "x86"
#define CONFIG_SEL4_ARCH "x86_64"
#define CONFIG_WORD_SIZE 64
#define CONFIG_L1_CACHE_LINE_SIZE_BITS 6
#define CONFIG_KERNEL_MCS 1
#define CONFIG_ENABLE_SMP_SUPPORT 1
/* The most that seL4 can be configured for, so that a table with an entry a core fits any host. */
#define CONFIG_MAX_NUM_NODES 256
#define CONFIG_DEBUG_BUILD 1
#define CONFIG_PRINTING 1
