/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Drive a PCI device from a program: the same code over the kernel's VFIO and over vfio-user.
 *
 *	struct uvfio_error err;
 *	struct uvfio_pci *dev;
 *
 *	if (uvfio_pci_open("0000:01:00.0", NULL, &dev, &err))      // or "unix:/run/disk.sock"
 *		errx(1, "%s", err.msg);
 *	uvfio_pci_enable(dev, &err);                               // memory decode, bus mastering
 *	version = uvfio_pci_read32(dev, UVFIO_PCI_BAR0, 0x08);
 *
 * Errors.  Functions return 0 (or what they say) or -errno; those that set something up take a
 * struct uvfio_error (may be NULL) for a message that says what was wrong, with what, and what to
 * do.  The errno values are those of Linux VFIO.  -ENOTCONN: the server of a vfio-user device is
 * gone, see uvfio_pci_reconnect().
 *
 * Threads.  Different devices have nothing in common, but for a DMA space.  On one device any
 * number of threads may call anything at the same time, except that uvfio_pci_close(),
 * uvfio_pci_reconnect() and uvfio_pci_map_region() want the device for themselves.  What two
 * threads do to one register at the same time reaches the device in either order.  A thread that waits for a vfio-user reply
 * holds up no other.  An open vfio-user device has one thread of the library (all signals blocked
 * but SIGBUS), which notices that the server is gone and answers its DMA messages; a kernel device
 * has none.  A child of fork() must not use the device.
 *
 * Trust.  A vfio-user server is not trusted: lengths, counts, ids and layouts of what it says are
 * checked, and a lie ends the connection with -EPROTO.  It can read and write the memory that it
 * was given for DMA, and nothing else.  What uvfio_pci_dma_alloc() hands out lies in one file, which a
 * server that shares memory gets whole and for good: a server that lies reaches all of it, also what
 * was freed, unmapped or made for reading only.  Where that is too much: share=no.
 *
 * Sizes and offsets are in bytes, and numbers in registers are little-endian as PCI has them; this
 * library is for little-endian machines.
 */
#ifndef UVFIO_DRIVER_H
#define UVFIO_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <uvfio/error.h>

