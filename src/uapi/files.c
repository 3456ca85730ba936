/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>
#include "uapi/files_private.h"
#include "uapi/helper/trap.h"
#include "uapi/process.h"
#include "uapi/task.h"

int uapi_file_reopen(int fd, int access)
{
	char path[32];
	int new;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	new = open(path, access | O_CLOEXEC);
	return new < 0 ? -errno : new;
}

/* ---- the table ---- */

struct uapi_files *uapi_files_new(struct uapi_server *server, struct uvfio_error *err)
{
	struct uapi_files *files = calloc(1, sizeof(*files));
	pthread_condattr_t attr;
	int ret;

	if (!files) {
		uvfio_error_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	files->server = server;
	files->look_seconds = 1;
	pthread_mutex_init(&files->opening, NULL);
	pthread_mutex_init(&files->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&files->died, &attr);
	pthread_condattr_destroy(&attr);
	files->wake = eventfd(0, EFD_CLOEXEC);
	files->inotify = inotify_init1(IN_CLOEXEC);
	if (files->inotify < 0) {
		uvfio_error_set(err, -errno,
				"cannot watch for closed files: %s (inotify_init; if the limit is "
				"reached: sysctl fs.inotify.max_user_instances)",
				strerror(errno));
		goto err;
	}
	ret = uapi_nodes_init(files);
	if (!ret)
		ret = uapi_files_start_janitor(files);
	if (ret) {
		uvfio_error_set(err, ret, "cannot serve the program's /dev/vfio: %s",
				strerror(-ret));
		close(files->inotify);
		goto err;
	}
	return files;
err:
	uapi_nodes_free(files);
	close(files->wake);
	pthread_mutex_destroy(&files->lock);
	pthread_mutex_destroy(&files->opening);
	free(files);
	return NULL;
}

void uapi_files_free(struct uapi_files *files)
{
	if (!files)
		return;
	uapi_files_close_all(files);
	uapi_nodes_free(files);
	close(files->inotify);
	close(files->wake);
	pthread_mutex_destroy(&files->lock);
	pthread_mutex_destroy(&files->opening);
	free(files);
}

static struct uapi_file *lookup(struct uapi_files *files, dev_t dev, ino_t ino)
{
	struct uapi_file *file = *bucket(files, ino);

	while (file && (file->ino != ino || file->dev != dev))
		file = file->next;
	return file;
}

/* files->lock held. */
static void ref(struct uapi_file *file, uint64_t call)
{
	unsigned i = 0;

	file->refs++;
	file->lookers += !call;
	while (call && i < UAPI_FILE_USERS && file->users[i])
		i++;
	if (call && i < UAPI_FILE_USERS)
		file->users[i] = call;
}

struct uapi_file *uapi_files_find(struct uapi_files *files, const struct stat *st, uint64_t call)
{
	struct uapi_file *file;

	pthread_mutex_lock(&files->lock);
	file = lookup(files, st->st_dev, st->st_ino);
	if (file)
		ref(file, call);
	pthread_mutex_unlock(&files->lock);
	return file;
}

bool uapi_files_open(struct uapi_files *files, const struct stat *st)
{
	bool found;

	pthread_mutex_lock(&files->lock);
	found = lookup(files, st->st_dev, st->st_ino);
	pthread_mutex_unlock(&files->lock);
	return found;
}

struct uapi_file *uapi_files_by_key(struct uapi_files *files, uint64_t key, uint64_t call)
{
	struct uapi_file *found = NULL;

