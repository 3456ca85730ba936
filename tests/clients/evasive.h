/* SPDX-License-Identifier: BSD-3-Clause */
/* What the parts of evasive_client share. */
#ifndef TESTS_CLIENTS_EVASIVE_H
#define TESTS_CLIENTS_EVASIVE_H

#include "hostile.h"

/* openat2() */
int open_how(int dir, const char *path, uint64_t flags, uint64_t resolve);
/* SET_IRQS: @fd as the trigger of vector 0. */
int set_trigger(int device, int fd);

/* evasive_reopen.c */
void reopened(void);
void hands_changed(void);

#endif
