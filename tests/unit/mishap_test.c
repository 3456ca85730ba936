/* SPDX-License-Identifier: BSD-3-Clause */
/* src/vfio/mishap.c: what goes wrong on demand, as a driver meets it. */
#include <poll.h>
#include <time.h>
#include "vfio_fixture.h"
#include "vfio/inject.h"
#include "vfio/observe.h"

#define LONG_NS 50000000000ull /* nobody waits for it to pass */

static struct vfio_device *device_of(struct fixture *f)
{
	return vfio_device_file_device(f->df);
}

static struct vfio_injected left(struct fixture *f)
{
	struct vfio_injected injected;

	vfio_device_injected(device_of(f), &injected);
	return injected;
}

static void bus_master_on(struct fixture *f)
{
	uint16_t command = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;

	vfio_device_write(f->df, VFIO_REGION_OFFSET(7) + PCI_COMMAND, &command, 2);
}

static void test_faults(void **state)
{
	struct vfio_fault_record r[8];
	struct fixture f;
	uint64_t total;

	fixture_up(&f, "probe");
	assert_int_equal(dma_map(&f, 0x100000, 0, 4096, 3), 0);
	bus_master_on(&f);
	assert_int_equal(probe_command(&f, CMD_WRITE, 0x100000, 16), 0);
	vfio_device_inject_faults(device_of(&f), 3);
	assert_int_equal(left(&f).faults, 3);
	assert_int_equal(probe_command(&f, CMD_WRITE, 0x100000, 16), -EFAULT);
	assert_int_equal(probe_command(&f, CMD_READ, 0x100000, 16), -EFAULT);
	assert_int_equal(probe_command(&f, CMD_HOLD, 0x100000, 16), -EFAULT);
	assert_int_equal(probe_command(&f, CMD_WRITE, 0x100000, 16), 0);
	assert_int_equal(vfio_device_faults(device_of(&f), r, 8, &total), 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(r[i].fault.reason, IOMMU_FAULT_INJECTED);
		assert_int_equal(r[i].fault.iova, 0x100000);
		assert_int_equal(r[i].result, -EFAULT);
	}
	vfio_device_inject_faults(device_of(&f), 100);
	vfio_device_inject_nothing(device_of(&f));
	assert_int_equal(probe_command(&f, CMD_WRITE, 0x100000, 16), 0);
	fixture_close(&f);
}

static void test_stuck_reset(void **state)
{
	struct fixture f;

	fixture_up(&f, "probe");
	bar_put(&f, 0, REG_SCRATCH, 4, 77);
	vfio_device_inject_stuck_resets(device_of(&f), 2, 1000000);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), -ENOTTY);
	assert_int_equal(left(&f).stuck_resets, 1);
	/* It was not reset, and works as before. */
	assert_int_equal(bar_get(&f, 0, REG_SCRATCH, 4), 77);
	assert_int_equal(f.probe->resets[UVFIO_RESET_FUNCTION], 0);
	assert_int_equal(vfio_device_host_reset(device_of(&f)), -ENOTTY);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), 0);
	assert_int_equal(bar_get(&f, 0, REG_SCRATCH, 4), 0);
	fixture_close(&f);
}

/* A reset that fails at open is tolerated, and there is none then (A.3). */
static void test_stuck_at_open(void **state)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};
	struct vfio_device *dev;
	struct fixture f;

	fixture_machine(&f);
	fixture_add(&f, "probe");
	dev = vfio_machine_get_device(f.machine, "0000:01:00.0");
	vfio_device_inject_stuck_resets(dev, 1, 1000);
	vfio_device_put(dev);
	fixture_open(&f);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_GET_INFO, &info), 0);
	assert_false(info.flags & VFIO_DEVICE_FLAGS_RESET);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), -EINVAL);
	fixture_close(&f);
}

static void *reset_thread(void *arg)
{
	return (void *)(intptr_t)dev_ioctl(arg, VFIO_DEVICE_RESET, NULL);
}

/* What is stuck ends when it is told to, or when the device is taken away. */
static void test_stuck_is_woken(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		struct uvfio_error err;
		pthread_t thread;
		struct fixture f;
		void *ret;

		fixture_up(&f, "probe");
		vfio_device_inject_stuck_resets(device_of(&f), 1, LONG_NS);
		assert_int_equal(pthread_create(&thread, NULL, reset_thread, &f), 0);
		while (left(&f).stuck_resets)
			usleep(100);
		if (i)
			assert_int_equal(vfio_machine_remove_device(f.machine, "0000:01:00.0", 0,
								    NULL, NULL, &err),
					 0);
		else
			vfio_device_inject_nothing(device_of(&f));
		assert_int_equal(pthread_join(thread, &ret), 0);
		assert_int_equal((intptr_t)ret, -ENOTTY);
		fixture_close(&f);
	}
}

