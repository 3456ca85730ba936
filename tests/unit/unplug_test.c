/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * src/vfio/unplug.c: a device is asked for, given back, or taken away; devices come and go while
 * others are used.
 */
#include "req_util.h"
#include "vfio/machine_private.h"

#define IOVA 0x40000000ull
#define NAME "0000:01:00.0"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static unsigned nr_removed;
static char last_removed[32];

static void removed(void *arg, const char *name)
{
	struct fixture *f = arg;

	/* It may call the machine. */
	assert_null(vfio_machine_get_device(f->machine, name));
	pthread_mutex_lock(&lock);
	nr_removed++;
	snprintf(last_removed, sizeof(last_removed), "%s", name);
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&lock);
}

static void wait_removed(unsigned n)
{
	pthread_mutex_lock(&lock);
	while (nr_removed < n)
		pthread_cond_wait(&cond, &lock);
	pthread_mutex_unlock(&lock);
}

static int start_removal(struct fixture *f, const char *name, unsigned limit_ms)
{
	struct uvfio_error err = {""};
	int ret = vfio_machine_remove_device(f->machine, name, limit_ms, removed, f, &err);

	assert_int_equal(ret != 0, err.msg[0] != 0);
	return ret;
}

static unsigned count_devices(struct fixture *f)
{
	return vfio_machine_devices(f->machine, NULL, 0);
}

static void close_device(struct fixture *f)
{
	vfio_device_release(f->df);
	f->df = NULL;
}

static void test_unused(void **state)
{
	struct vfio_group_file *gf;
	struct fixture f;

	fixture_machine(&f);
	nr_removed = 0;
	assert_int_equal(start_removal(&f, NAME, VFIO_REMOVE_WAIT), -ENODEV);
	fixture_add(&f, "probe");
	fixture_add(&f, "probe,addr=0000:01:00.1");
	fixture_add(&f, "probe");
	assert_int_equal(count_devices(&f), 3);
	assert_int_equal(start_removal(&f, NAME, VFIO_REMOVE_WAIT), 0);
	wait_removed(1);
	assert_string_equal(last_removed, NAME);
	assert_int_equal(count_devices(&f), 2);
	/* The group goes with its last device, and comes back with a new one. */
	assert_int_equal(vfio_group_open(f.machine, 1, &gf), 0);
	assert_int_equal(start_removal(&f, "0000:01:00.1", 0), 0);
	wait_removed(2);
	vfio_group_release(gf);
	assert_int_equal(vfio_group_open(f.machine, 1, &gf), -ENODEV);
	assert_int_equal(vfio_group_open(f.machine, 2, &gf), 0);
	vfio_group_release(gf);
	fixture_add(&f, "probe,addr=" NAME ",group=1");
	assert_int_equal(vfio_group_open(f.machine, 1, &gf), 0);
	vfio_group_release(gf);
	fixture_close(&f);
}

/* The polite way: REQ, again and again, until the last file is closed. */
static void test_asked(void **state)
{
	static const char name[] = NAME;
	struct vfio_device_file *df, *second;
	struct fixture f;
	int fd = eventfd(0, EFD_CLOEXEC);

	nr_removed = 0;
	fixture_machine(&f);
	f.machine->req_interval_ns = 1000000;
	fixture_add(&f, "probe");
	fixture_open(&f);
	assert_int_equal(vfio_group_get_device(f.gf, f.client, (uintptr_t)name, &second), 0);
	config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
	assert_int_equal(dma_map(&f, IOVA, 0, 4096, 3), 0);
	set_req(&f, fd);
	assert_int_equal(start_removal(&f, NAME, VFIO_REMOVE_WAIT), 0);
	assert_int_equal(start_removal(&f, NAME, VFIO_REMOVE_WAIT), -EALREADY);
	for (unsigned i = 0; i < 3; i++)
		await(fd);
	/* Nobody new gets it, but who has it can use it. */
	assert_int_equal(vfio_group_get_device(f.gf, f.client, (uintptr_t)name, &df), -ENODEV);
	assert_int_equal(probe_command(&f, CMD_WRITE, IOVA, 8), 0);
	assert_int_equal(bar_get(&f, 0, REG_ID, 4), PROBE_ID);
	close_device(&f);
	assert_int_equal(count_devices(&f), 1);
	await(fd);
	vfio_device_release(second);
	wait_removed(1);
	assert_int_equal(count_devices(&f), 0);
	assert_int_equal(vfio_group_get_device(f.gf, f.client, (uintptr_t)name, &df), -ENODEV);
	fixture_close(&f);
	close(fd);
}

