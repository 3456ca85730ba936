/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * src/vfio/device_memory.c: transfers whose memory is a BAR, of another device or of the same
 * (D.4).
 */
#include "p2p_fixture.h"
#include "vfio/host.h"

/* Both ways, into another device's memory and into its own, aligned or not. */
static void test_data(void **state)
{
	static const struct {
		uint32_t off, len;
	} table[] = {{0, 8192}, {0, 1}, {4095, 2}, {7, 4097}, {8191, 1}, {64, 64}, {3, 61}};
	struct p2p p;

	p2p_up(&p, "probe,memory=on", "probe,memory=on");
	for (unsigned round = 0; round < 3; round++) {
		unsigned n = round != 1; /* whose memory */
		uint64_t iova = IOVA_P2P + round * 0x10000;

		p.by_messages = round == 2;
		assert_int_equal(p2p_map(&p, iova, BAR_OF(n, 2), 8192, ALL), 0);
		for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
			uint32_t off = table[i].off, len = table[i].len;
			uint8_t data[8192];

			for (unsigned k = 0; k < len; k++)
				data[k] = p.probe[0]->buf[k] =
					(uint8_t)(k * 7 + i + round * 31 + k / 251);
			assert_int_equal(p2p_command(&p, 0, CMD_WRITE, iova + off, len), 0);
			memory_is(&p, n, off, data, len);
			memset(p.probe[0]->buf, 0xee, sizeof(p.probe[0]->buf));
			assert_int_equal(p2p_command(&p, 0, CMD_READ, iova + off, len), 0);
			assert_memory_equal(p.probe[0]->buf, data, len);
		}
	}
	p2p_down(&p);
}

/* ---- registers ---- */

struct stores {
	unsigned nr, sizes;
};

static void observe_stores(void *arg, const struct vfio_event *event)
{
	struct stores *stores = arg;

	if (event->kind != VFIO_EVENT_STORE || strcmp(event->device, "0000:02:00.0"))
		return;
	stores->nr++;
	stores->sizes += (unsigned)event->b;
}

/* Cut into naturally aligned pieces, in order, each once; who looks on is told of each. */
static void test_registers(void **state)
{
	static const uint32_t want[][3] = {
		{0x09, 1, 0x01},       {0x0a, 2, 0x0302}, {0x0c, 4, 0x07060504},
		{0x10, 8, 0x0b0a0908}, {0x18, 2, 0x1110}, {0x1a, 1, 0x12},
	};
	struct stores stores = {0};
	struct p2p p;
	uint64_t value;

	p2p_up(&p, "probe", "probe");
	assert_int_equal(vfio_machine_observe(p.f.machine, observe_stores, &stores), 0);
	assert_int_equal(p2p_map(&p, IOVA_P2P, BAR_OF(1, 0), 16384, ALL), 0);
	for (unsigned i = 0; i < 64; i++)
		p.probe[0]->buf[i] = (uint8_t)(i + 1);
	assert_int_equal(p2p_command(&p, 0, CMD_WRITE, IOVA_P2P + 9, 18), 0);
	assert_int_equal(p.probe[1]->nr_log, 6);
	assert_int_equal(stores.nr, 6);
	assert_int_equal(stores.sizes, 18);
	vfio_machine_unobserve(p.f.machine, observe_stores, &stores);
	for (unsigned i = 0; i < 6; i++)
		assert_memory_equal(p.probe[1]->log[i], want[i], sizeof(want[i]));
	/* Reading what is published, and what counts its reads. */
	assert_int_equal(p2p_command(&p, 0, CMD_READ, IOVA_P2P, 8), 0);
	memcpy(&value, p.probe[0]->buf, 8);
	assert_int_equal(value, PROBE_ID);
	for (unsigned i = 1; i < 4; i++) {
		assert_int_equal(p2p_command(&p, 0, CMD_READ, IOVA_P2P + REG_COUNTER, 8), 0);
		memcpy(&value, p.probe[0]->buf, 8);
		assert_int_equal(value, i);
	}
	/* All of a page, holes included, is more than one turn of the owner's. */
	memset(p.probe[0]->buf, 0, 8192);
	assert_int_equal(p2p_command(&p, 0, CMD_READ, IOVA_P2P, 8192), 0);
	assert_int_equal(p.probe[0]->buf[REG_COUNTER], 4);
	assert_int_equal(p.probe[0]->buf[0x800], 0);
	p.probe[1]->nr_log = 0;
	assert_int_equal(p2p_command(&p, 0, CMD_WRITE, IOVA_P2P + 0x400, 4096), 0);
	/* Of [0x400, 0x1400) there are 64 bytes of doorbells. */
	assert_int_equal(p.probe[1]->nr_log, 8);
	assert_int_equal(p.probe[1]->log[0][0], REG_DOORBELL);
	assert_int_equal(p.probe[1]->log[7][0], REG_DOORBELL + 56);
	p2p_down(&p);
}

