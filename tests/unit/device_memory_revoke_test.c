/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * src/vfio/device_memory.c: the memory of a device goes away, or the device, or who uses it, before
 * a transfer and in the midst of it (D.4).
 */
#include <linux/pci_regs.h>
#include "p2p_fixture.h"
#include "vfio/host.h"
#include "vfio/inject.h"

/* ---- the memory goes away ---- */

static void expect_fault(struct p2p *p, uint64_t iova, enum iommu_fault_reason reason)
{
	struct vfio_fault_record fault;
	struct vfio_device_stats stats;
	uint64_t total, before;

	vfio_device_faults(p->dev[0], &fault, 1, &before);
	assert_int_equal(p2p_command(p, 0, CMD_WRITE, iova, 16), -EIO);
	assert_int_equal(vfio_device_faults(p->dev[0], &fault, 1, &total), 1);
	assert_int_equal(total, before + 1);
	assert_int_equal(fault.number, total);
	assert_int_equal(fault.fault.reason, reason);
	assert_int_equal(fault.fault.iova, iova);
	assert_int_equal(fault.fault.len, 16);
	assert_true(fault.fault.write);
	assert_int_equal(fault.result, -EIO);
	vfio_device_stats(p->dev[0], &stats);
	assert_int_equal(stats.faults, total);
}

static void write_config(struct p2p *p, unsigned off, unsigned size, uint32_t value)
{
	config_put(p2p_at(p, 1), off, size, value);
}

static unsigned cap_of(struct p2p *p, unsigned id)
{
	return pci_find_cap(vfio_device_func(p->dev[1]), (uint8_t)id);
}