	if (!key)
		return NULL;
	pthread_mutex_lock(&files->lock);
	found = *bucket(files, key); /* which it has the low bits of its inode for */
	while (found && found->key != key)
		found = found->next;
	if (found)
		ref(found, call);
	pthread_mutex_unlock(&files->lock);
	return found;
}

void uapi_files_put(struct uapi_files *files, struct uapi_file *file, uint64_t call)
{
	unsigned i = 0;
	bool closed;

	if (!file)
		return;
	pthread_mutex_lock(&files->lock);
	while (call && i < UAPI_FILE_USERS && file->users[i] != call)
		i++;
	if (call && i < UAPI_FILE_USERS)
		file->users[i] = 0;
	file->lookers -= !call;
	if (file->closed)
		pthread_cond_broadcast(&files->died); /* somebody may wait for this call */
	closed = --file->refs == 0 && file->closed;
	file->closed &= !closed;
	pthread_mutex_unlock(&files->lock);
	if (closed)
		uapi_files_wake(files);
}

void uapi_files_copy_begin(struct uapi_files *files, struct uapi_copy *copy, uint64_t call)
{
	copy->call = call;
	pthread_mutex_lock(&files->lock);
	copy->next = files->copies;
	files->copies = copy;
	pthread_mutex_unlock(&files->lock);
}

void uapi_files_copy_end(struct uapi_files *files, struct uapi_copy *copy)
{
	struct uapi_copy **p = &files->copies;

	pthread_mutex_lock(&files->lock);
	while (*p != copy)
		p = &(*p)->next;
	*p = copy->next;
	if (files->awaited)
		pthread_cond_broadcast(&files->died);
	pthread_mutex_unlock(&files->lock);
}

/* ---- opening ---- */

enum uapi_file_kind uapi_files_node(struct uapi_files *files, const struct stat *st,
				    unsigned *group)
{
	enum uapi_file_kind kind = UAPI_FILE_KINDS;
	const struct uapi_file *file;
	bool ours = false;

	if (!S_ISREG(st->st_mode))
		return kind;
	kind = uapi_nodes_find(files, st, group, &ours);
	if (ours)
		return kind;
	pthread_mutex_lock(&files->lock);
	file = lookup(files, st->st_dev, st->st_ino);
	if (file && file->kind != UAPI_DEVICE && file->kind != UAPI_RESOURCE &&
	    file->kind != UAPI_EXPORT) {
		kind = file->kind;
		*group = file->group;
	}
	pthread_mutex_unlock(&files->lock);
	return kind;
}

int uapi_file_insert(struct uapi_files *files, struct uapi_file *file)
{
	char path[32];
	struct stat st;

	if (fstat(file->probe, &st))
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file->probe);
	file->watch = inotify_add_watch(files->inotify, path, IN_CLOSE);
	if (file->watch < 0)
		return -errno;
	file->dev = st.st_dev;
	file->ino = st.st_ino;
	if (getrandom(&file->key, sizeof(file->key), 0) == sizeof(file->key)) {
		file->key += (file->ino - file->key) % BUCKETS;
		file->key &= ~UVFIO_TRAP_CARRIES;
	} else {
		file->key = 0; /* nothing is trapped then */
	}
	pthread_mutex_lock(&files->lock);
	files->last_serial++;
	file->next = *bucket(files, file->ino);
	*bucket(files, file->ino) = file;
	files->nr_files++;
	files->nr_exports += file->kind == UAPI_EXPORT;
	pthread_mutex_unlock(&files->lock);
	return 0;
}

struct uapi_file *uapi_file_new(struct uapi_files *files, enum uapi_file_kind kind)
{
	struct uapi_file *file;

	if (files->nr_files >= MAX_FILES)
		return NULL;
	file = calloc(1, sizeof(*file));
	if (!file)
		return NULL;
	file->kind = kind;
	file->probe = -1;
	file->watch = -1;
	return file;
}

/* Where no directory of ours is seen by the program (shadow.h), nothing needs a name. */
static int make_memfd(struct uapi_file *file, int access)
{
	int fd = memfd_create("uvfio", MFD_CLOEXEC | MFD_ALLOW_SEALING), ret;

	if (fd < 0)
		return -errno;
	if (fchmod(fd, 0666) || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
		ret = -errno;
	} else {
		/* Leases and inotify know only what was opened by a name. */
		file->probe = uapi_fd_to_keep(uapi_file_reopen(fd, O_RDWR));
		ret = file->probe < 0 ? file->probe : uapi_file_reopen(fd, access);
	}
	close(fd);
	return ret;
}

