/* SPDX-License-Identifier: BSD-3-Clause */
/* src/vfio/low_power.c: suspension while nobody calls (A.10). */
#include <poll.h>
#include "vfio/inject.h"
#include "vfio_fixture.h"
#include "vfio/machine_private.h"
#include "vfio/observe.h"

static uint64_t take(int fd)
{
	uint64_t count = 0;

	return read(fd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

static int hot_reset(struct fixture *f)
{
	struct {
		struct vfio_pci_hot_reset head;
		int32_t fd;
	} req = {{.argsz = sizeof(req), .count = 1}, 1001};

	return dev_ioctl(f, VFIO_DEVICE_PCI_HOT_RESET, &req);
}

static int feature(struct fixture *f, unsigned index, int fd)
{
	struct {
		struct vfio_device_feature head;
		struct vfio_device_low_power_entry_with_wakeup wake;
	} arg = {{sizeof(arg), VFIO_DEVICE_FEATURE_SET | index}, {fd, 0}};

	return dev_ioctl(f, VFIO_DEVICE_FEATURE, &arg);
}

static uint32_t hw_power(struct fixture *f)
{
	return pci_power_state(vfio_device_func(f->dev));
}

/* Suspended in D3 while nobody calls; without NoSoftRst the device loses what it holds. */
static void test_suspended(void **state)
{
	for (unsigned soft = 0; soft < 2; soft++) {
		struct fixture f;

		fixture_up(&f, soft ? "probe" : "probe,shape=no-soft-reset");
		config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
		bar_put(&f, 0, REG_SCRATCH, 4, 7);
		assert_int_equal(feature(&f, VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY, 0), 0);
		assert_int_equal(hw_power(&f), 3);
		assert_false(f.probe->running);
		assert_int_equal(vfio_device_store(f.df, VFIO_REGION_OFFSET(0) + REG_SCRATCH, 4, 1),
				 -EIO);
		assert_int_equal(bar_get(&f, 0, REG_SCRATCH, 4), soft ? 0 : 7);
		assert_int_equal(config_get(&f, PCI_COMMAND, 2), COMMAND_ON);
		assert_int_equal(hw_power(&f), 3);
		/* The host's reset finds it awake, and leaves it suspended. */
		assert_int_equal(vfio_device_host_reset(f.dev), 0);
		assert_int_equal(hw_power(&f), 3);
		assert_int_equal(hot_reset(&f), 0);
		assert_int_equal(hw_power(&f), 3);
		assert_int_equal(feature(&f, VFIO_DEVICE_FEATURE_LOW_POWER_EXIT, 0), 0);
		assert_int_equal(hw_power(&f), 0);
		assert_true(f.probe->running);
		/* Closed while it is suspended. */
		assert_int_equal(feature(&f, VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY, 0), 0);
		fixture_close(&f);
	}
}

/* A power management event ends low power with a wakeup eventfd, and only then. */
static void test_woken(void **state)
{
	uint64_t count = 0;
	struct fixture f;
	int fd = eventfd(0, EFD_NONBLOCK);

	fixture_up(&f, "probe");
	assert_false(vfio_device_inject_wake(f.dev));
	assert_int_equal(feature(&f, VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY, 0), 0);
	assert_int_equal(hw_power(&f), 3);
	assert_true(vfio_device_inject_wake(f.dev));
	assert_int_equal(hw_power(&f), 3);
	assert_int_equal(feature(&f, VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY, 0), -EINVAL);
	assert_int_equal(feature(&f, VFIO_DEVICE_FEATURE_LOW_POWER_EXIT, 0), 0);

	assert_int_equal(feature(&f, VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP, fd), 0);
	assert_int_equal(hw_power(&f), 3);
	assert_true(vfio_device_inject_wake(f.dev));
	assert_int_equal(hw_power(&f), 0);
	assert_int_equal(read(fd, &count, sizeof(count)), sizeof(count));
	assert_int_equal(count, 1);
	assert_false(vfio_device_inject_wake(f.dev));
	assert_int_equal(read(fd, &count, sizeof(count)), -1);
	/* It has ended: it can be entered anew, and calls have the device awake. */
	assert_int_equal(feature(&f, VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY, 0), 0);
	fixture_close(&f);
	close(fd);
}

/* The device model sends the event, as it would from a timer of its own. */
static void test_woken_by_the_model(void **state)
{
	struct pollfd pfd = {.fd = eventfd(0, EFD_NONBLOCK), .events = POLLIN};
	struct uvfio_device *model;
	struct fixture f;

	fixture_up(&f, "probe");
	model = (struct uvfio_device *)f.dev;
	uvfio_pme_raise(model); /* awake: nothing */
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(
			feature(&f, VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP, pfd.fd), 0);
		assert_int_equal(take(pfd.fd), 0);
		assert_int_equal(hw_power(&f), 3);
		for (unsigned n = 0; n <= i; n++)
			uvfio_pme_raise(model);
		assert_int_equal(poll(&pfd, 1, -1), 1);
		/* However many there were; the last one may still be under way. */
		uvfio_trash_wait(f.dev->pme.waker, 0, UVFIO_TRASH_EVER);
		assert_int_equal(take(pfd.fd), 1);
		assert_int_equal(hw_power(&f), 0);
	}
	/* Without an eventfd it goes back to sleep; and is closed and freed with one under way. */
	assert_int_equal(feature(&f, VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY, 0), 0);
	uvfio_pme_raise(model);
	fixture_close(&f);
	close(pfd.fd);
}

/* An interrupt of a suspended device comes when it is awake. */
static void test_suspended_intx(void **state)
{
	struct {
		struct vfio_irq_set hdr;
		int32_t fd;
	} set = {
		.hdr = {.argsz = sizeof(set),
			.flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
			.index = VFIO_PCI_INTX_IRQ_INDEX,
			.count = 1},
		.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
	};
	struct fixture f;

	fixture_up(&f, "probe,shape=no-soft-reset");
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_SET_IRQS, &set), 0);
	assert_int_equal(feature(&f, VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY, 0), 0);
	uvfio_intx_set(f.probe->dev, true);
	assert_int_equal(take(set.fd), 0);
	assert_int_equal(config_get(&f, PCI_VENDOR_ID, 2), 0x1b36);
	assert_int_equal(take(set.fd), 1);
	assert_int_equal(feature(&f, VFIO_DEVICE_FEATURE_LOW_POWER_EXIT, 0), 0);
	assert_int_equal(take(set.fd), 0);
	close(set.fd);
	fixture_close(&f);
}

