/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The view: one memory file a device, which clients map, with what the registers' shadow holds.
 *
 * Theory of operation.  The file is sparse; BAR i lies at VFIO_REGION_OFFSET(i).  It has its full
 * size while memory decode is on (OUT), and no size while the view is withdrawn (OFF), so that a
 * client's access to a mapped page faults with SIGBUS as A.6 says; mappings survive and work again
 * when the size is back.  Nothing that it holds is needed: pages are filled from the shadow when it
 * is given out.
 *
 * Where a file of the session is not in exact mode, a SIGBUS would meet who cannot bear it: a
 * guest's memory, a program without the helper.  There, pages are filled with ones in place of
 * being withdrawn (ONES); so they are for everybody when the hardware has stopped to decode and the
 * user has not been told, because then hardware's pages read so.  A BAR that is too large to be
 * filled is withdrawn all the same.
 *
 *     NONE ──vfio_device_view_fd()──▶ OFF or ONES ◀──memory on / off──▶ OUT ──last close──▶ NONE
 *
 * Our own mapping of it may lose its pages at any time, by us or by a client that truncates the
 * file, so it is accessed through base/guard.h only.
 *
 * In front of the BARs, at MIG_REGION_OFFSET, lies the window of the migration region (E.1), where
 * there is one; it stays when the BARs' part goes, and clients may write it.
 *
 * Publishing.  uvfio_reg_set() may run in several threads and while the view is given out.  Each
 * writer stores into the shadow, then into the page, then looks whether the shadow still holds what
 * it put into the page, and starts over if not.  Whoever stored into the shadow last sees that the
 * page agrees, so page and shadow agree when all have returned.
 *
 * Where no page may ever be written by a client (no memory areas, no window, no polled file in this
 * session),
 * the file is sealed: F_SEAL_FUTURE_WRITE leaves our mapping writable and refuses new ones,
 * pwrite() and hole punching, while changing the size still works.
 *
 * Memory areas.  The model knows them by an address that never changes.  Behind it are anonymous
 * pages, exchanged for the file's while the view is out: contents are copied and the mapping is
 * replaced, in the work context and under reg_lock, where the model cannot be looking.  A client
 * that truncates the file takes pages from under the model; base/guard.h then puts zeros there.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/guard.h"
#include "vfio/machine_private.h"

#define ONES_MAX (16ull << 20) /* bytes of a BAR that are filled with ones */

void view_init(struct vfio_device *dev)
{
	dev->view.fd = -1;
}

static uint64_t view_size(const struct vfio_device *dev)
{
	uint64_t size = dev->view.stays;

	for (unsigned i = 0; i < NR_BARS; i++) {
		if (dev->bars[i].size && !(dev->bars[i].flags & UVFIO_BAR_IO))
			size = VFIO_REGION_OFFSET(i) + PAGE_ROUND(dev->bars[i].size);
	}
	return size;
}

static bool has_memory(const struct vfio_device *dev)
{
	for (unsigned i = 0; i < NR_BARS; i++) {
		if (dev->bars[i].memory_len)
			return true;
	}
	return false;
}

/* ---- memory areas ---- */

/* Is there anything but zeros in @len bytes, at most a page, of @p?  They are in @copy then.  What
 * a client has cut off is zeros. */
static bool has_data(const uint8_t *p, size_t len, uint8_t *copy)
{
	if (uvfio_guard_copy(copy, p, len))
		return false;
	return copy[0] || memcmp(copy, copy + 1, len - 1);
}

/* What is anonymous and was never touched is read page by page: have those made at once. */
static void read_ahead(const struct bar *bar)
{
	for (unsigned i = 0; i < bar->nr_ranges; i++) {
		const struct range *range = &bar->ranges[i];
		uint64_t first = range->first & ~(PAGE_BYTES - 1);

		if (range->kind == RANGE_MEMORY)
			madvise(bar->memory + first, range->end - first, MADV_POPULATE_READ);
	}
}

/* Copy the contents of BAR @bar's memory to @fresh, which has the same layout.  @zeros: that is
 * what it holds; then pages of zeros are left alone, so that none is made for them. */
