/* SPDX-License-Identifier: BSD-3-Clause */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <linux/pci_regs.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "uapi/tree.h"
#include "iommu/space.h"
#include "pci/pci.h"
#include "vfio/uio.h"

#define MAX_DEVICES 256

/* Flags of a resource in sysfs (the kernel's IORESOURCE_…); the low bits are those of the BAR. */
#define RES_IO        0x00000100ull
#define RES_MEM       0x00000200ull
#define RES_PREFETCH  0x00002000ull
#define RES_READONLY  0x00004000ull
#define RES_SIZEALIGN 0x00040000ull
#define RES_MEM_64    0x00100000ull
#define RES_LINES     13 /* BARs, ROM, and the VF BARs of a PF */

/* Where the BARs seem to be.  Nothing is there: programs only take lengths from these lines. */
struct address_map {
	uint64_t io, mem32, mem64;
};

struct tree {
	uint8_t *buf;
	size_t len, size;
	bool failed;
};

static void add(struct tree *tree, enum tree_kind kind, unsigned mode, const char *path,
		const void *data, size_t data_len)
{
	struct tree_record rec = {kind, mode, (uint32_t)strlen(path), (uint32_t)data_len};
	size_t need = TREE_RECORD_SIZE(rec.path_len, data_len);
	uint8_t *p;

	if (tree->failed)
		return;
	if (tree->len + need > tree->size) {
		size_t size = 2 * (tree->size + need);
		uint8_t *grown = realloc(tree->buf, size);

		if (!grown) {
			tree->failed = true;
			return;
		}
		tree->buf = grown;
		tree->size = size;
	}
	p = tree->buf + tree->len;
	memset(p, 0, need);
	memcpy(p, &rec, sizeof(rec));
	p += sizeof(rec);
	memcpy(p, path, rec.path_len);
	if (data_len)
		memcpy(p + rec.path_len + 1, data, data_len);
	tree->len += need;
}

static void add_dir(struct tree *tree, const char *base, const char *name)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", base, name);
	add(tree, TREE_DIR, 0755, path, NULL, 0);
}

