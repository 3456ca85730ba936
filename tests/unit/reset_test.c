/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A.3 to A.7 of devices that are not as others: what kinds of ROM, INTx and reset there are, which
 * functions are reset together, what survives, and what errors do.
 */
#include <semaphore.h>
#include "vfio_fixture.h"
#include "vfio/host.h"
#include "vfio/inject.h"
#include "vfio/machine_private.h"
#include "vfio/observe.h"

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
		{"probe", 4096, 16, -EINVAL, 0xfffff001, -ENOMEM},
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

/* ---- sets ---- */

struct hot_info {
	struct vfio_pci_hot_reset_info head;
	struct vfio_pci_dependent_device devices[8];
};

struct hot_reset {
	struct vfio_pci_hot_reset head;
	int32_t fds[8];
};

/* HOT_RESET with the groups of the numbers, 0 at the end. */
static int hot_reset(struct fixture *f, unsigned first, unsigned second)
{
	struct hot_reset req = {
		.head = {.argsz = sizeof(req), .count = second ? 2 : 1},
		.fds = {1000 + (int)first, 1000 + (int)second},
	};

	return dev_ioctl(f, VFIO_DEVICE_PCI_HOT_RESET, &req);
}

static void test_no_bus_reset(void **state)
{
	struct hot_info info = {.head.argsz = 11};
	struct hot_reset req = {.head = {.argsz = sizeof(req), .count = 1}, .fds = {1001}};
	struct fixture f;

	/* Neither a reset of its own nor one of its bus. */
	fixture_up(&f, "probe,bus-reset=off,noreset=on");
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, &info), -EINVAL);
	info.head.argsz = sizeof(info);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, &info), -ENODEV);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_PCI_HOT_RESET, &req), -ENODEV);
	req.head.flags = 1;
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_PCI_HOT_RESET, &req), -EINVAL);
	req.head.flags = 0;
	req.head.count = 0;
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_PCI_HOT_RESET, &req), -EINVAL);
	/* More groups than devices is found after that. */
	req.head.count = 8;
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_PCI_HOT_RESET, &req), -ENODEV);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), -EINVAL);
	fixture_close(&f);
}

static void test_named_set(void **state)
{
	struct hot_info info = {.head.argsz = sizeof(info)};
	struct vfio_group_file *gf;
	struct fixture f;

	fixture_machine(&f);
	fixture_add(&f, "probe,bus-reset=shelf,noreset=on");
	fixture_add(&f, "probe");
	fixture_add(&f, "probe,bus-reset=shelf");
	fixture_open(&f);
	assert_int_equal(vfio_group_open(f.machine, 3, &gf), 0);

	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, &info), 0);
	assert_int_equal(info.head.count, 2);
	assert_int_equal(info.devices[0].bus, 1);
	assert_int_equal(info.devices[0].group_id, 1);
	assert_int_equal(info.devices[1].bus, 3);
	assert_int_equal(info.devices[1].group_id, 3);
	/* Not alone, so its bus is no way to reset it alone. */
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), -EINVAL);
	assert_int_equal(hot_reset(&f, 1, 0), -EINVAL);
	assert_int_equal(hot_reset(&f, 1, 2), -EINVAL);
	assert_int_equal(probes[0]->resets[UVFIO_RESET_BUS], 0);
	assert_int_equal(hot_reset(&f, 3, 1), 0);
	assert_int_equal(probes[0]->resets[UVFIO_RESET_BUS], 1);
	assert_int_equal(probes[1]->resets[UVFIO_RESET_BUS], 0);
	assert_int_equal(probes[2]->resets[UVFIO_RESET_BUS], 1);
	vfio_group_release(gf);
	fixture_close(&f);
}

static void unbound(void *arg)
{
	sem_post(arg);
}