/* A device writes into its own registers. */
static void test_own_registers(void **state)
{
	struct p2p p;

	p2p_up(&p, "probe", "probe");
	assert_int_equal(p2p_map(&p, IOVA_P2P, BAR_OF(0, 0), 4096, ALL), 0);
	memset(p.probe[0]->buf, 0x21, 8);
	assert_int_equal(p2p_command(&p, 0, CMD_WRITE, IOVA_P2P + REG_SCRATCH, 8), 0);
	assert_int_equal(bar_get(p2p_at(&p, 0), 0, REG_SCRATCH, 8), 0x2121212121212121);
	memset(p.probe[0]->buf, 0, 8);
	assert_int_equal(p2p_command(&p, 0, CMD_READ, IOVA_P2P + REG_SCRATCH, 8), 0);
	assert_int_equal(p.probe[0]->buf[7], 0x21);
	p2p_down(&p);
}

/* The table is the hardware's: it masks, and nothing is signalled that SET_IRQS did not grant. */
static void test_msix_table(void **state)
{
	struct {
		struct vfio_irq_set head;
		int32_t fd;
	} set = {.head = {.argsz = sizeof(set),
			  .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
			  .index = VFIO_PCI_MSIX_IRQ_INDEX,
			  .count = 1},
		 .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
	const uint32_t entry[] = {0xfee00000, 0, 0x4141, 1};
	uint64_t count = 0;
	struct p2p p;

	assert_true(set.fd >= 0);
	p2p_up(&p, "probe", "probe");
	assert_int_equal(dev_ioctl(p2p_at(&p, 1), VFIO_DEVICE_SET_IRQS, &set), 0);
	assert_int_equal(p2p_map(&p, IOVA_P2P, BAR_OF(1, 0), 16384, ALL), 0);
	memcpy(p.probe[0]->buf, entry, 16);
	assert_int_equal(p2p_command(&p, 0, CMD_WRITE, IOVA_P2P + REG_TABLE, 16), 0);
	memcpy(p.probe[0]->buf, entry, 16);
	/* Another one that was not granted. */
	assert_int_equal(p2p_command(&p, 0, CMD_WRITE, IOVA_P2P + REG_TABLE + 16, 16), 0);
	uvfio_irq_raise(p.probe[1]->dev, 0);
	assert_int_equal(read(set.fd, &count, 8), -1);
	assert_int_equal(p2p_command(&p, 0, CMD_READ, IOVA_P2P + REG_PBA, 8), 0);
	assert_int_equal(p.probe[0]->buf[0], 1);
	/* Writes to the pending bits are dropped. */
	memset(p.probe[0]->buf, 0, 16);
	assert_int_equal(p2p_command(&p, 0, CMD_WRITE, IOVA_P2P + REG_PBA, 8), 0);
	assert_int_equal(p2p_command(&p, 0, CMD_WRITE, IOVA_P2P + REG_TABLE + 12, 1), 0);
	assert_int_equal(read(set.fd, &count, 8), -1);
	assert_int_equal(p2p_command(&p, 0, CMD_WRITE, IOVA_P2P + REG_TABLE + 12, 4), 0);
	assert_int_equal(read(set.fd, &count, 8), 8);
	assert_int_equal(count, 1);
	p2p_down(&p);
	close(set.fd);
}

/* ---- what can be mapped ---- */

static void test_what_can_be_mapped(void **state)
{
	struct {
		uint64_t vaddr, size;
		int ret;
	} table[] = {
		{BAR_OF(1, 0), 16384, 0},
		{BAR_OF(1, 0) + 12288, 4096, 0},
		{BAR_OF(1, 0) + 12288, 8192, -EFAULT}, /* beyond its end */
		{BAR_OF(1, 0) + 16384, 4096, -EFAULT},
		{BAR_OF(1, 1), 4096, -EFAULT}, /* the upper half of BAR 0 */
		{BAR_OF(1, 2), 4096, -EFAULT}, /* not implemented */
		{BAR_OF(1, 4), 4096, -EFAULT}, /* I/O */
		{BAR_OF(1, VFIO_PCI_CONFIG_REGION_INDEX), 4096, -EFAULT},
		{BAR_OF(1, VFIO_PCI_ROM_REGION_INDEX), 4096, -EFAULT},
		{VIEW_OF(1), 4096, -EFAULT},
		{VIEW_OF(1) + (1ull << 50), 4096, -EFAULT},
		{BAR_OF(0, 0), 4096, -EFAULT}, /* UVFIO_BAR_NO_MMAP */
	};
	struct p2p p;

	p2p_up(&p, "probe,shape=no-mmap", "probe");
	for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		int ret = p2p_map(&p, IOVA_P2P, table[i].vaddr, table[i].size, ALL);

		if (ret != table[i].ret)
			fail_msg("row %u: %d", i, ret);
		if (!ret)
			assert_int_equal(dma_unmap(&p.f, IOVA_P2P, table[i].size, NULL), 0);
	}
	p2p_down(&p);
}

