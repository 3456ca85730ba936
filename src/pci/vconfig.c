/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Config space as a VFIO user sees it (A.7).
 *
 * Theory of operation.  When it is made, the capability lists are walked once and the tables of
 * caps.c are laid out as bytes over all of config space:
 *
 *	owner[]	which capability a byte belongs to (0 the header), or GAP
 *	virt[]	bits that are read from the virtual copy
 *	wmask[]	bits that the user may change
 *	bytes[]	the virtual copy
 *
 *	read  = (hardware & ~virt) | (bytes & virt)
 *	write : bits in wmask & virt go to bytes; bits in wmask & ~virt go to hardware, by reading,
 *		changing and writing it; the rest is dropped
 *
 * A gap has virt 0 and wmask ff, which makes it raw; so hiding a capability is only to unlink it.
 * An access is cut into naturally aligned pieces of at most 4 bytes within one owner, and what a
 * piece causes beyond its bits is its owner's hook.
 *
 * Hardware's read-modify-write is the kernel's, its side effect included: a wide write that covers
 * both a writable field and a write-one-to-clear field of the same dword clears what is set there.
 */
#include <errno.h>
#include <sys/mman.h>

#include "pci/caps.h"
#include "pci/func_private.h"
#include "pci/vconfig.h"

#define GAP      0xffffu
#define MAX_CAPS (1 + (PCI_EXT_CONFIG_SIZE - PCI_STD_HEADER_SIZEOF) / 4)
#define D3HOT    3u

struct vcap {
	const struct pci_cap_rule *rule;
	unsigned start;
};

struct pci_vconfig {
	struct pci_func *func;
	struct pci_vconfig_ops ops;
	void *arg;
	unsigned flags, size;
	bool intx_disabled; /* virtual DisINTx as last reported */
	uint32_t bars[7];   /* the real ones, ROM last */

	uint16_t owner[PCI_EXT_CONFIG_SIZE];
	uint8_t virt[PCI_EXT_CONFIG_SIZE];
	uint8_t wmask[PCI_EXT_CONFIG_SIZE];
	uint8_t bytes[PCI_EXT_CONFIG_SIZE];

	unsigned nr_caps;
	struct vcap caps[MAX_CAPS];
};

/* A piece of an access: @off from the start of its capability. */
struct piece {
	const struct vcap *cap;
	unsigned pos, off, size;
	uint32_t value;
};

/* Does the piece contain the byte at @off of its capability? */
static bool covers(const struct piece *p, unsigned off)
{
	return p->off <= off && off < p->off + p->size;
}

static uint32_t get(const uint8_t *bytes, unsigned pos, unsigned size)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < size; i++)
		value |= (uint32_t)bytes[pos + i] << (8 * i);
	return value;
}

static void put(uint8_t *bytes, unsigned pos, unsigned size, uint32_t value)
{
	for (unsigned i = 0; i < size; i++)
		bytes[pos + i] = (uint8_t)(value >> (8 * i));
}

/* ---- the formula ---- */

static uint32_t plain_read(const struct pci_vconfig *vc, const struct piece *p)
{
	uint32_t all = p->size == 4 ? UINT32_MAX : (1u << (8 * p->size)) - 1;
	uint32_t virt = get(vc->virt, p->pos, p->size), value = get(vc->bytes, p->pos, p->size);

	if (virt == all)
		return value;
	return (value & virt) | (pci_hw_read(vc->func, p->pos, p->size) & ~virt);
}

static void plain_write(struct pci_vconfig *vc, const struct piece *p)
{
	uint32_t virt = get(vc->virt, p->pos, p->size), wmask = get(vc->wmask, p->pos, p->size);
	uint32_t mask = wmask & virt;

	if (mask)
		put(vc->bytes, p->pos, p->size,
		    (get(vc->bytes, p->pos, p->size) & ~mask) | (p->value & mask));
	mask = wmask & ~virt;
	if (mask)
		pci_hw_write(vc->func, p->pos, p->size,
			     (pci_hw_read(vc->func, p->pos, p->size) & ~mask) | (p->value & mask));
}