/* A function of the set that VFIO does not have is in the way of resetting it. */
static void test_unbound_member(void **state)
{
	static const char name[] = "0000:01:00.0";
	struct vfio_device *dev;
	struct fixture f;
	sem_t done;

	sem_init(&done, 0, 0);
	fixture_machine(&f);
	fixture_add(&f, "probe,addr=01:00.0,noreset=on");
	fixture_add(&f, "probe,addr=01:00.1,noreset=on");
	fixture_open(&f);
	dev = vfio_machine_get_device(f.machine, "0000:01:00.1");
	assert_int_equal(hot_reset(&f, 1, 0), 0);
	assert_int_equal(probes[1]->resets[UVFIO_RESET_BUS], 1);
	assert_int_equal(vfio_device_unbind(dev, unbound, &done), 0);
	sem_wait(&done);
	assert_int_equal(hot_reset(&f, 1, 0), -EINVAL);
	/* Nor is it reset after the last close. */
	vfio_device_release(f.df);
	assert_int_equal(probes[0]->resets[UVFIO_RESET_BUS], 1);
	assert_int_equal(probes[1]->resets[UVFIO_RESET_BUS], 1);
	assert_int_equal(vfio_device_bind(dev), 0);
	vfio_device_put(dev);
	assert_int_equal(vfio_group_get_device(f.gf, f.client, (uintptr_t)name, &f.df), 0);
	assert_int_equal(hot_reset(&f, 1, 0), 0);
	assert_int_equal(probes[1]->resets[UVFIO_RESET_BUS], 2);
	fixture_close(&f);
}

static void test_set_refused(void **state)
{
	static const struct {
		const char *spec, *word;
	} rows[] = {
		{"probe,addr=01:00.1", "same bus"},
		{"probe,addr=01:00.1,bus-reset=b", "same bus"},
		{"probe,bus-reset=", "letters"},
		{"probe,bus-reset=a.b", "letters"},
		{"probe,bus-reset=abcdefghijabcdefghijabcdefghijab", "letters"},
	};
	struct uvfio_error err;
	struct fixture f;

	fixture_machine(&f);
	fixture_add(&f, "probe,bus-reset=a");
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_int_equal(vfio_machine_add_device(f.machine, rows[i].spec, &err), -EINVAL);
		if (!strstr(err.msg, rows[i].word))
			fail_msg("%s: %s", rows[i].spec, err.msg);
	}
	fixture_add(&f, "probe,addr=01:00.1,bus-reset=a");
	fixture_close(&f);
}

/* ---- power states and resets by config space ---- */

static void test_d3hot(void **state)
{
	for (unsigned soft = 0; soft < 2; soft++) {
		struct fixture f;
		unsigned pm;

		fixture_up(&f, soft ? "probe" : "probe,shape=no-soft-reset");
		pm = pci_find_cap(vfio_device_func(f.dev), PCI_CAP_ID_PM) + PCI_PM_CTRL;
		config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
		config_put(&f, PCI_CACHE_LINE_SIZE, 1, 0x10);
		bar_put(&f, 0, REG_SCRATCH, 4, 7);
		config_put(&f, pm, 2, 3);
		assert_false(f.probe->running);
		config_put(&f, pm, 2, 0);
		assert_true(f.probe->running);
		assert_int_equal(f.probe->resets[UVFIO_RESET_PM], soft);
		assert_int_equal(bar_get(&f, 0, REG_SCRATCH, 4), soft ? 0 : 7);
		assert_int_equal(config_get(&f, PCI_COMMAND, 2), COMMAND_ON);
		assert_int_equal(config_get(&f, PCI_CACHE_LINE_SIZE, 1), 0x10);
		fixture_close(&f);
	}
}

/* In D1 and D2 registers answer; DMA and messages are for D0. */
static void test_d1_d2(void **state)
{
	struct fixture f;
	unsigned pm;

	fixture_up(&f, "probe,shape=d1-d2");
	pm = pci_find_cap(vfio_device_func(f.dev), PCI_CAP_ID_PM) + PCI_PM_CTRL;
	config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
	bar_put(&f, 0, REG_SCRATCH, 4, 7);
	for (unsigned state_ = 1; state_ <= 2; state_++) {
		config_put(&f, pm, 2, state_);
		assert_int_equal(config_get(&f, pm, 2) & 3, state_);
		assert_false(f.probe->running);
		assert_int_equal(bar_get(&f, 0, REG_SCRATCH, 4), 7);
	}
	/* Only deeper, or to D0; what cannot be is swallowed. */
	config_put(&f, pm, 2, 1);
	assert_int_equal(config_get(&f, pm, 2) & 3, 2);
	config_put(&f, pm, 2, 0);
	assert_true(f.probe->running);
	assert_int_equal(bar_get(&f, 0, REG_SCRATCH, 4), 7);
	assert_int_equal(f.probe->resets[UVFIO_RESET_PM], 0);
	fixture_close(&f);
}

