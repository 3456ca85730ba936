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
 *
 * Some doors have threads that must not wait (enum patience).  It is of no use to them to look
 * whether an access would wait, since that may change before it is made.  So where an access would
 * wait it ends for them: with what was done so far, or, when that is nothing, with -EAGAIN.
 */
#include <errno.h>
#include <string.h>
#include <linux/pci_regs.h>
#include "base/guard.h"
#include "vfio/machine_private.h"

enum patience { WAIT, NO_WAIT };

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

enum pass { PASS, PASS_NOBODY, PASS_NOT, PASS_LATER };

/*
 * reg_lock is held and may be let go meanwhile.  May a piece at @off be done, and does anybody
 * answer it?  Nobody checks I/O BARs, nor the MSI-X table where it is hidden: its bytes are never
 * asked of the device.
 */
static enum pass pass_gate(struct vfio_device *dev, const struct bar *bar, uint64_t off,
			   bool mapped, enum patience patience)
{
	uint64_t end;

	if (!mapped && bar_range(bar, off, &end)->kind == RANGE_MSIX_TABLE)
		return PASS;
	if (dev->mem == MEM_WAIT && patience == NO_WAIT)
		return PASS_LATER;
	wait_gate(dev);
	/* What is mapped stays away also while a call has the device awake. */
	if (mapped && atomic_load(&dev->low_power))
		return PASS_NOT;
	if (bar->flags & UVFIO_BAR_IO)
		return pci_io_decoded(dev->func) ? PASS : PASS_NOBODY;
	if (dev->mem == MEM_DEAF)
		return PASS_NOBODY;
	return dev->mem == MEM_ON ? PASS : PASS_NOT;
}

/* How many whole words from @off on may be copied as they are: bytes.  0: do a piece. */
static size_t run_length(const struct bar *bar, uint64_t off, size_t len)
{
	uint64_t end;

	if (len < RUN_LEAST || off & 7 || bar_range(bar, off, &end)->kind != RANGE_MEMORY)
		return 0;
	if (len > end - off)
		len = end - off;
	if (len > RUN_BYTES)
		len = RUN_BYTES;
	return len & ~(size_t)7;
}

static int copy_words(uint8_t *memory, uint8_t *buf, size_t len, bool write)
{
	return uvfio_guard_copy_words(write ? memory : buf, write ? buf : memory, len / 8);
}

/* One piece, or a run of them; reg_lock is held.  How many bytes. */
static size_t access_some(struct vfio_device *dev, unsigned index, uint64_t off, uint8_t *p,
			  size_t len, bool write, bool mapped)
{
	struct bar *bar = &dev->bars[index];
	size_t run = run_length(bar, off, len);
	uint64_t value = 0;
	unsigned size;

	if (run) {
		uint8_t *memory = bar->memory + off;

		if (!copy_words(memory, p, run, write))
			return run;
		/* A client has cut off pages: by pages, and those read as zeros. */
		if (run > PAGE_BYTES - (off & (PAGE_BYTES - 1)))
			run = PAGE_BYTES - (off & (PAGE_BYTES - 1));
		if (copy_words(memory, p, run, write) && !write)
			memset(p, 0, run);
		return run;
	}
	size = piece_size(bar, off, len);
	if (write) {
		memcpy(&value, p, size);
		bar_write_piece(dev, index, off, size, value, mapped);
	} else {
		value = bar_read_piece(dev, index, off, size, mapped);
		memcpy(p, &value, size);
	}
	return size;
}

/* What nobody answers: reads are ones. */
static size_t access_nobody(const struct bar *bar, uint64_t off, uint8_t *p, size_t len, bool write)
{
	unsigned size = piece_size(bar, off, len);

	if (!write)
		memset(p, 0xff, size);
	return size;
}

/* The bytes done: @len, but for those that do not wait; -EIO; -EAGAIN. */
static ssize_t bar_access(struct vfio_device *dev, unsigned index, uint64_t off, void *buf,
			  size_t len, bool write, bool mapped, enum patience patience)
{
	struct bar *bar = &dev->bars[index];
	size_t done = 0;

	if (mishap_is_slow(dev) && patience == NO_WAIT)
		return -EAGAIN;
	mishap_slow(dev);
	while (done < len) {
		uint8_t *p = (uint8_t *)buf + done;
		enum pass pass;

		pthread_mutex_lock(&dev->reg_lock);
		pass = pass_gate(dev, bar, off + done, mapped, patience);
		if (pass == PASS)
			done += access_some(dev, index, off + done, p, len - done, write, mapped);
		else if (pass == PASS_NOBODY)
			done += access_nobody(bar, off + done, p, len - done, write);
		pthread_mutex_unlock(&dev->reg_lock);
		if (pass == PASS_NOT)
			return -EIO;
		if (pass == PASS_LATER)
			return done ? (ssize_t)done : -EAGAIN;
	}
	return (ssize_t)done;
}

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
	pthread_mutex_lock(&dev->reg_lock);
	if (dev->mem == MEM_WAIT && patience == NO_WAIT) {
		pthread_mutex_unlock(&dev->reg_lock);
		return -EAGAIN;
	}
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
	if (device_is_cut(dev)) {
		ret = cut_rdwr(dev, index, pos, buf, len, write);
		emit_rdwr(dev, offset, buf, len, write, ret);
		return ret;
	}
	if (patience == NO_WAIT && vfio_device_sleeps(dev))
		return -EAGAIN;
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
	if (range->kind != RANGE_MSIX_TABLE ||
	    (pos - range->first) % PCI_MSIX_ENTRY_SIZE != PCI_MSIX_ENTRY_VECTOR_CTRL)
		return;
	memcpy(&value, buf, sizeof(value));
	pthread_mutex_lock(&dev->reg_lock);
	msix_table_write(dev, pos - range->first, sizeof(value), value);
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
