/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * MAP_DMA of mapped BARs.
 *
 * What may be mapped for DMA is what the program asked of mmap, and only the table knows that: the
 * pages themselves are read-only, because stores are trapped, or not even that.  The runner goes by
 * the pages and answers EFAULT; so the call is made again, with what the table says.  Other memory
 * costs nothing, and a pointer that is bad is still EFAULT.
 */
#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include "uapi/helper/helper.h"

/* A copy of what may not be there: the kernel says so, where we would fault. */
static bool fetch(void *dst, const void *src, size_t len)
{
	int fds[2];
	bool ok;

	if (sys_failed(sys2(SYS_pipe2, (long)fds, O_CLOEXEC)))
		return false;
	ok = sys3(SYS_write, fds[1], (long)src, (long)len) == (long)len &&
	     sys3(SYS_read, fds[0], (long)dst, (long)len) == (long)len;
	sys1(SYS_close, fds[0]);
	sys1(SYS_close, fds[1]);
	return ok;
}

/* What was asked for all of the BARs in [@start, @end); -1: there are none. */
static int asked(uint64_t start, uint64_t end)
{
	struct range range;
	int prot = -1;

	for (uint64_t at = start; at < end && table_after(at, &range) && range.start < end;
	     at = range.end)
		prot &= range.prot;
	return prot;
}

bool dma_map_again(int fd, const void *arg, long *ret)
{
	struct vfio_iommu_type1_dma_map map;
	long got;
	int prot;

	if (!table_intersects(0, UINT64_MAX) || !fetch(&map, arg, sizeof(map)) || !map.size ||
	    map.size > UINT64_MAX - map.vaddr)
		return false;
	prot = asked(map.vaddr, map.vaddr + map.size);
	if (prot < 0)
		return false;
	got = sys4(SYS_ioctl, fd, UVFIO_TRAP_MAP_DMA, (long)arg, prot);
	if (got < 0)
		return false;
	*ret = got;
	return true;
}
