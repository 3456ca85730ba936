/* SPDX-License-Identifier: BSD-3-Clause */
/* The test device, in a machine, as a client of this process sees it. */
#include "vfio_fixture.h"

#include <poll.h>
#include <sched.h>

#include "base/guard.h"
#include "devices/pcitest/pcitest_model.h"
#include "devices/pcitest/pcitest_spec.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))

static void up(struct fixture *f, const char *spec)
{
	fixture_machine(f);
	assert_int_equal(vfio_machine_add_model(f->machine, &pcitest_model), 0);
	fixture_add(f, spec);
	fixture_open(f);
	config_put(f, PCI_COMMAND, 2, COMMAND_ON);
}

static uint32_t reg(struct fixture *f, uint64_t offset)
{
	return (uint32_t)bar_get(f, 0, offset, 4);
}

static void set_reg(struct fixture *f, uint64_t offset, uint32_t value)
{
	bar_put(f, 0, offset, 4, value);
}

static void test_options(void **state)
{
	static const char *const wrong[] = {
		"pcitest,interrupts=nmi", "pcitest,vectors=0",  "pcitest,vectors=257",
		"pcitest,memory=3M",      "pcitest,memory=2K",  "pcitest,memory=2G",
		"pcitest,reset=cold",     "pcitest,pcie=maybe", "pcitest,pcie=off,reset=flr",
		"pcitest,device=0x10000", "pcitest,colour=red",
	};
	struct uvfio_error err;
	struct fixture f;

	fixture_machine(&f);
	assert_int_equal(vfio_machine_add_model(f.machine, &pcitest_model), 0);
	for (unsigned i = 0; i < N(wrong); i++) {
		err.msg[0] = '\0';
		assert_int_equal(vfio_machine_add_device(f.machine, wrong[i], &err), -EINVAL);
		assert_true(err.msg[0]);
	}
	fixture_close(&f);
	up(&f, "pcitest,vendor=0x8086,device=0x10d3,pcie=off,reset=none,memory=4K");
	assert_int_equal(config_get(&f, 0, 4), 0x10d38086);
	assert_int_equal(pci_func_config_size(vfio_device_func(f.dev)), 256);
	fixture_close(&f);
}

static uint64_t region_size(struct fixture *f, unsigned index, uint32_t *flags)
{
	struct vfio_region_info info = {.argsz = sizeof(info), .index = index};

	assert_int_equal(dev_ioctl(f, VFIO_DEVICE_GET_REGION_INFO, &info), 0);
	*flags = info.flags;
	return info.size;
}

static void test_bars(void **state)
{
	static const struct {
		unsigned index;
		uint64_t size;
		uint32_t bits; /* of the base address register */
	} rows[] = {
		{0, PCITEST_REGS_SIZE, 0},  {1, PCITEST_IO_SIZE, 1},
		{2, 2 << 20, 0xc},          {3, 0, 0},
		{4, PCITEST_SMALL_SIZE, 0}, {5, 0, 0},
		{6, PCITEST_ROM_SIZE, 0},
	};
	struct fixture f;
	uint32_t flags;

	up(&f, "pcitest,memory=2M");
	for (unsigned i = 0; i < N(rows); i++) {
		assert_int_equal(region_size(&f, rows[i].index, &flags), rows[i].size);
		if (i < 6 && i != 3)
			assert_int_equal(config_get(&f, PCI_BASE_ADDRESS_0 + 4 * i, 4) & 0xf,
					 rows[i].bits);
	}
	assert_int_equal(config_get(&f, 0, 4), PCITEST_DEVICE << 16 | PCITEST_VENDOR);
	assert_int_equal(reg(&f, PCITEST_ID), PCITEST_MAGIC);
	assert_int_equal(reg(&f, PCITEST_VERSION), PCITEST_REVISION);
	assert_int_equal(bar_get(&f, 0, PCITEST_MEMORY_SIZE, 8), 2 << 20);
	assert_int_equal(bar_get(&f, 6, 0, 2), 0xaa55);
	assert_int_equal(bar_get(&f, 6, bar_get(&f, 6, 0x18, 2), 4), 0x52494350); /* PCIR */
	bar_put(&f, 2, (2 << 20) - 8, 8, 0x1122334455667788);
	assert_int_equal(bar_get(&f, 2, (2 << 20) - 8, 8), 0x1122334455667788);
	fixture_close(&f);
}

