/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The file that a program is given for a device's own node, before and after there are BARs in it:
 * at no time can it be mapped for DMA as a plain memory file, which would go past the device's
 * memory gate (D.4).
 */
#include <sys/stat.h>
#include "iommufd_fixture.h"
#include "vfio/device_memory.h"

#define BAR2 VFIO_REGION_OFFSET(2)

static int recognise(struct fixture *f, int fd, struct iommu_mem *mem)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return vfio_device_memory(f->machine, &st, BAR2, 4096, mem);
}

static void test_never_plain_memory(void **state)
{
	struct vfio_cdev_bind b = {.argsz = sizeof(b), .iommufd = 5000};
	struct vfio_device_file *df, *again;
	struct iommu_mem mem;
	struct fixture f;
	int fd, plain = memfd_create("plain", MFD_CLOEXEC);

	up(&f, "probe,memory=on", NULL);
	assert_int_equal(recognise(&f, plain, &mem), -ENOENT);
	assert_int_equal(vfio_cdev_open(f.machine, 0, &df), 0);
	fd = fcntl(vfio_device_file_fd(df), F_DUPFD_CLOEXEC, 0);
	assert_true(fd >= 0);
	/* Its program makes it as long as it is going to be. */
	assert_int_equal(ftruncate(fd, (off_t)(BAR2 + (1 << 20))), 0);
	assert_int_equal(recognise(&f, fd, &mem), -EFAULT);
	assert_int_equal(vfio_cdev_open(f.machine, 0, &again), 0);
	assert_int_equal(recognise(&f, vfio_device_file_fd(again), &mem), -EFAULT);
	assert_int_equal(recognise(&f, fd, &mem), -EFAULT);

	assert_int_equal(vfio_device_ioctl(df, f.client, VFIO_CDEV_BIND, (uintptr_t)&b), 0);
	f.df = df;
	config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
	assert_int_equal(recognise(&f, fd, &mem), 0);
	assert_int_equal(mem.kind, IOMMU_MEM_PEER);
	vfio_device_memory_put(&mem);
	assert_int_equal(recognise(&f, vfio_device_file_fd(again), &mem), -EFAULT);
	vfio_device_release(again);
	vfio_device_release(df);
	f.df = NULL;
	/* What is left of it is a file without anything in it. */
	assert_int_equal(recognise(&f, fd, &mem), -ENOENT);
	close(fd);
	close(plain);
	down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_never_plain_memory)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
