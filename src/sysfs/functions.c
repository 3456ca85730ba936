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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "sysfs/functions.h"
#include "sysfs/sriov.h"
#include "vfio/sriov.h"
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
	f->ari = pci_find_ext_cap(vfio_device_func(dev), PCI_EXT_CAP_ID_ARI);
	sriov_fill(f, dev);
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

/* Which of the machine's models @dev is of. */
static unsigned model_of(struct sysfs *fs, struct vfio_device *dev)
{
	const struct uvfio_model *model;
	unsigned i = 0;

	while ((model = vfio_machine_model(fs->config.machine, i)) &&
	       model != vfio_device_model(dev))
		i++;
	return i;
}

/* What the bus makes of a new one's driver_override: as if somebody had done what users of such
 * programs do; and vfio-pci says so of the VFs of its PFs, whether they are bound or not (C). */
static const char *first_override(struct vfio_device *dev)
{
	struct vfio_device *pf = vfio_device_physfn(dev);
	enum vfio_driver driver = vfio_device_driver(dev);

	if (driver == VFIO_DRIVER_NONE && pf && vfio_device_driver(pf) == VFIO_DRIVER_VFIO)
		return "vfio-pci";
	return driver == VFIO_DRIVER_NONE ? NULL : vfio_device_driver_name(dev);
}

static struct function *function_new(struct sysfs *fs, struct vfio_device *dev)
{
	const char *override = first_override(dev);
	struct function *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->id = vfio_device_serial(dev);
	f->refs = 1;
	f->bus_knows = true;
	fill(f, dev);
	renew(f);
	f->model = model_of(fs, dev);
	if (override)
		f->driver_override = strdup(override);
	return f;
}

/* ---- the list ---- */

static int compare_ids(const void *a, const void *b)
{
	const struct function *f = *(struct function *const *)a;
	const struct function *g = *(struct function *const *)b;

	return f->id < g->id ? -1 : f->id > g->id;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp((*(struct function *const *)a)->name, (*(struct function *const *)b)->name);
}

struct function *sysfs_function_after(struct sysfs *fs, uint64_t id)
{
	unsigned first = 0, end = fs->nr_functions;

	while (first < end) {
		unsigned mid = first + (end - first) / 2;

		if (fs->by_id[mid]->id <= id)
			first = mid + 1;
		else
			end = mid;
	}
	return first < fs->nr_functions ? fs->by_id[first] : NULL;
}

/* Whether the tree shows it or not. */
static struct function *find_id(struct sysfs *fs, uint64_t id)
{
	struct function *f = id ? sysfs_function_after(fs, id - 1) : NULL;

	return f && f->id == id ? f : NULL;
}

/* Have @all, by their ids, be the functions; both arrays are taken. */
static void set_functions(struct sysfs *fs, struct function **all, struct function **named,
			  unsigned nr)
{
	struct function **tail = &fs->functions;

	qsort(all, nr, sizeof(*all), compare_ids);
	for (unsigned i = 0; i < nr; i++) {
		named[i] = all[i];
		*tail = all[i];
		tail = &all[i]->next;
	}
	*tail = NULL;
	qsort(named, nr, sizeof(*named), compare_names);
	free(fs->by_id);
	free(fs->by_name);
	fs->by_id = all;
	fs->by_name = named;
	fs->nr_functions = nr;
}