static void __attribute__((format(printf, 5, 6)))
add_text(struct tree *tree, unsigned mode, const char *base, const char *name, const char *fmt, ...)
{
	char path[PATH_MAX], text[2048];
	va_list ap;
	int n;

	snprintf(path, sizeof(path), "%s/%s", base, name);
	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	add(tree, TREE_FILE, mode, path, text,
	    (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
}

static void __attribute__((format(printf, 4, 5)))
add_link(struct tree *tree, const char *base, const char *name, const char *fmt, ...)
{
	char path[PATH_MAX], target[PATH_MAX];
	va_list ap;

	snprintf(path, sizeof(path), "%s/%s", base, name);
	va_start(ap, fmt);
	vsnprintf(target, sizeof(target), fmt, ap);
	va_end(ap);
	add(tree, TREE_LINK, 0777, path, target, strlen(target));
}

static uint64_t place(uint64_t *next, uint64_t size)
{
	uint64_t at = (*next + size - 1) & ~(size - 1);

	*next = at + size;
	return at;
}

/* The file `resource`: start, end and flags of each BAR, then of the ROM. */
static void add_resources(struct tree *tree, const char *base, const struct uapi_device *dev,
			  struct address_map *map)
{
	char text[RES_LINES * 64];
	size_t len = 0;

	for (unsigned i = 0; i < RES_LINES; i++) {
		uint64_t start = 0, size = 0, flags = 0;

		if (i < 6 && dev->bars[i].size) {
			unsigned bar = dev->bars[i].flags;

			size = dev->bars[i].size;
			flags = RES_SIZEALIGN;
			if (bar & UVFIO_BAR_IO) {
				flags |= RES_IO | PCI_BASE_ADDRESS_SPACE_IO;
				start = place(&map->io, size);
			} else {
				flags |= RES_MEM;
				if (bar & UVFIO_BAR_PREFETCH)
					flags |= RES_PREFETCH | PCI_BASE_ADDRESS_MEM_PREFETCH;
				if (bar & UVFIO_BAR_MEM64)
					flags |= RES_MEM_64 | PCI_BASE_ADDRESS_MEM_TYPE_64;
				start = place(bar & UVFIO_BAR_MEM64 ? &map->mem64 : &map->mem32,
					      size);
			}
		} else if (i == 6 && dev->rom_size) {
			size = dev->rom_size;
			flags = RES_MEM | RES_PREFETCH | RES_READONLY | RES_SIZEALIGN;
			start = place(&map->mem32, size);
		}
		len += (size_t)snprintf(text + len, sizeof(text) - len,
					"0x%016llx 0x%016llx 0x%016llx\n",
					(unsigned long long)start,
					(unsigned long long)(size ? start + size - 1 : 0),
					(unsigned long long)flags);
	}
	add_text(tree, 0444, base, "resource", "%s", text);
}

static unsigned get(const uint8_t *bytes, unsigned off, unsigned size)
{
	unsigned value = 0;

	for (unsigned i = 0; i < size; i++)
		value |= (unsigned)bytes[off + i] << (8 * i);
	return value;
}

static void add_vfio_dev(struct tree *tree, const char *base, const struct uapi_device *dev)
{
	char name[32], path[128];

	if (dev->cdev == VFIO_NO_CDEV)
		return;
	snprintf(name, sizeof(name), "vfio-dev/vfio%u", dev->cdev);
	snprintf(path, sizeof(path), "%s/%s", base, name);
	add_dir(tree, base, "vfio-dev");
	add_dir(tree, base, name);
	add_text(tree, 0444, path, "dev", "%u:%u\n", VFIO_CDEV_MAJOR, dev->cdev);
	add_link(tree, path, "device", "../../../%s", dev->name);
}

static void add_function(struct tree *tree, const struct uapi_device *dev, const uint8_t *config,
			 struct address_map *map)
{
	const char *name = dev->name;
	unsigned vendor = get(config, PCI_VENDOR_ID, 2);
	unsigned device = get(config, PCI_DEVICE_ID, 2);
	unsigned subvendor = get(config, PCI_SUBSYSTEM_VENDOR_ID, 2);
	unsigned subdevice = get(config, PCI_SUBSYSTEM_ID, 2);
	unsigned class = get(config, PCI_CLASS_REVISION, 4) >> 8;
	char base[64], path[80], modalias[80];

	snprintf(base, sizeof(base), "/sys/bus/pci/devices/%s", name);
	snprintf(modalias, sizeof(modalias), "pci:v%08Xd%08Xsv%08Xsd%08Xbc%02Xsc%02Xi%02X", vendor,
		 device, subvendor, subdevice, class >> 16, (class >> 8) & 0xff, class & 0xff);
	add(tree, TREE_CLAIM, 0755, base, NULL, 0);
	add_text(tree, 0444, base, "vendor", "0x%04x\n", vendor);
	add_text(tree, 0444, base, "device", "0x%04x\n", device);
	add_text(tree, 0444, base, "subsystem_vendor", "0x%04x\n", subvendor);
	add_text(tree, 0444, base, "subsystem_device", "0x%04x\n", subdevice);
	add_text(tree, 0444, base, "class", "0x%06x\n", class);
	add_text(tree, 0444, base, "revision", "0x%02x\n", get(config, PCI_REVISION_ID, 1));
	add_text(tree, 0444, base, "irq", "0\n");
	add_text(tree, 0644, base, "enable", "0\n");
	add_text(tree, 0644, base, "numa_node", "-1\n");
	add_text(tree, 0444, base, "modalias", "%s\n", modalias);
	add_text(tree, 0644, base, "driver_override", "vfio-pci\n");
	add_text(tree, 0644, base, "uevent",
		 "DRIVER=vfio-pci\nPCI_CLASS=%X\nPCI_ID=%04X:%04X\nPCI_SUBSYS_ID=%04X:%04X\n"
		 "PCI_SLOT_NAME=%s\nMODALIAS=%s\n",
		 class, vendor, device, subvendor, subdevice, name, modalias);
	add_resources(tree, base, dev, map);
	snprintf(path, sizeof(path), "%s/config", base);
	add(tree, TREE_FILE, 0644, path, config, dev->config_size);
	add_vfio_dev(tree, base, dev);
	add_link(tree, base, "iommu_group", "../../../../kernel/iommu_groups/%u", dev->group);
	add_link(tree, base, "driver", "../../drivers/vfio-pci");
	add_link(tree, base, "subsystem", "../../../pci");
	add_link(tree, "/sys/bus/pci/drivers/vfio-pci", name, "../../devices/%s", name);
}

/* Is device @i the first of its group? */
static bool first_of_group(const struct uapi_core *core, unsigned i)
{
	for (unsigned j = 0; j < i; j++)
		if (core->devices[j].group == core->devices[i].group)
			return false;
	return true;
}

static void add_group(struct tree *tree, const struct uapi_core *core, unsigned group)
{
	char base[64], node[UAPI_NODE_NAME];
	bool noiommu;

	uapi_group_node(core, group, node);
	noiommu = node[0] == 'n';

	snprintf(base, sizeof(base), "/sys/kernel/iommu_groups/%u", group);
	add(tree, TREE_CLAIM, 0755, base, NULL, 0);
	add_dir(tree, base, "devices");
	if (noiommu) {
		/* VFIO's own, without a domain. */
		add_text(tree, 0444, base, "name", "vfio-noiommu\n");
		add_text(tree, 0644, base, "type", "unknown\n");
		add_text(tree, 0444, base, "reserved_regions", "%s", "");
	} else {
		add_text(tree, 0644, base, "type", "DMA\n");
		add_text(tree, 0444, base, "reserved_regions", "0x%016llx 0x%016llx msi\n",
			 IOMMU_MSI_FIRST, IOMMU_MSI_LAST);
	}
}

static void add_modules(struct tree *tree, const struct vfio_policy *policy)
{
	static const char *const names[] = {"vfio", "vfio_pci", "vfio_iommu_type1"};
	const struct vfio_knob *knob;
	char base[64];

	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++) {
		snprintf(base, sizeof(base), "/sys/module/%s", names[i]);
		add(tree, TREE_CLAIM, 0755, base, NULL, 0);
		add_dir(tree, base, "parameters");
		add_text(tree, 0444, base, "initstate", "live\n");
	}
	for (unsigned i = 0; (knob = vfio_policy_knob(i)); i++) {
		char text[VFIO_KNOB_TEXT];

		if (!knob->module || vfio_policy_text(policy, knob->name, text))
			continue;
		snprintf(base, sizeof(base), "/sys/module/%s/parameters", knob->module);
		add_text(tree, knob->mode, base, knob->name, "%s\n", text);
	}
}

/* The nodes in /dev/vfio. */
static void add_nodes(struct tree *tree, struct uapi_core *core)
{
	char node[UAPI_NODE_NAME];

	/* Before the directory beside it is a mount: what covers /dev takes along what there is. */
	add(tree, TREE_NODE, 0666, TREE_DEV_IOMMU, NULL, 0);
	add(tree, TREE_MOUNT, 0755, TREE_DEV_VFIO, NULL, 0);
	add_text(tree, 0666, TREE_DEV_VFIO, "vfio", "%s", "");
	for (unsigned i = 0; i < core->nr_devices; i++) {
		if (!first_of_group(core, i))
			continue;
		uapi_group_node(core, core->devices[i].group, node);
		add_text(tree, 0666, TREE_DEV_VFIO, node, "%s", "");
	}
	add_dir(tree, TREE_DEV_VFIO, "devices");
	for (unsigned i = 0; i < core->nr_devices; i++) {
		if (uapi_cdev_node(&core->devices[i], node))
			add_text(tree, 0666, TREE_DEV_VFIO, node, "%s", "");
	}
}

static void describe(struct tree *tree, struct uapi_core *core)
{
	struct address_map map = {0x1000, 0xc0000000, 0x380000000000};
	const struct uapi_device *devs = core->devices;

	add_nodes(tree, core);
	add(tree, TREE_CLAIM, 0755, "/sys/bus/pci/drivers/vfio-pci", NULL, 0);
	for (unsigned i = 0; i < core->nr_devices; i++) {
		uint8_t config[PCI_EXT_CONFIG_SIZE];

		memset(config, 0xff, sizeof(config));
		core->ops->hw_config(core, &devs[i], config, true);
		add_function(tree, &devs[i], config, &map);
	}
	for (unsigned i = 0; i < core->nr_devices; i++) {
		unsigned group = devs[i].group;
		char base[80];

		if (first_of_group(core, i))
			add_group(tree, core, group);
		snprintf(base, sizeof(base), "/sys/kernel/iommu_groups/%u/devices", group);
		add_link(tree, base, devs[i].name, "../../../../bus/pci/devices/%s", devs[i].name);
	}
	add_modules(tree, core->policy);
}

static void add_bind(struct tree *tree, bool dir, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void add_bind(struct tree *tree, bool dir, const char *fmt, ...)
{
	char path[PATH_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	add(tree, TREE_BIND, dir ? 0755 : 0644, path, NULL, 0);
}

/* Has this machine anything in the directory @path? */
static bool has_entries(const char *path)
{
	DIR *dir = opendir(path);
	unsigned n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n > 2;
}

/* Each uioN that there can be: a link to the file that is there while it is bound. */
static void add_uio(struct tree *tree, struct uapi_core *core)
{
	static const char from[] = "/sys/" TREE_DEV_UIO;
	char name[24];

	add_bind(tree, true, "/sys/bus/pci/drivers/%s", VFIO_UIO_DRIVER);
	add_bind(tree, true, "/sys/module/uio");
	add_bind(tree, true, "/sys/module/%s", VFIO_UIO_DRIVER);
	add_bind(tree, true, "/sys/class/uio");
	add(tree, TREE_BIND, 0755, "/dev/" TREE_DEV_UIO, from, strlen(from));
	for (unsigned i = 0; i < core->nr_devices; i++) {
		snprintf(name, sizeof(name), "uio%u", core->uio_first + i);
		add_link(tree, "/dev", name, TREE_DEV_UIO "/%s", name);
	}
}

static void describe_served(struct tree *tree, struct uapi_core *core)
{
	static const char *const whole[] = {
		("/sys/devices/" TREE_SUBDIR),   "/sys/bus/pci/devices",
		"/sys/bus/pci/drivers/vfio-pci", "/sys/module/vfio",
		"/sys/module/vfio_pci",          "/sys/module/vfio_iommu_type1",
	};
	static const char *const files[] = {"drivers_probe", "drivers_autoprobe", "rescan"};
	static const char groups[] = "/sys/kernel/iommu_groups", slots[] = "/sys/bus/pci/slots";
	const bool own_groups = !has_entries(groups);

	add_nodes(tree, core);
	for (unsigned i = 0; i < sizeof(whole) / sizeof(*whole); i++)
		add_bind(tree, true, "%s", whole[i]);
	for (unsigned i = 0; i < sizeof(files) / sizeof(*files); i++)
		add_bind(tree, false, "/sys/bus/pci/%s", files[i]);
	/* What the machine has itself is not to be hidden by this. */
	if (own_groups)
		add_bind(tree, true, "%s", groups);
	if (!has_entries(slots))
		add_bind(tree, true, "%s", slots);
	for (unsigned i = 0; i < core->nr_devices && !own_groups; i++)
		if (first_of_group(core, i))
			add_bind(tree, true, "%s/%u", groups, core->devices[i].group);
	if (core->policy->enable_uio)
		add_uio(tree, core);
}

/* A memfd with what @describe_it describes. */
static int make(struct uapi_core *core, void (*describe_it)(struct tree *, struct uapi_core *),
		struct uvfio_error *err)
{
	struct tree tree = {0};
	int fd;

	if (core->nr_devices > MAX_DEVICES)
		return uvfio_error_set(err, -E2BIG,
				       "%u devices; at most %u can be shown to a program",
				       core->nr_devices, MAX_DEVICES);
	describe_it(&tree, core);
	if (tree.failed) {
		free(tree.buf);
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	}
	fd = memfd_create("uvfio-tree", MFD_CLOEXEC);
	if (fd >= 0 && write(fd, tree.buf, tree.len) != (ssize_t)tree.len) {
		close(fd);
		fd = -1;
		errno = ENOSPC;
	}
	free(tree.buf);
	return fd >= 0 ? fd
		       : uvfio_error_set(err, -errno, "cannot make a memfd: %s", strerror(errno));
}

int uapi_tree_make(struct uapi_core *core, struct uvfio_error *err)
{
	return make(core, describe, err);
}

int uapi_tree_make_served(struct uapi_core *core, struct uvfio_error *err)
{
	return make(core, describe_served, err);
}
