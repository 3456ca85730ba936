/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The driver side on the kernel's character device and iommufd, and on groups, against a stand-in
 * for the kernel.
 */
#include "driver_kernel.h"

static void test_cdev(void **state)
{
	int fds[4] = {10, -1, 11, 12};
	struct uvfio_pci_mem mem;
	struct uvfio_pci *dev;
	uint64_t first[4], last[4], iova = 0x100000, data = 0;
	uint32_t value;
	void *own = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_int_equal(uvfio_pci_open(BDF, NULL, &dev, NULL), 0);
	assert_int_equal(uvfio_pci_get_way(dev), UVFIO_PCI_WAY_CDEV);
	assert_true(k.bound && k.attached && !k.had_token);
	assert_int_equal(uvfio_pci_lost_fd(dev), -1);
	assert_int_equal(uvfio_pci_reconnect(dev, 0, NULL), -EOPNOTSUPP);
	assert_int_equal(uvfio_pci_dma_ranges(dev, first, last, 4), 2);
	assert_int_equal(first[0], 0x10000);
	assert_int_equal(last[1], 0x7fffffffffff);
	/* Registers, config space. */
	uvfio_pci_write32(dev, 0, 0x1000, 99);
	assert_int_equal(pread(k.device_fd, &value, 4, 0x1000), 4);
	assert_int_equal(value, 99);
	assert_int_equal(uvfio_pci_read32(dev, 0, 0x1000), 99);
	assert_int_equal(uvfio_pci_config_read(dev, 2, 2, &value), 0);
	assert_int_equal(value, 0x5678);
	/* An offset that would be another region's. */
	assert_int_equal(uvfio_pci_read(dev, 0, 7ull << 40, &value, 4), -EINVAL);
	assert_int_equal(uvfio_pci_write(dev, 0, UINT64_MAX - 2, &value, 4), -EINVAL);
	/* DMA: always at an IOVA of our own, with the rights asked for. */
	assert_int_equal(uvfio_pci_dma_alloc(dev, 10000, 0, &mem, NULL), 0);
	assert_int_equal(k.map.flags, DRV_MAP_FIXED | DRV_MAP_READ | DRV_MAP_WRITE);
	assert_int_equal(k.map.ioas, 5);
	assert_int_equal(k.map.iova, mem.iova);
	assert_int_equal(k.map.addr, (uintptr_t)mem.addr);
	assert_int_equal(k.map.length, 12288);
	assert_int_equal(uvfio_pci_dma_map(dev, own, 4096, UVFIO_PCI_DMA_READ | UVFIO_PCI_DMA_FIXED,
					   -1, 0, &iova, NULL),
			 0);
	assert_int_equal(k.map.flags, DRV_MAP_FIXED | DRV_MAP_READ);
	assert_int_equal(k.map.iova, 0x100000);
	assert_int_equal(uvfio_pci_dma_unmap(dev, iova, 4096), 0);
	assert_int_equal(k.unmap.iova, 0x100000);
	assert_int_equal(k.unmap.length, 4096);
	assert_int_equal(uvfio_pci_dma_free(dev, &mem), 0);
	assert_int_equal(k.maps, 0);
	/* Interrupts: one call, whatever the gaps; too many vectors is a positive answer. */
	assert_int_equal(uvfio_pci_irq_enable(dev, UVFIO_PCI_MSIX, 0, 3, fds), 0);
	assert_int_equal(k.irqs.set.argsz, sizeof(struct vfio_irq_set) + 12);
	assert_int_equal(k.irqs.set.flags, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER);
	assert_memory_equal(k.irqs.set.data, fds, 12);
	assert_int_equal(uvfio_pci_irq_enable(dev, UVFIO_PCI_MSIX, 0, 4, fds), 3);
	/* The rest. */
	assert_int_equal(uvfio_pci_reset(dev), 0);
	assert_int_equal(k.resets, 1);
	assert_int_equal(uvfio_pci_feature(dev, 1, UVFIO_PCI_FEATURE_GET, &data, 8), 8);
	assert_int_equal(k.feature, 1 | VFIO_DEVICE_FEATURE_GET);
	assert_int_equal(uvfio_pci_feature(dev, 0, UVFIO_PCI_FEATURE_SET, &data, 8), -ENOTTY);
	uvfio_pci_close(dev);
	munmap(own, 4096);
}

