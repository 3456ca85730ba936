/* SPDX-License-Identifier: BSD-3-Clause */
/* src/vfio/device*.c: open and close (A.3, A.4), resets (A.5), regions (A.6), FEATURE (A.10). */
#include "vfio_fixture.h"

#define CONFIG VFIO_REGION_OFFSET(VFIO_PCI_CONFIG_REGION_INDEX)
#define ROM    VFIO_REGION_OFFSET(VFIO_PCI_ROM_REGION_INDEX)

static void test_open_and_close(void **state)
{
	static const char name[] = "0000:01:00.0";
	struct vfio_device_file *second;
	struct fixture f;

	fixture_up(&f, "probe");
	assert_int_equal(f.probe->resets[UVFIO_RESET_POWER_ON], 1);
	assert_int_equal(f.probe->resets[UVFIO_RESET_OPEN], 1);
	assert_int_equal(f.probe->resumes, 0);
	/* Enabled, not bus master. */
	assert_int_equal(config_get(&f, PCI_COMMAND, 2), PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
	config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
	assert_int_equal(f.probe->resumes, 1);
	bar_put(&f, 0, REG_SCRATCH, 4, 1234);

	/* A second file is the same open device. */
	assert_int_equal(vfio_group_get_device(f.gf, f.client, (uintptr_t)name, &second), 0);
	assert_int_equal(f.probe->resets[UVFIO_RESET_OPEN], 1);
	assert_int_equal(bar_get(&f, 0, REG_SCRATCH, 4), 1234);
	vfio_device_release(f.df);
	assert_int_equal(f.probe->resets[UVFIO_RESET_CLOSE], 0);
	f.df = second;
	assert_int_equal(config_get(&f, PCI_COMMAND, 2) & PCI_COMMAND_MASTER, PCI_COMMAND_MASTER);
	config_put(&f, PCI_INTERRUPT_LINE, 1, 0x55);
	config_put(&f, PCI_BASE_ADDRESS_0, 4, 0xabcd0000);

	/* The last close: quiet, reset, and nothing of the session is left. */
	vfio_device_release(f.df);
	assert_int_equal(f.probe->resets[UVFIO_RESET_CLOSE], 1);
	assert_false(f.probe->running);
	assert_int_equal(pci_hw_read(vfio_device_func(f.dev), PCI_COMMAND, 2) & COMMAND_ON, 0);
	assert_int_equal(vfio_group_get_device(f.gf, f.client, (uintptr_t)name, &f.df), 0);
	assert_int_equal(config_get(&f, PCI_COMMAND, 2), PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
	assert_int_not_equal(config_get(&f, PCI_BASE_ADDRESS_0, 4), 0xabcd0004);
	assert_int_equal(bar_get(&f, 0, REG_SCRATCH, 4), 0);
	fixture_close(&f);
}

static void test_get_info(void **state)
{
	struct {
		struct vfio_device_info info;
		uint8_t more[16];
	} buf;
	struct fixture f;

	fixture_up(&f, "probe");
	memset(&buf, 0xee, sizeof(buf));
	buf.info.argsz = 15;
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_GET_INFO, &buf), -EINVAL);
	buf.info.argsz = 16;
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_GET_INFO, &buf), 0);
	assert_int_equal(buf.info.argsz, 16);
	assert_int_equal(buf.info.flags, VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET);
	assert_int_equal(buf.info.num_regions, 9);
	assert_int_equal(buf.info.num_irqs, 5);
	assert_int_equal(((uint8_t *)&buf)[16], 0xee);
	buf.info.argsz = sizeof(buf);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_GET_INFO, &buf), 0);
	assert_int_equal(((uint8_t *)&buf)[23], 0);
	assert_int_equal(((uint8_t *)&buf)[24], 0xee);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_GET_INFO, (void *)8), -EFAULT);
	assert_int_equal(dev_ioctl(&f, 0x3b00 + 140, &buf), -ENOTTY);
	fixture_close(&f);
}