/* ---- header ---- */

/* BAR sizing: what is read of a BAR is the stored value under its size mask, with its type bits. */
static void fix_bars(struct pci_vconfig *vc)
{
	const struct uvfio_pci_desc *desc = pci_func_desc(vc->func);
	uint64_t mask, size;

	for (unsigned i = 0; i < 6; i++) {
		const struct uvfio_bar_desc *bar = &desc->bars[i];
		uint8_t *at = vc->bytes + PCI_BASE_ADDRESS_0 + 4 * i;

		if (!bar->size) {
			pci_put32(at, 0);
			continue;
		}
		mask = ~(bar->size - 1);
		if (bar->flags & UVFIO_BAR_IO) {
			pci_put32(at, (pci_get32(at) & (uint32_t)mask &
				       (uint32_t)PCI_BASE_ADDRESS_IO_MASK) |
					      PCI_BASE_ADDRESS_SPACE_IO);
			continue;
		}
		pci_put32(
			at,
			(pci_get32(at) & (uint32_t)mask & (uint32_t)PCI_BASE_ADDRESS_MEM_MASK) |
				(bar->flags & UVFIO_BAR_MEM64 ? PCI_BASE_ADDRESS_MEM_TYPE_64 : 0) |
				(bar->flags & UVFIO_BAR_PREFETCH ? PCI_BASE_ADDRESS_MEM_PREFETCH
								 : 0));
		if (bar->flags & UVFIO_BAR_MEM64) {
			i++;
			pci_put32(at + 4, pci_get32(at + 4) & (uint32_t)(mask >> 32));
		}
	}
	size = desc->rom_size;
	/* A shadow has a size, though no BAR. */
	for (uint64_t n = 1; !desc->rom_size && desc->rom_len && size < desc->rom_len; n *= 2)
		size = n;
	mask = size ? (~(size - 1) | PCI_ROM_ADDRESS_ENABLE) : 0;
	pci_put32(vc->bytes + PCI_ROM_ADDRESS,
		  pci_get32(vc->bytes + PCI_ROM_ADDRESS) & (uint32_t)mask);
}

static unsigned bar_pos(unsigned i)
{
	return i < 6 ? PCI_BASE_ADDRESS_0 + 4 * i : PCI_ROM_ADDRESS;
}

/* Hardware BARs differ from the real ones: the device was reset behind our back. */
static bool bars_lost(const struct pci_vconfig *vc)
{
	if (vc->flags & PCI_VCONFIG_VF)
		return false;
	for (unsigned i = 0; i < 6; i++) {
		if (vc->bars[i] && pci_hw_read(vc->func, bar_pos(i), 4) != vc->bars[i])
			return true;
	}
	return false;
}

static void restore_bars(struct pci_vconfig *vc)
{
	if (vc->flags & PCI_VCONFIG_VF)
		return;
	for (unsigned i = 0; i < 7; i++)
		pci_hw_write(vc->func, bar_pos(i), 4, vc->bars[i]);
}

static void before_command(struct pci_vconfig *vc, const struct piece *p)
{
	uint16_t hw = (uint16_t)pci_hw_read(vc->func, PCI_COMMAND, 2);
	uint16_t virt = pci_get16(vc->bytes + PCI_COMMAND);
	/* What the user sets and believes to be set, but hardware has lost. */
	uint16_t lost = (uint16_t)(p->value & virt & ~hw);

	if (!(p->value & PCI_COMMAND_MEMORY))
		vc->ops.memory(vc->arg, false);
	if (vc->flags & PCI_VCONFIG_VF)
		lost &= (uint16_t)~PCI_COMMAND_MEMORY;
	if ((lost & (PCI_COMMAND_MEMORY | PCI_COMMAND_IO)) || bars_lost(vc))
		restore_bars(vc);
}

static void after_command(struct pci_vconfig *vc, const struct piece *p)
{
	uint16_t mirrored = PCI_COMMAND_MEMORY | PCI_COMMAND_IO;
	uint16_t virt = pci_get16(vc->bytes + PCI_COMMAND);

	virt = (uint16_t)((virt & ~mirrored) | (p->value & mirrored));
	pci_put16(vc->bytes + PCI_COMMAND, virt);
	if (pci_vconfig_memory_enabled(vc))
		vc->ops.memory(vc->arg, true);
}

