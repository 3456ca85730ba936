/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Regions: what they are, their mappings, accesses.
 *
 * What the kernel or a server says of a region is checked here before anything relies on it: areas
 * must be whole pages inside the region, ascending, not overlapping.  Mapped registers are accessed
 * by the guarded routines of base/guard.h: memory that the device has disabled, or a server has
 * truncated, makes an error of the access, not a SIGBUS.
 *
 * After a reconnect the server's new file is mapped over the old mapping, so that pointers stay
 * good.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/guard.h"
#include "driver/driver_private.h"

/* ---- what they are ---- */

static int lie(struct uvfio_pci *dev, unsigned index, const char *what, struct uvfio_error *err)
{
	return uvfio_error_set(err, -EPROTO, "%s: region %u: %s", dev->name, index, what);
}

static int set_areas(struct drv_region *r, const struct uvfio_pci_area *areas, unsigned nr)
{
	struct uvfio_pci_area *copy;

	free((void *)r->pub.areas);
	r->pub.areas = NULL;
	r->pub.nr_areas = 0;
	if (!nr)
		return 0;
	copy = calloc(nr, sizeof(*copy));
	if (!copy)
		return -ENOMEM;
	memcpy(copy, areas, nr * sizeof(*copy));
	r->pub.areas = copy;
	r->pub.nr_areas = nr;
	return 0;
}

static int parse_sparse(struct uvfio_pci *dev, unsigned index, struct drv_region *r,
			const uint8_t *cap, size_t room, struct uvfio_error *err)
{
	const size_t head = sizeof(struct vfio_region_info_cap_sparse_mmap);
	struct vfio_region_info_cap_sparse_mmap sparse;
	struct uvfio_pci_area *areas;
	uint64_t end = 0;
	int ret = 0;

	if (room < head)
		return lie(dev, index, "its sparse mmap capability is cut off", err);
	memcpy(&sparse, cap, head);
	if (sparse.nr_areas > (room - head) / sizeof(*areas))
		return lie(dev, index, "its sparse mmap capability has fewer areas than it says",
			   err);
	areas = calloc(sparse.nr_areas + 1, sizeof(*areas));
	if (!areas)
		return uvfio_error_set(err, -ENOMEM, "no memory");
	memcpy(areas, cap + head, sparse.nr_areas * sizeof(*areas));
	for (unsigned i = 0; i < sparse.nr_areas && !ret; i++) {
		const struct uvfio_pci_area *a = &areas[i];

		if (a->offset % DRV_PAGE || a->size % DRV_PAGE || !a->size || a->offset < end ||
		    a->offset > r->pub.size || a->size > r->pub.size - a->offset)
			ret = lie(dev, index,
				  "its mappable areas are not whole pages inside it, ascending",
				  err);
		end = a->offset + a->size;
	}
	if (!ret && set_areas(r, areas, sparse.nr_areas))
		ret = uvfio_error_set(err, -ENOMEM, "no memory");
	free(areas);
	return ret;
}

static int parse_caps(struct uvfio_pci *dev, unsigned index, struct drv_region *r,
		      const struct vfio_region_info *info, struct uvfio_error *err)
{
	const uint8_t *base = (const uint8_t *)info;
	size_t at = info->cap_offset, size = info->argsz;
	int ret;

	/* Each capability must lie behind the one before: no loops. */
	for (size_t end = sizeof(*info); at;) {
		struct vfio_info_cap_header head;
		struct vfio_region_info_cap_type type;

		if (at < end || at > size || size - at < sizeof(head))
			return lie(dev, index, "its capability list leaves the reply", err);
		memcpy(&head, base + at, sizeof(head));
		end = at + sizeof(head);
		if (head.id == VFIO_REGION_INFO_CAP_SPARSE_MMAP) {
			ret = parse_sparse(dev, index, r, base + at, size - at, err);
			if (ret)
				return ret;
		} else if (head.id == VFIO_REGION_INFO_CAP_TYPE) {
			if (size - at < sizeof(type))
				return lie(dev, index, "its type capability is cut off", err);
			memcpy(&type, base + at, sizeof(type));
			r->pub.type = type.type;
			r->pub.subtype = type.subtype;
		}
		at = head.next;
	}
	return 0;
}

