/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DMA memory.
 *
 * Theory of operation.  A mapping is entered into the set before the way is told, and leaves it
 * after the way has let go: a server may ask for the memory (DMA_READ) before its reply to DMA_MAP
 * has been read, and until its reply to DMA_UNMAP.  The IOVA is taken and given back around that.
 * The lock is held for the set only, not while the way maps, because the thread that answers a
 * server needs it.
 *
 * Memory from uvfio_pci_dma_alloc() is cut from one memfd (the arena), so that a server has one
 * file to map, and one file descriptor is used whatever the number of allocations.  A piece that
 * is freed is punched out of the file: it costs no memory, and reads as zeros when it is used
 * again.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/guard.h"
#include "driver/driver_private.h"

#define ARENA_MAX  (1ull << 46) /* bytes of address space in the arena's file */
#define HUGE_ALIGN (2ull << 20)

static struct drv_mapping *mapping_of(struct extent *e)
{
	return (struct drv_mapping *)e;
}

int drv_dma_init(struct uvfio_pci *dev, struct uvfio_error *err)
{
	struct drv_dma *dma = &dev->dma;

	pthread_mutex_init(&dma->lock, NULL);
	dma->arena_fd = -1;
	dma->page_size = DRV_PAGE;
	/* drv_iova_add() leaves out the interrupt window, which a file does not have: the loss of
	 * 1 MiB of offsets is none. */
	if (drv_iova_add(&dma->arena, 0, ARENA_MAX - 1))
		return uvfio_error_set(err, -ENOMEM, "no memory");
	return 0;
}

static void free_mapping(struct drv_mapping *m)
{
	if (m->fd >= 0)
		close(m->fd);
	free(m->iova_token.spare);
	free(m->file_token.spare);
	free(m);
}

void drv_dma_fini(struct uvfio_pci *dev)
{
	struct drv_dma *dma = &dev->dma;

	while (dma->mappings.root) {
		struct drv_mapping *m = mapping_of(dma->mappings.root);

		extent_remove(&dma->mappings, &m->at);
		if (m->arena)
			munmap(m->addr, m->at.last - m->at.first + 1);
		free_mapping(m);
	}
	if (dma->arena_fd >= 0)
		close(dma->arena_fd);
	drv_iova_fini(&dma->arena);
	drv_iova_fini(&dma->iova);
	free(dma->ranges);
	pthread_mutex_destroy(&dma->lock);
}

static int note_range(void *arg, uint64_t first, uint64_t last)
{
	struct drv_dma *dma = arg;
	void *more = realloc(dma->ranges, (dma->nr_ranges + 1) * sizeof(*dma->ranges));

	if (!more)
		return -ENOMEM;
	dma->ranges = more;
	dma->ranges[dma->nr_ranges].first = first;
	dma->ranges[dma->nr_ranges++].last = last;
	return 0;
}

int drv_dma_add_range(struct uvfio_pci *dev, uint64_t first, uint64_t last)
{
	struct drv_dma *dma = &dev->dma;
	int ret;

	/* Page 0 is left alone: an address of 0 is a mistake in most devices. */
	if (first < DRV_PAGE)
		first = DRV_PAGE;
	if (first > last)
		return 0;
	ret = drv_iova_add(&dma->iova, first, last);
	return ret ? ret : drv_iova_usable(first, last, note_range, dma);
}

unsigned uvfio_pci_dma_ranges(struct uvfio_pci *dev, uint64_t *first, uint64_t *last, unsigned max)
{
	for (unsigned i = 0; i < dev->dma.nr_ranges && i < max; i++) {
		first[i] = dev->dma.ranges[i].first;
		last[i] = dev->dma.ranges[i].last;
	}
	return dev->dma.nr_ranges;
}

/* ---- map ---- */

