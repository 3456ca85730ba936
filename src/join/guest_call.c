/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Calls of the runner.  (Its answers to what the server asks meanwhile: guest_answer.c.)
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "join/guest_private.h"
#include "sysfs/sysfs.h"

/* ---- calls ---- */

int line_call(struct line *line, struct vfio_client *client, const struct join_head *head,
	      const void *data, size_t len, const int *fds, unsigned nr)
{
	int ret = join_send(line->sock, head, data, len, fds, nr);

	while (!ret) {
		join_packet_close(&line->in);
		ret = join_receive(line->sock, &line->in);
		if (ret || line->in.head.kind == JOIN_DONE)
			break;
		ret = guest_answer(line, client);
	}
	return ret ? -EIO : 0;
}

/* A call of which the result is wanted, and nothing else.  @out: the head of the answer, may be
 * NULL. */
static int64_t simple(struct uapi_core *core, struct vfio_client *client,
		      const struct join_head *head, const void *data, size_t len,
		      struct join_head *out)
{
	struct guest *guest = (struct guest *)core;
	struct line *line = line_take(guest);
	int64_t ret;

	if (!line)
		return -EIO;
	ret = line_call(line, client, head, data, len, NULL, 0);
	if (ret) {
		line_put(guest, line, true);
		return ret;
	}
	ret = line->in.head.value;
	if (out)
		*out = line->in.head;
	line_put(guest, line, false);
	return ret < -4095 ? -EIO : ret;
}

static uint32_t id_of(const void *handle)
{
	return handle ? ((const struct handle *)handle)->id : 0;
}

/* What an ioctl or the like gives. */
static int result(int64_t value)
{
	return value > INT32_MAX ? -EIO : (int)value;
}

static int handle_new(int64_t id, struct handle **out)
{
	struct handle *handle;

	if (id <= 0 || id > UINT32_MAX)
		return id < 0 ? (int)id : -EIO;
	handle = malloc(sizeof(*handle));
	if (!handle)
		return -ENOMEM;
	*handle = (struct handle){.id = (uint32_t)id, .view = -1};
	*out = handle;
	return 0;
}

static void release_id(struct uapi_core *core, uint32_t id)
{
	const struct join_head head = {.kind = JOIN_RELEASE, .handle = id};

	simple(core, NULL, &head, NULL, 0, NULL);
}

static void release(struct uapi_core *core, void *opaque)
{
	struct guest *guest = (struct guest *)core;
	struct handle *handle = opaque;

	release_id(core, handle->id);
	if (handle->view >= 0) {
		pthread_mutex_lock(&guest->lock);
		LIST_REMOVE(handle, next);
		pthread_mutex_unlock(&guest->lock);
		close(handle->view);
	}
	free(handle);
}

/* ---- containers and groups ---- */

static int open_object(struct uapi_core *core, const struct join_head *head, struct handle **out)
{
	int64_t id = simple(core, NULL, head, NULL, 0, NULL);
	int ret = handle_new(id, out);

	if (ret && id > 0)
		release_id(core, (uint32_t)id);
	return ret;
}

static int container_open(struct uapi_core *core, struct core_container **out)
{
	const struct join_head head = {.kind = JOIN_CONTAINER_OPEN};

	return open_object(core, &head, (struct handle **)out);
}

static void container_release(struct uapi_core *core, struct core_container *container)
{
	release(core, container);
}

static int container_ioctl(struct uapi_core *core, struct core_container *container,
			   struct vfio_client *client, unsigned cmd, uint64_t arg)
{
	const struct join_head head = {.kind = JOIN_CONTAINER_IOCTL,
				       .handle = id_of(container),
				       .arg = {(uint32_t)client->pid, cmd, arg}};

	return result(simple(core, client, &head, NULL, 0, NULL));
}

static int group_open(struct uapi_core *core, unsigned number, struct core_group **out)
{
	const struct join_head head = {.kind = JOIN_GROUP_OPEN, .arg = {number}};

	return open_object(core, &head, (struct handle **)out);
}

static void group_release(struct uapi_core *core, struct core_group *group)
{
	release(core, group);
}

static int group_get_status(struct uapi_core *core, struct core_group *group,
			    struct vfio_client *client, uint64_t arg)
{
	const struct join_head head = {.kind = JOIN_GROUP_STATUS,
				       .handle = id_of(group),
				       .arg = {(uint32_t)client->pid, arg}};

	return result(simple(core, client, &head, NULL, 0, NULL));
}

