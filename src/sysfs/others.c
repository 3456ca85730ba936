/* SPDX-License-Identifier: BSD-3-Clause */
/* Small directories: slots, groups, modules, power, vfio-dev. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "iommu/space.h"
#include "sysfs/functions.h"

#define READ(name_, show_, arg_)                                                                   \
	{                                                                                          \
		.name = name_, .type = SYSFS_TEXT, .mode = 0444, .show = show_, .arg = arg_        \
	}

/* ---- slots: each bus behind a root port is one ---- */

static ssize_t show_address(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size)
{
	return snprintf(out, size, "%04x:%02x:00\n", (unsigned)(node->object >> 8),
			(unsigned)node->object & 0xff);
}

static ssize_t show_unknown(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size)
{
	return snprintf(out, size, "Unknown\n");
}

const struct sysfs_entry slot_entries[] = {
	READ("address", show_address, 0),
	READ("max_bus_speed", show_unknown, 0),
	READ("cur_bus_speed", show_unknown, 0),
	{0},
};

/* ---- IOMMU groups ---- */

static ssize_t show_reserved(struct sysfs *fs, const struct sysfs_node *node, char *out,
			     size_t size)
{
	return snprintf(out, size, "0x%016llx 0x%016llx msi\n", (unsigned long long)IOMMU_MSI_FIRST,
			(unsigned long long)IOMMU_MSI_LAST);
}

static ssize_t show_type(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size)
{
	return snprintf(out, size, "DMA\n");
}

static ssize_t store_type(struct sysfs *fs, const struct sysfs_node *node, struct sysfs_store *s)
{
	if (!s->admin)
		return -EACCES;
	if (sysfs_is(s, "DMA") || sysfs_is(s, "auto"))
		return (ssize_t)s->len;
	return -EINVAL;
}

const struct sysfs_entry group_entries[] = {
	{.name = "devices", .type = SYSFS_DIR, .mode = 0755, .dir = DIR_GROUP_DEVICES},
	READ("reserved_regions", show_reserved, 0),
	{.name = "type", .type = SYSFS_TEXT, .mode = 0644, .show = show_type, .store = store_type},
	{0},
};

/* ---- modules ---- */

enum module { VFIO, VFIO_TYPE1, VFIO_PCI };

static bool is_vfio_pci(struct sysfs *fs, const struct sysfs_node *node)
{
	return node->object == VFIO_PCI;
}

static ssize_t show_initstate(struct sysfs *fs, const struct sysfs_node *node, char *out,
			      size_t size)
{
	return snprintf(out, size, "live\n");
}

static ssize_t show_refcnt(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size)
{
	return snprintf(out, size, "0\n");
}

const struct sysfs_entry module_entries[] = {
	READ("initstate", show_initstate, 0),
	READ("refcnt", show_refcnt, 0),
	{.name = "parameters", .type = SYSFS_DIR, .mode = 0755, .dir = DIR_PARAMETERS},
	{.name = "drivers",
	 .type = SYSFS_DIR,
	 .mode = 0755,
	 .dir = DIR_MODULE_DRIVERS,
	 .present = is_vfio_pci},
	{0},
};

static ssize_t show_driver_link(struct sysfs *fs, const struct sysfs_node *node, char *out,
				size_t size)
{
	return sysfs_link_to(fs, node, out, size, "bus/pci/drivers/vfio-pci");
}

const struct sysfs_entry module_driver_entries[] = {
	{.name = "pci:vfio-pci",
	 .type = SYSFS_LINK,
	 .mode = 0777,
	 .show = show_driver_link,
	 .present = is_vfio_pci},
	{0},
};

/* Which parameter, and of which module. */
#define PARAMETER(module, which) ((unsigned)(module) << 8 | (which))

enum parameter {
	NOIOMMU,
	UNSAFE_INTERRUPTS,
	HUGEPAGES,
	ENTRY_LIMIT,
	SRIOV,
	NOINTX,
	IDLE_D3,
	DENYLIST
};

static bool of_module(struct sysfs *fs, const struct sysfs_node *node)
{
	return node->entry->arg >> 8 == node->object;
}

