/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who has /dev/fuse of the program's /sys: a process between the kernel and S.
 *
 * S looks at paths in the program's namespace (task.h), and the program chooses them, so S may look
 * into the file system that it serves itself.  A thread that waits for such a request cannot be
 * killed before it is answered or /dev/fuse is closed; in S alone, killing S would be neither.  So
 * this process holds it, which passes requests and answers on and ends with S: then the kernel ends
 * the file system, and S's threads are free to go.
 */
#ifndef UVFIO_UAPI_PUMP_H
#define UVFIO_UAPI_PUMP_H

#include <sys/types.h>

/* @fuse becomes the new process's.  *@sock: a SOCK_SEQPACKET socket, a request or an answer a
 * packet. It ends when that is closed, when the file system has gone, or when the calling thread
 * has ended. 0 or -errno. */
int uapi_pump_start(int fuse, int *sock, pid_t *pid);

#endif
