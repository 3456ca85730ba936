/* SPDX-License-Identifier: BSD-3-Clause */
/* Make and free a machine, and run it.  See own.h. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include "base/guard.h"
#include "base/thread.h"
#include "devices/models.h"
#include "machine/own.h"

int own_check(const struct uvfio_machine *machine, struct uvfio_error *err)
{
	if (machine->pid == getpid())
		return 0;
	return uvfio_error_set(err, -ECHILD,
			       "this machine belongs to process %d, of which this one is a copy; "
			       "make one here",
			       (int)machine->pid);
}

int own_enter(const struct uvfio_machine *machine, struct uvfio_error *err)
{
	int ret = own_check(machine, err);

	if (ret)
		return ret;
	if (uvfio_thread_inside())
		return uvfio_error_set(err, -EDEADLK,
				       "called from a callback, which would wait for itself; leave "
				       "it to a thread of the program's");
	uvfio_thread_enter();
	return 0;
}

void own_leave(void)
{
	uvfio_thread_leave();
}

/* ---- options ---- */

struct options {
	struct vfio_policy policy;
	bool caller;
	int log; /* an enum uvfio_log_level, -1: off */
	char name[64];
};

static int choose(const char *key, const char *value, const char *const *names, unsigned nr,
		  unsigned *out, struct uvfio_error *err)
{
	char list[128] = "";

	for (unsigned i = 0; i < nr; i++) {
		if (!strcmp(value, names[i])) {
			*out = i;
			return 0;
		}
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s",
			 !i            ? ""
			 : i == nr - 1 ? " or "
				       : ", ",
			 names[i]);
	}
	return uvfio_error_set(err, -EINVAL, "%s=%s: say %s", key, value, list);
}

static int set_option(struct options *o, char *text, struct uvfio_error *err)
{
	static const char *const levels[] = {"off", "error", "warn", "info", "debug"};
	static const char *const loops[] = {"own", "caller"};
	char *equals = strchr(text, '='), *value = equals ? equals + 1 : NULL;
	struct uvfio_error why = {""};
	unsigned n = 0;
	int ret;

	if (!value)
		return uvfio_error_set(err, -EINVAL, "option '%s' has no value: say %s=…", text,
				       text);
	if (!strncmp(text, "loop=", 5)) {
		ret = choose("loop", value, loops, 2, &n, err);
		o->caller = n;
		return ret;
	}
	if (!strncmp(text, "log=", 4)) {
		ret = choose("log", value, levels, 5, &n, err);
		o->log = (int)n - 1;
		return ret;
	}
	if (!strncmp(text, "name=", 5)) {
		if (!*value || strlen(value) >= sizeof(o->name))
			return uvfio_error_set(err, -EINVAL, "name=%s: 1 to %zu characters", value,
					       sizeof(o->name) - 1);
		strcpy(o->name, value);
		return 0;
	}
	ret = vfio_policy_set(&o->policy, text, &why);
	return ret ? uvfio_error_set(err, ret, "%s (or loop, log or name)", why.msg) : 0;
}

static int parse_options(struct options *o, const char *text, struct uvfio_error *err)
{
	char *copy, *save = NULL;
	int ret = 0;

	*o = (struct options){.log = UVFIO_LOG_WARN};
	vfio_policy_default(&o->policy);
	snprintf(o->name, sizeof(o->name), "%s", program_invocation_short_name);
	if (!text)
		return 0;
	copy = strdup(text);
	if (!copy)
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	for (char *part = strtok_r(copy, ",", &save); part && !ret;
	     part = strtok_r(NULL, ",", &save))
		ret = set_option(o, part, err);
	free(copy);
	return ret;
}

/* ---- make ---- */

/* All that can be left undone is: the thread that frees it is not in a callback, and nobody runs
 * it. */
static void release(struct uvfio_machine *machine)
{
	control_free(machine->control);
	wire_server_free(machine->wire);
	vfio_machine_free(machine->machine);
	if (machine->loop)
		uvfio_loop_stop(machine->loop);
}

static void free_rest(struct uvfio_machine *machine)
{
	uvfio_loop_free(machine->loop);
	uvfio_log_free(machine->log);
	if (machine->stop_fd >= 0)
		close(machine->stop_fd);
	while (machine->devices) {
		struct own_device *d = machine->devices;

		machine->devices = d->next;
		own_unlink(&d->socket);
		free(d);
	}
	own_unlink(&machine->control_socket);
	free(machine->models);
	pthread_cond_destroy(&machine->changed);
	pthread_mutex_destroy(&machine->lock);
	pthread_mutex_destroy(&machine->turn);
	free(machine);
}

