/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The server: devices by their sockets, added and removed at the keeper's word or control's.
 *
 * Threads: the main thread reads what the keeper tells; control's workers add and remove, too.
 * ->turn makes them take turns; it is held while a device is made or becomes quiet, and nothing
 * that a client waits for takes it.  ->lock guards the list and is never held for long.
 *
 * Removing.  Without force the user of the device is asked for it (REQ), and keeps its connection
 * until it lets go, for as long as it likes: no lock is held meanwhile.  With force, also if that
 * comes while somebody waits already, the connection is closed.  Who began the removal takes the
 * device off the list in the end; when the server ends before that, it gives up.  The main thread
 * waits for a limited time, because a client can hold up what has to do with its files: then the
 * removal is left to end by itself (->left).
 *
 * Ending takes a limited time, too: when something is held up, the process ends without having
 * freed everything, and so without taking anything away from who is at work.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include "base/log.h"
#include "base/thread.h"
#include "block/rings.h"
#include "control/control.h"
#include "join/host.h"
#include "serve/broker.h"
#include "serve/channel.h"
#include "serve/handover.h"
#include "serve/server_private.h"
#include "serve/spec.h"
#include "serve/vf_sockets.h"
#include "sysfs/sysfs.h"
#include "vfio/observe.h"
#include "vfio/sriov.h"
#include "wire/wire.h"

#define REMOVE_MS 5000u  /* that the main thread waits for a device */
#define END_MS    10000u /* that the end may take */

static struct timespec later(unsigned ms)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_sec += ms / 1000;
	ts.tv_nsec += (long)(ms % 1000) * 1000000;
	if (ts.tv_nsec >= 1000000000) {
		ts.tv_sec++;
		ts.tv_nsec -= 1000000000;
	}
	return ts;
}

/* ---- files ---- */

static int open_file(void *arg, const char *path, int flags)
{
	struct server *server = arg;
	int fd = server_file_that_came(path, flags);

	if (fd != -ENOENT)
		return fd;
	if (server->config->config->unconfined) {
		fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
		return fd < 0 ? -errno : fd;
	}
	return serve_ask(server->config->ask, SERVE_OPEN, path, flags);
}

static int connect_to(void *arg, const char *uri)
{
	struct server *server = arg;

	if (server->config->config->unconfined)
		return -ENOSYS;
	return serve_ask(server->config->ask, SERVE_CONNECT, uri, 0);
}

/* ---- devices ---- */

/* The newest device's name and mode; in its turn, so it is the one just made. */
static void newest_device(struct server *server, char name[16], int *mmio)
{
	struct vfio_device **devs = NULL;
	unsigned nr = vfio_machine_get_devices(server->machine, &devs);

	for (unsigned i = nr; i; i--) {
		if (vfio_device_physfn(devs[i - 1])) /* numvfs= has made it */
			continue;
		snprintf(name, 16, "%s", vfio_device_name(devs[i - 1]));
		*mmio = vfio_device_mmio(devs[i - 1]);
		break;
	}
	vfio_devices_put(devs, nr);
}

static void wire_settings(const struct serve_spec *spec, int mmio, struct wire_options *options)
{
	wire_options_default(options);
	if (spec->spin_given)
		options->spin_us = spec->spin_us;
	if (spec->mmap_given)
		options->mmio = spec->mmap ? VFIO_MMIO_POLLED : VFIO_MMIO_NONE;
	else if (mmio)
		options->mmio = mmio == 'p' ? VFIO_MMIO_POLLED : VFIO_MMIO_NONE;
}