/* A fresh inode, under the node's name: the newest fd's link in /proc reads exactly that. */
static int make_inode(struct uapi_files *files, struct uapi_file *file, int access)
{
	int dir = file->kind == UAPI_IOMMUFD ? files->server->iommudir : files->server->devdir, fd;
	char fresh[32], name[UAPI_NODE_NAME];

	if (files->server->shadow)
		return make_memfd(file, access);
	snprintf(fresh, sizeof(fresh), ".%u", files->last_serial + 1);
	if (file->kind == UAPI_CONTAINER)
		strcpy(name, "vfio");
	else if (file->kind == UAPI_IOMMUFD)
		strcpy(name, "iommu");
	else
		uapi_files_group_name(files, file->group, name);
	unlinkat(dir, fresh, 0);
	file->probe = openat(dir, fresh, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0666);
	if (file->probe < 0)
		return -errno;
	file->probe = uapi_fd_to_keep(file->probe);
	if (file->probe < 0)
		return file->probe;
	fd = fchmod(file->probe, 0666)
		     ? -errno
		     : uapi_file_reopen(file->probe, access); /* whatever the umask is */
	if (fd < 0)
		return fd;
	if (renameat(dir, fresh, dir, name)) {
		int ret = -errno;

		close(fd);
		return ret;
	}
	return fd;
}

static int open_node_locked(struct uapi_files *files, enum uapi_file_kind kind, unsigned group,
			    int access)
{
	struct uapi_core *core = files->server->core;
	struct uapi_file *file;
	int fd, ret;

	file = uapi_file_new(files, kind);
	if (!file)
		return -ENFILE;
	file->group = group;
	if (kind == UAPI_CONTAINER)
		ret = core->ops->container_open(core, &file->container);
	else if (kind == UAPI_IOMMUFD)
		ret = core->ops->iommufd_open(core, &file->iommufd);
	else
		ret = core->ops->group_open(core, group, &file->group_file);
	if (ret) {
		free(file);
		return ret;
	}
	fd = make_inode(files, file, access);
	ret = fd < 0 ? fd : uapi_file_insert(files, file);
	if (ret) {
		if (fd >= 0)
			close(fd);
		uapi_file_destroy(files, file);
		return ret;
	}
	return fd;
}

static enum vfio_mmio_mode mmio_mode(const struct uapi_server *server,
				     const struct uapi_device *dev)
{
	enum vfio_mmio_mode mode = server->config->mmio;

	switch (dev->mmio) {
	case 'e':
		mode = VFIO_MMIO_EXACT;
		break;
	case 'p':
		mode = VFIO_MMIO_POLLED;
		break;
	case 'n':
		mode = VFIO_MMIO_NONE;
		break;
	}
	/* A guest's store to a read-only page would end KVM_RUN with an error. */
	if (mode == VFIO_MMIO_EXACT && atomic_load(&server->kvm_seen))
		mode = VFIO_MMIO_NONE;
	return mode;
}

/* Add @df to the file of its device, which is made when it has none; @node: the number of the node
 * by which it was opened, or NULL.  files->opening held. */
