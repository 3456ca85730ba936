/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The files `config` under the program's /sys/bus/pci/devices: kept at what the hardware's config
 * space is, not at what the user's shows (A.7).  They are plain files that the program reads by
 * itself, so they are written anew after each request that may have changed a function, before the
 * program goes on.  Any thread.
 */
#ifndef UVFIO_UAPI_SYSFS_H
#define UVFIO_UAPI_SYSFS_H

#include "uapi/core.h"

struct uapi_sysfs;

/* @dir: the program's /sys/bus/pci/devices, which stays the caller's.  A function whose file cannot
 * be opened keeps the values of the start.  NULL when out of memory. */
struct uapi_sysfs *uapi_sysfs_new(struct uapi_core *core, int dir);
void uapi_sysfs_free(struct uapi_sysfs *sysfs);
/* Write what has changed: of @own (may be NULL) also when that must wait for its reset, of others
 * now or with a later request on them.  @sysfs may be NULL. */
void uapi_sysfs_refresh(struct uapi_sysfs *sysfs, const struct uapi_device *own);
/* Write what could not be written before.  At the end of each request. */
void uapi_sysfs_catch_up(struct uapi_sysfs *sysfs);

#endif
