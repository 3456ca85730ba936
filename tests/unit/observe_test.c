/* SPDX-License-Identifier: BSD-3-Clause */
/* src/vfio/observe.c, irq/observe.c and iommu/list.c: what is told of a machine at work. */
#include <unistd.h>
#include "vfio_fixture.h"
#include "vfio/machine_private.h"
#include "vfio/stats.h"

#define IOVA 0x40000000ull

static int trigger(struct fixture *f, unsigned index, unsigned start, unsigned n, int fd)
{
	struct {
		struct vfio_irq_set set;
		int32_t fds[8];
	} req = {.set = {.argsz = sizeof(req.set) + n * 4,
			 .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
			 .index = index,
			 .start = start,
			 .count = n}};

	for (unsigned i = 0; i < n; i++)
		req.fds[i] = fd;
	return dev_ioctl(f, VFIO_DEVICE_SET_IRQS, &req);
}

static void test_devices(void **state)
{
	struct vfio_device **all, *dev;
	struct fixture f;

	fixture_machine(&f);
	assert_int_equal(vfio_machine_get_devices(f.machine, &all), 0);
	assert_null(all);
	fixture_add(&f, "probe");
	fixture_add(&f, "probe");
	assert_null(vfio_machine_get_device(f.machine, "0000:09:00.0"));
	dev = vfio_machine_get_device(f.machine, "0000:02:00.0");
	assert_string_equal(vfio_device_name(dev), "0000:02:00.0");
	vfio_device_put(dev);
	assert_int_equal(vfio_machine_get_devices(f.machine, &all), 2);
	assert_string_equal(vfio_device_name(all[0]), "0000:01:00.0");
	for (unsigned i = 0; i < 2; i++)
		vfio_device_put(all[i]);
	free(all);
	fixture_close(&f);
}

static void test_openers(void **state)
{
	static const char name[] = "0000:01:00.0";
	static const struct vfio_who who = {"vfio", 1000};
	struct vfio_device_file *second;
	struct vfio_group_state group;
	struct vfio_opener o[2];
	struct vfio_device *dev;
	struct fixture f;

	fixture_machine(&f);
	fixture_add(&f, "probe");
	dev = vfio_machine_get_device(f.machine, name);
	assert_int_equal(vfio_device_openers(dev, o, 2), 0);
	vfio_device_group_state(dev, &group);
	assert_false(group.open || group.container || group.iommu);
	assert_int_equal(group.devices, 1);
	f.client->pid = 4711;
	f.client->who = &who;
	fixture_open(&f);
	vfio_device_group_state(dev, &group);
	assert_true(group.open && group.container && group.iommu);
	assert_int_equal(group.device_files, 1);
	f.client->pid = 4712;
	f.client->who = NULL;
	assert_int_equal(vfio_group_get_device(f.gf, f.client, (uintptr_t)name, &second), 0);
	assert_int_equal(vfio_device_openers(dev, o, 2), 2);
	assert_string_equal(o[0].door, "vfio");
	assert_int_equal(o[0].pid, 4711);
	assert_int_equal(o[0].uid, 1000);
	assert_true(o[0].since > 1500000000000000000ull && o[0].since <= o[1].since);
	assert_string_equal(o[1].door, "");
	assert_int_equal(o[1].uid, -1);
	assert_int_equal(vfio_device_openers(dev, o, 1), 2);
	vfio_device_release(f.df);
	f.df = NULL;
	assert_int_equal(vfio_device_openers(dev, o, 2), 1);
	assert_int_equal(o[0].pid, 4712);
	vfio_device_release(second);
	assert_int_equal(vfio_device_openers(dev, o, 2), 0);
	vfio_device_put(dev);
	fixture_close(&f);
}

