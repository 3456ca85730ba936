/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The interrupts of a uio device (uio.h): its line, with an eventfd of ours, or messages, with
 * those of the client, by VFIO's GET_IRQ_INFO and SET_IRQS.  Everything goes through
 * irq_set_irqs(), the one place that checks such requests (A.8).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "vfio/machine_private.h"
#include "vfio/uio_private.h"

#define MAX_VECTORS 2048u

/* What SET_IRQS is given, all of it ours. */
struct vectors {
	const void *data;
	size_t len;
	int *fds; /* by what the data call them */
	unsigned nr;
};

static int copy_data(void *arg, void *dst, size_t len)
{
	const struct vectors *v = arg;

	if (len > v->len)
		return -EFAULT;
	memcpy(dst, v->data, len);
	return 0;
}

static int take_fd(void *arg, int32_t which)
{
	const struct vectors *v = arg;
	int fd;

	if (which < 0 || (unsigned)which >= v->nr)
		return -EBADF;
	fd = v->fds[which];
	v->fds[which] = -EBADF; /* it is the set's now */
	return fd;
}

/* SET_IRQS on the one line: of @action, with @fd (-1: without). */
static int set_line(struct uio *uio, unsigned action, int fd, unsigned count)
{
	int32_t which = 0;
	struct vectors v = {&which, sizeof(which), &fd, 1};
	const struct vfio_irq_set hdr = {
		.argsz = sizeof(hdr) + sizeof(which),
		.flags = action | (fd < 0 ? VFIO_IRQ_SET_DATA_NONE : VFIO_IRQ_SET_DATA_EVENTFD),
		.index = VFIO_PCI_INTX_IRQ_INDEX,
		.count = count,
	};
	int ret = irq_set_irqs(uio->dev->irqs, &hdr, copy_data, take_fd, &v);

	if (fd >= 0)
		close(fd); /* it was not taken */
	return ret;
}

int uio_line_on(struct uio *uio)
{
	int fd = uio->has_irq ? fcntl(uio->eventfd, F_DUPFD_CLOEXEC, 3) : -1;

	if (!uio->has_irq)
		return 0;
	return fd < 0 ? -errno : set_line(uio, VFIO_IRQ_SET_ACTION_TRIGGER, fd, 1);
}

static void line_off(struct uio *uio)
{
	if (irq_active(uio->dev->irqs, NULL) == VFIO_PCI_INTX_IRQ_INDEX)
		set_line(uio, VFIO_IRQ_SET_ACTION_TRIGGER, -1, 0);
}

static bool is_message(unsigned index)
{
	return index == VFIO_PCI_MSI_IRQ_INDEX || index == VFIO_PCI_MSIX_IRQ_INDEX;
}

void uio_apply_irqs(struct uio *uio)
{
	struct vfio_device *dev = uio->dev;
	bool on = is_message((unsigned)irq_active(dev->irqs, NULL));
	uint32_t command;

	pthread_mutex_lock(&dev->config_lock);
	command = pci_hw_read(dev->func, PCI_COMMAND, 2);
	pci_hw_set(dev->func, PCI_COMMAND, 2,
		   on ? command | PCI_COMMAND_MASTER : command & ~(uint32_t)PCI_COMMAND_MASTER);
	device_apply(dev);
	view_publish_msix(dev);
	pthread_mutex_unlock(&dev->config_lock);
}

int uio_mask_line(struct uio *uio, bool mask)
{
	return set_line(uio, mask ? VFIO_IRQ_SET_ACTION_MASK : VFIO_IRQ_SET_ACTION_UNMASK, -1, 1);
}

/* ---- messages ---- */

