/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tree as it is at one moment, for those who cannot have it served: what every directory has,
 * what its files show and where its links lead, by the same tables as the file system (table.h).
 *
 * The functions themselves are in bus/pci/devices; there is no `devices`, and no uvfio/uioN.  What
 * cannot be shown is left out: files that are only written, BARs and the ROM, what fails to be
 * read, and what programs wait for (runtime_status).  Nothing is writable but `config`, which its
 * keeper brings up to date.
 *
 * Also without libfuse3.
 */
#ifndef UVFIO_SYSFS_SNAPSHOT_H
#define UVFIO_SYSFS_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct vfio_machine;

#define SYSFS_ITEM_PATH 256u  /* bytes with the 0, at most */
#define SYSFS_ITEM_DATA 4096u /* bytes, at most */

enum sysfs_item_kind { SYSFS_ITEM_DIR, SYSFS_ITEM_FILE, SYSFS_ITEM_LINK };

struct sysfs_item {
	enum sysfs_item_kind kind;
	mode_t mode;      /* permissions */
	const char *path; /* below /sys: "bus/pci/devices/…" */
	const char *data; /* contents, or where the link leads; a 0 follows */
	size_t len;
};

/* All of @machine, each directory before what is in it.  May wait for devices that are in a reset.
 * *@out is the caller's, to free().  0 or -ENOMEM.  Any thread. */
int sysfs_snapshot(struct vfio_machine *machine, uint8_t **out, size_t *len);
/* The item at *@off (0 at first) of the @len bytes at @data, which may come from somebody who is
 * not trusted: 1, 0 at the end, or -EPROTO.  @out points into @data. */
int sysfs_snapshot_next(const uint8_t *data, size_t len, size_t *off, struct sysfs_item *out);

#endif
