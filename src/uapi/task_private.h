/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is kept of a task, shared by task.c (its memory and paths) and task_fd.c (its descriptors).
 */
#ifndef UVFIO_UAPI_TASK_PRIVATE_H
#define UVFIO_UAPI_TASK_PRIVATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "uapi/task.h"

#define NOTED_FDS 1024 /* numbers that uapi_task_note_fd() remembers */

enum {
	PIDFD_NOT_ASKED = -1,
	PIDFD_NONE = -2, /* the kernel gives none that would do */
};

/* Of one task.  None of these descriptors ever leads to another one that was given its number. */
struct task_kept {
	pid_t tid;
	int proc, fds; /* O_PATH directories /proc/TID, /proc/TID/fd */
	atomic_uint refs;
	atomic_int pidfd;    /* or PIDFD_… */
	atomic_bool refused; /* no descriptor of it can be copied */
	_Atomic uint64_t noted[NOTED_FDS / 64];
};

/* What is kept of @tid, with a reference; NULL with errno.  @stale: one that led nowhere. */
struct task_kept *task_kept_get(struct uapi_tasks *tasks, pid_t tid, struct task_kept *stale);
/* NULL is allowed. */
void task_kept_put(struct task_kept *kept);
/* Does it still lead to a living task? */
bool task_kept_alive(const struct task_kept *kept);

#endif
