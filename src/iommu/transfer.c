/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Transfers: a device copies from and to an address space, or pins parts of it.
 *
 * RCU covers the lookup only.  The reference on the mapping that is taken in it keeps the memory
 * while the transfer lasts, however long that is.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/guard.h"
#include "iommu/space_private.h"
#include "iommu/xfer.h"

/* A reference on the mapping of one address, and how far what it says holds. */
struct hold {
	struct iommu_mapping *m;
	unsigned phase;
	uint8_t *host; /* of the address; NULL when it is not a plain file mapping */
	uint64_t len;  /* bytes */
};

static int refuse(struct iommu_fault *fault, uint64_t iova, uint64_t len, bool write,
		  enum iommu_fault_reason reason)
{
	if (fault)
		*fault = (struct iommu_fault){iova, len, write, reason};
	return reason == IOMMU_FAULT_GONE ? -EIO : -EFAULT;
}

/* Nothing was found: is that because a mapping was being cut since @cuts was read?  Then it is
 * done. */
static bool space_was_cut(struct iommu_space *space, uint32_t cuts)
{
	if (!(cuts & 1) && __atomic_load_n(&space->cuts, __ATOMIC_SEQ_CST) == cuts)
		return false;
	space_lock(space);
	space_unlock(space);
	return true;
}

/* Hold what is at @iova, for at most @len bytes.  0 or a fault. */
static int hold(struct iommu_space *space, struct iommu_cache *cache, uint64_t iova, uint64_t len,
		bool write, struct hold *h, struct iommu_fault *fault)
{
	struct tree_entry entry;
	uint64_t offset;

	/* Interrupt messages, whatever is mapped there (decision of the platform, D.2). */
	if (iova >= IOMMU_MSI_FIRST && iova <= IOMMU_MSI_LAST)
		return refuse(fault, iova, len, write, IOMMU_FAULT_INTERRUPT_WINDOW);
	if (iova < IOMMU_MSI_FIRST && len > IOMMU_MSI_FIRST - iova)
		len = IOMMU_MSI_FIRST - iova;
	do {
		uint32_t cuts = __atomic_load_n(&space->cuts, __ATOMIC_SEQ_CST);

		uvfio_rcu_read_lock();
		if (!space_lookup(space, cache, iova >> PAGE_BITS, &entry)) {
			uvfio_rcu_read_unlock();
			if (space_was_cut(space, cuts))
				continue;
			return refuse(fault, iova, len, write, IOMMU_FAULT_UNMAPPED);
		}
		if (!(entry.word & (write ? TREE_WRITE : TREE_READ))) {
			uvfio_rcu_read_unlock();
			return refuse(fault, iova, len, write, IOMMU_FAULT_PERMISSION);
		}
		h->m = entry_mapping(space, &entry);
		if (mapping_get(h->m, &h->phase))
			break;
		uvfio_rcu_read_unlock();
		if (cache) /* the tree knows better */
			memset(cache, 0, sizeof(*cache));
	} while (true);
	uvfio_rcu_read_unlock();
	offset = iova - (entry.first << PAGE_BITS);
	h->len = ((entry.last - entry.first + 1) << PAGE_BITS) - offset;
	if (h->len > len)
		h->len = len;
	h->host = entry_host(&entry);
	if (h->host)
		h->host += offset;
	return 0;
}

/* The piece of @m that byte @offset of it is in, and how much of it is left from there. */
static struct iommu_piece piece_at(const struct iommu_mapping *m, uint64_t offset, uint64_t *left)
{
	struct iommu_piece piece;
	uint32_t lo = 0, hi = m->nr;
	uint64_t end = m->last - m->first + 1;

	if (m->nr == 1) {
		*left = end - offset;
		return (struct iommu_piece){0, m->offset + offset,
					    m->host ? m->host + offset : NULL, m->file};
	}
	while (hi - lo > 1) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (m->pieces[mid].start <= offset)
			lo = mid;
		else
			hi = mid;
	}
	piece = m->pieces[lo];
	if (lo + 1 < m->nr)
		end = m->pieces[lo + 1].start;
	*left = end - offset;
	piece.offset += offset - piece.start;
	if (piece.host)
		piece.host += offset - piece.start;
	return piece;
}

