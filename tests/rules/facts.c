// SPDX-License-Identifier: BSD-3-Clause
/*
 * What a device is: learnt before the first case from its raw config space and resources in sysfs,
 * and from VFIO where sysfs does not say.
 */
#include <fcntl.h>
#include <limits.h>
#include <libgen.h>
#include "facts.h"
#include "wire.h"

static long read_file(const char *bdf, const char *name, void *buf, size_t size)
{
	char path[96];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", bdf, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, buf, size);
	close(fd);
	return n < 0 ? -errno : n;
}

uint32_t facts_get(const struct facts *f, unsigned off, unsigned size)
{
	uint32_t value = 0;

	if (off + size <= sizeof(f->config))
		memcpy(&value, f->config + off, size);
	return value;
}

unsigned facts_first_cap(const struct facts *f)
{
	/* What the pointer holds without the list bit means nothing. */
	return f->config[6] & 0x10 ? f->config[0x34] & 0xfc : 0;
}

unsigned facts_cap(const struct facts *f, unsigned id)
{
	unsigned pos = facts_first_cap(f);

	for (int ttl = 48; pos >= 0x40 && ttl; ttl--) {
		if (f->config[pos] == id)
			return pos;
		pos = f->config[pos + 1] & 0xfc;
	}
	return 0;
}

unsigned facts_ext_cap(const struct facts *f, unsigned id)
{
	unsigned pos = 0x100;

	if (f->config_size < 4096)
		return 0;
	for (int ttl = 480; pos >= 0x100 && ttl; ttl--) {
		uint32_t head = facts_get(f, pos, 4);

		if (head && (head & 0xffff) == id)
			return pos;
		pos = head >> 20 & 0xffc;
	}
	return 0;
}

static void parse_resources(struct facts *f)
{
	char buf[2048] = "", *line = buf;

	if (read_file(f->bdf, "resource", buf, sizeof(buf) - 1) <= 0)
		return;
	for (int i = 0; i < 7 && line; i++) {
		unsigned long long start, end, flags;

		if (sscanf(line, "%llx %llx %llx", &start, &end, &flags) != 3)
			return;
		if (i == 6) {
			f->rom_size = end ? end - start + 1 : 0;
		} else if (end) {
			f->bar[i].size = end - start + 1;
			f->bar[i].io = flags & 0x100;
		}
		line = strchr(line, '\n');
		if (line)
			line++;
	}
}

static void parse_config(struct facts *f)
{
	f->pm = facts_cap(f, 0x01);
	f->vpd = facts_cap(f, 0x03);
	f->msi = facts_cap(f, 0x05);
	f->pcie = facts_cap(f, 0x10);
	f->msix = facts_cap(f, 0x11);
	f->af = facts_cap(f, 0x13);
	f->pin = f->config[0x3d];
	if (f->msi)
		f->msi_count = 1u << (facts_get(f, f->msi + 2, 2) >> 1 & 7);
	if (f->msix) {
		uint32_t table = facts_get(f, f->msix + 4, 4), pba = facts_get(f, f->msix + 8, 4);

		f->msix_count = (facts_get(f, f->msix + 2, 2) & 0x7ff) + 1;
		f->table_bar = table & 7;
		f->table_offset = table & ~7u;
		f->table_size = f->msix_count * 16;
		f->pba_bar = pba & 7;
		f->pba_offset = pba & ~7u;
	}
	f->flr = (f->pcie && facts_get(f, f->pcie + 4, 4) & 1u << 28) ||
		 (f->af && (f->config[f->af + 3] & 3) == 3);
	f->sriov = facts_ext_cap(f, 0x10);
	for (int i = 0; i < 6; i++) {
		uint32_t bar = facts_get(f, 0x10 + 4 * (unsigned)i, 4);

		f->bar[i].io = bar & 1;
		if (!(bar & 1) && (bar & 6) == 4 && i < 5) {
			f->bar[i].mem64 = true;
			f->bar[++i].upper = true;
		}
	}
}

/* The first dword of BAR @bar that is neither table nor pending bits. */
static uint32_t safe_register(const struct facts *f, int bar)
{
	uint32_t off = 0, pba_end = f->pba_offset + (f->msix_count + 63) / 64 * 8;

	if (f->msix && f->table_bar == (unsigned)bar && f->table_offset == 0)
		off = f->table_size;
	if (f->msix && f->pba_bar == (unsigned)bar && off >= f->pba_offset && off < pba_end)
		off = pba_end;
	return off;
}

static void ask_type1(int container, struct facts *f)
{
	static union {
		struct vfio_iommu_type1_info info;
		char room[PAGE];
	} u;
	const struct vfio_iommu_type1_info_cap_iova_range *cap;

	f->iova_first = 0x100000;
	f->iova_last = 0xfedfffff;
	u.info.argsz = sizeof(u);
	if (ioctl(container, VFIO_IOMMU_GET_INFO, &u.info) ||
	    !(u.info.flags & VFIO_IOMMU_INFO_CAPS))
		return;
	for (uint32_t at = u.info.cap_offset; at && at < sizeof(u) - 64; at = cap->header.next) {
		cap = (const void *)(u.room + at);
		if (cap->header.id != VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE)
			continue;
		f->iova_first = cap->iova_ranges[0].start;
		f->iova_last = cap->iova_ranges[0].end;
		return;
	}
}