static void test_regions_and_bus(void **state)
{
	struct vfio_region_state r;
	struct vfio_area_state areas[8];
	struct vfio_bus_state bus;
	struct fixture f;

	fixture_up(&f, "probe,memory=on");
	assert_int_equal(vfio_device_region_state(f.dev, 0, VFIO_MMIO_NONE, &r), 0);
	assert_int_equal(r.size, 16384);
	assert_int_equal(r.flags & VFIO_REGION_INFO_FLAG_MMAP, 0);
	assert_true(r.address >= 0x80000000ull);
	assert_int_equal(vfio_device_region_state(f.dev, 2, VFIO_MMIO_NONE, &r), 0);
	assert_true(r.flags & VFIO_REGION_INFO_FLAG_MMAP);
	assert_int_equal(
		vfio_device_region_state(f.dev, VFIO_PCI_CONFIG_REGION_INDEX, VFIO_MMIO_NONE, &r),
		0);
	assert_int_equal(r.size, 4096);
	assert_int_equal(
		vfio_device_region_state(f.dev, VFIO_PCI_ROM_REGION_INDEX, VFIO_MMIO_NONE, &r), 0);
	assert_int_equal(r.size, 4096);
	assert_int_equal(vfio_device_region_state(f.dev, VFIO_PCI_NUM_REGIONS, VFIO_MMIO_NONE, &r),
			 -EINVAL);
	assert_int_equal(vfio_device_areas(f.dev, 0, areas, 8), 7);
	assert_string_equal(areas[2].kind, "doorbells");
	assert_string_equal(areas[5].kind, "msix-table");
	assert_int_equal(areas[5].offset, REG_TABLE);
	assert_int_equal(areas[5].size, 128);
	assert_int_equal(vfio_device_areas(f.dev, 9, areas, 8), 0);

	vfio_device_bus_state(f.dev, &bus);
	assert_true(bus.memory && !bus.bus_master && !bus.resetting);
	config_put(&f, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	vfio_device_bus_state(f.dev, &bus);
	assert_true(!bus.memory && bus.bus_master && !bus.power);
	fixture_close(&f);
}

static void test_interrupts(void **state)
{
	struct irq_vector_state v[8];
	struct irq_state s;
	struct fixture f;
	int fd = eventfd(0, EFD_CLOEXEC);

	fixture_up(&f, "probe");
	config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
	irq_observe(vfio_device_irqs(f.dev), VFIO_PCI_MSIX_IRQ_INDEX, &s);
	assert_int_equal(s.count, 8);
	assert_int_equal(s.vectors, 0);
	assert_int_equal(
		irq_observe_vectors(vfio_device_irqs(f.dev), VFIO_PCI_MSIX_IRQ_INDEX, 0, v, 8), 0);
	assert_int_equal(trigger(&f, VFIO_PCI_MSIX_IRQ_INDEX, 0, 4, fd), 0);
	probe_command(&f, CMD_IRQ, 0, 2);
	probe_command(&f, CMD_IRQ, 0, 2);
	/* Through a mapping, as one that gates delivery does. */
	assert_int_equal(
		vfio_device_store(f.df, VFIO_REGION_OFFSET(0) + REG_TABLE + 3 * 16 + 12, 4, 1), 0);
	probe_command(&f, CMD_IRQ, 0, 3);
	irq_observe(vfio_device_irqs(f.dev), VFIO_PCI_MSIX_IRQ_INDEX, &s);
	assert_int_equal(s.vectors, 4);
	assert_int_equal(s.delivered, 2);
	assert_int_equal(
		irq_observe_vectors(vfio_device_irqs(f.dev), VFIO_PCI_MSIX_IRQ_INDEX, 1, v, 8), 3);
	assert_int_equal(v[1].vector, 2);
	assert_true(v[1].eventfd && !v[1].masked && !v[1].pending);
	assert_int_equal(v[1].delivered, 2);
	assert_int_equal(v[2].vector, 3);
	assert_true(v[2].eventfd && v[2].masked && v[2].pending);
	assert_int_equal(v[2].delivered, 0);
	assert_int_equal(
		irq_observe_vectors(vfio_device_irqs(f.dev), VFIO_PCI_MSIX_IRQ_INDEX, 2, v, 1), 1);
	irq_observe(vfio_device_irqs(f.dev), VFIO_PCI_INTX_IRQ_INDEX, &s);
	assert_int_equal(s.count, 1);
	assert_int_equal(s.vectors, 0);
	irq_observe(vfio_device_irqs(f.dev), 77, &s);
	assert_int_equal(s.count, 0);
	fixture_close(&f);
	close(fd);
}

static void test_mappings(void **state)
{
	struct iommu_listed l[IOMMU_LIST_MAX];
	uint64_t next = 0, seen = 0;
	struct fixture f;
	unsigned n;

	fixture_up(&f, "probe");
	assert_int_equal(vfio_device_mappings(f.dev, 0, l, IOMMU_LIST_MAX, &n), 0);
	assert_int_equal(n, 0);
	for (unsigned i = 0; i < 600; i++)
		assert_int_equal(dma_map(&f, IOVA + i * 8192ull, 0, 4096,
					 i % 2 ? VFIO_DMA_MAP_FLAG_READ : 3),
				 0);
	/* One that lies across a boundary of the tree is told once. */
	assert_int_equal(dma_map(&f, (4ull << 40) - 4096, 0, 8192, 3), 0);
	for (;;) {
		assert_int_equal(vfio_device_mappings(f.dev, next, l, IOMMU_LIST_MAX, &n), 601);
		if (!n)
			break;
		for (unsigned i = 0; i < n; i++, seen++) {
			if (seen == 600) {
				assert_int_equal(l[i].iova, (4ull << 40) - 4096);
				assert_int_equal(l[i].size, 8192);
				continue;
			}
			assert_int_equal(l[i].iova, IOVA + seen * 8192);
			assert_int_equal(l[i].size, 4096);
			assert_int_equal(l[i].prot, seen % 2 ? IOMMU_READ : 3);
			assert_int_equal(l[i].kind, IOMMU_MEM_FILE);
			assert_int_equal(l[i].pieces, 1);
		}
		next = l[n - 1].iova + l[n - 1].size;
	}
	assert_int_equal(seen, 601);
	/* From the middle of one. */
	assert_int_equal(vfio_device_mappings(f.dev, IOVA + 4095, l, 1, &n), 601);
	assert_int_equal(n, 1);
	assert_int_equal(l[0].iova, IOVA);
	fixture_close(&f);
}

static void test_faults(void **state)
{
	struct vfio_fault_record r[VFIO_FAULT_RECORDS];
	struct fixture f;
	uint64_t total;

	fixture_up(&f, "probe");
	assert_int_equal(vfio_device_faults(f.dev, r, VFIO_FAULT_RECORDS, &total), 0);
	assert_int_equal(total, 0);
	assert_int_equal(probe_command(&f, CMD_READ, 0x1000, 8), -EPERM);
	config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
	assert_int_equal(probe_command(&f, CMD_WRITE, 0x2000, 16), -EFAULT);
	assert_int_equal(vfio_device_faults(f.dev, r, VFIO_FAULT_RECORDS, &total), 2);
	assert_int_equal(r[0].number, 1);
	assert_int_equal(r[0].fault.iova, 0x1000);
	assert_int_equal(r[0].fault.len, 8);
	assert_false(r[0].fault.write);
	assert_int_equal(r[0].fault.reason, IOMMU_FAULT_BUS_MASTER);
	assert_int_equal(r[0].result, -EPERM);
	assert_int_equal(r[0].space, 1);
	assert_int_equal(vfio_device_space(f.dev), 1);
	assert_true(r[1].fault.write);
	assert_int_equal(r[1].fault.reason, IOMMU_FAULT_UNMAPPED);
	assert_true(r[0].time && r[0].time <= r[1].time);
	for (unsigned i = 0; i < 100; i++)
		probe_command(&f, CMD_READ, 0x10000 + i, 8);
	assert_int_equal(vfio_device_faults(f.dev, r, VFIO_FAULT_RECORDS, &total),
			 VFIO_FAULT_RECORDS);
	assert_int_equal(total, 102);
	assert_int_equal(r[0].number, 102 - VFIO_FAULT_RECORDS + 1);
	assert_int_equal(r[VFIO_FAULT_RECORDS - 1].fault.iova, 0x10000 + 99);
	assert_int_equal(vfio_device_faults(f.dev, r, 1, &total), 1);
	assert_int_equal(r[0].number, 102);
	fixture_close(&f);
}

/* A client's driver can cause any number of them: the log has some of them, whole. */
static void test_faults_logged(void **state)
{
	enum { FAULTS = 2000 };
	int fd = memfd_create("log", MFD_CLOEXEC);
	struct uvfio_log *log = uvfio_log_new(fd, UVFIO_LOG_WARN);
	unsigned shown = 0;
	struct fixture f;
	struct stat st;
	char *text;

	assert_true(fd >= 0);
	assert_non_null(log);
	fixture_machine(&f);
	f.machine->log = log;
	fixture_add(&f, "probe");
	fixture_open(&f);
	config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
	for (unsigned i = 0; i < FAULTS; i++)
		assert_int_equal(probe_command(&f, CMD_WRITE, 0x2000, 16), -EFAULT);
	fixture_close(&f);
	uvfio_log_flush(log);
	assert_int_equal(fstat(fd, &st), 0);
	text = calloc(1, (size_t)st.st_size + 1);
	assert_non_null(text);
	assert_int_equal(pread(fd, text, (size_t)st.st_size, 0), st.st_size);
	assert_non_null(strstr(text, "0000:01:00.0: DMA write of 16 bytes at IOVA 0x2000 refused: "
				     "the address is not mapped"));
	for (const char *p = text; (p = strstr(p, "refused")); p++)
		shown++;
	/* A few a second. */
	assert_in_range(shown, 1, FAULTS - 1);
	free(text);
	uvfio_log_free(log);
	close(fd);
}

/* A host's reset is not asked for by a user, so it works also where no user could reset. */
static void test_host_reset(void **state)
{
	struct fixture f;

	fixture_up(&f, "probe");
	config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
	bar_put(&f, 0, REG_SCRATCH, 4, 5);
	assert_int_equal(vfio_device_host_reset(f.dev), 0);
	assert_int_equal(f.probe->resets[UVFIO_RESET_FUNCTION], 1);
	assert_int_equal(bar_get(&f, 0, REG_SCRATCH, 4), 0);
	/* Config space is kept, and with it memory and bus mastering. */
	assert_int_equal(config_get(&f, PCI_COMMAND, 2) & COMMAND_ON, COMMAND_ON);
	assert_int_equal(bar_get(&f, 0, REG_STATE, 4), 1);
	vfio_device_release(f.df);
	f.df = NULL;
	assert_int_equal(vfio_device_host_reset(f.dev), 0);
	assert_int_equal(f.probe->resets[UVFIO_RESET_FUNCTION], 2);
	fixture_close(&f);

	/* Two functions in one slot, and nothing but the slot can be reset. */
	fixture_machine(&f);
	fixture_add(&f, "probe,noreset=on,addr=05:00.0");
	fixture_add(&f, "probe,noreset=on,addr=05:00.1");
	f.dev = vfio_machine_get_device(f.machine, "0000:05:00.1");
	assert_int_equal(vfio_device_host_reset(f.dev), -ENOTTY);
	vfio_device_put(f.dev);
	fixture_close(&f);
}

static void count_events(void *arg, const struct vfio_event *event)
{
	unsigned *n = arg;

	n[event->kind]++;
}

static struct vfio_machine *concerned;

static void concern(void *arg, const struct vfio_event *event)
{
	unsigned *n = arg;

	n[0] += vfio_event_concerns(concerned, event, "0000:01:00.0");
	n[1] += vfio_event_concerns(concerned, event, "0000:02:00.0");
}

static void test_observers(void **state)
{
	unsigned a[VFIO_EVENT_CLOSE + 1] = {0}, b[VFIO_EVENT_CLOSE + 1] = {0}, n[2] = {0};
	unsigned more[VFIO_MAX_OBSERVERS][VFIO_EVENT_CLOSE + 1];
	struct fixture f;

	fixture_machine(&f);
	fixture_add(&f, "probe");
	fixture_add(&f, "probe");
	fixture_open(&f);
	assert_int_equal(vfio_machine_observe(f.machine, count_events, a), 0);
	assert_int_equal(vfio_machine_observe(f.machine, count_events, b), 0);
	bar_get(&f, 0, 0, 4);
	vfio_machine_unobserve(f.machine, count_events, a);
	bar_get(&f, 0, 0, 4);
	assert_int_equal(a[VFIO_EVENT_REGION_READ], 1);
	assert_int_equal(b[VFIO_EVENT_REGION_READ], 2);
	vfio_machine_unobserve(f.machine, count_events, a); /* nothing to remove */
	vfio_machine_unobserve(f.machine, count_events, b);

	concerned = f.machine;
	assert_int_equal(vfio_machine_observe(f.machine, concern, n), 0);
	assert_int_equal(dma_map(&f, IOVA, 0, 4096, 3), 0);
	bar_get(&f, 0, 0, 4);
	vfio_machine_unobserve(f.machine, concern, n);
	assert_int_equal(n[0], 2);
	assert_int_equal(n[1], 0);

	for (unsigned i = 0; i < VFIO_MAX_OBSERVERS; i++)
		assert_int_equal(vfio_machine_observe(f.machine, count_events, more[i]), 0);
	assert_int_equal(vfio_machine_observe(f.machine, count_events, a), -ENOSPC);
	for (unsigned i = 0; i < VFIO_MAX_OBSERVERS; i++)
		vfio_machine_unobserve(f.machine, count_events, more[i]);
	fixture_close(&f);
}

/* ---- looking while everything moves ---- */

struct looker {
	struct fixture *f;
	atomic_bool stop;
	_Atomic unsigned rounds;
};

static void ignore(struct uvfio_stats *stats, const struct vfio_stat *stat)
{
}

static void look(struct looker *l)
{
	struct vfio_fault_record faults[VFIO_FAULT_RECORDS];
	struct uvfio_stats stats = {ignore};
	struct vfio_device_stats counters;
	struct vfio_group_state group;
	struct irq_vector_state v[8];
	struct vfio_region_state r;
	struct iommu_listed maps[16];
	struct vfio_bus_state bus;
	struct vfio_opener o[4];
	struct vfio_device **all;
	struct irq_state irq;
	uint64_t total;
	unsigned got, nr = vfio_machine_get_devices(l->f->machine, &all);

	for (unsigned d = 0; d < nr; d++) {
		vfio_device_openers(all[d], o, 4);
		vfio_device_group_state(all[d], &group);
		vfio_device_bus_state(all[d], &bus);
		for (unsigned i = 0; i < VFIO_PCI_NUM_REGIONS; i++)
			vfio_device_region_state(all[d], i, VFIO_MMIO_EXACT, &r);
		for (unsigned i = 0; i < IRQ_NUM; i++) {
			irq_observe(vfio_device_irqs(all[d]), i, &irq);
			irq_observe_vectors(vfio_device_irqs(all[d]), i, 0, v, 8);
		}
		vfio_device_mappings(all[d], 0, maps, 16, &got);
		vfio_device_faults(all[d], faults, VFIO_FAULT_RECORDS, &total);
		vfio_device_model_stats(all[d], &stats);
		vfio_device_stats(all[d], &counters);
		vfio_device_put(all[d]);
	}
	free(all);
}

static void *look_on(void *arg)
{
	struct looker *l = arg;

	while (!atomic_load(&l->stop)) {
		look(l);
		l->rounds++;
	}
	return NULL;
}

static void test_looking_on(void **state)
{
	static const char name[] = "0000:01:00.0";
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct looker l = {0};
	struct fixture f;
	pthread_t thread;
	unsigned rounds = 0;

	fixture_up(&f, "probe,memory=on");
	l.f = &f;
	assert_int_equal(pthread_create(&thread, NULL, look_on, &l), 0);
	while (rounds < 100 || l.rounds < 20) {
		config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
		assert_int_equal(trigger(&f, VFIO_PCI_MSIX_IRQ_INDEX, 0, 4, fd), 0);
		for (unsigned i = 0; i < 8; i++)
			assert_int_equal(dma_map(&f, IOVA + i * 4096ull, 0, 4096, 3), 0);
		probe_command(&f, CMD_IRQ, 0, rounds % 4);
		probe_command(&f, CMD_WRITE, IOVA, 64);
		probe_command(&f, CMD_WRITE, 0, 64);
		if (rounds % 4 == 0)
			assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), 0);
		assert_int_equal(dma_unmap(&f, IOVA, 8 * 4096, NULL), 0);
		if (rounds % 8 == 0) {
			vfio_device_release(f.df);
			assert_int_equal(
				vfio_group_get_device(f.gf, f.client, (uintptr_t)name, &f.df), 0);
		}
		rounds++;
	}
	atomic_store(&l.stop, true);
	pthread_join(thread, NULL);
	fixture_close(&f);
	close(fd);
}

