/* SPDX-License-Identifier: BSD-3-Clause */
/* Interrupts: the five types of A.8 as one small set of calls on VFIO_DEVICE_SET_IRQS. */
#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include "driver/driver_private.h"

_Static_assert(UVFIO_PCI_INTX == (int)VFIO_PCI_INTX_IRQ_INDEX &&
		       UVFIO_PCI_MSI == (int)VFIO_PCI_MSI_IRQ_INDEX &&
		       UVFIO_PCI_MSIX == (int)VFIO_PCI_MSIX_IRQ_INDEX &&
		       UVFIO_PCI_ERR == (int)VFIO_PCI_ERR_IRQ_INDEX &&
		       UVFIO_PCI_REQ == (int)VFIO_PCI_REQ_IRQ_INDEX,
	       "the kernel's numbers");

#define MAX_VECTORS 2048u /* of MSI-X */

static int query(struct uvfio_pci *dev, unsigned index, struct vfio_irq_info *info,
		 struct uvfio_error *err)
{
	int ret;

	*info = (struct vfio_irq_info){.argsz = sizeof(*info), .index = index};
	ret = dev->ops->irq_info(dev, info);
	/* A.8: ERR is only there on PCI Express. */
	if (ret == -EINVAL) {
		info->count = 0;
		return 0;
	}
	if (ret)
		return uvfio_error_set(err, ret, "%s: asking about interrupt type %u: %s",
				       dev->name, index, strerror(-ret));
	if (info->count > MAX_VECTORS)
		return uvfio_error_set(err, -EPROTO,
				       "%s: says it has %u vectors of interrupt type %u; 2048 are "
				       "the most",
				       dev->name, info->count, index);
	return 0;
}

int drv_irqs_init(struct uvfio_pci *dev, struct uvfio_error *err)
{
	for (unsigned i = 0; i < DRV_NR_IRQS && i < dev->nr_irqs; i++) {
		struct vfio_irq_info info;
		int ret = query(dev, i, &info, err);

		if (ret)
			return ret;
		dev->irqs[i].count = info.count;
		dev->irqs[i].flags = info.flags;
	}
	return 0;
}

void drv_irqs_fini(struct uvfio_pci *dev)
{
	pthread_mutex_destroy(&dev->irq_lock);
}

int drv_irqs_renew(struct uvfio_pci *dev, struct uvfio_error *err)
{
	for (unsigned i = 0; i < DRV_NR_IRQS && i < dev->nr_irqs; i++) {
		struct vfio_irq_info info;
		int ret = query(dev, i, &info, err);

		if (ret)
			return ret;
		if (info.count != dev->irqs[i].count)
			return uvfio_error_set(err, -ENODEV,
					       "%s: a different device is there now: %u vectors of "
					       "interrupt type %u, not %u",
					       dev->name, info.count, i, dev->irqs[i].count);
		dev->irq_active[i] = false;
	}
	return 0;
}

unsigned uvfio_pci_irq_count(const struct uvfio_pci *dev, enum uvfio_pci_irq irq, unsigned *flags)
{
	if ((unsigned)irq >= DRV_NR_IRQS)
		return 0;
	if (flags)
		*flags = dev->irqs[irq].flags;
	return dev->irqs[irq].count;
}

/* One SET_IRQS; @now: is the mode enabled when it has succeeded (-1: no change). */
static int set(struct uvfio_pci *dev, enum uvfio_pci_irq irq, uint32_t flags, unsigned start,
	       unsigned count, const int *fds, int now)
{
	struct vfio_irq_set s = {
		.argsz = sizeof(s),
		.flags = flags,
		.index = (uint32_t)irq,
		.start = start,
		.count = count,
	};
	int ret;

	if ((unsigned)irq >= DRV_NR_IRQS || count > MAX_VECTORS)
		return -EINVAL;
	pthread_mutex_lock(&dev->irq_lock);
	ret = dev->ops->set_irqs(dev, &s, fds, dev->irq_active[irq]);
	if (!ret && now >= 0)
		dev->irq_active[irq] = now;
	pthread_mutex_unlock(&dev->irq_lock);
	return ret;
}

int uvfio_pci_irq_enable(struct uvfio_pci *dev, enum uvfio_pci_irq irq, unsigned start,
			 unsigned count, const int *eventfds)
{
	return set(dev, irq, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, start, count,
		   eventfds, 1);
}

int uvfio_pci_irq_disable(struct uvfio_pci *dev, enum uvfio_pci_irq irq)
{
	return set(dev, irq, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0, NULL, 0);
}

int uvfio_pci_irq_mask(struct uvfio_pci *dev, enum uvfio_pci_irq irq, unsigned start,
		       unsigned count)
{
	return set(dev, irq, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_MASK, start, count, NULL,
		   -1);
}

int uvfio_pci_irq_unmask(struct uvfio_pci *dev, enum uvfio_pci_irq irq, unsigned start,
			 unsigned count)
{
	return set(dev, irq, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK, start, count,
		   NULL, -1);
}

int uvfio_pci_irq_trigger(struct uvfio_pci *dev, enum uvfio_pci_irq irq, unsigned start,
			  unsigned count)
{
	/* A count of 0 would disable. */
	if (!count)
		return -EINVAL;
	return set(dev, irq, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, start, count,
		   NULL, -1);
}

int64_t uvfio_pci_irq_take(int eventfd)
{
	uint64_t count = 0;
	struct iovec iov = {&count, sizeof(count)};
	ssize_t n;

	/* Whatever the flags are that both sides can change. */
	do
		n = preadv2(eventfd, &iov, 1, -1, RWF_NOWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	if (n != sizeof(count))
		return -EINVAL; /* no eventfd */
	return count > INT64_MAX ? INT64_MAX : (int64_t)count;
}

int uvfio_pci_irq_unmask_fd(struct uvfio_pci *dev, int eventfd)
{
	return set(dev, UVFIO_PCI_INTX, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_UNMASK, 0,
		   1, &eventfd, -1);
}
