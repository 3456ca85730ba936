/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What waits: reset, add and remove.  Each is a job for a worker thread; workers are made as they
 * are needed and stay, as many as there may be jobs, so that a device whose user does not let go of
 * it holds up no other.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/wait.h"
#include "control/jobs.h"
#include "vfio/inject.h"
#include "vfio/token.h"

/* In a worker. */
static void close_files(struct job *job)
{
	for (unsigned i = 0; i < job->nr_fds; i++)
		close(job->fds[i].fd);
	job->nr_fds = 0;
}

void job_free(struct job *job)
{
	for (unsigned i = 0; i < job->nr_fds; i++)
		uvfio_trash_close(job->control->trash, job->fds[i].fd);
	json_object_put(job->fds_json);
	move_job_free(job->move);
	vfio_token_wipe_text(job->spec);
	free(job->spec);
	free(job);
}

/* ---- workers ---- */

static void *worker(void *arg)
{
	struct control *control = arg;
	struct job *job;

	pthread_mutex_lock(&control->job_lock);
	for (;;) {
		while (!control->waiting && !control->no_more_jobs) {
			control->nr_idle++;
			pthread_cond_wait(&control->job_cond, &control->job_lock);
			control->nr_idle--;
		}
		job = control->waiting;
		if (!job)
			break;
		control->waiting = job->next;
		control->nr_waiting--;
		if (!control->waiting)
			control->waiting_tail = &control->waiting;
		pthread_mutex_unlock(&control->job_lock);
		job->run(job);
		close_files(job); /* here, because closing a client's file may take long */
		pthread_mutex_lock(&control->job_lock);
		job->next = control->done;
		control->done = job;
		uvfio_ctx_post(control->ctx, &control->done_work);
	}
	pthread_mutex_unlock(&control->job_lock);
	return NULL;
}

/* In the context: answer what is done. */
static void finish_jobs(struct uvfio_work *work)
{
	struct control *control =
		(struct control *)((char *)work - offsetof(struct control, done_work));
	struct job *job, *next;

	pthread_mutex_lock(&control->job_lock);
	job = control->done;
	control->done = NULL;
	pthread_mutex_unlock(&control->job_lock);
	for (; job; job = next) {
		struct json_object *result = NULL;

		next = job->next;
		if (job->move) {
			result = move_job_done(job->move);
		} else if (!job->err.code) {
			result = json_object_new_object();
			if (job->device[0])
				json_put_string(result, "device", job->device);
			if (job->outcome)
				json_put_string(result, "outcome", job->outcome);
			if (job->setting) {
				json_put_string(result, "name", job->setting->name);
				json_put_string(result, "value", job->value);
			}
		}
		control->nr_jobs--;
		job->call->client->nr_jobs--;
		call_finish(job->call, result, &job->err);
		job_free(job);
	}
}

void jobs_init(struct control *control)
{
	pthread_mutex_init(&control->job_lock, NULL);
	pthread_cond_init(&control->job_cond, NULL);
	control->waiting_tail = &control->waiting;
	LIST_INIT(&control->awaiting);
	control->done_work.fn = finish_jobs;
}

void jobs_stop(struct control *control)
{
	struct job *job;

	pthread_mutex_lock(&control->job_lock);
	control->no_more_jobs = true;
	moves_cancel_locked(control);
	LIST_FOREACH(job, &control->awaiting, await)
	uvfio_wait_give_up(job->wait);
	pthread_cond_broadcast(&control->job_cond);
	pthread_mutex_unlock(&control->job_lock);
	for (unsigned i = 0; i < control->nr_workers; i++)
		pthread_join(control->workers[i], NULL);
}

struct job *job_new(struct call *call, void (*run)(struct job *job), struct rpc_error *err)
{
	struct control *control = call->client->control;
	struct job *job;

	if (control->nr_jobs >= MAX_JOBS || call->client->nr_jobs >= MAX_CLIENT_JOBS) {
		rpc_fail(err, RPC_BUSY, -EBUSY, "too many operations wait already; try again");
		return NULL;
	}
	job = calloc(1, sizeof(*job));
	if (!job) {
		rpc_fail(err, RPC_INTERNAL_ERROR, -ENOMEM, "out of memory");
		return NULL;
	}
	job->call = call;
	job->control = control;
	job->run = run;
	return job;
}

