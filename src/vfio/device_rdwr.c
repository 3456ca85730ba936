/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Accesses to regions: read and write on the device file (A.6), stores and loads that a door
 * trapped on mapped pages, and what of a BAR may be mapped.
 *
 * An access to a BAR is cut into naturally aligned pieces of 8, 4, 2 and 1 bytes, none of which
 * crosses from one range into another.  Each piece is done under reg_lock, behind the memory gate:
 * it waits while a reset is going on and fails while memory decode is off.
 *
 * In memory areas nobody sees the pieces, so many are done behind the gate at a time: a run.  It is
 * of pieces all the same, none is torn, and no longer than a register access may have to wait.
 */
#include <errno.h>
#include <string.h>
#include <linux/pci_regs.h>
#include "base/guard.h"
#include "vfio/machine_private.h"

/* ---- one piece; reg_lock is held ---- */

static uint64_t msix_table_read(struct vfio_device *dev, uint64_t off, unsigned size)
{
	uint64_t value = irq_msix_table_read(dev->irqs, (unsigned)(off & ~3ull));

	if (size == 8)
		return value | (uint64_t)irq_msix_table_read(dev->irqs, (unsigned)off + 4) << 32;
	return value >> (off & 3) * 8;
}

static void msix_table_write(struct vfio_device *dev, uint64_t off, unsigned size, uint64_t value)
{
	/* The table takes whole and double words; narrower stores are undefined by PCI: dropped. */
	if (size < 4)
		return;
	irq_msix_table_write(dev->irqs, (unsigned)off, (uint32_t)value);
	if (size == 8)
		irq_msix_table_write(dev->irqs, (unsigned)off + 4, (uint32_t)(value >> 32));
	view_publish_vector(dev, (unsigned)off / 16);
}

static uint64_t truncate_value(uint64_t value, unsigned size)
{
	return size == 8 ? value : value & ((1ull << size * 8) - 1);
}

/* @mapped: through a mapping, where the MSI-X table is the hardware's. */
uint64_t bar_read_piece(struct vfio_device *dev, unsigned index, uint64_t off, unsigned size,
			bool mapped)
{
	struct bar *bar = &dev->bars[index];
	uint64_t end, value = 0;
	const struct range *range = bar_range(bar, off, &end);

	switch (range->kind) {
	case RANGE_REGISTERS:
	case RANGE_DOORBELLS:
		if (range->flags & UVFIO_AREA_READ_EVENT && dev->model->reg_read)
			value = dev->model->reg_read(dev->priv, index, off, size);
		else
			value = shadow_load(bar, off, size);
		break;
	case RANGE_MEMORY:
		uvfio_guard_load(bar->memory + off, size, &value);
		break;
	case RANGE_MSIX_TABLE:
		value = mapped ? msix_table_read(dev, off - range->first, size) : UINT64_MAX;
		break;
	case RANGE_MSIX_PBA:
		off -= range->first;
		value = irq_msix_pba_read(dev->irqs, (unsigned)(off & ~7ull)) >> (off & 7) * 8;
		break;
	case RANGE_HOLE:
		break;
	}
	return truncate_value(value, size);
}

void bar_write_piece(struct vfio_device *dev, unsigned index, uint64_t off, unsigned size,
		     uint64_t value, bool mapped)
{
	struct bar *bar = &dev->bars[index];
	uint64_t end;
	const struct range *range = bar_range(bar, off, &end);

	switch (range->kind) {
	case RANGE_REGISTERS:
	case RANGE_DOORBELLS:
		dev->model->reg_write(dev->priv, index, off, size, truncate_value(value, size));
		break;
	case RANGE_MEMORY:
		uvfio_guard_store(bar->memory + off, size, value);
		break;
	case RANGE_MSIX_TABLE:
		if (mapped)
			msix_table_write(dev, off - range->first, size, value);
		break;
	case RANGE_MSIX_PBA:
	case RANGE_HOLE:
		break;
	}
}

/* ---- cutting ---- */

/* Of memory, done behind the gate at a time: bytes, a microsecond or two. */
#define RUN_BYTES 16384u
/* Less than this goes by pieces. */
#define RUN_LEAST 64u

