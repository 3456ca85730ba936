/* SPDX-License-Identifier: BSD-3-Clause */
/*
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
#include "base/guard.h"
#include "vfio/bar_access.h"

/* ---- one piece; reg_lock is held ---- */

static uint64_t msix_table_read(struct vfio_device *dev, uint64_t off, unsigned size)
{
	uint64_t value = irq_msix_table_read(dev->irqs, (unsigned)(off & ~3ull));

	if (size == 8)
		return value | (uint64_t)irq_msix_table_read(dev->irqs, (unsigned)off + 4) << 32;
	return value >> (off & 3) * 8;
}

void bar_write_msix(struct vfio_device *dev, uint64_t off, unsigned size, uint64_t value)
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
		value = mapped || !bar_hides(dev, range, off)
				? msix_table_read(dev, off - range->first, size)
				: UINT64_MAX;
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
		if (mapped || !bar_hides(dev, range, off))
			bar_write_msix(dev, off - range->first, size, value);
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
void bar_wait_gate(struct vfio_device *dev)
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

	if (!mapped && bar_hides(dev, bar_range(bar, off, &end), off))
		return PASS;
	if (dev->mem == MEM_WAIT && patience == NO_WAIT)
		return PASS_LATER;
	bar_wait_gate(dev);
	/* What is mapped stays away also while a call has the device awake. */
	if (mapped && atomic_load(&dev->low_power))
		return PASS_NOT;
	if (bar->flags & UVFIO_BAR_IO)
		return pci_io_decoded(dev->func) ? PASS : PASS_NOBODY;
	if (dev->mem == MEM_DEAF)
		return PASS_NOBODY;
	return dev->mem == MEM_ON ? PASS : PASS_NOT;
}

/* Does a read of @len bytes at @off begin at a register whose answer takes time? */
static bool reads_later(const struct vfio_device *dev, const struct bar *bar, uint64_t off)
{
	uint64_t end;
	const struct range *range = bar_range(bar, off, &end);

	return range->flags & UVFIO_AREA_READ_LATER && dev->model->reg_read_start;
}

/*
 * Have the model make ready what is read next.  reg_lock is held, and let go while the model works
 * on it: what it does may need that.  False: this thread does not wait.
 */
static bool wait_ready(struct vfio_device *dev, unsigned index, uint64_t off, uint64_t len,
		       enum patience patience)
{
	uint64_t ticket;

	if (patience == NO_WAIT)
		return false;
	ticket = ++dev->read_ticket;
	dev->model->reg_read_start(dev->priv, index, off, piece_size(&dev->bars[index], off, len),
				   ticket);
	pthread_mutex_unlock(&dev->reg_lock);
	uvfio_defer_handover();
	pthread_mutex_lock(&dev->quiet_lock);
	while (dev->read_ready < ticket)
		pthread_cond_wait(&dev->quiet_cond, &dev->quiet_lock);
	pthread_mutex_unlock(&dev->quiet_lock);
	device_lock_regs(dev);
	return true;
}

void uvfio_reg_read_ready(struct uvfio_device *udev, uint64_t ticket)
{
	struct vfio_device *dev = (struct vfio_device *)udev;

	pthread_mutex_lock(&dev->quiet_lock);
	if (dev->read_ready < ticket)
		dev->read_ready = ticket;
	pthread_cond_broadcast(&dev->quiet_cond);
	pthread_mutex_unlock(&dev->quiet_lock);
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

ssize_t bar_access(struct vfio_device *dev, unsigned index, uint64_t off, void *buf, size_t len,
		   bool write, bool mapped, enum patience patience)
{
	struct bar *bar = &dev->bars[index];
	size_t done = 0;

	if (mishap_is_slow(dev) && patience == NO_WAIT)
		return -EAGAIN;
	mishap_slow(dev);
	while (done < len) {
		uint8_t *p = (uint8_t *)buf + done;
		enum pass pass;

		device_lock_regs(dev);
		pass = pass_gate(dev, bar, off + done, mapped, patience);
		/* Much may have happened meanwhile: the gate is looked at again. */
		if (pass == PASS && !write && reads_later(dev, bar, off + done))
			pass = wait_ready(dev, index, off + done, len - done, patience)
				       ? pass_gate(dev, bar, off + done, mapped, patience)
				       : PASS_LATER;
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

/* ---- accesses by other devices (D.4) ---- */

#define PEER_PIECES 32u /* at a time */

/* reg_lock held.  Hardware that does not decode answers no device: its access is an error, where a
 * CPU reads ones.  Nor does one that stands still, whose memory is there all the same. */
static bool peer_may_access(const struct vfio_device *dev, uint64_t epoch)
{
	uint64_t now = atomic_load(&((struct vfio_device *)(uintptr_t)dev)->memory.epoch);

	return dev->mem == MEM_ON && !(now & 1) && (epoch == UINT64_MAX || epoch == now);
}

/* What a device writes into @bar, but for memory, is told like a client's store. */
static void tell_peer_write(struct vfio_device *dev, const struct bar *bar, uint64_t at,
			    uint64_t offset, const void *p, size_t n)
{
	uint64_t value = 0, end;

	if (!machine_observed(dev->machine) || n > sizeof(value) || at >= bar->size ||
	    bar_range(bar, at, &end)->kind == RANGE_MEMORY)
		return;
	memcpy(&value, p, n);
	device_emit(dev, VFIO_EVENT_STORE, offset, n, value, 0);
}

ssize_t bar_peer_access(struct vfio_device *dev, uint64_t epoch, uint64_t offset, void *buf,
			size_t len, bool write)
{
	size_t done = 0;
	unsigned index;
	uint64_t pos;

	if (region_decode(offset, &index, &pos) || index >= NR_BARS)
		return -ENODEV;
	for (unsigned i = 0; i < PEER_PIECES && done < len; i++) {
		const struct bar *bar = &dev->bars[index];
		uint64_t at = pos + done;
		uint8_t *p = (uint8_t *)buf + done;
		size_t n = len - done;
		bool may;

		device_lock_regs(dev);
		may = peer_may_access(dev, epoch);
		if (may && at >= bar->size) {
			/* The last page of a small BAR: nothing is there. */
			if (!write)
				memset(p, 0, n);
		} else if (may) {
			if (n > bar->size - at)
				n = bar->size - at;
			n = access_some(dev, index, at, p, n, write, true);
		}
		pthread_mutex_unlock(&dev->reg_lock);
		if (!may)
			return -ENODEV;
		if (write)
			tell_peer_write(dev, bar, at, offset + done, p, n);
		done += n;
		if (n >= RUN_LEAST)
			break;
	}
	return (ssize_t)done;
}

size_t bar_peer_copy(struct vfio_device *dev, uint64_t epoch, uint64_t offset, void *buf,
		     size_t len, bool write)
{
	const struct bar *bar;
	size_t done = 0;
	unsigned index;
	uint64_t pos, end;

	if (region_decode(offset, &index, &pos) || index >= NR_BARS)
		return 0;
	bar = &dev->bars[index];
	if (bar_range(bar, pos, &end)->kind != RANGE_MEMORY)
		return 0;
	if (len > end - pos)
		len = end - pos;
	if (len > RUN_BYTES)
		len = RUN_BYTES;
	if (atomic_load_explicit(&dev->reg_wanted, memory_order_relaxed) ||
	    pthread_mutex_trylock(&dev->reg_lock))
		return 0;
	if (peer_may_access(dev, epoch))
		while (done < len)
			done += access_some(dev, index, pos + done, (uint8_t *)buf + done,
					    len - done, write, true);
	pthread_mutex_unlock(&dev->reg_lock);
	return done;
}
