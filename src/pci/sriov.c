/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A PF's registers for its VFs: the SR-IOV capability and, where VF BARs can be resized, the VF
 * resizable BAR capability.
 *
 * Theory of operation.  There are two copies of everything that can be set: the registers, which
 * are config space like the rest, and what the host's PCI core knows (struct pci_sriov), which no
 * reset changes and which pci_sriov_restore() writes back, as the kernel does.  The functions of
 * sriov.h change both; a write from elsewhere changes registers alone, except for the size of a
 * BAR: nothing else can resize one here, so the host takes it over.
 *
 * What VFs ask of their PF is published to struct pci_vf_link at each change of a register.
 */
#include <errno.h>
#include <stdlib.h>

#include "pci/sriov.h"
#include "pci/func_private.h"

#define D3HOT       3u
#define SIZE_SHIFT  20u     /* size 0 of a resizable BAR is 1 MiB */
#define SIZE_MASK   0x3f00u /* of its control register */
#define PAGE_SIZES  0x553u  /* what every device must support: 4, 8, 64, 256 KiB, 1, 4 MiB */
#define FIRST_SIZES 4u      /* bit of the sizes in the capability register */

static uint8_t *reg(const struct pci_func *pf, unsigned off)
{
	return ((struct pci_func *)(uintptr_t)pf)->config + pf->sriov->pos + off;
}

/* The control register of BAR @bar, which can be resized. */
static uint8_t *rebar_ctrl(const struct pci_func *pf, unsigned bar)
{
	unsigned i = pf->sriov->rebar_index[bar] - 1;

	return ((struct pci_func *)(uintptr_t)pf)->config + pf->sriov->rebar + PCI_VF_REBAR_CTRL +
	       8 * i;
}

static bool resizable(const struct pci_func *pf, unsigned bar)
{
	return bar < PCI_SRIOV_NUM_BARS && pf->sriov && pf->sriov->rebar_index[bar];
}

static const struct uvfio_bar_desc *vf_bar(const struct pci_func *pf, unsigned bar)
{
	return &pf->sriov->vf->desc.bars[bar];
}

/* ---- sizes ---- */

uint64_t pci_sriov_bar_size(const struct pci_func *pf, unsigned bar)
{
	uint64_t size, page;

	if (!pf->sriov || bar >= PCI_SRIOV_NUM_BARS || !vf_bar(pf, bar)->size)
		return 0;
	size = vf_bar(pf, bar)->size;
	if (resizable(pf, bar))
		size = 1ull << (((pci_get32(rebar_ctrl(pf, bar)) & SIZE_MASK) >> 8) + SIZE_SHIFT);
	page = (uint64_t)pci_get32(reg(pf, PCI_SRIOV_SYS_PGSIZE)) << 12;
	return size > page ? size : page;
}

unsigned pci_sriov_bar_flags(const struct pci_func *pf, unsigned bar)
{
	return pci_sriov_bar_size(pf, bar) ? vf_bar(pf, bar)->flags : 0;
}

uint64_t pci_sriov_bar_sizes(const struct pci_func *pf, unsigned bar)
{
	if (!resizable(pf, bar))
		return 0;
	return pf->desc.sriov->vf_bar_sizes[bar] | vf_bar(pf, bar)->size >> SIZE_SHIFT;
}

void pci_sriov_fit_bars(struct pci_func *pf)
{
	for (unsigned i = 0; i < PCI_SRIOV_NUM_BARS; i++) {
		uint64_t size = pci_sriov_bar_size(pf, i), mask = ~(size - 1);
		unsigned off = PCI_SRIOV_BAR + 4 * i;
		uint8_t *wmask = pf->layout->wmask + pf->sriov->pos + off;
		uint32_t low = (uint32_t)mask & (uint32_t)PCI_BASE_ADDRESS_MEM_MASK;

		if (!size)
			continue;
		pci_put32(wmask, low);
		pci_put32(reg(pf, off),
			  pci_get32(reg(pf, off)) & (low | (uint32_t)~PCI_BASE_ADDRESS_MEM_MASK));
		if (!(vf_bar(pf, i)->flags & UVFIO_BAR_MEM64))
			continue;
		pci_put32(wmask + 4, (uint32_t)(mask >> 32));
		pci_put32(reg(pf, off + 4), pci_get32(reg(pf, off + 4)) & (uint32_t)(mask >> 32));
	}
}