/* What the host maps is nobody's to reach by DMA, though it is a device's (sysfs, uio). */
static void test_host_mapped(void **state)
{
	struct vfio_device_file *df;
	struct iommu_mem mem;
	struct stat st;
	struct p2p p;
	int view;

	p2p_up(&p, "probe", "probe,memory=on");
	p2p_shut(&p, 1);
	assert_int_equal(vfio_device_host_open(p.dev[1], VFIO_MMIO_EXACT, &df, &view), 0);
	assert_int_equal(fstat(view, &st), 0);
	assert_int_equal(vfio_device_memory(p.f.machine, &st, VFIO_REGION_OFFSET(2), 4096, &mem),
			 -EFAULT);
	/* VFIO's open takes the BARs; that file is no view any more. */
	p2p_open(&p, 1);
	assert_int_equal(vfio_device_memory(p.f.machine, &st, VFIO_REGION_OFFSET(2), 4096, &mem),
			 -ENOENT);
	vfio_device_release(df);
	close(view);
	p2p_down(&p);
}

/* The initiator's own rules come first. */
static void test_initiator(void **state)
{
	struct vfio_fault_record fault;
	uint64_t total;
	struct p2p p;

	p2p_up(&p, "probe,memory=on", "probe,memory=on");
	assert_int_equal(p2p_map(&p, IOVA_P2P, BAR_OF(1, 2), 4096, VFIO_DMA_MAP_FLAG_READ), 0);
	assert_int_equal(p2p_map(&p, 0xfef00000, BAR_OF(1, 2), 4096, ALL), 0);
	assert_int_equal(p2p_command(&p, 0, CMD_WRITE, IOVA_P2P, 8), -EFAULT);
	assert_int_equal(vfio_device_faults(p.dev[0], &fault, 1, &total), 1);
	assert_int_equal(fault.fault.reason, IOMMU_FAULT_PERMISSION);
	assert_int_equal(p2p_command(&p, 0, CMD_READ, IOVA_P2P, 8), 0);
	/* It runs into the memory behind the interrupt window from within that. */
	assert_int_equal(p2p_command(&p, 0, CMD_WRITE, 0xfef00000 - 8, 16), -EFAULT);
	assert_int_equal(vfio_device_faults(p.dev[0], &fault, 1, &total), 1);
	assert_int_equal(fault.fault.reason, IOMMU_FAULT_INTERRUPT_WINDOW);
	/* The owner needs no bus mastering. */
	config_put(p2p_at(&p, 1), PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(p2p_command(&p, 0, CMD_READ, IOVA_P2P, 8), 0);
	config_put(p2p_at(&p, 0), PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(p2p_command(&p, 0, CMD_READ, IOVA_P2P, 8), -EPERM);
	/* The address space that it was in. */
	assert_int_equal(vfio_device_faults(p.dev[0], &fault, 1, &total), 1);
	assert_int_equal(fault.space, vfio_device_space(p.dev[1]));
	assert_int_equal(fault.space, 1);
	p2p_down(&p);
}

/* What people see of it. */
static void test_listed(void **state)
{
	struct iommu_listed listed[2];
	uint64_t count;
	struct p2p p;

	p2p_up(&p, "probe", "probe,memory=on");
	assert_int_equal(p2p_map(&p, IOVA_P2P, BAR_OF(1, 2), 8192, ALL), 0);
	assert_int_equal(iommu_list(atomic_load(&p.dev[0]->space), 0, listed, 2, &count), 2);
	assert_int_equal(listed[0].kind, IOMMU_MEM_PEER);
	assert_string_equal(listed[0].device, "0000:02:00.0");
	assert_string_equal(listed[1].device, "");
	/* It outlives whose it was. */
	p2p_shut(&p, 1);
	assert_int_equal(iommu_list(atomic_load(&p.dev[0]->space), 0, listed, 2, &count), 2);
	assert_string_equal(listed[0].device, "0000:02:00.0");
	p2p_down(&p);
}

/* ---- limits, logs ---- */

struct many {
	atomic_uint ended, failed;
};

static void many_done(void *arg, int status, const struct iommu_fault *fault)
{
	struct many *m = arg;

	m->failed += status != 0;
	m->ended++;
}

/* However much is asked for, what is with the owner is limited; and all of it is done. */
static void test_limits(void **state)
{
	enum { TRANSFERS = 1000, BYTES = 65536 };
	struct vfio_device_stats stats;
	struct iommu_space *space;
	struct iommu_user user;
	struct many many = {0};
	struct iommu_mem mem;
	struct uvfio_ctx *ctx;
	uint8_t *buf = calloc(2, BYTES); /* one for each direction */
	struct blocker b;
	struct stat st;
	struct p2p p;

	assert_non_null(buf);
	p2p_up(&p, "probe", "probe,mixed=on");
	assert_int_equal(p2p_map(&p, IOVA_P2P, BAR_OF(1, 2), BYTES, ALL), 0);
	assert_int_equal(fstat(vfio_device_view_fd(p.dev[1]), &st), 0);
	/* The same peer for every mapping. */
	assert_int_equal(vfio_device_memory(p.f.machine, &st, VFIO_REGION_OFFSET(2), BYTES, &mem),
			 0);
	ctx = uvfio_ctx_new(p.dev[0]->loop);
	assert_non_null(ctx);
	iommu_user_init(&user, ctx);
	space = atomic_load(&p.dev[0]->space);
	hold_up(&p, 1, &b);
	for (unsigned i = 0; i < TRANSFERS; i++) {
		assert_int_equal(iommu_submit(&user, space, NULL, IOVA_P2P, buf + (i & 1) * BYTES,
					      BYTES, i & 1, many_done, &many, NULL),
				 1);
		assert_true(mem.peer->inflight <= 64);
		assert_true(mem.peer->inflight_bytes <= 4u << 20);
	}
	assert_int_equal(mem.peer->inflight, 64);
	let_go(&p, 1, &b);
	while (many.ended < TRANSFERS) {
		uvfio_ctx_flush(p.dev[1]->ctx);
		uvfio_ctx_flush(ctx);
	}
	assert_int_equal(many.failed, 0);
	iommu_user_fini(&user);
	uvfio_ctx_free(ctx);
	vfio_device_memory_put(&mem);
	vfio_device_stats(p.dev[0], &stats);
	assert_int_equal(stats.faults, 0);
	p2p_down(&p);
	free(buf);
}

struct logging {
	struct vfio_device_feature head;
	union {
		struct vfio_device_feature_dma_logging_control control;
		struct vfio_device_feature_dma_logging_report report;
	};
};

/* The IOVA that was written is in the log of the device (E.4), as of any other memory. */
static void test_logged(void **state)
{
	static const struct vfio_device_feature_dma_logging_range range = {IOVA_P2P, 8192};
	uint64_t bits = 0;
	struct logging l = {
		.head = {sizeof(l),
			 VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START},
		.control = {.page_size = 4096, .num_ranges = 1, .ranges = (uintptr_t)&range},
	};
	struct p2p p;

	p2p_up(&p, "probe", "probe,memory=on");
	assert_int_equal(p2p_map(&p, IOVA_P2P, BAR_OF(1, 2), 8192, ALL), 0);
	assert_int_equal(dev_ioctl(p2p_at(&p, 0), VFIO_DEVICE_FEATURE, &l), 0);
	assert_int_equal(p2p_command(&p, 0, CMD_READ, IOVA_P2P, 8192), 0);
	assert_int_equal(p2p_command(&p, 0, CMD_WRITE, IOVA_P2P + 4100, 8), 0);
	l = (struct logging){
		.head = {sizeof(l),
			 VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT},
		.report = {.iova = IOVA_P2P,
			   .length = 8192,
			   .page_size = 4096,
			   .bitmap = (uintptr_t)&bits},
	};
	assert_int_equal(dev_ioctl(p2p_at(&p, 0), VFIO_DEVICE_FEATURE, &l), 0);
	assert_int_equal(bits, 2);
	p2p_down(&p);
}

/* ---- exports ---- */

static void test_exports(void **state)
{
	static const struct vfio_export_range two[] = {{0, 4096}, {4096, 4096}};
	struct vfio_device_export *export, *found, **all;
	struct iommu_mem mem;
	struct stat st;
	struct p2p p;

	p2p_up(&p, "probe", "probe,memory=on");
	assert_int_equal(fstat(p.f.tc.fd, &st), 0);
	assert_null(vfio_export_find(p.f.machine, &st));
	assert_int_equal(vfio_export_new(p.dev[1], 2, two, 2, 8192, &st, &export), 0);
	found = vfio_export_find(p.f.machine, &st);
	assert_ptr_equal(found, export);
	assert_int_equal(vfio_export_size(export), 8192);
	assert_int_equal(vfio_export_memory(export, 0, 4096, &mem), -EOPNOTSUPP);
	/* It is no view. */
	assert_int_equal(vfio_device_memory(p.f.machine, &st, VFIO_REGION_OFFSET(2), 4096, &mem),
			 -EFAULT);
	vfio_export_put(found);
	vfio_export_put(export);
	assert_null(vfio_export_find(p.f.machine, &st));

	assert_int_equal(vfio_export_new(p.dev[1], 2, two, 1, 4096, &st, &export), 0);
	assert_int_equal(vfio_export_memory(export, 4096, 4096, &mem), -EINVAL);
	assert_int_equal(vfio_export_memory(export, 0, 8192, &mem), -EINVAL);
	assert_int_equal(vfio_export_memory(export, 0, 4096, &mem), 0);
	vfio_device_memory_put(&mem);
	/* Without end. */
	all = calloc(VFIO_EXPORTS, sizeof(*all));
	assert_non_null(all);
	for (unsigned i = 1; i < VFIO_EXPORTS; i++) {
		st.st_ino = 1000000 + i;
		assert_int_equal(vfio_export_new(p.dev[1], 2, two, 1, 4096, &st, &all[i]), 0);
	}
	assert_int_equal(vfio_export_new(p.dev[1], 2, two, 1, 4096, &st, &found), -ENOMEM);
	vfio_export_put(all[1]);
	assert_int_equal(vfio_export_new(p.dev[1], 2, two, 1, 4096, &st, &all[1]), 0);
	/* Its device is closed: it stays, revoked for good. */
	p2p_shut(&p, 1);
	assert_true(vfio_export_revoked(export));
	assert_int_equal(vfio_export_memory(export, 0, 4096, &mem), -ENODEV);
	p2p_open(&p, 1);
	assert_true(vfio_export_revoked(export));
	assert_int_equal(vfio_export_new(p.dev[1], 2, two, 1, 4096, &st, &found), 0);
	vfio_export_put(found);
	vfio_export_put(export);
	for (unsigned i = 1; i < VFIO_EXPORTS; i++)
		vfio_export_put(all[i]);
	free(all);
	p2p_down(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_data),
		cmocka_unit_test(test_registers),
		cmocka_unit_test(test_own_registers),
		cmocka_unit_test(test_msix_table),
		cmocka_unit_test(test_what_can_be_mapped),
		cmocka_unit_test(test_host_mapped),
		cmocka_unit_test(test_initiator),
		cmocka_unit_test(test_listed),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_logged),
		cmocka_unit_test(test_exports),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
