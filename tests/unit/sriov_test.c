/* SPDX-License-Identifier: BSD-3-Clause */
/* VFs: how they come into being and go, and what happens to them by their PF. */
#include "sriov_fixture.h"

#include <sched.h>

static void test_parse(void **state)
{
	static const struct {
		const char *text;
		int ret;
		unsigned n;
	} rows[] = {
		{"0", 0, 0},         {"4", 0, 4},           {"4\n", 0, 4},
		{"0x10", 0, 16},     {"010", 0, 8},         {"+3", 0, 3},
		{"65535", 0, 65535}, {"65536", -EINVAL, 0}, {"99999999999999999999", -EINVAL, 0},
		{"", -EINVAL, 0},    {"\n", -EINVAL, 0},    {"abc", -EINVAL, 0},
		{"4x", -EINVAL, 0},  {"4\n\n", -EINVAL, 0}, {" 4", -EINVAL, 0},
		{"-1", -EINVAL, 0},  {"4 ", -EINVAL, 0},    {"+-4", -EINVAL, 0},
		{"08", -EINVAL, 0},  {"0x", -EINVAL, 0},
	};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		unsigned n = 77;

		assert_int_equal(vfio_parse_numvfs(rows[i].text, &n), rows[i].ret);
		if (!rows[i].ret)
			assert_int_equal(n, rows[i].n);
	}
}

/* C: the PCI core's errors in their order, then the driver's. */
static void test_errors(void **state)
{
	struct vfio_device *pf, *plain;
	struct uvfio_error err;
	struct fixture f;

	sriov_up(&f, "pcitest,vfs=8");
	fixture_add(&f, "pcitest");
	pf = get(&f, PF_NAME);
	plain = get(&f, "0000:02:00.0");
	assert_true(vfio_device_is_pf(pf));
	assert_false(vfio_device_is_pf(plain));
	assert_int_equal(vfio_device_total_vfs(pf), 8);
	assert_int_equal(vfio_device_total_vfs(plain), 0);
	assert_int_equal(set_numvfs(plain, 1), -ENODEV);

	assert_int_equal(set_numvfs(pf, 9), -ERANGE);
	assert_int_equal(set_numvfs(pf, 0), 0);
	assert_int_equal(vfio_machine_set_policy(f.machine, "enable_sriov=N", &err), 0);
	assert_int_equal(set_numvfs(pf, 1), -ENOENT);
	assert_int_equal(set_numvfs(pf, 0), 0);
	assert_int_equal(vfio_machine_set_policy(f.machine, "enable_sriov=Y", &err), 0);
	assert_int_equal(set_numvfs(pf, 3), 0);
	assert_int_equal(vfio_device_num_vfs(pf), 3);
	assert_int_equal(set_numvfs(pf, 3), 0);
	assert_int_equal(set_numvfs(pf, 4), -EBUSY);
	assert_int_equal(set_numvfs(pf, 9), -ERANGE);
	/* What is to be changed comes before what the driver says of it. */
	assert_int_equal(vfio_machine_set_policy(f.machine, "enable_sriov=N", &err), 0);
	assert_int_equal(set_numvfs(pf, 4), -EBUSY);
	assert_int_equal(set_numvfs(pf, 0), -ENOENT);
	assert_int_equal(vfio_machine_set_policy(f.machine, "enable_sriov=Y", &err), 0);
	assert_int_equal(set_numvfs(pf, 0), 0);
	assert_int_equal(vfio_device_num_vfs(pf), 0);
	vfio_device_put(pf);
	vfio_device_put(plain);
	fixture_close(&f);
}