static void wait_cut(struct fixture *f)
{
	while (!device_is_cut(f->dev))
		sched_yield();
	/* Who cuts has the lock until all is done. */
	pthread_mutex_lock(&f->dev->config_lock);
	pthread_mutex_unlock(&f->dev->config_lock);
}

/* Pulled out first, asked for then, and again. */
static void test_surprise(void **state)
{
	int req = eventfd(0, EFD_CLOEXEC);
	struct fixture f;

	nr_removed = 0;
	fixture_up(&f, "probe");
	f.machine->req_interval_ns = 1000000;
	set_req(&f, req);
	assert_int_equal(start_removal(&f, NAME, VFIO_REMOVE_SURPRISE), 0);
	wait_cut(&f);
	await(req);
	assert_int_equal(bar_get(&f, 0, REG_ID, 4), 0xffffffff);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), -ENOTTY);
	await(req);
	await(req);
	assert_int_equal(start_removal(&f, NAME, 0), -EALREADY);
	close_device(&f);
	wait_removed(1);
	fixture_close(&f);
	close(req);
}

/* One that was asked for is pulled out. */
static void test_asked_then_surprise(void **state)
{
	int req = eventfd(0, EFD_CLOEXEC);
	struct fixture f;

	nr_removed = 0;
	fixture_up(&f, "probe");
	set_req(&f, req);
	assert_int_equal(start_removal(&f, NAME, VFIO_REMOVE_WAIT), 0);
	await(req);
	assert_int_equal(bar_get(&f, 0, REG_ID, 4), PROBE_ID);
	assert_int_equal(start_removal(&f, NAME, VFIO_REMOVE_SURPRISE), -EALREADY);
	wait_cut(&f);
	close_device(&f);
	wait_removed(1);
	fixture_close(&f);
	close(req);
}

static void test_pulled_out(void **state)
{
	uint8_t buf[64], ones[64];
	uint64_t value;
	struct fixture f;
	bool writable, trap;

	nr_removed = 0;
	fixture_machine(&f);
	fixture_add(&f, "probe,memory=on");
	fixture_open(&f);
	config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
	assert_int_equal(dma_map(&f, IOVA, 0, 4096, 3), 0);
	assert_true(vfio_device_view_fd(f.dev) >= 0);
	assert_int_equal(probe_command(&f, CMD_HOLD, IOVA, 8), 0);
	assert_int_equal(start_removal(&f, NAME, VFIO_REMOVE_WAIT), 0);
	assert_int_equal(start_removal(&f, NAME, 0), -EALREADY); /* in earnest */
	wait_cut(&f);
	assert_false(f.probe->pinned);

	memset(ones, 0xff, sizeof(ones));
	assert_int_equal(vfio_device_read(f.df, VFIO_REGION_OFFSET(0), buf, 64), 64);
	assert_memory_equal(buf, ones, 64);
	assert_int_equal(config_get(&f, PCI_VENDOR_ID, 4), 0xffffffff);
	config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
	assert_int_equal(bar_get(&f, 0, REG_ID, 4), 0xffffffff);
	bar_put(&f, 0, REG_SCRATCH, 4, 1);
	/* The bounds are what they were. */
	assert_int_equal(vfio_device_read(f.df, VFIO_REGION_OFFSET(0) + 16384, buf, 4), -EINVAL);
	assert_int_equal(vfio_device_read(f.df, VFIO_REGION_OFFSET(0) + 16382, buf, 4), 2);
	assert_int_equal(vfio_device_read(f.df, VFIO_REGION_OFFSET(1), buf, 4), -EINVAL);
	assert_int_equal(vfio_device_read(f.df,
					  VFIO_REGION_OFFSET(VFIO_PCI_CONFIG_REGION_INDEX) + 4094,
					  buf, 4),
			 -EFAULT);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), -ENOTTY);
	assert_int_equal(
		vfio_device_mmap(f.df, VFIO_REGION_OFFSET(0), 4096, true, &writable, &trap), 0);
	/* Mapped pages read as hardware's would. */
	assert_int_equal(vfio_device_store(f.df, VFIO_REGION_OFFSET(0) + REG_SCRATCH, 4, 7), 0);
	assert_int_equal(vfio_device_load(f.df, VFIO_REGION_OFFSET(0) + REG_COUNTER, 4, &value), 0);
	assert_int_equal(value, 0xffffffff);
	assert_int_equal(f.dev->view.state, VIEW_ONES);
	assert_int_equal(pread(f.dev->view.fd, ones, 64, (off_t)VFIO_REGION_OFFSET(2)), 64);
	assert_memory_equal(buf, ones, 64);
	assert_false(f.probe->running);
	assert_int_equal(count_devices(&f), 1);
	close_device(&f);
	wait_removed(1);
	assert_int_equal(count_devices(&f), 0);
	fixture_close(&f);
}

