/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Words, capability slots, messages and the IPC buffer.
 */
#pragma once

#include <sel4/config.h>

typedef signed char seL4_Int8;
typedef unsigned char seL4_Uint8;
typedef signed short seL4_Int16;
typedef unsigned short seL4_Uint16;
typedef signed int seL4_Int32;
typedef unsigned int seL4_Uint32;
typedef signed long seL4_Int64;
typedef unsigned long seL4_Uint64;

typedef seL4_Int8 seL4_Bool;
#define seL4_True ((seL4_Bool)1)
#define seL4_False ((seL4_Bool)0)
#define seL4_Null ((void *)0)

typedef seL4_Uint64 seL4_Word;
#define seL4_WordBits 64
#define seL4_WordSizeBits 3
#define SEL4_PRId_word "ld"
#define SEL4_PRIu_word "lu"
#define SEL4_PRIx_word "lx"

/* A slot of the PD's capability space. On Linux a name only: what it refers to is settled by the library's tables. */
typedef seL4_Word seL4_CPtr;
typedef seL4_CPtr seL4_TCB;
typedef seL4_CPtr seL4_SchedContext;
typedef seL4_CPtr seL4_IRQHandler;
typedef seL4_Uint64 seL4_Time;

#define seL4_CapNull 0

enum seL4_MsgLimits {
    seL4_MsgLengthBits = 7,
    seL4_MsgExtraCapBits = 2,
    /* Message registers of one message. */
    seL4_MsgMaxLength = 120,
};
#define seL4_MsgMaxExtraCaps ((1u << seL4_MsgExtraCapBits) - 1u)

/* From the low bit: length 7 bits, extraCaps 2, capsUnwrapped 3, label 52. */
struct seL4_MessageInfo {
    seL4_Word words[1];
};
typedef struct seL4_MessageInfo seL4_MessageInfo_t;

/* Fields are cut to their width, as the kernel's are in a release build. */
static inline seL4_MessageInfo_t seL4_MessageInfo_new(seL4_Word label, seL4_Word capsUnwrapped, seL4_Word extraCaps,
                                                      seL4_Word length)
{
    seL4_MessageInfo_t info;
    info.words[0] = (label << 12) | ((capsUnwrapped & 0x7u) << 9) | ((extraCaps & 0x3u) << 7) | (length & 0x7fu);
    return info;
}

static inline seL4_Word seL4_MessageInfo_get_label(seL4_MessageInfo_t info)
{
    return info.words[0] >> 12;
}

static inline seL4_Word seL4_MessageInfo_get_capsUnwrapped(seL4_MessageInfo_t info)
{
    return (info.words[0] >> 9) & 0x7u;
}

static inline seL4_Word seL4_MessageInfo_get_extraCaps(seL4_MessageInfo_t info)
{
    return (info.words[0] >> 7) & 0x3u;
}

static inline seL4_Word seL4_MessageInfo_get_length(seL4_MessageInfo_t info)
{
    return info.words[0] & 0x7fu;
}

static inline seL4_MessageInfo_t seL4_MessageInfo_set_label(seL4_MessageInfo_t info, seL4_Word label)
{
    info.words[0] = (info.words[0] & 0xfffu) | (label << 12);
    return info;
}

static inline seL4_MessageInfo_t seL4_MessageInfo_set_length(seL4_MessageInfo_t info, seL4_Word length)
{
    info.words[0] = (info.words[0] & ~(seL4_Word)0x7fu) | (length & 0x7fu);
    return info;
}

typedef struct seL4_IPCBuffer_ {
    seL4_MessageInfo_t tag;
    seL4_Word msg[seL4_MsgMaxLength];
    seL4_Word userData;
    seL4_Word caps_or_badges[seL4_MsgMaxExtraCaps];
    seL4_CPtr receiveCNode;
    seL4_CPtr receiveIndex;
    seL4_Word receiveDepth;
} seL4_IPCBuffer;

/* Registers of a thread, in the order that seL4_TCB_ReadRegisters counts them. */
typedef struct seL4_UserContext_ {
    seL4_Word rip, rsp, rflags, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15;
    seL4_Word fs_base, gs_base;
} seL4_UserContext;

typedef struct seL4_SchedContext_Consumed {
    int error;
    seL4_Time consumed;
} seL4_SchedContext_Consumed_t;

typedef struct seL4_SchedContext_YieldTo {
    int error;
    seL4_Time consumed;
} seL4_SchedContext_YieldTo_t;
