/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The preloaded helper's side of exact trapping (helper/trap.h), and mmap.
 */
#include <errno.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include "uapi/helper/trap.h"
#include "uapi/request.h"
#include "uapi/task.h"

#define PAGE_BYTES 4096ull
/* Pages that one answer describes at most: it is made page by page. */
#define MAX_RUN 4096u

/* The flags of the page at @offset: ≥ 0, or -errno. */
static int page_flags(struct uapi_core *core, struct uapi_file *file, uint64_t offset, uint64_t len)
{
	bool writable, trap_reads;
	int ret = core->ops->device_mmap(core, file->device_file, offset, len, true, &writable,
					 &trap_reads);

	if (ret)
		return ret;
	return (writable ? UVFIO_MMAP_WRITABLE : 0) | (trap_reads ? UVFIO_MMAP_TRAP_READS : 0);
}

static int64_t describe(struct uapi_core *core, struct uapi_file *file, uint64_t offset,
			uint64_t len)
{
	uint64_t pages, run = 1;
	int whole, flags;

	if (!len || len > UINT64_MAX - PAGE_BYTES || (offset & (PAGE_BYTES - 1)))
		return -EINVAL;
	pages = (len + PAGE_BYTES - 1) / PAGE_BYTES;
	whole = page_flags(core, file, offset, pages * PAGE_BYTES);
	if (whole < 0)
		return whole;
	if (whole == UVFIO_MMAP_WRITABLE)
		return uvfio_mmap_answer((unsigned)whole, pages);
	flags = page_flags(core, file, offset, PAGE_BYTES);
	if (flags < 0)
		return flags;
	while (run < pages && run < MAX_RUN &&
	       page_flags(core, file, offset + run * PAGE_BYTES, PAGE_BYTES) == flags)
		run++;
	return uvfio_mmap_answer((unsigned)flags, run);
}

static void trap_mmap(struct uapi_request *req)
{
	struct uapi_file *file = uapi_request_subject(req);
	int64_t answer = -ENOTTY;

	if (!file)
		return;
	if (!uapi_request_valid(req))
		goto out;
	if (file->device_file && file->mmio == VFIO_MMIO_EXACT)
		answer = describe(req->server->core, file, req->args[2], req->args[3]);
	if (answer >= 0 && uapi_copy_to(req, req->args[5], &file->key, sizeof(file->key)))
		answer = -EFAULT;
	uapi_answer(req, answer);
out:
	uapi_files_put(req->server->files, file, req->id);
}

static void trap_key(struct uapi_request *req)
{
	struct uapi_file *file = uapi_request_subject(req);
	struct uvfio_trap_file answer;

	if (!file)
		return;
	answer = (struct uvfio_trap_file){file->key, file->dev, file->ino};
	uapi_answer(req, uapi_copy_to(req, req->args[2], &answer, sizeof(answer)));
	uapi_files_put(req->server->files, file, req->id);
}

static void trap_node(struct uapi_request *req)
{
	struct uapi_file *file = uapi_request_subject(req);

	if (!file)
		return;
	uapi_answer(req,
		    file->node ? (int64_t)makedev(VFIO_CDEV_MAJOR, file->cdev) : -ENOTTY);
	uapi_files_put(req->server->files, file, req->id);
}

/* The program's own files and memory, so nothing is granted by what it says that it asked for. */
static void trap_map_dma(struct uapi_request *req)
{
	struct uapi_core *core = req->server->core;
	struct uapi_file *file = uapi_request_subject(req);

	if (!file)
		return;
	req->asked_prot = (unsigned)req->args[3] & (PROT_READ | PROT_WRITE);
	uapi_answer(req, file->kind == UAPI_CONTAINER
				 ? core->ops->container_ioctl(core, file->container, &req->client,
							      VFIO_IOMMU_MAP_DMA, req->args[2])
				 : -ENOTTY);
	uapi_files_put(req->server->files, file, req->id);
}

/* The device that a LOAD or STORE is about, with a reference. */
static struct uapi_file *device_by_key(struct uapi_request *req)
{
	struct uapi_file *file = uapi_files_by_key(req->server->files, req->args[4], req->id);

	if (!file || file->device_file)
		return file;
	uapi_files_put(req->server->files, file, req->id);
	return NULL;
}

static void trap_store(struct uapi_request *req, unsigned size)
{
	struct uapi_core *core = req->server->core;
	struct uapi_file *file = device_by_key(req);

	if (!file) {
		uapi_answer(req, -EBADF);
		return;
	}
	req->device = file->device->name;
	req->stored = true;
	uapi_answer(req, core->ops->device_store(core, file->device_file, req->args[2], size,
						 req->args[3]));
	uapi_files_put(req->server->files, file, req->id);
}