static void test_region_info(void **state)
{
	static const uint32_t rw = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	static const struct {
		unsigned index;
		int ret;
		uint64_t size;
		uint32_t flags;
	} table[] = {
		{0, 0, 16384, 0xf}, /* READ WRITE MMAP CAPS */
		{1, 0, 0, 0},
		{2, 0, 8192, 7},
		{3, 0, 0, 0},
		{4, 0, 32, 3},
		{5, 0, 0, 0},
		{VFIO_PCI_ROM_REGION_INDEX, 0, 4096, VFIO_REGION_INFO_FLAG_READ},
		{VFIO_PCI_CONFIG_REGION_INDEX, 0, 4096, 3},
		{VFIO_PCI_VGA_REGION_INDEX, -EINVAL, 0, 0},
		{9, -EINVAL, 0, 0},
		{UINT32_MAX, -EINVAL, 0, 0},
	};
	struct {
		struct vfio_region_info info;
		struct vfio_info_cap_header cap;
	} buf;
	struct fixture f;

	fixture_up(&f, "probe,memory=on");
	for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		memset(&buf, 0xee, sizeof(buf));
		buf.info.argsz = sizeof(buf.info);
		buf.info.index = table[i].index;
		assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_GET_REGION_INFO, &buf), table[i].ret);
		if (table[i].ret)
			continue;
		assert_int_equal(buf.info.size, table[i].size);
		assert_int_equal(buf.info.flags, table[i].flags);
		assert_int_equal(buf.info.offset, VFIO_REGION_OFFSET(table[i].index));
		assert_int_equal(buf.info.cap_offset, 0);
		assert_int_equal(buf.info.argsz, table[i].index ? 32 : 40);
		assert_int_equal(((uint8_t *)&buf)[32], 0xee);
	}
	/* With room for the capability. */
	buf.info.argsz = 40;
	buf.info.index = 0;
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_GET_REGION_INFO, &buf), 0);
	assert_int_equal(buf.info.argsz, 40);
	assert_int_equal(buf.info.cap_offset, 32);
	assert_int_equal(buf.cap.id, VFIO_REGION_INFO_CAP_MSIX_MAPPABLE);
	assert_int_equal(buf.cap.version, 1);
	assert_int_equal(buf.cap.next, 0);
	buf.info.argsz = 31;
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_GET_REGION_INFO, &buf), -EINVAL);

	/* none: registers are not offered, plain memory is. */
	assert_int_equal(vfio_device_file_set_mmio(f.df, VFIO_MMIO_NONE), 0);
	for (unsigned i = 0; i < 3; i += 2) {
		buf.info.argsz = 40;
		buf.info.index = i;
		assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_GET_REGION_INFO, &buf), 0);
		assert_int_equal(buf.info.flags, i ? 7 : rw);
	}
	fixture_close(&f);
}

