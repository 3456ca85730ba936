/* SPDX-License-Identifier: BSD-3-Clause */
/* Devices that must be left alone while they do not run (D.4.9). */
#include <sys/stat.h>

#include "migrate_fixture.h"
#include "vfio/device_memory.h"

static unsigned nr_exports;

static int give_export(struct vfio_client *client, int fd, uint32_t flags,
		       struct vfio_device_export *export)
{
	nr_exports++;
	vfio_export_put(export);
	close(fd);
	return 0;
}

static void up(struct fixture *f, const char *spec)
{
	static struct vfio_client_ops ops;

	sriov_up(f, spec);
	migrate_client(f);
	ops = *f->tc.client.ops;
	ops.give_export = give_export;
	f->tc.client.ops = &ops;
	nr_exports = 0;
}

/* What DMA_BUF of a page of BAR 2 answers. */
static int export_page(struct fixture *f, struct user *u, unsigned op)
{
	struct {
		struct vfio_device_feature head;
		struct uvfio_feature_dma_buf request;
		struct uvfio_feature_dma_buf_range range;
	} c = {
		.head = {sizeof(c), op | VFIO_DEVICE_FEATURE_DMA_BUF},
		.request = {2, O_RDWR | O_CLOEXEC, 0, 1},
		.range = {0, 4096},
	};

	return user_ioctl(f, u, VFIO_DEVICE_FEATURE, &c);
}

/* What mapping @len bytes of BAR 2 for DMA answers, by whichever way. */
static int map_bar(struct fixture *f, struct user *u, uint64_t len)
{
	struct iommu_mem mem;
	struct stat st;
	int ret;

	assert_int_equal(fstat(vfio_device_view_fd(u->dev), &st), 0);
	ret = vfio_device_memory(f->machine, &st, VFIO_REGION_OFFSET(2), len, &mem);
	if (!ret)
		vfio_device_memory_put(&mem);
	return ret;
}

static void is_nobodys(struct fixture *f, struct user *u, bool quiet)
{
	user_put(u, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	user_put(u, 2, 8, 4, 0x1234);
	assert_int_equal(user_get(u, 2, 8, 4), 0x1234);
	assert_int_equal(map_bar(f, u, 4096), quiet ? -EFAULT : 0);
	assert_int_equal(export_page(f, u, VFIO_DEVICE_FEATURE_GET), quiet ? -EOPNOTSUPP : 0);
	assert_int_equal(export_page(f, u, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_PROBE),
			 quiet ? -EOPNOTSUPP : 0);
	assert_int_equal(nr_exports, quiet ? 0 : 1);
}

static void test_no_peers(void **state)
{
	for (unsigned quiet = 0; quiet < 2; quiet++) {
		struct fixture f;
		struct user u;

		up(&f, quiet ? "pcitest,quiet-mmio=on" : "pcitest");
		assert_int_equal(user_open(&f, &u, PF_NAME, NULL), 0);
		is_nobodys(&f, &u, quiet);
		user_close(&u);
		fixture_close(&f);
	}
}

/* It can be stopped, not be quiet and answer. */
static void test_states(void **state)
{
	struct {
		struct vfio_device_feature head;
		struct vfio_device_feature_migration migration;
	} c = {{sizeof(c), VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIGRATION}, {0}};
	struct fixture f;
	struct user u;

	up(&f, "pcitest,quiet-mmio=on");
	assert_int_equal(user_open(&f, &u, PF_NAME, NULL), 0);
	assert_int_equal(user_ioctl(&f, &u, VFIO_DEVICE_FEATURE, &c), 0);
	assert_int_equal(c.migration.flags, 1 | 4 /* STOP_COPY, PRE_COPY */);
	assert_int_equal(user_set(&f, &u, RUNNING_P2P), -EINVAL);
	assert_int_equal(user_set(&f, &u, PRE_COPY_P2P), -EINVAL);
	assert_int_equal(user_state(&f, &u), RUNNING);
	assert_int_equal(user_set(&f, &u, STOP_COPY), 0);
	vfio_migration_release(take());
	assert_int_equal(user_set(&f, &u, RUNNING), 0);
	user_close(&u);
	fixture_close(&f);

	/* What it can otherwise is for its options to say. */
	up(&f, "pcitest,quiet-mmio=on,migration-can=p2p");
	assert_int_equal(user_open(&f, &u, PF_NAME, NULL), 0);
	assert_int_equal(user_ioctl(&f, &u, VFIO_DEVICE_FEATURE, &c), 0);
	assert_int_equal(c.migration.flags, 1);
	user_close(&u);
	fixture_close(&f);
}

static void test_vf(void **state)
{
	for (unsigned quiet = 0; quiet < 2; quiet++) {
		struct vfio_device *pf;
		struct fixture f;
		struct user u, p;

		up(&f, quiet ? "pcitest,vfs=1,vf_token=" TOKEN ",quiet-mmio=on"
			     : "pcitest,vfs=1,vf_token=" TOKEN);
		pf = get(&f, PF_NAME);
		assert_int_equal(user_open(&f, &p, PF_NAME, NULL), 0);
		assert_int_equal(set_numvfs(pf, 1), 0);
		assert_int_equal(user_open(&f, &u, "0000:01:00.1", "vf_token=" TOKEN), 0);
		is_nobodys(&f, &u, quiet);
		assert_int_equal(user_set(&f, &u, RUNNING_P2P), quiet ? -EINVAL : 0);
		user_close(&u);
		assert_int_equal(set_numvfs(pf, 0), 0);
		user_close(&p);
		vfio_device_put(pf);
		fixture_close(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_peers),
		cmocka_unit_test(test_states),
		cmocka_unit_test(test_vf),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
