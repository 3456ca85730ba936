/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory of the controller's own: the controller memory buffer with its registers, and the
 * addresses that lead to it and to the persistent memory region (pmr.c).
 *
 * Theory of operation.  The buffer is a BAR of plain memory, which clients map.  CMBMSC decides two
 * things: whether CMBLOC and CMBSZ say anything (CRE: a driver for NVMe 1.3, which does not set it,
 * sees no buffer), and at which of the addresses that a host supplies the controller finds it
 * (CMSE, CBA).  Those need not be the BAR's.  They are taken before DMA: at such an address there
 * is nothing but the buffer.
 *
 *   CRE CMSE  CBA            CMBLOC, CMBSZ   CMBSTS.CBAI   addresses lead there
 *    0   -     -                  0               0               no
 *    1   0     -                  set             0               no
 *    1   1     valid              set             0               yes
 *    1   1     not                set             1               no
 *
 * Valid is a range that ends below 2^64 and does not overlap that of the persistent memory region,
 * if addresses lead there; the same holds the other way round, so the one that was there first is
 * valid.  PMRMSCL and PMRMSCU are like CMBMSC without CRE.
 *
 * Everything may be there: both kinds of queues, lists, data of both directions; data may be partly
 * there and partly elsewhere.  A queue and a list must be in one place (CQMMS and CDPMLS are 0).
 *
 * A controller reset and a function level reset leave CMBMSC as it is, as the standard has it.  Any
 * other clears it, and so does the end of a session.  PMRMSCL and PMRMSCU survive a controller
 * reset only.
 *
 * Threads: the registers are written in the thread that writes them, and published at once; the
 * work context takes up their result at the beginning of a pass, and once more when it has looked
 * at the doorbells.  Data pointers that were looked up before stay what they are.
 */
#include <errno.h>
#include <string.h>

#include "devices/nvme/nvme.h"

#define BASE_ON 1ull

/* ---- registers: any thread, one at a time ---- */

/* Has @w, if it is wanted at @base, a valid range beside @other, which is at @there? */
static bool valid(const struct nvme_window *w, uint64_t base, const struct nvme_window *other,
		  uint64_t there)
{
	if (base > UINT64_MAX - (w->size - 1))
		return false;
	if (!(there & BASE_ON))
		return true;
	there &= ~BASE_ON;
	return base > there + (other->size - 1) || there > base + (w->size - 1);
}

static void place_cmb(struct nvme_ctrl *c)
{
	uint64_t msc = atomic_load(&c->shared.cmbmsc), base = msc & NVME_CMBMSC_CBA;
	bool wanted = (msc & NVME_CMBMSC_CRE) && (msc & NVME_CMBMSC_CMSE);
	bool ok;

	if (!c->cmb.size)
		return;
	ok = valid(&c->cmb, base, &c->pmr.window, atomic_load(&c->shared.pmr_base));
	atomic_store(&c->shared.cmb_base, wanted && ok ? base | BASE_ON : 0);
	uvfio_reg_set(c->dev, NVME_BAR, NVME_REG_CMBSTS, 4, wanted && !ok ? NVME_CMBSTS_CBAI : 0);
}

static void place_pmr(struct nvme_ctrl *c)
{
	uint64_t msc = atomic_load(&c->shared.pmrmsc), base = msc & NVME_CMBMSC_CBA;
	bool wanted = msc & NVME_PMRMSC_CMSE;
	bool ok;

	if (!c->pmr.window.size)
		return;
	ok = valid(&c->pmr.window, base, &c->cmb, atomic_load(&c->shared.cmb_base));
	atomic_store(&c->shared.pmr_base, wanted && ok ? base | BASE_ON : 0);
	atomic_store(&c->pmr.cbai, wanted && !ok);
}

