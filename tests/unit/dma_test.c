/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * src/vfio/dma.c and device_state.c: bus mastering, faults, what is in flight when a device is said
 * to be quiet, and a stress of everything at once.
 */
#include "vfio_fixture.h"
#include "peer_util.h"

#define IOVA 0x40000000ull

static void fixture_dma(struct fixture *f)
{
	fixture_up(f, "probe");
	assert_int_equal(dma_map(f, IOVA, 0, 65536, 3), 0);
	assert_int_equal(dma_map(f, IOVA + 0x100000, 65536, 4096, VFIO_DMA_MAP_FLAG_READ), 0);
	config_put(f, PCI_COMMAND, 2, COMMAND_ON);
}

static void test_transfers(void **state)
{
	struct vfio_device_stats stats;
	struct fixture f;

	fixture_dma(&f);
	memcpy(f.tc.mem + 100, "client", 6);
	assert_int_equal(probe_command(&f, CMD_READ, IOVA + 100, 6), 0);
	assert_memory_equal(f.probe->buf, "client", 6);
	memcpy(f.probe->buf, "device", 6);
	assert_int_equal(probe_command(&f, CMD_WRITE, IOVA + 4093, 6), 0);
	assert_memory_equal(f.tc.mem + 4093, "device", 6);
	vfio_device_stats(f.dev, &stats);
	assert_int_equal(stats.dma_ops, 2);
	assert_int_equal(stats.dma_bytes, 12);
	assert_int_equal(stats.faults, 0);
	/* Nothing to transfer, and nothing to pin. */
	assert_int_equal(probe_command(&f, CMD_READ, IOVA, 0), 0);
	assert_int_equal(probe_command(&f, CMD_HOLD, IOVA, 0), -EINVAL);
	fixture_close(&f);
}

static struct vfio_event last_fault;

static void observe(void *arg, const struct vfio_event *event)
{
	if (event->kind == VFIO_EVENT_FAULT)
		last_fault = *event;
}

static void test_faults(void **state)
{
	static const struct {
		uint32_t cmd;
		uint64_t iova;
		int ret;
		unsigned reason;
	} table[] = {
		{CMD_READ, 0, -EFAULT, IOMMU_FAULT_UNMAPPED},
		{CMD_READ, IOVA + 65536 - 4, -EFAULT, IOMMU_FAULT_UNMAPPED},
		{CMD_WRITE, IOVA + 0x100000, -EFAULT, IOMMU_FAULT_PERMISSION},
		{CMD_WRITE, 0xfee00000, -EFAULT, IOMMU_FAULT_INTERRUPT_WINDOW},
	};
	struct vfio_device_stats stats;
	struct fixture f;

	fixture_dma(&f);
	vfio_machine_observe(f.machine, observe, NULL);
	for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		assert_int_equal(probe_command(&f, table[i].cmd, table[i].iova, 8), table[i].ret);
		assert_int_equal(last_fault.c,
				 table[i].reason | (table[i].cmd == CMD_WRITE ? 256 : 0));
		assert_string_equal(last_fault.device, "0000:01:00.0");
		vfio_device_stats(f.dev, &stats);
		assert_int_equal(stats.faults, i + 1);
	}
	/* What was unmapped is not touched any more. */
	assert_int_equal(dma_unmap(&f, IOVA, 65536, NULL), 0);
	assert_int_equal(probe_command(&f, CMD_WRITE, IOVA, 8), -EFAULT);
	vfio_machine_unobserve(f.machine, observe, NULL);
	fixture_close(&f);
}