static ssize_t show_parameter(struct sysfs *fs, const struct sysfs_node *node, char *out,
			      size_t size)
{
	const struct vfio_policy *policy = vfio_machine_policy(fs->config.machine);
	bool value = false;

	switch ((enum parameter)(node->entry->arg & 0xff)) {
	case NOIOMMU:
		value = policy->enable_unsafe_noiommu_mode;
		break;
	case UNSAFE_INTERRUPTS:
		value = policy->allow_unsafe_interrupts;
		break;
	case ENTRY_LIMIT:
		return snprintf(out, size, "%u\n", policy->dma_entry_limit);
	case SRIOV:
		value = policy->enable_sriov;
		break;
	case NOINTX:
		value = policy->nointxmask;
		break;
	case IDLE_D3:
		value = policy->disable_idle_d3;
		break;
	case HUGEPAGES:
	case DENYLIST:
		break;
	}
	return snprintf(out, size, "%c\n", value ? 'Y' : 'N');
}

/* The machine's policy is what its owner started it with. */
static ssize_t store_parameter(struct sysfs *fs, const struct sysfs_node *node,
			       struct sysfs_store *s)
{
	return -EPERM;
}

#define PARAM(name_, module_, which_, mode_)                                                       \
	{                                                                                          \
		.name = name_, .type = SYSFS_TEXT, .mode = mode_, .show = show_parameter,          \
		.store = store_parameter, .arg = PARAMETER(module_, which_), .present = of_module  \
	}

const struct sysfs_entry parameter_entries[] = {
	PARAM("enable_unsafe_noiommu_mode", VFIO, NOIOMMU, 0644),
	PARAM("allow_unsafe_interrupts", VFIO_TYPE1, UNSAFE_INTERRUPTS, 0644),
	PARAM("disable_hugepages", VFIO_TYPE1, HUGEPAGES, 0644),
	PARAM("dma_entry_limit", VFIO_TYPE1, ENTRY_LIMIT, 0644),
	PARAM("disable_denylist", VFIO_PCI, DENYLIST, 0444),
	PARAM("disable_idle_d3", VFIO_PCI, IDLE_D3, 0644),
	PARAM("enable_sriov", VFIO_PCI, SRIOV, 0644),
	PARAM("nointxmask", VFIO_PCI, NOINTX, 0644),
	{0},
};

/* ---- power ---- */

static ssize_t show_control(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size)
{
	return snprintf(out, size, "%s\n", node->f->power_on ? "on" : "auto");
}

static ssize_t store_control(struct sysfs *fs, const struct sysfs_node *node, struct sysfs_store *s)
{
	if (!sysfs_is(s, "on") && !sysfs_is(s, "auto"))
		return -EINVAL;
	node->f->power_on = sysfs_is(s, "on");
	return (ssize_t)s->len;
}

static ssize_t show_status(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size)
{
	return snprintf(out, size, "active\n");
}

static ssize_t show_zero(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size)
{
	return snprintf(out, size, "0\n");
}

/* Without autosuspend, which PCI functions do not use. */
static ssize_t show_no_delay(struct sysfs *fs, const struct sysfs_node *node, char *out,
			     size_t size)
{
	return -EIO;
}

const struct sysfs_entry power_entries[] = {
	{.name = "control",
	 .type = SYSFS_TEXT,
	 .mode = 0644,
	 .show = show_control,
	 .store = store_control},
	READ("runtime_status", show_status, 0),
	READ("runtime_active_time", show_zero, 0),
	READ("runtime_suspended_time", show_zero, 0),
	{.name = "autosuspend_delay_ms", .type = SYSFS_TEXT, .mode = 0644, .show = show_no_delay},
	{0},
};

/* ---- vfio-dev ---- */

static ssize_t show_device(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size)
{
	return snprintf(out, size, "../../../%s", node->f->name);
}

static ssize_t show_nothing(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size)
{
	return 0;
}

const struct sysfs_entry vfio_dev_entries[] = {{0}};
const struct sysfs_entry vfio_dev_n_entries[] = {
	{.name = "device", .type = SYSFS_LINK, .mode = 0777, .show = show_device},
	{.name = "power", .type = SYSFS_DIR, .mode = 0755, .dir = DIR_VFIO_DEV_POWER},
	{.name = "uevent", .type = SYSFS_TEXT, .mode = 0644, .show = show_nothing},
	{0},
};
