/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Keeps a secret in a region that only it maps, and says on request whether it is still there.
 */
#include <microkit.h>
#include <string.h>

char *secret;

void init(void)
{
    strcpy(secret, "xyzzy");
}

void notified(microkit_channel ch)
{
    (void)ch;
}

microkit_msginfo protected(microkit_channel ch, microkit_msginfo msginfo)
{
    (void)ch;
    (void)msginfo;
    microkit_mr_set(0, strcmp(secret, "xyzzy") == 0);
    return microkit_msginfo_new(0, 1);
}