static void copy_memory(const struct bar *bar, uint8_t *fresh, bool zeros)
{
	uint8_t page[PAGE_BYTES];

	for (unsigned i = 0; i < bar->nr_ranges; i++) {
		const struct range *range = &bar->ranges[i];

		if (range->kind != RANGE_MEMORY)
			continue;
		/* By pages: one that a client has cut off reads as zeros. */
		for (uint64_t at = range->first, next; at < range->end; at = next) {
			next = (at & ~(PAGE_BYTES - 1)) + PAGE_BYTES;
			if (next > range->end)
				next = range->end;
			if (!zeros)
				uvfio_guard_copy(fresh + at, bar->memory + at, next - at);
			else if (has_data(bar->memory + at, next - at, page))
				uvfio_guard_copy(fresh + at, page, next - at);
		}
	}
}

/* Replace what is behind the address range of BAR @bar's memory by @len bytes of @fd (or anonymous
 * ones, -1), contents kept.  @zeros: the file holds nothing.  0, or -ENOMEM with nothing changed.
 */
static int exchange(struct bar *bar, int fd, uint64_t offset, bool zeros, bool as_is)
{
	int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED;
	uint8_t *fresh;

	fresh = mmap(NULL, bar->memory_len, PROT_READ | PROT_WRITE, flags, fd, (off_t)offset);
	if (fresh == MAP_FAILED)
		return -ENOMEM;
	if (fd >= 0 && !as_is)
		read_ahead(bar);
	if (!as_is)
		copy_memory(bar, fresh, zeros);
	if (mremap(fresh, bar->memory_len, bar->memory_len, MREMAP_MAYMOVE | MREMAP_FIXED,
		   bar->memory) == MAP_FAILED) {
		munmap(fresh, bar->memory_len);
		return -ENOMEM;
	}
	return 0;
}

struct exchange_call {
	bool out, zeros;
	bool as_is; /* the file has the contents */
	int ret;
};

static void call_exchange(struct vfio_device *dev, void *arg)
{
	struct exchange_call *call = arg;

	device_lock_regs(dev);
	for (unsigned i = 0; i < NR_BARS && !call->ret; i++) {
		if (dev->bars[i].memory_len)
			call->ret = exchange(&dev->bars[i], call->out ? dev->view.fd : -1,
					     VFIO_REGION_OFFSET(i), call->zeros, call->as_is);
	}
	pthread_mutex_unlock(&dev->reg_lock);
}

static int exchange_memory(struct vfio_device *dev, bool out, bool zeros)
{
	struct exchange_call call = {.out = out, .zeros = zeros};

	if (has_memory(dev))
		device_call(dev, call_exchange, &call);
	return call.ret;
}

/* ---- registers ---- */

/* What the page is to show: the shadow, except where polling shows zeroes. */
static uint64_t to_show(const struct bar *bar, uint64_t off, unsigned size, bool polled)
{
	uint64_t value = shadow_load(bar, off, size), end;

	for (unsigned i = 0; polled && i < size; i += 4) {
		if (bar_range(bar, off + i, &end)->flags & UVFIO_AREA_POLL_ZERO)
			value &= ~(0xffffffffull << 8 * i);
	}
	return value;
}

static void page_store(struct vfio_device *dev, unsigned index, uint64_t off, unsigned size,
		       bool polled)
{
	struct bar *bar = &dev->bars[index];
	uint64_t value, now = to_show(bar, off, size, polled);

	do {
		value = now;
		if (uvfio_guard_store(dev->view.pages[index] + off, size, value))
			return;
		atomic_thread_fence(memory_order_seq_cst);
		now = to_show(bar, off, size, polled);
	} while (now != value);
}

void view_store(struct vfio_device *dev, unsigned index, uint64_t off, unsigned size,
		uint64_t value)
{
	uint8_t *p = dev->bars[index].shadow + off;

	switch (size) {
	case 1:
		__atomic_store_n(p, (uint8_t)value, __ATOMIC_SEQ_CST);
		break;
	case 2:
		__atomic_store_n((uint16_t *)p, (uint16_t)value, __ATOMIC_SEQ_CST);
		break;
	case 4:
		__atomic_store_n((uint32_t *)p, (uint32_t)value, __ATOMIC_SEQ_CST);
		break;
	default:
		__atomic_store_n((uint64_t *)p, value, __ATOMIC_SEQ_CST);
	}
	if (!atomic_load(&dev->view.live) || !dev->view.pages[index])
		return;
	if (poll_lock(dev)) {
		page_store(dev, index, off, size, true);
		poll_unlock(dev, index, off, size);
	} else {
		page_store(dev, index, off, size, false);
	}
}

