/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is going on, for control and for listings; see observe.h.
 *
 * Theory of operation.  Who looks at a device is one of its watchers: removing the device takes it
 * out of the machine first, and then waits for the watchers it still has.  A watcher takes only
 * locks that are held for a few instructions: the machine's, the register lock, those of rings and
 * of the address space.  So looking neither waits for a client or a reset, nor is it waited for.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "vfio/iommufd.h"

static uint64_t realtime_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- devices ---- */

struct vfio_device *vfio_machine_get_device(struct vfio_machine *machine, const char *name)
{
	struct vfio_device *dev = NULL;

	pthread_mutex_lock(&machine->lock);
	for (unsigned i = 0; i < machine->nr_devices && !dev; i++) {
		if (!strcmp(machine->devices[i]->name, name))
			dev = machine->devices[i];
	}
	if (dev)
		dev->watchers++;
	pthread_mutex_unlock(&machine->lock);
	return dev;
}

unsigned vfio_machine_get_devices(struct vfio_machine *machine, struct vfio_device ***out)
{
	unsigned n;

	pthread_mutex_lock(&machine->lock);
	n = machine->nr_devices;
	*out = n ? malloc(n * sizeof(**out)) : NULL;
	if (!*out)
		n = 0;
	for (unsigned i = 0; i < n; i++) {
		(*out)[i] = machine->devices[i];
		machine->devices[i]->watchers++;
	}
	pthread_mutex_unlock(&machine->lock);
	return n;
}

void vfio_device_put(struct vfio_device *dev)
{
	struct vfio_machine *machine = dev->machine;

	pthread_mutex_lock(&machine->lock);
	if (--dev->watchers == 0)
		pthread_cond_broadcast(&machine->watch_cond); /* @dev may be gone now */
	pthread_mutex_unlock(&machine->lock);
}

void vfio_devices_put(struct vfio_device **devs, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		vfio_device_put(devs[i]);
	free(devs);
}

void observe_wait(struct vfio_device *dev)
{
	struct vfio_machine *machine = dev->machine;

	pthread_mutex_lock(&machine->lock);
	while (dev->watchers)
		pthread_cond_wait(&machine->watch_cond, &machine->lock);
	pthread_mutex_unlock(&machine->lock);
}

/* ---- what is open by whom ---- */

void observe_file(struct vfio_device_file *df, const struct vfio_client *client)
{
	struct vfio_device *dev = df->dev;
	struct vfio_device_file **tail;

	df->pid = client->pid;
	df->who = client->who ? *client->who : (struct vfio_who){NULL, -1};
	df->since = realtime_ns();
	pthread_mutex_lock(&dev->machine->lock);
	for (tail = &dev->files; *tail;)
		tail = &(*tail)->next;
	*tail = df;
	pthread_mutex_unlock(&dev->machine->lock);
}

void observe_file_closed(struct vfio_device_file *df)
{
	struct vfio_device *dev = df->dev;

	pthread_mutex_lock(&dev->machine->lock);
	for (struct vfio_device_file **p = &dev->files; *p; p = &(*p)->next) {
		if (*p == df) {
			*p = df->next;
			break;
		}
	}
	pthread_mutex_unlock(&dev->machine->lock);
}

unsigned vfio_device_openers(struct vfio_device *dev, struct vfio_opener *out, unsigned max)
{
	unsigned n = 0;

	pthread_mutex_lock(&dev->machine->lock);
	for (const struct vfio_device_file *df = dev->files; df; df = df->next, n++) {
		if (n >= max)
			continue;
		out[n] = (struct vfio_opener){
			.pid = df->pid,
			.uid = df->who.uid,
			.since = df->since,
			.mmio = (enum vfio_mmio_mode)atomic_load(&df->mmio),
		};
		if (df->who.door)
			strncpy(out[n].door, df->who.door, sizeof(out[n].door) - 1);
	}
	pthread_mutex_unlock(&dev->machine->lock);
	return n;
}