static unsigned piece_size(const struct bar *bar, uint64_t off, uint64_t len)
{
	uint64_t end;
	unsigned size = 8;

	bar_range(bar, off, &end);
	if (len > end - off)
		len = end - off;
	while (size > len || off & (size - 1))
		size /= 2;
	return size;
}

void bar_write_locked(struct vfio_device *dev, unsigned index, uint64_t off, unsigned len,
		      uint64_t value)
{
	while (len) {
		unsigned size = piece_size(&dev->bars[index], off, len);

		bar_write_piece(dev, index, off, size, value, false);
		off += size;
		len -= size;
		value = size < 8 ? value >> size * 8 : 0;
	}
}

/* reg_lock is held, and let go while a reset is going on.  What that waits for may be work that
 * this thread has put off. */
static void wait_gate(struct vfio_device *dev)
{
	while (dev->mem == MEM_WAIT) {
		uvfio_defer_handover();
		pthread_cond_wait(&dev->mem_cond, &dev->reg_lock);
	}
}

enum pass { PASS, PASS_NOBODY, PASS_NOT };

/*
 * reg_lock is held and may be let go meanwhile.  May a piece at @off be done, and does anybody
 * answer it?  Nobody checks I/O BARs, nor the MSI-X table where it is hidden: its bytes are never
 * asked of the device.
 */
static enum pass pass_gate(struct vfio_device *dev, const struct bar *bar, uint64_t off,
			   bool mapped)
{
	uint64_t end;

	if (!mapped && bar_range(bar, off, &end)->kind == RANGE_MSIX_TABLE)
		return PASS;
	wait_gate(dev);
	if (bar->flags & UVFIO_BAR_IO)
		return pci_io_decoded(dev->func) ? PASS : PASS_NOBODY;
	if (dev->mem == MEM_DEAF)
		return PASS_NOBODY;
	return dev->mem == MEM_ON ? PASS : PASS_NOT;
}

static int bar_access(struct vfio_device *dev, unsigned index, uint64_t off, void *buf, size_t len,
		      bool write, bool mapped)
{
	struct bar *bar = &dev->bars[index];
	uint8_t *p = buf;

	while (len) {
		unsigned size = piece_size(bar, off, len);
		uint64_t value = UINT64_MAX;
		enum pass pass;

		pthread_mutex_lock(&dev->reg_lock);
		pass = pass_gate(dev, bar, off, mapped);
		if (pass == PASS && write) {
			memcpy(&value, p, size);
			bar_write_piece(dev, index, off, size, value, mapped);
		} else if (pass == PASS) {
			value = bar_read_piece(dev, index, off, size, mapped);
		}
		pthread_mutex_unlock(&dev->reg_lock);
		if (pass == PASS_NOT)
			return -EIO;
		if (!write)
			memcpy(p, &value, size);
		off += size;
		p += size;
		len -= size;
	}
	return 0;
}

/* ---- read and write (A.6) ---- */

static ssize_t bar_rdwr(struct vfio_device *dev, unsigned index, uint64_t pos, void *buf,
			size_t len, bool write)
{
	struct bar *bar = &dev->bars[index];
	int ret;

	if (!bar->size || pos >= bar->size)
		return -EINVAL;
	if (len > bar->size - pos)
		len = bar->size - pos;
	ret = bar_access(dev, index, pos, buf, len, write, false);
	return ret ? ret : (ssize_t)len;
}

/* Where the ROM's region ends for reads: its BAR, also with an image that cannot be read. */
static uint64_t rom_end(const struct vfio_device *dev)
{
	const struct uvfio_pci_desc *desc = pci_func_desc(dev->func);

	return desc->rom_size ? desc->rom_size : dev->rom_size;
}

