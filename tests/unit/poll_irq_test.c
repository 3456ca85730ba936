/* SPDX-License-Identifier: BSD-3-Clause */
/* src/vfio/poll_irq.c: INTx from a timer, as a driver sees it (A.8). */
#include <poll.h>
#include "vfio_fixture.h"
#include "vfio/observe.h"

#define DEVICE "probe,nopin=on,poll-interrupt=100us"

static int set_irqs(struct fixture *f, uint32_t flags, uint32_t count, int32_t fd)
{
	struct {
		struct vfio_irq_set set;
		int32_t fd;
	} req = {{.argsz = sizeof(req), .flags = flags, .index = 0, .count = count}, fd};

	return dev_ioctl(f, VFIO_DEVICE_SET_IRQS, &req);
}

static int enable(struct fixture *f, int32_t fd)
{
	return set_irqs(f, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, 1, fd);
}

static int plain(struct fixture *f, uint32_t action, uint32_t count)
{
	return set_irqs(f, VFIO_IRQ_SET_DATA_NONE | action, count, 0);
}

/* Waits for a signal and takes it. */
static uint64_t await(int fd)
{
	uint64_t n = 0;

	assert_int_equal(read(fd, &n, sizeof(n)), sizeof(n));
	return n;
}

/* Until the timer has ticked at least twice more. */
static void let_it_tick(struct fixture *f)
{
	struct vfio_device *dev = vfio_device_file_device(f->df);
	struct irq_state s;

	for (unsigned i = 0; i < 2; i++) {
		irq_intx_level(vfio_device_irqs(dev), false);
		do {
			usleep(100);
			irq_observe(vfio_device_irqs(dev), VFIO_PCI_INTX_IRQ_INDEX, &s);
		} while (!s.line);
	}
}

static void test_keys(void **state)
{
	static const struct {
		const char *key, *says;
	} bad[] = {
		{"poll-interrupt=", "not a time"},      {"poll-interrupt=1", "not a time"},
		{"poll-interrupt=ms", "not a time"},    {"poll-interrupt=-1ms", "not a time"},
		{"poll-interrupt=1.5ms", "not a time"}, {"poll-interrupt=1h", "not a time"},
		{"poll-interrupt=99us", "60s"},  {"poll-interrupt=61s", "60s"},
		{"poll-interrupt=0s", "60s"},    {"poll-interrupt=9999999999s", "60s"},
	};
	struct uvfio_error err;
	struct fixture f;
	char spec[100];

	fixture_machine(&f);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(spec, sizeof(spec), "probe,nopin=on,%s", bad[i].key);
		assert_int_equal(vfio_machine_add_device(f.machine, spec, &err), -EINVAL);
		assert_non_null(strstr(err.msg, bad[i].says));
	}
	assert_int_equal(vfio_machine_add_device(f.machine, "probe,poll-interrupt=1ms", &err),
			 -EINVAL);
	assert_non_null(strstr(err.msg, "pin"));
	fixture_add(&f, "probe,nopin=on,poll-interrupt=60s");
	fixture_add(&f, "probe,nopin=on,poll-interrupt=2ms");
	fixture_close(&f);
}

static void test_what_is_seen(void **state)
{
	struct vfio_irq_info info = {.argsz = sizeof(info)};
	struct fixture f;
	uint8_t pin = 0;

	fixture_up(&f, DEVICE);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_GET_IRQ_INFO, &info), 0);
	assert_int_equal(info.count, 1);
	assert_int_equal(info.flags,
			 VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED);
	vfio_device_read(f.df, VFIO_REGION_OFFSET(7) + PCI_INTERRUPT_PIN, &pin, 1);
	assert_int_equal(pin, 1);
	fixture_close(&f);
	/* Without the key there is none. */
	fixture_up(&f, "probe,nopin=on");
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_GET_IRQ_INFO, &info), 0);
	assert_int_equal(info.count, 0);
	fixture_close(&f);
}

