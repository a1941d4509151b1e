/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The debug console, the library's own messages on it, and the deliberate crash.
 */
#include "internal.h"
#include "syscall.h"

/* A line being put together, so that it reaches the console whole. What does not fit goes out in parts. */
struct line {
    unsigned length;
    char text[160];
};

static void put_bytes(const char *bytes, unsigned long length)
{
    while (length > 0) {
        long written = system_call(SYS_WRITE, mk_console, (long)bytes, (long)length);
        if (written == ERROR_EINTR) {
            continue;
        }
        if (written <= 0) {
            /* Nobody reads the console any more. There is nowhere left to say so. */
            return;
        }
        bytes += written;
        length -= (unsigned long)written;
    }
}

static void line_end(struct line *line)
{
    put_bytes(line->text, line->length);
    line->length = 0;
}

static void line_char(struct line *line, char c)
{
    if (line->length == sizeof(line->text)) {
        line_end(line);
    }
    line->text[line->length++] = c;
}

static void line_text(struct line *line, const char *text)
{
    while (*text != 0) {
        line_char(line, *text++);
    }
}

static void line_number(struct line *line, uint32_t number)
{
    char digits[10];
    unsigned count = 0;
    do {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    while (count > 0) {
        line_char(line, digits[--count]);
    }
}

void microkit_dbg_putc(int c)
{
    char byte = (char)c;
    put_bytes(&byte, 1);
}

void microkit_dbg_puts(const char *s)
{
    unsigned long length = 0;
    while (s[length] != 0) {
        length++;
    }
    put_bytes(s, length);
}

void microkit_dbg_put8(seL4_Uint8 x)
{
    microkit_dbg_put32(x);
}

void microkit_dbg_put32(seL4_Uint32 x)
{
    struct line line = {.length = 0};
    line_number(&line, x);
    line_end(&line);
}

void seL4_DebugPutChar(char c)
{
    put_bytes(&c, 1);
}

void seL4_DebugPutString(char *str)
{
    microkit_dbg_puts(str);
}

static void line_start(struct line *line, const char *function, const char *what)
{
    line->length = 0;
    line_text(line, microkit_name);
    line_char(line, ' ');
    if (function != 0) {
        line_text(line, function);
        line_text(line, ": ");
    }
    line_text(line, what);
}

void mk_complain(const char *function, const char *what)
{
    struct line line;
    line_start(&line, function, what);
    line_char(&line, '\n');
    line_end(&line);
}

void mk_complain_of(const char *function, const char *what, uint32_t id)
{
    struct line line;
    line_start(&line, function, what);
    line_text(&line, " '");
    line_number(&line, id);
    line_text(&line, "'\n");
    line_end(&line);
}

void microkit_internal_crash(seL4_Error err)
{
    mk_complain_of("microkit_internal_crash", "crashing on purpose with error", (uint32_t)err);
    /* As upstream: the error is the fault's address. No page can be mapped there. */
    __asm__ volatile("movl $0, (%0)" : : "r"((uintptr_t)(uint32_t)err) : "memory");
    __builtin_trap();
}