static void decode_off(struct p2p *p)
{
	write_config(p, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
}

static void decode_on(struct p2p *p)
{
	write_config(p, PCI_COMMAND, 2, COMMAND_ON);
}

static void to_d3(struct p2p *p)
{
	write_config(p, cap_of(p, PCI_CAP_ID_PM) + PCI_PM_CTRL, 2, 3);
}

static void to_d0(struct p2p *p)
{
	write_config(p, cap_of(p, PCI_CAP_ID_PM) + PCI_PM_CTRL, 2, 0);
}

static void reset(struct p2p *p)
{
	assert_int_equal(dev_ioctl(p2p_at(p, 1), VFIO_DEVICE_RESET, NULL), 0);
}

static void flr(struct p2p *p)
{
	write_config(p, cap_of(p, PCI_CAP_ID_EXP) + PCI_EXP_DEVCTL, 2, PCI_EXP_DEVCTL_BCR_FLR);
}

static void hot_reset(struct p2p *p)
{
	struct {
		struct vfio_pci_hot_reset head;
		int32_t fd;
	} req = {{.argsz = sizeof(req), .count = 1}, 1002};

	assert_int_equal(dev_ioctl(p2p_at(p, 1), VFIO_DEVICE_PCI_HOT_RESET, &req), 0);
}

static void host_reset(struct p2p *p)
{
	assert_int_equal(vfio_device_host_reset(p->dev[1]), 0);
}

static void feature(struct p2p *p, unsigned index)
{
	struct vfio_device_feature arg = {sizeof(arg), VFIO_DEVICE_FEATURE_SET | index};

	assert_int_equal(dev_ioctl(p2p_at(p, 1), VFIO_DEVICE_FEATURE, &arg), 0);
}

static void low_power(struct p2p *p)
{
	feature(p, VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY);
}

static void awake(struct p2p *p)
{
	feature(p, VFIO_DEVICE_FEATURE_LOW_POWER_EXIT);
}

static void fatal_error(struct p2p *p)
{
	const struct vfio_aer aer = {.status = PCI_ERR_UNC_DLP};
	enum vfio_aer_outcome outcome;
	struct uvfio_error err;

	assert_int_equal(vfio_device_inject_aer(p->dev[1], &aer, &outcome, &err), 0);
	assert_int_equal(outcome, VFIO_AER_FATAL);
}

/* Whatever takes the memory away, transfers fault and do not land; they work again when it is back,
 * but for those that are latched. */
static void test_revoked(void **state)
{
	static const struct {
		const char *what;
		void (*away)(struct p2p *p);
		void (*back)(struct p2p *p); /* NULL: it is when the call returns */
	} causes[] = {
		{"decode", decode_off, decode_on},
		{"D3hot", to_d3, to_d0},
		{"RESET", reset, NULL},
		{"FLR", flr, NULL},
		{"hot reset", hot_reset, NULL},
		{"the host's reset", host_reset, NULL},
		{"low power", low_power, awake},
		{"a fatal error", fatal_error, decode_on},
	};
	static const struct vfio_export_range range = {4096, 4096};

	for (unsigned view = 0; view < 2; view++) {
		for (unsigned i = 0; i < sizeof(causes) / sizeof(causes[0]); i++) {
			struct vfio_device_export *export;
			const uint8_t zeros[16] = {0};
			struct iommu_mem mem;
			struct p2p p;
			struct stat st;

			p2p_up(&p, "probe,memory=on", "probe,memory=on");
			/* With a view and without: an export needs none. */
			if (view)
				assert_int_equal(p2p_map(&p, IOVA_P2P, BAR_OF(1, 2), 8192, ALL), 0);
			assert_int_equal(fstat(p.f.tc.fd, &st), 0); /* any file will do */
			assert_int_equal(
				vfio_export_new(p.dev[1], 2, &range, 1, range.len, &st, &export),
				0);
			assert_false(vfio_export_revoked(export));
			assert_int_equal(vfio_export_memory(export, 0, 4096, &mem), 0);
			assert_int_equal(iommu_map(atomic_load(&p.dev[0]->space), 0x400000, 4096, 3,
						   &mem, 1),
					 0);
			vfio_device_memory_put(&mem);
			memset(p.probe[0]->buf, 0x5a, 16);
			assert_int_equal(p2p_command(&p, 0, CMD_WRITE, 0x400000, 16), 0);
			memory_is(&p, 1, 4096, p.probe[0]->buf, 16);
			memset(p.probe[0]->buf, 0x77, 16);

			causes[i].away(&p);
			expect_fault(&p, 0x400000, IOMMU_FAULT_REVOKED);
			if (causes[i].back) {
				assert_true(vfio_export_revoked(export));
				assert_int_equal(vfio_export_memory(export, 0, 4096, &mem),
						 -ENODEV);
			}
			if (view && causes[i].back) {
				expect_fault(&p, IOVA_P2P, IOMMU_FAULT_REVOKED);
				assert_int_equal(p2p_map(&p, 0x500000, BAR_OF(1, 2), 4096, ALL),
						 -EFAULT);
			}
			if (causes[i].back)
				causes[i].back(&p);
			memory_is(&p, 1, 0, zeros, 16);
			assert_false(vfio_export_revoked(export));
			expect_fault(&p, 0x400000, IOMMU_FAULT_REVOKED);
			if (view) {
				assert_int_equal(p2p_command(&p, 0, CMD_WRITE, IOVA_P2P, 16), 0);
				memory_is(&p, 1, 0, p.probe[0]->buf, 16);
			}
			/* Mapped anew, it works. */
			assert_int_equal(dma_unmap(&p.f, 0x400000, 4096, NULL), 0);
			assert_int_equal(vfio_export_memory(export, 0, 4096, &mem), 0);
			assert_int_equal(iommu_map(atomic_load(&p.dev[0]->space), 0x400000, 4096, 3,
						   &mem, 1),
					 0);
			vfio_device_memory_put(&mem);
			assert_int_equal(p2p_command(&p, 0, CMD_WRITE, 0x400000, 16), 0);
			memory_is(&p, 1, 4096, p.probe[0]->buf, 16);
			vfio_export_put(export);
			/* An export that nobody holds any more still backs what was mapped. */
			assert_int_equal(p2p_command(&p, 0, CMD_WRITE, 0x400000, 16), 0);
			p2p_down(&p);
		}
	}
}

/* ---- in the midst of it ---- */

/* Device 0 begins to write, and device 1 does not get to it. */
static void begin_write(struct p2p *p, uint64_t iova, uint32_t len)
{
	struct fixture *f = p2p_at(p, 0);

	p2p_occupy(p, true);
	bar_put(f, 0, REG_DMA_IOVA, 8, iova);
	bar_put(f, 0, REG_DMA_LEN, 4, len);
	bar_put(f, 0, REG_DMA_CMD, 4, CMD_WRITE);
	uvfio_ctx_flush(uvfio_device_ctx(p->probe[0]->dev));
	p2p_occupy(p, false);
	assert_int_equal(p2p_done(p->probe[0]), 0);
}

static int end_write(struct p2p *p)
{
	for (unsigned i = 0; !p2p_done(p->probe[0]); i++) {
		assert_true(i < 100000);
		uvfio_ctx_flush(uvfio_device_ctx(p->probe[1]->dev));
		uvfio_ctx_flush(uvfio_device_ctx(p->probe[0]->dev));
	}
	return -(int)bar_get(p2p_at(p, 0), 0, REG_DMA_STATUS, 4);
}

static void *decode_off_thread(void *arg)
{
	const uint16_t command = PCI_COMMAND_MASTER;
	struct p2p *p = arg;

	vfio_device_write(p->df[1], VFIO_REGION_OFFSET(VFIO_PCI_CONFIG_REGION_INDEX) + PCI_COMMAND,
			  &command, 2);
	return NULL;
}

/* It is with the owner when the memory goes off. */
static void test_revoked_in_flight(void **state)
{
	struct vfio_fault_record fault;
	const uint8_t zeros[16] = {0};
	uint8_t byte;
	struct blocker b;
	pthread_t thread;
	uint64_t total;
	struct p2p p;

	p2p_up(&p, "probe,memory=on", "probe,memory=on");
	assert_int_equal(p2p_map(&p, IOVA_P2P, BAR_OF(1, 2), 8192, ALL), 0);
	memset(p.probe[0]->buf, 0x5a, 16);
	hold_up(&p, 1, &b);
	begin_write(&p, IOVA_P2P, 16);
	assert_int_equal(pthread_create(&thread, NULL, decode_off_thread, &p), 0);
	while (vfio_device_read(p.df[1], VFIO_REGION_OFFSET(2), &byte, 1) == 1)
		sched_yield();
	let_go(&p, 1, &b);
	pthread_join(thread, NULL);
	assert_int_equal(end_write(&p), -EIO);
	assert_int_equal(vfio_device_faults(p.dev[0], &fault, 1, &total), 1);
	assert_int_equal(fault.fault.reason, IOMMU_FAULT_REVOKED);
	decode_on(&p);
	memory_is(&p, 1, 0, zeros, 16);
	p2p_down(&p);
}

/* What is unmapped does not wait for an owner that is busy, and does not land afterwards; likewise
 * when the initiator becomes quiet. */
static void test_taken_back(void **state)
{
	static const struct {
		const char *what;
		int ret;
		enum iommu_fault_reason reason;
	} rows[] = {
		{"unmap", -EFAULT, IOMMU_FAULT_UNMAPPED},
		{"bus mastering", -EPERM, IOMMU_FAULT_BUS_MASTER},
		{"attach", -EPERM, IOMMU_FAULT_BUS_MASTER},
	};

	for (unsigned i = 0; i < 3; i++) {
		struct vfio_fault_record fault;
		const uint8_t zeros[16] = {0};
		struct blocker b;
		uint64_t total;
		struct p2p p;

		p2p_up(&p, "probe,memory=on", "probe,memory=on");
		assert_int_equal(p2p_map(&p, IOVA_P2P, BAR_OF(1, 2), 8192, ALL), 0);
		memset(p.probe[0]->buf, 0x5a, 16);
		hold_up(&p, 1, &b);
		begin_write(&p, IOVA_P2P, 16);
		if (i == 0)
			assert_int_equal(dma_unmap(&p.f, IOVA_P2P, 8192, NULL), 0);
		else if (i == 1)
			config_put(p2p_at(&p, 0), PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
		else
			device_set_space(p.dev[0], atomic_load(&p.dev[0]->space), NULL);
		uvfio_ctx_flush(uvfio_device_ctx(p.probe[0]->dev));
		assert_int_equal(p2p_done(p.probe[0]), 1);
		assert_int_equal(end_write(&p), rows[i].ret);
		assert_int_equal(vfio_device_faults(p.dev[0], &fault, 1, &total), 1);
		assert_int_equal(fault.fault.reason, rows[i].reason);
		let_go(&p, 1, &b);
		memory_is(&p, 1, 0, zeros, 16);
		p2p_down(&p);
	}
}

static struct {
	sem_t entered, leave;
	atomic_bool left;
} callback;

static uint64_t slow_read(void *priv, unsigned bar, uint64_t off, unsigned size)
{
	sem_post(&callback.entered);
	while (sem_wait(&callback.leave))
		;
	callback.left = true;
	return 1;
}

static void *unmap_thread(void *arg)
{
	struct p2p *p = arg;

	assert_int_equal(dma_unmap(&p->f, IOVA_P2P, 4096, NULL), 0);
	/* What was going on has ended. */
	assert_true(callback.left);
	return NULL;
}

/* An unmap waits for the callback that is going on. */
static void test_unmap_in_callback(void **state)
{
	struct uvfio_model model = probe_model;
	const struct uvfio_model *old;
	pthread_t thread;
	struct fixture *f;
	struct p2p p;

	p2p_up(&p, "probe", "probe");
	model.reg_read = slow_read;
	old = p.dev[1]->model;
	p.dev[1]->model = &model;
	sem_init(&callback.entered, 0, 0);
	sem_init(&callback.leave, 0, 0);
	callback.left = false;
	assert_int_equal(p2p_map(&p, IOVA_P2P, BAR_OF(1, 0), 4096, ALL), 0);
	f = p2p_at(&p, 0);
	bar_put(f, 0, REG_DMA_IOVA, 8, IOVA_P2P + REG_COUNTER);
	bar_put(f, 0, REG_DMA_LEN, 4, 8);
	bar_put(f, 0, REG_DMA_CMD, 4, CMD_READ);
	while (sem_wait(&callback.entered))
		;
	assert_int_equal(pthread_create(&thread, NULL, unmap_thread, &p), 0);
	/* Until it is out of the table, so that it is about to wait, or does. */
	while (iommu_mapping_count(atomic_load(&p.dev[0]->space)) > 1)
		sched_yield();
	sem_post(&callback.leave);
	pthread_join(thread, NULL);
	end_write(&p);
	p.dev[1]->model = old;
	p2p_down(&p);
	sem_destroy(&callback.entered);
	sem_destroy(&callback.leave);
}

/* ---- the owner goes ---- */

static void removed(void *arg, const char *name)
{
	sem_post(arg);
}

/* Closed, or pulled out: gone for good, also when it is opened again; to unmap succeeds. */
static void test_owner_gone(void **state)
{
	enum { CLOSED, PULLED_OUT, TAKEN_AWAY, NR };

	for (unsigned i = 0; i < NR; i++) {
		struct uvfio_error err;
		uint64_t unmapped;
		sem_t done;
		struct p2p p;

		sem_init(&done, 0, 0);
		p2p_up(&p, "probe,memory=on", "probe,memory=on");
		assert_int_equal(p2p_map(&p, IOVA_P2P, BAR_OF(1, 2), 8192, ALL), 0);
		assert_int_equal(p2p_command(&p, 0, CMD_WRITE, IOVA_P2P, 16), 0);
		if (i != CLOSED)
			assert_int_equal(vfio_machine_remove_device(
						 p.f.machine, "0000:02:00.0",
						 i == PULLED_OUT ? VFIO_REMOVE_SURPRISE : 0,
						 removed, &done, &err),
					 0);
		while (i != CLOSED && atomic_load(&p.dev[1]->state) != DEVICE_CUT)
			sched_yield();
		/* Whoever has set that still has the lock. */
		pthread_mutex_lock(&p.dev[1]->config_lock);
		pthread_mutex_unlock(&p.dev[1]->config_lock);
		if (i != CLOSED) {
			expect_fault(&p, IOVA_P2P, IOMMU_FAULT_GONE);
			assert_int_equal(p2p_map(&p, 0x500000, BAR_OF(1, 2), 4096, ALL), -EFAULT);
		}
		p2p_shut(&p, 1);
		if (i == CLOSED) {
			expect_fault(&p, IOVA_P2P, IOMMU_FAULT_GONE);
			p2p_open(&p, 1);
			assert_int_equal(p2p_map(&p, 0x500000, BAR_OF(1, 2), 8192, ALL), 0);
			expect_fault(&p, IOVA_P2P, IOMMU_FAULT_GONE);
			assert_int_equal(p2p_command(&p, 0, CMD_WRITE, 0x500000, 16), 0);
		} else {
			while (sem_wait(&done))
				;
			p.probe[1] = p.probe[0]; /* whose context p2p_command() runs */
			expect_fault(&p, IOVA_P2P, IOMMU_FAULT_GONE);
		}
		assert_int_equal(dma_unmap(&p.f, IOVA_P2P, 8192, &unmapped), 0);
		assert_int_equal(unmapped, 8192);
		p2p_down(&p);
		sem_destroy(&done);
	}
}

/* The owner is closed while transfers are with it. */
static void test_closed_in_flight(void **state)
{
	struct blocker b;
	struct p2p p;

	p2p_up(&p, "probe,memory=on", "probe,memory=on");
	assert_int_equal(p2p_map(&p, IOVA_P2P, BAR_OF(1, 2), 8192, ALL), 0);
	hold_up(&p, 1, &b);
	begin_write(&p, IOVA_P2P, 16);
	sem_post(&b.leave); /* or the close would wait for it */
	p2p_shut(&p, 1);
	for (unsigned i = 0; !p2p_done(p.probe[0]); i++) {
		assert_true(i < 100000);
		uvfio_ctx_flush(uvfio_device_ctx(p.probe[0]->dev));
	}
	p2p_down(&p);
}

/* While a reset goes on it can be mapped, and faults. */
static void *reset_thread(void *arg)
{
	struct p2p *p = arg;
	int *ret = malloc(sizeof(*ret));

	assert_non_null(ret);
	*ret = vfio_device_ioctl(p->df[1], p->f.client, VFIO_DEVICE_RESET, 0);
	return ret;
}

static void test_in_reset(void **state)
{
	struct vfio_bus_state bus = {0};
	pthread_t thread;
	struct p2p p;
	void *ret;

	p2p_up(&p, "probe,memory=on", "probe,memory=on");
	assert_int_equal(p2p_map(&p, IOVA_P2P, BAR_OF(1, 2), 4096, ALL), 0);
	vfio_device_inject_stuck_resets(p.dev[1], 1, VFIO_STUCK_MAX_NS);
	assert_int_equal(pthread_create(&thread, NULL, reset_thread, &p), 0);
	while (!bus.resetting) {
		sched_yield();
		vfio_device_bus_state(p.dev[1], &bus);
	}
	expect_fault(&p, IOVA_P2P, IOMMU_FAULT_REVOKED);
	vfio_device_inject_nothing(p.dev[1]);
	pthread_join(thread, &ret);
	assert_int_equal(*(int *)ret, -ENOTTY);
	free(ret);
	assert_int_equal(p2p_command(&p, 0, CMD_WRITE, IOVA_P2P, 16), 0);
	p2p_down(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_revoked),           cmocka_unit_test(test_in_reset),
		cmocka_unit_test(test_revoked_in_flight), cmocka_unit_test(test_taken_back),
		cmocka_unit_test(test_unmap_in_callback), cmocka_unit_test(test_owner_gone),
		cmocka_unit_test(test_closed_in_flight),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
