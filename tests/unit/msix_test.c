/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who gates MSI-X delivery: a client that writes vector control words through a mapping or (on
 * files whose door says so) through the region; not one that keeps the table to itself, and not the
 * function mask, which is not the client's to write (A.6, A.7, A.8).
 */
#include "vfio_fixture.h"

#define CONTROL(v) (REG_TABLE + 16 * (v) + 12)
#define MASK       1u

static int set_eventfd(struct fixture *f, unsigned vector, int fd)
{
	struct {
		struct vfio_irq_set hdr;
		int32_t fd;
	} req = {{.argsz = sizeof(req),
		  .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
		  .index = VFIO_PCI_MSIX_IRQ_INDEX,
		  .start = vector,
		  .count = 1},
		 fd};

	return dev_ioctl(f, VFIO_DEVICE_SET_IRQS, &req);
}

static unsigned raised(struct fixture *f, int fd, unsigned vector)
{
	uint64_t value = 0;

	assert_int_equal(probe_command(f, CMD_IRQ, 0, vector), 0);
	if (read(fd, &value, 8) < 0)
		return 0;
	return (unsigned)value;
}

static unsigned waiting(int fd)
{
	uint64_t value;

	return read(fd, &value, 8) < 0 ? 0 : (unsigned)value;
}

static int up(struct fixture *f)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	fixture_up(f, "probe");
	config_put(f, PCI_COMMAND, 2, COMMAND_ON);
	assert_int_equal(set_eventfd(f, 0, fd), 0);
	return fd;
}

static void down(struct fixture *f, int fd)
{
	close(fd);
	fixture_close(f);
}

/* As QEMU: the table is the client's own affair, also across a reset, after which hardware's says
 * "masked" everywhere. */
static void test_never_written(void **state)
{
	struct fixture f;
	int fd = up(&f);

	vfio_device_file_mask_vectors(f.df);
	assert_int_equal(raised(&f, fd, 0), 1);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), 0);
	assert_int_equal(raised(&f, fd, 0), 1);
	assert_int_equal(set_eventfd(&f, 0, -1), 0);
	assert_int_equal(set_eventfd(&f, 0, fd), 0);
	assert_int_equal(raised(&f, fd, 0), 1);
	down(&f, fd);
}

/* A.6: what is written to the hidden table is swallowed. */
static void test_region_swallows(void **state)
{
	struct fixture f;
	int fd = up(&f);

	bar_put(&f, 0, CONTROL(0), 4, MASK);
	assert_int_equal(raised(&f, fd, 0), 1);
	assert_int_equal(bar_get(&f, 0, CONTROL(0), 4), 0xffffffff);
	down(&f, fd);
}

static void test_region_masks(void **state)
{
	uint8_t entry[16] = {0};
	struct fixture f;
	int fd = up(&f);

	vfio_device_file_mask_vectors(f.df);
	bar_put(&f, 0, CONTROL(0), 4, MASK);
	assert_int_equal(raised(&f, fd, 0), 0);
	assert_int_equal(raised(&f, fd, 0), 0);
	assert_int_equal(bar_get(&f, 0, REG_PBA, 8), 1);
	/* It reads as ones; so a client that changes one bit of what it reads unmasks. */
	assert_int_equal(bar_get(&f, 0, CONTROL(0), 4), 0xffffffff);
	bar_put(&f, 0, CONTROL(0), 4, 0xfffffffe);
	assert_int_equal(waiting(fd), 1); /* once, however often it was raised */
	assert_int_equal(bar_get(&f, 0, REG_PBA, 8), 0);
	assert_int_equal(raised(&f, fd, 0), 1);
	/* Only that word, whole; other vectors, and what is behind the table, are not concerned. */
	bar_put(&f, 0, CONTROL(0), 1, MASK);
	bar_put(&f, 0, CONTROL(0), 2, MASK);
	bar_put(&f, 0, REG_TABLE, 4, MASK);
	bar_put(&f, 0, CONTROL(0) - 4, 8, 0x100000000ull);
	bar_put(&f, 0, CONTROL(1), 4, MASK);
	bar_put(&f, 0, CONTROL(8), 4, MASK);
	memset(entry, 0xff, sizeof(entry));
	assert_int_equal(vfio_device_write(f.df, VFIO_REGION_OFFSET(0) + REG_TABLE, entry, 16), 16);
	assert_int_equal(raised(&f, fd, 0), 1);
	/* A mask ends with a reset, and when the eventfd is set anew. */
	bar_put(&f, 0, CONTROL(0), 4, MASK);
	assert_int_equal(raised(&f, fd, 0), 0);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), 0);
	assert_int_equal(waiting(fd), 0);
	assert_int_equal(raised(&f, fd, 0), 1);
	bar_put(&f, 0, CONTROL(0), 4, MASK);
	assert_int_equal(set_eventfd(&f, 0, fd), 0);
	assert_int_equal(raised(&f, fd, 0), 1);
	down(&f, fd);
}

static void test_mapping_masks(void **state)
{
	struct fixture f;
	int fd = up(&f);

	assert_int_equal(vfio_device_store(f.df, VFIO_REGION_OFFSET(0) + CONTROL(0), 4, MASK), 0);
	assert_int_equal(raised(&f, fd, 0), 0);
	assert_int_equal(vfio_device_store(f.df, VFIO_REGION_OFFSET(0) + CONTROL(0), 4, 0), 0);
	assert_int_equal(waiting(fd), 1);
	down(&f, fd);
}

static void test_function_mask(void **state)
{
	struct fixture f;
	int fd = up(&f);
	unsigned cap = config_get(&f, PCI_CAPABILITY_LIST, 1), flags;

	while (config_get(&f, cap, 1) != PCI_CAP_ID_MSIX)
		cap = config_get(&f, cap + PCI_CAP_LIST_NEXT, 1);
	flags = config_get(&f, cap + PCI_MSIX_FLAGS, 2);
	assert_true(flags & PCI_MSIX_FLAGS_ENABLE);
	config_put(&f, cap + PCI_MSIX_FLAGS, 2, flags | PCI_MSIX_FLAGS_MASKALL);
	assert_int_equal(config_get(&f, cap + PCI_MSIX_FLAGS, 2), flags);
	assert_int_equal(raised(&f, fd, 0), 1);
	config_put(&f, cap + PCI_MSIX_FLAGS, 2, 0);
	assert_int_equal(config_get(&f, cap + PCI_MSIX_FLAGS, 2), flags);
	assert_int_equal(raised(&f, fd, 0), 1);
	down(&f, fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_never_written), cmocka_unit_test(test_region_swallows),
		cmocka_unit_test(test_region_masks),  cmocka_unit_test(test_mapping_masks),
		cmocka_unit_test(test_function_mask),
	};

	guarded_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
