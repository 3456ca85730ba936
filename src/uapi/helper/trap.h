/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The protocol between the preloaded helper (in the client's process) and the runner (which receives
 * its seccomp notifications).  Everything goes through ioctl(2) on the device fd with commands of
 * VFIO's type byte, so that the filter traps it by what it traps anyway, and the runner identifies
 * the device by the fd.  The values travel in the system call's own arguments (args 2 to 4), so that
 * no memory of the client has to be read.
 *
 *   ioctl(fd, UVFIO_TRAP_STORE | size, offset, value)    0, or -1 EIO: memory is off
 *   ioctl(fd, UVFIO_TRAP_LOAD | size, offset, &value)    the same
 *   ioctl(fd, UVFIO_TRAP_MMAP, offset, len)              -1 errno, or UVFIO_MMAP_… bits
 *   ioctl(fd, UVFIO_TRAP_FATAL, address, length)         print this message as the runner's
 *   ioctl(-1, UVFIO_TRAP_HELLO, UVFIO_TRAP_VERSION)      the helper is there in this process
 *   ioctl(-1, UVFIO_TRAP_CLOSED, 0)                      a device, group or container fd was closed:
 *                                                        returns when its release has been done
 */
#ifndef UVFIO_UAPI_HELPER_TRAP_H
#define UVFIO_UAPI_HELPER_TRAP_H

#define UVFIO_TRAP_VERSION 1

#define UVFIO_TRAP_STORE  0x3BE0 /* + size 1, 2, 4, 8 */
#define UVFIO_TRAP_LOAD	  0x3BD0 /* + size 1, 2, 4, 8 */
#define UVFIO_TRAP_MMAP	  0x3BC0
#define UVFIO_TRAP_FATAL  0x3BC1
#define UVFIO_TRAP_HELLO  0x3BC2
#define UVFIO_TRAP_CLOSED 0x3BC3

#define UVFIO_MMAP_WRITABLE   1 /* map as asked: stores go straight to memory */
#define UVFIO_MMAP_TRAP_READS 2 /* map PROT_NONE: loads are trapped too */

/* Where the runner tells the helper that it runs (environment variables of the client). */
#define UVFIO_ENV_MMIO "UVFIO_MMIO" /* exact, polled, none */

#endif
