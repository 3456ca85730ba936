/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Keys of files, and what ioctls carry in their registers (uapi/helper/trap.h), made by hand.
 */
#include "hostile.h"

/* As the helper makes it for @sealed, whatever fd that is. */
static long keyed_ioctl(int fd, unsigned cmd, void *arg, uint64_t key, int sealed)
{
	return syscall(SYS_ioctl, fd, cmd, arg, uvfio_trap_seal(key, sealed, cmd, (uint64_t)arg), 0,
		       0);
}

/* An ioctl is on the file of the key that goes with it, when that is open; else on its fd. */
void keys_of_files(void)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};
	struct uvfio_trap_file file, container;
	struct stat st;
	struct device d;

	open_device(&d, 0);
	NEED(!syscall(SYS_ioctl, d.fd, UVFIO_TRAP_KEY, &file));
	NEED(!syscall(SYS_ioctl, d.container, UVFIO_TRAP_KEY, &container));
	NEED(!fstat(d.fd, &st));
	CHECK(file.key && file.dev == st.st_dev && file.ino == st.st_ino);
	CHECK(container.key && container.key != file.key && container.ino != file.ino);
	CHECK(syscall(SYS_ioctl, d.fd, UVFIO_TRAP_KEY, NULL) == -1 && errno == EFAULT);
	CHECK(syscall(SYS_ioctl, eventfd(0, 0), UVFIO_TRAP_KEY, &info) == -1 && errno == ENOTTY);
	CHECK(syscall(SYS_ioctl, -1, UVFIO_TRAP_KEY, &info) == -1 && errno == EBADF);

	CHECK(!keyed_ioctl(d.container, VFIO_DEVICE_GET_INFO, &info, file.key, d.container));
	CHECK(keyed_ioctl(d.container, VFIO_DEVICE_GET_INFO, &info, file.key, d.fd) == -1 &&
	      errno == ENOTTY);
	CHECK(!keyed_ioctl(d.fd, VFIO_DEVICE_GET_INFO, &info, file.key + 64, d.fd));
	CHECK(!keyed_ioctl(d.fd, VFIO_DEVICE_GET_INFO, &info, 0, d.fd));
	/* A container has no registers. */
	CHECK(trap_store(&d, container.key, 1) == -1 && errno == EBADF);
	CHECK(syscall(SYS_ioctl, -1, UVFIO_TRAP_LOAD | 4, d.bar + 0x24, 0, container.key) == -1 &&
	      errno == EBADF);
	/* Closed: the key opens nothing. */
	close(d.fd);
	CHECK(!ioctl(d.group, VFIO_GROUP_UNSET_CONTAINER));
	CHECK(keyed_ioctl(d.container, VFIO_DEVICE_GET_INFO, &info, file.key, d.container) == -1 &&
	      errno == EINVAL);
	CHECK(keyed_ioctl(d.fd, VFIO_DEVICE_GET_INFO, &info, file.key, d.fd) == -1 &&
	      errno == EBADF);
}

/* What an ioctl carries of its structure is believed like the structure itself: a lie in these
 * registers, where memory says something else, is a request as any other. */
static long lying_ioctl(int fd, unsigned cmd, void *arg, uint64_t key, uint64_t a, uint64_t b)
{
	return syscall(SYS_ioctl, fd, cmd, arg,
		       uvfio_trap_seal(key | UVFIO_TRAP_CARRIES, fd, cmd, (uint64_t)arg), a, b);
}

#define IOAS_ALLOC 0x3B81 /* IOMMU_IOAS_ALLOC: size, flags, id */

