/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a PF's hardware does to its VFs, and theirs to their users: registers that the host writes,
 * power, resets, sizes of BARs, errors (A.5, A.7, A.10).
 */
#include "sriov_fixture.h"

#include "vfio/inject.h"
#include "vfio/machine_private.h"
#include "vfio/sriov_private.h"

#define VF0      "0000:01:00.1"
#define CONFIG   VFIO_PCI_CONFIG_REGION_INDEX
#define ON       (PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY)
#define VF_REBAR 0x24

/* A PF of vfio-pci's and its first VF, both with users. */
struct pair {
	struct fixture f;
	struct user pf, vf;
	int irq; /* of the VF's message 0 */
};

static void pair_up(struct pair *p, const char *spec)
{
	sriov_up(&p->f, spec);
	assert_int_equal(user_open(&p->f, &p->pf, PF_NAME, "vf_token=" TOKEN), 0);
	assert_int_equal(user_open(&p->f, &p->vf, VF0, "vf_token=" TOKEN), 0);
	user_put(&p->pf, CONFIG, PCI_COMMAND, 2, ON);
	user_put(&p->vf, CONFIG, PCI_COMMAND, 2, ON);
	p->irq = user_irq(&p->f, &p->vf, VFIO_PCI_MSIX_IRQ_INDEX, 0);
}

static void pair_down(struct pair *p)
{
	user_close(&p->vf);
	user_close(&p->pf);
	close(p->irq);
	fixture_close(&p->f);
}

/* The hardware's own config space. */
static uint32_t raw(struct vfio_device *dev, unsigned off, unsigned size)
{
	uint8_t bytes[PCI_EXT_CONFIG_SIZE];
	uint32_t value = 0;

	assert_true(vfio_device_hw_config(dev, bytes, true));
	memcpy(&value, bytes + off, size);
	return value;
}

static void host_put(struct vfio_device *dev, unsigned off, unsigned size, uint32_t value)
{
	assert_int_equal(vfio_device_host_config_write(dev, off, &value, size), 0);
}

static unsigned sriov_at(struct vfio_device *pf)
{
	return pci_find_ext_cap(vfio_device_func(pf), PCI_EXT_CAP_ID_SRIOV);
}

/* A transfer of the VF's: it ends with @status and @error. */
static void dma_is(struct pair *p, uint32_t status, uint32_t error)
{
	uint32_t before = (uint32_t)user_get(&p->vf, 0, PCITEST_DMA_COUNT, 4);

	user_put(&p->vf, 0, PCITEST_DMA_ADDRESS, 8, 0x10000);
	user_put(&p->vf, 0, PCITEST_DMA_LENGTH, 4, 64);
	user_put(&p->vf, 0, PCITEST_DMA_COMMAND, 4, PCITEST_CMD_READ);
	while (user_get(&p->vf, 0, PCITEST_DMA_COUNT, 4) == before)
		sched_yield();
	assert_int_equal(user_get(&p->vf, 0, PCITEST_DMA_STATUS, 4), status);
	if (status == PCITEST_FAILED)
		assert_int_equal(user_get(&p->vf, 0, PCITEST_DMA_ERROR, 4), error);
}

static void map_memory(struct pair *p)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)p->f.tc.mem,
		.iova = 0x10000,
		.size = 0x10000,
	};

	assert_int_equal(vfio_container_ioctl(p->vf.container, p->f.client, VFIO_IOMMU_MAP_DMA,
					      (uintptr_t)&map),
			 0);
}

/* ---- config space ---- */

