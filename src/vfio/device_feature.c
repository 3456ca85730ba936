/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * FEATURE (A.10): the frame, whose order of checks is a rule of its own, and the features.
 *
 * Low power.  A user that enters it gives its mapped pages up: they fault until it leaves, whereas
 * calls on the device file go on to work.  With a wakeup eventfd, the first access ends it, and is
 * told once.
 */
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <unistd.h>
#include "vfio/machine_private.h"

#define OP_MASK (VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_PROBE)

struct feature_call {
	struct vfio_client *client;
	uint64_t data; /* the client's address behind the header */
};

struct feature {
	unsigned index;
	unsigned ops;   /* VFIO_DEVICE_FEATURE_GET, _SET */
	unsigned bytes; /* of payload */
	int (*run)(struct vfio_device *dev, const struct feature_call *call);
};

/* config_lock held.  Mapped pages go in any case. */
static int enter_low_power(struct vfio_device *dev, int wakeup_fd)
{
	if (dev->low_power) {
		device_apply(dev);
		return -EINVAL;
	}
	dev->low_power = true;
	dev->wakeup_fd = wakeup_fd;
	atomic_store(&dev->wakeup_armed, wakeup_fd >= 0);
	device_apply(dev);
	return 0;
}

/* config_lock held.  The eventfd that is to be signalled and closed, or -1. */
static int leave_low_power(struct vfio_device *dev)
{
	int fd = dev->wakeup_fd;

	dev->wakeup_fd = -1;
	atomic_store(&dev->wakeup_armed, false);
	if (dev->low_power) {
		dev->low_power = false;
		device_apply(dev);
	}
	return fd;
}

static int low_power_entry(struct vfio_device *dev, const struct feature_call *call)
{
	int ret;

	pthread_mutex_lock(&dev->config_lock);
	ret = enter_low_power(dev, -1);
	pthread_mutex_unlock(&dev->config_lock);
	return ret;
}

static int low_power_entry_with_wakeup(struct vfio_device *dev, const struct feature_call *call)
{
	struct vfio_device_low_power_entry_with_wakeup entry;
	int ret, fd;

	if (call->client->ops->copy_from(call->client, &entry, call->data, sizeof(entry)))
		return -EFAULT;
	if (entry.wakeup_eventfd < 0)
		return -EINVAL;
	fd = call->client->ops->get_eventfd(call->client, entry.wakeup_eventfd);
	if (fd < 0)
		return fd;
	pthread_mutex_lock(&dev->config_lock);
	ret = enter_low_power(dev, fd);
	pthread_mutex_unlock(&dev->config_lock);
	if (ret)
		close(fd);
	return ret;
}

static int low_power_exit(struct vfio_device *dev, const struct feature_call *call)
{
	int fd;

	pthread_mutex_lock(&dev->config_lock);
	fd = leave_low_power(dev);
	pthread_mutex_unlock(&dev->config_lock);
	if (fd >= 0)
		close(fd);
	return 0;
}

bool vfio_device_sleeps(const struct vfio_device *dev)
{
	return atomic_load_explicit(&dev->wakeup_armed, memory_order_relaxed);
}

void device_wake(struct vfio_device *dev)
{
	const uint64_t one = 1;
	struct pollfd pfd;

	if (!atomic_load_explicit(&dev->wakeup_armed, memory_order_relaxed))
		return;
	pthread_mutex_lock(&dev->config_lock);
	pfd = (struct pollfd){.fd = -1, .events = POLLOUT};
	if (atomic_load(&dev->wakeup_armed))
		pfd.fd = leave_low_power(dev);
	pthread_mutex_unlock(&dev->config_lock);
	if (pfd.fd < 0)
		return;
	/* A counter that is full has been signalled already; do not wait for it. */
	if (poll(&pfd, 1, 0) == 1 && pfd.revents & POLLOUT &&
	    write(pfd.fd, &one, sizeof(one)) != (ssize_t)sizeof(one))
		uvfio_log(dev->machine->log, UVFIO_LOG_DEBUG,
			  "%s: the wakeup eventfd took no signal", dev->name);
	close(pfd.fd);
}

static const struct feature features[] = {
	{VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY, VFIO_DEVICE_FEATURE_SET, 0, low_power_entry},
	{VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP, VFIO_DEVICE_FEATURE_SET,
	 sizeof(struct vfio_device_low_power_entry_with_wakeup), low_power_entry_with_wakeup},
	{VFIO_DEVICE_FEATURE_LOW_POWER_EXIT, VFIO_DEVICE_FEATURE_SET, 0, low_power_exit},
};

static const struct feature *find_feature(unsigned index)
{
	for (unsigned i = 0; i < ARRAY_SIZE(features); i++) {
		if (features[i].index == index)
			return &features[i];
	}
	return NULL;
}

int device_ioctl_feature(struct vfio_device *dev, struct vfio_client *client, uint64_t arg)
{
	const unsigned get_set = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_SET;
	const struct feature *feature;
	struct vfio_device_feature hdr;
	unsigned index;

	if (client->ops->copy_from(client, &hdr, arg, sizeof(hdr)))
		return -EFAULT;
	if (hdr.argsz < sizeof(hdr) || hdr.flags & ~(VFIO_DEVICE_FEATURE_MASK | OP_MASK))
		return -EINVAL;
	if ((hdr.flags & OP_MASK) == get_set)
		return -EINVAL;
	index = hdr.flags & VFIO_DEVICE_FEATURE_MASK;
	/* Wants PRE_COPY and, unlike the others, says so with EINVAL. */
	if (index == UVFIO_DEVICE_FEATURE_MIG_PRECOPY_INFO_V2)
		return -EINVAL;
	feature = find_feature(index);
	if (!feature)
		return -ENOTTY;
	if (hdr.flags & get_set & ~feature->ops)
		return -EINVAL;
	if (hdr.flags & VFIO_DEVICE_FEATURE_PROBE)
		return 0;
	if (!(hdr.flags & get_set) || hdr.argsz < sizeof(hdr) + feature->bytes)
		return -EINVAL;
	return feature->run(dev, &(struct feature_call){client, arg + sizeof(hdr)});
}
