/* SPDX-License-Identifier: BSD-3-Clause */
/* src/vfio/group.c and container.c: D.1's life cycle, names and tokens (C), container ioctls. */
#include "vfio_fixture.h"

static int get_device(struct fixture *f, const char *name)
{
	struct vfio_device_file *df;
	int ret = vfio_group_get_device(f->gf, f->client, (uintptr_t)name, &df);

	if (!ret)
		vfio_device_release(df);
	return ret;
}

static int container_call(struct fixture *f, unsigned cmd, uint64_t arg)
{
	return vfio_container_ioctl(f->container, f->client, cmd, arg);
}

static void test_group_open(void **state)
{
	struct vfio_group_file *second;
	struct fixture f;

	fixture_machine(&f);
	fixture_add(&f, "probe");
	assert_int_equal(vfio_group_open(f.machine, 0, &second), -ENODEV);
	assert_int_equal(vfio_group_open(f.machine, 2, &second), -ENODEV);
	assert_int_equal(vfio_group_open(f.machine, 1, &f.gf), 0);
	assert_int_equal(vfio_group_open(f.machine, 1, &second), -EBUSY);
	vfio_group_release(f.gf);
	assert_int_equal(vfio_group_open(f.machine, 1, &f.gf), 0);
	fixture_close(&f);
}

static void test_status(void **state)
{
	struct vfio_group_status status = {.argsz = sizeof(status)};
	struct fixture f;

	fixture_machine(&f);
	fixture_add(&f, "probe");
	assert_int_equal(vfio_group_open(f.machine, 1, &f.gf), 0);
	assert_int_equal(vfio_container_open(f.machine, &f.container), 0);
	assert_int_equal(vfio_group_get_status(f.gf, f.client, (uintptr_t)&status), 0);
	assert_int_equal(status.flags, VFIO_GROUP_FLAGS_VIABLE);
	assert_int_equal(vfio_group_set_container(f.gf, f.container), 0);
	assert_int_equal(vfio_group_get_status(f.gf, f.client, (uintptr_t)&status), 0);
	assert_int_equal(status.flags, VFIO_GROUP_FLAGS_VIABLE | VFIO_GROUP_FLAGS_CONTAINER_SET);
	status.argsz = 7;
	assert_int_equal(vfio_group_get_status(f.gf, f.client, (uintptr_t)&status), -EINVAL);
	assert_int_equal(vfio_group_get_status(f.gf, f.client, 8), -EFAULT);
	fixture_close(&f);
}

static void test_container_life(void **state)
{
	static const char name[] = "0000:01:00.0";
	struct vfio_iommu_type1_info info = {.argsz = sizeof(info)};
	struct vfio_container *other;
	struct vfio_group_file *gf2;
	struct fixture f;

	fixture_machine(&f);
	fixture_add(&f, "probe");
	fixture_add(&f, "probe");
	assert_int_equal(vfio_group_open(f.machine, 1, &f.gf), 0);
	assert_int_equal(vfio_group_open(f.machine, 2, &gf2), 0);
	assert_int_equal(vfio_container_open(f.machine, &f.container), 0);
	assert_int_equal(vfio_container_open(f.machine, &other), 0);

	assert_int_equal(container_call(&f, VFIO_GET_API_VERSION, 0), 0);
	assert_int_equal(container_call(&f, VFIO_CHECK_EXTENSION, VFIO_TYPE1_IOMMU), 1);
	assert_int_equal(container_call(&f, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU), 1);
	assert_int_equal(container_call(&f, VFIO_CHECK_EXTENSION, VFIO_UNMAP_ALL), 1);
	for (unsigned i = 0; i < 20; i++)
		if (i != 1 && i != 3 && i != 9)
			assert_int_equal(container_call(&f, VFIO_CHECK_EXTENSION, i), 0);

	assert_int_equal(container_call(&f, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU), -EINVAL);
	assert_int_equal(container_call(&f, VFIO_IOMMU_GET_INFO, (uintptr_t)&info), -EINVAL);
	assert_int_equal(container_call(&f, 0x3b00 + 150, 0), -EINVAL);
	assert_int_equal(vfio_group_unset_container(f.gf), -EINVAL);
	assert_int_equal(get_device(&f, name), -EINVAL);

	assert_int_equal(vfio_group_set_container(f.gf, f.container), 0);
	assert_int_equal(vfio_group_set_container(f.gf, f.container), -EINVAL);
	assert_int_equal(vfio_group_set_container(f.gf, other), -EINVAL);
	assert_int_equal(get_device(&f, name), -EINVAL);
	assert_int_equal(get_device(&f, "0000:02:00.0"), -ENODEV);
	assert_int_equal(container_call(&f, VFIO_SET_IOMMU, VFIO_NOIOMMU_IOMMU), -ENODEV);
	assert_int_equal(container_call(&f, VFIO_SET_IOMMU, 77), -ENODEV);
	assert_int_equal(container_call(&f, VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU), 0);
	assert_int_equal(container_call(&f, VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU), -EINVAL);
	assert_int_equal(container_call(&f, VFIO_SET_IOMMU, 77), -EINVAL);
	assert_int_equal(container_call(&f, VFIO_IOMMU_GET_INFO, (uintptr_t)&info), 0);
	assert_int_equal(container_call(&f, 0x3b00 + 150, 0), -ENOTTY);
	assert_int_equal(container_call(&f, VFIO_IOMMU_DIRTY_PAGES, (uintptr_t)&info), -EACCES);

	/* A second group shares what there is. */
	assert_int_equal(vfio_group_set_container(gf2, f.container), 0);
	assert_int_equal(vfio_group_get_device(f.gf, f.client, (uintptr_t)name, &f.df), 0);
	assert_int_equal(vfio_group_unset_container(f.gf), -EBUSY);
	assert_int_equal(vfio_group_unset_container(gf2), 0);
	vfio_device_release(f.df);
	f.df = NULL;
	assert_int_equal(vfio_group_unset_container(f.gf), 0);

	/* The last group took the backend along. */
	assert_int_equal(container_call(&f, VFIO_IOMMU_GET_INFO, (uintptr_t)&info), -EINVAL);
	assert_int_equal(vfio_group_set_container(f.gf, f.container), 0);
	assert_int_equal(container_call(&f, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU), 0);
	vfio_group_release(gf2);
	vfio_container_release(other);
	fixture_close(&f);
}

