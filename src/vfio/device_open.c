/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * First open and last close of a device (A.3, A.4), and what a user's config writes cause.
 *
 *     CLOSED ──first file: bus master off, enable, reset, save, vconfig──▶ OPEN
 *     OPEN ──last file: bus master off, interrupts off, restore, reset──▶ CLOSED
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/pci_regs.h>
#include "pci/sriov.h"
#include "vfio/iommufd.h"

/* ---- what a user's config write causes; config_lock is held ---- */

static void vc_intx_disable(void *arg, bool disabled)
{
	struct vfio_device *dev = arg;

	irq_intx_disable(dev->irqs, disabled);
}

static void vc_memory(void *arg, bool enabled)
{
	struct vfio_device *dev = arg;

	/* device_apply() follows the write.  A VF's memory stays enabled, so that it would find
	 * nothing to do: but what others have of it goes, and who accesses it now waits (A.7). */
	if (!enabled && pci_is_vf(dev->func))
		device_memory(dev, MEM_WAIT);
}

static void vc_flr(void *arg)
{
	struct vfio_device *dev = arg;

	dev->flr_requested = true;
}

static bool vc_msi_active(void *arg, unsigned *log2_allocated)
{
	struct vfio_device *dev = arg;

	return irq_msi_active(dev->irqs, log2_allocated);
}

static void vc_power(void *arg, unsigned state)
{
	device_power(arg, state);
}

static const struct pci_vconfig_ops vconfig_ops = {
	.intx_disable = vc_intx_disable,
	.memory = vc_memory,
	.flr = vc_flr,
	.msi_active = vc_msi_active,
	.power = vc_power,
};

/* ---- open ---- */

static void set_command(struct vfio_device *dev, uint16_t clear, uint16_t set)
{
	uint32_t command = pci_hw_read(dev->func, PCI_COMMAND, 2);

	pci_hw_set(dev->func, PCI_COMMAND, 2, (command & ~(uint32_t)clear) | set);
}

/* Decode for the kinds of BARs that there are, as enabling a PCI device does. */
static void enable_decode(struct vfio_device *dev)
{
	uint16_t bits = 0;

	for (unsigned i = 0; i < NR_BARS; i++) {
		if (dev->bars[i].size)
			bits |= dev->bars[i].flags & UVFIO_BAR_IO ? PCI_COMMAND_IO
								  : PCI_COMMAND_MEMORY;
	}
	set_command(dev, 0, bits);
}

/* config_lock held. */
static int open_sequence(struct vfio_device *dev, bool continues)
{
	unsigned flags = 0;
	int ret;

	dev->saved = malloc(PCI_EXT_CONFIG_SIZE);
	if (!dev->saved)
		return -ENOMEM;
	device_power(dev, 0);
	set_command(dev, PCI_COMMAND_MASTER, 0);
	device_apply(dev);
	enable_decode(dev);
	/* Any failure but contention is tolerated; success is remembered.  Who goes on with what
	 * was loaded would lose it by a reset. */
	if (continues) {
		dev->reset_works = device_can_reset(dev);
	} else {
		vfio_keep_drop(dev);
		dev->reset_works = device_function_reset(dev, UVFIO_RESET_OPEN) == 0;
	}
	pci_hw_save(dev->func, dev->saved);
	if (pci_func_desc(dev->func)->broken_intx) {
		flags |= PCI_VCONFIG_NO_INTX;
		set_command(dev, 0, PCI_COMMAND_INTX_DISABLE);
	} else {
		set_command(dev, PCI_COMMAND_INTX_DISABLE, 0);
		irq_intx_open(dev->irqs);
	}
	ret = pci_vconfig_new(dev->func, flags, &vconfig_ops, dev, &dev->vconfig);
	if (ret)
		return ret;
	irq_intx_disable(dev->irqs, pci_vconfig_intx_disabled(dev->vconfig));
	dev->msix_window = pci_msix_count(dev->func);
	if (continues)
		vfio_keep_put(dev);
	device_apply(dev);
	return 0;
}

