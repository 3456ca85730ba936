/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Accesses to regions: read and write on the device file (A.6), and stores and loads that a door
 * trapped on mapped pages.  What happens in a BAR is bar_access.c's.
 */
#include <errno.h>
#include <string.h>
#include <linux/pci_regs.h>
#include "vfio/bar_access.h"

/* ---- read and write (A.6) ---- */

static ssize_t bar_rdwr(struct vfio_device *dev, unsigned index, uint64_t pos, void *buf,
			size_t len, bool write, enum patience patience)
{
	struct bar *bar = &dev->bars[index];

	if (!bar->size || pos >= bar->size)
		return -EINVAL;
	if (len > bar->size - pos)
		len = bar->size - pos;
	return bar_access(dev, index, pos, buf, len, write, false, patience);
}

/* Where the ROM's region ends for reads: its BAR, also with an image that cannot be read. */
static uint64_t rom_end(const struct vfio_device *dev)
{
	const struct uvfio_pci_desc *desc = pci_func_desc(dev->func);

	return desc->rom_size ? desc->rom_size : dev->rom_size;
}

static ssize_t rom_read(struct vfio_device *dev, uint64_t pos, void *buf, size_t len,
			enum patience patience)
{
	uint64_t end = rom_end(dev);
	size_t image;
	bool on, bar;

	if (pos >= end)
		return -EINVAL;
	if (len > end - pos)
		len = end - pos;
	/* The host looks for the image at each access, and finds it where memory is decoded; a
	 * shadow is its own. */
	bar = pci_func_desc(dev->func)->rom_size;
	if (!dev->rom || (bar && !pci_memory_decoded(dev->func)))
		return -ENOMEM;
	device_lock_regs(dev);
	if (dev->mem == MEM_WAIT && patience == NO_WAIT) {
		pthread_mutex_unlock(&dev->reg_lock);
		return -EAGAIN;
	}
	bar_wait_gate(dev);
	on = dev->mem == MEM_ON || !bar;
	pthread_mutex_unlock(&dev->reg_lock);
	if (!on)
		return -EIO;
	image = pos < dev->rom_len ? dev->rom_len - pos : 0;
	if (image > len)
		image = len;
	memcpy(buf, dev->rom + pos, image);
	memset((uint8_t *)buf + image, 0xff, len - image);
	return (ssize_t)len;
}

/* An access that changed config space has taken effect when this returns. */
static ssize_t config_rdwr(struct vfio_device *dev, uint64_t pos, void *buf, size_t len, bool write,
			   enum patience patience)
{
	ssize_t ret;

	if (patience == WAIT)
		pthread_mutex_lock(&dev->config_lock);
	else if (pthread_mutex_trylock(&dev->config_lock))
		return -EAGAIN;
	if (write) {
		ret = pci_vconfig_write(dev->vconfig, pos, buf, len);
		if (dev->flr_requested) {
			dev->flr_requested = false;
			device_function_reset(dev, UVFIO_RESET_FUNCTION);
		}
		device_apply(dev);
	} else {
		ret = pci_vconfig_read(dev->vconfig, pos, buf, len);
	}
	pthread_mutex_unlock(&dev->config_lock);
	return ret;
}

static void emit_rdwr(struct vfio_device *dev, uint64_t offset, const void *buf, size_t len,
		      bool write, ssize_t ret)
{
	uint64_t first = 0;

	if (!machine_observed(dev->machine))
		return;
	if (write || ret > 0)
		memcpy(&first, buf, len < sizeof(first) ? len : sizeof(first));
	device_emit(dev, write ? VFIO_EVENT_REGION_WRITE : VFIO_EVENT_REGION_READ, offset, len,
		    first, (int)ret);
}

