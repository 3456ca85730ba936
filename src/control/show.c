/* SPDX-License-Identifier: BSD-3-Clause */
/* `show`: all about one device. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "control/control_private.h"
#include "vfio/inject.h"

#define MAX_AREAS    32u
#define MAX_VECTORS  2048u
#define MAX_MAPPINGS IOMMU_LIST_MAX
#define MAPPINGS     16u /* unless more are asked for */

static void put_identity(struct json_object *out, struct vfio_device *dev)
{
	const struct uvfio_pci_desc *desc = pci_func_desc(vfio_device_func(dev));

	json_put_string(out, "device", vfio_device_name(dev));
	json_put_string(out, "model", vfio_device_model(dev)->name);
	json_put_string(out, "summary",
			vfio_device_model(dev)->summary ? vfio_device_model(dev)->summary : "");
	json_put_uint(out, "vendor_id", desc->vendor);
	json_put_uint(out, "device_id", desc->device);
	json_put_uint(out, "subsystem_vendor_id", desc->subsystem_vendor);
	json_put_uint(out, "subsystem_device_id", desc->subsystem_device);
	json_put_uint(out, "class", desc->class_code);
	json_put_uint(out, "revision", desc->revision);
	json_put_driver(out, dev);
	json_put_sriov(out, dev);
}

/* What is left to happen of what was asked for; nothing: not there. */
static void put_injected(struct json_object *out, struct vfio_device *dev)
{
	struct vfio_injected i;
	struct json_object *injected;

	vfio_device_injected(dev, &i);
	if (!i.faults && !i.stuck_resets && !i.slow_ns && !i.intx)
		return;
	injected = json_object_new_object();
	json_put_uint(injected, "faults", i.faults);
	json_put_uint(injected, "stuck_resets", i.stuck_resets);
	json_put_uint(injected, "slow_mmio_ns", i.slow_ns);
	json_put_uint(injected, "intx", i.intx);
	json_put(out, "injected", injected);
}

static struct json_object *group(struct vfio_device *dev)
{
	struct json_object *out = json_object_new_object();
	struct vfio_group_state g;

	vfio_device_group_state(dev, &g);
	json_put_uint(out, "number", g.number);
	if (vfio_device_noiommu(dev))
		json_put_bool(out, "noiommu", true);
	json_put_uint(out, "devices", g.devices);
	json_put_bool(out, "open", g.open);
	json_put_bool(out, "container", g.container);
	json_put_bool(out, "iommu", g.iommu);
	return out;
}

static struct json_object *bus(struct vfio_device *dev)
{
	static const char *const power[] = {"D0", "D1", "D2", "D3hot"};
	struct json_object *out = json_object_new_object();
	struct vfio_bus_state b;

	vfio_device_bus_state(dev, &b);
	json_put_bool(out, "memory", b.memory);
	json_put_bool(out, "bus_master", b.bus_master);
	json_put_string(out, "power", power[b.power & 3]);
	json_put_bool(out, "resetting", b.resetting);
	json_put_bool(out, "leaving", b.leaving);
	return out;
}

/* ---- regions ---- */

static struct json_object *areas(struct vfio_device *dev, unsigned bar)
{
	struct json_object *out = json_object_new_array();
	struct vfio_area_state a[MAX_AREAS];
	unsigned n = vfio_device_areas(dev, bar, a, MAX_AREAS);

	for (unsigned i = 0; i < n && i < MAX_AREAS; i++) {
		struct json_object *area = json_object_new_object();

		json_put_uint(area, "offset", a[i].offset);
		json_put_uint(area, "size", a[i].size);
		json_put_string(area, "kind", a[i].kind);
		json_object_array_add(out, area);
	}
	return out;
}

static const char *bar_type(unsigned flags)
{
	if (flags & UVFIO_BAR_IO)
		return "io";
	if (flags & UVFIO_BAR_MEM64)
		return flags & UVFIO_BAR_PREFETCH ? "mem64-prefetchable" : "mem64";
	return flags & UVFIO_BAR_PREFETCH ? "mem32-prefetchable" : "mem32";
}

/* What the first file was told, or would be told where registers are not mapped. */
static enum vfio_mmio_mode mode_of(struct vfio_device *dev)
{
	struct vfio_opener o;

	return vfio_device_openers(dev, &o, 1) ? o.mmio : VFIO_MMIO_EXACT;
}

static struct json_object *regions(struct vfio_device *dev)
{
	struct json_object *out = json_object_new_array();
	enum vfio_mmio_mode mode = mode_of(dev);
	struct vfio_region_state r;

	for (unsigned i = 0; !vfio_device_region_state(dev, i, mode, &r); i++) {
		struct json_object *region;
		char name[16];

		if (!r.size)
			continue;
		region = json_object_new_object();
		snprintf(name, sizeof(name), "bar%u", i);
		if (i == VFIO_PCI_ROM_REGION_INDEX)
			snprintf(name, sizeof(name), "rom");
		if (i == VFIO_PCI_CONFIG_REGION_INDEX)
			snprintf(name, sizeof(name), "config");
		if (i == VFIO_PCI_NUM_REGIONS)
			snprintf(name, sizeof(name), "migration");
		json_put_uint(region, "index", i);
		json_put_string(region, "name", name);
		json_put_uint(region, "size", r.size);
		json_put_bool(region, "read", r.flags & VFIO_REGION_INFO_FLAG_READ);
		json_put_bool(region, "write", r.flags & VFIO_REGION_INFO_FLAG_WRITE);
		json_put_bool(region, "mmap", r.flags & VFIO_REGION_INFO_FLAG_MMAP);
		if (i <= VFIO_PCI_BAR5_REGION_INDEX) {
			json_put_string(region, "type", bar_type(r.bar_flags));
			json_put_uint(region, "address", r.address);
			json_put(region, "areas", areas(dev, i));
		}
		json_object_array_add(out, region);
	}
	return out;
}

