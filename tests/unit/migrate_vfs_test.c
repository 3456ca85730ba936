/* SPDX-License-Identifier: BSD-3-Clause */
/* A PF that has VFs, and a VF, where devices are moved (C.4.35 to C.4.37). */
#include "migrate_fixture.h"

#define VF_NAME "0000:01:00.1"
#define SCRATCH PCITEST_SCRATCH
#define FEW     "pcitest,vfs=2,vf_token=" TOKEN

static void test_pf(void **state)
{
	struct vfio_device *pf;
	struct fixture f;
	struct user u;

	sriov_up(&f, FEW);
	migrate_client(&f);
	pf = get(&f, PF_NAME);
	assert_int_equal(user_open(&f, &u, PF_NAME, NULL), 0);
	assert_int_equal(set_numvfs(pf, 2), 0);
	for (uint32_t target = 0; target < 10; target++)
		assert_int_equal(user_set(&f, &u, target), target == RUNNING        ? 0
							   : !target || target >= 8 ? -EINVAL
										    : -EBUSY);
	assert_int_equal(user_state(&f, &u), RUNNING);
	assert_int_equal(set_numvfs(pf, 0), 0);

	/* And the other way round, in each state that it can be in. */
	for (uint32_t target = STOP; target <= PRE_COPY_P2P; target++) {
		if (target == RUNNING)
			continue;
		assert_int_equal(user_set(&f, &u, target), 0);
		if (given)
			vfio_migration_release(take());
		assert_int_equal(set_numvfs(pf, 1), -EBUSY);
		assert_int_equal(vfio_device_num_vfs(pf), 0);
		assert_int_equal(set_numvfs(pf, 0), 0);
		assert_int_equal(user_state(&f, &u), target);
		assert_int_equal(user_ioctl(&f, &u, VFIO_DEVICE_RESET, NULL), 0);
	}
	assert_int_equal(set_numvfs(pf, 2), 0);
	assert_int_equal(set_numvfs(pf, 0), 0);
	user_close(&u);
	vfio_device_put(pf);
	fixture_close(&f);
}

static uint8_t stream[1 << 20];

/* All that can be read of the user's session. */
static size_t read_stream(void)
{
	struct vfio_migration_file *file = take();
	size_t len = 0;
	ssize_t n;

	while ((n = vfio_migration_read(file, stream + len, sizeof(stream) - len)) > 0)
		len += (size_t)n;
	assert_int_equal(n, 0);
	vfio_migration_release(file);
	return len;
}

/* What a PF has in its registers about VFs goes with it, and into no device without VFs. */
static void test_pf_registers(void **state)
{
	size_t len = 0;

	for (int vfs = 2; vfs >= 0; vfs -= 2) {
		struct vfio_migration_file *file;
		struct fixture f;
		struct user u;

		sriov_up(&f, vfs ? FEW : "pcitest");
		migrate_client(&f);
		assert_int_equal(user_open(&f, &u, PF_NAME, NULL), 0);
		user_put(&u, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
		if (vfs) {
			user_put(&u, 0, PCITEST_VF_SELECT, 4, 1);
			user_put(&u, 0, PCITEST_VF_DATA, 8, 0x1122334455667788);
			user_put(&u, 0, PCITEST_VF_COMMAND, 4, PCITEST_VF_GET);
			assert_int_equal(user_get(&u, 0, PCITEST_VF_STATUS, 4), ENODEV);
			assert_int_equal(user_set(&f, &u, STOP_COPY), 0);
			len = read_stream();
			assert_int_equal(user_ioctl(&f, &u, VFIO_DEVICE_RESET, NULL), 0);
			assert_int_equal(user_get(&u, 0, PCITEST_VF_SELECT, 4), 0);
		}
		assert_int_equal(user_set(&f, &u, RESUMING), 0);
		file = take();
		assert_int_equal(vfio_migration_write(file, stream, len),
				 vfs ? (ssize_t)len : -EINVAL);
		assert_int_equal(user_set(&f, &u, RUNNING), vfs ? 0 : -EINVAL);
		vfio_migration_release(file);
		if (vfs) {
			assert_int_equal(user_get(&u, 0, PCITEST_VF_SELECT, 4), 1);
			assert_int_equal(user_get(&u, 0, PCITEST_VF_STATUS, 4), ENODEV);
			assert_int_equal(user_get(&u, 0, PCITEST_VF_DATA, 8), 0x1122334455667788);
		}
		user_close(&u);
		fixture_close(&f);
	}
}

static void test_vf(void **state)
{
	struct vfio_migration_file *file;
	struct user p, a, b;
	struct vfio_device *pf;
	struct fixture f;
	size_t len;

	sriov_up(&f, FEW);
	migrate_client(&f);
	pf = get(&f, PF_NAME);
	assert_int_equal(user_open(&f, &p, PF_NAME, NULL), 0);
	assert_int_equal(set_numvfs(pf, 2), 0);
	assert_int_equal(user_open(&f, &a, VF_NAME, "vf_token=" TOKEN), 0);
	assert_int_equal(user_open(&f, &b, "0000:01:00.2", "vf_token=" TOKEN), 0);
	for (unsigned i = 0; i < 2; i++)
		user_put(i ? &b : &a, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, 2,
			 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	user_put(&a, 0, SCRATCH, 8, 0x1122334455667788);
	user_put(&a, 2, 4096, 8, 0x99);
	user_put(&b, 0, SCRATCH, 8, 7);

	/* From one VF to another. */
	assert_int_equal(user_set(&f, &a, STOP_COPY), 0);
	len = read_stream();
	assert_int_equal(user_get(&b, 0, SCRATCH, 8), 7); /* it is nobody else's affair */
	assert_int_equal(user_set(&f, &b, RESUMING), 0);
	file = take();
	assert_int_equal(vfio_migration_write(file, stream, len), len);
	assert_int_equal(user_set(&f, &b, RUNNING), 0);
	vfio_migration_release(file);
	assert_int_equal(user_get(&b, 0, SCRATCH, 8), 0x1122334455667788);
	assert_int_equal(user_get(&b, 2, 4096, 8), 0x99);

	/* Its PF is reset: it runs. */
	assert_int_equal(user_state(&f, &a), STOP_COPY);
	assert_int_equal(user_ioctl(&f, &p, VFIO_DEVICE_RESET, NULL), 0);
	assert_int_equal(user_state(&f, &a), RUNNING);
	/* It is taken away in the midst. */
	assert_int_equal(user_set(&f, &a, RESUMING), 0);
	file = take();
	user_close(&a);
	user_close(&b);
	assert_int_equal(vfio_migration_write(file, stream, len), -ENODEV);
	vfio_migration_release(file);
	assert_int_equal(set_numvfs(pf, 0), 0);
	user_close(&p);
	vfio_device_put(pf);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pf),
		cmocka_unit_test(test_pf_registers),
		cmocka_unit_test(test_vf),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
