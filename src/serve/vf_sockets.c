/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A socket for each VF.
 *
 * Theory of operation.  A thread is woken when devices of the machine come and go, and compares:
 * VFs of PFs that say vf-sockets= with the sockets that there are.  The keeper makes and removes
 * these (SERVE_VF_COMES, _GOES), one at a time; a socket listens for as long as its VF is there.
 * Clients that are connected have the VF, so the machine waits for them before it goes, or cuts
 * them off.
 *
 * ->lock is a leaf; the list is the thread's, and changes under it.
 */
#include <errno.h>
#include <json-c/json.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "base/thread.h"
#include "serve/channel.h"
#include "serve/server_private.h"
#include "serve/spec.h"
#include "serve/vf_sockets.h"
#include "vfio/host.h"
#include "vfio/observe.h"
#include "vfio/sriov.h"
#include "wire/wire.h"

struct vf_socket {
	struct vf_socket *next;
	uint64_t id; /* of its PF's */
	unsigned index;
	char name[16];
	uint64_t serial; /* of the device: another one has the name later */
	char *path;
	struct wire_listener *listener; /* NULL: it could not be had */
	bool there;
};

struct server_vfs {
	struct server *server;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake; /* of the thread: what follows has changed */
	bool changed, stop;
	bool asked; /* the keeper, for @id and @index; then @fd */
	uint64_t id;
	unsigned index;
	int fd;
	struct vf_socket *list;
};

/* A PF of the list, as it is now. */
struct pf {
	uint64_t id;
	char name[16];
	char *pattern;
	struct wire_options options;
};

static void tell(struct server_vfs *v, enum serve_kind kind, uint64_t id, unsigned index)
{
	const struct serve_message msg = {.kind = kind, .id = id, .value = (int32_t)index};

	serve_send(v->server->config->tell, &msg, NULL, -1);
}

/* A listening socket for it, or -1. */
static int ask(struct server_vfs *v, uint64_t id, unsigned index)
{
	int fd;

	pthread_mutex_lock(&v->lock);
	v->asked = true;
	v->id = id;
	v->index = index;
	v->fd = -1;
	pthread_mutex_unlock(&v->lock);
	tell(v, SERVE_VF_COMES, id, index);
	pthread_mutex_lock(&v->lock);
	while (v->asked && !v->stop)
		pthread_cond_wait(&v->wake, &v->lock);
	v->asked = false;
	fd = v->fd;
	v->fd = -1;
	pthread_mutex_unlock(&v->lock);
	return fd;
}

void server_vf_socket(struct server *server, const struct serve_message *msg, int fd)
{
	struct server_vfs *v = server->vfs;

	pthread_mutex_lock(&v->lock);
	if (v->asked && v->id == msg->id && v->index == (unsigned)msg->value) {
		v->asked = false;
		v->fd = fd;
		fd = -1;
		pthread_cond_signal(&v->wake);
	}
	pthread_mutex_unlock(&v->lock);
	if (fd >= 0)
		close(fd);
}

/* ---- making and removing ---- */

static void remove_socket(struct server_vfs *v, struct vf_socket *s)
{
	struct vf_socket **link = &v->list;

	pthread_mutex_lock(&v->lock);
	while (*link != s)
		link = &(*link)->next;
	*link = s->next;
	pthread_mutex_unlock(&v->lock);
	if (s->listener) {
		wire_unlisten(s->listener);
		tell(v, SERVE_VF_GOES, s->id, s->index);
	}
	free(s->path);
	free(s);
}

/* One that cannot be had is remembered, too: it is not asked for again. */
static void make_socket(struct server_vfs *v, const struct pf *pf, struct vfio_device *vf)
{
	struct vf_socket *s = calloc(1, sizeof(*s));
	struct uvfio_error err = {""};
	int fd;

	if (!s)
		return;
	s->id = pf->id;
	s->index = vfio_device_vf_index(vf);
	s->serial = vfio_device_serial(vf);
	s->there = true;
	strncpy(s->name, vfio_device_name(vf), sizeof(s->name) - 1);
	s->path = serve_spec_vf_socket(pf->pattern, s->index);
	fd = ask(v, s->id, s->index);
	if (fd >= 0 &&
	    wire_listen(v->server->wire, s->name, fd, &pf->options, &s->listener, &err)) {
		uvfio_log(v->server->log, UVFIO_LOG_WARN, "%s: not served: %s", s->name, err.msg);
		tell(v, SERVE_VF_GOES, s->id, s->index);
	}
	if (s->listener)
		uvfio_log(v->server->log, UVFIO_LOG_INFO, "%s: VF %u of %s at %s", s->name,
			  s->index, pf->name, s->path ? s->path : "?");
	pthread_mutex_lock(&v->lock);
	s->next = v->list;
	v->list = s;
	pthread_mutex_unlock(&v->lock);
}

static struct vf_socket *find(struct server_vfs *v, const struct pf *pf, struct vfio_device *vf)
{
	struct vf_socket *s = v->list;

	while (s && (s->id != pf->id || s->serial != vfio_device_serial(vf)))
		s = s->next;
	return s;
}

static bool stopping(struct server_vfs *v)
{
	bool stop;

	pthread_mutex_lock(&v->lock);
	stop = v->stop;
	pthread_mutex_unlock(&v->lock);
	return stop;
}