/* ---- interrupts ---- */

static struct json_object *vectors(struct vfio_device *dev, unsigned index)
{
	struct json_object *out = json_object_new_array();
	struct irq_vector_state v[64];
	unsigned n, first = 0;

	while (first < MAX_VECTORS) {
		n = irq_observe_vectors(vfio_device_irqs(dev), index, first, v, 64);
		if (!n)
			break;
		for (unsigned i = 0; i < n; i++) {
			struct json_object *vector = json_object_new_object();

			json_put_uint(vector, "vector", v[i].vector);
			json_put_uint(vector, "delivered", v[i].delivered);
			json_put_bool(vector, "eventfd", v[i].eventfd);
			json_put_bool(vector, "masked", v[i].masked);
			json_put_bool(vector, "pending", v[i].pending);
			json_object_array_add(out, vector);
		}
		first = v[n - 1].vector + 1;
	}
	return out;
}

static struct json_object *interrupts(struct vfio_device *dev)
{
	static const char *const names[IRQ_NUM] = {"intx", "msi", "msix", "err", "req"};
	struct json_object *out = json_object_new_array();
	struct irq_state s;

	for (unsigned i = 0; i < IRQ_NUM; i++) {
		struct json_object *irq;

		irq_observe(vfio_device_irqs(dev), i, &s);
		if (!s.count)
			continue;
		irq = json_object_new_object();
		json_put_string(irq, "name", names[i]);
		json_put_uint(irq, "count", s.count);
		json_put_uint(irq, "enabled", s.vectors);
		json_put_uint(irq, "delivered", s.delivered);
		if (i == VFIO_PCI_INTX_IRQ_INDEX) {
			json_put_bool(irq, "asserted", s.line);
			json_put_bool(irq, "masked", s.masked);
		}
		if (i == VFIO_PCI_MSI_IRQ_INDEX || i == VFIO_PCI_MSIX_IRQ_INDEX)
			json_put(irq, "vectors", vectors(dev, i));
		json_object_array_add(out, irq);
	}
	return out;
}

/* ---- DMA ---- */

static const char *memory_kind(const struct iommu_listed *m)
{
	switch (m->kind) {
	case IOMMU_MEM_PROCESS:
		return "process";
	case IOMMU_MEM_FILE:
		return "file";
	default:
		return m->device[0] ? "device" : "peer"; /* reached by messages */
	}
}

static struct json_object *dma(struct vfio_device *dev, uint64_t from, unsigned limit)
{
	struct json_object *out = json_object_new_object(), *list = json_object_new_array();
	struct iommu_listed *m = malloc(MAX_MAPPINGS * sizeof(*m));
	unsigned got = 0;

	json_put_uint(out, "space", vfio_device_space(dev));
	json_put_uint(out, "total",
		      m ? vfio_device_mappings(dev, from, m, limit ? limit : 1, &got) : 0);
	if (got > limit)
		got = limit;
	for (unsigned i = 0; i < got; i++) {
		struct json_object *mapping = json_object_new_object();
		char access[3] = "";

		if (m[i].prot & IOMMU_READ)
			strcat(access, "r");
		if (m[i].prot & IOMMU_WRITE)
			strcat(access, "w");
		json_put_uint(mapping, "iova", m[i].iova);
		json_put_uint(mapping, "size", m[i].size);
		json_put_string(mapping, "access", access);
		json_put_string(mapping, "memory", memory_kind(&m[i]));
		if (m[i].device[0])
			json_put_string(mapping, "device", m[i].device);
		json_put_uint(mapping, "pieces", m[i].pieces);
		json_object_array_add(list, mapping);
	}
	json_put(out, "mappings", list);
	if (got && got == limit)
		json_put_uint(out, "next", m[got - 1].iova + m[got - 1].size);
	free(m);
	return out;
}

struct json_object *method_show(struct call *call, struct json_object *params,
				struct rpc_error *err)
{
	struct control *control = call->client->control;
	uint64_t from = 0, limit = MAPPINGS;
	struct json_object *out, *door;
	struct vfio_device *dev;

	if (!param_uint(params, "mappings_from", UINT64_MAX >> 1, &from, err) ||
	    !param_uint(params, "mappings_limit", MAX_MAPPINGS, &limit, err))
		return NULL;
	dev = param_device(call->client, params, err);
	if (!dev)
		return NULL;
	out = json_object_new_object();
	put_identity(out, dev);
	json_put_taint(out, control);
	put_injected(out, dev);
	json_put(out, "group", group(dev));
	json_put(out, "bus", bus(dev));
	json_put_migration(out, dev);
	json_put(out, "users", json_users(dev));
	json_put(out, "regions", regions(dev));
	json_put(out, "interrupts", interrupts(dev));
	json_put(out, "dma", dma(dev, from, (unsigned)limit));
	json_put(out, "counters", json_core_stats(dev));
	json_put_move(out, control, dev);
	if (control->ops->describe) {
		door = json_object_new_object();
		control->ops->describe(control->ops_arg, dev, door);
		json_put(out, "door", door);
	}
	vfio_device_put(dev);
	return out;
}
