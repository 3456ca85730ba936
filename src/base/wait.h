/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Waiting for something that calls back when it is done, which may be never: who waits can be told
 * to give up.  Two have it, who waits and who calls back, and it goes with the last of them.  Any
 * thread.
 */
#ifndef UVFIO_BASE_WAIT_H
#define UVFIO_BASE_WAIT_H

struct uvfio_wait;

/* NULL when out of memory. */
struct uvfio_wait *uvfio_wait_new(void);
/* What is to be called back; @wait is a struct uvfio_wait.  Once. */
void uvfio_wait_done(void *wait, int result);
/* Nobody will call back. */
void uvfio_wait_cancel(struct uvfio_wait *wait);
/* The result, or -EINTR when it was given up before. */
int uvfio_wait_for(struct uvfio_wait *wait);
/* By a third, who knows that who waits still has it. */
void uvfio_wait_give_up(struct uvfio_wait *wait);
/* Who waited does not look at it any more. */
void uvfio_wait_put(struct uvfio_wait *wait);

#endif