/* Mark those of its VFs that are there; or, if @make, make those that are missing. */
static void look_at(struct server_vfs *v, const struct pf *pf, bool make)
{
	struct vfio_device *dev = vfio_machine_get_device(v->server->machine, pf->name);
	unsigned n = dev ? vfio_device_num_vfs(dev) : 0;

	for (unsigned i = 0; i < n && !stopping(v); i++) {
		struct vfio_device *vf = vfio_device_get_vf(dev, i);
		struct vf_socket *s = vf ? find(v, pf, vf) : NULL;

		if (s)
			s->there = true;
		else if (vf && make)
			make_socket(v, pf, vf);
		if (vf)
			vfio_device_put(vf);
	}
	if (dev)
		vfio_device_put(dev);
}

/* ---- the thread ---- */

/* Those that say vf-sockets=; to be freed. */
static unsigned take_pfs(struct server *server, struct pf **out)
{
	unsigned n = 0, nr = 0;
	struct served *d;

	pthread_mutex_lock(&server->lock);
	for (d = server->devices; d; d = d->next)
		nr += d->vf_sockets != NULL;
	*out = nr ? calloc(nr, sizeof(**out)) : NULL;
	for (d = *out ? server->devices : NULL; d; d = d->next) {
		struct pf *pf = &(*out)[n];

		if (!d->vf_sockets)
			continue;
		pf->id = d->id;
		memcpy(pf->name, d->name, sizeof(pf->name));
		pf->pattern = strdup(d->vf_sockets);
		pf->options = d->options;
		n += pf->pattern != NULL;
	}
	pthread_mutex_unlock(&server->lock);
	return n;
}

/* The sockets of VFs present what that of the PF does. */
static void take_token(struct server *server, struct pf *pf)
{
	struct vfio_device *dev = vfio_machine_get_device(server->machine, pf->name);

	if (!dev)
		return;
	pf->options.has_token = vfio_device_given_token(dev, &pf->options.token);
	vfio_device_put(dev);
}

static void compare(struct server_vfs *v)
{
	struct vf_socket *s, *next;
	struct pf *pfs;
	unsigned nr = take_pfs(v->server, &pfs);

	for (s = v->list; s; s = s->next)
		s->there = false;
	for (unsigned i = 0; i < nr; i++) {
		take_token(v->server, &pfs[i]);
		look_at(v, &pfs[i], false);
	}
	/* First, because another VF may have their paths now. */
	for (s = v->list; s; s = next) {
		next = s->next;
		if (!s->there)
			remove_socket(v, s);
	}
	for (unsigned i = 0; i < nr; i++) {
		look_at(v, &pfs[i], true);
		vfio_token_wipe(&pfs[i].options.token);
		free(pfs[i].pattern);
	}
	free(pfs);
}

static void *watch(void *arg)
{
	struct server_vfs *v = arg;

	pthread_setname_np(pthread_self(), "uvfio-vfs");
	pthread_mutex_lock(&v->lock);
	while (!v->stop) {
		if (!v->changed) {
			pthread_cond_wait(&v->wake, &v->lock);
			continue;
		}
		v->changed = false;
		pthread_mutex_unlock(&v->lock);
		compare(v);
		pthread_mutex_lock(&v->lock);
	}
	pthread_mutex_unlock(&v->lock);
	return NULL;
}

void server_vfs_look(void *arg)
{
	struct server_vfs *v = arg;

	pthread_mutex_lock(&v->lock);
	v->changed = true;
	pthread_cond_signal(&v->wake);
	pthread_mutex_unlock(&v->lock);
}

int server_vfs_start(struct server *server)
{
	struct server_vfs *v = calloc(1, sizeof(*v));
	int ret;

	if (!v)
		return -ENOMEM;
	v->server = server;
	v->fd = -1;
	pthread_mutex_init(&v->lock, NULL);
	pthread_cond_init(&v->wake, NULL);
	ret = uvfio_thread_create(&v->thread, NULL, watch, v);
	if (ret) {
		pthread_cond_destroy(&v->wake);
		pthread_mutex_destroy(&v->lock);
		free(v);
		return -ret;
	}
	server->vfs = v;
	vfio_machine_on_change(server->machine, server_vfs_look, v);
	return 0;
}

void server_vfs_stop(struct server *server)
{
	struct server_vfs *v = server->vfs;

	if (!v)
		return;
	pthread_mutex_lock(&v->lock);
	v->stop = true;
	pthread_cond_signal(&v->wake);
	pthread_mutex_unlock(&v->lock);
	pthread_join(v->thread, NULL);
	/* The keeper removes what it has made. */
	while (v->list) {
		struct vf_socket *s = v->list;

		v->list = s->next;
		if (s->listener)
			wire_unlisten(s->listener);
		free(s->path);
		free(s);
	}
}

void server_vfs_free(struct server *server)
{
	struct server_vfs *v = server->vfs;

	if (!v)
		return;
	server->vfs = NULL;
	pthread_cond_destroy(&v->wake);
	pthread_mutex_destroy(&v->lock);
	free(v);
}

void server_vf_describe(struct server *server, const char *name, struct json_object *out)
{
	struct server_vfs *v = server->vfs;

	if (!v)
		return;
	pthread_mutex_lock(&v->lock);
	for (const struct vf_socket *s = v->list; s; s = s->next)
		if (s->listener && s->path && !strcmp(s->name, name))
			json_object_object_add(out, "socket", json_object_new_string(s->path));
	pthread_mutex_unlock(&v->lock);
}