/* With disable_idle_d3 nothing is suspended, so nothing wakes up. */
static void test_no_idle_d3(void **state)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct vfio_policy policy;
	struct fixture f;

	vfio_policy_default(&policy);
	policy.disable_idle_d3 = true;
	fixture_machine_with(&f, &policy);
	fixture_add(&f, "probe");
	fixture_open(&f);
	assert_int_equal(feature(&f, VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP, fd), 0);
	assert_int_equal(hw_power(&f), 0);
	assert_int_equal(bar_get(&f, 0, REG_ID, 4), PROBE_ID);
	assert_int_equal(take(fd), 0);
	assert_int_equal(feature(&f, VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY, 0), -EINVAL);
	assert_int_equal(feature(&f, VFIO_DEVICE_FEATURE_LOW_POWER_EXIT, 0), 0);
	assert_int_equal(take(fd), 0);
	close(fd);
	fixture_close(&f);
}

struct caller {
	struct fixture *f;
	atomic_bool stop;
	atomic_uint wrong;
};

static void *call_thread(void *arg)
{
	struct caller *caller = arg;

	while (!atomic_load(&caller->stop)) {
		uint32_t id = 0, vendor = 0;

		if (vfio_device_read(caller->f->df, VFIO_REGION_OFFSET(0) + REG_ID, &id, 4) != 4 ||
		    id != PROBE_ID)
			atomic_fetch_add(&caller->wrong, 1);
		if (vfio_device_read(caller->f->df,
				     VFIO_REGION_OFFSET(VFIO_PCI_CONFIG_REGION_INDEX), &vendor,
				     2) != 2 ||
		    vendor != 0x1b36)
			atomic_fetch_add(&caller->wrong, 1);
	}
	return NULL;
}

/* Calls of other threads never find the device asleep. */
static void test_suspended_races(void **state)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct caller caller = {.stop = false};
	pthread_t threads[2];
	struct fixture f;

	fixture_up(&f, "probe");
	caller.f = &f;
	for (unsigned i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, call_thread, &caller);
	for (unsigned i = 0; i < 200; i++) {
		bool wake = i & 1;

		assert_int_equal(feature(&f,
					 wake ? VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP
					      : VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY,
					 fd),
				 0);
		assert_int_equal(bar_get(&f, 0, REG_ID, 4), PROBE_ID);
		assert_int_equal(feature(&f, VFIO_DEVICE_FEATURE_LOW_POWER_EXIT, 0), 0);
		assert_true(take(fd) <= wake);
	}
	atomic_store(&caller.stop, true);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(caller.wrong, 0);
	close(fd);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_suspended),          cmocka_unit_test(test_woken),
		cmocka_unit_test(test_woken_by_the_model), cmocka_unit_test(test_suspended_intx),
		cmocka_unit_test(test_no_idle_d3),         cmocka_unit_test(test_suspended_races),
	};

	return cmocka_run_group_tests_name("low_power", tests, NULL, NULL);
}
