/* SPDX-License-Identifier: BSD-3-Clause */
/* What the host does with a function: see host.h.  Drivers are in driver.c. */
#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>
#include "vfio/bar_access.h"
#include "vfio/host.h"
#include "vfio/uio_private.h"

uint64_t vfio_device_serial(const struct vfio_device *dev)
{
	return dev->serial;
}

void vfio_machine_next_serial(struct vfio_machine *machine, uint64_t serial)
{
	uint64_t last = serial ? serial - 1 : 0;

	pthread_mutex_lock(&machine->lock);
	for (unsigned i = 0; !serial && i < machine->nr_devices; i++)
		if (machine->devices[i]->serial > last)
			last = machine->devices[i]->serial;
	machine->last_serial = last;
	pthread_mutex_unlock(&machine->lock);
}

unsigned vfio_machine_changes(const struct vfio_machine *machine)
{
	return atomic_load(&((struct vfio_machine *)(uintptr_t)machine)->changes);
}

/* How many bytes of [off, off + len) the next access takes. */
static unsigned next_piece(unsigned off, size_t len)
{
	if ((off & 1) || len < 2)
		return 1;
	return (off & 2) || len < 4 ? 2 : 4;
}

int vfio_device_host_config_write(struct vfio_device *dev, unsigned off, const void *bytes,
				  size_t len)
{
	const uint8_t *in = bytes;
	bool uio = atomic_load(&dev->state) == DEVICE_UIO, command = false, disable = false;

	if (len > pci_func_config_size(dev->func) || off > pci_func_config_size(dev->func) - len)
		return -EINVAL;
	pthread_mutex_lock(&dev->config_lock);
	while (len && !device_is_cut(dev)) {
		unsigned n = next_piece(off, len);
		uint32_t value = 0;

		memcpy(&value, in, n); /* little endian, as config space is */
		if (off <= PCI_COMMAND + 1 && off + n > PCI_COMMAND + 1) {
			command = true;
			disable = value >> 8 * (PCI_COMMAND + 1 - off) &
				  PCI_COMMAND_INTX_DISABLE >> 8;
		}
		pci_hw_write(dev->func, off, n, uio ? uio_guard(dev, off, n, value) : value);
		off += n;
		in += n;
		len -= n;
	}
	if (dev->flr_requested) {
		dev->flr_requested = false;
		device_function_reset(dev, UVFIO_RESET_FUNCTION);
	}
	device_apply(dev);
	pthread_mutex_unlock(&dev->config_lock);
	if (uio && command)
		uio_command_written(dev, disable);
	return 0;
}

unsigned vfio_device_reset_methods(struct vfio_device *dev)
{
	return device_reset_methods(dev);
}

void vfio_device_allow_reset(struct vfio_device *dev, bool on)
{
	atomic_store(&dev->no_reset, !on);
}

/* reg_lock held. */
static uint32_t read_pieces(struct vfio_device *dev, unsigned bar, uint64_t off, unsigned len)
{
	uint32_t value = 0;

	for (unsigned done = 0, n; done < len; done += n) {
		uint64_t end;

		bar_range(&dev->bars[bar], off + done, &end);
		for (n = 4; n > len - done || n > end - off - done || (off + done) & (n - 1);)
			n /= 2;
		value |= (uint32_t)bar_read_piece(dev, bar, off + done, n, false) << 8 * done;
	}
	return value;
}

void vfio_device_host_io(struct vfio_device *dev, unsigned bar, uint64_t off, unsigned size,
			 bool write, uint32_t *value)
{
	device_lock_regs(dev);
	while (dev->mem == MEM_WAIT)
		pthread_cond_wait(&dev->mem_cond, &dev->reg_lock);
	if (device_is_cut(dev))
		*value = write ? *value : ~0u;
	else if (write)
		bar_write_locked(dev, bar, off, size, *value);
	else
		*value = read_pieces(dev, bar, off, size);
	pthread_mutex_unlock(&dev->reg_lock);
}

ssize_t vfio_device_host_rom(struct vfio_device *dev, uint64_t off, void *out, size_t len)
{
	if (off >= dev->rom_len)
		return 0;
	if (len > dev->rom_len - off)
		len = dev->rom_len - off;
	memcpy(out, dev->rom + off, len);
	return (ssize_t)len;
}
