/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What takes a device's memory away for a while, other than RESET and the last close (A.4 to A.7,
 * A.10): each of them revokes it for those that have it mapped (D.4).
 */
#include <dirent.h>
#include <errno.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "driver/kernel.h"
#include "stress/stress.h"

#define COMMAND        4u
#define COMMAND_MEMORY 2u
#define CAP_PM         0x01u
#define PMCSR          4u
#define PMCSR_D3HOT    3u
#define CAP_EXP        0x10u
#define DEVCTL         8u
#define DEVCTL_FLR     0x8000u

const char *const away_names[NR_AWAYS] = {
	[AWAY_DECODE] = "memory off", [AWAY_D3] = "D3",         [AWAY_LOW_POWER] = "low power",
	[AWAY_FLR] = "FLR",           [AWAY_HOT] = "hot reset",
};

static int change(struct engine *e, unsigned offset, uint32_t clear, uint32_t set)
{
	uint32_t value;
	int ret = uvfio_pci_config_read(e->dev, offset, 2, &value);

	return ret ? ret : uvfio_pci_config_write(e->dev, offset, 2, (value & ~clear) | set);
}

/* Some time, in which others run into it. */
static int linger(struct engine *e)
{
	uint32_t command;
	int ret = 0;

	for (unsigned i = 0; i < 4 && !ret; i++)
		ret = uvfio_pci_config_read(e->dev, COMMAND, 2, &command);
	return ret;
}

static int decode(struct engine *e)
{
	int ret = change(e, COMMAND, COMMAND_MEMORY, 0);

	if (!ret)
		ret = linger(e);
	return ret ? ret : change(e, COMMAND, 0, COMMAND_MEMORY);
}

static int d3(struct engine *e)
{
	unsigned pm = uvfio_pci_find_cap(e->dev, CAP_PM, 0);
	int ret;

	if (!pm)
		return -ENOTTY;
	ret = change(e, pm + PMCSR, PMCSR_D3HOT, PMCSR_D3HOT);
	if (!ret)
		ret = linger(e);
	return ret ? ret : change(e, pm + PMCSR, PMCSR_D3HOT, 0);
}

static int low_power(struct engine *e)
{
	ssize_t ret = uvfio_pci_feature(e->dev, VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY,
					UVFIO_PCI_FEATURE_SET, NULL, 0);

	if (!ret)
		ret = linger(e);
	if (!ret)
		ret = uvfio_pci_feature(e->dev, VFIO_DEVICE_FEATURE_LOW_POWER_EXIT,
					UVFIO_PCI_FEATURE_SET, NULL, 0);
	return (int)ret;
}

static int flr(struct engine *e)
{
	unsigned exp = uvfio_pci_find_cap(e->dev, CAP_EXP, 0);

	return exp ? change(e, exp + DEVCTL, 0, DEVCTL_FLR) : -ENOTTY;
}

/* The descriptor that the library has of the group's node. */
static int group_fd(const struct engine *e)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	char path[160], node[64], link[256];
	int found = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", e->device);
	n = readlink(path, link, sizeof(link) - 1);
	if (n > 0) {
		link[n] = '\0';
		snprintf(node, sizeof(node), "/dev/vfio/%.32s", strrchr(link, '/') + 1);
	}
	while (dir && n > 0 && found < 0 && (entry = readdir(dir))) {
		ssize_t len = readlinkat(dirfd(dir), entry->d_name, link, sizeof(link) - 1);

		if (len <= 0)
			continue;
		link[len] = '\0';
		if (!strcmp(link, node))
			found = atoi(entry->d_name);
	}
	if (dir)
		closedir(dir);
	return found;
}

/* It is alone on its bus. */
static int hot_reset(struct engine *e)
{
	union {
		struct vfio_pci_hot_reset reset;
		uint32_t words[4];
	} u = {0};

	if (uvfio_pci_get_way(e->dev) == UVFIO_PCI_WAY_VFIO_USER)
		return -ENOTTY; /* not in the protocol */
	u.reset.argsz = sizeof(u.reset);
	if (uvfio_pci_get_way(e->dev) == UVFIO_PCI_WAY_GROUP) {
		u.reset.argsz += sizeof(int32_t);
		u.reset.count = 1;
		u.reset.group_fds[0] = group_fd(e);
	}
	return ioctl(drv_kernel(e->dev)->device, VFIO_DEVICE_PCI_HOT_RESET, &u.reset) ? -errno : 0;
}

int away_once(struct engine *e, enum away *which)
{
	static int (*const ways[NR_AWAYS])(struct engine *) = {
		[AWAY_DECODE] = decode, [AWAY_D3] = d3,         [AWAY_LOW_POWER] = low_power,
		[AWAY_FLR] = flr,       [AWAY_HOT] = hot_reset,
	};
	int ret;

	*which = (enum away)stress_below(&e->seed, NR_AWAYS);
	/* Another reset may be in its way. */
	do
		ret = ways[*which](e);
	while (ret == -EBUSY && e->stress->host_resets);
	if (ret == -ENOTTY) {
		*which = AWAY_DECODE;
		ret = decode(e);
	}
	if (!ret)
		e->away[*which]++;
	return ret;
}