static void test_bus_mastering(void **state)
{
	struct fixture f;

	fixture_dma(&f);
	vfio_machine_observe(f.machine, observe, NULL);
	config_put(&f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(f.probe->quiesces, 2); /* the reset at open, and this */
	assert_int_equal(bar_get(&f, 0, REG_STATE, 4), 0);
	memset(f.tc.mem, 0x11, 8);
	assert_int_equal(probe_command(&f, CMD_WRITE, IOVA, 8), -EPERM);
	assert_int_equal(last_fault.c, IOMMU_FAULT_BUS_MASTER | 256);
	assert_int_equal(f.tc.mem[0], 0x11);
	assert_int_equal(probe_command(&f, CMD_HOLD, IOVA, 8), -EPERM);
	/* A byte write of COMMAND's low half is enough to start it again. */
	config_put(&f, PCI_COMMAND, 1, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	assert_int_equal(bar_get(&f, 0, REG_STATE, 4), 1);
	assert_int_equal(probe_command(&f, CMD_WRITE, IOVA, 8), 0);
	vfio_machine_unobserve(f.machine, observe, NULL);
	fixture_close(&f);
}

/* When a call that makes a device quiet returns, nothing that it had pinned is pinned. */
static void test_pending_dma_is_waited_for(void **state)
{
	static const char name[] = "0000:01:00.0";
	struct fixture f;

	fixture_dma(&f);
	assert_int_equal(probe_command(&f, CMD_HOLD, IOVA, 4096), 0);
	assert_true(f.probe->pinned);
	config_put(&f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_true(f.probe->unpinned_late);
	assert_false(f.probe->pinned);

	config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
	assert_int_equal(probe_command(&f, CMD_HOLD, IOVA, 4096), 0);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), 0);
	assert_true(f.probe->unpinned_late);
	assert_false(f.probe->pinned);
	assert_true(f.probe->running);

	assert_int_equal(probe_command(&f, CMD_HOLD, IOVA, 4096), 0);
	vfio_device_release(f.df);
	assert_false(f.probe->pinned);
	/* Nobody waits for an unmap now. */
	assert_int_equal(dma_unmap(&f, IOVA, 65536, NULL), 0);
	assert_int_equal(vfio_group_get_device(f.gf, f.client, (uintptr_t)name, &f.df), 0);
	fixture_close(&f);
}

/* The same within a door's bracket, where work is deferred to the calling thread. */
static void test_quiesce_within_a_bracket(void **state)
{
	struct fixture f;

	fixture_dma(&f);
	assert_int_equal(probe_command(&f, CMD_HOLD, IOVA, 4096), 0);
	uvfio_defer_begin();
	bar_put(&f, 0, REG_DMA_CMD, 4, CMD_IRQ);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), 0);
	uvfio_defer_end();
	assert_false(f.probe->pinned);
	fixture_close(&f);
}

/* ---- everything at once ---- */

struct stress {
	struct fixture *f;
	struct vfio_device_file *df;
	atomic_bool stop;
	_Atomic unsigned long stores;
};

static void *stress_stores(void *arg)
{
	struct stress *s = arg;
	const uint64_t bar = VFIO_REGION_OFFSET(0);

	for (uint32_t i = 0; !s->stop; i++) {
		uvfio_defer_begin();
		vfio_device_store(s->df, bar + REG_SCRATCH, 4, i);
		vfio_device_store(s->df, bar + REG_DMA_IOVA, 8, IOVA + i % 60000);
		vfio_device_store(s->df, bar + REG_DMA_LEN, 4, i % 5000);
		vfio_device_store(s->df, bar + REG_DMA_CMD, 4, 1 + i % 4);
		uvfio_defer_end();
		s->stores += 4;
	}
	return NULL;
}

static void *stress_resets(void *arg)
{
	struct stress *s = arg;

	while (!s->stop)
		assert_int_equal(dev_ioctl(s->f, VFIO_DEVICE_RESET, NULL), 0);
	return NULL;
}

static void *stress_config(void *arg)
{
	static const uint16_t commands[] = {COMMAND_ON, 0, PCI_COMMAND_MASTER, COMMAND_ON,
					    PCI_COMMAND_MEMORY};
	struct stress *s = arg;

	for (unsigned i = 0; !s->stop; i++) {
		uint32_t command = commands[i % 5];

		vfio_device_write(s->df, VFIO_REGION_OFFSET(7) + PCI_COMMAND, &command, 2);
	}
	return NULL;
}

static void *stress_maps(void *arg)
{
	struct stress *s = arg;
	unsigned long n = 0;

	while (!s->stop) {
		assert_int_equal(dma_unmap(s->f, IOVA, 65536, NULL), 0);
		/* Nobody writes here now. */
		memset(s->f->tc.mem, 0xcc, 65536);
		for (unsigned i = 0; i < 65536; i += 512)
			assert_int_equal(s->f->tc.mem[i], 0xcc);
		assert_int_equal(dma_map(s->f, IOVA, 0, 65536, 3), 0);
		n++;
	}
	return NULL;
}

static void *stress_irqs(void *arg)
{
	struct stress *s = arg;
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	while (!s->stop) {
		struct {
			struct vfio_irq_set hdr;
			int32_t fds[2];
		} set = {{sizeof(set), VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
			  VFIO_PCI_MSIX_IRQ_INDEX, 0, 2},
			 {fd, fd}};

		assert_int_equal(dev_ioctl(s->f, VFIO_DEVICE_SET_IRQS, &set), 0);
		set.hdr.flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER;
		set.hdr.count = 0;
		assert_int_equal(dev_ioctl(s->f, VFIO_DEVICE_SET_IRQS, &set), 0);
	}
	close(fd);
	return NULL;
}

