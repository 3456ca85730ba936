/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The calls: from the packet to the core and back.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "base/ctx.h"
#include "base/trash.h"
#include "join/host_private.h"
#include "vfio/host.h"
#include "vfio/uio.h"

/* A call being made.  @head: the packet's, which a question overwrites. */
struct call {
	struct channel *channel;
	struct connection *connection;
	struct join_head head, done;
	size_t len; /* of channel->out */
	int fd;     /* to be sent along, and closed; -1 */
	struct object *object;
	bool broken;
	/* What it makes the device do comes before the answer: a driver polls for what it causes.
	 */
	bool device_first;
};

static void finish(struct call *call, struct host_client *c)
{
	call->broken |= c->broken;
	if (c->held)
		object_put(call->connection, c->held);
}

/* The object of @kind that the call is on; false: EBADF. */
static bool on(struct call *call, enum object_kind kind)
{
	call->object = object_get(call->connection, call->head.handle, kind);
	if (!call->object)
		call->done.value = -EBADF;
	return call->object;
}

/* The device file that the call is on, which may be one that can only be mapped; false: EBADF. */
static bool on_mappable(struct call *call)
{
	call->object = object_get(call->connection, call->head.handle, OBJECT_RESOURCE);
	return call->object || on(call, OBJECT_DEVICE);
}

/* The device that the call's data names; to be put.  NULL: what is wrong is answered. */
static struct vfio_device *named(struct call *call)
{
	const struct join_packet *in = &call->channel->in;
	struct vfio_device *dev = NULL;
	char name[16] = "";

	call->done.value = -EINVAL;
	if (in->head.len < sizeof(name)) {
		memcpy(name, in->data, in->head.len);
		dev = vfio_machine_get_device(call->connection->host->machine, name);
		call->done.value = dev ? 0 : -ENODEV;
	}
	return dev;
}

/* A new handle for @ptr. */
static void add(struct call *call, enum object_kind kind, void *ptr, unsigned group)
{
	call->done.value = object_add(call->connection, kind, ptr, group);
	if (call->done.value >= 0)
		return;
	switch (kind) {
	case OBJECT_CONTAINER:
		vfio_container_release(ptr);
		break;
	case OBJECT_GROUP:
		vfio_group_release(ptr);
		break;
	case OBJECT_IOMMUFD:
		vfio_iommufd_release(ptr);
		break;
	case OBJECT_SYSFS:
		host_sysfs_free(ptr);
		break;
	default:
		vfio_device_release(ptr);
	}
}

/* ---- the connection ---- */

static void hello(struct call *call)
{
	struct vfio_machine *machine = call->connection->host->machine;
	uint8_t *out = call->channel->out;
	struct join_hello hello;

	if (call->head.arg[0] != JOIN_VERSION) {
		call->done.value = -EPROTO;
		return;
	}
	memset(&hello, 0, sizeof(hello));
	hello.version = JOIN_VERSION;
	hello.uio_first = vfio_machine_uio_first(machine);
	vfio_machine_get_policy(machine, &hello.policy);
	memcpy(out, &hello, sizeof(hello));
	call->len = sizeof(hello);
}

/* What @dev is, behind what is in the answer already. */
static void put_device(struct call *call, struct vfio_device *dev)
{
	struct uapi_device d;

	memset(&d, 0, sizeof(d));
	uapi_device_describe(dev, &d);
	memcpy(call->channel->out + call->len, &d, sizeof(d));
	call->len += sizeof(d);
}

static void list(struct call *call)
{
	struct vfio_machine *machine = call->connection->host->machine;
	uint64_t from = call->head.arg[0], max = call->head.arg[1];
	struct vfio_device **devs;
	unsigned nr;

	_Static_assert(JOIN_LISTED * sizeof(struct uapi_device) <= JOIN_DATA, "they fit");
	if (max > JOIN_LISTED)
		max = JOIN_LISTED;
	call->done.arg[0] = vfio_machine_changes(machine);
	nr = vfio_machine_get_devices(machine, &devs);
	for (uint64_t i = from; i < nr && (uint64_t)call->done.value < max; i++) {
		put_device(call, devs[i]);
		call->done.value++;
	}
	vfio_devices_put(devs, nr);
}

static void describe(struct call *call)
{
	struct vfio_device *dev = named(call);

	if (!dev)
		return;
	put_device(call, dev);
	vfio_device_put(dev);
}

static void new_channel(struct call *call)
{
	int sock = join_packet_take(&call->channel->in, 0);

	call->done.value = sock < 0 ? -EBADF : channel_start(call->connection, sock, false);
}