void job_start(struct job *job)
{
	struct control *control = job->control;

	job->call->later = true;
	control->nr_jobs++;
	job->call->client->nr_jobs++;
	pthread_mutex_lock(&control->job_lock);
	*control->waiting_tail = job;
	control->waiting_tail = &job->next;
	/* One that was woken counts as idle until it runs. */
	if (control->nr_idle >= ++control->nr_waiting)
		pthread_cond_signal(&control->job_cond);
	else if (control->nr_workers < MAX_WORKERS &&
		 !pthread_create(&control->workers[control->nr_workers], NULL, worker, control))
		control->nr_workers++;
	if (!control->nr_workers) {
		/* No thread is to be had at all. */
		control->waiting = NULL;
		control->nr_waiting = 0;
		control->waiting_tail = &control->waiting;
		rpc_fail(&job->err, RPC_INTERNAL_ERROR, -EAGAIN, "no thread can be made");
		job->next = control->done;
		control->done = job;
		uvfio_ctx_post(control->ctx, &control->done_work);
	}
	pthread_mutex_unlock(&control->job_lock);
}

int job_await(struct job *job, struct uvfio_wait *wait)
{
	struct control *control = job->control;
	int ret;

	pthread_mutex_lock(&control->job_lock);
	job->wait = wait;
	LIST_INSERT_HEAD(&control->awaiting, job, await);
	if (control->no_more_jobs)
		uvfio_wait_give_up(wait);
	pthread_mutex_unlock(&control->job_lock);
	ret = uvfio_wait_for(wait);
	pthread_mutex_lock(&control->job_lock);
	LIST_REMOVE(job, await);
	pthread_mutex_unlock(&control->job_lock);
	uvfio_wait_put(wait);
	return ret;
}

/* ---- reset ---- */

static void run_reset(struct job *job)
{
	struct vfio_device *dev = vfio_machine_get_device(job->control->machine, job->device);
	int ret;

	if (!dev) {
		rpc_fail(&job->err, RPC_NO_DEVICE, -ENODEV, "%s has been removed", job->device);
		return;
	}
	ret = vfio_device_host_reset(dev);
	vfio_device_put(dev);
	if (ret == -ENOTTY)
		rpc_fail(
			&job->err, RPC_FAILED, ret,
			"%s cannot be reset alone: it has no function level reset, and other functions share its slot",
			job->device);
	else if (ret)
		rpc_fail(&job->err, RPC_FAILED, ret, "%s: the reset failed: %s", job->device,
			 strerror(-ret));
}

struct job *job_for_device(struct call *call, struct json_object *params,
			   void (*run)(struct job *job), struct rpc_error *err)
{
	struct vfio_device *dev = param_device(call->client, params, err);
	struct job *job;

	if (!dev)
		return NULL;
	job = job_new(call, run, err);
	if (job)
		snprintf(job->device, sizeof(job->device), "%s", vfio_device_name(dev));
	vfio_device_put(dev);
	return job;
}

struct json_object *method_reset(struct call *call, struct json_object *params,
				 struct rpc_error *err)
{
	struct job *job = job_for_device(call, params, run_reset, err);

	if (job)
		job_start(job);
	return NULL;
}

/* ---- inject ---- */

static void run_aer(struct job *job)
{
	struct vfio_device *dev = vfio_machine_get_device(job->control->machine, job->device);
	enum vfio_aer_outcome outcome;
	int ret;

	if (!dev) {
		rpc_fail(&job->err, RPC_NO_DEVICE, -ENODEV, "%s has been removed", job->device);
		return;
	}
	ret = vfio_device_inject_aer(dev, &job->aer, &outcome, &job->err.msg);
	vfio_device_put(dev);
	if (!ret) {
		job->outcome = vfio_aer_outcomes[outcome];
		return;
	}
	job->err.code = RPC_FAILED;
	job->err.error = ret;
}

static void run_storm(struct job *job)
{
	struct vfio_device *dev = vfio_machine_get_device(job->control->machine, job->device);

	if (!dev) {
		rpc_fail(&job->err, RPC_NO_DEVICE, -ENODEV, "%s has been removed", job->device);
		return;
	}
	job->err.error = vfio_device_inject_irqs(dev, job->count, &job->err.msg);
	job->err.code = job->err.error ? RPC_FAILED : 0;
	vfio_device_put(dev);
}

static void run_wake(struct job *job)
{
	struct vfio_device *dev = vfio_machine_get_device(job->control->machine, job->device);

	if (!dev) {
		rpc_fail(&job->err, RPC_NO_DEVICE, -ENODEV, "%s has been removed", job->device);
		return;
	}
	job->outcome = vfio_device_inject_wake(dev) ? "woken" : "awake";
	vfio_device_put(dev);
}

static void inject_aer(struct call *call, struct json_object *params, struct rpc_error *err)
{
	const char *name = NULL;
	struct vfio_aer aer;
	struct job *job;

	if (!param_string(params, "error", &name, err))
		return;
	if (!name) {
		rpc_fail(err, RPC_INVALID_PARAMS, -EINVAL,
			 "\"error\" is missing: the name of an error, like CmpltTO or BadTLP");
		return;
	}
	if (vfio_aer_parse(name, &aer, &err->msg)) {
		err->code = RPC_INVALID_PARAMS;
		err->error = -EINVAL;
		return;
	}
	job = job_for_device(call, params, run_aer, err);
	if (!job)
		return;
	job->aer = aer;
	job_start(job);
}