static void trap_load(struct uapi_request *req, unsigned size)
{
	struct uapi_core *core = req->server->core;
	struct uapi_file *file = device_by_key(req);
	uint64_t value = 0;
	int ret;

	if (!file) {
		uapi_answer(req, -EBADF);
		return;
	}
	req->device = file->device->name;
	ret = core->ops->device_load(core, file->device_file, req->args[2], size, &value);
	if (!ret && size == 8)
		ret = uapi_copy_to(req, req->args[3], &value, sizeof(value));
	uapi_answer(req, ret ? ret : size == 8 ? 0 : (int64_t)value);
	uapi_files_put(req->server->files, file, req->id);
}

static void trap_fatal(struct uapi_request *req)
{
	char text[1024];
	size_t len = req->args[3] < sizeof(text) - 1 ? req->args[3] : sizeof(text) - 1;

	if (uapi_copy_from(req, text, req->args[2], len)) {
		uapi_answer(req, -EFAULT);
		return;
	}
	uapi_answer(req, 0);
	text[len] = '\0';
	for (char *p = text; *p; p++) {
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	}
	/* Each says why a process ends, but nobody makes it end. */
	uapi_complain(req->server, &req->server->fatal, 20, "process %d: %s", req->tid, text);
}

/* A kernel's close waits for the file that it closes, however long others take. */
static void trap_closed(struct uapi_request *req)
{
	struct uapi_files *files = req->server->files;

	if (req->args[3] || req->args[4])
		uapi_files_settle_one(files, req->args[2], req->args[3], req->args[4]);
	else
		uapi_files_settle_own(files, uapi_task_tgid(req->tid));
	uapi_answer(req, 0);
}

bool uapi_do_trap(struct uapi_request *req, unsigned cmd)
{
	unsigned size = cmd & 0xf;

	switch (cmd) {
	case UVFIO_TRAP_STORE | 1:
	case UVFIO_TRAP_STORE | 2:
	case UVFIO_TRAP_STORE | 4:
	case UVFIO_TRAP_STORE | 8:
		trap_store(req, size);
		break;
	case UVFIO_TRAP_LOAD | 1:
	case UVFIO_TRAP_LOAD | 2:
	case UVFIO_TRAP_LOAD | 4:
	case UVFIO_TRAP_LOAD | 8:
		trap_load(req, size);
		break;
	case UVFIO_TRAP_MMAP:
		trap_mmap(req);
		break;
	case UVFIO_TRAP_MAP_DMA:
		trap_map_dma(req);
		break;
	case UVFIO_TRAP_RESOURCE:
		uapi_do_resource(req);
		break;
	case UVFIO_TRAP_NODE:
		trap_node(req);
		break;
	case UVFIO_TRAP_KEY:
		trap_key(req);
		break;
	case UVFIO_TRAP_HELLO:
		uapi_answer(req, req->args[2] == UVFIO_TRAP_VERSION ? 0 : -EPROTO);
		break;
	case UVFIO_TRAP_CLOSED:
		trap_closed(req);
		break;
	case UVFIO_TRAP_FATAL:
		trap_fatal(req);
		break;
	default:
		return false;
	}
	return true;
}

/* ---- mmap (A.6) ---- */

static void refuse(struct uapi_request *req)
{
	uapi_complain(
		req->server, &req->server->refused_mmaps, 3,
		"process %d maps registers of %s without the helper that traps their accesses "
		"(it is a static program, makes system calls of its own, or has dropped "
		"LD_PRELOAD): refused.  Remedies: --mmio polled (stores to doorbells are "
		"polled for), or --mmio none (the program must use read and write)",
		req->tid, req->device);
	uapi_answer(req, -EINVAL);
}

static int check_mmap(struct uapi_request *req, struct uapi_file *file, bool *refused)
{
	struct uapi_core *core = req->server->core;
	uint64_t len = req->args[1];
	unsigned prot = (unsigned)req->args[2];
	unsigned type = (unsigned)req->args[3] & MAP_TYPE;
	bool shared = type == MAP_SHARED || type == MAP_SHARED_VALIDATE;
	bool writable = false, trap_reads = false;
	int ret;

	*refused = false;
	if (!file->device_file)
		return -ENODEV;
	if (len > UINT64_MAX - PAGE_BYTES)
		return -ENOMEM;
	len = (len + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
	ret = core->ops->device_mmap(core, file->device_file, req->args[5], len, shared, &writable,
				     &trap_reads);
	if (ret || file->mmio != VFIO_MMIO_EXACT)
		return ret;
	*refused = ((prot & PROT_WRITE) && !writable) || ((prot & PROT_READ) && trap_reads);
	return 0;
}

void uapi_do_mmap(struct uapi_request *req)
{
	uint64_t offset = req->args[5];
	struct uapi_file *file;
	bool refused;
	int ret;

	/* What never looks at the file, or fails before it does. */
	if ((req->args[3] & MAP_ANONYMOUS) || !req->args[1] || (offset & (PAGE_BYTES - 1)))
		return;
	req->args[0] = req->args[4]; /* the fd, where other system calls have it */
	file = uapi_request_subject(req);
	if (!file)
		return;
	ret = check_mmap(req, file, &refused);
	if (refused)
		refuse(req);
	else if (ret)
		uapi_answer(req, ret);
	uapi_files_put(req->server->files, file, req->id);
}