/* ---- building ---- */

void pci_build_sriov(struct pci_func *func, unsigned pos)
{
	const struct uvfio_sriov_desc *sriov = func->desc.sriov;
	uint8_t *reset = func->layout->reset + pos, *wmask = func->layout->wmask + pos;

	func->sriov->pos = pos;
	pci_put16(wmask + PCI_SRIOV_CTRL,
		  PCI_SRIOV_CTRL_VFE | PCI_SRIOV_CTRL_MSE | PCI_SRIOV_CTRL_ARI);
	pci_put16(reset + PCI_SRIOV_INITIAL_VF, (uint16_t)sriov->total_vfs);
	pci_put16(reset + PCI_SRIOV_TOTAL_VF, (uint16_t)sriov->total_vfs);
	pci_put16(wmask + PCI_SRIOV_NUM_VF, UINT16_MAX);
	reset[PCI_SRIOV_FUNC_LINK] = func->addr.fn;
	pci_put16(reset + PCI_SRIOV_VF_OFFSET, (uint16_t)pci_sriov_offset(func));
	pci_put16(reset + PCI_SRIOV_VF_STRIDE, (uint16_t)pci_sriov_stride(func));
	pci_put16(reset + PCI_SRIOV_VF_DID, sriov->vf_device);
	pci_put32(reset + PCI_SRIOV_SUP_PGSIZE, PAGE_SIZES);
	pci_put32(reset + PCI_SRIOV_SYS_PGSIZE, 1);
	pci_put32(wmask + PCI_SRIOV_SYS_PGSIZE, UINT32_MAX);
	for (unsigned i = 0; i < PCI_SRIOV_NUM_BARS; i++) {
		const struct uvfio_bar_desc *bar = &sriov->vf->bars[i];

		if (bar->size)
			pci_put32(
				reset + PCI_SRIOV_BAR + 4 * i,
				(bar->flags & UVFIO_BAR_MEM64 ? PCI_BASE_ADDRESS_MEM_TYPE_64 : 0) |
					(bar->flags & UVFIO_BAR_PREFETCH
						 ? PCI_BASE_ADDRESS_MEM_PREFETCH
						 : 0));
	}
}

void pci_build_vf_rebar(struct pci_func *func, unsigned pos)
{
	const struct uvfio_sriov_desc *sriov = func->desc.sriov;
	unsigned n = 0, all = pci_desc_nr_vf_rebar(sriov);

	func->sriov->rebar = pos;
	for (unsigned i = 0; i < PCI_SRIOV_NUM_BARS; i++) {
		uint64_t size = sriov->vf->bars[i].size;
		unsigned at = pos + 8 * n;

		if (!sriov->vf_bar_sizes[i])
			continue;
		func->sriov->rebar_index[i] = ++n;
		pci_put32(func->layout->reset + at + PCI_VF_REBAR_CAP,
			  (uint32_t)(sriov->vf_bar_sizes[i] | size >> SIZE_SHIFT) << FIRST_SIZES);
		pci_put32(func->layout->reset + at + PCI_VF_REBAR_CTRL,
			  i | (n == 1 ? all << 5 : 0) |
				  ((unsigned)__builtin_ctzll(size) - SIZE_SHIFT) << 8);
		pci_put32(func->layout->wmask + at + PCI_VF_REBAR_CTRL, SIZE_MASK);
	}
}

/* ---- writes by whoever ---- */

void pci_sriov_before_write(const struct pci_func *pf, struct pci_sriov_regs *old)
{
	old->ctrl = pci_get16(reg(pf, PCI_SRIOV_CTRL));
	old->num_vfs = pci_get16(reg(pf, PCI_SRIOV_NUM_VF));
	old->page_size = pci_get32(reg(pf, PCI_SRIOV_SYS_PGSIZE));
	for (unsigned i = 0; i < PCI_SRIOV_NUM_BARS; i++)
		old->rebar[i] = resizable(pf, i) ? pci_get32(rebar_ctrl(pf, i)) : 0;
}

/* One page size at a time, and one that is supported. */
static bool page_size_ok(uint32_t value)
{
	return value && !(value & (value - 1)) && value & PAGE_SIZES;
}

