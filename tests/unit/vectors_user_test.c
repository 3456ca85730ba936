/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the user of a VF meets whose vectors were given or taken, before it opened the VF or
 * meanwhile (B, A.3, A.6, A.8): beyond the count there is nothing behind the table, whatever is
 * written there and by which way.
 */
#include <sched.h>

#include "vectors_owner.h"

/* Taken before the VF was opened: it looks like one of so many vectors, in a larger table page. */
static void test_before(void **state)
{
	struct owner u;
	struct fixture *f = &u.p.f;
	unsigned msix;

	start(&u, 8);
	msix = find_msix(f);
	assert_int_equal(config_get(f, msix + PCI_MSIX_FLAGS, 2), 7);
	assert_int_equal(info_count(&u, VFIO_PCI_MSIX_IRQ_INDEX), 8);
	assert_int_equal(info_count(&u, VFIO_PCI_INTX_IRQ_INDEX), 0);
	assert_int_equal(set_eventfds(&u, 0, 9), -EINVAL);
	assert_int_equal(set_eventfds(&u, 0, 8), 0);
	/* The window is that of 8 entries; what is behind it is raw, and nothing. */
	assert_int_equal(bar_get(f, 0, CONTROL(7), 4), ONES32);
	assert_int_equal(bar_get(f, 0, ENTRY(8), 4), 0);
	assert_true(bar_get(f, 0, ENTRY(7) + 8, 8) == ~0ull);
	assert_int_equal(bar_get(f, 0, ENTRY(63) + 8, 8), 0);
	for (unsigned off = ENTRY(0); off < VF_TABLE + 0x1000; off += 4) {
		bar_put(f, 0, off, 4, off % 16 == 12 ? 0 : ONES32);
		store(&u, off, 4, off % 16 == 12 ? 0 : ONES32);
		if (off % 8 == 0)
			store(&u, off, 8, off % 16 ? 0xffffffff : ~0ull);
	}
	for (unsigned off = ENTRY(8); off < VF_TABLE + 0x1000; off += 4) {
		assert_int_equal(load(&u, off, 4), 0);
		assert_int_equal(bar_get(f, 0, off, 4), 0);
	}
	assert_int_equal(load(&u, ENTRY(7) + 8, 4), ONES32); /* its own entry it may write */
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(raised(&u, i), 1);
	assert_nothing(&u, 8);
	stop(&u);
}

/* What read and write say of the table is what it was at the open (A.3). */
static void test_window(void **state)
{
	struct owner u;
	struct fixture *f = &u.p.f;

	start(&u, 32);
	assert_int_equal(set_eventfds(&u, 0, 32), 0);
	assert_int_equal(give(&u.p, 0, 4), 0);
	assert_int_equal(config_get(f, find_msix(f) + PCI_MSIX_FLAGS, 2),
			 3 | PCI_MSIX_FLAGS_ENABLE);
	assert_int_equal(info_count(&u, VFIO_PCI_MSIX_IRQ_INDEX), 4);
	assert_int_equal(bar_get(f, 0, CONTROL(31), 4), ONES32);
	assert_int_equal(bar_get(f, 0, CONTROL(32), 4), 0);
	bar_put(f, 0, CONTROL(31), 4, 0);
	for (unsigned i = 4; i < 32; i++) {
		store(&u, CONTROL(i), 4, 0);
		assert_int_equal(load(&u, CONTROL(i), 4), 0);
		assert_int_equal(load(&u, ENTRY(i), 4), 0);
	}
	assert_nothing(&u, 4);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(raised(&u, i), 1);
	leave(&u);
	/* The next one sees four. */
	pick(&u, u.p.vf[0]);
	assert_int_equal(bar_get(f, 0, CONTROL(3), 4), ONES32);
	assert_int_equal(bar_get(f, 0, CONTROL(4), 4), 0);
	stop(&u);
}