void vfio_device_group_state(struct vfio_device *dev, struct vfio_group_state *out)
{
	const struct vfio_group *group = dev->group;

	pthread_mutex_lock(&dev->machine->lock);
	*out = (struct vfio_group_state){
		.number = group->number,
		.devices = group->nr_devices,
		.device_files = group->device_files,
		.open = group->file != NULL,
		.container = group->container || group->iommufd,
		.iommu = (group->container && group->container->backend) || dev->ioas,
	};
	pthread_mutex_unlock(&dev->machine->lock);
}

/* ---- the function ---- */

void vfio_device_bus_state(struct vfio_device *dev, struct vfio_bus_state *out)
{
	*out = (struct vfio_bus_state){
		.memory = pci_memory_enabled(dev->func),
		.bus_master = pci_bus_master(dev->func),
		.power = pci_power_state(dev->func),
		.leaving = atomic_load(&dev->state) >= DEVICE_ASKED,
	};
	device_lock_regs(dev);
	out->resetting = dev->mem == MEM_WAIT;
	pthread_mutex_unlock(&dev->reg_lock);
}

int vfio_device_region_state(struct vfio_device *dev, unsigned index, enum vfio_mmio_mode mmio,
			     struct vfio_region_state *out)
{
	if (index >= vfio_device_nr_regions(dev))
		return -EINVAL;
	*out = (struct vfio_region_state){.index = index};
	if (index < NR_BARS) {
		const struct bar *bar = &dev->bars[index];

		out->size = bar->size;
		out->address = bar->address;
		out->bar_flags = bar->flags;
		if (bar->size)
			out->flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
		if (bar->size && bar_mappable(dev, index, mmio))
			out->flags |= VFIO_REGION_INFO_FLAG_MMAP;
	} else if (index == VFIO_PCI_CONFIG_REGION_INDEX) {
		out->size = pci_func_config_size(dev->func);
		out->flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	} else if (index == MIG_REGION_INDEX) {
		out->size = MIG_REGION_BYTES;
		out->flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE |
			     VFIO_REGION_INFO_FLAG_MMAP;
	} else if (index == VFIO_PCI_ROM_REGION_INDEX && dev->rom_size) {
		out->size = dev->rom_size;
		out->flags = VFIO_REGION_INFO_FLAG_READ;
	}
	return 0;
}

unsigned vfio_device_areas(struct vfio_device *dev, unsigned index, struct vfio_area_state *out,
			   unsigned max)
{
	static const char *const kinds[] = {
		[RANGE_REGISTERS] = "registers", [RANGE_DOORBELLS] = "doorbells",
		[RANGE_MEMORY] = "memory",       [RANGE_MSIX_TABLE] = "msix-table",
		[RANGE_MSIX_PBA] = "msix-pba",
	};
	const struct bar *bar;

	if (index >= NR_BARS)
		return 0;
	bar = &dev->bars[index];
	for (unsigned i = 0; i < bar->nr_ranges && i < max; i++) {
		const struct range *r = &bar->ranges[i];

		out[i] = (struct vfio_area_state){r->first, r->end - r->first, kinds[r->kind]};
	}
	return bar->nr_ranges;
}

struct irq_set *vfio_device_irqs(struct vfio_device *dev)
{
	return dev->irqs;
}

/* ---- DMA ---- */

uint64_t vfio_device_space(struct vfio_device *dev)
{
	return atomic_load(&dev->space_number);
}

uint64_t vfio_device_mappings(struct vfio_device *dev, uint64_t iova, struct iommu_listed *out,
			      unsigned max, unsigned *got)
{
	struct backend *backend = NULL;
	struct ioas *ioas;
	uint64_t count;

	*got = 0;
	pthread_mutex_lock(&dev->machine->lock);
	ioas = dev->ioas;
	if (ioas)
		ioas_get(ioas);
	if (dev->group->container)
		backend = dev->group->container->backend;
	if (backend)
		atomic_fetch_add(&backend->refs, 1);
	pthread_mutex_unlock(&dev->machine->lock);
	if (ioas) {
		*got = iommu_list(ioas_space(ioas), iova, out, max, &count);
		ioas_put_later(ioas, dev->machine->trash);
	}
	if (!backend)
		return ioas ? count : 0;
	*got = iommu_list(type1_space(backend->type1), iova, out, max, &count);
	backend_put_later(dev->machine, backend);
	return count;
}