/* ---- a steady stream of events keeps nobody from beginning and ending to observe ---- */

static void *emit_on(void *arg)
{
	struct looker *l = arg;

	while (!atomic_load(&l->stop))
		bar_get(l->f, 0, REG_ID, 4);
	return NULL;
}

static void count_slowly(void *arg, const struct vfio_event *event)
{
	atomic_uint *n = arg;

	/* So that there is always somebody in here. */
	for (unsigned i = 0; i < 2000; i++)
		atomic_fetch_add(n, 1);
}

static void test_steady_events(void **state)
{
	static atomic_uint slow, n;
	pthread_t threads[4];
	struct looker l = {0};
	struct fixture f;

	fixture_up(&f, "probe");
	l.f = &f;
	assert_int_equal(vfio_machine_observe(f.machine, count_slowly, &slow), 0);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, emit_on, &l), 0);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(vfio_machine_observe(f.machine, count_slowly, &n), 0);
		vfio_machine_unobserve(f.machine, count_slowly, &n);
	}
	atomic_store(&l.stop, true);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	vfio_machine_unobserve(f.machine, count_slowly, &slow);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_devices),         cmocka_unit_test(test_openers),
		cmocka_unit_test(test_regions_and_bus), cmocka_unit_test(test_interrupts),
		cmocka_unit_test(test_mappings),        cmocka_unit_test(test_faults),
		cmocka_unit_test(test_faults_logged),   cmocka_unit_test(test_host_reset),
		cmocka_unit_test(test_observers),       cmocka_unit_test(test_looking_on),
		cmocka_unit_test(test_steady_events),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
