/* SPDX-License-Identifier: BSD-3-Clause */
/* A.3 to A.6 of devices that are not as others: what kinds of ROM, INTx and reset there are. */
#include "vfio_fixture.h"

static struct vfio_region_info region(struct fixture *f, unsigned index)
{
	struct vfio_region_info info = {.argsz = sizeof(info), .index = index};

	assert_int_equal(dev_ioctl(f, VFIO_DEVICE_GET_REGION_INFO, &info), 0);
	return info;
}

static ssize_t rom_get(struct fixture *f, uint64_t off, void *buf, size_t len)
{
	return vfio_device_read(f->df, VFIO_REGION_OFFSET(VFIO_PCI_ROM_REGION_INDEX) + off, buf,
				len);
}

static void test_rom(void **state)
{
	static const struct {
		const char *spec;
		uint64_t size;     /* of the region */
		ssize_t read, end; /* a read at 0, and one at 4096 */
		uint32_t bar;      /* after ones were written */
		ssize_t off;       /* a read while memory is off */
	} rows[] = {
		{"probe", 4096, 16, -EINVAL, 0xfffff001, -EIO},
		/* No signature: no region, but the BAR is there. */
		{"probe,shape=bad-rom", 0, -ENOMEM, -EINVAL, 0xfffff001, -ENOMEM},
		/* 3000 bytes of the host's memory. */
		{"probe,shape=shadow-rom", 4096, 16, -EINVAL, 0xfffff001, 16},
	};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t buf[16], byte = 0;
		struct fixture f;

		fixture_up(&f, rows[i].spec);
		assert_int_equal(region(&f, VFIO_PCI_ROM_REGION_INDEX).size, rows[i].size);
		assert_int_equal(region(&f, VFIO_PCI_ROM_REGION_INDEX).flags,
				 rows[i].size ? VFIO_REGION_INFO_FLAG_READ : 0);
		assert_int_equal(rom_get(&f, 0, buf, sizeof(buf)), rows[i].read);
		if (rows[i].read > 0) {
			assert_int_equal(buf[0] | buf[1] << 8 | buf[2] << 16, 0x01aa55);
			/* Behind the image. */
			assert_int_equal(rom_get(&f, 4000, &byte, 1), 1);
			assert_int_equal(byte, 0xff);
			assert_int_equal(rom_get(&f, 4095, buf, sizeof(buf)), 1);
		}
		assert_int_equal(rom_get(&f, 4096, &byte, 1), rows[i].end);
		assert_int_equal(vfio_device_write(f.df,
						   VFIO_REGION_OFFSET(VFIO_PCI_ROM_REGION_INDEX),
						   &byte, 1),
				 -EINVAL);
		config_put(&f, PCI_ROM_ADDRESS, 4, UINT32_MAX);
		assert_int_equal(config_get(&f, PCI_ROM_ADDRESS, 4), rows[i].bar);
		config_put(&f, PCI_COMMAND, 2, 0);
		assert_int_equal(rom_get(&f, 0, buf, sizeof(buf)), rows[i].off);
		fixture_close(&f);
	}
}

static void test_broken_intx(void **state)
{
	struct vfio_irq_info info = {.argsz = sizeof(info), .index = VFIO_PCI_INTX_IRQ_INDEX};
	struct fixture f;

	fixture_up(&f, "probe,shape=broken-intx");
	assert_int_equal(config_get(&f, PCI_INTERRUPT_PIN, 1), 0);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_GET_IRQ_INFO, &info), 0);
	assert_int_equal(info.count, 0);
	assert_true(pci_hw_read(vfio_device_func(f.dev), PCI_COMMAND, 2) &
		    PCI_COMMAND_INTX_DISABLE);
	fixture_close(&f);
}

static void test_not_mappable(void **state)
{
	bool writable, trap;
	struct fixture f;

	fixture_up(&f, "probe,shape=no-mmap");
	assert_int_equal(region(&f, 0).flags,
			 VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE);
	assert_int_equal(
		vfio_device_mmap(f.df, VFIO_REGION_OFFSET(0), 4096, true, &writable, &trap),
		-EINVAL);
	assert_int_equal(vfio_device_sparse(f.df, 0, NULL, 0), 0);
	assert_int_equal(bar_get(&f, 0, REG_ID, 4), PROBE_ID);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rom),
		cmocka_unit_test(test_broken_intx),
		cmocka_unit_test(test_not_mappable),
	};

	return cmocka_run_group_tests_name("reset", tests, NULL, NULL);
}