/* First and last: the device of group 2 is opened and closed while the others do their worst. */
static void *stress_open(void *arg)
{
	static const char name[] = "0000:02:00.0";
	struct stress *s = arg;
	struct vfio_group_file *gf;

	assert_int_equal(vfio_group_open(s->f->machine, 2, &gf), 0);
	assert_int_equal(vfio_group_set_container(gf, s->f->container), 0);
	while (!s->stop) {
		struct vfio_device_file *df;
		uint32_t command = COMMAND_ON;

		assert_int_equal(vfio_group_get_device(gf, s->f->client, (uintptr_t)name, &df), 0);
		assert_true(vfio_device_view_fd(vfio_device_file_device(df)) >= 0);
		vfio_device_write(df, VFIO_REGION_OFFSET(7) + PCI_COMMAND, &command, 2);
		vfio_device_store(df, VFIO_REGION_OFFSET(0) + REG_DMA_IOVA, 8, IOVA);
		vfio_device_store(df, VFIO_REGION_OFFSET(0) + REG_DMA_LEN, 4, 4096);
		vfio_device_store(df, VFIO_REGION_OFFSET(0) + REG_DMA_CMD, 4, CMD_HOLD);
		vfio_device_release(df);
	}
	vfio_group_release(gf);
	return NULL;
}

static void test_stress(void **state)
{
	/* Who makes the probe hold memory and let go of it, and those who may wait for that. */
	void *(*const fns[])(void *) = {stress_stores, stress_resets, stress_config,
					stress_maps,   stress_irqs,   stress_open};
	const char *seconds = getenv("UVFIO_STRESS_SECONDS");
	pthread_t threads[6];
	struct stress s = {0};
	struct fixture f;

	fixture_machine(&f);
	fixture_add(&f, "probe");
	fixture_add(&f, "probe");
	fixture_open(&f);
	assert_int_equal(dma_map(&f, IOVA, 0, 65536, 3), 0);
	config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
	assert_true(vfio_device_view_fd(f.dev) >= 0);
	s.f = &f;
	s.df = f.df;
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, fns[i], &s), 0);
	sleep(seconds ? (unsigned)atoi(seconds) : 1);
	s.stop = true;
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	/* The probe lets go when it is to become quiet and not before, and an unmap waits for it.
	 */
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), 0);
	for (unsigned i = 3; i < 6; i++)
		pthread_join(threads[i], NULL);
	assert_true(s.stores > 100);
	/* It still works. */
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), 0);
	config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
	memcpy(f.tc.mem, "alive", 5);
	assert_int_equal(probe_command(&f, CMD_READ, IOVA, 5), 0);
	assert_memory_equal(f.probe->buf, "alive", 5);
	fixture_close(&f);
}

/* ---- a client that is asked by messages, and does not answer ---- */

static void fixture_peer(struct fixture *f, struct test_peer **peer, bool *released)
{
	fixture_up(f, "probe");
	*released = false;
	*peer = test_peer_new(0, CLIENT_MEM, 4096, 8, released);
	f->tc.peer = &(*peer)->peer;
	assert_int_equal(dma_map(f, IOVA, 0, 65536, 3), 0);
	f->tc.peer = NULL;
	config_put(f, PCI_COMMAND, 2, COMMAND_ON);
}

/* The peer's connection ends after the device was closed. */
static void close_peer(struct fixture *f, struct test_peer *peer, bool *released)
{
	fixture_close(f);
	while (test_peer_answer(peer, 0, 0))
		;
	iommu_peer_unref(&peer->peer);
	assert_true(*released);
}

/* Begin a command that depends on the peer. */
static void begin(struct fixture *f, struct test_peer *peer, uint32_t cmd, uint64_t iova)
{
	unsigned started = peer->started;

	bar_put(f, 0, REG_DMA_IOVA, 8, iova);
	bar_put(f, 0, REG_DMA_LEN, 4, 8192);
	bar_put(f, 0, REG_DMA_CMD, 4, cmd);
	test_peer_wait(peer, started + 2);
	uvfio_ctx_flush(uvfio_device_ctx(f->probe->dev));
	assert_true(f->probe->op_pending);
}