static int group_set_container(struct uapi_core *core, struct core_group *group,
			       struct core_container *container)
{
	const struct join_head head = {
		.kind = JOIN_GROUP_SET, .handle = id_of(group), .arg = {id_of(container)}};

	return result(simple(core, NULL, &head, NULL, 0, NULL));
}

static int group_set_iommufd(struct uapi_core *core, struct core_group *group,
			     struct core_iommufd *iommufd)
{
	const struct join_head head = {
		.kind = JOIN_GROUP_SET_IOMMUFD, .handle = id_of(group), .arg = {id_of(iommufd)}};

	return result(simple(core, NULL, &head, NULL, 0, NULL));
}

static int iommufd_open(struct uapi_core *core, struct core_iommufd **out)
{
	const struct join_head head = {.kind = JOIN_IOMMUFD_OPEN};

	return open_object(core, &head, (struct handle **)out);
}

static void iommufd_release(struct uapi_core *core, struct core_iommufd *iommufd)
{
	release(core, iommufd);
}

static int iommufd_ioctl(struct uapi_core *core, struct core_iommufd *iommufd,
			 struct vfio_client *client, unsigned cmd, uint64_t arg)
{
	const struct join_head head = {.kind = JOIN_IOMMUFD_IOCTL,
				       .handle = id_of(iommufd),
				       .arg = {(uint32_t)client->pid, cmd, arg}};

	return result(simple(core, client, &head, NULL, 0, NULL));
}

static int cdev_open(struct uapi_core *core, const struct uapi_device *dev,
		     struct core_device **out)
{
	const struct join_head head = {.kind = JOIN_CDEV_OPEN, .arg = {dev->cdev}};

	return open_object(core, &head, (struct handle **)out);
}

static int group_unset_container(struct uapi_core *core, struct core_group *group)
{
	const struct join_head head = {.kind = JOIN_GROUP_UNSET, .handle = id_of(group)};

	return result(simple(core, NULL, &head, NULL, 0, NULL));
}

static const struct uapi_device *find_device(const struct uapi_core *core, const char *name)
{
	for (unsigned i = 0; i < core->nr_devices; i++) {
		if (!strcmp(core->devices[i].name, name))
			return &core->devices[i];
	}
	return NULL;
}

static int group_get_device(struct uapi_core *core, struct core_group *group,
			    struct vfio_client *client, uint64_t arg, struct core_device **out,
			    const struct uapi_device **which)
{
	const struct join_head head = {.kind = JOIN_GROUP_GET_DEVICE,
				       .handle = id_of(group),
				       .arg = {(uint32_t)client->pid, arg}};
	struct guest *guest = (struct guest *)core;
	struct line *line = line_take(guest);
	struct handle *handle = NULL;
	char name[16] = "";
	int64_t id;
	int ret;

	if (!line)
		return -EIO;
	ret = line_call(line, client, &head, NULL, 0, NULL, 0);
	if (ret) {
		line_put(guest, line, true);
		return ret;
	}
	id = line->in.head.value;
	if (line->in.head.len == sizeof(name))
		memcpy(name, line->in.data, sizeof(name) - 1);
	line_put(guest, line, false);
	ret = handle_new(id, &handle);
	if (ret && id <= 0)
		return ret;
	*which = find_device(core, name);
	if (!ret && !*which)
		ret = -ENODEV; /* not there when the run began */
	if (ret) {
		release_id(core, (uint32_t)id);
		free(handle);
		return ret;
	}
	*out = (struct core_device *)handle;
	return 0;
}

/* ---- devices ---- */

static void device_release(struct uapi_core *core, struct core_device *df)
{
	release(core, df);
}

static int device_set_mmio(struct uapi_core *core, struct core_device *df, enum vfio_mmio_mode mode)
{
	const struct join_head head = {
		.kind = JOIN_DEVICE_MMIO, .handle = id_of(df), .arg = {mode}};

	return result(simple(core, NULL, &head, NULL, 0, NULL));
}

static int device_ioctl(struct uapi_core *core, struct core_device *df, struct vfio_client *client,
			unsigned cmd, uint64_t arg)
{
	const struct join_head head = {.kind = JOIN_DEVICE_IOCTL,
				       .handle = id_of(df),
				       .arg = {(uint32_t)client->pid, cmd, arg}};

	return result(simple(core, client, &head, NULL, 0, NULL));
}

