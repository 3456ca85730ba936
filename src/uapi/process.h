/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Small things about processes that P0, S and C share.  One thread, unless said otherwise.
 */
#ifndef UVFIO_UAPI_PROCESS_H
#define UVFIO_UAPI_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Make stdin and stdout /dev/null and close every fd above 2 but @keep (@nr of them, ≤ 8), so that
 * a pipe or lock that the program was given is held by the program alone.  stderr stays. */
void uapi_drop_fds(const int *keep, unsigned nr);
/* @fd, moved above the standard streams; close-on-exec. */
int uapi_fd_above_stdio(int fd);
/* For what is kept for a client: @fd, or -errno as it is; -ENFILE and closed when so many are open
 * that what a request needs for a moment could be missing.  Any thread. */
int uapi_fd_to_keep(int fd);
/* The state letter of a process in /proc/PID/stat ('T' stopped, 'Z' zombie …), 0 when it is gone.
 */
char uapi_process_state(pid_t pid);
/* Is thread @tid about to die, whatever it waits for?  Also true when it has gone. */
bool uapi_process_dying(pid_t tid);
/* The direct children of this process, at most @max; how many. */
unsigned uapi_children(pid_t *out, unsigned max);
/* Kill every child but @except with SIGKILL and wait for it, and for those that are inherited by
 * this (a child subreaper); returns when none is left. */
void uapi_kill_children(const pid_t *except, unsigned nr);
/* The text of a small file without its newline; false when it cannot be read. */
bool uapi_read_line(const char *path, char *buf, size_t size);

#endif
