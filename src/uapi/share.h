/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who keeps receivers waiting.
 *
 * A request may take as long as its process likes: its memory may be a userfaultfd's, its paths may
 * lead into a file system of its own.  Each such request costs a thread, so a process has a share
 * of them at a time: 32 while few are taken, 8 from a quarter on, one when half of all are.  What
 * it asks for beyond that is put aside until one of its own is done: it waits for itself, nobody
 * else does, and no call gets an error that the kernel would not give.
 *
 * Any thread; nothing here waits.
 */
#ifndef UVFIO_UAPI_SHARE_H
#define UVFIO_UAPI_SHARE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct uapi_shares;
struct seccomp_notif;

/* @max: requests that may be slow at a time, of all processes; @size: of a notification; @alive: is
 * this one still waited for?  Must not wait. */
struct uapi_shares *uapi_shares_new(unsigned max, size_t size,
				    bool (*alive)(void *arg, const struct seccomp_notif *notif),
				    void *arg);
void uapi_shares_free(struct uapi_shares *shares);

/* A request of process @pid is slow, or may be. */
bool uapi_shares_charge(struct uapi_shares *shares, pid_t pid);
/* It is done. */
void uapi_shares_discharge(struct uapi_shares *shares, pid_t pid);

/* Might a request have to be put aside?  Cheap. */
bool uapi_shares_crowded(const struct uapi_shares *shares);
/* Put @notif aside if its process @pid has its share, or all are taken.  False: handle it now.
 * Those put aside are no more than there are tasks: what is dead is swept out. */
bool uapi_shares_put_aside(struct uapi_shares *shares, pid_t pid,
			   const struct seccomp_notif *notif);
/* Take the oldest that may go now, charged to its process *@pid.  False: there is none. */
bool uapi_shares_take(struct uapi_shares *shares, struct seccomp_notif *notif, pid_t *pid);

#endif
