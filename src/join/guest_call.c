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

int64_t guest_simple(struct uapi_core *core, struct vfio_client *client,
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

int guest_result(int64_t value)
{
	return value > INT32_MAX ? -EIO : (int)value;
}

int guest_handle_new(int64_t id, struct handle **out)
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

void guest_release_id(struct uapi_core *core, uint32_t id)
{
	const struct join_head head = {.kind = JOIN_RELEASE, .handle = id};

	guest_simple(core, NULL, &head, NULL, 0, NULL);
}

void guest_release(struct uapi_core *core, void *opaque)
{
	struct guest *guest = (struct guest *)core;
	struct handle *handle = opaque;

	if (!handle->pending)
		guest_release_id(core, handle->id);
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
	int64_t id = guest_simple(core, NULL, head, NULL, 0, NULL);
	int ret = guest_handle_new(id, out);

	if (ret && id > 0)
		guest_release_id(core, (uint32_t)id);
	return ret;
}

static int container_open(struct uapi_core *core, struct core_container **out)
{
	const struct join_head head = {.kind = JOIN_CONTAINER_OPEN};

	return open_object(core, &head, (struct handle **)out);
}

static void container_release(struct uapi_core *core, struct core_container *container)
{
	guest_release(core, container);
}

static int container_ioctl(struct uapi_core *core, struct core_container *container,
			   struct vfio_client *client, unsigned cmd, uint64_t arg)
{
	const struct join_head head = {.kind = JOIN_CONTAINER_IOCTL,
				       .handle = id_of(container),
				       .arg = {(uint32_t)client->pid, cmd, arg}};

	return guest_result(guest_simple(core, client, &head, NULL, 0, NULL));
}

static int group_open(struct uapi_core *core, unsigned number, struct core_group **out)
{
	const struct join_head head = {.kind = JOIN_GROUP_OPEN, .arg = {number}};

	return open_object(core, &head, (struct handle **)out);
}

static void group_release(struct uapi_core *core, struct core_group *group)
{
	guest_release(core, group);
}

static int group_get_status(struct uapi_core *core, struct core_group *group,
			    struct vfio_client *client, uint64_t arg)
{
	const struct join_head head = {.kind = JOIN_GROUP_STATUS,
				       .handle = id_of(group),
				       .arg = {(uint32_t)client->pid, arg}};

	return guest_result(guest_simple(core, client, &head, NULL, 0, NULL));
}

static int group_set_container(struct uapi_core *core, struct core_group *group,
			       struct core_container *container)
{
	const struct join_head head = {
		.kind = JOIN_GROUP_SET, .handle = id_of(group), .arg = {id_of(container)}};

	return guest_result(guest_simple(core, NULL, &head, NULL, 0, NULL));
}

static int group_set_iommufd(struct uapi_core *core, struct core_group *group,
			     struct core_iommufd *iommufd)
{
	const struct join_head head = {
		.kind = JOIN_GROUP_SET_IOMMUFD, .handle = id_of(group), .arg = {id_of(iommufd)}};

	return guest_result(guest_simple(core, NULL, &head, NULL, 0, NULL));
}

static int iommufd_open(struct uapi_core *core, struct core_iommufd **out)
{
	const struct join_head head = {.kind = JOIN_IOMMUFD_OPEN};

	return open_object(core, &head, (struct handle **)out);
}

static void iommufd_release(struct uapi_core *core, struct core_iommufd *iommufd)
{
	guest_release(core, iommufd);
}

static int iommufd_ioctl(struct uapi_core *core, struct core_iommufd *iommufd,
			 struct vfio_client *client, unsigned cmd, uint64_t arg)
{
	const struct join_head head = {.kind = JOIN_IOMMUFD_IOCTL,
				       .handle = id_of(iommufd),
				       .arg = {(uint32_t)client->pid, cmd, arg}};

	return guest_result(guest_simple(core, client, &head, NULL, 0, NULL));
}

/* A call that opens a device: its handle, and which one it is. */
static int open_device(struct uapi_core *core, struct vfio_client *client,
		       const struct join_head *head, struct core_device **out,
		       const struct uapi_device **which)
{
	struct guest *guest = (struct guest *)core;
	struct line *line = line_take(guest);
	struct handle *handle = NULL;
	struct uapi_device dev;
	int64_t id;
	int ret, told;

	if (!line)
		return -EIO;
	ret = line_call(line, client, head, NULL, 0, NULL, 0);
	if (ret) {
		line_put(guest, line, true);
		return ret;
	}
	id = line->in.head.value;
	told = guest_take_device(&line->in, 0, &dev);
	line_put(guest, line, false);
	ret = guest_handle_new(id, &handle);
	if (ret && id <= 0)
		return ret;
	if (!ret)
		ret = told;
	if (!ret) {
		*which = uapi_core_know(core, &dev);
		ret = *which ? 0 : -ENOMEM;
	}
	if (ret) {
		guest_release_id(core, (uint32_t)id);
		free(handle);
		return ret;
	}
	*out = (struct core_device *)handle;
	return 0;
}

static int cdev_open(struct uapi_core *core, unsigned number, struct core_device **out,
		     const struct uapi_device **which)
{
	const struct join_head head = {.kind = JOIN_CDEV_OPEN, .arg = {number}};

	return open_device(core, NULL, &head, out, which);
}

static int group_unset_container(struct uapi_core *core, struct core_group *group)
{
	const struct join_head head = {.kind = JOIN_GROUP_UNSET, .handle = id_of(group)};

	return guest_result(guest_simple(core, NULL, &head, NULL, 0, NULL));
}

static int group_get_device(struct uapi_core *core, struct core_group *group,
			    struct vfio_client *client, uint64_t arg, struct core_device **out,
			    const struct uapi_device **which)
{
	const struct join_head head = {.kind = JOIN_GROUP_GET_DEVICE,
				       .handle = id_of(group),
				       .arg = {(uint32_t)client->pid, arg}};

	return open_device(core, client, &head, out, which);
}

/* ---- devices ---- */

static void device_release(struct uapi_core *core, struct core_device *df)
{
	guest_release(core, df);
}

static void export_release(struct uapi_core *core, struct core_export *export)
{
	guest_release(core, export);
}

static int device_set_mmio(struct uapi_core *core, struct core_device *df, enum vfio_mmio_mode mode)
{
	const struct join_head head = {
		.kind = JOIN_DEVICE_MMIO, .handle = id_of(df), .arg = {mode}};

	return guest_result(guest_simple(core, NULL, &head, NULL, 0, NULL));
}

static int device_ioctl(struct uapi_core *core, struct core_device *df, struct vfio_client *client,
			unsigned cmd, uint64_t arg)
{
	const struct join_head head = {
		.kind = JOIN_DEVICE_IOCTL,
		.handle = id_of(df),
		.arg = {(uint32_t)client->pid, cmd, arg, client->ops->give_migration != NULL}};

	return guest_result(guest_simple(core, client, &head, NULL, 0, NULL));
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
	int64_t ret = guest_simple(core, NULL, &head, buf, want, NULL);

	return ret > (int64_t)want ? -EIO : (ssize_t)ret;
}

static int device_store(struct uapi_core *core, struct core_device *df, uint64_t offset,
			unsigned size, uint64_t value)
{
	const struct join_head head = {
		.kind = JOIN_DEVICE_STORE, .handle = id_of(df), .arg = {offset, size, value}};

	return guest_result(guest_simple(core, NULL, &head, NULL, 0, NULL));
}

static int device_load(struct uapi_core *core, struct core_device *df, uint64_t offset,
		       unsigned size, uint64_t *value)
{
	const struct join_head head = {
		.kind = JOIN_DEVICE_LOAD, .handle = id_of(df), .arg = {offset, size}};
	struct join_head out;
	int ret = guest_result(guest_simple(core, NULL, &head, NULL, 0, &out));

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
	int ret = guest_result(guest_simple(core, NULL, &head, NULL, 0, &out));

	if (!ret) {
		*writable = out.arg[0];
		*trap_reads = out.arg[1];
	}
	return ret;
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
		ret = guest_result(line->in.head.value);
	line_put(guest, line, ret == -EIO && fd < 0);
	if (!ret && fd < 0)
		ret = -EIO;
	if (!ret)
		ret = guest_take_view(guest, handle, fd);
	if (ret) {
		if (fd >= 0)
			close(fd);
		return ret < 0 ? ret : -EIO;
	}
	return fd;
}

/* The file itself: the server knows it. */
static int device_memory(struct uapi_core *core, struct core_device *df, uint64_t offset,
			 uint64_t len, struct iommu_mem *out)
{
	int view = device_view_fd(core, df);

	if (view < 0)
		return -EFAULT;
	*out = (struct iommu_mem){
		.kind = IOMMU_MEM_FILE, .offset = offset, .len = len, .page = IOMMU_PAGE_SIZE};
	out->fd = fcntl(view, F_DUPFD_CLOEXEC, 3);
	return out->fd < 0 ? -ENOMEM : 0;
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
	.export_release = export_release,
	.device_set_mmio = device_set_mmio,
	.device_ioctl = device_ioctl,
	.device_read = device_read,
	.device_write = device_write,
	.device_store = device_store,
	.device_load = device_load,
	.device_mmap = device_mmap,
	.device_view_fd = device_view_fd,
	.device_memory = device_memory,
	.migration_release = guest_migration_release,
	.migration_saves = guest_migration_saves,
	.migration_read = guest_migration_read,
	.migration_write = guest_migration_write,
	.migration_readable = guest_migration_readable,
	.migration_ioctl = guest_migration_ioctl,
	.resource_open = guest_resource_open,
	.uio_ioctl = guest_uio_ioctl,
	.sysfs_serve = guest_sysfs_serve,
	.sysfs_identify = guest_sysfs_identify,
	.sysfs_snapshot = guest_snapshot,
	.hw_config = guest_hw_config,
	.list = guest_list,
	.describe = guest_describe,
	.free = guest_free,
};