/* @fd becomes the server's.  In its turn. */
static int add_in_turn(struct server *server, uint64_t id, struct serve_spec *spec, int fd,
		       char name[16], struct uvfio_error *err)
{
	struct served *d = calloc(1, sizeof(*d));
	int ret, mmio = 0;

	if (d)
		d->socket = strdup(spec->socket);
	if (!d || !d->socket) {
		ret = uvfio_error_set(err, -ENOMEM, "out of memory");
		goto fail;
	}
	ret = server_add_as_it_was(server, id, &spec->device, err);
	if (!ret)
		ret = vfio_machine_add_device(server->machine, spec->device, err);
	if (ret)
		goto fail;
	newest_device(server, d->name, &mmio);
	wire_settings(spec, mmio, &d->options);
	ret = server_state_load(server, id, d->name, err);
	if (!ret && server_arrives(server, id)) {
		ret = wire_listen(server->wire, d->name, -1, &d->options, &d->listener, err);
		if (!ret)
			ret = server_arrive(server, id, d->name, fd, d->listener, err);
		fd = ret ? fd : -1;
	} else if (!ret) {
		ret = wire_listen(server->wire, d->name, fd, &d->options, &d->listener, err);
		fd = -1;
	}
	if (ret) {
		/* The client of one that was to be taken over is the old server's, and is not to be
		 * asked to let go of it: this server is ended as it is. */
		if (!server->arriving)
			vfio_machine_remove_device(server->machine, d->name, 0, NULL, NULL, NULL);
		goto fail;
	}
	d->id = id;
	d->vf_sockets = spec->vf_sockets;
	spec->vf_sockets = NULL;
	pthread_mutex_lock(&server->lock);
	d->next = server->devices;
	server->devices = d;
	pthread_mutex_unlock(&server->lock);
	if (d->vf_sockets)
		server_vfs_look(server->vfs);
	memcpy(name, d->name, sizeof(d->name));
	vfio_token_redact(spec->device);
	uvfio_log(server->log, UVFIO_LOG_INFO, "%s: %s at %s", d->name, spec->device, d->socket);
	return 0;
fail:
	if (fd >= 0)
		close(fd);
	if (d)
		free(d->socket);
	free(d);
	return ret;
}

int server_add_device(struct server *server, uint64_t id, const char *text, int fd, char name[16],
		      struct uvfio_error *err)
{
	struct serve_spec spec;
	int ret = serve_spec_parse(text, &spec, err);

	if (!ret && !spec.socket)
		ret = uvfio_error_set(err, -EINVAL, "no socket=PATH, where it is to be served");
	if (!ret && spec.vf_sockets && !id)
		ret = uvfio_error_set(
			err, -EINVAL,
			"vf-sockets=: for what is added to a server nobody makes them; "
			"`uvfio open` gives VFs to clients");
	if (ret) {
		close(fd);
	} else {
		pthread_mutex_lock(&server->turn);
		ret = add_in_turn(server, id, &spec, fd, name, err);
		pthread_mutex_unlock(&server->turn);
	}
	serve_spec_fini(&spec);
	return ret;
}

struct served **server_find_locked(struct server *server, uint64_t id, const char *name)
{
	struct served **link = &server->devices;

	while (*link && (name ? strcmp((*link)->name, name) != 0 : (*link)->id != id))
		link = &(*link)->next;
	return link;
}

/* ->lock is held. */
static void forget_locked(struct server *server, struct served *d)
{
	struct served **link = &server->devices;

	while (*link != d)
		link = &(*link)->next;
	*link = d->next;
	pthread_cond_broadcast(&server->changed);
	uvfio_log(server->log, UVFIO_LOG_INFO, "%s: removed", d->name);
	free(d->socket);
	free(d->vf_sockets);
	free(d);
}

/* In a thread of the machine's. */
static void on_gone(void *arg, const char *name)
{
	struct server *server = arg;
	struct served *d;

	pthread_mutex_lock(&server->lock);
	/* Another one may have its address already. */
	for (d = server->devices; d && (!d->removing || d->gone || strcmp(d->name, name) != 0);)
		d = d->next;
	if (d)
		d->gone = true;
	pthread_cond_broadcast(&server->changed);
	if (d && d->left)
		forget_locked(server, d);
	pthread_mutex_unlock(&server->lock);
}

/* Close the socket of @d and its connections.  ->lock is held, and let go of meanwhile. */
static void hang_up(struct server *server, struct served *d)
{
	struct wire_listener *listener = d->listener;

	d->listener = NULL;
	if (!listener)
		return;
	pthread_mutex_unlock(&server->lock);
	wire_unlisten(listener);
	pthread_mutex_lock(&server->lock);
}

/* Clients of a PF's VFs, which go with it: it would wait for them. */
static void hang_up_vfs(struct server *server, const char *name)
{
	struct vfio_device *pf = vfio_machine_get_device(server->machine, name);

	for (unsigned i = 0; pf && i < vfio_device_num_vfs(pf); i++) {
		struct vfio_device *vf = vfio_device_get_vf(pf, i);

		if (!vf)
			continue;
		wire_disconnect(server->wire, vfio_device_name(vf));
		vfio_device_put(vf);
	}
	if (pf)
		vfio_device_put(pf);
}

static struct served *being_removed(struct server *server, const char *name)
{
	struct served *d = server->devices;

	while (d && (!d->removing || strcmp(d->name, name) != 0))
		d = d->next;
	return d;
}