static void header_write(struct pci_vconfig *vc, const struct piece *p)
{
	bool command = p->off == PCI_COMMAND, disabled;

	if (command)
		before_command(vc, p);
	plain_write(vc, p);
	if (command)
		after_command(vc, p);
	disabled = pci_vconfig_intx_disabled(vc);
	if (disabled != vc->intx_disabled) {
		vc->intx_disabled = disabled;
		vc->ops.intx_disable(vc->arg, disabled);
	}
}

static uint32_t header_read(struct pci_vconfig *vc, const struct piece *p)
{
	uint32_t value;

	if ((p->off >= PCI_BASE_ADDRESS_0 && p->off < PCI_BASE_ADDRESS_5 + 4) ||
	    (p->off >= PCI_ROM_ADDRESS && p->off < PCI_ROM_ADDRESS + 4))
		fix_bars(vc);
	value = plain_read(vc, p);
	if (p->off == PCI_COMMAND && (vc->flags & PCI_VCONFIG_VF))
		value |= pci_get16(vc->bytes + PCI_COMMAND) & PCI_COMMAND_MEMORY;
	return value;
}

/* ---- PM ---- */

static void pm_write(struct pci_vconfig *vc, const struct piece *p)
{
	plain_write(vc, p);
	if (p->off == PCI_PM_CTRL)
		vc->ops.power(vc->arg, p->value & PCI_PM_CTRL_STATE_MASK);
}

/* ---- VPD ---- */

static void vpd_write(struct pci_vconfig *vc, const struct piece *p)
{
	uint8_t *cap = vc->bytes + p->cap->start;
	uint16_t addr;
	uint32_t data;

	plain_write(vc, p);
	if (!covers(p, PCI_VPD_ADDR + 1))
		return;
	addr = pci_get16(cap + PCI_VPD_ADDR);
	if (addr & PCI_VPD_ADDR_F) {
		if (pci_vpd_write(vc->func, addr & PCI_VPD_ADDR_MASK,
				  pci_get32(cap + PCI_VPD_DATA)))
			return;
	} else {
		if (pci_vpd_read(vc->func, addr, &data))
			return;
		pci_put32(cap + PCI_VPD_DATA, data);
	}
	/* The flag changes when the transfer is done. */
	pci_put16(cap + PCI_VPD_ADDR, addr ^ PCI_VPD_ADDR_F);
}

/* ---- MSI ---- */

static void msi_write(struct pci_vconfig *vc, const struct piece *p)
{
	unsigned at = p->cap->start + PCI_MSI_FLAGS, max;
	uint16_t flags;

	plain_write(vc, p);
	if (!covers(p, PCI_MSI_FLAGS))
		return;
	flags = pci_get16(vc->bytes + at);
	if (!vc->ops.msi_active(vc->arg, &max))
		flags &= (uint16_t)~PCI_MSI_FLAGS_ENABLE;
	if (((unsigned)flags & PCI_MSI_FLAGS_QSIZE) >> 4 > max)
		flags = (uint16_t)((flags & ~PCI_MSI_FLAGS_QSIZE) | max << 4);
	pci_put16(vc->bytes + at, flags);
	pci_hw_write(vc->func, at, 2, flags);
}

/* ---- PCI Express ---- */