/* Without memory the list stays what it is, and is looked at again with the next request. */
void sysfs_sync(struct sysfs *fs)
{
	unsigned changes = vfio_machine_changes(fs->config.machine), nr, kept = 0;
	struct function **all, **named;
	struct vfio_device **devs;
	bool whole = true;

	if (fs->synced && changes == fs->machine_changes)
		return;
	nr = vfio_machine_get_devices(fs->config.machine, &devs);
	all = malloc((nr + 1) * sizeof(*all));
	named = malloc((nr + 1) * sizeof(*named));
	if (!all || !named) {
		vfio_devices_put(devs, nr);
		free(all);
		free(named);
		return;
	}
	for (struct function *f = fs->functions; f; f = f->next)
		f->bus_knows = false;
	for (unsigned i = 0; i < nr; i++) {
		struct function *f = find_id(fs, vfio_device_serial(devs[i]));

		if (!f)
			f = function_new(fs, devs[i]);
		whole &= f != NULL;
		if (f) {
			f->bus_knows = true;
			all[kept++] = f;
		}
	}
	vfio_devices_put(devs, nr);
	for (struct function *f = fs->functions, *next; f; f = next) {
		next = f->next;
		if (!f->bus_knows)
			sysfs_function_put(f);
	}
	set_functions(fs, all, named, kept);
	fs->machine_changes = changes;
	fs->synced = whole;
}

void sysfs_functions_free(struct sysfs *fs)
{
	while (fs->functions) {
		struct function *f = fs->functions;

		fs->functions = f->next;
		sysfs_function_put(f);
	}
	free(fs->by_id);
	free(fs->by_name);
}

struct function *sysfs_function(struct sysfs *fs, uint64_t id)
{
	struct function *f = find_id(fs, id);

	return f && !f->removed ? f : NULL;
}

struct function *sysfs_function_named(struct sysfs *fs, const char *name, size_t len)
{
	struct function key, *k = &key, **found;

	if (len >= sizeof(key.name))
		return NULL;
	memcpy(key.name, name, len);
	key.name[len] = '\0';
	sysfs_sync(fs);
	found = fs->nr_functions
			? bsearch(&k, fs->by_name, fs->nr_functions, sizeof(*found), compare_names)
			: NULL;
	return found && !(*found)->removed ? *found : NULL;
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

unsigned function_driver(struct sysfs *fs, const struct function *f)
{
	struct vfio_device *dev = function_device(fs, f);
	enum vfio_driver driver = dev ? vfio_device_driver(dev) : VFIO_DRIVER_NONE;

	if (dev)
		vfio_device_put(dev);
	switch (driver) {
	case VFIO_DRIVER_VFIO:
		return DRIVER_VFIO;
	case VFIO_DRIVER_UIO:
		return DRIVER_UIO;
	case VFIO_DRIVER_STUB:
		return DRIVER_STUB;
	case VFIO_DRIVER_MODEL:
		return DRIVER_MODEL + f->model;
	default:
		return SYSFS_NO_DRIVER;
	}
}

bool sysfs_driver_name(struct sysfs *fs, unsigned driver, char out[SYSFS_DRIVER_NAME])
{
	static const char *const names[] = {
		[DRIVER_VFIO] = "vfio-pci",
		[DRIVER_UIO] = VFIO_UIO_DRIVER,
		[DRIVER_STUB] = VFIO_STUB_DRIVER,
	};
	const struct uvfio_model *model =
		driver >= DRIVER_MODEL && driver != SYSFS_NO_DRIVER
			? vfio_machine_model(fs->config.machine, driver - DRIVER_MODEL)
			: NULL;

	if (driver < DRIVER_MODEL)
		snprintf(out, SYSFS_DRIVER_NAME, "%s", names[driver]);
	else if (!model || !*model->name || strchr(model->name, '/') || model->name[0] == '.' ||
		 (size_t)snprintf(out, SYSFS_DRIVER_NAME, "%s", model->name) >= SYSFS_DRIVER_NAME)
		return false;
	return true;
}

const char *function_driver_name(struct sysfs *fs, const struct function *f,
				 char out[SYSFS_DRIVER_NAME])
{
	return sysfs_driver_name(fs, function_driver(fs, f), out) ? out : NULL;
}

bool sysfs_driver_exists(struct sysfs *fs, uint64_t driver)
{
	char name[SYSFS_DRIVER_NAME];
	const struct function *f = fs->functions;

	if (driver < DRIVER_MODEL)
		return driver != DRIVER_UIO || fs->uio;
	while (f && f->model != driver - DRIVER_MODEL)
		f = f->next;
	return f && sysfs_driver_name(fs, (unsigned)driver, name);
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