/* Is no-IOMMU mode on?  A kernel without it has no such parameter. */
static bool read_mode(void)
{
	char value = 'N';
	int fd = open("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode",
		      O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	if (read(fd, &value, 1) != 1)
		value = 'N';
	close(fd);
	return value == 'Y';
}

int facts_ask(int dev, struct facts *f)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};
	struct vfio_pci_hot_reset_info hot = {.argsz = sizeof(hot)};

	if (ioctl(dev, VFIO_DEVICE_GET_INFO, &info))
		return -errno;
	f->reset = info.flags & VFIO_DEVICE_FLAGS_RESET;
	f->hot = !ioctl(dev, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, &hot) || errno == ENOSPC;
	f->bar_index = -1;
	for (unsigned i = 0; i < VFIO_PCI_NUM_REGIONS; i++) {
		struct vfio_region_info region = {.argsz = sizeof(region), .index = i};

		if (ioctl(dev, VFIO_DEVICE_GET_REGION_INFO, &region))
			continue;
		f->region_offset[i] = region.offset;
		if (i == VFIO_PCI_CONFIG_REGION_INDEX)
			f->config_size = (unsigned)region.size;
		if (i == VFIO_PCI_ROM_REGION_INDEX && !f->raw)
			f->rom_size = region.size;
		if (i > VFIO_PCI_BAR5_REGION_INDEX)
			continue;
		if (!f->raw)
			f->bar[i].size = region.size;
		f->bar[i].mappable = region.flags & VFIO_REGION_INFO_FLAG_MMAP;
	}
	if (!f->raw &&
	    pread(dev, f->config, f->config_size, (off_t)7 << 40) != (long)f->config_size)
		return -EIO;
	parse_config(f);
	for (int i = 0; i < 6; i++) {
		if (f->bar[i].io || safe_register(f, i) + 16 > f->bar[i].size)
			continue;
		if (f->bar_index < 0 || (f->bar[i].mappable && !f->bar[f->bar_index].mappable)) {
			f->bar_index = i;
			f->register_offset = safe_register(f, i);
		}
	}
	return 0;
}

int facts_learn_socket(struct facts *f, const char *path)
{
	int dev, rc;

	memset(f, 0, sizeof(*f));
	snprintf(f->bdf, sizeof(f->bdf), "socket");
	wire_use(path);
	dev = wire_learn();
	if (dev < 0) {
		fprintf(stderr, "rules: cannot connect to %s: %s\n", path, strerror(-dev));
		return dev;
	}
	f->iova_first = 0x100000;
	f->iova_last = 0xfedfffff;
	rc = facts_ask(dev, f);
	if (rc)
		fprintf(stderr, "rules: cannot learn what is behind %s: %s\n", path, strerror(-rc));
	else
		f->noiommu = !wire_can_map(dev);
	close(dev);
	return rc;
}

int facts_learn(struct facts *f, const char *bdf)
{
	char path[PATH_MAX], link[PATH_MAX];
	int container = -1, group = -1, dev = -1, rc = -ENODEV;
	ssize_t n;

	memset(f, 0, sizeof(*f));
	snprintf(f->bdf, sizeof(f->bdf), "%s", bdf);
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", bdf);
	n = readlink(path, link, sizeof(link) - 1);
	if (n < 0) {
		fprintf(stderr,
			"rules: %s: %m: is there such a device, and has it an IOMMU group?\n",
			path);
		return -ENODEV;
	}
	link[n] = '\0';
	f->group = (unsigned)atoi(basename(link));
	n = read_file(bdf, "config", f->config, sizeof(f->config));
	f->raw = n >= 256;
	if (f->raw)
		f->config_size = (unsigned)n;
	parse_resources(f);
	snprintf(path, sizeof(path), "/dev/vfio/noiommu-%u", f->group);
	f->noiommu = !access(path, F_OK);
	f->mode_off = !read_mode();

	container = open_container();
	group = open_group(f);
	if (group == -1 && errno == EPERM && f->noiommu) {
		f->denied = true;
		rc = 0;
		goto out;
	}
	if (container < 0 || group < 0) {
		fprintf(stderr, "rules: cannot open %s%u: %m: is %s bound to vfio-pci?\n",
			container < 0 ? "the container, not " : "/dev/vfio/", f->group, bdf);
		goto out;
	}
	if (!set_container(group, container) &&
	    !ioctl(container, VFIO_SET_IOMMU,
		   f->noiommu ? VFIO_NOIOMMU_IOMMU : VFIO_TYPE1v2_IOMMU)) {
		dev = (int)get_device(group, bdf);
	} else if (errno == EPERM && !f->noiommu) {
		f->refused = true;
		rc = 0;
		goto out;
	} else {
		fprintf(stderr, "rules: %s: no type 1 IOMMU: %m\n", bdf);
		goto out;
	}
	if (dev < 0) {
		fprintf(stderr, "rules: cannot open %s: %s\n", bdf, strerror(-dev));
		goto out;
	}
	ask_type1(container, f);
	rc = facts_ask(dev, f);
	if (rc)
		fprintf(stderr, "rules: cannot learn what %s is: %s\n", bdf, strerror(-rc));
out:
	if (dev >= 0)
		close(dev);
	if (group >= 0)
		close(group);
	if (container >= 0)
		close(container);
	return rc;
}

