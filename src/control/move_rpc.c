/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `migrate`, `save`, `restore`, `migrate_cancel` and `resume`: an operator moves a device.
 *
 * The stream comes along with the request, connected or opened by whoever asks: the server may open
 * nothing.  A move is a job; while it is under way it is in control->moves, under job_lock, so that
 * it can be cancelled and looked at.  Who asks for progress is told by notifications, which a timer
 * of the context's sends.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "control/jobs.h"
#include "control/move.h"
#include "vfio/move.h"

#define PROGRESS_NS 250000000u
#define TIME_MAX    86400000000000u /* ns: a day */
#define RATE_MAX    (1ull << 50)

struct move_job {
	LIST_ENTRY(move_job) next; /* of control->moves */
	struct job *job;
	struct move move;
	bool restores;
	bool progress;       /* its client wants to know */
	bool listed;         /* and the worker has not done with it; job_lock */
	uint64_t told_bytes; /* when it was told last; the context's */
	uint64_t told_ns;
	uint64_t rate;
};

void move_job_free(struct move_job *m)
{
	if (!m)
		return;
	move_fini(&m->move);
	free(m);
}

/* ---- progress ---- */

static void put_progress(struct json_object *out, const struct move_job *m)
{
	struct move_progress *p = (struct move_progress *)(uintptr_t)&m->move.progress;
	uint64_t now = uvfio_now_ns(), still = atomic_load(&p->still_ns);
	uint64_t began = atomic_load(&p->began_ns), ended = atomic_load(&p->ended_ns);

	if (!ended)
		ended = now;
	json_put_string(out, "device", m->job->device);
	json_put_string(out, "what", m->restores ? "restore" : "migrate");
	json_put_string(out, "step", move_step_name(atomic_load(&p->step)));
	json_put_uint(out, "bytes", atomic_load(&p->bytes));
	json_put_uint(out, "bytes_left", atomic_load(&p->left));
	json_put_uint(out, "passes", atomic_load(&p->passes));
	json_put_uint(out, "rate", m->rate);
	json_put_uint(out, "time_ns", began && ended > began ? ended - began : 0);
	json_put_uint(out, "downtime_ns", still && ended > still ? ended - still : 0);
}

/* Bytes a second since the last time.  In the context. */
static void measure(struct move_job *m, uint64_t now)
{
	uint64_t bytes = atomic_load(&m->move.progress.bytes);

	if (m->told_ns && now > m->told_ns)
		m->rate = (uint64_t)((unsigned __int128)(bytes - m->told_bytes) * 1000000000 /
				     (now - m->told_ns));
	m->told_bytes = bytes;
	m->told_ns = now;
}

static void tell(struct move_job *m)
{
	struct client *client = m->job->call->client;
	struct json_object *note, *params;

	if (!m->progress || client->fd < 0 || client_blocked(client))
		return;
	note = json_object_new_object();
	params = json_object_new_object();
	json_put_string(note, "jsonrpc", "2.0");
	json_put_string(note, "method", "progress");
	put_progress(params, m);
	json_put(note, "params", params);
	client_send(client, note);
	json_object_put(note);
}

/* Moves are freed in the context only, so that those in the list stay. */
static void on_timer(void *arg)
{
	struct control *control = arg;
	struct move_job *moves[MAX_JOBS], *m;
	uint64_t now = uvfio_now_ns();
	unsigned n = 0;

	pthread_mutex_lock(&control->job_lock);
	LIST_FOREACH(m, &control->moves, next)
	moves[n++] = m;
	pthread_mutex_unlock(&control->job_lock);
	for (unsigned i = 0; i < n; i++) {
		measure(moves[i], now);
		tell(moves[i]);
	}
	if (n)
		uvfio_timer_arm(control->move_timer, PROGRESS_NS);
}

static struct move_job *find_locked(struct control *control, const char *device)
{
	struct move_job *m;

	LIST_FOREACH(m, &control->moves, next)
	{
		if (!strcmp(m->job->device, device))
			break;
	}
	return m;
}

