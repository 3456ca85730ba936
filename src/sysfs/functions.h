/* SPDX-License-Identifier: BSD-3-Clause */
/* What is known of functions, see table.h.  All with sysfs->lock held. */
#ifndef UVFIO_SYSFS_FUNCTIONS_H
#define UVFIO_SYSFS_FUNCTIONS_H

#include "sysfs/table.h"

/* How many message interrupts are enabled; *@first (may be NULL): the first one's number. */
unsigned function_messages(struct sysfs *fs, const struct function *f, unsigned *first);
const char *function_message_kind(struct sysfs *fs, const struct function *f);
/* The line's number, or the first message's. */
unsigned function_irq(struct sysfs *fs, const struct function *f);
/* Does somebody have it open? */
bool function_open(struct sysfs *fs, const struct function *f);
void sysfs_functions_free(struct sysfs *fs);

#endif
