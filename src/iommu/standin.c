/* SPDX-License-Identifier: BSD-3-Clause */
/* A stand-in for the address space and type1 until theirs lands: one list, one lock. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/guard.h"
#include "iommu/type1.h"

struct map {
	struct map *next;
	uint64_t iova, size;
	unsigned prot, nr;
	struct piece {
		enum iommu_mem_kind kind;
		int fd;
		uint64_t offset, len;
		char *host;
	} *pieces;
};

struct iommu_space {
	pthread_rwlock_t lock;
	struct map *maps;
	uint64_t nr;
};

struct iommu_space *iommu_space_new(uint64_t max_mappings)
{
	struct iommu_space *s = calloc(1, sizeof(*s));

	if (s)
		pthread_rwlock_init(&s->lock, NULL);
	return s;
}

static void map_free(struct map *m)
{
	for (unsigned i = 0; i < m->nr; i++) {
		if (m->pieces[i].host)
			munmap(m->pieces[i].host, m->pieces[i].len);
		close(m->pieces[i].fd);
	}
	free(m->pieces);
	free(m);
}

void iommu_space_free(struct iommu_space *s)
{
	uint64_t count;

	iommu_unmap(s, 0, UINT64_MAX, &count);
	free(s);
}

bool iommu_overlaps(struct iommu_space *s, uint64_t iova, uint64_t last)
{
	uint64_t first, size;

	return iommu_find(s, iova, last, &first, &size);
}

int iommu_map(struct iommu_space *s, uint64_t iova, uint64_t size, unsigned prot, const struct iommu_mem *mem,
	      unsigned nr)
{
	struct map *m = calloc(1, sizeof(*m)), **p;

	m->iova = iova;
	m->size = size;
	m->prot = prot;
	m->nr = nr;
	m->pieces = calloc(nr, sizeof(*m->pieces));
	for (unsigned i = 0; i < nr; i++) {
		struct piece *piece = &m->pieces[i];

		*piece = (struct piece){mem[i].kind, fcntl(mem[i].fd, F_DUPFD_CLOEXEC, 3), mem[i].offset, mem[i].len, NULL};
		if (piece->kind == IOMMU_MEM_FILE) {
			piece->host = mmap(NULL, piece->len, PROT_READ | (prot & IOMMU_WRITE ? PROT_WRITE : 0), MAP_SHARED,
					   piece->fd, (off_t)piece->offset);
			if (piece->host == MAP_FAILED) {
				piece->host = NULL;
				map_free(m);
				return -EFAULT;
			}
		}
	}
	pthread_rwlock_wrlock(&s->lock);
	for (p = &s->maps; *p && (*p)->iova < iova; p = &(*p)->next)
		;
	m->next = *p;
	*p = m;
	s->nr++;
	pthread_rwlock_unlock(&s->lock);
	return 0;
}

bool iommu_find(struct iommu_space *s, uint64_t iova, uint64_t last, uint64_t *first, uint64_t *size)
{
	struct map *m;

	pthread_rwlock_rdlock(&s->lock);
	for (m = s->maps; m && m->iova + m->size - 1 < iova; m = m->next)
		;
	if (m && m->iova > last)
		m = NULL;
	if (m) {
		*first = m->iova;
		*size = m->size;
	}
	pthread_rwlock_unlock(&s->lock);
	return m;
}

uint64_t iommu_unmap(struct iommu_space *s, uint64_t iova, uint64_t last, uint64_t *count)
{
	uint64_t bytes = 0;

	*count = 0;
	pthread_rwlock_wrlock(&s->lock);
	for (struct map **p = &s->maps; *p;) {
		struct map *m = *p;

		if (m->iova >= iova && m->iova + m->size - 1 <= last) {
			*p = m->next;
			bytes += m->size;
			++*count;
			s->nr--;
			map_free(m);
		} else {
			p = &m->next;
		}
	}
	pthread_rwlock_unlock(&s->lock);
	return bytes;
}

uint64_t iommu_mapping_count(struct iommu_space *s)
{
	return s->nr;
}

int iommu_copy(struct iommu_space *s, struct iommu_cache *cache, uint64_t iova, void *buf, size_t len, bool to_client,
	       struct iommu_fault *fault)
{
	int ret = 0;

	pthread_rwlock_rdlock(&s->lock);
	while (len && !ret) {
		struct map *m;
		uint64_t off;
		unsigned i;
		size_t n;
		ssize_t got;

		for (m = s->maps; m && m->iova + m->size - 1 < iova; m = m->next)
			;
		if (!m || m->iova > iova || !(m->prot & (to_client ? IOMMU_WRITE : IOMMU_READ))) {
			if (fault)
				*fault = (struct iommu_fault){iova, len, to_client,
							      m && m->iova <= iova ? IOMMU_FAULT_PERMISSION : IOMMU_FAULT_UNMAPPED};
			ret = -EFAULT;
			break;
		}
		off = iova - m->iova;
		for (i = 0; off >= m->pieces[i].len; i++)
			off -= m->pieces[i].len;
		n = m->pieces[i].len - off;
		if (n > len)
			n = len;
		if (m->pieces[i].host)
			ret = to_client ? uvfio_guard_copy(m->pieces[i].host + off, buf, n)
					: uvfio_guard_copy(buf, m->pieces[i].host + off, n);
		else {
			got = to_client ? pwrite(m->pieces[i].fd, buf, n, (off_t)(m->pieces[i].offset + off))
					: pread(m->pieces[i].fd, buf, n, (off_t)(m->pieces[i].offset + off));
			ret = got == (ssize_t)n ? 0 : -EIO;
		}
		if (ret && fault)
			*fault = (struct iommu_fault){iova, len, to_client, IOMMU_FAULT_GONE};
		buf = (char *)buf + n;
		iova += n;
		len -= n;
	}
	pthread_rwlock_unlock(&s->lock);
	return ret;
}

int iommu_pin(struct iommu_space *s, struct iommu_cache *cache, uint64_t iova, size_t len, bool to_client,
	      struct iovec *iov, int max_iov, struct uvfio_dma_pin *pin, struct iommu_fault *fault)
{
	return -ENOTSUP;
}

void iommu_unpin(struct uvfio_dma_pin *pin)
{
}

void iommu_drain(struct iommu_space *s, uint64_t iova, uint64_t last)
{
}

struct type1 {
	struct iommu_space *space;
	uint64_t limit;
	bool v2;
};

struct type1 *type1_new(bool v2, uint64_t limit)
{
	struct type1 *t = calloc(1, sizeof(*t));

	t->space = iommu_space_new(limit);
	t->v2 = v2;
	t->limit = limit;
	return t;
}

void type1_free(struct type1 *t)
{
	iommu_space_free(t->space);
	free(t);
}

struct iommu_space *type1_space(struct type1 *t)
{
	return t->space;
}

uint64_t type1_entries_available(struct type1 *t)
{
	return t->limit - t->space->nr;
}

bool type1_vaddr_invalid(struct type1 *t)
{
	return false;
}

int type1_map(struct type1 *t, const struct vfio_iommu_type1_dma_map *req, const struct type1_memory_ops *ops, void *client)
{
	struct iommu_mem *mem;
	unsigned nr;
	int ret;

	if (req->argsz < 32 || !req->size || (req->flags & ~3u) || !req->flags || ((req->size | req->iova | req->vaddr) & 4095))
		return -EINVAL;
	if (iommu_overlaps(t->space, req->iova, req->iova + req->size - 1))
		return -EEXIST;
	if (!type1_entries_available(t))
		return -ENOSPC;
	ret = ops->import(client, req->vaddr, req->size, req->flags & 3, &mem, &nr);
	if (ret)
		return ret;
	ret = iommu_map(t->space, req->iova, req->size, req->flags & 3, mem, nr);
	ops->release(client, mem, nr);
	return ret;
}

int type1_unmap(struct type1 *t, struct vfio_iommu_type1_dma_unmap *req)
{
	uint64_t count;

	req->size = iommu_unmap(t->space, req->iova, req->flags & 2 ? UINT64_MAX : req->iova + req->size - 1, &count);
	return 0;
}

bool type1_unmap_wants_bitmap(const struct vfio_iommu_type1_dma_unmap *req)
{
	return false;
}

int type1_unmap_bitmap(struct type1 *t, struct vfio_iommu_type1_dma_unmap *req, const struct vfio_bitmap *bitmap)
{
	return -EINVAL;
}

int type1_get_info(struct type1 *t, uint32_t argsz, void *buf, size_t buf_len)
{
	struct {
		struct vfio_iommu_type1_info info;
		struct vfio_iommu_type1_info_cap_iova_range cap;
		struct vfio_iova_range range[2];
	} *a = buf;
	uint32_t total = 24 + sizeof(a->cap) + sizeof(a->range);

	if (argsz < 16)
		return -EINVAL;
	memset(buf, 0, buf_len);
	a->info.argsz = argsz;
	a->info.flags = VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS;
	a->info.iova_pgsizes = ~4095ull;
	if (argsz < total) {
		a->info.argsz = total;
		return argsz < 24 ? (int)argsz : 24;
	}
	a->info.cap_offset = 24;
	a->cap.header.id = VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE;
	a->cap.header.version = 1;
	a->cap.nr_iovas = 2;
	a->range[0] = (struct vfio_iova_range){0, IOMMU_MSI_FIRST - 1};
	a->range[1] = (struct vfio_iova_range){IOMMU_MSI_LAST + 1, IOMMU_IOVA_LAST};
	return (int)total;
}
