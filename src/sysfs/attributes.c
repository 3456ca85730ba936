/* SPDX-License-Identifier: BSD-3-Clause */
/* Attributes of nodes: the table's, and what chmod(2) and chown(2) made of them. */
#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fuse_lowlevel.h>
#include <string.h>
#include "sysfs/attributes.h"

static struct changed *find_changed(struct sysfs *fs, uint64_t ino)
{
	for (unsigned i = 0; i < fs->nr_changed; i++)
		if (fs->changed[i].ino == ino)
			return &fs->changed[i];
	return NULL;
}

void sysfs_attributes(struct sysfs *fs, const struct sysfs_node *node, struct stat *st)
{
	static const mode_t types[] = {S_IFDIR, S_IFLNK, S_IFREG, S_IFREG, S_IFREG};
	const struct changed *changed;

	memset(st, 0, sizeof(*st));
	st->st_ino = sysfs_ino(node);
	st->st_mode = types[sysfs_type(node)] | sysfs_mode(node);
	st->st_nlink = sysfs_type(node) == SYSFS_DIR ? 2 : 1;
	st->st_uid = fs->config.uid;
	st->st_gid = fs->config.gid;
	st->st_size = (off_t)sysfs_size(fs, node);
	st->st_blksize = SYSFS_PAGE;
	st->st_atime = st->st_mtime = st->st_ctime = fs->started;
	changed = find_changed(fs, st->st_ino);
	if (changed) {
		st->st_mode = (st->st_mode & S_IFMT) | changed->mode;
		st->st_uid = changed->uid;
		st->st_gid = changed->gid;
	}
}

/* The kernel has checked who may. */
int sysfs_change(struct sysfs *fs, struct stat *st, const struct stat *to, int what)
{
	struct changed *changed = find_changed(fs, st->st_ino);

	if (!(what & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)))
		return 0; /* a size or a time: nothing happens */
	if (!changed && fs->nr_changed == MAX_CHANGED)
		return -ENOMEM;
	if (what & FUSE_SET_ATTR_MODE)
		st->st_mode = (st->st_mode & S_IFMT) | (to->st_mode & 07777);
	if (what & FUSE_SET_ATTR_UID)
		st->st_uid = to->st_uid;
	if (what & FUSE_SET_ATTR_GID)
		st->st_gid = to->st_gid;
	if (!changed)
		changed = &fs->changed[fs->nr_changed++];
	*changed = (struct changed){st->st_ino, st->st_mode & 07777, st->st_uid, st->st_gid};
	return 0;
}
