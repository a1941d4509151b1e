/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * One program for five PDs: when the witness rings, each tries what its name says and is stopped there.
 */
#include <fcntl.h>
#include <microkit.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WITNESS 0

static void opens_file(void)
{
    (void)open("/etc/passwd", O_RDONLY);
}

static void makes_socket(void)
{
    (void)socket(AF_INET, SOCK_STREAM, 0);
}

static void forks(void)
{
    (void)syscall(SYS_fork);
}

static void writes_read_only(void)
{
    *(volatile char *)0x4000000 = 'x';
}

static void reads_foreign(void)
{
    (void)*(volatile char *)0x5000000;
}

static const struct {
    const char *name;
    void (*attempt)(void);
} attempts[] = {
    {"opens_file", opens_file},
    {"makes_socket", makes_socket},
    {"forks", forks},
    {"writes_read_only", writes_read_only},
    {"reads_foreign", reads_foreign},
};

void init(void)
{
}

void notified(microkit_channel ch)
{
    (void)ch;
    for (unsigned i = 0; i < sizeof attempts / sizeof *attempts; i++) {
        if (strcmp(microkit_name, attempts[i].name) == 0) {
            puts("now");
            microkit_notify(WITNESS);
            attempts[i].attempt();
            puts("this line is never printed");
        }
    }
}