static ssize_t rom_read(struct vfio_device *dev, uint64_t pos, void *buf, size_t len)
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
	pthread_mutex_lock(&dev->reg_lock);
	wait_gate(dev);
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
static ssize_t config_rdwr(struct vfio_device *dev, uint64_t pos, void *buf, size_t len, bool write)
{
	ssize_t ret;

	pthread_mutex_lock(&dev->config_lock);
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
			   bool write)
{
	unsigned index;
	uint64_t pos;
	ssize_t ret;

	if (!len)
		return 0;
	if (region_decode(offset, &index, &pos))
		return -EINVAL;
	if (device_is_cut(dev)) {
		ret = cut_rdwr(dev, index, pos, buf, len, write);
		emit_rdwr(dev, offset, buf, len, write, ret);
		return ret;
	}
	device_wake(dev);
	switch (index) {
	case VFIO_PCI_CONFIG_REGION_INDEX:
		ret = config_rdwr(dev, pos, buf, len, write);
		break;
	case VFIO_PCI_ROM_REGION_INDEX:
		ret = write ? -EINVAL : rom_read(dev, pos, buf, len);
		break;
	case VFIO_PCI_VGA_REGION_INDEX:
		ret = -EINVAL;
		break;
	default:
		ret = bar_rdwr(dev, index, pos, buf, len, write);
	}
	emit_rdwr(dev, offset, buf, len, write, ret);
	return ret;
}

ssize_t vfio_device_read(struct vfio_device_file *df, uint64_t offset, void *buf, size_t len)
{
	atomic_fetch_add_explicit(&df->dev->stats.reads, 1, memory_order_relaxed);
	return region_rdwr(df->dev, offset, buf, len, false);
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
	if (range->kind != RANGE_MSIX_TABLE ||
	    (pos - range->first) % PCI_MSIX_ENTRY_SIZE != PCI_MSIX_ENTRY_VECTOR_CTRL)
		return;
	memcpy(&value, buf, sizeof(value));
	pthread_mutex_lock(&dev->reg_lock);
	msix_table_write(dev, pos - range->first, sizeof(value), value);
	pthread_mutex_unlock(&dev->reg_lock);
}

ssize_t vfio_device_write(struct vfio_device_file *df, uint64_t offset, const void *buf, size_t len)
{
	ssize_t ret;

	atomic_fetch_add_explicit(&df->dev->stats.writes, 1, memory_order_relaxed);
	ret = region_rdwr(df->dev, offset, (void *)(uintptr_t)buf, len, true);
	if (ret > 0 && atomic_load_explicit(&df->masks_vectors, memory_order_relaxed))
		mask_vector(df->dev, offset, buf, (size_t)ret);
	return ret;
}

/* ---- mapped pages ---- */