/* An access to a device that was pulled out: nobody answers, so reads are ones. */
static ssize_t cut_rdwr(struct vfio_device *dev, unsigned index, uint64_t pos, void *buf,
			size_t len, bool write)
{
	uint64_t size = 0;

	if (index == VFIO_PCI_CONFIG_REGION_INDEX) {
		size = pci_func_config_size(dev->func);
		if (pos >= size || len > size - pos)
			return -EFAULT;
	} else if (index < NR_BARS) {
		size = dev->bars[index].size;
	} else if (index == VFIO_PCI_ROM_REGION_INDEX && !write) {
		size = rom_end(dev);
	}
	if (pos >= size)
		return -EINVAL;
	if (len > size - pos)
		len = size - pos;
	if (!write)
		memset(buf, 0xff, len);
	return (ssize_t)len;
}

static ssize_t region_rdwr(struct vfio_device *dev, uint64_t offset, void *buf, size_t len,
			   bool write, enum patience patience)
{
	unsigned index;
	uint64_t pos;
	ssize_t ret;

	if (!len)
		return 0;
	if (region_decode(offset, &index, &pos))
		return -EINVAL;
	if (device_is_cut(dev) && index != MIG_REGION_INDEX) {
		ret = cut_rdwr(dev, index, pos, buf, len, write);
		emit_rdwr(dev, offset, buf, len, write, ret);
		return ret;
	}
	if (patience == NO_WAIT && (index == MIG_REGION_INDEX || vfio_device_sleeps(dev) ||
				    !device_access_begin_nowait(dev)))
		return -EAGAIN;
	if (patience == WAIT)
		device_access_begin(dev);
	switch (index) {
	case VFIO_PCI_CONFIG_REGION_INDEX:
		ret = config_rdwr(dev, pos, buf, len, write, patience);
		break;
	case VFIO_PCI_ROM_REGION_INDEX:
		ret = write ? -EINVAL : rom_read(dev, pos, buf, len, patience);
		break;
	case VFIO_PCI_VGA_REGION_INDEX:
		ret = -EINVAL;
		break;
	case MIG_REGION_INDEX:
		ret = migration_region_rdwr(dev, pos, buf, len, write);
		break;
	default:
		ret = bar_rdwr(dev, index, pos, buf, len, write, patience);
	}
	device_access_end(dev);
	if (ret == -EAGAIN)
		return ret;
	emit_rdwr(dev, offset, buf, len, write, ret);
	return ret;
}

static ssize_t do_read(struct vfio_device_file *df, uint64_t offset, void *buf, size_t len,
		       enum patience patience)
{
	ssize_t ret;

	if (!file_is_bound(df))
		return -EINVAL;
	ret = region_rdwr(df->dev, offset, buf, len, false, patience);
	if (ret != -EAGAIN)
		atomic_fetch_add_explicit(&df->dev->stats.reads, 1, memory_order_relaxed);
	return ret;
}

ssize_t vfio_device_read(struct vfio_device_file *df, uint64_t offset, void *buf, size_t len)
{
	return do_read(df, offset, buf, len, WAIT);
}

ssize_t vfio_device_read_nowait(struct vfio_device_file *df, uint64_t offset, void *buf, size_t len)
{
	return do_read(df, offset, buf, len, NO_WAIT);
}

void vfio_device_file_mask_vectors(struct vfio_device_file *df)
{
	atomic_store(&df->masks_vectors, true);
}

/* The client has written @len bytes at @offset, which region_rdwr() has swallowed if they belong to
 * the MSI-X table: of those, a vector control word counts. */
static void mask_vector(struct vfio_device *dev, uint64_t offset, const void *buf, size_t len)
{
	const struct range *range;
	uint64_t pos, end;
	unsigned index;
	uint32_t value;

	if (len != sizeof(value) || region_decode(offset, &index, &pos) || index >= NR_BARS ||
	    pos >= dev->bars[index].size)
		return;
	range = bar_range(&dev->bars[index], pos, &end);
	if (!bar_hides(dev, range, pos) ||
	    (pos - range->first) % PCI_MSIX_ENTRY_SIZE != PCI_MSIX_ENTRY_VECTOR_CTRL)
		return;
	memcpy(&value, buf, sizeof(value));
	device_lock_regs(dev);
	bar_write_msix(dev, pos - range->first, sizeof(value), value);
	pthread_mutex_unlock(&dev->reg_lock);
}