static void publish(struct nvme_ctrl *c, uint64_t msc)
{
	bool known = msc & NVME_CMBMSC_CRE;
	uint32_t loc = NVME_CMBLOC_BIR(NVME_BAR_CMB) | NVME_CMBLOC_CDPCILS | NVME_CMBLOC_CDMMMS;
	uint32_t sz = NVME_CMBSZ_SQS | NVME_CMBSZ_CQS | NVME_CMBSZ_LISTS | NVME_CMBSZ_RDS |
		      NVME_CMBSZ_WDS | NVME_CMBSZ_SZU_4K | NVME_CMBSZ_SZ(c->cmb.size >> 12);

	atomic_store(&c->shared.cmbmsc, msc);
	uvfio_reg_set(c->dev, NVME_BAR, NVME_REG_CMBMSC, 8, msc);
	uvfio_reg_set(c->dev, NVME_BAR, NVME_REG_CMBLOC, 4, known ? loc : 0);
	uvfio_reg_set(c->dev, NVME_BAR, NVME_REG_CMBSZ, 4, known ? sz : 0);
	place_cmb(c);
	place_pmr(c);
}

void nvme_pmr_write_msc(struct nvme_ctrl *c, uint64_t msc)
{
	if (!c->pmr.window.size)
		return;
	msc &= NVME_CMBMSC_CBA | NVME_PMRMSC_CMSE;
	atomic_store(&c->shared.pmrmsc, msc);
	uvfio_reg_set(c->dev, NVME_BAR, NVME_REG_PMRMSCL, 4, (uint32_t)msc);
	uvfio_reg_set(c->dev, NVME_BAR, NVME_REG_PMRMSCU, 4, (uint32_t)(msc >> 32));
	place_pmr(c);
	place_cmb(c);
}

void nvme_cmb_write_msc(struct nvme_ctrl *c, uint64_t value)
{
	if (c->cmb.size)
		publish(c, value & (NVME_CMBMSC_CBA | NVME_CMBMSC_CMSE | NVME_CMBMSC_CRE));
}

bool nvme_cmb_write(struct nvme_ctrl *c, uint64_t offset, uint32_t value)
{
	uint64_t msc = atomic_load(&c->shared.cmbmsc), pmr = atomic_load(&c->shared.pmrmsc);

	switch (offset) {
	case NVME_REG_PMRCTL:
		nvme_pmr_write_ctl(c, value);
		return true;
	case NVME_REG_PMRMSCL:
		nvme_pmr_write_msc(c, (pmr & ~0xffffffffull) | value);
		return true;
	case NVME_REG_PMRMSCU:
		nvme_pmr_write_msc(c, (pmr & 0xffffffffull) | (uint64_t)value << 32);
		return true;
	case NVME_REG_CMBMSC:
		nvme_cmb_write_msc(c, (msc & ~0xffffffffull) | value);
		return true;
	case NVME_REG_CMBMSC + 4:
		nvme_cmb_write_msc(c, (msc & 0xffffffffull) | (uint64_t)value << 32);
		return true;
	default:
		return false;
	}
}

void nvme_cmb_regs_reset(struct nvme_ctrl *c)
{
	if (c->cmb.size)
		publish(c, 0);
}

void nvme_pmr_msc_reset(struct nvme_ctrl *c)
{
	nvme_pmr_write_msc(c, 0);
}

/* ---- addresses: the work context ---- */

static void take_up(struct nvme_window *w, uint64_t base)
{
	w->on = base & BASE_ON;
	w->base = base & ~BASE_ON;
}

void nvme_cmb_update(struct nvme_ctrl *c)
{
	if (!c->cmb.size && !c->pmr.window.size)
		return;
	take_up(&c->cmb, atomic_load(&c->shared.cmb_base));
	take_up(&c->pmr.window, atomic_load(&c->shared.pmr_base));
	c->windows_on = c->cmb.on || c->pmr.window.on;
}

