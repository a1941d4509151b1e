/*
 * Copyright 2026, the mk-sandbox developers
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The part of libsel4 that Microkit programs use.
 */
#pragma once

#include <sel4/config.h>
#include <sel4/errors.h>
#include <sel4/faults.h>
#include <sel4/syscalls.h>
#include <sel4/types.h>
