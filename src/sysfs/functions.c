/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The functions of the machine, as the tree knows them.
 *
 * A function of the tree is a device of the machine, told apart by its serial number; the state
 * that the kernel's PCI and driver core would keep for it (driver_override and so on) is kept here.
 * The device itself is held only for the moment of a look or a job, so that the tree keeps nobody
 * from removing it.
 */
#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include "sysfs/functions.h"
#include "vfio/uio.h"

#define FIRST_LINE    16u /* interrupt numbers: of INTx lines */
#define FIRST_MESSAGE 32u /* and of messages, which are told apart by function */
#define MESSAGES_EACH 2048u

static void fill(struct function *f, struct vfio_device *dev)
{
	const struct uvfio_pci_desc *desc = pci_func_desc(vfio_device_func(dev));
	const struct pci_addr *addr = pci_func_addr(vfio_device_func(dev));
	unsigned cap = pci_find_cap(vfio_device_func(dev), PCI_CAP_ID_EXP);
	uint8_t config[PCI_EXT_CONFIG_SIZE];

	strcpy(f->name, vfio_device_name(dev));
	f->group = vfio_device_group(dev);
	f->noiommu = vfio_device_noiommu(dev);
	f->slot = (unsigned)addr->domain << 8 | addr->bus;
	f->ids.vendor = desc->vendor;
	f->ids.device = desc->device;
	f->ids.subvendor = desc->subsystem_vendor;
	f->ids.subdevice = desc->subsystem_device;
	f->ids.class = desc->class_code;
	f->ids.revision = desc->revision;
	f->ids.pin = desc->interrupt_pin;
	f->ids.pm = desc->pm;
	f->rom_size = desc->rom_size;
	f->config_size = pci_func_config_size(vfio_device_func(dev));
	for (unsigned i = 0; i < 6; i++) {
		struct vfio_region_state r;

		if (!desc->bars[i].size || vfio_device_region_state(dev, i, VFIO_MMIO_NONE, &r))
			continue;
		f->bars[i].size = desc->bars[i].size;
		f->bars[i].flags = desc->bars[i].flags;
		f->bars[i].address = r.address;
	}
	/* Constant, so a function that is busy now is one without a known link. */
	if (cap && vfio_device_hw_config(dev, config, false)) {
		memcpy(&f->link, config + cap + PCI_EXP_LNKCAP, sizeof(f->link));
		memcpy(&f->link_status, config + cap + PCI_EXP_LNKSTA, sizeof(f->link_status));
	}
	f->exp = cap;
}

/* What a function is when the bus finds it, all but its driver. */
static void renew(struct function *f)
{
	free(f->driver_override);
	f->driver_override = NULL;
	f->enabled = 0;
	f->parity = f->no_d3cold = f->no_msi = f->power_on = f->rom_on = false;
	f->nr_methods = 0;
	f->no_methods = false;
}

void sysfs_function_get(struct function *f)
{
	f->refs++;
}

void sysfs_function_put(struct function *f)
{
	if (--f->refs)
		return;
	free(f->driver_override);
	free(f);
}

static void add(struct sysfs *fs, struct vfio_device *dev)
{
	struct function *f = calloc(1, sizeof(*f)), **tail = &fs->functions;

	if (!f)
		return;
	f->id = vfio_device_serial(dev);
	f->refs = 1;
	f->bus_knows = true;
	fill(f, dev);
	renew(f);
	/* As if somebody had done what users of such programs do. */
	if (vfio_device_uio(dev, NULL))
		f->driver_override = strdup(VFIO_UIO_DRIVER);
	else if (vfio_device_bound(dev))
		f->driver_override = strdup("vfio-pci");
	while (*tail && (*tail)->id < f->id)
		tail = &(*tail)->next;
	f->next = *tail;
	*tail = f;
}

void sysfs_sync(struct sysfs *fs)
{
	unsigned changes = vfio_machine_changes(fs->config.machine), nr;
	struct vfio_device **devs;

	if (fs->synced && changes == fs->machine_changes)
		return;
	nr = vfio_machine_get_devices(fs->config.machine, &devs);
	for (struct function *f = fs->functions; f; f = f->next)
		f->bus_knows = false;
	for (unsigned i = 0; i < nr; i++) {
		uint64_t serial = vfio_device_serial(devs[i]);
		struct function *f = fs->functions;

		while (f && f->id != serial)
			f = f->next;
		if (f)
			f->bus_knows = true;
		else
			add(fs, devs[i]);
	}
	vfio_devices_put(devs, nr);
	for (struct function **p = &fs->functions, *f; (f = *p);) {
		if (f->bus_knows) {
			p = &f->next;
		} else {
			*p = f->next;
			sysfs_function_put(f);
		}
	}
	fs->machine_changes = changes;
	fs->synced = true;
}