/* Find an IOVA for @m, @size bytes, and enter it.  [dma->lock held] */
static int place(struct uvfio_pci *dev, struct drv_mapping *m, uint64_t size, unsigned flags,
		 uint64_t iova)
{
	struct drv_dma *dma = &dev->dma;
	uint64_t align = size >= HUGE_ALIGN ? HUGE_ALIGN : dma->page_size;
	uint64_t limit = flags & UVFIO_PCI_DMA_32BIT ? UINT32_MAX : UINT64_MAX;
	int ret;

	if (flags & UVFIO_PCI_DMA_FIXED) {
		if (iova + (size - 1) < iova || iova + (size - 1) > limit)
			return -EINVAL;
		ret = drv_iova_take(&dma->iova, iova, size, &m->iova_token);
	} else {
		ret = drv_iova_alloc(&dma->iova, size, align, limit, &iova, &m->iova_token);
	}
	if (ret)
		return ret;
	m->at.first = iova;
	m->at.last = iova + (size - 1);
	extent_insert(&dma->mappings, &m->at);
	return 0;
}

static void unplace(struct uvfio_pci *dev, struct drv_mapping *m)
{
	struct drv_dma *dma = &dev->dma;

	pthread_mutex_lock(&dma->lock);
	extent_remove(&dma->mappings, &m->at);
	drv_iova_give(&dma->iova, m->at.first, m->at.last - m->at.first + 1, &m->iova_token);
	pthread_mutex_unlock(&dma->lock);
}

static int map_error(struct uvfio_pci *dev, struct uvfio_error *err, int ret, uint64_t size,
		     const char *why)
{
	return uvfio_error_set(err, ret, "%s: mapping %llu bytes for DMA: %s", dev->name,
			       (unsigned long long)size, why ? why : strerror(-ret));
}

/* Place @m and tell the way.  On failure @m is as before, and the caller's. */
static int enter(struct uvfio_pci *dev, struct drv_mapping *m, uint64_t size, unsigned flags,
		 uint64_t iova, struct uvfio_error *err)
{
	struct drv_dma *dma = &dev->dma;
	const char *why = NULL;
	int ret;

	m->flags = flags & UVFIO_PCI_DMA_RW;
	if (!m->flags)
		m->flags = UVFIO_PCI_DMA_RW;
	pthread_mutex_lock(&dma->lock);
	ret = place(dev, m, size, flags, iova);
	pthread_mutex_unlock(&dma->lock);
	if (ret && !dma->nr_ranges) {
		ret = -EOPNOTSUPP;
		why = "it has no IOMMU (no-IOMMU mode), so nothing can be mapped";
	} else if (ret == -EADDRINUSE) {
		why = "that IOVA is in use, or not usable for this device";
	} else if (ret == -ENOSPC) {
		why = "no free range of IOVAs is large enough";
	}
	if (ret)
		goto fail;
	ret = dev->ops->dma_map(dev, m);
	if (ret) {
		if (ret == -ENOMEM)
			why = "no memory, or more than `ulimit -l` lets this user lock";
		else if (ret == -ENOSPC)
			why = "the limit of mappings is reached (dma_entry_limit)";
		unplace(dev, m);
		goto fail;
	}
	pthread_mutex_lock(&dma->lock);
	m->ready = true;
	pthread_mutex_unlock(&dma->lock);
	return 0;
fail:
	return map_error(dev, err, ret, size, why);
}

int uvfio_pci_dma_map(struct uvfio_pci *dev, void *addr, size_t size, unsigned flags, int fd,
		      uint64_t offset, uint64_t *iova, struct uvfio_error *err)
{
	struct drv_mapping *m;
	uint64_t mask = dev->dma.page_size - 1;
	int ret;

	if (!size || size & mask || (uintptr_t)addr & mask || (fd >= 0 && offset & mask) ||
	    (flags & UVFIO_PCI_DMA_FIXED && *iova & mask))
		return map_error(dev, err, -EINVAL, size, "not whole pages");
	m = calloc(1, sizeof(*m));
	if (!m)
		return map_error(dev, err, -ENOMEM, size, NULL);
	m->addr = addr;
	m->fd = -1;
	m->file_offset = offset;
	if (fd >= 0) {
		m->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (m->fd < 0) {
			ret = -errno;
			free_mapping(m);
			return map_error(dev, err, ret, size, NULL);
		}
	}
	ret = enter(dev, m, size, flags, *iova, err);
	if (ret) {
		free_mapping(m);
		return ret;
	}
	*iova = m->at.first;
	return 0;
}