/* Until the machine has let go of @d: true.  False after @ms, 0: never, or when the server ends.
 * ->lock is held. */
static bool wait_gone(struct server *server, const struct served *d, unsigned ms)
{
	struct timespec until = later(ms);
	int ret = 0;

	while (!d->gone && !server->stopping && ret != ETIMEDOUT)
		ret = ms ? pthread_cond_timedwait(&server->changed, &server->lock, &until)
			 : pthread_cond_wait(&server->changed, &server->lock);
	return d->gone;
}

/* By its name; or by @id when that is NULL, which waits for REMOVE_MS and then leaves it. */
int server_remove_device(struct server *server, uint64_t id, const char *name,
			 enum control_removal how, struct uvfio_error *err)
{
	static const unsigned limits[] = {
		[CONTROL_ASK] = VFIO_REMOVE_WAIT,
		[CONTROL_FORCE] = 0,
		[CONTROL_SURPRISE] = VFIO_REMOVE_SURPRISE,
	};
	const bool force = how == CONTROL_FORCE;
	uint64_t told;
	struct served *d;
	char found[16];
	bool first;
	int ret = 0;

	pthread_mutex_lock(&server->lock);
	d = *server_find_locked(server, id, name);
	if (!d) {
		pthread_mutex_unlock(&server->lock);
		return uvfio_error_set(err, -ENODEV, "%s is not served here", name ? name : "it");
	}
	memcpy(found, d->name, sizeof(found));
	first = !d->removing;
	d->removing = true;
	pthread_mutex_unlock(&server->lock);

	/* A later one with a shorter limit changes the limit. */
	if (first || how != CONTROL_ASK)
		ret = vfio_machine_remove_device(server->machine, found, limits[how], on_gone,
						 server, err);
	if (force)
		hang_up_vfs(server, found);
	pthread_mutex_lock(&server->lock);
	if (ret && first) {
		d->removing = false;
		pthread_mutex_unlock(&server->lock);
		return ret;
	}
	if (first) {
		if (force)
			hang_up(server, d);
		if (!wait_gone(server, d, name ? 0 : REMOVE_MS) && !server->stopping) {
			d->left = true;
			pthread_mutex_unlock(&server->lock);
			return uvfio_error_set(err, -ETIMEDOUT,
					       "its client holds it up, by files of its own; its "
					       "socket is closed, and it goes when the client lets "
					       "go");
		}
	} else {
		d = being_removed(server, found);
		if (d && force)
			hang_up(server, d);
		while (being_removed(server, found) && !server->stopping)
			pthread_cond_wait(&server->changed, &server->lock);
	}
	if (server->stopping) {
		pthread_mutex_unlock(&server->lock);
		return uvfio_error_set(err, -ECANCELED, "%s: the server ends", found);
	}
	if (!first) {
		pthread_mutex_unlock(&server->lock);
		return 0;
	}
	hang_up(server, d);
	told = name ? d->id : 0;
	forget_locked(server, d);
	pthread_mutex_unlock(&server->lock);
	if (told)
		serve_send(server->config->tell,
			   &(struct serve_message){.kind = SERVE_GONE, .id = told}, NULL, -1);
	return 0;
}

/* ---- */

#define SPARE_RINGS 32u /* for files that come later */

/* io_uring for files that are there now and for some that come later.  At most a quarter of the
 * descriptors: clients need some, too. */
static void make_rings(struct server *server, struct uvfio_error *err)
{
	unsigned nr = server->config->nr_files + SPARE_RINGS;
	struct rlimit limit;

	if (!getrlimit(RLIMIT_NOFILE, &limit) && nr > limit.rlim_cur / 4)
		nr = (unsigned)limit.rlim_cur / 4;
	server->rings = block_rings_new(nr, err);
}

static int confine(struct server *server, struct uvfio_error *err)
{
	struct uvfio_error why = {""}, no_rings = {""};
	bool landlock;
	int ret;

	make_rings(server, &no_rings);
	ret = serve_confine(server->config->identity, server->rings, &landlock, &why);
	if (ret)
		return uvfio_error_set(err, ret, "%s; --confine off serves without confinement",
				       why.msg);
	if (!landlock)
		uvfio_log(server->log, UVFIO_LOG_WARN,
			  "this kernel has no Landlock (or it is not in lsm=): seccomp alone keeps "
			  "this server from files");
	if (!server->rings)
		uvfio_log(server->log, UVFIO_LOG_INFO,
			  "files are read and written by threads: no io_uring: %s", no_rings.msg);
	return 0;
}