static void exp_write(struct pci_vconfig *vc, const struct piece *p)
{
	unsigned at = p->cap->start + PCI_EXP_DEVCTL, user, mps;
	uint16_t old = pci_get16(vc->bytes + at), ctl, hw;

	plain_write(vc, p);
	ctl = pci_get16(vc->bytes + at);
	if (ctl & PCI_EXP_DEVCTL_BCR_FLR) {
		ctl &= (uint16_t)~PCI_EXP_DEVCTL_BCR_FLR;
		pci_put16(vc->bytes + at, ctl);
		if (pci_hw_read(vc->func, p->cap->start + PCI_EXP_DEVCAP, 4) & PCI_EXP_DEVCAP_FLR)
			vc->ops.flr(vc->arg);
	}
	if (!((old ^ ctl) & PCI_EXP_DEVCTL_READRQ))
		return;
	/* Both fields count in the same steps: 0 is 128 bytes, 5 is 4096; 6 and 7 are reserved. */
	hw = (uint16_t)pci_hw_read(vc->func, at, 2);
	user = (unsigned)(ctl & PCI_EXP_DEVCTL_READRQ) >> 12;
	mps = (unsigned)(hw & PCI_EXP_DEVCTL_PAYLOAD) >> 5;
	if (user < mps)
		user = mps;
	if (user <= 5)
		pci_hw_write(vc->func, at, 2, (hw & ~(uint32_t)PCI_EXP_DEVCTL_READRQ) | user << 12);
}

/* ---- AF ---- */

static void af_write(struct pci_vconfig *vc, const struct piece *p)
{
	uint8_t *ctrl = vc->bytes + p->cap->start + PCI_AF_CTRL;
	uint32_t need = PCI_AF_CAP_FLR | PCI_AF_CAP_TP;

	plain_write(vc, p);
	if (!(*ctrl & PCI_AF_CTRL_FLR))
		return;
	*ctrl &= (uint8_t)~PCI_AF_CTRL_FLR;
	if ((pci_hw_read(vc->func, p->cap->start + PCI_AF_CAP, 1) & need) == need)
		vc->ops.flr(vc->arg);
}

/* ---- accesses ---- */

static const struct {
	uint32_t (*read)(struct pci_vconfig *vc, const struct piece *p); /* NULL: plain */
	void (*write)(struct pci_vconfig *vc, const struct piece *p);
} hooks[PCI_HOOK_NUM] = {
	[PCI_HOOK_HEADER] = {header_read, header_write},
	[PCI_HOOK_PM] = {NULL, pm_write},
	[PCI_HOOK_VPD] = {NULL, vpd_write},
	[PCI_HOOK_MSI] = {NULL, msi_write},
	[PCI_HOOK_EXP] = {NULL, exp_write},
	[PCI_HOOK_AF] = {NULL, af_write},
};

static enum pci_cap_hook hook_of(const struct piece *p)
{
	return p->cap ? p->cap->rule->hook : PCI_HOOK_NONE;
}

/* The next piece of [pos, pos + len). */
static struct piece cut(const struct pci_vconfig *vc, unsigned pos, size_t len)
{
	uint16_t owner = vc->owner[pos];
	struct piece p = {.pos = pos};
	unsigned run = 1;

	while ((pos + run) % 4 && vc->owner[pos + run] == owner)
		run++;
	if (run > len)
		run = (unsigned)len;
	if (run >= 4)
		p.size = 4;
	else if (run >= 2 && pos % 2 == 0)
		p.size = 2;
	else
		p.size = 1;
	if (owner != GAP) {
		p.cap = &vc->caps[owner];
		p.off = pos - p.cap->start;
	} else {
		p.off = pos;
	}
	return p;
}

static bool out_of_range(const struct pci_vconfig *vc, uint64_t off, size_t len)
{
	return off >= vc->size || len > vc->size - off;
}

ssize_t pci_vconfig_read(struct pci_vconfig *vc, uint64_t off, void *buf, size_t len)
{
	uint8_t *out = buf;
	struct piece p;

	if (!len)
		return 0;
	if (out_of_range(vc, off, len))
		return -EFAULT;
	for (size_t done = 0; done < len; done += p.size) {
		uint32_t value;

		p = cut(vc, (unsigned)(off + done), len - done);
		if (hooks[hook_of(&p)].read)
			value = hooks[hook_of(&p)].read(vc, &p);
		else
			value = plain_read(vc, &p);
		put(out, (unsigned)done, p.size, value);
	}
	return (ssize_t)len;
}