/* The client may close group and container first: the device keeps them. */
static void test_device_outlives_files(void **state)
{
	struct vfio_group_file *gf;
	struct fixture f;

	fixture_up(&f, "probe");
	assert_int_equal(dma_map(&f, 0x100000, 0, 4096, 3), 0);
	vfio_group_release(f.gf);
	vfio_container_release(f.container);
	f.gf = NULL;
	f.container = NULL;
	assert_int_equal(vfio_group_open(f.machine, 1, &gf), -EBUSY);
	config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
	memcpy(f.tc.mem, "hello", 5);
	assert_int_equal(probe_command(&f, CMD_READ, 0x100000, 5), 0);
	vfio_device_release(f.df);
	f.df = NULL;
	assert_int_equal(vfio_group_open(f.machine, 1, &f.gf), 0);
	fixture_close(&f);
}

static void test_names_and_tokens(void **state)
{
#define UUID "01234567-89ab-CDEF-0123-456789abcdef"
	static const struct {
		const char *string;
		int ret;
	} table[] = {
		{"0000:01:00.0", 0},
		{"0000:01:00.0 ", 0},
		{"0000:01:00.0   ", 0},
		{"", -ENODEV},
		{"0000:01:00.1", -ENODEV},
		{"0000:01:00.01", -ENODEV},
		{"0000:01:00", -ENODEV},
		{"01:00.0", -ENODEV},
		{" 0000:01:00.0", -ENODEV},
		{"0000:01:00.0\t", -ENODEV},
		{"0000:02:00.0", -ENODEV}, /* another group's */
		{"0000:02:00.0 nonsense", -ENODEV},
		{"0000:01:00.0 nonsense", -EINVAL},
		{"0000:01:00.0 vf_token=", -EINVAL},
		{"0000:01:00.0 vf_token=0123", -EINVAL},
		{"0000:01:00.0 vf_token=" UUID, -EINVAL}, /* not an SR-IOV function */
		{"0000:01:00.0 vf_token=" UUID "x", -EINVAL},
		{"0000:01:00.0 vf_token=" UUID " vf_token=" UUID, -EINVAL},
		{"0000:01:00.0 VF_TOKEN=" UUID, -EINVAL},
	};
	char *pages, *string;
	struct fixture f;

	fixture_machine(&f);
	fixture_add(&f, "probe");
	fixture_add(&f, "probe");
	assert_int_equal(vfio_group_open(f.machine, 1, &f.gf), 0);
	assert_int_equal(vfio_container_open(f.machine, &f.container), 0);
	assert_int_equal(vfio_group_set_container(f.gf, f.container), 0);
	assert_int_equal(container_call(&f, VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU), 0);
	for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		int ret = get_device(&f, table[i].string);

		if (ret != table[i].ret)
			fail_msg("'%s': %d, expected %d", table[i].string, ret, table[i].ret);
	}

	pages = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(pages, MAP_FAILED);
	assert_int_equal(mprotect(pages + 8192, 4096, PROT_NONE), 0);
	f.tc.low = (uintptr_t)pages;
	f.tc.high = (uintptr_t)pages + 8192;
	/* A string that ends at the end of what can be read. */
	string = pages + 8192 - sizeof("0000:01:00.0");
	memcpy(string, "0000:01:00.0", sizeof("0000:01:00.0"));
	assert_int_equal(get_device(&f, string), 0);
	/* One that does not end there. */
	pages[8191] = ' ';
	assert_int_equal(get_device(&f, string), -EFAULT);
	/* One of 4,095 characters, and one of 4,096. */
	memset(pages, ' ', 8192);
	memcpy(pages + 1, "0000:01:00.0", 12);
	pages[1 + 4095] = '\0';
	assert_int_equal(get_device(&f, pages + 1), 0);
	pages[1 + 4095] = ' ';
	pages[1 + 4096] = '\0';
	assert_int_equal(get_device(&f, pages + 1), -EINVAL);
	f.tc.high = 0;
	munmap(pages, 3 * 4096);
	fixture_close(&f);
#undef UUID
}

static void test_container_faults(void **state)
{
	struct fixture f;

	fixture_up(&f, "probe");
	assert_int_equal(container_call(&f, VFIO_IOMMU_GET_INFO, 8), -EFAULT);
	assert_int_equal(container_call(&f, VFIO_IOMMU_MAP_DMA, 8), -EFAULT);
	assert_int_equal(container_call(&f, VFIO_IOMMU_UNMAP_DMA, 8), -EFAULT);
	assert_int_equal(container_call(&f, VFIO_CHECK_EXTENSION, VFIO_DMA_CC_IOMMU), 1);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_group_open),
		cmocka_unit_test(test_status),
		cmocka_unit_test(test_container_life),
		cmocka_unit_test(test_device_outlives_files),
		cmocka_unit_test(test_names_and_tokens),
		cmocka_unit_test(test_container_faults),
	};

	guarded_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