static void test_read_write(void **state)
{
	uint8_t buf[64];
	struct fixture f;

	fixture_up(&f, "probe");
	assert_int_equal(bar_get(&f, 0, REG_ID, 4), PROBE_ID);
	assert_int_equal(bar_get(&f, 0, REG_ID + 1, 2), (PROBE_ID >> 8) & 0xffff);

	/* Cut into naturally aligned pieces, in order. */
	memset(buf, 0xa5, sizeof(buf));
	f.probe->nr_log = 0;
	assert_int_equal(vfio_device_write(f.df, VFIO_REGION_OFFSET(0) + 0x51, buf, 20), 20);
	{
		static const uint32_t pieces[][2] = {{0x51, 1}, {0x52, 2}, {0x54, 4},
						     {0x58, 8}, {0x60, 4}, {0x64, 1}};

		assert_int_equal(f.probe->nr_log, 6);
		for (unsigned i = 0; i < 6; i++) {
			assert_int_equal(f.probe->log[i][0], pieces[i][0]);
			assert_int_equal(f.probe->log[i][1], pieces[i][1]);
		}
	}

	/* Ends and beginnings. */
	assert_int_equal(vfio_device_read(f.df, VFIO_REGION_OFFSET(0), buf, 0), 0);
	assert_int_equal(vfio_device_read(f.df, 99ull << 40, buf, 0), 0);
	assert_int_equal(vfio_device_read(f.df, VFIO_REGION_OFFSET(0) + 16384 - 3, buf, 8), 3);
	assert_int_equal(vfio_device_read(f.df, VFIO_REGION_OFFSET(0) + 16384, buf, 1), -EINVAL);
	assert_int_equal(vfio_device_read(f.df, VFIO_REGION_OFFSET(1), buf, 4), -EINVAL);
	assert_int_equal(vfio_device_read(f.df, VFIO_REGION_OFFSET(8), buf, 4), -EINVAL);
	assert_int_equal(vfio_device_read(f.df, 0, buf, 4), -EINVAL);
	assert_int_equal(vfio_device_read(f.df, 25ull << 40, buf, 4), -EINVAL);
	assert_int_equal(vfio_device_read(f.df, UINT64_MAX, buf, 4), -EINVAL);
	assert_int_equal(vfio_device_read(f.df, CONFIG + 4094, buf, 4), -EFAULT);

	/* What no area covers reads as 0 and drops writes. */
	bar_put(&f, 0, 0x800, 8, UINT64_MAX);
	assert_int_equal(bar_get(&f, 0, 0x800, 8), 0);

	/* The MSI-X table reads as ones and drops writes; the PBA reads. */
	bar_put(&f, 0, REG_TABLE + 12, 4, 0);
	assert_int_equal(bar_get(&f, 0, REG_TABLE + 12, 4), 0xffffffff);
	memset(buf, 0, sizeof(buf));
	assert_int_equal(
		vfio_device_read(f.df, VFIO_REGION_OFFSET(0) + REG_TABLE + 8 * 16 - 4, buf, 8), 8);
	assert_memory_equal(buf, "\xff\xff\xff\xff\0\0\0\0", 8);
	assert_int_equal(bar_get(&f, 0, REG_PBA, 8), 0);

	/* A read that is an event. */
	assert_int_equal(bar_get(&f, 0, REG_COUNTER, 8), 1);
	assert_int_equal(bar_get(&f, 0, REG_COUNTER, 8), 2);

	/* The ROM. */
	assert_int_equal(vfio_device_read(f.df, ROM, buf, 3), 3);
	assert_memory_equal(buf, "\x55\xaa\x01", 3);
	assert_int_equal(vfio_device_read(f.df, ROM + 2999, buf, 2), 2);
	assert_memory_equal(buf, "\0\xff", 2);
	assert_int_equal(vfio_device_read(f.df, ROM + 4095, buf, 2), 1);
	assert_int_equal(vfio_device_read(f.df, ROM + 4096, buf, 2), -EINVAL);
	assert_int_equal(vfio_device_write(f.df, ROM, buf, 1), -EINVAL);
	fixture_close(&f);
}