/*
 * Config space, and offset 0 where the kernel has BAR 0, are not for mapping.  But the file has
 * holes there, and a door may miss a read: it shall read ones, as of a device that does not answer,
 * and not zeros, which might be taken for registers.
 */
static void fill_holes(struct vfio_device *dev)
{
	for (unsigned i = 0; i < NR_HOLES; i++) {
		if (dev->view.holes[i])
			uvfio_guard_fill(dev->view.holes[i], 0xff, PAGE_BYTES);
	}
}

/* Fill the pages; @fresh: they are zero.  If not, what is polled has clients' stores in it. */
static void publish_all(struct vfio_device *dev, bool fresh)
{
	for (unsigned i = 0; i < NR_BARS; i++) {
		struct bar *bar = &dev->bars[i];

		if (!dev->view.pages[i])
			continue;
		for (unsigned r = 0; r < bar->nr_ranges; r++) {
			if (bar->ranges[r].kind == RANGE_MEMORY ||
			    (!fresh && atomic_load(&dev->poller.active) &&
			     poll_is_polled(&bar->ranges[r])))
				continue;
			for (uint64_t off = bar->ranges[r].first & ~7ull; off < bar->ranges[r].end;
			     off += 8) {
				if (!fresh || shadow_load(bar, off, 8))
					page_store(dev, i, off, 8, false);
			}
		}
	}
}

void view_publish_vector(struct vfio_device *dev, unsigned vector)
{
	const struct uvfio_pci_desc *desc = pci_func_desc(dev->func);
	const struct bar *bar = &dev->bars[desc->msix_bar];

	if (!atomic_load(&dev->view.live))
		return;
	/* Most of a large table is as it was, and whoever stored that into the shadow publishes it.
	 * Of two at once, the one that is late looks again. */
	for (unsigned off = vector * 16; off < vector * 16 + 16; off += 4) {
		uint32_t value, now = irq_msix_table_read(dev->irqs, off);

		do {
			value = now;
			if (shadow_load(bar, desc->msix_table + off, 4) != value)
				view_store(dev, desc->msix_bar, desc->msix_table + off, 4, value);
			now = irq_msix_table_read(dev->irqs, off);
		} while (now != value);
	}
}

void view_publish_msix(struct vfio_device *dev)
{
	unsigned vectors = pci_func_desc(dev->func)->msix_vectors;

	for (unsigned i = 0; i < vectors; i++)
		view_publish_vector(dev, i);
}

/* ---- what is shown; config_lock is held ---- */

/* How much of a BAR is mapped here: all of it if ones may be shown, else the registers. */
static uint64_t view_len(const struct bar *bar)
{
	if (!bar->size || bar->flags & UVFIO_BAR_IO)
		return 0;
	return bar->size <= ONES_MAX ? PAGE_ROUND(bar->size) : bar->shadow_len;
}

static bool can_show_ones(const struct vfio_device *dev)
{
	for (unsigned i = 0; i < NR_BARS; i++) {
		if (!(dev->bars[i].flags & UVFIO_BAR_IO) && dev->bars[i].size > ONES_MAX)
			return false;
	}
	return true;
}

/* Size the file anew: what a client may have put there meanwhile goes. */
static bool fresh_pages(struct vfio_device *dev)
{
	struct view *view = &dev->view;

	if (!ftruncate(view->fd, (off_t)view->stays) && !ftruncate(view->fd, (off_t)view->size))
		return true;
	uvfio_log(dev->machine->log, UVFIO_LOG_ERROR,
		  "%s: cannot size the view of the BARs: %s; mapped accesses will fault", dev->name,
		  strerror(errno));
	return false;
}

/* Zeros where no range is: there, pages of ones have been shown. */
static void clear_gaps(struct vfio_device *dev)
{
	for (unsigned i = 0; i < NR_BARS; i++) {
		const struct bar *bar = &dev->bars[i];
		uint64_t at = 0, len = dev->view.pages[i] ? view_len(bar) : 0;

		for (unsigned r = 0; r <= bar->nr_ranges && at < len; r++) {
			uint64_t end = r < bar->nr_ranges ? bar->ranges[r].first : len;

			if (end > at)
				uvfio_guard_fill(dev->view.pages[i] + at, 0, end - at);
			if (r < bar->nr_ranges)
				at = bar->ranges[r].end;
		}
	}
}

