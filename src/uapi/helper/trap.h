/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The protocol between the preloaded helper (in the client's process) and the runner (which
 * receives its seccomp notifications).
 *
 * Everything is an ioctl(2) with a command of VFIO's type byte, so that the filter traps it by what
 * it traps anyway.  The values travel in the registers of the system call (args[2] to args[5] of
 * struct seccomp_data) and in its 64-bit result, so that no memory of the client has to be touched,
 * MMAP and LOAD of 8 bytes excepted.  Offsets are file offsets of the device fd, as in mmap(2).
 *
 *   cmd                    fd    args[2]  args[3]  args[4]  args[5]
 *   UVFIO_TRAP_HELLO       -1    VERSION  -        -        -
 *   UVFIO_TRAP_MMAP        fd    offset   length   prot     &key
 *   UVFIO_TRAP_RESOURCE    fd    offset   length   prot     &where
 *   UVFIO_TRAP_STORE|size  -1    offset   value    key      -
 *   UVFIO_TRAP_LOAD|size   -1    offset   &value   key      -
 *   UVFIO_TRAP_CLOSED      -1    dev      ino      key      -
 *   UVFIO_TRAP_FATAL       -1    address  length   -        -
 *   UVFIO_TRAP_KEY         fd    &file    -        -        -
 *   UVFIO_TRAP_MAP_DMA     fd    (its)    prot     -        -
 *   any of VFIO's          fd    (its)    sealed   bytes    bytes
 *
 * Results:
 *   HELLO   0: trap.  Any error: the helper is inert
 *   MMAP    a word, see below, and *key written; any error: the helper maps as asked, and the
 * runner answers that mmap (A.6) as it does without helper STORE   0, or EIO: memory decoding is
 * off LOAD    of size 1, 2, 4: the value; of 8: 0, and *value written.  EIO as above CLOSED  0,
 * once every release that the closing of this file's fd or the unmapping of its BAR has already
 * caused has been carried out.  The file is that with inode ino of dev (as fstat has them), or when
 * ino is 0 that with this key.  Both 0: it is not known which, or they are several; then of all
 * that the process had opened FATAL   0: the runner has printed that text (no newline in it).  Else
 * the helper does KEY     0, and struct uvfio_trap_file written: which file the fd is.  Any error:
 * none of ours
 *   MAP_DMA as the ioctl of that name of the container fd.  prot is what the program asked of mmap
 * for each BAR in the range; what the pages themselves allow is less, where accesses are trapped
 *
 * An ioctl of VFIO's that carries a sealed key, in the register behind the three that ioctl has, is
 * one on the file with that key: the helper has looked what its fd is.  When no open file has this
 * key (any more), the runner looks for itself, as it does for those that carry none.  The seal is
 * made of the call's own arguments (uvfio_trap_seal()), so that what is left over in registers of
 * another call opens to no key.
 *
 * With UVFIO_TRAP_CARRIES in the key that was sealed, the last two registers are the first 16 bytes
 * of what the ioctl's argument points to.  The runner then need not read these.  The helper reads
 * them only where that cannot fault, so they are there to be read; what the ioctl wants besides,
 * and any structure that is longer than that, the runner reads as ever.  It believes them as it
 * does the memory of the program, which they came from.
 *
 * MMAP answers for the pages that follow @offset and are of one kind:
 *
 *   bits 0..7    UVFIO_MMAP_… flags
 *   bits 8..62   how many pages of 4 KiB, ≥ 1 (what exceeds @length is ignored); the helper asks
 *                again at the end of the run when it is shorter than @length
 *
 * RESOURCE is asked about a file that cannot be mapped (ENODEV), because it may be `resourceN` in
 * /sys: the result is then another descriptor and *where the offset in it at which to map in place
 * of @offset, as a file of a device; the helper closes it.  An error is that of the mmap, but
 * ENOTTY: it is another file.
 *
 * The key is a random number of 63 bits, ≠ 0, that stands for the open file, in LOAD and STORE a
 * device.  It is used while the mapping lives, also after close of the fd; the runner forgets it
 * when the file is released.  It is the right to do so: only who holds an fd of the file is told
 * it, a forked child inherits it with its parent's mapping, and an exec loses it with that.  So a
 * process that never had the device cannot store to it: guessing 57 bits, EBADF a time, is
 * hopeless.
 *
 * The helper then makes the real mmap, without PROT_WRITE (and without PROT_READ for TRAP_READS)
 * unless the whole of it is WRITABLE, and gives WRITABLE runs what was asked with mprotect.  So in
 * exact mode a mmap that asks for PROT_WRITE on a page that is not WRITABLE can only come from a
 * process without the helper: the runner refuses it, with a message.
 *
 * A store is at most 8 bytes, naturally aligned, and made once: wider or misaligned ones arrive cut
 * into ascending naturally aligned pieces, the largest first that fits, as the kernel's vfio cuts a
 * pwrite.
 */