/* More than at the open: the rest of the table is reached by read and write as by a mapping. */
static void test_grown(void **state)
{
	struct owner u;
	struct fixture *f = &u.p.f;

	start(&u, 4);
	assert_int_equal(set_eventfds(&u, 0, 4), 0);
	assert_int_equal(give(&u.p, 0, 16), 0);
	assert_int_equal(info_count(&u, VFIO_PCI_MSIX_IRQ_INDEX), 16);
	assert_int_equal(bar_get(f, 0, CONTROL(15), 4), 1); /* as after power-on */
	assert_int_equal(load(&u, CONTROL(15), 4), 1);
	assert_int_equal(raised(&u, 15), 0);
	assert_int_equal(bar_get(f, 0, VF_PBA, 8), 0x8000);
	assert_int_equal(set_eventfds(&u, 15, 1), 0);
	assert_int_equal(bar_get(f, 0, VF_PBA, 8), 0);
	assert_int_equal(raised(&u, 15), 2); /* the one that was pending, and this one */
	assert_int_equal(bar_get(f, 0, ENTRY(15) + 8, 4), 15);
	bar_put(f, 0, CONTROL(15), 4, 1);
	assert_int_equal(raised(&u, 15), 0);
	bar_put(f, 0, CONTROL(15), 4, 0);
	assert_int_equal(raised(&u, 15), 2);
	bar_put(f, 0, CONTROL(3), 4, 1); /* behind the window: swallowed */
	assert_int_equal(raised(&u, 3), 1);
	assert_nothing(&u, 16);
	stop(&u);
}

/* A client of a door that masks by the region. */
static void test_masking_door(void **state)
{
	struct owner u;
	struct fixture *f = &u.p.f;

	start(&u, 8);
	vfio_device_file_mask_vectors(f->df);
	assert_int_equal(set_eventfds(&u, 0, 8), 0);
	assert_int_equal(give(&u.p, 0, 2), 0);
	for (unsigned i = 0; i < TABLE; i++) {
		bar_put(f, 0, CONTROL(i), 4, 1);
		bar_put(f, 0, CONTROL(i), 4, 0);
	}
	assert_int_equal(raised(&u, 0), 1);
	assert_int_equal(raised(&u, 1), 1);
	assert_nothing(&u, 2);
	bar_put(f, 0, CONTROL(1), 4, 1);
	assert_int_equal(raised(&u, 1), 0);
	bar_put(f, 0, CONTROL(1), 4, 0);
	assert_int_equal(raised(&u, 1), 2);
	stop(&u);
}

/* A page that the client writes as it likes. */
static void test_written_page(void **state)
{
	struct owner u;
	struct fixture *f = &u.p.f;
	uint32_t *page;

	start(&u, 16);
	assert_int_equal(vfio_device_file_set_mmio(f->df, VFIO_MMIO_POLLED), 0);
	assert_int_equal(set_eventfds(&u, 0, 16), 0);
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, vfio_device_view_fd(f->dev),
		    (off_t)(VFIO_REGION_OFFSET(0) + VF_TABLE));
	assert_ptr_not_equal(page, MAP_FAILED);
	assert_int_equal(page[15 * 4], 0xfee00000);
	assert_int_equal(give(&u.p, 0, 3), 0);
	/* What is gone is gone from the page. */
	for (unsigned i = 3 * 4; i < 1024; i++)
		assert_int_equal(page[i], 0);
	for (unsigned i = 0; i < 1024; i++)
		page[i] = i % 4 == 3 ? 0 : 0xfee00000 | i << 2;
	uvfio_ctx_flush(uvfio_device_ctx((struct uvfio_device *)f->dev));
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(raised(&u, i), 1);
	assert_nothing(&u, 3);
	/* New vectors have nothing of it. */
	assert_int_equal(give(&u.p, 0, 5), 0);
	assert_int_equal(load(&u, ENTRY(3), 4), 0);
	assert_int_equal(load(&u, CONTROL(4), 4), 1);
	assert_int_equal(page[4 * 4 + 3], 1);
	assert_int_equal(raised(&u, 4), 0);
	assert_nothing(&u, 5);
	munmap(page, 4096);
	stop(&u);
}