void json_put_move(struct json_object *out, struct control *control, struct vfio_device *dev)
{
	enum vfio_place place = vfio_device_place(dev);
	struct json_object *move;
	struct move_job *m;

	if (place == VFIO_HERE)
		return;
	move = json_object_new_object();
	json_put_string(move, "place", vfio_place_name(place));
	pthread_mutex_lock(&control->job_lock);
	m = find_locked(control, vfio_device_name(dev));
	if (m)
		put_progress(move, m);
	pthread_mutex_unlock(&control->job_lock);
	json_put(out, "move", move);
}

/* ---- the job ---- */

int moves_init(struct control *control)
{
	LIST_INIT(&control->moves);
	control->move_timer = uvfio_ctx_timer_new(control->ctx, on_timer, control);
	return control->move_timer ? 0 : -ENOMEM;
}

void moves_cancel_locked(struct control *control)
{
	struct move_job *m;

	LIST_FOREACH(m, &control->moves, next)
	{
		if (m->listed)
			move_cancel(&m->move, true);
	}
}

void moves_fini(struct control *control)
{
	uvfio_timer_free(control->move_timer);
}

/* It has gone: nobody is to be answered here. */
static void hang_up(void *arg, struct vfio_device *dev)
{
	const struct control *control = arg;

	if (control->ops->hang_up)
		control->ops->hang_up(control->ops_arg, vfio_device_name(dev));
}

/* In a worker. */
static int do_move(struct job *job, struct uvfio_error *err)
{
	struct move_job *m = job->move;
	struct move *move = &m->move;
	int ret;

	move->dev = vfio_machine_get_device(job->control->machine, job->device);
	if (!move->dev)
		return uvfio_error_set(err, -ENODEV, "%s has been removed", job->device);
	ret = m->restores ? move_receive(move, err) : move_send(move, err);
	vfio_device_put(move->dev);
	return ret;
}

static void run_move(struct job *job)
{
	struct move_job *m = job->move;
	int ret = do_move(job, &job->err.msg);

	/* Nobody is to be woken any more who has gone. */
	pthread_mutex_lock(&job->control->job_lock);
	m->listed = false;
	pthread_mutex_unlock(&job->control->job_lock);
	if (!ret)
		return;
	job->err.code = RPC_FAILED;
	job->err.error = ret;
}

struct json_object *move_job_done(struct move_job *m)
{
	struct control *control = m->job->control;
	struct json_object *result = NULL;

	pthread_mutex_lock(&control->job_lock);
	LIST_REMOVE(m, next);
	pthread_mutex_unlock(&control->job_lock);
	if (!m->job->err.code) {
		result = json_object_new_object();
		put_progress(result, m);
	}
	return result;
}

static bool take_options(struct json_object *params, struct move_job *m, struct rpc_error *err)
{
	struct move_options *o = &m->move.options;

	o->downtime_ns = MOVE_DOWNTIME_NS;
	return param_uint(params, "bandwidth", RATE_MAX, &o->bandwidth, err) &&
	       param_uint(params, "downtime_ns", TIME_MAX, &o->downtime_ns, err) &&
	       param_uint(params, "timeout_ns", TIME_MAX, &o->timeout_ns, err) &&
	       param_bool(params, "force", &o->again, err) &&
	       param_bool(params, "progress", &m->progress, err);
}

static bool prepare(struct job *job, struct move_job *m, struct json_object *params,
		    struct rpc_error *err)
{
	struct move *move = &m->move;

	if (!job_take_fds(job, params, err))
		return false;
	if (job->nr_fds != 1) {
		rpc_fail(err, RPC_INVALID_PARAMS, -EINVAL,
			 "one file comes along: a connected socket to the other side, or a file, "
			 "as {\"key\": \"stream\"}");
		return false;
	}
	if (!take_options(params, m, err))
		return false;
	move->fd = job->fds[0].fd;
	move->gone = hang_up;
	move->arg = job->control;
	err->error = move_init(move, &err->msg);
	err->code = err->error ? RPC_INVALID_PARAMS : 0;
	return !err->code;
}