static void test_memory_decode(void **state)
{
	uint32_t value = 0;
	struct fixture f;

	fixture_up(&f, "probe");
	config_put(&f, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	assert_int_equal(vfio_device_read(f.df, VFIO_REGION_OFFSET(0), &value, 4), -EIO);
	assert_int_equal(vfio_device_write(f.df, VFIO_REGION_OFFSET(0) + 8, &value, 4), -EIO);
	assert_int_equal(vfio_device_store(f.df, VFIO_REGION_OFFSET(0) + 8, 4, 1), -EIO);
	assert_int_equal(vfio_device_read(f.df, ROM, &value, 4), -ENOMEM);
	/* Nobody checks I/O, and nobody answers it. */
	assert_int_equal(vfio_device_read(f.df, VFIO_REGION_OFFSET(4), &value, 4), 4);
	assert_int_equal(value, 0xffffffff);
	/* An unimplemented BAR and the end are known before the decode is looked at. */
	assert_int_equal(vfio_device_read(f.df, VFIO_REGION_OFFSET(1), &value, 4), -EINVAL);
	assert_int_equal(vfio_device_read(f.df, VFIO_REGION_OFFSET(0) + 16384, &value, 4), -EINVAL);
	config_put(&f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(vfio_device_read(f.df, VFIO_REGION_OFFSET(0), &value, 4), 4);
	fixture_close(&f);
}

static unsigned find_cap(struct fixture *f, uint8_t id)
{
	unsigned at = config_get(f, PCI_CAPABILITY_LIST, 1);

	while (at && config_get(f, at, 1) != id)
		at = config_get(f, at + 1, 1);
	assert_int_not_equal(at, 0);
	return at;
}

static void test_power_states(void **state)
{
	uint32_t value;
	unsigned pm;
	struct fixture f;

	fixture_up(&f, "probe");
	pm = find_cap(&f, PCI_CAP_ID_PM);
	config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
	bar_put(&f, 0, REG_SCRATCH, 4, 77);
	config_put(&f, pm + PCI_PM_CTRL, 2, 3);
	assert_int_equal(config_get(&f, pm + PCI_PM_CTRL, 2) & 3, 3);
	assert_false(f.probe->running);
	assert_int_equal(vfio_device_read(f.df, VFIO_REGION_OFFSET(0), &value, 4), -EIO);
	/* Without NoSoftRst the device is reset on the way back; config space is kept. */
	config_put(&f, pm + PCI_PM_CTRL, 2, 0);
	assert_int_equal(f.probe->resets[UVFIO_RESET_PM], 1);
	assert_int_equal(config_get(&f, PCI_COMMAND, 2), COMMAND_ON);
	assert_true(f.probe->running);
	assert_int_equal(bar_get(&f, 0, REG_SCRATCH, 4), 0);
	assert_int_equal(bar_get(&f, 0, REG_ID, 4), PROBE_ID);
	fixture_close(&f);
}

static int set_irqs(struct fixture *f, unsigned index, int fd)
{
	struct {
		struct vfio_irq_set hdr;
		int32_t fd;
	} set = {
		.hdr = {.argsz = sizeof(set),
			.flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
			.index = index,
			.start = 0,
			.count = 1},
		.fd = fd,
	};

	return dev_ioctl(f, VFIO_DEVICE_SET_IRQS, &set);
}

static uint64_t take_event(int fd)
{
	uint64_t count = 0;

	return read(fd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

static bool hw_intx_disabled(const struct fixture *f)
{
	return pci_hw_read(vfio_device_func(f->dev), PCI_COMMAND, 2) & PCI_COMMAND_INTX_DISABLE;
}

/* nointxmask (A.2, A.3): the device is not a 2.3 one, so its hardware DisINTx follows neither the
 * mask nor the user's bit.  What the user gets is the same (A.8). */
static void test_nointxmask(void **state)
{
	struct vfio_irq_set unmask = {.argsz = sizeof(unmask),
				      .flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK,
				      .index = VFIO_PCI_INTX_IRQ_INDEX,
				      .count = 1};
	struct vfio_policy policy;
	struct fixture f;

	for (unsigned nomask = 0; nomask < 2; nomask++) {
		int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

		vfio_policy_default(&policy);
		policy.nointxmask = nomask;
		fixture_machine_with(&f, &policy);
		fixture_add(&f, "probe");
		fixture_open(&f);
		assert_false(hw_intx_disabled(&f));
		config_put(&f, PCI_COMMAND, 2, COMMAND_ON | PCI_COMMAND_INTX_DISABLE);
		assert_int_equal(hw_intx_disabled(&f), !nomask);
		config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
		assert_int_equal(config_get(&f, PCI_INTERRUPT_PIN, 1), 1);
		assert_int_equal(set_irqs(&f, VFIO_PCI_INTX_IRQ_INDEX, fd), 0);
		uvfio_intx_set(f.probe->dev, true);
		assert_int_equal(take_event(fd), 1);
		assert_int_equal(hw_intx_disabled(&f), !nomask);
		/* Still asserted. */
		assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_SET_IRQS, &unmask), 0);
		assert_int_equal(take_event(fd), 1);
		uvfio_intx_set(f.probe->dev, false);
		assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_SET_IRQS, &unmask), 0);
		assert_int_equal(take_event(fd), 0);
		assert_false(hw_intx_disabled(&f));
		unmask.flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER;
		unmask.count = 0;
		assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_SET_IRQS, &unmask), 0);
		unmask.flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK;
		unmask.count = 1;
		assert_int_equal(set_irqs(&f, VFIO_PCI_MSIX_IRQ_INDEX, fd), 0);
		assert_true(hw_intx_disabled(&f));
		close(fd);
		fixture_close(&f);
	}
}

