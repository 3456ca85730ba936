/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * FEATURE DMA_BUF (D.4): ranges of a BAR behind a descriptor, for iommufd's MAP_FILE.
 *
 * The descriptor is of a memory file that has the length of the ranges and nothing in it: it stands
 * for them, and is recognised by its identity (device_memory.h).  The door keeps the export until
 * nobody has that file any more.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "vfio/device_memory.h"
#include "vfio/machine_private.h"

/* What a kernel can copy at once (4 MiB); beyond that it has no memory for them. */
#define MAX_RANGES ((4u << 20) / sizeof(struct uvfio_feature_dma_buf_range))
#define CHUNK      64u

/* What the ranges come to.  The rules look at all of them for one mistake before they look for the
 * next; here each is read once. */
struct ranges {
	const struct bar *bar;
	uint64_t length; /* of all */
	struct vfio_export_range first;
	int form;   /* -EINVAL: one is empty or not of whole pages, or together they are too long */
	int bounds; /* of the first that is not in the BAR */
};

static int check_bounds(const struct bar *bar, uint64_t offset, uint64_t length)
{
	uint64_t start, end;

	if (__builtin_add_overflow(bar->address, offset, &start) ||
	    __builtin_add_overflow(start, length, &end))
		return -EOVERFLOW;
	return end > bar->address + bar->size ? -EINVAL : 0;
}

static void add_range(struct ranges *r, const struct uvfio_feature_dma_buf_range *range)
{
	if (!range->length || (range->offset | range->length) & (PAGE_BYTES - 1))
		r->form = -EINVAL;
	/* What has the highest bit is not an amount of memory. */
	if (__builtin_add_overflow(r->length, range->length, &r->length) || r->length >> 63)
		r->form = -EINVAL;
	if (!r->bounds)
		r->bounds = check_bounds(r->bar, range->offset, range->length);
}

static int read_ranges(struct vfio_client *client, uint64_t at, uint32_t nr, struct ranges *r)
{
	struct uvfio_feature_dma_buf_range chunk[CHUNK];

	for (uint32_t done = 0, n; done < nr; done += n) {
		n = nr - done < CHUNK ? nr - done : CHUNK;
		if (client->ops->copy_from(client, chunk, at, n * sizeof(chunk[0])))
			return -EFAULT;
		at += n * sizeof(chunk[0]);
		for (uint32_t i = 0; i < n; i++)
			add_range(r, &chunk[i]);
		if (!done)
			r->first = (struct vfio_export_range){chunk[0].offset, chunk[0].length};
	}
	return 0;
}

/* In the order of D.4. */
static int check(struct vfio_device *dev, struct vfio_client *client, uint64_t data,
		 const struct uvfio_feature_dma_buf *request, struct ranges *r)
{
	int ret;

	if (!request->nr_ranges || request->flags)
		return -EINVAL;
	if (request->region_index >= NR_BARS || !dev->bars[request->region_index].size)
		return -ENODEV;
	if (request->nr_ranges > MAX_RANGES)
		return -ENOMEM;
	*r = (struct ranges){.bar = &dev->bars[request->region_index]};
	ret = read_ranges(client, data + sizeof(*request), request->nr_ranges, r);
	if (!ret)
		ret = r->form;
	if (!ret && r->bar->flags & (UVFIO_BAR_IO | UVFIO_BAR_NO_MMAP))
		ret = -EINVAL; /* no peer reaches ports, or what nobody may map */
	return ret ? ret : r->bounds;
}

/* An empty file of that length, which nobody can change. */
static int make_file(uint64_t length, struct stat *st)
{
	const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
	int fd = memfd_create("dmabuf", MFD_CLOEXEC | MFD_ALLOW_SEALING), ret;

	if (fd < 0)
		return errno == EMFILE || errno == ENFILE ? -ENFILE : -ENOMEM;
	if (!ftruncate(fd, (off_t)length) && !fcntl(fd, F_ADD_SEALS, seals) && !uvfio_fstat(fd, st))
		return fd;
	ret = errno == EFBIG ? -EINVAL : -ENOMEM;
	close(fd);
	return ret;
}

int device_export_get(struct vfio_device *dev, struct vfio_client *client, uint64_t data)
{
	struct uvfio_feature_dma_buf request;
	struct vfio_device_export *export;
	struct ranges r;
	struct stat st;
	int ret, fd;

	if (client->ops->copy_from(client, &request, data, sizeof(request)))
		return -EFAULT;
	ret = check(dev, client, data, &request, &r);
	if (ret)
		return ret;
	fd = make_file(r.length, &st);
	if (fd < 0)
		return fd;
	ret = vfio_export_new(dev, request.region_index, &r.first, request.nr_ranges, r.length, &st,
			      &export);
	if (ret) {
		close(fd);
		return ret;
	}
	return client->ops->give_export(client, fd, request.open_flags, export);
}