static void test_af(void **state)
{
	struct fixture f;
	unsigned af;

	fixture_up(&f, "probe,shape=af");
	af = pci_find_cap(vfio_device_func(f.dev), PCI_CAP_ID_AF);
	config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
	bar_put(&f, 0, REG_SCRATCH, 4, 7);
	config_put(&f, af + PCI_AF_CTRL, 1, PCI_AF_CTRL_FLR);
	assert_int_equal(f.probe->resets[UVFIO_RESET_FUNCTION], 1);
	assert_int_equal(bar_get(&f, 0, REG_SCRATCH, 4), 0);
	assert_int_equal(config_get(&f, PCI_COMMAND, 2), COMMAND_ON);
	assert_int_equal(config_get(&f, af + PCI_AF_CTRL, 1), 0);
	fixture_close(&f);
}

/* ---- who else resets ---- */

struct host_reset {
	struct vfio_device *dev;
	pthread_t thread;
	uint64_t resets; /* before it */
};

static void *host_reset_thread(void *arg)
{
	vfio_device_host_reset(arg);
	return NULL;
}

/* A reset by the host that takes a while, because the model is not quiet until its timer.  It is
 * under way when this returns, or was already over. */
static void host_reset_begin(struct fixture *f, struct host_reset *reset)
{
	enum mem_gate gate;

	assert_int_equal(probe_command(f, CMD_HOLD, 0x1000000, 8), 0);
	reset->dev = f->dev;
	reset->resets = f->dev->stats.resets;
	pthread_create(&reset->thread, NULL, host_reset_thread, f->dev);
	do {
		sched_yield();
		pthread_mutex_lock(&f->dev->reg_lock);
		gate = f->dev->mem;
		pthread_mutex_unlock(&f->dev->reg_lock);
	} while (gate != MEM_WAIT && f->dev->stats.resets == reset->resets);
}

static bool host_reset_over(const struct host_reset *reset)
{
	return reset->dev->stats.resets != reset->resets;
}

static void test_contention(void **state)
{
	struct vfio_device *devs[2];
	struct host_reset reset;
	struct fixture f;

	fixture_machine(&f);
	fixture_add(&f, "probe");
	fixture_add(&f, "probe,addr=01:00.1");
	fixture_open(&f);
	config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
	assert_int_equal(vfio_machine_devices(f.machine, devs, 2), 2);
	assert_int_equal(dma_map(&f, 0x1000000, 0, 4096, 3), 0);
	for (unsigned busy = 0, again = 0; !busy || !again;) {
		host_reset_begin(&f, &reset);
		again |= dev_ioctl(&f, VFIO_DEVICE_RESET, NULL) == -EAGAIN;
		busy |= hot_reset(&f, 1, 0) == -EBUSY;
		pthread_join(reset.thread, NULL);
	}
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), 0);
	assert_int_equal(hot_reset(&f, 1, 0), 0);
	/* An open that meets somebody else's reset. */
	atomic_fetch_add(&devs[1]->host_resets, 1);
	{
		static const char name[] = "0000:01:00.1";
		struct vfio_device_file *df;

		assert_int_equal(vfio_group_get_device(f.gf, f.client, (uintptr_t)name, &df),
				 -EAGAIN);
		atomic_fetch_sub(&devs[1]->host_resets, 1);
		assert_int_equal(vfio_group_get_device(f.gf, f.client, (uintptr_t)name, &df), 0);
		vfio_device_release(df);
	}
	fixture_close(&f);
}

/* ---- what survives ---- */

/* What was mapped stays during a reset, and shows what the registers hold. */
static void test_mapped_during_reset(void **state)
{
	volatile const uint32_t *p;
	struct host_reset reset;
	struct fixture f;
	int fd;

	fixture_up(&f, "probe");
	fd = vfio_device_view_fd(f.dev);
	p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, (off_t)VFIO_REGION_OFFSET(0));
	assert_ptr_not_equal(p, MAP_FAILED);
	config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
	assert_int_equal(dma_map(&f, 0x1000000, 0, 4096, 3), 0);
	for (unsigned i = 0; i < 20; i++) {
		host_reset_begin(&f, &reset);
		while (!host_reset_over(&reset)) {
			uint32_t id = p[REG_ID / 4];

			assert_true(id == PROBE_ID || id == 0);
		}
		pthread_join(reset.thread, NULL);
		assert_int_equal(p[REG_ID / 4], PROBE_ID);
		assert_int_equal(p[REG_SCRATCH / 4], 0);
		/* Accesses through the file wait. */
		host_reset_begin(&f, &reset);
		if (i & 1)
			assert_int_equal(bar_get(&f, 0, REG_ID, 4), PROBE_ID);
		else
			assert_int_equal(config_get(&f, PCI_VENDOR_ID, 2), 0x1b36);
		assert_true(host_reset_over(&reset));
		assert_int_equal(bar_get(&f, 0, REG_DMA_DONE, 4), 0);
		pthread_join(reset.thread, NULL);
	}
	munmap((void *)(uintptr_t)p, 4096);
	fixture_close(&f);
}

