/* SPDX-License-Identifier: BSD-3-Clause */
/* memory_client.h: the devices, and which test is run. */
#include "memory_client.h"

int failures;
const char *doing = "start";
struct device devices[2];
int container;

static const char *const names[] = {"0000:01:00.0", "0000:02:00.0"};

uint64_t read_register(const struct device *d, uint64_t off, unsigned size)
{
	uint64_t value = 0;

	NEED(pread(d->fd, &value, size, (off_t)(d->bar[0] + off)) == (ssize_t)size);
	return value;
}

void write_register(const struct device *d, uint64_t off, uint64_t value, unsigned size)
{
	NEED(pwrite(d->fd, &value, size, (off_t)(d->bar[0] + off)) == (ssize_t)size);
}

void set_command(const struct device *d, unsigned command)
{
	uint16_t value = (uint16_t)command;

	NEED(pwrite(d->fd, &value, 2, (off_t)((7ull << 40) + 4)) == 2);
}

void look_at_devices(void)
{
	for (unsigned i = 0; i < 2; i++) {
		for (unsigned k = 0; k < 6; k++) {
			struct vfio_region_info info = {.argsz = sizeof(info), .index = k};

			NEED(!ioctl(devices[i].fd, VFIO_DEVICE_GET_REGION_INFO, &info));
			devices[i].bar[k] = info.offset;
		}
	}
}

void open_devices(void)
{
	container = open("/dev/vfio/vfio", O_RDWR);
	NEED(container >= 0);
	for (unsigned i = 0; i < 2; i++) {
		char path[64], link[256];
		ssize_t n;

		snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", names[i]);
		n = readlink(path, link, sizeof(link) - 1);
		NEED(n > 0);
		link[n] = '\0';
		snprintf(path, sizeof(path), "/dev/vfio/%s", strrchr(link, '/') + 1);
		devices[i].group = open(path, O_RDWR);
		NEED(devices[i].group >= 0);
		NEED(!ioctl(devices[i].group, VFIO_GROUP_SET_CONTAINER, &container));
		if (!i)
			NEED(!ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU));
		devices[i].fd = ioctl(devices[i].group, VFIO_GROUP_GET_DEVICE_FD, names[i]);
		NEED(devices[i].fd >= 0);
		set_command(&devices[i], 6);
	}
	look_at_devices();
}

int dma_map(uint64_t iova, const void *p, uint64_t size, unsigned flags)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = flags,
		.iova = iova,
		.vaddr = (uintptr_t)p,
		.size = size,
	};

	return ioctl(container, VFIO_IOMMU_MAP_DMA, &map) ? -errno : 0;
}

static int unmap(uint64_t iova, uint64_t size, unsigned flags)
{
	struct vfio_iommu_type1_dma_unmap req = {
		.argsz = sizeof(req), .flags = flags, .iova = iova, .size = size};

	if (ioctl(container, VFIO_IOMMU_UNMAP_DMA, &req))
		return -errno;
	return req.size == size ? 0 : -ERANGE;
}

int dma_unmap(uint64_t iova, uint64_t size)
{
	return unmap(iova, size, 0);
}

int vaddr_invalidate(uint64_t iova, uint64_t size)
{
	return unmap(iova, size, VFIO_DMA_UNMAP_FLAG_VADDR);
}

int vaddr_update(uint64_t iova, const void *p, uint64_t size)
{
	return dma_map(iova, p, size, VFIO_DMA_MAP_FLAG_VADDR);
}

int dma_move(uint64_t iova, uint32_t len, uint32_t buffer, bool to_memory)
{
	const struct device *d = &devices[0];
	uint64_t status;

	write_register(d, DMA_ADDRESS, iova, 8);
	write_register(d, DMA_ADDRESS + 8, len, 4);
	write_register(d, DMA_ADDRESS + 12, buffer, 4);
	write_register(d, DMA_ADDRESS + 16, to_memory ? 2 : 1, 4);
	do {
		status = read_register(d, DMA_STATUS, 4);
	} while (status == 1);
	return status == 2 ? 0 : (int)read_register(d, DMA_ERROR, 4);
}

int dma_put(uint64_t iova, uint64_t value)
{
	NEED(pwrite(devices[0].fd, &value, 8, (off_t)devices[0].bar[2]) == 8);
	return dma_move(iova, 8, 0, true);
}

int dma_get(uint64_t iova, uint64_t *value)
{
	int ret = dma_move(iova, 8, 0, false);

	NEED(pread(devices[0].fd, value, 8, (off_t)devices[0].bar[2]) == 8);
	return ret;
}

static uint64_t next_value(void)
{
	static uint64_t value = 0x1020304050607080;

	return value += 0x0101010101010101;
}

void check_both_ways(uint64_t iova, volatile uint64_t *p)
{
	uint64_t value = next_value(), got = 0;

	CHECK(dma_put(iova, value) == 0);
	CHECK(*p == value);
	value = next_value();
	*p = value;
	CHECK(dma_get(iova, &got) == 0);
	CHECK(got == value);
}

void check_neither(uint64_t iova, int error)
{
	uint64_t got;

	CHECK(dma_put(iova, next_value()) == error);
	CHECK(dma_get(iova, &got) == error);
}

int main(int argc, char **argv)
{
	const char *test = argc > 1 ? argv[1] : "";

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!strcmp(test, "after-exec")) {
		after_exec(argv);
		return failures != 0;
	}
	open_devices();
	if (!strcmp(test, "kinds"))
		kinds_of_memory();
	else if (!strcmp(test, "changes"))
		later_changes();
	else if (!strcmp(test, "processes"))
		other_processes();
	else if (!strcmp(test, "exec"))
		reexec(argv);
	else if (!strcmp(test, "bars"))
		bars();
	else if (!strcmp(test, "bars-change"))
		bars_change();
	else if (!strcmp(test, "foreign-bars"))
		foreign_bars(argc > 2 ? argv[2] : "");
	else
		NEED(!"there is such a test");
	return failures != 0;
}