/* Ask the way for region @index. */
static int query(struct uvfio_pci *dev, unsigned index, struct drv_region *r,
		 struct uvfio_error *err)
{
	size_t size = DRV_FIRST_INFO;
	struct vfio_region_info *info = NULL, *bigger;
	struct uvfio_pci_area whole = {0};
	int ret;

	r->fd = -1;
	for (;;) {
		bigger = realloc(info, size);
		if (!bigger) {
			ret = uvfio_error_set(err, -ENOMEM, "no memory");
			goto out;
		}
		info = bigger;
		memset(info, 0, size);
		info->argsz = (uint32_t)size;
		info->index = index;
		ret = dev->ops->region_info(dev, info, size, &r->fd);
		if (ret == -EINVAL && index >= UVFIO_PCI_VGA) {
			/* A.6: a device that has none. */
			ret = 0;
			goto out;
		}
		if (ret) {
			uvfio_error_set(err, ret, "%s: asking about region %u: %s", dev->name,
					index, strerror(-ret));
			goto out;
		}
		if (info->argsz <= size)
			break;
		if (info->argsz > DRV_MAX_INFO) {
			ret = lie(dev, index, "its info is more than 64 KiB", err);
			goto out;
		}
		size = info->argsz;
		if (r->fd >= 0)
			close(r->fd);
		r->fd = -1;
	}
	r->pub.size = info->size;
	r->pub.flags = info->flags &
		       (UVFIO_PCI_REGION_READ | UVFIO_PCI_REGION_WRITE | UVFIO_PCI_REGION_MMAP);
	r->file_offset = info->offset;
	if (!r->pub.size)
		r->pub.flags = 0;
	if (r->pub.flags & UVFIO_PCI_REGION_MMAP) {
		whole.size = r->pub.size & ~(uint64_t)(DRV_PAGE - 1);
		if (info->offset % DRV_PAGE || info->offset > INT64_MAX ||
		    r->pub.size > INT64_MAX - info->offset) {
			ret = lie(dev, index, "it lies at an impossible place of its file", err);
			goto out;
		}
		if (set_areas(r, &whole, whole.size ? 1 : 0)) {
			ret = uvfio_error_set(err, -ENOMEM, "no memory");
			goto out;
		}
	}
	if (info->flags & VFIO_REGION_INFO_FLAG_CAPS)
		ret = parse_caps(dev, index, r, info, err);
	if (!ret && !(r->pub.flags & UVFIO_PCI_REGION_MMAP))
		ret = set_areas(r, NULL, 0);
out:
	free(info);
	return ret;
}

static void drop(struct drv_region *r)
{
	if (r->fd >= 0)
		close(r->fd);
	r->fd = -1;
	free((void *)r->pub.areas);
	r->pub.areas = NULL;
}

static void drop_notify(struct drv_region *r)
{
	for (unsigned i = 0; i < r->nr_notify; i++)
		close(r->notify[i].fd);
	free(r->notify);
	r->notify = NULL;
	r->nr_notify = 0;
}

/* For a region that is mapped. */
static int get_notify(struct uvfio_pci *dev, unsigned index, struct uvfio_error *err)
{
	struct drv_region *r = &dev->regions[index];
	int ret;

	drop_notify(r);
	if (!dev->ops->notify_areas)
		return 0;
	ret = dev->ops->notify_areas(dev, index, &r->notify, &r->nr_notify);
	if (ret)
		return uvfio_error_set(err, ret, "%s: asking for the eventfds of region %u: %s",
				       dev->name, index, strerror(-ret));
	return 0;
}