static void release(struct call *call)
{
	call->done.value = object_release(call->connection, call->head.handle);
}

static void config(struct call *call)
{
	struct vfio_device *dev = named(call);

	if (!dev)
		return;
	call->done.value = vfio_device_hw_config(dev, call->channel->out, call->head.arg[0]);
	call->len = call->done.value ? PCI_EXT_CONFIG_SIZE : 0;
	vfio_device_put(dev);
}

/* One for a connection: more would be threads that nobody needs. */
static void serve_sysfs(struct call *call)
{
	struct join_packet *in = &call->channel->in;
	int sock = join_packet_take(in, 0), notify = join_packet_take(in, 1);
	struct host_sysfs *s;
	bool first = sock >= 0 && !atomic_exchange(&call->connection->has_sysfs, true);

	if (!first || !join_is_channel(sock) || (notify >= 0 && !join_is_channel(notify))) {
		if (sock >= 0)
			uvfio_trash_close(call->connection->trash, sock);
		if (notify >= 0)
			uvfio_trash_close(call->connection->trash, notify);
		call->done.value = sock < 0 ? -EBADF : first ? -EINVAL : -EBUSY;
		return;
	}
	call->done.value = host_sysfs_new(call->connection, sock, notify, (gid_t)call->head.arg[0],
					  in->data, in->head.len, &s);
	if (!call->done.value)
		add(call, OBJECT_SYSFS, s, 0);
}

static void snapshot(struct call *call)
{
	call->done.value =
		host_snapshot(call->connection, call->head.arg[0], call->channel->out, &call->len);
}

static void identify(struct call *call)
{
	char name[16] = "";
	unsigned bar = 0;

	if (!on(call, OBJECT_SYSFS))
		return;
	call->done.value = host_sysfs_identify(call->object->ptr, call->head.arg[0], name, &bar);
	call->done.arg[0] = bar;
	memcpy(call->channel->out, name, sizeof(name));
	call->len = sizeof(name);
}

/* ---- containers and groups ---- */

static void container_open(struct call *call)
{
	struct vfio_container *container;

	call->done.value = vfio_container_open(call->connection->host->machine, &container);
	if (!call->done.value)
		add(call, OBJECT_CONTAINER, container, 0);
}

static void container_ioctl(struct call *call)
{
	struct host_client c;

	if (!on(call, OBJECT_CONTAINER))
		return;
	host_client_init(&c, call->channel, call->head.arg[0]);
	call->done.value = vfio_container_ioctl(call->object->ptr, &c.client,
						(unsigned)call->head.arg[1], call->head.arg[2]);
	finish(call, &c);
}

static void group_open(struct call *call)
{
	unsigned number = (unsigned)call->head.arg[0];
	struct vfio_group_file *group;

	call->done.value = vfio_group_open(call->connection->host->machine, number, &group);
	if (!call->done.value)
		add(call, OBJECT_GROUP, group, number);
}

static void group_status(struct call *call)
{
	struct host_client c;

	if (!on(call, OBJECT_GROUP))
		return;
	host_client_init(&c, call->channel, call->head.arg[0]);
	call->done.value = vfio_group_get_status(call->object->ptr, &c.client, call->head.arg[1]);
	finish(call, &c);
}

static void group_set(struct call *call)
{
	struct object *container = NULL;

	if (!on(call, OBJECT_GROUP))
		return;
	if (call->head.arg[0]) {
		container = object_get(call->connection, call->head.arg[0], OBJECT_CONTAINER);
		if (!container) {
			call->done.value = -EBADF;
			return;
		}
	}
	call->done.value =
		vfio_group_set_container(call->object->ptr, container ? container->ptr : NULL);
	if (container)
		object_put(call->connection, container);
}

static void group_set_iommufd(struct call *call)
{
	struct object *iommufd;

	if (!on(call, OBJECT_GROUP))
		return;
	iommufd = object_get(call->connection, call->head.arg[0], OBJECT_IOMMUFD);
	if (!iommufd) {
		call->done.value = -EBADF;
		return;
	}
	call->done.value = vfio_group_set_iommufd(call->object->ptr, iommufd->ptr);
	object_put(call->connection, iommufd);
}

static void iommufd_open(struct call *call)
{
	struct vfio_iommufd *iommufd;

	call->done.value = vfio_iommufd_open(call->connection->host->machine, &iommufd);
	if (!call->done.value)
		add(call, OBJECT_IOMMUFD, iommufd, 0);
}

static void iommufd_ioctl(struct call *call)
{
	struct host_client c;

	if (!on(call, OBJECT_IOMMUFD))
		return;
	host_client_init(&c, call->channel, call->head.arg[0]);
	call->done.value = vfio_iommufd_ioctl(call->object->ptr, &c.client,
					      (unsigned)call->head.arg[1], call->head.arg[2]);
	finish(call, &c);
}