/* The others: nothing here waits. */
static struct json_object *inject(struct vfio_device *dev, const char *what, uint64_t count,
				  uint64_t ns, struct rpc_error *err)
{
	struct json_object *result;

	if (!strcmp(what, "fault")) {
		vfio_device_inject_faults(dev, (unsigned)count);
	} else if (!strcmp(what, "stuck-reset")) {
		vfio_device_inject_stuck_resets(dev, (unsigned)count, ns ? ns : 1000000000);
	} else if (!strcmp(what, "slow-mmio")) {
		vfio_device_inject_slow_mmio(dev, ns ? ns : 1000000);
	} else if (!strcmp(what, "nothing")) {
		vfio_device_inject_nothing(dev);
	} else {
		rpc_fail(err, RPC_INVALID_PARAMS, -EINVAL,
			 "'%s' cannot be injected; what can: aer, fault, irq-storm, slow-mmio, "
			 "stuck-reset, wake, nothing (which ends the others)",
			 what);
	}
	if (err->code)
		return NULL;
	result = json_object_new_object();
	json_put_string(result, "device", vfio_device_name(dev));
	return result;
}

struct json_object *method_inject(struct call *call, struct json_object *params,
				  struct rpc_error *err)
{
	uint64_t count = 1, ns = 0;
	struct json_object *result;
	const char *what = NULL;
	struct vfio_device *dev;

	if (!param_string(params, "what", &what, err) ||
	    !param_uint(params, "count", VFIO_STORM_MAX, &count, err) ||
	    !param_uint(params, "time_ns", VFIO_STUCK_MAX_NS, &ns, err))
		return NULL;
	if (!what)
		return rpc_fail(err, RPC_INVALID_PARAMS, -EINVAL,
				"\"what\" is missing: aer, fault, irq-storm, slow-mmio, "
				"stuck-reset, wake or nothing");
	if (!strcmp(what, "aer")) {
		inject_aer(call, params, err);
		return NULL;
	}
	if (!strcmp(what, "irq-storm") || !strcmp(what, "wake")) {
		struct job *job =
			job_for_device(call, params, *what == 'w' ? run_wake : run_storm, err);

		if (job) {
			job->count = (unsigned)count;
			job_start(job);
		}
		return NULL;
	}
	dev = param_device(call->client, params, err);
	if (!dev)
		return NULL;
	result = inject(dev, what, count, ns, err);
	vfio_device_put(dev);
	return result;
}

/* ---- remove ---- */

static void run_remove(struct job *job)
{
	const struct control *control = job->control;
	int ret = control->ops->remove(control->ops_arg, job->device, job->how, &job->err.msg);

	if (ret) {
		job->err.code = RPC_FAILED;
		job->err.error = ret;
	}
}

/* A machine whose devices stay until it ends: one that is pulled out is no longer of use, and that
 * is all that happens. */
static struct json_object *pull(struct call *call, struct json_object *params,
				struct rpc_error *err)
{
	struct vfio_device *dev = param_device(call->client, params, err);
	struct json_object *result = NULL;

	if (!dev)
		return NULL;
	err->error =
		vfio_machine_remove_device(call->client->control->machine, vfio_device_name(dev),
					   VFIO_REMOVE_SURPRISE, NULL, NULL, &err->msg);
	err->code = err->error ? RPC_FAILED : 0;
	if (!err->code) {
		result = json_object_new_object();
		json_put_string(result, "device", vfio_device_name(dev));
	}
	vfio_device_put(dev);
	return result;
}

struct json_object *method_remove(struct call *call, struct json_object *params,
				  struct rpc_error *err)
{
	const struct control *control = call->client->control;
	bool force = false, surprise = false;
	struct job *job;

	if (!param_bool(params, "force", &force, err) ||
	    !param_bool(params, "surprise", &surprise, err))
		return NULL;
	if (force && surprise)
		return rpc_fail(err, RPC_INVALID_PARAMS, -EINVAL,
				"\"force\" and \"surprise\": give one of them");
	if (!control->ops->remove && surprise)
		return pull(call, params, err);
	if (!control->ops->remove)
		return rpc_fail(err, RPC_UNSUPPORTED, -EOPNOTSUPP,
				"devices of `uvfio %s` stay until it ends; "
				"what can be done is --surprise, which pulls one out",
				control->command);
	job = job_for_device(call, params, run_remove, err);
	if (!job)
		return NULL;
	job->how = surprise ? CONTROL_SURPRISE : force ? CONTROL_FORCE : CONTROL_ASK;
	job_start(job);
	return NULL;
}

