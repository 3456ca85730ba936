/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A stand-in for the kernel, for tests of the driver side: the calls that reach it are wrapped
 * (--wrap), checked against D.3 and answered here.
 */
#ifndef TESTS_UNIT_DRIVER_KERNEL_H
#define TESTS_UNIT_DRIVER_KERNEL_H

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

#define BDF    "0000:aa:00.0"
#define SYSFS  "/sys/bus/pci/devices/" BDF
#define BDF2   "0000:ab:00.0" /* another one, only by its character device, vfio8 */
#define SYSFS2 "/sys/bus/pci/devices/" BDF2
#define TOKEN  "2ab74924-c335-45f4-9b16-8569e5b08258"

static struct {
	/* What there is. */
	bool iommu, vfio_dev, group, noiommu;
	const char *busy; /* a file that answers @busy_errno when it is opened */
	int busy_errno, bind_errno, get_device_errno;
	bool incompatible; /* the second device cannot be in the first one's IOAS */
	/* What happened. */
	int iommu_fd, device_fd, device2_fd, container_fd, group_fd;
	ino_t iommu_ino;
	bool bound, attached, had_token;
	uint32_t attached2; /* the second device's IOAS */
	unsigned ioases, destroyed, detached;
	unsigned maps_in[2]; /* by IOAS: 5 and 6 */
	uint8_t token[16];
	char group_name[128];
	int iommu_type;
	struct drv_ioas_map map;
	struct drv_ioas_map_file map_file;
	uint64_t bar_addr; /* what has no address for iommufd */
	bool no_dma_buf;
	uint32_t dma_buf[4]; /* the request for one */
	uint64_t dma_buf_range[2];
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

static char dir[] = "/tmp/uvfio-cdev-XXXXXX", dir2[] = "/tmp/uvfio-cdev-XXXXXX";

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
static int make_device(int *fd)
{
	const uint32_t id = 0x56781234;

	make_fd(fd);
	assert_int_equal(ftruncate(*fd, 8ll << 40), 0);
	assert_int_equal(pwrite(*fd, &id, 4, 7ll << 40), 4);
	return *fd;
}

/* Is @fd the iommufd, or a duplicate of it? */
static bool is_iommu(int fd)
{
	struct stat st;

	return k.iommu_ino && !fstat(fd, &st) && st.st_ino == k.iommu_ino;
}

static int make_iommu(void)
{
	struct stat st;

	assert_int_equal(fstat(make_fd(&k.iommu_fd), &st), 0);
	k.iommu_ino = st.st_ino;
	return k.iommu_fd;
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
		return make_iommu();
	if (!strcmp(path, "/dev/vfio/devices/vfio7"))
		return make_device(&k.device_fd);
	if (!strcmp(path, "/dev/vfio/devices/vfio8"))
		return make_device(&k.device2_fd);
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

	if (!strcmp(path, SYSFS) || !strcmp(path, SYSFS2))
		there = true;
	else if (!strcmp(path, "/dev/iommu"))
		there = k.iommu;
	else if (!strncmp(path, "/dev/vfio/devices/", 18))
		there = !k.noiommu;
	else if (!strcmp(path, SYSFS "/vfio-dev") || !strcmp(path, SYSFS2 "/vfio-dev"))
		there = k.vfio_dev;
	else
		return __real_access(path, mode);
	errno = ENOENT;
	return there ? 0 : -1;
}

DIR *__wrap_opendir(const char *path)
{
	if (!strcmp(path, SYSFS2 "/vfio-dev"))
		return __real_opendir(dir2);
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
		a->ioas = 5 + k.ioases++;
		return 0;
	case DRV_DESTROY:
		assert_int_equal(((struct drv_destroy *)arg)->size, 8);
		k.destroyed++;
		return 0;
	case DRV_IOVA_RANGES:
		assert_int_equal(r->size, 32);
		assert_in_range(r->ioas, 5, 6);
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
		if (k.bar_addr && k.map.addr == k.bar_addr)
			return answer(EFAULT);
		k.maps++;
		k.maps_in[k.map.ioas - 5]++;
		return 0;
	case DRV_IOAS_MAP_FILE:
		memcpy(&k.map_file, arg, sizeof(k.map_file));
		assert_int_equal(k.map_file.size, 40);
		k.maps++;
		k.maps_in[k.map_file.ioas - 5]++;
		return 0;
	case DRV_IOAS_UNMAP:
		memcpy(&k.unmap, arg, sizeof(k.unmap));
		assert_int_equal(k.unmap.size, 24);
		k.maps--;
		k.maps_in[k.unmap.ioas - 5]--;
		return 0;
	}
	return answer(ENOTTY);
}

static int bind_device(struct drv_bind *b)
{
	/* Without a token the short structure, which every kernel knows. */
	assert_int_equal(b->argsz, b->flags ? 24 : 16);
	assert_true(is_iommu(b->iommufd));
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

static int ioctl_device(unsigned long request, void *arg, bool second)
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
		if (second) {
			if (k.incompatible && attach->pt == 5)
				return answer(EINVAL);
			k.attached2 = attach->pt;
			return 0;
		}
		assert_int_equal(attach->pt, 5);
		k.attached = true;
		return 0;
	case DRV_DETACH:
		assert_int_equal(((struct drv_detach *)arg)->argsz, 8);
		k.detached++;
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
		if (feature->flags == (VFIO_DEVICE_FEATURE_GET | 11) && !k.no_dma_buf) {
			assert_int_equal(feature->argsz, 8 + 16 + 16);
			memcpy(k.dma_buf, feature->data, 16);
			memcpy(k.dma_buf_range, feature->data + 16, 16);
			return memfd_create("dmabuf", MFD_CLOEXEC);
		}
		if (feature->flags == (VFIO_DEVICE_FEATURE_GET | 11))
			return answer(ENOTTY);
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
		return make_device(&k.device_fd);
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
	if (is_iommu(fd))
		return ioctl_iommu(request, arg);
	if (fd == k.device_fd || fd == k.device2_fd)
		return ioctl_device(request, arg, fd == k.device2_fd);
	if (fd == k.group_fd)
		return ioctl_group(request, arg);
	if (fd == k.container_fd)
		return ioctl_container(request, arg);
	return __real_ioctl(fd, request, arg);
}

/* The folders in sysfs, before and after the tests. */
static inline void kernel_init(void)
{
	char entry[64];

	if (!mkdtemp(dir) || !mkdtemp(dir2))
		abort();
	snprintf(entry, sizeof(entry), "%s/vfio7", dir);
	mkdir(entry, 0700);
	snprintf(entry, sizeof(entry), "%s/vfio8", dir2);
	mkdir(entry, 0700);
}

static inline void kernel_fini(void)
{
	char entry[64];

	snprintf(entry, sizeof(entry), "%s/vfio7", dir);
	rmdir(entry);
	rmdir(dir);
	snprintf(entry, sizeof(entry), "%s/vfio8", dir2);
	rmdir(entry);
	rmdir(dir2);
}

static int setup(void **state)
{
	memset(&k, 0, sizeof(k));
	k.iommu = k.vfio_dev = k.group = true;
	k.iommu_fd = k.device_fd = k.device2_fd = k.container_fd = k.group_fd = -1;
	return 0;
}

#endif