/* config_lock held; also undoes an open that failed halfway. */
static void close_sequence(struct vfio_device *dev)
{
	device_memory_close(dev);
	device_low_power_end(dev);
	dma_logging_stop(&dev->dma_logging);
	device_migration_reset(dev);
	vfio_keep_drop(dev);
	dev->migration.reinit = false;
	atomic_store(&dev->migration.asked, false);
	irq_set_gate(dev->irqs, false);
	device_power(dev, 0);
	set_command(dev, PCI_COMMAND_MASTER, 0);
	device_apply(dev);
	irq_disable_all(dev->irqs);
	ioeventfd_free_all(dev);
	if (dev->vconfig)
		pci_vconfig_free(dev->vconfig);
	dev->vconfig = NULL;
	dev->flr_requested = false;
	dev->needs_reset = true;
	if (dev->saved)
		pci_hw_restore(dev->func, dev->saved);
	pci_hw_set(dev->func, PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
	if (dev->reset_works)
		device_function_reset(dev, UVFIO_RESET_CLOSE);
	device_apply(dev);
	if (!dev->host_mapped)
		view_fini(dev);
	free(dev->saved);
	dev->saved = NULL;
}

void device_enable(struct vfio_device *dev)
{
	if (pthread_mutex_trylock(&dev->config_lock))
		return;
	device_power(dev, 0);
	enable_decode(dev);
	device_apply(dev);
	pthread_mutex_unlock(&dev->config_lock);
}

static void point_at(struct vfio_device *dev, struct iommu_space *space)
{
	atomic_store(&dev->space_number, space ? iommu_space_number(space) : 0);
	atomic_store(&dev->space, space);
}

void device_set_space(struct vfio_device *dev, struct iommu_space *space, struct dma_logging *dirty)
{
	pthread_mutex_lock(&dev->config_lock);
	/* What is in flight ends first; what is begun meanwhile is refused. */
	if (dev->running)
		dma_stop(dev);
	point_at(dev, space);
	atomic_store(&dev->hwpt_dirty, dirty);
	if (dev->running)
		atomic_store(&dev->dma_on, true);
	pthread_mutex_unlock(&dev->config_lock);
}

/* The first open.  open_lock held. */
static int open_first(struct vfio_device *dev, const struct open_with *with, bool *continued)
{
	struct backend *backend = with->backend;
	int ret = with->iommufd ? iommufd_bind(with->iommufd, dev) : 0;

	if (ret)
		return ret;
	dev->uio_open = with->uio;
	if (!with->uio)
		host_maps_revoke(dev);
	if (backend)
		atomic_fetch_add(&backend->refs, 1);
	dev->backend = backend;
	memset(&dev->iommu_cache, 0, sizeof(dev->iommu_cache));
	point_at(dev, backend ? type1_space(backend->type1) : dev->machine->blocked);
	pthread_mutex_lock(&dev->config_lock);
	*continued = with->continues && vfio_keep_ready(dev);
	ret = open_sequence(dev, *continued);
	if (ret)
		close_sequence(dev);
	pthread_mutex_unlock(&dev->config_lock);
	if (!ret && !with->uio) {
		device_memory_open(dev);
		vf_token_use(dev, true);
	}
	if (!ret)
		return 1;
	point_at(dev, NULL);
	dev->backend = NULL;
	if (with->iommufd)
		iommufd_unbind(dev);
	backend_put(backend);
	return ret;
}

int device_open(struct vfio_device *dev, const struct open_with *with, bool *continued)
{
	bool goes_on = false;
	int ret = 0;

	pthread_mutex_lock(&dev->open_lock);
	if (vfio_device_place(dev) != VFIO_HERE &&
	    !(dev->open_count && vfio_device_place(dev) == VFIO_LEAVING))
		ret = -EBUSY; /* an operator moves it, or has moved it */
	else if (dev->open_count)
		ret = with->alone ? -EINVAL : 0;
	else if (atomic_load(&dev->host_resets)) /* the one of the open is only tried (A.3) */
		ret = -EAGAIN;
	else
		ret = open_first(dev, with, &goes_on);
	if (ret >= 0)
		dev->open_count++;
	if (continued)
		*continued = goes_on;
	pthread_mutex_unlock(&dev->open_lock);
	return ret;
}

void device_close(struct vfio_device *dev)
{
	struct vfio_migration_file *files = NULL;
	struct backend *backend = NULL;
	bool last;

	pthread_mutex_lock(&dev->open_lock);
	last = --dev->open_count == 0;
	if (last) {
		if (!dev->uio_open)
			vf_token_use(dev, false);
		pthread_mutex_lock(&dev->config_lock);
		close_sequence(dev);
		pthread_mutex_unlock(&dev->config_lock);
		files = device_migration_files(dev);
		backend = dev->backend;
		dev->backend = NULL;
		point_at(dev, NULL);
		if (dev->iommufd)
			iommufd_unbind(dev);
	}
	pthread_mutex_unlock(&dev->open_lock);
	if (last) {
		device_migration_let_go(files);
		device_close_set(dev);
	}
	backend_put(backend);
}