/* A size that is not offered leaves the register alone, and all of it while VFs are there. */
static void resized(struct pci_func *pf, unsigned bar, uint32_t old, bool locked)
{
	uint32_t now = pci_get32(rebar_ctrl(pf, bar));
	unsigned size = (now & SIZE_MASK) >> 8;

	if (now == old)
		return;
	if (locked || !(pci_sriov_bar_sizes(pf, bar) >> size & 1))
		pci_put32(rebar_ctrl(pf, bar), old);
	else
		pf->sriov->size[bar] = 1ull << (size + SIZE_SHIFT);
}

void pci_sriov_after_write(struct pci_func *pf, const struct pci_sriov_regs *old)
{
	bool locked = old->ctrl & PCI_SRIOV_CTRL_VFE;

	if (locked || pci_get16(reg(pf, PCI_SRIOV_NUM_VF)) > pf->desc.sriov->total_vfs)
		pci_put16(reg(pf, PCI_SRIOV_NUM_VF), old->num_vfs);
	if (locked || !page_size_ok(pci_get32(reg(pf, PCI_SRIOV_SYS_PGSIZE))))
		pci_put32(reg(pf, PCI_SRIOV_SYS_PGSIZE), old->page_size);
	for (unsigned i = 0; i < PCI_SRIOV_NUM_BARS; i++) {
		if (resizable(pf, i))
			resized(pf, i, old->rebar[i], locked);
	}
	pci_sriov_fit_bars(pf);
}

/* ---- around a reset ---- */

bool pci_sriov_owns(const struct pci_func *func, unsigned off)
{
	const struct pci_sriov *sriov = func->sriov;

	if (!sriov)
		return false;
	return off - sriov->pos < PCI_EXT_CAP_SRIOV_SIZEOF ||
	       (sriov->rebar &&
		off - sriov->rebar < 4 + 8 * pci_desc_nr_vf_rebar(func->desc.sriov));
}

static void put_size(struct pci_func *pf, unsigned bar)
{
	unsigned log2 = (unsigned)__builtin_ctzll(pf->sriov->size[bar]);
	uint8_t *ctrl = rebar_ctrl(pf, bar);

	pci_put32(ctrl, (pci_get32(ctrl) & ~SIZE_MASK) | (log2 - SIZE_SHIFT) << 8);
}

static void put_address(struct pci_func *pf, unsigned bar)
{
	uint64_t address = pf->sriov->address[bar] & ~(pci_sriov_bar_size(pf, bar) - 1);
	unsigned off = PCI_SRIOV_BAR + 4 * bar;
	uint32_t type = pci_get32(pf->layout->reset + pf->sriov->pos + off);

	pci_put32(reg(pf, off), (uint32_t)address | type);
	if (vf_bar(pf, bar)->flags & UVFIO_BAR_MEM64)
		pci_put32(reg(pf, off + 4), (uint32_t)(address >> 32));
}

/* Only where hardware has lost it. */
void pci_sriov_restore(struct pci_func *pf)
{
	struct pci_sriov *sriov = pf->sriov;

	if (pci_get16(reg(pf, PCI_SRIOV_CTRL)) & PCI_SRIOV_CTRL_VFE)
		return;
	pci_put32(reg(pf, PCI_SRIOV_SYS_PGSIZE), 1);
	for (unsigned i = 0; i < PCI_SRIOV_NUM_BARS; i++) {
		if (resizable(pf, i))
			put_size(pf, i);
		if (vf_bar(pf, i)->size)
			put_address(pf, i);
	}
	pci_sriov_fit_bars(pf);
	pci_put16(reg(pf, PCI_SRIOV_NUM_VF), (uint16_t)atomic_load(&sriov->num_vfs));
	pci_put16(reg(pf, PCI_SRIOV_CTRL), sriov->ctrl);
}

void pci_sriov_publish(struct pci_func *pf)
{
	uint16_t ctrl = pci_get16(reg(pf, PCI_SRIOV_CTRL));
	struct pci_vf_link *link = pf->link;
	uint32_t state = 0, control;

	if (ctrl & PCI_SRIOV_CTRL_VFE && pci_power_state(pf) < D3HOT)
		state = PCI_VFS_ENABLED | (ctrl & PCI_SRIOV_CTRL_MSE ? PCI_VFS_DECODED : 0);
	if (pf->aer) {
		const uint8_t *aer = pf->config + pf->aer;

		atomic_store(&link->aer_mask, pci_get32(aer + PCI_ERR_UNCOR_MASK));
		atomic_store(&link->aer_severity, pci_get32(aer + PCI_ERR_UNCOR_SEVER));
		atomic_store(&link->aer_cor_mask, pci_get32(aer + PCI_ERR_COR_MASK));
	}
	control = pci_get16(pf->config + pf->exp + PCI_EXP_DEVCTL) |
		  (uint32_t)pci_get16(pf->config + PCI_COMMAND) << 16;
	atomic_store(&link->error_control, control);
	atomic_store_explicit(&link->state, state, memory_order_release);
}