static void group_unset(struct call *call)
{
	if (on(call, OBJECT_GROUP))
		call->done.value = vfio_group_unset_container(call->object->ptr);
}

static void group_get_device(struct call *call)
{
	struct vfio_device_file *df;
	struct host_client c;

	if (!on(call, OBJECT_GROUP))
		return;
	host_client_init(&c, call->channel, call->head.arg[0]);
	call->done.value =
		vfio_group_get_device(call->object->ptr, &c.client, call->head.arg[1], &df);
	finish(call, &c);
	if (call->done.value)
		return;
	put_device(call, vfio_device_file_device(df));
	add(call, OBJECT_DEVICE, df, 0);
}

/* ---- devices ---- */

static void cdev_open(struct call *call)
{
	struct vfio_device_file *df;

	call->done.value =
		vfio_cdev_open(call->connection->host->machine, (unsigned)call->head.arg[0], &df);
	if (call->done.value)
		return;
	put_device(call, vfio_device_file_device(df));
	add(call, OBJECT_DEVICE, df, 0);
}

static bool is_mode(uint64_t mode)
{
	return mode == VFIO_MMIO_EXACT || mode == VFIO_MMIO_POLLED || mode == VFIO_MMIO_NONE;
}

static void device_mmio(struct call *call)
{
	uint64_t mode = call->head.arg[0];

	if (!on(call, OBJECT_DEVICE))
		return;
	if (!is_mode(mode))
		call->done.value = -EINVAL;
	else
		call->done.value =
			vfio_device_file_set_mmio(call->object->ptr, (enum vfio_mmio_mode)mode);
}

static void device_ioctl(struct call *call)
{
	struct host_client c;

	if (!on(call, OBJECT_DEVICE))
		return;
	if (call->head.arg[3])
		host_client_init_migrating(&c, call->channel, call->head.arg[0]);
	else
		host_client_init(&c, call->channel, call->head.arg[0]);
	call->done.value = vfio_device_ioctl(call->object->ptr, &c.client,
					     (unsigned)call->head.arg[1], call->head.arg[2]);
	finish(call, &c);
}

static void device_read(struct call *call)
{
	uint64_t len = call->head.arg[1];

	if (!on(call, OBJECT_DEVICE))
		return;
	if (len > JOIN_DATA) {
		call->done.value = -EINVAL;
		return;
	}
	call->done.value =
		vfio_device_read(call->object->ptr, call->head.arg[0], call->channel->out, len);
	if (call->done.value > 0)
		call->len = (size_t)call->done.value;
}

static void device_write(struct call *call)
{
	const struct join_packet *in = &call->channel->in;

	if (!on(call, OBJECT_DEVICE))
		return;
	call->done.value =
		vfio_device_write(call->object->ptr, call->head.arg[0], in->data, in->head.len);
	call->device_first = true;
}

static bool is_size(uint64_t size)
{
	return size == 1 || size == 2 || size == 4 || size == 8;
}

static void device_store(struct call *call)
{
	const uint64_t *arg = call->head.arg;

	if (!on_mappable(call))
		return;
	call->done.value = is_size(arg[1]) ? vfio_device_store(call->object->ptr, arg[0],
							       (unsigned)arg[1], arg[2])
					   : -EINVAL;
	call->device_first = true;
}

static void device_load(struct call *call)
{
	const uint64_t *arg = call->head.arg;

	if (!on_mappable(call))
		return;
	call->done.value = is_size(arg[1]) ? vfio_device_load(call->object->ptr, arg[0],
							      (unsigned)arg[1], &call->done.arg[0])
					   : -EINVAL;
}

static void device_mmap(struct call *call)
{
	bool writable = false, trap_reads = false;

	if (!on_mappable(call))
		return;
	call->done.value = vfio_device_mmap(call->object->ptr, call->head.arg[0], call->head.arg[1],
					    call->head.arg[2] != 0, &writable, &trap_reads);
	call->done.arg[0] = writable;
	call->done.arg[1] = trap_reads;
}

static void device_view(struct call *call)
{
	int fd;

	if (!on(call, OBJECT_DEVICE))
		return;
	fd = vfio_device_file_fd(call->object->ptr);
	if (fd >= 0) {
		call->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
		fd = call->fd < 0 ? -errno : 0;
	}
	call->done.value = fd;
}

/* ---- sessions of migration data ---- */

static void migration(struct call *call)
{
	if (on(call, OBJECT_MIGRATION))
		call->done.value =
			host_migration(call->channel, &call->head, call->object->ptr, &call->len);
}

