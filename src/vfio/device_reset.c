/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The reset of one function (A.5).
 *
 * A reset is bracketed as the PCI core does it: everything shut off and quiet, config space saved,
 * COMMAND = DisINTx, the reset, config space restored, everything put back as config space says.
 * Because config space is restored, bus mastering, memory decode and the triggers that SET_IRQS
 * installed survive.  What the PCI core does not save (status bits, registers of a vendor's) is as
 * after power-on.
 */
#include <errno.h>
#include <stdlib.h>
#include <linux/pci_regs.h>
#include "vfio/host.h"
#include "vfio/sriov_private.h"

struct reset_call {
	enum uvfio_reset_kind kind;
};

static void call_reset(struct vfio_device *dev, void *arg)
{
	const struct reset_call *call = arg;

	dev->model->reset(dev->priv, call->kind);
}

unsigned device_reset_methods(struct vfio_device *dev)
{
	const struct uvfio_pci_desc *desc = pci_func_desc(dev->func);
	unsigned af = pci_find_cap(dev->func, PCI_CAP_ID_AF), methods = 0;

	if (desc->flr)
		methods |= VFIO_RESET_FLR;
	if (af && pci_hw_read(dev->func, af + PCI_AF_CAP, 1) & PCI_AF_CAP_FLR)
		methods |= VFIO_RESET_AF_FLR;
	if (desc->pm && !desc->no_soft_reset)
		methods |= VFIO_RESET_PM;
	if (reset_set_alone(dev))
		methods |= VFIO_RESET_BUS;
	return methods;
}

bool device_can_reset(struct vfio_device *dev)
{
	return !device_is_cut(dev) && vfio_device_place(dev) < VFIO_IN_DOUBT &&
	       !atomic_load(&dev->no_reset) && device_reset_methods(dev);
}

void device_reset_prepare(struct vfio_device *dev)
{
	atomic_store(&dev->in_reset, true);
	irq_set_gate(dev->irqs, false);
	device_power(dev, 0);
	device_memory(dev, MEM_WAIT);
	device_quiesce(dev);
}

void device_reset_done(struct vfio_device *dev, enum uvfio_reset_kind kind, bool restore)
{
	struct reset_call call = {kind};
	uint8_t state[PCI_EXT_CONFIG_SIZE];

	sriov_reset_vfs(dev);
	pci_hw_save(dev->func, state);
	pci_hw_set(dev->func, PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
	pci_hw_reset(dev->func, kind);
	device_migration_reset(dev); /* the model finds itself not paused */
	device_call(dev, call_reset, &call);
	irq_reset(dev->irqs);
	if (restore)
		pci_hw_restore(dev->func, state);
	vfio_keep_drop(dev);
	dev->needs_reset = false;
	dev->stats.resets++;
	device_apply(dev);
	/* Who looked meanwhile found VF Enable clear. */
	sriov_apply_vfs(dev);
	view_publish_msix(dev);
	atomic_store(&dev->in_reset, false);
	device_emit(dev, VFIO_EVENT_RESET, kind, 0, 0, 0);
}

int device_function_reset(struct vfio_device *dev, enum uvfio_reset_kind kind)
{
	if (!device_can_reset(dev))
		return -ENOTTY;
	if (mishap_reset(dev))
		return -ENOTTY;
	device_reset_prepare(dev);
	device_reset_done(dev, kind, true);
	return 0;
}

int device_ioctl_reset(struct vfio_device *dev)
{
	int ret;

	/* Who else wants it holds the lock that the user's reset only tries. */
	if (atomic_load(&dev->host_resets))
		return -EAGAIN;
	pthread_mutex_lock(&dev->config_lock);
	if (dev->reset_works)
		ret = device_function_reset(dev, UVFIO_RESET_FUNCTION); /* -ENOTTY: pulled out */
	else
		ret = -EINVAL;
	pthread_mutex_unlock(&dev->config_lock);
	return ret;
}

int vfio_device_host_reset(struct vfio_device *dev)
{
	int ret = device_forget_moved(dev);

	if (ret)
		return ret;
	atomic_fetch_add(&dev->host_resets, 1);
	device_access_begin_anyway(dev);
	pthread_mutex_lock(&dev->config_lock);
	ret = device_function_reset(dev, UVFIO_RESET_FUNCTION);
	pthread_mutex_unlock(&dev->config_lock);
	device_access_end(dev);
	atomic_fetch_sub(&dev->host_resets, 1);
	return ret;
}
