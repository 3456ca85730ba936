/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mapped BARs as memory for DMA (D.4): which file of a program's mapping is a device's.
 *
 * A program's mapping has the rights that it asked for, unless accesses to its pages are trapped:
 * in exact mode those that are no plain memory cannot be written, or not even be read.  Then the
 * helper says what was asked (helper/trap.h, MAP_DMA); without it, what the pages allow is what
 * there is.
 */
#include <errno.h>
#include "uapi/core.h"
#include "uapi/files.h"
#include "uapi/memory.h"
#include "uapi/server.h"

static bool is_ours(void *arg, dev_t dev, ino_t ino)
{
	struct uapi_server *server = arg;
	struct stat st = {.st_dev = dev, .st_ino = ino};

	return uapi_files_open(server->files, &st);
}

static int of_file(struct uapi_server *server, const struct uapi_file *file, uint64_t offset,
		   uint64_t len, struct iommu_mem *out, bool *trapped)
{
	struct uapi_core *core = server->core;

	switch (file->kind) {
	case UAPI_DEVICE:
		*trapped = file->mmio == VFIO_MMIO_EXACT;
		return file->device_file
			       ? core->ops->device_memory(core, file->device_file, offset, len, out)
			       : -EFAULT;
	case UAPI_RESOURCE:
		return MEMORY_BAR_FOREIGN;
	default: /* nothing of it can be mapped */
		return -EFAULT;
	}
}

static int bar(void *arg, dev_t dev, ino_t ino, uint64_t offset, uint64_t len,
	       struct iommu_mem *out, bool *trapped)
{
	const struct stat st = {.st_dev = dev, .st_ino = ino};
	struct uapi_server *server = arg;
	struct uapi_file *file = uapi_files_find(server->files, &st, 0);
	int ret;

	if (!file)
		return -ENOENT;
	ret = of_file(server, file, offset, len, out, trapped);
	uapi_files_put(server->files, file, 0);
	return ret == -ENOENT ? -EFAULT : ret;
}

struct memory_cache *uapi_memory_cache(struct uapi_server *server)
{
	const struct memory_devices devices = {is_ours, bar, server};

	return memory_cache_new(&devices);
}