static int make(struct uvfio_machine *machine, const struct options *o, struct uvfio_error *err)
{
	int ret = uvfio_guard_init();

	if (ret)
		return uvfio_error_set(err, ret, "installing the SIGBUS handler: %s",
				       strerror(-ret));
	machine->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (machine->stop_fd < 0)
		return uvfio_error_set(err, -errno, "making an eventfd: %s", strerror(errno));
	if (o->log >= 0) {
		machine->log = uvfio_log_new(2, (enum uvfio_log_level)o->log);
		if (!machine->log)
			return uvfio_error_set(err, -ENOMEM, "out of memory");
	}
	if (o->caller) {
		machine->loop = uvfio_loop_new_idle("uvfio", err);
		if (!machine->loop)
			return -EAGAIN;
	}
	machine->machine = vfio_machine_new(&o->policy, machine->log, err);
	if (!machine->machine)
		return -ENOMEM;
	if (machine->loop)
		vfio_machine_set_loop(machine->machine, machine->loop);
	for (unsigned i = 0; device_models[i]; i++) {
		ret = vfio_machine_add_model(machine->machine, device_models[i]);
		if (ret)
			return uvfio_error_set(err, ret, "model %s: %s", device_models[i]->name,
					       strerror(-ret));
	}
	machine->wire = wire_server_new_on(machine->machine, machine->loop, machine->log, err);
	return machine->wire ? 0 : -EAGAIN;
}

int uvfio_machine_new(const char *options, struct uvfio_machine **out, struct uvfio_error *err)
{
	struct uvfio_machine *machine;
	pthread_condattr_t attr;
	struct options o;
	int ret = parse_options(&o, options, err);

	if (ret)
		return ret;
	machine = calloc(1, sizeof(*machine));
	if (!machine)
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	machine->pid = getpid();
	machine->stop_fd = -1;
	memcpy(machine->name, o.name, sizeof(machine->name));
	pthread_mutex_init(&machine->turn, NULL);
	pthread_mutex_init(&machine->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&machine->changed, &attr);
	pthread_condattr_destroy(&attr);
	ret = make(machine, &o, err);
	if (ret) {
		release(machine);
		free_rest(machine);
		return ret;
	}
	*out = machine;
	return 0;
}

/* ---- free ---- */

static void *run_meanwhile(void *arg)
{
	uvfio_loop_run(((struct uvfio_machine *)arg)->loop);
	return NULL;
}

/* Nobody is in uvfio_machine_run() any more, or will be. */
static void end_run(struct uvfio_machine *machine)
{
	pthread_mutex_lock(&machine->lock);
	machine->ending = true;
	pthread_cond_broadcast(&machine->changed);
	while (machine->running) {
		pthread_mutex_unlock(&machine->lock);
		uvfio_machine_stop(machine);
		pthread_mutex_lock(&machine->lock);
		if (machine->running)
			pthread_cond_wait(&machine->changed, &machine->lock);
	}
	pthread_mutex_unlock(&machine->lock);
}

int uvfio_machine_free(struct uvfio_machine *machine)
{
	pthread_t thread;
	bool has_thread = false;
	int ret;

	if (!machine)
		return 0;
	ret = own_enter(machine, NULL);
	if (ret)
		return ret;
	end_run(machine);
	if (machine->loop) {
		/* To close connections, the loop has to run; a stop that nobody took is no more. */
		uvfio_loop_stop(machine->loop);
		uvfio_loop_run(machine->loop);
		has_thread = !uvfio_thread_create(&thread, NULL, run_meanwhile, machine);
		if (!has_thread) {
			pthread_mutex_lock(&machine->lock);
			machine->ending = false;
			pthread_mutex_unlock(&machine->lock);
			own_leave();
			return -EAGAIN;
		}
	}
	/* First those who remove by control: they wait for the connections. */
	control_free(machine->control);
	machine->control = NULL;
	own_hang_up_all(machine);
	release(machine);
	if (has_thread)
		pthread_join(thread, NULL);
	free_rest(machine);
	own_leave();
	return 0;
}

/* ---- run ---- */

static void wait_for_stop(struct uvfio_machine *machine)
{
	struct pollfd p = {.fd = machine->stop_fd, .events = POLLIN};

	while (poll(&p, 1, -1) < 0 && errno == EINTR)
		;
}

int uvfio_machine_run(struct uvfio_machine *machine)
{
	int ret = own_enter(machine, NULL);
	uint64_t count;

	if (ret)
		return ret;
	pthread_mutex_lock(&machine->lock);
	if (machine->running || machine->ending)
		ret = -EBUSY;
	else
		machine->running = true;
	pthread_mutex_unlock(&machine->lock);
	if (!ret) {
		if (machine->loop)
			uvfio_loop_run(machine->loop);
		else
			wait_for_stop(machine);
		(void)!read(machine->stop_fd, &count, sizeof(count));
		pthread_mutex_lock(&machine->lock);
		machine->running = false;
		pthread_cond_broadcast(&machine->changed);
		pthread_mutex_unlock(&machine->lock);
	}
	own_leave();
	return ret;
}

void uvfio_machine_stop(struct uvfio_machine *machine)
{
	uint64_t one = 1;

	if (own_check(machine, NULL))
		return;
	(void)!write(machine->stop_fd, &one, sizeof(one));
	if (machine->loop)
		uvfio_loop_stop(machine->loop);
}

int uvfio_machine_stop_fd(const struct uvfio_machine *machine)
{
	return machine->stop_fd;
}
