/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DMA memory.
 *
 * Theory of operation.  A mapping is entered into the set before the views are told, and leaves it
 * after all of them have let go: a server may ask for the memory (DMA_READ) before its reply to
 * DMA_MAP has been read, and until its reply to DMA_UNMAP.  The IOVA is taken and given back around
 * that.  The lock is held for the set only, not while a view is told, because the thread that
 * answers a server needs it.
 *
 * One view after the other is told.  When one refuses a mapping, those before it are told to let
 * go, and nothing has happened; when one refuses to let go, the others get the mapping back, and it
 * stays. A server that is gone has nothing (space.c).
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

#define HUGE_ALIGN (2ull << 20)

static struct drv_mapping *mapping_of(struct extent *e)
{
	return (struct drv_mapping *)e;
}

static uint64_t size_of(const struct drv_mapping *m)
{
	return m->at.last - m->at.first + 1;
}

void drv_mapping_free(struct drv_mapping *m)
{
	if (m->fd >= 0)
		close(m->fd);
	free(m->iova_token.spare);
	free(m->file_token.spare);
	free(m);
}

int drv_map_error(const struct uvfio_pci *dev, struct uvfio_error *err, int ret, uint64_t size,
		  const char *why)
{
	return uvfio_error_set(err, ret, "%s%smapping %llu bytes for DMA: %s", dev ? dev->name : "",
			       dev ? ": " : "", (unsigned long long)size,
			       why ? why : strerror(-ret));
}

/* ---- the views ---- */

static bool lost(const struct drv_view *view)
{
	return view->ops->lost && view->ops->lost(view);
}

/* Have those let go of @m that know it.  0, or what the last one said that did not. */
static int untell(struct uvfio_dma_space *space, struct drv_mapping *m)
{
	int ret = 0;

	for (struct drv_view *v = space->views; v; v = v->next) {
		int status;

		if (!(m->known & v->bit))
			continue;
		status = v->ops->dma_unmap(v, m->at.first, size_of(m));
		/* What ended the connection by its answer may have the memory still, this time. */
		if (status && !(status == -ENOTCONN && lost(v)))
			ret = status;
		else
			m->known &= ~v->bit;
	}
	return ret;
}

/* Have all know @m that do not and are there.  0; or what the first one said that refused (*@who);
 * or, when none is there, why.  Some may know it then. */
static int tell(struct uvfio_dma_space *space, struct drv_mapping *m, struct drv_view **who)
{
	int gone = 0;

	for (struct drv_view *v = space->views; v; v = v->next) {
		int ret;

		if (m->known & v->bit)
			continue;
		ret = v->ops->dma_map(v, m);
		if (!ret) {
			m->known |= v->bit;
		} else if (lost(v)) {
			gone = ret;
			*who = v;
		} else {
			*who = v;
			return ret;
		}
	}
	return m->known ? 0 : gone;
}

/* ---- map ---- */

/* Find an IOVA for @m, @size bytes, and enter it.  [->lock held] */
static int place(struct uvfio_dma_space *space, struct drv_mapping *m, uint64_t size,
		 unsigned flags, uint64_t iova)
{
	uint64_t align = size >= HUGE_ALIGN ? HUGE_ALIGN : space->page_size;
	uint64_t limit = flags & UVFIO_PCI_DMA_32BIT ? UINT32_MAX : UINT64_MAX;
	int ret;

	if (flags & UVFIO_PCI_DMA_FIXED) {
		if (iova + (size - 1) < iova || iova + (size - 1) > limit)
			return -EINVAL;
		ret = drv_iova_take(&space->iova, iova, size, &m->iova_token);
	} else {
		ret = drv_iova_alloc(&space->iova, size, align, limit, &iova, &m->iova_token);
	}
	if (ret)
		return ret;
	m->at.first = iova;
	m->at.last = iova + (size - 1);
	extent_insert(&space->mappings, &m->at);
	return 0;
}

static void unplace(struct uvfio_dma_space *space, struct drv_mapping *m)
{
	pthread_mutex_lock(&space->lock);
	extent_remove(&space->mappings, &m->at);
	drv_iova_give(&space->iova, m->at.first, m->at.last - m->at.first + 1, &m->iova_token);
	pthread_mutex_unlock(&space->lock);
}