int server_start_sysfs(struct server *server, const struct sysfs_handed *from,
		       struct uvfio_error *err)
{
	const struct sysfs_config config = {
		.machine = server->machine,
		.log = server->log,
		.uid = server->config->keeper_uid,
		.gid = server->config->keeper_gid,
	};

	server->sysfs = sysfs_new(&config, err);
	if (!server->sysfs)
		return -ENOMEM;
	return from ? sysfs_continue(server->sysfs, from, err)
		    : sysfs_serve(server->sysfs, server->config->sysfs_fd, err);
}

static int start(struct server *server, struct uvfio_error *err)
{
	const struct serve_config *config = server->config->config;
	struct vfio_file_ops ops = {open_file, connect_to, server, NULL};
	int ret = 0;

	server->log = uvfio_log_new(2, config->verbose ? UVFIO_LOG_DEBUG : UVFIO_LOG_WARN);
	if (!config->unconfined)
		ret = confine(server, err);
	if (ret)
		return ret;
	ops.rings = server->rings;
	server->machine = vfio_machine_new(&config->policy, server->log, err);
	if (!server->machine)
		return -ENOMEM;
	vfio_machine_set_file_ops(server->machine, &ops);
	ret = server_vfs_start(server);
	if (ret)
		return uvfio_error_set(err, ret, "cannot start a thread: %s", strerror(-ret));
	for (unsigned i = 0; i < config->nr_models; i++) {
		ret = vfio_machine_add_model(server->machine, config->models[i]);
		if (ret)
			return uvfio_error_set(err, ret, "the model %s cannot be used: %s",
					       config->models[i]->name, strerror(-ret));
	}
	server->wire = wire_server_new(server->machine, server->log, err);
	if (!server->wire)
		return -ENOMEM;
	server->join = join_host_new(server->machine, server->log);
	if (!server->join)
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	return server->config->sysfs_fd < 0 ? 0 : server_start_sysfs(server, NULL, err);
}

/* Beside stop(): it takes too long. */
static void *impatient(void *arg)
{
	struct timespec until = later(END_MS);
	struct server *server = arg;
	int ret = 0;

	pthread_mutex_lock(&server->lock);
	while (!server->stopped && ret != ETIMEDOUT)
		ret = pthread_cond_timedwait(&server->changed, &server->lock, &until);
	pthread_mutex_unlock(&server->lock);
	if (ret == ETIMEDOUT) {
		uvfio_log(server->log, UVFIO_LOG_WARN,
			  "the end is held up, by a disk or by files of a client; not waiting any "
			  "longer");
		_exit(0);
	}
	return NULL;
}

static void stop(struct server *server)
{
	pthread_t thread;
	bool timed = !uvfio_thread_create(&thread, NULL, impatient, server);

	pthread_mutex_lock(&server->lock);
	server->stopping = true;
	pthread_cond_broadcast(&server->changed);
	pthread_mutex_unlock(&server->lock);
	sysfs_free(server->sysfs);
	control_free(server->control);
	join_host_free(server->join);
	server_vfs_stop(server);
	wire_server_free(server->wire);     /* every client is disconnected, every device quiet */
	vfio_machine_free(server->machine); /* what is being removed is told of */
	server_vfs_free(server);
	while (server->devices) {
		struct served *d = server->devices;

		server->devices = d->next;
		free(d->socket);
		free(d->vf_sockets);
		free(d);
	}
	pthread_mutex_lock(&server->lock);
	server->stopped = true;
	pthread_cond_broadcast(&server->changed);
	pthread_mutex_unlock(&server->lock);
	if (timed)
		pthread_join(thread, NULL);
	block_rings_free(server->rings);
	uvfio_log_free(server->log);
}

int serve_server(const struct serve_server_config *config)
{
	struct server server = {.config = config, .state_fd = -1, .sysfs_came.fd = -1};
	struct uvfio_error err = {""};
	pthread_condattr_t attr;
	int ret;

	pthread_mutex_init(&server.turn, NULL);
	pthread_mutex_init(&server.lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&server.changed, &attr);
	pthread_condattr_destroy(&attr);
	signal(SIGPIPE, SIG_IGN);
	if (chdir("/")) { /* do not keep a file system busy */
	}
	ret = start(&server, &err);
	server_tell_started(&server, ret, err.msg);
	if (!ret)
		server_listen(&server);
	stop(&server);
	pthread_cond_destroy(&server.changed);
	pthread_mutex_destroy(&server.lock);
	pthread_mutex_destroy(&server.turn);
	return ret ? 1 : 0;
}