/* ---- errors ---- */

static int set_err(struct fixture *f)
{
	struct {
		struct vfio_irq_set hdr;
		int32_t fd;
	} set = {
		.hdr = {.argsz = sizeof(set),
			.flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
			.index = VFIO_PCI_ERR_IRQ_INDEX,
			.count = 1},
		.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
	};

	assert_int_equal(dev_ioctl(f, VFIO_DEVICE_SET_IRQS, &set), 0);
	return set.fd;
}

static uint64_t take(int fd)
{
	uint64_t count = 0;

	return read(fd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

static enum vfio_aer_outcome inject(struct fixture *f, const char *name)
{
	enum vfio_aer_outcome outcome;
	struct uvfio_error err = {""};
	struct vfio_aer aer;

	assert_int_equal(vfio_aer_parse(name, &aer, &err), 0);
	aer.header[0] = 0x4a000001;
	if (vfio_device_inject_aer(f->dev, &aer, &outcome, &err))
		fail_msg("%s: %s", name, err.msg);
	return outcome;
}

static void test_aer(void **state)
{
	struct uvfio_error err;
	struct vfio_aer aer;
	unsigned at, exp;
	struct fixture f;
	int fd;

	fixture_up(&f, "probe");
	at = pci_find_ext_cap(vfio_device_func(f.dev), PCI_EXT_CAP_ID_ERR);
	exp = pci_find_cap(vfio_device_func(f.dev), PCI_CAP_ID_EXP);
	fd = set_err(&f);
	config_put(&f, PCI_COMMAND, 2, COMMAND_ON);

	assert_int_equal(inject(&f, "badtlp"), VFIO_AER_CORRECTABLE);
	assert_int_equal(take(fd), 0);
	assert_int_equal(config_get(&f, at + PCI_ERR_COR_STATUS, 4), 0);

	/* Not fatal: told, cleared, nothing lost. */
	bar_put(&f, 0, REG_SCRATCH, 4, 7);
	assert_int_equal(inject(&f, "CmpltTO"), VFIO_AER_NONFATAL);
	assert_int_equal(take(fd), 1);
	assert_int_equal(config_get(&f, at + PCI_ERR_UNCOR_STATUS, 4), 0);
	assert_int_equal(config_get(&f, at + PCI_ERR_HEADER_LOG, 4), 0x4a000001);
	assert_int_equal(PCI_ERR_CAP_FEP(config_get(&f, at + PCI_ERR_CAP, 4)), 14);
	assert_int_equal(bar_get(&f, 0, REG_SCRATCH, 4), 7);

	/* Masked, or its report not enabled: only recorded. */
	config_put(&f, at + PCI_ERR_UNCOR_MASK, 4, PCI_ERR_UNC_COMP_TIME);
	assert_int_equal(inject(&f, "CmpltTO"), VFIO_AER_RECORDED);
	assert_int_equal(config_get(&f, at + PCI_ERR_UNCOR_STATUS, 4), PCI_ERR_UNC_COMP_TIME);
	config_put(&f, at + PCI_ERR_UNCOR_STATUS, 4, PCI_ERR_UNC_COMP_TIME);
	assert_int_equal(config_get(&f, at + PCI_ERR_UNCOR_STATUS, 4), 0);
	config_put(&f, at + PCI_ERR_UNCOR_MASK, 4, 0);
	config_put(&f, exp + PCI_EXP_DEVCTL, 2, 0);
	assert_int_equal(inject(&f, "UnsupReq"), VFIO_AER_RECORDED);
	assert_int_equal(config_get(&f, exp + PCI_EXP_DEVSTA, 2),
			 PCI_EXP_DEVSTA_NFED | PCI_EXP_DEVSTA_URD);
	assert_int_equal(take(fd), 0);
	config_put(&f, PCI_COMMAND, 2, COMMAND_ON | PCI_COMMAND_SERR);
	/* By its severity it is fatal now. */
	config_put(&f, at + PCI_ERR_UNCOR_SEVER, 4, PCI_ERR_UNC_COMP_TIME);
	assert_int_equal(inject(&f, "CmpltTO"), VFIO_AER_FATAL);
	assert_int_equal(take(fd), 1);
	/* It is sticky, and the save and restore of a reset clears it. */
	assert_int_equal(config_get(&f, at + PCI_ERR_UNCOR_STATUS, 4), PCI_ERR_UNC_COMP_TIME);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), 0);
	assert_int_equal(config_get(&f, at + PCI_ERR_UNCOR_STATUS, 4), 0);

	aer = (struct vfio_aer){.status = 1u << 31};
	assert_int_equal(vfio_device_inject_aer(f.dev, &aer, NULL, &err), -EINVAL);
	aer.status = 0;
	assert_int_equal(vfio_device_inject_aer(f.dev, &aer, NULL, &err), -EINVAL);
	assert_int_equal(vfio_aer_parse("nosuch", &aer, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "UnsupReq"));
	close(fd);
	fixture_close(&f);
}