/* Place @m and tell the views.  On failure @m is as before, and the caller's; but when it is in the
 * set still, because one that had it did not let go, it is the space's: *@kept. */
static int enter(struct uvfio_dma_space *space, struct drv_mapping *m, uint64_t size,
		 unsigned flags, uint64_t iova, bool *kept, struct uvfio_error *err)
{
	struct drv_view *who = NULL;
	const char *why = NULL;
	int ret;

	*kept = false;
	m->flags = flags & UVFIO_PCI_DMA_RW;
	if (!m->flags)
		m->flags = UVFIO_PCI_DMA_RW;
	pthread_mutex_lock(&space->lock);
	ret = place(space, m, size, flags, iova);
	pthread_mutex_unlock(&space->lock);
	if (ret && !space->ranges.nr) {
		ret = -EOPNOTSUPP;
		why = "it has no IOMMU (no-IOMMU mode), so nothing can be mapped";
	} else if (ret == -EADDRINUSE) {
		why = "that IOVA is in use, or not usable for this device";
	} else if (ret == -ENOSPC) {
		why = "no free range of IOVAs is large enough";
	}
	if (ret)
		goto fail;
	ret = tell(space, m, &who);
	if (ret) {
		if (ret == -ENOMEM)
			why = "no memory, or more than `ulimit -l` lets this user lock";
		else if (ret == -ENOSPC)
			why = "the limit of mappings is reached (dma_entry_limit)";
		else if (ret == -EOPNOTSUPP && !m->addr)
			why = "it takes no file alone: by a group it needs an address "
			      "(uvfio_pci_mapping()), over vfio-user share=yes";
		else if (ret == -ENODEV)
			why = "the memory of the device behind the file is disabled, or it was "
			      "closed";
		*kept = untell(space, m);
		if (!*kept)
			unplace(space, m);
		goto fail;
	}
	pthread_mutex_lock(&space->lock);
	m->ready = true;
	pthread_mutex_unlock(&space->lock);
	return 0;
fail:
	return drv_map_error(who && who->dev ? who->dev : space->owner, err, ret, size, why);
}

/* Whole pages, of all views?  [->change held] */
static bool whole_pages(const struct uvfio_dma_space *space, uint64_t bits)
{
	return !(bits & (space->page_size - 1));
}

static int map_own(struct uvfio_dma_space *space, struct drv_mapping **m, size_t size,
		   unsigned flags, uint64_t iova, struct uvfio_error *err)
{
	bool fixed = flags & UVFIO_PCI_DMA_FIXED, kept;
	int ret;

	pthread_rwlock_rdlock(&space->change);
	if (!size || !whole_pages(space, size | (uintptr_t)(*m)->addr |
						 ((*m)->fd >= 0 ? (*m)->file_offset : 0) |
						 (fixed ? iova : 0))) {
		ret = drv_map_error(space->owner, err, -EINVAL, size, "not whole pages");
	} else {
		ret = enter(space, *m, size, flags, iova, &kept, err);
		if (kept)
			*m = NULL;
	}
	pthread_rwlock_unlock(&space->change);
	return ret;
}

int uvfio_dma_space_map(struct uvfio_dma_space *space, void *addr, size_t size, unsigned flags,
			int fd, uint64_t offset, uint64_t *iova, struct uvfio_error *err)
{
	struct drv_mapping *m = calloc(1, sizeof(*m));
	int ret = 0;

	if (!m)
		return drv_map_error(space->owner, err, -ENOMEM, size, NULL);
	m->addr = addr;
	m->fd = -1;
	m->file_offset = offset;
	if (fd >= 0) {
		m->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (m->fd < 0)
			ret = drv_map_error(space->owner, err, -errno, size, NULL);
	}
	if (!ret)
		ret = map_own(space, &m, size, flags, flags & UVFIO_PCI_DMA_FIXED ? *iova : 0, err);
	if (!ret)
		*iova = m->at.first;
	else if (m)
		drv_mapping_free(m);
	return ret;
}

