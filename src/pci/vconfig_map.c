/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which byte of config space belongs to which capability, and the lists as a user sees them (A.7).
 */
#include "pci/vconfig_private.h"

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
		vc_put(vc->virt, pos + rows[r].off, rows[r].width, rows[r].virt);
		vc_put(vc->wmask, pos + rows[r].off, rows[r].width, rows[r].write);
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

void vc_map(struct pci_vconfig *vc)
{
	for (unsigned i = 0; i < vc->size; i++) {
		vc->owner[i] = VC_GAP;
		vc->wmask[i] = 0xff;
	}
	add_cap(vc, &pci_header_rule, 0, PCI_STD_HEADER_SIZEOF, 0, pci_header_rule.rows,
		pci_header_rule.nr_rows);
	walk_std(vc);
	walk_ext(vc);
}
