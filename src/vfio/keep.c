/* SPDX-License-Identifier: BSD-3-Clause */
/* What a device's user sees of it, taken along; see keep.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include "irq/keep.h"
#include "pci/keep.h"
#include "vfio/keep.h"
#include "vfio/machine_private.h"

#define CONFIG_VERSION 1u
#define IRQS_VERSION   1u

/* Flags in front of .CFG. */
enum { LOW_POWER = 1, WAKEUP = 2, FLAGS_ALL = 3 };

enum keep_state { KEEP_ASIDE, KEEP_READY, KEEP_PUT };

struct device_keep {
	enum keep_state state;
	bool have_config, have_irqs;
	unsigned flags;
	struct pci_kept pci;
	struct irq_kept irqs;
};

/* ---- saving ---- */

int vfio_keep_save(struct vfio_device *dev, struct mig_writer *out)
{
	struct irq_kept *irqs;
	struct pci_kept *pci;
	int ret = -ENOMEM;

	if (dev->suspended)
		return -EAGAIN;
	irqs = malloc(sizeof(*irqs));
	pci = malloc(sizeof(*pci));
	if (irqs && pci)
		ret = pci_keep(dev->func, dev->vconfig, pci);
	if (!ret) {
		mig_section_begin(out, KEEP_TAG_CONFIG, CONFIG_VERSION);
		mig_put_u32(out->out,
			    (dev->low_power ? LOW_POWER : 0) | (dev->wakeup_fd >= 0 ? WAKEUP : 0));
		pci_kept_write(dev->func, pci, out->out);
		mig_section_end(out);
		pci_kept_fini(pci);
		irq_keep(dev->irqs, irqs);
		mig_section_begin(out, KEEP_TAG_IRQS, IRQS_VERSION);
		irq_kept_write(irqs, out->out);
		mig_section_end(out);
	}
	free(pci);
	free(irqs);
	return ret;
}

/* ---- loading ---- */

static int load_config(struct vfio_device *dev, struct mig_section *section,
		       struct device_keep *keep, struct uvfio_error *err)
{
	uint32_t flags = mig_get_u32(&section->in);
	struct pci_kept pci;
	int ret;

	if (section->version != CONFIG_VERSION || flags & ~(uint32_t)FLAGS_ALL)
		return uvfio_error_set(
			err, -EINVAL,
			"the stream's config space is of version %u, and this server "
			"knows %u",
			section->version, CONFIG_VERSION);
	ret = pci_kept_read(dev->func, &section->in, &pci, err);
	if (ret)
		return ret;
	pci_kept_fini(&keep->pci);
	keep->pci = pci;
	keep->flags = flags;
	keep->have_config = true;
	return 0;
}

static int load_irqs(struct vfio_device *dev, struct mig_section *section, struct device_keep *keep,
		     struct uvfio_error *err)
{
	int ret;

	if (section->version != IRQS_VERSION)
		return uvfio_error_set(err, -EINVAL,
				       "the stream's interrupts are of version %u, and this server "
				       "knows %u",
				       section->version, IRQS_VERSION);
	keep->have_irqs = false;
	ret = irq_kept_read(dev->irqs, &section->in, &keep->irqs, err);
	keep->have_irqs = !ret;
	return ret;
}

int vfio_keep_load(struct vfio_device *dev, struct mig_section *section, struct uvfio_error *err)
{
	if (section->tag != KEEP_TAG_CONFIG && section->tag != KEEP_TAG_IRQS)
		return -ENOENT;
	if (dev->vconfig)
		return uvfio_error_set(err, -EBUSY,
				       "%s has a user, whose config space cannot be exchanged",
				       dev->name);
	if (dev->kept && dev->kept->state != KEEP_ASIDE)
		vfio_keep_drop(dev);
	if (!dev->kept)
		dev->kept = calloc(1, sizeof(*dev->kept));
	if (!dev->kept)
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	return section->tag == KEEP_TAG_CONFIG ? load_config(dev, section, dev->kept, err)
					       : load_irqs(dev, section, dev->kept, err);
}

int vfio_keep_check(struct vfio_device *dev, bool needed, struct uvfio_error *err)
{
	const struct device_keep *keep = dev->kept;

	if (!keep)
		return needed ? uvfio_error_set(
					err, -EINVAL,
					"the stream has neither config space nor interrupts: "
					"it was made by a device's user, for itself")
			      : 0;
	if (keep->state != KEEP_ASIDE || !keep->have_config || !keep->have_irqs)
		return uvfio_error_set(err, -EINVAL, "the stream has no %s",
				       keep->have_config ? "interrupts" : "config space");
	if (!keep->pci.open && keep->irqs.mode != -1)
		return uvfio_error_set(
			err, -EINVAL, "the stream has interrupts in use, and nobody who uses them");
	return 0;
}