static int result(struct fixture *f)
{
	uvfio_ctx_flush(uvfio_device_ctx(f->probe->dev));
	assert_false(f->probe->op_pending);
	return -(int)bar_get(f, 0, REG_DMA_STATUS, 4);
}

static void test_peer_transfers(void **state)
{
	struct vfio_device_stats stats;
	struct test_peer *peer;
	struct fixture f;
	bool released;

	fixture_peer(&f, &peer, &released);
	memset(peer->mem, 0x5A, 65536);
	begin(&f, peer, CMD_READ, IOVA + 100);
	while (test_peer_answer(peer, 1, 0) || test_peer_answer(peer, 0, 0))
		;
	assert_int_equal(result(&f), 0);
	assert_int_equal(f.probe->buf[8191], 0x5A);
	memset(f.probe->buf, 0x33, 8192);
	begin(&f, peer, CMD_WRITE, IOVA);
	assert_int_equal(probe_command(&f, CMD_HOLD, IOVA, 8), -ENOTSUP);
	while (test_peer_answer(peer, 0, 0))
		;
	assert_int_equal(result(&f), 0);
	assert_int_equal(peer->mem[8191], 0x33);
	vfio_device_stats(f.dev, &stats);
	assert_int_equal(stats.dma_ops, 2);
	assert_int_equal(stats.dma_bytes, 2 * 8192);
	/* An error of the client's is a fault. */
	begin(&f, peer, CMD_READ, IOVA);
	test_peer_answer(peer, 1, -EINVAL);
	test_peer_answer(peer, 0, 0);
	assert_int_equal(result(&f), -EIO);
	vfio_device_stats(f.dev, &stats);
	assert_int_equal(stats.faults, 1);
	close_peer(&f, peer, &released);
}

/* None of the following waits for it. */
static void test_peer_silent(void **state)
{
	struct test_peer *peer;
	struct fixture f;
	bool released;

	fixture_peer(&f, &peer, &released);
	vfio_machine_observe(f.machine, observe, NULL);
	/* Bus mastering off: a moment's grace, then it is over. */
	begin(&f, peer, CMD_READ, IOVA);
	config_put(&f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(result(&f), -EPERM);
	assert_int_equal(last_fault.c, IOMMU_FAULT_BUS_MASTER);
	config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
	/* A reset. */
	begin(&f, peer, CMD_WRITE, IOVA);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), 0);
	assert_false(f.probe->op_pending);
	/* An unmap. */
	begin(&f, peer, CMD_READ, IOVA + 4096);
	assert_int_equal(dma_unmap(&f, IOVA, 65536, NULL), 0);
	assert_int_equal(result(&f), -EFAULT);
	assert_int_equal(last_fault.c, IOMMU_FAULT_UNMAPPED);
	assert_int_equal(last_fault.a, IOVA + 4096);
	/* Its memory that is ordinary still works, and its late answers change nothing. */
	memset(f.probe->buf, 0x77, sizeof(f.probe->buf));
	while (test_peer_answer(peer, 0, 0))
		;
	assert_int_equal(f.probe->buf[0], 0x77);
	assert_int_equal(dma_map(&f, IOVA, 0, 65536, 3), 0);
	assert_int_equal(probe_command(&f, CMD_READ, IOVA, 8), 0);
	/* The last close, with a transfer under way. */
	assert_int_equal(dma_unmap(&f, IOVA, 65536, NULL), 0);
	f.tc.peer = &peer->peer;
	assert_int_equal(dma_map(&f, IOVA, 0, 65536, 3), 0);
	begin(&f, peer, CMD_WRITE, IOVA);
	vfio_machine_unobserve(f.machine, observe, NULL);
	close_peer(&f, peer, &released);
}

static void test_peer_dead(void **state)
{
	struct test_peer *peer;
	struct fixture f;
	bool released;

	fixture_peer(&f, &peer, &released);
	begin(&f, peer, CMD_READ, IOVA);
	iommu_peer_dead(&peer->peer);
	assert_int_equal(result(&f), -EIO);
	assert_int_equal(probe_command(&f, CMD_READ, IOVA, 8), -EIO);
	assert_int_equal(dma_unmap(&f, IOVA, 65536, NULL), 0);
	close_peer(&f, peer, &released);
}

/* ---- which pages were written (E.4) ---- */

struct logging {
	struct vfio_device_feature head;
	union {
		struct vfio_device_feature_dma_logging_control control;
		struct vfio_device_feature_dma_logging_report report;
	};
};

