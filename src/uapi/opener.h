/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A process that opens files of a file system that S itself serves: S could not be killed while it
 * waited for itself (pump.h).
 */
#ifndef UVFIO_UAPI_OPENER_H
#define UVFIO_UAPI_OPENER_H

#include <stdint.h>
#include <sys/types.h>

/* @mount, a directory, stays the caller's.  *@sock: to ask it by.  It ends when that is closed, or
 * with the process.  0 or -errno. */
int uapi_opener_start(int mount, int *sock, pid_t *pid);
/* Have it open the file whose name is the number @name, with @flags: a descriptor or -errno. */
int uapi_opener_open(int sock, uint64_t name, int flags);

#endif
