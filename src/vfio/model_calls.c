/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device model's side of the core (include/uvfio/device.h), except DMA, which is dma.c, and VFs,
 * which are sriov.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include "vfio/machine_private.h"

#define LOG_BURST       10
#define LOG_INTERVAL_MS 1000

static struct vfio_device *to_dev(const struct uvfio_device *dev)
{
	return (struct vfio_device *)(uintptr_t)dev;
}

const char *uvfio_device_name(const struct uvfio_device *udev)
{
	return to_dev(udev)->name;
}

struct uvfio_ctx *uvfio_device_ctx(struct uvfio_device *udev)
{
	return to_dev(udev)->ctx;
}

int uvfio_open(struct uvfio_device *udev, const char *path, int flags)
{
	const struct vfio_file_ops *ops = udev ? &to_dev(udev)->machine->file_ops : NULL;
	int fd;

	if (ops && ops->open)
		return ops->open(ops->arg, path, flags);
	fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

int uvfio_connect(struct uvfio_device *udev, const char *uri)
{
	const struct vfio_file_ops *ops = udev ? &to_dev(udev)->machine->file_ops : NULL;

	return ops && ops->connect ? ops->connect(ops->arg, uri) : -ENOSYS;
}

struct block_rings *vfio_file_rings(struct uvfio_device *udev)
{
	return udev ? to_dev(udev)->machine->file_ops.rings : NULL;
}

void uvfio_device_log(struct uvfio_device *udev, enum uvfio_log_level level, const char *fmt, ...)
{
	struct vfio_device *dev = to_dev(udev);
	unsigned lost = 0;
	va_list ap;

	/* A client's driver can cause any number of them; who wants to debug wants all. */
	if (level <= UVFIO_LOG_WARN && !uvfio_log_wants(dev->machine->log, UVFIO_LOG_DEBUG) &&
	    !uvfio_ratelimit_ok(&dev->log_limit, LOG_BURST, LOG_INTERVAL_MS, &lost))
		return;
	if (lost)
		uvfio_log(dev->machine->log, level, "%s: %u more messages not shown", dev->name,
			  lost);
	va_start(ap, fmt);
	uvfio_vlog(dev->machine->log, level, dev->name, fmt, ap);
	va_end(ap);
}

static bool register_valid(const struct bar *bar, uint64_t off, unsigned size)
{
	return (size == 1 || size == 2 || size == 4 || size == 8) && !(off & (size - 1)) &&
	       off < bar->shadow_len;
}

/* The message for a model that names a register which it has not declared: its bug, not a client's.
 */
static bool check_register(struct vfio_device *dev, unsigned bar, uint64_t off, unsigned size)
{
	if (bar < NR_BARS && register_valid(&dev->bars[bar], off, size))
		return true;
	uvfio_log(dev->machine->log, UVFIO_LOG_ERROR,
		  "%s: model %s names BAR %u offset %#llx size %u, which is in none of its areas",
		  dev->name, dev->model->name, bar, (unsigned long long)off, size);
	return false;
}

void uvfio_reg_set(struct uvfio_device *udev, unsigned bar, uint64_t off, unsigned size,
		   uint64_t value)
{
	struct vfio_device *dev = to_dev(udev);

	if (check_register(dev, bar, off, size))
		view_store(dev, bar, off, size, value);
}

uint64_t uvfio_reg_get(struct uvfio_device *udev, unsigned bar, uint64_t off, unsigned size)
{
	struct vfio_device *dev = to_dev(udev);

	return check_register(dev, bar, off, size) ? shadow_load(&dev->bars[bar], off, size) : 0;
}

void *uvfio_bar_memory(struct uvfio_device *udev, unsigned bar, uint64_t off)
{
	struct vfio_device *dev = to_dev(udev);
	uint64_t end;

	if (bar >= NR_BARS || bar_range(&dev->bars[bar], off, &end)->kind != RANGE_MEMORY)
		return NULL;
	return dev->bars[bar].memory + off;
}

/* As check_register(), of config space. */
static void check_config(struct vfio_device *dev, int ret, unsigned off, unsigned size)
{
	if (ret)
		uvfio_log(
			dev->machine->log, UVFIO_LOG_ERROR,
			"%s: model %s names %u bytes of config space at %#x, which are in none of "
			"its capabilities with data or areas",
			dev->name, dev->model->name, size, off);
}

uint32_t uvfio_config_get(struct uvfio_device *udev, unsigned off, unsigned size)
{
	struct vfio_device *dev = to_dev(udev);
	uint32_t value = 0;

	check_config(dev, pci_model_get(dev->func, off, size, &value), off, size);
	return value;
}

void uvfio_config_set(struct uvfio_device *udev, unsigned off, unsigned size, uint32_t mask,
		      uint32_t value)
{
	struct vfio_device *dev = to_dev(udev);

	check_config(dev, pci_model_set(dev->func, off, size, mask, value), off, size);
}

unsigned uvfio_config_cap(struct uvfio_device *udev, bool extended, unsigned id)
{
	struct vfio_device *dev = to_dev(udev);

	return extended ? pci_find_ext_cap(dev->func, (uint16_t)id)
			: pci_find_cap(dev->func, (uint8_t)id);
}

void uvfio_kick(struct uvfio_device *udev)
{
	struct vfio_device *dev = to_dev(udev);

	uvfio_ctx_post(dev->ctx, &dev->work);
}

void uvfio_quiesced(struct uvfio_device *udev)
{
	struct vfio_device *dev = to_dev(udev);

	pthread_mutex_lock(&dev->quiet_lock);
	/* At once: a model that starts DMA after this is refused, and never waited for. */
	if (dev->quiesce_pending)
		atomic_store(&dev->dma_on, false);
	dev->quiesce_pending = false;
	pthread_cond_broadcast(&dev->quiet_cond);
	pthread_mutex_unlock(&dev->quiet_lock);
}

void uvfio_irq_raise(struct uvfio_device *udev, unsigned vector)
{
	struct vfio_device *dev = to_dev(udev);

	irq_raise(dev->irqs, vector);
	if (machine_observed(dev->machine)) {
		uint64_t mode = atomic_load(&dev->irq_mode);

		if (mode >> 32)
			device_emit(dev, VFIO_EVENT_IRQ, (mode >> 32) - 1, vector, 0, 0);
	}
}

void uvfio_intx_set(struct uvfio_device *udev, bool level)
{
	struct vfio_device *dev = to_dev(udev);

	irq_intx_level(dev->irqs, level);
	if (level)
		device_emit(dev, VFIO_EVENT_IRQ, VFIO_PCI_INTX_IRQ_INDEX, 0, 0, 0);
}

bool uvfio_irq_is_message(struct uvfio_device *udev)
{
	uint64_t mode = atomic_load(&to_dev(udev)->irq_mode) >> 32;

	return mode == VFIO_PCI_MSI_IRQ_INDEX + 1 || mode == VFIO_PCI_MSIX_IRQ_INDEX + 1;
}

struct uvfio_timer *uvfio_timer_new(struct uvfio_device *udev, void (*fn)(void *arg), void *arg)
{
	return uvfio_ctx_timer_new(to_dev(udev)->ctx, fn, arg);
}