static void test_interrupts_stop(void **state)
{
	struct {
		struct vfio_irq_set hdr;
		int32_t fd;
	} req = {{.argsz = sizeof(req),
		  .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
		  .index = VFIO_PCI_MSIX_IRQ_INDEX,
		  .count = 1},
		 eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
	struct fixture f;
	uint64_t value;

	nr_removed = 0;
	fixture_up(&f, "probe");
	config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_SET_IRQS, &req), 0);
	uvfio_irq_raise(f.probe->dev, 0);
	assert_int_equal(read(req.fd, &value, 8), 8);
	assert_int_equal(start_removal(&f, NAME, 0), 0);
	wait_cut(&f);
	uvfio_irq_raise(f.probe->dev, 0);
	config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
	assert_int_equal(read(req.fd, &value, 8), -1);
	close_device(&f);
	wait_removed(1);
	fixture_close(&f);
	close(req.fd);
}

/* Memory goes when the last one who looks has looked away. */
static void test_watched(void **state)
{
	struct vfio_device **devs;
	struct fixture f;
	unsigned n;

	nr_removed = 0;
	fixture_machine(&f);
	fixture_add(&f, "probe");
	fixture_add(&f, "probe");
	n = vfio_machine_get_devices(f.machine, &devs);
	assert_int_equal(n, 2);
	assert_int_equal(start_removal(&f, NAME, 0), 0);
	while (count_devices(&f) == 2)
		sched_yield();
	assert_string_equal(vfio_device_name(devs[0]), NAME);
	assert_int_equal(vfio_device_group(devs[0]), 1);
	assert_int_equal(nr_removed, 0);
	vfio_devices_put(devs, n);
	wait_removed(1);
	fixture_close(&f);
}

/* Somebody looks at one for ever: the others go. */
static void test_one_is_stuck(void **state)
{
	struct vfio_device **devs;
	struct fixture f;
	unsigned n;

	nr_removed = 0;
	fixture_machine(&f);
	for (unsigned i = 0; i < 4; i++)
		fixture_add(&f, "probe");
	n = vfio_machine_get_devices(f.machine, &devs);
	assert_int_equal(n, 4);
	vfio_device_put(devs[2]);
	vfio_device_put(devs[3]);
	assert_int_equal(start_removal(&f, NAME, 0), 0);
	assert_int_equal(start_removal(&f, "0000:02:00.0", 0), 0);
	while (count_devices(&f) > 2)
		sched_yield();
	assert_int_equal(start_removal(&f, "0000:03:00.0", 0), 0);
	wait_removed(1);
	assert_string_equal(last_removed, "0000:03:00.0");
	assert_int_equal(start_removal(&f, "0000:04:00.0", VFIO_REMOVE_WAIT), 0);
	wait_removed(2);
	assert_string_equal(last_removed, "0000:04:00.0");
	vfio_device_put(devs[1]);
	wait_removed(3);
	assert_string_equal(last_removed, "0000:02:00.0");
	vfio_device_put(devs[0]);
	wait_removed(4);
	free(devs);
	fixture_close(&f);
}

