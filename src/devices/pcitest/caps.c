/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is data: capabilities, vital product data, the expansion ROM.
 *
 * There is one of every capability that VFIO's users are shown (A.7), and some that are hidden from
 * them.  The registers of most can be written in hardware, so that who cannot write them from
 * outside was kept from it by a rule.
 */
#include <string.h>

#include "devices/pcitest/pcitest.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))

static const uint8_t zeros[64];
static const uint8_t ones[64] = {
	[0 ... 63] = 0xff,
};

/* ---- capabilities ---- */

/* Of standard ones the data begins behind the link, at offset 2. */
static const uint8_t vendor[14] = {16, 'p', 'c', 'i', 't', 'e', 's', 't'};
static const uint8_t vendor_w[14] = {0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
static const uint8_t agp[10] = {0x20, 0, 0x03, 0x02, 0, 0x1f};
static const uint8_t ht[6] = {0x00, 0xa8}; /* MSI mapping: with a type of 5 bits, so short */
static const uint8_t sata[6] = {0x10, 0x00, 0x04}; /* index and data are in BAR 0 */
static const uint8_t two[2] = {0x12, 0x34};

/* Of extended ones at offset 4. */
static const uint8_t vsec[16] = {
	0x54, 0x50, 0x41, 0x01, /* id 5054, revision 1, 20 bytes */
	0xaa, 0xbb, 0xcc, 0xdd,
};
static const uint8_t vsec_w[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff};
static const uint8_t dvsec[12] = {
	0x34, 0x12, 0x01, 0x01, /* vendor 1234, revision 1, 16 bytes */
	0x54, 0x50,             /* id */
};
static const uint8_t dvsec_w[12] = {0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff};
static const uint8_t power_w[12] = {0xff};
static const uint8_t rebar[8] = {
	0xf0, 0,    0, 0, /* 1 to 8 MiB */
	0x22, 0x00,       /* BAR 2, one of them */
};

#define STD(cap, bytes, writable)                                                                  \
	{                                                                                          \
		.id = (cap), .len = sizeof(bytes), .data = (bytes), .wmask = (writable)            \
	}
#define EXT(cap, length, bytes, writable)                                                          \
	{                                                                                          \
		.extended = true, .version = 1, .id = (cap), .len = (length), .data = (bytes),     \
		.wmask = (writable)                                                                \
	}

static const struct uvfio_cap_desc caps[] = {
	STD(0x09, vendor, vendor_w),
	STD(0x04, two, NULL),                                 /* slot identification: hidden */
	{.id = 0x07, .len = 6, .data = zeros, .wmask = ones}, /* PCI-X */
	STD(0x08, ht, ones),                                  /* HyperTransport */
	STD(0x02, agp, ones),                                 /* AGP */
	STD(0x0a, two, ones),                                 /* debug port: hidden */
	STD(0x12, sata, ones),
	{.id = 0x0d, .len = 6, .data = zeros}, /* subsystem of a bridge: hidden */
	STD(0x40, two, ones),                  /* nobody knows it: hidden */

	EXT(0x02, 24, zeros, ones),    /* virtual channels */
	EXT(0x1b, 4, zeros, ones),     /* process address spaces: hidden */
	EXT(0x04, 12, zeros, power_w), /* power budgeting */
	EXT(0x08, 24, zeros, ones),    /* virtual channels of several functions */
	EXT(0x09, 24, zeros, ones),    /* virtual channels, the other id */
	EXT(0x0b, 16, vsec, vsec_w),   /* vendor-specific */
	EXT(0x0d, 4, zeros, ones),     /* access control */
	EXT(0x0e, 4, zeros, ones),     /* alternative routing ids */
	EXT(0x0f, 4, zeros, ones),     /* address translation */
	EXT(0x12, 44, zeros, ones),    /* multicast */
	EXT(0x13, 12, zeros, ones),    /* page requests */
	EXT(0x15, 8, rebar, NULL),     /* resizable BARs */
	EXT(0x16, 16, zeros, ones),    /* dynamic power allocation */
	EXT(0x17, 8, zeros, ones),     /* processing hints */
	EXT(0x18, 4, zeros, ones),     /* latency tolerance */
	EXT(0x1e, 12, zeros, ones),    /* L1 substates: hidden */
	EXT(0x23, 12, dvsec, dvsec_w), /* designated vendor-specific */
	EXT(0x7ff, 4, zeros, ones),    /* nobody knows it: hidden */
};

unsigned pcitest_caps(const struct uvfio_cap_desc **out, unsigned *nr_standard)
{
	*out = caps;
	for (*nr_standard = 0; !caps[*nr_standard].extended; ++*nr_standard)
		;
	return N(caps);
}

/* ---- vital product data ---- */

static unsigned put(uint8_t *out, unsigned at, const void *bytes, size_t len)
{
	memcpy(out + at, bytes, len);
	return at + (unsigned)len;
}

/* A large resource: a tag and a length. */
static unsigned put_tag(uint8_t *out, unsigned at, uint8_t tag, uint8_t len)
{
	return put(out, at, (const uint8_t[]){tag, len, 0}, 3);
}

static unsigned put_item(uint8_t *out, unsigned at, const char *keyword, const char *text,
			 uint8_t len)
{
	at = put(out, at, keyword, 2);
	out[at++] = len;
	memset(out + at, 0, len);
	memcpy(out + at, text, strnlen(text, len));
	return at + len;
}

void pcitest_vpd(uint8_t out[PCITEST_VPD_BYTES])
{
	static const char name[] = "uvfio test device";
	unsigned at, checksum;
	uint8_t sum = 0;

	at = put_tag(out, 0, 0x82, sizeof(name) - 1);
	at = put(out, at, name, sizeof(name) - 1);
	at = put_tag(out, at, 0x90, 26); /* what is only read: part, serial number, checksum */
	at = put_item(out, at, "PN", "pcitest", 7);
	at = put_item(out, at, "SN", "00000001", 8);
	checksum = at + 3;
	at = put_item(out, at, "RV", "", 2);
	for (unsigned i = 0; i < checksum; i++)
		sum = (uint8_t)(sum + out[i]);
	out[checksum] = (uint8_t)-sum;
	at = put_tag(out, at, 0x91, 15);
	at = put_item(out, at, "RW", "", 12);
	out[at] = 0x78; /* the end */
}

/* ---- expansion ROM ---- */

/* An image of one block, for no processor. */
void pcitest_rom(uint8_t out[PCITEST_ROM_BYTES], uint16_t vendor_id, uint16_t device_id)
{
	enum { DATA = 0x1c };
	static const char text[] = "uvfio test device";

	memset(out, 0, PCITEST_ROM_BYTES);
	put(out, 0, (const uint8_t[]){0x55, 0xaa, 1}, 3);
	out[0x18] = DATA;
	put(out, DATA, "PCIR", 4);
	put(out, DATA + 4, (const uint8_t[]){vendor_id & 0xff, vendor_id >> 8}, 2);
	put(out, DATA + 6, (const uint8_t[]){device_id & 0xff, device_id >> 8}, 2);
	out[DATA + 0x0a] = 0x18; /* bytes of this structure */
	out[DATA + 0x0f] = PCITEST_CLASS >> 16;
	out[DATA + 0x10] = 1;    /* blocks of 512 bytes */
	out[DATA + 0x14] = 0xff; /* code for nobody */
	out[DATA + 0x15] = 0x80; /* the last image */
	put(out, 0x40, text, sizeof(text));
}