/* A BAR for another device: a dma-buf, that iommufd takes by its file and a group by its address.
 */
static void test_peer(void **state)
{
	static char mapping[4096] __attribute__((aligned(4096)));
	uint64_t iova = 0, at = 1;
	struct uvfio_error err;
	struct uvfio_pci *dev;
	int fd;

	assert_int_equal(uvfio_pci_open(BDF, NULL, &dev, NULL), 0);
	fd = uvfio_pci_region_fd(dev, 0, 4096, 4096, &at, NULL);
	assert_true(fd >= 0);
	assert_int_equal(at, 0);
	assert_int_equal(k.dma_buf[0], 0);
	assert_int_equal(k.dma_buf[1], O_RDWR | O_CLOEXEC);
	assert_int_equal(k.dma_buf[2], 0);
	assert_int_equal(k.dma_buf[3], 1);
	assert_int_equal(k.dma_buf_range[0], 4096);
	assert_int_equal(k.dma_buf_range[1], 4096);
	assert_int_equal(uvfio_pci_region_fd(dev, 0, 4096, 8192, &at, NULL), -EINVAL);
	assert_int_equal(
		uvfio_pci_dma_map(dev, NULL, 4096, UVFIO_PCI_DMA_WRITE, fd, 0, &iova, NULL), 0);
	assert_int_equal(k.map_file.flags, DRV_MAP_FIXED | DRV_MAP_WRITE);
	assert_int_equal(k.map_file.iova, iova);
	assert_int_equal(k.map_file.length, 4096);
	assert_int_equal(k.map.length, 0);
	assert_int_equal(uvfio_pci_dma_unmap(dev, iova, 4096), 0);
	/* With the address of its mapping, too. */
	k.map_file.length = 0;
	k.bar_addr = (uintptr_t)mapping;
	assert_int_equal(uvfio_pci_dma_map(dev, mapping, 4096, 0, fd, 0, &iova, NULL), 0);
	assert_int_equal(k.map.length, 4096);
	assert_int_equal(k.map_file.length, 4096);
	assert_int_equal(uvfio_pci_dma_map(dev, mapping, 4096, 0, -1, 0, &iova, NULL), -EFAULT);
	k.no_dma_buf = true;
	assert_int_equal(uvfio_pci_region_fd(dev, 0, 0, 4096, &at, &err), -ENOTTY);
	assert_non_null(strstr(err.msg, "6.19"));
	uvfio_pci_close(dev);
	setup(state);
	assert_int_equal(uvfio_pci_open(BDF, "via=group", &dev, NULL), 0);
	assert_int_equal(uvfio_pci_dma_map(dev, NULL, 4096, 0, fd, 0, &iova, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.msg, "needs an address"));
	assert_int_equal(uvfio_pci_dma_map(dev, mapping, 4096, 0, fd, 0, &iova, NULL), 0);
	assert_int_equal(k.type1_map.vaddr, (uintptr_t)mapping);
	uvfio_pci_close(dev);
	close(fd);
}

static void test_token(void **state)
{
	static const uint8_t bytes[16] = {0x2a, 0xb7, 0x49, 0x24, 0xc3, 0x35, 0x45, 0xf4,
					  0x9b, 0x16, 0x85, 0x69, 0xe5, 0xb0, 0x82, 0x58};
	struct uvfio_error err;
	struct uvfio_pci *dev;

	assert_int_equal(uvfio_pci_open(BDF " vf_token=" TOKEN, NULL, &dev, NULL), 0);
	assert_true(k.had_token);
	assert_memory_equal(k.token, bytes, 16);
	uvfio_pci_close(dev);
	setup(state);
	assert_int_equal(uvfio_pci_open(BDF, "via=group,vf_token=" TOKEN, &dev, NULL), 0);
	assert_string_equal(k.group_name, BDF " vf_token=" TOKEN);
	uvfio_pci_close(dev);
	setup(state);
	k.bind_errno = EACCES;
	assert_int_equal(uvfio_pci_open(BDF, NULL, &dev, &err), -EACCES);
	assert_non_null(strstr(err.msg, "a token is needed"));
	setup(state);
	k.bind_errno = EINVAL;
	assert_int_equal(uvfio_pci_open(BDF, "vf_token=" TOKEN, &dev, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "takes no vf_token"));
	setup(state);
	k.get_device_errno = EACCES;
	assert_int_equal(uvfio_pci_open(BDF, "via=group,vf_token=" TOKEN, &dev, &err), -EACCES);
	assert_non_null(strstr(err.msg, "not that of its PF"));
}