static void test_vfs(void **state)
{
	struct vfio_device *pf, *vf, **all;
	struct fixture f;
	unsigned n;

	sriov_up(&f, "pcitest,vfs=300,numvfs=300");
	pf = get(&f, PF_NAME);
	assert_int_equal(vfio_device_num_vfs(pf), 300);
	assert_null(vfio_device_physfn(pf));
	n = vfio_machine_get_devices(f.machine, &all);
	assert_int_equal(n, 301);
	for (unsigned i = 0; i < 300; i++) {
		char name[16];

		vf = vfio_device_get_vf(pf, i);
		assert_ptr_equal(vf, all[i + 1]);
		assert_ptr_equal(vfio_device_physfn(vf), pf);
		assert_int_equal(vfio_device_vf_index(vf), i);
		snprintf(name, sizeof(name), "0000:%02x:%02x.%x", 1 + (i + 1) / 256,
			 (i + 1) / 8 % 32, (i + 1) % 8);
		assert_string_equal(vfio_device_name(vf), name);
		/* Each in a group of its own. */
		assert_int_equal(vfio_device_group(vf), vfio_device_group(pf) + 1 + i);
		assert_int_equal(vfio_device_driver(vf), VFIO_DRIVER_VFIO);
		vfio_device_put(vf);
	}
	assert_null(vfio_device_get_vf(pf, 300));
	vfio_devices_put(all, n);
	assert_int_equal(set_numvfs(pf, 0), 0);
	assert_null(vfio_device_get_vf(pf, 0));
	assert_int_equal(vfio_machine_devices(f.machine, NULL, 0), 1);
	/* The buses stay theirs. */
	fixture_add(&f, "pcitest");
	vfio_device_put(get(&f, "0000:03:00.0"));
	vfio_device_put(pf);
	fixture_close(&f);
}

static void test_addresses(void **state)
{
	struct uvfio_error err;
	struct fixture f;

	sriov_up(&f, "pcitest,vfs=4095");
	assert_int_equal(vfio_machine_add_device(f.machine, "pcitest,addr=0000:01:00.1", &err),
			 -EINVAL);
	assert_non_null(strstr(err.msg, "VFs of " PF_NAME));
	assert_int_equal(vfio_machine_add_device(f.machine, "pcitest,addr=0000:10:1f.7", &err),
			 -EINVAL);
	fixture_add(&f, "pcitest,addr=0000:11:00.0");
	fixture_add(&f, "pcitest,addr=0000:13:00.0");
	/* No room between them, and an address that was asked for is not changed. */
	assert_int_equal(
		vfio_machine_add_device(f.machine, "pcitest,vfs=512,addr=0000:12:00.0", &err),
		-EINVAL);
	assert_int_equal(
		vfio_machine_add_device(f.machine, "pcitest,vfs=4095,addr=0000:f8:00.0", &err),
		-EINVAL);
	fixture_add(&f, "pcitest,vfs=512");
	vfio_device_put(get(&f, "0000:14:00.0"));
	for (unsigned i = 0; i < 15; i++)
		fixture_add(&f, "pcitest,vfs=4000");
	/* The last one did not fit into what was left of the domain. */
	vfio_device_put(get(&f, "0001:01:00.0"));
	fixture_close(&f);
}

static void test_keys(void **state)
{
	static const char *const wrong[] = {
		"pcitest,numvfs=1",
		"pcitest,acs=off",
		"pcitest,vfs=4,numvfs=5",
		"pcitest,vfs=4096",
		"pcitest,vfs=4,numvfs=x",
		"pcitest,vfs=4,numvfs=1,driver=none",
		"pcitest,vfs=4,numvfs=1,driver=uio_pci_generic",
		"pcitest,vfs=4,driver=nvme",
		"pcitest,vfs=4,pcie=off",
		"pcitest,vfs=4,vf-memory=3K",
	};
	struct uvfio_error err;
	struct fixture f;

	sriov_up(&f, NULL);
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		err.msg[0] = '\0';
		assert_int_equal(vfio_machine_add_device(f.machine, wrong[i], &err), -EINVAL);
		assert_true(err.msg[0]);
	}
	assert_int_equal(vfio_machine_set_policy(f.machine, "enable_sriov=N", &err), 0);
	assert_int_equal(vfio_machine_add_device(f.machine, "pcitest,vfs=4,numvfs=1", &err),
			 -EINVAL);
	assert_int_equal(vfio_machine_devices(f.machine, NULL, 0), 0);
	fixture_add(&f, "pcitest,vfs=4,numvfs=2,driver=pci-pf-stub,addr=0000:01:00.0");
	vfio_device_put(get(&f, "0000:01:00.2"));
	fixture_add(&f, "pcitest,vfs=4,numvfs=2,acs=off,driver=pcitest,addr=0000:02:00.0");
	vfio_device_put(get(&f, "0000:02:00.2"));
	fixture_close(&f);
}