static int set_vectors(struct uio *uio, const struct vfio_irq_set *hdr, struct vectors *v)
{
	int ret = -ENODEV;

	pthread_mutex_lock(&uio->session);
	if (uio->is_open) {
		if (v->nr)
			line_off(uio);
		ret = irq_set_irqs(uio->dev->irqs, hdr, copy_data, take_fd, v);
		if (irq_active(uio->dev->irqs, NULL) < 0 && uio_line_on(uio))
			uvfio_log(uio->dev->machine->log, UVFIO_LOG_ERROR,
				  "%s: the line cannot be enabled again", uio->dev->name);
		uio_apply_irqs(uio);
	}
	pthread_mutex_unlock(&uio->session);
	return ret;
}

/* How many bytes follow @hdr, as far as that is right; what is not, irq_set_irqs() says. */
static size_t data_size(const struct vfio_irq_set *hdr)
{
	size_t each = 0;

	if (hdr->flags & VFIO_IRQ_SET_DATA_EVENTFD)
		each = sizeof(int32_t);
	else if (hdr->flags & VFIO_IRQ_SET_DATA_BOOL)
		each = 1;
	if (hdr->argsz < sizeof(*hdr) ||
	    hdr->count > (hdr->argsz - sizeof(*hdr)) / (each ? each : 1))
		return 0;
	return each * hdr->count;
}

/* The client's eventfds become ours; the data then say which of these each is. */
static void take_fds(struct vfio_client *client, int32_t *data, int *fds, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++) {
		fds[i] = data[i] < 0 ? -EBADF : client->ops->get_eventfd(client, data[i]);
		if (data[i] >= 0)
			data[i] = (int32_t)i;
	}
}

static int set_irqs(struct uio *uio, struct vfio_client *client, uint64_t arg)
{
	struct vfio_irq_set hdr;
	int *fds = NULL, ret;
	struct vectors v = {0};
	void *data = NULL;

	if (client->ops->copy_from(client, &hdr, arg, sizeof(hdr)))
		return -EFAULT;
	if (hdr.argsz < sizeof(hdr) || !is_message(hdr.index) || hdr.count > MAX_VECTORS)
		return -EINVAL;
	v.len = data_size(&hdr);
	if (v.len) {
		data = malloc(v.len);
		fds = malloc(hdr.count * sizeof(*fds));
		if (!data || !fds) {
			ret = -ENOMEM;
			goto out;
		}
		if (client->ops->copy_from(client, data, arg + sizeof(hdr), v.len)) {
			ret = -EFAULT;
			goto out;
		}
		if (hdr.flags & VFIO_IRQ_SET_DATA_EVENTFD) {
			take_fds(client, data, fds, hdr.count);
			v.nr = hdr.count;
		}
	}
	v.data = data;
	v.fds = fds;
	ret = set_vectors(uio, &hdr, &v);
	for (unsigned i = 0; i < v.nr; i++)
		if (fds[i] >= 0)
			close(fds[i]);
out:
	free(fds);
	free(data);
	return ret;
}

static int get_irq_info(struct uio *uio, struct vfio_client *client, uint64_t arg)
{
	struct vfio_irq_info info;
	int ret;

	if (client->ops->copy_from(client, &info, arg, sizeof(info)))
		return -EFAULT;
	if (!is_message(info.index))
		return -EINVAL;
	pthread_mutex_lock(&uio->session);
	ret = uio->is_open ? irq_get_info(uio->dev->irqs, &info) : -ENODEV;
	pthread_mutex_unlock(&uio->session);
	if (ret)
		return ret;
	return client->ops->copy_to(client, arg, &info, sizeof(info)) ? -EFAULT : 0;
}

int vfio_device_uio_ioctl(struct vfio_device *dev, struct vfio_client *client, unsigned cmd,
			  uint64_t arg)
{
	struct uio *uio = uio_get(dev);
	int ret = -ENOTTY;

	if (!uio)
		return -ENODEV;
	if (cmd == VFIO_DEVICE_GET_IRQ_INFO)
		ret = get_irq_info(uio, client, arg);
	else if (cmd == VFIO_DEVICE_SET_IRQS)
		ret = set_irqs(uio, client, arg);
	uio_put(uio);
	return ret;
}