void lying_registers(void)
{
	struct vfio_device_info info = {.argsz = 4};
	struct vfio_irq_info irq = {.argsz = 16, .index = VFIO_PCI_MSIX_IRQ_INDEX};
	struct vfio_region_info region = {.argsz = sizeof(region), .index = 7};
	struct uvfio_trap_file file, container, group;
	const uint32_t irqs = VFIO_PCI_NUM_IRQS;
	struct device d;
	uint32_t guard[8], alloc[3] = {0};
	int iommu;

	open_device(&d, 0);
	NEED(!syscall(SYS_ioctl, d.fd, UVFIO_TRAP_KEY, &file));
	NEED(!syscall(SYS_ioctl, d.container, UVFIO_TRAP_KEY, &container));
	NEED(!syscall(SYS_ioctl, d.group, UVFIO_TRAP_KEY, &group));
	/* They count in place of memory, which says EINVAL; as much as that said is written. */
	CHECK(!lying_ioctl(d.fd, VFIO_DEVICE_GET_INFO, &info, file.key, 16, 0));
	CHECK(info.argsz == 16 && info.num_irqs == irqs);
	CHECK(lying_ioctl(d.fd, VFIO_DEVICE_GET_INFO, &info, file.key, 15, 0) == -1 &&
	      errno == EINVAL);
	memset(guard, 0xee, sizeof(guard));
	CHECK(!lying_ioctl(d.fd, VFIO_DEVICE_GET_INFO, guard, file.key, ~0ull, ~0ull));
	CHECK(guard[0] == ~0u && guard[3] == irqs && guard[6] == 0xeeeeeeee);
	CHECK(lying_ioctl(d.fd, VFIO_DEVICE_GET_IRQ_INFO, &irq, file.key, 16, ~0ull) == -1 &&
	      errno == EINVAL);
	CHECK(!lying_ioctl(d.fd, VFIO_DEVICE_GET_IRQ_INFO, &irq, file.key, 16, 1) &&
	      irq.index == 1);
	/* Longer ones are read. */
	CHECK(!lying_ioctl(d.fd, VFIO_DEVICE_GET_REGION_INFO, &region, file.key, 1, ~0ull) &&
	      region.argsz == sizeof(region) && region.index == 7);
	/* Nothing is there to be written. */
	CHECK(lying_ioctl(d.fd, VFIO_DEVICE_GET_INFO, NULL, file.key, 16, 0) == -1 &&
	      errno == EFAULT);
	CHECK(lying_ioctl(d.fd, VFIO_DEVICE_GET_INFO, (void *)-16l, file.key, 16, 0) == -1 &&
	      errno == EFAULT);
	CHECK(lying_ioctl(d.fd, VFIO_DEVICE_GET_REGION_INFO, (void *)-8l, file.key, 32, 7) == -1 &&
	      errno == EFAULT);
	/* Descriptors, of which one is no file of VFIO's and one is not open. */
	CHECK(lying_ioctl(d.group, VFIO_GROUP_SET_CONTAINER, &d.container, group.key, 1, 0) == -1);
	CHECK(lying_ioctl(d.group, VFIO_GROUP_SET_CONTAINER, &d.container, group.key, ~0ull, 0) ==
	      -1);
	/* Sealed for another argument: on the fd, and memory counts. */
	info.argsz = 4;
	CHECK(syscall(SYS_ioctl, d.fd, VFIO_DEVICE_GET_INFO, &info,
		      uvfio_trap_seal(file.key | UVFIO_TRAP_CARRIES, d.fd, VFIO_DEVICE_GET_INFO,
				      (uint64_t)&irq),
		      16, 0) == -1 &&
	      errno == EINVAL);
	/* No key, but the mark of one. */
	CHECK(lying_ioctl(d.fd, VFIO_DEVICE_GET_INFO, &info, 0, 16, 0) == -1 && errno == EINVAL);
	for (uint32_t size = 1; size; size <<= 1)
		lying_ioctl(d.container, VFIO_IOMMU_GET_INFO, d.mem, container.key, size, ~size);
	/* A size that is not the one which is read with the rest. */
	iommu = open("/dev/iommu", O_RDWR);
	NEED(iommu >= 0 && !syscall(SYS_ioctl, iommu, UVFIO_TRAP_KEY, &file));
	for (uint32_t size = 1; size; size <<= 1)
		lying_ioctl(iommu, IOAS_ALLOC, alloc, file.key, size, ~0ull);
	CHECK(lying_ioctl(iommu, IOAS_ALLOC, alloc, file.key, 11, 0) == -1 && errno == EINVAL);
	CHECK(!lying_ioctl(iommu, IOAS_ALLOC, alloc, file.key, 12, 0) && alloc[2]);
	close(iommu);
	NEED(!syscall(SYS_ioctl, d.fd, UVFIO_TRAP_KEY, &file));
	close(d.fd);
	CHECK(lying_ioctl(d.container, VFIO_DEVICE_GET_INFO, &info, file.key, 16, 0) == -1);
	open_device(&d, 1);
}