static void show_out(struct vfio_device *dev)
{
	struct view *view = &dev->view;
	bool fresh = view->state != VIEW_ONES;

	if (fresh && !fresh_pages(dev))
		return;
	if (exchange_memory(dev, true, fresh)) {
		uvfio_log(dev->machine->log, UVFIO_LOG_ERROR,
			  "%s: out of memory for the view of the BARs; mapped memory is not the "
			  "device's",
			  dev->name);
		return;
	}
	view->state = VIEW_OUT;
	atomic_store(&view->live, true);
	fill_holes(dev);
	if (!fresh)
		clear_gaps(dev);
	publish_all(dev, fresh);
	view_publish_msix(dev);
}

static void take_in(struct vfio_device *dev)
{
	atomic_store(&dev->view.live, false);
	/* Without memory for a copy the contents are lost, but never the address. */
	if (exchange_memory(dev, false, true))
		uvfio_log(dev->machine->log, UVFIO_LOG_ERROR,
			  "%s: out of memory; the device's memory is lost", dev->name);
}

static void show_off(struct vfio_device *dev)
{
	dev->view.state = VIEW_OFF;
	if (ftruncate(dev->view.fd, (off_t)dev->view.stays))
		uvfio_log(dev->machine->log, UVFIO_LOG_ERROR,
			  "%s: cannot withdraw the view of the BARs: %s", dev->name,
			  strerror(errno));
	if (dev->view.stays)
		fill_holes(dev);
}

static void show_ones(struct vfio_device *dev)
{
	if (dev->view.state != VIEW_OUT && dev->view.state != VIEW_ONES && !fresh_pages(dev))
		return;
	dev->view.state = VIEW_ONES;
	fill_holes(dev);
	for (unsigned i = 0; i < NR_BARS; i++) {
		if (dev->view.pages[i])
			uvfio_guard_fill(dev->view.pages[i], 0xff, view_len(&dev->bars[i]));
	}
}

/* Has a client cut pages off? */
static bool is_cut_off(const struct vfio_device *dev)
{
	struct stat st;

	return dev->view.state != VIEW_OFF && !fstat(dev->view.fd, &st) &&
	       st.st_size != (off_t)dev->view.size;
}

void view_show(struct vfio_device *dev, enum view_state state)
{
	enum view_state now = dev->view.state;

	if (dev->view.fd < 0)
		return;
	if (state == VIEW_OFF && (dev->untrapped || dev->host_mapped))
		state = VIEW_ONES;
	if (state == VIEW_ONES && !can_show_ones(dev))
		state = VIEW_OFF;
	if (state == now && !is_cut_off(dev))
		return;
	if (now == VIEW_OUT)
		take_in(dev);
	if (state == now)
		show_off(dev);
	if (state == VIEW_OUT)
		show_out(dev);
	else if (state == VIEW_ONES)
		show_ones(dev);
	else
		show_off(dev);
}

/* Our mappings of the BARs.  They stay when the file goes, until the next one takes their
 * place: a thread that publishes may be looking at them. */
static int map_pages(struct vfio_device *dev)
{
	static const uint64_t holes[NR_HOLES] = {VFIO_REGION_OFFSET(VFIO_PCI_CONFIG_REGION_INDEX),
						 0};

	for (unsigned i = 0; i < NR_HOLES && dev->view.size; i++) {
		int fixed = dev->view.holes[i] ? MAP_FIXED : 0;
		void *p = mmap(dev->view.holes[i], PAGE_BYTES, PROT_READ | PROT_WRITE,
			       MAP_SHARED | fixed, dev->view.fd, (off_t)holes[i]);

		if (p == MAP_FAILED)
			return -ENOMEM;
		dev->view.holes[i] = p;
	}
	for (unsigned i = 0; i < NR_BARS; i++) {
		struct bar *bar = &dev->bars[i];
		int fixed = dev->view.pages[i] ? MAP_FIXED : 0;
		void *p;

		if (!view_len(bar))
			continue;
		p = mmap(dev->view.pages[i], view_len(bar), PROT_READ | PROT_WRITE,
			 MAP_SHARED | fixed, dev->view.fd, (off_t)VFIO_REGION_OFFSET(i));
		if (p == MAP_FAILED)
			return -ENOMEM;
		dev->view.pages[i] = p;
	}
	return 0;
}