/* None: no capability, no window, nothing to be had. */
static void test_none(void **state)
{
	struct {
		struct vfio_region_info info;
		struct vfio_info_cap_header cap;
	} region = {.info = {.argsz = sizeof(region)}};
	struct vfio_irq_set off = {.argsz = sizeof(off),
				   .flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER,
				   .index = VFIO_PCI_MSIX_IRQ_INDEX};
	struct owner u;
	struct fixture *f = &u.p.f;

	start(&u, 0);
	assert_int_equal(find_msix(f), 0);
	assert_int_equal(info_count(&u, VFIO_PCI_MSIX_IRQ_INDEX), 0);
	assert_int_equal(info_count(&u, VFIO_PCI_INTX_IRQ_INDEX), 0);
	assert_int_equal(dev_ioctl(f, VFIO_DEVICE_GET_REGION_INFO, &region), 0);
	assert_false(region.info.flags & VFIO_REGION_INFO_FLAG_CAPS);
	assert_int_equal(set_eventfds(&u, 0, 1), -EINVAL);
	assert_int_equal(dev_ioctl(f, VFIO_DEVICE_SET_IRQS, &off), -EINVAL);
	for (unsigned i = 0; i < TABLE; i++) {
		bar_put(f, 0, CONTROL(i), 4, 0);
		store(&u, CONTROL(i), 4, 0);
		assert_int_equal(bar_get(f, 0, CONTROL(i), 4), 0);
	}
	assert_int_equal(raised(&u, 0), 0);
	/* With it open they come, live; the list is that of the open (A.7). */
	assert_int_equal(give(&u.p, 0, 2), 0);
	assert_int_equal(find_msix(f), 0);
	assert_int_equal(set_eventfds(&u, 0, 2), 0);
	assert_int_equal(raised(&u, 1), 1);
	leave(&u);
	pick(&u, u.p.vf[0]);
	assert_int_equal(config_get(f, find_msix(f) + PCI_MSIX_FLAGS, 2), 1);
	assert_int_equal(dev_ioctl(f, VFIO_DEVICE_GET_REGION_INFO, &region), 0);
	assert_true(region.info.flags & VFIO_REGION_INFO_FLAG_CAPS);
	assert_int_equal(set_eventfds(&u, 0, 2), 0);
	/* All are taken while they are in use: only closing ends it. */
	assert_int_equal(give(&u.p, 0, 0), 0);
	assert_true(find_msix(f));
	assert_int_equal(config_get(f, find_msix(f) + PCI_MSIX_FLAGS, 2) & PCI_MSIX_FLAGS_QSIZE, 0);
	assert_int_equal(dev_ioctl(f, VFIO_DEVICE_SET_IRQS, &off), -EINVAL);
	assert_nothing(&u, 0);
	leave(&u);
	pick(&u, u.p.vf[0]);
	assert_int_equal(find_msix(f), 0);
	stop(&u);
}

/* The window also says which ioeventfds would be in it (A.8). */
static void test_ioeventfd(void **state)
{
	struct vfio_device_ioeventfd req = {
		.argsz = sizeof(req), .flags = VFIO_DEVICE_IOEVENTFD_32, .data = 0};
	struct pollfd pfd = {.events = POLLIN};
	uint64_t one = 1;
	struct owner u;
	struct fixture *f = &u.p.f;

	start(&u, 8);
	assert_int_equal(set_eventfds(&u, 0, 8), 0);
	req.fd = pfd.fd = u.efd[63];
	req.offset = VFIO_REGION_OFFSET(0) + CONTROL(7);
	assert_int_equal(dev_ioctl(f, VFIO_DEVICE_IOEVENTFD, &req), -EINVAL);
	req.offset = VFIO_REGION_OFFSET(0) + CONTROL(8);
	assert_int_equal(dev_ioctl(f, VFIO_DEVICE_IOEVENTFD, &req), 0);
	assert_int_equal(write(u.efd[63], &one, 8), 8);
	while (poll(&pfd, 1, 0)) /* until the device has taken it */
		sched_yield();
	uvfio_ctx_flush(uvfio_device_ctx((struct uvfio_device *)f->dev));
	assert_int_equal(load(&u, CONTROL(8), 4), 0);
	assert_nothing(&u, 8);
	stop(&u);
}

