/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opens a device as a VFIO program does and says "open", or the errno that stopped it.
 *
 * join_client ADDRESS: ends then.  ADDRESS is all that the program says to open it: options may
 * follow the address behind spaces (C).
 * join_client ADDRESS hold: keeps it until its input ends.  For each line of input it reads a
 * register by the region and by its mapping, and says what came of both.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static sigjmp_buf on_bus_error;

static void bus_error(int sig)
{
	siglongjmp(on_bus_error, 1);
}

static int stopped(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	printf("%s\n", strerrorname_np(errno));
	return 0;
}

/* The group's node, by the link in /sys. */
static int open_group(const char *address)
{
	char path[128], link[256], *number;
	ssize_t n;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%.*s/iommu_group",
		 (int)strcspn(address, " "), address);
	n = readlink(path, link, sizeof(link) - 1);
	if (n < 0)
		return -1;
	link[n] = '\0';
	number = strrchr(link, '/');
	snprintf(path, sizeof(path), "/dev/vfio/%s", number ? number + 1 : "none");
	return open(path, O_RDWR);
}

static const char *read_mapped(const volatile uint32_t *map)
{
	if (sigsetjmp(on_bus_error, 1))
		return "SIGBUS";
	(void)*map;
	return "mapped";
}

static void look(int device, const struct vfio_region_info *info, const volatile uint32_t *map)
{
	const char *read = "read";
	uint32_t value;

	if (pread(device, &value, sizeof(value), (off_t)info->offset) != sizeof(value))
		read = strerrorname_np(errno);
	printf("%s %s\n", read, read_mapped(map));
}

int main(int argc, char **argv)
{
	struct vfio_region_info info = {.argsz = sizeof(info), .index = VFIO_PCI_BAR0_REGION_INDEX};
	int container, group, device;
	uint16_t command = 2;
	char line[64];
	void *map;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 2)
		return 2;
	container = open("/dev/vfio/vfio", O_RDWR);
	group = open_group(argv[1]);
	if (container < 0 || group < 0)
		return stopped("open");
	if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) ||
	    ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		return stopped("container");
	device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, argv[1]);
	if (device < 0 || ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &info))
		return stopped("device");
	if (pwrite(device, &command, sizeof(command), (7ll << 40) + 4) != sizeof(command))
		return stopped("command register");
	map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, device, (off_t)info.offset);
	if (map == MAP_FAILED)
		return stopped("mmap");
	printf("open\n");
	if (argc < 3)
		return 0;
	signal(SIGBUS, bus_error);
	while (fgets(line, sizeof(line), stdin))
		look(device, &info, map);
	return 0;
}