static void logging_start(struct fixture *f)
{
	static const struct vfio_device_feature_dma_logging_range range = {IOVA, 0x200000};
	struct logging l = {
		.head = {sizeof(l),
			 VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START},
		.control = {.page_size = 4096, .num_ranges = 1, .ranges = (uintptr_t)&range},
	};

	assert_int_equal(dev_ioctl(f, VFIO_DEVICE_FEATURE, &l), 0);
}

/* The pages from IOVA on that were written, 4 KiB each; -1: it cannot be had. */
static uint64_t written(struct fixture *f)
{
	uint64_t bits = 0;
	struct logging l = {
		.head = {sizeof(l),
			 VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT},
		.report = {.iova = IOVA,
			   .length = 64 * 4096,
			   .page_size = 4096,
			   .bitmap = (uintptr_t)&bits},
	};

	return dev_ioctl(f, VFIO_DEVICE_FEATURE, &l) ? UINT64_MAX : bits;
}

static void test_logging(void **state)
{
	static const char name[] = "0000:01:00.0";
	struct fixture f;

	fixture_dma(&f);
	assert_int_equal(probe_command(&f, CMD_WRITE, IOVA, 8), 0);
	logging_start(&f);
	assert_int_equal(written(&f), 0);
	assert_int_equal(probe_command(&f, CMD_READ, IOVA, 4096), 0);
	assert_int_equal(written(&f), 0);
	/* Across a border; once, and then no more. */
	assert_int_equal(probe_command(&f, CMD_WRITE, IOVA + 2 * 4096 - 1, 2), 0);
	assert_int_equal(written(&f), 0x6);
	assert_int_equal(written(&f), 0);
	/* Refused at once, and in the middle: what lies in front was written. */
	assert_int_equal(probe_command(&f, CMD_WRITE, IOVA + 0x100000, 8), -EFAULT);
	assert_int_equal(written(&f), 0);
	assert_int_equal(probe_command(&f, CMD_WRITE, IOVA + 65536 - 2, 4), -EFAULT);
	assert_int_equal(written(&f), 1 << 15);
	/* What is held is written until it is let go. */
	assert_int_equal(probe_command(&f, CMD_HOLD, IOVA + 4096, 8192), 0);
	assert_int_equal(written(&f), 0);
	config_put(&f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_true(f.probe->unpinned_late);
	assert_int_equal(written(&f), 0x6);
	config_put(&f, PCI_COMMAND, 2, COMMAND_ON);

	/* A reset keeps it, what was written before, too. */
	assert_int_equal(probe_command(&f, CMD_WRITE, IOVA, 8), 0);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), 0);
	assert_int_equal(written(&f), 0x1);
	/* A client that goes takes it along. */
	vfio_device_release(f.df);
	assert_int_equal(vfio_group_get_device(f.gf, f.client, (uintptr_t)name, &f.df), 0);
	assert_int_equal(written(&f), UINT64_MAX);
	fixture_close(&f);
}

/* Of memory that is reached by messages: what was sent counts, also when the answer is an error. */
static void test_logging_messages(void **state)
{
	struct test_peer *peer;
	struct fixture f;
	bool released;

	fixture_peer(&f, &peer, &released);
	logging_start(&f);
	begin(&f, peer, CMD_READ, IOVA);
	while (test_peer_answer(peer, 0, 0))
		;
	assert_int_equal(result(&f), 0);
	assert_int_equal(written(&f), 0);
	begin(&f, peer, CMD_WRITE, IOVA + 8192);
	assert_int_equal(written(&f), 0);
	while (test_peer_answer(peer, 0, 0))
		;
	assert_int_equal(result(&f), 0);
	assert_int_equal(written(&f), 0xc);
	begin(&f, peer, CMD_WRITE, IOVA + 8192);
	iommu_peer_dead(&peer->peer);
	assert_int_equal(result(&f), -EIO);
	assert_int_equal(written(&f), 0xc);
	assert_int_equal(dma_unmap(&f, IOVA, 65536, NULL), 0);
	close_peer(&f, peer, &released);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_transfers),
		cmocka_unit_test(test_peer_transfers),
		cmocka_unit_test(test_peer_silent),
		cmocka_unit_test(test_peer_dead),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_bus_mastering),
		cmocka_unit_test(test_pending_dma_is_waited_for),
		cmocka_unit_test(test_quiesce_within_a_bracket),
		cmocka_unit_test(test_logging),
		cmocka_unit_test(test_logging_messages),
		cmocka_unit_test(test_stress),
	};

	guarded_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