static void test_ticks_and_automask(void **state)
{
	int fd = eventfd(0, EFD_CLOEXEC);
	struct fixture f;

	fixture_up(&f, DEVICE);
	assert_int_equal(enable(&f, fd), 0);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(await(fd), 1);
		/* Masked by its delivery: however often it ticks, nothing comes. */
		let_it_tick(&f);
		assert_int_equal(poll(&(struct pollfd){fd, POLLIN, 0}, 1, 0), 0);
		/* What ticked meanwhile is one, at once. */
		assert_int_equal(plain(&f, VFIO_IRQ_SET_ACTION_UNMASK, 1), 0);
	}
	fixture_close(&f);
	close(fd);
}

static void test_masked_and_disabled(void **state)
{
	int fd = eventfd(0, EFD_CLOEXEC);
	struct vfio_device_stats stats;
	struct fixture f;
	uint16_t command;

	fixture_up(&f, DEVICE);
	assert_int_equal(enable(&f, fd), 0);
	await(fd);
	command = PCI_COMMAND_MEMORY | PCI_COMMAND_INTX_DISABLE;
	vfio_device_write(f.df, VFIO_REGION_OFFSET(7) + PCI_COMMAND, &command, 2);
	assert_int_equal(plain(&f, VFIO_IRQ_SET_ACTION_UNMASK, 1), 0);
	let_it_tick(&f);
	assert_int_equal(poll(&(struct pollfd){fd, POLLIN, 0}, 1, 0), 0);
	command = PCI_COMMAND_MEMORY;
	vfio_device_write(f.df, VFIO_REGION_OFFSET(7) + PCI_COMMAND, &command, 2);
	assert_int_equal(await(fd), 1);

	/* Switched off and on. */
	assert_int_equal(plain(&f, VFIO_IRQ_SET_ACTION_TRIGGER, 0), 0);
	vfio_device_stats(vfio_device_file_device(f.df), &stats);
	assert_int_equal(stats.irqs, 2);
	assert_int_equal(enable(&f, fd), 0);
	assert_int_equal(await(fd), 1);
	fixture_close(&f);
	close(fd);
}

/* A device that sleeps interrupts nobody; a reset changes nothing (A.5). */
static void test_power_and_reset(void **state)
{
	int fd = eventfd(0, EFD_CLOEXEC);
	struct fixture f;

	fixture_up(&f, DEVICE);
	assert_int_equal(enable(&f, fd), 0);
	await(fd);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), 0);
	assert_int_equal(plain(&f, VFIO_IRQ_SET_ACTION_UNMASK, 1), 0);
	assert_int_equal(await(fd), 1);
	for (unsigned state_d3 = 1; state_d3 < 2; state_d3--) {
		uint32_t pmcsr = state_d3 ? 3 : 0;
		uint8_t cap = 0;

		vfio_device_read(f.df, VFIO_REGION_OFFSET(7) + PCI_CAPABILITY_LIST, &cap, 1);
		for (uint8_t id = 0; cap;) {
			vfio_device_read(f.df, VFIO_REGION_OFFSET(7) + cap, &id, 1);
			if (id == PCI_CAP_ID_PM)
				break;
			vfio_device_read(f.df, VFIO_REGION_OFFSET(7) + cap + 1, &cap, 1);
		}
		assert_true(cap);
		vfio_device_write(f.df, VFIO_REGION_OFFSET(7) + cap + PCI_PM_CTRL, &pmcsr, 2);
	}
	assert_int_equal(plain(&f, VFIO_IRQ_SET_ACTION_UNMASK, 1), 0);
	assert_int_equal(await(fd), 1);
	fixture_close(&f);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_what_is_seen),
		cmocka_unit_test(test_ticks_and_automask),
		cmocka_unit_test(test_masked_and_disabled),
		cmocka_unit_test(test_power_and_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