#ifdef __cplusplus
extern "C" {
#endif

struct uvfio_pci;       /* a device that this program has open */
struct uvfio_dma_space; /* the memory that one device or several can reach, and where */

/* ---- open ---- */

/*
 * Open the device called @name and set *@out, owned by the caller until uvfio_pci_close().
 *
 * @name is "DDDD:BB:DD.F" for a device of /dev/vfio, "unix:PATH" for a vfio-user socket, or
 * "fd:NUMBER" for a connected one that the program has (uvfio_machine_connect(), or from a parent):
 * it is the device's from then on, also when opening fails, unless it is no stream socket
 * (-ENOTSOCK), and cannot be connected again.  Of the kernel's two ways, the character device with
 * iommufd is taken when /dev/iommu and the device's /dev/vfio/devices/vfioX are there, else group and
 * container.
 *
 * @options: "key=value" separated by commas or spaces, or NULL:
 *	vf_token=UUID      the token of the PF (kernel)
 *	via=auto|group|cdev  which of the kernel's two ways (auto)
 *	share=yes|no       pass file descriptors of DMA memory to the server; with `no` it has to
 *	                   ask for every byte by message (yes; vfio-user)
 *	posted=yes|no      do not wait for the reply to register writes (yes; vfio-user)
 *	twin=yes|no        ask for a second socket for what the server asks (yes; vfio-user)
 *	mmap=yes|no        no: uvfio_pci_map_region() maps nothing, every access goes to the
 *	                   kernel or the server (yes)
 *	timeout=SECONDS    a server that has not replied for so long is given up; 0: never (30)
 *	continue=yes|no    uvfio_pci_reconnect() asks for the device as it was left (no; vfio-user)
 * An option that belongs to the other kind of device is refused (-EINVAL).
 *
 * The device is as Linux VFIO leaves it after the first open: reset, bus mastering off, no
 * interrupts.  Errors: -ENODEV no such device, -EBUSY in use, -EACCES a token is needed, -EPERM no
 * rights or no isolation, -ENOTCONN and -ECONNREFUSED nobody serves the socket, -EPROTO not a
 * vfio-user server, and what open(2) says.
 */
UVFIO_API int uvfio_pci_open(const char *name, const char *options, struct uvfio_pci **out,
			     struct uvfio_error *err);

/*
 * The same with the device in a DMA space together with others (see below), NULL: one of its own.
 * It sees what is mapped there when this returns.  -EADDRNOTAVAIL: it cannot reach all of that, or
 * has no usable IOVAs in common with the others; -ENOSPC: 64 connections, containers and IOASes are
 * in the space; -EOPNOTSUPP: it has no IOMMU (A.9).
 */
UVFIO_API int uvfio_pci_open_in(struct uvfio_dma_space *space, const char *name,
				const char *options, struct uvfio_pci **out,
				struct uvfio_error *err);

/* Close: interrupts end, mappings of regions and DMA memory go away.  NULL is ignored. */
UVFIO_API void uvfio_pci_close(struct uvfio_pci *dev);

/* The name that it was opened by. */
UVFIO_API const char *uvfio_pci_name(const struct uvfio_pci *dev);

enum uvfio_pci_way {
	UVFIO_PCI_WAY_GROUP,     /* /dev/vfio/N and a container */
	UVFIO_PCI_WAY_CDEV,      /* /dev/vfio/devices/vfioX and iommufd */
	UVFIO_PCI_WAY_VFIO_USER, /* a socket */
};
UVFIO_API enum uvfio_pci_way uvfio_pci_get_way(const struct uvfio_pci *dev);

/* ---- a server that goes away (vfio-user only) ---- */

/*
 * A descriptor that polls readable from the moment that the connection is lost until a
 * uvfio_pci_reconnect() succeeds; -1 for kernel devices.  Owned by the device: only poll it.
 */
UVFIO_API int uvfio_pci_lost_fd(const struct uvfio_pci *dev);

/*
 * Connect again, trying for @timeout_ms milliseconds (-1: for ever) while nobody listens.
 *
 * On success the server has all DMA memory at the same IOVAs, and mapped regions are mapped at the
 * same addresses; the device itself is as after uvfio_pci_open(): reset, no bus mastering, no
 * interrupts.  So initialise it again and repeat what was not completed.
 *
 * With the option continue=yes a server that was restarted with the device's state, or to which the
 * device was moved, goes on with it, and uvfio_pci_continued() says so.  Then nothing was reset:
 * registers and config space are as they were, and what the device had begun it has not forgotten.
 * Bus mastering is off, and interrupts have no eventfds: enable these, then call uvfio_pci_enable(),
 * from when on the device goes on by itself.  What was pending is signalled then.
 *
 * No other thread may be in a call for this device.  Errors: -ENODEV it is a different device now
 * (ids, regions or interrupts differ), -ETIMEDOUT nobody listened, -EOPNOTSUPP a kernel device.
 * After an error the connection is still lost, and another try is allowed.
 */
UVFIO_API int uvfio_pci_reconnect(struct uvfio_pci *dev, int timeout_ms, struct uvfio_error *err);
/* Did the last uvfio_pci_reconnect() find the device as it was left? */
UVFIO_API bool uvfio_pci_continued(const struct uvfio_pci *dev);

/* ---- regions ---- */

enum uvfio_pci_region_index {
	UVFIO_PCI_BAR0,
	UVFIO_PCI_BAR1,
	UVFIO_PCI_BAR2,
	UVFIO_PCI_BAR3,
	UVFIO_PCI_BAR4,
	UVFIO_PCI_BAR5,
	UVFIO_PCI_ROM,
	UVFIO_PCI_CONFIG,
	UVFIO_PCI_VGA,
	UVFIO_PCI_FIRST_VENDOR, /* from here on: what the device adds */
};

#define UVFIO_PCI_REGION_READ  (1u << 0)
#define UVFIO_PCI_REGION_WRITE (1u << 1)
#define UVFIO_PCI_REGION_MMAP  (1u << 2)

struct uvfio_pci_area {
	uint64_t offset, size;
};

struct uvfio_pci_region {
	uint64_t size;                      /* 0: not there */
	unsigned flags;                     /* UVFIO_PCI_REGION_… */
	uint32_t type, subtype;             /* of a vendor region, else 0 */
	unsigned nr_areas;                  /* what can be mapped; 0 without REGION_MMAP */
	const struct uvfio_pci_area *areas; /* ascending, whole pages */
};

/* How many regions the device has (A.6: 9 and those of the vendor). */
UVFIO_API unsigned uvfio_pci_nr_regions(const struct uvfio_pci *dev);
/* What region @index is; NULL beyond the last.  Valid until uvfio_pci_close(). */
UVFIO_API const struct uvfio_pci_region *uvfio_pci_region_info(const struct uvfio_pci *dev,
							       unsigned index);

/*
 * Read or write @len bytes at @offset of region @index through the kernel or the server, also when
 * it is mapped.  Cut into pieces as large as the way allows.  Returns the bytes transferred, which
 * are fewer than @len where the region ends, or -errno when there was nothing to transfer or it
 * failed (A.6: -EINVAL outside, -EIO while memory decode is off).  uvfio_pci_write() has reached
 * the device when it returns.
 */
UVFIO_API ssize_t uvfio_pci_read(struct uvfio_pci *dev, unsigned index, uint64_t offset, void *buf,
				 size_t len);
UVFIO_API ssize_t uvfio_pci_write(struct uvfio_pci *dev, unsigned index, uint64_t offset,
				  const void *buf, size_t len);

/*
 * Map all that can be mapped of region @index, for the register functions below to use, and for
 * uvfio_pci_mapping().  Returns 0, also when nothing can be mapped or it has been done already, or
 * -errno.  Stays until uvfio_pci_close().  The first mapping installs a SIGBUS handler that looks
 * after the register functions only, and passes every other SIGBUS on.
 */
UVFIO_API int uvfio_pci_map_region(struct uvfio_pci *dev, unsigned index, struct uvfio_error *err);
/*
 * The address of [@offset, +@len) of a mapped region, or NULL when not all of it is mapped.  A
 * direct access raises SIGBUS while the device has its memory disabled (A.6), or when a server
 * takes the memory away; those of the register functions return an error instead.  And where a
 * vfio-user server has an eventfd for stores to an area (DEVICE_GET_REGION_IO_FDS), the register
 * functions signal it; a direct store is found by the server a little later.
 */
UVFIO_API volatile void *uvfio_pci_mapping(struct uvfio_pci *dev, unsigned index, uint64_t offset,
					   uint64_t len);

/*
 * One register access of @size 1, 2, 4 or 8 bytes, naturally aligned (else -EINVAL), by the
 * mapping where there is one, else by the kernel or the server.
 *
 * A write is posted as on PCI: it may reach the device after the function has returned, but before
 * any later access of the same thread does, and an error of it may go unnoticed; read a register
 * or use uvfio_pci_write() to be sure.  Everything that the program wrote to memory before is
 * visible to the device when the register write is.
 */
UVFIO_API int uvfio_pci_reg_read(struct uvfio_pci *dev, unsigned index, uint64_t offset,
				 unsigned size, uint64_t *value);
UVFIO_API int uvfio_pci_reg_write(struct uvfio_pci *dev, unsigned index, uint64_t offset,
				  unsigned size, uint64_t value);

/* The same as PCI does it: a read that fails gives all ones, a write that fails is dropped. */
static inline uint64_t uvfio_pci_read64(struct uvfio_pci *dev, unsigned index, uint64_t offset)
{
	uint64_t value = 0;

	return uvfio_pci_reg_read(dev, index, offset, 8, &value) ? UINT64_MAX : value;
}

static inline uint32_t uvfio_pci_read32(struct uvfio_pci *dev, unsigned index, uint64_t offset)
{
	uint64_t value = 0;

	return uvfio_pci_reg_read(dev, index, offset, 4, &value) ? UINT32_MAX : (uint32_t)value;
}

static inline uint16_t uvfio_pci_read16(struct uvfio_pci *dev, unsigned index, uint64_t offset)
{
	uint64_t value = 0;

	return uvfio_pci_reg_read(dev, index, offset, 2, &value) ? UINT16_MAX : (uint16_t)value;
}

static inline uint8_t uvfio_pci_read8(struct uvfio_pci *dev, unsigned index, uint64_t offset)
{
	uint64_t value = 0;

	return uvfio_pci_reg_read(dev, index, offset, 1, &value) ? UINT8_MAX : (uint8_t)value;
}

static inline void uvfio_pci_write64(struct uvfio_pci *dev, unsigned index, uint64_t offset,
				     uint64_t value)
{
	(void)uvfio_pci_reg_write(dev, index, offset, 8, value);
}

static inline void uvfio_pci_write32(struct uvfio_pci *dev, unsigned index, uint64_t offset,
				     uint32_t value)
{
	(void)uvfio_pci_reg_write(dev, index, offset, 4, value);
}

static inline void uvfio_pci_write16(struct uvfio_pci *dev, unsigned index, uint64_t offset,
				     uint16_t value)
{
	(void)uvfio_pci_reg_write(dev, index, offset, 2, value);
}

static inline void uvfio_pci_write8(struct uvfio_pci *dev, unsigned index, uint64_t offset,
				    uint8_t value)
{
	(void)uvfio_pci_reg_write(dev, index, offset, 1, value);
}

struct uvfio_pci_reg {
	unsigned index; /* the region */
	unsigned size;  /* 1, 2, 4 or 8 */
	uint64_t offset, value;
};
/*
 * Several register writes, in order, each posted: one message where the server takes
 * REGION_WRITE_MULTI.  0, or the -errno of the first one known to have failed; those before it are
 * done.
 */
UVFIO_API int uvfio_pci_reg_write_multi(struct uvfio_pci *dev, const struct uvfio_pci_reg *writes,
					unsigned nr);

/*
 * An eventfd whose signal does what writing @value (@size 1, 2, 4 or 8 bytes) at @offset does,
 * without a call or a message: the kernel's ioeventfd (VFIO_DEVICE_IOEVENTFD) or one for this value
 * that the server offers in DEVICE_GET_REGION_IO_FDS.  Returns the descriptor, which the caller
 * closes (a kernel keeps its side until uvfio_pci_close()), or -errno: -ENOENT the server offers
 * none for this register and value, -EEXIST the kernel was asked for it before.
 */
UVFIO_API int uvfio_pci_notify_fd(struct uvfio_pci *dev, unsigned index, uint64_t offset,
				  unsigned size, uint64_t value);

/* ---- config space ---- */

/*
 * Read or write 1, 2 or 4 bytes of config space, as A.7 lets a user see it; write waits until it
 * is done.  0 or -errno (-EFAULT outside).
 */
UVFIO_API int uvfio_pci_config_read(struct uvfio_pci *dev, unsigned offset, unsigned size,
				    uint32_t *value);
UVFIO_API int uvfio_pci_config_write(struct uvfio_pci *dev, unsigned offset, unsigned size,
				     uint32_t value);
/* The offset of the first capability with @id behind @after (0: from the start), or 0 if there is
 * none; the list may be a loop, the search is not.  The same for extended capabilities. */
UVFIO_API unsigned uvfio_pci_find_cap(struct uvfio_pci *dev, uint8_t id, unsigned after);
UVFIO_API unsigned uvfio_pci_find_ext_cap(struct uvfio_pci *dev, uint16_t id, unsigned after);

/* Turn memory decode and bus mastering on, or bus mastering off. */
UVFIO_API int uvfio_pci_enable(struct uvfio_pci *dev, struct uvfio_error *err);
UVFIO_API int uvfio_pci_disable_dma(struct uvfio_pci *dev, struct uvfio_error *err);

/* ---- DMA memory ---- */

#define UVFIO_PCI_DMA_READ  (1u << 0) /* the device may read it */
#define UVFIO_PCI_DMA_WRITE (1u << 1) /* the device may write it */
#define UVFIO_PCI_DMA_RW    (UVFIO_PCI_DMA_READ | UVFIO_PCI_DMA_WRITE)
#define UVFIO_PCI_DMA_32BIT (1u << 2) /* below 4 GiB of IOVA */
#define UVFIO_PCI_DMA_FIXED (1u << 3) /* at the IOVA that is given */

struct uvfio_pci_mem {
	void *addr;
	uint64_t iova;
	size_t size; /* rounded up to whole pages */
};

/*
 * Allocate @size bytes of zeroed memory that the device can reach at ->iova.  @flags: DMA_READ,
 * DMA_WRITE (neither means both), DMA_32BIT.  Page-aligned, 2 MiB-aligned from 2 MiB on.  It lies
 * in a memfd, so that a vfio-user server can map it.  The caller frees it with
 * uvfio_pci_dma_free(), or uvfio_pci_close() of the last device of its space does.
 *
 * Errors: -EINVAL size 0, -ENOSPC no IOVA is free or the kernel's dma_entry_limit is used up,
 * -ENOMEM no memory, or more than RLIMIT_MEMLOCK, -EOPNOTSUPP the device has no IOMMU (A.9).
 */
UVFIO_API int uvfio_pci_dma_alloc(struct uvfio_pci *dev, size_t size, unsigned flags,
				  struct uvfio_pci_mem *mem, struct uvfio_error *err);
/*
 * Take it from the device and free it.  When this returns the device does not touch it any more.
 * @mem must be as uvfio_pci_dma_alloc() left it.  0 (also when the server is gone), or -errno: the
 * kernel or the server refused, and the memory stays; -ENOENT: there is no such piece.
 */
UVFIO_API int uvfio_pci_dma_free(struct uvfio_pci *dev, const struct uvfio_pci_mem *mem);

/*
 * Let the device reach the caller's memory [@addr, +@size), whole pages; the caller keeps it
 * mapped until uvfio_pci_dma_unmap() has returned.  *@iova is set, or used with DMA_FIXED.
 *
 * Over vfio-user the server can map it only when it is given the file: with @fd ≥ 0 the memory is
 * [@offset, +@size) of that file, mapped shared at @addr.  @fd -1: the library answers the
 * server's messages from @addr.  A kernel device needs no @fd.
 *
 * A BAR of another device, for DMA between the two: @fd and @offset from uvfio_pci_region_fd(), @addr
 * its mapping (uvfio_pci_mapping()) or NULL.  A device of a group needs @addr; one by its character
 * device and one over vfio-user need @fd (share=yes).  What lacks it answers -EOPNOTSUPP.  -ENODEV:
 * memory decode of the other device is off.  While its memory is away (decode off, reset, D3, low
 * power) the DMA is an error to the device that does it.  Afterwards a mapping by character device
 * stays dead, and has to be unmapped and mapped anew (D.4); so unmap before and map after, which
 * is right for all.
 */
UVFIO_API int uvfio_pci_dma_map(struct uvfio_pci *dev, void *addr, size_t size, unsigned flags,
				int fd, uint64_t offset, uint64_t *iova, struct uvfio_error *err);
/* Undo it, the whole of one mapping: -ENOENT if there is none that starts at @iova with @size.
 * When it returns the device does not touch the memory any more. */
UVFIO_API int uvfio_pci_dma_unmap(struct uvfio_pci *dev, uint64_t iova, uint64_t size);

/*
 * A descriptor that stands for [@offset, +@size) of BAR @index, whole pages, which other devices can be
 * given with uvfio_pci_dma_map(), in this program or in one that it was sent to.  The caller closes
 * it, at any time.  *@at: where the range begins in the file.
 *
 * Of a kernel device it is a dma-buf (Linux 6.19): it cannot be mapped, and is of no use any more when
 * the device is closed.  Over vfio-user it is the file that the server gave for the region, all of it;
 * a server knows it for its device's memory, and to another server it is memory like any other.
 *
 * Errors: -EINVAL no such range of a BAR; -ENOTTY the kernel is older; -EOPNOTSUPP the server gives no
 * file for the region.
 */
UVFIO_API int uvfio_pci_region_fd(struct uvfio_pci *dev, unsigned index, uint64_t offset,
				  uint64_t size, uint64_t *at, struct uvfio_error *err);

/*
 * The usable IOVA ranges, those that all devices of the space have in common, at most @max of them
 * into first[] and last[] (inclusive); returns how many there are.  What is mapped is not
 * subtracted; page 0 and the interrupt window are not in them.
 */
UVFIO_API unsigned uvfio_pci_dma_ranges(struct uvfio_pci *dev, uint64_t *first, uint64_t *last,
					unsigned max);

/*
 * DMA spaces: several devices that see the same memory at the same IOVAs.  What is mapped, by a
 * function of the space or by one for a device in it, all of them can reach; each IOVA is one that
 * all can use.  Over the kernel's VFIO the devices share a container or an IOAS, where the kernel
 * lets them; over vfio-user each server is told.  Devices of all kinds may be in one space.
 *
 * A function that maps has succeeded when every device has the mapping; when one refuses, none has
 * it.  A server that is gone is left out, and gets everything with uvfio_pci_reconnect(); only when
 * no other device is left, mapping fails (-ENOTCONN).  When one that unmaps returns 0, no device
 * touches the memory any more; when a device refuses, all keep it.
 *
 * Threads.  As on a device: anything at the same time.  Maps and unmaps wait for all servers of the
 * space.  Opening, closing and reconnecting a device of it wait for those that are under way, and the
 * next ones wait for that.
 *
 * Trust.  Each server of the space reaches all of its memory, see above.
 */

/* Make a space without devices: what is mapped now the first device will see.  The caller's until
 * uvfio_dma_space_free().  -ENOMEM. */
UVFIO_API int uvfio_dma_space_new(struct uvfio_dma_space **out, struct uvfio_error *err);
/* The caller does not use it any more: it goes, with its memory and mappings, when the last of its
 * devices is closed, or now.  NULL is ignored. */
UVFIO_API void uvfio_dma_space_free(struct uvfio_dma_space *space);
/* The space of a device; valid until that is closed. */
UVFIO_API struct uvfio_dma_space *uvfio_pci_dma_space(const struct uvfio_pci *dev);

/* As the functions for a device of similar names. */
UVFIO_API int uvfio_dma_space_alloc(struct uvfio_dma_space *space, size_t size, unsigned flags,
				    struct uvfio_pci_mem *mem, struct uvfio_error *err);
UVFIO_API int uvfio_dma_space_release(struct uvfio_dma_space *space,
				      const struct uvfio_pci_mem *mem);
UVFIO_API int uvfio_dma_space_map(struct uvfio_dma_space *space, void *addr, size_t size,
				  unsigned flags, int fd, uint64_t offset, uint64_t *iova,
				  struct uvfio_error *err);
UVFIO_API int uvfio_dma_space_unmap(struct uvfio_dma_space *space, uint64_t iova, uint64_t size);
UVFIO_API unsigned uvfio_dma_space_ranges(struct uvfio_dma_space *space, uint64_t *first,
					  uint64_t *last, unsigned max);

/* ---- interrupts ---- */

enum uvfio_pci_irq {
	UVFIO_PCI_INTX,
	UVFIO_PCI_MSI,
	UVFIO_PCI_MSIX,
	UVFIO_PCI_ERR, /* the device reports an uncorrectable error */
	UVFIO_PCI_REQ, /* the owner of the device wants it back: close it */
};

/* How many vectors @irq has; 0: none.  VFIO_IRQ_INFO_… flags into *@flags unless NULL. */
UVFIO_API unsigned uvfio_pci_irq_count(const struct uvfio_pci *dev, enum uvfio_pci_irq irq,
				       unsigned *flags);
/*
 * Have vectors [@start, +@count) signal @eventfds[0 … @count-1] (-1: none for that one).  The first
 * call enables the mode; INTx, MSI and MSI-X exclude one another.  The descriptors stay the
 * caller's, and may be closed afterwards.  Any count in one call: it is cut into messages as a
 * vfio-user server needs it.
 *
 * Returns 0; a positive number: the host has only so many vectors, nothing was enabled (A.8); or
 * -errno: -EINVAL another mode is active or the range is outside, -EBADF a bad descriptor.  When
 * it fails, part of the range may have lost its eventfds.
 */
UVFIO_API int uvfio_pci_irq_enable(struct uvfio_pci *dev, enum uvfio_pci_irq irq, unsigned start,
				   unsigned count, const int *eventfds);
/* Disable all vectors of @irq; -EINVAL when it is not active. */
UVFIO_API int uvfio_pci_irq_disable(struct uvfio_pci *dev, enum uvfio_pci_irq irq);
/* Mask, unmask (INTx; it masks itself with each interrupt), or signal as if the device had. */
UVFIO_API int uvfio_pci_irq_mask(struct uvfio_pci *dev, enum uvfio_pci_irq irq, unsigned start,
				 unsigned count);
UVFIO_API int uvfio_pci_irq_unmask(struct uvfio_pci *dev, enum uvfio_pci_irq irq, unsigned start,
				   unsigned count);
UVFIO_API int uvfio_pci_irq_trigger(struct uvfio_pci *dev, enum uvfio_pci_irq irq, unsigned start,
				    unsigned count);
/*
 * How often @eventfd was signalled since the last time, and set that back; 0: not at all; or -errno.
 * Never waits.  A vfio-user server shares the state of the descriptors that it was given: it can take
 * a signal away after poll(2) has told of it, and clear O_NONBLOCK, so that a read(2) would wait.
 */
UVFIO_API int64_t uvfio_pci_irq_take(int eventfd);
/* Have a signal of @eventfd unmask INTx; -1 removes it. */
UVFIO_API int uvfio_pci_irq_unmask_fd(struct uvfio_pci *dev, int eventfd);

/* ---- reset and features ---- */

/* Reset the function (A.5).  Bus mastering, memory decode and interrupts survive.  -EINVAL or
 * -ENOTTY when the device cannot be reset. */
UVFIO_API int uvfio_pci_reset(struct uvfio_pci *dev);

#define UVFIO_PCI_FEATURE_GET   (1u << 16)
#define UVFIO_PCI_FEATURE_SET   (1u << 17)
#define UVFIO_PCI_FEATURE_PROBE (1u << 18)

/*
 * VFIO_DEVICE_FEATURE (A.10) number @feature.  @op: FEATURE_GET, _SET, either with _PROBE.  @data,
 * @len bytes, is what follows the 8-byte header: read for SET, filled for GET.  A SET that answers
 * within it (MIG_DEVICE_STATE: the descriptor of a session's data, of the kernel's VFIO) changes it
 * likewise.  Returns the bytes that GET gave, 0 for the others, or -errno (-ENOTTY: not supported).
 */
UVFIO_API ssize_t uvfio_pci_feature(struct uvfio_pci *dev, unsigned feature, unsigned op,
				    void *data, size_t len);

#ifdef __cplusplus
}
#endif

#endif