/* ---- the arena ---- */

/* [dma->lock held] A piece of the arena for @m. */
static int arena_take(struct drv_dma *dma, struct drv_mapping *m, uint64_t size)
{
	uint64_t align = size >= HUGE_ALIGN ? HUGE_ALIGN : DRV_PAGE;
	int ret;

	if (dma->arena_fd < 0) {
		/* Sealed, so that a server that has it cannot cut it off under our feet. */
		dma->arena_fd = memfd_create("uvfio-dma", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		if (dma->arena_fd < 0)
			return -errno;
		if (fcntl(dma->arena_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL))
			return -errno;
	}
	ret = drv_iova_alloc(&dma->arena, size, align, ARENA_MAX - 1, &m->file_offset,
			     &m->file_token);
	if (ret)
		return ret;
	if (m->file_offset + size > dma->arena_size) {
		if (ftruncate(dma->arena_fd, (off_t)(m->file_offset + size))) {
			ret = -errno;
			drv_iova_give(&dma->arena, m->file_offset, size, &m->file_token);
			return ret;
		}
		dma->arena_size = m->file_offset + size;
	}
	return 0;
}

static void arena_give(struct uvfio_pci *dev, struct drv_mapping *m, uint64_t size)
{
	struct drv_dma *dma = &dev->dma;

	pthread_mutex_lock(&dma->lock);
	if (fallocate(dma->arena_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (off_t)m->file_offset, (off_t)size)) {
		/* Only on a file that somebody has sealed: leave the piece unused, it has old data.
		 */
		free(m->file_token.spare);
		m->file_token.spare = NULL;
	} else {
		drv_iova_give(&dma->arena, m->file_offset, size, &m->file_token);
	}
	pthread_mutex_unlock(&dma->lock);
}

int uvfio_pci_dma_alloc(struct uvfio_pci *dev, size_t size, unsigned flags,
			struct uvfio_pci_mem *mem, struct uvfio_error *err)
{
	struct drv_dma *dma = &dev->dma;
	uint64_t page = dma->page_size > DRV_PAGE ? dma->page_size : DRV_PAGE;
	struct drv_mapping *m;
	int ret;

	if (!size || size > ARENA_MAX || flags & UVFIO_PCI_DMA_FIXED)
		return map_error(dev, err, -EINVAL, size, "not a size to allocate");
	size = (size + (page - 1)) & ~(page - 1);
	m = calloc(1, sizeof(*m));
	if (!m)
		return map_error(dev, err, -ENOMEM, size, NULL);
	m->fd = -1;
	m->arena = true;
	pthread_mutex_lock(&dma->lock);
	ret = arena_take(dma, m, size);
	pthread_mutex_unlock(&dma->lock);
	if (ret) {
		map_error(dev, err, ret, size, NULL);
		goto fail;
	}
	m->addr = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, dma->arena_fd,
		       (off_t)m->file_offset);
	if (m->addr == MAP_FAILED) {
		ret = map_error(dev, err, -errno, size, NULL);
		arena_give(dev, m, size);
		goto fail;
	}
	ret = enter(dev, m, size, flags, 0, err);
	if (ret) {
		munmap(m->addr, size);
		arena_give(dev, m, size);
		goto fail;
	}
	*mem = (struct uvfio_pci_mem){.addr = m->addr, .iova = m->at.first, .size = size};
	return 0;
fail:
	free_mapping(m);
	return ret;
}

/* ---- unmap ---- */