/* Each access is counted by BAR, direction and width, those to the registers too. */
static void test_counts(void **state)
{
	static const unsigned pads[] = {PCITEST_BAR_IO, PCITEST_BAR_SMALL};
	struct fixture f;

	up(&f, "pcitest");
	for (unsigned i = 0; i < 2; i++) {
		unsigned bar = pads[i];

		assert_int_equal(bar_get(&f, bar, PCITEST_PAD_ID, 4), PCITEST_MAGIC);
		bar_put(&f, bar, PCITEST_PAD_ID, 4, 0);
		bar_put(&f, bar, PCITEST_PAD_DATA, 1, 0x5a);
		bar_put(&f, bar, PCITEST_PAD_DATA + 2, 2, 0x1234);
		bar_put(&f, bar, PCITEST_PAD_DATA + 4, 4, 0x89abcdef);
		assert_int_equal(bar_get(&f, bar, PCITEST_PAD_DATA, 4), 0x1234005a);
		assert_int_equal(bar_get(&f, bar, PCITEST_PAD_DATA + 4, 2), 0xcdef);
		assert_int_equal(bar_get(&f, bar, PCITEST_PAD_DATA + 4, 1), 0xef);
		assert_int_equal(bar_get(&f, bar, PCITEST_PAD_ID, 4), PCITEST_MAGIC);
		assert_int_equal(reg(&f, PCITEST_READS(bar, 0)), 1);
		assert_int_equal(reg(&f, PCITEST_READS(bar, 1)), 1);
		assert_int_equal(reg(&f, PCITEST_READS(bar, 2)), 3);
		assert_int_equal(reg(&f, PCITEST_WRITES(bar, 0)), 1);
		assert_int_equal(reg(&f, PCITEST_WRITES(bar, 1)), 1);
		assert_int_equal(reg(&f, PCITEST_WRITES(bar, 2)), 2);
	}
	bar_put(&f, 0, PCITEST_SCRATCH, 8, 0x1122334455667788);
	bar_put(&f, 0, PCITEST_SCRATCH + 3, 1, 0xaa);
	assert_int_equal(bar_get(&f, 0, PCITEST_SCRATCH, 8), 0x11223344aa667788);
	assert_int_equal(reg(&f, PCITEST_WRITES(0, 0)), 1);
	assert_int_equal(reg(&f, PCITEST_WRITES(0, 3)), 1);
	set_reg(&f, PCITEST_DOORBELLS + 4 * 5, 77);
	assert_int_equal(reg(&f, PCITEST_LAST_DOORBELL + 4 * 5), 77);
	set_reg(&f, PCITEST_COUNTS(0), 0);
	assert_int_equal(reg(&f, PCITEST_WRITES(0, 2)), 0);
	assert_int_equal(reg(&f, PCITEST_READS(PCITEST_BAR_IO, 2)), 0);
	fixture_close(&f);
}

/* Vital product data as a client reads it: the checksum is right, and the end is where it says. */
static void test_vpd(void **state)
{
	uint8_t vpd[68], sum = 0;
	unsigned at;
	struct fixture f;

	up(&f, "pcitest");
	at = pci_find_cap(vfio_device_func(f.dev), PCI_CAP_ID_VPD);
	assert_true(at);
	for (unsigned i = 0; i < sizeof(vpd); i += 4) {
		uint32_t word;

		config_put(&f, at + PCI_VPD_ADDR, 2, i);
		assert_int_equal(config_get(&f, at + PCI_VPD_ADDR, 2), i | PCI_VPD_ADDR_F);
		word = config_get(&f, at + PCI_VPD_DATA, 4);
		memcpy(vpd + i, &word, 4);
	}
	assert_int_equal(vpd[0], 0x82);
	assert_int_equal(vpd[20], 0x90);
	assert_memory_equal(vpd + 44, "RV", 2);
	for (unsigned i = 0; i <= 47; i++)
		sum = (uint8_t)(sum + vpd[i]);
	assert_int_equal(sum, 0);
	assert_int_equal(vpd[49], 0x91);
	assert_int_equal(vpd[67], 0x78);
	fixture_close(&f);
}