static void test_slow(void **state)
{
	struct timespec before, after;
	struct fixture f;
	uint32_t id;

	fixture_up(&f, "probe");
	assert_int_equal(vfio_device_read_nowait(f.df, VFIO_REGION_OFFSET(0), &id, 4), 4);
	vfio_device_inject_slow_mmio(device_of(&f), 5000000);
	assert_int_equal(left(&f).slow_ns, 5000000);
	/* A door's loop must not be held up by it. */
	assert_int_equal(vfio_device_read_nowait(f.df, VFIO_REGION_OFFSET(0), &id, 4), -EAGAIN);
	clock_gettime(CLOCK_MONOTONIC, &before);
	assert_int_equal(bar_get(&f, 0, REG_ID, 4), PROBE_ID);
	clock_gettime(CLOCK_MONOTONIC, &after);
	assert_true((after.tv_sec - before.tv_sec) * 1000000000ll + after.tv_nsec -
			    before.tv_nsec >=
		    5000000);
	vfio_device_inject_slow_mmio(device_of(&f), 0);
	assert_int_equal(vfio_device_read_nowait(f.df, VFIO_REGION_OFFSET(0), &id, 4), 4);
	fixture_close(&f);
}

static int set_irqs(struct fixture *f, uint32_t index, uint32_t flags, uint32_t count, int32_t a,
		    int32_t b)
{
	struct {
		struct vfio_irq_set set;
		int32_t fds[2];
	} req = {{.argsz = sizeof(req), .flags = flags, .index = index, .count = count}, {a, b}};

	return dev_ioctl(f, VFIO_DEVICE_SET_IRQS, &req);
}

#define ENABLE (VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER)
#define UNMASK (VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK)

static void test_storm_of_messages(void **state)
{
	int a = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), b = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct uvfio_error err = {""};
	struct fixture f;
	uint64_t n;

	fixture_up(&f, "probe");
	assert_int_equal(vfio_device_inject_irqs(device_of(&f), 5, &err), -EINVAL);
	assert_true(err.msg[0]);
	bus_master_on(&f);
	assert_int_equal(set_irqs(&f, VFIO_PCI_MSIX_IRQ_INDEX, ENABLE, 2, a, b), 0);
	assert_int_equal(vfio_device_inject_irqs(device_of(&f), 1000, &err), 0);
	assert_int_equal(read(a, &n, sizeof(n)), sizeof(n));
	assert_int_equal(n, 1000);
	assert_int_equal(read(b, &n, sizeof(n)), sizeof(n));
	assert_int_equal(n, 1000);
	fixture_close(&f);
	close(a);
	close(b);
}

/* Automasked each time: the line stays asserted. */
static void test_storm_of_intx(void **state)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct uvfio_error err;
	struct fixture f;
	uint64_t n;

	fixture_up(&f, "probe");
	assert_int_equal(set_irqs(&f, VFIO_PCI_INTX_IRQ_INDEX, ENABLE, 1, fd, -1), 0);
	assert_int_equal(vfio_device_inject_irqs(device_of(&f), 3, &err), 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(left(&f).intx, 2 - i);
		assert_int_equal(read(fd, &n, sizeof(n)), sizeof(n));
		assert_int_equal(n, 1);
		assert_int_equal(set_irqs(&f, VFIO_PCI_INTX_IRQ_INDEX, UNMASK, 1, 0, 0), 0);
	}
	assert_int_equal(read(fd, &n, sizeof(n)), -1);
	assert_int_equal(vfio_device_inject_irqs(device_of(&f), 9, &err), 0);
	vfio_device_inject_nothing(device_of(&f));
	assert_int_equal(read(fd, &n, sizeof(n)), sizeof(n));
	assert_int_equal(set_irqs(&f, VFIO_PCI_INTX_IRQ_INDEX, UNMASK, 1, 0, 0), 0);
	assert_int_equal(read(fd, &n, sizeof(n)), -1);
	fixture_close(&f);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_faults),        cmocka_unit_test(test_stuck_reset),
		cmocka_unit_test(test_stuck_at_open), cmocka_unit_test(test_stuck_is_woken),
		cmocka_unit_test(test_slow),          cmocka_unit_test(test_storm_of_messages),
		cmocka_unit_test(test_storm_of_intx),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