/* The last user left INTx masked, by automask; to the next one it is not disabled (A.3.1). */
static void test_intx_of_the_next(void **state)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	struct fixture f;

	fixture_up(&f, "probe");
	for (unsigned i = 0; i < 3; i++) {
		assert_false(hw_intx_disabled(&f));
		assert_false(config_get(&f, PCI_COMMAND, 2) & PCI_COMMAND_INTX_DISABLE);
		assert_int_equal(set_irqs(&f, VFIO_PCI_INTX_IRQ_INDEX, fd), 0);
		uvfio_intx_set(f.probe->dev, true);
		assert_int_equal(take_event(fd), 1);
		assert_true(hw_intx_disabled(&f));
		vfio_device_release(f.df);
		vfio_group_release(f.gf);
		vfio_container_release(f.container);
		fixture_open(&f);
	}
	close(fd);
	fixture_close(&f);
}

/* What survives RESET (A.5). */
static void test_reset(void **state)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	struct fixture f;

	fixture_up(&f, "probe");
	config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
	assert_int_equal(set_irqs(&f, VFIO_PCI_MSIX_IRQ_INDEX, fd), 0);
	bar_put(&f, 0, REG_SCRATCH, 4, 77);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), 0);
	assert_int_equal(f.probe->resets[UVFIO_RESET_FUNCTION], 1);
	assert_int_equal(bar_get(&f, 0, REG_SCRATCH, 4), 0);
	assert_int_equal(bar_get(&f, 0, REG_ID, 4), PROBE_ID);
	assert_int_equal(config_get(&f, PCI_COMMAND, 2), COMMAND_ON);
	assert_true(f.probe->running);
	assert_int_equal(probe_command(&f, CMD_IRQ, 0, 0), 0);
	assert_int_equal(take_event(fd), 1);
	/* Memory off stays off, and DMA too. */
	config_put(&f, PCI_COMMAND, 2, 0);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), 0);
	assert_int_equal(vfio_device_store(f.df, VFIO_REGION_OFFSET(0) + 8, 4, 1), -EIO);
	assert_false(f.probe->running);
	close(fd);
	fixture_close(&f);
}

static void test_flr(void **state)
{
	unsigned exp;
	struct fixture f;

	fixture_up(&f, "probe");
	exp = find_cap(&f, PCI_CAP_ID_EXP);
	config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
	config_put(&f, exp + PCI_EXP_DEVCTL, 2,
		   config_get(&f, exp + PCI_EXP_DEVCTL, 2) | PCI_EXP_DEVCTL_BCR_FLR);
	assert_int_equal(f.probe->resets[UVFIO_RESET_FUNCTION], 1);
	assert_int_equal(config_get(&f, exp + PCI_EXP_DEVCTL, 2) & PCI_EXP_DEVCTL_BCR_FLR, 0);
	assert_int_equal(config_get(&f, PCI_COMMAND, 2), COMMAND_ON);
	fixture_close(&f);
}