void vfio_keep_commit(struct vfio_device *dev)
{
	if (dev->kept && dev->kept->state == KEEP_ASIDE)
		dev->kept->state = KEEP_READY;
}

void vfio_keep_drop(struct vfio_device *dev)
{
	if (!dev->kept)
		return;
	pci_kept_fini(&dev->kept->pci);
	free(dev->kept);
	dev->kept = NULL;
}

/* ---- the open that continues ---- */

bool vfio_keep_ready(const struct vfio_device *dev)
{
	return dev->kept && dev->kept->state == KEEP_READY && dev->kept->pci.open;
}

void vfio_keep_put(struct vfio_device *dev)
{
	struct device_keep *keep = dev->kept;

	pci_keep_put_virtual(dev->vconfig, &keep->pci);
	pci_keep_put(dev->func, &keep->pci);
	/* Without an eventfd that can be signalled the first access would not end it. */
	atomic_store(&dev->low_power, (keep->flags & LOW_POWER) && !(keep->flags & WAKEUP));
	irq_keep_put(dev->irqs, &keep->irqs, pci_kept_intx_disabled(&keep->pci), NULL, NULL);
	view_publish_msix(dev);
	keep->state = KEEP_PUT;
}

int vfio_keep_eventfd(struct vfio_device *dev, unsigned index, unsigned vector)
{
	int fd;

	if (index != KEEP_WAKEUP)
		return irq_keep_eventfd(dev->irqs, index, vector);
	pthread_mutex_lock(&dev->config_lock);
	fd = dev->wakeup_fd < 0 ? -ENOENT : fcntl(dev->wakeup_fd, F_DUPFD_CLOEXEC, 3);
	if (fd < 0 && fd != -ENOENT)
		fd = -errno;
	pthread_mutex_unlock(&dev->config_lock);
	return fd;
}

int vfio_keep_irqs(struct vfio_device_file *df,
		   int (*take)(void *arg, unsigned index, unsigned vector), void *arg)
{
	struct vfio_device *dev = df->dev;
	struct device_keep *keep;
	int ret = -EINVAL, fd;

	pthread_mutex_lock(&dev->config_lock);
	keep = dev->kept;
	if (!keep || keep->state != KEEP_PUT || irq_active(dev->irqs, NULL) != -1)
		goto out;
	ret = irq_keep_put(dev->irqs, &keep->irqs, pci_kept_intx_disabled(&keep->pci), take, arg);
	if (!ret && keep->flags & LOW_POWER && keep->flags & WAKEUP) {
		fd = take(arg, KEEP_WAKEUP, 0);
		if (fd >= 0) {
			atomic_store(&dev->low_power, true);
			dev->wakeup_fd = fd;
		}
	}
	/* The mode first: message control goes by it. */
	device_apply(dev);
	pci_keep_put_virtual(dev->vconfig, &keep->pci);
	pci_keep_put(dev->func, &keep->pci);
	device_apply(dev);
	view_publish_msix(dev);
out:
	pthread_mutex_unlock(&dev->config_lock);
	return ret;
}

bool vfio_keep_logs(struct vfio_device *dev)
{
	return __atomic_load_n(&dev->dma_logging.log, __ATOMIC_RELAXED) != NULL;
}

int vfio_keep_mappings(struct vfio_device_file *df, uint64_t iova, struct iommu_kept *out,
		       unsigned max)
{
	struct iommu_space *space = atomic_load(&df->dev->space);

	return space ? iommu_keep(space, iova, out, max) : 0;
}

void vfio_keep_polled(struct vfio_device_file *df, struct mig_buf *out)
{
	pthread_mutex_lock(&df->dev->config_lock);
	poll_save(df->dev, out);
	pthread_mutex_unlock(&df->dev->config_lock);
}

int vfio_keep_put_polled(struct vfio_device_file *df, struct mig_in *in)
{
	int ret;

	pthread_mutex_lock(&df->dev->config_lock);
	ret = poll_load(df->dev, in);
	pthread_mutex_unlock(&df->dev->config_lock);
	return ret;
}

int vfio_keep_view(struct vfio_device_file *df, int fd)
{
	return view_continue(df->dev, fd);
}

void vfio_keep_master(struct vfio_device_file *df)
{
	struct vfio_device *dev = df->dev;

	pthread_mutex_lock(&dev->config_lock);
	if (dev->kept && dev->kept->state == KEEP_PUT) {
		pci_keep_master(dev->func, &dev->kept->pci);
		vfio_keep_drop(dev);
		device_apply(dev);
		poll_arrived(dev);
	}
	pthread_mutex_unlock(&dev->config_lock);
}

bool vfio_device_file_continued(const struct vfio_device_file *df)
{
	return df->continued;
}