/* What a VF is, and what its PF can do to it. */
static void test_use(void **state)
{
	struct user pf, a, b;
	struct fixture f;
	int irq;

	sriov_up(&f, "pcitest,vfs=4,numvfs=2,vf-vectors=3");
	assert_int_equal(user_open(&f, &a, "0000:01:00.1", NULL), -EACCES);
	assert_int_equal(user_open(&f, &pf, PF_NAME, "vf_token=" TOKEN), 0);
	assert_int_equal(user_open(&f, &a, "0000:01:00.1", "vf_token=" TOKEN), 0);
	assert_int_equal(user_open(&f, &b, "0000:01:00.2", "vf_token=" TOKEN), 0);
	user_put(&pf, 7, PCI_COMMAND, 2, COMMAND_ON);
	user_put(&a, 7, PCI_COMMAND, 2, COMMAND_ON);
	assert_int_equal(user_get(&a, 7, 0, 4), (PCITEST_DEVICE + 1) << 16 | PCITEST_VENDOR);
	assert_int_equal(user_get(&pf, 0, PCITEST_ROLE, 4), PCITEST_ROLE_PF);
	assert_int_equal(user_get(&pf, 0, PCITEST_VF_NUMBER, 4), 2);
	assert_int_equal(user_get(&b, 0, PCITEST_ROLE, 4), PCITEST_ROLE_VF);
	assert_int_equal(user_get(&b, 0, PCITEST_VF_NUMBER, 4), 1);
	assert_int_equal(user_get(&b, 0, PCITEST_NR_VECTORS, 4), 3);

	irq = user_irq(&f, &a, VFIO_PCI_MSIX_IRQ_INDEX, 2);
	user_put(&a, 0, PCITEST_MAILBOX, 8, 0x123456789abull);
	user_put(&pf, 0, PCITEST_VF_SELECT, 4, 0);
	user_put(&pf, 0, PCITEST_VF_COMMAND, 4, PCITEST_VF_GET);
	assert_true(user_get(&pf, 0, PCITEST_VF_DATA, 8) == 0x123456789abull);
	user_put(&pf, 0, PCITEST_VF_DATA, 8, 42);
	user_put(&pf, 0, PCITEST_VF_COMMAND, 4, PCITEST_VF_PUT);
	assert_int_equal(user_get(&a, 0, PCITEST_PF_DATA, 8), 42);
	assert_int_equal(user_get(&b, 0, PCITEST_PF_DATA, 8), 0);
	user_put(&pf, 0, PCITEST_VF_COMMAND, 4, PCITEST_VF_RAISE | PCITEST_VF_ARG(2));
	irq_wait(irq);
	user_put(&pf, 0, PCITEST_VF_SELECT, 4, 2);
	user_put(&pf, 0, PCITEST_VF_COMMAND, 4, PCITEST_VF_GET);
	assert_int_equal(user_get(&pf, 0, PCITEST_VF_STATUS, 4), ENODEV);

	/* A VF's reset is its own. */
	user_put(&b, 0, PCITEST_SCRATCH, 8, 1);
	user_put(&pf, 0, PCITEST_SCRATCH, 8, 2);
	user_put(&a, 0, PCITEST_SCRATCH, 8, 3);
	assert_int_equal(user_ioctl(&f, &a, VFIO_DEVICE_RESET, NULL), 0);
	assert_int_equal(user_get(&a, 0, PCITEST_SCRATCH, 8), 0);
	assert_int_equal(user_get(&b, 0, PCITEST_SCRATCH, 8), 1);
	assert_int_equal(user_get(&pf, 0, PCITEST_SCRATCH, 8), 2);
	/* Its PF's is everybody's: registers go, and so does what the host set up; files stay. */
	user_put(&a, 0, PCITEST_SCRATCH, 8, 3);
	assert_int_equal(user_ioctl(&f, &pf, VFIO_DEVICE_RESET, NULL), 0);
	assert_int_equal(user_get(&a, 0, PCITEST_SCRATCH, 8), 0);
	assert_int_equal(user_get(&b, 0, PCITEST_SCRATCH, 8), 0);
	assert_int_equal(user_get(&a, 7, PCI_COMMAND, 2) & PCI_COMMAND_MASTER, 0);
	assert_int_equal(user_get(&pf, 7, PCI_COMMAND, 2) & PCI_COMMAND_MASTER, PCI_COMMAND_MASTER);
	assert_int_equal(user_get(&pf, 0, PCITEST_VF_NUMBER, 4), 2);
	/* And when the PF is closed. */
	user_put(&a, 0, PCITEST_SCRATCH, 8, 3);
	user_close(&pf);
	assert_int_equal(user_get(&a, 0, PCITEST_SCRATCH, 8), 0);
	assert_int_equal(user_get(&a, 0, PCITEST_ID, 4), PCITEST_MAGIC);
	user_close(&a);
	user_close(&b);
	close(irq);
	fixture_close(&f);
}