static void test_hot_reset(void **state)
{
	struct {
		struct vfio_pci_hot_reset_info hdr;
		struct vfio_pci_dependent_device devices[3];
	} info;
	struct {
		struct vfio_pci_hot_reset hdr;
		int32_t fds[4];
	} req;
	struct fixture f;

	fixture_machine(&f);
	fixture_add(&f, "probe");
	fixture_add(&f, "probe,addr=01:00.3,group=5");
	fixture_add(&f, "probe");
	fixture_open(&f);
	memset(&info, 0xee, sizeof(info));
	info.hdr.argsz = 11;
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, &info), -EINVAL);
	info.hdr.argsz = 12 + 15;
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, &info), -ENOSPC);
	assert_int_equal(info.hdr.count, 2);
	info.hdr.argsz = sizeof(info);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, &info), 0);
	assert_int_equal(info.hdr.count, 2);
	assert_int_equal(info.hdr.flags, 0);
	assert_int_equal(info.devices[0].group_id, 1);
	assert_int_equal(info.devices[0].bus, 1);
	assert_int_equal(info.devices[0].devfn, 0);
	assert_int_equal(info.devices[1].group_id, 5);
	assert_int_equal(info.devices[1].devfn, 3);

	req.hdr = (struct vfio_pci_hot_reset){.argsz = 11, .count = 1};
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_PCI_HOT_RESET, &req), -EINVAL);
	req.hdr.argsz = sizeof(req);
	req.hdr.flags = 1;
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_PCI_HOT_RESET, &req), -EINVAL);
	req.hdr.flags = 0;
	req.hdr.count = 0;
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_PCI_HOT_RESET, &req), -EINVAL);
	req.hdr.count = 3;
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_PCI_HOT_RESET, &req), -EINVAL);
	req.hdr.count = 2;
	req.fds[0] = 1001;
	req.fds[1] = -1;
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_PCI_HOT_RESET, &req), -EBADF);
	req.fds[1] = f.tc.fd;
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_PCI_HOT_RESET, &req), -EINVAL);
	/* Every function of the slot must be owned. */
	req.hdr.count = 1;
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_PCI_HOT_RESET, &req), -EINVAL);
	req.hdr.count = 2;
	req.fds[1] = 1005;
	assert_int_equal(probes[0]->resets[UVFIO_RESET_BUS], 0);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_PCI_HOT_RESET, &req), 0);
	assert_int_equal(probes[0]->resets[UVFIO_RESET_BUS], 1);
	assert_int_equal(probes[1]->resets[UVFIO_RESET_BUS], 1);
	assert_int_equal(probes[2]->resets[UVFIO_RESET_BUS], 0);
	fixture_close(&f);
}

/* Two functions on a bus that cannot be reset alone: RESET is refused, and the last close of all
 * resets the bus (A.4). */
static void test_close_resets_the_slot(void **state)
{
	struct vfio_device_info info = {.argsz = 16};
	struct fixture f;

	fixture_machine(&f);
	fixture_add(&f, "probe,noreset=on");
	fixture_add(&f, "probe,noreset=on,addr=01:00.1");
	fixture_open(&f);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_GET_INFO, &info), 0);
	assert_int_equal(info.flags, VFIO_DEVICE_FLAGS_PCI);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), -EINVAL);
	assert_int_equal(probes[1]->resets[UVFIO_RESET_BUS], 0);
	vfio_device_release(f.df);
	f.df = NULL;
	assert_int_equal(probes[0]->resets[UVFIO_RESET_BUS], 1);
	assert_int_equal(probes[1]->resets[UVFIO_RESET_BUS], 1);
	fixture_close(&f);
}

static int feature(struct fixture *f, uint32_t argsz, uint32_t flags, int32_t fd)
{
	struct {
		struct vfio_device_feature hdr;
		int32_t fd;
		uint32_t reserved;
	} buf = {{argsz, flags}, fd, 0};

	return dev_ioctl(f, VFIO_DEVICE_FEATURE, &buf);
}