int drv_regions_init(struct uvfio_pci *dev, struct uvfio_error *err)
{
	dev->regions = calloc(dev->nr_regions, sizeof(*dev->regions));
	if (!dev->regions)
		return uvfio_error_set(err, -ENOMEM, "no memory");
	for (unsigned i = 0; i < dev->nr_regions; i++)
		dev->regions[i].fd = -1;
	for (unsigned i = 0; i < dev->nr_regions; i++) {
		int ret = query(dev, i, &dev->regions[i], err);

		if (ret)
			return ret;
	}
	return 0;
}

void drv_regions_fini(struct uvfio_pci *dev)
{
	for (unsigned i = 0; dev->regions && i < dev->nr_regions; i++) {
		struct drv_region *r = &dev->regions[i];

		for (unsigned a = 0; r->maps && a < r->pub.nr_areas; a++)
			if (r->maps[a])
				munmap(r->maps[a], r->pub.areas[a].size);
		free(r->maps);
		drop_notify(r);
		drop(r);
	}
	free(dev->regions);
	dev->regions = NULL;
}

/* ---- mappings ---- */

static void *map_area(struct uvfio_pci *dev, const struct drv_region *r, unsigned a, void *at)
{
	int prot = (r->pub.flags & UVFIO_PCI_REGION_READ ? PROT_READ : 0) |
		   (r->pub.flags & UVFIO_PCI_REGION_WRITE ? PROT_WRITE : 0);
	int fd = r->fd >= 0 ? r->fd : dev->ops->map_fd(dev);

	return mmap(at, r->pub.areas[a].size, prot, MAP_SHARED | (at ? MAP_FIXED : 0), fd,
		    (off_t)(r->file_offset + r->pub.areas[a].offset));
}

int uvfio_pci_map_region(struct uvfio_pci *dev, unsigned index, struct uvfio_error *err)
{
	struct drv_region *r;
	void **maps;
	int ret;

	if (index >= dev->nr_regions)
		return uvfio_error_set(err, -EINVAL, "%s: there is no region %u", dev->name, index);
	r = &dev->regions[index];
	if (r->maps || !r->pub.nr_areas || !dev->opt.mmap)
		return 0;
	ret = uvfio_guard_init();
	if (ret)
		return uvfio_error_set(err, ret, "installing the SIGBUS handler: %s",
				       strerror(-ret));
	maps = calloc(r->pub.nr_areas, sizeof(*maps));
	if (!maps)
		return uvfio_error_set(err, -ENOMEM, "no memory");
	for (unsigned a = 0; a < r->pub.nr_areas; a++) {
		maps[a] = map_area(dev, r, a, NULL);
		if (maps[a] != MAP_FAILED)
			continue;
		ret = -errno;
		uvfio_error_set(err, ret, "%s: mapping %llu bytes at %#llx of region %u: %s",
				dev->name, (unsigned long long)r->pub.areas[a].size,
				(unsigned long long)r->pub.areas[a].offset, index, strerror(-ret));
		while (a--)
			munmap(maps[a], r->pub.areas[a].size);
		free(maps);
		return ret;
	}
	r->maps = maps;
	atomic_store(&dev->shortcut, true);
	return get_notify(dev, index, err);
}

static bool same(const struct uvfio_pci_region *a, const struct uvfio_pci_region *b)
{
	return a->size == b->size && a->flags == b->flags && a->type == b->type &&
	       a->subtype == b->subtype && a->nr_areas == b->nr_areas &&
	       (!a->nr_areas || !memcmp(a->areas, b->areas, a->nr_areas * sizeof(*a->areas)));
}

