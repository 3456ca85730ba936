/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Resets (A.5).
 *
 * A reset is bracketed as the PCI core does it: everything shut off and quiet, config space saved,
 * COMMAND = DisINTx, the reset, config space restored, everything put back as config space says.
 * Because config space is restored, bus mastering, memory decode and the triggers that SET_IRQS
 * installed survive.
 *
 * Each root port has one slot, so the functions of one bus are one slot: they are reset together by
 * a hot reset, and only a function that is alone there can be reset by resetting its bus.
 */
#include <errno.h>
#include <stdlib.h>
#include <linux/pci_regs.h>
#include "vfio/host.h"
#include "vfio/machine_private.h"

struct reset_call {
	enum uvfio_reset_kind kind;
};

static void call_reset(struct vfio_device *dev, void *arg)
{
	const struct reset_call *call = arg;

	dev->model->reset(dev->priv, call->kind);
}

/* The functions that share @dev's slot, in the order in which they are locked.  Returns how many
 * there are; the first @max are in @out, held: slot_put(). */
static unsigned slot_functions(struct vfio_device *dev, struct vfio_device **out, unsigned max)
{
	struct vfio_machine *machine = dev->machine;
	unsigned n = 0;

	pthread_mutex_lock(&machine->lock);
	for (unsigned i = 0; i < machine->nr_devices; i++) {
		struct vfio_device *other = machine->devices[i];

		if (other->addr.domain != dev->addr.domain || other->addr.bus != dev->addr.bus)
			continue;
		if (n < max) {
			out[n] = other;
			other->watchers++;
		}
		n++;
	}
	pthread_mutex_unlock(&machine->lock);
	return n;
}

static void slot_put(struct vfio_device **devs, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		vfio_device_put(devs[i]);
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
	if (slot_functions(dev, NULL, 0) <= 1)
		methods |= VFIO_RESET_BUS;
	return methods;
}

bool device_can_reset(struct vfio_device *dev)
{
	return !device_is_cut(dev) && !atomic_load(&dev->no_reset) && device_reset_methods(dev);
}

void device_reset_prepare(struct vfio_device *dev)
{
	irq_set_gate(dev->irqs, false);
	device_power(dev, 0);
	device_memory(dev, MEM_WAIT);
	device_quiesce(dev);
}

void device_reset_done(struct vfio_device *dev, enum uvfio_reset_kind kind)
{
	struct reset_call call = {kind};
	uint8_t state[PCI_EXT_CONFIG_SIZE];

	pci_hw_save(dev->func, state);
	pci_hw_set(dev->func, PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
	pci_hw_reset(dev->func, kind);
	device_call(dev, call_reset, &call);
	irq_reset(dev->irqs);
	pci_hw_restore(dev->func, state);
	dev->needs_reset = false;
	dev->stats.resets++;
	device_apply(dev);
	view_publish_msix(dev);
	device_emit(dev, VFIO_EVENT_RESET, kind, 0, 0, 0);
}

int device_function_reset(struct vfio_device *dev, enum uvfio_reset_kind kind)
{
	if (!device_can_reset(dev))
		return -ENOTTY;
	device_reset_prepare(dev);
	device_reset_done(dev, kind);
	return 0;
}

int device_ioctl_reset(struct vfio_device *dev)
{
	int ret;

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
	int ret;

	pthread_mutex_lock(&dev->config_lock);
	ret = device_function_reset(dev, UVFIO_RESET_FUNCTION);
	pthread_mutex_unlock(&dev->config_lock);
	return ret;
}

/* ---- hot reset ---- */

/* A slot has at most 32 devices of 8 functions. */
#define MAX_SLOT_FUNCTIONS 256

static void lock_all(struct vfio_device **devs, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		pthread_mutex_lock(&devs[i]->config_lock);
}

static void unlock_all(struct vfio_device **devs, unsigned n)
{
	for (unsigned i = n; i > 0; i--)
		pthread_mutex_unlock(&devs[i - 1]->config_lock);
}

/* The config_lock of all is held. */
static void reset_slot(struct vfio_device **devs, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		device_reset_prepare(devs[i]);
	for (unsigned i = 0; i < n; i++)
		device_reset_done(devs[i], UVFIO_RESET_BUS);
}

/* 0 or -EFAULT. */
static int copy_dependents(struct vfio_device **devs, unsigned n, struct vfio_client *client,
			   uint64_t to)
{
	for (unsigned i = 0; i < n; i++) {
		const struct pci_addr *addr = &devs[i]->addr;
		struct vfio_pci_dependent_device entry = {
			.group_id = devs[i]->group->number,
			.segment = addr->domain,
			.bus = addr->bus,
			.devfn = (uint8_t)(addr->dev << 3 | addr->fn),
		};

		if (client->ops->copy_to(client, to + i * sizeof(entry), &entry, sizeof(entry)))
			return -EFAULT;
	}
	return 0;
}

int device_ioctl_hot_reset_info(struct vfio_device *dev, struct vfio_client *client, uint64_t arg)
{
	struct vfio_device *devs[MAX_SLOT_FUNCTIONS];
	struct vfio_pci_hot_reset_info info;
	unsigned n, room;
	int ret;

	if (client->ops->copy_from(client, &info, arg, sizeof(info)))
		return -EFAULT;
	if (info.argsz < sizeof(info))
		return -EINVAL;
	room = (info.argsz - (uint32_t)sizeof(info)) / sizeof(struct vfio_pci_dependent_device);
	n = slot_functions(dev, devs, MAX_SLOT_FUNCTIONS);
	ret = copy_dependents(devs, n < room ? n : room, client, arg + sizeof(info));
	slot_put(devs, n);
	if (ret)
		return ret;
	info.flags = 0;
	info.count = n;
	if (client->ops->copy_to(client, arg, &info, sizeof(info)))
		return -EFAULT;
	return n > room ? -ENOSPC : 0;
}

static bool is_owned(const struct vfio_device *dev, const int *groups, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++) {
		if (groups[i] == (int)dev->group->number)
			return true;
	}
	return false;
}

