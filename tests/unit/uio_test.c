/* SPDX-License-Identifier: BSD-3-Clause */
/* src/vfio/uio.c and host_map.c: a device for a driver without DMA, and the host's mappings. */
#include <poll.h>
#include "vfio_fixture.h"
#include "vfio/host.h"
#include "vfio/observe.h"
#include "vfio/uio.h"
#include "vfio/machine_private.h"

#define NAME "0000:01:00.0"

struct uio_fixture {
	struct fixture f;
	struct vfio_device *dev;
	struct uio_file *file;
	int changed; /* an eventfd */
};

static void on_change(void *arg)
{
	eventfd_write(*(int *)arg, 1);
}

static void up_with(struct uio_fixture *u, const char *spec, const struct vfio_policy *policy)
{
	memset(u, 0, sizeof(*u));
	fixture_machine_with(&u->f, policy);
	fixture_add(&u->f, spec);
	u->dev = vfio_machine_get_device(u->f.machine, NAME);
	u->f.probe = probes[0];
	u->changed = eventfd(0, EFD_CLOEXEC);
}

static void down(struct uio_fixture *u)
{
	if (u->file)
		vfio_uio_release(u->file);
	vfio_device_put(u->dev);
	fixture_close(&u->f);
	close(u->changed);
}

static int open_uio(struct uio_fixture *u)
{
	return vfio_uio_open(u->dev, u->f.client, on_change, &u->changed, &u->file);
}

static void up(struct uio_fixture *u)
{
	up_with(u, "probe,driver=uio_pci_generic", NULL);
	assert_int_equal(open_uio(u), 0);
}

static void await_change(struct uio_fixture *u)
{
	eventfd_t n;

	assert_int_equal(eventfd_read(u->changed, &n), 0);
}

static uint16_t command(struct uio_fixture *u)
{
	uint8_t config[4096];

	assert_true(vfio_device_hw_config(u->dev, config, true));
	return (uint16_t)(config[PCI_COMMAND] | config[PCI_COMMAND + 1] << 8);
}

static void write_command(struct uio_fixture *u, uint16_t value)
{
	assert_int_equal(vfio_device_host_config_write(u->dev, PCI_COMMAND, &value, 2), 0);
}

static sigjmp_buf jump;

static void on_bus(int sig)
{
	siglongjmp(jump, 1);
}

/* Does a native access end in SIGBUS? */
static bool faults(volatile uint32_t *p)
{
	struct sigaction sa = {.sa_handler = on_bus}, old;
	bool hit = false;

	sigaction(SIGBUS, &sa, &old);
	if (sigsetjmp(jump, 1))
		hit = true;
	else
		(void)*p;
	sigaction(SIGBUS, &old, NULL);
	return hit;
}

static void on_gone(void *arg, const char *name)
{
	on_change(arg);
}

/* Have the device do @cmd, and wait until it has. */
static void command_dma(struct uio_fixture *u, uint32_t cmd, uint64_t iova, uint32_t len)
{
	struct vfio_device_file *df;
	uint64_t before, now;
	int view;

	assert_int_equal(vfio_device_host_open(u->dev, VFIO_MMIO_EXACT, &df, &view), 0);
	assert_int_equal(vfio_device_load(df, VFIO_REGION_OFFSET(0) + REG_DMA_DONE, 4, &before), 0);
	assert_int_equal(vfio_device_store(df, VFIO_REGION_OFFSET(0) + REG_DMA_IOVA, 8, iova), 0);
	assert_int_equal(vfio_device_store(df, VFIO_REGION_OFFSET(0) + REG_DMA_LEN, 4, len), 0);
	assert_int_equal(vfio_device_store(df, VFIO_REGION_OFFSET(0) + REG_DMA_CMD, 4, cmd), 0);
	do
		assert_int_equal(
			vfio_device_load(df, VFIO_REGION_OFFSET(0) + REG_DMA_DONE, 4, &now), 0);
	while (now == before);
	close(view);
	vfio_device_release(df);
}