/* Taking VFs away waits for who has them, and nobody else is kept waiting. */
static void test_users(void **state)
{
	struct vfio_device *pf;
	struct answer down, up, same;
	struct user a, b;
	struct fixture f;
	int req, ret;

	sriov_up(&f, "pcitest,vfs=8,driver=pci-pf-stub,numvfs=2");
	pf = get(&f, PF_NAME);
	assert_int_equal(user_open(&f, &a, "0000:01:00.1", NULL), 0);
	req = user_irq(&f, &a, VFIO_PCI_REQ_IRQ_INDEX, 0);
	sem_init(&down.done, 0, 0);
	sem_init(&same.done, 0, 0);
	sem_init(&up.done, 0, 0);
	assert_int_equal(vfio_device_set_numvfs(pf, 0, answered, &down), 0);
	irq_wait(req);
	/* They are judged when it is their turn. */
	assert_int_equal(vfio_device_set_numvfs(pf, 5, answered, &up), 0);
	assert_int_equal(vfio_device_set_numvfs(pf, 4, answered, &same), 0);
	/* The other one is on its way: where it goes between two calls, a container has no group
	 * (D.1). */
	do
		ret = user_open(&f, &b, "0000:01:00.2", NULL);
	while (ret == -EINVAL);
	assert_int_equal(ret, -ENODEV);
	assert_int_equal(sem_trywait(&down.done), -1);
	user_close(&a);
	while (sem_wait(&down.done) || sem_wait(&up.done) || sem_wait(&same.done))
		;
	assert_int_equal(down.result, 0);
	assert_int_equal(up.result, 0);
	assert_int_equal(same.result, -EBUSY);
	assert_int_equal(vfio_device_num_vfs(pf), 5);
	assert_int_equal(user_open(&f, &b, "0000:01:00.5", NULL), 0);
	user_close(&b);
	close(req);
	vfio_device_put(pf);
	fixture_close(&f);
}

static void unbound(void *arg)
{
	sem_post(arg);
}

