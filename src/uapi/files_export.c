/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Exports of BARs (D.4) that the program has descriptors of; see files.h.
 *
 * A dma-buf cannot be mapped, read or written, and a memory file can.  So the program's descriptor
 * is open for writing only, and the file is sealed against that: what it answers is an error, and
 * its length, which is what programs ask of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include "uapi/files_private.h"
#include "uapi/process.h"

#define MANY_EXPORTS 64u

int uapi_files_add_export(struct uapi_files *files, struct core_export *export, int memory,
			  int flags)
{
	struct uapi_core *core = files->server->core;
	struct uapi_file *file;
	int fd, ret;

	pthread_mutex_lock(&files->opening);
	file = uapi_file_new(files, UAPI_EXPORT);
	if (!file) {
		pthread_mutex_unlock(&files->opening);
		core->ops->export_release(core, export);
		return -ENFILE;
	}
	file->export = export;
	/* Open for the program first: the probe must find the file in use from the start. */
	fd = uapi_file_reopen(memory, O_WRONLY | flags);
	ret = fd < 0 ? fd : 0;
	if (!ret)
		ret = file->probe = uapi_fd_to_keep(uapi_file_reopen(memory, O_RDWR));
	if (ret >= 0)
		ret = uapi_file_insert(files, file);
	if (ret < 0) {
		if (fd >= 0)
			close(fd);
		uapi_file_destroy(files, file);
	}
	pthread_mutex_unlock(&files->opening);
	return ret < 0 ? ret : fd;
}

static unsigned count_exports(struct uapi_files *files)
{
	unsigned n;

	pthread_mutex_lock(&files->lock);
	n = files->nr_exports;
	pthread_mutex_unlock(&files->lock);
	return n;
}

bool uapi_files_have_exports(struct uapi_files *files)
{
	return count_exports(files) > 0;
}

void uapi_files_settle_exports(struct uapi_files *files)
{
	if (count_exports(files) >= MANY_EXPORTS)
		uapi_files_settle_one(files, 0, 0, 0);
}