int drv_regions_renew(struct uvfio_pci *dev, struct uvfio_error *err)
{
	for (unsigned i = 0; i < dev->nr_regions; i++) {
		struct drv_region *r = &dev->regions[i], now = {.fd = -1};
		int ret = query(dev, i, &now, err);

		if (!ret && !same(&now.pub, &r->pub))
			ret = uvfio_error_set(err, -ENODEV,
					      "%s: a different device is there now: its region %u "
					      "has changed",
					      dev->name, i);
		if (ret) {
			drop(&now);
			return ret;
		}
		if (r->fd >= 0)
			close(r->fd);
		r->fd = now.fd;
		r->file_offset = now.file_offset;
		now.fd = -1;
		drop(&now);
		for (unsigned a = 0; r->maps && a < r->pub.nr_areas; a++)
			if (map_area(dev, r, a, r->maps[a]) == MAP_FAILED)
				return uvfio_error_set(err, -errno,
						       "%s: mapping region %u anew: %s", dev->name,
						       i, strerror(errno));
		if (r->maps) {
			ret = get_notify(dev, i, err);
			if (ret)
				return ret;
		}
	}
	return 0;
}

/* Inline for the register functions: most regions have one area or two. */
static uint8_t *mapped(const struct uvfio_pci *dev, unsigned index, uint64_t offset, uint64_t len)
{
	const struct drv_region *r;

	if (index >= dev->nr_regions)
		return NULL;
	r = &dev->regions[index];
	if (!r->maps)
		return NULL;
	for (unsigned a = 0; a < r->pub.nr_areas; a++) {
		const struct uvfio_pci_area *area = &r->pub.areas[a];

		if (offset < area->offset)
			return NULL;
		if (offset - area->offset < area->size)
			return len <= area->size - (offset - area->offset)
				       ? (uint8_t *)r->maps[a] + (offset - area->offset)
				       : NULL;
	}
	return NULL;
}

volatile void *uvfio_pci_mapping(struct uvfio_pci *dev, unsigned index, uint64_t offset,
				 uint64_t len)
{
	return mapped(dev, index, offset, len);
}

int uvfio_pci_region_fd(struct uvfio_pci *dev, unsigned index, uint64_t offset, uint64_t size,
			uint64_t *at, struct uvfio_error *err)
{
	const struct uvfio_pci_region *r = uvfio_pci_region_info(dev, index);
	uint64_t start = 0;
	const char *why;
	int fd;

	if (index > UVFIO_PCI_BAR5 || !r || !size || (offset | size) & (DRV_PAGE - 1) ||
	    offset > r->size || size > r->size - offset)
		return uvfio_error_set(err, -EINVAL,
				       "%s: [%#llx, +%#llx) is not in whole pages of BAR %u, which "
				       "has %#llx bytes",
				       dev->name, (unsigned long long)offset,
				       (unsigned long long)size, index,
				       (unsigned long long)(r ? r->size : 0));
	fd = dev->ops->region_fd(dev, index, offset, size, &start);
	if (fd >= 0) {
		*at = start;
		return fd;
	}
	if (fd == -ENOTTY)
		why = "this kernel exports no BARs: that takes Linux 6.19 with CONFIG_VFIO_PCI_DMABUF";
	else if (fd == -EOPNOTSUPP)
		why = "the server gives no file for it";
	else
		why = strerror(-fd);
	return uvfio_error_set(err, fd, "%s: BAR %u for other devices: %s", dev->name, index, why);
}

unsigned uvfio_pci_nr_regions(const struct uvfio_pci *dev)
{
	return dev->nr_regions;
}

const struct uvfio_pci_region *uvfio_pci_region_info(const struct uvfio_pci *dev, unsigned index)
{
	return index < dev->nr_regions ? &dev->regions[index].pub : NULL;
}

/* ---- accesses ---- */