/* ---- the arena ---- */

/* [->lock held] A piece of the arena for @m. */
static int arena_take(struct uvfio_dma_space *space, struct drv_mapping *m, uint64_t size)
{
	uint64_t align = size >= HUGE_ALIGN ? HUGE_ALIGN : DRV_PAGE;
	int ret;

	if (space->arena_fd < 0) {
		/* Sealed, so that a server that has it cannot cut it off under our feet. */
		space->arena_fd = memfd_create("uvfio-dma", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		if (space->arena_fd < 0)
			return -errno;
		if (fcntl(space->arena_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL))
			return -errno;
	}
	ret = drv_iova_alloc(&space->arena, size, align, DRV_ARENA_MAX - 1, &m->file_offset,
			     &m->file_token);
	if (ret)
		return ret;
	if (m->file_offset + size > space->arena_size) {
		if (ftruncate(space->arena_fd, (off_t)(m->file_offset + size))) {
			ret = -errno;
			drv_iova_give(&space->arena, m->file_offset, size, &m->file_token);
			return ret;
		}
		space->arena_size = m->file_offset + size;
	}
	return 0;
}

static void arena_give(struct uvfio_dma_space *space, struct drv_mapping *m, uint64_t size)
{
	pthread_mutex_lock(&space->lock);
	if (fallocate(space->arena_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (off_t)m->file_offset, (off_t)size)) {
		/* Only on a file that somebody has sealed: leave the piece unused, it has old data.
		 */
		free(m->file_token.spare);
		m->file_token.spare = NULL;
	} else {
		drv_iova_give(&space->arena, m->file_offset, size, &m->file_token);
	}
	pthread_mutex_unlock(&space->lock);
}

/* Memory for @m, from the arena. */
static int arena_map(struct uvfio_dma_space *space, struct drv_mapping *m, uint64_t size)
{
	int ret;

	pthread_mutex_lock(&space->lock);
	ret = arena_take(space, m, size);
	pthread_mutex_unlock(&space->lock);
	if (ret)
		return ret;
	m->addr = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, space->arena_fd,
		       (off_t)m->file_offset);
	if (m->addr != MAP_FAILED)
		return 0;
	ret = -errno;
	arena_give(space, m, size);
	return ret;
}

/* [->change held] */
static int alloc(struct uvfio_dma_space *space, size_t size, unsigned flags,
		 struct uvfio_pci_mem *mem, struct uvfio_error *err)
{
	uint64_t page = space->page_size;
	struct drv_mapping *m;
	bool kept;
	int ret;

	size = (size + (page - 1)) & ~(page - 1);
	m = calloc(1, sizeof(*m));
	if (!m)
		return drv_map_error(space->owner, err, -ENOMEM, size, NULL);
	m->fd = -1;
	m->arena = true;
	ret = arena_map(space, m, size);
	if (ret) {
		drv_map_error(space->owner, err, ret, size, NULL);
		drv_mapping_free(m);
		return ret;
	}
	ret = enter(space, m, size, flags, 0, &kept, err);
	if (!ret) {
		*mem = (struct uvfio_pci_mem){.addr = m->addr, .iova = m->at.first, .size = size};
	} else if (!kept) {
		munmap(m->addr, size);
		arena_give(space, m, size);
		drv_mapping_free(m);
	}
	return ret;
}

int uvfio_dma_space_alloc(struct uvfio_dma_space *space, size_t size, unsigned flags,
			  struct uvfio_pci_mem *mem, struct uvfio_error *err)
{
	int ret;

	if (!size || size > DRV_ARENA_MAX || flags & UVFIO_PCI_DMA_FIXED)
		return drv_map_error(space->owner, err, -EINVAL, size, "not a size to allocate");
	pthread_rwlock_rdlock(&space->change);
	ret = alloc(space, size, flags, mem, err);
	pthread_rwlock_unlock(&space->change);
	return ret;
}

/* ---- unmap ---- */

/* [->change held] Take the mapping that starts at @iova from the views; NULL: there is none such,
 * or another thread is at it.  *@status: what a view said that refused. */