static void test_feature_frame(void **state)
{
	const uint32_t get = VFIO_DEVICE_FEATURE_GET, set = VFIO_DEVICE_FEATURE_SET,
		       probe = VFIO_DEVICE_FEATURE_PROBE;
	const struct {
		uint32_t argsz, flags;
		int ret;
	} table[] = {
		{7, set | 3, -EINVAL},
		{8, 1u << 19 | probe | set | 3, -EINVAL},
		{8, get | set | 3, -EINVAL},
		{8, get | set | 99, -EINVAL},
		{8, get | 99, -ENOTTY}, /* before the operation is looked at */
		{8, 99, -ENOTTY},
		{8, set | 0, -ENOTTY}, /* VF token: not a PF */
		{8, get | 1, -ENOTTY},
		{8, set | 10, -ENOTTY},
		{8, probe | set | 12, -EINVAL},
		{8, get | 3, -EINVAL},
		{8, probe | get | set | 3, -EINVAL},
		{8, probe | set | 3, 0},
		{8, probe | 3, 0},
		{8, 3, -EINVAL},
		{15, set | 4, -EINVAL},
		{16, set | 4, -EINVAL}, /* fd -1 */
	};
	struct fixture f;

	fixture_up(&f, "probe");
	for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		int ret = feature(&f, table[i].argsz, table[i].flags, -1);

		if (ret != table[i].ret)
			fail_msg("row %u: %d, expected %d", i, ret, table[i].ret);
	}
	fixture_close(&f);
}

static void test_low_power(void **state)
{
	const uint32_t set = VFIO_DEVICE_FEATURE_SET;
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), view;
	struct stat st;
	struct fixture f;

	fixture_up(&f, "probe");
	view = vfio_device_view_fd(f.dev);
	assert_int_equal(fstat(view, &st), 0);
	assert_int_not_equal(st.st_size, 0);
	assert_int_equal(feature(&f, 8, set | 3, 0), 0);
	assert_int_equal(feature(&f, 8, set | 3, 0), -EINVAL);
	fstat(view, &st);
	assert_int_equal(st.st_size, 0);
	/* The device file works. */
	assert_int_equal(bar_get(&f, 0, REG_ID, 4), PROBE_ID);
	fstat(view, &st);
	assert_int_equal(st.st_size, 0);
	assert_int_equal(feature(&f, 8, set | 5, 0), 0);
	assert_int_equal(feature(&f, 8, set | 5, 0), 0);
	fstat(view, &st);
	assert_int_not_equal(st.st_size, 0);
	/* With a wakeup eventfd: told once, at the first access. */
	assert_int_equal(feature(&f, 16, set | 4, fd), 0);
	assert_int_equal(take_event(fd), 0);
	assert_int_equal(bar_get(&f, 0, REG_ID, 4), PROBE_ID);
	assert_int_equal(bar_get(&f, 0, REG_ID, 4), PROBE_ID);
	assert_int_equal(take_event(fd), 1);
	fstat(view, &st);
	assert_int_not_equal(st.st_size, 0);
	close(fd);
	fixture_close(&f);
}

static int ioeventfd(struct fixture *f, uint32_t flags, uint64_t offset, uint64_t data, int fd)
{
	struct vfio_device_ioeventfd io = {
		.argsz = 28, .flags = flags, .offset = offset, .data = data, .fd = fd};

	return dev_ioctl(f, VFIO_DEVICE_IOEVENTFD, &io);
}

