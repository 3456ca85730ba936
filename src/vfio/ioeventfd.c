/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * IOEVENTFD (A.8): an eventfd whose signal writes a fixed value into a register.
 *
 * The eventfd is watched in the device's work context, and the write is done there behind the
 * memory gate: while decode is off or a reset is going on, the signal is dropped.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include "vfio/bar_access.h"

#define MAX_IOEVENTFDS 1000u

struct ioeventfd {
	struct ioeventfd *next;
	struct vfio_device *dev;
	struct uvfio_watch *watch;
	int fd;
	unsigned bar, size;
	uint64_t off, data;
};

/* [work context] */
static void signalled(void *arg)
{
	struct ioeventfd *io = arg;
	struct vfio_device *dev = io->dev;
	uint64_t count;
	struct iovec iov = {&count, sizeof(count)};
	bool on;

	/* Non-blocking: another reader may have been faster. */
	if (preadv2(io->fd, &iov, 1, -1, RWF_NOWAIT) != (ssize_t)sizeof(count))
		return;
	device_lock_regs(dev);
	if (dev->bars[io->bar].flags & UVFIO_BAR_IO)
		on = dev->mem != MEM_WAIT && pci_io_decoded(dev->func);
	else
		on = dev->mem == MEM_ON;
	if (on)
		bar_write_locked(dev, io->bar, io->off, io->size, io->data);
	pthread_mutex_unlock(&dev->reg_lock);
}

static void call_unwatch(struct vfio_device *dev, void *arg)
{
	struct ioeventfd *io = arg;

	uvfio_watch_free(io->watch);
}

static void ioeventfd_free(struct ioeventfd *io)
{
	if (io->watch)
		device_call(io->dev, call_unwatch, io);
	if (io->fd >= 0)
		close(io->fd);
	free(io);
}

void ioeventfd_free_all(struct vfio_device *dev)
{
	while (dev->ioeventfds) {
		struct ioeventfd *io = dev->ioeventfds;

		dev->ioeventfds = io->next;
		ioeventfd_free(io);
	}
	dev->nr_ioeventfds = 0;
}

/* config_lock held. */
static struct ioeventfd **find(struct vfio_device *dev, const struct ioeventfd *key)
{
	struct ioeventfd **link = &dev->ioeventfds;

	for (; *link; link = &(*link)->next) {
		if ((*link)->bar == key->bar && (*link)->off == key->off &&
		    (*link)->size == key->size && (*link)->data == key->data)
			break;
	}
	return link;
}

static int add(struct vfio_device *dev, const struct ioeventfd *key, int fd)
{
	struct ioeventfd *io;
	int ret = 0;

	io = malloc(sizeof(*io));
	if (!io)
		return -ENOMEM;
	*io = *key;
	io->fd = fd;
	pthread_mutex_lock(&dev->config_lock);
	if (*find(dev, key)) {
		ret = -EEXIST;
	} else if (dev->nr_ioeventfds >= MAX_IOEVENTFDS) {
		ret = -ENOSPC;
	} else {
		io->watch = uvfio_watch_new(dev->ctx, fd, signalled, io);
		if (!io->watch)
			ret = -ENOMEM;
	}
	if (!ret) {
		io->next = dev->ioeventfds;
		dev->ioeventfds = io;
		dev->nr_ioeventfds++;
	}
	pthread_mutex_unlock(&dev->config_lock);
	if (ret) {
		free(io);
		return ret;
	}
	return 0;
}

static int change(struct vfio_device *dev, struct vfio_client *client, const struct ioeventfd *key,
		  int32_t client_fd)
{
	struct ioeventfd **link, *io;
	int fd, ret;

	if (client_fd == -1) {
		pthread_mutex_lock(&dev->config_lock);
		link = find(dev, key);
		io = *link;
		if (io) {
			*link = io->next;
			dev->nr_ioeventfds--;
		}
		pthread_mutex_unlock(&dev->config_lock);
		if (!io)
			return -ENODEV;
		ioeventfd_free(io);
		return 0;
	}
	/* What is known without asking the client comes before its fd. */
	pthread_mutex_lock(&dev->config_lock);
	ret = *find(dev, key) ? -EEXIST : dev->nr_ioeventfds >= MAX_IOEVENTFDS ? -ENOSPC : 0;
	pthread_mutex_unlock(&dev->config_lock);
	if (ret)
		return ret;
	fd = client->ops->get_eventfd(client, client_fd);
	if (fd < 0)
		return fd;
	ret = add(dev, key, fd);
	if (ret)
		close(fd);
	return ret;
}

static bool overlaps_table(struct vfio_device *dev, const struct ioeventfd *key)
{
	const struct uvfio_pci_desc *desc = pci_func_desc(dev->func);

	return dev->msix_window && desc->msix_bar == key->bar &&
	       key->off < desc->msix_table + dev->msix_window * 16ull &&
	       key->off + key->size > desc->msix_table;
}

int device_ioctl_ioeventfd(struct vfio_device_file *df, struct vfio_client *client, uint64_t arg)
{
	struct vfio_device *dev = df->dev;
	struct vfio_device_ioeventfd req;
	struct ioeventfd key = {.dev = dev};
	size_t min = offsetof(struct vfio_device_ioeventfd, fd) + sizeof(req.fd);

	if (client->ops->copy_from(client, &req, arg, min))
		return -EFAULT;
	if (req.argsz < min || req.flags & ~VFIO_DEVICE_IOEVENTFD_SIZE_MASK)
		return -EINVAL;
	key.size = req.flags & VFIO_DEVICE_IOEVENTFD_SIZE_MASK;
	if (__builtin_popcount(key.size) != 1 || req.fd < -1)
		return -EINVAL;
	if (region_decode(req.offset, &key.bar, &key.off) || key.bar >= NR_BARS)
		return -EINVAL;
	if (key.off > dev->bars[key.bar].size || key.size > dev->bars[key.bar].size - key.off)
		return -EINVAL;
	if (overlaps_table(dev, &key))
		return -EINVAL;
	/* Eight bytes at once are refused before Linux 7.3. */
	if (key.size == 8)
		return -EINVAL;
	key.data = req.data;
	return change(dev, client, &key, req.fd);
}