static struct drv_mapping *take_away(struct uvfio_dma_space *space, uint64_t iova, uint64_t size,
				     bool arena, int *status)
{
	struct drv_view *who;
	struct drv_mapping *m;

	pthread_mutex_lock(&space->lock);
	m = mapping_of(extent_floor(&space->mappings, iova));
	if (!m || m->at.first != iova || m->at.last - iova != size - 1 || !m->ready ||
	    m->arena != arena) {
		pthread_mutex_unlock(&space->lock);
		return NULL;
	}
	m->ready = false;
	pthread_mutex_unlock(&space->lock);
	*status = untell(space, m);
	if (!*status) {
		unplace(space, m);
		return m;
	}
	/* Still mapped, as far as anybody knows: keep the IOVA and the memory, for all. */
	(void)tell(space, m, &who);
	pthread_mutex_lock(&space->lock);
	m->ready = true;
	pthread_mutex_unlock(&space->lock);
	return NULL;
}

static int unmap(struct uvfio_dma_space *space, uint64_t iova, uint64_t size, bool arena)
{
	struct drv_mapping *m;
	int status = -ENOENT;

	pthread_rwlock_rdlock(&space->change);
	m = take_away(space, iova, size, arena, &status);
	pthread_rwlock_unlock(&space->change);
	if (!m)
		return status;
	if (arena) {
		munmap(m->addr, size);
		arena_give(space, m, size);
	}
	drv_mapping_free(m);
	return 0;
}

int uvfio_dma_space_unmap(struct uvfio_dma_space *space, uint64_t iova, uint64_t size)
{
	return unmap(space, iova, size, false);
}

int uvfio_dma_space_release(struct uvfio_dma_space *space, const struct uvfio_pci_mem *mem)
{
	return unmap(space, mem->iova, mem->size, true);
}

/* ---- by a device ---- */

int uvfio_pci_dma_map(struct uvfio_pci *dev, void *addr, size_t size, unsigned flags, int fd,
		      uint64_t offset, uint64_t *iova, struct uvfio_error *err)
{
	return uvfio_dma_space_map(dev->space, addr, size, flags, fd, offset, iova, err);
}

int uvfio_pci_dma_unmap(struct uvfio_pci *dev, uint64_t iova, uint64_t size)
{
	return uvfio_dma_space_unmap(dev->space, iova, size);
}

int uvfio_pci_dma_alloc(struct uvfio_pci *dev, size_t size, unsigned flags,
			struct uvfio_pci_mem *mem, struct uvfio_error *err)
{
	return uvfio_dma_space_alloc(dev->space, size, flags, mem, err);
}

int uvfio_pci_dma_free(struct uvfio_pci *dev, const struct uvfio_pci_mem *mem)
{
	return uvfio_dma_space_release(dev->space, mem);
}

/* ---- a server ---- */

int drv_dma_copy(struct uvfio_dma_space *space, uint64_t iova, void *buf, size_t len,
		 bool to_device)
{
	unsigned need = to_device ? UVFIO_PCI_DMA_READ : UVFIO_PCI_DMA_WRITE;
	uint64_t last = iova + (len - 1);
	int ret = -EFAULT;

	if (!len || last < iova)
		return -EINVAL;
	pthread_mutex_lock(&space->lock);
	for (uint64_t at = iova;;) {
		struct extent *e = extent_floor(&space->mappings, at);

		if (!e || e->last < at)
			goto out;
		if (!mapping_of(e)->addr) /* another device's: not ours to copy */
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
		struct extent *e = extent_floor(&space->mappings, iova);
		uint64_t skip = iova - e->first, rest = e->last - iova + 1;
		size_t n = rest && rest < len ? (size_t)rest : len;
		uint8_t *at = mapping_of(e)->addr + skip;

		ret = to_device ? uvfio_guard_copy(buf, at, n) : uvfio_guard_copy(at, buf, n);
		buf = (uint8_t *)buf + n;
		iova += n;
		len -= n;
	}
out:
	pthread_mutex_unlock(&space->lock);
	return ret;
}