/* What the host writes into any function when it is opened, reset and closed a VF does not keep. */
static void test_hardwired(void **state)
{
	struct vfio_device *vf;
	struct pair p;

	pair_up(&p, "pcitest,vfs=4,numvfs=1,vf_token=" TOKEN);
	vf = get(&p.f, VF0);
	assert_int_equal(raw(vf, PCI_VENDOR_ID, 4), UINT32_MAX);
	assert_int_equal(raw(vf, PCI_COMMAND, 2), PCI_COMMAND_MASTER);
	user_put(&p.vf, CONFIG, PCI_COMMAND, 2, UINT16_MAX);
	assert_int_equal(raw(vf, PCI_COMMAND, 2), PCI_COMMAND_MASTER);
	assert_int_equal(user_ioctl(&p.f, &p.vf, VFIO_DEVICE_RESET, NULL), 0);
	assert_int_equal(raw(vf, PCI_COMMAND, 2), PCI_COMMAND_MASTER);
	for (unsigned off = PCI_BASE_ADDRESS_0; off <= PCI_BASE_ADDRESS_5; off += 4)
		assert_int_equal(raw(vf, off, 4), 0);
	user_close(&p.vf);
	assert_int_equal(raw(vf, PCI_COMMAND, 2), 0);
	vfio_device_put(vf);
	pair_down(&p);
}