static ssize_t device_read(struct uapi_core *core, struct core_device *df, uint64_t offset,
			   void *buf, size_t len)
{
	struct guest *guest = (struct guest *)core;
	size_t want = len < JOIN_DATA ? len : JOIN_DATA;
	const struct join_head head = {
		.kind = JOIN_DEVICE_READ, .handle = id_of(df), .arg = {offset, want}};
	struct line *line = line_take(guest);
	int64_t ret;

	if (!line)
		return -EIO;
	ret = line_call(line, NULL, &head, NULL, 0, NULL, 0);
	if (ret) {
		line_put(guest, line, true);
		return (ssize_t)ret;
	}
	ret = line->in.head.value;
	if (ret > 0 && ((uint64_t)ret > want || line->in.head.len != (uint64_t)ret))
		ret = -EIO;
	if (ret > 0)
		memcpy(buf, line->in.data, (size_t)ret);
	line_put(guest, line, false);
	return ret < -4095 ? -EIO : (ssize_t)ret;
}

static ssize_t device_write(struct uapi_core *core, struct core_device *df, uint64_t offset,
			    const void *buf, size_t len)
{
	const struct join_head head = {
		.kind = JOIN_DEVICE_WRITE, .handle = id_of(df), .arg = {offset}};
	size_t want = len < JOIN_DATA ? len : JOIN_DATA;
	int64_t ret = simple(core, NULL, &head, buf, want, NULL);

	return ret > (int64_t)want ? -EIO : (ssize_t)ret;
}

static int device_store(struct uapi_core *core, struct core_device *df, uint64_t offset,
			unsigned size, uint64_t value)
{
	const struct join_head head = {
		.kind = JOIN_DEVICE_STORE, .handle = id_of(df), .arg = {offset, size, value}};

	return result(simple(core, NULL, &head, NULL, 0, NULL));
}

static int device_load(struct uapi_core *core, struct core_device *df, uint64_t offset,
		       unsigned size, uint64_t *value)
{
	const struct join_head head = {
		.kind = JOIN_DEVICE_LOAD, .handle = id_of(df), .arg = {offset, size}};
	struct join_head out;
	int ret = result(simple(core, NULL, &head, NULL, 0, &out));

	if (!ret)
		*value = out.arg[0];
	return ret;
}

static int device_mmap(struct uapi_core *core, struct core_device *df, uint64_t offset,
		       uint64_t len, bool shared, bool *writable, bool *trap_reads)
{
	const struct join_head head = {
		.kind = JOIN_DEVICE_MMAP, .handle = id_of(df), .arg = {offset, len, shared}};
	struct join_head out;
	int ret = result(simple(core, NULL, &head, NULL, 0, &out));

	if (!ret) {
		*writable = out.arg[0];
		*trap_reads = out.arg[1];
	}
	return ret;
}

/* Whether a program has it open we ask by a lease, to which only its owner and CAP_LEASE are
 * entitled.
 */
static int check_view(struct guest *guest, int fd)
{
	int error;

	if (fcntl(fd, F_SETLEASE, F_WRLCK) == 0) {
		fcntl(fd, F_SETLEASE, F_UNLCK);
		return 0;
	}
	error = errno;
	if (error == EAGAIN)
		return 0;
	uvfio_log(
		guest->log, UVFIO_LOG_ERROR,
		"the server of the machine %s is another user's, whose files this one cannot watch "
		"(%s): run as that user, or with CAP_LEASE",
		guest->name, strerror(error));
	return -EACCES;
}

static int device_view_fd(struct uapi_core *core, struct core_device *df)
{
	const struct join_head head = {.kind = JOIN_DEVICE_VIEW, .handle = id_of(df)};
	struct handle *handle = (struct handle *)df;
	struct guest *guest = (struct guest *)core;
	struct line *line;
	int ret, fd;

	if (handle->view >= 0)
		return handle->view;
	line = line_take(guest);
	if (!line)
		return -EIO;
	ret = line_call(line, NULL, &head, NULL, 0, NULL, 0);
	fd = ret ? -1 : join_packet_take(&line->in, 0);
	if (!ret && line->in.head.value)
		ret = result(line->in.head.value);
	line_put(guest, line, ret == -EIO && fd < 0);
	if (!ret && fd < 0)
		ret = -EIO;
	/* A memory file, whatever the server says: its size is what it may change. */
	if (!ret && fcntl(fd, F_GET_SEALS) < 0)
		ret = -EIO;
	if (!ret)
		ret = check_view(guest, fd);
	if (ret) {
		if (fd >= 0)
			close(fd);
		return ret < 0 ? ret : -EIO;
	}
	pthread_mutex_lock(&guest->lock);
	handle->view = fd;
	LIST_INSERT_HEAD(&guest->views, handle, next);
	pthread_mutex_unlock(&guest->lock);
	return fd;
}

