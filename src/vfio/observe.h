/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is going on, for control and for listings: what is open by whom, regions, interrupts, DMA
 * mappings, faults, the state of the bus.
 *
 * Nothing here waits for a client or stops a device: locks are those that are held for a few
 * instructions.  What is told was so at some moment during the call; two calls may tell of two
 * moments.  Any thread, but for vfio_device_host_reset() all calls are cheap enough for a loop.
 */
#ifndef UVFIO_VFIO_OBSERVE_H
#define UVFIO_VFIO_OBSERVE_H

#include "iommu/space.h"
#include "irq/irq.h"
#include "vfio/vfio.h"

/* A device by its name, held: it is not freed before vfio_device_put(), though it may be removed
 * from the machine and lose its users.  NULL: there is none. */
struct vfio_device *vfio_machine_get_device(struct vfio_machine *machine, const char *name);
/* All of them, held, in the order of their making: how many there are; *@out is malloc'ed, NULL
 * when there are none or there is no memory. */
unsigned vfio_machine_get_devices(struct vfio_machine *machine, struct vfio_device ***out);
void vfio_device_put(struct vfio_device *dev);
/* Put all of a list and free it. */
void vfio_devices_put(struct vfio_device **devs, unsigned n);

/* ---- what is open by whom ---- */

struct vfio_opener {
	char door[12];  /* as struct vfio_who has it; "" when the door does not say */
	int32_t pid;    /* 0: unknown */
	int64_t uid;    /* -1: unknown */
	uint64_t since; /* CLOCK_REALTIME, ns */
	enum vfio_mmio_mode mmio;
};
/* How many files of @dev are open; the first @max of them are in @out, oldest first. */
unsigned vfio_device_openers(struct vfio_device *dev, struct vfio_opener *out, unsigned max);

struct vfio_group_state {
	unsigned number;
	unsigned devices;      /* in it */
	unsigned device_files; /* open */
	bool open;             /* its own file */
	bool container;        /* it is in one */
	bool iommu;            /* which has an address space */
};
void vfio_device_group_state(struct vfio_device *dev, struct vfio_group_state *out);

/* ---- the function ---- */

struct vfio_bus_state {
	bool memory;     /* BARs can be accessed */
	bool bus_master; /* in effect: the device may do DMA */
	bool leaving;    /* it is being removed: its users were asked for it, or have lost it */
	bool resetting;  /* accesses wait for a reset */
	unsigned power;  /* D0 … D3hot = 3 */
};
void vfio_device_bus_state(struct vfio_device *dev, struct vfio_bus_state *out);

struct vfio_region_state {
	unsigned index;     /* VFIO_PCI_…_REGION_INDEX */
	uint64_t size;      /* 0: there is none */
	uint32_t flags;     /* VFIO_REGION_INFO_FLAG_… as a file in mode @mmio would be told */
	uint64_t address;   /* BARs: where the machine's firmware placed it */
	unsigned bar_flags; /* UVFIO_BAR_… */
};
/* -EINVAL beyond the last region. */
int vfio_device_region_state(struct vfio_device *dev, unsigned index, enum vfio_mmio_mode mmio,
			     struct vfio_region_state *out);
/* The areas of a BAR, ascending, holes left out; like vfio_device_openers(). */
struct vfio_area_state {
	uint64_t offset, size;
	const char *kind; /* "registers", "doorbells", "memory", "msix-table", "msix-pba" */
};
unsigned vfio_device_areas(struct vfio_device *dev, unsigned bar, struct vfio_area_state *out,
			   unsigned max);

/* ---- interrupts: irq_observe() and irq_observe_vectors() of irq.h ---- */

struct irq_set *vfio_device_irqs(struct vfio_device *dev);

/* ---- DMA ---- */

/* Address spaces of a machine are numbered from 1, in the order of their making: what events,
 * faults and listings call them by.  0: it has none, or one in which nothing can be mapped. */
uint64_t vfio_device_space(struct vfio_device *dev);
/* How many mappings the address space of @dev has; up to @max of them that end at @iova or later
 * are in @out, ascending, and *@got says how many.  Go on behind the last one.  @max is at most
 * IOMMU_LIST_MAX.  0 of 0 when the device has no address space. */
uint64_t vfio_device_mappings(struct vfio_device *dev, uint64_t iova, struct iommu_listed *out,
			      unsigned max, unsigned *got);

#define VFIO_FAULT_RECORDS 64u /* kept for each device */

struct vfio_fault_record {
	uint64_t number; /* counts up from 1 */
	uint64_t time;   /* CLOCK_REALTIME, ns */
	struct iommu_fault fault;
	uint64_t space; /* of which address space */
	int result;     /* -errno that the model got */
};
/* The latest faults, oldest first: how many are in @out.  *@total: since the device was made. */
unsigned vfio_device_faults(struct vfio_device *dev, struct vfio_fault_record *out, unsigned max,
			    uint64_t *total);
/* "the address is not mapped" */
const char *vfio_fault_reason(enum iommu_fault_reason reason);

/* ---- migration (E) ---- */

struct vfio_migration_state {
	const char *interface; /* "v2", "region", "region-ndma"; "off": the device cannot be moved,
				  or is not to be */
	/* What it can besides being stopped and copied. */
	bool p2p, pre_copy;
	bool quiet_mmio;   /* its BARs are no memory for DMA (D.4) */
	const char *state; /* "RUNNING" */
	const char *place; /* of an operator's move: "here" */
	bool asked;        /* since it was opened a client has asked for migration */
	bool leaves;       /* PRE_COPY…: these are bytes that are left */
	uint64_t initial, dirty;
};
void vfio_device_migration_state(struct vfio_device *dev, struct vfio_migration_state *out);

/* ---- what the host does ---- */

/* What writing to the `reset` file in sysfs does (A.5): the function's reset, also while users have
 * it open, whose config space, bus mastering and triggers are kept.  0; -ENOTTY without a method.
 * Waits for another reset and for the device to become quiet: not from a loop. */
int vfio_device_host_reset(struct vfio_device *dev);

/* ---- events ---- */

/* Does @event concern the device @name?  DMA mappings do when it is in the container.  To be called
 * by an observer, during the event. */
bool vfio_event_concerns(struct vfio_machine *machine, const struct vfio_event *event,
			 const char *name);

#endif