/* The groups that the client proves to own are to cover the slot, @devs. */
static int hot_reset(struct vfio_device **devs, unsigned n, struct vfio_client *client,
		     uint64_t arg)
{
	int groups[MAX_SLOT_FUNCTIONS];
	struct vfio_pci_hot_reset req;
	int32_t *fds = groups;

	if (client->ops->copy_from(client, &req, arg, sizeof(req)))
		return -EFAULT;
	if (req.argsz < sizeof(req) || req.flags || !req.count)
		return -EINVAL;
	if (req.count > n)
		return -EINVAL;
	if (client->ops->copy_from(client, fds, arg + sizeof(req), req.count * sizeof(*fds)))
		return -EFAULT;
	for (unsigned i = 0; i < req.count; i++) {
		groups[i] =
			client->ops->get_group ? client->ops->get_group(client, fds[i]) : -EINVAL;
		if (groups[i] < 0)
			return groups[i];
	}
	for (unsigned i = 0; i < n; i++) {
		if (!is_owned(devs[i], groups, req.count))
			return -EINVAL;
	}
	for (unsigned i = 0; i < n; i++) {
		if (device_is_cut(devs[i]))
			return -ENOTTY;
	}
	lock_all(devs, n);
	reset_slot(devs, n);
	unlock_all(devs, n);
	return 0;
}

int device_ioctl_hot_reset(struct vfio_device *dev, struct vfio_client *client, uint64_t arg)
{
	struct vfio_device *devs[MAX_SLOT_FUNCTIONS];
	unsigned n = slot_functions(dev, devs, MAX_SLOT_FUNCTIONS);
	int ret = hot_reset(devs, n, client, arg);

	slot_put(devs, n);
	return ret;
}

/* A.4, the end of a last close: when nothing of the slot is open and something of it could not be
 * reset alone, the slot is reset. */
void device_close_set(struct vfio_device *dev)
{
	struct vfio_device *devs[MAX_SLOT_FUNCTIONS];
	bool open = false, needed = false;
	unsigned n = slot_functions(dev, devs, MAX_SLOT_FUNCTIONS);

	lock_all(devs, n);
	for (unsigned i = 0; i < n; i++) {
		open |= devs[i]->vconfig != NULL;
		needed |= devs[i]->needs_reset;
	}
	if (!open && needed)
		reset_slot(devs, n);
	unlock_all(devs, n);
	slot_put(devs, n);
}