static void test_which_way(void **state)
{
	struct uvfio_error err;
	struct uvfio_pci *dev;

	k.iommu = false;
	assert_int_equal(uvfio_pci_open(BDF, NULL, &dev, NULL), 0);
	assert_int_equal(uvfio_pci_get_way(dev), UVFIO_PCI_WAY_GROUP);
	assert_int_equal(k.iommu_type, VFIO_TYPE1v2_IOMMU);
	uvfio_pci_close(dev);
	setup(state);
	k.vfio_dev = false;
	assert_int_equal(uvfio_pci_open(BDF, NULL, &dev, NULL), 0);
	assert_int_equal(uvfio_pci_get_way(dev), UVFIO_PCI_WAY_GROUP);
	uvfio_pci_close(dev);
	setup(state);
	k.vfio_dev = false;
	assert_int_equal(uvfio_pci_open(BDF, "via=cdev", &dev, &err), -ENODEV);
	assert_non_null(strstr(err.msg, "via=group"));
	setup(state);
	k.iommu = k.group = false;
	assert_int_equal(uvfio_pci_open(BDF, NULL, &dev, &err), -ENODEV);
	assert_non_null(strstr(err.msg, "no IOMMU group"));
}

static void test_group_without_iommu(void **state)
{
	struct uvfio_pci_mem mem;
	struct uvfio_pci *dev;

	/* Its folder in sysfs is there, but no device node. */
	k.noiommu = true;
	assert_int_equal(uvfio_pci_open(BDF, NULL, &dev, NULL), 0);
	assert_int_equal(uvfio_pci_get_way(dev), UVFIO_PCI_WAY_GROUP);
	assert_int_equal(k.iommu_type, VFIO_NOIOMMU_IOMMU);
	assert_int_equal(uvfio_pci_dma_alloc(dev, 4096, 0, &mem, NULL), -EOPNOTSUPP);
	uvfio_pci_close(dev);
}

static void test_group_without_ranges(void **state)
{
	uint64_t first[3], last[3];
	struct uvfio_pci_mem mem;
	struct uvfio_pci *dev;

	k.iommu = false;
	assert_int_equal(uvfio_pci_open(BDF, NULL, &dev, NULL), 0);
	/* An older kernel does not tell: 39 bits. */
	assert_int_equal(uvfio_pci_dma_ranges(dev, first, last, 3), 2);
	assert_int_equal(last[1], (1ull << 39) - 1);
	assert_int_equal(uvfio_pci_dma_alloc(dev, 4096, UVFIO_PCI_DMA_WRITE, &mem, NULL), 0);
	assert_int_equal(k.type1_map.flags, VFIO_DMA_MAP_FLAG_WRITE);
	assert_int_equal(k.type1_map.iova, mem.iova);
	uvfio_pci_close(dev);
}

static void test_errors(void **state)
{
	static const struct {
		const char *file, *message;
		int error, ret;
		bool group;
	} cases[] = {
		{"/dev/iommu", "no permission to open /dev/iommu", EACCES, -EACCES, false},
		{"/dev/vfio/devices/vfio7", "in use by another program", EBUSY, -EBUSY, false},
		{"/dev/vfio/42", "in use by another program", EBUSY, -EBUSY, true},
		{"/dev/vfio/42", "bind the device to vfio-pci first", ENOENT, -ENODEV, true},
		{"/dev/vfio/vfio", "no permission", EPERM, -EPERM, true},
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct uvfio_error err = {""};
		struct uvfio_pci *dev;

		setup(state);
		k.iommu = !cases[i].group;
		k.busy = cases[i].file;
		k.busy_errno = cases[i].error;
		assert_int_equal(uvfio_pci_open(BDF, NULL, &dev, &err), cases[i].ret);
		if (!strstr(err.msg, cases[i].message))
			fail_msg("%s: %s", cases[i].file, err.msg);
	}
	setup(state);
	k.bind_errno = EPERM;
	{
		struct uvfio_error err = {""};
		struct uvfio_pci *dev;

		assert_int_equal(uvfio_pci_open(BDF, NULL, &dev, &err), -EPERM);
		assert_non_null(strstr(err.msg, "allow_unsafe_interrupts"));
	}
}