static int decode_mapped(struct vfio_device_file *df, uint64_t offset, unsigned size,
			 unsigned *index, uint64_t *pos)
{
	if (size != 1 && size != 2 && size != 4 && size != 8)
		return -EINVAL;
	if (region_decode(offset, index, pos) || !bar_mappable(df->dev, *index, df->mmio))
		return -EINVAL;
	if (*pos >= PAGE_ROUND(df->dev->bars[*index].size))
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

int vfio_device_store(struct vfio_device_file *df, uint64_t offset, unsigned size, uint64_t value)
{
	struct vfio_device *dev = df->dev;
	unsigned index;
	uint64_t pos;
	int ret;

	ret = decode_mapped(df, offset, size, &index, &pos);
	if (ret)
		return ret;
	atomic_fetch_add_explicit(&dev->stats.stores, 1, memory_order_relaxed);
	ret = bar_access(dev, index, pos, &value, clamp_mapped(&dev->bars[index], pos, size), true,
			 true);
	device_emit(dev, VFIO_EVENT_STORE, offset, size, value, ret);
	return ret;
}

int vfio_device_load(struct vfio_device_file *df, uint64_t offset, unsigned size, uint64_t *value)
{
	struct vfio_device *dev = df->dev;
	unsigned index;
	uint64_t pos;
	int ret;

	ret = decode_mapped(df, offset, size, &index, &pos);
	if (ret)
		return ret;
	*value = 0;
	return bar_access(dev, index, pos, value, clamp_mapped(&dev->bars[index], pos, size), false,
			  true);
}

/* What the pages of [@off, @end) of a BAR need: writable only if every page that has anything in it
 * has nothing but memory, or in polled mode what may be polled; a page without anything is trapped,
 * so that what is written there is dropped. */
static void classify(const struct bar *bar, uint64_t off, uint64_t end, bool polled, bool *writable,
		     bool *trap_reads)
{
	uint64_t page_done = off; /* pages below have an area that may be written */

	*writable = true;
	*trap_reads = false;
	for (unsigned i = 0; i < bar->nr_ranges; i++) {
		const struct range *range = &bar->ranges[i];
		uint64_t first = range->first & ~(PAGE_BYTES - 1);
		uint64_t last = PAGE_ROUND(range->end);
		bool ok = range->kind == RANGE_MEMORY;

		if (last <= off || first >= end)
			continue;
		if (polled &&
		    (range->kind == RANGE_DOORBELLS || range->flags & UVFIO_AREA_POLLABLE))
			ok = true;
		if (range->flags & UVFIO_AREA_READ_EVENT) {
			*trap_reads = true;
			ok = false;
		}
		if (range->kind == RANGE_MSIX_PBA)
			*trap_reads = true; /* pending bits change on their own */
		if (!ok || first > page_done)
			*writable = false;
		if (last > page_done)
			page_done = last;
	}
	if (page_done < end)
		*writable = false;
}

int vfio_device_mmap(struct vfio_device_file *df, uint64_t offset, uint64_t len, bool shared,
		     bool *writable, bool *trap_reads)
{
	struct vfio_device *dev = df->dev;
	enum vfio_mmio_mode mode = (enum vfio_mmio_mode)atomic_load(&df->mmio);
	const struct bar *bar;
	unsigned index;
	uint64_t pos, end;

	if (!shared || !len || region_decode(offset, &index, &pos) ||
	    !bar_mappable(dev, index, mode))
		return -EINVAL;
	bar = &dev->bars[index];
	if (pos & (PAGE_BYTES - 1) || len > PAGE_ROUND(bar->size) - pos ||
	    pos > PAGE_ROUND(bar->size))
		return -EINVAL;
	end = PAGE_ROUND(pos + len);
	classify(bar, pos, end, mode == VFIO_MMIO_POLLED, writable, trap_reads);
	return 0;
}

/* A page of [@page, +4 KiB) as classify() sees it. */
static bool page_is_native(const struct bar *bar, uint64_t page, bool polled)
{
	bool writable, trap_reads;

	classify(bar, page, page + PAGE_BYTES, polled, &writable, &trap_reads);
	return writable && !trap_reads;
}

unsigned vfio_device_sparse(struct vfio_device_file *df, unsigned index, struct vfio_area *out,
			    unsigned max)
{
	bool polled = atomic_load(&df->mmio) == VFIO_MMIO_POLLED;
	const struct bar *bar;
	uint64_t done = 0, end = 0;
	unsigned n = 0;

	if (index >= NR_BARS || df->dev->bars[index].flags & (UVFIO_BAR_IO | UVFIO_BAR_NO_MMAP))
		return 0;
	bar = &df->dev->bars[index];
	/* A page is decided by the ranges that touch it: look at each range's first and last page
	 * and, between them, at one for all. */
	for (unsigned i = 0; i < bar->nr_ranges; i++) {
		uint64_t first = bar->ranges[i].first & ~(PAGE_BYTES - 1);
		uint64_t last = PAGE_ROUND(bar->ranges[i].end) - PAGE_BYTES;

		if (first < done)
			first = done;
		while (first <= last) {
			uint64_t next = first + PAGE_BYTES;

			if (next < last && first > bar->ranges[i].first)
				next = last;
			if (page_is_native(bar, first, polled)) {
				if (!n || first != end) {
					if (n < max)
						out[n] = (struct vfio_area){first, 0};
					n++;
				}
				end = next;
				if (n <= max)
					out[n - 1].size = end - out[n - 1].offset;
			}
			first = done = next;
		}
	}
	return n;
}

bool vfio_device_busy(struct vfio_device *dev)
{
	if (pthread_mutex_trylock(&dev->config_lock))
		return true;
	pthread_mutex_unlock(&dev->config_lock);
	return false;
}