static const struct {
	unsigned need;
	const char *reason;
} needs[] = {
	{NEED_INTX, "the device has no INTx pin"},
	{NEED_NO_INTX, "the device has an INTx pin"},
	{NEED_MSI, "the device has no MSI"},
	{NEED_MSI2, "the device has no two MSI vectors"},
	{NEED_NO_MSI, "the device has MSI"},
	{NEED_MSIX, "the device has no MSI-X"},
	{NEED_MSIX2, "the device has no two MSI-X vectors"},
	{NEED_NO_MSIX, "the device has MSI-X"},
	{NEED_PM, "the device has no power management"},
	{NEED_PCIE, "the device is not PCI Express"},
	{NEED_FLR, "the device has no function level reset"},
	{NEED_RESET, "the device cannot be reset alone"},
	{NEED_HOT, "the device's slot or bus cannot be reset"},
	{NEED_BAR, "the device has no memory BAR"},
	{NEED_MMAP, "the device has no mappable BAR"},
	{NEED_IOBAR, "the device has no I/O BAR"},
	{NEED_OTHER, "no second device was given"},
	{NEED_SIBLING, "no second device of the group was given"},
	{NEED_RAW, "sysfs does not show config space"},
	{NEED_TABLE, "the MSI-X table is not in a mappable BAR"},
	{NEED_EXT, "the device has no extended config space"},
	{NEED_IOMMU, "the device has no IOMMU to be attached to"},
	{NEED_NOIOMMU, "the device is not in no-IOMMU mode"},
	{NEED_MODE_OFF, "no-IOMMU mode is on"},
	{NEED_DENIED, "there is no no-IOMMU mode that is denied"},
	{NEED_REFUSED, "interrupts are isolated, or need not be"},
	{NEED_IOMMUFD, "there is no /dev/iommu, or no node of the device"},
	{NEED_SRIOV, "the device has no SR-IOV"},
	{NEED_NO_SRIOV, "the device has SR-IOV"},
	{NEED_RAISE, "the device cannot be told to interrupt"},
	{NEED_TICKS, "the device does not interrupt by itself"},
};

static bool has(const struct facts *f, const struct facts *other, const struct facts *sibling,
		unsigned need)
{
	switch (need) {
	case NEED_INTX:
		return f->pin;
	case NEED_NO_INTX:
		return !f->pin;
	case NEED_MSI:
		return f->msi;
	case NEED_MSI2:
		return f->msi_count >= 2;
	case NEED_NO_MSI:
		return !f->msi;
	case NEED_MSIX:
		return f->msix;
	case NEED_MSIX2:
		return f->msix_count >= 2;
	case NEED_NO_MSIX:
		return !f->msix;
	case NEED_PM:
		return f->pm;
	case NEED_PCIE:
		return f->pcie;
	case NEED_FLR:
		return f->flr;
	case NEED_RESET:
		return f->reset;
	case NEED_HOT:
		return f->hot;
	case NEED_BAR:
		return f->bar_index >= 0;
	case NEED_MMAP:
		return f->bar_index >= 0 && f->bar[f->bar_index].mappable;
	case NEED_IOBAR:
		for (int i = 0; i < 6; i++) {
			if (f->bar[i].io && f->bar[i].size)
				return true;
		}
		return false;
	case NEED_OTHER:
		return other;
	case NEED_SIBLING:
		return sibling;
	case NEED_RAW:
		return f->raw;
	case NEED_TABLE:
		return f->msix && f->table_bar < 6 && f->bar[f->table_bar].mappable;
	case NEED_EXT:
		return f->config_size == 4096;
	case NEED_IOMMU:
		return !f->noiommu && !f->refused;
	case NEED_NOIOMMU:
		return f->noiommu && !f->denied;
	case NEED_MODE_OFF:
		return f->mode_off;
	case NEED_DENIED:
		return f->denied;
	case NEED_REFUSED:
		return f->refused;
	case NEED_IOMMUFD:
		return !f->noiommu && !f->refused && !access("/dev/iommu", F_OK) &&
		       !access("/dev/vfio/devices", F_OK);
	case NEED_SRIOV:
		return f->sriov;
	case NEED_NO_SRIOV:
		return !f->sriov;
	case NEED_RAISE:
		return can_raise(f);
	case NEED_TICKS:
		return f->ticks;
	}
	return false;
}

const char *facts_missing(const struct facts *f, const struct facts *other,
			  const struct facts *sibling, unsigned wanted)
{
	for (size_t i = 0; i < ARRAY_LEN(needs); i++) {
		if (wanted & needs[i].need && !has(f, other, sibling, needs[i].need))
			return needs[i].reason;
	}
	return NULL;
}