static struct json_object *start(struct call *call, struct json_object *params, bool restores,
				 struct rpc_error *err)
{
	struct job *job = job_for_device(call, params, run_move, err);
	struct control *control = call->client->control;
	struct move_job *m;

	if (!job)
		return NULL;
	m = calloc(1, sizeof(*m));
	if (m) {
		m->move.cancel_fd = -1;
		m->job = job;
		m->restores = restores;
		job->move = m;
	} else {
		rpc_fail(err, RPC_INTERNAL_ERROR, -ENOMEM, "out of memory");
	}
	if (!m || !prepare(job, m, params, err)) {
		job_free(job);
		return NULL;
	}
	pthread_mutex_lock(&control->job_lock);
	LIST_INSERT_HEAD(&control->moves, m, next);
	m->listed = true;
	pthread_mutex_unlock(&control->job_lock);
	uvfio_timer_arm(control->move_timer, PROGRESS_NS);
	job_start(job);
	return NULL;
}

struct json_object *method_migrate(struct call *call, struct json_object *params,
				   struct rpc_error *err)
{
	return start(call, params, false, err);
}

struct json_object *method_restore(struct call *call, struct json_object *params,
				   struct rpc_error *err)
{
	return start(call, params, true, err);
}

/* ---- cancel ---- */

struct json_object *method_migrate_cancel(struct call *call, struct json_object *params,
					  struct rpc_error *err)
{
	struct control *control = call->client->control;
	struct vfio_device *dev = param_device(call->client, params, err);
	struct json_object *result;
	struct move_job *m;
	bool found = false;

	if (!dev)
		return NULL;
	pthread_mutex_lock(&control->job_lock);
	LIST_FOREACH(m, &control->moves, next)
	{
		if (!m->listed || strcmp(m->job->device, vfio_device_name(dev)))
			continue;
		found = true;
		move_cancel(&m->move, false);
	}
	pthread_mutex_unlock(&control->job_lock);
	result = NULL;
	if (found) {
		result = json_object_new_object();
		json_put_string(result, "device", vfio_device_name(dev));
	} else {
		rpc_fail(err, RPC_FAILED, -EINVAL, "%s is not being moved", vfio_device_name(dev));
	}
	vfio_device_put(dev);
	return result;
}

/* ---- resume ---- */

static void run_resume(struct job *job)
{
	struct vfio_device *dev = vfio_machine_get_device(job->control->machine, job->device);

	if (!dev) {
		rpc_fail(&job->err, RPC_NO_DEVICE, -ENODEV, "%s has been removed", job->device);
		return;
	}
	if (!job->here)
		hang_up(job->control, dev);
	job->err.error = vfio_device_resume(dev, job->here, &job->err.msg);
	job->err.code = job->err.error ? RPC_FAILED : 0;
	vfio_device_put(dev);
}

struct json_object *method_resume(struct call *call, struct json_object *params,
				  struct rpc_error *err)
{
	bool force = false, gone = false;
	struct vfio_device *dev;
	enum vfio_place place;
	struct job *job;

	if (!param_bool(params, "force", &force, err) || !param_bool(params, "gone", &gone, err))
		return NULL;
	dev = param_device(call->client, params, err);
	if (!dev)
		return NULL;
	place = vfio_device_place(dev);
	vfio_device_put(dev);
	if (place != VFIO_IN_DOUBT)
		return rpc_fail(err, RPC_FAILED, -EINVAL, "there is no doubt about where it is: %s",
				vfio_place_name(place));
	if (force == gone)
		return rpc_fail(
			err, RPC_FAILED, -EBUSY,
			"the other side may have it, and then it would be there twice: look "
			"there, and then say \"force\" if it is to be here, \"gone\" if not");
	job = job_for_device(call, params, run_resume, err);
	if (!job)
		return NULL;
	job->here = force;
	job_start(job);
	return NULL;
}