/* ---- the host ---- */

bool pci_is_pf(const struct pci_func *func)
{
	return func->sriov;
}

unsigned pci_sriov_total_vfs(const struct pci_func *pf)
{
	return pf->desc.sriov ? pf->desc.sriov->total_vfs : 0;
}

unsigned pci_sriov_offset(const struct pci_func *pf)
{
	return pf->desc.sriov && pf->desc.sriov->first_offset ? pf->desc.sriov->first_offset : 1;
}

unsigned pci_sriov_stride(const struct pci_func *pf)
{
	return pf->desc.sriov && pf->desc.sriov->stride ? pf->desc.sriov->stride : 1;
}

struct pci_addr pci_sriov_vf_addr(const struct pci_func *pf, unsigned index)
{
	unsigned id = (unsigned)pf->addr.bus << 8 | (unsigned)pf->addr.dev << 3 | pf->addr.fn;

	id += pci_sriov_offset(pf) + index * pci_sriov_stride(pf);
	return (struct pci_addr){
		.domain = pf->addr.domain,
		.bus = (uint8_t)(id >> 8),
		.dev = id >> 3 & 0x1f,
		.fn = id & 7,
	};
}

int pci_sriov_enable(struct pci_func *pf, unsigned n)
{
	if (!pf->sriov || !n || n > pci_sriov_total_vfs(pf))
		return -EINVAL;
	if (atomic_load(&pf->sriov->num_vfs))
		return -EBUSY;
	atomic_store(&pf->sriov->num_vfs, n);
	pf->sriov->ctrl |= PCI_SRIOV_CTRL_VFE | PCI_SRIOV_CTRL_MSE;
	pci_put16(reg(pf, PCI_SRIOV_NUM_VF), (uint16_t)n);
	pci_put16(reg(pf, PCI_SRIOV_CTRL), pf->sriov->ctrl);
	pci_publish(pf);
	return 0;
}

void pci_sriov_disable(struct pci_func *pf)
{
	if (!pf->sriov)
		return;
	pf->sriov->ctrl &= (uint16_t) ~(PCI_SRIOV_CTRL_VFE | PCI_SRIOV_CTRL_MSE);
	atomic_store(&pf->sriov->num_vfs, 0);
	pci_put16(reg(pf, PCI_SRIOV_CTRL), pf->sriov->ctrl);
	pci_put16(reg(pf, PCI_SRIOV_NUM_VF), 0);
	pci_publish(pf);
}

unsigned pci_sriov_num_vfs(const struct pci_func *pf)
{
	return pf->sriov ? atomic_load(&((struct pci_sriov *)pf->sriov)->num_vfs) : 0;
}

int pci_sriov_resize_bar(struct pci_func *pf, unsigned bar, uint64_t size)
{
	if (!resizable(pf, bar))
		return -EOPNOTSUPP;
	if (!size || size & (size - 1) || !(pci_sriov_bar_sizes(pf, bar) & size >> SIZE_SHIFT))
		return -EINVAL;
	if (pci_sriov_num_vfs(pf))
		return -EBUSY;
	pf->sriov->size[bar] = size;
	put_size(pf, bar);
	pci_sriov_fit_bars(pf);
	return 0;
}

void pci_sriov_set_bar_address(struct pci_func *pf, unsigned bar, uint64_t address)
{
	if (!pci_sriov_bar_size(pf, bar))
		return;
	pf->sriov->address[bar] = address;
	put_address(pf, bar);
}

uint64_t pci_sriov_bar_address(const struct pci_func *pf, unsigned bar)
{
	return pci_sriov_bar_size(pf, bar) ? pf->sriov->address[bar] : 0;
}

void pci_sriov_give_pin(struct pci_func *pf)
{
	struct pci_func *vf = pf->sriov->vf;

	vf->layout->reset[PCI_INTERRUPT_PIN] = 1;
	vf->layout->desc.interrupt_pin = 1;
	vf->desc.interrupt_pin = 1;
}