static void migration_ioctl(struct call *call)
{
	struct host_client c;

	if (!on(call, OBJECT_MIGRATION))
		return;
	host_client_init(&c, call->channel, call->head.arg[0]);
	call->done.value = vfio_migration_ioctl(call->object->ptr, &c.client,
						(unsigned)call->head.arg[1], call->head.arg[2]);
	finish(call, &c);
}

/* ---- devices as the host has them ---- */

static void resource_open(struct call *call)
{
	struct vfio_device *dev = named(call);
	uint64_t mode = call->head.arg[0];
	struct vfio_device_file *df;
	int view;

	if (!dev)
		return;
	call->done.value =
		is_mode(mode) ? vfio_device_host_open(dev, (enum vfio_mmio_mode)mode, &df, &view)
			      : -EINVAL;
	vfio_device_put(dev);
	if (call->done.value)
		return;
	call->fd = view;
	add(call, OBJECT_RESOURCE, df, 0);
}

static void uio_ioctl(struct call *call)
{
	struct vfio_device *dev = named(call);
	struct host_client c;

	if (!dev)
		return;
	host_client_init(&c, call->channel, call->head.arg[0]);
	call->done.value = vfio_device_uio_ioctl(dev, &c.client, (unsigned)call->head.arg[1],
						 call->head.arg[2]);
	finish(call, &c);
	vfio_device_put(dev);
}

/* ---- */

static void (*const calls[JOIN_CALLS])(struct call *call) = {
	[JOIN_HELLO] = hello,
	[JOIN_CHANNEL] = new_channel,
	[JOIN_CONTAINER_OPEN] = container_open,
	[JOIN_CONTAINER_IOCTL] = container_ioctl,
	[JOIN_GROUP_OPEN] = group_open,
	[JOIN_GROUP_STATUS] = group_status,
	[JOIN_GROUP_SET] = group_set,
	[JOIN_GROUP_UNSET] = group_unset,
	[JOIN_GROUP_GET_DEVICE] = group_get_device,
	[JOIN_DEVICE_MMIO] = device_mmio,
	[JOIN_DEVICE_IOCTL] = device_ioctl,
	[JOIN_DEVICE_READ] = device_read,
	[JOIN_DEVICE_WRITE] = device_write,
	[JOIN_DEVICE_STORE] = device_store,
	[JOIN_DEVICE_LOAD] = device_load,
	[JOIN_DEVICE_MMAP] = device_mmap,
	[JOIN_DEVICE_VIEW] = device_view,
	[JOIN_RELEASE] = release,
	[JOIN_SYSFS] = serve_sysfs,
	[JOIN_CONFIG] = config,
	[JOIN_IOMMUFD_OPEN] = iommufd_open,
	[JOIN_IOMMUFD_IOCTL] = iommufd_ioctl,
	[JOIN_GROUP_SET_IOMMUFD] = group_set_iommufd,
	[JOIN_CDEV_OPEN] = cdev_open,
	[JOIN_SNAPSHOT] = snapshot,
	[JOIN_SYSFS_IDENTIFY] = identify,
	[JOIN_RESOURCE_OPEN] = resource_open,
	[JOIN_UIO_IOCTL] = uio_ioctl,
	[JOIN_LIST] = list,
	[JOIN_DESCRIBE] = describe,
	[JOIN_MIG_READ] = migration,
	[JOIN_MIG_WRITE] = migration,
	[JOIN_MIG_READABLE] = migration,
	[JOIN_MIG_IOCTL] = migration_ioctl,
};

bool call_make(struct channel *channel)
{
	struct call call = {
		.channel = channel,
		.connection = channel->connection,
		.head = channel->in.head,
		.done = {.kind = JOIN_DONE},
		.fd = -1,
	};
	int ret;

	if (call.head.kind >= JOIN_CALLS)
		return false;
	uvfio_defer_begin();
	calls[call.head.kind](&call);
	if (call.device_first)
		uvfio_defer_end();
	/* What has come, and what it was made on, is let go of first: once it is answered, the
	 * program may close that and open it anew, and a device, or a group, that a call has still
	 * is open still (BIND: EINVAL). */
	join_packet_close(&channel->in);
	if (call.object)
		object_put(call.connection, call.object);
	ret = call.broken ? -EPROTO
			  : join_send(channel->sock, &call.done, channel->out, call.len, &call.fd,
				      call.fd >= 0 ? 1 : 0);
	if (call.fd >= 0)
		close(call.fd);
	if (!call.device_first)
		uvfio_defer_end();
	return !ret;
}