static ssize_t do_write(struct vfio_device_file *df, uint64_t offset, const void *buf, size_t len,
			enum patience patience)
{
	ssize_t ret;

	if (!file_is_bound(df))
		return -EINVAL;
	ret = region_rdwr(df->dev, offset, (void *)(uintptr_t)buf, len, true, patience);
	if (ret != -EAGAIN)
		atomic_fetch_add_explicit(&df->dev->stats.writes, 1, memory_order_relaxed);
	if (ret > 0 && atomic_load_explicit(&df->masks_vectors, memory_order_relaxed))
		mask_vector(df->dev, offset, buf, (size_t)ret);
	return ret;
}

ssize_t vfio_device_write(struct vfio_device_file *df, uint64_t offset, const void *buf, size_t len)
{
	return do_write(df, offset, buf, len, WAIT);
}

ssize_t vfio_device_write_nowait(struct vfio_device_file *df, uint64_t offset, const void *buf,
				 size_t len)
{
	return do_write(df, offset, buf, len, NO_WAIT);
}

/* ---- mapped pages ---- */

static int decode_mapped(struct vfio_device *dev, const struct vfio_device_file *df,
			 uint64_t offset, unsigned size, unsigned *index, uint64_t *pos)
{
	if (!file_is_bound(df) || (size != 1 && size != 2 && size != 4 && size != 8))
		return -EINVAL;
	if (region_decode(offset, index, pos) ||
	    !bar_mappable(dev, *index, (enum vfio_mmio_mode)df->mmio))
		return -EINVAL;
	if (*pos >= PAGE_ROUND(dev->bars[*index].size))
		return -EINVAL;
	return 0;
}

/* The last page of a small BAR goes on behind it; nothing is there. */
static unsigned clamp_mapped(const struct bar *bar, uint64_t pos, unsigned size)
{
	if (pos >= bar->size)
		return 0;
	return size > bar->size - pos ? (unsigned)(bar->size - pos) : size;
}

/* Where nobody decodes memory, the host's accesses meet nobody and go on. */
static int mapped_result(const struct vfio_device_file *df, ssize_t n)
{
	return n >= 0 || (n == -EIO && df->maps) ? 0 : (int)n;
}

static int do_store(struct vfio_device *dev, struct vfio_device_file *df, uint64_t offset,
		    unsigned size, uint64_t value)
{
	unsigned index;
	uint64_t pos;
	ssize_t n;
	int ret;

	ret = decode_mapped(dev, df, offset, size, &index, &pos);
	if (ret)
		return ret;
	atomic_fetch_add_explicit(&dev->stats.stores, 1, memory_order_relaxed);
	n = bar_access(dev, index, pos, &value, clamp_mapped(&dev->bars[index], pos, size), true,
		       true, WAIT);
	ret = mapped_result(df, n);
	device_emit(dev, VFIO_EVENT_STORE, offset, size, value, ret);
	return ret;
}

int vfio_device_store(struct vfio_device_file *df, uint64_t offset, unsigned size, uint64_t value)
{
	struct vfio_device *dev = file_enter(df);
	int ret = dev ? do_store(dev, df, offset, size, value) : -EIO;

	file_leave(df);
	return ret;
}

static int do_load(struct vfio_device *dev, struct vfio_device_file *df, uint64_t offset,
		   unsigned size, uint64_t *value)
{
	unsigned index;
	uint64_t pos;
	ssize_t n;
	int ret;

	ret = decode_mapped(dev, df, offset, size, &index, &pos);
	if (ret)
		return ret;
	*value = 0;
	n = bar_access(dev, index, pos, value, clamp_mapped(&dev->bars[index], pos, size), false,
		       true, WAIT);
	if (n == -EIO && df->maps)
		*value = ~0ull >> (64 - 8 * size);
	return mapped_result(df, n);
}

int vfio_device_load(struct vfio_device_file *df, uint64_t offset, unsigned size, uint64_t *value)
{
	struct vfio_device *dev = file_enter(df);
	int ret = dev ? do_load(dev, df, offset, size, value) : -EIO;

	file_leave(df);
	return ret;
}
