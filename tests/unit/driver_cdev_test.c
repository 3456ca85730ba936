/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The driver side on the kernel's character device and iommufd, and on groups, against a stand-in
 * for the kernel: the calls that reach it are wrapped (--wrap), checked against D.3 and answered
 * here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uvfio/driver.h>

#include "driver/iommufd_uapi.h"

#define BDF   "0000:aa:00.0"
#define SYSFS "/sys/bus/pci/devices/" BDF
#define TOKEN "2ab74924-c335-45f4-9b16-8569e5b08258"

static struct {
	/* What there is. */
	bool iommu, vfio_dev, group, noiommu;
	const char *busy; /* a file that answers @busy_errno when it is opened */
	int busy_errno, bind_errno, get_device_errno;
	/* What happened. */
	int iommu_fd, device_fd, container_fd, group_fd;
	bool bound, attached, had_token;
	uint8_t token[16];
	char group_name[128];
	int iommu_type;
	struct drv_ioas_map map;
	struct drv_ioas_unmap unmap;
	struct vfio_iommu_type1_dma_map type1_map;
	unsigned maps;
	struct {
		struct vfio_irq_set set;
		int fds[4];
	} irqs;
	uint32_t feature;
	unsigned resets;
} k;

static char dir[] = "/tmp/uvfio-cdev-XXXXXX";

/* ---- the wrapped calls ---- */

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __real_access(const char *path, int mode);
int __wrap_access(const char *path, int mode);
DIR *__real_opendir(const char *path);
DIR *__wrap_opendir(const char *path);
ssize_t __real_readlink(const char *path, char *buf, size_t size);
ssize_t __wrap_readlink(const char *path, char *buf, size_t size);
int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);

static int make_fd(int *fd)
{
	*fd = memfd_create("kernel", MFD_CLOEXEC);
	assert_true(*fd >= 0);
	return *fd;
}

/* The regions lie at index << 40 of the device's file. */
static int make_device(void)
{
	const uint32_t id = 0x56781234;

	make_fd(&k.device_fd);
	assert_int_equal(ftruncate(k.device_fd, 8ll << 40), 0);
	assert_int_equal(pwrite(k.device_fd, &id, 4, 7ll << 40), 4);
	return k.device_fd;
}

int __wrap_open64(const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list ap;

	va_start(ap, flags);
	if (flags & O_CREAT)
		mode = (mode_t)va_arg(ap, int);
	va_end(ap);
	if (k.busy && !strcmp(path, k.busy)) {
		errno = k.busy_errno;
		return -1;
	}
	if (!strcmp(path, "/dev/iommu"))
		return make_fd(&k.iommu_fd);
	if (!strcmp(path, "/dev/vfio/devices/vfio7"))
		return make_device();
	if (!strcmp(path, "/dev/vfio/vfio"))
		return make_fd(&k.container_fd);
	if (!strcmp(path, k.noiommu ? "/dev/vfio/noiommu-42" : "/dev/vfio/42"))
		return make_fd(&k.group_fd);
	if (!strcmp(path, SYSFS "/iommu_group/name")) {
		int fd = memfd_create("name", MFD_CLOEXEC);

		if (!k.noiommu) {
			close(fd);
			errno = ENOENT;
			return -1;
		}
		assert_int_equal(write(fd, "vfio-noiommu\n", 13), 13);
		lseek(fd, 0, SEEK_SET);
		return fd;
	}
	if (!strncmp(path, "/dev/vfio", 9)) {
		errno = ENOENT;
		return -1;
	}
	return __real_open64(path, flags, mode);
}

int __wrap_access(const char *path, int mode)
{
	bool there;

	if (!strcmp(path, SYSFS))
		there = true;
	else if (!strcmp(path, "/dev/iommu"))
		there = k.iommu;
	else if (!strcmp(path, SYSFS "/vfio-dev"))
		there = k.vfio_dev;
	else
		return __real_access(path, mode);
	errno = ENOENT;
	return there ? 0 : -1;
}

DIR *__wrap_opendir(const char *path)
{
	if (strcmp(path, SYSFS "/vfio-dev"))
		return __real_opendir(path);
	if (k.vfio_dev)
		return __real_opendir(dir);
	errno = ENOENT;
	return NULL;
}

ssize_t __wrap_readlink(const char *path, char *buf, size_t size)
{
	static const char target[] = "../../../../kernel/iommu_groups/42";

	if (strcmp(path, SYSFS "/iommu_group"))
		return __real_readlink(path, buf, size);
	if (!k.group) {
		errno = ENOENT;
		return -1;
	}
	memcpy(buf, target, sizeof(target) - 1);
	return sizeof(target) - 1;
}

static int answer(int error)
{
	if (!error)
		return 0;
	errno = error;
	return -1;
}

static int ioctl_iommu(unsigned long request, void *arg)
{
	static const struct drv_iova_range ranges[] = {{0x10000, 0xfedfffff},
						       {0xfef00000, 0x7fffffffffff}};
	struct drv_iova_ranges *r = arg;
	struct drv_ioas_alloc *a = arg;

	switch (request) {
	case DRV_IOAS_ALLOC:
		assert_int_equal(a->size, 12);
		assert_int_equal(a->flags, 0);
		a->ioas = 5;
		return 0;
	case DRV_IOVA_RANGES:
		assert_int_equal(r->size, 32);
		assert_int_equal(r->ioas, 5);
		assert_int_equal(r->reserved, 0);
		r->alignment = 4096;
		if (r->nr < 2) {
			r->nr = 2;
			return answer(EMSGSIZE);
		}
		memcpy((void *)(uintptr_t)r->ranges, ranges, sizeof(ranges));
		r->nr = 2;
		return 0;
	case DRV_IOAS_MAP:
		memcpy(&k.map, arg, sizeof(k.map));
		assert_int_equal(k.map.size, 40);
		assert_int_equal(k.map.reserved, 0);
		k.maps++;
		return 0;
	case DRV_IOAS_UNMAP:
		memcpy(&k.unmap, arg, sizeof(k.unmap));
		assert_int_equal(k.unmap.size, 24);
		k.maps--;
		return 0;
	}
	return answer(ENOTTY);
}

