/* SPDX-License-Identifier: BSD-3-Clause */
/* PCI addresses as text: "0000:01:00.0", or "01:00.0" in domain 0. */
#include <errno.h>
#include <stdio.h>

#include "pci/pci.h"

/* Exactly @digits hexadecimal digits; NULL when there are fewer. */
static const char *hex(const char *s, unsigned digits, unsigned *out)
{
	unsigned value = 0;

	for (; digits > 0; digits--, s++) {
		unsigned digit;

		if (*s >= '0' && *s <= '9')
			digit = (unsigned)(*s - '0');
		else if (*s >= 'a' && *s <= 'f')
			digit = (unsigned)(*s - 'a') + 10;
		else if (*s >= 'A' && *s <= 'F')
			digit = (unsigned)(*s - 'A') + 10;
		else
			return NULL;
		value = value << 4 | digit;
	}
	*out = value;
	return s;
}

static int parse_bus(const char *s, unsigned domain, struct pci_addr *addr)
{
	unsigned bus, dev, fn;

	s = hex(s, 2, &bus);
	if (!s || *s != ':')
		return -EINVAL;
	s = hex(s + 1, 2, &dev);
	if (!s || *s != '.' || dev > 31)
		return -EINVAL;
	s = hex(s + 1, 1, &fn);
	if (!s || *s || fn > 7)
		return -EINVAL;
	*addr = (struct pci_addr){(uint16_t)domain, (uint8_t)bus, (uint8_t)dev, (uint8_t)fn};
	return 0;
}

int pci_addr_parse(const char *s, struct pci_addr *addr)
{
	unsigned domain;
	const char *rest = hex(s, 4, &domain);

	if (rest && *rest == ':')
		return parse_bus(rest + 1, domain, addr);
	return parse_bus(s, 0, addr);
}

void pci_addr_format(const struct pci_addr *addr, char out[16])
{
	snprintf(out, 16, "%04x:%02x:%02x.%x", addr->domain, addr->bus, addr->dev & 31,
		 addr->fn & 7);
}