/* Take the mapping that starts at @iova from the way; NULL: there is none such, or another thread
 * is at it.  *@status: what the way said. */
static struct drv_mapping *take_away(struct uvfio_pci *dev, uint64_t iova, uint64_t size,
				     bool arena, int *status)
{
	struct drv_dma *dma = &dev->dma;
	struct extent *e;

	pthread_mutex_lock(&dma->lock);
	e = extent_floor(&dma->mappings, iova);
	if (!e || e->first != iova || e->last - e->first != size - 1 || !mapping_of(e)->ready ||
	    mapping_of(e)->arena != arena) {
		pthread_mutex_unlock(&dma->lock);
		return NULL;
	}
	mapping_of(e)->ready = false;
	pthread_mutex_unlock(&dma->lock);
	*status = dev->ops->dma_unmap(dev, iova, size);
	if (*status && *status != -ENOTCONN) {
		/* Still mapped, as far as anybody knows: keep the IOVA and the memory. */
		pthread_mutex_lock(&dma->lock);
		mapping_of(e)->ready = true;
		pthread_mutex_unlock(&dma->lock);
		return NULL;
	}
	unplace(dev, mapping_of(e));
	return mapping_of(e);
}

int uvfio_pci_dma_unmap(struct uvfio_pci *dev, uint64_t iova, uint64_t size)
{
	int status = -ENOENT;
	struct drv_mapping *m = take_away(dev, iova, size, false, &status);

	if (!m)
		return status;
	free_mapping(m);
	return 0;
}

int uvfio_pci_dma_free(struct uvfio_pci *dev, const struct uvfio_pci_mem *mem)
{
	int status = -ENOENT;
	struct drv_mapping *m = take_away(dev, mem->iova, mem->size, true, &status);

	if (!m)
		return status;
	munmap(m->addr, mem->size);
	arena_give(dev, m, mem->size);
	free_mapping(m);
	return 0;
}

/* ---- a server ---- */

int drv_dma_renew(struct uvfio_pci *dev, struct uvfio_error *err)
{
	struct drv_dma *dma = &dev->dma;
	uint64_t at = 0;
	int ret = 0;

	/* No other thread is in a call for this device: the set does not change. */
	for (struct extent *e; !ret && (e = extent_ceiling(&dma->mappings, at));) {
		at = e->last + 1;
		ret = dev->ops->dma_map(dev, mapping_of(e));
		if (ret)
			map_error(dev, err, ret, e->last - e->first + 1, NULL);
		if (!at)
			break;
	}
	return ret;
}

int drv_dma_copy(struct uvfio_pci *dev, uint64_t iova, void *buf, size_t len, bool to_device)
{
	struct drv_dma *dma = &dev->dma;
	unsigned need = to_device ? UVFIO_PCI_DMA_READ : UVFIO_PCI_DMA_WRITE;
	uint64_t last = iova + (len - 1);
	int ret = -EFAULT;

	if (!len || last < iova)
		return -EINVAL;
	pthread_mutex_lock(&dma->lock);
	for (uint64_t at = iova;;) {
		struct extent *e = extent_floor(&dma->mappings, at);

		if (!e || e->last < at)
			goto out;
		if (!(mapping_of(e)->flags & need)) {
			ret = -EPERM;
			goto out;
		}
		if (e->last >= last)
			break;
		at = e->last + 1;
	}
	ret = 0;
	while (len && !ret) {
		struct extent *e = extent_floor(&dma->mappings, iova);
		uint64_t skip = iova - e->first, rest = e->last - iova + 1;
		size_t n = rest && rest < len ? (size_t)rest : len;
		uint8_t *at = mapping_of(e)->addr + skip;

		ret = to_device ? uvfio_guard_copy(buf, at, n) : uvfio_guard_copy(at, buf, n);
		buf = (uint8_t *)buf + n;
		iova += n;
		len -= n;
	}
out:
	pthread_mutex_unlock(&dma->lock);
	return ret;
}