/* ---- add ---- */

static void run_add(struct job *job)
{
	const struct control *control = job->control;
	struct control_add add = {job->spec, job->fds, job->nr_fds};
	int ret = control->ops->add(control->ops_arg, &add, job->device, &job->err.msg);

	if (ret) {
		job->err.code = RPC_FAILED;
		job->err.error = ret;
	}
}

/* [{"key": K, "value": V}, …], in the order in which the files were sent. */
bool job_take_fds(struct job *job, struct json_object *params, struct rpc_error *err)
{
	struct client *client = job->call->client;
	struct json_object *list;
	size_t n;

	if (!json_object_object_get_ex(params, "fds", &list))
		return true;
	if (!json_object_is_type(list, json_type_array) ||
	    json_object_array_length(list) > MAX_FDS) {
		rpc_fail(err, RPC_INVALID_PARAMS, -EINVAL, "\"fds\" must be an array of at most %u",
			 MAX_FDS);
		return false;
	}
	n = json_object_array_length(list);
	if (n > client->nr_fds) {
		rpc_fail(err, RPC_INVALID_PARAMS, -EBADF,
			 "\"fds\" names %zu files, but %u came with the request", n,
			 client->nr_fds);
		return false;
	}
	job->fds_json = json_object_get(list);
	for (size_t i = 0; i < n; i++) {
		struct json_object *entry = json_object_array_get_idx(list, i);
		struct control_fd *fd = &job->fds[i];

		fd->key = fd->value = NULL;
		if (!json_object_is_type(entry, json_type_object) ||
		    !param_string(entry, "key", &fd->key, err) ||
		    !param_string(entry, "value", &fd->value, err) || !fd->key) {
			rpc_fail(
				err, RPC_INVALID_PARAMS, -EINVAL,
				"an entry of \"fds\" looks like {\"key\": \"file\", \"value\": \"disk.img\"}");
			return false;
		}
		if (!fd->value)
			fd->value = "";
	}
	for (size_t i = 0; i < n; i++)
		job->fds[i].fd = client->fds[i];
	job->nr_fds = (unsigned)n;
	client->nr_fds -= (unsigned)n;
	memmove(client->fds, client->fds + n, client->nr_fds * sizeof(client->fds[0]));
	return true;
}

struct json_object *method_add(struct call *call, struct json_object *params, struct rpc_error *err)
{
	const struct control *control = call->client->control;
	const char *spec;
	struct job *job;

	if (!control->ops->add)
		return rpc_fail(err, RPC_UNSUPPORTED, -EOPNOTSUPP,
				"devices cannot be added to `uvfio %s` while it runs",
				control->command);
	if (!param_string(params, "device", &spec, err))
		return NULL;
	if (!spec)
		return rpc_fail(
			err, RPC_INVALID_PARAMS, -EINVAL,
			"\"device\" is missing: a model and its options, like nvme,memory=64M");
	job = job_new(call, run_add, err);
	if (!job)
		return NULL;
	job->spec = strdup(spec);
	if (!job->spec)
		rpc_fail(err, RPC_INTERNAL_ERROR, -ENOMEM, "out of memory");
	if (!job->spec || !job_take_fds(job, params, err)) {
		job_free(job);
		return NULL;
	}
	job_start(job);
	return NULL;
}

/* ---- join ---- */

static void run_join(struct job *job)
{
	const struct control *control = job->control;
	int sock = job->fds[0].fd, ret;

	job->nr_fds = 0; /* it is taken */
	ret = control->ops->join(control->ops_arg, sock, job->uid, &job->err.msg);
	if (ret) {
		job->err.code = RPC_FAILED;
		job->err.error = ret;
	}
}

struct json_object *method_join(struct call *call, struct json_object *params,
				struct rpc_error *err)
{
	const struct control *control = call->client->control;
	struct job *job;

	if (!control->ops->join)
		return rpc_fail(
			err, RPC_UNSUPPORTED, -EOPNOTSUPP,
			"the machine of `uvfio %s` is its own; one that programs can join is "
			"what `uvfio serve` has",
			control->command);
	job = job_new(call, run_join, err);
	if (!job)
		return NULL;
	job->uid = call->client->uid;
	if (job_take_fds(job, params, err) && job->nr_fds == 1) {
		job_start(job);
		return NULL;
	}
	if (!err->code)
		rpc_fail(err, RPC_INVALID_PARAMS, -EINVAL,
			 "one file comes with `join`: a socket, as {\"key\": \"channel\"}");
	job_free(job);
	return NULL;
}