/* Memory of another process.  0 or -EIO: the address, or the address space, is no more. */
static int copy_process(int fd, uint64_t addr, uint8_t *buf, uint64_t len, bool to_client)
{
	while (len) {
		ssize_t n = to_client ? pwrite(fd, buf, len, (off_t)addr)
				      : pread(fd, buf, len, (off_t)addr);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -EIO;
		buf += n;
		addr += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

static int copy_host(uint8_t *host, uint8_t *buf, uint64_t len, bool to_client)
{
	return to_client ? uvfio_guard_copy(host, buf, len) : uvfio_guard_copy(buf, host, len);
}

/* What is asked for. */
struct request {
	struct iommu_space *space;
	struct iommu_cache *cache;
	uint64_t iova;
	uint8_t *buf;
	uint64_t len;
	bool to_client;
	bool may_wait; /* gather what must be waited for in @xfer; else it is -ENOTSUP */
	struct iommu_xfer *xfer;
};

/* What is behind a peer: at once, as far as that goes; but nothing overtakes what goes by messages.
 */
static int ask_peer(struct request *r, const struct hold *h, const struct iommu_piece *piece,
		    uint64_t iova, uint8_t *buf, uint64_t len)
{
	struct iommu_peer *peer = piece->file->peer;
	uint64_t done = 0;

	if (peer->ops->copy && !r->xfer)
		done = peer->ops->copy(peer, piece->offset, buf, len, r->to_client);
	if (done == len)
		return 0;
	return xfer_add(&r->xfer, h->m, h->phase, peer, piece->offset + done, iova + done,
			buf + done, len - done, r->to_client);
}

/* The part of @r that @h holds, which is not one plain file mapping. */
static int copy_pieces(struct request *r, const struct hold *h)
{
	uint64_t offset = r->iova - h->m->first, left = h->len, n;
	uint64_t iova = r->iova;
	uint8_t *buf = r->buf;
	int ret = 0;

	for (; left && !ret; offset += n, iova += n, buf += n, left -= n) {
		struct iommu_piece piece = piece_at(h->m, offset, &n);

		if (n > left)
			n = left;
		if (piece.host)
			ret = copy_host(piece.host, buf, n, r->to_client);
		else if (!piece.file->peer)
			ret = copy_process(piece.file->fd, piece.offset, buf, n, r->to_client);
		else if (r->may_wait)
			ret = ask_peer(r, h, &piece, iova, buf, n);
		else
			ret = -ENOTSUP;
	}
	return ret;
}

static int copy_all(struct request *r, struct iommu_fault *fault)
{
	struct hold h;

	while (r->len) {
		int ret = hold(r->space, r->cache, r->iova, r->len, r->to_client, &h, fault);

		if (ret) {
			if (fault)
				fault->len = r->len;
			return ret;
		}
		if (h.host)
			ret = copy_host(h.host, r->buf, h.len, r->to_client);
		else
			ret = copy_pieces(r, &h);
		mapping_put(h.m, h.phase);
		if (ret == -ENOTSUP || ret == -ENOMEM)
			return ret;
		if (ret)
			return refuse(fault, r->iova, r->len, r->to_client, IOMMU_FAULT_GONE);
		r->iova += h.len;
		r->buf += h.len;
		r->len -= h.len;
	}
	return 0;
}

int iommu_copy(struct iommu_space *space, struct iommu_cache *cache, uint64_t iova, void *buf,
	       size_t len, bool to_client, struct iommu_fault *fault)
{
	struct request r = {space, cache, iova, buf, len, to_client, false, NULL};

	return copy_all(&r, fault);
}

int iommu_submit(struct iommu_user *user, struct iommu_space *space, struct iommu_cache *cache,
		 uint64_t iova, void *buf, size_t len, bool to_client,
		 void (*done)(void *arg, int status, const struct iommu_fault *fault), void *arg,
		 struct iommu_fault *fault)
{
	struct request r = {space, cache, iova, buf, len, to_client, true, NULL};
	int ret = copy_all(&r, fault);

	if (ret || !r.xfer) {
		xfer_discard(r.xfer);
		return ret;
	}
	xfer_start(r.xfer, user, iova, len, to_client, done, arg);
	return 1;
}

/* ---- pins ---- */

/*
 * A struct uvfio_dma_pin: how many references, room for six of them, and from the seventh on all of
 * them in an array.  A reference is the address of a mapping with the phase in its lowest bit.
 */
enum { PIN_NR, PIN_ARRAY, PIN_INLINE };
#define PIN_ROOM (8 - PIN_INLINE)

static void **pin_refs(struct uvfio_dma_pin *pin)
{
	return pin->core[PIN_ARRAY] ? pin->core[PIN_ARRAY] : &pin->core[PIN_INLINE];
}

static int pin_add(struct uvfio_dma_pin *pin, const struct hold *h)
{
	size_t nr = (size_t)(uintptr_t)pin->core[PIN_NR];
	void **array = pin->core[PIN_ARRAY];

	/* At 6, 12, 24 …: full. */
	if (nr >= PIN_ROOM && nr % PIN_ROOM == 0 && !(nr / PIN_ROOM & (nr / PIN_ROOM - 1))) {
		array = realloc(array, 2 * nr * sizeof(*array));
		if (!array)
			return -ENOMEM;
		if (nr == PIN_ROOM)
			memcpy(array, &pin->core[PIN_INLINE], nr * sizeof(*array));
		pin->core[PIN_ARRAY] = array;
	}
	pin_refs(pin)[nr] = (void *)((uintptr_t)h->m | h->phase);
	pin->core[PIN_NR] = (void *)(uintptr_t)(nr + 1);
	return 0;
}

void iommu_unpin(struct uvfio_dma_pin *pin)
{
	size_t nr = (size_t)(uintptr_t)pin->core[PIN_NR];
	void **refs = pin_refs(pin);

	for (size_t i = 0; i < nr; i++) {
		uintptr_t ref = (uintptr_t)refs[i];

		mapping_put((struct iommu_mapping *)(ref & ~(uintptr_t)1), ref & 1);
	}
	free(pin->core[PIN_ARRAY]);
	memset(pin, 0, sizeof(*pin));
}

static int add_iov(struct iovec *iov, int max, int nr, uint8_t *host, uint64_t len)
{
	if (nr && (uint8_t *)iov[nr - 1].iov_base + iov[nr - 1].iov_len == host) {
		iov[nr - 1].iov_len += len;
		return nr;
	}
	if (nr == max)
		return -E2BIG;
	iov[nr] = (struct iovec){host, len};
	return nr + 1;
}

static int pin_hold(const struct hold *h, uint64_t iova, struct iovec *iov, int max, int nr)
{
	uint64_t offset = iova - h->m->first, left = h->len, n;

	if (h->host)
		return add_iov(iov, max, nr, h->host, h->len);
	for (; left && nr >= 0; left -= n, offset += n) {
		struct iommu_piece piece = piece_at(h->m, offset, &n);

		if (!piece.host)
			return -ENOTSUP;
		if (n > left)
			n = left;
		nr = add_iov(iov, max, nr, piece.host, n);
	}
	return nr;
}

int iommu_pin(struct iommu_space *space, struct iommu_cache *cache, uint64_t iova, size_t len,
	      bool to_client, struct iovec *iov, int max_iov, struct uvfio_dma_pin *pin,
	      struct iommu_fault *fault)
{
	int nr = 0, ret = 0;

	memset(pin, 0, sizeof(*pin));
	while (len && !ret) {
		struct hold h;

		ret = hold(space, cache, iova, len, to_client, &h, fault);
		if (ret) {
			if (fault)
				fault->len = len;
			break;
		}
		ret = pin_add(pin, &h);
		if (ret) {
			mapping_put(h.m, h.phase);
			break;
		}
		nr = pin_hold(&h, iova, iov, max_iov, nr);
		if (nr < 0)
			ret = nr;
		iova += h.len;
		len -= h.len;
	}
	if (!ret)
		return nr;
	iommu_unpin(pin);
	return ret;
}