ssize_t pci_vconfig_write(struct pci_vconfig *vc, uint64_t off, const void *buf, size_t len)
{
	const uint8_t *in = buf;
	struct piece p;

	if (!len)
		return 0;
	if (out_of_range(vc, off, len))
		return -EFAULT;
	for (size_t done = 0; done < len; done += p.size) {
		p = cut(vc, (unsigned)(off + done), len - done);
		p.value = get(in, (unsigned)done, p.size);
		if (hooks[hook_of(&p)].write)
			hooks[hook_of(&p)].write(vc, &p);
		else
			plain_write(vc, &p);
	}
	return (ssize_t)len;
}

/* ---- what others ask ---- */

uint16_t pci_vconfig_command(const struct pci_vconfig *vc)
{
	return pci_get16(vc->bytes + PCI_COMMAND);
}

bool pci_vconfig_intx_disabled(const struct pci_vconfig *vc)
{
	return pci_vconfig_command(vc) & PCI_COMMAND_INTX_DISABLE;
}

uint8_t pci_vconfig_intx_pin(const struct pci_vconfig *vc)
{
	return vc->bytes[PCI_INTERRUPT_PIN];
}

bool pci_vconfig_memory_enabled(const struct pci_vconfig *vc)
{
	if (pci_power_state(vc->func) >= D3HOT)
		return false;
	return (vc->flags & PCI_VCONFIG_VF) || (pci_vconfig_command(vc) & PCI_COMMAND_MEMORY);
}

/* ---- laying out ---- */

/* Give [pos, pos + len) to @rule's capability and lay its rows out. */
static void add_cap(struct pci_vconfig *vc, const struct pci_cap_rule *rule, unsigned pos,
		    unsigned len, unsigned header, const struct pci_cap_row *rows, unsigned nr_rows)
{
	struct vcap *cap = &vc->caps[vc->nr_caps];

	cap->rule = rule;
	cap->start = pos;
	if (len > vc->size - pos)
		len = vc->size - pos;
	for (unsigned i = 0; i < len; i++) {
		bool raw = (rule->flags & PCI_CAP_RAW_WRITE) && i >= header;

		vc->owner[pos + i] = (uint16_t)vc->nr_caps;
		vc->virt[pos + i] = i < header ? 0xff : 0;
		vc->wmask[pos + i] = raw ? 0xff : 0;
		vc->bytes[pos + i] = (uint8_t)pci_hw_read(vc->func, pos + i, 1);
	}
	for (unsigned r = 0; r < nr_rows; r++) {
		if (rows[r].off + rows[r].width > len)
			continue;
		put(vc->virt, pos + rows[r].off, rows[r].width, rows[r].virt);
		put(vc->wmask, pos + rows[r].off, rows[r].width, rows[r].write);
	}
	vc->nr_caps++;
}

static unsigned length_of(const struct pci_vconfig *vc, const struct pci_cap_rule *rule,
			  unsigned pos, const struct pci_cap_row **rows, unsigned *nr_rows)
{
	*rows = rule->rows;
	*nr_rows = rule->nr_rows;
	return rule->len ? rule->len : rule->length(vc->func, pos, rows, nr_rows);
}