static void test_ioeventfd(void **state)
{
	const uint64_t bar = VFIO_REGION_OFFSET(0);
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	const uint64_t one = 1;
	struct fixture f;

	fixture_up(&f, "probe");
	assert_int_equal(ioeventfd(&f, 0, bar + 8, 5, fd), -EINVAL);
	assert_int_equal(ioeventfd(&f, 3, bar + 8, 5, fd), -EINVAL);
	assert_int_equal(ioeventfd(&f, 16, bar + 8, 5, fd), -EINVAL);
	assert_int_equal(ioeventfd(&f, 8, bar + 8, 5, fd), -EINVAL);
	assert_int_equal(ioeventfd(&f, 4, bar + 8, 5, -2), -EINVAL);
	assert_int_equal(ioeventfd(&f, 4, CONFIG, 5, fd), -EINVAL);
	assert_int_equal(ioeventfd(&f, 4, bar + 16384 - 2, 5, fd), -EINVAL);
	assert_int_equal(ioeventfd(&f, 4, bar + REG_TABLE + 16 * 8 - 4, 5, fd), -EINVAL);
	assert_int_equal(ioeventfd(&f, 4, bar + 8, 5, -1), -ENODEV);
	assert_int_equal(ioeventfd(&f, 4, bar + 8, 5, 4000), -EBADF);
	assert_int_equal(ioeventfd(&f, 4, bar + 8, 5, f.tc.fd), -EINVAL);
	assert_int_equal(ioeventfd(&f, 4, bar + 8, 5, fd), 0);
	assert_int_equal(ioeventfd(&f, 4, bar + 8, 5, fd), -EEXIST);
	assert_int_equal(write(fd, &one, 8), 8);
	while (bar_get(&f, 0, REG_SCRATCH, 4) != 5)
		usleep(100);
	assert_int_equal(ioeventfd(&f, 4, bar + 8, 5, -1), 0);
	assert_int_equal(ioeventfd(&f, 4, bar + 8, 5, -1), -ENODEV);
	assert_int_equal(ioeventfd(&f, 4, bar + 8, 6, fd), 0);
	close(fd);
	fixture_close(&f);
}

static unsigned nr_events[VFIO_EVENT_CLOSE + 1];

static void observe(void *arg, const struct vfio_event *event)
{
	assert_ptr_equal(arg, nr_events);
	__atomic_fetch_add(&nr_events[event->kind], 1, __ATOMIC_RELAXED);
}

static void test_observer(void **state)
{
	struct vfio_device_stats stats;
	struct fixture f;

	memset(nr_events, 0, sizeof(nr_events));
	fixture_machine(&f);
	fixture_add(&f, "probe");
	vfio_machine_observe(f.machine, observe, nr_events);
	fixture_open(&f);
	assert_int_equal(nr_events[VFIO_EVENT_OPEN], 1);
	assert_int_equal(nr_events[VFIO_EVENT_RESET], 1);
	bar_get(&f, 0, REG_ID, 4);
	assert_int_equal(nr_events[VFIO_EVENT_REGION_READ], 1);
	bar_put(&f, 0, REG_SCRATCH, 4, 1);
	assert_int_equal(nr_events[VFIO_EVENT_REGION_WRITE], 1);
	assert_int_equal(vfio_device_store(f.df, VFIO_REGION_OFFSET(0) + 8, 4, 1), 0);
	assert_int_equal(nr_events[VFIO_EVENT_STORE], 1);
	assert_int_equal(dma_map(&f, 0, 0, 4096, 3), 0);
	assert_int_equal(nr_events[VFIO_EVENT_DMA_MAP], 1);
	assert_int_equal(probe_command(&f, CMD_READ, 0, 8), -EPERM);
	assert_int_equal(nr_events[VFIO_EVENT_FAULT], 1);
	assert_int_equal(dma_unmap(&f, 0, 4096, NULL), 0);
	assert_int_equal(nr_events[VFIO_EVENT_DMA_UNMAP], 1);
	vfio_device_stats(f.dev, &stats);
	assert_int_equal(stats.stores, 1);
	assert_int_equal(stats.faults, 1);
	vfio_machine_unobserve(f.machine, observe, nr_events);
	bar_get(&f, 0, REG_ID, 4);
	fixture_close(&f);
	assert_int_equal(nr_events[VFIO_EVENT_CLOSE], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open_and_close),
		cmocka_unit_test(test_get_info),
		cmocka_unit_test(test_region_info),
		cmocka_unit_test(test_read_write),
		cmocka_unit_test(test_memory_decode),
		cmocka_unit_test(test_power_states),
		cmocka_unit_test(test_nointxmask),
		cmocka_unit_test(test_intx_of_the_next),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_flr),
		cmocka_unit_test(test_hot_reset),
		cmocka_unit_test(test_close_resets_the_slot),
		cmocka_unit_test(test_feature_frame),
		cmocka_unit_test(test_low_power),
		cmocka_unit_test(test_ioeventfd),
		cmocka_unit_test(test_observer),
	};

	guarded_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