void sysfs_functions_free(struct sysfs *fs)
{
	while (fs->functions) {
		struct function *f = fs->functions;

		fs->functions = f->next;
		sysfs_function_put(f);
	}
}

struct function *sysfs_function(struct sysfs *fs, uint64_t id)
{
	struct function *f = fs->functions;

	while (f && f->id < id)
		f = f->next;
	return f && f->id == id && !f->removed ? f : NULL;
}

struct function *sysfs_function_named(struct sysfs *fs, const char *name, size_t len)
{
	struct function *f;

	sysfs_sync(fs);
	for (f = fs->functions; f; f = f->next)
		if (!f->removed && strlen(f->name) == len && !memcmp(f->name, name, len))
			break;
	return f;
}

struct vfio_device *function_device(struct sysfs *fs, const struct function *f)
{
	struct vfio_device *dev = vfio_machine_get_device(fs->config.machine, f->name);

	if (dev && vfio_device_serial(dev) != f->id) {
		vfio_device_put(dev);
		dev = NULL;
	}
	return dev;
}

bool function_bound(struct sysfs *fs, const struct function *f)
{
	struct vfio_device *dev = function_device(fs, f);
	bool bound = dev && vfio_device_bound(dev);

	if (dev)
		vfio_device_put(dev);
	return bound;
}

bool function_uio(struct sysfs *fs, const struct function *f, unsigned *minor)
{
	struct vfio_device *dev = function_device(fs, f);
	bool bound = dev && vfio_device_uio(dev, minor);

	if (dev)
		vfio_device_put(dev);
	return bound;
}

const char *const sysfs_driver_names[NR_DRIVERS] = {
	[DRIVER_VFIO] = "vfio-pci",
	[DRIVER_UIO] = VFIO_UIO_DRIVER,
};

enum sysfs_driver function_driver(struct sysfs *fs, const struct function *f)
{
	if (function_bound(fs, f))
		return DRIVER_VFIO;
	return function_uio(fs, f, NULL) ? DRIVER_UIO : DRIVER_NONE;
}

bool function_open(struct sysfs *fs, const struct function *f)
{
	struct vfio_device *dev = function_device(fs, f);
	bool open = dev && vfio_device_openers(dev, NULL, 0);

	if (dev)
		vfio_device_put(dev);
	return open;
}

/* VFIO_PCI_MSI_IRQ_INDEX, …MSIX…, or -1; and how many of them. */
static int messages(struct sysfs *fs, const struct function *f, unsigned *nr)
{
	struct vfio_device *dev = function_device(fs, f);
	struct irq_state state;
	int index = -1;

	*nr = 0;
	if (!dev)
		return -1;
	for (unsigned i = VFIO_PCI_MSI_IRQ_INDEX; i <= VFIO_PCI_MSIX_IRQ_INDEX; i++) {
		irq_observe(vfio_device_irqs(dev), i, &state);
		if (!state.vectors)
			continue;
		index = (int)i;
		*nr = state.vectors;
	}
	vfio_device_put(dev);
	return index;
}

unsigned function_messages(struct sysfs *fs, const struct function *f, unsigned *first)
{
	unsigned nr;

	messages(fs, f, &nr);
	if (first)
		*first = FIRST_MESSAGE + MESSAGES_EACH * (unsigned)(f->id - 1);
	return nr;
}

const char *function_message_kind(struct sysfs *fs, const struct function *f)
{
	unsigned nr;

	return messages(fs, f, &nr) == VFIO_PCI_MSIX_IRQ_INDEX ? "msix" : "msi";
}

unsigned function_irq(struct sysfs *fs, const struct function *f)
{
	unsigned first, nr = function_messages(fs, f, &first);

	if (nr)
		return first;
	return f->ids.pin ? FIRST_LINE + f->ids.pin - 1u : 0;
}