static void test_drivers(void **state)
{
	struct vfio_device *pf, *vf;
	struct user a;
	struct fixture f;
	sem_t done;

	sem_init(&done, 0, 0);
	sriov_up(&f, "pcitest,vfs=8,driver=pci-pf-stub");
	pf = get(&f, PF_NAME);
	assert_string_equal(vfio_device_driver_name(pf), "pci-pf-stub");
	assert_int_equal(vfio_device_find_driver(pf, "pcitest"), VFIO_DRIVER_MODEL);
	assert_int_equal(vfio_device_find_driver(pf, "nvme"), VFIO_DRIVER_NONE);
	vfio_device_set_drivers_autoprobe(pf, false);
	assert_int_equal(set_numvfs(pf, 2), 0);
	vf = vfio_device_get_vf(pf, 0);
	assert_null(vfio_device_driver_name(vf));
	assert_int_equal(user_open(&f, &a, "0000:01:00.1", NULL), -ENODEV);
	assert_int_equal(vfio_device_bind(vf), 0);
	assert_int_equal(user_open(&f, &a, "0000:01:00.1", NULL), 0);
	user_close(&a);
	/* A stub leaves what it has enabled; then vfio-pci does not take the PF (A.2). */
	assert_int_equal(vfio_device_unbind(pf, unbound, &done), 0);
	while (sem_wait(&done))
		;
	assert_int_equal(vfio_device_num_vfs(pf), 2);
	assert_int_equal(set_numvfs(pf, 0), -ENOENT);
	assert_int_equal(set_numvfs(pf, 2), 0);
	assert_int_equal(vfio_device_bind(pf), -EBUSY);
	assert_int_equal(vfio_device_bind_to(pf, VFIO_DRIVER_MODEL), 0);
	assert_int_equal(vfio_device_bind_to(pf, VFIO_DRIVER_STUB), -EBUSY);
	/* The host's own driver takes them away when it goes. */
	assert_int_equal(vfio_device_unbind(pf, unbound, &done), 0);
	vfio_device_put(vf);
	while (sem_wait(&done))
		;
	assert_int_equal(vfio_device_num_vfs(pf), 0);
	assert_int_equal(vfio_device_bind(pf), 0);
	vfio_device_set_drivers_autoprobe(pf, true);
	assert_int_equal(set_numvfs(pf, 2), 0);
	/* And so does vfio-pci, having asked their users first. */
	assert_int_equal(user_open(&f, &a, "0000:01:00.1", NULL), -EACCES);
	assert_int_equal(vfio_device_unbind(pf, unbound, &done), 0);
	while (sem_wait(&done))
		;
	assert_int_equal(vfio_device_num_vfs(pf), 0);
	assert_int_equal(vfio_device_driver(pf), VFIO_DRIVER_NONE);
	vfio_device_put(pf);
	sem_destroy(&done);
	fixture_close(&f);
}

/* D.1: with acs=off one group, which the host's own driver makes unviable, and so does a stub. */
static void test_groups(void **state)
{
	struct vfio_device *pf;
	struct fixture f;
	struct user a;
	sem_t done;

	sem_init(&done, 0, 0);
	sriov_up(&f, "pcitest,vfs=8,driver=pci-pf-stub,acs=off,numvfs=2");
	pf = get(&f, PF_NAME);
	assert_int_equal(user_open(&f, &a, "0000:01:00.1", NULL), -EPERM);
	assert_int_equal(vfio_device_unbind(pf, unbound, &done), 0);
	while (sem_wait(&done))
		;
	assert_int_equal(user_open(&f, &a, "0000:01:00.1", NULL), 0);
	assert_int_equal(vfio_device_group(a.dev), vfio_device_group(pf));
	/* While a user has the group neither can come. */
	assert_int_equal(vfio_device_bind_to(pf, VFIO_DRIVER_MODEL), -EBUSY);
	assert_int_equal(vfio_device_bind_to(pf, VFIO_DRIVER_STUB), -EBUSY);
	user_close(&a);
	assert_int_equal(vfio_device_bind_to(pf, VFIO_DRIVER_MODEL), 0);
	assert_int_equal(user_open(&f, &a, "0000:01:00.1", NULL), -EPERM);
	vfio_device_put(pf);
	sem_destroy(&done);
	fixture_close(&f);
}

static void removed(void *arg, const char *name)
{
	sem_post(arg);
}