/* Is @addr in @w?  *@len is cut where that changes. */
static bool in_window(const struct nvme_window *w, uint64_t addr, uint64_t *len, uint64_t *at)
{
	if (!w->on)
		return false;
	if (addr - w->base < w->size) {
		*at = addr - w->base;
		if (*len > w->size - *at)
			*len = w->size - *at;
		return true;
	}
	if (addr < w->base && w->base - addr < *len)
		*len = w->base - addr;
	return false;
}

enum nvme_place nvme_place(const struct nvme_ctrl *c, uint64_t addr, uint64_t *len, uint64_t *at)
{
	*at = addr;
	if (in_window(&c->cmb, addr, len, at))
		return NVME_AT_CMB;
	return in_window(&c->pmr.window, addr, len, at) ? NVME_AT_PMR : NVME_AT_HOST;
}

bool nvme_one_place(const struct nvme_ctrl *c, uint64_t addr, uint64_t len)
{
	uint64_t n = len, at;

	nvme_place(c, addr, &n, &at);
	return n == len;
}

/* [@at, +@len) of it, or NULL while it is not ready. */
static uint8_t *memory_at(struct nvme_ctrl *c, enum nvme_place place, uint64_t at, size_t len)
{
	const struct nvme_window *w = place == NVME_AT_PMR ? &c->pmr.window : &c->cmb;

	assert(place == NVME_AT_PMR || place == NVME_AT_CMB);
	assert(at <= w->size && len <= w->size - at);
	return place == NVME_AT_PMR && !c->pmr.ready ? NULL : w->memory + at;
}

int nvme_place_copy(struct nvme_ctrl *c, enum nvme_place place, uint64_t at, void *buf, size_t len,
		    bool to_client)
{
	uint8_t *memory = memory_at(c, place, at, len);

	if (!memory)
		return -EFAULT;
	return to_client ? uvfio_copy(memory, buf, len) : uvfio_copy(buf, memory, len);
}

/* As the core does it for transfers to the host: who polls the end of an entry of 16 bytes, where
 * the phase tag is, sees it whole. */
static int copy_entries(uint8_t *memory, const uint8_t *buf, size_t len)
{
	for (size_t i = 0; i < len; i += 16) {
		if (uvfio_copy(memory + i, buf + i, 12))
			return -EFAULT;
		atomic_thread_fence(memory_order_release);
		if (uvfio_copy(memory + i + 12, buf + i + 12, 4))
			return -EFAULT;
	}
	return 0;
}

int nvme_place_dma(struct nvme_ctrl *c, const struct uvfio_dma *op)
{
	uint64_t n = op->len, at;
	enum nvme_place place = nvme_place(c, op->iova, &n, &at);

	if (n != op->len || !memory_at(c, place, at, op->len))
		return -EFAULT;
	if (op->to_client && !(at % 16) && !(op->len % 16))
		return copy_entries(memory_at(c, place, at, op->len), op->buf, op->len);
	return nvme_place_copy(c, place, at, op->buf, op->len, op->to_client);
}

bool nvme_list_place(struct nvme_req *req, uint64_t addr, uint64_t len)
{
	uint64_t n = len, at;
	enum nvme_place place;

	place = nvme_place(req->ctrl, addr, &n, &at);
	if (n != len || (req->list_read && place != req->list_place)) {
		req->status = NVME_SC_INVALID_CMB | NVME_SC_DNR;
		return false;
	}
	req->list_read = true;
	req->list_place = place;
	return true;
}

void nvme_cmb_clear(struct nvme_ctrl *c)
{
	static const uint8_t zeros[4096];
	uint8_t page[4096];

	/* Pages that nobody has touched stay so. */
	for (uint64_t at = 0; at < c->cmb.size; at += sizeof(page)) {
		if (!uvfio_copy(page, c->cmb.memory + at, sizeof(page)) &&
		    memcmp(page, zeros, sizeof(page)) != 0)
			uvfio_copy(c->cmb.memory + at, zeros, sizeof(page));
	}
}