/* The machine's end completes what was begun. */
static void test_free_completes(void **state)
{
	struct fixture f;

	nr_removed = 0;
	fixture_up(&f, "probe");
	assert_int_equal(start_removal(&f, NAME, VFIO_REMOVE_WAIT), 0);
	fixture_close(&f);
	assert_int_equal(nr_removed, 1);
}

/* ---- while others are at work ---- */

struct storm {
	struct fixture *f;
	atomic_bool stop;
	atomic_uint opens;
};

static void *storm_user(void *arg)
{
	struct storm *s = arg;
	struct vfio_container *container;
	struct vfio_group_file *gf;
	struct vfio_device_file *df;
	static const char name[] = "0000:02:00.0";
	int ret;

	while (!s->stop) {
		if (vfio_group_open(s->f->machine, 2, &gf))
			continue;
		assert_int_equal(vfio_container_open(s->f->machine, &container), 0);
		/* The group may lose its device at any moment, and leaves the container then. */
		ret = vfio_group_set_container(gf, container);
		assert_true(!ret || ret == -ENODEV);
		ret = vfio_container_ioctl(container, s->f->client, VFIO_SET_IOMMU,
					   VFIO_TYPE1v2_IOMMU);
		assert_true(!ret || ret == -EINVAL);
		if (!vfio_group_get_device(gf, s->f->client, (uintptr_t)name, &df)) {
			uint32_t value;

			assert_int_equal(vfio_device_read(df, VFIO_REGION_OFFSET(7), &value, 4), 4);
			s->opens++;
			vfio_device_release(df);
		}
		vfio_group_release(gf);
		vfio_container_release(container);
	}
	return NULL;
}

static void *storm_lister(void *arg)
{
	struct storm *s = arg;

	while (!s->stop) {
		struct vfio_device **devs;
		unsigned n = vfio_machine_get_devices(s->f->machine, &devs);
		uint8_t config[4096];

		for (unsigned i = 0; i < n; i++) {
			struct vfio_group_state group;

			vfio_device_group_state(devs[i], &group);
			vfio_device_hw_config(devs[i], config, false);
		}
		vfio_devices_put(devs, n);
	}
	return NULL;
}

static void test_storm(void **state)
{
	struct storm s = {0};
	pthread_t threads[3];
	struct fixture f;

	nr_removed = 0;
	fixture_machine(&f);
	f.machine->req_interval_ns = 100000;
	s.f = &f;
	fixture_add(&f, "probe");
	fixture_add(&f, "probe,addr=0000:02:00.0,group=2");
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, i < 2 ? storm_user : storm_lister, &s),
			0);
	for (unsigned i = 0; i < 60 || s.opens < 20; i++) {
		assert_int_equal(start_removal(&f, "0000:02:00.0", i % 3 ? VFIO_REMOVE_WAIT : 0),
				 0);
		wait_removed(i + 1);
		fixture_add(&f, "probe,addr=0000:02:00.0,group=2");
	}
	s.stop = true;
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(count_devices(&f), 2);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unused),     cmocka_unit_test(test_asked),
		cmocka_unit_test(test_surprise),   cmocka_unit_test(test_asked_then_surprise),
		cmocka_unit_test(test_pulled_out), cmocka_unit_test(test_interrupts_stop),
		cmocka_unit_test(test_watched),    cmocka_unit_test(test_free_completes),
		cmocka_unit_test(test_storm),      cmocka_unit_test(test_one_is_stuck),
	};

	guarded_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