void observe_fault(struct vfio_device *dev, const struct iommu_fault *fault, int result)
{
	struct fault_ring *ring = &dev->faults;
	uint64_t now = realtime_ns();

	pthread_mutex_lock(&ring->lock);
	ring->records[ring->total % VFIO_FAULT_RECORDS] =
		(struct vfio_fault_record){.number = ring->total + 1,
					   .time = now,
					   .fault = *fault,
					   .space = vfio_device_space(dev),
					   .result = result};
	ring->total++;
	pthread_mutex_unlock(&ring->lock);
}

unsigned vfio_device_faults(struct vfio_device *dev, struct vfio_fault_record *out, unsigned max,
			    uint64_t *total)
{
	struct fault_ring *ring = &dev->faults;
	unsigned n;

	pthread_mutex_lock(&ring->lock);
	*total = ring->total;
	n = ring->total < VFIO_FAULT_RECORDS ? (unsigned)ring->total : VFIO_FAULT_RECORDS;
	if (n > max)
		n = max;
	for (unsigned i = 0; i < n; i++)
		out[i] = ring->records[(ring->total - n + i) % VFIO_FAULT_RECORDS];
	pthread_mutex_unlock(&ring->lock);
	return n;
}

const char *vfio_fault_reason(enum iommu_fault_reason reason)
{
	static const char *const names[] = {
		[IOMMU_FAULT_UNMAPPED] = "the address is not mapped",
		[IOMMU_FAULT_PERMISSION] = "the mapping does not permit it",
		[IOMMU_FAULT_INTERRUPT_WINDOW] = "the address is in the interrupt window",
		[IOMMU_FAULT_BUS_MASTER] = "bus mastering is off",
		[IOMMU_FAULT_GONE] = "the memory behind the mapping has gone",
		[IOMMU_FAULT_INJECTED] = "a fault was asked for",
		[IOMMU_FAULT_REVOKED] = "the memory of the device behind the mapping is away",
		[IOMMU_FAULT_QUIET] = "the device is to be quiet while it is moved",
	};

	static_assert(ARRAY_SIZE(names) == NR_IOMMU_FAULTS, "a name each");
	return (unsigned)reason < ARRAY_SIZE(names) ? names[reason] : "unknown";
}

/* ---- events ---- */

bool vfio_event_concerns(struct vfio_machine *machine, const struct vfio_event *event,
			 const char *name)
{
	bool concerns = false;

	if (event->device)
		return !strcmp(event->device, name);
	if (!event->space)
		return false;
	pthread_mutex_lock(&machine->lock);
	for (unsigned i = 0; i < machine->nr_devices; i++) {
		const struct vfio_device *dev = machine->devices[i];

		if (!strcmp(dev->name, name))
			concerns =
				event->space == dev->group->container || event->space == dev->ioas;
	}
	pthread_mutex_unlock(&machine->lock);
	return concerns;
}

void vfio_device_migration_state(struct vfio_device *dev, struct vfio_migration_state *out)
{
	const struct device_migration *mig = &dev->migration;
	unsigned state = atomic_load(&mig->shown), can;

	*out = (struct vfio_migration_state){.interface = migration_interface_names[MIGRATION_OFF]};
	if (!mig->m)
		return;
	can = migration_can(mig->m);
	*out = (struct vfio_migration_state){
		.interface = migration_interface_names[mig->interface],
		.p2p = can & MIG_CAN_P2P,
		.pre_copy = can & MIG_CAN_PRE_COPY,
		.quiet_mmio = device_quiet_mmio(dev),
		.state = mig_state_name(state),
		.place = vfio_place_name(vfio_device_place(dev)),
		.asked = atomic_load(&mig->asked),
		.leaves = state == MIG_PRE_COPY || state == MIG_PRE_COPY_P2P,
		.initial = atomic_load(&mig->left_initial),
		.dirty = atomic_load(&mig->left_dirty),
	};
}
