/* SPDX-License-Identifier: BSD-3-Clause */
/* What a driver of the test device has to know; docs/devices/pcitest.md explains it. */
#ifndef PCITEST_SPEC_H
#define PCITEST_SPEC_H

/* Of no product, like the NVMe controller's: "PT". */
#define PCITEST_VENDOR 0x1234
#define PCITEST_DEVICE 0x5054
#define PCITEST_CLASS  0xff0000

/* The BARs. */
#define PCITEST_BAR_REGS   0u /* 32-bit memory: registers, MSI-X */
#define PCITEST_BAR_IO     1u /* I/O */
#define PCITEST_BAR_MEMORY 2u /* 64-bit prefetchable memory, with BAR 3 */
#define PCITEST_BAR_SMALL  4u /* 32-bit memory, smaller than a page */

#define PCITEST_REGS_SIZE  0x4000u
#define PCITEST_IO_SIZE    32u
#define PCITEST_SMALL_SIZE 256u
#define PCITEST_ROM_SIZE   65536u

/* In BAR 0, a page each. */
#define PCITEST_MSIX_TABLE   0x2000u
#define PCITEST_MSIX_PBA     0x3000u
#define PCITEST_DOORBELLS    0x1000u
#define PCITEST_NR_DOORBELLS 16u

/* Registers of BAR 0, page 0. */
#define PCITEST_ID            0x00u /* 4, fixed */
#define PCITEST_VERSION       0x04u /* 4, fixed */
#define PCITEST_SCRATCH       0x08u /* 8 */
#define PCITEST_IRQ           0x10u /* 4: raises a message for each bit that is set; reads 0 */
#define PCITEST_INTX          0x14u /* 4: bit 0 is the level of the pin */
#define PCITEST_NR_VECTORS    0x18u /* 4, fixed: messages that the function has */
#define PCITEST_CONFIG_WRITES 0x1cu /* 4, fixed: writes to capabilities that are data */
#define PCITEST_DMA_ADDRESS   0x20u /* 8 */
#define PCITEST_DMA_LENGTH    0x28u /* 4, bytes */
#define PCITEST_DMA_BUFFER    0x2cu /* 4, offset in BAR 2 */
#define PCITEST_DMA_COMMAND   0x30u /* 4: starts it; reads 0 */
#define PCITEST_DMA_STATUS    0x34u /* 4, fixed: enum pcitest_status */
#define PCITEST_DMA_ERROR     0x38u /* 4, fixed: an errno */
#define PCITEST_DMA_COUNT     0x3cu /* 4, fixed: commands that have ended */
#define PCITEST_MEMORY_SIZE   0x40u /* 8, fixed: bytes of BAR 2 */
#define PCITEST_PME           0x48u /* 4: an event of power management, in so many µs; reads 0 */
#define PCITEST_FAIL          0x4cu /* 4: the next of these steps of a move fails, once */
#define PCITEST_ROLE          0x50u /* 4, fixed: PCITEST_ROLE_… */
#define PCITEST_VF_NUMBER     0x54u /* 4, fixed: of a VF its index, of a PF how many there are */
#define PCITEST_MAILBOX       0x58u /* 8: of a VF, for its PF */
#define PCITEST_VF_SELECT     0x60u /* 4: of a PF, as the next ones: the index of a VF */
#define PCITEST_VF_COMMAND    0x64u /* 4: what to do to it; reads 0 */
#define PCITEST_VF_STATUS     0x68u /* 4, fixed: 0 or an errno */
#define PCITEST_VF_DATA       0x70u /* 8 */
#define PCITEST_PF_DATA       0x78u /* 8, fixed: what its PF has put into a VF */
#define PCITEST_LAST_DOORBELL 0x80u /* 4 each, fixed: what each doorbell was told last */
/* 4 each, fixed, but any write clears all: reads (of pads only), then writes, of 1, 2, 4 and 8
 * bytes. */
#define PCITEST_COUNTS(bar)    (0x100u + 0x20u * (bar))
#define PCITEST_READS(bar, n)  (PCITEST_COUNTS(bar) + 4u * (n))         /* of 1 << @n bytes */
#define PCITEST_WRITES(bar, n) (PCITEST_COUNTS(bar) + 0x10u + 4u * (n)) /* likewise */
#define PCITEST_COUNTS_END     PCITEST_COUNTS(6)

/* BAR 1 and BAR 4 are pads: one begins with the id, and the rest keeps what is written. */
#define PCITEST_PAD_ID     0x00u
#define PCITEST_PAD_DATA   0x08u

#define PCITEST_MAGIC      0x54504355u /* "UCPT" */
#define PCITEST_REVISION   1u

#define PCITEST_INTX_LEVEL (1u << 0)

/* ROLE; HOST while the host's own driver has the function. */
#define PCITEST_ROLE_PLAIN 0u
#define PCITEST_ROLE_PF    1u
#define PCITEST_ROLE_VF    2u
#define PCITEST_ROLE_HOST  (1u << 8)

/* VF_COMMAND; an argument in the upper half.  STATUS says ENODEV when there is no such VF. */
#define PCITEST_VF_RAISE      1u /* its message with that number */
#define PCITEST_VF_GET        2u /* its MAILBOX → VF_DATA */
#define PCITEST_VF_PUT        3u /* VF_DATA → its PF_DATA */
#define PCITEST_VF_VECTORS    4u /* it is to have so many vectors of the pool */
#define PCITEST_VF_ARG(value) ((uint32_t)(value) << 16)

/* DMA_COMMAND.  With CMD_IRQ its end raises a message, or the pin while no messages are on. */
#define PCITEST_CMD_READ      1u /* memory → BAR 2 */
#define PCITEST_CMD_WRITE     2u /* BAR 2 → memory */
#define PCITEST_CMD_OPERATION 0xffu
#define PCITEST_CMD_IRQ       (1u << 8)
#define PCITEST_CMD_VECTOR(n) ((uint32_t)(n) << 16) /* for it */

/* FAIL: a step, an errno, and whether the device is lost with it.  0: none. */
#define PCITEST_FAIL_STEP     0xffu
#define PCITEST_FAIL_ERRNO(n) ((uint32_t)(n) << 8) /* 1 to 255 */
#define PCITEST_FAIL_LOST     (1u << 16)           /* of LEAVE, COMMIT and ENTER */
enum pcitest_fail {
	PCITEST_FAIL_NOTHING,
	PCITEST_FAIL_LEAVE, /* to STOP_COPY, or to RESUMING */
	PCITEST_FAIL_SAVE,  /* what its model saves */
	PCITEST_FAIL_LOAD,
	PCITEST_FAIL_COMMIT, /* what was loaded comes into effect */
	PCITEST_FAIL_ENTER,  /* it takes itself back: to run again, or when it has been loaded */
	PCITEST_NR_FAILS
};

enum pcitest_status {
	PCITEST_IDLE, /* since the last reset */
	PCITEST_BUSY,
	PCITEST_DONE,
	PCITEST_FAILED, /* DMA_ERROR says why */
	PCITEST_NR_STATUS
};

#endif