#ifndef UVFIO_UAPI_HELPER_TRAP_H
#define UVFIO_UAPI_HELPER_TRAP_H

#include <stdint.h>

#define UVFIO_TRAP_VERSION  9

#define UVFIO_TRAP_STORE    0x3BE0 /* + size 1, 2, 4, 8 */
#define UVFIO_TRAP_LOAD     0x3BD0 /* + size 1, 2, 4, 8 */
#define UVFIO_TRAP_MMAP     0x3BC0
#define UVFIO_TRAP_FATAL    0x3BC1
#define UVFIO_TRAP_HELLO    0x3BC2
#define UVFIO_TRAP_CLOSED   0x3BC3
#define UVFIO_TRAP_RESOURCE 0x3BC4
#define UVFIO_TRAP_KEY      0x3BC5
#define UVFIO_TRAP_NODE     0x3BC6 /* the device number of a device's node, or ENOTTY */
#define UVFIO_TRAP_MAP_DMA  0x3BC8

struct uvfio_trap_file {
	uint64_t key, dev, ino; /* the latter two as fstat(2) has them */
};

/* In a key that is sealed, where keys have 0. */
#define UVFIO_TRAP_CARRIES       (1ull << 63)
#define UVFIO_TRAP_CARRIED_BYTES 16u

/* @key for an ioctl with these arguments, or the key that was sealed for them. */
static inline uint64_t uvfio_trap_seal(uint64_t key, int fd, uint32_t cmd, uint64_t arg)
{
	const uint64_t call = (uint64_t)cmd << 32 | (uint32_t)fd;

	return key ^ ((call ^ 0x7d3a9e51c6b20f48ull) * 0x9e3779b97f4a7c15ull + arg);
}

#define UVFIO_MMAP_WRITABLE    1 /* map as asked: stores go straight to memory */
#define UVFIO_MMAP_TRAP_READS  2 /* map PROT_NONE: loads are trapped too */

#define UVFIO_MMAP_FLAGS_MASK  0xffu
#define UVFIO_MMAP_PAGES_SHIFT 8
#define UVFIO_MMAP_PAGES_MAX   (INT64_MAX >> UVFIO_MMAP_PAGES_SHIFT)

/* The answer to MMAP; @pages is cut to what fits. */
static inline int64_t uvfio_mmap_answer(unsigned flags, uint64_t pages)
{
	if (pages > UVFIO_MMAP_PAGES_MAX)
		pages = UVFIO_MMAP_PAGES_MAX;
	return (int64_t)((flags & UVFIO_MMAP_FLAGS_MASK) | pages << UVFIO_MMAP_PAGES_SHIFT);
}

static inline unsigned uvfio_mmap_flags(int64_t answer)
{
	return (uint64_t)answer & UVFIO_MMAP_FLAGS_MASK;
}

static inline uint64_t uvfio_mmap_pages(int64_t answer)
{
	return (uint64_t)answer >> UVFIO_MMAP_PAGES_SHIFT;
}

/* Where the runner tells the helper that it runs (environment variables of the client). */
#define UVFIO_ENV_MMIO "UVFIO_MMIO" /* exact, polled, none; the helper is inert without it */

/* Region offsets of a device fd that can be mapped are at or above this (unmodified kernel: index
 * << 40). */
#define UVFIO_TRAP_MIN_OFFSET (1ull << 40)

#endif
