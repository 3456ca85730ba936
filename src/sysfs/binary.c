/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The files config, resourceN and rom.
 *
 * config is the hardware's config space, whoever has the device open.  A file of a memory BAR is
 * for mmap(2) alone, which doors make that know what it is (sysfs_identify()), so accesses are EIO
 * as the kernel's; those of an I/O BAR take accesses of 1, 2 and 4 bytes.
 */
#include <errno.h>
#include <string.h>
#include "sysfs/binary.h"
#include "sysfs/jobs.h"

#define STRANGER_BYTES 64u /* of config, for those without CAP_SYS_ADMIN */

static uint64_t min_of(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* ---- config ---- */

static ssize_t job_config_read(struct sysfs *fs, struct job *job, struct vfio_device *dev)
{
	uint8_t config[PCI_EXT_CONFIG_SIZE];

	vfio_device_hw_config(dev, config, true);
	memcpy(job->data, config + job->offset, job->len);
	return (ssize_t)job->len;
}

static ssize_t job_config_write(struct sysfs *fs, struct job *job, struct vfio_device *dev)
{
	int ret = vfio_device_host_config_write(dev, (unsigned)job->offset, job->data, job->len);

	return ret ? ret : (ssize_t)job->len;
}

static ssize_t config_read(struct sysfs *fs, const struct sysfs_node *node, bool admin, void *out,
			   size_t *len, uint64_t offset, sysfs_job_fn *later)
{
	uint64_t size = admin ? node->f->config_size : STRANGER_BYTES;
	uint8_t config[PCI_EXT_CONFIG_SIZE];
	struct vfio_device *dev;
	bool done;

	if (offset >= size)
		return 0;
	*len = min_of(*len, size - offset);
	dev = function_device(fs, node->f);
	if (!dev)
		return -ENODEV;
	done = vfio_device_hw_config(dev, config, false);
	vfio_device_put(dev);
	if (done) {
		memcpy(out, config + offset, *len);
		return (ssize_t)*len;
	}
	*later = job_config_read; /* it is in a reset */
	return -EINPROGRESS;
}

/* ---- BARs ---- */

static ssize_t job_io(struct sysfs *fs, struct job *job, struct vfio_device *dev)
{
	/* The high bit of the offset says which way. */
	bool write = job->offset >> 63;
	uint32_t value = 0;

	memcpy(&value, job->data, write ? job->len : 0);
	vfio_device_host_io(dev, job->entry->arg, job->offset & ~(1ull << 63), (unsigned)job->len,
			    write, &value);
	memcpy(job->data, &value, write ? 0 : job->len);
	return (ssize_t)job->len;
}

static ssize_t bar_check(const struct sysfs_node *node, size_t *len, uint64_t offset)
{
	uint64_t size = node->f->bars[node->entry->arg].size;

	if (!(node->f->bars[node->entry->arg].flags & UVFIO_BAR_IO))
		return -EIO;
	*len = min_of(*len, size - offset);
	return *len == 1 || *len == 2 || *len == 4 ? -EINPROGRESS : -EINVAL;
}

/* ---- all ---- */

static bool is_config(const struct sysfs_node *node)
{
	return !strcmp(node->entry->name, "config");
}

static bool is_rom(const struct sysfs_node *node)
{
	return !strcmp(node->entry->name, "rom");
}

static ssize_t rom_read(struct sysfs *fs, const struct sysfs_node *node, void *out, size_t len,
			uint64_t offset)
{
	struct vfio_device *dev;
	ssize_t n;

	if (!node->f->rom_on)
		return -EINVAL;
	dev = function_device(fs, node->f);
	if (!dev)
		return -ENODEV;
	n = vfio_device_host_rom(dev, offset, out, len);
	vfio_device_put(dev);
	return n;
}

ssize_t binary_read(struct sysfs *fs, const struct sysfs_node *node, bool admin, void *out,
		    size_t *len, uint64_t offset, sysfs_job_fn *later)
{
	*len = min_of(*len, SYSFS_PAGE);
	if (offset >= sysfs_size(fs, node) || !*len)
		return 0;
	if (is_config(node))
		return config_read(fs, node, admin, out, len, offset, later);
	if (is_rom(node))
		return rom_read(fs, node, out, *len, offset);
	*later = job_io;
	return bar_check(node, len, offset);
}

ssize_t binary_write(struct sysfs *fs, const struct sysfs_node *node, const void *in, size_t *len,
		     uint64_t offset, sysfs_job_fn *later)
{
	uint64_t size = sysfs_size(fs, node);

	*len = min_of(*len, SYSFS_PAGE);
	if (offset >= size)
		return -EFBIG;
	*len = min_of(*len, size - offset);
	if (!*len)
		return 0;
	if (is_rom(node)) {
		node->f->rom_on = offset != 0 || *len != 2 || *(const char *)in != '0';
		return (ssize_t)*len;
	}
	*later = is_config(node) ? job_config_write : job_io;
	return is_config(node) ? -EINPROGRESS : bar_check(node, len, offset);
}

enum sysfs_file sysfs_identify(struct sysfs *fs, uint64_t ino, char device[16], unsigned *bar)
{
	enum sysfs_file what = SYSFS_FILE_OTHER;
	struct sysfs_node node;

	pthread_mutex_lock(&fs->lock);
	if (sysfs_is_uio(ino))
		what = SYSFS_FILE_UIO;
	if (sysfs_find(fs, ino, &node) && node.f) {
		strcpy(device, node.f->name);
		if (sysfs_type(&node) == SYSFS_BINARY && !is_config(&node) && !is_rom(&node) &&
		    !(node.f->bars[node.entry->arg].flags & UVFIO_BAR_IO)) {
			what = SYSFS_FILE_BAR;
			*bar = node.entry->arg;
		}
	}
	pthread_mutex_unlock(&fs->lock);
	return what;
}