/* ---- the machine ---- */

static bool hw_config(struct uapi_core *core, const struct uapi_device *dev, uint8_t *bytes,
		      bool wait)
{
	const struct join_head head = {.kind = JOIN_CONFIG, .arg = {wait}};
	struct guest *guest = (struct guest *)core;
	struct line *line = line_take(guest);
	bool busy;

	if (!line)
		return true;
	if (line_call(line, NULL, &head, dev->name, strlen(dev->name), NULL, 0)) {
		line_put(guest, line, true);
		return true;
	}
	busy = !line->in.head.value;
	if (line->in.head.value == 1 && line->in.head.len == PCI_EXT_CONFIG_SIZE)
		memcpy(bytes, line->in.data, PCI_EXT_CONFIG_SIZE);
	line_put(guest, line, false);
	return !busy;
}

static int sysfs_serve_there(struct uapi_core *core, int sock, const struct sysfs_link *links,
			     unsigned nr)
{
	const struct join_head head = {.kind = JOIN_SYSFS, .arg = {getegid()}};
	struct guest *guest = (struct guest *)core;
	struct line *line = line_take(guest);
	char *data = malloc(JOIN_DATA);
	size_t len = 0;
	int ret = -ENOMEM;

	/* What does not fit is left out. */
	for (unsigned i = 0; data && i < nr; i++) {
		size_t name = strlen(links[i].name) + 1, target = strlen(links[i].target) + 1;

		if (name + target > JOIN_DATA - len)
			break;
		memcpy(data + len, links[i].name, name);
		memcpy(data + len + name, links[i].target, target);
		len += name + target;
	}
	if (line && data) {
		bool broken = line_call(line, NULL, &head, data, len, &sock, 1);

		ret = broken ? -EIO : line->in.head.value < 0 ? (int)line->in.head.value : 0;
		line_put(guest, line, broken);
	} else if (line) {
		line_put(guest, line, false);
	}
	free(data);
	close(sock);
	return ret;
}

#define SNAPSHOT_MAX (64u << 20)

static int snapshot(struct uapi_core *core, uint8_t **out, size_t *len)
{
	struct join_head head = {.kind = JOIN_SNAPSHOT};
	struct guest *guest = (struct guest *)core;
	struct line *line = line_take(guest);
	uint8_t *data = NULL;
	size_t size = 0, got = 0;
	bool broken = false;
	int ret = 0;

	if (!line)
		return -EIO;
	while (!ret && (!data || got < size)) {
		const struct join_packet *in = &line->in;

		head.arg[0] = got;
		broken = line_call(line, NULL, &head, NULL, 0, NULL, 0) != 0;
		if (broken || in->head.value > SNAPSHOT_MAX) {
			ret = -EIO;
		} else if (in->head.value < 0) {
			ret = in->head.value < -4095 ? -EIO : (int)in->head.value;
		} else if (!data) {
			size = (size_t)in->head.value;
			data = malloc(size + 1);
			ret = data ? 0 : -ENOMEM;
		}
		/* Always something, and never more than is wanted. */
		if (!ret && (!in->head.len || in->head.len > size - got))
			ret = -EIO;
		if (ret)
			break;
		memcpy(data + got, in->data, in->head.len);
		got += in->head.len;
	}
	line_put(guest, line, broken);
	if (ret) {
		free(data);
		return ret;
	}
	*out = data;
	*len = size;
	return 0;
}

const struct uapi_core_ops join_guest_ops = {
	.container_open = container_open,
	.container_release = container_release,
	.container_ioctl = container_ioctl,
	.group_open = group_open,
	.group_release = group_release,
	.group_get_status = group_get_status,
	.group_set_container = group_set_container,
	.group_set_iommufd = group_set_iommufd,
	.iommufd_open = iommufd_open,
	.iommufd_release = iommufd_release,
	.iommufd_ioctl = iommufd_ioctl,
	.cdev_open = cdev_open,
	.group_unset_container = group_unset_container,
	.group_get_device = group_get_device,
	.device_release = device_release,
	.device_set_mmio = device_set_mmio,
	.device_ioctl = device_ioctl,
	.device_read = device_read,
	.device_write = device_write,
	.device_store = device_store,
	.device_load = device_load,
	.device_mmap = device_mmap,
	.device_view_fd = device_view_fd,
	.sysfs_serve = sysfs_serve_there,
	.sysfs_snapshot = snapshot,
	.hw_config = hw_config,
	.free = guest_free,
};