/* The window of the migration region, which is there in every state of the view. */
static int show_window(struct vfio_device *dev, bool whole)
{
	struct view *view = &dev->view;

	if (view->stays && !whole && ftruncate(view->fd, (off_t)view->stays))
		return -errno;
	return migration_region_view(dev, view->fd);
}

/* One that clients had of another server is as it should be already. */
static int add_seals(int fd, int seals)
{
	int now = fcntl(fd, F_GET_SEALS);

	return now >= 0 && (now & seals) == seals ? 0 : fcntl(fd, F_ADD_SEALS, seals);
}

/* @fd -1: in a file of its own.  @whole: it is the view of another server, as clients have it. */
static int view_create(struct vfio_device *dev, int fd, bool whole)
{
	struct view *view = &dev->view;
	int seals = F_SEAL_SEAL;

	view->stays = dev->migration.region ? MIG_REGION_OFFSET + MIG_REGION_BYTES : 0;
	view->size = view_size(dev);
	view->fd = fd < 0 ? memfd_create("uvfio-bars", MFD_CLOEXEC | MFD_ALLOW_SEALING)
			  : fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (view->fd < 0)
		return -errno;
	view->sealed = !dev->poller.users && !has_memory(dev) && !dev->migration.region;
	if (view->sealed)
		seals |= F_SEAL_FUTURE_WRITE;
	if (map_pages(dev) || add_seals(view->fd, seals) || show_window(dev, whole) ||
	    device_memory_view(dev, view->fd)) {
		migration_region_view(dev, -1);
		close(view->fd);
		view->fd = -1;
		return -ENOMEM;
	}
	return 0;
}

static int view_get(struct vfio_device *dev, int fd)
{
	int ret;

	pthread_mutex_lock(&dev->config_lock);
	ret = dev->view.fd;
	if (ret < 0) {
		ret = view_create(dev, fd, false);
		if (!ret) {
			device_memory_show(dev);
			ret = dev->view.fd;
		}
	}
	pthread_mutex_unlock(&dev->config_lock);
	return ret;
}

int vfio_device_view_fd(struct vfio_device *dev)
{
	return view_get(dev, -1);
}

int view_adopt(struct vfio_device *dev, int fd)
{
	int ret = view_get(dev, fd);

	return ret < 0 ? ret : 0;
}

int view_continue(struct vfio_device *dev, int fd)
{
	struct exchange_call call = {.out = true, .as_is = true};
	int ret;

	pthread_mutex_lock(&dev->config_lock);
	ret = dev->view.fd >= 0 ? -EBUSY : view_create(dev, fd, true);
	if (!ret && dev->mem == MEM_ON && !dev->low_power && !is_cut_off(dev)) {
		if (has_memory(dev))
			device_call(dev, call_exchange, &call);
		ret = call.ret;
		dev->view.state = VIEW_OUT;
		atomic_store(&dev->view.live, true);
		publish_all(dev, false);
		view_publish_msix(dev);
	}
	if (!ret)
		device_memory_show(dev);
	pthread_mutex_unlock(&dev->config_lock);
	return ret;
}

void view_fini(struct vfio_device *dev)
{
	struct view *view = &dev->view;

	if (view->fd < 0)
		return;
	if (view->state == VIEW_OUT)
		take_in(dev);
	view->stays = 0;
	show_off(dev);
	migration_region_view(dev, -1);
	device_memory_view(dev, -1);
	close(view->fd);
	view->fd = -1;
	view->state = VIEW_NONE;
}

/* The device is going away. */
void view_free(struct vfio_device *dev)
{
	view_fini(dev);
	for (unsigned i = 0; i < NR_BARS; i++) {
		if (dev->view.pages[i])
			munmap(dev->view.pages[i], view_len(&dev->bars[i]));
	}
	for (unsigned i = 0; i < NR_HOLES; i++) {
		if (dev->view.holes[i])
			munmap(dev->view.holes[i], PAGE_BYTES);
	}
}