static int add_device_file(struct uapi_files *files, enum uapi_file_kind kind,
			   struct core_device *df, const struct uapi_device *dev, int view,
			   pid_t owner, const unsigned *node)
{
	struct uapi_core *core = files->server->core;
	struct uapi_file *file;
	struct stat st;
	int ret;

	if (fstat(view, &st))
		return -errno;
	pthread_mutex_lock(&files->lock);
	file = lookup(files, st.st_dev, st.st_ino);
	pthread_mutex_unlock(&files->lock);
	if (file) {
		core->ops->device_release(core, df); /* not the last: nothing is closed */
		return 0;
	}
	file = uapi_file_new(files, kind);
	if (!file)
		return -ENFILE;
	file->device_file = df;
	file->device = dev;
	file->owner = owner;
	file->node = node;
	file->cdev = node ? *node : 0;
	file->mmio = mmio_mode(files->server, dev);
	file->group = dev->group;
	file->probe = uapi_fd_to_keep(uapi_file_reopen(view, O_RDWR));
	ret = file->probe < 0 ? file->probe : uapi_file_insert(files, file);
	if (ret) {
		file->device_file = NULL; /* the caller releases it */
		uapi_file_destroy(files, file);
	}
	return ret;
}

/* An fd for the program on @df, which is given back when there is none.  files->opening held. */
static int give_device(struct uapi_files *files, struct core_device *df,
		       const struct uapi_device *dev, int access, pid_t tid, const unsigned *node)
{
	struct uapi_core *core = files->server->core;
	int ret, fd, view;

	core->ops->device_set_mmio(core, df, mmio_mode(files->server, dev));
	view = core->ops->device_view_fd(core, df);
	/* Open for the program first: the probe must find the file in use from the start. */
	fd = view < 0 ? view : uapi_file_reopen(view, access);
	ret = fd < 0 ? fd
		     : add_device_file(files, UAPI_DEVICE, df, dev, view, uapi_task_tgid(tid),
				       node);
	if (!ret)
		return fd;
	if (fd >= 0)
		close(fd);
	core->ops->device_release(core, df);
	return ret;
}

int uapi_files_open_device(struct uapi_files *files, struct uapi_file *group,
			   struct vfio_client *client, uint64_t arg, uint64_t call,
			   const struct uapi_device **dev)
{
	struct uapi_core *core = files->server->core;
	struct core_device *df = NULL;
	int ret;

	uapi_files_open_begin(files, group->group, call);
	ret = core->ops->group_get_device(core, group->group_file, client, arg, &df, dev);
	if (!ret)
		ret = give_device(files, df, *dev, O_RDWR, client->pid, NULL);
	pthread_mutex_unlock(&files->opening);
	return ret;
}

static int open_cdev_locked(struct uapi_files *files, unsigned number, int access, pid_t tid)
{
	struct uapi_core *core = files->server->core;
	const struct uapi_device *dev = NULL;
	struct core_device *df = NULL;
	int ret = core->ops->cdev_open(core, number, &df, &dev);

	return ret ? ret : give_device(files, df, dev, access, tid, &number);
}

int uapi_files_open_node(struct uapi_files *files, enum uapi_file_kind kind, unsigned group,
			 int access, pid_t tid, uint64_t call)
{
	int ret;

	uapi_files_open_begin(files, kind == UAPI_GROUP ? group : NO_GROUP, call);
	ret = kind == UAPI_CDEV ? open_cdev_locked(files, group, access, tid)
				: open_node_locked(files, kind, group, access);
	pthread_mutex_unlock(&files->opening);
	return ret;
}

int uapi_files_open_resource(struct uapi_files *files, const struct uapi_device *dev, int access,
			     pid_t owner, uint64_t call)
{
	struct uapi_core *core = files->server->core;
	struct core_device *df;
	int fd, view, ret;

	uapi_files_open_begin(files, dev->group, call);
	ret = core->ops->resource_open(core, dev, mmio_mode(files->server, dev), &df, &view);
	if (ret) {
		pthread_mutex_unlock(&files->opening);
		return ret;
	}
	fd = uapi_file_reopen(view, access);
	ret = fd < 0 ? fd : add_device_file(files, UAPI_RESOURCE, df, dev, view, owner, NULL);
	if (ret) {
		if (fd >= 0)
			close(fd);
		core->ops->device_release(core, df);
	}
	close(view);
	pthread_mutex_unlock(&files->opening);
	return ret ? ret : fd;
}