static void test_binding(void **state)
{
	struct uio_fixture u;
	struct vfio_group_file *gf;
	unsigned minor = 7;

	up_with(&u, "probe", NULL);
	assert_false(vfio_device_uio(u.dev, &minor));
	assert_int_equal(vfio_device_uio_bind(u.dev), -EBUSY); /* vfio-pci has it */
	assert_int_equal(vfio_device_uio_unbind(u.dev), -ENODEV);
	assert_int_equal(open_uio(&u), -ENODEV);
	down(&u);

	up_with(&u, "probe,driver=none", NULL);
	assert_false(vfio_device_bound(u.dev));
	assert_int_equal(vfio_device_uio_bind(u.dev), 0);
	assert_true(vfio_device_uio(u.dev, &minor));
	assert_int_equal(minor, 0);
	assert_int_equal(command(&u) & 7, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
	assert_int_equal(vfio_device_uio_bind(u.dev), -EBUSY);
	assert_int_equal(vfio_device_bind(u.dev), -EBUSY);
	assert_false(vfio_device_bound(u.dev));
	assert_int_equal(vfio_group_open(u.f.machine, 1, &gf), -ENODEV);
	assert_int_equal(vfio_device_unbind(u.dev, NULL, NULL), -ENODEV);
	assert_int_equal(vfio_device_uio_unbind(u.dev), 0);
	assert_int_equal(vfio_device_bind(u.dev), 0);
	fixture_open(&u.f);
	down(&u);
}

static void test_minors(void **state)
{
	struct vfio_device *devs[3];
	struct uio_fixture u;
	unsigned minor;

	up_with(&u, "probe,driver=none", NULL);
	vfio_machine_set_uio_first(u.f.machine, 4);
	fixture_add(&u.f, "probe,driver=uio_pci_generic");
	fixture_add(&u.f, "probe,driver=uio_pci_generic");
	assert_int_equal(vfio_machine_devices(u.f.machine, devs, 3), 3);
	assert_true(vfio_device_uio(devs[2], &minor));
	assert_int_equal(minor, 5);
	assert_int_equal(vfio_device_uio_unbind(devs[1]), 0);
	assert_int_equal(vfio_device_uio_bind(devs[0]), 0);
	assert_true(vfio_device_uio(devs[0], &minor));
	assert_int_equal(minor, 4);
	down(&u);
}

static void test_refused(void **state)
{
	struct vfio_policy policy;
	struct uvfio_error err;
	struct uio_fixture u;

	up_with(&u, "probe,driver=none,shape=broken-intx", NULL);
	assert_int_equal(vfio_device_uio_bind(u.dev), -ENODEV);
	assert_int_equal(vfio_machine_add_device(u.f.machine,
						 "probe,driver=uio_pci_generic,shape=broken-intx",
						 &err),
			 -EINVAL);
	assert_non_null(strstr(err.msg, "DisINTx"));
	assert_int_equal(vfio_machine_add_device(u.f.machine, "probe,driver=igb", &err), -EINVAL);
	assert_non_null(strstr(err.msg, "uio_pci_generic"));
	down(&u);

	vfio_policy_default(&policy);
	policy.nointxmask = true;
	up_with(&u, "probe,driver=none", &policy);
	assert_int_equal(vfio_device_uio_bind(u.dev), -ENODEV);
	down(&u);

	vfio_policy_default(&policy);
	policy.enable_uio = false;
	up_with(&u, "probe,driver=none", &policy);
	assert_int_equal(vfio_device_uio_bind(u.dev), -ENODEV);
	assert_int_equal(vfio_machine_add_device(u.f.machine, "probe,driver=uio_pci_generic", &err),
			 -EINVAL);
	assert_non_null(strstr(err.msg, "enable_uio"));
	down(&u);
}

static void test_line(void **state)
{
	struct uio_file *second;
	struct uio_fixture u;
	int32_t n = -1;

	up(&u);
	assert_int_equal(u.f.probe->resets[UVFIO_RESET_OPEN], 1);
	assert_int_equal(vfio_uio_read(u.file, &n), -EAGAIN);
	assert_int_equal(vfio_uio_poll(u.file), 0);
	irq_intx_level(vfio_device_irqs(u.dev), true);
	await_change(&u);
	assert_int_equal(vfio_uio_poll(u.file), POLLIN | POLLRDNORM);
	assert_int_equal(vfio_uio_read(u.file, &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(vfio_uio_read(u.file, &n), -EAGAIN);
	/* Masked by its delivery, as DisINTx shows; still asserted, so unmasking fires again. */
	assert_true(command(&u) & PCI_COMMAND_INTX_DISABLE);
	assert_int_equal(vfio_uio_control(u.file, 1), 0);
	await_change(&u);
	/* By COMMAND too, which is the only way with the kernel's driver. */
	write_command(&u, PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
	await_change(&u);
	assert_int_equal(vfio_uio_open(u.dev, u.f.client, on_change, &u.changed, &second), 0);
	assert_int_equal(u.f.probe->resets[UVFIO_RESET_OPEN], 1);
	assert_int_equal(vfio_uio_read(second, &n), -EAGAIN); /* it was before its time */
	assert_int_equal(vfio_uio_read(u.file, &n), 0);
	assert_int_equal(n, 3);
	assert_int_equal(vfio_device_uio_events(u.dev), 3);
	irq_intx_level(vfio_device_irqs(u.dev), false);
	assert_int_equal(vfio_uio_control(u.file, 1), 0);
	assert_int_equal(vfio_uio_control(u.file, 0), 0);
	assert_true(command(&u) & PCI_COMMAND_INTX_DISABLE);
	irq_intx_level(vfio_device_irqs(u.dev), true);
	write_command(&u, PCI_COMMAND_MEMORY | PCI_COMMAND_IO | PCI_COMMAND_INTX_DISABLE);
	assert_int_equal(vfio_uio_control(u.file, 2), -EINVAL);
	assert_int_equal(vfio_uio_control(u.file, 1), 0);
	await_change(&u);
	assert_int_equal(vfio_uio_read(second, &n), 0);
	assert_int_equal(n, 4);
	vfio_uio_release(second);
	assert_int_equal(u.f.probe->resets[UVFIO_RESET_CLOSE], 0);
	vfio_uio_release(u.file);
	u.file = NULL;
	assert_int_equal(u.f.probe->resets[UVFIO_RESET_CLOSE], 1);
	assert_int_equal(command(&u) & 7, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
	down(&u);
}

static void test_no_line(void **state)
{
	struct uio_fixture u;
	int32_t n;

	up_with(&u, "probe,driver=uio_pci_generic,nopin=on", NULL);
	assert_int_equal(open_uio(&u), 0);
	assert_int_equal(vfio_uio_read(u.file, &n), -EIO);
	assert_int_equal(vfio_uio_poll(u.file), (unsigned)-EIO);
	assert_int_equal(vfio_uio_control(u.file, 1), -EIO);
	down(&u);
}

/* Who has it open is told at once, and holds nobody up. */
static void test_unbind_and_removal(void **state)
{
	struct uvfio_error err;
	struct uio_fixture u;
	int32_t n;

	up(&u);
	assert_int_equal(vfio_device_uio_unbind(u.dev), 0);
	await_change(&u);
	assert_int_equal(u.f.probe->resets[UVFIO_RESET_CLOSE], 1);
	assert_int_equal(vfio_uio_read(u.file, &n), -EIO);
	assert_int_equal(vfio_uio_poll(u.file), (unsigned)-EIO);
	assert_int_equal(vfio_uio_control(u.file, 1), -EINVAL);
	assert_int_equal(vfio_device_uio_bind(u.dev), 0);
	assert_int_equal(vfio_uio_read(u.file, &n), -EIO); /* for good */
	vfio_uio_release(u.file);
	assert_int_equal(open_uio(&u), 0);
	vfio_device_put(u.dev);
	assert_int_equal(vfio_machine_remove_device(u.f.machine, NAME, VFIO_REMOVE_WAIT, on_gone,
						    &u.changed, &err),
			 0);
	await_change(&u);
	assert_int_equal(vfio_uio_read(u.file, &n), -EIO);
	vfio_uio_release(u.file);
	u.file = NULL;
	fixture_close(&u.f);
	close(u.changed);
}

/* Bus mastering stays off with the line; a device that tries all the same faults. */
static void test_no_dma(void **state)
{
	struct vfio_device_stats stats;
	struct uio_fixture u;
	uint32_t bar, now;
	uint8_t config[4096];

	up(&u);
	write_command(&u, PCI_COMMAND_MEMORY | PCI_COMMAND_IO | PCI_COMMAND_MASTER);
	assert_false(command(&u) & PCI_COMMAND_MASTER);
	assert_true(command(&u) & PCI_COMMAND_MEMORY);
	assert_int_equal(u.f.probe->resumes, 0);
	bar = 0xffffffff;
	assert_true(vfio_device_hw_config(u.dev, config, true));
	memcpy(&now, config + PCI_BASE_ADDRESS_0, 4);
	assert_int_equal(vfio_device_host_config_write(u.dev, PCI_BASE_ADDRESS_0, &bar, 4), 0);
	assert_true(vfio_device_hw_config(u.dev, config, true));
	assert_memory_equal(&now, config + PCI_BASE_ADDRESS_0, 4);
	command_dma(&u, CMD_READ, 0x1000, 64);
	vfio_device_stats(u.dev, &stats);
	assert_int_equal(stats.faults, 1);
	down(&u);
}

struct irq_request {
	struct vfio_irq_set set;
	int32_t fds[4];
};

static int set_irqs(struct uio_fixture *u, unsigned index, unsigned count, int fd)
{
	struct irq_request req = {
		.set = {.argsz = (uint32_t)(sizeof(req.set) + 4 * count),
			.flags = VFIO_IRQ_SET_ACTION_TRIGGER |
				 (count ? VFIO_IRQ_SET_DATA_EVENTFD : VFIO_IRQ_SET_DATA_NONE),
			.index = index,
			.count = count},
		.fds = {fd, fd, fd, fd},
	};

	return vfio_device_uio_ioctl(u->dev, u->f.client, VFIO_DEVICE_SET_IRQS, (uintptr_t)&req);
}

static void test_messages(void **state)
{
	struct vfio_irq_info info = {.argsz = sizeof(info), .index = VFIO_PCI_MSIX_IRQ_INDEX};
	int fd = eventfd(0, EFD_CLOEXEC);
	struct vfio_device_stats stats;
	struct uio_fixture u;
	uint8_t config[4096];
	unsigned msix;
	uint16_t off = 0, flags;
	eventfd_t n;

	up(&u);
	assert_int_equal(vfio_device_uio_ioctl(u.dev, u.f.client, VFIO_DEVICE_GET_IRQ_INFO,
					       (uintptr_t)&info),
			 0);
	assert_int_equal(info.count, 8);
	info.index = VFIO_PCI_INTX_IRQ_INDEX;
	assert_int_equal(vfio_device_uio_ioctl(u.dev, u.f.client, VFIO_DEVICE_GET_IRQ_INFO,
					       (uintptr_t)&info),
			 -EINVAL);
	assert_int_equal(vfio_device_uio_ioctl(u.dev, u.f.client, VFIO_DEVICE_RESET, 0), -ENOTTY);
	assert_int_equal(vfio_device_uio_ioctl(u.dev, u.f.client, VFIO_DEVICE_SET_IRQS, 16),
			 -EFAULT);
	assert_int_equal(set_irqs(&u, VFIO_PCI_INTX_IRQ_INDEX, 1, fd), -EINVAL);
	assert_int_equal(set_irqs(&u, VFIO_PCI_MSIX_IRQ_INDEX, 1, u.f.tc.fd), -EINVAL);
	assert_int_equal(set_irqs(&u, VFIO_PCI_MSIX_IRQ_INDEX, 1, 999), -EBADF);
	/* What failed left the line as it was. */
	irq_intx_level(vfio_device_irqs(u.dev), true);
	await_change(&u);
	irq_intx_level(vfio_device_irqs(u.dev), false);

	assert_int_equal(set_irqs(&u, VFIO_PCI_MSIX_IRQ_INDEX, 2, fd), 0);
	assert_true(command(&u) & PCI_COMMAND_MASTER);
	assert_int_equal(vfio_uio_control(u.file, 1), -EINVAL); /* the line is off */
	command_dma(&u, CMD_IRQ, 0, 1);
	assert_int_equal(eventfd_read(fd, &n), 0);
	/* Nothing is mapped, whatever the device tries. */
	command_dma(&u, CMD_WRITE, 0x1000, 64);
	command_dma(&u, CMD_READ, 0, 8);
	vfio_device_stats(u.dev, &stats);
	assert_int_equal(stats.faults, 2);
	/* The capability is not the host's while uio has the device. */
	msix = pci_find_cap(vfio_device_func(u.dev), PCI_CAP_ID_MSIX);
	assert_int_equal(
		vfio_device_host_config_write(u.dev, msix + PCI_MSIX_FLAGS, &off, sizeof(off)), 0);
	assert_true(vfio_device_hw_config(u.dev, config, true));
	memcpy(&flags, config + msix + PCI_MSIX_FLAGS, sizeof(flags));
	assert_true(flags & PCI_MSIX_FLAGS_ENABLE);
	/* MSI-X first goes, and the line comes back. */
	assert_int_equal(set_irqs(&u, VFIO_PCI_MSI_IRQ_INDEX, 1, fd), -EINVAL);
	assert_int_equal(set_irqs(&u, VFIO_PCI_MSIX_IRQ_INDEX, 0, -1), 0);
	assert_false(command(&u) & PCI_COMMAND_MASTER);
	irq_intx_level(vfio_device_irqs(u.dev), true);
	await_change(&u);
	assert_int_equal(set_irqs(&u, VFIO_PCI_MSI_IRQ_INDEX, 1, fd), 0);
	vfio_uio_release(u.file);
	u.file = NULL;
	assert_false(command(&u) & PCI_COMMAND_MASTER);
	assert_int_equal(set_irqs(&u, VFIO_PCI_MSIX_IRQ_INDEX, 1, fd), -ENODEV);
	info.index = VFIO_PCI_MSIX_IRQ_INDEX;
	assert_int_equal(vfio_device_uio_ioctl(u.dev, u.f.client, VFIO_DEVICE_GET_IRQ_INFO,
					       (uintptr_t)&info),
			 -ENODEV);
	down(&u);
	close(fd);
}

/* ---- mappings ---- */

static uint32_t *map_bar(int view)
{
	void *p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, view, (off_t)VFIO_REGION_OFFSET(0));

	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

static void test_host_map(void **state)
{
	struct vfio_device_file *df, *other;
	bool writable, trap_reads;
	struct uio_fixture u;
	volatile uint32_t *bar;
	uint64_t value;
	int view, view2;
	uint16_t off = 0;

	up_with(&u, "probe,driver=uio_pci_generic", NULL);
	assert_int_equal(vfio_device_host_open(u.dev, VFIO_MMIO_EXACT, &df, &view), 0);
	assert_int_equal(
		vfio_device_mmap(df, VFIO_REGION_OFFSET(0), 4096, true, &writable, &trap_reads), 0);
	bar = map_bar(view);
	assert_int_equal(bar[REG_ID / 4], PROBE_ID);
	assert_int_equal(vfio_device_store(df, VFIO_REGION_OFFSET(0) + REG_SCRATCH, 4, 77), 0);
	assert_int_equal(bar[REG_SCRATCH / 4], 77);
	/* It outlives uio's sessions: opened, reset, closed. */
	assert_int_equal(open_uio(&u), 0);
	assert_int_equal(bar[REG_SCRATCH / 4], 0);
	assert_int_equal(vfio_device_host_open(u.dev, VFIO_MMIO_EXACT, &other, &view2), 0);
	close(view2);
	vfio_uio_release(u.file);
	u.file = NULL;
	assert_int_equal(bar[REG_ID / 4], PROBE_ID);
	/* Nobody answers: ones, not SIGBUS. */
	assert_int_equal(vfio_device_host_config_write(u.dev, PCI_COMMAND, &off, 2), 0);
	assert_int_equal(bar[REG_ID / 4], 0xffffffff);
	assert_int_equal(vfio_device_load(df, VFIO_REGION_OFFSET(0), 2, &value), 0);
	assert_int_equal(value, 0xffff);
	assert_int_equal(vfio_device_store(df, VFIO_REGION_OFFSET(0) + REG_SCRATCH, 4, 1), 0);
	off = PCI_COMMAND_MEMORY;
	assert_int_equal(vfio_device_host_config_write(u.dev, PCI_COMMAND, &off, 2), 0);
	assert_int_equal(bar[REG_ID / 4], PROBE_ID);
	assert_int_equal(bar[REG_SCRATCH / 4], 0);
	vfio_device_release(other);
	munmap((void *)(uintptr_t)bar, 4096);
	close(view);
	vfio_device_release(df);
	down(&u);
}

/* VFIO's open takes the BARs; what was mapped faults, and its session has pages of its own. */
static void test_host_map_revoked(void **state)
{
	struct vfio_device_file *df, *none;
	bool writable, trap_reads;
	struct uio_fixture u;
	volatile uint32_t *bar;
	uint64_t value;
	int view, view2;

	up_with(&u, "probe", NULL);
	assert_int_equal(vfio_device_host_open(u.dev, VFIO_MMIO_EXACT, &df, &view), 0);
	bar = map_bar(view);
	assert_int_equal(bar[REG_ID / 4], 0xffffffff); /* not enabled yet */
	fixture_open(&u.f);
	assert_int_equal(vfio_device_host_open(u.dev, VFIO_MMIO_EXACT, &none, &view2), -EINVAL);
	assert_true(faults(bar));
	assert_int_equal(vfio_device_store(df, VFIO_REGION_OFFSET(0) + REG_SCRATCH, 4, 1), -EIO);
	assert_int_equal(vfio_device_load(df, VFIO_REGION_OFFSET(0), 4, &value), -EIO);
	assert_int_equal(
		vfio_device_mmap(df, VFIO_REGION_OFFSET(0), 4096, true, &writable, &trap_reads),
		-ENODEV);
	assert_int_equal(u.f.probe->writes, 0);
	view2 = vfio_device_view_fd(u.dev);
	assert_true(view2 >= 0);
	assert_true(faults(bar));
	munmap((void *)(uintptr_t)bar, 4096);
	close(view);
	vfio_device_release(df);
	down(&u);
}

/* It keeps nobody from removing the device, and may go later. */
static void test_host_map_removed(void **state)
{
	struct vfio_device_file *df;
	struct uvfio_error err;
	struct uio_fixture u;
	uint64_t value;
	int view;

	up_with(&u, "probe,driver=uio_pci_generic", NULL);
	assert_int_equal(vfio_device_host_open(u.dev, VFIO_MMIO_NONE, &df, &view), 0);
	vfio_device_put(u.dev);
	assert_int_equal(vfio_machine_remove_device(u.f.machine, NAME, VFIO_REMOVE_WAIT, on_gone,
						    &u.changed, &err),
			 0);
	await_change(&u);
	assert_int_equal(vfio_device_load(df, VFIO_REGION_OFFSET(0), 4, &value), -EIO);
	close(view);
	vfio_device_release(df);
	fixture_close(&u.f);
	close(u.changed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_binding),          cmocka_unit_test(test_minors),
		cmocka_unit_test(test_refused),          cmocka_unit_test(test_line),
		cmocka_unit_test(test_no_line),          cmocka_unit_test(test_unbind_and_removal),
		cmocka_unit_test(test_no_dma),           cmocka_unit_test(test_messages),
		cmocka_unit_test(test_host_map),         cmocka_unit_test(test_host_map_revoked),
		cmocka_unit_test(test_host_map_removed),
	};

	if (!vfio_uio_built())
		return 77; /* skipped */
	guarded_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