/* A fatal error resets the bus behind VFIO's back: the device is deaf until COMMAND is written. */
static void test_backdoor(void **state)
{
	volatile const uint32_t *p;
	uint32_t bar, ones = 0;
	struct vfio_device *devs[2];
	struct pci_func *func;
	struct fixture f;
	int fd;

	fixture_machine(&f);
	fixture_add(&f, "probe");
	fixture_add(&f, "probe,addr=01:00.1");
	fixture_open(&f);
	assert_int_equal(vfio_machine_devices(f.machine, devs, 2), 2);
	func = vfio_device_func(f.dev);
	fd = set_err(&f);
	p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, vfio_device_view_fd(f.dev),
		 (off_t)VFIO_REGION_OFFSET(0));
	assert_ptr_not_equal(p, MAP_FAILED);
	config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
	bar = pci_hw_read(func, PCI_BASE_ADDRESS_0, 4);
	bar_put(&f, 0, REG_SCRATCH, 4, 7);
	assert_int_equal(p[REG_ID / 4], PROBE_ID);

	assert_int_equal(inject(&f, "DLP"), VFIO_AER_FATAL);
	assert_int_equal(take(fd), 1);
	assert_int_equal(f.probe->resets[UVFIO_RESET_BUS], 1);
	assert_int_equal(probes[1]->resets[UVFIO_RESET_BUS], 1);
	assert_int_equal(pci_hw_read(func, PCI_BASE_ADDRESS_0, 4) & ~0xfu, 0);
	/* Of one that nobody has open nothing is lost. */
	assert_int_not_equal(pci_hw_read(vfio_device_func(devs[1]), PCI_BASE_ADDRESS_0, 4) & ~0xfu,
			     0);
	assert_false(f.probe->running);

	/* VFIO believes that memory is on, so nothing is refused, and nobody answers. */
	assert_int_equal(bar_get(&f, 0, REG_ID, 4), 0xffffffff);
	bar_put(&f, 0, REG_SCRATCH, 4, 1);
	assert_int_equal(p[REG_ID / 4], 0xffffffff);
	assert_int_equal(vfio_device_load(f.df, VFIO_REGION_OFFSET(0), 4, &(uint64_t){0}), 0);
	assert_int_equal(vfio_device_store(f.df, VFIO_REGION_OFFSET(0), 4, 1), 0);
	assert_int_equal(
		vfio_device_read(f.df, VFIO_REGION_OFFSET(VFIO_PCI_ROM_REGION_INDEX), &ones, 4),
		-ENOMEM);
	assert_int_equal(f.probe->nr_log, 0);

	config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
	assert_int_equal(pci_hw_read(func, PCI_BASE_ADDRESS_0, 4), bar);
	assert_int_equal(bar_get(&f, 0, REG_ID, 4), PROBE_ID);
	assert_int_equal(bar_get(&f, 0, REG_SCRATCH, 4), 0);
	assert_int_equal(p[REG_ID / 4], PROBE_ID);
	assert_true(f.probe->running);
	munmap((void *)(uintptr_t)p, 4096);
	close(fd);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rom),
		cmocka_unit_test(test_broken_intx),
		cmocka_unit_test(test_not_mappable),
		cmocka_unit_test(test_no_bus_reset),
		cmocka_unit_test(test_named_set),
		cmocka_unit_test(test_unbound_member),
		cmocka_unit_test(test_set_refused),
		cmocka_unit_test(test_contention),
		cmocka_unit_test(test_mapped_during_reset),
		cmocka_unit_test(test_aer),
		cmocka_unit_test(test_backdoor),
		cmocka_unit_test(test_d3hot),
		cmocka_unit_test(test_d1_d2),
		cmocka_unit_test(test_af),
	};

	return cmocka_run_group_tests_name("reset", tests, NULL, NULL);
}