static void walk_std(struct pci_vconfig *vc)
{
	uint8_t *link = &vc->bytes[PCI_CAPABILITY_LIST]; /* of the last visible one */
	unsigned pos = pci_hw_read(vc->func, PCI_CAPABILITY_LIST, 1) & ~3u;
	unsigned loops = (PCI_CONFIG_SIZE - PCI_STD_HEADER_SIZEOF) / 4;
	bool any = false;

	if (!(pci_hw_read(vc->func, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST))
		return;
	while (pos >= PCI_STD_HEADER_SIZEOF && loops--) {
		unsigned id = pci_hw_read(vc->func, pos + PCI_CAP_LIST_ID, 1);
		unsigned next = pci_hw_read(vc->func, pos + PCI_CAP_LIST_NEXT, 1) & ~3u;
		const struct pci_cap_rule *rule = pci_cap_rule(false, id);
		const struct pci_cap_row *rows;
		unsigned nr_rows, len = rule ? length_of(vc, rule, pos, &rows, &nr_rows) : 0;

		if (len) {
			*link = (uint8_t)pos;
			add_cap(vc, rule, pos, len, 2, rows, nr_rows);
			link = &vc->bytes[pos + PCI_CAP_LIST_NEXT];
			any = true;
		}
		*link = (uint8_t)next;
		pos = next;
	}
	if (!any)
		vc->bytes[PCI_STATUS] &= (uint8_t)~PCI_STATUS_CAP_LIST;
}

/* A hidden capability at 0x100 keeps its place in the chain: a dword without id or version. */
static const struct pci_cap_rule anchor_rule = {.len = 4, .name = "hidden"};

static void walk_ext(struct pci_vconfig *vc)
{
	unsigned pos = PCI_CONFIG_SIZE, link = 0, loops = (vc->size - PCI_CONFIG_SIZE) / 4;
	bool any = false;

	/* Nothing at 0x100: all of it is a gap. */
	if (vc->size <= PCI_CONFIG_SIZE || !pci_hw_read(vc->func, PCI_CONFIG_SIZE, 4))
		return;
	while (pos >= PCI_CONFIG_SIZE && loops--) {
		uint32_t header = pci_hw_read(vc->func, pos, 4);
		unsigned next = PCI_EXT_CAP_NEXT(header);
		const struct pci_cap_rule *rule = pci_cap_rule(true, PCI_EXT_CAP_ID(header));
		const struct pci_cap_row *rows;
		unsigned nr_rows, len = rule ? length_of(vc, rule, pos, &rows, &nr_rows) : 0;

		if (len) {
			add_cap(vc, rule, pos, len, 4, rows, nr_rows);
			link = pos;
			any = true;
		} else if (!link) {
			add_cap(vc, &anchor_rule, pos, 4, 4, NULL, 0);
			pci_put32(vc->bytes + pos, header & 0xffc00000u);
			link = pos;
		} else {
			header = pci_get32(vc->bytes + link) & ~0xffc00000u;
			pci_put32(vc->bytes + link, header | next << 20);
		}
		pos = next;
	}
	if (!any)
		pci_put32(vc->bytes + PCI_CONFIG_SIZE, 0);
}

int pci_vconfig_new(struct pci_func *func, unsigned flags, const struct pci_vconfig_ops *ops,
		    void *ops_arg, struct pci_vconfig **out)
{
	const struct uvfio_pci_desc *desc = pci_func_desc(func);
	struct pci_vconfig *vc;

	/* Most of it is room that few functions need: calloc() might clear that. */
	vc = mmap(NULL, sizeof(*vc), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (vc == MAP_FAILED)
		return -ENOMEM;
	vc->func = func;
	vc->ops = *ops;
	vc->arg = ops_arg;
	vc->flags = flags;
	vc->size = pci_func_config_size(func);
	for (unsigned i = 0; i < vc->size; i++) {
		vc->owner[i] = GAP;
		vc->wmask[i] = 0xff;
	}
	add_cap(vc, &pci_header_rule, 0, PCI_STD_HEADER_SIZEOF, 0, pci_header_rule.rows,
		pci_header_rule.nr_rows);
	for (unsigned i = 0; i < 7; i++)
		vc->bars[i] = pci_get32(vc->bytes + bar_pos(i));
	if (flags & PCI_VCONFIG_VF) {
		pci_put16(vc->bytes + PCI_VENDOR_ID, desc->vendor);
		pci_put16(vc->bytes + PCI_DEVICE_ID, desc->device);
		vc->bytes[PCI_COMMAND] |= PCI_COMMAND_MEMORY;
	}
	if (flags & (PCI_VCONFIG_VF | PCI_VCONFIG_NO_INTX))
		vc->bytes[PCI_INTERRUPT_PIN] = 0;
	walk_std(vc);
	walk_ext(vc);
	vc->intx_disabled = pci_vconfig_intx_disabled(vc);
	*out = vc;
	return 0;
}

void pci_vconfig_free(struct pci_vconfig *vc)
{
	if (vc)
		munmap(vc, sizeof(*vc));
}
