/* SPDX-License-Identifier: BSD-3-Clause */
/* Config space: accesses, capabilities, COMMAND. */
#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>
#include "driver/driver_private.h"

int uvfio_pci_config_read(struct uvfio_pci *dev, unsigned offset, unsigned size, uint32_t *value)
{
	uint32_t v = 0;
	ssize_t n;

	if (size != 1 && size != 2 && size != 4)
		return -EINVAL;
	n = uvfio_pci_read(dev, UVFIO_PCI_CONFIG, offset, &v, size);
	if (n < 0)
		return (int)n;
	if ((size_t)n != size)
		return -EFAULT;
	*value = v;
	return 0;
}

int uvfio_pci_config_write(struct uvfio_pci *dev, unsigned offset, unsigned size, uint32_t value)
{
	ssize_t n;

	if (size != 1 && size != 2 && size != 4)
		return -EINVAL;
	n = uvfio_pci_write(dev, UVFIO_PCI_CONFIG, offset, &value, size);
	if (n < 0)
		return (int)n;
	return (size_t)n == size ? 0 : -EFAULT;
}

unsigned uvfio_pci_find_cap(struct uvfio_pci *dev, uint8_t id, unsigned after)
{
	unsigned at = after ? after + 1 : PCI_CAPABILITY_LIST;
	uint32_t value;

	if (uvfio_pci_config_read(dev, PCI_STATUS, 2, &value) || !(value & PCI_STATUS_CAP_LIST))
		return 0;
	if (uvfio_pci_config_read(dev, at, 1, &value))
		return 0;
	/* 48 capabilities of 4 bytes are all that fit: more is a loop. */
	for (unsigned i = 0; i < 48; i++) {
		at = value & ~3u;
		if (at < 0x40)
			return 0;
		if (uvfio_pci_config_read(dev, at, 2, &value))
			return 0;
		if ((value & 0xff) == id)
			return at;
		value >>= 8;
	}
	return 0;
}

unsigned uvfio_pci_find_ext_cap(struct uvfio_pci *dev, uint16_t id, unsigned after)
{
	unsigned at = 0x100;
	uint32_t header;

	if (dev->regions[UVFIO_PCI_CONFIG].pub.size < 4096)
		return 0;
	if (after) {
		if (after < 0x100 || uvfio_pci_config_read(dev, after, 4, &header))
			return 0;
		at = header >> 20;
	}
	for (unsigned i = 0; i < (4096 - 256) / 8 && at >= 0x100; i++) {
		if (uvfio_pci_config_read(dev, at & ~3u, 4, &header) || !header)
			return 0;
		if ((header & 0xffff) == id)
			return at & ~3u;
		at = header >> 20;
	}
	return 0;
}

static int change_command(struct uvfio_pci *dev, uint16_t set, uint16_t clear,
			  struct uvfio_error *err)
{
	uint32_t command;
	int ret;

	pthread_mutex_lock(&dev->config_lock);
	ret = uvfio_pci_config_read(dev, PCI_COMMAND, 2, &command);
	if (!ret)
		ret = uvfio_pci_config_write(dev, PCI_COMMAND, 2,
					     (command | set) & (uint16_t)~clear);
	pthread_mutex_unlock(&dev->config_lock);
	if (ret)
		return uvfio_error_set(err, ret, "%s: changing the COMMAND register: %s", dev->name,
				       strerror(-ret));
	return 0;
}

int uvfio_pci_enable(struct uvfio_pci *dev, struct uvfio_error *err)
{
	return change_command(dev, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 0, err);
}

int uvfio_pci_disable_dma(struct uvfio_pci *dev, struct uvfio_error *err)
{
	return change_command(dev, 0, PCI_COMMAND_MASTER, err);
}
