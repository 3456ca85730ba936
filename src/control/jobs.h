/* SPDX-License-Identifier: BSD-3-Clause */
/* What waits: see jobs.c.  Private to src/control. */
#ifndef UVFIO_CONTROL_JOBS_H
#define UVFIO_CONTROL_JOBS_H

#include "control/control_private.h"
#include "vfio/inject.h"

struct job;
struct uvfio_wait;
struct move_job;

/* Something that can be set on a device (set.c). */
struct setting {
	const char *name;
	/* In a worker, may wait: 0, or -errno, with a message in job->err or without. */
	int (*set)(struct job *job, struct vfio_device *dev);
};

#define SETTING_VALUE 32u /* bytes with the 0 */

struct job {
	struct job *next;
	struct call *call;
	struct control *control;
	void (*run)(struct job *job); /* in a worker */
	/* What it is about, and what came of it. */
	char device[16]; /* "": no device */
	uid_t uid;       /* of who joins */
	char *spec;
	enum control_removal how;
	struct vfio_aer aer; /* what is injected */
	unsigned count;
	const struct setting *setting; /* what is set, */
	char value[SETTING_VALUE];     /* to this */
	struct uvfio_wait
		*wait; /* what the worker waits for, while it is in ->awaiting: job_lock */
	LIST_ENTRY(job) await;
	const char *outcome; /* of it, a literal; NULL: nothing to tell */
	struct control_fd fds[MAX_FDS];
	struct move_job *move;        /* migrate and restore (move_rpc.c); NULL: it is neither */
	bool here;                    /* resume */
	struct json_object *fds_json; /* what the strings in @fds belong to */
	unsigned nr_fds;
	struct rpc_error err;
};

/* A job of @call that @run does in a worker; NULL with @err.  job_start(), or job_free(). */
struct job *job_new(struct call *call, void (*run)(struct job *job), struct rpc_error *err);
/* The same about the device that the parameters name. */
struct job *job_for_device(struct call *call, struct json_object *params,
			   void (*run)(struct job *job), struct rpc_error *err);
void job_free(struct job *job);
/* The files that the parameter "fds" names are the job's from here on; false, with @err. */
bool job_take_fds(struct job *job, struct json_object *params, struct rpc_error *err);
/* It is the worker's from now on, and the call is answered when it is done. */
void job_start(struct job *job);
/* In a worker: wait for @wait, which is taken.  Its result, or -EINTR: control ends. */
int job_await(struct job *job, struct uvfio_wait *wait);

/* ---- move_rpc.c ---- */

void move_job_free(struct move_job *m);
/* In the context: it is done.  What is to be answered, unless it has failed. */
struct json_object *move_job_done(struct move_job *m);
int moves_init(struct control *control); /* 0 or -ENOMEM */
/* Control ends: so do they.  job_lock held. */
void moves_cancel_locked(struct control *control);
void moves_fini(struct control *control); /* in the context */

#endif
