/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Registers and descriptors of Intel's QuickData DMA engine (I/OAT, CBDMA), versions 3.2 to 3.4.
 * All little-endian.
 */
#ifndef IOAT_SPEC_H
#define IOAT_SPEC_H

#include <assert.h>
#include <stdint.h>

#define IOAT_PCI_VENDOR 0x8086
#define IOAT_PCI_CLASS  0x088000 /* system peripheral, other */

#define IOAT_BAR        0
#define IOAT_BAR_SIZE   0x4000
#define IOAT_MSIX_TABLE 0x2000
#define IOAT_MSIX_PBA   0x3000

/* ---- the device's registers ---- */

#define IOAT_CHANCNT          0x00 /* 8 bits */
#define IOAT_XFERCAP          0x01 /* 8 bits: log2 of the most bytes in a descriptor */
#define IOAT_GENCTRL          0x02 /* 8 bits */
#define IOAT_INTRCTRL         0x03 /* 8 bits */
#define IOAT_ATTNSTATUS       0x04 /* 32 bits: a bit a channel */
#define IOAT_CBVER            0x08 /* 8 bits: major, minor */
#define IOAT_INTRDELAY        0x0c /* 16 bits */
#define IOAT_CS_STATUS        0x0e /* 16 bits */
#define IOAT_DMACAPABILITY    0x10 /* 32 bits */

#define IOAT_XFERCAP_LOG2     20u
#define IOAT_XFER_MAX         (1u << IOAT_XFERCAP_LOG2)

#define IOAT_GENCTRL_RW       0x01u

#define IOAT_INTRCTRL_MASTER  0x01u /* interrupts are generated; reading the register clears it */
#define IOAT_INTRCTRL_STATUS  0x02u /* a bit of ATTNSTATUS is set */
#define IOAT_INTRCTRL_INT     0x04u /* both of these */
#define IOAT_INTRCTRL_VECTORS 0x08u /* MSI-X: a vector a channel */
#define IOAT_INTRCTRL_RW      (IOAT_INTRCTRL_MASTER | IOAT_INTRCTRL_VECTORS)

#define IOAT_INTRDELAY_US     0x3fffu
#define IOAT_INTRDELAY_CAN    0x8000u /* there is such a delay */

#define IOAT_CAP_FILL_BLOCK   0x40u

/* ---- a channel's registers, at IOAT_CHANNEL(n) ---- */

#define IOAT_CHANNEL_SIZE          0x80u
#define IOAT_CHANNEL(n)            (IOAT_CHANNEL_SIZE * ((n) + 1))

#define IOAT_CHANCTRL              0x00 /* 16 bits */
#define IOAT_DMA_COMP              0x02 /* 16 bits */
#define IOAT_CHANCMD               0x04 /* 8 bits */
#define IOAT_DMACOUNT              0x06 /* 16 bits */
#define IOAT_CHANSTS               0x08 /* 64 bits */
#define IOAT_CHAINADDR             0x10 /* 64 bits */
#define IOAT_CHANCMP               0x18 /* 64 bits */
#define IOAT_CHANERR               0x28 /* 32 bits */
#define IOAT_CHANERRMSK            0x2c /* 32 bits */
#define IOAT_DCACTRL               0x30 /* 32 bits */

#define IOAT_CHANCTRL_INT_DISABLE  0x0001u /* set by an interrupt, cleared by writing 1 */
#define IOAT_CHANCTRL_ERR_COMPLETE 0x0004u /* an error is written to CHANCMP */
#define IOAT_CHANCTRL_ERR_ABORT    0x0008u
#define IOAT_CHANCTRL_ERR_INT      0x0010u /* an error interrupts */
#define IOAT_CHANCTRL_IN_USE       0x0100u /* reading sets it, writing 0 clears it */
#define IOAT_CHANCTRL_RW           0xf33cu /* all that is stored as it is written */

#define IOAT_DMA_COMP_V2           0x0002u
#define IOAT_DMA_COMP_V3           0x0004u

#define IOAT_CHANCMD_SUSPEND       0x04u
#define IOAT_CHANCMD_RESUME        0x10u
#define IOAT_CHANCMD_RESET         0x20u

#define IOAT_CHANSTS_ADDR          (~0x3full) /* of the last descriptor that has completed */

/* Config space of a version 3.2, 32 bits each: the errors of CHANERR once more. */
#define IOAT_CHANERR_INT    0x180 /* written with 1: cleared */
#define IOAT_CHANERRMSK_INT 0x184

/* States of a channel: bits 2:0 of CHANSTS. */
enum ioat_state {
	IOAT_ACTIVE = 0,
	IOAT_IDLE = 1,
	IOAT_SUSPENDED = 2,
	IOAT_HALTED = 3,
	IOAT_ARMED = 4,
	IOAT_NR_STATES
};

/* Bits of CHANERR. */
enum ioat_error {
	IOAT_ERR_SOURCE = 0,
	IOAT_ERR_DESTINATION = 1,
	IOAT_ERR_NEXT = 2,       /* address of the next descriptor */
	IOAT_ERR_DESCRIPTOR = 3, /* reading it */
	IOAT_ERR_CHAIN = 4,      /* CHAINADDR */
	IOAT_ERR_COMMAND = 5,    /* CHANCMD */
	IOAT_ERR_READ = 8,       /* data */
	IOAT_ERR_WRITE = 9,
	IOAT_ERR_CONTROL = 10, /* the descriptor's control word */
	IOAT_ERR_LENGTH = 11,
	IOAT_ERR_COMPLETION = 12, /* CHANCMP */
	IOAT_NR_ERRORS
};
#define IOAT_ERRORS 0x1f3fu /* all of them */

/* ---- descriptors ---- */

struct ioat_desc {
	uint32_t size;
	uint32_t control;
	uint64_t src; /* of a fill: the pattern */
	uint64_t dst;
	uint64_t next;
	uint64_t more[4];
};
static_assert(sizeof(struct ioat_desc) == 64, "a descriptor has 64 bytes");

#define IOAT_DESC_INT      0x00000001u /* interrupt when it completes */
#define IOAT_DESC_COMPLETE 0x00000008u /* write CHANCMP when it completes */
#define IOAT_DESC_FENCE    0x00000010u
#define IOAT_DESC_NULL     0x00000020u /* no data */
/* 1, 2: snoop; 6, 7: page break; 8: bundle; 9, 10: cache hints.  Of no consequence here. */
#define IOAT_DESC_FLAGS       0x000007ffu
#define IOAT_DESC_OP(control) ((control) >> 24)

#define IOAT_OP_COPY          0x00
#define IOAT_OP_FILL          0x01

#endif
