/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening a raw file or a block device: what it is, its lock, its geometry. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "base/fd.h"
#include "block/backend.h"

/* Against other users: the whole file, for as long as the descriptor lives.  QEMU's locks of single
 * bytes conflict with it too. */
static int lock(int fd, bool shared, const char *path, struct uvfio_error *err)
{
	int rc = file_lock(fd, shared, true);

	if (rc == -EBUSY)
		return uvfio_error_set(err, rc,
				       "%s is in use: another program has locked it; end that "
				       "program first%s",
				       path,
				       shared ? "" : ", or open it everywhere with readonly=on");
	return rc ? uvfio_error_set(err, rc, "cannot lock %s: %s", path, strerror(-rc)) : 0;
}

/* The smallest unit that O_DIRECT takes on this file system, found by asking for it. */
static uint32_t direct_align(int fd, uint64_t size)
{
	uint32_t align = 4096;
	void *buf;

	if (size >= 1024 && !posix_memalign(&buf, 4096, 4096)) {
		if (pread(fd, buf, 512, 512) == 512)
			align = 512;
		free(buf);
	}
	return align;
}

static int geometry(int fd, const struct block_options *opts, const struct stat *st,
		    struct block_info *info, struct uvfio_error *err)
{
	int sector = 512;

	info->align = 1;
	if (S_ISBLK(st->st_mode)) {
		if (ioctl(fd, BLKGETSIZE64, &info->size) || ioctl(fd, BLKSSZGET, &sector))
			return uvfio_error_set(err, -errno, "cannot read the size of %s: %s",
					       opts->file, strerror(errno));
		info->align = sector;
	} else {
		info->size = st->st_size;
		if (opts->direct)
			info->align = direct_align(fd, info->size);
	}
	info->size = info->size / info->align * info->align;
	if (!info->size)
		return uvfio_error_set(err, -EINVAL,
				       "%s is empty; give it a size first (truncate -s 1G %s)",
				       opts->file, opts->file);
	info->can_fua = info->volatile_cache = !opts->readonly;
	info->readonly = opts->readonly;
	return 0;
}

int file_open_locked(const struct block_options *opts, struct block_info *info, bool *is_device,
		     struct uvfio_error *err)
{
	int flags = opts->readonly ? O_RDONLY : O_RDWR;
	const char *path = opts->file;
	struct stat st;
	int fd, rc;

	/* With O_NONBLOCK, so that a FIFO cannot hold us up; it is taken away again below. */
	fd = uvfio_open(opts->dev, path, flags | (opts->direct ? O_DIRECT : 0));
	if (fd == -EINVAL && opts->direct)
		return uvfio_error_set(err, -EINVAL,
				       "cannot open %s past the page cache: its file system has no "
				       "O_DIRECT; leave out direct=on",
				       path);
	if (!opts->readonly && (fd == -EACCES || fd == -EPERM || fd == -EROFS))
		return uvfio_error_set(err, fd,
				       "cannot open %s for writing: %s; check its permissions, or "
				       "use it as it is with readonly=on",
				       path, strerror(-fd));
	if (fd < 0)
		return uvfio_error_set(err, fd, "cannot open %s: %s; check the path", path,
				       strerror(-fd));
	rc = 0;
	if (uvfio_fstat(fd, &st))
		rc = uvfio_error_set(err, -errno, "cannot examine %s: %s", path, strerror(errno));
	else if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		rc = uvfio_error_set(err, -EINVAL,
				     "%s is neither a file nor a block device; give the path of a "
				     "raw disk image or of a disk",
				     path);
	else if (fcntl(fd, F_SETFL, opts->direct ? O_DIRECT : 0))
		rc = uvfio_error_set(err, -errno, "cannot set up %s: %s", path, strerror(errno));
	if (!rc && !opts->unlocked)
		rc = lock(fd, opts->readonly, path, err);
	if (!rc)
		rc = geometry(fd, opts, &st, info, err);
	if (rc) {
		close(fd);
		return rc;
	}
	*is_device = S_ISBLK(st.st_mode);
	return fd;
}

/* ---- the note ---- */

bool file_can_note(int fd)
{
	return fgetxattr(fd, FILE_NOTE, NULL, 0) >= 0 || errno == ENODATA;
}

int file_note_read(int fd, void *buf, size_t size)
{
	ssize_t n = fgetxattr(fd, FILE_NOTE, buf, size);

	/* None there, or a file system (or a kind of file) that cannot have one. */
	if (n < 0 && (errno == ENODATA || errno == EOPNOTSUPP))
		return 0;
	return n < 0 ? -errno : (int)n;
}