static void test_config_writes(void **state)
{
	struct fixture f;
	unsigned at;

	up(&f, "pcitest");
	at = pci_find_cap(vfio_device_func(f.dev), PCI_CAP_ID_VNDR);
	config_put(&f, at + 12, 4, 0x12345678);
	assert_int_equal(config_get(&f, at + 12, 4), 0x12345678);
	assert_int_equal(reg(&f, PCITEST_CONFIG_WRITES), 1);
	fixture_close(&f);
}

static int dma(struct fixture *f, uint64_t address, uint32_t length, uint32_t buffer,
	       uint32_t command)
{
	uint32_t count = reg(f, PCITEST_DMA_COUNT);

	bar_put(f, 0, PCITEST_DMA_ADDRESS, 8, address);
	set_reg(f, PCITEST_DMA_LENGTH, length);
	set_reg(f, PCITEST_DMA_BUFFER, buffer);
	set_reg(f, PCITEST_DMA_COMMAND, command);
	while (reg(f, PCITEST_DMA_COUNT) == count)
		sched_yield();
	if (reg(f, PCITEST_DMA_STATUS) == PCITEST_DONE) {
		assert_int_equal(reg(f, PCITEST_DMA_ERROR), 0);
		return 0;
	}
	assert_int_equal(reg(f, PCITEST_DMA_STATUS), PCITEST_FAILED);
	return -(int)reg(f, PCITEST_DMA_ERROR);
}

#define IOVA 0x100000u