static int bind_device(struct drv_bind *b)
{
	/* Without a token the short structure, which every kernel knows. */
	assert_int_equal(b->argsz, b->flags ? 24 : 16);
	assert_int_equal(b->iommufd, k.iommu_fd);
	if (k.bind_errno)
		return answer(k.bind_errno);
	if (b->flags) {
		assert_int_equal(b->flags, DRV_BIND_TOKEN);
		memcpy(k.token, (void *)(uintptr_t)b->token, 16);
		k.had_token = true;
	}
	b->devid = 3;
	k.bound = true;
	return 0;
}

static int ioctl_device(unsigned long request, void *arg)
{
	struct vfio_device_info *info = arg;
	struct vfio_region_info *region = arg;
	struct vfio_irq_info *irq = arg;
	struct vfio_device_feature *feature = arg;
	struct drv_attach *attach = arg;

	if (request == DRV_BIND)
		return bind_device(arg);
	if (!k.bound)
		return answer(EINVAL); /* A.1 */
	switch (request) {
	case DRV_ATTACH:
		assert_int_equal(attach->argsz, 12);
		assert_int_equal(attach->flags, 0);
		assert_int_equal(attach->pt, 5);
		k.attached = true;
		return 0;
	case VFIO_DEVICE_GET_INFO:
		info->flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET;
		info->num_regions = 9;
		info->num_irqs = 5;
		return 0;
	case VFIO_DEVICE_GET_REGION_INFO:
		if (region->index > 8)
			return answer(EINVAL);
		region->argsz = sizeof(*region);
		region->flags = region->index == 0 || region->index == 7 ? 3 : 0;
		region->size = region->index == 0 ? 8192 : region->index == 7 ? 256 : 0;
		region->offset = (uint64_t)region->index << 40;
		return 0;
	case VFIO_DEVICE_GET_IRQ_INFO:
		irq->count = irq->index == VFIO_PCI_MSIX_IRQ_INDEX ? 4 : 0;
		return 0;
	case VFIO_DEVICE_SET_IRQS:
		memset(&k.irqs, 0, sizeof(k.irqs));
		memcpy(&k.irqs, arg, ((struct vfio_irq_set *)arg)->argsz);
		/* A.8: not that many vectors. */
		return k.irqs.set.start + k.irqs.set.count > 3 ? 3 : 0;
	case VFIO_DEVICE_RESET:
		k.resets++;
		return 0;
	case VFIO_DEVICE_FEATURE:
		k.feature = feature->flags;
		return answer(feature->flags & 0xffff ? 0 : ENOTTY);
	}
	return answer(ENOTTY);
}

static int ioctl_group(unsigned long request, void *arg)
{
	switch (request) {
	case VFIO_GROUP_GET_STATUS:
		((struct vfio_group_status *)arg)->flags = VFIO_GROUP_FLAGS_VIABLE;
		return 0;
	case VFIO_GROUP_SET_CONTAINER:
		assert_int_equal(*(int *)arg, k.container_fd);
		return 0;
	case VFIO_GROUP_GET_DEVICE_FD:
		snprintf(k.group_name, sizeof(k.group_name), "%s", (char *)arg);
		if (k.get_device_errno)
			return answer(k.get_device_errno);
		k.bound = true;
		return make_device();
	}
	return answer(ENOTTY);
}

static int ioctl_container(unsigned long request, void *arg)
{
	struct vfio_iommu_type1_info *info = arg;

	switch (request) {
	case VFIO_GET_API_VERSION:
		return VFIO_API_VERSION;
	case VFIO_SET_IOMMU:
		k.iommu_type = (int)(intptr_t)arg;
		return 0;
	case VFIO_IOMMU_GET_INFO:
		info->flags = VFIO_IOMMU_INFO_PGSIZES;
		info->iova_pgsizes = 0xfffffffffffff000;
		return 0;
	case VFIO_IOMMU_MAP_DMA:
		memcpy(&k.type1_map, arg, sizeof(k.type1_map));
		return 0;
	}
	return answer(ENOTTY);
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (fd == k.iommu_fd)
		return ioctl_iommu(request, arg);
	if (fd == k.device_fd)
		return ioctl_device(request, arg);
	if (fd == k.group_fd)
		return ioctl_group(request, arg);
	if (fd == k.container_fd)
		return ioctl_container(request, arg);
	return __real_ioctl(fd, request, arg);
}

/* ---- tests ---- */

static int setup(void **state)
{
	memset(&k, 0, sizeof(k));
	k.iommu = k.vfio_dev = k.group = true;
	k.iommu_fd = k.device_fd = k.container_fd = k.group_fd = -1;
	return 0;
}

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

	k.iommu = false;
	k.noiommu = true;
	assert_int_equal(uvfio_pci_open(BDF, NULL, &dev, NULL), 0);
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

#define T(test) cmocka_unit_test_setup(test, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_cdev),
		T(test_token),
		T(test_which_way),
		T(test_group_without_iommu),
		T(test_group_without_ranges),
		T(test_errors),
	};
	char entry[64];
	int ret;

	if (!mkdtemp(dir))
		return 1;
	snprintf(entry, sizeof(entry), "%s/vfio7", dir);
	mkdir(entry, 0700);
	ret = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(entry);
	rmdir(dir);
	return ret;
}