/* No reset brings anything back, nor takes anything. */
static void test_resets(void **state)
{
	struct vfio_irq_set off = {.argsz = sizeof(off),
				   .flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER,
				   .index = VFIO_PCI_MSIX_IRQ_INDEX};
	struct owner u;
	struct fixture *f = &u.p.f;

	start(&u, 16);
	assert_int_equal(set_eventfds(&u, 0, 16), 0);
	assert_int_equal(give(&u.p, 0, 5), 0);
	for (unsigned i = 0; i < 3; i++) {
		if (i == 0)
			assert_int_equal(dev_ioctl(f, VFIO_DEVICE_RESET, NULL), 0);
		else if (i == 1)
			assert_int_equal(vfio_device_host_reset(u.p.vf[0]), 0);
		else
			assert_int_equal(vfio_device_host_reset(u.p.pf), 0);
		assert_int_equal(info_count(&u, VFIO_PCI_MSIX_IRQ_INDEX), 5);
		assert_int_equal(config_get(f, find_msix(f) + PCI_MSIX_FLAGS, 2),
				 i < 2 ? 4 | PCI_MSIX_FLAGS_ENABLE : 4);
		if (i == 2) { /* the VF's config space is lost (C.4) */
			config_put(f, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
			assert_int_equal(set_eventfds(&u, 0, 6), -EINVAL);
			assert_int_equal(dev_ioctl(f, VFIO_DEVICE_SET_IRQS, &off), 0);
			assert_int_equal(set_eventfds(&u, 0, 5), 0);
		}
		for (unsigned k = 0; k < 5; k++)
			assert_int_equal(raised(&u, k), 1);
		assert_nothing(&u, 5);
	}
	leave(&u);
	pick(&u, u.p.vf[0]);
	assert_int_equal(info_count(&u, VFIO_PCI_MSIX_IRQ_INDEX), 5);
	stop(&u);
}

/* A VF without vectors, and with a timer in their place (A.8). */
static void test_timer(void **state)
{
	struct {
		struct vfio_irq_set set;
		int32_t fd;
	} req = {.set = {.argsz = sizeof(req),
			 .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
			 .index = VFIO_PCI_INTX_IRQ_INDEX,
			 .count = 1}};
	struct vfio_irq_set unmask = {.argsz = sizeof(unmask),
				      .flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK,
				      .index = VFIO_PCI_INTX_IRQ_INDEX,
				      .count = 1};
	struct uvfio_error err;
	struct fixture *f;
	struct owner u;

	memset(&u, 0, sizeof(u));
	f = &u.p.f;
	pool_start(&u.p, "pool,vfs=4,driver=pool,pool=1,vf-poll-interrupt=100us");
	assert_int_equal(vfio_machine_add_device(f->machine, "probe,vf-poll-interrupt=1ms", &err),
			 -EINVAL);
	assert_non_null(strstr(err.msg, "vf-poll-interrupt"));
	/* The PF has none by it. */
	assert_int_equal(pci_hw_read(u.p.pf->func, PCI_INTERRUPT_PIN, 1), 0);
	assert_int_equal(pool_enable(&u.p, 2), 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(has(&u.p, i), 0);
		assert_int_equal(vfio_device_bind(u.p.vf[i]), 0);
		pick(&u, u.p.vf[i]);
		assert_int_equal(info_count(&u, VFIO_PCI_MSIX_IRQ_INDEX), 0);
		assert_int_equal(info_count(&u, VFIO_PCI_INTX_IRQ_INDEX), 1);
		assert_int_equal(config_get(f, PCI_INTERRUPT_PIN, 1), 1);
		req.fd = eventfd(0, EFD_CLOEXEC);
		assert_int_equal(dev_ioctl(f, VFIO_DEVICE_SET_IRQS, &req), 0);
		for (unsigned k = 0; k < 3; k++) {
			irq_wait(req.fd);
			assert_int_equal(dev_ioctl(f, VFIO_DEVICE_SET_IRQS, &unmask), 0);
		}
		/* Across a reset. */
		assert_int_equal(dev_ioctl(f, VFIO_DEVICE_RESET, NULL), 0);
		assert_int_equal(config_get(f, PCI_INTERRUPT_PIN, 1), 1);
		irq_wait(req.fd);
		close(req.fd);
		leave(&u);
	}
	pool_stop(&u.p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_before),       cmocka_unit_test(test_window),
		cmocka_unit_test(test_grown),        cmocka_unit_test(test_masking_door),
		cmocka_unit_test(test_written_page), cmocka_unit_test(test_none),
		cmocka_unit_test(test_ioeventfd),    cmocka_unit_test(test_resets),
		cmocka_unit_test(test_timer),
	};

	guarded_init();
	return cmocka_run_group_tests_name("vectors_user", tests, NULL, NULL);
}
