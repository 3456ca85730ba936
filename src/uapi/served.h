/* SPDX-License-Identifier: BSD-3-Clause */
/* The program's /sys, served by sysfs/sysfs.h through pump.h. */
#ifndef UVFIO_UAPI_SERVED_H
#define UVFIO_UAPI_SERVED_H

#include "uapi/core.h"

struct uapi_served;

/* Serve @core's machine, in this process or by who has it, on @fuse, which becomes the other's.  By
 * the main thread.  NULL with a message. */
struct uapi_served *uapi_served_new(struct uapi_core *core, struct uvfio_log *log, int fuse,
				    struct uvfio_error *err);
/* What the file with inode number @ino of it is, and of which of the core's devices: see
 * sysfs_identify() and struct uapi_core_ops.  Any thread. */
enum sysfs_file uapi_served_identify(struct uapi_served *served, uint64_t ino,
				     const struct uapi_device **device, unsigned *bar);
/* Have @changed called when devices came or went by what the program wrote there, before that is
 * answered; in a thread that may wait.  NULL: not any more, when it returns.  @served may be NULL.
 */
void uapi_served_tell(struct uapi_served *served, void (*changed)(void *arg), void *arg);
/* The first number of ours behind those of the uio devices that this machine has itself. */
unsigned uapi_first_uio(void);
/* NULL is allowed.  Before the machine goes. */
void uapi_served_free(struct uapi_served *served);

#endif