static void test_dma(void **state)
{
	const uint32_t size = 600000; /* several pieces, several turns */
	struct fixture f;

	up(&f, "pcitest");
	assert_true(CLIENT_MEM >= 1 << 20);
	assert_int_equal(
		dma_map(&f, IOVA, 0, 1 << 20, VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE), 0);
	for (unsigned i = 0; i < size; i++)
		f.tc.mem[i] = (uint8_t)(i * 7 + (i >> 8));
	assert_int_equal(dma(&f, IOVA, size, 0, PCITEST_CMD_READ), 0);
	assert_int_equal(bar_get(&f, 2, 1000, 1), f.tc.mem[1000]);
	memset(f.tc.mem, 0, size);
	assert_int_equal(dma(&f, IOVA + 3, size - 7, 5, PCITEST_CMD_WRITE), 0);
	assert_int_equal(f.tc.mem[2], 0);
	for (unsigned i = 0; i < size - 7; i++)
		assert_int_equal(f.tc.mem[i + 3], (uint8_t)((i + 5) * 7 + ((i + 5) >> 8)));
	assert_int_equal(f.tc.mem[size - 4], 0);

	assert_int_equal(dma(&f, 0x10000000, 8, 0, PCITEST_CMD_READ), -EFAULT);
	assert_int_equal(dma(&f, IOVA, 0, 0, PCITEST_CMD_READ), -EINVAL);
	assert_int_equal(dma(&f, IOVA, (1 << 20) + 1, 0, PCITEST_CMD_READ), -EINVAL);
	assert_int_equal(dma(&f, IOVA, 8, (1 << 20) - 7, PCITEST_CMD_READ), -EINVAL);
	assert_int_equal(dma(&f, IOVA, 8, 0xffffffff, PCITEST_CMD_READ), -EINVAL);
	assert_int_equal(dma(&f, UINT64_MAX - 3, 8, 0, PCITEST_CMD_READ), -EINVAL);
	assert_int_equal(dma(&f, IOVA, 8, 0, 3), -EINVAL);
	config_put(&f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(dma(&f, IOVA, 8, 0, PCITEST_CMD_READ), -EPERM);
	config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
	assert_int_equal(dma(&f, IOVA, 8, 0, PCITEST_CMD_READ), 0);
	fixture_close(&f);
}

static int eventfd_of(struct fixture *f, unsigned index, unsigned vector)
{
	struct {
		struct vfio_irq_set set;
		int32_t fd;
	} u = {
		.set = {.argsz = sizeof(u),
			.flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
			.index = index,
			.start = vector,
			.count = 1},
		.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
	};

	assert_true(u.fd >= 0);
	assert_int_equal(dev_ioctl(f, VFIO_DEVICE_SET_IRQS, &u), 0);
	return u.fd;
}

static unsigned irq_count(struct fixture *f, unsigned index)
{
	struct vfio_irq_info info = {.argsz = sizeof(info), .index = index};

	assert_int_equal(dev_ioctl(f, VFIO_DEVICE_GET_IRQ_INFO, &info), 0);
	return info.count;
}

static void assert_signals(int fd, uint64_t want)
{
	uint64_t value = 0;

	if (read(fd, &value, sizeof(value)) < 0)
		assert_int_equal(errno, EAGAIN);
	assert_int_equal(value, want);
}

static void test_interrupts(void **state)
{
	static const struct {
		const char *spec;
		unsigned pin, msi, msix;
	} rows[] = {
		{"pcitest", 1, 8, 8},
		{"pcitest,vectors=100", 1, 32, 100},
		{"pcitest,interrupts=msix,vectors=3", 1, 0, 3},
		{"pcitest,interrupts=msi,vectors=7", 1, 4, 0},
		{"pcitest,interrupts=intx", 1, 0, 0},
		{"pcitest,interrupts=none", 0, 0, 0},
	};
	struct fixture f;
	int fd;

	for (unsigned i = 0; i < N(rows); i++) {
		up(&f, rows[i].spec);
		assert_int_equal(irq_count(&f, VFIO_PCI_INTX_IRQ_INDEX), rows[i].pin);
		assert_int_equal(irq_count(&f, VFIO_PCI_MSI_IRQ_INDEX), rows[i].msi);
		assert_int_equal(irq_count(&f, VFIO_PCI_MSIX_IRQ_INDEX), rows[i].msix);
		if (rows[i].msix || rows[i].msi) {
			fd = eventfd_of(
				&f, rows[i].msix ? VFIO_PCI_MSIX_IRQ_INDEX : VFIO_PCI_MSI_IRQ_INDEX,
				2);
			set_reg(&f, PCITEST_IRQ, 1 << 1);
			assert_signals(fd, 0);
			set_reg(&f, PCITEST_IRQ, ~0u);
			assert_signals(fd, 1);
			assert_int_equal(
				dma(&f, 0, 8, 0,
				    PCITEST_CMD_READ | PCITEST_CMD_IRQ | PCITEST_CMD_VECTOR(2)),
				-EFAULT);
			/* The command's end is seen before its interrupt is sent. */
			assert_int_equal(reg(&f, PCITEST_DMA_COUNT), 1);
			close(fd);
		}
		fixture_close(&f);
	}
}

static void test_intx(void **state)
{
	struct fixture f;
	int fd;

	up(&f, "pcitest,interrupts=intx");
	fd = eventfd_of(&f, VFIO_PCI_INTX_IRQ_INDEX, 0);
	set_reg(&f, PCITEST_INTX, PCITEST_INTX_LEVEL);
	assert_signals(fd, 1);
	assert_int_equal(reg(&f, PCITEST_INTX), PCITEST_INTX_LEVEL);
	assert_true(config_get(&f, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	set_reg(&f, PCITEST_INTX, 0);
	assert_false(config_get(&f, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	assert_int_equal(dma(&f, 0, 8, 0, PCITEST_CMD_READ | PCITEST_CMD_IRQ), -EFAULT);
	close(fd);
	fixture_close(&f);
}

/* An event of power management after a while: the later it comes, the surer does it find the device
 * suspended. */
static void test_pme(void **state)
{
	struct {
		struct vfio_device_feature head;
		struct vfio_device_low_power_entry_with_wakeup wake;
	} arg = {{sizeof(arg), 0}, {0, 0}};
	struct pollfd pfd = {.fd = eventfd(0, EFD_NONBLOCK), .events = POLLIN};
	struct fixture f;
	bool woken = false;

	up(&f, "pcitest");
	for (uint32_t us = 5000; !woken && us < 10000000; us *= 8) {
		set_reg(&f, PCITEST_PME, us);
		assert_int_equal(reg(&f, PCITEST_PME), 0);
		arg.head.flags =
			VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP;
		arg.wake.wakeup_eventfd = pfd.fd;
		assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_FEATURE, &arg), 0);
		woken = poll(&pfd, 1, (int)(us / 100)) == 1;
		arg.head.flags = VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_LOW_POWER_EXIT;
		assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_FEATURE, &arg), 0);
	}
	assert_true(woken);
	/* It is of no use any more, and the reset takes it back. */
	set_reg(&f, PCITEST_PME, 1000000000);
	assert_int_equal(vfio_device_ioctl(f.df, f.client, VFIO_DEVICE_RESET, 0), 0);
	fixture_close(&f);
	close(pfd.fd);
}

/* Each kind of reset that it is said to have, and none. */
static void test_resets(void **state)
{
	static const struct {
		const char *spec;
		int ret;
	} rows[] = {
		{"pcitest", 0},          {"pcitest,reset=flr", 0}, {"pcitest,reset=af", 0},
		{"pcitest,reset=pm", 0}, {"pcitest,pcie=off", 0},
	};
	struct fixture f;

	for (unsigned i = 0; i < N(rows); i++) {
		up(&f, rows[i].spec);
		set_reg(&f, PCITEST_SCRATCH, 0x12345678);
		set_reg(&f, PCITEST_DOORBELLS, 3);
		bar_put(&f, PCITEST_BAR_SMALL, 16, 4, 5);
		set_reg(&f, PCITEST_INTX, 1);
		assert_int_equal(dma(&f, 0, 0, 0, PCITEST_CMD_READ), -EINVAL);
		assert_int_equal(vfio_device_ioctl(f.df, f.client, VFIO_DEVICE_RESET, 0),
				 rows[i].ret);
		config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
		assert_int_equal(reg(&f, PCITEST_SCRATCH), 0);
		assert_int_equal(reg(&f, PCITEST_LAST_DOORBELL), 0);
		assert_int_equal(reg(&f, PCITEST_INTX), 0);
		assert_int_equal(reg(&f, PCITEST_DMA_STATUS), PCITEST_IDLE);
		assert_int_equal(reg(&f, PCITEST_DMA_COUNT), 0);
		assert_int_equal(reg(&f, PCITEST_WRITES(0, 2)), 0);
		assert_int_equal(bar_get(&f, PCITEST_BAR_SMALL, 16, 4), 0);
		fixture_close(&f);
	}
}

struct watcher {
	const uint8_t *page;
	atomic_bool stop;
	uint64_t wrong;
};

static void *watch(void *arg)
{
	static const struct {
		uint64_t offset;
		uint32_t value;
	} fixed[] = {{PCITEST_ID, PCITEST_MAGIC},
		     {PCITEST_VERSION, PCITEST_REVISION},
		     {PCITEST_NR_VECTORS, 8},
		     {PCITEST_MEMORY_SIZE, 1u << 20}};
	struct watcher *w = arg;
	uint64_t value;

	while (!atomic_load(&w->stop)) {
		for (unsigned i = 0; i < N(fixed); i++) {
			if (!uvfio_guard_load(w->page + fixed[i].offset, 4, &value) &&
			    value != fixed[i].value && value != UINT32_MAX)
				w->wrong++;
		}
		if (!uvfio_guard_load(w->page + PCITEST_SCRATCH, 8, &value) && value &&
		    value != 0x1234567887654321 && value != UINT64_MAX)
			w->wrong++;
	}
	return NULL;
}

/* Who has registers mapped reads during a reset what they held, or hold after it (A.6). */
static void test_seen_meanwhile(void **state)
{
	struct watcher w = {0};
	pthread_t thread;
	struct fixture f;

	up(&f, "pcitest,memory=1M");
	w.page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, vfio_device_view_fd(f.dev),
		      (off_t)VFIO_REGION_OFFSET(PCITEST_BAR_REGS));
	assert_ptr_not_equal(w.page, MAP_FAILED);
	assert_int_equal(pthread_create(&thread, NULL, watch, &w), 0);
	for (unsigned i = 0; i < 2000; i++) {
		bar_put(&f, 0, PCITEST_SCRATCH, 8, 0x1234567887654321);
		assert_int_equal(vfio_device_ioctl(f.df, f.client, VFIO_DEVICE_RESET, 0), 0);
	}
	atomic_store(&w.stop, true);
	pthread_join(thread, NULL);
	assert_int_equal(w.wrong, 0);
	munmap((void *)(uintptr_t)w.page, 4096);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_options),        cmocka_unit_test(test_bars),
		cmocka_unit_test(test_counts),         cmocka_unit_test(test_vpd),
		cmocka_unit_test(test_config_writes),  cmocka_unit_test(test_dma),
		cmocka_unit_test(test_interrupts),     cmocka_unit_test(test_intx),
		cmocka_unit_test(test_resets),         cmocka_unit_test(test_pme),
		cmocka_unit_test(test_seen_meanwhile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