/* Piece by piece: read into @to, or write what is at @from (@to is NULL then). */
static ssize_t transfer(struct uvfio_pci *dev, unsigned index, uint64_t offset, char *to,
			const char *from, size_t len)
{
	size_t done = 0;

	while (done < len) {
		size_t rest = len - done;
		ssize_t n =
			to ? dev->ops->read(dev, index, offset + done, to + done, rest)
			   : dev->ops->write(dev, index, offset + done, from + done, rest, false);

		if (n < 0 && !done)
			return n;
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

ssize_t uvfio_pci_read(struct uvfio_pci *dev, unsigned index, uint64_t offset, void *buf,
		       size_t len)
{
	return transfer(dev, index, offset, buf, NULL, len);
}

ssize_t uvfio_pci_write(struct uvfio_pci *dev, unsigned index, uint64_t offset, const void *buf,
			size_t len)
{
	return transfer(dev, index, offset, NULL, buf, len);
}

static bool natural(uint64_t offset, unsigned size)
{
	return size && size <= 8 && !(size & (size - 1)) && !(offset & (size - 1));
}

int uvfio_pci_reg_read(struct uvfio_pci *dev, unsigned index, uint64_t offset, unsigned size,
		       uint64_t *value)
{
	uint64_t v = 0;
	uint8_t *at;
	ssize_t n;

	if (!natural(offset, size))
		return -EINVAL;
	at = mapped(dev, index, offset, size);
	if (at)
		return uvfio_guard_load(at, size, value);
	n = dev->ops->read(dev, index, offset, &v, size);
	if (n < 0)
		return (int)n;
	if ((size_t)n != size)
		return -EIO;
	*value = v;
	return 0;
}

/* A store to a mapping, and the word to the device that there was one. */
static int store(const struct drv_region *r, uint64_t offset, uint8_t *at, unsigned size,
		 uint64_t value)
{
	int ret = uvfio_guard_store(at, size, value);
	uint64_t one = 1;

	for (unsigned i = 0; i < r->nr_notify && !ret; i++) {
		struct pollfd pfd = {.fd = r->notify[i].fd, .events = POLLOUT};

		if (offset - r->notify[i].offset >= r->notify[i].size)
			continue;
		/* A full counter is a signal, too, and must not be waited for: the server shares
		 * the descriptor's state and can clear O_NONBLOCK. */
		if (poll(&pfd, 1, 0) == 1 && pfd.revents & POLLOUT)
			(void)!write(pfd.fd, &one, sizeof(one));
		break;
	}
	return ret;
}

int uvfio_pci_reg_write(struct uvfio_pci *dev, unsigned index, uint64_t offset, unsigned size,
			uint64_t value)
{
	uint8_t *at;
	ssize_t n;

	if (!natural(offset, size))
		return -EINVAL;
	/* What was written to memory before is visible before the register is. */
	__atomic_thread_fence(__ATOMIC_RELEASE);
	at = mapped(dev, index, offset, size);
	if (at)
		return store(&dev->regions[index], offset, at, size, value);
	n = dev->ops->write(dev, index, offset, &value, size, true);
	if (n < 0)
		return (int)n;
	return (size_t)n == size ? 0 : -EIO;
}

int uvfio_pci_reg_write_multi(struct uvfio_pci *dev, const struct uvfio_pci_reg *writes,
			      unsigned nr)
{
	unsigned mapped_or_bad = 0;

	for (unsigned i = 0; i < nr; i++)
		mapped_or_bad += !natural(writes[i].offset, writes[i].size) ||
				 mapped(dev, writes[i].index, writes[i].offset, writes[i].size);
	if (dev->ops->write_multi && !mapped_or_bad && nr > 1) {
		__atomic_thread_fence(__ATOMIC_RELEASE);
		return dev->ops->write_multi(dev, writes, nr);
	}
	for (unsigned i = 0; i < nr; i++) {
		int ret = uvfio_pci_reg_write(dev, writes[i].index, writes[i].offset,
					      writes[i].size, writes[i].value);

		if (ret)
			return ret;
	}
	return 0;
}

int uvfio_pci_notify_fd(struct uvfio_pci *dev, unsigned index, uint64_t offset, unsigned size,
			uint64_t value)
{
	int fd;

	if (!natural(offset, size))
		return -EINVAL;
	fd = dev->ops->notify_fd(dev, index, offset, size, value);
	if (fd >= 0)
		atomic_store(&dev->shortcut, true);
	return fd;
}