static void test_space(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		struct uvfio_dma_space *space;
		struct uvfio_pci_mem early, late;
		struct uvfio_pci *a, *b;
		struct uvfio_error err = {""};

		setup(state);
		k.incompatible = i;
		assert_int_equal(uvfio_dma_space_new(&space, NULL), 0);
		/* What the kernel's devices cannot reach is told when they come. */
		assert_int_equal(uvfio_dma_space_alloc(space, 4096, 0, &early, NULL), 0);
		assert_int_equal(early.iova, 0x1000);
		assert_int_equal(uvfio_pci_open_in(space, BDF, NULL, &a, &err), -EADDRNOTAVAIL);
		assert_non_null(strstr(err.msg, "0x1000 to 0x1fff"));
		assert_int_equal(k.destroyed, 1);
		assert_int_equal(uvfio_dma_space_release(space, &early), 0);
		k.ioases = k.destroyed = 0;

		assert_int_equal(uvfio_pci_open_in(space, BDF, NULL, &a, &err), 0);
		assert_int_equal(uvfio_dma_space_alloc(space, 4096, 0, &early, NULL), 0);
		assert_int_equal(early.iova, 0x10000);
		assert_int_equal(k.maps, 1);
		/* The other one is in the same IOAS, or in one of the same iommufd. */
		assert_int_equal(uvfio_pci_open_in(space, BDF2, NULL, &b, &err), 0);
		assert_int_equal(k.attached2, 5 + i);
		assert_int_equal(k.ioases, 1 + i);
		assert_int_equal(k.maps, 1 + i);
		assert_int_equal(uvfio_pci_dma_alloc(b, 4096, 0, &late, NULL), 0);
		assert_int_equal(k.maps_in[0], 2);
		assert_int_equal(k.maps_in[1], i ? 2 : 0);
		assert_int_equal(uvfio_pci_dma_free(a, &late), 0);
		assert_int_equal(k.maps, 1 + i);
		uvfio_pci_close(a);
		assert_int_equal(k.destroyed, i);
		assert_int_equal(uvfio_dma_space_release(space, &early), 0);
		uvfio_dma_space_free(space);
		assert_int_equal(k.detached, 2); /* the one that could not come, and @a */
		uvfio_pci_close(b);
		assert_int_equal(k.detached, 3);
		assert_int_equal(k.destroyed, 1 + i);
	}
}

static void test_space_of_other_ranges(void **state)
{
	struct uvfio_dma_space *space;
	struct uvfio_pci_mem mem;
	struct uvfio_pci *dev;
	uint64_t first[3], last[3];

	/* When it goes, all is usable again. */
	assert_int_equal(uvfio_dma_space_new(&space, NULL), 0);
	assert_int_equal(uvfio_pci_open_in(space, BDF, NULL, &dev, NULL), 0);
	assert_int_equal(uvfio_dma_space_ranges(space, first, last, 3), 2);
	assert_int_equal(first[0], 0x10000);
	assert_int_equal(uvfio_dma_space_alloc(space, 8192, 0, &mem, NULL), 0);
	uvfio_pci_close(dev);
	assert_int_equal(uvfio_dma_space_ranges(space, first, last, 3), 2);
	assert_int_equal(first[0], 0x1000);
	assert_int_equal(uvfio_dma_space_release(space, &mem), 0);
	assert_int_equal(uvfio_dma_space_alloc(space, 8192, 0, &mem, NULL), 0);
	assert_int_equal(mem.iova, 0x1000);
	uvfio_dma_space_free(space);
	/* No IOMMU. */
	setup(state);
	k.iommu = false;
	k.noiommu = true;
	assert_int_equal(uvfio_dma_space_new(&space, NULL), 0);
	assert_int_equal(uvfio_pci_open_in(space, BDF, NULL, &dev, NULL), -EOPNOTSUPP);
	uvfio_dma_space_free(space);
}

#define T(test) cmocka_unit_test_setup(test, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_cdev),
		T(test_peer),
		T(test_token),
		T(test_which_way),
		T(test_group_without_iommu),
		T(test_group_without_ranges),
		T(test_errors),
		T(test_space),
		T(test_space_of_other_ranges),
	};
	int ret;

	kernel_init();
	ret = cmocka_run_group_tests(tests, NULL, NULL);
	kernel_fini();
	return ret;
}