/* A PF that leaves, with VFs in use. */
static void test_removal(void **state)
{
	struct uvfio_error err;
	struct user pf, a;
	struct fixture f;
	int req, pf_req;
	sem_t done;

	sem_init(&done, 0, 0);
	sriov_up(&f, "pcitest,vfs=8,numvfs=3");
	assert_int_equal(user_open(&f, &pf, PF_NAME, "vf_token=" TOKEN), 0);
	assert_int_equal(user_open(&f, &a, "0000:01:00.2", "vf_token=" TOKEN), 0);
	req = user_irq(&f, &a, VFIO_PCI_REQ_IRQ_INDEX, 0);
	pf_req = user_irq(&f, &pf, VFIO_PCI_REQ_IRQ_INDEX, 0);
	assert_int_equal(vfio_machine_remove_device(f.machine, PF_NAME, VFIO_REMOVE_WAIT, removed,
						    &done, &err),
			 0);
	irq_wait(req);
	assert_false(irq_has(pf_req)); /* it is asked for when they have gone */
	assert_int_equal(set_numvfs(pf.dev, 2), -ENODEV);
	user_close(&a);
	irq_wait(pf_req);
	assert_int_equal(vfio_device_num_vfs(pf.dev), 0);
	user_close(&pf);
	while (sem_wait(&done))
		;
	assert_int_equal(vfio_machine_devices(f.machine, NULL, 0), 0);
	close(req);
	close(pf_req);

	/* One VF alone, and then the rest with its PF, which is pulled out. */
	fixture_add(&f, "pcitest,vfs=8,numvfs=3,addr=0000:01:00.0");
	assert_int_equal(user_open(&f, &pf, PF_NAME, "vf_token=" TOKEN), 0);
	assert_int_equal(user_open(&f, &a, "0000:01:00.2", "vf_token=" TOKEN), 0);
	assert_int_equal(vfio_machine_remove_device(f.machine, "0000:01:00.1", VFIO_REMOVE_WAIT,
						    removed, &done, &err),
			 0);
	while (sem_wait(&done))
		;
	assert_int_equal(vfio_device_num_vfs(pf.dev), 3);
	assert_null(vfio_device_get_vf(pf.dev, 0));
	req = user_irq(&f, &a, VFIO_PCI_REQ_IRQ_INDEX, 0);
	assert_int_equal(vfio_machine_remove_device(f.machine, PF_NAME, VFIO_REMOVE_SURPRISE,
						    removed, &done, &err),
			 0);
	irq_wait(req); /* after the cut */
	assert_int_equal(user_get(&a, 0, PCITEST_ID, 4), 0xffffffff);
	while (user_get(&pf, 0, PCITEST_ID, 4) != 0xffffffff) /* it has a thread of its own */
		sched_yield();
	user_close(&pf);
	user_close(&a);
	while (sem_wait(&done))
		;
	assert_int_equal(vfio_machine_devices(f.machine, NULL, 0), 0);
	close(req);
	sem_destroy(&done);
	fixture_close(&f);
}

/* D.2 and A.6: a VF does DMA of its own, in an address space of its own; and bus mastering of its
 * PF is no matter. */
static void test_dma(void **state)
{
	struct vfio_iommu_type1_dma_map map;
	struct user a, b;
	struct fixture f;
	int irq;

	sriov_up(&f, "pcitest,vfs=8,driver=pci-pf-stub,numvfs=3");
	assert_int_equal(user_open(&f, &a, "0000:01:00.1", NULL), 0);
	assert_int_equal(user_open(&f, &b, "0000:01:00.2", NULL), 0);
	irq = user_irq(&f, &a, VFIO_PCI_MSIX_IRQ_INDEX, 1);
	user_put(&a, 7, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	map = (struct vfio_iommu_type1_dma_map){.argsz = sizeof(map),
						.flags = VFIO_DMA_MAP_FLAG_READ |
							 VFIO_DMA_MAP_FLAG_WRITE,
						.vaddr = (uintptr_t)f.tc.mem,
						.iova = 0x10000,
						.size = 0x10000};
	assert_int_equal(
		vfio_container_ioctl(a.container, f.client, VFIO_IOMMU_MAP_DMA, (uintptr_t)&map),
		0);
	memset(f.tc.mem, 0x5a, 4096);
	user_put(&a, 0, PCITEST_DMA_ADDRESS, 8, 0x10000);
	user_put(&a, 0, PCITEST_DMA_LENGTH, 4, 4096);
	user_put(&a, 0, PCITEST_DMA_COMMAND, 4,
		 PCITEST_CMD_READ | PCITEST_CMD_IRQ | PCITEST_CMD_VECTOR(1));
	irq_wait(irq);
	assert_int_equal(user_get(&a, 0, PCITEST_DMA_STATUS, 4), PCITEST_DONE);
	assert_int_equal(user_get(&a, 2, 4092, 4), 0x5a5a5a5a);
	assert_int_equal(user_get(&b, 2, 4092, 4), 0);
	user_close(&a);
	user_close(&b);
	close(irq);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),  cmocka_unit_test(test_errors),
		cmocka_unit_test(test_vfs),    cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_keys),   cmocka_unit_test(test_use),
		cmocka_unit_test(test_users),  cmocka_unit_test(test_drivers),
		cmocka_unit_test(test_groups), cmocka_unit_test(test_removal),
		cmocka_unit_test(test_dma),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