/* Memory stays enabled, but what others have of it goes with a write that clears the bit. */
static void test_memory_bit(void **state)
{
	struct vfio_device *vf, *pf;
	uint64_t epoch;
	struct pair p;

	pair_up(&p, "pcitest,vfs=4,numvfs=1,vf_token=" TOKEN);
	vf = get(&p.f, VF0);
	pf = get(&p.f, PF_NAME);
	epoch = atomic_load(&vf->memory.epoch);
	user_put(&p.vf, CONFIG, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	assert_int_equal(user_get(&p.vf, 0, PCITEST_ID, 4), PCITEST_MAGIC);
	assert_int_equal(user_get(&p.vf, CONFIG, PCI_COMMAND, 2), PCI_COMMAND_MASTER);
	/* Away, and there again. */
	assert_true(atomic_load(&vf->memory.epoch) == epoch + 2);
	user_put(&p.vf, CONFIG, PCI_COMMAND, 2, ON);
	assert_true(atomic_load(&vf->memory.epoch) == epoch + 2);
	assert_false(device_memory_away(&vf->memory));
	/* The PF's own does not concern it. */
	user_put(&p.pf, CONFIG, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	assert_true(device_memory_away(&pf->memory));
	assert_int_equal(user_get(&p.vf, 0, PCITEST_ID, 4), PCITEST_MAGIC);
	assert_true(atomic_load(&vf->memory.epoch) == epoch + 2);
	vfio_device_put(vf);
	vfio_device_put(pf);
	pair_down(&p);
}

/* VF MSE and VF Enable, written by the host behind everybody's back. */
static void test_host_bits(void **state)
{
	struct vfio_device *pf;
	struct pair p;
	unsigned ctrl;
	uint16_t both;

	pair_up(&p, "pcitest,vfs=4,numvfs=1,vf_token=" TOKEN);
	map_memory(&p);
	pf = get(&p.f, PF_NAME);
	ctrl = sriov_at(pf) + PCI_SRIOV_CTRL;
	both = (uint16_t)raw(pf, ctrl, 2);
	assert_int_equal(both & (PCI_SRIOV_CTRL_VFE | PCI_SRIOV_CTRL_MSE),
			 PCI_SRIOV_CTRL_VFE | PCI_SRIOV_CTRL_MSE);
	user_put(&p.vf, 0, PCITEST_SCRATCH, 8, 1);
	dma_is(&p, PCITEST_DONE, 0);

	host_put(pf, ctrl, 2, both & ~PCI_SRIOV_CTRL_MSE);
	assert_int_equal(user_get(&p.vf, 0, PCITEST_ID, 4), UINT32_MAX);
	user_put(&p.vf, 0, PCITEST_SCRATCH, 8, 2);
	/* The user is not told. */
	assert_int_equal(user_get(&p.vf, CONFIG, PCI_COMMAND, 2), ON);
	host_put(pf, ctrl, 2, both);
	assert_int_equal(user_get(&p.vf, 0, PCITEST_SCRATCH, 8), 1);
	dma_is(&p, PCITEST_DONE, 0);

	host_put(pf, ctrl, 2, both & ~PCI_SRIOV_CTRL_VFE);
	assert_int_equal(user_get(&p.vf, 0, PCITEST_ID, 4), UINT32_MAX);
	assert_false(atomic_load(&p.vf.dev->dma_on));
	/* None has gone, and another number is not taken up. */
	host_put(pf, sriov_at(pf) + PCI_SRIOV_NUM_VF, 2, 3);
	host_put(pf, ctrl, 2, both);
	assert_int_equal(vfio_device_num_vfs(pf), 1);
	assert_null(vfio_machine_get_device(p.f.machine, "0000:01:00.2"));
	assert_int_equal(user_get(&p.vf, 0, PCITEST_SCRATCH, 8), 1);
	dma_is(&p, PCITEST_DONE, 0);
	/* A reset brings the host's number back. */
	assert_int_equal(vfio_device_host_reset(pf), 0);
	assert_int_equal(raw(pf, sriov_at(pf) + PCI_SRIOV_NUM_VF, 2), 1);
	vfio_device_put(pf);
	pair_down(&p);
}

/* ---- power ---- */

static void test_held(void **state)
{
	struct vfio_device *pf;
	uint64_t epoch;
	struct pair p;
	unsigned pm;

	pair_up(&p, "pcitest,vfs=4,numvfs=1,vf_token=" TOKEN);
	pf = get(&p.f, PF_NAME);
	pm = pci_find_cap(vfio_device_func(pf), PCI_CAP_ID_PM) + PCI_PM_CTRL;
	user_put(&p.pf, 0, PCITEST_SCRATCH, 8, 7);
	epoch = atomic_load(&pf->memory.epoch);
	user_put(&p.pf, CONFIG, pm, 2, 3);
	assert_int_equal(user_get(&p.pf, CONFIG, pm, 2) & 3, 0);
	assert_int_equal(user_get(&p.pf, 0, PCITEST_SCRATCH, 8), 7);
	assert_true(atomic_load(&pf->memory.epoch) == epoch + 2);
	/* D1 would not have taken its memory away. */
	user_put(&p.pf, CONFIG, pm, 2, 1);
	assert_int_equal(user_get(&p.pf, CONFIG, pm, 2) & 3, 0);
	assert_true(atomic_load(&pf->memory.epoch) == epoch + 2);
	/* A VF's state is its own. */
	pm = pci_find_cap(vfio_device_func(p.vf.dev), PCI_CAP_ID_PM) + PCI_PM_CTRL;
	user_put(&p.vf, CONFIG, pm, 2, 3);
	assert_int_equal(user_get(&p.vf, CONFIG, pm, 2) & 3, 3);
	assert_int_equal(user_get(&p.pf, 0, PCITEST_SCRATCH, 8), 7);
	vfio_device_put(pf);
	pair_down(&p);
}

/* One that sleeps is woken when VFs are made, and sleeps again when they have gone. */
static void test_sleeper(void **state)
{
	struct {
		struct vfio_device_feature head;
		struct vfio_device_low_power_entry_with_wakeup wakeup;
	} entry = {
		.head = {.argsz = sizeof(struct vfio_device_feature),
			 .flags = VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY},
	};
	struct vfio_device *dev;
	struct fixture f;
	struct user pf;
	int fd;

	sriov_up(&f, "pcitest,vfs=4");
	assert_int_equal(user_open(&f, &pf, PF_NAME, NULL), 0);
	dev = get(&f, PF_NAME);
	assert_int_equal(user_ioctl(&f, &pf, VFIO_DEVICE_FEATURE, &entry), 0);
	/* Whose call it was: the door's to say. */
	device_access_begin(dev);
	device_access_end(dev);
	assert_true(vfio_device_suspended(dev));
	assert_int_equal(set_numvfs(dev, 2), 0);
	assert_false(vfio_device_suspended(dev));
	assert_int_equal(pci_power_state(vfio_device_func(dev)), 0);
	device_access_begin(dev);
	device_access_end(dev);
	assert_false(vfio_device_suspended(dev));
	assert_int_equal(set_numvfs(dev, 0), 0);
	assert_true(vfio_device_suspended(dev));
	assert_int_equal(pci_power_state(vfio_device_func(dev)), 3);
	entry.head.flags = VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_LOW_POWER_EXIT;
	assert_int_equal(user_ioctl(&f, &pf, VFIO_DEVICE_FEATURE, &entry), 0);

	/* With an eventfd that ends it. */
	fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	entry.head.argsz = sizeof(entry);
	entry.head.flags =
		VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP;
	entry.wakeup.wakeup_eventfd = fd;
	assert_int_equal(user_ioctl(&f, &pf, VFIO_DEVICE_FEATURE, &entry), 0);
	device_access_begin(dev);
	device_access_end(dev);
	if (!irq_has(fd)) {
		assert_int_equal(set_numvfs(dev, 1), 0);
		irq_wait(fd);
	}
	assert_false(vfio_device_suspended(dev));
	close(fd);
	vfio_device_put(dev);
	user_close(&pf);
	fixture_close(&f);
}

/* ---- resets ---- */

struct resetter {
	struct vfio_device *pf;
	atomic_bool stop;
	atomic_uint resets;
};

static void *reset_again(void *arg)
{
	struct resetter *r = arg;

	while (!atomic_load(&r->stop)) {
		assert_int_equal(vfio_device_host_reset(r->pf), 0);
		atomic_fetch_add(&r->resets, 1);
	}
	return NULL;
}

/* A VF's user goes on while its PF is reset, again and again: when that is over the VF does what
 * its registers say. */
static void test_reset_race(void **state)
{
	struct resetter r = {0};
	pthread_t thread;
	struct pair p;

	pair_up(&p, "pcitest,vfs=4,numvfs=2,vf_token=" TOKEN);
	map_memory(&p);
	r.pf = get(&p.f, PF_NAME);
	assert_int_equal(pthread_create(&thread, NULL, reset_again, &r), 0);
	while (atomic_load(&r.resets) < 50) {
		user_put(&p.vf, CONFIG, PCI_COMMAND, 2, 0);
		user_put(&p.vf, CONFIG, PCI_COMMAND, 2, ON);
		user_put(&p.vf, 0, PCITEST_SCRATCH, 8, 1);
	}
	atomic_store(&r.stop, true);
	pthread_join(thread, NULL);
	assert_int_equal(user_get(&p.vf, 0, PCITEST_ID, 4), PCITEST_MAGIC);
	assert_int_equal(p.vf.dev->running, !!(raw(p.vf.dev, PCI_COMMAND, 2) & PCI_COMMAND_MASTER));
	user_put(&p.vf, CONFIG, PCI_COMMAND, 2, ON);
	dma_is(&p, PCITEST_DONE, 0);
	vfio_device_put(r.pf);
	pair_down(&p);
}

/* After a fatal error the bus is reset, and nobody puts back what an open PF has lost: its VFs have
 * gone from the bus until a reset of the PF. */
static void test_fatal(void **state)
{
	const struct vfio_aer aer = {.status = PCI_ERR_UNC_MALF_TLP};
	enum vfio_aer_outcome outcome;
	struct uvfio_error err;
	struct pair p;
	int pf_err, vf_err;

	pair_up(&p, "pcitest,vfs=4,numvfs=1,vf_token=" TOKEN);
	pf_err = user_irq(&p.f, &p.pf, VFIO_PCI_ERR_IRQ_INDEX, 0);
	vf_err = user_irq(&p.f, &p.vf, VFIO_PCI_ERR_IRQ_INDEX, 0);
	/* In the VF, by the PF's registers. */
	assert_int_equal(vfio_device_inject_aer(p.vf.dev, &aer, &outcome, &err), 0);
	assert_int_equal(outcome, VFIO_AER_FATAL);
	irq_wait(pf_err);
	irq_wait(vf_err);
	assert_int_equal(raw(p.pf.dev, sriov_at(p.pf.dev) + PCI_SRIOV_CTRL, 2), 0);
	assert_int_equal(user_get(&p.vf, 0, PCITEST_ID, 4), UINT32_MAX);
	assert_int_equal(vfio_device_num_vfs(p.pf.dev), 1);
	assert_int_equal(user_ioctl(&p.f, &p.pf, VFIO_DEVICE_RESET, NULL), 0);
	assert_int_equal(user_get(&p.vf, 0, PCITEST_ID, 4), PCITEST_MAGIC);
	close(pf_err);
	close(vf_err);
	pair_down(&p);
}

/* ---- sizes of BARs ---- */

static uint64_t region_size(struct fixture *f, struct user *u, unsigned index)
{
	struct vfio_region_info info = {.argsz = sizeof(info), .index = index};

	assert_int_equal(user_ioctl(f, u, VFIO_DEVICE_GET_REGION_INFO, &info), 0);
	return info.size;
}

static bool apart(const struct vfio_device *pf, unsigned a, unsigned b)
{
	return pf->vf_bars[a].end <= pf->vf_bars[b].first ||
	       pf->vf_bars[b].end <= pf->vf_bars[a].first;
}

static void test_resize(void **state)
{
	struct vfio_device *pf;
	struct fixture f;
	struct user vf;
	unsigned rebar;
	uint64_t size;

	sriov_up(&f, "pcitest,vfs=4,vf-memory=1M,vf-resize=16M,driver=pci-pf-stub");
	/* What comes behind it is not to be run over. */
	fixture_add(&f, "pcitest,memory=2M");
	pf = get(&f, PF_NAME);
	rebar = pci_find_ext_cap(vfio_device_func(pf), VF_REBAR);
	assert_int_not_equal(rebar, 0);
	assert_int_equal(raw(pf, rebar + 4, 4), 0x1f0);
	assert_int_equal(set_numvfs(pf, 4), 0);
	host_put(pf, rebar + 8, 4, 3 << 8 | 1 << 5 | 2);
	assert_int_equal(raw(pf, rebar + 8, 4) >> 8, 0);
	assert_int_equal(user_open(&f, &vf, VF0, NULL), 0);
	assert_int_equal(region_size(&f, &vf, 2), 1 << 20);
	user_close(&vf);
	assert_int_equal(set_numvfs(pf, 0), 0);

	host_put(pf, rebar + 8, 4, 4 << 8 | 1 << 5 | 2);
	assert_int_equal(set_numvfs(pf, 4), 0);
	assert_true(vfio_device_vf_bar(pf, 2, &size) == pf->vf_bars[2].first);
	assert_true(size == 4ull << 24);
	assert_true(pf->vf_bars[2].first % (16 << 20) == 0);
	assert_true(apart(pf, 0, 2));
	assert_int_equal(raw(pf, sriov_at(pf) + PCI_SRIOV_BAR + 8, 4),
			 (uint32_t)pf->vf_bars[2].first | 12);
	assert_int_equal(user_open(&f, &vf, VF0, NULL), 0);
	assert_int_equal(region_size(&f, &vf, 2), 16 << 20);
	user_put(&vf, CONFIG, PCI_BASE_ADDRESS_2, 4, UINT32_MAX);
	assert_int_equal(user_get(&vf, CONFIG, PCI_BASE_ADDRESS_2, 4), 0xff00000c);
	/* The model's memory, and nothing behind it. */
	user_put(&vf, 2, (1 << 20) - 8, 8, 0x5a);
	assert_int_equal(user_get(&vf, 2, (1 << 20) - 8, 8), 0x5a);
	user_put(&vf, 2, (16 << 20) - 8, 8, 0x5a);
	assert_int_equal(user_get(&vf, 2, (16 << 20) - 8, 8), 0);
	user_close(&vf);

	/* A reset keeps it. */
	assert_int_equal(vfio_device_host_reset(pf), 0);
	assert_int_equal(raw(pf, rebar + 8, 4) >> 8, 4);
	assert_int_equal(raw(pf, sriov_at(pf) + PCI_SRIOV_BAR + 8, 4),
			 (uint32_t)pf->vf_bars[2].first | 12);
	vfio_device_put(pf);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hardwired), cmocka_unit_test(test_memory_bit),
		cmocka_unit_test(test_host_bits), cmocka_unit_test(test_held),
		cmocka_unit_test(test_sleeper),   cmocka_unit_test(test_reset_race),
		cmocka_unit_test(test_fatal),     cmocka_unit_test(test_resize),
	};

	return cmocka_run_group_tests_name("vf_hardware", tests, NULL, NULL);
}
